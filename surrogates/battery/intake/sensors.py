"""Sensors that say nothing: stuck ones, meters that never moved, units without a reading."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from .names import dropped, listed, units_text
from .sources import Source

Floats = NDArray[np.float64]
#: longest time for which a temperature may be the same to the last digit [h]
LONGEST = 24.0
STUCK = ("indoor_temperature", "outdoor_temperature")
HINTS = {
    "power": "give its readings",
    "indoor_temperature": "give its readings (a new unit without any is read by need_indoor=False)",
}


def refuse_empty(source: Source, values: dict[str, tuple[Floats, ...]], *, need_indoor: bool) -> None:
    """A unit without a single number of a variable that every unit needs is an error."""
    optional = {"humidity_ratio", "set_point"} | (set() if need_indoor else {"indoor_temperature", "power"})
    for name, rows in values.items():
        empty = [label for label, row in zip(source.unit, rows, strict=True) if not np.isfinite(row).any()]
        if empty and name not in optional:
            raise DataError(
                f"variable {name!r} has no number at all in unit {listed(empty)}; "
                f"{HINTS.get(name, 'give its weather')}, or drop the unit: {dropped(source.kind)}"
            )


def refuse_still(source: Source, values: dict[str, tuple[Floats, ...]]) -> None:
    """Power, indoor and outdoor temperatures that never change teach nothing."""
    for name in ("power", *STUCK):
        spans = [(float(np.nanmin(row)), float(np.nanmax(row))) for row in values[name]]
        still = [label for label, (low, high) in zip(source.unit, spans, strict=True) if low == high]
        if not still:
            continue
        at = spans[source.unit.index(still[0])][0]
        why = {
            "power": f"is always {at:g} kW: {'it never ran, and ' if at == 0 else ''}what a kW does can't be seen",
            "indoor_temperature": f"is always {at:g} degC: a dead sensor, or another variable",
            "outdoor_temperature": f"is always {at:g} degC: a dead sensor, or a stand-in; give measured weather",
        }[name]
        raise DataError(f"{name!r} of unit {listed(still)} {why}; drop the unit: {dropped(source.kind)}")


def without_stuck(name: str, values: Floats, step_hours: float, unit: tuple[str, ...], notes: list[str]) -> Floats:
    """Readings that stay the same to the last digit for more than a day, as missing.

    values : (U, T), NaN where missing  ->  (U, T)
    """
    done, found, hours = values, [], 0.0
    for u, row in enumerate(values):
        place = np.flatnonzero(np.isfinite(row))
        if not len(place):
            continue
        starts = np.flatnonzero(np.r_[True, np.diff(row[place]) != 0])
        last = np.r_[starts[1:], len(place)] - 1
        too_long = (place[last] - place[starts]) * step_hours > LONGEST
        if too_long.any():
            stuck = place[np.repeat(too_long, last - starts + 1)]
            done = done.copy() if done is values else done
            done[u, stuck] = np.nan
            found.append(unit[u])
            hours += len(stuck) * step_hours
    if found:
        notes.append(
            f"{name!r} stayed the same to the last digit for more than {LONGEST:g} h: {hours:.0f} h of it were taken as "
            f"missing ({units_text(found, unit)})"
        )
    return done
