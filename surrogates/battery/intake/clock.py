"""One time axis for all units: sorted stamps without repeats, local standard time, a regular step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from surrogates.errors import DataError

from .names import PLACE, units_text
from .sources import Source
from .stamps import HOUR, text_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MINUTE = HOUR // 60
DAY = 24 * HOUR
#: of the year, in which clocks are changed somewhere: forwards, backwards
SPRING, AUTUMN = (3, 4, 9, 10), (3, 4, 9, 10, 11)
REMEDY = (
    "give stamps in UTC (with a time zone: data.time as a tz-aware index, or tz_localize in pandas) or in local "
    "standard time all year"
)


class Rows(NamedTuple):
    """One unit's rows in time order: time (n,) [ns, local standard time], values (n,) of each variable."""

    time: Integers
    values: dict[str, Floats]


def local_offset(source: Source) -> Floats:
    """(U,) offset of local standard time from UTC [h], NaN where nothing tells it.

    Stated ones come first; stamps with a time zone tell that zone's standard time.
    """
    stated = source.constants["utc_offset"]
    zone = source.stamps.standard_offset
    found = stated if zone is None else np.where(np.isnan(stated), zone, stated)
    if source.stamps.is_utc and np.isnan(found).any():
        u = int(np.argmax(np.isnan(found)))
        raise DataError(
            f"the stamps are in UTC and {PLACE[2]!r} of unit {source.unit[u]!r} isn't given: local standard time can't "
            f"be told; set data.attrs['utc_offset'] = hours ahead of UTC (in winter), or one for each unit"
        )
    return found


def in_order(source: Source, values: dict[str, tuple[Floats, ...]], notes: list[str]) -> list[Rows]:
    """Each unit's rows sorted, repeated stamps merged, in local standard time.

    Raises
    ------
    DataError
        Repeated stamps that say different things, and clocks that were changed in spring or autumn.
    """
    offset = local_offset(source)
    done, unsorted, merged, repeats = [], [], [], 0
    for u, label in enumerate(source.unit):
        time = source.time[u]
        if source.stamps.is_utc:
            time = time + round(offset[u] * 60) * MINUTE
        own = {name: rows[u] for name, rows in values.items()}
        if len(time) > 1 and (np.diff(time) < 0).any():
            order = np.argsort(time, kind="stable")
            time, own = time[order], {name: row[order] for name, row in own.items()}
            unsorted.append(label)
        rows = Rows(time, own)
        if len(time) > 1 and (np.diff(time) == 0).any():
            rows = _merged(rows, label)
            merged.append(label)
            repeats += len(time) - len(rows.time)
        done.append(rows)
    if unsorted:
        notes.append(f"rows were sorted by time ({units_text(unsorted, source.unit)})")
    if merged:
        notes.append(f"{repeats} rows with a stamp that was there already said nothing else and were dropped "
                     f"({units_text(merged, source.unit)})")  # fmt: skip
    if not source.stamps.is_utc:
        _refuse_spring(done, source.unit)
    return done


def _merged(rows: Rows, label: str) -> Rows:
    """One row a stamp; where several rows share it, each variable may have one value or none."""
    starts = np.flatnonzero(np.r_[True, np.diff(rows.time) > 0])
    stamps = rows.time[starts]
    low = {name: np.fmin.reduceat(row, starts) for name, row in rows.values.items()}
    high = {name: np.fmax.reduceat(row, starts) for name, row in rows.values.items()}
    for name in low:
        differ = high[name] - low[name] > 1e-9 * np.abs(high[name])
        if not differ.any():
            continue
        first = int(np.argmax(differ))
        if _is_one_hour_in(stamps[differ], AUTUMN):
            raise DataError(
                f"unit {label!r} has the hour around {text_of(stamps[first])} twice, on a Sunday in the season when "
                f"clocks are put back: local clock time with daylight saving; {REMEDY}"
            )
        raise DataError(
            f"unit {label!r} has {int(differ.sum())} stamps more than once with different values; the first is "
            f"{text_of(stamps[first])}, where {name!r} is {low[name][first]:g} and {high[name][first]:g}; keep one row "
            f"of each stamp (rows of several units need a column or dim 'unit')"
        )
    return Rows(stamps, high)


