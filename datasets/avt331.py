"""Multi-fidelity functions of the working group AVT-331, in two inputs.

Mainini, Serani, Rumpfkeil, Minisci, Quagliarella, Pehlivan, Yildiz, Ficini, Pellegrini, Di Fiore, Bryson, Nikbay, Diez &
Beran (2022), Analytical benchmark problems for multifidelity optimization methods, arXiv:2204.07867. The formulas were read
in three programs that follow the paper (one of them checked by its author against the group's tables of values), not in
the paper itself; they agree but for ALOS, of which one has an additional term x1 sin x1, and two haven't.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from .multifidelity import Floats, MultiFidelityFunction

_SOURCE = "Mainini et al. (2022), arXiv:2204.07867"
_TWO, _THREE = ("low", "high"), ("low", "medium", "high")


def _alos_high(x: Floats) -> Floats:
    """sin(21 (x1 - 0.9)⁴) cos(2 (x1 - 0.9)) + (x1 - 0.7)/2 + 2 x2² sin(x1 x2)."""
    x1, x2 = x.T
    wave = np.sin(21 * (x1 - 0.9) ** 4) * np.cos(2 * (x1 - 0.9))
    return np.asarray(wave + (x1 - 0.7) / 2 + 2 * x2**2 * np.sin(x1 * x2))


def _alos_low(x: Floats) -> Floats:
    """(f(x) - 2 + x1 + x2)/(5 + x1/4 + x2/2)."""
    x1, x2 = x.T
    return np.asarray((_alos_high(x) - 2 + x1 + x2) / (5 + x1 / 4 + x2 / 2))


def _rosenbrock(x: Floats, *, weight: float, centre: float) -> Floats:
    """w (x2 - x1²)² + (c - x1)², w = `weight`, c = `centre`."""
    x1, x2 = x.T
    return np.asarray(weight * (x2 - x1**2) ** 2 + (centre - x1) ** 2)


_rosenbrock_high = partial(_rosenbrock, weight=100.0, centre=1.0)


def _rosenbrock_medium(x: Floats) -> Floats:
    """50 (x2 - x1²)² + (-2 - x1)² - (x1 + x2)/2."""
    return np.asarray(_rosenbrock(x, weight=50.0, centre=-2.0) - x.sum(axis=1) / 2)


def _rosenbrock_low(x: Floats) -> Floats:
    """[f(x) - 4 - (x1 + x2)/2]/[10 + (x1 + x2)/4]."""
    total = x.sum(axis=1)
    return np.asarray((_rosenbrock_high(x) - 4 - total / 2) / (10 + total / 4))


def _rastrigin(x: Floats, *, φ: float) -> Floats:
    """Σ_i [z_i² + 1 - cos 10πz_i + Θ cos²(10πΘ z_i + πΘ/2 + π)], z = R (x - 0.1), Θ = 1 - φ/10000, R turns by 0.2 rad."""
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    z = (x - 0.1) @ turn.T
    Θ = 1 - φ / 10_000
    waves = z**2 + 1 - np.cos(10 * np.pi * z)
    return np.asarray((waves + Θ * np.cos(10 * np.pi * Θ * z + 0.5 * np.pi * Θ + np.pi) ** 2).sum(axis=1))


#: Waves of a period that changes along x1; the cheap level divides by a plane. The least value is taken along x1 = 0.
alos = MultiFidelityFunction(
    "ALOS",
    ("x1", "x2"),
    ((0.0, 1.0),) * 2,
    _TWO,
    (_alos_low, _alos_high),
    f"Clark, Bae, Gobal & Penmetsa (2016), AIAA Journal 54(10), 3160-3175; {_SOURCE}",
    minimum=-0.56271,
    minimisers=((0.0, 0.0),),
)
#: A curved valley; the medium level moves its minimum, the cheapest divides by a plane.
rosenbrock = MultiFidelityFunction(
    "Rosenbrock",
    ("x1", "x2"),
    ((-2.0, 2.0),) * 2,
    _THREE,
    (_rosenbrock_low, _rosenbrock_medium, _rosenbrock_high),
    _SOURCE,
    minimum=0.0,
    minimisers=((1.0, 1.0),),
)
#: Waves, turned against the axes; cheaper levels add waves of another frequency.
rastrigin = MultiFidelityFunction(
    "Rastrigin",
    ("x1", "x2"),
    ((-0.1, 0.2),) * 2,
    _THREE,
    tuple(partial(_rastrigin, φ=φ) for φ in (2500.0, 5000.0, 10_000.0)),
    f"shifted and rotated; {_SOURCE}",
    minimum=0.0,
    minimisers=((0.1, 0.1),),
)
