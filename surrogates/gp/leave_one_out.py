"""Leave-one-out predictions in closed form, for every single reading.

For a reading r in row i with noise variance e_r:  y_r - ŷ_-r = a_r/p_r with variance 1/p_r, where
    a_r = (y_r - ŷ_i)/e_r,   p_r = 1/e_r - v_i/e_r²,   ŷ = y - Dα,   v = D - D² diag P
(Rasmussen & Williams 2006, eq. 5.12, carried through the collapse; hyper-parameters are kept.) A reading without which
its task's flat trend isn't determined has P = 0: left out, it can't be predicted, and its mean and variance are NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments

from .collapse import Collapsed
from .design import Design
from .noise import KnownNoise

Floats = NDArray[np.float64]


class Solved(NamedTuple):
    """What one posterior knows of its rows: α and diag P (n,), fitted data y and noise D (n,), reading noise (N,)."""

    alpha: Floats
    p_diagonal: Floats
    y: Floats
    D: Floats
    reading_variance: Floats


def indispensable(design: Design) -> NDArray[np.bool_]:
    """Rows (n,) without which their task's data don't determine its flat trend: their leverage is one."""
    found = np.zeros(len(design.x), dtype=bool)
    for t in range(design.tasks):
        rows = slice(int(design.bounds[t]), int(design.bounds[t + 1]))
        flat = design.prior_precision[t] == 0
        if flat.any() and rows.stop > rows.start:
            Q = np.linalg.qr(design.basis[rows][:, flat])[0]
            found[rows] = (Q * Q).sum(axis=1) > 1 - 1e-9
    return found


def leave_one_out(collapsed: Collapsed, readings: Floats, solved: Solved) -> Moments:
    """Mean and variance of every reading (N,) given all the others; NaN where they say nothing about it.

    Parameters
    ----------
    collapsed : the design and each reading's row
    readings : (N,) scaled values
    solved : the posterior at its hyper-parameters
    """
    row = collapsed.row
    alone = np.bincount(row)[row] == 1
    α, P = solved.alpha[row], solved.p_diagonal[row]
    divisor = np.where(P > 0, P, np.nan)
    single = Moments(readings - α / divisor, 1.0 / divisor)
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
    p = np.where(p > 0, p, np.nan)  # zero for readings that are alone and indispensable
    exact = solved.reading_variance == 0
    # a repeat of an exact reading is known exactly
    mean = np.where(exact, readings, readings - (readings - fitted) / e / p)
    variance = np.where(exact, 0.0, 1.0 / p)
    return Moments(np.where(alone, single.mean, mean), np.where(alone, single.variance, variance))
