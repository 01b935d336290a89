"""FAMO: all losses fall at the same relative rate, without a gradient for each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Seen, State, adam_change, adam_moments, positive
from .sum_of_logs import power


@dataclass(frozen=True)
class FAMO:
    """Fast adaptive multitask optimisation: descent on Σ z_i log L_i with z = softmax(ξ) learnt from the decreases.

        w_i = k c z_i / L_i,   c = 1 / Σ_j z_j / L_j          (weights that sum to k)
        ξ <- ξ - rate (δ + decay ξ),   δ = (diag z - zz') (log L(θ_t) - log L(θ_t+1))

    Liu et al., arXiv:2306.03792, algorithm 1: z moves towards losses that have fallen the least. Both w_i L_i
    and δ are free of the losses' units.

    Where we differ: the weights sum to k (the paper's to 1); δ is seen one step later, when the new losses are known
    anyway, which is the same for losses that don't change between steps by themselves. As in the paper's code, ξ moves
    by an Adam. A loss that is exactly 0 gets weight 0 and no δ; the losses must not be negative.

    torchjd has FAMO too, but its optimiser isn't part of its state_dict, so no checkpoint could hold it.

    Parameters
    ----------
    rate : of ξ
    decay : pull of ξ towards 0
    """

    rate: float = 0.025
    decay: float = 1e-3

    def __post_init__(self) -> None:
        positive(self.rate, "rate")
        positive(self.decay, "decay", zero=True)

    def init(self, seen: Seen) -> State:
        ξ = torch.zeros_like(seen.losses)
        return {"logits": ξ, "previous": seen.losses.clone()} | adam_moments(ξ)

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        L, ξ, moments = seen.losses, state["logits"], state
        if seen.step:
            z = torch.softmax(ξ, dim=0)
            both = (L > 0) & (state["previous"] > 0)
            fall = torch.where(both, torch.log(state["previous"] / torch.where(both, L, 1.0)), 0.0)
            change, moments = adam_change(state, z * (fall - z @ fall) + self.decay * ξ)
            ξ = ξ - self.rate * change
        shares = torch.softmax(ξ, dim=0) * power(L, 1.0)
        weights = shares * (len(L) / shares.sum()) if shares.any() else torch.ones_like(L)
        kept = {name: moments[name] for name in ("mean", "square", "count")}
        return weights, {"logits": ξ, "previous": L.clone()} | kept
