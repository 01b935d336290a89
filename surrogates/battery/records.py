"""Readings of many units on one regular time axis, as plain arrays: what every model of this family works on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: directions of the columns of `Records.irradiance`
FACADES = ("horizontal", "south", "east", "north", "west")

_OVER_TIME = ("power", "indoor", "outdoor", "irradiance", "humidity", "set_point", "is_known")


@dataclass(frozen=True, eq=False)
class Records:
    """U units over T equal steps; row k holds the interval that *ends* at `time[k]`.

    unit : U labels
    time : (T,) datetime64[ns], local standard time, equally spaced
    step_hours : length of a step [h]
    power : (U, T) mean electric power over the interval [kW], finite; see `is_known`
    indoor : (U, T) temperature at the end of the interval [degC]; NaN where it wasn't measured
    outdoor : (U, T) mean over the interval [degC], finite
    irradiance : (U, T, 5) mean global irradiance on the surfaces in FACADES [W/m²], finite
    humidity : (U, T) outdoor humidity ratio [g/kg], finite; a constant where it isn't known
    set_point : (U, T) [degC]; NaN where there is none
    rated_power : (U,) electric nameplate power [kW]
    is_known : (U, T) whether power and weather of the interval were measured (or are safely interpolated); elsewhere they
        hold stand-ins, and no model is judged or fitted on what they lead to
    notes : what a user should know of how the data were read
    """

    unit: tuple[str, ...]
    time: NDArray[np.datetime64]
    step_hours: float
    power: Floats
    indoor: Floats
    outdoor: Floats
    irradiance: Floats
    humidity: Floats
    set_point: Floats
    rated_power: Floats
    is_known: Flags
    notes: tuple[str, ...] = ()

    @property
    def units(self) -> int:
        """How many units there are, U."""
        return len(self.unit)

    @property
    def steps(self) -> int:
        """How many intervals there are, T."""
        return len(self.time)

    @property
    def steps_per_day(self) -> int:
        """Steps in 24 h."""
        return round(24 / self.step_hours)

    @property
    def hour(self) -> Floats:
        """(T,) local standard time at the middle of each interval [h], in [0, 24)."""
        middle = self.time - np.timedelta64(round(self.step_hours * 1.8e12), "ns")
        return np.asarray((middle - middle.astype("datetime64[D]")) / np.timedelta64(3_600_000_000_000, "ns"))

    @property
    def is_weekend(self) -> Flags:
        """(T,) whether the middle of each interval lies on a Saturday or a Sunday."""
        middle = self.time - np.timedelta64(round(self.step_hours * 1.8e12), "ns")
        days = middle.astype("datetime64[D]").astype(np.int64)
        return np.asarray((days + 3) % 7 >= 5)  # 1970-01-01 was a Thursday, and Monday counts as 0

    @property
    def days(self) -> Floats:
        """(U,) how much was measured, in days."""
        return np.asarray(np.isfinite(self.indoor).sum(1) * self.step_hours / 24)

    def during(self, first: int, last: int) -> Self:
        """The rows first .. last - 1."""
        rows = slice(first, last)
        over_time: dict[str, Any] = {name: getattr(self, name)[:, rows] for name in _OVER_TIME}
        return replace(self, time=self.time[rows], **over_time)

    def of(self, chosen: NDArray[np.int64]) -> Self:
        """These units, by position."""
        over_units: dict[str, Any] = {name: getattr(self, name)[chosen] for name in (*_OVER_TIME, "rated_power")}
        return replace(self, unit=tuple(self.unit[k] for k in chosen), **over_units)

    def then(self, later: Self) -> Self:
        """These rows, and after them those of `later`, which begin one step after the last of these."""
        over_time: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(later, name)], axis=1) for name in _OVER_TIME
        }
        return replace(self, time=np.concatenate([self.time, later.time]), **over_time)


def measured_since(known: Flags, starts: NDArray[np.int64], ahead: NDArray[np.int64], reach: int) -> Flags:
    """Whether nothing was unknown from row start + 1 - `reach` up to each row ahead.

    known : (U, T); starts : (S,); ahead : (S, H) rows -> (U, S, H)
    """
    unknown = np.concatenate([np.zeros((len(known), 1), dtype=np.int64), np.cumsum(~known, axis=1)], axis=1)
    before = unknown[:, np.maximum(starts + 1 - reach, 0), None]
    return np.asarray(unknown[:, ahead + 1] == before)
