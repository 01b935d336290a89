"""Short gaps are bridged; long ones get stand-ins that no model is judged on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def bridge(values: Floats, most: int) -> Floats:
    """Gaps of up to `most` rows between two readings, filled along the straight line.

    values : (U, T), NaN where missing  ->  (U, T)

    >>> bridge(np.array([[0.0, np.nan, 2.0, np.nan, np.nan, 5.0, np.nan]]), 1)
    array([[ 0.,  1.,  2., nan, nan,  5., nan]])
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    count = values.shape[1]
    place = np.arange(count)
    before = np.maximum.accumulate(np.where(missing, -1, place), axis=1)
    after = np.minimum.accumulate(np.where(missing, count, place)[:, ::-1], axis=1)[:, ::-1]
    short = missing & (before >= 0) & (after < count) & (after - before - 1 <= most)
    unit, row = np.nonzero(short)
    left, right = before[unit, row], after[unit, row]
    share = (row - left) / (right - left)
    done = values.copy()
    done[unit, row] = (1 - share) * values[unit, left] + share * values[unit, right]
    return done


def stand_in(values: Floats, steps_per_day: int) -> Floats:
    """Missing rows taken from the same time of the last day that has it, else of the next, else the unit's mean.

    values : (U, T), NaN where missing  ->  (U, T); a unit without a single reading stays NaN

    >>> stand_in(np.array([[1.0, 2.0, np.nan, 4.0, np.nan, np.nan]]), 2)
    array([[1., 2., 1., 4., 1., 4.]])
    """
    missing = np.isnan(values)
    if not missing.any():
        return values
    units, count = values.shape
    days = -(-count // steps_per_day)
    padded = np.full((units, days * steps_per_day), np.nan)
    padded[:, :count] = values
    by_day = padded.reshape(units, days, steps_per_day)
    by_day = _carried(_carried(by_day)[:, ::-1])[:, ::-1]
    full = by_day.reshape(units, -1)[:, :count]
    known = np.where(missing, 0.0, 1.0).sum(axis=1)
    mean = np.where(missing, 0.0, values).sum(axis=1) / np.where(known > 0, known, np.nan)
    return np.where(np.isnan(full), mean[:, None], full)


def _carried(by_day: Floats) -> Floats:
    """(U, D, S): each missing entry is that of the last day before it that has one."""
    day = np.arange(by_day.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(np.isnan(by_day), 0, day), axis=1)
    return np.take_along_axis(by_day, last, axis=1)
