"""Simulated rooms in one small file: NetCDF 3 in gzip, series as first differences of scaled integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError, FileFormatError

from ..compressed import read_compressed, write_compressed
from .climates import climate_named
from .energyplus import WEATHER, Site
from .room import Room, room_of
from .rooms import Rooms, parameters_of, series, time_axis, twins_of
from .set_points import RESOLUTION, STEPS, TWIN_START, TWINS

Floats = NDArray[np.float64]
FORMAT = "surrogates rooms 1"
SHIPPED = "rooms_0.nc.gz"
#: one step of the stored integers; that of powers is each unit's rating / POWER_STEPS
POWER_STEPS = 4000
SCALES = {
    "indoor_temperature": RESOLUTION,
    "set_point": RESOLUTION,
    "outdoor_temperature": 0.005,
    "direct_normal_irradiance": 0.1,
    "diffuse_horizontal_irradiance": 0.1,
    "humidity_ratio": 0.001,
}
ENCODING = (
    "series are first differences along time of 16-bit integers, modulo 65536: value = scale * cumulative sum; "
    f"power: scale is rated_power / {POWER_STEPS}"
)
OF_UNITS = ("power", "indoor_temperature", "set_point")
PER_PLACE = ("latitude", "longitude", "utc_offset")
AGAIN = "make it again: python -m surrogates.datasets.rooms --seed SEED --out FILE"


def air_conditioned_rooms() -> Rooms:
    """100 air-conditioned rooms, simulated by EnergyPlus with the seed 0; they come with the library.

    48 rooms in Tampa, Dulles and Chicago (the population) and 52 in these and in Golden (newcomers), each over June to
    September every 15 min, under random set-points, and five kinds of twins over the last four weeks. `Rooms` says what
    the data hold; powers are rounded to 1/4000 of the rating and temperatures to 0.005 K.

    Raises
    ------
    DataError
        If the file isn't there.
    FileFormatError
        If it is damaged.

    Examples
    --------
    >>> rooms = air_conditioned_rooms()
    >>> dict(rooms.population.sizes)
    {'unit': 48, 'time': 11712}
    """
    with resources.as_file(resources.files(__package__) / "data" / SHIPPED) as path:
        return read_rooms(path)


def write_rooms(rooms: Rooms, path: Path | str) -> None:
    """Write a file for `read_rooms`; the same rooms always give the same bytes."""
    groups = (rooms.population, rooms.newcomers)
    rated = np.concatenate([group["rated_power"].to_numpy() for group in groups])
    climate = np.concatenate([group["climate"].to_numpy() for group in groups]).tolist()
    names = sorted(set(climate), key=climate.index)
    chosen = [climate.index(name) for name in names]

    def joined(name: str) -> Floats:
        return np.concatenate([group[name].to_numpy() for group in groups])

    data = xr.Dataset(attrs={**rooms.population.attrs, "format": FORMAT, "encoding": ENCODING})
    data["unit"] = ("unit", [*rooms.population["unit"].values.tolist(), *rooms.newcomers["unit"].values.tolist()])
    data["is_newcomer"] = ("unit", np.repeat([0, 1], [group.sizes["unit"] for group in groups]).astype(np.int8))
    data["climate"] = ("climate", names)
    data["climate_number"] = ("unit", np.array([names.index(name) for name in climate], dtype=np.int8))
    for name in PER_PLACE:
        data[name] = ("climate", joined(name)[chosen])
    data["rated_power"] = ("unit", rated)
    data["power"] = (("unit", "time"), _packed(joined("power"), rated[:, None] / POWER_STEPS))
    for name in ("indoor_temperature", "set_point"):
        data[name] = (("unit", "time"), _packed(joined(name), SCALES[name]))
    for name in WEATHER:
        data[name] = (("climate", "time"), _packed(joined(name)[chosen], SCALES[name]))
    twins = rooms.twins
    data["twin"] = ("twin", twins["twin"].values.tolist())
    data["has_run"] = (("twin", "unit"), twins["has_run"].to_numpy().astype(np.int8))
    for name in OF_UNITS:
        scale = rated[:, None] / POWER_STEPS if name == "power" else SCALES[name]
        data[f"twin_{name}"] = (("twin", "unit", "twin_time"), _packed(np.nan_to_num(twins[name].to_numpy()), scale))
    for field in fields(Room):
        data[f"true_{field.name}"] = ("unit", rooms.parameters[field.name].to_numpy().astype(np.float64))
    write_compressed(path, data)


def read_rooms(path: Path | str) -> Rooms:
    """Rooms from a file of `write_rooms` or of ``python -m surrogates.datasets.rooms``.

    Raises
    ------
    DataError
        If there is no such file.
    FileFormatError
        If it is damaged or something else.
    """
    data = read_compressed(path, kind="rooms' file", layout=FORMAT, remedy=AGAIN)
    for name, dims in _layout().items():
        if name not in data or data[name].dims != dims:
            found = "isn't there" if name not in data else f"is over {data[name].dims}"
            raise FileFormatError(f"{path} is damaged: {name} over {dims} is wanted, it {found}; {AGAIN}")
    sizes = {"time": STEPS, "twin_time": STEPS - TWIN_START, "twin": len(TWINS)}
    for dim, size in sizes.items():
        if data.sizes[dim] != size:
            raise FileFormatError(f"{path} is damaged: {data.sizes[dim]} along {dim!r}, {size} are wanted; {AGAIN}")
    return _unpacked(data)


def _layout() -> dict[str, tuple[str, ...]]:
    """The variables of a file and what they run over."""
    of_unit = [
        "unit",
        "is_newcomer",
        "climate_number",
        "rated_power",
        *(f"true_{field.name}" for field in fields(Room)),
    ]
    return {
        **dict.fromkeys(of_unit, ("unit",)),
        **dict.fromkeys(("climate", *PER_PLACE), ("climate",)),
        **dict.fromkeys(OF_UNITS, ("unit", "time")),
        **dict.fromkeys(WEATHER, ("climate", "time")),
        **dict.fromkeys((f"twin_{name}" for name in OF_UNITS), ("twin", "unit", "twin_time")),
        "has_run": ("twin", "unit"),
        "twin": ("twin",),
    }


def _packed(values: Floats, scale: float | Floats) -> NDArray[np.int16]:
    whole = np.round(values / scale).astype(np.int64)
    if np.abs(whole).max(initial=0) > np.iinfo(np.int16).max:
        raise DataError(f"a series reaches {np.abs(values).max()}, too much for 16-bit integers at its scale")
    return np.diff(whole, axis=-1, prepend=0).astype(np.int16)  # a jump may wrap around; so does the sum


def _values(packed: NDArray[Any], scale: float | Floats) -> Floats:
    return np.asarray(np.cumsum(packed.astype(np.int16), axis=-1, dtype=np.int16) * scale)


def _unpacked(data: xr.Dataset) -> Rooms:
    notes = {key: str(value) for key, value in data.attrs.items() if key not in ("format", "encoding")}
    notes["resolution"] = f"power: rating / {POWER_STEPS}, " + ", ".join(f"{k}: {v:g}" for k, v in SCALES.items())
    rated = data["rated_power"].to_numpy()
    units = data["unit"].values.astype(str).tolist()
    number = data["climate_number"].to_numpy().astype(np.int64)
    names = data["climate"].values.astype(str).tolist()
    climates = [names[k] for k in number]
    arrays = {
        "power": _values(data["power"].to_numpy(), rated[:, None] / POWER_STEPS),
        **{name: _values(data[name].to_numpy(), SCALES[name]) for name in ("indoor_temperature", "set_point")},
        **{name: _values(data[name].to_numpy(), SCALES[name])[number] for name in WEATHER},
    }
    place = {name: data[name].to_numpy().tolist() for name in PER_PLACE}
    sites = [Site("", *(place[name][k] for name in PER_PLACE)) for k in range(len(names))]
    new = data["is_newcomer"].to_numpy().astype(bool)
    known, unknown = (
        _group(arrays, rated, units, climates, [sites[k] for k in number], notes, new == flag) for flag in (False, True)
    )
    rooms = [_room(data, k) for k in range(len(units))]
    return Rooms(known, unknown, _twins(data, units, rated, notes), parameters_of(rooms, units, climates, notes))


def _group(
    arrays: Mapping[str, Floats],
    rated: Floats,
    units: list[str],
    climates: list[str],
    sites: list[Site],
    notes: dict[str, str],
    mask: NDArray[np.bool_],
) -> xr.Dataset:
    chosen = np.flatnonzero(mask)
    return series(
        {name: array[chosen] for name, array in arrays.items()},
        rated[chosen],
        [units[k] for k in chosen],
        [(climate_named(climates[k]), sites[k]) for k in chosen],
        time_axis(STEPS),
        dict(notes),
    )


def _room(data: xr.Dataset, k: int) -> Room:
    return room_of(xr.Dataset({field.name: data[f"true_{field.name}"][k] for field in fields(Room)}))


def _twins(data: xr.Dataset, units: list[str], rated: Floats, notes: dict[str, str]) -> xr.Dataset:
    scales: dict[str, float | Floats] = {**SCALES, "power": rated[:, None] / POWER_STEPS}
    ran = data["has_run"].to_numpy().astype(bool)[:, :, None]
    power, indoor, wanted = (
        np.where(ran, _values(data[f"twin_{name}"].to_numpy(), scales[name]), np.nan) for name in OF_UNITS
    )
    return twins_of(power, indoor, wanted, units, dict(notes))
