"""FAMO on batches: the decreases are those that a look ahead foresees on the same batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import SeenTasks, State, positive
from ._masked import masked_adam, masked_moments
from .lookahead import foreseen


@dataclass(frozen=True)
class AheadFAMO:
    """Fast adaptive multitask optimisation for batches: equal relative decreases.

        w_i = p c z_i / L_i,   c = 1 / Σ_j z_j / L_j,   z = softmax(ξ)
        ξ <- ξ - rate Adam(J'δ + decay ξ),   J = diag z - zz',   δ_i = log L_i(θ_t) - log L_i(θ_{t+1}), same batch

    Liu et al., arXiv:2306.03792, algorithm 1. The decrease must be seen on *one* batch: between two batches losses differ
    by chance more than by a step, and `weighting.FAMO`, which compares with the loss of the step before, would follow that
    chance. The paper evaluates the batch again after the step; we look ahead along -G'w instead (see `LookAhead`), by a
    step that takes off the share `fall`, so that z'δ = fall, whatever the network's optimiser makes of the direction.
    `decay` is to be seen against it: it holds ξ where relative decreases differ by less than about decay |ξ| / fall.

    The weights sum to the number p of tasks that are present, z over these. A loss that is 0 has weight 0.

    Parameters
    ----------
    rate : of ξ
    decay : pull of ξ towards 0
    fall : share of the losses that a look ahead is to take off
    every : steps between two looks; ξ is kept in between
    """

    rate: float = 0.025
    decay: float = 1e-3
    fall: float = 0.01
    every: int = 2

    def __post_init__(self) -> None:
        whole(self.every, "every")
        positive(self.rate, "rate")
        positive(self.fall, "fall")
        positive(self.decay, "decay", zero=True)

    def init(self, m: int) -> State:
        ξ = torch.zeros(m, dtype=torch.float64)
        return {"logits": ξ, **masked_moments(ξ)}

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        ξ, counts = state["logits"], seen.present & (seen.losses > 0)
        if not counts.any():
            return torch.zeros_like(ξ), state
        L = torch.where(counts, seen.losses, 1.0)
        z = torch.where(counts, torch.softmax(ξ.masked_fill(~counts, -torch.inf), 0), 0.0)
        w = int(counts.sum()) * z / L / (z / L).sum()
        gains = None if seen.step % self.every or int(counts.sum()) < 2 else foreseen(seen, w, self.fall)
        if gains is None:
            return w, state
        δ = torch.where(counts, gains / L, 0.0)  # log L - log(L - αg) to first order, per α
        # α, so that z'δ = fall: were δ of size one, the decay could not hold ξ, which then follows the slowest task for ever
        δ = δ * (self.fall / (z @ δ).clamp_min(1e-300))
        slope = z * (δ - z @ δ) + self.decay * ξ
        return w, masked_adam(state, "logits", slope, self.rate, counts)
