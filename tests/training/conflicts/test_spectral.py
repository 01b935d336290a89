"""Robust spectral sharing on designs with known subspaces and known outliers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy import optimize

from surrogates.errors import DataError
from surrogates.training.conflicts import Sharing, robust_subspace, spectral_sharing


class Design(NamedTuple):
    X: list[np.ndarray]
    y: list[np.ndarray]
    B: np.ndarray  # (p, T) true coefficients
    A: np.ndarray  # (p, r) the inliers' subspace
    outlier: np.ndarray  # (T,) bool


def design(
    seed: int, share: float, kind: str = "dense", *, T: int = 80, p: int = 40, n: int = 80, r: int = 4
) -> Design:
    """Inliers A θ, θ ~ U(-2, 2); noise 1. Outliers: dense of the same length, in a plane of their own, or huge."""
    rng = np.random.default_rng(seed)
    A = np.linalg.qr(rng.standard_normal((p, r)))[0]
    B = A @ rng.uniform(-2, 2, (r, T))
    bad = np.arange(T) < round(share * T)
    m = int(bad.sum())
    if kind == "dense":
        D = rng.standard_normal((p, m))
        B[:, bad] = D * np.linalg.norm(B[:, bad], axis=0) / np.linalg.norm(D, axis=0)
    elif kind == "own":
        B[:, bad] = np.linalg.qr(rng.standard_normal((p, 3)))[0] @ rng.uniform(-2, 2, (3, m))
    else:
        B[:, bad] = rng.uniform(-3, 3, (p, m))
    X = [rng.standard_normal((n, p)) for _ in range(T)]
    return Design(X, [x @ b + rng.standard_normal(n) for x, b in zip(X, B.T, strict=True)], B, A, bad)


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(found - truth, axis=0)


def least_squares(given: Design) -> np.ndarray:
    return np.stack([np.linalg.lstsq(x, t, rcond=None)[0] for x, t in zip(given.X, given.y, strict=True)], 1)


@pytest.mark.parametrize(
    ("share", "kind", "most"),
    [
        (0.0, "dense", 0.45),  # of the error of ridge alone
        (0.5, "dense", 0.70),
        (0.5, "own", 0.70),
        (0.5, "huge", 0.72),
        (0.8, "own", 0.85),
        (0.8, "dense", 0.95),
        (0.8, "huge", 1.05),  # no gain, and 16 inliers: noise
    ],
)
def test_inliers_gain_and_nobody_pays_much(share: float, kind: str, most: float) -> None:
    given = design(1, share, kind)
    shared = spectral_sharing(given.X, given.y)
    ratio = errors(shared.weights, given.B) / errors(shared.alone, given.B)
    assert ratio[~given.outlier].mean() < most
    assert errors(shared.alone, given.B).mean() < errors(least_squares(given), given.B).mean()  # a fair comparison
    if share:
        assert ratio[given.outlier].mean() < 1.05


def test_unrelated_tasks_stay_alone_beyond_noise() -> None:
    for seed in range(3):
        given = design(seed, 1.0)
        shared = spectral_sharing(given.X, given.y)
        ratio = errors(shared.weights, given.B) / errors(shared.alone, given.B)
        assert ratio.mean() < 1.03
        assert (shared.ranks == 0).mean() > 0.5


def test_few_rows_gain_most() -> None:
    """Fewer rows than features: alone a task knows little, together they know the subspace."""
    given = design(0, 0.0, T=80, p=30, n=20, r=2)
    shared = spectral_sharing(given.X, given.y)
    assert errors(shared.weights, given.B).mean() < 0.6 * errors(shared.alone, given.B).mean()


def test_threshold_rank_and_the_predecessor_s_penalty() -> None:
    given = design(2, 0.0)
    shared = spectral_sharing(given.X, given.y, method="threshold")
    assert set(shared.ranks) == {4}
    assert shared.subspace.singular[3] > shared.subspace.cut > shared.subspace.singular[4]
    cosines = np.linalg.svd(shared.subspace.basis.T @ given.A)[1]
    assert cosines.min() > 0.97
    assert errors(shared.weights, given.B).mean() < 0.5 * errors(least_squares(given), given.B).mean()


def centred(x: np.ndarray) -> np.ndarray:
    return np.asarray(x - x.mean(0))


def objective_of(kind: str, shared: Sharing, given: Design, t: int, scale: np.ndarray) -> Callable[[np.ndarray], float]:
    """The penalised loss of task t as its definition says, in scaled features."""
    X, y = centred(given.X[t] / scale), centred(given.y[t])
    A = shared.subspace.basis[:, : shared.ranks[t]]
    centre = A @ np.linalg.lstsq(X @ A, y, rcond=None)[0]
    if kind == "cross-validation":
        λ = shared.penalties[t] * np.mean(np.linalg.eigvalsh(X.T @ X))
        return lambda β: float(np.sum((y - X @ β) ** 2) + λ * np.sum((β - centre) ** 2))
    n, p = X.shape
    λ = optimal_noise(given, scale) * 0.5 * np.sqrt(p + np.log(len(given.X))) / np.sqrt(n)
    return lambda β: float(np.sum((y - X @ β) ** 2) / (2 * n) + λ * np.linalg.norm(β - centre))


def optimal_noise(given: Design, scale: np.ndarray) -> float:
    """The tasks' mean residual deviation at the ridge of least generalised cross-validation error, by hat matrices."""
    found = []
    for X_, y_ in zip(given.X, given.y, strict=True):
        X, y = centred(X_ / scale), centred(y_)
        S, n = X.T @ X, len(y)
        unit, scores = np.mean(np.linalg.eigvalsh(S)), []
        for λ in 10.0 ** np.arange(-4, 2.51, 0.5):
            H = X @ np.linalg.solve(S + λ * unit * np.eye(len(S)), X.T)
            left, lost = n - 1 - np.trace(H), float(np.sum((y - H @ y) ** 2))
            scores.append((lost / left**2, np.sqrt(lost / left)))
        found.append(min(scores)[1])
    return float(np.mean(found))


