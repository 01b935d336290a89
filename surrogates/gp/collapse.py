"""From scaled readings to a `Design`: sort, merge the readings of one (task, place), give poor tasks a trend prior."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from .design import Design, SharedColumns
from .noise import EXACT, KnownNoise, LearntNoise, NoiseModel
from .shaped_noise import NoiseBasis, shaped_noise
from .trends import Covariate, Trend

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Readings:
    """Scaled single readings.  N readings, d inputs, T tasks.

    exact : variance that stands for zero, where all readings are exact
    """

    x: Floats  # (N, d)
    y: Floats  # (N,)
    task: Integers  # (N,)
    tasks: int  # T
    group: Integers  # (N,) noise group
    groups: tuple[str, ...]  # names of the noise groups
    variance: Floats | None  # (N,) known noise variance
    exact: float = EXACT
    basis: NoiseBasis | None = None  # of noise that varies with the place
    weight: Floats | None = None  # (N,) of each reading, as Student's t noise sees it

    def of_tasks(self, keep: NDArray[np.bool_]) -> Readings:
        """Those readings where `keep` (N,) is true; tasks and groups stay."""
        variance = None if self.variance is None else self.variance[keep]
        x, y, task, group = self.x[keep], self.y[keep], self.task[keep], self.group[keep]
        weight = None if self.weight is None else self.weight[keep]
        return replace(self, x=x, y=y, task=task, group=group, variance=variance, weight=weight)


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
    noise = _noise(readings, row, x)
    shared = None
    if trend.shared:
        shared = SharedColumns(trend.shared_columns(x), *_normal(trend.shared))
    design = Design(x, task, readings.tasks, trend.columns(x), prior.mean, prior.precision, noise, shared)
    return Collapsed(design, row)


def trend_prior(readings: Readings, trend: Trend) -> TrendPrior:
    """Flat, but for tasks with too few places for their own trend: theirs is what the other tasks show.

    Too few are places that don't determine the p coefficients; and fewer than 2p, where two tasks or more have as many:
    slopes between close places would have wild estimates. Such a task's coefficients get the mean of the other tasks'
    least-squares coefficients, and their spread between tasks plus the squared size of one scaled unit.

    A flat prior's mean has no influence; it is the least-squares fit, so that the likelihood sees small numbers even
    where tasks lie far apart. A trend with a prior of its own for slopes has only its constant flat.

    Covariates have the priors that they come with.
    """
    prior = _flat_prior(readings, trend) if trend.slope is None else _shrunk(readings, trend, trend.slope)
    T, (mean, precision) = readings.tasks, _normal(trend.own)
    return TrendPrior(
        np.concatenate([prior.mean, np.tile(mean, (T, 1))], axis=1),
        np.concatenate([prior.precision, np.tile(precision, (T, 1))], axis=1),
        prior.poor,
    )


def _normal(covariates: tuple[Covariate, ...]) -> tuple[Floats, Floats]:
    """Mean (r,) and precision (r,) of the covariates' coefficients."""
    return np.array([c.mean for c in covariates]), np.array([c.deviation**-2 for c in covariates])


def _flat_prior(readings: Readings, trend: Trend) -> TrendPrior:
    columns = trend.flat_columns(readings.x)  # (N, p)
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


def _shrunk(readings: Readings, trend: Trend, slope: float) -> TrendPrior:
    """Flat constants, slopes N(0, slope²). A task without readings has the constants' mean and spread."""
    T, p = readings.tasks, trend.flat_columns(readings.x[:1]).shape[1]
    mean, precision = np.zeros((T, p)), np.full((T, p), slope**-2)
    counts = np.bincount(readings.task, minlength=T)
    sums = np.bincount(readings.task, readings.y, minlength=T)
    seen = counts > 0
    mean[seen, 0], precision[seen, 0] = sums[seen] / counts[seen], 0.0
    mean[~seen, 0] = mean[seen, 0].mean()
    precision[~seen, 0] = 1.0 / (1.0 + mean[seen, 0].var())
    return TrendPrior(mean, precision, tuple(np.flatnonzero(~seen).tolist()))


def _cells(x: Floats, task: Integers) -> tuple[Integers, Integers]:
    """One reading of every (task, place), sorted by task and place, and each reading's cell."""
    order = np.lexsort((*x.T[::-1], task))
    keys = np.concatenate([task[order, None].astype(np.float64), x[order]], axis=1)
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    row = np.empty(len(order), dtype=np.int64)
    row[order] = np.cumsum(new) - 1
    return order[new].astype(np.int64), row


def _noise(readings: Readings, row: Integers, places: Floats) -> NoiseModel:
    n = len(places)
    if readings.variance is not None:
        return replace(_known(readings.y, readings.variance, row, n), exact=readings.exact)
    if readings.basis is not None or readings.weight is not None:
        features = np.zeros((n, 0)) if readings.basis is None else readings.basis(places)
        return shaped_noise(readings.y, readings.group, readings.groups, row, features, readings.weight)
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
