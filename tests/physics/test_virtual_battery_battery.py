from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from surrogates.errors import DataError, UnitsError
from surrogates.physics.virtual_battery import Battery, BatteryForm, Mode, Stores, efficiency_factor, rollout

Floats = NDArray[np.float64]
T, STEP = 24, 0.5
TIME = np.datetime64("2021-07-01T00:30", "ns") + np.arange(T) * np.timedelta64(30, "m")
RATES = {
    1: {"ko": 0.4},
    2: {"ko": 0.3, "km": 2.4, "kr": 0.05, "kmo": 0.02},
    3: {"ko": 0.3, "km": 2.4, "kr": 0.1, "kmo": 0.02, "k2": 0.05, "kr2": 0.01},
}


def room_of(count: int = 2, mode: Mode = "cooling", gain: float | Tensor = 12.0) -> Stores:
    return Stores.from_rates(**RATES[count], gain=gain, mode=mode)  # type: ignore[arg-type]


def battery_of(stores: Stores | None = None, **change: object) -> Battery:
    arguments: dict[str, object] = {
        "rated_power": 2.0, "baseline": np.full(T, 0.8), "time": TIME, "lowest": 22.0, "highest": 26.0, "set_point": 24.5,
        "unit": "room",
    }  # fmt: skip
    return Battery.from_draws(room_of() if stores is None else stores, **(arguments | change))  # type: ignore[arg-type]


# --- numbers ---


def test_mean_deviation_and_quantiles_are_those_of_the_draws() -> None:
    rng = np.random.default_rng(0)
    D = 200
    gain, ko = rng.lognormal(2.5, 0.1, D), rng.lognormal(-1, 0.2, D)
    stores = Stores.from_rates(ko=torch.from_numpy(ko), km=2.4, kr=0.05, kmo=0.02, gain=torch.from_numpy(gain))
    baseline, limit = rng.uniform(-0.1, 1.5, (D, T)), rng.uniform(1.0, 2.0, (D, T))
    factor = rng.uniform(0.8, 1.2, (D, T))
    found = battery_of(stores, baseline=baseline, power_limit=limit, gain_factor=factor, quantiles=(0.1, 0.9))
    capacity = 4.0 / (gain * factor.mean(axis=1))
    truth = {
        "capacity": capacity,
        "capacity_with_masses": capacity * 49,  # 1 + km/kr
        "gain": gain * factor.mean(axis=1),
        "leak": ko,
        "baseline": baseline,
        "discharge_power": np.maximum(baseline, 0),
        "charge_power": np.maximum(limit - np.maximum(baseline, 0), 0),
    }
    for name, draws in truth.items():
        np.testing.assert_allclose(found[name], draws.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}_std"], draws.std(axis=0, ddof=1), rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}_quantiles"], np.quantile(draws, [0.1, 0.9], axis=0), rtol=1e-12)
    fastest = np.array([-np.linalg.eigvals(a).real.min() for a in stores.generator().numpy()])
    slowest = np.array([-np.linalg.eigvals(a).real.max() for a in stores.generator().numpy()])
    np.testing.assert_allclose(found["fastest_rate"], fastest.mean(), rtol=1e-10)
    np.testing.assert_allclose(found.self_discharge, slowest.mean(), rtol=1e-10)
    assert float(found.stores.ko) == pytest.approx(ko.mean(), rel=1e-12)


def test_units_names_and_attributes() -> None:
    found = battery_of()
    data = found.to_dataset()
    for name, unit in {
        "capacity": "kWh",
        "baseline": "kW",
        "self_discharge": "1/h",
        "gain": "K/kWh",
        "lowest": "degC",
    }.items():
        assert data[name].attrs["units"] == data[f"{name}_std"].attrs["units"] == unit
    assert all("units" in variable.attrs for variable in data.data_vars.values())
    assert float(found.capacity) == pytest.approx(4 / 12)
    assert float(found.capacity_with_masses) == pytest.approx(4 / 12 * 49)
    assert float(found.rated_power) == 2.0
    assert float(found.gain) == pytest.approx(12.0)
    np.testing.assert_allclose(found.charge_power, 1.2)
    np.testing.assert_allclose(found.discharge_power, 0.8)
    np.testing.assert_allclose(found.baseline, 0.8)
    assert (found.unit, found.mode, found.step_hours) == ("room", "cooling", 0.5)


def test_capacity_agrees_with_the_battery_form() -> None:
    form = BatteryForm.from_stores(room_of(3), 22.0, 26.0)
    found = battery_of(room_of(3))
    assert float(found.capacity) == pytest.approx(float(form.capacity[0]), rel=1e-13)
    assert float(found.capacity_with_masses) == pytest.approx(float(form.capacity.sum()), rel=1e-13)


