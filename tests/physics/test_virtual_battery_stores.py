from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from surrogates.errors import DataError
from surrogates.physics.virtual_battery import Stores, rollout, zero_order_hold

Floats = NDArray[np.float64]
ONE = Stores.from_rates(ko=0.4, gain=15.0)
TWO = Stores.from_rates(ko=0.3, km=2.4, kr=0.05, kmo=0.02, gain=18.0)
THREE = Stores.from_rates(ko=0.3, km=2.4, kr=0.1, kmo=0.02, k2=0.05, kr2=0.01, gain=18.0)
ROOMS = pytest.mark.parametrize("room", [ONE, TWO, THREE], ids=["one", "two", "three"])


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def inputs_of(room: Stores) -> Tensor:
    values = {"outdoor": 33.0, "heat_air": 1.2, "heat_mass": 0.05, "power": 0.6}
    return vector(*(values[name] for name in room.input_names))


@st.composite
def rooms(draw: st.DrawFn) -> Stores:
    """Rates over seven decades, some of them zero."""
    rate = st.one_of(st.just(0.0), st.floats(-4, 3).map(lambda e: 10**e))
    count = draw(st.integers(1, 3))
    names = ("ko", "km", "kr", "kmo", "k2", "kr2")[: (1, 4, 6)[count - 1]]
    mode = draw(st.sampled_from(["cooling", "heating"]))
    return Stores.from_rates(**{n: draw(rate) for n in names}, gain=draw(st.floats(0.1, 100)), mode=mode)  # type: ignore[arg-type]


# --- the law ---


def by_hand(room: Stores, x: Floats, outdoor: float, q_air: float, q_mass: float, power: float) -> Floats:
    """Right-hand side written out store by store."""

    def rate(name: str) -> float:
        value = getattr(room, name)
        return 0.0 if value is None else float(value)

    T, M, D = [*x, 0.0, 0.0][:3]
    sign = 1 if room.mode == "heating" else -1
    air = rate("ko") * (outdoor - T) + rate("km") * (M - T) + q_air + sign * rate("gain") * power
    mass = rate("kr") * (T - M) + rate("kmo") * (outdoor - M) + rate("k2") * (D - M) + q_mass
    deep = rate("kr2") * (M - D)
    return np.array([air, mass, deep][: room.count])


@ROOMS
@pytest.mark.parametrize("mode", ["cooling", "heating"])
def test_exact_step_agrees_with_a_fine_integration(room: Stores, mode: str) -> None:
    room = Stores(room.ko, room.km, room.kr, room.kmo, room.k2, room.kr2, room.gain, mode=mode)  # type: ignore[arg-type]
    x, u, Δt = vector(25.0, 26.5, 24.0)[: room.count], inputs_of(room), 0.75
    heat_mass = 0.05 if room.count > 1 else 0.0
    truth = solve_ivp(
        lambda _, y: by_hand(room, y, 33.0, 1.2, heat_mass, 0.6),
        (0, Δt),
        x.numpy(),
        method="DOP853",
        rtol=1e-13,
        atol=1e-13,
    ).y[:, -1]
    Φ, Γ = room.step(Δt)
    np.testing.assert_allclose((Φ @ x + Γ @ u).numpy(), truth, rtol=0, atol=1e-9)


def test_one_store_is_the_exponential() -> None:
    Φ, Γ = ONE.step(0.25)
    a = math.exp(-0.4 * 0.25)
    assert Φ.item() == pytest.approx(a, rel=1e-14)
    np.testing.assert_allclose(Γ[0].numpy(), np.array([0.4, 1.0, -15.0]) * (1 - a) / 0.4, rtol=1e-13)


