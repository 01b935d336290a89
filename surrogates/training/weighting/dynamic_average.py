"""Dynamic weight average: more weight for losses that fall slowly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.counts import whole

from ._base import Seen, State, positive, ratio


@dataclass(frozen=True)
class DynamicWeightAverage:
    """Softmax of the losses' relative change from epoch to epoch (DWA).

        w_i(t) = k softmax_i( r_i(t-1) / T )         r_i(t-1) = L_i(t-1) / L_i(t-2)

    L_i(t) is the mean loss over the steps of epoch t, `every` of them. Liu, Johns & Davison, arXiv:1803.10704, on dynamic
    weight average. The weights sum to k, are 1 in the first two epochs, and don't depend on the losses' units.

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
        whole(self.every, "every")

    def init(self, seen: Seen) -> State:
        ones = torch.ones_like(seen.losses)
        zeros = torch.zeros_like(ones)
        return {"weights": ones, "sum": zeros, "count": zeros.clone(), "means": ones.new_zeros((0, len(ones)))}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        w, means, total = state["weights"], state["means"], state["sum"]
        # checkpoints of earlier versions have no count: every loss was there at every step
        count = state.get("count", torch.full_like(total, (seen.step - 1) % self.every + 1 if seen.step else 0))
        if seen.step and seen.step % self.every == 0:  # an epoch has ended with the step before
            means = torch.cat([means, (total / count)[None]])[-2:]  # NaN where it wasn't there at all
            total, count = torch.zeros_like(total), torch.zeros_like(count)
            if len(means) == 2:
                change = ratio(means[1], means[0]).nan_to_num(nan=1.0)
                w = len(w) * torch.softmax(change / self.temperature, dim=0)
        return w, {"weights": w, "sum": total + seen.losses, "count": count + 1, "means": means}
