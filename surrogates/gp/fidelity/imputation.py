"""Values of a parent where a child was read and the parent wasn't, and the parent's posterior given them.

Multiple imputation (Rubin 1987): each draw of the unknown values is taken as known, the child is fitted to it, and draws
count by how probable they make the child's readings, p(y_l | f_p). A few draws estimate ∫ p(y_l | f_p) p(f_p | y_p) df_p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..collapse import Readings
from ..core import Core
from ..fitting import conditioner, make_problem
from ..noise import KnownNoise
from ..process import Conditioned, distinct_places, met_places

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pins:
    """Values (r,) of a level at inputs x (r, d), or (r, d + 1) with its own parent's value, that count as known."""

    x: Floats
    task: Integers
    y: Floats

    def beside(self, other: Pins | None, d: int) -> Pins:
        """With the pins that were there before; of two at one (task, place) of d inputs, the earlier one stays."""
        x, task, y = self.x, self.task, self.y
        if other is not None:
            x, task, y = np.concatenate([other.x, x]), np.concatenate([other.task, task]), np.concatenate([other.y, y])
        first, place = distinct_places(x[:, :d], task)
        earliest = np.full(len(first), len(x))
        np.minimum.at(earliest, place, np.arange(len(x)))
        kept = np.sort(earliest)
        return Pins(x[kept], task[kept], y[kept])


def pinned(core: Core, draw: int, pins: Pins | None) -> Conditioned:
    """A level's posterior at one of its draws, given further values of its function.

    Noise becomes known noise of that draw's variances, so that readings and values without noise go together.
    """
    readings = core.scaled.readings
    if pins is not None:
        pins = _unread(pins, readings, core.settings.blind)
    if pins is None or not len(pins.y):
        process = core.processes[draw]
        assert isinstance(process, Conditioned)
        return process
    parts = core.layout.split(core.draws.parameters[draw])
    noise = core.problem.objective.design.noise
    known = isinstance(noise, KnownNoise)
    variance = np.concatenate([noise.reading_variance(parts.log_noise), np.zeros(len(pins.y))])
    more = Readings(
        np.concatenate([readings.x, pins.x]),
        np.concatenate([readings.y, pins.y]),
        np.concatenate([readings.task, pins.task]),
        readings.tasks,
        np.zeros(len(variance), dtype=np.int64),
        ("known",),
        variance,
        readings.exact,
    )
    scaled, settings = replace(core.scaled, readings=more), replace(core.settings, noise="known")
    problem = make_problem(scaled, settings)
    nugget = parts.log_noise if known else np.full(1, math.log(readings.exact))
    names = problem.objective.design.noise.names
    θ = problem.objective.layout.join(parts.log_shapes, parts.sharing, nugget[: len(names)])
    process = conditioner(problem, settings, scaled.trend)(θ)
    assert isinstance(process, Conditioned)  # levels have the dense solver
    return process


def _unread(pins: Pins, readings: Readings, blind: int) -> Pins:
    """Pins away from exact readings, which say what they say."""
    if readings.variance is None:
        return pins
    exact = readings.variance == 0
    d = readings.x.shape[1] - blind
    first, _ = distinct_places(readings.x[exact, :d], readings.task[exact])
    at, task = readings.x[exact][first], readings.task[exact][first]
    _, met = met_places(at[:, :d], task, pins.x[:, :d], pins.task)
    keep = np.ones(len(pins.y), dtype=bool)
    keep[met] = False
    return Pins(pins.x[keep], pins.task[keep], pins.y[keep])
