"""When a run ends: goals, limits, stalls, and a value that is watched besides the losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from surrogates.counts import whole
from surrogates.errors import DataError, NumericalError

#: θ (P,) -> a number that should become small, from data that the losses don't see.
Validation = Callable[[Tensor], float]


@dataclass(frozen=True)
class Stopping:
    """Goals and limits of a run; those that are None aren't looked at.

    Parameters
    ----------
    max_steps : limit of steps; schedules of rates end there
    loss : goal: the total is no greater
    gradient : goal: no entry of the total's gradient is greater in size
    window, improvement : stalled where the least total fell by less than this share of itself in so many steps
    max_seconds : limit of time, that of earlier parts of a resumed run included
    patience, validate_every : of the validation: its value is taken each `validate_every` steps, and after `patience`
        values in a row that are no better than the best, the run ends

    Examples
    --------
    >>> Stopping(max_steps=0.5)
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: max_steps is 0.5; it must be an integer >= 0
    """

    max_steps: int = 1000
    loss: float | None = None
    gradient: float | None = None
    window: int | None = None
    improvement: float = 1e-3
    max_seconds: float | None = None
    patience: int = 10
    validate_every: int = 10

    def __post_init__(self) -> None:
        for name, least in (("max_steps", 0), ("patience", 1), ("validate_every", 1)):
            whole(getattr(self, name), name, least=least)
        if self.window is not None:
            whole(self.window, "window")
        for label, number in (("gradient", self.gradient), ("max_seconds", self.max_seconds)):
            if number is not None and not number >= 0:
                raise DataError(f"{label} is {number!r}; it must be a number >= 0, or None")
        if self.loss is not None and math.isnan(self.loss):
            raise DataError("loss is NaN; it must be a number, or None")
        if not 0.0 < self.improvement < 1.0:
            raise DataError(f"improvement is {self.improvement!r}; it must be a share between 0 and 1")


@dataclass
class Best:
    """The best parameters seen by the validation."""

    θ: Tensor
    value: float = math.inf
    step: int = 0
    waited: int = 0  # values since then

    def look(self, validation: Validation, θ: Tensor, step: int) -> None:
        value = float(validation(θ))
        if step == 0 and math.isnan(value):
            raise NumericalError("the validation value is NaN at the start; check the function and its data")
        if value < self.value or step == 0:
            self.θ, self.value, self.step, self.waited = θ, value, step, 0
        else:  # NaN, too
            self.waited += 1
