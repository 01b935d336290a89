"""Warps and the way back from them, against scipy's distributions, closed forms and sums over fine grids."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, special, stats

from surrogates.errors import DataError
from surrogates.gp.outputs import Output, mixture_quantile
from surrogates.gp.warping import Warp, make_warp
from surrogates.posterior import Moments, Slopes
from surrogates.scaling import TargetScaling

Floats = NDArray[np.float64]
WARPS = {
    "log": Warp("log", -1.0, math.inf),
    "log below": Warp("log", -math.inf, 40.0),
    "box-cox 0": Warp("box-cox", 0.0, math.inf, 0.0),
    "box-cox 0.3": Warp("box-cox", 0.0, math.inf, 0.3),
    "box-cox 1": Warp("box-cox", 0.0, math.inf, 1.0),
    "box-cox 2": Warp("box-cox", 0.0, math.inf, 2.0),
    "logit": Warp("logit", -2.0, 40.0),
}
SCALING = TargetScaling(0.4, 0.7)
PART = Moments(np.array([0.3, -1.0, 2.0, 0.1]), np.array([0.5, 0.01, 1.2, 0.0]))


def by_grid(output: Output, part: Moments) -> tuple[Floats, Floats]:
    """Mean and variance of g(f) by sums over 400,001 points of a normal."""
    u = np.linspace(-9, 9, 400_001)
    w = stats.norm.pdf(u)
    w /= w.sum()
    y = [output.value(m + math.sqrt(v) * u) for m, v in zip(part.mean, part.variance, strict=True)]
    mean = np.array([w @ each for each in y])
    return mean, np.array([w @ (each - centre) ** 2 for each, centre in zip(y, mean, strict=True)])


@pytest.mark.parametrize("name", WARPS)
def test_a_warp_and_its_inverse(name: str) -> None:
    warp, y = WARPS[name], np.array([0.3, 0.8, 3.0, 39.0])
    z = warp(y)
    assert (np.diff(z) > 0).all()
    np.testing.assert_allclose(warp.inverse(z), y, rtol=1e-12)
    step = 1e-6
    np.testing.assert_allclose(warp.slope(z), (warp.inverse(z + step) - warp.inverse(z - step)) / (2 * step), rtol=1e-6)
    np.testing.assert_allclose(warp.log_slope(y), -np.log(warp.slope(z)), rtol=1e-9, atol=1e-12)


def test_warps_are_those_of_scipy() -> None:
    y = np.array([0.2, 1.0, 7.0])
    for λ in (0.0, 0.3, 1.0, 2.0):
        np.testing.assert_allclose(Warp("box-cox", 0.0, math.inf, λ)(y), special.boxcox(y, λ), rtol=1e-14)
    np.testing.assert_allclose(Warp("logit", 0.0, 10.0)(y), special.logit(y / 10), rtol=1e-13)


@pytest.mark.parametrize("name", WARPS)
def test_mean_and_variance_of_a_warped_gaussian(name: str) -> None:
    output = Output(SCALING, WARPS[name])
    mean, variance = by_grid(output, PART)
    got = output.moments(PART)
    # the grid sees a kink, or a root, at y's bound to no better than that
    rtol = {"box-cox 1": 1e-7, "box-cox 2": 1e-5}.get(name, 1e-8)
    np.testing.assert_allclose(got.mean, mean, rtol=rtol)
    np.testing.assert_allclose(got.variance, variance, rtol=10 * rtol, atol=1e-12)


def test_the_logarithm_has_scipys_moments() -> None:
    got = Output(TargetScaling(0.0, 1.0), make_warp("log", None)).moments(PART)
    m, s = PART.mean[:3], np.sqrt(PART.variance[:3])
    np.testing.assert_allclose(got.mean[:3], stats.lognorm(s, scale=np.exp(m)).mean(), rtol=1e-12)
    np.testing.assert_allclose(got.variance[:3], stats.lognorm(s, scale=np.exp(m)).var(), rtol=1e-10)


def test_a_power_of_one_keeps_to_its_bound() -> None:
    """E max(1 + z, 0) = a Φ(a/s) + s φ(a/s) with a = 1 + m, a censored normal's mean."""
    m, s = np.array([-1.5, 0.0, 3.0]), np.array([1.0, 2.0, 0.5])
    got = Output(TargetScaling(0.0, 1.0), Warp("box-cox", 0.0, math.inf, 1.0)).moments(Moments(m, s**2))
    a = 1 + m
    np.testing.assert_allclose(got.mean, a * stats.norm.cdf(a / s) + s * stats.norm.pdf(a / s), rtol=1e-10)


