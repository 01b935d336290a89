"""Places cut into neighbourhoods of nearly equal numbers: a binary tree of medians."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """A complete binary tree: node k splits at `threshold[k]` of input `dim[k]` into nodes 2k + 1 and 2k + 2."""

    dim: Integers  # (nodes,)
    threshold: Floats  # (nodes,)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.dim) + 1

    def of(self, x: Floats) -> Integers:
        """The block of each place.  x: (n, d)  ->  (n,)"""
        node = np.zeros(len(x), dtype=np.int64)
        for _ in range(self.count.bit_length() - 1):
            node = 2 * node + 1 + (x[np.arange(len(x)), self.dim[node]] > self.threshold[node])
        return node - len(self.dim)


def cut(x: Floats, size: int) -> Blocks:
    """Neighbourhoods of about `size` of the places x (n, d), cut where they are widest; the same for any order of rows.

    >>> cut(np.array([[0.0], [1.0], [2.0], [3.0]]), 2).of(np.array([[0.2], [2.9]]))
    array([0, 1])
    """
    depth = max(0, int(np.ceil(np.log2(max(len(x), 1) / size))))
    dim, threshold = np.zeros(2**depth - 1, dtype=np.int64), np.zeros(2**depth - 1)
    members = [np.arange(len(x))]
    for node in range(len(dim)):
        mine = members[node]
        if len(mine):
            dim[node] = int(np.ptp(x[mine], axis=0).argmax())
            column = x[mine, dim[node]]
            low, high = np.partition(column, [(len(mine) - 1) // 2, len(mine) // 2])[
                [(len(mine) - 1) // 2, len(mine) // 2]
            ]
            threshold[node] = 0.5 * low + 0.5 * high
        right = x[mine, dim[node]] > threshold[node]
        members += [mine[~right], mine[right]]
        members[node] = np.zeros(0, dtype=np.int64)
    return Blocks(dim, threshold)
