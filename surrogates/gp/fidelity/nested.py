"""Readings of several fidelities in scaled units, and which level each level builds on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from ..process import met_places

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: normal prior of ρ, the coefficient of the parent's values, where these and the level's readings have residual spreads
#: of one: levels that agree then have ρ near one, and unrelated ones near zero
RHO_MEAN, RHO_DEVIATION = 0.5, 1.0
#: normal prior of log s of what the parent doesn't explain, which may be next to nothing
DISCREPANCY_PRIOR = (-1.0, 3.0)
#: deviation of the normal prior of its log length-scales around the parent's: it varies where the parent does
INHERITED_DEVIATION = 0.8


@dataclass(frozen=True, eq=False)
class Nested:
    """Scaled readings of L fidelities of T tasks.  N readings, d inputs.

    Parameters
    ----------
    x : (N, d) inputs that fill the unit cube
    y : (N,) readings, each level's by its own centre and residual spread
    task, level : (N,) codes below `T` and `L`
    T, L : how many tasks and levels
    parents : (L,) the level that each builds on, which comes before it, or None
    variance : (N,) known noise in scaled units, zero for exact readings; None: noise is to be learnt

    Raises
    ------
    DataError
        If the parts don't fit together, or a level has no reading.
    """

    x: Floats
    y: Floats
    task: Integers
    level: Integers
    T: int
    L: int
    parents: tuple[int | None, ...]
    variance: Floats | None

    def __post_init__(self) -> None:
        if self.x.ndim != 2:
            raise DataError(f"x has shape {self.x.shape}; wanted (N, d): a row for each reading")
        N = len(self.x)
        columns = {"y": self.y, "task": self.task, "level": self.level}
        if self.variance is not None:
            columns["variance"] = self.variance
        for name, column in columns.items():
            if column.shape != (N,):
                raise DataError(f"{name} has shape {column.shape}; wanted ({N},), one for each row of x")
        for name, codes, count in (("task", self.task, self.T), ("level", self.level, self.L)):
            if N and not (codes.min() >= 0 and codes.max() < count):
                raise DataError(f"{name} has codes from {codes.min()} to {codes.max()}; wanted 0 to {count - 1}")
        if self.variance is not None and not (np.isfinite(self.variance) & (self.variance >= 0)).all():
            raise DataError("variance holds numbers that are negative or not finite; wanted noise variances >= 0")
        if len(self.parents) != self.L:
            raise DataError(f"parents has {len(self.parents)} entries; wanted one for each of {self.L} levels")
        for l, p in enumerate(self.parents):
            if p is not None and not 0 <= p < l:
                raise DataError(f"level {l} has parent {p}; wanted None or a level that comes before it (below {l})")
        empty = [l for l in range(self.L) if not (self.level == l).any()]
        if empty:
            raise DataError(f"levels {empty} have no reading; leave them out, and their children's parents name others")

    def rows(self, level: int) -> Integers:
        """Which readings (n,) are of that level."""
        return np.flatnonzero(self.level == level).astype(np.int64)

    @cached_property
    def parent_values(self) -> Floats:
        """(N,) exact reading of the parent at the same task and place; NaN where there is none."""
        values = np.full(len(self.y), np.nan)
        if self.variance is None:
            return values
        for l, p in enumerate(self.parents):
            if p is None:
                continue
            mine, theirs = self.rows(l), self.rows(p)
            theirs = theirs[self.variance[theirs] == 0]
            keys = np.concatenate([self.task[theirs, None].astype(np.float64), self.x[theirs]], axis=1)
            theirs = theirs[np.unique(keys, axis=0, return_index=True)[1]]  # repeats of exact readings are equal
            row, met = met_places(self.x[theirs], self.task[theirs], self.x[mine], self.task[mine])
            values[mine[met]] = self.y[theirs[row]]
        return values

    def is_nested_exact(self) -> bool:
        """No reading has noise, and wherever a level was read, its parent was too."""
        if self.variance is None or self.variance.any():
            return False
        has_parent = np.array([p is not None for p in self.parents])[self.level]
        return bool(np.isfinite(self.parent_values[has_parent]).all())
