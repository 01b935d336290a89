"""What lies ahead of units that were adapted before: remembered readings, then the user's rows, then the forecast.

One rule for forecasts, plans and batteries alike: rows up to `start` are readings, rows after it are the future, of which
weather (and, for forecasts, power) is known and the indoor temperature is not. Without `start` it is the last row with an
indoor temperature; without any, all rows lie ahead and must follow the remembered readings without a gap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from surrogates.errors import DataError

from .intake import Data, read
from .intake.gaps import stand_in
from .intake.sources import ALONE
from .records import Records

Integers = NDArray[np.int64]
#: readings that are kept for later forecasts [days]: the observer's past and a day for yesterday's innovations
MEMORY = 9.0
#: readings that the observer needs where the remembered ones don't reach the user's rows [h]
WARM_UP = 8.0


class Ahead(NamedTuple):
    """Readings and future of u units on one axis.

    records : power NaN in future rows where it isn't known
    start : the last row of readings; rows start + 1 .. lie ahead
    chosen : (u,) positions of the units in the fit
    """

    records: Records
    start: int
    chosen: Integers

    @property
    def horizon(self) -> int:
        """Rows ahead."""
        return self.records.steps - 1 - self.start

    @property
    def time(self) -> NDArray[np.datetime64]:
        """(H,) ends of the intervals ahead."""
        return self.records.time[self.start + 1 :]

    @property
    def stale(self) -> Integers:
        """(u,) rows since each unit's last indoor temperature."""
        measured = np.isfinite(self.records.indoor[:, : self.start + 1])
        last = np.where(measured, np.arange(self.start + 1), -1).max(axis=1)
        return np.asarray(self.start - last)


def remembered(records: Records) -> Records:
    """The last days of readings, which later forecasts start from."""
    return records.during(max(0, records.steps - round(MEMORY * records.steps_per_day)), records.steps)


def continued(memory: Records, data: Data, start: str | np.datetime64 | None) -> Ahead:
    """Readings and future of the units in `data`.

    Parameters
    ----------
    memory : the last readings of all units of a fit
    data : as `intake.read` takes them, of all units or some; weather without a label of a unit is shared by all
    start : stamp of the last row of readings

    Raises
    ------
    DataError
        If a unit isn't known, nothing lies ahead, weather is missing ahead, or rows are missing between the remembered
        readings and the future.
    """
    rows = read(data, step=f"{round(memory.step_hours * 60)}min", need_indoor=False)
    chosen, rows = _matched(memory, rows)
    past = memory.of(chosen)
    before = _place(past, rows)
    rows = _recalled(past, rows, before)
    last = _last_reading(rows, start)
    told = tuple(note for note in rows.notes if "rated_power" not in note)  # that of the fit is taken
    rows = replace(rows, indoor=np.where(np.arange(rows.steps) <= last, rows.indoor, np.nan), notes=told)
    if last == rows.steps - 1:
        raise DataError(
            f"nothing lies ahead: the last row, {rows.time[-1]}, is itself a reading; give rows without an indoor "
            f"temperature after it, or say by start= which row is the last one known"
        )
    _check_weather(rows, last)
    kept = before if 0 <= before <= past.steps else 0
    joined = replace(past.during(0, kept).then(rows) if kept else rows, notes=told)
    _check_readings(past, joined, kept + last)
    at = kept + last
    readings = stand_in(joined.power[:, : at + 1], joined.steps_per_day)
    is_known = joined.is_known & np.isfinite(joined.power)
    power = np.concatenate([readings, joined.power[:, at + 1 :]], axis=1)
    return Ahead(replace(joined, power=power, is_known=is_known), at, chosen)


