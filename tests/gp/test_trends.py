"""Trend bases: columns by hand, derivatives by finite differences, ranks, and a user's own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.trends import NAMES, Basis, Trend, make_trend

Floats = NDArray[np.float64]
X = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 3))


def waves(x: Floats) -> Floats:
    return np.stack([np.ones(len(x)), np.sin(3 * x[:, 0]), np.exp(x[:, 1] * x[:, 2])], axis=1)


def by_hand(name: str, x: Floats, active: tuple[int, ...]) -> list[float]:
    """h(x) at one point, as one would write it down."""
    if name == "none":
        return []
    columns = [1.0]
    if name != "constant":
        columns += [x[k] for k in active]
    if name == "quadratic":
        columns += [x[i] * x[j] for i, j in itertools.product(active, active) if i <= j]
    return columns


@pytest.mark.parametrize("idle", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_columns_are_those_written_by_hand(name: str, idle: tuple[int, ...]) -> None:
    x = X.copy()
    x[:, idle] = 0.0
    trend = make_trend(name, x)
    active = tuple(k for k in range(3) if k not in idle)
    assert trend.active == active
    expected = np.array([by_hand(name, point, active) for point in X]).reshape(30, -1)
    np.testing.assert_allclose(trend.columns(X), expected, rtol=1e-15)


@pytest.mark.parametrize("idle", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_columns_can_be_told_apart(name: str, idle: tuple[int, ...]) -> None:
    """An input that never varies would repeat the constant column."""
    x = X.copy()
    x[:, idle] = 0.0
    h = make_trend(name, x).columns(x)
    assert np.linalg.matrix_rank(h) == h.shape[1] if h.size else h.shape == (30, 0)


@pytest.mark.parametrize("trend", [*NAMES, waves], ids=[*NAMES, "waves"])
def test_jacobians_are_finite_differences(trend: str | Basis) -> None:
    made, step = make_trend(trend, X), 1e-6
    J = made.jacobian(X)
    assert J.shape == (*made.columns(X).shape, 3)
    for k in range(3):
        e = step * np.eye(3)[k]
        slope = (made.columns(X + e) - made.columns(X - e)) / (2 * step)
        np.testing.assert_allclose(J[:, :, k], slope, atol=2e-9)


@pytest.mark.parametrize("name", ["linear", "quadratic"])
def test_the_jacobian_of_idle_inputs_is_zero(name: str) -> None:
    x = X.copy()
    x[:, 1] = 0.0
    assert (make_trend(name, x).jacobian(X)[:, :, 1] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_point_at_all(name: str) -> None:
    trend = make_trend(name, X)
    p = trend.columns(X).shape[1]
    assert trend.columns(X[:0]).shape == (0, p)
    assert trend.jacobian(X[:0]).shape == (0, p, 3)


def test_a_basis_of_ones_own_is_used_as_it_is() -> None:
    trend = make_trend(waves, X)
    assert trend.name == "custom"
    np.testing.assert_array_equal(trend.columns(X), waves(X))
    whole = make_trend(lambda x: np.ones((len(x), 1), dtype=np.int64), X).columns(X)
    assert whole.dtype == np.float64


@pytest.mark.parametrize(
    ("basis", "shape"),
    [
        (lambda x: x[:, 0], r"\(30,\)"),
        (lambda x: x[:-1], r"\(29, 3\)"),
        (lambda x: np.full((len(x), 2), np.nan), r"\(30, 2\)"),
        (lambda x: np.log(np.abs(x) * 0), r"\(30, 3\)"),
    ],
    ids=["one-dimensional", "short", "NaN", "inf"],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_bad_bases_are_refused(basis: Basis, shape: str) -> None:
    words = rf"the trend function gave shape {shape} for 30 points; wanted finite columns \(30, p\), one row per point"
    with pytest.raises(DataError, match=words):
        make_trend(basis, X).columns(X)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"trend 'cubic' is unknown; choose one of \('none', .*'quadratic'\) or pass a"):
        make_trend("cubic", X)


def test_trends_of_one_name_are_equal() -> None:
    assert make_trend("linear", X) == Trend("linear", (0, 1, 2))
