from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from surrogates.errors import DataError, UnitsError
from surrogates.physics.virtual_battery import Battery, Fleet, InnerBound, Mode, Stores, aggregate

Floats = NDArray[np.float64]
T = 6
RATES = {
    1: {"ko": 0.4},
    2: {"ko": 0.3, "km": 2.4, "kr": 0.1, "kmo": 0.02},
    3: {"ko": 0.3, "km": 2.0, "kr": 0.2, "kmo": 0.02, "k2": 0.05, "kr2": 0.01},
}


def battery_of(
    unit: str, count: int, *, steps: int = T, seed: int = 0, mode: Mode = "cooling", moving: bool = True, draws: int = 3
) -> Battery:
    """A random unit; with `moving` its baseline temperature and efficiency vary."""
    rng = np.random.default_rng(seed)
    scale = rng.uniform(0.7, 1.4)
    gain = torch.from_numpy(rng.uniform(5, 12) * rng.uniform(0.95, 1.05, draws))
    stores = Stores.from_rates(**{n: k * scale for n, k in RATES[count].items()}, gain=gain, mode=mode)  # type: ignore[arg-type]
    return Battery.from_draws(
        stores,
        rated_power=1.5,
        baseline=rng.uniform(0.4, 0.9, (draws, steps)),
        time=np.datetime64("2021-07-01T00:30", "ns") + np.arange(steps) * np.timedelta64(30, "m"),
        lowest=22.0,
        highest=26.0,
        set_point=24.0,
        indoor=24 + (rng.uniform(-0.5, 0.5, steps) if moving else 0.0),
        gain_factor=rng.uniform(0.8, 1.2, (1, steps)) if moving else 1.0,
        unit=unit,
    )


@cache
def fleet_of(seed: int = 0, *, units: int = 3, steps: int = T, moving: bool = True) -> Fleet:
    return aggregate(
        [battery_of(f"u{k}", k % 3 + 1, steps=steps, seed=10 * seed + k, moving=moving) for k in range(units)]
    )


@cache
def inner_of(seed: int) -> InnerBound:
    return fleet_of(seed).inner(0.5)


# --- the truth: all units' offsets at once, with states as variables (not the code's Toeplitz form) ---


def reach(
    fleet: Fleet, direction: Floats, initial_soc: float | None = None, target: Floats | None = None
) -> float | None:
    """Largest d·Σ v over the product of the units' sets, or None if there is none with Σ v = target."""
    steps = len(fleet.time)
    columns = len(fleet.batteries) * 4 * steps  # per unit: v, and three charges
    rows, right, bounds = [], [], [(-np.inf, np.inf)] * columns
    for u, b in enumerate(fleet.batteries):
        n, base = b.stores.count, u * 4 * steps
        Φ, Γ = (x.numpy() for x in b.stores.step(b.step_hours))
        push, f = np.abs(Γ[:, -1]), b["gain_factor"].to_numpy()
        s = b.soc(b.indoor_temperature).to_numpy()
        x0 = np.zeros(n)
        if initial_soc is not None:
            x0[0] = (initial_soc - s[0]) * 4
        for k in range(steps):
            bounds[base + k] = (-float(b.discharge_power[k]), float(b.charge_power[k]))
            bounds[base + steps + 3 * k] = (-4 * s[k], 4 * (1 - s[k]))
            for i in range(n):
                row = np.zeros(columns)
                row[base + steps + 3 * k + i] = 1
                row[base + k] = -push[i] * f[k]
                if k:
                    row[base + steps + 3 * (k - 1) : base + steps + 3 * (k - 1) + n] = -Φ[i]
                rows.append(row)
                right.append(Φ[i] @ x0 if k == 0 else 0.0)
    total = np.zeros((steps, columns))
    for k in range(steps):
        total[k, [u * 4 * steps + k for u in range(len(fleet.batteries))]] = 1
    if target is not None:
        rows.extend(total)
        right.extend(target)
    result = linprog(-(direction @ total), A_eq=np.array(rows), b_eq=np.array(right), bounds=bounds, method="highs")
    return None if result.status == 2 else -float(result.fun)


# --- sums ---


def test_sums_and_independent_deviations() -> None:
    fleet = fleet_of()
    data = fleet.to_dataset()
    for name in ("baseline", "charge_power", "discharge_power", "capacity", "capacity_with_masses", "rated_power"):
        parts = [b[name].to_numpy() for b in fleet.batteries]
        errors = [b[f"{name}_std"].to_numpy() for b in fleet.batteries]
        np.testing.assert_allclose(data[name], np.sum(parts, axis=0), rtol=1e-13)
        np.testing.assert_allclose(data[f"{name}_std"], np.sqrt(np.sum(np.square(errors), axis=0)), rtol=1e-13)
        assert data[name].attrs["units"] == data[f"{name}_std"].attrs["units"]
    xr.testing.assert_identical(fleet.baseline, data["baseline"])
    xr.testing.assert_identical(fleet.charge_power, data["charge_power"])
    xr.testing.assert_identical(fleet.discharge_power, data["discharge_power"])
    xr.testing.assert_identical(fleet.capacity, data["capacity"])
    assert fleet.units == ("u0", "u1", "u2")
    assert "Fleet of 3 batteries, 2021-07-01T00:30 to 2021-07-01T03:00" in repr(fleet)
    assert "kWh" in repr(fleet)


