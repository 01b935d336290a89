"""AdamW for modules: settings and the schedule of its rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from surrogates.errors import DataError

from .weighting._base import geometric, one_of, positive


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled decay and a scheduled rate, in torch's fused form; see `Adam` for the equations.

    Parameters
    ----------
    rate : highest rate
    schedule : "constant"; "cosine", rate_t = final + (rate - final)(1 + cos πp)/2; or "geometric", rate (final/rate)^p;
        with p the share of the steps after the warm-up
    final_rate : where the schedule ends
    warm_up : share of all steps in which the rate rises linearly from 0
    weight_decay : share of the parameters that is taken off per unit of rate
    betas, epsilon : memory of the two moments; what keeps the division safe
    clip : longest gradient (Euclidean, of all parameters together) that is used unshortened; None: no bound

    Examples
    --------
    >>> [round(AdamW(rate=1.0, final_rate=0.01, warm_up=0.2).rate_at(step, 10), 3) for step in range(0, 10, 3)]
    [0.5, 0.951, 0.395, 0.01]
    """

    rate: float = 1e-3
    schedule: Literal["constant", "cosine", "geometric"] = "cosine"
    final_rate: float = 1e-5
    warm_up: float = 0.02
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip: float | None = None

    def __post_init__(self) -> None:
        one_of(self.schedule, "schedule", ("constant", "cosine", "geometric"))
        for name in ("rate", "final_rate", "epsilon"):
            positive(getattr(self, name), name)
        positive(self.weight_decay, "weight_decay", zero=True)
        if self.clip is not None:
            positive(self.clip, "clip")
        if not 0.0 <= self.warm_up < 1.0:
            raise DataError(f"warm_up is {self.warm_up!r}; it must be a share in [0, 1)")
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise DataError(f"betas are {self.betas!r}; they must be two numbers in [0, 1)")

    def rate_at(self, step: int, max_steps: int) -> float:
        """Of the step after `step` others."""
        first = int(self.warm_up * max_steps)
        if step < first:
            return self.rate * (step + 1) / first
        if self.schedule == "constant":
            return self.rate
        if self.schedule == "geometric":
            return geometric(self.rate, self.final_rate, step - first, max_steps - first)
        p = (step - first) / max(max_steps - first - 1, 1)
        return self.final_rate + (self.rate - self.final_rate) * (1 + math.cos(math.pi * p)) / 2
