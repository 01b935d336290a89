"""GradNorm: gradients of equal size, larger for losses that train slowly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.errors import DataError

from ._base import Seen, State, adam_change, adam_moments, positive, ratio

#: No weight falls below this share of the mean before normalisation.
_LEAST = 1e-4


@dataclass(frozen=True)
class GradNorm:
    """Weights that bring each loss's gradient to a common size, times its relative inverse training rate.

        G_i = w_i |∇_W L_i|     r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0))     A = Σ |G_i - mean(G) r_i^α|

    A is lowered over w, mean(G) r_i^α being held fixed; then w is scaled to sum to k. Chen et al., arXiv:1711.02257,
    section 3.2 and algorithm 1.

    Where we differ: A's gradient sign(G_i - ...) |∇L_i| goes through an Adam, so that `rate` has no units; weights are
    kept above 1e-4. A loss that starts at exactly 0 counts as having made no progress.

    Parameters
    ----------
    alpha : strength of the pull towards equal training rates; 0: equal gradients
    rate : of the weights' Adam
    shared : first and last (exclusive) index of the parameters W that the norms are taken over, as the paper takes the
        last shared layer; None: all

    Examples
    --------
    >>> from surrogates.training import GradNorm
    >>> GradNorm(alpha=-1.0)
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: alpha is -1.0; it must be a finite number >= 0
    """

    alpha: float = 1.5
    rate: float = 0.025
    shared: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha", zero=True)
        positive(self.rate, "rate")
        if self.shared is not None and not 0 <= self.shared[0] < self.shared[1]:
            raise DataError(f"shared is {self.shared!r}; it must be (first, last) with 0 <= first < last")

    def init(self, seen: Seen) -> State:
        weights = torch.ones_like(seen.losses)
        return {"weights": weights, "initial": seen.losses.clone()} | adam_moments(weights)

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        w = state["weights"]
        rows = seen.gradients() if self.shared is None else seen.gradients()[:, slice(*self.shared)]
        norms = rows.norm(dim=1)  # (k,)
        slope = torch.sign(w * norms - self.targets(w * norms, seen.losses, state["initial"])) * norms
        change, moments = adam_change(state, slope)
        moved = (w - self.rate * change).clamp_min(_LEAST)
        following = moved * (len(w) / moved.sum())
        return w, {"weights": following, "initial": state["initial"]} | moments

    def targets(self, G: Tensor, L: Tensor, initial: Tensor) -> Tensor:
        """mean(G) r_i^α (k,)."""
        progress = torch.where(initial == 0, 1.0, ratio(L, initial))
        r = ratio(progress, progress.mean().expand_as(progress))
        return G.mean() * r.clamp_min(0.0) ** self.alpha
