"""Row panels of a symmetric matrix of grouped rows: small enough for the cache, lower triangle only.

A panel holds rows start:stop and columns :stop; columns before `start` stand for two triangles. Rows are sorted by group.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import strictly_upper

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: rows of a panel: 64 rows of 1,000 columns are half a megabyte, which the second-level cache holds
PANEL = 64
#: up to so many rows there is one panel: the upper triangle then costs less than the calls that would leave it out
ONE_PANEL = 192


class Panels:
    """How rows of sorted groups are cut.  group: (n,) sorted codes below T.

    rows : of the tallest panel
    edges : start and stop of each
    """

    def __init__(self, group: Integers, groups: int) -> None:
        self._group, self._groups, n = group, groups, len(group)
        self.rows = n if n <= ONE_PANEL else PANEL
        self._starts = np.flatnonzero(np.diff(group, prepend=-1))  # first row of each group that is there
        self._present = group[self._starts]
        self.edges = self._cut()
        self._flat_pairs = (group[:, None] * groups + group[None, :]).ravel() if n <= ONE_PANEL else None

    def _cut(self) -> list[tuple[int, int]]:
        """Panels end where a group ends if groups are large, so that B's factor is one row."""
        n = len(self._group)
        if n <= ONE_PANEL:
            return [(0, n)] if n else []
        stops = [*self._starts[1:].tolist(), n] if n >= 16 * len(self._starts) else [n]
        edges, start = [], 0
        for stop in stops:
            pieces = max(1, -(-(stop - start) // PANEL))
            cuts = np.linspace(start, stop, pieces + 1).astype(int).tolist()
            edges += list(itertools.pairwise(cuts))
            start = stop
        return [edge for edge in edges if edge[1] > edge[0]]

    def buffer(self) -> Floats:
        """Room for any panel; see `panel_of`."""
        return np.empty(self.rows * len(self._group))

    def factor(self, B: Floats, start: int, stop: int) -> Floats:
        """B[g_i, g_j] for rows of the panel and columns before its end: (1 or rows, stop).  B: (T, T)."""
        if self._flat_pairs is not None:
            return B.ravel().take(self._flat_pairs).reshape(stop, stop)
        one = self._group[start] == self._group[stop - 1]
        rows = B[self._group[start : start + 1]] if one else B[self._group[start:stop]]
        return np.asarray(rows[:, self._group[:stop]])

    def add_groups(self, total: Floats, panel: Floats, start: int, stop: int) -> None:
        """Add the panel's sums over pairs of groups to `total` (T, T), whose symmetric part is then that of both
        triangles.
        """
        inside = self._group[start:stop]
        first, last = int(inside[0]), int(inside[-1])
        sums = panel.sum(axis=0)[None, :] if first == last else _one_hot(inside, first, last) @ panel
        sums[:, :start] *= 2.0
        columns = int(np.searchsorted(self._starts, stop))
        total[first : last + 1, self._present[:columns]] += np.add.reduceat(sums, self._starts[:columns], axis=1)

    def spread(self, values: Floats) -> Floats:
        """Each row's value in the column of its group.  values: (n,)  ->  (n, T)."""
        members = np.zeros((len(values), self._groups))
        members[np.arange(len(values)), self._group] = values
        return members


def panel_of(buffer: Floats, start: int, stop: int) -> Floats:
    """The panel's shape (stop - start, stop) in the buffer's memory: contiguous, so that work on it is quick."""
    return buffer[: (stop - start) * stop].reshape(stop - start, stop)


def complete_block(W: Floats, start: int, stop: int) -> None:
    """Mirror the lower triangle of one block on W's diagonal."""
    block = W[start:stop, start:stop]
    np.copyto(block, block.T.copy(), where=strictly_upper(stop - start))


def multiply_panel(panel: Floats, right: Floats, edge: tuple[int, int], out: Floats) -> None:
    """Add to `out` (n, k) what a symmetric matrix's lower panel adds to its product with `right` (n, k)."""
    start, stop = edge
    out[start:stop] += panel @ right[:stop]
    if start:
        out[:start] += panel[:, :start].T @ right[start:stop]


def symmetrise(sums: Floats) -> Floats:
    """The symmetric part of each matrix: (C, T, T) -> (C, T, T)."""
    return 0.5 * (sums + sums.transpose(0, 2, 1))


def _one_hot(group: Integers, first: int, last: int) -> Floats:
    return np.asarray(np.arange(first, last + 1)[:, None] == group[None, :], dtype=np.float64)
