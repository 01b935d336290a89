"""The protocol judges what it says it judges."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from surrogates.battery import protocol
from surrogates.battery.records import Records
from surrogates.errors import DataError

Floats = NDArray[np.float64]


def records(units: int = 2, steps: int = 2000) -> Records:
    """Noise in place of every reading."""
    draw = np.random.default_rng(0)
    shape = (units, steps)
    return Records(
        unit=tuple(f"room {k}" for k in range(units)),
        time=np.datetime64("2025-06-01T00:15", "ns") + np.arange(steps) * np.timedelta64(15, "m"),
        step_hours=0.25,
        power=draw.random(shape),
        indoor=24 + draw.normal(size=shape),
        outdoor=draw.normal(size=shape),
        irradiance=draw.random((*shape, 5)),
        humidity=draw.random(shape),
        set_point=np.full(shape, np.nan),
        rated_power=np.ones(units),
        is_known=np.ones(shape, dtype=bool),
    )


def test_splits_of_a_summer() -> None:
    found = protocol.splits(11712)
    assert [(s.share, s.last) for s in found] == [
        *[(share, last) for share in (0.02, 0.06) for last in (8198, 6442, 4685)],
        *[(0.20, 8198), (0.20, 5856), (0.70, 8198)],
    ]
    assert [s.last - s.first for s in found] == [234] * 3 + [703] * 3 + [2342] * 2 + [8198]
    for s in found:
        assert s.starts[0] == 9370
        assert set(np.diff(s.starts)) == {37}
        assert s.starts[-1] + s.horizon < 11712 <= s.starts[-1] + s.horizon + 37
    assert len(set(found[0].starts % 96)) == len(found[0].starts)  # every start at another time of the day
    assert protocol.population_rows(records(steps=1000)).steps == 700


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(DataError, match="last 20% of 400 steps are too short for a horizon of 96"):
        protocol.splits(400)
    with pytest.raises(DataError, match=r"share 0\.3 has no windows"):
        protocol.splits(11712, shares=(0.3,))


def test_judging_by_hand() -> None:
    """Missing temperatures don't count, nor does anything after unknown power in the same window."""
    data = records()
    indoor, known = data.indoor.copy(), data.is_known.copy()
    indoor[0, 103], known[1, 203] = np.nan, False
    starts = np.array([100, 200])
    forecast = np.zeros((2, 2, 5))
    found = protocol.judge(forecast, replace(data, indoor=indoor, is_known=known), starts)
    first = [*indoor[0, [101, 102, 104, 105]], *indoor[0, 201:206]]
    second = [*indoor[1, 101:106], *indoor[1, 201:203]]
    np.testing.assert_allclose(found, [np.sqrt(np.mean(np.square(x))) for x in (first, second)])
    blind = replace(data, indoor=np.full_like(indoor, np.nan))
    assert np.isnan(protocol.judge(forecast, blind, starts)).all()


def test_pairs_by_hand() -> None:
    a, b = np.array([1.0, 2.0, 4.0, np.nan]), np.array([0.5, 1.0, 4.5, 1.0])
    found = protocol.paired(a, b)
    gaps = np.array([0.5, 1.0, -0.5])
    assert found.difference == pytest.approx(1 / 3)
    assert found.standard_error == pytest.approx(np.sqrt(((gaps - 1 / 3) ** 2).sum() / 2 / 3))
    assert found.share_lower == pytest.approx(2 / 3)
    with pytest.raises(DataError, match="1 units have both figures"):
        protocol.paired(a[2:], b[2:])


def test_the_table_holds_means_and_medians() -> None:
    scores = {"one": {0.02: np.array([1.0, 2.0, 6.0]), 0.7: np.array([1.0, np.nan, 3.0])}}
    table = protocol.table(scores)
    assert table.loc["one"].to_dict() == {
        ("2%", "mean"): 3.0,
        ("2%", "median"): 2.0,
        ("70%", "mean"): 2.0,
        ("70%", "median"): 2.0,
    }


class Impulse:
    """Each kWh lowers the temperature by `effect` K for good; the past must be that of the base run."""

    def __init__(self, base: Records, effect: float) -> None:
        self.base, self.effect = base, effect

    def forecast(self, records: Records, starts: NDArray[np.int64], horizon: int) -> Floats:
        for start in starts:
            np.testing.assert_array_equal(records.power[:, : start + 1], self.base.power[:, : start + 1])
            np.testing.assert_array_equal(records.indoor[:, : start + 1], self.base.indoor[:, : start + 1])
        ahead = starts[:, None] + np.arange(1, horizon + 1)
        change: Floats = -self.effect * np.cumsum(records.power[:, ahead], axis=2)
        return change + records.indoor[:, starts, None]


def test_responses_are_compared_event_by_event_with_the_twin() -> None:
    base = records()
    extra = np.zeros_like(base.power)
    events = np.array([300, 900])
    for event in events:
        extra[:, event + 1 : event + 17] = [[0.3], [0.1]]
    fall = np.zeros_like(extra)
    for event in events:
        fall[:, event + 1 : event + 17] = -0.5 * np.cumsum(extra[:, event + 1 : event + 17], axis=1)
    twin = replace(base, power=base.power + extra, indoor=base.indoor + fall)
    right = protocol.response_share(Impulse(base, 0.5), base, twin, events)
    np.testing.assert_allclose(right.share, 1.0)
    np.testing.assert_allclose(right.error, 0.0, atol=1e-12)
    weak = protocol.response_share(Impulse(base, 0.4), base, twin, events)
    np.testing.assert_allclose(weak.share, 0.8)
    np.testing.assert_allclose(weak.error, 0.2 * np.sqrt((fall[:, 301:317] ** 2).mean(axis=1)))
    with pytest.raises(DataError, match="base has 2 units over 2000 steps, twin 1 over 2000"):
        protocol.response_share(Impulse(base, 0.5), base, twin.of(np.array([0])), events)
