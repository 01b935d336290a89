from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surrogates.errors import DataError
from surrogates.physics.virtual_battery import (
    BatteryForm,
    Mode,
    Stores,
    efficiency_factor,
    rollout,
    soc_of,
    temperature_of,
)

RATES = {
    1: {"ko": 0.4},
    2: {"ko": 0.3, "km": 2.4, "kr": 0.05, "kmo": 0.02},
    3: {"ko": 0.3, "km": 2.4, "kr": 0.1, "kmo": 0.02, "k2": 0.05, "kr2": 0.01},
}
CASES = pytest.mark.parametrize("mode", ["cooling", "heating"])
COUNTS = pytest.mark.parametrize("count", [1, 2, 3])
T = 40


def room_of(count: int, mode: Mode) -> Stores:
    return Stores.from_rates(**RATES[count], gain=18.0, mode=mode)  # type: ignore[arg-type]


def number(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def weather(count: int, mode: Mode) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outdoor temperature, heat into air and mass, power, (T,)."""
    rng = np.random.default_rng(3)
    hot, q_air, q_mass, power = (
        rng.normal(size=T) * 6,
        rng.uniform(0, 2, T),
        rng.uniform(0, 0.1, T),
        rng.uniform(0, 1.5, T),
    )
    outdoor = (31 if mode == "cooling" else 2) + hot
    found = (torch.from_numpy(x) for x in (outdoor, q_air, q_mass * (count > 1), power))
    a, b, c, d = found
    return a, b, c, d


@CASES
@COUNTS
def test_both_forms_have_the_same_trajectories(count: int, mode: Mode) -> None:
    room = room_of(count, mode)
    battery = BatteryForm.from_stores(room, 21.0, 26.0)
    outdoor, q_air, q_mass, power = weather(count, mode)
    x = torch.tensor([24.0, 25.5, 22.0], dtype=torch.float64)[:count]
    columns = {"outdoor": outdoor, "heat_air": q_air, "heat_mass": q_mass, "power": power}
    thermal = rollout(*room.step(0.25), x, torch.stack([columns[n] for n in room.input_names], dim=-1))
    zero = battery.zero_power(outdoor, q_air, q_mass)
    electric = battery.simulate(battery.soc(x), power, zero, 0.25)
    np.testing.assert_allclose(battery.temperature(electric).numpy(), thermal.numpy(), rtol=0, atol=4e-12)
    np.testing.assert_allclose(battery.generator().numpy(), room.generator().numpy(), rtol=1e-13, atol=1e-16)


@CASES
@COUNTS
def test_round_trips(count: int, mode: Mode) -> None:
    room = room_of(count, mode)
    battery = BatteryForm.from_stores(room, 21.0, 26.0)
    back = battery.to_stores()
    assert back.mode == mode
    for name in (*RATES[count], "gain"):
        assert float(getattr(back, name)) == pytest.approx(float(getattr(room, name)), rel=1e-12)
    x = torch.linspace(10, 40, 7 * count, dtype=torch.float64).reshape(7, count)
    torch.testing.assert_close(battery.temperature(battery.soc(x)), x, rtol=1e-12, atol=0)


@settings(max_examples=50, deadline=None)
@given(
    temperature=st.floats(-30, 60),
    lowest=st.floats(10, 25),
    width=st.floats(0.5, 10),
    mode=st.sampled_from(["cooling", "heating"]),
)
def test_soc_and_temperature_are_inverse(temperature: float, lowest: float, width: float, mode: Mode) -> None:
    low, high = number(lowest), number(lowest + width)
    s = soc_of(number(temperature), low, high, mode)
    assert float(temperature_of(s, low, high, mode)) == pytest.approx(
        temperature, abs=1e-12 * max(1, abs(float(s)) * width)
    )
    assert float(soc_of(high, low, high, mode)) == (0 if mode == "cooling" else 1)
    assert float(soc_of(low, low, high, mode)) == (1 if mode == "cooling" else 0)


def test_numbers_of_the_page() -> None:
    """Capacities and conductors from C, R and COP directly, with the formulas of the physical form."""
    C, Cm, R, Rm, Rmo, η, ΔT = 0.2, 4.0, 8.0, 1.5, 20.0, 3.0, 5.0
    room = Stores.from_resistances(
        air_capacity=C, air_to_outdoor=R, cop=η, mass_capacity=Cm, air_to_mass=Rm, mass_to_outdoor=Rmo
    )
    battery = BatteryForm.from_stores(room, 22.0, 22.0 + ΔT)
    np.testing.assert_allclose(battery.capacity.numpy(), [C * ΔT / η, Cm * ΔT / η], rtol=1e-13)
    np.testing.assert_allclose(battery.leak.numpy(), [ΔT / (η * R), ΔT / (η * Rmo)], rtol=1e-13)
    np.testing.assert_allclose(battery.link.numpy(), [ΔT / (η * Rm)], rtol=1e-13)
    Qa, Qm, outdoor = 0.3, 0.1, 35.0
    zero = battery.zero_power(number(outdoor), Qa / C, Qm / Cm)
    np.testing.assert_allclose(
        zero.numpy(), [(outdoor - 27) / (η * R) + Qa / η, (outdoor - 27) / (η * Rmo) + Qm / η], rtol=1e-12
    )
    cool_day = battery.zero_power(number(10.0))
    assert (cool_day < 0).all()  # never clipped


@CASES
@COUNTS
def test_total_energy_balance(count: int, mode: Mode) -> None:
    """d(Σ E s)/dt = P - Σ P0 - Σ g_o s: what flows between the stores cancels."""
    battery = BatteryForm.from_stores(room_of(count, mode), 21.0, 26.0)
    s = torch.tensor([0.4, 0.7, -0.2], dtype=torch.float64)[:count]
    zero = battery.zero_power(number(30.0), 1.0, 0.1 if count > 1 else 0.0)
    u = -zero + torch.eye(count, dtype=torch.float64)[0] * 0.9
    ds = battery.generator() @ s + u / battery.capacity
    assert float((battery.capacity * ds).sum()) == pytest.approx(
        float(0.9 - zero.sum() - (battery.leak * s).sum()), abs=1e-12
    )
    rate = (battery.capacity * ds).sum() / battery.capacity.sum()
    assert float(battery.total_soc(s + 1e-3 * ds) - battery.total_soc(s)) == pytest.approx(1e-3 * float(rate), rel=1e-9)


@CASES
@COUNTS
def test_holding_power_stops_the_air(count: int, mode: Mode) -> None:
    battery = BatteryForm.from_stores(room_of(count, mode), 21.0, 26.0)
    s = torch.tensor([0.4, 0.7, -0.2], dtype=torch.float64)[:count]
    zero = battery.zero_power(number(30.0), 1.0)
    power = battery.holding_power(s, zero)
    u = -zero + torch.eye(count, dtype=torch.float64)[0] * power
    assert abs(float((battery.generator() @ s + u / battery.capacity)[0])) < 1e-12


@COUNTS
def test_closed_loop_holds_its_target_and_tends_to_the_holding_power(count: int) -> None:
    battery = BatteryForm.from_stores(room_of(count, "cooling"), 21.0, 26.0)
    zero = battery.zero_power(torch.full((4000,), 33.0, dtype=torch.float64), 1.0)
    start = torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)[:count]
    target = torch.full((4000,), 0.6, dtype=torch.float64)
    power, soc = battery.hold(start, target, zero, 0.25)
    np.testing.assert_allclose(soc[:, 0].numpy(), 0.6, atol=1e-12)
    again = battery.simulate(start, power, zero, 0.25)
    torch.testing.assert_close(again, soc, rtol=1e-11, atol=1e-12)
    assert float(power[-1]) == pytest.approx(float(battery.holding_power(soc[-1], zero[-1])), rel=1e-6)
    if count == 2:  # s_m* = (g_am s_a - P0_m)/(g_am + g_mo)
        g = battery.link[0]
        wanted = (g * 0.6 - zero[-1, 1]) / (g + battery.leak[1])
        assert float(soc[-1, 1]) == pytest.approx(float(wanted), rel=1e-6)


def test_batches_agree_with_single_rooms() -> None:
    gains = torch.tensor([10.0, 20.0], dtype=torch.float64)
    both = BatteryForm.from_stores(Stores.from_rates(**RATES[2], gain=gains), 21.0, 26.0)  # type: ignore[arg-type]
    for u, gain in enumerate(gains):
        one = BatteryForm.from_stores(Stores.from_rates(**RATES[2], gain=gain), 21.0, 26.0)  # type: ignore[arg-type]
        torch.testing.assert_close(both.step(0.5)[1][u], one.step(0.5)[1], rtol=1e-13, atol=0)
        torch.testing.assert_close(both.zero_power(number(33.0))[u], one.zero_power(number(33.0)), rtol=1e-13, atol=0)


def test_varying_efficiency_keeps_the_thermal_state() -> None:
    """A room whose COP falls with the heat, integrated with its own η(t), equals the battery fed with f P."""
    room = room_of(2, "cooling")
    battery = BatteryForm.from_stores(room, 21.0, 26.0)
    outdoor, q_air, q_mass, power = weather(2, "cooling")
    f = efficiency_factor(outdoor, 0.02)
    x = torch.tensor([24.0, 25.5], dtype=torch.float64)
    truth = x
    for k in range(T):
        weaker = Stores(room.ko, room.km, room.kr, room.kmo, gain=room.plug * f[k])
        Φ, Γ = weaker.step(0.25)
        truth = Φ @ truth + Γ @ torch.stack([outdoor[k], q_air[k], q_mass[k], power[k]])
    soc = battery.simulate(battery.soc(x), f * power, battery.zero_power(outdoor, q_air, q_mass), 0.25)
    np.testing.assert_allclose(battery.temperature(soc[-1]).numpy(), truth.numpy(), atol=1e-11)


def test_efficiency_is_bounded_and_falls() -> None:
    outdoor = torch.linspace(-40, 60, 201, dtype=torch.float64)
    f = efficiency_factor(outdoor, 0.03, reference=25.0, largest=1.8)
    assert ((f > 1 / 1.8) & (f < 1.8)).all()
    assert (f.diff() < 0).all()
    at = torch.tensor(25.0, dtype=torch.float64, requires_grad=True)
    value = efficiency_factor(at, 0.03, reference=25.0)
    value.backward()
    assert value.item() == 1.0
    assert at.grad is not None
    assert at.grad.item() == pytest.approx(-0.03, rel=1e-12)
    assert (efficiency_factor(outdoor, -0.03).diff() > 0).all()  # a heat pump


def test_refusals() -> None:
    room = room_of(2, "cooling")
    with pytest.raises(DataError, match=r"width of 0 K .* highest must be above lowest"):
        BatteryForm.from_stores(room, 24.0, 24.0)
    with pytest.raises(DataError, match="width of -1 K"):
        soc_of(number(24.0), number(25.0), number(24.0))
    with pytest.raises(DataError, match="width of nan"):
        temperature_of(number(0.5), number(float("nan")), number(24.0))
    with pytest.raises(DataError, match="mode is 'both'"):
        soc_of(number(24.0), number(22.0), number(26.0), "both")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a capacity isn't > 0"):
        BatteryForm.from_stores(Stores.from_rates(ko=0.3, gain=0.0), 22.0, 26.0)
    with pytest.raises(DataError, match="a capacity isn't > 0"):
        BatteryForm.from_stores(Stores.from_rates(ko=0.3, km=0.0, kr=0.0, kmo=0.0, gain=1.0), 22.0, 26.0)
    with pytest.raises(DataError, match="have no mass"):
        BatteryForm.from_stores(room_of(1, "cooling"), 22.0, 26.0).zero_power(number(30.0), 0.0, 1.0)
    with pytest.raises(DataError, match="largest is 1"):
        efficiency_factor(number(30.0), 0.02, largest=1.0)
    E, low, high = torch.ones(3, dtype=torch.float64), number(22.0), number(26.0)
    with pytest.raises(DataError, match="deep mass leaks"):
        BatteryForm(E, E, E[:2], low, high)
    with pytest.raises(DataError, match="link holds a conductor"):
        BatteryForm(E[:2], E[:2], -E[:1], low, high)
    with pytest.raises(DataError, match="need n, n and n - 1"):
        BatteryForm(E, E, E, low, high)