def test_order_of_units_does_not_matter() -> None:
    fleet = fleet_of()
    back = aggregate(fleet.batteries[::-1])
    xr.testing.assert_allclose(fleet.to_dataset(), back.to_dataset(), rtol=1e-14)
    target = fleet.baseline.to_numpy() + 0.3
    a, b = fleet.dispatch(target), back.dispatch(target)
    np.testing.assert_allclose(a["power"].sel(unit="u1"), b["power"].sel(unit="u1"), atol=1e-12)


# --- outer bound ---


@pytest.mark.parametrize("initial_soc", [None, 0.7])
@pytest.mark.parametrize("units", [2, 3])
def test_window_energies_are_exact(units: int, initial_soc: float | None) -> None:
    fleet = fleet_of(1, units=units)
    found = fleet.energy_bounds([1, 3, T], initial_soc)
    for length in (1, 3, T):
        for k in range(T):
            at = found.sel(length=length).isel(start=k)
            if k + length > T:
                assert np.isnan(at["most"])
                continue
            d = np.zeros(T)
            d[k : k + length] = 0.5
            up, down = reach(fleet, d, initial_soc), reach(fleet, -d, initial_soc)
            assert up is not None
            assert down is not None
            assert float(at["most"]) == pytest.approx(up, abs=1e-7)
            assert float(at["least"]) == pytest.approx(-down, abs=1e-7)
    assert found["most"].attrs["units"] == "kWh"


# --- inner bound ---


@pytest.mark.parametrize("initial_soc", [None, 0.4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inner_bound_lies_inside_and_splits(seed: int, initial_soc: float | None) -> None:
    fleet = fleet_of(seed)
    inner = fleet.inner(initial_soc)
    outer = fleet.energy_bounds([1, 2, T], initial_soc)
    rng = np.random.default_rng(seed)
    assert inner.shares.min() > 0.05
    middle = inner.centres.sum(axis=0)
    corners = [inner.extreme(rng.normal(size=T)) for _ in range(12)]
    for power in [*corners, np.mean(corners, axis=0)]:
        assert inner.contains(power, 1e-7)
        offset = power - fleet.baseline.to_numpy()
        # a hair towards the middle, since the truth is a linear programme with tolerances of its own
        assert reach(fleet, np.zeros(T), initial_soc, middle + (1 - 1e-6) * (offset - middle)) is not None
        for length in (1, 2, T):
            energy = np.convolve(offset, np.ones(length), "valid") * 0.5
            window = outer.sel(length=length).isel(start=slice(len(energy)))
            assert (energy <= window["most"].to_numpy() + 1e-6).all()
            assert (energy >= window["least"].to_numpy() - 1e-6).all()
    beyond = inner.extreme(np.ones(T)) + 0.01
    assert not inner.contains(beyond)
    with pytest.raises(DataError, match="isn't inside the inner bound"):
        inner.split(beyond)


def test_identical_units_fill_their_sum() -> None:
    one = battery_of("a", 2, seed=5)
    data = one.to_dataset()
    fleet = aggregate([Battery(data.assign_coords(unit=f"u{k}")) for k in range(3)])
    inner = fleet.inner()
    np.testing.assert_allclose(inner.shares, 1, rtol=1e-6)
    d = np.array([1.0, -1, 1, 1, -1, 1])
    truth = reach(fleet, d)
    assert truth is not None
    assert d @ (inner.extreme(d) - fleet.baseline.to_numpy()) == pytest.approx(truth, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 3), weights=st.lists(st.floats(0, 1), min_size=4, max_size=4), which=st.integers(0, 2**20))
def test_any_target_inside_is_met_within_all_limits(seed: int, weights: list[float], which: int) -> None:
    fleet = fleet_of(seed)
    inner = inner_of(seed)
    rng = np.random.default_rng(which)
    w = np.array(weights) + 1e-3
    corners = np.stack([inner.extreme(rng.normal(size=T)) for _ in range(4)])
    target = (w / w.sum()) @ corners
    middle = inner.extreme(np.zeros(T))  # some point inside
    target = middle + (1 - 1e-6) * (target - middle)
    assert inner.contains(target)
    done = fleet.dispatch(target, initial_soc=0.5, inner=inner)
    assert float(np.abs(done["error"]).max()) < 1e-9
    assert_within_limits(fleet, done, 1e-8)


# --- dispatch ---


def assert_within_limits(fleet: Fleet, done: xr.Dataset, tolerance: float, initial_soc: float | None = 0.5) -> None:
    """By each battery's own simulation."""
    for b in fleet.batteries:
        power = done["power"].sel(unit=b.unit).to_numpy()
        assert (power <= (b.baseline + b.charge_power).to_numpy() + tolerance).all()
        assert (power >= (b.baseline - b.discharge_power).to_numpy() - tolerance).all()
        alone = b.simulate(power, initial_soc)["soc"].to_numpy()
        np.testing.assert_allclose(done["soc"].sel(unit=b.unit), alone, atol=1e-9)
        assert alone.min() >= -tolerance
        assert alone.max() <= 1 + tolerance


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0, 3), initial_soc=st.floats(0, 1))
def test_dispatch_never_breaks_band_or_power(seed: int, size: float, initial_soc: float) -> None:
    fleet = fleet_of(seed % 5, units=4, steps=20, moving=False)
    target = fleet.baseline.to_numpy() + size * np.random.default_rng(seed).normal(size=20)
    done = fleet.dispatch(target, initial_soc=initial_soc)
    assert_within_limits(fleet, done, 1e-9, initial_soc)
    np.testing.assert_allclose(done["error"], done["power"].sum("unit") - target, atol=1e-12)


