"""Alpha-fairness: how much the larger, or the smaller, losses count."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.errors import DataError

from ._base import Seen, State
from .sum_of_logs import power


@dataclass(frozen=True)
class AlphaFair:
    """Losses transformed by the α-fair utility: F = Σ L_i^(1-α) / (1-α), hence w_i = L_i^-α.

    ============  ==============================  =====================================================
    α             F                               known as
    ============  ==============================  =====================================================
    0             Σ L_i                           plain sum
    1             Σ log L_i                       `SumOfLogs`, proportional fairness of the decreases
    2             -Σ 1/L_i                        minimum potential delay
    -q < 0        Σ L_i^(q+1) / (q+1)             q-fair federated learning, Li et al., arXiv:1905.10497
    -> -∞         dominated by max L_i            min-max
    ============  ==============================  =====================================================

    Source: Ban & Ji, arXiv:2402.15638, who put the α-fair utility into the losses of other methods, besides FairGrad
    itself, which applies it to the decreases g_i'd (`TorchJD("FairGrad", {"alpha": 2.0})`).

    Only α = 1 is free of the losses' units. The losses must not be negative; for α > 0 one that is exactly 0 gets
    weight 0, since its gradient is 0.

    Parameters
    ----------
    alpha : see above
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise DataError(f"alpha is {self.alpha!r}; it must be a finite number")

    def init(self, seen: Seen) -> State:
        return {}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        if self.alpha == 0.0:
            return torch.ones_like(seen.losses), state
        return power(seen.losses, self.alpha), state
