"""Plans, promises and deliveries of adapted units: what is not foreseen, who takes part, what was delivered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from surrogates import AdaptedUnits
from surrogates.battery.drivers import MOST_LOAD, power_columns
from surrogates.battery.holding import load_of
from surrogates.battery.layout import Layout
from surrogates.battery.planning import marginal_factor
from surrogates.battery.protocol import deliveries
from surrogates.battery.records import Floats
from surrogates.battery.system import variation_of
from surrogates.errors import DataError

DAY = 96  # steps


@pytest.mark.parametrize("curvature", [-0.15, 0.0, 0.15])
def test_a_load_cools_by_what_was_asked_also_where_the_curve_has_ended(curvature: float) -> None:
    load = np.array([0.0, 0.2, 0.35, 1.0, 1.29, 1.31, 1.7, 2.5])
    for slope in (0.5, 1.0, 1.4):
        cooling = load * (slope + curvature * (np.minimum(load, 1.3) - 0.35))
        found = load_of(np.full(8, slope), np.full(8, curvature), cooling)
        np.testing.assert_allclose(found, load, rtol=1e-12)
    assert (load_of(np.ones(2), np.full(2, curvature), np.array([-1.0, -np.inf])) == 0).all()  # nothing to cool; off


def test_deliveries_are_counted_by_day_and_promised_at_midnight(pair: AdaptedUnits, neighbourhood: xr.Dataset) -> None:
    usual = neighbourhood.isel(unit=slice(3, 6), time=slice(2 * DAY, 7 * DAY))
    usual = usual.assign(set_point=xr.full_like(usual["set_point"], 24.0))
    hour, day = np.arange(5 * DAY) % DAY / 4, np.arange(5 * DAY) // DAY
    is_event = xr.DataArray((hour >= 14) & (hour < 17) & ((day == 2) | (day == 4)), dims="time")
    changed = {"power": usual["power"] - 0.2 * is_event, "set_point": usual["set_point"] + 2.0 * is_event}
    event = usual.assign({name: x.assign_attrs(usual[name].attrs) for name, x in changed.items()})
    event = event.assign(is_event=is_event)
    got = deliveries(pair, usual, event)
    assert got["event"].values.astype("datetime64[D]").astype(str).tolist() == ["2025-06-06", "2025-06-08"]
    np.testing.assert_allclose(got["delivered"], 0.2 * 3)
    np.testing.assert_allclose(got["fleet_delivered"], 2 * 0.2 * 3)
    around = usual.isel(unit=slice(1, 3), time=slice(0, 3 * DAY))
    midnight = usual["time"].values[2 * DAY - 1]
    wanted, normal = (run["set_point"].isel(unit=0, drop=True) for run in (event, usual))
    told = pair.promise(around, wanted, instead_of=normal, start=midnight)
    np.testing.assert_allclose(got["promised"][0], told["energy"])
    np.testing.assert_allclose(got["fleet_promised_lower"][0], told["fleet_energy_lower"])


def test_plans_of_new_units_hold_what_is_not_foreseen(pair: AdaptedUnits, both: xr.Dataset) -> None:
    """With the numbers held fast, what people do is left: it spreads power, and doesn't move its mean."""
    fast = replace(pair, prints=replace(pair.prints, spread=np.full(2, 1e-9)))
    found = fast.plan(both, 24.0, draws=200)
    assert (found["power_std"].max("time") > 1e-3).all()
    off, calm = fast.plan(both, np.nan, draws=400), pair.predict(both.assign(power=both["power"] * 0.0 + 0.0))
    gap = (off["temperature"] - calm["temperature"]) / (off["temperature_std"] + 1e-3)
    assert float(np.abs(gap).max()) < 0.3  # 400 draws: a standard error of .05


def test_who_takes_no_part_has_no_rebound(pair: AdaptedUnits, both: xr.Dataset) -> None:
    hour = np.arange(DAY) / 4
    event = xr.DataArray(
        np.stack([np.where((hour >= 14) & (hour < 17), 26.0, 24.0), np.full(DAY, 24.0)]),
        dims=("unit", "time"), coords={"unit": both["unit"], "time": both["time"]},
    )  # fmt: skip
    got = pair.promise(both, event, instead_of=24.0)
    assert float(got["energy"][0]) > 0
    for name in ("energy", "energy_std", "rebound", "rebound_std"):
        assert float(got[name][1]) == 0
    assert float(got["fleet_rebound_std"]) == pytest.approx(float(got["rebound_std"][0]))


@pytest.mark.parametrize("given", [297.0, 75.0, np.inf, -np.inf, "24", np.array([24.0])])
def test_set_points_that_are_no_indoor_temperatures(unit: AdaptedUnits, tomorrow: xr.Dataset, given: object) -> None:
    with pytest.raises(DataError, match="set_point is"):
        unit.plan(tomorrow, given)  # type: ignore[arg-type]


def test_the_marginal_factor_is_the_slope_of_cooling_by_load() -> None:
    layout, rng = Layout(), np.random.default_rng(6)
    θ = np.zeros((2, 3, layout.size))
    θ[..., layout.variation] = rng.normal(size=(2, 3, 3))
    load = rng.uniform(0, 1.6, (2, 3, 40))
    load += 0.01 * (np.abs(load - MOST_LOAD) < 1e-3)  # the slope has a kink there
    outdoor, humidity = rng.uniform(20, 40, (2, 40)), rng.uniform(5, 20, (2, 40))

    def cooling(p: Floats) -> Floats:
        columns = power_columns(p, np.repeat(outdoor[:, None], 3, 1), np.repeat(humidity[:, None], 3, 1))
        gains = np.concatenate([np.ones((2, 3, 1)), variation_of(θ, layout)], axis=2)
        return np.asarray((columns * gains[:, :, None]).sum(-1))

    slope = (cooling(load + 1e-6) - cooling(load - 1e-6)) / 2e-6
    np.testing.assert_allclose(marginal_factor(θ, layout, load, outdoor, humidity), slope, atol=1e-8)
    assert (slope > 0).all()
