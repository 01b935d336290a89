"""Units are converted where they are stated, and suspected where they aren't; impossible numbers are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_rooms import small_rooms

from surrogates.battery.intake import read
from surrogates.errors import DataError, UnitsError

#: variable, units, the same quantity in these units
OTHER: list[tuple[str, str, Callable[[xr.DataArray], xr.DataArray]]] = [
    ("power", "W", lambda x: 1000 * x),
    ("power", "MW", lambda x: x / 1000),
    ("power", "kWh", lambda x: x / 4),
    ("power", "MJ", lambda x: 3.6 * x / 4),
    ("indoor_temperature", "degF", lambda x: 1.8 * x + 32),
    ("set_point", "°F", lambda x: 1.8 * x + 32),
    ("outdoor_temperature", "K", lambda x: x + 273.15),
    ("direct_normal_irradiance", "kW/m2", lambda x: x / 1000),
    ("diffuse_horizontal_irradiance", "W m-2", lambda x: x),
    ("humidity_ratio", "kg/kg", lambda x: x / 1000),
    ("humidity_ratio", "kg kg^-1", lambda x: x / 1000),
]
#: name inside the library
INSIDE = {
    "power": "power",
    "indoor_temperature": "indoor",
    "set_point": "set_point",
    "outdoor_temperature": "outdoor",
    "humidity_ratio": "humidity",
}


def in_units(
    rooms: xr.Dataset, name: str, units: str | None, change: Callable[[xr.DataArray], xr.DataArray]
) -> xr.Dataset:
    changed = change(rooms[name])
    changed.attrs = {} if units is None else {"units": units}
    return rooms.assign({name: changed})


@pytest.mark.parametrize(("name", "units", "change"), OTHER)
def test_stated_units_are_converted_without_pint(
    name: str, units: str, change: Callable[[xr.DataArray], xr.DataArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pint", None)
    rooms = small_rooms()
    wanted, got = read(rooms), read(in_units(rooms, name, units, change))
    inside = INSIDE.get(name, "irradiance")
    np.testing.assert_allclose(getattr(got, inside), getattr(wanted, inside), rtol=1e-12, atol=1e-9)
    assert got.notes == ()


def test_other_units_are_converted_by_pint() -> None:
    pytest.importorskip("pint")
    rooms = small_rooms()
    got = read(in_units(rooms, "power", "BTU/hour", lambda x: 3412.141633 * x))
    np.testing.assert_allclose(got.power, rooms["power"].values, rtol=1e-6)


def test_a_table_states_units_in_its_attrs_or_its_columns() -> None:
    rooms = small_rooms()
    frame = in_units(rooms, "power", None, lambda x: 1000 * x).to_dataframe().reset_index()
    frame.attrs = {**rooms.attrs, "units": {"power": "W"}}
    np.testing.assert_allclose(read(frame).power, rooms["power"].values)
    renamed = frame.rename(columns={"power": "power [W]"})
    renamed.attrs = dict(rooms.attrs)
    np.testing.assert_allclose(read(renamed).power, rooms["power"].values)
    frame.attrs["units"] = "W"
    with pytest.raises(DataError, match=r"attrs\['units'\] is 'W'; a mapping"):
        read(frame)


@pytest.mark.parametrize(
    ("name", "units", "words"),
    [
        ("power", "degC", "'power' is in 'degC', which measures temperature; 'kW' or the like"),
        ("outdoor_temperature", "W", "'outdoor_temperature' is in 'W', which measures power"),
        ("power", "parsec", "'power' is in 'parsec', which can't be converted to 'kW'"),
        ("rated_power", "kWh", "'rated_power' is in 'kWh', which measures energy"),
    ],
)
def test_units_of_another_dimension(name: str, units: str, words: str) -> None:
    with pytest.raises(UnitsError, match=words):
        read(in_units(small_rooms(), name, units, lambda x: x))


@pytest.mark.parametrize(
    ("name", "change", "likely"),
    [
        ("power", lambda x: 1000 * x, "W"),
        ("power", lambda x: x / 1000, "MW"),
        ("indoor_temperature", lambda x: x + 273.15, "K"),
        ("indoor_temperature", lambda x: 1.8 * x + 32, "degF"),
        ("set_point", lambda x: 1.8 * x + 32, "degF"),
        ("outdoor_temperature", lambda x: x + 273.15, "K"),
        ("outdoor_temperature", lambda x: 1.8 * x + 32, "degF"),
        ("direct_normal_irradiance", lambda x: x / 1000, "kW/m^2"),
        ("humidity_ratio", lambda x: x / 1000, "kg/kg"),
    ],
)
def test_numbers_that_look_like_other_units(
    name: str, change: Callable[[xr.DataArray], xr.DataArray], likely: str
) -> None:
    rooms = in_units(small_rooms(), name, None, change)
    with pytest.raises(UnitsError) as caught:
        read(rooms)
    message = str(caught.value)
    assert f"variable '{name}' has no units" in message
    assert f"looks like '{likely}'" in message
    assert f"set data['{name}'].attrs['units'] = '{likely}'" in message
    rooms[name].attrs["units"] = likely  # the remedy it names
    reference = read(small_rooms())
    np.testing.assert_allclose(read(rooms).irradiance, reference.irradiance, atol=1e-9)
    np.testing.assert_allclose(read(rooms).power, reference.power, atol=1e-9)


def test_the_remedy_fits_the_form_of_the_data() -> None:
    frame = in_units(small_rooms(), "power", None, lambda x: 1000 * x).to_dataframe().reset_index()
    frame.attrs = dict(small_rooms().attrs)
    with pytest.raises(UnitsError, match=r"set data.attrs\['units'\] = \{'power': 'W'\}"):
        read(frame)


def test_right_numbers_without_units_pass() -> None:
    rooms = small_rooms()
    bare = rooms.copy()
    for name in bare.variables:
        bare[name].attrs = {}
    np.testing.assert_array_equal(read(bare).power, read(rooms).power)
    assert read(bare).notes == ()


def test_relative_humidity_is_not_a_humidity_ratio() -> None:
    with pytest.raises(UnitsError, match=r"median of .* looks like '%'.*give the humidity ratio"):
        read(in_units(small_rooms(), "humidity_ratio", None, lambda x: 4 * x))


def test_a_rated_power_in_watts() -> None:
    rooms = in_units(small_rooms(), "rated_power", None, lambda x: 1000 * x)
    with pytest.raises(UnitsError, match=r"rated_power of unit 'room 0' is .*looks like 'W'"):
        read(rooms)
    rooms["rated_power"].attrs["units"] = "W"
    np.testing.assert_allclose(read(rooms).rated_power, small_rooms()["rated_power"].values)
    with pytest.raises(DataError, match=r"rated_power of unit 'room 1' is -2 kW; it must be positive"):
        read(small_rooms().assign(rated_power=("unit", [2.0, -2.0], {"units": "kW"})))
    small = read(small_rooms().assign(rated_power=("unit", [0.5, 2.5], {"units": "kW"})))
    assert any("more than 1.5 times rated_power in units 'room 0'" in note for note in small.notes)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("indoor_temperature", np.inf, "inf degC at 2025-06-02 12:45; -60 to 80"),
        ("indoor_temperature", 99.0, "99 degC at 2025-06-02 12:45"),
        ("outdoor_temperature", -70.0, "-70 degC at 2025-06-02 12:45"),
        ("power", -1.0, "-1 kW at 2025-06-02 12:45; 0 or more"),
        ("power", np.inf, "inf kW"),
        ("direct_normal_irradiance", 5000.0, "5000 W/m"),
        ("diffuse_horizontal_irradiance", -50.0, "-50 W/m"),
        ("humidity_ratio", 80.0, "80 g/kg"),
    ],
)
def test_impossible_values(name: str, value: float, words: str) -> None:
    rooms = small_rooms()
    rooms[name].values[..., 50:52] = value
    with pytest.raises(DataError, match=f"variable '{name}' of unit 'room 0' .* 2 in all, the first {words}"):
        read(rooms)


def test_rounding_below_zero_is_zero() -> None:
    rooms = small_rooms()
    rooms["power"].values[0, 50] = -1e-4
    rooms["direct_normal_irradiance"].values[0] = -3.0
    got, wanted = read(rooms), read(small_rooms())
    assert got.power[0, 50] == 0
    np.testing.assert_array_equal(got.irradiance[:, 0], wanted.irradiance[:, 0])


def test_marks_for_missing_values() -> None:
    rooms = small_rooms()
    rooms["power"].values[0, 50:53] = -9999.0
    got = read(rooms)
    assert any("'power': 3 values from -999 downwards were taken as missing (units 'room 0')" in n for n in got.notes)
    power = rooms["power"].values[0]
    np.testing.assert_allclose(got.power[0, 50:53], np.interp([1, 2, 3], [0, 4], power[[49, 53]]))
    rooms["power"].values[0, 50:53] = 99.0
    rooms["power"].attrs["_FillValue"] = 99.0
    again = read(rooms)
    assert any("equal to the fill value 99" in note for note in again.notes)
    np.testing.assert_allclose(again.power, got.power)
    rooms["power"].values[0, 50:53] = -9999.0
    rooms["power"].attrs["_FillValue"] = np.nan  # marks nothing
    np.testing.assert_allclose(read(rooms).power, got.power)
    rooms["power"].attrs["_FillValue"] = 99.0
    rooms["power"].values[0, 50:53] = 99.0
    rooms["power"].values[0, 60] = -9999.0  # not the mark that was stated
    with pytest.raises(DataError, match="impossible values, 1 in all, the first -9999 kW"):
        read(rooms)


def test_missing_entries_of_a_nullable_column() -> None:
    rooms = small_rooms()
    frame = rooms.to_dataframe().reset_index()
    frame["power"] = frame["power"].astype("Float64")
    frame.loc[50, "power"] = pd.NA
    frame.attrs = dict(rooms.attrs)
    assert read(frame).power[0, 50] == pytest.approx(rooms["power"].values[0, [49, 51]].mean())
