"""What the tests of the training room share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from surrogates.training import Seen, Weighting


@dataclass
class Glimpse:
    """What a weighting sees, made by hand."""

    losses: Tensor
    step: int = 0
    jacobian: Tensor | None = None
    vectors: Mapping[str, Tensor] = field(default_factory=dict)
    traces: Tensor | None = None
    max_steps: int = 100
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.vectors) or tuple(f"l{i}" for i in range(len(self.losses)))

    def gradients(self) -> Tensor:
        assert self.jacobian is not None
        return self.jacobian

    def residuals(self) -> Mapping[str, Tensor]:
        return self.vectors

    def residual_traces(self, probes: int | None = None) -> Tensor:
        assert self.traces is not None
        return self.traces


Glimpses = Callable[..., Seen]


@pytest.fixture
def glimpse() -> Glimpses:
    return Glimpse


def weights_along(weighting: Weighting, seen: list[Seen]) -> list[Tensor]:
    """The weights (k,) that a weighting gives for one glimpse after the other."""
    state, found = weighting.init(seen[0]), []
    for one in seen:
        answer, state = weighting.step(state, one)
        found.append(answer if isinstance(answer, Tensor) else answer.weights)
    return found


@pytest.fixture
def along() -> Callable[[Weighting, list[Seen]], list[Tensor]]:
    return weights_along
