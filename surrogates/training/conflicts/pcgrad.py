"""PCGrad: each gradient is projected off those that it conflicts with, one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import Prepared, SeenTasks, State, by_gram, quotient


@dataclass(frozen=True)
class PCGrad:
    """Projecting conflicting gradients: for each i and all j ≠ i in random order

        g_i <- g_i - (g_i·g_j / |g_j|²) g_j     if g_i·g_j < 0,  g_j the original,         g = Σ g_i

    Yu et al., arXiv:2001.06782, algorithm 1. In the Gram matrix, with rows C_i of coefficients from C = I:

        C_ij <- C_ij - (C M)_ij / M_jj     if (C M)_ij < 0,                                c = column sums of C

    All tasks' j-th turns are done at once, which changes nothing, since only originals are subtracted.

    Parameters
    ----------
    every : steps between two Gram matrices; the weights follow from the last one, see `Prepared`
    """

    every: int = 4

    def __post_init__(self) -> None:
        whole(self.every, "every")

    def init(self, m: int) -> State:
        return Prepared.init(m)

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        def rule(M: Tensor) -> Tensor:
            p = len(M)
            order = torch.stack([torch.randperm(p, generator=seen.generator) for _ in range(p)]) if p else M.long()
            return projected(M, order).sum(0)

        return by_gram(state, seen, self.every, rule)


def projected(M: Tensor, order: Tensor) -> Tensor:
    """Coefficients C (p, p) of the projected gradients, where task i meets the others as in row i of `order` (p, p)."""
    p = len(M)
    C, rows = torch.eye(p, dtype=M.dtype), torch.arange(p)
    for j in order.unbind(1):
        inner = (C * M[j]).sum(1)  # (C M)_ij, as M is symmetric
        C[rows, j] -= torch.where((inner < 0) & (rows != j), quotient(inner, M[j, j]), 0.0)
    return C