@pytest.mark.parametrize("name", WARPS)
def test_slopes_are_differences(name: str) -> None:
    output = Output(SCALING, WARPS[name])
    d_mean, d_variance = np.array([[0.7, -0.2]] * 3), np.array([[0.3, -0.5]] * 3)
    part = Moments(PART.mean[:3], PART.variance[:3] + 0.05)
    got = output.slopes(Slopes(d_mean, d_variance), part)
    step = 1e-5
    for k in range(2):
        up, down = (
            output.moments(Moments(part.mean + h * d_mean[:, k], part.variance + h * d_variance[:, k]))
            for h in (step, -step)
        )
        rtol = 1e-5
        np.testing.assert_allclose(got.mean[:, k], (up.mean - down.mean) / (2 * step), rtol=rtol)
        np.testing.assert_allclose(got.variance[:, k], (up.variance - down.variance) / (2 * step), rtol=rtol)


@pytest.mark.parametrize("name", WARPS)
def test_covariance_of_two_warped_gaussians(name: str) -> None:
    """Against sums over a grid in two dimensions."""
    output, (a, b) = Output(SCALING, WARPS[name]), np.array([0.6, 1.1])
    m, r = np.array([0.3, 0.8]), -0.6
    S = np.array([[a**2, r * a * b], [r * a * b, b**2]])
    u = np.linspace(-8, 8, 1501)
    w = stats.norm.pdf(u)
    w /= w.sum()
    first = output.value(m[0] + a * u)
    second = output.value(m[1] + b * (r * u[:, None] + math.sqrt(1 - r**2) * u))
    cross = w @ (first[:, None] * second) @ w - (w @ first) * (w @ second @ w)
    got = output.covariance(S, Moments(m, np.diag(S)))
    np.testing.assert_allclose(got[0, 1], cross, rtol=1e-4)
    np.testing.assert_allclose(np.diag(got), output.moments(Moments(m, np.diag(S))).variance, rtol=1e-10)
    np.testing.assert_array_equal(got, got.T)


def test_without_a_warp_the_way_back_is_affine() -> None:
    output = Output(SCALING)
    np.testing.assert_allclose(output.moments(PART).mean, 0.4 + 0.7 * PART.mean)
    np.testing.assert_allclose(output.moments(PART).variance, 0.49 * PART.variance)
    S = np.diag(PART.variance) + 0.1
    np.testing.assert_allclose(output.covariance(S, PART), 0.49 * S)
    slopes = output.slopes(Slopes(S, S), PART)
    np.testing.assert_allclose(slopes.mean, 0.7 * S)
    np.testing.assert_allclose(slopes.variance, 0.49 * S)


@settings(max_examples=40, deadline=None)
@given(
    means=st.lists(st.floats(-3, 3), min_size=1, max_size=4),
    deviation=st.floats(0.01, 3),
    q=st.floats(0.001, 0.999),
    name=st.sampled_from(sorted(WARPS)),
)
def test_quantiles_of_a_mixture(means: list[float], deviation: float, q: float, name: str) -> None:
    """The mixture's distribution function, solved for by another method; through the warp, in order."""
    parts = [Moments(np.array([m]), np.array([(deviation * (1 + k)) ** 2])) for k, m in enumerate(means)]
    weights = np.arange(1.0, len(means) + 1)
    weights /= weights.sum()

    def excess(x: float) -> float:
        each = [stats.norm.cdf(x, p.mean[0], math.sqrt(p.variance[0])) for p in parts]
        return float(weights @ each) - q

    got = mixture_quantile(parts, weights, q)
    assert got[0] == pytest.approx(optimize.brentq(excess, -60, 60, xtol=1e-12), abs=1e-7)
    output = Output(SCALING, WARPS[name])
    assert output.quantile(parts, weights, q) == pytest.approx(output.value(got))


def test_a_part_without_variance_is_a_step() -> None:
    parts = [Moments(np.zeros(1), np.zeros(1)), Moments(np.zeros(1), np.ones(1))]
    for q, wanted in ((0.1, stats.norm.ppf(0.2)), (0.5, 0.0), (0.6, 0.0), (0.9, stats.norm.ppf(0.8))):
        assert mixture_quantile(parts, np.array([0.5, 0.5]), q)[0] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "bounds", "words"),
    [
        ("sqrt", None, "warp is 'sqrt'; choose one of"),
        ("logit", (0, math.inf), r"bounds are \(0, inf\); warp='logit' needs two finite bounds, such as \(0, 100\)"),
        ("logit", (1, 0), "bounds are .1, 0.; warp='logit' needs two finite bounds"),
        ("log", (0, 1), "warp='log' needs one finite bound"),
        ("box-cox", (-math.inf, 0), "warp='box-cox' needs a finite lower bound only"),
        ("log", 3, "bounds are 3; give two numbers"),
        ("log", ("a", 1), "give two numbers"),
    ],
)
def test_bounds_that_make_no_sense(name: str, bounds: tuple[float, float] | None, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_warp(name, bounds)
