"""What an optimiser is: frozen configuration and a pure step; and how a run may end."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .objective import JacobianMode, Point
from .weighting._base import Balance, State


class Ending(enum.Enum):
    """How a run of `minimize` ended."""

    LOSS_REACHED = "the total fell to the value asked for"
    STATIONARY = "the gradient fell to the size asked for"
    VALIDATED = "the validation value stopped improving; the best parameters are kept"
    STEP_LIMIT = "stopped at the step limit before any goal was reached"
    TIME_LIMIT = "stopped at the time limit before any goal was reached"
    STALLED = "the total fell by less than asked for within the window"
    NO_DESCENT = "no step was found that lowers the total"
    NOT_FINITE = "a loss or a gradient became NaN or infinite; the last finite parameters are kept"

    @property
    def is_success(self) -> bool:
        """Whether a goal was reached. Limits, stalls and NaN are never a success."""
        return self in (Ending.LOSS_REACHED, Ending.STATIONARY, Ending.VALIDATED)


@dataclass(frozen=True)
class Move:
    """What one step did.

    θ : (P,) where it leads; point : the losses there, if they are known already; ending : why it can't go on
    """

    θ: Tensor
    state: State
    point: Point | None = None
    ending: Ending | None = None


@dataclass(frozen=True)
class Turn:
    """What an optimiser is given beside the point: how to evaluate others, and how far the run is."""

    evaluate: Callable[[Tensor], Point]
    step: int
    max_steps: int


class Optimiser(Protocol):
    """A rule that turns a point and a combination of its losses into the next point."""

    @property
    def by_jacobian(self) -> JacobianMode | None:
        """None if it follows the losses' gradient; else how to take the residuals' Jacobian, on which it works."""

    @property
    def takes_directions(self) -> bool:
        """Whether any direction will do in the gradient's place; a line search needs the true one."""

    def init(self, θ: Tensor) -> State:
        """The state before the first step."""

    def step(self, at: Point, balance: Balance, state: State, turn: Turn) -> Move:
        """One step from a finite point."""
