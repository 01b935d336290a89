"""Regressors of linear models: which inputs of a unit enter, at which lags.

With p = power / rated power, To the outdoor temperature and T the indoor one,

    T[k] = Σ_i a_i T[k-i] + Σ_j b_j x_j[k],      i = 1 .. order,

where x holds, `plain`: p and To at several lags, the horizontal irradiance, a constant and one wave of 24 h; `rich`: the
irradiances of five facades instead, p · humidity, p · To, p², and waves of 24, 12 and 8 h, weekdays and weekends apart.
(The means of sun and humidity over the last day, which help the physical model, were tried here too: hierarchical fits of
newcomers became worse by .02 K from 2 % of the history and by .01 K from more.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from surrogates.battery.drivers import ORIGIN
from surrogates.battery.records import Flags, Floats, Records
from surrogates.errors import DataError


@dataclass(frozen=True)
class Terms:
    """Which regressors a linear model has.

    order : lags of the indoor temperature, n
    inputs : see the module
    power_lags, outdoor_lags, sun_lags : how many of the latest rows of each input enter
    """

    order: int = 8
    inputs: Literal["plain", "rich"] = "rich"
    power_lags: int = 8
    outdoor_lags: int = 4
    sun_lags: int = 4

    def __post_init__(self) -> None:
        for name in ("order", "power_lags", "outdoor_lags", "sun_lags"):
            if getattr(self, name) < 1:
                raise DataError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def reach(self) -> int:
        """How many rows back a regressor looks at most."""
        return max(self.order, self.power_lags - 1, self.outdoor_lags - 1, self.sun_lags - 1)

    def columns(self, records: Records) -> Floats:
        """Inputs of each row, power first.  -> (U, T, m)"""
        load = records.power / records.rated_power[:, None]
        outdoor = (records.outdoor - ORIGIN) / 10
        parts = [*_lags(load, self.power_lags), *_lags(outdoor, self.outdoor_lags)]
        sun = records.irradiance / 1000
        facades = range(sun.shape[2]) if self.inputs == "rich" else range(1)
        parts += [column for facade in facades for column in _lags(sun[:, :, facade], self.sun_lags)]
        if self.inputs == "rich":
            parts += [load * (records.humidity - 12) / 5, load * outdoor, load * load]
        calendar = _calendar(records, rich=self.inputs == "rich")
        shape = (records.units, records.steps, calendar.shape[1])
        return np.concatenate([np.stack(parts, axis=-1), np.broadcast_to(calendar, shape)], axis=-1)

    def past(self, indoor: Floats) -> Floats:
        """T[k-1] .. T[k-n] of each row.  (U, T) -> (U, T, n)"""
        return np.stack(_lags(indoor, self.order + 1)[1:], axis=-1)

    def usable(self, records: Records) -> Flags:
        """Rows whose temperature, lags and inputs were all measured.  -> (U, T)"""
        measured = np.isfinite(records.indoor)
        fine = measured & records.is_known
        for lag in range(1, self.order + 1):
            fine &= _shifted(measured, lag)
        for lag in range(1, max(self.power_lags, self.outdoor_lags, self.sun_lags)):
            fine &= _shifted(records.is_known, lag)
        fine[:, : self.reach] = False
        return np.asarray(fine)


def _lags(x: Floats, count: int) -> list[Floats]:
    """x[k], x[k-1] .. x[k-count+1]; before the first row, the first."""
    return [
        np.concatenate([np.repeat(x[:, :1], lag, axis=1), x[:, : x.shape[1] - lag]], axis=1) for lag in range(count)
    ]


def _shifted(flags: NDArray[np.bool_], lag: int) -> Flags:
    shifted = np.zeros_like(flags)
    shifted[:, lag:] = flags[:, : max(flags.shape[1] - lag, 0)]
    return shifted


def _calendar(records: Records, *, rich: bool) -> Floats:
    """(T, 3), or (T, 14) with waves of weekdays and weekends apart."""
    angle = 2 * np.pi * records.hour / 24
    waves = np.stack([wave(k * angle) for k in ((1, 2, 3) if rich else (1,)) for wave in (np.cos, np.sin)], axis=-1)
    one = np.ones((records.steps, 1))
    if not rich:
        return np.concatenate([one, waves], axis=1)
    weekend = records.is_weekend.astype(np.float64)[:, None]
    return np.concatenate([one, weekend, (1 - weekend) * waves, weekend * waves], axis=1)
