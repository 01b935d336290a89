"""What a fit costs: against BoTorch, against a bare Cholesky factor, and by solver.

    python benchmarks/gp_fit.py [--seeds 5] [--cap 200]

One BLAS thread; the peers run in turn on the same data, so that the ratios hold on a noisy machine.  Needs the extra
`benchmarks`.  The whole takes about a quarter of an hour, most of it BoTorch's.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.linalg.lapack as lapack
import torch
from peers import Prediction, Predictor, botorch_multitask, scikit_learn_by_task, smt_by_task
from problems import SCHEMA, Problem, random_fields
from threadpoolctl import threadpool_limits

from surrogates import HierarchicalGP
from surrogates.gp.fitting import make_problem
from surrogates.gp.kernels import kernel_named
from surrogates.gp.objective import Objective
from surrogates.gp.preparing import Settings, scale
from surrogates.metrics import coverage, nlpd, rmse


class Outcome(NamedTuple):
    """Seconds of a fit, and its prediction."""

    seconds: float
    prediction: Prediction


def ours(problem: Problem) -> Outcome:
    """All defaults, labelled data in and report out."""
    began = time.perf_counter()
    fitted = HierarchicalGP(SCHEMA).fit(problem.data)
    seconds = time.perf_counter() - began
    answer = fitted.predict(problem.at)
    return Outcome(seconds, Prediction(answer["mean"].values, answer["std"].values, fitted.report.evaluations))


def peer(fit: Callable[..., Predictor], *, known: bool, **options: float) -> Callable[[Problem], Outcome]:
    """A peer, with the noise of every reading `known` or not."""

    def run(problem: Problem) -> Outcome:
        given = {"variance": problem.variance} if known else {}
        began = time.perf_counter()
        model = fit(problem.x, problem.y, problem.task, **given, **options)
        seconds = time.perf_counter() - began
        return Outcome(seconds, model(problem.places, problem.place_task))

    return run


def against_peers(sizes: dict[int, int], cap: float) -> pd.DataFrame:
    """Medians over seeds.  sizes: readings -> number of seeds; above 300, only BoTorch's defaults are run."""
    rows = []
    few = {"BoTorch": peer(botorch_multitask, known=False, seconds=cap)}
    more = {
        "BoTorch, noise known": peer(botorch_multitask, known=True, seconds=cap),
        "SMT by task, noise known": peer(smt_by_task, known=True),
        "scikit-learn by task, noise known": peer(scikit_learn_by_task, known=True),
    }
    for n, seeds in sizes.items():
        for seed in range(seeds):
            problem = random_fields(n, seed=seed)
            for model, run in {"ours": ours, **few, **(more if n <= 300 else {})}.items():
                seconds, p = run(problem)
                scores = (f(problem.truth, p.mean, p.std) for f in (nlpd, coverage))
                rows.append((n, model, seed, seconds, p.evaluations, rmse(problem.truth, p.mean), *scores))
    names = ["n", "model", "seed", "seconds", "evaluations", "RMSE", "NLPD", "coverage"]
    table = pd.DataFrame(rows, columns=names)
    pairs = table.pivot(index=["n", "seed"], columns="model", values="seconds")
    ratio = (pairs["BoTorch"] / pairs["ours"]).groupby("n").agg(["min", "median", "max"])
    print(ratio.round(0).add_prefix("BoTorch / ours, ").to_string(), end="\n\n")
    return table.drop(columns="seed").groupby(["n", "model"], sort=False).median()


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Of `repeats` calls after one that warms up."""
    call()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds))


def cholesky_seconds(n: int, repeats: int = 3) -> float:
    """Of LAPACK's dpotrf on one n x n matrix, copies not counted."""
    A = np.eye(n) + 0.5
    seconds = []
    for _ in range(repeats + 1):
        work = A.copy()
        began = time.perf_counter()
        lapack.dpotrf(work.T, lower=0, overwrite_a=1, clean=0)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[1:]))


def objective(problem: Problem, solver: str) -> Objective:
    """The objective that a fit with this solver minimises."""
    settings = Settings(kernel_named("matern52"), "linear", "common", 1, "fidelity", solver)
    return make_problem(scale(SCHEMA.encode(problem.data), settings), settings).objective


def against_cholesky(sizes: tuple[int, ...], whole: int) -> pd.DataFrame:
    """Value and gradient, and one whole fit at `whole` readings, in units of a bare dpotrf."""
    rows = []
    for n in sizes:
        at = objective(random_fields(n, seed=0), "dense")
        θ, repeats = at.layout.prior[0], max(3, 10_000 // n)
        bare = cholesky_seconds(n, repeats)
        seconds = median_seconds(lambda at=at, θ=θ: at(θ, 1), repeats)  # type: ignore[misc]
        rows.append((n, "value and gradient", 1e3 * bare, 1e3 * seconds, seconds / bare))
    bare = cholesky_seconds(whole)
    seconds = ours(random_fields(whole, seed=0)).seconds
    bare = 0.5 * (bare + cholesky_seconds(whole))
    rows.append((whole, "whole fit", 1e3 * bare, 1e3 * seconds, seconds / bare))
    return pd.DataFrame(rows, columns=["n", "what", "dpotrf [ms]", "ms", "ratio"]).set_index("n")


def by_solver(tasks: int = 50, places: int = 100) -> pd.DataFrame:
    """Value and gradient of one objective by every solver that its shared design allows."""
    problem = random_fields(tasks * places, seed=0, tasks=tasks, shared=True)
    rows = []
    for solver, repeats in (("rotation", 200), ("kronecker", 20), ("woodbury", 50), ("dense", 3)):
        at = objective(problem, solver)
        θ = at.layout.prior[0]
        rows.append((solver, 1e3 * median_seconds(lambda at=at, θ=θ: at(θ, 1), repeats), at(θ, 0).value))  # type: ignore[misc]
    table = pd.DataFrame(rows, columns=["solver", "ms", "objective"]).set_index("solver")
    dense = table.loc["dense"]
    differences = (table["objective"] / dense["objective"] - 1).abs()
    return table.assign(**{"dense / solver": dense["ms"] / table["ms"], "relative difference": differences})


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="data sets with 100 and 300 readings")
    parser.add_argument("--cap", type=float, default=200.0, help="seconds that BoTorch may take")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ours(random_fields(50, seed=0))  # what is imported on first use
    with threadpool_limits(1):
        print("50 tasks x 100 shared places, value and gradient", by_solver().to_string(), sep="\n", end="\n\n")
        print(
            "against a bare Cholesky factor", against_cholesky((1000, 2000, 4000), 4000).round(2), sep="\n", end="\n\n"
        )
        sizes = {100: arguments.seeds, 300: arguments.seeds, 1000: 1}
        print(against_peers(sizes, arguments.cap).round(3).to_string())


if __name__ == "__main__":
    main()
