"""SoftAdapt: more weight for losses that rise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import Seen, State, one_of, positive


@dataclass(frozen=True)
class SoftAdapt:
    """Softmax of the losses' recent slopes s_i.

    ==================  ==================================================
    variant             w_i / k
    ==================  ==================================================
    ``original``        softmax(β s_i)
    ``normalised``      softmax(β s_i / Σ_j |s_j|)
    ``loss-weighted``   L̄_i exp(β s_i) / Σ_j L̄_j exp(β s_j)
    ==================  ==================================================

    Heydari, Thompson & Mehmood, arXiv:1912.12355, section 3.1. s_i is the mean change per step over the last `window`
    losses, L̄_i their mean. β > 0 favours the losses that do worst, β < 0 those that do best.

    Where we differ: the weights are scaled to sum to k, so that β = 0 is the plain sum of the losses (the paper's sum to
    1). Until there are two losses, s = 0; where a loss's first rows are NaN, its slope is from where it begins. None of the
    variants is free of the single losses' units; the normalised one is free of a common unit.

    Parameters
    ----------
    beta, variant, window : see above
    """

    beta: float = 0.1
    variant: Literal["original", "normalised", "loss-weighted"] = "normalised"
    window: int = 5

    def __post_init__(self) -> None:
        positive(abs(self.beta), "the size of beta", zero=True)
        one_of(self.variant, "variant", ("original", "normalised", "loss-weighted"))
        whole(self.window, "window", least=2)

    def init(self, seen: Seen) -> State:
        return {"past": seen.losses.new_zeros((0, len(seen.losses)))}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        past = torch.cat([state["past"], seen.losses[None]])[-self.window :]  # (at most window, k)
        return self.weights(past), {"past": past}

    def weights(self, past: Tensor) -> Tensor:
        """(k,) from losses (n, k), oldest first, NaN before a loss began."""
        known = torch.isfinite(past)
        first = past.gather(0, known.int().argmax(0, keepdim=True))[0]  # (k,)
        s = (past[-1] - first) / (known.sum(0) - 1).clamp_min(1)
        if self.variant == "normalised" and s.any():
            s = s / s.abs().sum()
        shares = torch.exp(self.beta * s - (self.beta * s).max())
        means = past.nanmean(0)
        if self.variant == "loss-weighted" and means.any():
            shares = shares * means
        return shares * (len(s) / shares.sum())
