"""From draws of a room's parameters to the numbers of a battery: mean, standard deviation and quantiles of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError

from .stores import RATES, Stores

Floats = NDArray[np.float64]
#: units of all variables over time and of all scalars
OVER_TIME = {
    "baseline": "kW",
    "charge_power": "kW",
    "discharge_power": "kW",
    "lowest": "degC",
    "highest": "degC",
    "set_point": "degC",
    "indoor_temperature": "degC",
    "gain_factor": "1",
}
SCALARS = {
    "capacity": "kWh",
    "capacity_with_masses": "kWh",
    "self_discharge": "1/h",
    "fastest_rate": "1/h",
    "leak": "1/h",
    "gain": "K/kWh",
    "rated_power": "kW",
}
LONG_NAMES = {
    "baseline": "power that holds the set point",
    "charge_power": "extra power that can be taken",
    "discharge_power": "power that can be dropped",
    "lowest": "lower edge of the temperature band",
    "highest": "upper edge of the temperature band",
    "set_point": "temperature that the baseline holds",
    "indoor_temperature": "temperature of the air in the baseline",
    "gain_factor": "efficiency relative to the stores' gain",
    "capacity": "electric energy from one edge of the band to the other, air alone",
    "capacity_with_masses": "the same if air and masses cross the band",
    "self_discharge": "slowest rate at which charge is lost",
    "fastest_rate": "fastest rate of the room",
    "leak": "rate of loss from the air to the outdoors",
    "gain": "temperature change of the air per electric energy",
    "rated_power": "electric nameplate power",
}


def over_draws(x: ArrayLike, draws: int, steps: int, name: str) -> Floats:
    """As (draw, time), from that, (time,) or a number; finite.

    Raises
    ------
    DataError
        If it isn't.
    """
    values = np.asarray(x, dtype=np.float64)
    if values.shape not in {(), (steps,), (draws, steps), (1, steps), (draws, 1)}:
        raise DataError(
            f"{name} has the shape {values.shape}; it must be (draw, time) = {(draws, steps)}, (time,) or ()"
        )
    if not np.isfinite(values).all():
        raise DataError(f"{name} holds values that aren't finite; a battery needs all of them")
    return np.broadcast_to(values, (draws, steps))


def numbers_of(stores: Stores, over_time: dict[str, Floats], rated_power: float) -> dict[str, Floats]:
    """Scalars of each draw, (draw,), the names of SCALARS and rates."""
    draws = len(over_time["baseline"])
    width = (over_time["highest"] - over_time["lowest"]).mean(axis=1)
    gain = stores.plug.detach().numpy() * over_time["gain_factor"].mean(axis=1)
    λ = stores.modes()[0].detach().numpy()
    capacity = width / gain
    found = {
        "capacity": capacity,
        "capacity_with_masses": capacity * stores.capacities().detach().numpy().sum(-1),
        "self_discharge": λ[..., 0],
        "fastest_rate": λ[..., -1],
        "leak": stores.ko.detach().numpy(),
        "gain": gain,
        "rated_power": np.asarray(rated_power),
    }
    for name in RATES:
        if (rate := getattr(stores, name)) is not None:
            found[name] = rate.detach().numpy()
    found["stores_gain"] = stores.plug.detach().numpy()
    return {name: np.broadcast_to(x, (draws,)) for name, x in found.items()}


def summary(
    scalars: dict[str, Floats], over_time: dict[str, Floats], time: NDArray[np.datetime64], quantiles: Sequence[float]
) -> xr.Dataset:
    """Mean, `_std` and `_quantiles` of each over the draws, with units and long names."""
    levels = np.asarray(quantiles, dtype=np.float64)
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise DataError(f"quantiles are {list(quantiles)}; they must be numbers between 0 and 1")
    found: dict[str, xr.Variable] = {}
    for name, x in {**over_time, **scalars}.items():
        dims = ("time",) if name in over_time else ()
        attrs = {"units": unit_of(name), "long_name": LONG_NAMES.get(name, f"rate {name} of the stores")}
        found[name] = xr.Variable(dims, x.mean(axis=0), attrs)
        deviation = x.std(axis=0, ddof=1) if len(x) > 1 else np.zeros(x.shape[1:])
        about = {"units": attrs["units"], "long_name": f"standard deviation of: {attrs['long_name']}"}
        found[f"{name}_std"] = xr.Variable(dims, deviation, about)
        if name in ("lowest", "highest", "set_point", "rated_power"):
            continue  # given, not estimated
        about = {"units": attrs["units"], "long_name": f"quantiles of: {attrs['long_name']}"}
        found[f"{name}_quantiles"] = xr.Variable(("quantile", *dims), np.quantile(x, levels, axis=0), about)
    return xr.Dataset(found, coords={"time": time, "quantile": levels})


def unit_of(name: str) -> str:
    """Unit of a battery's variable."""
    known = {**OVER_TIME, **SCALARS, **dict.fromkeys(RATES, "1/h"), "stores_gain": "K/kWh"}
    return known[name]
