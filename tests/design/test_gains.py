"""Expected gains in closed form against Monte Carlo: readings are drawn, and beliefs follow by Gaussian conditioning."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from advised import COSTS, Floats, candidates, fitted, read, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from surrogates.design import LevelSet, Optimum, advise
from surrogates.design.gains import knowledge_gradient
from surrogates.gp.by_draw import ByDraw, Places, by_draw

AT = reference(9)
DRAWS = 20_000


def beliefs(name: str, row: xr.Dataset, parts: str) -> tuple[ByDraw, Places, Places]:
    """The model by draw, the reference at these parts, and the candidates."""
    model = by_draw(fitted(name))
    at = xr.concat([AT.assign(part=part, gauge="fine") for part in parts], "which")
    return model, model.places(at), model.places(row)


def after(model: ByDraw, k: int, at: Places, row: Places, seed: int) -> tuple[Floats, Floats]:
    """Means (DRAWS, R) and variances (R,) of f after readings at `row` are drawn, from the joint covariance."""
    everything = at.followed_by(row)
    mean, C = model.moments(k, everything).mean, model.cross_covariance(k, everything, everything)
    R = len(at.x)
    S = C[R:, R:] + np.diag(row.noise[k])
    L = np.linalg.cholesky(S)
    ξ = np.random.default_rng(seed).standard_normal((DRAWS, len(row.x)))
    gain = np.linalg.solve(S, C[R:, :R])  # (p, R)
    return mean[:R] + (ξ @ L.T) @ gain, np.diagonal(C)[:R] - np.einsum("pr,pr->r", C[R:, :R], gain)


def ambiguity(mean: Floats, variance: Floats, limit: float) -> Floats:
    p = ndtr((mean - limit) / np.sqrt(variance))
    return np.asarray(p * (1 - p))


@pytest.mark.parametrize("name", ["one draw", "many draws", "noisy coregional"])
@pytest.mark.parametrize("pending", [0, 2])
def test_level_set_gains_are_those_of_drawn_readings(name: str, pending: int) -> None:
    limit = 41.0 if "draw" in name else 0.5
    before = candidates(pending) if pending else None
    goal = LevelSet(limit, tasks=["a", "b"], reference=AT)
    # where something is to be gained, or the test couldn't fail
    advice = advise(fitted(name), costs=1.0, goal=goal, candidates=candidates(40, seed=1), pending=before)
    row = advice[["x", "v", "part", "gauge"]].rename(suggestion="candidate")
    asked = row if before is None else xr.concat([before, row], "candidate")
    model, at, places = beliefs(name, asked, "ab")
    gain = spread = 0.0
    for k, weight in enumerate(model.weights):
        # the same readings of the pending ones with and without the last
        drawn = ambiguity(*after(model, k, at, places, 1), limit).mean(axis=1)
        known = places.take(np.arange(pending))
        first = ambiguity(*after(model, k, at, known, 2), limit).mean(axis=1) if pending else None
        now = model.moments(k, at)
        start = first.mean() if first is not None else ambiguity(now.mean, now.variance, limit).mean()
        gain += weight * (start - drawn.mean())
        spread += weight * np.hypot(drawn.std(), 0 if first is None else first.std()) / np.sqrt(DRAWS)
    assert advice["gain"].item() == pytest.approx(gain, abs=5 * spread)
    assert 10 * spread < gain


@pytest.mark.parametrize("sense", ["minimise", "maximise"])
@pytest.mark.parametrize("name", ["one draw", "many draws", "noisy coregional"])
def test_the_knowledge_gradient_is_that_of_drawn_readings(name: str, sense: str) -> None:
    row = candidates(4).isel(candidate=[1, 3])
    goal = Optimum(sense, task="b", reference=AT)  # type: ignore[arg-type]
    model, at, places = beliefs(name, row, "b")
    sign = 1 if sense == "maximise" else -1
    for j in range(2):
        advice = advise(fitted(name), costs=1.0, goal=goal, candidates=row.isel(candidate=[j]))
        gain = spread = expected = 0.0
        for k, weight in enumerate(model.weights):
            best = (sign * after(model, k, at, places.take(np.array([j])), k)[0]).max(axis=1)
            now = (sign * model.moments(k, at).mean).max()
            gain += weight * (best.mean() - now)
            spread += weight * best.std() / np.sqrt(DRAWS)
            expected += weight * sign * best.mean()
        assert advice["gain"].item() == pytest.approx(gain, abs=5 * spread)
        assert advice["expected"].item() == pytest.approx(expected, abs=5 * spread)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_expected_largest_line_by_quadrature(seed: int, R: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=R).round(1), rng.normal(size=(R, m)).round(1)  # rounded: ties and parallel lines
    z = np.linspace(-9, 9, 20_001)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    largest = (a[:, None, None] + b[:, :, None] * z).max(axis=0)
    wanted = np.trapezoid(largest * density, z, axis=1) - a.max()
    np.testing.assert_allclose(knowledge_gradient(a, b), wanted, atol=1e-6)


def test_tiny_gains_keep_their_digits() -> None:
    """A difference of two large numbers would have lost them: f(-c) = φ(c)(1/c² - 3/c⁴ + ...) for large c."""
    c = 12.0
    found = knowledge_gradient(np.array([1000.0, 1000.0 - c]), np.array([[0.0], [1.0]]))[0]
    series = np.exp(-0.5 * c**2) / np.sqrt(2 * np.pi) * (1 / c**2 - 3 / c**4 + 15 / c**6 - 105 / c**8)
    assert found == pytest.approx(series, rel=1e-3)


def test_level_sets_are_learnt_near_the_limit_and_optima_near_the_best() -> None:
    model = fitted("one draw")
    at = xr.Dataset({"x": ("candidate", np.linspace(0, 4, 81)), "v": ("candidate", np.zeros(81))})
    named = at.assign(part="a", gauge="fine")
    mean = model.predict(named)["mean"].to_numpy()
    shared = {"costs": {("a", "fine"): 1.0}, "candidates": at}
    low = advise(model, goal=Optimum("minimise", task="a", reference=at), **shared)["x"].item()  # type: ignore[arg-type]
    high = advise(model, goal=Optimum("maximise", task="a", reference=at), **shared)["x"].item()  # type: ignore[arg-type]
    place = at["x"].to_numpy()
    assert mean[place == low] < np.median(mean) < mean[place == high]
    far = advise(model, goal=LevelSet(mean.max() + 100.0, tasks=["a"], reference=at), **shared)  # type: ignore[arg-type]
    assert far["gain"].item() == pytest.approx(0.0, abs=1e-12)


def test_batches_for_level_sets_hold_what_is_expected() -> None:
    """Each gain is what the expected measure falls by, until a reading is known: then it starts anew from there."""
    goal = LevelSet(41.0, reference=AT)
    model = fitted("one draw")
    batch = advise(model, costs=COSTS, goal=goal, candidates=candidates(8), count=3)
    start = batch["expected"][0].item() + batch["gain"][0].item()
    np.testing.assert_allclose(batch["expected"], start - np.cumsum(batch["gain"]), rtol=1e-10)
    alone = advise(model, costs=COSTS, goal=goal, candidates=batch[["x", "v", "part", "gauge"]].isel(suggestion=[1]))
    assert batch["gain"][1].item() != alone["gain"].item()
    known = read(model, batch.isel(suggestion=[0]))
    again = advise(known, costs=COSTS, goal=goal, candidates=batch[["x", "v", "part", "gauge"]].isel(suggestion=[1]))
    assert again["gain"].item() > 0
