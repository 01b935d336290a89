"""Standardised, collapsed observations: what every solver and every objective reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .noise import NoiseModel

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class SharedColumns(NamedTuple):
    """Trend columns (n, r) with one coefficient for all tasks, and its normal prior (r,), (r,)."""

    columns: Floats
    mean: Floats
    precision: Floats


@dataclass(frozen=True)
class Design:
    """Rows sorted by task, then by place.  n rows, d inputs, T tasks, p trend columns per task, q = pT + r.

    prior_mean, prior_precision : (T, p) of the trend coefficients; precision 0 is a flat prior
    shared : further columns, whose coefficients all tasks have in common; None: there are none
    """

    x: Floats  # (n, d) scaled inputs
    task: Integers  # (n,) sorted codes
    tasks: int  # T
    basis: Floats  # (n, p) trend columns h(x)
    prior_mean: Floats  # (T, p)
    prior_precision: Floats  # (T, p)
    noise: NoiseModel
    shared: SharedColumns | None = None

    @cached_property
    def H(self) -> Floats:
        """(n, q) trend columns, each task in its own block, shared ones behind them."""
        n, p = self.basis.shape
        H = np.zeros((n, self.tasks, p))
        H[np.arange(n), self.task] = self.basis
        blocks = H.reshape(n, self.tasks * p)
        return blocks if self.shared is None else np.concatenate([blocks, self.shared.columns], axis=1)

    @cached_property
    def precision(self) -> Floats:
        """(q,) of the normal priors of all columns' coefficients."""
        own = self.prior_precision.ravel()
        return own if self.shared is None else np.concatenate([own, self.shared.precision])

    @cached_property
    def offset(self) -> Floats:
        """(n,) the trend's prior mean at every row."""
        own = np.asarray((self.basis * self.prior_mean[self.task]).sum(axis=1))
        return own if self.shared is None else own + self.shared.columns @ self.shared.mean

    @cached_property
    def bounds(self) -> Integers:
        """(T + 1,) where each task's rows start, and the end."""
        return np.searchsorted(self.task, np.arange(self.tasks + 1)).astype(np.int64)

    @cached_property
    def has_shared_places(self) -> bool:
        """Every task has the same places (and the same trend prior)."""
        sizes = np.diff(self.bounds)
        if self.tasks < 2 or (sizes != sizes[0]).any() or (self.prior_precision != self.prior_precision[0]).any():
            return False
        blocks = self.x.reshape(self.tasks, int(sizes[0]), -1)
        return bool((blocks == blocks[0]).all())

    @cached_property
    def is_balanced(self) -> bool:
        """Every task has the same places, and the same noise pattern at them."""
        patterns = self._patterns
        return patterns is not None and bool((patterns == patterns[0]).all())

    @cached_property
    def is_separable(self) -> bool:
        """Shared places, and noise that is a factor of the task times a factor of the place.

        So it is if the tasks look alike, or if each task has one noise group of its own and as many readings at each
        place as the other tasks (and flat trends: the tasks' factors would not commute with a prior of theirs).
        """
        patterns = self._patterns
        if patterns is None or self.is_balanced:
            return self.is_balanced
        used = patterns > 0
        one_group = (used.sum(axis=2) == 1).all() and (used == used[:, :1]).all()
        counts = patterns.sum(axis=2)
        return bool(one_group and (counts == counts[0]).all() and (self.prior_precision == 0).all())

    @cached_property
    def _patterns(self) -> Floats | None:
        """(T, N, F) noise patterns of shared places, or None if they aren't shared."""
        return self.noise.pattern.reshape(self.tasks, len(self.x) // self.tasks, -1) if self.has_shared_places else None
