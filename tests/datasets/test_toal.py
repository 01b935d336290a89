"""Toal's adjustable pairs: formulas by hand, the A at which levels are one, correlations from moments."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from numpy.typing import NDArray

from surrogates.datasets import (
    FUNCTIONS,
    MultiFidelityFunction,
    branin,
    branin_alike,
    hartmann3,
    hartmann3_unlike,
    paciorek_alike,
    paciorek_unlike,
    toal_branin,
    toal_hartmann3,
    toal_paciorek,
    toal_trid,
    trid_alike,
    trid_unlike,
)
from surrogates.errors import DataError

Floats = NDArray[np.float64]
FACTORIES = {"branin": toal_branin, "paciorek": toal_paciorek, "hartmann3": toal_hartmann3, "trid": toal_trid}


def uniform(function: MultiFidelityFunction, n: int, *, seed: int) -> Floats:
    """Random points of the domain, (n, d)."""
    low, high = np.array(function.bounds).T
    return np.asarray(np.random.default_rng(seed).uniform(low, high, (n, len(low))))


def correlation(function: MultiFidelityFunction, *, n: int = 50_000) -> float:
    x = uniform(function, n, seed=0)
    return float(np.corrcoef(function(x, "low"), function(x, "high"))[0, 1])


# --- the formulas once more, for one point, by Python's math ---


def scalar_branin_low(A: float, x1: float, x2: float) -> float:
    square = (x2 - 1.275 * (x1 / math.pi) ** 2 + 5 / math.pi * x1 - 6) ** 2
    return (0.5 - A) * square + 10 * math.cos(x1) - 10 / (8 * math.pi) * math.cos(x1) + 10


def scalar_paciorek_low(A: float, x1: float, x2: float) -> float:
    turn = 1 / x1 / x2
    return math.sin(turn) - (3 * A) ** 2 * math.cos(turn)


def scalar_hartmann3_low(A: float, *x: float) -> float:
    rows = [
        (1.0, (3, 10, 30), (0.3689, 0.1170, 0.2673)),
        (1.2, (0.1, 10, 35), (0.4699, 0.4387, 0.7470)),
        (3.0, (3, 10, 30), (0.1091, 0.8732, 0.5547)),
        (3.2, (0.1, 10, 35), (0.0381, 0.5743, 0.8828)),
    ]
    total = 0.0
    for α, β, P in rows:
        total -= α * math.exp(-sum(b * (t - 3 * p * (A + 1) / 4) ** 2 for b, t, p in zip(β, x, P, strict=True)))
    return total


def scalar_trid(centre: float, weights: list[float], *x: float) -> float:
    total = sum((t - centre) ** 2 for t in x)
    return total - sum(w * a * b for w, a, b in zip(weights, x, x[1:], strict=False))


def scalar_trid_low(A: float, *x: float) -> float:
    return scalar_trid(A, [(A - 0.65) * i for i in range(2, 11)], *x)


BY_HAND: dict[str, Callable[..., float]] = {
    "branin": scalar_branin_low,
    "paciorek": scalar_paciorek_low,
    "hartmann3": scalar_hartmann3_low,
    "trid": scalar_trid_low,
}


@pytest.mark.parametrize("A", [-0.4, 0.0, 0.35, 1.0])
@pytest.mark.parametrize("name", FACTORIES)
def test_the_cheap_level_by_hand(name: str, A: float) -> None:
    function = FACTORIES[name](A)
    x = uniform(function, 30, seed=1)
    by_hand = [BY_HAND[name](A, *row) for row in x.tolist()]
    np.testing.assert_allclose(function(x, "low"), by_hand, rtol=1e-10, atol=1e-11)  # values near zero lose digits


def test_the_costly_level_is_known_or_by_hand() -> None:
    for function, known in ((toal_branin(0.7), branin), (toal_hartmann3(0.7), hartmann3)):
        x = uniform(known, 20, seed=2)
        np.testing.assert_array_equal(function(x, "high"), known(x, "high"))
        assert (function.minimum, function.minimisers) == (known.minimum, known.minimisers)
    x = uniform(toal_trid(0.2), 20, seed=3)
    by_hand = [scalar_trid(1.0, [1.0] * 9, *row) for row in x.tolist()]
    np.testing.assert_allclose(toal_trid(0.2)(x, "high"), by_hand, rtol=1e-10)
    x = uniform(toal_paciorek(0.2), 20, seed=3)
    np.testing.assert_allclose(toal_paciorek(0.2)(x, "high"), np.sin(1 / (x[:, 0] * x[:, 1])), rtol=1e-12)


@pytest.mark.parametrize(("name", "A"), [("branin", -0.5), ("paciorek", 0.0), ("hartmann3", 1 / 3)])
def test_levels_are_one_where_toal_says_so(name: str, A: float) -> None:
    function = FACTORIES[name](A)
    x = uniform(function, 50, seed=4)
    np.testing.assert_allclose(function(x, "low"), function(x, "high"), rtol=1e-13, atol=1e-13)
    other = FACTORIES[name](A + 0.2)
    assert not np.allclose(other(x, "low"), other(x, "high"))


def test_trids_correlation_from_the_moments_of_uniform_inputs() -> None:
    """For x uniform on [-L, L]: Var x² = 4 L⁴/45, Var x = L²/3, Var x_i x_j = L⁴/9, all of them uncorrelated."""
    L, d = 100.0, 10
    square, product, line = 4 * L**4 / 45, L**4 / 9, L**2 / 3
    for A in (0.0, 0.5, 0.8, 1.0):
        weights = [(A - 0.65) * i for i in range(2, d + 1)]
        covariance = d * square + d * 4 * A * line + product * sum(weights)
        low = d * square + d * 4 * A**2 * line + product * sum(w**2 for w in weights)
        high = d * square + d * 4 * line + product * (d - 1)
        expected = covariance / math.sqrt(low * high)
        assert abs(correlation(toal_trid(A)) - expected) < 0.02  # 50,000 points: standard error .005


def test_pacioreks_correlation_by_quadrature() -> None:
    """With a = 9 A², corr(sin, sin - a cos) from the moments of sin and cos, each by quadrature over x1 x2."""

    def mean(f: Callable[[float], float]) -> float:
        value, _ = scipy.integrate.dblquad(lambda y, x: f(1 / (x * y)), 0.3, 1, 0.3, 1, epsabs=1e-7)
        return value / 0.49

    s, c = mean(math.sin), mean(math.cos)
    ss, cc, sc = mean(lambda t: math.sin(t) ** 2), mean(lambda t: math.cos(t) ** 2), mean(lambda t: math.sin(2 * t) / 2)
    vs, vc, cov = ss - s**2, cc - c**2, sc - s * c
    for A, function in ((0.2, paciorek_alike), (1.0, paciorek_unlike)):
        a = 9 * A**2
        expected = (vs - a * cov) / math.sqrt(vs * (vs - 2 * a * cov + a**2 * vc))
        assert abs(correlation(function) - expected) < 0.02


def test_alike_and_unlike() -> None:
    for function in (branin_alike, paciorek_alike, trid_alike):
        assert correlation(function) > 0.85
    for function in (paciorek_unlike, hartmann3_unlike, trid_unlike):
        assert abs(correlation(function)) < 0.05
    assert correlation(toal_branin(1.0)) < -0.9


@pytest.mark.parametrize("function", [paciorek_alike, trid_alike], ids=lambda f: f.name)
def test_published_minima(function: MultiFidelityFunction) -> None:
    """Trid: -d (d + 4)(d - 1)/6 at x_i = i (d + 1 - i); a sine can't be less than -1."""
    (place,) = function.minimisers
    assert function.minimum is not None
    assert float(function(np.array([place]), "high")[0]) == pytest.approx(function.minimum, abs=1e-12)
    start = np.array(place) + 0.01
    found = scipy.optimize.minimize(lambda x: float(function(x[None], "high")[0]), start, bounds=function.bounds)
    assert found.fun == pytest.approx(function.minimum, abs=1e-6)
    assert function(uniform(function, 5000, seed=5), "high").min() >= function.minimum


def test_names_tell_the_parameter() -> None:
    assert FUNCTIONS["trid_unlike"].name == "Toal's Trid, A = 0.5"
    assert "A = 0.25" in toal_paciorek(0.25).source
    for factory in FACTORIES.values():
        with pytest.raises(DataError, match="A is nan; a finite number is wanted, of which 0 to 1 are Toal's"):
            factory(math.nan)
