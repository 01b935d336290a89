"""Adam on variables of tasks and pairs, some of which are absent from a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from ..weighting._base import BETAS, EPSILON, State


def masked_moments(like: Tensor) -> State:
    """The moments at the start, with a count of moves for each entry."""
    zeros = torch.zeros_like(like)
    return {"mean": zeros, "square": zeros.clone(), "moves": torch.zeros(like.shape, dtype=torch.int64)}


def masked_adam(state: State, name: str, slope: Tensor, rate: float, mask: Tensor) -> State:
    """The variable `name` and its moments after a move of those entries that are in `mask`; the others stay.

    Kingma & Ba, arXiv:1412.6980, algorithm 1, each entry with a step count of its own.
    """
    moves = state["moves"] + mask
    mean = torch.where(mask, BETAS[0] * state["mean"] + (1 - BETAS[0]) * slope, state["mean"])
    square = torch.where(mask, BETAS[1] * state["square"] + (1 - BETAS[1]) * slope**2, state["square"])
    t = moves.clamp_min(1).to(mean.dtype)
    change = mean / (1 - BETAS[0] ** t) / ((square / (1 - BETAS[1] ** t)).sqrt() + EPSILON)
    moved = state[name] - rate * torch.where(mask, change, 0.0)
    return {name: moved, "mean": mean, "square": square, "moves": moves}
