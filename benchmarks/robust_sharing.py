"""What sharing costs where tasks don't belong together: independent models, common sharing, robust sharing.

    python benchmarks/robust_sharing.py [--seeds 20] [--tasks 3 6 12]

Families of T tasks, of which 0, 1 or 2 are outliers: another function, three times the size, or a third of the length-scale.
Tasks share 90 % of their variance, have 8 to 15 readings in one input (odd seeds: two) with noise of 5 % of the functions'
standard deviation, and planes of their own. Errors are those of the mean at 200 places of each task, as multiples of those
of a model of that task alone: geometric means over the seeds, with standard errors; a star where sharing makes it worse by
more than twice that. "Named" is who robust sharing calls an outlier, as a share of all in the row. One BLAS thread; the
whole takes about fifteen minutes.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from problems import random_function
from threadpoolctl import threadpool_limits

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]
KINDS = ("function", "scale", "roughness")
SHARED, NOISE, TEST = 0.9, 0.05, 200
INPUTS = ("u", "v")
SHARINGS = ("common", "robust")


class Family(NamedTuple):
    """Readings of all tasks, and the true functions; the first `outliers` tasks are those that differ."""

    data: xr.Dataset
    truth: list[Function]
    inputs: tuple[str, ...]
    outliers: int


def mixed(parts: list[tuple[float, Function]], plane: Floats) -> Function:
    """Σ weight · part + plane."""
    return lambda x: np.asarray(sum(a * f(x) for a, f in parts) + plane[0] + x @ plane[1:])


def family(tasks: int, outliers: int, kind: str, seed: int) -> Family:
    """A random family.  kind: how the outliers differ."""
    generator = np.random.default_rng([seed, tasks, outliers, KINDS.index(kind)])
    d = 1 + seed % 2
    length = (0.25, 0.5)[d - 1]
    common = random_function(generator, d, length)
    truth, tables = [], []
    for t in range(tasks):
        parts = [(np.sqrt(SHARED), common), (np.sqrt(1 - SHARED), random_function(generator, d, length))]
        if t < outliers and kind == "scale":
            parts = [(3 * a, f) for a, f in parts]
        elif t < outliers:
            parts = [(1.0, random_function(generator, d, length / (3 if kind == "roughness" else 1)))]
        truth.append(mixed(parts, generator.standard_normal(d + 1)))
        x = generator.uniform(0, 1, (int(generator.integers(8, 16)), d))
        y = truth[t](x) + NOISE * generator.standard_normal(len(x))
        tables.append(places(x, t).assign(y=("place", y)))
    return Family(xr.concat(tables, "place"), truth, INPUTS[:d], outliers)


def places(x: Floats, t: int) -> xr.Dataset:
    """Labelled places of one task.  x: (n, d)."""
    columns = {name: ("place", x[:, k]) for k, name in zip(range(x.shape[1]), INPUTS, strict=False)}
    return xr.Dataset(columns).assign(task=("place", np.full(len(x), f"task {t}")))


def errors(case: Family, models: list[FittedHierarchicalGP], seed: int) -> Floats:
    """Root mean square error of each task's mean (T,), by one model for all or by one for each."""
    found = []
    for t, truth in enumerate(case.truth):
        x = np.random.default_rng([seed, t]).uniform(0, 1, (TEST, len(case.inputs)))
        mean = models[t % len(models)].predict(places(x, t))["mean"].to_numpy()
        found.append(float(np.sqrt(((mean - truth(x)) ** 2).mean())))
    return np.array(found)


def ratios(case: Family, seed: int) -> tuple[dict[str, Floats], Floats]:
    """Errors of each sharing over those of models of single tasks (T,); which tasks robust sharing calls outliers (T,)."""
    alone = Schema(inputs=case.inputs, target="y")
    rows = [case.data.isel(place=np.flatnonzero(case.data["task"] == f"task {t}")) for t in range(len(case.truth))]
    independent = errors(case, [HierarchicalGP(alone).fit(part) for part in rows], seed)
    found, named = {}, np.zeros(len(case.truth))
    for sharing in SHARINGS:
        fitted = HierarchicalGP(Schema(inputs=case.inputs, target="y", task="task"), sharing=sharing).fit(case.data)
        found[sharing] = errors(case, [fitted], seed) / independent
        said = [warning for warning in fitted.report.warnings if "is an outlier" in warning]
        named = np.array([float(any(f"'task {t}'" in warning for warning in said)) for t in range(len(case.truth))])
    return found, named


def summary(logarithms: list[float]) -> str:
    """Geometric mean and its relative standard error; a star where it is above one by more than twice that."""
    mean, error = float(np.mean(logarithms)), float(np.std(logarithms, ddof=1) / np.sqrt(len(logarithms)))
    return f"{np.exp(mean):5.2f} ± {error:.2f}{'*' if mean > 2 * error else ' '}"


def row(tasks: int, outliers: int, kind: str, seeds: int) -> str:
    """One line of the table."""
    collected: dict[str, list[float]] = {f"{s}, {who}": [] for s in SHARINGS for who in ("outliers", "others")}
    named: list[Floats] = []
    for seed in range(seeds):
        case = family(tasks, outliers, kind, seed)
        found, called = ratios(case, seed)
        named.append(called)
        for sharing, ratio in found.items():
            for who, part in (("outliers", ratio[:outliers]), ("others", ratio[outliers:])):
                if len(part):
                    collected[f"{sharing}, {who}"].append(float(np.log(part).mean()))
    cells = [summary(values) if values else " " * 13 for values in collected.values()]
    share = np.mean(named, axis=0)  # (T,)
    cells += [f"{100 * part.mean():3.0f} %" if len(part) else "     " for part in (share[:outliers], share[outliers:])]
    return f"| {tasks:2d} | {outliers} | {kind if outliers else '-':9} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tasks", type=int, nargs="+", default=[3, 6, 12])
    choices = parser.parse_args()
    warnings.simplefilter("ignore")
    columns = [f"{s}, {who}" for s in SHARINGS for who in ("outliers", "others")]
    columns += ["outliers named", "others named"]
    print("| T | outliers | differ in | " + " | ".join(columns) + " |\n|" + "---|" * (3 + len(columns)))
    with threadpool_limits(1):
        for tasks in choices.tasks:
            for outliers in (0, 1, 2):
                for kind in KINDS[: 3 if outliers else 1]:
                    print(row(tasks, outliers, kind, choices.seeds), flush=True)


if __name__ == "__main__":
    main()
