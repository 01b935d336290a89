"""The temperature of a room as a function of the power schedule ahead, with its exact Jacobian.

The forecast is affine in the columns that power makes (`surrogates.battery.drivers`): with p the power per rated power,

    T(k) = T_0(k) + Σ_{j <= k} [Φ^{k-j}]_air G_p c(p_j),     c(p) = (p, p τ, p ω, p (min(p, 1.3) - 0.35))

T_0 without power, one forecast; so a schedule costs one product of matrices, and dT(k)/dp(j) = [Φ^{k-j}]_air G_p c'(p_j).
A thermostat finds p(k) step by step, from what the steps before it leave (`surrogates.battery.holding`); where the unit
isn't at its limits, dp(k)/ds = (e_k - Σ_{j < k} dT(k)/dp(j) dp(j)/ds)/(dT(k)/dp(k)), else 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from surrogates.battery import AdaptedUnits
from surrogates.battery.continuing import continued
from surrogates.battery.drivers import MOST_LOAD, USUAL_LOAD, power_column, variation_by_weather
from surrogates.battery.forecasting import with_residual, without_start
from surrogates.battery.holding import load_of
from surrogates.battery.intake import Data
from surrogates.battery.observer import responses
from surrogates.battery.system import system_of
from surrogates.errors import DataError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Schedule:
    """One room and H steps ahead; made by `schedule`.

    passive : (H,) temperature without power [degC]
    responses : (H, 4) air's response to heat in the four states, by the steps passed
    gains : (4, 4) of the columns of power on the states
    weather : τ and ω (H,) each
    std : (H,) of the forecast [K], which the power doesn't change
    rated, most : rated power, and the largest the unit draws [kW]
    comfort : lowest and highest comfortable temperature [degC]
    """

    passive: Floats
    responses: Floats
    gains: Floats
    weather: tuple[Floats, Floats]
    std: Floats
    rated: float
    most: float
    comfort: tuple[float, float]

    def temperature(self, power: Floats) -> Floats:
        """(H,) at the ends of the steps [degC], for power (H,) [kW]."""
        load = power / self.rated
        τ, ω = self.weather
        columns = np.stack([load, load * τ, load * ω, load * (np.minimum(load, MOST_LOAD) - USUAL_LOAD)], axis=-1)
        return np.asarray(self.passive + (self._lagged @ self.gains * columns).sum((1, 2)))

    def slopes(self, power: Floats) -> Floats:
        """dT(k)/dpower(j) (H, H) [K/kW], lower triangular."""
        return np.asarray((self._lagged @ self.gains * self._by_load(power / self.rated)).sum(-1) / self.rated)

    def held(self, set_point: Floats) -> tuple[Floats, Floats]:
        """Power (H,) [kW] of a thermostat that holds set-points (H,) [degC], and its derivatives (H, H) [kW/K]."""
        H, (τ, ω) = len(set_point), self.weather
        cooling = -self.gains[0]  # of the air, in the step itself
        heat, load = self._lagged @ self.gains, np.zeros(H)
        columns, slopes = np.zeros((H, 4)), np.zeros((H, H))
        for k in range(H):
            slope, curvature = cooling[0] + cooling[1] * τ[k] + cooling[2] * ω[k], cooling[3]
            excess = self.passive[k] + (heat[k, :k] * columns[:k]).sum() - set_point[k]
            wanted = float(load_of(np.array(slope), np.array(curvature), np.array(excess)))
            load[k] = p = min(wanted, self.most / self.rated)
            columns[k] = p, p * τ[k], p * ω[k], p * (min(p, MOST_LOAD) - USUAL_LOAD)
            if excess > 0 and wanted == p:
                own = self._by_load(load)  # (H, 4)
                moved = (heat[k, :k] * own[:k]).sum(-1) @ slopes[:k]
                moved[k] -= 1.0
                slopes[k] = -moved / (heat[k, k] @ own[k])
        return load * self.rated, slopes * self.rated

    def _by_load(self, load: Floats) -> Floats:
        """c'(p) (H, 4)"""
        τ, ω = self.weather
        return np.stack(
            [np.ones_like(load), τ, ω, np.where(load < MOST_LOAD, 2 * load, MOST_LOAD) - USUAL_LOAD], axis=-1
        )

    def checked(self, values: Floats, name: str, low: float, high: float) -> Floats:
        """Values (H,) of an input within its limits.

        Raises
        ------
        DataError
            If one isn't.
        """
        wrong = ~((values >= low) & (values <= high))
        if wrong.any():
            k = int(np.argmax(wrong))
            raise DataError(
                f"{name} of step {k} is {values[k]:g}; it must be between {low:g} and {high:g}: bound it so"
            )
        return values

    @cached_property
    def _lagged(self) -> Floats:
        """(H, H, 4) the response of step k's air to heat at step j, zero for later ones."""
        H = len(self.passive)
        lag = np.arange(H)[:, None] - np.arange(H)
        return np.where((lag >= 0)[..., None], self.responses[np.maximum(lag, 0)], 0.0)


def schedule(units: AdaptedUnits, data: Data, start: str | np.datetime64 | None) -> Schedule:
    """What lies ahead of one room.

    data, start : as `AdaptedUnits.plan` takes them; power in the rows ahead is not used

    Raises
    ------
    DataError
        If there are several units; and as `AdaptedUnits.plan`.
    """
    if not isinstance(units, AdaptedUnits):
        raise DataError(
            f"a {type(units).__name__} is no adapted unit; give what FittedVirtualBattery.adapt() gives of one room's "
            f"readings, or its population"
        )
    ahead = continued(units.memory, data, start)
    if ahead.records.units > 1:
        raise DataError(
            f"there are {ahead.records.units} units ahead; a component holds one: make one of each, with the data of a "
            f"single unit"
        )
    s, prints = units.settings, units.prints.of(ahead.chosen)
    records, H = ahead.records, ahead.horizon
    off = records.power.copy()
    off[:, ahead.start + 1 :] = 0.0
    records = replace(records, power=off)
    at = np.array([ahead.start])
    passive = with_residual(prints.θ, s.layout, records, at, H, prints.residual, s.features_of(records))[0, 0]
    system = without_start(system_of(prints.θ, s.layout, records.step_hours))
    first = np.zeros((1, 4))
    first[0, 0] = 1.0
    later = responses(system, None, H)[: H - 1, 0, :, 0]
    rows = slice(ahead.start + 1, None)
    weather = variation_by_weather(records.outdoor[0, rows], records.humidity[0, rows])
    rated = float(records.rated_power[0])
    known = prints.deviation.shape[1]
    std = prints.deviation[0, np.minimum(np.arange(H) + ahead.stale[0], known - 1)]
    return Schedule(
        passive,
        np.concatenate([first, later]),
        system.G[0][:, power_column(s.layout)],
        weather,
        std,
        rated,
        float(prints.most_load[0]) * rated,
        s.comfort,
    )
