"""Balancing of m tasks with one backward pass and one forward pass: a look ahead instead of a Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import SeenTasks, State, fraction, one_of, positive


@dataclass(frozen=True)
class LookAhead:
    """Zeroth-order balancing, after the abstract of MARIGOLD (Chen et al., arXiv:2603.07389); **the construction is ours**.

    That paper's algorithm isn't public to us: it poses balancing as a bi-level problem and solves it by zeroth-order
    steps, without all tasks' gradients. With d = G'λ, one backward pass of Σ λ_i L_i, a forward pass at θ - αd gives

        (Mλ)_i = g_i·d = [L_i(θ) - L_i(θ - αd)] / α + O(α)                                                        (1)
        λ <- Proj_simplex(λ - rate · u)                                                                           (2)

    goal "minimum-norm": c = p λ, p the number of tasks that are present, and u_i = (Mλ)_i / max_j |(Mλ)_j|: (2) is a
    projected gradient step on ½|G'λ|², as in MGDA.

    goal "even": the same for log L_i, so that units don't matter and relative decreases are evened out: c_i = s λ_i / L_i
    with s such that Σ c_i = p, u_i = r_i / max_j |r_j|, r_i = (Mc)_i / L_i. A task that falls slower than the others, as
    a share of itself, gains weight. A loss that is 0 has weight 0.

    α is chosen so that (1) foresees Σ c_i L_i to fall by the share `fall`: α c'Mc = fall · Σ c_i L_i. The error of (1) is
    of order `fall`, its noise of order ε/`fall`. The weights used at a step are those that the look ahead starts from, so
    the backward pass is the step's own; λ moves for the next step.

    Parameters
    ----------
    goal : "even" or "minimum-norm"
    rate : of λ
    fall : share of the losses that a look ahead is to take off
    every : steps between two looks; a look costs a forward pass, about half of a plain step
    floor : least share of a task, of the even one among those that are present: λ_i >= floor / p, so that none is lost from
        sight
    """

    goal: Literal["even", "minimum-norm"] = "even"
    rate: float = 0.02
    fall: float = 0.01
    every: int = 2
    floor: float = 0.05

    def __post_init__(self) -> None:
        one_of(self.goal, "goal", ("even", "minimum-norm"))
        whole(self.every, "every")
        fraction(self.floor, "floor")
        positive(self.rate, "rate")
        positive(self.fall, "fall")

    def init(self, m: int) -> State:
        return {"shares": torch.full((m,), 1.0 / m, dtype=torch.float64)}

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        is_even = self.goal == "even"
        present = seen.present & (seen.losses != 0) if is_even else seen.present
        p, total = int(present.sum()), float(state["shares"][present].sum())  # what these have among them
        even = torch.full_like(state["shares"], 1.0 / max(p, 1))
        λ = torch.where(present, state["shares"] / total if total > 0.0 else even, 0.0)
        L = torch.where(present, seen.losses.abs(), 1.0) if is_even else torch.ones_like(λ)
        c = p * (λ / L) / (λ / L).sum() if p else λ
        gains = None if p < 2 or seen.step % self.every else foreseen(seen, c, self.fall)
        if gains is None:
            return c, state
        u = (gains / L)[present]
        moved = λ[present] - self.rate * u / u.abs().max().clamp_min(1e-300)
        shares = state["shares"].clone()
        shares[present] = total * project(moved, self.floor / p)
        return c, {"shares": shares}


def foreseen(seen: SeenTasks, c: Tensor, fall: float) -> Tensor | None:
    """(Mc)_i (m,) of equation 1, 0 where absent; None where there is nothing to divide by."""
    losses = torch.where(seen.present, seen.losses, 0.0)
    slope, level = seen.slope(c), float(c @ losses.abs())
    if not (slope > 0.0 and level > 0.0):
        return None
    α = fall * level / slope
    there = torch.where(seen.present, seen.ahead(c, α), 0.0)
    return (losses - there) / α if bool(torch.isfinite(there).all()) else None


def project(v: Tensor, floor: float = 0.0) -> Tensor:
    """The nearest point to v (p,) with entries >= floor and sum 1.

    By the threshold of the sorted entries (Duchi et al. 2008, figure 1).

    >>> project(torch.tensor([0.6, 0.6, -1.0]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    room = 1.0 - floor * len(v)
    ordered = (v - floor).sort(descending=True).values
    excess = (ordered.cumsum(0) - room) / torch.arange(1, len(v) + 1, dtype=v.dtype)
    count = int((ordered > excess).sum())
    return (v - floor - excess[max(count, 1) - 1]).clamp_min(0.0) + floor
