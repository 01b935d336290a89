"""ReLoBRaLo: losses balanced by their progress since the last step, or since the start."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Seen, State, fraction, positive, ratio


@dataclass(frozen=True)
class ReLoBRaLo:
    """Relative loss balancing with random lookback.

        b_i(t, t') = k softmax_i( L_i(t) / (T L_i(t')) )
        w(t) = α (ρ w(t-1) + (1-ρ) b(t, 0)) + (1-α) b(t, t-1),       ρ drawn from Bernoulli(lookback)

    Bischof & Kraus, arXiv:2110.09813 (defaults ours, near theirs). The weights sum to k, and don't depend on the
    losses' units. They start at 1 and stay there while all losses shrink by the same factor. Measured on
    Euler-Lagrange residuals they stay near 1.

    The losses of step 0 are their own past: b(0, 0) = 1. A past loss of exactly 0 counts as a ratio of 1, or of a
    million if the loss has risen since.

    Parameters
    ----------
    memory : α, of the weights
    temperature : T; the larger, the more equal the weights
    lookback : expectation of ρ, near 1: 1 - lookback is the share of steps that look back to the start

    Examples
    --------
    >>> from surrogates.training import ReLoBRaLo
    >>> ReLoBRaLo(memory=1.5)
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: memory is 1.5; it must lie between 0 and 1
    """

    memory: float = 0.999
    temperature: float = 0.1
    lookback: float = 0.999

    def __post_init__(self) -> None:
        fraction(self.memory, "memory")
        fraction(self.lookback, "lookback")
        positive(self.temperature, "temperature")

    def init(self, seen: Seen) -> State:
        L = seen.losses.clone()
        return {"weights": torch.ones_like(L), "initial": L, "previous": L}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        L, α = seen.losses, self.memory
        ρ = float(torch.rand((), generator=seen.generator) < self.lookback)
        kept = ρ * state["weights"] + (1 - ρ) * self.balance(L, state["initial"])
        w = α * kept + (1 - α) * self.balance(L, state["previous"])
        return w, {"weights": w, "initial": state["initial"], "previous": L.clone()}

    def balance(self, now: Tensor, then: Tensor) -> Tensor:
        """b (k,): the larger, the less a loss has fallen since."""
        return len(now) * torch.softmax(ratio(now, then) / self.temperature, dim=0)