def _matched(memory: Records, rows: Records) -> tuple[Integers, Records]:
    """Positions in the fit of the rows' units, and the rows with their labels and ratings."""
    U = memory.units
    if rows.unit == (ALONE,) and memory.unit != (ALONE,):
        if U > 1 and (np.isfinite(rows.indoor).any() or np.isfinite(rows.power).any()):
            raise DataError(
                f"power or indoor temperature without a label of a unit, but there are {U} units; only weather is shared: "
                f"label the rows, or drop these variables"
            )
        chosen = np.arange(U)
        rows = rows.of(np.zeros(U, dtype=np.int64))
    else:
        unknown = [label for label in rows.unit if label not in memory.unit]
        if unknown:
            raise DataError(
                f"units {unknown[:5]} aren't among the {U} that were adapted ({', '.join(memory.unit[:5])}"
                f"{' ...' if U > 5 else ''}); adapt them first"
            )
        chosen = np.array([memory.unit.index(label) for label in rows.unit], dtype=np.int64)
    labels = tuple(memory.unit[k] for k in chosen)
    return chosen, replace(rows, unit=labels, rated_power=memory.rated_power[chosen])


def _last_reading(rows: Records, start: str | np.datetime64 | None) -> int:
    """The row of `start`, or the last one with an indoor temperature; -1 if all lie ahead."""
    if start is None:
        measured = np.nonzero(np.isfinite(rows.indoor).any(axis=0))[0]
        return int(measured[-1]) if len(measured) else -1
    given = pd.Timestamp(start)
    if given.tzinfo is not None:
        raise DataError(
            f"start is {start}, with a time zone; give it in local standard time, without one, as answers are"
        )
    stamp = given.to_datetime64().astype("datetime64[ns]")
    at = np.nonzero(rows.time == stamp)[0]
    if len(at):
        return int(at[0])
    if stamp == rows.time[0] - np.timedelta64(round(rows.step_hours * 3600), "s"):
        return -1
    raise DataError(
        f"start is {stamp}, which is no row of the data ({rows.time[0]} to {rows.time[-1]} every "
        f"{rows.step_hours * 60:g} min); give the stamp of the last row whose indoor temperature is known"
    )


def _check_weather(rows: Records, last: int) -> None:
    lost = ~rows.is_known[:, last + 1 :]
    if lost.any():
        u, k = np.argwhere(lost)[0]
        raise DataError(
            f"weather of unit {rows.unit[u]!r} is missing for longer than can be bridged at {rows.time[last + 1 + k]}, "
            f"which lies ahead; give weather for every row of the forecast"
        )


def _place(past: Records, rows: Records) -> int:
    """How many steps the user's rows begin after the remembered ones."""
    step = past.time[1] - past.time[0]
    away = rows.time[0] - past.time[0]
    if (away % step) != np.timedelta64(0, "ns"):
        raise DataError(
            f"the data's stamps, such as {rows.time[0]}, aren't on the axis of the readings, such as {past.time[0]} every "
            f"{past.step_hours * 60:g} min; resample them first"
        )
    return int(away // step)


def _recalled(past: Records, rows: Records, before: int) -> Records:
    """The rows, with remembered readings where they overlap and say nothing themselves."""
    if not 0 <= before < past.steps:
        return rows
    n = min(past.steps - before, rows.steps)
    indoor, power = rows.indoor.copy(), rows.power.copy()
    for own, known in ((indoor, past.indoor), (power, np.where(past.is_known, past.power, np.nan))):
        there = known[:, before : before + n]
        own[:, :n] = np.where(np.isnan(own[:, :n]), there, own[:, :n])
    return replace(rows, indoor=indoor, power=power)


def _check_readings(past: Records, joined: Records, at: int) -> None:
    """Refuse what can't be continued: too few readings up to row `at`, or none of a unit's temperature or power."""
    readings = joined.during(0, at + 1)
    measured = [np.isfinite(x).any(axis=1) for x in (readings.indoor, readings.power)]
    if at + 1 < round(WARM_UP / joined.step_hours) or not measured[0].all():
        raise DataError(
            f"there are {max(at + 1, 0)} rows of readings before the future: the data begin at {joined.time[0]}, the "
            f"remembered readings run from {past.time[0]} to {past.time[-1]}; give the rows in between, with power and "
            f"indoor temperature, or {WARM_UP:g} h of readings or more before the forecast, of every unit"
        )
    if not measured[1].all():
        label = joined.unit[int(np.argmin(measured[1]))]
        raise DataError(f"power of unit {label!r} isn't known in any of the readings before the future; give it")
