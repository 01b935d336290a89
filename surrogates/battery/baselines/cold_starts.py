"""Cold starts rehearsed on a population: what is tuned there holds for newcomers, of whom nothing is seen.

Newcomers are asked about weather that their training rows don't show. Rehearsals therefore judge two stretches, the last
fifth of the population's rows by what was learnt before, and the first fifth by what was learnt after.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from surrogates.battery.records import Flags, Floats, Records, measured_since
from surrogates.errors import DataError

from .interface import Integers, rows_ahead

#: sizes of the training windows as shares of the population's rows: 2, 6, 20 and 56 % of a period of which the population
#: shows the first 70 %
SIZES = (0.02 / 0.7, 0.06 / 0.7, 0.20 / 0.7, 0.8)
#: training windows end here when the last fifth is judged, and start at 1 - this when the first fifth is
ENDS = (0.8, 0.55)
JUDGED, STRIDE = 0.2, 37


class ColdStart(NamedTuple):
    """Training rows first .. last - 1, and the starts (S,) that are judged."""

    first: int
    last: int
    starts: Integers


def cold_starts(records: Records) -> dict[float, tuple[ColdStart, ...]]:
    """Rehearsals by days of training.

    Raises
    ------
    DataError
        If a fifth of the records isn't longer than a day.
    """
    steps, day = records.steps, records.steps_per_day
    late = np.arange(round((1 - JUDGED) * steps), steps - day, STRIDE)
    early = np.arange(day, round(JUDGED * steps) - day, STRIDE)
    if not len(late):
        raise DataError(
            f"a population of {steps} steps is too short to tune on: a fifth of it must hold more than the {day} steps of a "
            f"day; give at least {round(day / JUDGED) + 10} steps"
        )
    found = {}
    for size in SIZES:
        rows = max(round(size * steps), 4)
        ends = [end for end in ENDS if end * steps >= rows - 1]
        cases = [ColdStart(max(round(end * steps) - rows, 0), round(end * steps), late) for end in ends]
        if len(early):
            starts = [round((1 - end) * steps) for end in ends]
            cases += [ColdStart(first, min(first + rows, steps), early) for first in starts]
        found[rows / day] = tuple(cases)
    return found


def judged(records: Records, starts: Integers, reach: int = 0) -> Flags:
    """Which steps of windows of 24 h count: a measured temperature, under power and weather that were measured since
    `reach` rows before the start.  -> (U, S, H)
    """
    ahead = rows_ahead(starts, records.steps_per_day)
    return np.asarray(np.isfinite(records.indoor[:, ahead]) & measured_since(records.is_known, starts, ahead, reach))


def folds(units: int, count: int) -> tuple[tuple[Integers, Integers], ...]:
    """(units that teach, units that rehearse), every unit rehearsing once; a single unit does both."""
    everyone = np.arange(units)
    if units == 1:
        return ((everyone, everyone),)
    count = min(count, units)
    return tuple((everyone[everyone % count != k], everyone[everyone % count == k]) for k in range(count))


def mean_rmse(error: Floats, counts: Flags) -> float:
    """Mean over units of the root mean square of error (U, S, H) where it counts; inf where a forecast isn't finite."""
    square = np.where(counts, error**2, 0.0).sum(axis=(1, 2)) / np.maximum(counts.sum(axis=(1, 2)), 1)
    seen = counts.any(axis=(1, 2))
    value = float(np.sqrt(square[seen]).mean()) if seen.any() else np.inf
    return value if np.isfinite(value) else np.inf


def by_days(days: float, known: tuple[float, ...], values: Floats) -> Floats:
    """Linear interpolation by log days in values (k, ...) at the `known` days (k,), constant outside.  -> (...)"""
    at = float(np.interp(np.log(max(days, 1e-6)), np.log(known), np.arange(len(known))))
    low = min(int(at), len(known) - 1)
    high = min(low + 1, len(known) - 1)
    return np.asarray(values[low] + (at - low) * (values[high] - values[low]))
