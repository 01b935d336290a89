"""Small air-conditioned rooms for tests: two thermal stores under a made-up summer sky, kept by an ideal thermostat."""

from __future__ import annotations

import numpy as np
import xarray as xr

#: variables whose rows are means over the interval that ends at the stamp
AVERAGES = [
    "power",
    "outdoor_temperature",
    "direct_normal_irradiance",
    "diffuse_horizontal_irradiance",
    "humidity_ratio",
]


def small_rooms(*, units: int = 2, days: float = 6.0, minutes: int = 15, seed: int = 0) -> xr.Dataset:
    """Rooms in Tampa from Monday, 2 June 2025, with units on every variable; rows as the library reads them."""
    generator = np.random.default_rng(seed)
    h = minutes / 60
    steps = round(days * 24 / h)
    hour = (np.arange(steps) + 0.5) * h  # middle of each interval
    sun = np.clip(np.sin((hour % 24 - 6) / 12 * np.pi), 0, None) * (0.6 + 0.4 * np.cos(hour / 31))
    outdoor = 28 + 5 * np.sin((hour % 24 - 9) / 12 * np.pi) + 0.3 * generator.standard_normal(steps)
    lasting = round(2 / h)  # rows for which a set-point holds
    wanted = generator.uniform(22.5, 27.5, (units, steps // lasting + 1)).repeat(lasting, axis=1)[:, :steps]
    gain, rated = generator.uniform(7, 12, units), generator.uniform(1.5, 2.5, units)
    air, mass = np.full(units, 26.0), np.full(units, 26.0)
    power, indoor = np.zeros((units, steps)), np.zeros((units, steps))
    for k in range(steps):
        drift = 0.3 * (outdoor[k] - air) + 2.0 * (mass - air) + 2.5 * sun[k]  # K/h without cooling
        power[:, k] = np.clip((air + h * drift - wanted[:, k]) / (gain * h), 0, rated)
        mass = mass + h * (0.05 * (air - mass) + 0.02 * (outdoor[k] - mass))
        air = air + h * (drift - gain * power[:, k])
        indoor[:, k] = air
    time = np.datetime64("2025-06-02", "ns") + np.arange(1, steps + 1) * np.timedelta64(minutes, "m")
    both = ("unit", "time")
    return xr.Dataset(
        {
            "power": (both, power, {"units": "kW"}),
            "indoor_temperature": (both, indoor, {"units": "degC"}),
            "set_point": (both, wanted, {"units": "degC"}),
            "outdoor_temperature": ("time", outdoor, {"units": "degC"}),
            "direct_normal_irradiance": ("time", 700 * sun, {"units": "W/m^2"}),
            "diffuse_horizontal_irradiance": ("time", 150 * sun, {"units": "W/m^2"}),
            "humidity_ratio": ("time", 15 + 2 * np.sin(hour / 40), {"units": "g/kg"}),
            "rated_power": ("unit", rated, {"units": "kW"}),
        },
        coords={"unit": [f"room {k}" for k in range(units)], "time": time},
        attrs={"latitude": 27.96, "longitude": -82.54, "utc_offset": -5.0},
    )
