"""Learning-rate annealing: gradients of the data losses brought to the size of the residual's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import Seen, State, fraction, index_of


@dataclass(frozen=True)
class LearningRateAnnealing:
    """Weights from gradient statistics, relative to one loss that keeps weight 1.

        ŵ_i = max|∇L_r| / mean|∇L_i|        w_i <- memory w_i + (1 - memory) ŵ_i       (i ≠ r)

    Max and mean are over the parameters. Wang, Teng & Perdikaris, arXiv:2001.04536, algorithm 1 (their
    λ_i = (1-α) λ_i + α λ̂_i; the memory of 0.9 and the update each ten steps are those of their published code).

    The unit of L_i drops out of ŵ_i L_i. A max over a mean makes even equal losses unequal: the data losses get more
    weight, the more so the more parameters there are. A gradient that is 0 leaves its weight as it was.

    Parameters
    ----------
    reference : name of L_r; None: the first loss
    memory : share of the old weight
    every : steps between two updates; each costs k gradients

    Examples
    --------
    >>> from surrogates.training import LearningRateAnnealing
    >>> LearningRateAnnealing(every=0)
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: every is 0; it must be an integer >= 1
    """

    reference: str | None = None
    memory: float = 0.9
    every: int = 10

    def __post_init__(self) -> None:
        fraction(self.memory, "memory")
        whole(self.every, "every")

    def init(self, seen: Seen) -> State:
        self._reference(seen)
        return {"weights": torch.ones_like(seen.losses)}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        w = state["weights"]
        if seen.step % self.every:
            return w, state
        r, sizes = self._reference(seen), seen.gradients().abs()  # (k, P)
        means = sizes.mean(1)
        wanted = torch.where(means > 0, sizes[r].max() / torch.where(means > 0, means, 1.0), w)
        w = self.memory * w + (1 - self.memory) * wanted
        w[r] = 1.0
        return w, {"weights": w}

    def _reference(self, seen: Seen) -> int:
        return 0 if self.reference is None else index_of(self.reference, seen.names, "the reference loss")
