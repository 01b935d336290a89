"""The example of adaptive metrology: what it measures, what its plans are, and its claim."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples"))

example = importlib.import_module("design_metrology")


def test_flatness_is_what_a_plane_leaves_from_peak_to_valley() -> None:
    faces = example.blocks(1)
    assert faces.height.shape == (3, faces.places.sizes["place"])
    x, y = faces.places["x"].to_numpy(), faces.places["y"].to_numpy()
    tilted = faces.height + 5.0 + 0.3 * x - 0.2 * y
    np.testing.assert_allclose(faces.flatness(tilted), faces.flatness(faces.height), rtol=1e-8)
    bump = np.zeros(len(x))
    bump[7] = 1.0
    A = np.stack([np.ones_like(x), x, y], axis=1)
    rest = bump - A @ np.linalg.lstsq(A, bump, rcond=None)[0]
    assert faces.flatness(bump) == pytest.approx(np.ptp(rest))


@pytest.mark.parametrize("how", ["grid", "spread", "random"])
def test_plans_have_about_as_many_different_places_as_they_say(how: str) -> None:
    faces = example.blocks(0)
    for places in (12, 44, 80):
        found = example.design(faces, how, places, np.random.default_rng(0))
        assert len(set(found.tolist())) == len(found)
        assert 0.6 * places < len(found) < 1.25 * places


def test_readings_are_the_truth_and_the_gauges_noise() -> None:
    faces = example.blocks(0)
    block, place = np.zeros(4000, dtype=np.int64), np.full(4000, 5)
    rows = faces.read(block, place, ["cheap", "precise"] * 2000, np.random.default_rng(0))
    off = rows["height"].to_numpy() - faces.height[0, 5]
    assert off[::2].std() == pytest.approx(2.0, rel=0.1)
    assert off[1::2].std() == pytest.approx(0.3, rel=0.1)


def test_a_campaign_has_reached_its_target_when_it_stays_there() -> None:
    path = pd.DataFrame({"cost": [3.0, 1.0, 2.0, 4.0], "error": [0.9, 0.5, 1.5, 0.8]})
    assert example.reached(path) == 3.0
    assert example.reached(path.assign(error=0.1)) == 1.0
    assert example.reached(path.assign(error=2.0)) == float("inf")


@pytest.mark.slow
def test_adaptive_campaigns_cost_less_than_the_best_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "OUTPUT", tmp_path)
    found = example.main(["--seeds", "3"])
    assert found["share"] <= 0.9
    assert found["best plan"] > found["adaptive"] > 48
    assert (tmp_path / "design_metrology.png").stat().st_size > 50_000
    assert set(pd.read_csv(tmp_path / "design_metrology.csv")["seed"]) == {0, 1, 2}
