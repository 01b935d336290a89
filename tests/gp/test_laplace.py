"""Draws of hyper-parameters against posteriors whose moments are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from numpy.typing import NDArray

from surrogates.errors import NumericalError
from surrogates.gp.laplace import Draws, laplace_draws

Floats = NDArray[np.float64]


def moments(draws: Draws) -> tuple[Floats, Floats]:
    """Weighted mean (p,) and covariance (p, p)."""
    mean = draws.weights @ draws.parameters
    deviation = draws.parameters - mean
    return mean, (draws.weights[:, None] * deviation).T @ deviation


def gaussian(p: int, seed: int = 0) -> tuple[Floats, Floats, Callable[[Floats], float]]:
    """Mean, precision and objective of a normal posterior."""
    generator = np.random.default_rng(seed)
    R = generator.normal(size=(p, p + 2))
    precision, mean = R @ R.T + 0.2 * np.eye(p), generator.normal(size=p)
    return mean, precision, lambda θ: 3.0 + 0.5 * float((θ - mean) @ precision @ (θ - mean))


def drawn(objective: Callable[[Floats], float], mode: Floats, curvature: Floats, **changes: Any) -> Draws:
    bounds = np.array([[-100.0, 100.0]] * len(mode))
    arguments = {"bounds": bounds, "count": 2000, "keep": 2000, "seed": 0, **changes}
    return laplace_draws(objective, mode, curvature, **arguments)


@pytest.mark.parametrize("p", [1, 3, 6])
@pytest.mark.parametrize("mistake", [1.0, 3.0, 0.5])
def test_a_gaussian_posterior_has_its_moments(p: int, mistake: float) -> None:
    """Exact but for quasi-random integration, even with a curvature that is wrong by a factor."""
    mean, precision, objective = gaussian(p)
    draws = drawn(objective, mean, mistake * precision)
    got_mean, got_covariance = moments(draws)
    whitened = np.linalg.cholesky(precision).T @ (got_mean - mean)
    assert np.abs(whitened).max() < 0.05
    L = np.linalg.cholesky(precision)
    np.testing.assert_allclose(L.T @ got_covariance @ L, np.eye(p), atol=0.12)
    assert draws.effective > 600


@pytest.mark.parametrize("shape", [2.0, 4.0])
def test_a_skewed_posterior_has_the_moments_of_quadrature(shape: float) -> None:
    """The log variance of few readings: exp(-a θ - b e^-θ), steep to the left, flat to the right."""
    a, b = shape, 1.7

    def objective(θ: Floats) -> float:
        return float(a * θ[0] + b * np.exp(-θ[0]))

    def integral(power: float, centre: float) -> float:
        density = lambda t: (t - centre) ** power * np.exp(-objective(np.array([t])))  # noqa: E731
        return float(scipy.integrate.quad(density, -6, 25, limit=400)[0])

    total = integral(0, 0.0)
    mean = integral(1, 0.0) / total
    variance, third = integral(2, mean) / total, integral(3, mean) / total
    assert mean > np.log(b / a) + 0.1  # a draw around the mode would fail
    draws = drawn(objective, np.array([np.log(b / a)]), np.array([[a]]))
    got_mean, got_covariance = moments(draws)
    deviation = draws.parameters[:, 0] - got_mean[0]
    assert got_mean[0] == pytest.approx(mean, abs=0.03 * np.sqrt(variance))
    assert got_covariance[0, 0] == pytest.approx(variance, rel=0.06)
    assert draws.weights @ deviation**3 == pytest.approx(third, rel=0.25)


def test_few_draws_keep_the_moments_of_many() -> None:
    mean, precision, objective = gaussian(4)
    few = drawn(objective, mean, precision, count=240, keep=48)
    assert len(few.parameters) <= 48
    whitened = np.linalg.cholesky(precision).T @ (moments(few)[0] - mean)
    assert np.abs(whitened).max() < 0.35


@pytest.mark.parametrize("count", [3, 24, 240])
def test_weights_are_shares(count: int) -> None:
    mean, precision, objective = gaussian(3)
    draws = drawn(objective, mean, precision, count=count, keep=48)
    assert draws.weights.sum() == pytest.approx(1.0, rel=1e-14)
    assert (draws.weights > 0).all()
    assert len(draws.weights) == len(draws.parameters) <= min(48, count)
    assert 1.0 <= draws.effective <= count + 1
    assert len(np.unique(draws.parameters, axis=0)) == len(draws.parameters)


def test_the_seed_decides() -> None:
    mean, precision, objective = gaussian(3)
    first, again, other = (drawn(objective, mean, precision, count=60, keep=30, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(first.parameters, again.parameters)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert first.effective == again.effective
    assert not np.array_equal(first.parameters, other.parameters)


def test_the_objectives_constant_does_not_matter() -> None:
    mean, precision, objective = gaussian(2)
    plain, shifted = drawn(objective, mean, precision), drawn(lambda θ: objective(θ) - 2048.0, mean, precision)
    np.testing.assert_allclose(shifted.parameters, plain.parameters)
    np.testing.assert_allclose(shifted.weights, plain.weights)


def test_points_outside_the_bounds_have_no_weight_and_are_not_evaluated() -> None:
    """Half a normal: mean √(2/π), variance 1 - 2/π."""
    bounds = np.array([[0.0, 100.0]])

    def objective(θ: Floats) -> float:
        assert θ[0] >= 0
        return 0.5 * float(θ @ θ)

    draws = drawn(objective, np.zeros(1), np.eye(1), bounds=bounds)
    assert (draws.parameters >= 0).all()
    mean, covariance = moments(draws)
    truth = scipy.stats.halfnorm()
    assert mean[0] == pytest.approx(truth.mean(), rel=0.04)
    assert covariance[0, 0] == pytest.approx(truth.var(), rel=0.1)


def test_where_the_objective_is_not_defined_nothing_is_drawn() -> None:
    def objective(θ: Floats) -> float:
        if θ[0] < -0.5:
            raise NumericalError("not positive definite")
        return 0.5 * float(θ @ θ)

    draws = drawn(objective, np.zeros(1), np.eye(1))
    assert (draws.parameters >= -0.5).all()
    assert moments(draws)[0][0] == pytest.approx(scipy.stats.truncnorm(-0.5, np.inf).mean(), rel=0.05)


def test_defined_nowhere_leaves_the_mode() -> None:
    def objective(θ: Floats) -> float:
        raise NumericalError("not positive definite")

    mode = np.array([1.0, 2.0])
    draws = drawn(objective, mode, np.eye(2))
    np.testing.assert_array_equal(draws.parameters, mode[None])
    np.testing.assert_array_equal(draws.weights, [1.0])
    assert draws.effective == 1.0


def test_the_order_of_the_parameters_does_not_matter() -> None:
    """Else the order of inputs, tasks and fidelities, which labels decide, would change predictions."""
    mean, precision, objective = gaussian(3)
    order = np.array([2, 0, 1])
    back = np.argsort(order)
    plain = drawn(objective, mean, precision, count=60, keep=30)
    turned = drawn(lambda θ: objective(θ[back]), mean[order], precision[np.ix_(order, order)], count=60, keep=30)
    np.testing.assert_allclose(moments(turned)[0][back], moments(plain)[0], rtol=1e-9, atol=1e-9)


def test_scaled_parameters_are_scaled_draws() -> None:
    mean, precision, objective = gaussian(3)
    scale = np.array([1e-3, 1.0, 50.0])
    plain = drawn(objective, mean, precision, count=60, keep=30)
    wide = np.array([[-1e9, 1e9]] * 3)
    scaled = drawn(
        lambda θ: objective(θ / scale), scale * mean, precision / np.outer(scale, scale), count=60, keep=30, bounds=wide
    )
    np.testing.assert_allclose(scaled.parameters / scale, plain.parameters, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(scaled.weights, plain.weights, rtol=1e-8)
