"""The ways in: datasets, tables and files say the same; what is required, optional and assumed."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_rooms import small_rooms

from surrogates.battery.intake import read
from surrogates.battery.intake.sources import has_unit_dim
from surrogates.battery.records import Records
from surrogates.errors import DataError
from surrogates.physics.solar import facade_irradiance, split_global

ARRAYS = ("power", "indoor", "outdoor", "irradiance", "humidity", "set_point", "rated_power", "is_known")


def assert_same(got: Records, wanted: Records, rtol: float = 0.0) -> None:
    assert got.unit == wanted.unit
    np.testing.assert_array_equal(got.time, wanted.time)
    assert got.step_hours == wanted.step_hours
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), rtol=rtol, err_msg=name)


def table(rooms: xr.Dataset) -> pd.DataFrame:
    frame = rooms.to_dataframe().reset_index()
    frame.attrs = dict(rooms.attrs)
    return frame


def test_good_data_pass_unchanged_and_without_a_note() -> None:
    rooms = small_rooms()
    before = rooms.copy(deep=True)
    got = read(rooms)
    xr.testing.assert_identical(rooms, before)
    assert got.notes == ()
    assert got.unit == ("room 0", "room 1")
    assert got.step_hours == 0.25
    assert got.is_known.all()
    np.testing.assert_array_equal(got.time, rooms["time"].values)
    for name, variable in (("power", "power"), ("indoor", "indoor_temperature"), ("set_point", "set_point")):
        np.testing.assert_array_equal(getattr(got, name), rooms[variable].values)
    np.testing.assert_array_equal(got.outdoor, np.stack([rooms["outdoor_temperature"].values] * 2))
    np.testing.assert_array_equal(got.humidity[1], rooms["humidity_ratio"].values)
    np.testing.assert_array_equal(got.rated_power, rooms["rated_power"].values)


def test_the_sun_falls_on_the_facades_of_each_place() -> None:
    rooms = small_rooms().assign_coords(
        latitude=("unit", [28.0, 42.0]), longitude=("unit", [-82.5, -83.5]), utc_offset=("unit", [-5.0, -5.0])
    )
    got = read(rooms).irradiance
    direct, diffuse = (rooms[f"{name}_irradiance"].values for name in ("direct_normal", "diffuse_horizontal"))
    stamps = rooms["time"].values
    for u, (latitude, longitude) in enumerate([(28.0, -82.5), (42.0, -83.5)]):
        wanted = facade_irradiance(stamps, direct, diffuse, latitude, longitude, -5.0, step_hours=0.25)
        np.testing.assert_allclose(got[u], wanted, rtol=1e-12)


def test_global_irradiance_is_split() -> None:
    rooms = small_rooms()
    names = ["direct_normal_irradiance", "diffuse_horizontal_irradiance"]
    whole = (rooms[names[0]] + rooms[names[1]]).assign_attrs(units="W/m^2")
    got = read(rooms.drop_vars(names).assign(global_horizontal_irradiance=whole))
    stamps = rooms["time"].values
    direct, diffuse = split_global(whole.values, stamps, 27.96, -82.54, -5.0, step_hours=0.25)
    wanted = facade_irradiance(stamps, direct, diffuse, 27.96, -82.54, -5.0, step_hours=0.25)
    np.testing.assert_allclose(got.irradiance[0], wanted, rtol=1e-12)
    assert any("split" in note for note in got.notes)


@pytest.mark.parametrize(
    "form", ["long", "shuffled", "multi-index", "index of units", "csv", "csv with ;", "transposed"]
)
def test_every_form_of_the_same_data_reads_the_same(form: str, tmp_path: Path) -> None:
    rooms = small_rooms()
    frame = table(rooms)
    data: xr.Dataset | pd.DataFrame | Path = frame
    if form == "shuffled":
        data = frame.sample(frac=1.0, random_state=0).sort_values("unit", kind="stable")
        data.attrs = frame.attrs
    if form == "multi-index":
        data = frame.set_index(["unit", "time"])
    if form == "index of units":
        data = frame.set_index("unit")
    if form == "transposed":
        data = rooms.transpose("time", "unit")
    if form.startswith("csv"):
        data = tmp_path / "rooms.csv"
        frame.assign(**rooms.attrs).rename(columns={"power": "power [kW]"}).to_csv(
            data, index=False, sep=";" if ";" in form else ","
        )
    got = read(data)
    assert_same(got, read(rooms), rtol=1e-12)
    assert has_unit_dim(data)
    assert ("sorted" in " ".join(got.notes)) == (form == "shuffled")


@pytest.mark.parametrize("form", ["one time axis", "scalar unit", "index of times"])
def test_a_single_unit(form: str) -> None:
    rooms = small_rooms().isel(unit=[1])
    alone = rooms.squeeze("unit", drop=form != "scalar unit")
    data = alone if form != "index of times" else table(alone).set_index("time")
    got = read(data)
    assert got.unit == ("room 1" if form == "scalar unit" else "unit",)
    assert not has_unit_dim(data)
    np.testing.assert_array_equal(got.power, rooms["power"].values)


def test_labels_may_be_numbers_but_not_stand_twice() -> None:
    assert read(small_rooms().assign_coords(unit=[7, 8])).unit == ("7", "8")
    assert read(table(small_rooms().assign_coords(unit=[8, 7]))).unit == ("8", "7")
    with pytest.raises(DataError, match="'7' stand twice"):
        read(small_rooms().assign_coords(unit=[7, 7]))
    frame = table(small_rooms())
    frame.loc[3, "unit"] = None
    with pytest.raises(DataError, match="'unit' lacks 1 labels"):
        read(frame)


def test_units_of_different_periods_share_one_axis() -> None:
    rooms = small_rooms(days=4)
    early, late = table(rooms.isel(unit=[0], time=slice(0, 192))), table(rooms.isel(unit=[1], time=slice(96, None)))
    frame = pd.concat([early, late])
    frame.attrs = dict(rooms.attrs)
    got = read(frame)
    assert got.steps == 384
    np.testing.assert_array_equal(got.is_known[0], np.arange(384) < 192)
    np.testing.assert_array_equal(got.is_known[1], np.arange(384) >= 96)
    assert np.isnan(got.indoor[0, 192:]).all()
    assert np.isfinite(got.power).all()
    assert np.isfinite(got.irradiance).all()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("power", "powr", r"no variable 'power' \(perhaps 'powr' for 'power'\); they have \[.*'powr'"),
        ("indoor_temperature", "indoor_temp", "perhaps 'indoor_temp' for 'indoor_temperature'"),
        ("outdoor_temperature", "T_out", r"no variable 'outdoor_temperature'; they have .*'T_out'"),
        (
            "direct_normal_irradiance",
            "direct_irradiance",
            "no sun.*'global_horizontal_irradiance'.*perhaps 'direct_irr",
        ),
    ],
)
def test_a_name_that_is_not_there(old: str, new: str, words: str) -> None:
    for data in (small_rooms().rename({old: new}), table(small_rooms()).rename(columns={old: new})):
        with pytest.raises(DataError, match=words):
            read(data)


def test_an_optional_name_that_is_nearly_right_is_told() -> None:
    got = read(small_rooms().rename(humidity_ratio="humidity_ratios"))
    assert any("'humidity_ratios' is not read; if it is 'humidity_ratio'" in note for note in got.notes)


def test_what_stands_in_for_optional_variables() -> None:
    rooms = small_rooms()
    got = read(rooms.drop_vars(["humidity_ratio", "set_point", "rated_power"]))
    assert (got.humidity == 10.0).all()
    assert np.isnan(got.set_point).all()
    np.testing.assert_allclose(got.rated_power, np.quantile(rooms["power"].values, 0.995, axis=1))
    assert len(got.notes) == 2
    assert re.search(r"no rated_power of all units", " ".join(got.notes))
    assert re.search(r"no humidity_ratio: 10 g/kg", " ".join(got.notes))
    partly = rooms.assign(rated_power=("unit", [np.nan, 2.0], {"units": "kW"}))
    assert read(partly).rated_power[1] == 2.0
    assert any("'room 0'" in note for note in read(partly).notes)


@pytest.mark.parametrize("name", ["latitude", "longitude", "utc_offset"])
def test_the_place_must_be_known_and_possible(name: str) -> None:
    rooms = small_rooms()
    del rooms.attrs[name]
    with pytest.raises(DataError, match=rf"'{name}' of unit 'room 0' isn't given"):
        read(rooms)
    with pytest.raises(DataError, match=rf"'{name}' of unit 'room 1' is 999"):
        read(rooms.assign({name: ("unit", [5.0, 999.0])}))
    assert read(rooms.assign({name: small_rooms().attrs[name]})).units == 2
    varying = rooms.assign({name: ("time", np.arange(rooms.sizes["time"], dtype=float))})
    with pytest.raises(DataError, match=f"'{name}' of unit 'room 0' changes with time"):
        read(varying)
    with pytest.raises(DataError, match=rf"attrs\['{name}'\] is 'there'"):
        read(rooms.assign_attrs({name: "there"}))


def test_a_longitude_of_the_wrong_sign_is_found() -> None:
    with pytest.raises(DataError, match=r"longitude 82.54 .* utc_offset -5 h, 10.5 h apart.*check the signs"):
        read(small_rooms().assign_attrs(longitude=82.54))


def test_a_new_unit_needs_neither_temperature_nor_power() -> None:
    rooms = small_rooms(days=0.25)
    got = read(rooms.drop_vars("indoor_temperature"), need_indoor=False)
    assert np.isnan(got.indoor).all()
    np.testing.assert_array_equal(got.power, rooms["power"].values)
    got = read(rooms.drop_vars(["indoor_temperature", "power"]), need_indoor=False)
    assert np.isnan(got.power).all()
    assert got.is_known.all()  # of the weather
    np.testing.assert_array_equal(got.outdoor[0], rooms["outdoor_temperature"].values)
    with pytest.raises(DataError, match="no variable 'indoor_temperature'"):
        read(rooms.drop_vars("indoor_temperature"))


def test_variables_on_another_time_axis() -> None:
    rooms = small_rooms()
    weather = rooms[["outdoor_temperature"]].isel(time=slice(None, None, 4)).rename(time="weather_time")
    apart = rooms.drop_vars("outdoor_temperature").merge(weather)
    with pytest.raises(DataError, match=r"'outdoor_temperature' runs along \{'weather_time': 144\}; .*size 576"):
        read(apart)
    remedied = apart.drop_dims("weather_time").assign(
        outdoor_temperature=apart["outdoor_temperature"].rename(weather_time="time").interp(time=rooms["time"])
    )
    assert read(remedied.isel(time=slice(0, 500))).is_known.all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rooms: rooms["power"].values, "are a ndarray; an xarray.Dataset"),
        (lambda rooms: Path("rooms.nc"), r"'rooms.nc' isn't a CSV file; open it yourself"),
        (lambda rooms: rooms.rename(time="date"), r"no coordinate 'time'.*'date': 576"),
        (lambda rooms: rooms.drop_vars("time"), "no coordinate 'time'"),
        (lambda rooms: rooms.assign(power=rooms["power"].isel(unit=0)), "'power' has no dim 'unit', but there are 2"),
        (lambda rooms: rooms.assign(power=rooms["power"].astype(str)), "'power' has dtype .*numbers are wanted"),
        (lambda rooms: table(rooms).drop(columns="time"), "no column 'time'.*'unit'"),
        (lambda rooms: table(rooms).iloc[:0], "no row"),
        (lambda rooms: table(rooms).assign(**{"power [W]": 1.0}), "columns 'power' twice"),
    ],
)
def test_what_is_no_data_of_rooms(change, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=words):
        read(change(small_rooms()))


def test_a_season_of_a_population_is_read_in_a_second_or_so() -> None:
    rooms = small_rooms(units=48, days=122)
    began = time.perf_counter()
    assert read(rooms).power.shape == (48, 11712)
    assert time.perf_counter() - began < 4  # .6 s on a quiet machine
