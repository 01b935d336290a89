from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.physics.virtual_battery import (
    Mode,
    Stores,
    Transfer,
    from_transfer,
    identifiability,
    recover,
    rollout,
    transfer_of,
)

Floats = NDArray[np.float64]
NAMES = ("ko", "km", "kr", "kmo", "k2", "kr2", "gain")
ONE = Stores.from_rates(ko=0.4, gain=15.0)
TWO = Stores.from_rates(ko=0.3, km=2.4, kr=0.05, kmo=0.02, gain=18.0)
THREE = Stores.from_rates(ko=0.3, km=2.4, kr=0.1, kmo=0.02, k2=0.05, kr2=0.01, gain=18.0)
ROOMS = pytest.mark.parametrize("room", [ONE, TWO, THREE], ids=["one", "two", "three"])


def apart(found: Stores, truth: Stores) -> float:
    """Largest relative difference of rates and gain."""
    pairs = [(getattr(found, name), getattr(truth, name)) for name in NAMES]
    return max(abs(float(a) / float(b) - 1) for a, b in pairs if a is not None and b is not None)


def readings(room: Stores, *, steps: int = 500, seed: int = 0, power: float = 1.0) -> tuple[Floats, Floats, Floats]:
    """Noise-free temperature, power and outdoor temperature at 15 min."""
    rng = np.random.default_rng(seed)
    u = np.zeros((steps, len(room.input_names)))
    u[:, 0], u[:, -1] = 28 + 5 * rng.normal(size=steps), power * rng.uniform(0, 2, steps)
    start = torch.full((room.count,), 25.0, dtype=torch.float64)
    T = rollout(*room.step(0.25), start, torch.from_numpy(u))[:, 0].numpy()
    return T, u[:, -1], u[:, 0]


# --- what can be known ---


@ROOMS
@pytest.mark.parametrize("has_sun", [False, True])
def test_physical_parameters_have_exactly_one_null_direction(room: Stores, has_sun: bool) -> None:
    apertures = (2e-3, 1e-3)[: room.count] if has_sun else ()
    known = identifiability(room, apertures=apertures)
    assert len(known.names) == len(known.singular_values) == {1: 3, 2: 6, 3: 8}[room.count] + len(apertures)
    assert len(known.null) == 1
    assert known.singular_values[-1] < 1e-12 * known.singular_values[0]
    assert known.singular_values[-2] > 1e-3 * known.singular_values[0]
    # capacities, conductances, COP and apertures scaled together
    np.testing.assert_allclose(np.abs(known.null[0]), 1 / np.sqrt(len(known.names)), rtol=1e-9)
    assert not known.is_identifiable({"cop": 1})
    assert not known.is_identifiable({"air_capacity": 1})
    assert known.is_identifiable({"cop": 1, "air_capacity": -1})
    assert known.is_identifiable({"1/air_to_outdoor": 1, "air_capacity": -1})
    assert known.is_identifiable({"cop": 1, "1/air_to_outdoor": -1})  # R η


@ROOMS
def test_rates_and_gain_have_none(room: Stores) -> None:
    known = identifiability(room, parameters="rates", apertures=(2e-3, 1e-3)[: min(room.count, 2)])
    assert len(known.null) == 0
    assert all(known.is_identifiable({name: 1}) for name in known.names)


def test_scaling_along_the_null_direction_changes_nothing() -> None:
    """By another road: the room built from scaled quantities is the same room."""
    a, b = (
        Stores.from_resistances(
            air_capacity=0.2 * c, mass_capacity=4.0 * c, air_to_outdoor=8.0 / c, air_to_mass=1.5 / c,
            mass_to_outdoor=20.0 / c, cop=3.0 * c,
        )
        for c in (1.0, 2.0)
    )  # fmt: skip
    assert apart(a, b) < 1e-14


def test_inputs_that_do_not_move_tell_nothing() -> None:
    no_power = identifiability(TWO, parameters="rates", moving=("outdoor",))
    assert not no_power.is_identifiable({"gain": 1})
    # the outdoors alone: ko and kmo stay, since the air's answer to them still has two poles and a zero
    only_power = identifiability(ONE, parameters="rates", moving=("power",))
    assert len(only_power.null) == 0
    no_outdoor = identifiability(TWO, parameters="rates", moving=("power",))
    assert not no_outdoor.is_identifiable({"ko": 1})  # only ko + km is
    assert no_outdoor.is_identifiable({"gain": 1})


def test_paths_that_do_not_exist_are_left_out() -> None:
    room = Stores.from_rates(ko=0.3, km=2.0, kr=0.05, kmo=0.0, gain=18.0)
    assert "kmo" not in identifiability(room, parameters="rates").names
    assert len(identifiability(room).null) == 1
    closed = identifiability(Stores.from_rates(ko=0.0, gain=18.0))  # T/P = b/p at all frequencies
    assert closed.names == ("cop", "air_capacity")
    assert closed.is_identifiable({"cop": 1, "air_capacity": -1})
    assert not closed.is_identifiable({"cop": 1})
    assert closed.is_identifiable({})  # the number one


# --- reading it off ---