@ROOMS
def test_steps_double(room: Stores) -> None:
    Φ, Γ = room.step(0.3)
    twice, held = room.step(0.6)
    torch.testing.assert_close(twice, Φ @ Φ, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(held, Φ @ Γ + Γ, rtol=1e-12, atol=1e-15)


@ROOMS
def test_energy_balance_closes(room: Stores) -> None:
    """Stored heat, by the capacities, changes by what leaks in and by what is put in: links between stores cancel."""
    x, u, Δt = vector(25.0, 26.5, 24.0)[: room.count], inputs_of(room), 1.0
    nodes, weights = np.polynomial.legendre.leggauss(24)
    mean = sum(
        w / 2 * (lambda s: s[0] @ x + s[1] @ u)(room.step(Δt * (z + 1) / 2))
        for z, w in zip(nodes, weights, strict=True)
    )
    γ = room.capacities()
    leaks = torch.stack([room.ko, *(torch.zeros_like(room.ko) if k is None else k for k in (room.kmo, None))])[
        : room.count
    ]
    put_in = (γ * (room.inputs()[:, 1:] @ u[1:])).sum()
    Φ, Γ = room.step(Δt)
    change = (γ * (Φ @ x + Γ @ u - x)).sum()
    assert float(change) == pytest.approx(float(Δt * ((γ * leaks * (33.0 - mean)).sum() + put_in)), abs=1e-10)


def test_capacities_make_the_links_reciprocal() -> None:
    A, γ = THREE.generator(), THREE.capacities()
    flows = γ[:, None] * A  # heat between stores per kelvin
    assert float(flows[0, 1]) == pytest.approx(float(flows[1, 0]), rel=1e-14)
    assert float(flows[1, 2]) == pytest.approx(float(flows[2, 1]), rel=1e-14)


@ROOMS
def test_modes_are_those_of_the_generator(room: Stores) -> None:
    λ, w = room.modes()
    truth = np.sort(-np.linalg.eigvals(room.generator().numpy()).real)
    np.testing.assert_allclose(λ.numpy(), truth, rtol=1e-12)
    for t in (0.0, 0.4, 7.0):
        Φ, _ = room.step(t)
        assert float((w * (-λ * t).exp()).sum()) == pytest.approx(float(Φ[0, 0]), rel=1e-12)


# --- what no parameters can break ---


@settings(max_examples=150, deadline=None)
@given(room=rooms(), step_hours=st.floats(0.01, 24))
def test_signs_and_passivity(room: Stores, step_hours: float) -> None:
    A = room.generator()
    off = A - torch.diag(torch.diagonal(A))
    assert (off >= 0).all()
    assert (A.sum(-1) <= 1e-12 * A.abs().sum(-1)).all()
    Φ, Γ = room.step(step_hours)
    tiny = 1e-14 + 1e-15 * step_hours * float(torch.cat([A, room.inputs()], dim=-1).abs().sum(-1).max())  # rounding
    assert Φ.min() >= -tiny
    assert (Φ.sum(-1) <= 1 + tiny).all()  # errors of the start never grow
    toward_heat = Γ * (vector(*[1.0] * (Γ.shape[-1] - 1), float(room.sign)))
    assert (toward_heat >= -tiny * Γ.abs().max()).all()
    later = Φ @ Φ @ toward_heat  # nor at a later step
    assert (later >= -tiny * Γ.abs().max()).all()


@settings(max_examples=60, deadline=None)
@given(room=rooms(), step_hours=st.floats(0.01, 24), seed=st.integers(0, 2**31))
def test_stored_energy_never_grows_by_itself(room: Stores, step_hours: float, seed: int) -> None:
    """V = ½ Σ C_j T_j² around an outdoor temperature of zero, for rooms whose masses are finite."""
    γ = room.capacities()
    if not bool((torch.isfinite(γ) & (γ > 0)).all()):
        return
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=room.count))
    after = room.step(step_hours)[0] @ x
    assert float((γ * after**2).sum()) <= float((γ * x**2).sum()) * (1 + 1e-9)


# --- limits ---


