"""Names, dims and units of what leaves the library."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .fingerprints import Fingerprints
from .layout import GAINS, LARGEST_VARIATION, RATES, VARIATION, Layout
from .records import FACADES, Floats
from .system import variation_of

_UNITS = {
    "temperature": ("degC", "indoor temperature at the end of the interval"),
    "std": ("K", "standard deviation of the temperature"),
    "lower": ("degC", "5 % quantile of the temperature"),
    "upper": ("degC", "95 % quantile of the temperature"),
    "state_of_charge": ("1", "of the air: 0 at the warm edge of the comfort band, 1 at the cold one"),
    "power": ("kW", "electric power, mean over the interval"),
    "energy": ("kWh", "electric energy that the event delivers"),
    "rebound": ("kWh", "electric energy that is drawn more after the event"),
    "rate_of_exchange": ("1/h", "rate of exchange"),
    "cooling": ("K/h", "cooling of the air at rated power, 30 degC outdoors"),
    "variation": ("1", "relative change of cooling per 10 K, 5 g/kg, rated load"),
    "sun_on_air": ("K/h/(kW/m^2)", "heating of the air by irradiance on a surface"),
    "sun_on_mass": ("K/h/(kW/m^2)", "heating of the inner mass by irradiance on a surface"),
    "heat_gain": ("K/h", "heating of the air by the calendar and by what the last day left"),
}


def described(name: str) -> dict[str, str]:
    """Attributes of a variable; `_std`, `_lower`, `_upper` say what they are."""
    units, text = _UNITS[name.removesuffix("_std").removesuffix("_lower").removesuffix("_upper")]
    if name.endswith("_std"):
        return {"units": "K" if units == "degC" else units, "long_name": f"standard deviation of: {text}"}
    for end, level in (("_lower", "5 %"), ("_upper", "95 %")):
        if name.endswith(end):
            return {"units": units, "long_name": f"{level} quantile of: {text}"}
    return {"units": units, "long_name": text}


def over_units(values: Mapping[str, Floats], unit: tuple[str, ...], time: NDArray[np.datetime64]) -> xr.Dataset:
    """Arrays (U, H) under their names."""
    return xr.Dataset(
        {name: (("unit", "time"), x, described(name)) for name, x in values.items()},
        coords={"unit": list(unit), "time": time},
    )


def parameters_of(prints: Fingerprints, layout: Layout, unit: tuple[str, ...]) -> xr.Dataset:
    """Numbers of units in their natural units, standard deviations by the delta method."""
    θ, deviation = prints.θ, np.sqrt(np.einsum("upp->up", prints.covariance()))
    tilt = np.asarray(LARGEST_VARIATION) / np.cosh(θ[:, layout.variation]) ** 2
    calendar = slice(layout.gains.start, layout.gains.start + len(GAINS))
    every = {
        "rate_of_exchange": (
            ("unit", "rate"),
            np.exp(θ[:, layout.rates]),
            np.exp(θ[:, layout.rates]) * deviation[:, layout.rates],
        ),
        "cooling": (
            ("unit",),
            np.exp(θ[:, layout.cooling]),
            np.exp(θ[:, layout.cooling]) * deviation[:, layout.cooling],
        ),
        "variation": (("unit", "cause"), variation_of(θ, layout), tilt * deviation[:, layout.variation]),
        "heat_gain": (("unit", "term"), θ[:, calendar], deviation[:, calendar]),
    }
    for name, place in (("sun_on_air", layout.sun_on_air), ("sun_on_mass", layout.sun_on_mass)):
        every[name] = (("unit", "facade"), np.exp(θ[:, place]), np.exp(θ[:, place]) * deviation[:, place])
    data = xr.Dataset(
        coords={
            "unit": list(unit),
            "rate": list(RATES),
            "cause": list(VARIATION),
            "facade": list(FACADES),
            "term": list(GAINS),
        }
    )
    for name, (dims, value, std) in every.items():
        data[name] = (dims, value, described(name))
        data[f"{name}_std"] = (dims, std, described(f"{name}_std"))
    return data