@ROOMS
@pytest.mark.parametrize("mode", ["cooling", "heating"])
def test_transfer_functions_are_those_of_the_state_equations(room: Stores, mode: Mode) -> None:
    room = Stores(room.ko, room.km, room.kr, room.kmo, room.k2, room.kr2, room.gain, mode=mode)
    transfer = transfer_of(room)
    A, B = room.generator().numpy(), room.inputs().numpy()
    for p in (0.0, 0.7, 2.0j):
        answers = np.linalg.solve(p * np.eye(room.count) - A, B)[0]
        Δ = np.polyval(transfer.denominator, p)
        assert np.polyval(transfer.power, p) / Δ == pytest.approx(answers[-1], rel=1e-11)
        assert np.polyval(transfer.outdoor, p) / Δ == pytest.approx(answers[0], rel=1e-11)
    assert transfer.outdoor[-1] == pytest.approx(transfer.denominator[-1], rel=1e-9)  # steady state is the outdoors'
    back = from_transfer(transfer)
    assert back.mode == mode
    assert apart(back, room) < 1e-8


@settings(max_examples=60, deadline=None)
@given(
    ko=st.floats(0.05, 1),
    km=st.floats(0.5, 6),
    kr=st.floats(0.02, 0.4),
    kmo=st.floats(0.002, 0.1),
    gain=st.floats(2, 50),
)
def test_two_stores_come_back_from_their_transfer_functions(
    ko: float, km: float, kr: float, kmo: float, gain: float
) -> None:
    room = Stores.from_rates(ko=ko, km=km, kr=kr, kmo=kmo, gain=gain)
    assert apart(from_transfer(transfer_of(room)), room) < 1e-8


@ROOMS
def test_noise_free_readings_give_the_room(room: Stores) -> None:
    T, power, outdoor = readings(room)
    found = recover(T, power, outdoor, step_hours=0.25, count=room.count)
    assert apart(found, room) < (1e-5 if room.count == 3 else 1e-9)


def test_readings_stamped_one_step_late_do_not() -> None:
    """The interval that ends at a stamp belongs to that stamp's temperature."""
    T, power, outdoor = readings(TWO)
    try:
        found = recover(T[:-1], power[1:], outdoor[1:], step_hours=0.25)
    except DataError:
        return
    assert apart(found, TWO) > 0.1


def test_watts_for_kilowatts_show_in_the_gain() -> None:
    T, power, outdoor = readings(TWO)
    found = recover(T, 1000 * power, outdoor, step_hours=0.25)
    assert float(found.plug) == pytest.approx(0.018, rel=1e-8)


# --- refusals ---


def test_rooms_that_cannot_be_told() -> None:
    T, power, outdoor = readings(TWO, power=0.0)
    with pytest.raises(DataError, match="don't move enough"):
        recover(T, power, outdoor, step_hours=0.25)
    with pytest.raises(DataError, match="don't move enough"):
        recover(T, power, np.full_like(outdoor, 30.0) * 0, step_hours=0.25)
    unlinked = Stores.from_rates(ko=0.3, km=0.0, kr=0.05, kmo=0.02, gain=18.0)
    with pytest.raises(DataError, match=r"km comes out as .* doesn't touch the air"):
        from_transfer(transfer_of(unlinked))
    dead = Stores.from_rates(ko=0.3, km=2.0, kr=0.05, kmo=0.02, gain=0.0)
    with pytest.raises(DataError, match="power doesn't move the air"):
        from_transfer(transfer_of(dead))
    no_deep = Stores.from_rates(ko=0.3, km=2.0, kr=0.05, kmo=0.02, k2=0.0, kr2=0.1, gain=18.0)
    with pytest.raises(DataError, match="deep mass"):
        from_transfer(transfer_of(no_deep))


@pytest.mark.parametrize("which", ["shape", "nan", "step"])
def test_readings_that_cannot_be_used(which: Literal["shape", "nan", "step"]) -> None:
    T, power, outdoor = readings(TWO, steps=60)
    step_hours = 0.25
    if which == "shape":
        power = power[1:]
    elif which == "nan":
        T = np.where(np.arange(60) == 7, np.nan, T)
    else:
        step_hours = 0.0
    with pytest.raises(DataError, match="aren't finite" if which == "nan" else "alike"):
        recover(T, power, outdoor, step_hours=step_hours)


def test_other_refusals() -> None:
    many = Stores.from_rates(ko=0.3, gain=torch.tensor([1.0, 2.0]))
    with pytest.raises(DataError, match="batch"):
        identifiability(many)
    with pytest.raises(DataError, match="batch"):
        transfer_of(many)
    with pytest.raises(DataError, match="1 apertures"):
        identifiability(TWO, apertures=(1.0,))
    with pytest.raises(DataError, match="parameters is 'rate'; it must be 'rates' or 'physical'"):
        identifiability(TWO, parameters="rate")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="moving names 'wind'"):
        identifiability(TWO, moving=("wind",))
    with pytest.raises(DataError, match="no input moves"):
        identifiability(TWO, moving=())
    with pytest.raises(DataError, match="'colour'"):
        identifiability(TWO).is_identifiable({"colour": 1})
    with pytest.raises(DataError, match="coefficients"):
        from_transfer(Transfer(np.ones(2), np.ones(1), np.ones(3)))
