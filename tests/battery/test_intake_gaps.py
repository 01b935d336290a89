"""Gaps, dead sensors and short records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_rooms import small_rooms

from surrogates.battery.intake import read
from surrogates.errors import DataError


def test_a_short_gap_of_power_is_bridged_and_a_longer_one_stood_in_for() -> None:
    rooms = small_rooms()
    whole = rooms["power"].values.copy()
    rooms["power"].values[0, 200:204] = np.nan  # 1 h
    rooms["power"].values[1, 300:305] = np.nan  # 1.25 h
    got = read(rooms)
    np.testing.assert_allclose(got.power[0, 200:204], np.interp(range(1, 5), [0, 5], whole[0, [199, 204]]))
    np.testing.assert_array_equal(got.power[1, 300:305], whole[1, 204:209])  # the day before
    assert got.is_known[0].all()
    np.testing.assert_array_equal(got.is_known[1], ~np.isin(np.arange(576), range(300, 305)))
    assert any("missing for longer than 1 h or 3 h in units 'room 1'" in note for note in got.notes)


@pytest.mark.parametrize(
    ("name", "inside"), [("outdoor_temperature", "outdoor"), ("humidity_ratio", "humidity"),
                         ("direct_normal_irradiance", None)]
)  # fmt: skip
def test_gaps_of_the_weather(name: str, inside: str | None) -> None:
    rooms = small_rooms()
    whole = rooms[name].values.copy()
    rooms[name].values[200:212] = np.nan  # 3 h
    rooms[name].values[300:313] = np.nan  # 3.25 h
    got = read(rooms)
    np.testing.assert_array_equal(got.is_known[1], ~np.isin(np.arange(576), range(300, 313)))
    filled = whole.copy()
    filled[200:212] = np.interp(range(1, 13), [0, 13], whole[[199, 212]])
    filled[300:313] = whole[204:217]
    filled[300:308] = filled[204:212]  # the day before was bridged itself
    if inside is None:
        rooms[name].values[:] = filled
        np.testing.assert_allclose(got.irradiance, read(rooms).irradiance, rtol=1e-12)
    else:
        np.testing.assert_allclose(getattr(got, inside)[1], filled, rtol=1e-12)


def test_gaps_at_the_ends_and_before_the_first_day() -> None:
    rooms = small_rooms()
    rooms["outdoor_temperature"].values[:2] = np.nan
    got = read(rooms)
    assert not got.is_known[:, :2].any()
    assert got.is_known[:, 2:].all()
    np.testing.assert_array_equal(got.outdoor[:, :2], got.outdoor[:, 96:98])  # no day before: the day after


def test_a_week_without_a_reading() -> None:
    rooms = small_rooms(days=15)
    for name in ("power", "indoor_temperature"):
        rooms[name].values[0, 288:960] = np.nan
    got = read(rooms)
    assert np.isnan(got.indoor[0, 288:960]).all()
    assert got.is_known[0].sum() == 1440 - 672
    np.testing.assert_array_equal(got.power[0, 288:960].reshape(7, 96), np.tile(got.power[0, 192:288], (7, 1)))
    assert got.is_known[1].all()
    assert np.isfinite(got.power).all()


@pytest.mark.parametrize("name", ["power", "indoor_temperature", "outdoor_temperature", "direct_normal_irradiance"])
def test_a_unit_without_a_single_number(name: str) -> None:
    rooms = small_rooms()
    rooms[name] = rooms[name].broadcast_like(rooms["power"]).copy()
    rooms[name].values[1] = np.nan
    with pytest.raises(DataError, match=f"'{name}' has no number at all in unit 'room 1'; .*drop_sel"):
        read(rooms)
    assert read(rooms.drop_sel(unit=["room 1"])).unit == ("room 0",)  # the remedy


def test_remedies_for_a_table_are_those_of_pandas(tmp_path: Path) -> None:
    rooms = small_rooms()
    data = rooms.to_dataframe().reset_index()
    data.attrs = dict(rooms.attrs)
    old = data.rename(columns={"power": "old name"})
    with pytest.raises(DataError, match=r"rename\(columns=\{'old name': 'power'\}\)$"):
        read(old)
    assert read(old.rename(columns={"old name": "power"})).units == 2
    for change in (np.nan, 0.7):  # no number, no change
        bad = data.assign(power=data["power"].where(data["unit"] != "room 1", change))
        bad.attrs = dict(rooms.attrs)
        with pytest.raises(DataError, match=r"'room 1'.*drop the unit: data\[~data\['unit'\].isin\(\[...\]\)\]$"):
            read(bad)
        assert read(bad[~bad["unit"].isin(["room 1"])]).unit == ("room 0",)
    with pytest.raises(DataError, match=r"less than 12 h .*data\[~data\['unit'\]"):
        read(data[data["time"] <= data["time"].min() + pd.Timedelta("8h")])
    old.to_csv(tmp_path / "rooms.csv", index=False)
    with pytest.raises(DataError, match=r"name its column 'power'$"):
        read(tmp_path / "rooms.csv")


def test_humidity_may_be_missing_in_one_unit() -> None:
    rooms = small_rooms()
    rooms["humidity_ratio"] = rooms["humidity_ratio"].broadcast_like(rooms["power"]).copy()
    rooms["humidity_ratio"].values[1] = np.nan
    got = read(rooms)
    assert (got.humidity[1] == 10).all()
    assert got.is_known.all()
    assert any("no humidity_ratio in units 'room 1'" in note for note in got.notes)


def test_a_stuck_indoor_sensor_is_missing_after_a_day() -> None:
    rooms = small_rooms(days=8)
    rooms["indoor_temperature"].values[0, 100:198] = 24.5  # 24.25 h from the first to the last
    rooms["indoor_temperature"].values[1, 100:197] = 24.5  # 24 h
    got = read(rooms)
    assert np.isnan(got.indoor[0, 100:198]).all()
    assert np.isfinite(got.indoor[0]).sum() == 768 - 98
    assert np.isfinite(got.indoor[1]).all()
    assert any("'indoor_temperature' stayed the same" in note and "units 'room 0'" in note for note in got.notes)


def test_a_stuck_outdoor_sensor_is_not_known() -> None:
    rooms = small_rooms(days=8)
    rooms["outdoor_temperature"].values[200:320] = 30.0
    got = read(rooms)
    np.testing.assert_array_equal(got.is_known[0], ~np.isin(np.arange(768), range(200, 320)))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("indoor_temperature", 25.0, "'room 1' is always 25 degC: a dead sensor"),
        ("power", 0.0, "'room 1' is always 0 kW: it never ran, and what a kW does can't be seen; drop the unit"),
        ("power", 0.7, "'room 1' is always 0.7 kW: what a kW does"),
        ("outdoor_temperature", 30.0, "'room 1' is always 30 degC"),
    ],
)
def test_what_never_changes(name: str, value: float, words: str) -> None:
    rooms = small_rooms()
    rooms[name] = rooms[name].broadcast_like(rooms["power"]).copy()
    rooms[name].values[1] = value
    with pytest.raises(DataError, match=f"'{name}' of unit {words}"):
        read(rooms)
    assert read(rooms, need_indoor=False).units == 2  # plans and made-up weather may be constant


@pytest.mark.parametrize("hours", [12, 24, 47])
def test_a_day_is_enough_but_told(hours: int) -> None:
    got = read(small_rooms(days=hours / 24))
    assert got.steps == hours * 4
    assert any("less than 48 h of usable rows" in note and "prior" in note for note in got.notes)


def test_less_than_half_a_day_is_not_enough() -> None:
    with pytest.raises(DataError, match=r"'room 0', 'room 1' has less than 12 h .*'room 0': 11.8 h"):
        read(small_rooms(days=0.49))
    rooms = small_rooms()
    rooms["indoor_temperature"].values[1, 40:] = np.nan  # 10 h remain
    with pytest.raises(DataError, match=r"unit 'room 1' has less than 12 h .*10 h"):
        read(rooms)
    assert read(small_rooms(days=0.1), need_indoor=False).steps == 10


def test_a_plan_of_a_single_row() -> None:
    rooms = small_rooms(days=1 / 96)
    got = read(rooms, need_indoor=False)
    assert (got.steps, got.step_hours) == (1, 0.25)
    assert got.is_known.all()
    rooms["power"].attrs["units"] = "kWh"
    with pytest.raises(DataError, match="power of unit 'room 0' is an energy, but it has one reading only"):
        read(rooms, need_indoor=False)
