"""What every baseline offers: a configuration, what it learns from a population, and a forecaster of new units.

    config.fit(population)  ->  fitted.adapt(training rows of new units)  ->  forecaster.forecast(all rows, starts, horizon)

The three are frozen. `forecast` may use every reading up to a start, and power and weather after it; never a temperature
after it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from surrogates.battery.records import Floats, Records
from surrogates.errors import DataError

Integers = NDArray[np.int64]


class Forecaster(Protocol):
    """Forecasts of the units that it was adapted to."""

    def forecast(self, records: Records, starts: Integers, horizon: int) -> Floats:
        """Temperatures [degC] at the ends of rows start + 1 .. start + horizon.

        Parameters
        ----------
        records : the same U units in the same order, over any stretch of time
        starts : (S,) rows whose temperature is the last one known
        horizon : H, number of steps

        Returns
        -------
        (U, S, H), NaN where a unit has no temperature up to its start
        """
        ...


class Fitted(Protocol):
    """What was learnt from a population."""

    def adapt(self, records: Records) -> Forecaster:
        """A forecaster of these units, of whom these are the training rows."""
        ...


class Baseline(Protocol):
    """A configuration; holds no data."""

    def fit(self, population: Records) -> Fitted:
        """Learn from units with much data whatever this baseline shares between units."""
        ...


def check_forecast(records: Records, starts: Integers, horizon: int, units: int) -> None:
    """Refuse what can't be forecast.

    Raises
    ------
    DataError
        If the number of units isn't that of the training rows, or a start or its horizon lies outside the records.
    """
    if records.units != units:
        raise DataError(
            f"records have {records.units} units, but the forecaster was adapted to {units}; pass the same ones"
        )
    if horizon < 1:
        raise DataError(f"horizon is {horizon}; it must be at least one step")
    if len(starts) and (starts.min() < 0 or starts.max() + horizon >= records.steps):
        raise DataError(
            f"starts lie in {starts.min()} .. {starts.max()} and the horizon is {horizon} steps, but records have rows "
            f"0 .. {records.steps - 1}; each start needs horizon rows after it"
        )


def rows_ahead(starts: Integers, horizon: int) -> Integers:
    """Rows start + 1 .. start + horizon.  (S,) -> (S, H)"""
    return np.asarray(starts[:, None] + np.arange(1, horizon + 1))


def last_known(indoor: Floats) -> Floats:
    """Each temperature, or the last one before it where it wasn't measured; NaN before the first.  (U, T) -> (U, T)"""
    rows = np.where(np.isfinite(indoor), np.arange(indoor.shape[1]), -1)
    last = np.maximum.accumulate(rows, axis=1)
    filled = np.take_along_axis(indoor, np.maximum(last, 0), axis=1)
    return np.where(last < 0, np.nan, filled)
