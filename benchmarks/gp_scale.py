"""What size costs: seconds for an evaluation of the likelihood against tasks, rows, places and workers.

    python benchmarks/gp_scale.py [--tasks 250 500 1000 2000] [--repeats 5] [--processes]

One BLAS thread for each worker. On a machine that others use, times are the least of the repeats, and ratios are medians of
runs in turn. Needs the extra `distributed`.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.errors import FitWarning
from surrogates.gp.fitting import make_problem
from surrogates.gp.inducing.places import choose_places
from surrogates.gp.inducing.workers import Workers
from surrogates.gp.kernels import kernel_named
from surrogates.gp.objective import Objective
from surrogates.gp.preparing import Settings, scale

SCHEMA = Schema(inputs=("u", "v"), target="y", task="task")
KERNEL = kernel_named("matern52")
#: scaled length-scales for which places are chosen, near what the data have
LENGTHSCALES = np.array([0.4, 0.4])


def tasks(count: int, rows: int, *, shared: bool = False, seed: int = 0) -> xr.Dataset:
    """Random fields, common and own, at random places of each task or at places that all share."""
    generator = np.random.default_rng(seed)
    waves = generator.normal(size=(2, 200)) / 0.3
    phase = generator.uniform(0, 2 * np.pi, 200)
    common = generator.normal(size=200) * np.sqrt(2 / 200)
    x, y = np.empty((count, rows, 2)), np.empty((count, rows))
    x[:] = generator.uniform(0, 1, (rows, 2))
    for t in range(count):
        if not shared:
            x[t] = generator.uniform(0, 1, (rows, 2))
        own = common + generator.normal(size=200) * np.sqrt(0.5 / 200)
        y[t] = np.cos(x[t] @ waves + phase) @ own + 0.1 * generator.normal(size=rows)
    return as_dataset(x.reshape(-1, 2), y.ravel(), inputs=["u", "v"], task=np.repeat(np.arange(count), rows))


def objective(data: xr.Dataset, solver: str, places: int = 128, workers: Workers | None = None) -> Objective:
    """The penalised likelihood of the data by one solver."""
    settings = Settings(KERNEL, "linear", "common", 1, "fidelity", solver)
    scaled = scale(SCHEMA.encode(data), settings)
    if solver == "inducing":
        Z = choose_places(scaled.readings.x[:20_000], KERNEL, LENGTHSCALES, count=places, seed=0)
        scaled = replace(scaled, common_places=Z)
    return make_problem(scaled, settings, workers=workers).objective


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """The least of some runs."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def evaluation(objective: Objective, order: int) -> Callable[[], Any]:
    """One value (order 0), with gradient (1), with average information (2)."""
    layout = objective.layout
    θ = layout.join(np.log(LENGTHSCALES), layout.sharing.start(0.7), np.array([np.log(0.01)]))
    return lambda: objective(θ, order)


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Of log time against log size."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def against_tasks(counts: Sequence[int], rows: int, repeats: int) -> pd.DataFrame:
    """Seconds for tasks of so many rows: value, with gradient, with average information."""
    found = []
    for solver, shared in (("inducing", False), ("rotation", True)):
        for count in counts:
            problem = objective(tasks(count, rows, shared=shared), solver)
            times = [seconds(evaluation(problem, order), repeats) for order in (0, 1, 2)]
            found.append([solver, count, *times])
    table = pd.DataFrame(found, columns=["solver", "tasks", "value", "gradient", "information"])
    for solver in ("inducing", "rotation"):
        part = table[table["solver"] == solver]
        slopes = [slope(part["tasks"].tolist(), part[kind].tolist()) for kind in ("value", "gradient", "information")]
        found.append([f"{solver}, slope", 0, *slopes])
    return pd.DataFrame(found, columns=table.columns)


def against_places(count: int, rows: int, places: Sequence[int], repeats: int) -> pd.DataFrame:
    """Seconds by number of common places."""
    data = tasks(count, rows)
    found = [[M, seconds(evaluation(objective(data, "inducing", M), 2), repeats)] for M in places]
    return pd.DataFrame(found, columns=["places", "information"])


def against_rows(sizes: Sequence[int], repeats: int) -> pd.DataFrame:
    """Seconds of the dense solver by number of rows, of ten tasks."""
    found = [[n, seconds(evaluation(objective(tasks(10, n // 10), "dense"), 2), repeats)] for n in sizes]
    return pd.DataFrame(found, columns=["rows", "information"])


def against_workers(count: int, rows: int, repeats: int, *, processes: bool) -> pd.DataFrame:
    """How many times as fast two workers are, runs of one and of two in turn."""
    data = tasks(count, rows)
    found = [["threads", *_paired(data, Workers(2), repeats)]]
    if processes:
        from distributed import Client, LocalCluster

        local: Any = LocalCluster
        connect: Any = Client
        options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
        with local(**options) as cluster, connect(cluster) as client:
            found.append(["processes", *_paired(data, Workers(client), repeats)])
    return pd.DataFrame(found, columns=["two", "seconds of one", "seconds of two", "ratio", "lowest", "highest"])


def _paired(data: xr.Dataset, workers: Workers, repeats: int) -> list[float]:
    one, two = evaluation(objective(data, "inducing"), 2), evaluation(objective(data, "inducing", workers=workers), 2)
    two()
    times = np.array([[seconds(one, 1), seconds(two, 1)] for _ in range(repeats)])
    ratio = times[:, 0] / times[:, 1]
    return [*times.min(axis=0).tolist(), float(np.median(ratio)), float(ratio.min()), float(ratio.max())]


def whole_fits(count: int, rows: int) -> pd.DataFrame:
    """A fit with its report, from labelled data, and a prediction of all its readings' places."""
    found = []
    for shared in (False, True):
        data = tasks(count, rows, shared=shared)
        began = time.perf_counter()
        model = HierarchicalGP(SCHEMA).fit(data)
        fitted = time.perf_counter()
        model.predict(data)
        ended = time.perf_counter()
        found.append(
            [
                "shared" if shared else "own",
                model.report.solver,
                model.report.evaluations,
                fitted - began,
                ended - fitted,
            ]
        )
    return pd.DataFrame(found, columns=["places", "solver", "evaluations", "fit", "prediction"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[250, 500, 1000, 2000])
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", action="store_true", help="two processes of a LocalCluster too")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", FitWarning)
    with threadpool_limits(1):
        most = max(chosen.tasks)
        for title, table in (
            ("seconds by tasks, 128 places", against_tasks(chosen.tasks, chosen.rows, chosen.repeats)),
            ("seconds by places", against_places(most // 4, chosen.rows, [32, 64, 128, 256], chosen.repeats)),
            ("seconds by rows, dense, ten tasks", against_rows([500, 1000, 2000], chosen.repeats)),
            (
                f"two workers, {most // 2} tasks",
                against_workers(most // 2, chosen.rows, 3 * chosen.repeats, processes=chosen.processes),
            ),
            (f"whole fits of {most} tasks, seconds", whole_fits(most, chosen.rows)),
        ):
            print(f"\n{title}\n{table.to_string(index=False, float_format='{:.3g}'.format)}", flush=True)


if __name__ == "__main__":
    main()
