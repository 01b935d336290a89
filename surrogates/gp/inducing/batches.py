"""Tasks of similar size side by side in arrays, padded where sizes differ.

A padded row has no covariance with any other, variance one and data zero: it changes nothing, log 1 = 0 included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..design import Design

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: numbers in a batch's largest arrays: some megabytes, which the processor's cache nearly holds
NUMBERS = 250_000


@dataclass(frozen=True, eq=False)
class Batch:
    """b tasks of at most m rows each; d inputs, p trend columns."""

    rows: Integers  # (b, m) of the design; 0 where padded
    real: NDArray[np.bool_]  # (b, m) false where padded
    x: Floats  # (b, m, d)
    h: Floats  # (b, m, p), 0 where padded
    prior_precision: Floats  # (b, p)

    @property
    def is_full(self) -> bool:
        """Whether no row is padded."""
        return bool(self.real.all())

    def take(self, values: Floats, padding: float = 0.0) -> Floats:
        """This batch's rows of an array over the design's.  (n, ...) -> (b, m, ...)"""
        taken = values[self.rows]
        taken[~self.real] = padding
        return taken

    def put(self, part: Floats, values: Floats) -> None:
        """Write this batch's rows (b, m, ...) into an array over the design's (n, ...)."""
        values[self.rows[self.real]] = part[self.real]


def make_batches(design: Design, columns: int, numbers: int = NUMBERS) -> tuple[Batch, ...]:
    """All tasks with readings, sorted by size, in batches with up to `numbers` entries in arrays of (rows, columns)."""
    return tuple(batch_of(design, tasks) for tasks in _runs(np.diff(design.bounds), max(1, numbers // max(columns, 1))))


def _runs(sizes: Integers, rows: int) -> Iterator[Integers]:
    """Tasks of nearly equal size that have at most so many rows together, but at least one task."""
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    start = 0
    while start < len(order):
        smallest = int(sizes[order[start]])
        # padding costs less than a batch more, up to here
        similar = int(np.searchsorted(sizes[order], max(smallest + 4, int(1.15 * smallest)), side="right"))
        largest = int(sizes[order[min(similar, start + max(1, rows // smallest)) - 1]])
        stop = min(similar, start + max(1, rows // largest))
        yield order[start:stop].astype(np.int64)
        start = stop


def batch_of(design: Design, tasks: Integers) -> Batch:
    """These tasks (b,) as one batch."""
    first, size = design.bounds[tasks], np.diff(design.bounds)[tasks]
    place = np.arange(int(size.max()))
    real = place < size[:, None]
    rows = np.where(real, first[:, None] + place, 0).astype(np.int64)
    h = design.basis[rows] * real[:, :, None]
    return Batch(rows, real, design.x[rows], h, design.prior_precision[tasks])
