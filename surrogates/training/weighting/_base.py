"""What a loss weighting is: frozen configuration, two pure functions, and a state of tensors that the loop keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from surrogates.errors import DataError

#: A weighting's or an optimiser's memory. Tensors only, so that a checkpoint holds it bit for bit.
State = dict[str, Tensor]


class Seen(Protocol):
    """What a weighting may look at before a step. All tensors are detached; what costs something is computed on demand."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the k losses, in the order of every (k,) tensor."""

    @property
    def losses(self) -> Tensor:
        """(k,) at the current parameters."""

    @property
    def step(self) -> int:
        """Steps done so far: 0 at the start."""

    @property
    def max_steps(self) -> int:
        """Steps that the run may take, for schedules."""

    @property
    def generator(self) -> torch.Generator:
        """The only source of randomness; a checkpoint holds its state."""

    def gradients(self) -> Tensor:
        """(k, P) Jacobian of the losses; k backward passes."""

    def residuals(self) -> Mapping[str, Tensor]:
        """(M_i,) of each loss that is given as a vector of residuals."""

    def residual_traces(self, probes: int | None = None) -> Tensor:
        """(k,) traces of J_i J_iᵀ, J_i = ∂r_i/∂θ; exact, or Hutchinson's unbiased estimate from so many probes."""


@dataclass(frozen=True, eq=False)
class Balance:
    """How the losses are combined at one step.

    weights : (k,) of the losses, as recorded in the trace
    points : (M_i,) further weights of the single residuals of some losses: L_i = mean(λ_i r_i²)
    direction : (P,) used in place of the gradient of the weighted sum, where a method gives no weights; only optimisers
        that need nothing but a gradient take it
    """

    weights: Tensor
    points: Mapping[str, Tensor] | None = None
    direction: Tensor | None = None


class Weighting(Protocol):
    """Adaptive loss weights: pure functions of a state that the caller keeps."""

    def init(self, seen: Seen) -> State:
        """The state before the first step."""

    def step(self, state: State, seen: Seen) -> tuple[Tensor | Balance, State]:
        """Weights (k,) of the losses for the coming step, or a whole `Balance`, and the next state."""


def positive(value: float, name: str, *, zero: bool = False) -> None:
    """Check a number of a configuration.

    >>> positive(-1.0, "rate")
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: rate is -1.0; it must be a finite number > 0
    """
    if not (0.0 <= value < float("inf")) or (value == 0.0 and not zero):
        raise DataError(f"{name} is {value!r}; it must be a finite number {'>= 0' if zero else '> 0'}")


def fraction(value: float, name: str) -> None:
    """Check a number of a configuration that must lie in [0, 1]."""
    if not 0.0 <= value <= 1.0:
        raise DataError(f"{name} is {value!r}; it must lie between 0 and 1")


def one_of(value: str, name: str, known: tuple[str, ...]) -> None:
    """Check a word of a configuration."""
    if value not in known:
        raise DataError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, known))}")


def index_of(name: str, names: tuple[str, ...], role: str) -> int:
    """Position of a loss that a configuration names."""
    if name not in names:
        raise DataError(f"{role} is {name!r}, but the losses are called {', '.join(map(repr, names))}")
    return names.index(name)


def ratio(new: Tensor, old: Tensor) -> Tensor:
    """new / old, where 0/0 is 1 (nothing happened) and x/0 is at most a million, so that it stays finite.

    >>> ratio(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([2.0, 0.0, 0.0]))
    tensor([5.0000e-01, 1.0000e+00, 1.0000e+06])
    """
    plain = new / torch.where(old == 0, 1.0, old)
    return torch.where(old == 0, torch.where(new == 0, 1.0, torch.sign(new) * 1e6), plain)


#: Memories and safeguard of the Adam that moves a weighting's own variables.
BETAS, EPSILON = (0.9, 0.999), 1e-8


def adam_moments(like: Tensor) -> State:
    """Both moments of an Adam at its start; they go into a weighting's state."""
    return {"mean": torch.zeros_like(like), "square": torch.zeros_like(like), "count": torch.tensor(0)}


def adam_change(state: State, slope: Tensor) -> tuple[Tensor, State]:
    """What Adam takes off per unit of rate, and the moments after it (Kingma & Ba, arXiv:1412.6980, algorithm 1)."""
    t = int(state["count"]) + 1
    mean = BETAS[0] * state["mean"] + (1 - BETAS[0]) * slope
    square = BETAS[1] * state["square"] + (1 - BETAS[1]) * slope**2
    change = mean / (1 - BETAS[0] ** t) / ((square / (1 - BETAS[1] ** t)).sqrt() + EPSILON)
    return change, {"mean": mean, "square": square, "count": torch.tensor(t)}


def geometric(rate: float, final_rate: float | None, step: int, max_steps: int) -> float:
    """A rate that goes from `rate` at step 0 to `final_rate` at the last step, by a constant factor.

    >>> [geometric(1.0, 0.01, step, 3) for step in range(3)]
    [1.0, 0.1, 0.01]
    """
    if final_rate is None or max_steps < 2:
        return rate
    share = min(step / (max_steps - 1), 1.0)
    return float(rate * (final_rate / rate) ** share)
