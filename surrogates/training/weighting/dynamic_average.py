"""Dynamic weight average: more weight for losses that fall slowly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import Seen, State, at_least, positive, ratio


@dataclass(frozen=True)
class DynamicWeightAverage:
    """Softmax of the losses' relative change from epoch to epoch (DWA).

        w_i(t) = k softmax_i( r_i(t-1) / T )         r_i(t-1) = L_i(t-1) / L_i(t-2)

    L_i(t) is the mean loss over epoch t, of `every` steps. Liu, Johns & Davison, arXiv:1803.10704, on dynamic weight
    average. The weights sum to k, are 1 in the first two epochs, and don't depend on the losses' units.

    torchjd has DWA too, but its history isn't part of its state_dict, so no checkpoint could hold it.

    Parameters
    ----------
    temperature : T; the larger, the more equal the weights
    every : steps of an epoch
    """

    temperature: float = 2.0
    every: int = 100

    def __post_init__(self) -> None:
        positive(self.temperature, "temperature")
        at_least(self.every, 1, "every")

    def init(self, seen: Seen) -> State:
        ones = torch.ones_like(seen.losses)
        return {"weights": ones, "sum": torch.zeros_like(ones), "means": ones.new_zeros((0, len(ones)))}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        w, means, total = state["weights"], state["means"], state["sum"]
        if seen.step and seen.step % self.every == 0:  # an epoch has ended with the step before
            means = torch.cat([means, total[None] / self.every])[-2:]
            total = torch.zeros_like(total)
            if len(means) == 2:
                w = len(w) * torch.softmax(ratio(means[1], means[0]) / self.temperature, dim=0)
        return w, {"weights": w, "sum": total + seen.losses, "means": means}
