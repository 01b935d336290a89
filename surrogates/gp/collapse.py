"""From scaled readings to a `Design`: sort, merge the readings of one (task, place), give poor tasks a trend prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from .design import Design
from .noise import KnownNoise, LearntNoise, NoiseModel
from .trends import Trend

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Readings:
    """Scaled single readings.  N readings, d inputs, T tasks."""

    x: Floats  # (N, d)
    y: Floats  # (N,)
    task: Integers  # (N,)
    tasks: int  # T
    group: Integers  # (N,) noise group
    groups: tuple[str, ...]  # names of the noise groups
    variance: Floats | None  # (N,) known noise variance

    def of_tasks(self, keep: NDArray[np.bool_]) -> Readings:
        """Those readings where `keep` (N,) is true; tasks and groups stay."""
        variance = None if self.variance is None else self.variance[keep]
        return Readings(
            self.x[keep], self.y[keep], self.task[keep], self.tasks, self.group[keep], self.groups, variance
        )


@dataclass(frozen=True)
class TrendPrior:
    """Normal prior of the trend coefficients; precision 0 is flat.  (T, p) each."""

    mean: Floats
    precision: Floats
    poor: tuple[int, ...]  # tasks whose own data don't determine their trend


@dataclass(frozen=True)
class Collapsed:
    """A design, and which of its rows each reading went to."""

    design: Design
    row: Integers  # (N,)


def collapse(readings: Readings, trend: Trend, prior: TrendPrior) -> Collapsed:
    """Merge all readings of one (task, place) into one row; exact for the likelihood and for predictions.

    Raises
    ------
    DataError
        If two noise-free readings of one (task, place) differ.
    """
    first, row = _cells(readings.x, readings.task)
    x, task = readings.x[first], readings.task[first]
    noise = _noise(readings, row, len(first))
    design = Design(x, task, readings.tasks, trend.columns(x), prior.mean, prior.precision, noise)
    return Collapsed(design, row)


def trend_prior(readings: Readings, trend: Trend) -> TrendPrior:
    """Flat, but for tasks with too few places for their own trend: theirs is what the other tasks show.

    Too few are places that don't determine the p coefficients; and fewer than 2p, where two tasks or more have as many:
    slopes between close places would have wild estimates. Such a task's coefficients get the mean of the other tasks'
    least-squares coefficients, and their spread between tasks plus the squared size of one scaled unit.

    A flat prior's mean has no influence; it is the least-squares fit, so that the likelihood sees small numbers even
    where tasks lie far apart.
    """
    columns = trend.columns(readings.x)  # (N, p)
    T, p = readings.tasks, columns.shape[1]
    mean, precision = np.zeros((T, p)), np.zeros((T, p))
    if p == 0:
        return TrendPrior(mean, precision, ())
    determined, places = np.zeros(T, dtype=bool), np.zeros(T, dtype=np.int64)
    for t, rows in enumerate(rows_of_tasks(readings.task, T)):
        determined[t] = np.linalg.matrix_rank(columns[rows]) == p
        places[t] = max(len(np.unique(column)) for column in readings.x[rows].T)
        if places[t] < 2 * p:  # coordinates may repeat where places don't
            places[t] = len(np.unique(readings.x[rows], axis=0))
        if determined[t]:
            mean[t] = np.linalg.lstsq(columns[rows], readings.y[rows], rcond=None)[0]
    ample = determined & (places >= 2 * p)
    found = ample if ample.sum() > 1 else determined
    poor = ~found
    if poor.any():
        centre, spread = np.zeros(p), np.full(p, 10.0**2)
        if found.any():
            centre = mean[found].mean(axis=0)
            between = mean[found].var(axis=0, ddof=1) if found.sum() > 1 else np.full(p, 10.0**2)
            spread = 1.0 + between * (1 + 1 / found.sum())
        mean[poor], precision[poor] = centre, 1.0 / spread
    return TrendPrior(mean, precision, tuple(np.flatnonzero(poor).tolist()))


def rows_of_tasks(task: Integers, tasks: int) -> list[Integers]:
    """Rows of each of so many tasks, in their order, by one sorting instead of one mask for each.  task: (n,)"""
    order = np.argsort(task, kind="stable")
    return np.split(order, np.searchsorted(task[order], np.arange(1, tasks)))


def _cells(x: Floats, task: Integers) -> tuple[Integers, Integers]:
    """One reading of every (task, place), sorted by task and place, and each reading's cell."""
    order = np.lexsort((*x.T[::-1], task))
    keys = np.concatenate([task[order, None].astype(np.float64), x[order]], axis=1)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    row = np.empty(len(order), dtype=np.int64)
    row[order] = np.cumsum(new) - 1
    return order[new].astype(np.int64), row


def _noise(readings: Readings, row: Integers, n: int) -> NoiseModel:
    if readings.variance is not None:
        return _known(readings.y, readings.variance, row, n)
    F = len(readings.groups)
    cell = readings.group * n + row
    counts: Floats = np.bincount(cell, minlength=n * F).astype(np.float64)
    # each cell's first reading is taken off, or the sums of squares of exact repeats would be rounding noise
    reference = np.zeros(n * F)
    reference[cell[::-1]] = readings.y[::-1]
    excess = np.bincount(cell, readings.y - reference[cell], minlength=n * F)
    means = reference + np.divide(excess, counts, out=np.zeros(n * F), where=counts > 0)
    squares: Floats = np.bincount(readings.group, (readings.y - means[cell]) ** 2, minlength=F).astype(np.float64)
    return LearntNoise(counts.reshape(F, n), means.reshape(F, n), squares, readings.group, readings.groups)


def _known(y: Floats, variance: Floats, row: Integers, n: int) -> KnownNoise:
    """Precision-weighted rows; a reading without noise outweighs all noisy ones at its place."""
    exact = variance == 0
    has_exact = np.bincount(row, exact, minlength=n) > 0
    used = exact | ~has_exact[row]
    weight = np.where(exact, 1.0, 1.0 / np.where(exact, 1.0, variance)) * used
    total = np.bincount(row, weight, minlength=n)
    mean = np.bincount(row, weight * y, minlength=n) / total
    conflict = exact & (np.abs(y - mean[row]) > 1e-12 * (1 + np.abs(y)))
    if conflict.any():
        raise DataError(
            f"{int(np.bincount(row, conflict, minlength=n).astype(bool).sum())} places hold different readings with "
            f"zero known noise, which contradict each other; give them a noise > 0, or drop all readings but one"
        )
    D = np.where(has_exact, 0.0, 1.0 / total)
    noisy = used & ~exact
    deviation = np.where(noisy, (y - mean[row]) ** 2 * weight, 0.0)
    c = -0.5 * deviation.sum() - 0.5 * np.log(2 * np.pi * variance[noisy]).sum()
    c += 0.5 * np.log(2 * np.pi * D[~has_exact]).sum()
    return KnownNoise(mean, D, float(c), variance)