@pytest.mark.parametrize("method", ["cross-validation", "threshold"])
def test_weights_minimise_the_objective_that_is_stated(method: Any) -> None:
    given = design(3, 0.3, T=12, p=6, n=30, r=2)
    shared = spectral_sharing(given.X, given.y, method=method, caution=0.0)
    scale = np.sqrt(np.mean(np.concatenate(given.X) ** 2, 0))
    inner = 0
    for t in range(12):
        if not shared.ranks[t] or np.isinf(shared.penalties[t]):
            continue
        inner += 1
        objective = objective_of(method, shared, given, t, scale)
        ours = shared.weights[:, t] * scale
        best = optimize.minimize(objective, ours + 0.1, method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(ours, best.x, atol=2e-5)
        assert objective(ours) <= objective(best.x) + 1e-9
    assert inner >= 3


def test_rank_zero_is_ridge_by_generalised_cross_validation() -> None:
    given = design(1, 1.0, T=12, p=6, n=30)
    shared = spectral_sharing(given.X, given.y)
    scale = np.sqrt(np.mean(np.concatenate(given.X) ** 2, 0))
    for t in np.flatnonzero(shared.ranks == 0):
        X, y = centred(given.X[t] / scale), centred(given.y[t])
        λ = shared.penalties[t] * np.mean(np.linalg.eigvalsh(X.T @ X))
        by_hand = np.linalg.solve(X.T @ X + λ * np.eye(6), X.T @ y) / scale
        np.testing.assert_allclose(shared.weights[:, t], by_hand, rtol=1e-8)
        np.testing.assert_array_equal(shared.weights[:, t], shared.alone[:, t])
    assert (shared.ranks == 0).any()


def test_predictions_follow_shifts_and_units_of_features_and_targets() -> None:
    given = design(4, 0.2, T=15, p=6, n=20, r=2)
    units, shift = np.array([1e3, 1e-3, 1.0, 10.0, 5.0, 0.1]), 3.0
    one = spectral_sharing(given.X, given.y)
    X = [x * units for x in given.X]
    two = spectral_sharing(X, [2 * t + 7 for t in given.y])
    np.testing.assert_allclose(two.weights * units[:, None], 2 * one.weights, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(two.intercepts, 2 * one.intercepts + 7, rtol=1e-6)
    order = np.random.default_rng(0).permutation(15)
    mixed = spectral_sharing([given.X[t] for t in order], [given.y[t] for t in order])
    np.testing.assert_allclose(mixed.weights, one.weights[:, order], rtol=1e-6, atol=1e-8)
    moved = spectral_sharing([x + shift for x in given.X], given.y)
    for t in range(15):  # the intercept takes it up: residuals have no mean
        assert np.mean(given.y[t] - (given.X[t] + shift) @ moved.weights[:, t]) == pytest.approx(moved.intercepts[t])


def test_subspace_from_exact_coefficients_and_huge_columns() -> None:
    rng = np.random.default_rng(0)
    A = np.linalg.qr(rng.standard_normal((30, 3)))[0]
    B = A @ rng.uniform(-2, 2, (3, 60))
    found = robust_subspace(B, 1e9, noise=1e-3)
    assert found.basis.shape == (30, 3)
    np.testing.assert_allclose(found.basis @ found.basis.T, A @ A.T, atol=1e-9)
    B[:, :20] = 1e6 * rng.standard_normal((30, 20))
    naive = np.linalg.svd(B)[0][:, :3]
    robust = robust_subspace(B, 1e9, rank=3).basis
    assert np.linalg.svd(naive.T @ A)[1].max() < 0.9
    assert np.linalg.svd(robust.T @ A)[1].min() > 0.9
    assert np.isnan(robust_subspace(B, 1.0, rank=3).cut)


def test_threshold_by_hand() -> None:
    B = np.diag([4.0, 4.0, 4.0])
    found = robust_subspace(B, 50.0, noise=2.0, quantile=0.5)
    assert found.radius == 4.0
    np.testing.assert_allclose(found.singular, 4 / np.sqrt(3))
    assert found.cut == pytest.approx(0.5 * 2 * np.sqrt((3 + np.log(3)) / 50) + 0.25 * 4 * 3**-0.75)


def test_degenerate_tasks_are_borne() -> None:
    """A constant target, features that are all zero, and a feature that never varies."""
    given = design(5, 0.0, T=10, p=5, n=12, r=1)
    given.y[0][:] = 3.0
    given.X[1][:] = 0.0
    for x in given.X:
        x[:, 4] = 0.0
    for method in ("cross-validation", "threshold"):
        shared = spectral_sharing(given.X, given.y, method=method)  # type: ignore[arg-type]
        assert np.isfinite(shared.weights).all()
        np.testing.assert_allclose(shared.weights[:, 0], 0, atol=1e-12)
        assert shared.intercepts[0] == pytest.approx(3.0)
        assert shared.intercepts[1] == pytest.approx(given.y[1].mean())
        np.testing.assert_allclose(shared.weights[4], 0, atol=1e-12)


ONES, LINE = np.ones((6, 2)), np.arange(6.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: spectral_sharing([ONES], [LINE]), "X has 1 tasks, y 1; wanted are two tasks or more, as many of both"),
        (
            lambda: spectral_sharing([ONES, ONES[:, :1]], [LINE, LINE]),
            r"X\[1\] has shape \(6, 1\), y\[1\] \(6,\); wanted",
        ),
        (
            lambda: spectral_sharing([ONES, ONES[:4]], [LINE, LINE[:4]]),
            "task 1 has 4 rows; 5 or more are needed: leave",
        ),
        (lambda: spectral_sharing([ONES, ONES], [LINE, np.full(6, np.nan)]), r"X\[1\] or y\[1\] holds NaN or inf"),
        (
            lambda: spectral_sharing([ONES] * 2, [LINE] * 2, caution=-1.0),
            "caution is -1.0; it must be a number of stand",
        ),
        (
            lambda: spectral_sharing([ONES] * 2, [LINE] * 2, method="best"),  # type: ignore[arg-type]
            "method 'best' is unknown; known are cross-validation, threshold",
        ),
        (lambda: robust_subspace(np.ones(3), 5), r"B has shape \(3,\); wanted are finite coefficients"),
        (lambda: robust_subspace(ONES, 5, quantile=0.0), "quantile is 0.0; it must be > 0 and <= 1"),
        (lambda: robust_subspace(ONES, 0), "n is 0 and noise 1.0; rows must be > 0, the noise >= 0"),
        (lambda: robust_subspace(ONES, 5, rank=3), "rank is 3; it must be an integer from 0 to 2"),
    ],
)
def test_what_is_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
