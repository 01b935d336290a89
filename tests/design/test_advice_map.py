"""Advice for maps against brute force: the model is really updated, and its variance taken again."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from advised import ALL, COSTS, FIDELITIES, candidates, fitted, mean_variance, read, reference

from surrogates.design import Map, advise

AT = reference()


@pytest.mark.parametrize("name", [*ALL, *FIDELITIES])
def test_the_gain_is_what_update_takes_off_the_mean_variance(name: str) -> None:
    model, asked = fitted(name), candidates()
    before = mean_variance(model, AT)
    for k in range(asked.sizes["candidate"]):
        row = asked.isel(candidate=[k])
        advice = advise(model, costs=COSTS, goal=Map(reference=AT), candidates=row)
        wanted = before - mean_variance(read(model, row), AT)
        assert advice["gain"].item() == pytest.approx(wanted, rel=1e-7, abs=1e-8 * before)
        assert advice["expected"].item() == pytest.approx(before - wanted, rel=1e-8)
        assert advice["gain_per_cost"].item() == pytest.approx(wanted / COSTS[row["gauge"].item()], rel=1e-7, abs=1e-8)


def test_with_one_draw_that_is_the_variance_that_predict_gives() -> None:
    model, row = fitted("one draw"), candidates().isel(candidate=[2])
    question = xr.concat([AT.assign(part=part, gauge="fine") for part in "ab"], "which")
    wanted = float((model.predict(question)["std"] ** 2 - read(model, row).predict(question)["std"] ** 2).mean())
    gain = advise(model, costs=1.0, goal=Map(reference=AT), candidates=row)["gain"].item()
    assert gain == pytest.approx(wanted, rel=1e-8)


def test_tasks_count_as_much_as_they_are_told_to() -> None:
    model, row = fitted("many draws"), candidates().isel(candidate=[0])
    shares = {"a": 0.75, "b": 0.25}
    wanted = mean_variance(model, AT, shares) - mean_variance(read(model, row), AT, shares)
    found = advise(model, costs=1.0, goal=Map(tasks={"a": 3.0, "b": 1.0}, reference=AT), candidates=row)
    assert found["gain"].item() == pytest.approx(wanted, rel=1e-8)
    only = mean_variance(model, AT, {"b": 1.0}) - mean_variance(read(model, row), AT, {"b": 1.0})
    found = advise(model, costs=1.0, goal=Map(tasks=["b"], reference=AT), candidates=row)
    assert found["gain"].item() == pytest.approx(only, rel=1e-8)
    named = xr.concat([AT.assign(part="b"), AT.assign(part="a")], "which")
    named["part"] = named["part"].expand_dims(place=AT.sizes["place"])
    found = advise(model, costs=1.0, goal=Map(tasks=["b"], reference=named), candidates=row)
    assert found["gain"].item() == pytest.approx(only, rel=1e-8)


@pytest.mark.parametrize("name", ["many draws", "known noise", "noisy several", "exact"])
def test_a_batch_is_greedy_brute_force(name: str) -> None:
    model, asked = fitted(name), candidates(8)
    advice = advise(model, costs=COSTS, goal=Map(reference=AT), candidates=asked, count=3)
    rates = [COSTS[gauge] for gauge in asked["gauge"].to_numpy()]
    current = model
    for step in range(3):
        before = mean_variance(current, AT)
        gains = [before - mean_variance(read(current, asked.isel(candidate=[k])), AT) for k in range(8)]
        best = int(np.argmax(np.array(gains) / rates))
        assert advice["x"][step].item() == asked["x"][best].item()
        assert advice["gain"][step].item() == pytest.approx(gains[best], rel=1e-6, abs=1e-9 * before)
        current = read(current, asked.isel(candidate=[best]))
        assert advice["expected"][step].item() == pytest.approx(mean_variance(current, AT), rel=1e-7)


def test_pending_experiments_count_as_read() -> None:
    model, asked = fitted("many draws"), candidates(6)
    pending, rest = asked.isel(candidate=slice(0, 3)), asked.isel(candidate=slice(3, 6))
    given = advise(model, costs=COSTS, goal=Map(reference=AT), candidates=rest, pending=pending)
    after = advise(read(model, pending), costs=COSTS, goal=Map(reference=AT), candidates=rest)
    xr.testing.assert_allclose(given, after, rtol=1e-8)


@pytest.mark.parametrize("name", ["many draws", "noisy autoregressive"])
def test_the_batch_without_a_table_is_that_of_its_own_places(name: str) -> None:
    """Places that were moved are conditioned on like all others: gains say what updating really does."""
    model = fitted(name)
    advice = advise(model, costs=COSTS, goal=Map(reference=AT), count=3, candidates=16)
    current = model
    for step in range(3):
        row = advice[["x", "v", "part", "gauge"]].isel(suggestion=[step])
        before = mean_variance(current, AT)
        current = read(current, row)
        assert advice["gain"][step].item() == pytest.approx(before - mean_variance(current, AT), rel=1e-7)