def test_a_tight_link_makes_one_store() -> None:
    γ = 20.0
    tight = Stores.from_rates(ko=0.3, km=1e5, kr=1e5 / γ, kmo=0.02, gain=15.0)
    both = Stores.from_rates(ko=(0.3 + γ * 0.02) / (1 + γ), gain=15.0 / (1 + γ))
    Φ, Γ = tight.step(0.5)
    a, b = both.step(0.5)
    at = torch.tensor([1.0, γ], dtype=torch.float64) / (1 + γ)
    np.testing.assert_allclose((Φ @ torch.ones(2, dtype=torch.float64)).numpy(), np.full(2, a.item()), atol=1e-5)
    assert float(at @ Φ[:, 0]) == pytest.approx(a.item() / (1 + γ), abs=1e-5)
    np.testing.assert_allclose(Γ[:, 3].numpy(), np.full(2, b[0, 2].item()), atol=2e-4)


def test_without_a_link_the_air_is_alone() -> None:
    loose = Stores.from_rates(ko=0.4, km=0.0, kr=0.0, kmo=0.02, gain=15.0)
    torch.testing.assert_close(loose.step(0.5)[0][0, 0], ONE.step(0.5)[0][0, 0], rtol=1e-14, atol=0)
    assert loose.step(0.5)[0][0, 1] == 0


def test_an_infinite_mass_is_a_constant_temperature() -> None:
    heavy = Stores.from_rates(ko=0.3, km=2.0, kr=0.0, kmo=0.0, gain=15.0)
    Φ, _ = heavy.step(0.5)
    a = math.exp(-2.3 * 0.5)
    np.testing.assert_allclose(Φ.numpy(), np.array([[a, (1 - a) * 2.0 / 2.3], [0, 1]]), rtol=1e-13, atol=1e-16)


def test_two_stores_are_three_without_the_deep_one() -> None:
    three = Stores(TWO.ko, TWO.km, TWO.kr, TWO.kmo, vector(0.0)[0], vector(0.1)[0], TWO.gain)
    for found, wanted in zip(three.step(0.5), TWO.step(0.5), strict=True):
        torch.testing.assert_close(found[:2, : wanted.shape[1]], wanted, rtol=1e-13, atol=1e-16)


