"""Scaling of inputs to the unit cube and of the target to its pooled within-task spread, and the exact way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class InputScaling:
    """x -> (x - centre) / width, which maps the box of the observed inputs to [-1/2, 1/2]^d.

    An input that never varies gets width 1.
    """

    centre: Floats  # (d,)
    width: Floats  # (d,)

    @staticmethod
    def fit(x: Floats) -> InputScaling:
        """Scaling of the box that holds x.  x: (n, d)."""
        low, high = x.min(axis=0), x.max(axis=0)
        width = high - low
        # halves first: the sum of two numbers near the largest float would overflow
        return InputScaling(0.5 * low + 0.5 * high, np.where(width > 0, width, 1.0))

    def __call__(self, x: Floats) -> Floats:
        """Scaled inputs.  x: (..., d) -> (..., d)."""
        return (x - self.centre) / self.width


@dataclass(frozen=True)
class TargetScaling:
    """y -> (y - centre) / spread, one centre and one spread for all tasks.

    Scaling each task on its own would make noise levels and amplitudes of the tasks incomparable; so there is one
    spread, the pooled standard deviation of the residuals of an ordinary least-squares trend within each task.
    """

    centre: float
    spread: float
    constant: bool = False  # the target doesn't vary at all; spread then is its own magnitude

    @staticmethod
    def fit(y: Floats, task: Integers, basis: Floats) -> TargetScaling:
        """Pooled scaling.  y: (n,), task: (n,) codes, basis: (n, p) trend columns."""
        order = np.argsort(task, kind="stable")
        codes, starts = np.unique(task[order], return_index=True)
        members = np.split(order, starts[1:])  # rows of each task: a mask for each would cost their number's square
        means = np.array([y[rows].mean() for rows in members])
        centre = float(means.mean())
        floor = float(np.abs(y).max()) * 1e-14
        within = residual = 0.0
        freedom_within = freedom_residual = 0
        for rows, mean in zip(members, means, strict=True):
            deviation = y[rows] - mean
            within += float(deviation @ deviation)
            freedom_within += len(rows) - 1
            columns = basis[rows]
            rank = int(np.linalg.matrix_rank(columns)) if columns.size else 0
            if len(rows) > rank:
                fitted = columns @ np.linalg.lstsq(columns, deviation, rcond=None)[0] if rank else centre - mean
                rest = deviation - fitted
                residual += float(rest @ rest)
                freedom_residual += len(rows) - rank
        spread_within = np.sqrt(within / freedom_within) if freedom_within else 0.0
        spread_residual = np.sqrt(residual / freedom_residual) if freedom_residual else 0.0
        if spread_residual > max(floor, 1e-8 * spread_within):
            return TargetScaling(centre, float(spread_residual))
        between = float(np.ptp(means)) if len(codes) > 1 else 0.0
        # a trend that takes up all freedom leaves no residual, which doesn't make it a perfect one
        share = 1e-3 if freedom_residual else 1.0
        for spread in (share * spread_within, between):
            if spread > floor:
                return TargetScaling(centre, float(spread))
        magnitude = float(np.abs(y).max())
        return TargetScaling(centre, magnitude if magnitude > 0 else 1.0, constant=True)

    def __call__(self, y: Floats) -> Floats:
        """Scaled target.  y: (...,) -> (...,)."""
        return (y - self.centre) / self.spread

    def mean(self, mean: Floats) -> Floats:
        """Means (and samples) back in the target's units."""
        return self.centre + self.spread * mean

    def deviation(self, deviation: Floats) -> Floats:
        """Standard deviations (and differences) back in the target's units."""
        return self.spread * deviation

    def variance(self, variance: Floats) -> Floats:
        """Variances and covariances back in the target's squared units."""
        return self.spread**2 * variance