def test_table_shows_numbers_with_units() -> None:
    text = repr(battery_of())
    assert "Battery 'room' (cooling, 2 stores): 2021-07-01T00:30 to 2021-07-01T12:00, every 30 min" in text
    assert "0.3333 ± 0" in text
    for word in ("capacity_with_masses", "kWh", "K/kWh", "1/h", "mean over time"):
        assert word in text
    assert str(battery_of()) == text


def test_dataset_round_trip_and_frozen() -> None:
    found = battery_of(room_of(3))
    data = found.to_dataset()
    again = Battery(data)
    xr.testing.assert_identical(again.to_dataset(), data)
    data["baseline"][:] = 99.0
    np.testing.assert_allclose(found.baseline, 0.8)  # what came out is a copy
    np.testing.assert_allclose(again.baseline, 0.8)
    with pytest.raises(AttributeError, match="frozen"):
        found._data = data
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        xr.testing.assert_identical(twin.to_dataset(), found.to_dataset())


# --- soc ---


@pytest.mark.parametrize("mode", ["cooling", "heating"])
def test_soc_and_temperature(mode: Mode) -> None:
    lowest = 21.0 + np.arange(T) / 24
    found = battery_of(room_of(2, mode), lowest=lowest)
    temperature = np.linspace(20, 28, T)
    s = found.soc(temperature)
    wanted = (26 - temperature) / (26 - lowest) if mode == "cooling" else (temperature - lowest) / (26 - lowest)
    np.testing.assert_allclose(s, wanted, rtol=1e-12, atol=1e-14)
    back = found.temperature(s)
    np.testing.assert_allclose(back, temperature, rtol=1e-12)
    assert (s.attrs["units"], back.attrs["units"]) == ("1", "degC")
    many = xr.DataArray(np.full((3, T), 24.0), dims=("draw", "time"), coords={"time": TIME}, attrs={"units": "degC"})
    assert found.soc(many).dims == ("draw", "time")
    assert found.soc(24.0).shape == (T,)


# --- simulation ---


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("mode", ["cooling", "heating"])
def test_simulation_agrees_with_the_room_in_its_weather(count: int, mode: Mode) -> None:
    """The battery knows no weather; the room with weather, gains and a COP that varies does the same."""
    rng = np.random.default_rng(1)
    room = room_of(count, mode)
    form = BatteryForm.from_stores(room, 22.0, 26.0)
    outdoor = torch.from_numpy((33 if mode == "cooling" else 3) + rng.normal(size=T))
    q_air = torch.from_numpy(rng.uniform(0, 1, T))
    f = efficiency_factor(outdoor, 0.02 if mode == "cooling" else -0.02)
    start = torch.full((count,), 24.5, dtype=torch.float64)
    held, _ = form.hold(
        form.soc(start),
        form.soc(torch.full((T, 1), 24.5, dtype=torch.float64))[:, 0],
        form.zero_power(outdoor, q_air),
        STEP,
    )
    baseline = held / f

    def temperature_at(power: Tensor, first: Tensor) -> Floats:
        o = torch.zeros(T, dtype=torch.float64)
        columns = {"outdoor": outdoor, "heat_air": q_air, "heat_mass": o, "power": f * power}
        inputs = torch.stack([columns[name] for name in room.input_names], dim=-1)
        return rollout(*room.step(STEP), first, inputs)[:, 0].numpy()

    np.testing.assert_allclose(temperature_at(baseline, start), 24.5, atol=1e-10)
    found = battery_of(room, baseline=baseline.numpy(), gain_factor=f.numpy(), rated_power=6.0)
    power = baseline.numpy() + rng.uniform(-0.2, 0.2, T)
    done = found.simulate(power)
    np.testing.assert_allclose(done["indoor_temperature"], temperature_at(torch.from_numpy(power), start), atol=1e-10)
    np.testing.assert_allclose(found.soc(done["indoor_temperature"]), done["soc"], atol=1e-12)
    first = start.clone()
    first[0] = float(found.temperature(0.9)[0])
    again = found.simulate(power, initial_soc=0.9)
    np.testing.assert_allclose(again["indoor_temperature"], temperature_at(torch.from_numpy(power), first), atol=1e-10)


def test_energy_above_the_baseline_is_what_was_taken_less_what_leaked() -> None:
    closed = Stores.from_rates(ko=0.0, km=2.4, kr=0.05, kmo=0.0, gain=12.0)
    found = battery_of(closed)
    power = 0.8 + np.random.default_rng(0).uniform(-0.3, 0.5, T)
    np.testing.assert_allclose(found.simulate(power)["energy"], np.cumsum(power - 0.8) * STEP, atol=1e-10)


