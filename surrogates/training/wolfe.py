"""A line search for the strong Wolfe conditions, shared by the quasi-Newton methods."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from surrogates.errors import NumericalError

from .objective import Point
from .optimiser import Turn
from .weighting._base import Balance

_C1, _C2 = 1e-4, 0.9
#: Change of the total, relative to itself, that counts as rounding.
_ROUNDING = 1e-12


class Trial(NamedTuple):
    """A point on the line θ + α d: the total there, its slope along d, its gradient (P,). `value` may be infinite."""

    α: float
    value: float
    slope: float
    gradient: Tensor
    point: Point


class Line:
    """The total along θ + α d, counted."""

    def __init__(self, at: Point, balance: Balance, direction: Tensor, turn: Turn) -> None:
        self.balance, self.direction, self.turn = balance, direction, turn
        g = at.gradient(balance)
        self.start = Trial(0.0, at.total(balance), float(g @ direction), g, at)

    def __call__(self, α: float) -> Trial:
        try:
            point = self.turn.evaluate(self.start.point.θ + α * self.direction)
        except NumericalError:  # the objective says that it isn't defined there
            return self.start._replace(α=α, value=math.inf, slope=math.inf)
        value, g = point.total(self.balance), point.gradient(self.balance)
        if not (point.is_finite and math.isfinite(value) and torch.isfinite(g).all()):
            return self.start._replace(α=α, value=math.inf, slope=math.inf)
        return Trial(α, value, float(g @ self.direction), g, point)

    def falls(self, trial: Trial) -> bool:
        """Sufficient decrease: f(α) <= f(0) + c1 α f'(0)."""
        return trial.value <= self.start.value + _C1 * trial.α * self.start.slope

    def accepts(self, trial: Trial) -> bool:
        """The strong Wolfe conditions, or their form for where f can't be told from f(0) any more.

        Hager & Zhang (2005), SIAM J. Optim. 16, eq. 4.1: near a minimum f's rounding hides a decrease that its slope
        still shows.
        """
        flat = abs(trial.slope) <= -_C2 * self.start.slope
        if flat and self.falls(trial):
            return True
        near = abs(trial.value - self.start.value) <= _ROUNDING * abs(self.start.value)
        return near and _C2 * self.start.slope <= trial.slope <= (2 * _C1 - 1) * self.start.slope


def strong_wolfe(line: Line, first: float, *, attempts: int = 30) -> Trial | None:
    """A point with f(α) <= f(0) + 1e-4 α f'(0) and |f'(α)| <= 0.9 |f'(0)|.

    Nocedal & Wright (2006), algorithms 3.5 (bracketing by doubling) and 3.6 (zooming), with safeguarded cubic steps.
    After `attempts` evaluations it returns the lowest point with sufficient decrease, if there was one.
    """
    previous, α = line.start, first
    best: Trial | None = None
    bracket: tuple[Trial, Trial] | None = None
    for used in range(attempts):
        if bracket is not None:
            α = between(*bracket)
        trial = line(α)
        if line.accepts(trial):
            return trial
        if line.falls(trial) and (best is None or trial.value < best.value):
            best = trial
        if bracket is not None:
            bracket = _narrowed(line, bracket, trial)
        elif not line.falls(trial) or (trial.value >= previous.value and used > 0):
            bracket = (previous, trial)
        elif trial.slope >= 0:
            bracket = (trial, previous)
        else:
            previous, α = trial, 2 * α
        if bracket is not None and abs(bracket[1].α - bracket[0].α) < 1e-14 * max(bracket[1].α, bracket[0].α):
            break
    return best


def _narrowed(line: Line, bracket: tuple[Trial, Trial], trial: Trial) -> tuple[Trial, Trial]:
    """The part of (low, high) that still holds a good point; low is the lower of both values."""
    low, high = bracket
    if not line.falls(trial) or trial.value >= low.value:
        return low, trial
    if trial.slope * (high.α - low.α) >= 0:
        return trial, low
    return trial, high


def between(low: Trial, high: Trial) -> float:
    """Minimiser of the cubic through both values and slopes, kept a tenth away from the ends; else the middle."""
    a, b = low.α, high.α
    middle, room = 0.5 * (a + b), 0.1 * abs(b - a)
    if not math.isfinite(high.value):
        return a + 0.1 * (b - a)
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (a - b)
    inside = d1 * d1 - low.slope * high.slope
    if inside < 0:
        return middle
    d2 = math.copysign(math.sqrt(inside), b - a)
    bottom = high.slope - low.slope + 2 * d2
    if bottom == 0:
        return middle
    found = b - (b - a) * (high.slope + d2 - d1) / bottom
    return found if min(a, b) + room <= found <= max(a, b) - room else middle
