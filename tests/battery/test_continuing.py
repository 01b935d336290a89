"""What joins readings and future, and what can't be joined; no answer knows of readings after its start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from surrogates import AdaptedUnits
from surrogates.battery import read
from surrogates.errors import DataError

DAY = 96  # steps


def test_forecasts_from_many_starts_know_nothing_later_and_go_no_further_than_a_day(
    pair: AdaptedUnits, neighbourhood: xr.Dataset
) -> None:
    records = read(neighbourhood.isel(unit=slice(4, 6)))
    start = np.array([5 * DAY])
    changed = replace(records, indoor=np.where(np.arange(records.steps) > 5 * DAY, 20.0, records.indoor))
    assert np.array_equal(pair.forecast(records, start, DAY), pair.forecast(changed, start, DAY))
    with pytest.raises(DataError, match=r"horizon is 97 steps, beyond the 96 of 24 h; predict\(\)"):
        pair.forecast(records, start, DAY + 1)


def test_remembered_readings_count_where_overlapping_rows_say_nothing(
    unit: AdaptedUnits, neighbourhood: xr.Dataset
) -> None:
    plain = neighbourhood.isel(unit=4, time=slice(4 * DAY, 5 * DAY)).drop_vars("indoor_temperature")
    early = neighbourhood.isel(unit=4, time=slice(3 * DAY, 5 * DAY)).drop_vars("indoor_temperature")
    whole = neighbourhood.isel(unit=4, time=slice(2 * DAY, 5 * DAY)).drop_vars("indoor_temperature")
    wanted = unit.predict(plain)
    for rows in (early, whole):
        xr.testing.assert_allclose(unit.predict(rows), wanted, rtol=1e-12)
        xr.testing.assert_allclose(unit.predict(rows, start=early["time"].values[DAY - 1]), wanted, rtol=1e-12)


@pytest.mark.parametrize("readings", [1, 5, 31])
def test_a_few_readings_are_too_few(unit: AdaptedUnits, neighbourhood: xr.Dataset, readings: int) -> None:
    rows = neighbourhood.isel(unit=4, time=slice(2 * DAY, 4 * DAY))
    with pytest.raises(DataError, match=f"there are {readings} rows of readings before the future.*8 h of readings"):
        unit.predict(rows, start=rows["time"].values[readings - 1])
    assert unit.predict(rows, start=rows["time"].values[31])["temperature"].sizes["time"] == 2 * DAY - 32


def test_every_unit_needs_readings_of_its_own(pair: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    rows = neighbourhood.isel(unit=slice(4, 6), time=slice(7 * DAY, 9 * DAY)).copy(deep=True)
    start = rows["time"].values[DAY - 1]
    rows["indoor_temperature"][1] = np.nan
    with pytest.raises(DataError, match="of every unit"):
        pair.predict(rows, start=start)
    rows = neighbourhood.isel(unit=slice(4, 6), time=slice(7 * DAY, 9 * DAY)).copy(deep=True)
    rows["power"][1, :DAY] = np.nan
    with pytest.raises(DataError, match="power of unit 'room 5' isn't known in any of the readings"):
        pair.plan(rows, 24.0, start=start)


def test_only_weather_is_shared(pair: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    rows = neighbourhood.isel(unit=4, time=slice(4 * DAY, 5 * DAY)).drop_vars("unit")
    with pytest.raises(DataError, match="without a label of a unit, but there are 2 units"):
        pair.predict(rows)
    assert pair.plan(rows.drop_vars(["power", "indoor_temperature"]))["power"].sizes["unit"] == 2


def test_starts_are_local_standard_time(unit: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    rows = neighbourhood.isel(unit=4, time=slice(2 * DAY, 5 * DAY))
    with pytest.raises(DataError, match="with a time zone; give it in local standard time"):
        unit.predict(rows, start="2025-06-06T00:00+00:00")


def test_what_was_made_of_the_rows_ahead_is_told(unit: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    rows = neighbourhood.isel(unit=4, time=slice(4 * DAY, 5 * DAY)).drop_vars(["indoor_temperature", "humidity_ratio"])
    assert "no humidity_ratio: 10 g/kg" in unit.predict(rows).attrs["note"]
    stale = neighbourhood.isel(unit=4, time=slice(7 * DAY, 9 * DAY)).copy(deep=True)
    start = stale["time"].values[DAY - 1]
    assert "beyond 24 h" not in unit.predict(stale, start=start).attrs.get("note", "")
    stale["indoor_temperature"][DAY - 10 :] = np.nan  # the last reading is ten rows old
    got = unit.predict(stale, start=start)
    assert "beyond 24 h the standard deviation stays" in got.attrs["note"]
    assert got["std"].to_numpy()[0] == unit.predict(stale, start=stale["time"].values[DAY - 11])["std"].to_numpy()[10]
