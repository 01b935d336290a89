"""A thermostat in closed loop: the power that holds a set-point, step by step, within what the unit can draw.

For each step the air without power is known, T0; the power whose cooling brings it to the set-point solves

    G_p · p [1 + a_T τ + a_w ω + a_p (min(p, 1.3) - .35)] = T0 - T_set,       0 <= p <= limit

a quadratic in the load p (the part above 1.3 is linear); G_p: cooling of the air at the end of the step per load.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .drivers import MOST_LOAD, ORIGIN, USUAL_LOAD, columns_of, power_column
from .forecasting import without_start
from .layout import Layout
from .observer import run
from .records import Records
from .system import N, System, system_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Held(NamedTuple):
    """A closed-loop run of B rooms over H steps.  load : (B, H) power per rated power; state : (B, H, 4) above ORIGIN"""

    load: Floats
    state: Floats


def hold(
    system: System,
    layout: Layout,
    state: Floats,
    drivers: Floats,
    pushed: Floats,
    set_point: Floats,
    limit: Floats,
) -> Held:
    """Hold set-points with B rooms.

    Parameters
    ----------
    system : B rooms
    state : (B, 4) at the start
    drivers : (B, H, m); of their power columns only the ratios matter, which tell how the weather changes the cooling:
        they must have been made with a load of one
    pushed : (B, H, 4) what else moves the state: innovations that are usual, by the observer's gains
    set_point : (B, H) above ORIGIN; NaN leaves the unit off
    limit : (B, H) largest load
    """
    B, H, _ = drivers.shape
    power = power_column(layout)
    passive = drivers.copy()
    passive[:, :, power] = 0
    forcing = passive @ system.G.transpose(0, 2, 1) + pushed  # (B, H, 4)
    gains = system.G[:, :, power]  # (B, 4, 4): p, p τ, p ω, p (load)
    by_weather = np.einsum("bjc,bhc->bhj", gains[:, :, :3], drivers[:, :, power][:, :, :3])  # (B, H, 4)
    by_load = gains[:, :, 3]  # (B, 4)
    wanted = np.where(np.isfinite(set_point), set_point, np.inf)
    x, loads, states = state, np.zeros((B, H)), np.zeros((B, H, N))
    for k in range(H):
        ahead = np.einsum("bij,bj->bi", system.Φ, x) + forcing[:, k]
        p = load_of(-by_weather[:, k, 0], -by_load[:, 0], ahead[:, 0] - wanted[:, k])
        p = np.clip(p, 0, limit[:, k])
        curved = p * (np.minimum(p, MOST_LOAD) - USUAL_LOAD)
        x = ahead + p[:, None] * by_weather[:, k] + curved[:, None] * by_load
        loads[:, k], states[:, k] = p, x
    return Held(loads, states)


def thermostats(
    θ: Floats, layout: Layout, records: Records, starts: Integers, horizon: int, limit: Floats, features: Floats | None
) -> Floats:
    """Loads that thermostats should have drawn after each start under the set-points of the records.

    θ : (U, P); starts : (S,) rows; limit : (U,) largest load; features : (U, T, f) or None -> (U, S, H), NaN where no
    set-point is known
    """
    U, S = records.units, len(starts)
    system = without_start(system_of(θ, layout, records.step_hours))
    runs = run(
        system,
        None,
        layout,
        columns_of(records, features),
        records.indoor - ORIGIN,
        starts,
        lag=records.steps_per_day,
    )
    full = replace(records, power=np.broadcast_to(records.rated_power[:, None], records.power.shape))
    rows = starts[:, None] + np.arange(1, horizon + 1)  # (S, H)
    set_point = records.set_point[:, rows]
    many = type(system)(*(np.repeat(part, S, axis=0) for part in system))
    held = hold(
        many,
        layout,
        runs.observed.transpose(1, 0, 2).reshape(U * S, N),
        columns_of(full, features)[:, rows].reshape(U * S, horizon, -1),
        (runs.usual.T[:, rows][..., None] * system.K[:, None, None]).reshape(U * S, horizon, N),
        set_point.reshape(U * S, horizon) - ORIGIN,
        np.repeat(limit, S)[:, None] * np.ones(horizon),
    )
    return np.where(np.isfinite(set_point), held.load.reshape(U, S, horizon), np.nan)


def load_of(slope: Floats, curvature: Floats, excess: Floats) -> Floats:
    """p with slope p + curvature p (min(p, 1.3) - .35) = excess; 0 where nothing is to be cooled.

    slope > 0 is the cooling per load without curvature; both together always rise with p.
    """
    excess = np.where(np.isfinite(excess), np.maximum(excess, 0), 0.0)
    b = slope - USUAL_LOAD * curvature
    # stable form of the root of curvature p² + b p - excess = 0 that tends to excess / b
    root = np.sqrt(np.maximum(b**2 + 4 * curvature * excess, 0))
    p = 2 * excess / (b + root)
    beyond = excess / (slope + curvature * (MOST_LOAD - USUAL_LOAD))
    return np.where(p > MOST_LOAD, beyond, p)
