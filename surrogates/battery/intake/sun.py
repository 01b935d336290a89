"""Irradiance on horizontal and vertical surfaces from what was measured, at each unit's own place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.battery.records import FACADES
from surrogates.errors import DataError
from surrogates.physics.solar import facade_irradiance, split_global, sun_position

from .clock import local_offset
from .names import DIFFUSE, DIRECT, GLOBAL, PLACE
from .sources import Source

Floats = NDArray[np.float64]
#: hours by which legal time may differ from the sun's
FARTHEST = 3.5
#: share of the light that may fall while the sun is more than TWILIGHT below the horizon [rad]
DARK, TWILIGHT = 0.03, np.deg2rad(6.0)


def places(source: Source) -> Floats:
    """Latitude, longitude [degrees, east positive] and offset from UTC [h] of each unit, (U, 3).

    Raises
    ------
    DataError
        If one isn't given or can't be true, or if longitude and offset don't belong together.
    """
    found = np.stack([source.constants["latitude"], source.constants["longitude"], local_offset(source)], axis=-1)
    where = "data.attrs[{0!r}], or a variable {0!r} over 'unit'" if source.kind == "dataset" else "a column {0!r}"
    for k, (name, low, high) in enumerate(zip(PLACE, (-90, -180, -12), (90, 360, 14), strict=True)):
        bad = ~((found[:, k] >= low) & (found[:, k] <= high))
        if bad.any():
            u = int(np.argmax(bad))
            got = "isn't given" if np.isnan(found[u, k]) else f"is {found[u, k]:g}"
            raise DataError(
                f"{name!r} of unit {source.unit[u]!r} {got}; the height of the sun needs it, from {low} to {high} "
                f"({'hours ahead of UTC in winter' if name == 'utc_offset' else 'degrees, north and east positive'}): "
                f"give {where.format(name)}"
            )
    from_sun = (found[:, 1] + 180) % 360 - 180  # degrees
    apart = (found[:, 2] - from_sun / 15 + 12) % 24 - 12
    if (np.abs(apart) > FARTHEST).any():
        u = int(np.argmax(np.abs(apart)))
        raise DataError(
            f"unit {source.unit[u]!r} has longitude {found[u, 1]:g} (the sun is {from_sun[u] / 15:.1f} h ahead of UTC) "
            f"and utc_offset {found[u, 2]:g} h, {abs(apart[u]):.1f} h apart; east is positive in both: check the signs"
        )
    return found


def on_facades(time: NDArray[np.datetime64], values: dict[str, Floats], place: Floats, step_hours: float) -> Floats:
    """Mean irradiance on the surfaces in FACADES.

    time : (T,) ends of the intervals; values : of the solar variables, (U, T), finite; place : (U, 3)  ->  (U, T, 5)
    """
    units, steps = next(iter(values.values())).shape
    done = np.empty((units, steps, len(FACADES)))
    for here in np.unique(place, axis=0):
        latitude, longitude, offset = map(float, here)
        of_place = np.flatnonzero((place == here).all(axis=1))
        sky = {name: row[of_place] for name, row in values.items()}
        is_same = all((row == row[0]).all() for row in sky.values())  # neighbours under one weather station
        if is_same:
            sky = {name: row[:1] for name, row in sky.items()}
        if GLOBAL in sky:
            direct, diffuse = split_global(sky[GLOBAL], time, latitude, longitude, offset, step_hours=step_hours)
        else:
            direct, diffuse = sky[DIRECT], sky[DIFFUSE]
        done[of_place] = facade_irradiance(time, direct, diffuse, latitude, longitude, offset, step_hours=step_hours)
    return done


def check_night(
    unit: tuple[str, ...],
    time: NDArray[np.datetime64],
    values: dict[str, Floats],
    place: Floats,
    step_hours: float,
) -> None:
    """Light is measured by day; otherwise the clock or the place is wrong.

    time : (T,) ends of the intervals; values : of the solar variables as measured, (U, T), NaN where missing

    Raises
    ------
    DataError
        If more than 3 % of a unit's light falls at night.
    """
    light = np.nansum(np.stack(list(values.values())), axis=0)  # (U, T)
    middle = time - np.timedelta64(round(step_hours * 1.8e12), "ns")
    for here in np.unique(place, axis=0):
        altitude, _ = sun_position(middle, *map(float, here))
        of_place = np.flatnonzero((place == here).all(axis=1))
        at_night = light[of_place][:, altitude < -TWILIGHT].sum(axis=1)
        whole = light[of_place].sum(axis=1)
        bad = at_night > DARK * whole
        if bad.any():
            u = int(np.argmax(bad))
            raise DataError(
                f"{at_night[u] / whole[u]:.0%} of the sunlight of unit {unit[of_place[u]]!r} falls at night at its place "
                f"(latitude {here[0]:g}, longitude {here[1]:g}, utc_offset {here[2]:g} h): correct the place, or the "
                f"stamps, which must be local standard time or have a time zone"
            )