def test_simulation_flags_what_is_outside_and_takes_further_dims() -> None:
    found = battery_of()
    offsets = xr.DataArray([0.0, 1.5], dims="case")
    done = found.simulate((found.baseline + offsets).assign_attrs(units="kW"))
    assert done["soc"].dims == ("case", "time")
    assert done["is_within_band"].isel(case=0).all()
    assert done["is_within_power"].isel(case=0).all()
    assert not done["is_within_band"].isel(case=1).all()
    assert not done["is_within_power"].isel(case=1).any()
    np.testing.assert_allclose(done["soc"].isel(case=0), (26 - 24.5) / 4, atol=1e-12)


# --- durations ---


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("mode", ["cooling", "heating"])
@pytest.mark.parametrize("offset", [0.4, -0.6])
def test_durations_agree_with_a_root_of_the_exact_step(count: int, mode: Mode, offset: float) -> None:
    room = room_of(count, mode)
    found = battery_of(room, gain_factor=0.9)
    # 2.5 K to the cold edge, 1.5 K to the warm
    margin = 2.5 if (offset > 0) == (mode == "cooling") else 1.5

    def excess(hours: float) -> float:
        return abs(float(room.step(hours)[1][0, -1]) * offset * 0.9) - margin

    truth = brentq(excess, 1e-6, 500.0, xtol=1e-13) if excess(500.0) > 0 else np.inf
    np.testing.assert_allclose(found.durations(offset), truth, rtol=1e-9)


def test_durations_that_never_end_or_never_begin() -> None:
    found = battery_of(room_of(1))
    assert (found.durations(0.04) == np.inf).all()  # .04 kW moves the air by 1.2 K at most
    assert np.isnan(found.durations(1.3)).all()  # 1.2 kW are left
    assert np.isnan(found.durations(-0.9)).all()
    assert (found.durations(0.0) == np.inf).all()
    outside = battery_of(indoor=np.full(T, 21.0))
    assert (outside.durations(0.1) == 0).all()
    sealed = battery_of(Stores.from_rates(ko=0.0, gain=12.0))
    np.testing.assert_allclose(sealed.durations(0.5), 2.5 / 6, rtol=1e-12)
    assert found.durations(0.5).attrs["units"] == "h"


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lowest": 26.0}, "width of 0 K"),
        ({"baseline": np.full(T, np.nan)}, "baseline holds values that aren't finite"),
        ({"baseline": np.zeros(T - 1)}, "baseline has the shape"),
        ({"gain_factor": 0.0}, "gain_factor is 0"),
        ({"rated_power": -1.0}, "rated_power of unit 'room' is -1"),
        ({"stores": Stores.from_rates(ko=0.3, gain=torch.tensor([12.0, 0.0]))}, "gain of unit 'room' is 0"),
        ({"quantiles": (0.5, 1.5)}, "quantiles are"),
        ({"time": TIME[::-1]}, "rising and equally spaced"),
        ({"time": np.concatenate([TIME[:-1], TIME[-1:] + np.timedelta64(1, "m")])}, "equally spaced"),
    ],
)
def test_draws_that_make_no_battery(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        battery_of(**change)  # type: ignore[arg-type]


def test_other_refusals() -> None:
    found = battery_of()
    with pytest.raises(KeyError, match="'colour' is not a variable"):
        found["colour"]
    with pytest.raises(UnitsError, match="in 'W', wanted 'kW'"):
        found.simulate(found.baseline.assign_attrs(units="W"))
    with pytest.raises(UnitsError, match="in 'K', wanted 'degC'"):
        found.soc(xr.DataArray(297.0, attrs={"units": "K"}))
    with pytest.raises(DataError, match="time axis isn't that of battery 'room'"):
        found.simulate(found.baseline.isel(time=slice(3)))
    with pytest.raises(DataError, match="without labels has the shape"):
        found.simulate(np.zeros(3))
    with pytest.raises(DataError, match="aren't finite"):
        found.simulate(np.full(T, np.nan))
    with pytest.raises(DataError, match="offset is inf"):
        found.durations(np.inf)
    with pytest.raises(DataError, match="batch dimensions"):
        battery_of(room_of(gain=torch.ones(2, 2, dtype=torch.float64)))
    data = found.to_dataset()
    with pytest.raises(DataError, match=r"lacks \['capacity'\]"):
        Battery(data.drop_vars("capacity"))
    with pytest.raises(UnitsError, match="capacity is in 'MWh'"):
        Battery(data.assign(capacity=data["capacity"].assign_attrs(units="MWh")))
    with pytest.raises(DataError, match="mode"):
        Battery(data.assign_attrs(mode="both"))
    with pytest.raises(DataError, match="baseline holds values"):
        Battery(
            data.assign(baseline=data["baseline"] * np.nan).assign(
                baseline=lambda d: d["baseline"].assign_attrs(units="kW")
            )
        )
