"""What is known of a linear smoother's readings, and how far their left-out residuals depend on each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Dependence(NamedTuple):
    """Sums over the scored readings s of functions of ρ_rs, the correlation of the standardised left-out residuals r and s.

    squares : Σ_s ρ²_rs;  own_squares : the same over readings of r's own task;  covered : Σ_s g(ρ_rs), where
        g(ρ) = ∫ Cov(1{u <= p}, 1{v <= p}) dp = arcsin((1 + ρ)/2)/2π - 1/12 of two probability values u, v. (N,) each
    """

    squares: Floats
    own_squares: Floats
    covered: Floats


class Smoothing(NamedTuple):
    """How the fitted values hang on each reading.  N readings; all in closed form, hyper-parameters kept.

    leverage : derivative of a reading's fitted value by itself; their sum is the effective number of parameters
    influence : by how much the reading moves predictions: the largest change of any linear functional of the functions, in
        its own standard deviations without the reading
    shift, largest : root mean square, and maximum, over all rows, of the change of the fitted values when the reading is
        left out, in the target's units
    condition : condition number of the covariance matrix, in the 1-norm
    """

    leverage: Floats
    influence: Floats
    shift: Floats
    largest: Floats
    condition: float
    dependence: Dependence


def overlap(ρ: Floats) -> Floats:
    """g(ρ) of `Dependence`: 0 for independent values, 1/6 for equal ones.

    E max(u, v) of a Gaussian copula is an orthant's probability; our own derivation.

    >>> overlap(np.array([0.0, 1.0])).round(12).tolist() == [0.0, round(1 / 6, 12)]
    True
    """
    return np.asarray(np.arcsin(np.clip(0.5 * (1 + ρ), 0.0, 1.0)) / (2 * np.pi) - 1 / 12)
