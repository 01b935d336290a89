"""What is kept of a run: the total of each step, and a thinned table of losses and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

#: Rows of the table. When it is full, every second row goes and from then on only every second step is kept.
MOST_ROWS = 2000


class Trace:
    """Grows by one entry per step. Which rows are kept depends on the steps' numbers only, so a resumed run agrees.

    >>> import torch
    >>> trace = Trace()
    >>> for step in range(5000):
    ...     trace.add(float(step), torch.ones(2), torch.ones(2))
    >>> len(trace.totals), trace.steps[:3], len(trace.steps)
    (5000, [0, 4, 8], 1250)
    """

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.least: list[float] = []  # the least total so far
        self.steps: list[int] = []
        self.losses: list[NDArray[np.float64]] = []
        self.weights: list[NDArray[np.float64]] = []
        self.stride = 1

    def add(self, total: float, losses: Tensor, weights: Tensor) -> None:
        step = len(self.totals)
        self.totals.append(total)
        self.least.append(min(total, self.least[-1]) if self.least else total)
        if step % self.stride == 0:
            self.put(step, losses, weights)
            if len(self.steps) >= MOST_ROWS:
                self.stride *= 2
                self.steps, self.losses, self.weights = self.steps[::2], self.losses[::2], self.weights[::2]

    def put(self, step: int, losses: Tensor, weights: Tensor) -> None:
        """Add a row to the table."""
        self.steps.append(step)
        self.losses.append(losses.numpy().copy())
        self.weights.append(weights.numpy().copy())

    def stalled(self, window: int, improvement: float) -> bool:
        if len(self.least) <= window:
            return False
        before, now = self.least[-1 - window], self.least[-1]
        return before - now < improvement * abs(before)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, for a checkpoint."""
        return {
            "totals": np.array(self.totals),
            "steps": np.array(self.steps, dtype=np.int64),
            "losses": np.array(self.losses),
            "weights": np.array(self.weights),
            "stride": np.array(self.stride),
        }

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Trace:
        """What `arrays` describes."""
        trace = cls()
        trace.totals = arrays["totals"].tolist()
        trace.least = np.minimum.accumulate(arrays["totals"]).tolist() if trace.totals else []
        trace.steps, trace.stride = arrays["steps"].tolist(), int(arrays["stride"])
        trace.losses, trace.weights = list(arrays["losses"]), list(arrays["weights"])
        return trace