def _is_one_hour_in(stamps: Integers, months: tuple[int, ...]) -> bool:
    """Whether all stamps lie, date by date, within one hour of a Sunday night in these months."""
    index = pd.DatetimeIndex((stamps - 1).astype("datetime64[ns]"))  # a stamp at 3:00 closes an hour that began at 2:00
    if not (index.month.isin(months) & (index.day_of_week == 6) & (index.hour < 4)).all():
        return False
    day = stamps // DAY
    edges = np.flatnonzero(np.r_[True, np.diff(day) > 0])
    spread = np.maximum.reduceat(stamps, edges) - np.minimum.reduceat(stamps, edges)
    return bool((spread <= HOUR).all())


def _refuse_spring(every: list[Rows], unit: tuple[str, ...]) -> None:
    """An hour without stamps, in the night when clocks are put forward, in every unit that has rows around it."""
    gaps: dict[int, list[str]] = {}
    for rows, label in zip(every, unit, strict=True):
        step = np.diff(rows.time)
        if not len(step):
            continue
        usual = int(np.median(step))
        before = rows.time[:-1][(np.abs(step - usual - HOUR) <= MINUTE // 60) & (usual < 2 * HOUR)]
        for stamp in before[:1000]:  # few: each is an hour without a row
            index = pd.Timestamp(stamp)
            if index.month in SPRING and index.day_of_week == 6 and MINUTE * 30 <= stamp % DAY <= 3 * HOUR:
                gaps.setdefault(int(stamp), []).append(label)
    for stamp, labels in gaps.items():
        around = [rows for rows in every if len(rows.time) and rows.time[0] <= stamp < rows.time[-1]]
        if len(labels) == len(around):
            raise DataError(
                f"every unit lacks exactly the hour after {text_of(stamp)}, on a Sunday in the season when clocks are "
                f"put forward: local clock time with daylight saving; {REMEDY}; if the hour is really missing, add "
                f"its rows with NaN"
            )


def own_step(rows: Rows, name: str) -> float:
    """Usual distance of the rows in which a variable was measured [ns]; NaN for less than two."""
    measured = rows.time[np.isfinite(rows.values[name])]
    return float(np.median(np.diff(measured))) if len(measured) > 1 else np.nan


def choose_step(own: Floats, unit: tuple[str, ...], step: str | None, notes: list[str]) -> int:
    """The common step [ns].

    Parameters
    ----------
    own : (U,) usual distance of each unit's readings of power [ns]
    step : as the user wants it ("15min"), or None: the data's own from 5 to 60 min that a day is a multiple of, that of
        the coarsest unit; otherwise 15 min, or 60 min for data coarser than that

    Raises
    ------
    DataError
        A step that can't be read or isn't allowed, or that is finer than the data.
    """
    if np.isnan(own).all():  # one row, of a plan
        return 15 * MINUTE if step is None else _parsed(step)
    coarsest = float(np.nanmax(own))
    slow = unit[int(np.nanargmax(own))]
    if coarsest > 61 * MINUTE:
        raise DataError(
            f"unit {slow!r} has a reading every {coarsest / HOUR:.3g} h; rooms need one every 60 min or more often: "
            f"give finer data, or drop the unit"
        )
    if step is not None:
        chosen = _parsed(step)
        if coarsest > 1.05 * chosen:
            raise DataError(
                f"step={step!r} is finer than the readings of unit {slow!r}, every {coarsest / MINUTE:.3g} min; give "
                f"finer readings, or drop the unit, or read all data with step='{round(coarsest / MINUTE)}min' or coarser "
                f"(a fitted net keeps the step of the population that it was fitted to)"
            )
    else:
        minutes = round(coarsest / MINUTE)
        fits = 5 <= minutes <= 60 and 1440 % minutes == 0 and abs(coarsest - minutes * MINUTE) < 0.05 * coarsest
        chosen = (minutes if fits else 15 if coarsest <= 15 * MINUTE else 60) * MINUTE
    moved = [label for label, h in zip(unit, own, strict=True) if abs(h - chosen) > 0.05 * chosen]
    if moved:
        rest = "" if len(moved) == len(unit) or step is not None else f", as unit {slow!r} has no finer ones"
        notes.append(f"readings of {units_text(moved, unit)} were averaged over steps of {chosen // MINUTE} min{rest}")
    return chosen


def _parsed(step: str) -> int:
    try:
        chosen = int(pd.Timedelta(step).as_unit("ns").value)
    except (TypeError, ValueError) as error:
        raise DataError(f"step={step!r} can't be read as a length of time; write '15min' or '1h'") from error
    if not 5 * MINUTE <= chosen <= HOUR or DAY % chosen:
        raise DataError(f"step={step!r} isn't allowed; it must be from 5 to 60 min and divide a day: '15min', '1h'")
    return chosen
