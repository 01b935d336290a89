"""What units will draw to hold set-points, with uncertainty: closed-loop runs of many draws.

A draw has numbers of its own (`Fingerprints.draws`) and a disturbance of its own: besides the innovations that recur every
day, those of a past day at random, as far as they had not been foreseen and with either sign, move its state. So a plan's
spread holds what is not known of the room and what people and weather do to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .continuing import Ahead
from .drivers import MOST_LOAD, ORIGIN, USUAL_LOAD, columns_of, variation_by_weather
from .fingerprints import Fingerprints
from .forecasting import PAST, without_start
from .holding import hold
from .layout import Layout
from .observer import run
from .records import Floats, Records
from .system import system_of, variation_of

#: units whose draws are run together: keeps the arrays small
BLOCK = 8


class Plan(NamedTuple):
    """Closed-loop runs: D draws of U units over H rows ahead.

    θ : (U, D, P); power : (U, D, H) [kW]; indoor : (U, D, H) [degC]
    """

    θ: Floats
    power: Floats
    indoor: Floats


def plans(
    prints: Fingerprints,
    layout: Layout,
    ahead: Ahead,
    set_points: tuple[Floats, ...],
    *,
    draws: int,
    seed: int,
    features: Floats | None = None,
) -> tuple[Plan, ...]:
    """Hold each of several set-points with the same draws, so that plans can be compared draw by draw.

    Parameters
    ----------
    prints : of the units in `ahead`
    set_points : (U, H) each [degC], NaN where the unit is off
    features : (U, T, f) learnt features over the rows of `ahead`
    """
    U = ahead.records.units
    θ = prints.draws(layout, ahead.records.step_hours, draws, seed)
    rng = np.random.default_rng([seed, 1])
    found = []
    for first in range(0, U, BLOCK):
        units = np.arange(first, min(first + BLOCK, U))
        part = Ahead(ahead.records.of(units), ahead.start, ahead.chosen[units])
        own = None if features is None else features[units]
        wanted = tuple(x[units] for x in set_points)
        found.append(_plans(prints.of(units), θ[units], layout, part, wanted, rng, own))
    return tuple(
        Plan(θ, *(np.concatenate(parts) for parts in zip(*plan, strict=True))) for plan in zip(*found, strict=True)
    )


def _plans(
    prints: Fingerprints,
    θ: Floats,
    layout: Layout,
    ahead: Ahead,
    set_points: tuple[Floats, ...],
    rng: np.random.Generator,
    features: Floats | None,
) -> list[tuple[Floats, Floats]]:
    """(power, indoor) (U, D, H) for each set-point."""
    U, D, P = θ.shape
    first = max(0, ahead.start + 1 - round(PAST * ahead.records.steps_per_day))
    records = ahead.records.during(first, ahead.records.steps)
    at, H = ahead.start - first, ahead.horizon
    z = columns_of(_fully_loaded(records, at), None if features is None else features[:, first:])
    state, pushed = _states(prints, θ, layout, records, at, z, rng)
    repeated = np.repeat(z[:, at + 1 :], D, axis=0)
    system = system_of(θ.reshape(U * D, P), layout, records.step_hours)
    limit = np.repeat(prints.most_load, D)[:, None] * np.ones(H)
    rated = np.repeat(records.rated_power, D)[:, None]
    answer = []
    for set_point in set_points:
        wanted = np.repeat(set_point, D, axis=0) - ORIGIN
        held = hold(system, layout, state, repeated, pushed, wanted, limit)
        answer.append(((held.load * rated).reshape(U, D, H), held.state[..., 0].reshape(U, D, H) + ORIGIN))
    return answer


def _fully_loaded(records: Records, at: int) -> Records:
    """The same with a load of one in all rows ahead, as `hold` wants it."""
    power = records.power.copy()
    power[:, at + 1 :] = records.rated_power[:, None]
    return replace(records, power=power)


def _states(
    prints: Fingerprints, θ: Floats, layout: Layout, records: Records, at: int, z: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Where each draw starts (U D, 4), and what pushes it ahead (U D, H, 4)."""
    U, D, P = θ.shape
    lag, H = records.steps_per_day, records.steps - 1 - at
    measured = records.indoor - ORIGIN
    starts = np.array([at])
    mode = without_start(system_of(prints.θ, layout, records.step_hours))
    runs = run(mode, None, layout, z, measured, starts, lag=lag)
    usual = runs.usual.T  # (U, T)
    seen = np.isfinite(measured)[:, :, None]
    unforeseen = np.where(seen, (runs.innovation[:, :, 0].T - usual)[:, :, None] * mode.K[:, None], 0.0)  # (U, T, 4)
    recurring = usual[:, at + 1 :, None] * mode.K[:, None]  # (U, H, 4)
    pushed = np.repeat(recurring[:, None], D, axis=1)
    days = max((at + 1) // lag - 1, 1)  # the first day is spent on the warm-up
    step = np.arange(H)
    chosen = rng.integers(1, days + 1, (U, D, H // lag + 1))[:, :, step // lag]  # (U, D, H) days back
    # with either sign: even a single day then tells how much is unforeseen, and not what
    sign = rng.choice([-1.0, 1.0], (U, D, H // lag + 1))[:, :, step // lag]
    rows = at + 1 + step % lag - lag * chosen
    there = np.where(rows >= 0, sign, 0.0)[..., None]
    pushed += there * unforeseen[np.arange(U)[:, None, None], np.maximum(rows, 0)]
    many = without_start(system_of(θ.reshape(U * D, P), layout, records.step_hours))
    past = slice(0, at + 1)
    own = run(
        many, None, layout, np.repeat(z[:, past], D, axis=0), np.repeat(measured[:, past], D, axis=0), starts, lag=lag
    )
    return own.observed[0], pushed.reshape(U * D, H, 4)


def marginal_factor(θ: Floats, layout: Layout, load: Floats, outdoor: Floats, humidity: Floats) -> Floats:
    """d/dp of p [1 + a_T τ + a_w ω + a_p (min(p, 1.3) - .35)] at a load: the efficiency of a little more power.

    θ : (U, D, P); load : (U, D, H); outdoor, humidity : (U, H) -> (U, D, H)
    """
    a = variation_of(θ, layout)[:, :, :, None]  # (U, D, 3, 1)
    τ, ω = variation_by_weather(outdoor, humidity)
    by_load = np.where(load < MOST_LOAD, 2 * load, MOST_LOAD) - USUAL_LOAD
    return np.asarray(1 + a[:, :, 0] * τ[:, None] + a[:, :, 1] * ω[:, None] + a[:, :, 2] * by_load)
