"""The test of the stamps' meaning, against least squares by hand and data whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from small_rooms import AVERAGES, small_rooms

from surrogates.battery.intake import alignment, read
from surrogates.errors import DataError


def r2(y: np.ndarray, *columns: np.ndarray) -> tuple[float, float]:
    """Explained share of the variance, and the first coefficient after the constant."""
    X = np.stack([np.ones(len(y)), *columns], axis=1)
    found = np.linalg.lstsq(X, y, rcond=None)[0]
    return 1 - np.sum((y - X @ found) ** 2) / np.sum((y - y.mean()) ** 2), found[1]


def late(rooms: xr.Dataset) -> xr.Dataset:
    """The same rooms, with the starts of the intervals as stamps."""
    moved = rooms.copy()
    moved[AVERAGES] = rooms[AVERAGES].shift(time=-1)
    return moved.isel(time=slice(0, -1))


def test_the_regressions_are_least_squares() -> None:
    records = read(small_rooms())
    got = alignment(records)
    T, P, To = records.indoor[0], records.power[0], records.outdoor[0]
    change, apart = T[2:] - T[1:-1], -T[1:-1]
    for road, newer, older, outdoor in (("aligned", P[2:], P[1:-1], To[2:]), ("shifted", P[1:-1], P[:-2], To[1:-1])):
        whole, effect = r2(change, newer, older, outdoor + apart)
        without, _ = r2(change, older, outdoor + apart)
        np.testing.assert_allclose(got[f"r2_{road}"][0], whole, rtol=1e-8)
        np.testing.assert_allclose(got[f"effect_{road}"][0], effect, rtol=1e-7)
        np.testing.assert_allclose(got[f"gain_{road}"][0], -np.sign(effect) * (whole - without), atol=1e-9)
    assert (got["gain_aligned"] > 0.5).all()
    assert (got["gain_shifted"] < 0.1).all()
    assert (got["effect_aligned"] < 0).all()


def test_rows_that_were_not_measured_do_not_count() -> None:
    records = read(small_rooms())
    spoilt = replace(
        records, power=records.power.copy(), is_known=records.is_known.copy(), indoor=records.indoor.copy()
    )
    spoilt.power[:, 100:150] = 77.0
    spoilt.is_known[:, 100:150] = False
    spoilt.indoor[:, 300:310] = np.nan
    got = alignment(spoilt)
    keep = [k for k in range(2, 576) if not (100 <= k < 152 or 300 <= k < 311)]
    k = np.array(keep)
    T, P, To = records.indoor[1], records.power[1], records.outdoor[1]
    wanted, _ = r2(T[k] - T[k - 1], P[k], P[k - 1], To[k] - T[k - 1])
    np.testing.assert_allclose(got["r2_aligned"][1], wanted, rtol=1e-8)


def test_too_few_rows_and_a_power_that_never_changes_are_not_judged() -> None:
    records = read(small_rooms())
    assert np.isnan(alignment(records.during(0, 20))["r2_aligned"]).all()
    still = replace(records, power=np.stack([records.power[0], np.ones(576)]))
    assert np.isnan(alignment(still)["gain_aligned"].values).tolist() == [False, True]


@pytest.mark.parametrize("minutes", [5, 15, 30])
@pytest.mark.parametrize("seed", range(3))
def test_stamps_at_the_starts_of_the_intervals_are_found(minutes: int, seed: int) -> None:
    rooms = small_rooms(units=4, days=8, minutes=minutes, seed=seed)
    assert read(rooms).notes == ()
    with pytest.raises(DataError, match=r"in 4 of 4 units .* of the variance against"):
        read(late(rooms))


def test_random_power_without_a_thermostat() -> None:
    rooms = small_rooms(days=8)
    generator = np.random.default_rng(3)
    power = generator.uniform(0, 2, rooms["power"].shape)
    air = np.full(2, 26.0)
    for k in range(rooms.sizes["time"]):  # one store
        air = air + 0.25 * (0.8 * (rooms["outdoor_temperature"].values[k] - air) - 3.0 * (power[:, k] - 0.5))
        rooms["indoor_temperature"].values[:, k] = air
    rooms["power"].values[:] = power
    assert not any("starts" in note for note in read(rooms).notes)
    with pytest.raises(DataError, match="stamps of power and weather are the starts"):
        read(late(rooms))


def test_a_minority_is_named_in_a_note() -> None:
    rooms = small_rooms(units=3)
    rooms["power"].values[1, :-1] = rooms["power"].values[1, 1:]
    notes = read(rooms).notes
    assert any("better than its own in units 'room 1'" in note for note in notes)


def test_power_that_warms_is_told() -> None:
    rooms = small_rooms(units=3)
    rooms["indoor_temperature"].values[2] = 50 - rooms["indoor_temperature"].values[2]
    assert any("power warms units 'room 2'" in note for note in read(rooms).notes)
