"""What drives a room, as columns: outdoor temperature, sun, calendar, the last day, learnt features, power.

Power enters through p = P / rated power as

    p · [1 + a_T τ + a_w ω + a_p (min(p, 1.3) - .35)],     τ = (To - 30)/10,  ω = (w - 12)/5, both within ±1.5

With |a_T| <= .25, |a_w| <= .15, |a_p| <= .15 the slope by p is at least 1 - .375 - .225 - .15 · 2.25 > 0: more power cools
more, whatever the weather and whatever the fingerprint.
"""

from __future__ import annotations

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from .layout import CALENDAR, GAINS, HARMONICS, Layout
from .records import FACADES, Records

Floats = NDArray[np.float64]
#: temperatures are counted from here, which keeps the numbers small [degC]
ORIGIN = 25.0
MOST_LOAD, USUAL_LOAD = 1.3, 0.35
#: from where, and in what, the drivers of the last day count: sun [kW/m²], humidity [g/kg]
LAST_DAY_ORIGIN, LAST_DAY_SCALE = (0.24, 13.0), (0.06, 3.0)


def columns_of(records: Records, features: Floats | None = None) -> Floats:
    """Drivers of each unit and step.

    Parameters
    ----------
    records : U units over T steps
    features : (U, T, f) learnt features, or None

    Returns
    -------
    (U, T, m) in the order of `Layout`: outdoor temperature above ORIGIN [K], irradiance [kW/m²], calendar, what the last
    day left, features, power and its variations
    """
    U, T = records.units, records.steps
    calendar = np.broadcast_to(_calendar(records), (U, T, len(CALENDAR)))
    between = [last_day(records), *([] if features is None else [features])]
    power = power_columns(records.power / records.rated_power[:, None], records.outdoor, records.humidity)
    sun = records.irradiance / 1000
    return np.concatenate([(records.outdoor - ORIGIN)[..., None], sun, calendar, *between, power], axis=-1)


def power_columns(load: Floats, outdoor: Floats, humidity: Floats) -> Floats:
    """Power and how its effect varies.  (...,) each -> (..., 4)"""
    return np.stack(
        [load, *(load * part for part in (*variation_by_weather(outdoor, humidity), by_load(load)))], axis=-1
    )


def variation_by_weather(outdoor: Floats, humidity: Floats) -> tuple[Floats, Floats]:
    """τ and ω: (outdoor - 30)/10 and (humidity - 12)/5, both within ±1.5."""
    return np.clip((outdoor - 30) / 10, -1.5, 1.5), np.clip((humidity - 12) / 5, -1.5, 1.5)


def by_load(load: Floats) -> Floats:
    """How far the load is from the usual one."""
    return np.minimum(load, MOST_LOAD) - USUAL_LOAD


def last_day(records: Records) -> Floats:
    """What the last day left: sun on the roof, and humidity, as exponential means over 24 h.  -> (U, T, 2)

    That they help was measured; why, is a guess: outer walls and roofs that hand on the sun of the day before, and moisture
    that rooms store, both of which the stores of `system` don't know.
    """
    kept = np.stack([records.irradiance[..., 0] / 1000, records.humidity], axis=-1)
    slow = exponential_mean(kept, records.step_hours, 24.0)
    return np.asarray((slow - LAST_DAY_ORIGIN) / LAST_DAY_SCALE)


def exponential_mean(values: Floats, step_hours: float, hours: float) -> Floats:
    """Running mean whose weights fall by e in `hours`.  (n, T, c) -> (n, T, c)

    A record's beginning stands for what came before: the running mean starts at the plain mean of the first 24 h, so that a
    record that begins at night doesn't begin with a day without sun.
    """
    kept = np.exp(-step_hours / hours)
    first = values[:, : round(24 / step_hours)].mean(axis=1, keepdims=True)
    answer, _ = scipy.signal.lfilter([1 - kept], [1.0, -kept], values, axis=1, zi=kept * first)
    return np.asarray(answer)


def _calendar(records: Records) -> Floats:
    """(T, 18) in the order of CALENDAR."""
    angle = 2 * np.pi * np.outer(records.hour / 24, np.arange(1, HARMONICS + 1))  # (T, 4)
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(len(angle), -1)  # (T, 8)
    weekend = records.is_weekend.astype(np.float64)[:, None]
    return np.concatenate([np.ones_like(weekend), weekend, (1 - weekend) * waves, weekend * waves], axis=-1)


def sun_columns(layout: Layout) -> slice:
    """Where the irradiances stand among the columns."""
    return slice(1, 1 + len(FACADES))


def weekend_column(layout: Layout) -> int:
    """Which column is one on weekends."""
    return int(gain_columns(layout).start) + CALENDAR.index("weekend")


def gain_columns(layout: Layout) -> slice:
    """Where calendar and features stand among the columns."""
    first = 1 + len(FACADES)
    return slice(first, first + len(GAINS) + layout.features)


def power_column(layout: Layout) -> slice:
    """Where power and its variations stand among the columns."""
    return slice(gain_columns(layout).stop, layout.columns)
