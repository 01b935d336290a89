"""The public model: forecasts, plans, promises and batteries of adapted units, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from small_rooms import small_rooms

from surrogates import AdaptedUnits, FittedVirtualBattery, VirtualBatteryNet, load
from surrogates.battery import Recipe, adaptation, read
from surrogates.errors import DataError, FileFormatError, FitWarning, UnitsError
from surrogates.physics.virtual_battery import aggregate

DAY = 96  # steps
FUTURE = slice(4 * DAY, 5 * DAY)


# --- forecasts ---


def test_a_forecast_is_labelled_and_close(unit: AdaptedUnits, neighbourhood: xr.Dataset, tomorrow: xr.Dataset) -> None:
    got = unit.predict(tomorrow)
    assert got["temperature"].dims == ("time",)
    assert got["unit"].item() == "room 4"
    np.testing.assert_array_equal(got["time"], tomorrow["time"])
    expected = {"temperature": "degC", "std": "K", "lower": "degC", "upper": "degC", "state_of_charge": "1"}
    assert {name: got[name].attrs["units"] for name in expected} == expected
    truth = neighbourhood["indoor_temperature"].isel(unit=4, time=FUTURE)
    persistence = neighbourhood["indoor_temperature"].isel(unit=4, time=4 * DAY - 1).item()
    error = np.sqrt(np.mean((got["temperature"] - truth) ** 2))
    assert error < 0.5 * np.sqrt(np.mean((persistence - truth) ** 2))
    inside = (truth >= got["lower"]) & (truth <= got["upper"])
    assert inside.mean() > 0.7
    assert (got["std"] > 0).all()


def test_the_state_of_charge_is_the_temperature_in_the_band(unit: AdaptedUnits, tomorrow: xr.Dataset) -> None:
    got = unit.predict(tomorrow)
    np.testing.assert_allclose(got["state_of_charge"], (27.5 - got["temperature"]) / 5, atol=1e-12)
    np.testing.assert_allclose(got["state_of_charge_std"], got["std"] / 5)


def test_nothing_after_the_start_is_used(unit: AdaptedUnits, neighbourhood: xr.Dataset, tomorrow: xr.Dataset) -> None:
    told = neighbourhood.isel(unit=4, time=slice(2 * DAY, 5 * DAY)).copy(deep=True)
    start = told["time"].values[2 * DAY - 1]
    told["indoor_temperature"][2 * DAY :] = 30.0
    got = unit.predict(told, start=start)
    xr.testing.assert_allclose(got, unit.predict(tomorrow), rtol=1e-12)
    assert unit.predict(told, start=str(start)).identical(got)


def test_more_power_never_warms(pair: AdaptedUnits, both: xr.Dataset) -> None:
    more = both.copy(deep=True)
    more["power"][:, 10:14] += 0.4
    change = pair.predict(more)["temperature"] - pair.predict(both)["temperature"]
    assert (change[:, :10] == 0).all()
    assert (change <= 1e-12).all()
    assert (change[:, 13] < -0.3).all()


def test_units_come_one_by_one_or_together_and_in_any_order(
    unit: AdaptedUnits, pair: AdaptedUnits, both: xr.Dataset, tomorrow: xr.Dataset
) -> None:
    together = pair.predict(both)
    assert together["temperature"].dims == ("unit", "time")
    turned = pair.predict(both.isel(unit=[1, 0]))
    xr.testing.assert_allclose(turned.isel(unit=[1, 0]), together, rtol=1e-9)
    alone = unit.predict(tomorrow)
    np.testing.assert_allclose(alone["temperature"], together["temperature"][0], atol=2e-3)  # converged to a tolerance
    some = pair.predict(both.isel(unit=[1]))
    assert some["unit"].values.tolist() == ["room 5"]


def test_forecasts_from_many_starts_are_those_of_predict(
    pair: AdaptedUnits, neighbourhood: xr.Dataset, both: xr.Dataset
) -> None:
    past = neighbourhood.isel(unit=slice(4, 6), time=slice(2 * DAY, 5 * DAY))
    records = read(past)
    found = pair.forecast(records, np.array([2 * DAY - 8, 2 * DAY - 1]), 24)
    assert found.shape == (2, 2, 24)
    np.testing.assert_allclose(found[:, 1], pair.predict(both)["temperature"][:, :24], atol=1e-9)
    with pytest.raises(DataError, match="aren't those that were adapted"):
        pair.forecast(records.of(np.array([1, 0])), np.array([50]), 24)
    with pytest.raises(DataError, match="must lie within the 288 rows"):
        pair.forecast(records, np.array([270]), 24)


def test_beyond_a_day_the_deviation_stays_and_says_so(unit: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    long = neighbourhood.isel(unit=4, time=slice(4 * DAY, 6 * DAY)).drop_vars("indoor_temperature")
    got = unit.predict(long)
    assert "beyond 24 h" in got.attrs["note"]
    assert (got["std"][DAY:] == got["std"][DAY - 1]).all()


def test_frames_and_kilowatts_in_watts_are_the_same(
    net: FittedVirtualBattery, neighbourhood: xr.Dataset, unit: AdaptedUnits, tomorrow: xr.Dataset
) -> None:
    past = neighbourhood.isel(unit=4, time=slice(2 * DAY, 4 * DAY))
    watts = past.assign(power=(past["power"] * 1000).assign_attrs(units="W"))
    xr.testing.assert_allclose(net.adapt(watts).predict(tomorrow), unit.predict(tomorrow), rtol=1e-9)
    frame = past.to_dataframe().drop(columns="unit")
    frame.attrs = {**neighbourhood.attrs, "units": {"power": "kW"}}
    got = net.adapt(frame)
    assert got.units == ("unit",)
    assert not got.has_unit_dim
    ahead = tomorrow.drop_vars("unit")
    np.testing.assert_allclose(got.predict(ahead)["temperature"], unit.predict(tomorrow)["temperature"], rtol=1e-9)


# --- what joins readings and future ---


def test_own_history_takes_the_place_of_remembered_readings(pair: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    later = neighbourhood.isel(unit=slice(4, 6), time=slice(7 * DAY, 10 * DAY))
    start = later["time"].values[2 * DAY - 1]
    got = pair.predict(later, start=start)
    truth = neighbourhood["indoor_temperature"].isel(unit=slice(4, 6), time=slice(9 * DAY, 10 * DAY))
    assert np.sqrt(np.mean((got["temperature"] - truth) ** 2)) < 0.6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.isel(time=slice(10, None)), r"remembered readings run from .* give the rows in between"),
        (lambda d: d.assign_coords(unit="somebody"), r"units \['somebody'\] aren't among the 1 that were adapted"),
        (lambda d: d.drop_vars("power"), r"power of unit 'room 4' isn't known at 2025-06-06T00:15.*plan\(\)"),
        (lambda d: d.assign(power=d["power"].where(np.arange(DAY) != 40)), None),
        (
            lambda d: d.assign(power=d["power"].where(np.arange(DAY) < 30)),
            r"power of unit 'room 4' isn't known at 2025-06-06T07:45",
        ),
        (
            lambda d: d.assign(
                outdoor_temperature=d["outdoor_temperature"].where((np.arange(DAY) < 19) | (np.arange(DAY) > 60))
            ),
            r"weather of unit 'room 4' is missing .* at 2025-06-06T05:00",
        ),
        (lambda d: d.assign_coords(time=d["time"] + np.timedelta64(7, "m")), None),
        (lambda d: d.assign(indoor_temperature=d["power"] * 0 + 24), r"nothing lies ahead: the last row, .*start="),
    ],
)
def test_what_can_not_be_continued(unit: AdaptedUnits, tomorrow: xr.Dataset, change: object, words: str | None) -> None:
    assert callable(change)
    changed = change(tomorrow)
    for name in changed.data_vars:
        changed[name].attrs = {**tomorrow.get(name, xr.DataArray()).attrs}
    if words is None:  # bridged, or moved onto the axis
        assert np.isfinite(unit.predict(changed)["temperature"]).all()
        return
    with pytest.raises(DataError, match=words):
        unit.predict(changed)


def test_a_start_must_be_a_row(unit: AdaptedUnits, tomorrow: xr.Dataset) -> None:
    before = tomorrow["time"].values[0] - np.timedelta64(15, "m")
    assert unit.predict(tomorrow, start=before).identical(unit.predict(tomorrow))
    with pytest.raises(DataError, match=r"start is 2025-06-09.*no row of the data"):
        unit.predict(tomorrow, start="2025-06-09")


def test_wrong_units_are_found_ahead_too(unit: AdaptedUnits, tomorrow: xr.Dataset) -> None:
    with pytest.raises(UnitsError, match="power"):
        unit.predict(tomorrow.assign(power=tomorrow["power"].assign_attrs(units="degC")))


# --- plans and promises ---


def test_a_plan_holds_its_set_point_within_what_the_unit_can_draw(pair: AdaptedUnits, both: xr.Dataset) -> None:
    weather = both.drop_vars("power")
    got = pair.plan(weather, 24.0)
    most = pair.prints.most_load * pair.memory.rated_power
    assert (got["power_lower"] >= 0).all()
    assert (got["power_upper"].max("time") <= most + 1e-9).all()
    active = (got["power_lower"] > 1e-6) & (got["power_upper"] < most[:, None] - 1e-6)
    assert active.mean() > 0.3
    np.testing.assert_allclose(got["temperature"].values[active.values], 24.0, atol=1e-9)
    assert got["power"].attrs["units"] == "kW"
    off = pair.plan(weather, np.nan)
    assert (off["power"] == 0).all()
    assert (off["temperature"] >= got["temperature"] - 1e-9).all()


def test_plans_repeat_with_their_seed(unit: AdaptedUnits, tomorrow: xr.Dataset) -> None:
    assert unit.plan(tomorrow, seed=4).identical(unit.plan(tomorrow, seed=4))
    assert not unit.plan(tomorrow, seed=4).equals(unit.plan(tomorrow, seed=5))
    with pytest.raises(DataError, match="draws is 1"):
        unit.plan(tomorrow, draws=1)


def test_a_promise_is_what_the_event_saves(pair: AdaptedUnits, both: xr.Dataset) -> None:
    hour = np.arange(DAY) / 4
    event = xr.DataArray(np.where((hour >= 14) & (hour < 17), 26.0, 24.0), dims="time", coords={"time": both["time"]})
    got = pair.promise(both, event, instead_of=24.0)
    plans = [pair.plan(both, set_point)["power"] for set_point in (24.0, event)]
    saved = (plans[0] - plans[1]) / 4
    np.testing.assert_allclose(got["energy"], saved[:, (hour >= 14) & (hour < 17)].sum("time"), rtol=1e-9)
    np.testing.assert_allclose(got["rebound"], -saved[:, hour >= 17].sum("time"), rtol=1e-9)
    np.testing.assert_allclose(got["fleet_energy"], got["energy"].sum(), rtol=1e-12)
    assert (got["energy"] > 0).all()
    assert (got["rebound"] > 0).all()
    assert (got["energy_lower"] < got["energy"]).all()
    assert (got["energy"] < got["energy_upper"]).all()
    with pytest.raises(DataError, match="nothing to promise"):
        pair.promise(both, 24.0, instead_of=24.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            xr.DataArray([24.0], dims="time", coords={"time": [np.datetime64("2025-06-01", "ns")]}),
            "lacks a unit or a time",
        ),
        (xr.DataArray(24.0, attrs={"units": "degF"}), "set_point is in 'degF'"),
        (xr.DataArray([24.0], dims="draw"), r"over \('draw',\)"),
    ],
)
def test_set_points_that_do_not_fit(unit: AdaptedUnits, tomorrow: xr.Dataset, given: xr.DataArray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        unit.plan(tomorrow, given)


# --- batteries ---


def test_a_battery_is_the_plan_around_which_it_is_charged(unit: AdaptedUnits, tomorrow: xr.Dataset) -> None:
    battery, plan = unit.battery(tomorrow, 25.0), unit.plan(tomorrow, 25.0)
    np.testing.assert_allclose(battery.baseline, plan["power"], rtol=1e-12)
    np.testing.assert_allclose(battery["baseline_std"], plan["power_std"], rtol=1e-12)
    np.testing.assert_allclose(battery.indoor_temperature, plan["temperature"], rtol=1e-12)
    assert battery.unit == "room 4"
    kept = battery.simulate(battery.baseline)
    np.testing.assert_allclose(kept["indoor_temperature"], battery.indoor_temperature, atol=1e-9)
    assert float(battery.capacity) > 3 * float(battery["capacity_std"]) > 0


def test_the_battery_answers_as_the_forecast_does(unit: AdaptedUnits, tomorrow: xr.Dataset) -> None:
    battery = unit.battery(tomorrow, 25.0)
    more = battery.baseline.copy(data=battery.baseline.to_numpy() + 0.1 * (np.arange(DAY) < 6))
    linear = (battery.simulate(more)["indoor_temperature"] - battery.indoor_temperature).to_numpy()
    base = tomorrow.assign(power=battery.baseline.drop_vars("unit", errors="ignore"))
    extra = tomorrow.assign(power=more.drop_vars("unit", errors="ignore"))
    full = (unit.predict(extra)["temperature"] - unit.predict(base)["temperature"]).to_numpy()
    assert linear.min() < -0.2
    np.testing.assert_allclose(linear, full, atol=0.05 * -linear.min())


def test_fleets_are_their_batteries(pair: AdaptedUnits, net: FittedVirtualBattery, both: xr.Dataset) -> None:
    fleet = pair.aggregate(both)
    assert fleet.units == ("room 4", "room 5")
    np.testing.assert_allclose(fleet.baseline, pair.plan(both)["power"].sum("unit"), rtol=1e-12)
    again = aggregate([pair.aggregate(both.isel(unit=[k])).batteries[0] for k in (0, 1)])
    assert float(again.capacity) == pytest.approx(float(fleet.capacity), rel=0.1)  # other draws
    with pytest.raises(DataError, match=r"there are 2 units; aggregate\(\)"):
        pair.battery(both)
    shared = small_rooms(units=1, days=12, seed=3).isel(unit=0, drop=True).isel(time=slice(11 * DAY, None))
    weather = shared.drop_vars(["power", "indoor_temperature", "rated_power", "set_point"])
    assert len(net.aggregate(weather).batteries) == 4  # weather without a unit is everybody's


# --- numbers ---


def test_parameters_are_labelled_and_near_the_truth(net: FittedVirtualBattery, neighbourhood: xr.Dataset) -> None:
    found = net.population.parameters
    assert found["cooling"].attrs["units"] == "K/h"
    assert (found["cooling_std"] > 0).all()
    assert found["rate_of_exchange"].sel(rate="air to mass").dims == ("unit",)
    with pytest.raises(KeyError):
        found["thermal_capacity"]


def test_a_step_of_power_cools_as_it_does_in_the_room(
    net: FittedVirtualBattery, neighbourhood: xr.Dataset, both: xr.Dataset
) -> None:
    """Rooms take Euler's steps: a quarter of an hour of a kilowatt cools the air by gain / 4."""
    generator = np.random.default_rng(3)  # as small_rooms draws
    generator.standard_normal(11 * DAY)
    generator.uniform(22.5, 27.5, (6, 11 * DAY // 8 + 1))
    gain = generator.uniform(7, 12, 6)
    past = neighbourhood.isel(unit=slice(0, 4), time=slice(8 * DAY, 10 * DAY))
    fleet = net.aggregate(past, start=past["time"].values[DAY - 1])
    found = [float(b.stores.charging(0.25)[1][0]) * float(b["gain_factor"].mean()) for b in fleet.batteries]
    np.testing.assert_allclose(found, gain[:4] / 4, rtol=0.1)


def test_deviations_of_parameters_are_those_of_the_numbers_by_their_slopes(pair: AdaptedUnits) -> None:
    P, σ, h = pair.settings.layout.size, 0.3, 1e-6
    alike = replace(pair.prints, precision=np.broadcast_to(np.eye(P) / σ**2, (2, P, P)), spread=np.ones(2))
    got, low, high = (replace(pair, prints=replace(alike, θ=alike.θ + d)).parameters for d in (0.0, -h, h))
    for name in ("rate_of_exchange", "cooling", "variation", "sun_on_air", "sun_on_mass", "heat_gain"):
        slope = np.abs(high[name] - low[name]) / (2 * h)
        np.testing.assert_allclose(got[f"{name}_std"], σ * slope, rtol=1e-6, err_msg=name)


def test_reports_tell_and_survive(net: FittedVirtualBattery, unit: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    text = str(net.report)
    assert "all fits converged" in text
    assert "std after 24 h" in text
    assert "no warnings" in str(unit.report)
    short = net.adapt(neighbourhood.isel(unit=4, time=slice(0, 3 * DAY // 2)))
    assert "less than 48 h of usable rows" in str(short.report)
    assert type(net.report).from_dict(net.report.to_dict()) == net.report


def test_fits_that_stand_still_are_told(
    net: FittedVirtualBattery, neighbourhood: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "ATTEMPTS", 0)
    with pytest.warns(FitWarning, match="the fits of 1 of 1 units didn't converge"):
        got = net.adapt(neighbourhood.isel(unit=4, time=slice(0, 2 * DAY)))
    assert not got.report.is_success


# --- files ---


def test_what_was_saved_answers_as_before(
    net: FittedVirtualBattery, unit: AdaptedUnits, tomorrow: xr.Dataset, neighbourhood: xr.Dataset, tmp_path: Path
) -> None:
    unit.save(tmp_path / "unit.surrogate")
    again = load(tmp_path / "unit.surrogate")
    assert isinstance(again, AdaptedUnits)
    assert again.predict(tomorrow).identical(unit.predict(tomorrow))
    assert again.battery(tomorrow).to_dataset().identical(unit.battery(tomorrow).to_dataset())
    assert str(again.report) == str(unit.report)
    net.save(tmp_path / "net.surrogate")
    fitted = load(tmp_path / "net.surrogate")
    assert isinstance(fitted, FittedVirtualBattery)
    ahead = neighbourhood.isel(unit=slice(0, 4), time=slice(9 * DAY, None))
    start = ahead["time"].values[DAY]
    assert fitted.predict(ahead, start=start).identical(net.predict(ahead, start=start))
    newcomer = neighbourhood.isel(unit=4, time=slice(2 * DAY, 4 * DAY))
    assert fitted.adapt(newcomer).predict(tomorrow).identical(unit.predict(tomorrow))


def test_damaged_files_are_refused(unit: AdaptedUnits, tmp_path: Path) -> None:
    path = tmp_path / "unit.surrogate"
    unit.save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="damaged"):
        load(path)


# --- what is refused ---


def test_a_population_must_say_how_units_differ(neighbourhood: xr.Dataset) -> None:
    with pytest.raises(DataError, match="the population has 3 units; 4 or more"):
        VirtualBatteryNet().fit(neighbourhood.isel(unit=slice(0, 3)))
    short = neighbourhood.isel(time=slice(0, 9 * DAY))
    with pytest.raises(DataError, match=r"6 of 6 units .* less than 10 days .*'room 0': 9"):
        VirtualBatteryNet().fit(short)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"comfort": (27.5, 22.5)}, r"comfort is \(27.5, 22.5\)"),
        ({"comfort": (295.0, 300.0)}, "in degC"),
        ({"prior_weight": 0.0}, "prior_weight is 0.0"),
        ({"prior_weight": np.inf}, "prior_weight is inf"),
        ({"recipe": Recipe(horizon=48.0)}, "the recipe's horizon is 48 h; it must be from 1 to 24 h"),
        (
            {"recipe": Recipe(horizon=2.0, judged_every=3.0)},
            "judged_every is 3 h; it must be its horizon, 2 h, or less",
        ),
        ({"recipe": Recipe(step_deviation=0.0)}, "step_deviation is 0.0; it must be a number > 0"),
        ({"recipe": Recipe(stride=-1.0)}, "stride is -1.0; it must be a number >= 0"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        VirtualBatteryNet(**settings)  # type: ignore[arg-type]


def test_records_of_another_step_are_refused(net: FittedVirtualBattery) -> None:
    with pytest.raises(DataError, match="steps of 30 min, wanted 15min"):
        net.adapt(read(small_rooms(minutes=30)))
    assert net.adapt(small_rooms(minutes=5, days=2)).memory.step_hours == 0.25  # read from the source, it is averaged


def test_errors_that_units_share_do_not_average_away(pair: AdaptedUnits, both: xr.Dataset) -> None:
    assert (pair.prints.shared > 0).all()
    shared = replace(pair, prints=replace(pair.prints, shared=np.full(2, 0.5)))
    free = replace(pair, prints=replace(pair.prints, shared=np.zeros(2)))
    got, alone = (units.promise(both, 27.0, instead_of=24.0, draws=400) for units in (shared, free))
    np.testing.assert_allclose(got["energy"], alone["energy"], rtol=1e-12)
    own = alone["energy_std"].to_numpy()
    assert float(alone["fleet_energy_std"]) == pytest.approx(np.hypot(*own), rel=0.15)  # independent units
    usual = pair.plan(both, 24.0, draws=400)["power"].sum() / 4  # 27 degC is wanted all day long
    together = np.hypot(0.5 * float(usual), np.hypot(*own))
    assert float(got["fleet_energy_std"]) == pytest.approx(together, rel=0.15)
