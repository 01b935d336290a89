"""Evidence against closed forms and quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from numpy.typing import NDArray

from surrogates.gp.evidence import difference_curvature, laplace_integral, log_evidence, log_prior_constant
from surrogates.gp.fitting import fit_posterior
from surrogates.gp.kernels import KERNELS
from surrogates.gp.laplace import Draws, laplace_draws
from surrogates.gp.objective import Value
from surrogates.gp.preparing import Settings, scale
from surrogates.schema import Schema, as_dataset

Floats = NDArray[np.float64]


class Bounded:
    """Priors with bounds."""

    def __init__(self, mean: list[float], deviation: list[float], bounds: list[tuple[float, float]]) -> None:
        self.prior = np.array(mean), np.array(deviation)
        self.bounds = np.array(bounds)


class Quadratic:
    """c + ½ θ'Cθ."""

    def __init__(self, constant: float, curvature: Floats) -> None:
        self.constant, self.curvature = constant, curvature

    def __call__(self, θ: Floats, order: int) -> Value:
        return Value(self.constant + 0.5 * float(θ @ self.curvature @ θ), self.curvature @ θ, self.curvature)


def precision(p: int) -> Floats:
    R = np.random.default_rng(p).normal(size=(p, p + 2))
    return R @ R.T + 0.2 * np.eye(p)


@pytest.mark.parametrize("p", [1, 2, 5])
def test_draws_and_laplace_know_the_integral_of_a_gaussian(p: int) -> None:
    C, bounds = precision(p), np.array([[-50.0, 50.0]] * p)
    objective = Quadratic(2.5, C)
    exact = -2.5 + 0.5 * p * math.log(2 * math.pi) - 0.5 * math.log(np.linalg.det(C))
    assert laplace_integral(2.5, C) == pytest.approx(exact, abs=1e-12)
    draws = laplace_draws(lambda θ: objective(θ, 0).value, np.zeros(p), 0.6 * C, bounds, count=240, keep=32, seed=0)
    assert draws.log_integral == pytest.approx(exact, abs=0.02)


def test_draws_know_the_integral_of_a_skewed_posterior_with_a_bound() -> None:
    """exp(-a θ - b e^-θ) on θ > -0.3, by quadrature."""
    a, b, low = 2.0, 1.7, -0.3

    def objective(θ: Floats) -> float:
        return float(a * θ[0] + b * math.exp(-θ[0]))

    exact = math.log(scipy.integrate.quad(lambda t: math.exp(-objective(np.array([t]))), low, 40)[0])
    draws = laplace_draws(
        objective, np.array([math.log(b / a)]), np.array([[a]]), np.array([[low, 40.0]]), count=240, keep=32, seed=1
    )
    assert draws.log_integral == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("bounds", [(-1.0, 2.0), (3.0, 9.0), (-9.0, -8.0), (60.0, 70.0), (-70.0, -60.0)])
def test_normal_priors_are_cut_off_at_the_bounds(bounds: tuple[float, float]) -> None:
    """The prior's mass between its bounds is one, also far out in its tails."""
    layout = Bounded([0.5, 0.0], [1.5, 1.0], [bounds, (-40.0, 40.0)])
    t = np.linspace(*bounds, 200_001)
    exponents = -0.5 * ((t - 0.5) / 1.5) ** 2
    top = exponents.max()
    inside = top + math.log(np.trapezoid(np.exp(exponents - top), t))
    assert log_prior_constant(layout) == pytest.approx(-inside - 0.5 * math.log(2 * math.pi), rel=1e-6, abs=1e-6)


def test_curvature_by_differences_is_that_of_the_gradient() -> None:
    C = precision(4)
    np.testing.assert_allclose(difference_curvature(Quadratic(1.0, C), np.ones(4)), C, rtol=1e-7, atol=1e-7)


def fitted_evidence(integrate: bool, seed: int = 0) -> tuple[float, float]:
    """Evidence of a small fit of exact readings, and by quadrature over its two hyper-parameters."""
    x = np.linspace(0, 1, 7)
    data = as_dataset(x, np.sin(5 * x) + x**2, inputs=["x"])
    data["noise"] = ("sample", np.zeros(7))
    table = Schema(inputs="x", target="y", noise="noise").encode(data)
    settings = Settings(KERNELS["matern52"], "linear", "common", 1, "known", "auto")
    posterior, problem = fit_posterior(
        scale(table, settings), settings, integrate=integrate, seed=seed, progress=lambda value: None
    )
    objective, layout = problem.objective, problem.objective.layout
    got = log_evidence(objective, layout, posterior.mode, posterior.draws)
    (m, d), grid = layout.prior, [np.linspace(low, high, 50) for low, high in layout.bounds]
    values = np.array(
        [
            [
                -objective(np.array([l, s]), 0).value
                - objective.log_prior(np.array([l, s]))
                + scipy.stats.norm.logpdf(l, m[0], d[0])
                + scipy.stats.norm.logpdf(s, m[1], d[1])
                for s in grid[1]
            ]
            for l in grid[0]
        ]
    )
    top = values.max()
    inside = np.prod([np.diff(scipy.stats.norm.cdf(b, m[k], d[k])) for k, b in enumerate(layout.bounds)])
    volume = np.trapezoid(np.trapezoid(np.exp(values - top), grid[1], axis=1), grid[0])
    return got, float(top + np.log(volume) - np.log(inside))


def test_the_evidence_of_a_fit_is_that_of_quadrature() -> None:
    got, exact = fitted_evidence(True)
    assert got == pytest.approx(exact, abs=0.05)


def test_laplace_is_near_where_the_fit_stayed_at_the_mode() -> None:
    got, exact = fitted_evidence(False)
    assert got == pytest.approx(exact, abs=0.6)


def test_nothing_integrated_is_said_so() -> None:
    assert math.isnan(Draws(np.zeros((1, 2)), np.ones(1), 1.0).log_integral)
