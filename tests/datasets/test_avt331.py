"""The functions of Mainini et al.: formulas by hand, published minima, relations between levels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray

from surrogates.datasets import MultiFidelityFunction, alos, rastrigin, rosenbrock

Floats = NDArray[np.float64]
ALL = (alos, rosenbrock, rastrigin)


def uniform(function: MultiFidelityFunction, n: int, *, seed: int) -> Floats:
    """Random points of the domain, (n, d)."""
    low, high = np.array(function.bounds).T
    return np.asarray(np.random.default_rng(seed).uniform(low, high, (n, len(low))))


def scalar_alos(x1: float, x2: float) -> float:
    t = x1 - 0.9
    return math.sin(21 * t**4) * math.cos(2 * t) + 0.5 * x1 - 0.35 + 2 * x2 * x2 * math.sin(x1 * x2)


def scalar_rosenbrock(x1: float, x2: float) -> float:
    return 100 * (x2 - x1 * x1) ** 2 + (1 - x1) ** 2


def scalar_rastrigin(Θ: float, x1: float, x2: float) -> float:
    """The rotation as multiplication by exp(0.2i)."""
    turned = complex(x1 - 0.1, x2 - 0.1) * complex(math.cos(0.2), math.sin(0.2))
    total = 0.0
    for z in (turned.real, turned.imag):
        total += z**2 + 1 - math.cos(10 * math.pi * z)
        total += Θ * math.cos(10 * math.pi * Θ * z + math.pi * Θ / 2) ** 2  # π more changes no square
    return total


BY_HAND: list[tuple[MultiFidelityFunction, str, Callable[..., float]]] = [
    (alos, "high", scalar_alos),
    (alos, "low", lambda a, b: (scalar_alos(a, b) + a + b - 2) / (5 + 0.25 * (a + 2 * b))),
    (rosenbrock, "high", scalar_rosenbrock),
    (rosenbrock, "medium", lambda a, b: 50 * (b - a * a) ** 2 + (2 + a) ** 2 - 0.5 * a - 0.5 * b),
    (rosenbrock, "low", lambda a, b: (scalar_rosenbrock(a, b) - 4 - 0.5 * (a + b)) / (10 + 0.25 * (a + b))),
    (rastrigin, "high", lambda a, b: scalar_rastrigin(0.0, a, b)),
    (rastrigin, "medium", lambda a, b: scalar_rastrigin(0.5, a, b)),
    (rastrigin, "low", lambda a, b: scalar_rastrigin(0.75, a, b)),
]


@pytest.mark.parametrize(("function", "level", "by_hand"), BY_HAND, ids=lambda p: getattr(p, "name", p))
def test_the_formula_by_hand(function: MultiFidelityFunction, level: str, by_hand: Callable[..., float]) -> None:
    x = uniform(function, 40, seed=1)
    np.testing.assert_allclose(function(x, level), [by_hand(*row) for row in x.tolist()], rtol=1e-10, atol=1e-12)


def test_every_level_is_compared_by_hand() -> None:
    assert {(f.name, level) for f, level, _ in BY_HAND} == {(f.name, level) for f in ALL for level in f.levels}


@pytest.mark.parametrize("function", ALL, ids=lambda f: f.name)
def test_published_minima(function: MultiFidelityFunction) -> None:
    (place,) = function.minimisers
    assert function.minimum is not None
    assert (
        abs(float(function(np.array([place]), "high")[0]) - function.minimum) < 5.1e-6
    )  # half of the last digit printed
    assert function(uniform(function, 20_000, seed=2), "high").min() > function.minimum - 5.1e-6
    start = np.clip(np.array(place) + 0.003, *np.array(function.bounds).T)
    found = scipy.optimize.minimize(
        lambda x: float(function(x[None], "high")[0]), start, bounds=function.bounds, options={"ftol": 1e-15}
    )
    assert abs(found.fun - function.minimum) < 5.1e-6
    if function is not alos:  # ALOS is least along x1 = 0
        assert np.abs(found.x - place).max() < 1e-3
    else:
        assert abs(found.x[0]) < 1e-3


def test_the_domains_of_the_literature() -> None:
    assert alos.bounds == ((0, 1),) * 2
    assert rosenbrock.bounds == ((-2, 2),) * 2
    assert rastrigin.bounds == ((-0.1, 0.2),) * 2


def test_a_resolution_of_zero_error_leaves_the_waves_alone() -> None:
    """Levels of Rastrigin lie above the precise one, which is zero at its minimiser, by no more than Θ for each input."""
    x = uniform(rastrigin, 500, seed=3)
    high = rastrigin(x, "high")
    for level, Θ in (("medium", 0.5), ("low", 0.75)):
        above = rastrigin(x, level) - high
        assert above.min() >= -1e-12
        assert above.max() <= 2 * Θ
        assert above.max() > 1.5 * Θ
