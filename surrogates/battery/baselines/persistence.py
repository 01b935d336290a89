"""The two forecasts that need no model: nothing changes, and it goes as yesterday."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from surrogates.battery.records import Floats, Records

from .interface import Integers, check_forecast, last_known, rows_ahead


@dataclass(frozen=True)
class Persistence:
    """The last temperature stays, or that of the same hour of the last 24 h recurs ("yesterday").

    yesterday : whether yesterday's course is repeated
    """

    yesterday: bool = False

    def fit(self, population: Records) -> Self:
        """There is nothing to learn."""
        return self

    def adapt(self, records: Records) -> _Repetition:
        """There is nothing to adapt but the number of units."""
        return _Repetition(records.units, self.yesterday)


@dataclass(frozen=True)
class _Repetition:
    units: int
    yesterday: bool

    def forecast(self, records: Records, starts: Integers, horizon: int) -> Floats:
        """See `Forecaster`."""
        check_forecast(records, starts, horizon, self.units)
        indoor = last_known(records.indoor)
        if not self.yesterday:
            return np.repeat(indoor[:, starts, None], horizon, axis=2)
        day = records.steps_per_day
        ahead = rows_ahead(starts, horizon)
        source = ahead - day * ((ahead - starts[:, None] - 1) // day + 1)  # (S, H), the same hour of the last 24 h
        past = indoor[:, np.maximum(source, 0)]
        return np.where((source < 0) | np.isnan(past), indoor[:, starts, None], past)
