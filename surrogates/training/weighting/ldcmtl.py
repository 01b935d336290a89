"""LDC-MTL: weights learnt so that the weighted losses don't differ much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surrogates.errors import DataError

from ._base import Seen, State, adam_change, adam_moments, one_of, positive, ratio


@dataclass(frozen=True)
class LDCMTL:
    """Loss discrepancy control: θ and the weights σ descend together on

        F(θ, ω) = Σ σ_i l_i + penalty · D,      σ = softmax(ω),      D = Σ_i |σ_i l_i - σ_i+1 l_i+1|

    Xiao et al., arXiv:2502.08585: the single loop that their bilevel problem (the upper level is D, the lower
    one the weighted sum) reduces to once the small gradient term is dropped, as in their published code. What θ sees are
    the weights w_i = k ∂F/∂L_i.

    Where we differ: the router is the vector ω itself, since there is no batch to compute it from (theirs is a small
    network on the features; for QM9 σ is sigmoids over their sum, and l_i = log(L_i / L_i(0))); and weights are scaled by k.
    l_i = L_i / L_i(0) if `normalise` (the initial normalisation of the paper's first two versions), which frees the result
    of the losses' units.

    Parameters
    ----------
    penalty : of the discrepancy, at most ½ (above, weights can turn negative)
    rate : of the Adam that moves ω
    pairs : "chain", as above: neighbours in the order of the losses, so that their order matters; "all": the mean over
        all pairs, scaled to the chain's size, where it doesn't
    normalise : see above
    """

    penalty: float = 0.01
    rate: float = 1e-3
    pairs: Literal["chain", "all"] = "chain"
    normalise: bool = True

    def __post_init__(self) -> None:
        positive(self.penalty, "penalty", zero=True)
        positive(self.rate, "rate")
        one_of(self.pairs, "pairs", ("chain", "all"))
        if self.penalty > 0.5:
            raise DataError(f"penalty is {self.penalty}; it must be at most 0.5, or weights turn negative")

    def init(self, seen: Seen) -> State:
        unit = seen.losses.clone() if self.normalise else torch.ones_like(seen.losses)
        ω = torch.zeros_like(unit)
        return {"logits": ω, "unit": torch.where(unit == 0, 1.0, unit)} | adam_moments(ω)

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        ω, unit = state["logits"], state["unit"]
        σ, l = torch.softmax(ω, dim=0), ratio(seen.losses, unit)
        slopes = 1 + self.penalty * self.discrepancy_slopes(σ * l)  # (k,) ∂F/∂(σ_i l_i)
        change, moments = adam_change(state, σ * (slopes * l - σ @ (slopes * l)))
        return len(σ) * slopes * σ / unit, {"logits": ω - self.rate * change, "unit": unit} | moments

    def discrepancy_slopes(self, x: Tensor) -> Tensor:
        """∂D/∂x_i (k,) of the weighted losses x."""
        if self.pairs == "all":
            return torch.sign(x[:, None] - x[None, :]).sum(1) * (2 / len(x))
        steps = torch.sign(x[:-1] - x[1:])  # (k-1,)
        zero = x.new_zeros(1)
        return torch.cat([steps, zero]) - torch.cat([zero, steps])
