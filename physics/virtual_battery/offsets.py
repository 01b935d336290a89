"""How a room answers power above or below its baseline, without weather or heat gains.

A linear room answers the difference of two powers with the difference of two temperatures. With the baseline run known
(its power and its indoor temperature), all that is left is, for the offset v [kW] and the charge x [K] gained by it
(cooler in cooling, warmer in heating),

    x[k+1] = Φ x[k] + Γ f[k] v[k],        Φ, Γ >= 0,   f the efficiency factor

        -room_below[k] <= x_a[k] <= room_above[k],        -dischargeable[k] <= v[k] <= chargeable[k]

with what the baseline leaves of the band on both sides. Exact as long as the efficiency doesn't depend on the power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .battery import Battery

Floats = NDArray[np.float64]
MOST = 3  # stores; rooms of fewer are padded with stores that stay at zero


@dataclass(frozen=True, eq=False)
class Offsets:
    """The differences from the baseline of U units over T steps.

    Φ : (U, 3, 3); Γ : (U, 3) [K/kW]; f : (U, T); rooms of fewer stores are padded with zeros
    below, above : (U, T) of the band, at the ends of the steps, x_a in [-below, above] [K]
    least, most : (U, T) of the offset [kW]
    soc : (U, T) of the baseline; width : (U, T) of the band [K]
    step_hours : [h]
    """

    Φ: Floats
    Γ: Floats
    f: Floats
    below: Floats
    above: Floats
    least: Floats
    most: Floats
    soc: Floats
    width: Floats
    step_hours: float

    @property
    def units(self) -> int:
        """How many units, U."""
        return len(self.f)

    @property
    def steps(self) -> int:
        """How many steps, T."""
        return int(self.f.shape[1])

    def start(self, initial_soc: Floats) -> Floats:
        """Charge of the stores at the start, (U, 3) [K]: the air's SOC (U,) against the first step's baseline.

        The masses start where the baseline leaves them. NaN starts the air there too.
        """
        x = np.zeros((self.units, MOST))
        x[:, 0] = np.where(np.isnan(initial_soc), 0.0, (initial_soc - self.soc[:, 0]) * self.width[:, 0])
        return x

    def run(self, x: Floats, offset: Floats) -> Floats:
        """Charge of the air at the ends of the steps, (U, T) [K].  x : (U, 3); offset : (U, T) [kW]"""
        charge = np.empty((len(x), self.steps))
        for k in range(self.steps):
            x = np.einsum("uij,uj->ui", self.Φ, x) + self.Γ * (self.f[:, k] * offset[:, k])[:, None]
            charge[:, k] = x[:, 0]
        return charge

    def soc_of(self, charge: Floats) -> Floats:
        """SOC that belongs to charges of the air (U, T) [K]."""
        return np.asarray(self.soc + charge / self.width)

    def response(self, unit: int) -> Floats:
        """G (T, T) with charge of the air = G offset [K/kW]: lower triangular, >= 0."""
        x, answers = self.Γ[unit], np.empty(self.steps)
        for k in range(self.steps):
            answers[k], x = x[0], self.Φ[unit] @ x
        lag = np.arange(self.steps)[:, None] - np.arange(self.steps)
        return np.asarray(np.where(lag >= 0, answers[np.maximum(lag, 0)], 0.0) * self.f[unit])

    def free(self, x: Floats) -> Floats:
        """Charge of the air without any offset, (U, T) [K]."""
        return self.run(x, np.zeros((self.units, self.steps)))


def offsets_of(batteries: tuple[Battery, ...]) -> Offsets:
    """Offsets of units that share a time axis, with mean stores."""
    step_hours = batteries[0].step_hours
    Φ, Γ = np.zeros((len(batteries), MOST, MOST)), np.zeros((len(batteries), MOST))
    for u, battery in enumerate(batteries):
        n = battery.stores.count
        Φ[u, :n, :n], Γ[u, :n] = (x.numpy() for x in battery.stores.charging(step_hours))

    def over_time(name: str) -> Floats:
        return np.stack([battery[name].to_numpy() for battery in batteries])

    width = over_time("highest") - over_time("lowest")
    soc = np.stack([battery.soc(battery.indoor_temperature).to_numpy() for battery in batteries])
    return Offsets(
        Φ, Γ, over_time("gain_factor"), soc * width, (1 - soc) * width,
        -over_time("discharge_power"), over_time("charge_power"), soc, width, step_hours,
    )  # fmt: skip