def test_a_short_step_is_eulers() -> None:
    Φ, Γ = THREE.step(1e-7)
    torch.testing.assert_close((Φ - torch.eye(3)) / 1e-7, THREE.generator(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(Γ / 1e-7, THREE.inputs(), rtol=1e-5, atol=1e-6)


# --- zero-order hold and rollout ---


def test_singular_systems_integrate() -> None:
    A = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    Φ, Γ = zero_order_hold(A, torch.tensor([[0.0], [1.0]], dtype=torch.float64), 2.0)
    assert Φ.tolist() == [[1, 2], [0, 1]]
    assert Γ.tolist() == [[2], [2]]


def test_hold_is_differentiable_and_batched() -> None:
    def step(rates: Tensor) -> Tensor:
        Φ, Γ = Stores(*rates).step(0.5)
        return torch.cat([Φ, Γ], dim=-1)

    rates = torch.tensor([[0.3, 0.5], [2.0, 1.0], [0.05, 0.1], [0.02, 0.01], [0.1, 0.2], [0.01, 0.02], [15.0, 9.0]])
    rates = rates.to(torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(step, (rates,))
    for u in range(2):
        torch.testing.assert_close(step(rates)[u], step(rates[:, u]), rtol=1e-13, atol=1e-15)


def test_rollout_is_the_recurrence() -> None:
    Φ, Γ = TWO.step(0.5)
    u = torch.from_numpy(np.random.default_rng(0).uniform(size=(2, 5, 4)))
    states = rollout(Φ, Γ, vector(25.0, 26.0), u)
    assert states.shape == (2, 5, 2)
    for b in range(2):
        x = vector(25.0, 26.0)
        for k in range(5):
            x = Φ @ x + Γ @ u[b, k]
            torch.testing.assert_close(states[b, k], x, rtol=1e-13, atol=0)


# --- physical quantities ---


def test_resistances_and_back() -> None:
    given_ = {
        "air_capacity": 0.2, "air_to_outdoor": 8.0, "mass_capacity": 4.0, "air_to_mass": 1.5, "mass_to_outdoor": 20.0,
        "deep_capacity": 10.0, "mass_to_deep": 3.0,
    }  # fmt: skip
    room = Stores.from_resistances(**given_, cop=3.2)  # type: ignore[arg-type]
    assert float(room.ko) == pytest.approx(1 / (8.0 * 0.2), rel=1e-14)
    assert float(room.plug) == pytest.approx(3.2 / 0.2, rel=1e-14)
    found = room.resistances(3.2)._asdict()
    assert {name: float(x) for name, x in found.items()} == pytest.approx(given_, rel=1e-13)
    np.testing.assert_allclose(room.capacities().numpy(), [1, 20, 50], rtol=1e-13)


def test_resistances_without_a_path_and_fewer_stores() -> None:
    room = Stores.from_resistances(air_capacity=0.2, air_to_outdoor=8.0, cop=3.0, mass_capacity=4.0, air_to_mass=1.5)
    assert room.count == 2
    assert room.kmo is not None
    assert float(room.kmo) == 0.0
    assert room.resistances(3.0).deep_capacity is None
    assert Stores.from_resistances(air_capacity=0.2, air_to_outdoor=8.0, cop=3.0).count == 1


def test_without_a_cop_the_room_says_what_it_cannot_know() -> None:
    with pytest.raises(DataError, match=r"not identifiable .* COP alone"):
        TWO.resistances()


# --- bad input ---


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"ko": -0.1}, r"ko \(air to outdoor\) is -0.1"),
        ({"ko": math.nan}, "ko .* is nan"),
        ({"ko": 0.1, "gain": math.inf}, "gain .* is inf"),
        ({"ko": 0.1, "km": 1.0}, "only km came"),
        ({"ko": 0.1, "k2": 1.0, "kr2": 1.0}, "without km, kr and kmo"),
        ({"ko": 0.1, "km": 1.0, "kr": 1.0, "kmo": 0.0, "k2": 1.0}, "only k2 came"),
    ],
)
def test_rates_that_no_room_has(rates: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Stores.from_rates(**rates)  # type: ignore[arg-type]


def test_other_refusals() -> None:
    with pytest.raises(DataError, match="float32"):
        Stores(torch.tensor(0.1))
    with pytest.raises(DataError, match="don't broadcast"):
        Stores(vector(0.1, 0.2), gain=vector(1.0, 2.0, 3.0))
    with pytest.raises(DataError, match="mode is 'off'"):
        Stores.from_rates(ko=0.1, mode="off")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="have no gain"):
        Stores.from_rates(ko=0.1).inputs()
    with pytest.raises(DataError, match="air_capacity is 0"):
        Stores.from_resistances(air_capacity=0.0, air_to_outdoor=1.0, cop=3.0)
    with pytest.raises(DataError, match="belong together"):
        Stores.from_resistances(air_capacity=1.0, air_to_outdoor=1.0, cop=3.0, mass_capacity=2.0)
    with pytest.raises(DataError, match="mass_to_outdoor came without mass_capacity"):
        Stores.from_resistances(air_capacity=1.0, air_to_outdoor=1.0, cop=3.0, mass_to_outdoor=5.0)
    with pytest.raises(DataError, match="cop is -1"):
        TWO.resistances(-1.0)
    with pytest.raises(DataError, match="step_hours is -1"):
        TWO.step(-1.0)
    with pytest.raises(DataError, match="they must be"):
        zero_order_hold(torch.zeros(2, 3), torch.zeros(2, 1), 1.0)
    with pytest.raises(DataError, match="dtypes"):
        zero_order_hold(torch.zeros(2, 2), torch.zeros(2, 1, dtype=torch.float64), 1.0)
    with pytest.raises(DataError, match="they must be"):
        rollout(*TWO.step(1.0), vector(25.0), torch.zeros(3, 4, dtype=torch.float64))


@ROOMS
def test_charging_is_the_step_by_power_towards_charge(room: Stores) -> None:
    Φ, γ = room.charging(0.5)
    both, Γ = room.step(0.5)
    torch.testing.assert_close(Φ, both, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(γ, -Γ[:, -1], rtol=1e-12, atol=1e-15)
    assert (γ >= 0).all()
