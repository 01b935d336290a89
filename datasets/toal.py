"""Toal's pairs of functions, whose cheap level resembles the costly one as much as one parameter A says.

Toal (2015), Structural and Multidisciplinary Optimization 51, 1223-1245. The formulas were read in the documentation of mf2
and in the code of Andrés-Thió, Muñoz & Smith-Miles (2022), not in the paper; where these two differ, it is said. A runs
from 0 to 1 there, but the formulas hold for any A, and the A at which both levels are one lies outside for two of them.

Correlations of the levels over a uniform domain, measured here with 200,000 points:

    A          0     .1     .2     .3     .4     .5     .6     .7     .8     .9      1   levels are one at
    Branin   .99    .98    .96    .90    .69    .10   -.51   -.76   -.86   -.90   -.93   A = -1/2
    Paciorek   1   1.00    .96    .82    .60    .39    .24    .14    .08    .03    .00   A = 0
    Hartmann .20    .54    .84    .99    .97    .86    .73    .59    .41    .20   -.03   A = 1/3
    Trid    -.51   -.48   -.43   -.36   -.24   -.01    .43    .87    .96    .92    .88   none
"""

from __future__ import annotations

from functools import partial

import numpy as np

from surrogates.errors import DataError

from .functions import branin, hartmann3, hartmann3_sum
from .multifidelity import Floats, MultiFidelityFunction

_LEVELS = ("low", "high")
_TOAL = "levels: Toal (2015), Structural and Multidisciplinary Optimization 51, 1223-1245, A = "


def _branin_low(x: Floats, *, A: float) -> Floats:
    """f(x) - (A + ½) (x2 - 5.1 x1²/(4π²) + 5 x1/π - 6)²."""
    x1, x2 = x.T
    square = (x2 - 5.1 * x1**2 / (4 * np.pi**2) + 5 * x1 / np.pi - 6) ** 2
    return np.asarray(branin.functions[-1](x) - (A + 0.5) * square)


def _paciorek_high(x: Floats) -> Floats:
    """sin(1/(x1 x2))."""
    return np.asarray(np.sin(1 / x.prod(axis=1)))


def _paciorek_low(x: Floats, *, A: float) -> Floats:
    """f(x) - 9 A² cos(1/(x1 x2))."""
    return np.asarray(_paciorek_high(x) - 9 * A**2 * np.cos(1 / x.prod(axis=1)))


def _hartmann3_low(x: Floats, *, A: float) -> Floats:
    """-Σ_i α_i exp(-Σ_j β_ij (x_j - ¾ P_ij (A + 1))²)."""
    return hartmann3_sum(x, shift=0.75 * (A + 1))


def _trid_high(x: Floats) -> Floats:
    """Σ_i (x_i - 1)² - Σ_{i ≥ 2} x_i x_{i-1}."""
    return np.asarray(((x - 1) ** 2).sum(axis=1) - (x[:, 1:] * x[:, :-1]).sum(axis=1))


def _trid_low(x: Floats, *, A: float) -> Floats:
    """Σ_i (x_i - A)² - (A - 0.65) Σ_{i ≥ 2} i x_i x_{i-1}.

    The factor i is in the code of both sources; the documentation of mf2 leaves it out.
    """
    i = np.arange(2, x.shape[1] + 1)
    return np.asarray(((x - A) ** 2).sum(axis=1) - (A - 0.65) * (i * x[:, 1:] * x[:, :-1]).sum(axis=1))


def _checked(A: float) -> float:
    if not np.isfinite(A):
        raise DataError(f"A is {A}; a finite number is wanted, of which 0 to 1 are Toal's")
    return float(A)


def toal_branin(A: float) -> MultiFidelityFunction:
    """Two inputs; the cheap level lacks a share A + ½ of Branin's square.

    >>> toal_branin(-0.5)(np.array([[1.0, 2.0]]), "low") == branin(np.array([[1.0, 2.0]]), "high")
    array([ True])
    """
    return MultiFidelityFunction(
        f"Toal's Branin, A = {_checked(A):g}",
        branin.inputs,
        branin.bounds,
        _LEVELS,
        (partial(_branin_low, A=A), branin.functions[-1]),
        f"Dixon & Szegö (1978), Towards Global Optimisation 2; {_TOAL}{A:g}",
        minimum=branin.minimum,
        minimisers=branin.minimisers,
    )


def toal_paciorek(A: float) -> MultiFidelityFunction:
    """Two inputs; the cheap level adds 9 A² times the same wave, a quarter of a period behind.

    The least value -1 is taken along x1 x2 = 2/(3π), of which the place on the diagonal is given.

    >>> toal_paciorek(0.0)(np.array([[0.5, 0.6]]), "low") == toal_paciorek(0.0)(np.array([[0.5, 0.6]]), "high")
    array([ True])
    """
    return MultiFidelityFunction(
        f"Toal's Paciorek, A = {_checked(A):g}",
        ("x1", "x2"),
        ((0.3, 1.0),) * 2,
        _LEVELS,
        (partial(_paciorek_low, A=A), _paciorek_high),
        f"Paciorek (2003), dissertation, Carnegie Mellon University; {_TOAL}{A:g}",
        minimum=-1.0,
        minimisers=(((2 / (3 * np.pi)) ** 0.5,) * 2,),
    )


def toal_hartmann3(A: float) -> MultiFidelityFunction:
    """Three inputs; the cheap level's four wells are ¾ (A + 1) times as far from the origin.

    >>> bool(np.isclose(toal_hartmann3(1 / 3)(np.full((1, 3), 0.4), "low"), hartmann3(np.full((1, 3), 0.4), "high"))[0])
    True
    """
    return MultiFidelityFunction(
        f"Toal's Hartmann 3, A = {_checked(A):g}",
        hartmann3.inputs,
        hartmann3.bounds,
        _LEVELS,
        (partial(_hartmann3_low, A=A), hartmann3.functions[-1]),
        f"Dixon & Szegö (1978), Towards Global Optimisation 2; {_TOAL}{A:g}",
        minimum=hartmann3.minimum,
        minimisers=hartmann3.minimisers,
    )


def toal_trid(A: float) -> MultiFidelityFunction:
    """Ten inputs; two quadratic functions whose products of neighbours have other weights, for A < 0.65 another sign.

    >>> float(toal_trid(0.5)(np.zeros((1, 10)), "low")[0])
    2.5
    """
    d = 10
    return MultiFidelityFunction(
        f"Toal's Trid, A = {_checked(A):g}",
        tuple(f"x{i}" for i in range(1, d + 1)),
        ((-100.0, 100.0),) * d,
        _LEVELS,
        (partial(_trid_low, A=A), _trid_high),
        f"Trid: Virtual Library of Simulation Experiments (sfu.ca/~ssurjano); {_TOAL}{A:g}",
        minimum=-d * (d + 4) * (d - 1) / 6,
        minimisers=(tuple(float(i * (d + 1 - i)) for i in range(1, d + 1)),),
    )


#: Two levels that are nearly one: correlation .90, .96, .96.
branin_alike = toal_branin(0.3)
paciorek_alike = toal_paciorek(0.2)
trid_alike = toal_trid(0.8)
#: The cheap level is uncorrelated with the costly one, though made of the same parts: correlation .00, -.03, -.01.
paciorek_unlike = toal_paciorek(1.0)
hartmann3_unlike = toal_hartmann3(1.0)
trid_unlike = toal_trid(0.5)
