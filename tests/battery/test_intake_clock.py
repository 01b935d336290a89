"""Stamps of every kind end up on one regular axis in local standard time, or are refused with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_rooms import AVERAGES, small_rooms

from surrogates.battery.intake import read
from surrogates.errors import DataError

MINUTE = np.timedelta64(60, "s")


def from_day(rooms: xr.Dataset, day: str) -> xr.Dataset:
    """The same rows, the first at the start of another day."""
    first = np.datetime64("2025-06-02", "ns")
    return rooms.assign_coords(time=rooms["time"].values - first + np.datetime64(day, "ns"))


def with_clock(rooms: xr.Dataset, zone: str) -> xr.Dataset:
    """Stamps as a clock on the wall of a zone shows them."""
    index = pd.DatetimeIndex(rooms["time"].values).tz_localize("UTC") - pd.Timedelta(hours=rooms.attrs["utc_offset"])
    return rooms.assign_coords(time=index.tz_convert(zone).tz_localize(None).to_numpy())


@pytest.mark.parametrize("minutes", [1, 5])
def test_finer_readings_are_averaged_as_pandas_does(minutes: int) -> None:
    rooms = small_rooms(days=2, minutes=minutes)
    got = read(rooms, step="15min")
    for name, inside in (("power", got.power), ("humidity_ratio", got.humidity[:1])):
        frame = pd.DataFrame(np.atleast_2d(rooms[name].values).T, index=pd.DatetimeIndex(rooms["time"].values))
        wanted = frame.resample("15min", closed="right", label="right").mean()
        np.testing.assert_allclose(inside.T, wanted.to_numpy(), rtol=1e-12)
        np.testing.assert_array_equal(got.time, wanted.index.to_numpy())
    ends = rooms.sel(time=got.time)
    np.testing.assert_array_equal(got.indoor, ends["indoor_temperature"].values)
    np.testing.assert_array_equal(got.set_point, ends["set_point"].values)
    assert got.notes == ("readings of all units were averaged over steps of 15 min",)


@pytest.mark.parametrize(("minutes", "step", "hours"), [(1, None, 0.25), (5, None, 1 / 12), (10, None, 1 / 6),
                                                        (7, None, 0.25), (30, None, 0.5), (60, None, 1.0),
                                                        (5, "30min", 0.5), (15, "1h", 1.0)])  # fmt: skip
def test_the_step(minutes: int, step: str | None, hours: float) -> None:
    assert read(small_rooms(days=3, minutes=minutes), step=step).step_hours == pytest.approx(hours)


@pytest.mark.parametrize(
    ("minutes", "step", "words"),
    [
        (
            15,
            "5min",
            "step='5min' is finer than the readings of unit 'room 0', every 15 min; give finer .* with step='15min'",
        ),
        (15, "7min", "step='7min' isn't allowed.*from 5 to 60 min and divide a day"),
        (15, "2h", "step='2h' isn't allowed"),
        (15, "often", "step='often' can't be read"),
        (120, None, "unit 'room 0' has a reading every 2 h; rooms need one every 60 min"),
    ],
)
def test_a_step_that_cannot_be(minutes: int, step: str | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(small_rooms(minutes=minutes), step=step)


def test_the_coarsest_unit_decides() -> None:
    rooms = small_rooms(days=4)
    fine, coarse = rooms.isel(unit=[0]), rooms.isel(unit=[1], time=slice(3, None, 4))
    frame = pd.concat([part.to_dataframe().reset_index() for part in (fine, coarse)])
    frame.attrs = dict(rooms.attrs)
    got = read(frame)
    assert got.step_hours == 1.0
    np.testing.assert_allclose(got.power[0], rooms["power"].values[0].reshape(-1, 4).mean(axis=1))
    np.testing.assert_array_equal(got.power[1], coarse["power"].values[0])
    assert any("units 'room 0' were averaged over steps of 60 min, as unit 'room 1'" in note for note in got.notes)


def test_stamps_off_the_axis_keep_their_rows() -> None:
    rooms = small_rooms()
    wanted = read(rooms)
    jitter = np.random.default_rng(0).integers(-40, 41, rooms.sizes["time"]).astype("timedelta64[s]")
    shaken = read(rooms.assign_coords(time=rooms["time"].values + jitter))
    np.testing.assert_array_equal(shaken.time, wanted.time)
    np.testing.assert_array_equal(shaken.power, wanted.power)
    np.testing.assert_array_equal(shaken.indoor, wanted.indoor)
    for off in (6, -6, 7.5):  # minutes; half a step with jitter falls on both sides of the middle
        moved = read(rooms.assign_coords(time=rooms["time"].values + (off * 60) * np.timedelta64(1, "s") + jitter))
        np.testing.assert_array_equal(moved.power, wanted.power)
        np.testing.assert_array_equal(moved.indoor, wanted.indoor)
        assert any("stamps were moved to the axis of full 15 min by up to" in note for note in moved.notes)


def test_repeated_rows() -> None:
    rooms = small_rooms()
    frame = rooms.to_dataframe().reset_index()
    frame.attrs = dict(rooms.attrs)
    twice = pd.concat([frame, frame.iloc[40:43]])
    twice.attrs = frame.attrs
    got = read(twice)
    np.testing.assert_array_equal(got.power, rooms["power"].values)
    assert any("3 rows with a stamp that was there already" in note for note in got.notes)
    halves = pd.concat([frame.drop(columns="power"), frame[["unit", "time", "power"]]])  # one row a variable
    halves.attrs = frame.attrs
    np.testing.assert_array_equal(read(halves).power, rooms["power"].values)
    twice["power"] = twice["power"].to_numpy() + 0.1 * (np.arange(len(twice)) == len(twice) - 1)
    with pytest.raises(DataError, match=r"unit 'room 0' has 1 stamps more than once .*2025-06-02 10:45, where 'power'"):
        read(twice)
    with pytest.raises(DataError, match="need a column or dim 'unit'"):
        read(frame.drop(columns=["unit", "rated_power"]))


@pytest.mark.parametrize(("zone", "day"), [("America/New_York", "2025-03-07"), ("America/New_York", "2025-11-01")])
def test_a_clock_with_daylight_saving_is_found(zone: str, day: str) -> None:
    rooms = from_day(small_rooms(days=4), day)
    assert read(rooms).steps == 384  # in standard time all is well
    with pytest.raises(
        DataError, match=f"on a Sunday.*clocks are put {'forward' if '-03-' in day else 'back'}"
    ) as caught:
        read(with_clock(rooms, zone))
    assert "give stamps in UTC" in str(caught.value)
    assert "local standard time all year" in str(caught.value)


@pytest.mark.parametrize("day", ["2025-03-28", "2025-10-25"])
def test_daylight_saving_in_europe(day: str) -> None:
    rooms = from_day(small_rooms(days=4), day).assign_attrs(latitude=52.5, longitude=13.4, utc_offset=1.0)
    with pytest.raises(DataError, match="daylight saving"):
        read(with_clock(rooms, "Europe/Berlin"))


def test_an_hour_that_is_missing_at_another_time_is_just_missing() -> None:
    rooms = small_rooms()
    got = read(rooms.isel(time=[k for k in range(576) if not 200 <= k < 204]))
    assert got.steps == 576
    assert got.is_known.all()
    assert np.isnan(got.indoor[:, 200:204]).all()
    sunday = from_day(rooms, "2025-03-05")  # from Wednesday on; Sunday, 9 March, is its fifth day
    hour = slice(4 * 96 + 8, 4 * 96 + 12)
    with pytest.raises(DataError, match="if the hour is really missing, add its rows with NaN"):
        read(sunday.drop_isel(time=range(hour.start, hour.stop)))
    sunday["power"].values[:, hour] = np.nan  # the remedy for an hour that is really missing
    assert read(sunday).is_known.all()


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Asia/Tokyo"])
def test_stamps_with_a_zone_become_local_standard_time(zone: str) -> None:
    rooms = small_rooms()
    index = pd.DatetimeIndex(rooms["time"].values, name="time").tz_localize("Etc/GMT+5").tz_convert(zone)
    wanted = read(rooms.isel(unit=0, drop=True))
    frame = rooms.isel(unit=0, drop=True).to_dataframe().set_index(index)
    frame.attrs = dict(rooms.attrs)
    got = read(frame)
    np.testing.assert_array_equal(got.time, wanted.time)
    np.testing.assert_array_equal(got.power, wanted.power)
    np.testing.assert_array_equal(got.irradiance, wanted.irradiance)
    objects = rooms.assign_coords(time=("time", index.astype(object)))
    np.testing.assert_array_equal(read(objects).time, wanted.time)


def test_the_offset_of_a_zone_is_taken_where_none_is_stated() -> None:
    rooms = small_rooms().isel(unit=0, drop=True)
    del rooms.attrs["utc_offset"]
    frame = rooms.to_dataframe()
    frame.attrs = dict(rooms.attrs)
    index = pd.DatetimeIndex(frame.index).tz_localize("Etc/GMT+5")
    got = read(frame.set_index(index.tz_convert("America/New_York").rename("time")))
    np.testing.assert_array_equal(got.time, rooms["time"].values)
    with pytest.raises(DataError, match="stamps are in UTC and 'utc_offset' of unit 'unit' isn't given"):
        read(frame.set_index(index.tz_convert("UTC").rename("time")))


def test_a_text_file_in_utc(tmp_path: Path) -> None:
    rooms = small_rooms().isel(unit=0, drop=True)
    frame = rooms.to_dataframe().assign(**rooms.attrs)
    frame.set_index(pd.DatetimeIndex(frame.index).tz_localize("Etc/GMT+5").tz_convert("UTC")).to_csv(
        tmp_path / "utc.csv"
    )
    np.testing.assert_array_equal(read(str(tmp_path / "utc.csv")).time, rooms["time"].values)
    frame.set_index(pd.DatetimeIndex(frame.index).strftime("%d/%m/%Y %H:%M")).to_csv(tmp_path / "day_first.csv")
    with pytest.raises(DataError, match=r"'02/06/2025 00:15' in its first row; .*ISO 8601"):
        read(tmp_path / "day_first.csv")


def test_stamps_that_are_no_times() -> None:
    rooms = small_rooms()
    with pytest.raises(DataError, match=r"'time' has dtype int64 \(first entry: .*0.*\); datetime64 is expected"):
        read(rooms.assign_coords(time=np.arange(576)))
    frame = rooms.to_dataframe().reset_index()
    frame.attrs = dict(rooms.attrs)
    with pytest.raises(DataError, match=r"datetime64 is expected: convert it by pandas.to_datetime"):
        read(frame.assign(time=frame["time"].astype(str)))
    frame.loc[3, "time"] = pd.NaT
    with pytest.raises(DataError, match="'time' has 1 missing stamps"):
        read(frame)


@pytest.mark.parametrize("hours", [5, -12])
def test_a_clock_by_which_the_sun_shines_at_night(hours: int) -> None:
    rooms = small_rooms()
    with pytest.raises(DataError, match=r"\d+% of the sunlight of unit 'room 0' falls at night.*local standard time"):
        read(rooms.assign_coords(time=rooms["time"].values + hours * 60 * MINUTE))


def test_a_stamp_of_another_century() -> None:
    rooms = small_rooms()
    stamps = rooms["time"].values.copy()
    stamps[0] = np.datetime64("1970-01-01", "ns")
    with pytest.raises(DataError, match=r"from 1970-01-01 00:00 \(unit 'room 0'\).*correct the wrong stamps"):
        read(rooms.assign_coords(time=stamps))


def test_stamps_at_the_starts_can_be_moved_as_the_message_says() -> None:
    rooms = small_rooms()
    starts = rooms.copy()
    starts[AVERAGES] = rooms[AVERAGES].shift(time=-1)
    with pytest.raises(DataError, match=r"stamps of power and weather are the starts .*shift\(time=1\)"):
        read(starts.isel(time=slice(0, -1)))
    frame = starts.isel(time=slice(0, -1)).to_dataframe().reset_index()
    frame.attrs = dict(rooms.attrs)
    with pytest.raises(DataError, match=r"data\[names\] = data.groupby\('unit'\)\[names\].shift\(\)$"):
        read(frame)
    frame[AVERAGES] = frame.groupby("unit")[AVERAGES].shift()
    np.testing.assert_array_equal(read(frame).power, rooms["power"].values[:, 1:-1])
    starts[AVERAGES] = starts[AVERAGES].shift(time=1)
    np.testing.assert_array_equal(read(starts).power, rooms["power"].values[:, 1:])
