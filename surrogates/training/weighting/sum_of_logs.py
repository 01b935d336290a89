"""Scale invariance: the product of the losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Seen, State


@dataclass(frozen=True)
class SumOfLogs:
    """Scale-invariant baseline (SI): F = Σ log L_i, hence w_i = 1/L_i.

    Navon et al., arXiv:2202.01017, use it as a baseline. The gradient w_i ∇L_i doesn't depend on the losses'
    units. It is also the closed form of Kendall's uncertainty weighting up to a factor ½, and shares its danger: where
    all losses can reach 0, F has no lower bound and easy losses are driven to 0 while a hard one is given up.

    The losses must not be negative. One that is exactly 0 gets weight 0: it is at its least, so its gradient is 0.

    `TorchJD("GeometricMean")` descends along the same direction; this one can start at a loss of 0.
    """

    def init(self, seen: Seen) -> State:
        return {}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        return power(seen.losses, 1.0), state


def power(L: Tensor, α: float) -> Tensor:
    """L^-α, 0 where L is exactly 0 and NaN where it is negative.

    >>> power(torch.tensor([4.0, 0.0]), 0.5)
    tensor([0.5000, 0.0000])
    """
    inside = torch.where(L > 0, L, 1.0) ** -α
    return torch.where(L > 0, inside, torch.where(L == 0, 0.0, torch.nan))