def test_dispatch_meets_what_is_easy_and_misses_by_the_least_at_the_first_step() -> None:
    fleet = fleet_of(2, units=3, steps=20, moving=False)
    easy = fleet.dispatch(fleet.baseline + 0.05 * np.sin(np.arange(20)))
    assert float(np.abs(easy["error"]).max()) < 1e-12
    much = fleet.dispatch(fleet.baseline + 100.0)
    first = np.zeros(20)
    first[0] = 1.0
    most = reach(fleet, first)
    assert most is not None
    assert float((much["power"].sum("unit") - fleet.baseline)[0]) == pytest.approx(most, abs=1e-8)


def test_the_emptiest_unit_charges_first_and_the_fullest_gives_first() -> None:
    twins = [
        Battery(battery_of("x", 2, seed=3, moving=False).to_dataset().assign_coords(unit=u)) for u in ("full", "empty")
    ]
    fleet = aggregate(twins)
    soc = {"full": 0.7, "empty": 0.3}
    up = fleet.dispatch(fleet.baseline + 0.05, initial_soc=soc)["power"] - twins[0].baseline
    assert float(up.sel(unit="empty")[0]) == pytest.approx(0.05)
    assert float(up.sel(unit="full")[0]) == pytest.approx(0.0, abs=1e-12)
    down = fleet.dispatch(fleet.baseline - 0.05, initial_soc=soc)["power"] - twins[0].baseline
    assert float(down.sel(unit="full")[0]) == pytest.approx(-0.05)
    assert float(down.sel(unit="empty")[0]) == pytest.approx(0.0, abs=1e-12)


def test_heating_units_join_the_fleet() -> None:
    fleet = aggregate([battery_of("a", 2, mode="heating"), battery_of("b", 1, seed=4)])
    done = fleet.dispatch(fleet.baseline + 0.1)
    np.testing.assert_allclose(done["error"], 0, atol=1e-12)
    assert_within_limits(fleet, done, 1e-9, None)


# --- bad input ---


def test_refusals() -> None:
    a, b = battery_of("a", 1), battery_of("b", 2)
    fleet = aggregate([a, b])
    with pytest.raises(DataError, match="none came"):
        aggregate([])
    with pytest.raises(DataError, match=r"\['a'\] came more than once"):
        aggregate([a, a])
    with pytest.raises(DataError, match=r"'c' runs from .* bring all to one time axis"):
        aggregate([a, battery_of("c", 1, steps=8)])
    with pytest.raises(DataError, match="window of 7 steps doesn't fit into 6"):
        fleet.energy_bounds([7])
    with pytest.raises(UnitsError, match="target is in 'W'"):
        fleet.dispatch(fleet.baseline.assign_attrs(units="W"))
    with pytest.raises(DataError, match="another time axis"):
        fleet.dispatch(fleet.baseline.assign_coords(time=fleet.time + np.timedelta64(1, "h")))
    with pytest.raises(DataError, match="aren't finite"):
        fleet.dispatch(np.full(T, np.nan))
    with pytest.raises(DataError, match=r"differ in units \['b'\]"):
        fleet.dispatch(np.zeros(T), initial_soc={"a": 0.5})
    with pytest.raises(DataError, match="initial_soc holds"):
        fleet.dispatch(np.zeros(T), initial_soc=float("nan"))
    with pytest.raises(DataError, match="no power of the unit keeps its air inside"):
        fleet.inner(initial_soc=60.0)
