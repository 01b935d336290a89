"""Leave-one-out predictions in closed form, for every single reading.

For a reading r in row i with noise variance e_r:  y_r - ŷ_-r = a_r/p_r with variance 1/p_r, where
    a_r = (y_r - ŷ_i)/e_r,   p_r = 1/e_r - v_i/e_r²,   ŷ = y - Dα,   v = D - D² diag P
(Rasmussen & Williams 2006, eq. 5.12, carried through the collapse; hyper-parameters are kept.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments

from .collapse import Collapsed
from .noise import KnownNoise

Floats = NDArray[np.float64]


class Solved(NamedTuple):
    """What one posterior knows of its rows: α and diag P (n,), fitted data y and noise D (n,), reading noise (N,)."""

    alpha: Floats
    p_diagonal: Floats
    y: Floats
    D: Floats
    reading_variance: Floats


def leave_one_out(collapsed: Collapsed, readings: Floats, solved: Solved) -> Moments:
    """Mean and variance of every reading (N,) given all the others.

    Parameters
    ----------
    collapsed : the design and each reading's row
    readings : (N,) scaled values
    solved : the posterior at its hyper-parameters
    """
    row = collapsed.row
    alone = np.bincount(row)[row] == 1
    α, P = solved.alpha[row], solved.p_diagonal[row]
    single = Moments(readings - α / P, 1.0 / P)
    if alone.all():
        return single
    # with known noise the row's D holds the nugget, which readings of one place share: it belongs to f here
    shared = solved.D
    if isinstance(collapsed.design.noise, KnownNoise):
        shared = collapsed.design.noise.variance
    D, e = shared[row], np.where(solved.reading_variance > 0, solved.reading_variance, 1.0)
    fitted = solved.y[row] - D * α
    v = D - D**2 * P
    p = 1.0 / e - v / e**2
    exact = solved.reading_variance == 0
    # a repeat of an exact reading is known exactly
    mean = np.where(exact, readings, readings - (readings - fitted) / e / p)
    variance = np.where(exact, 0.0, 1.0 / p)
    return Moments(np.where(alone, single.mean, mean), np.where(alone, single.variance, variance))
