"""Tests of left-out residuals that know how these depend on each other.

Left-out residuals of one model are correlated: e = diag(P)⁻¹ P y has the correlation matrix R = P scaled to unit diagonal,
if the model is right. For standard normal z with correlations ρ:

    Σ z²            mean n, variance 2 Σ_ij ρ²_ij: that of g χ²_ν with ν = n²/Σ ρ², g = n/ν    (Satterthwaite 1946)
    coverage        variance <= p(1-p) Σ_ij ρ²_ij, since the indicator of |z| <= q has even Hermite terms only: that of
                    a binomial of at least n_e = n²/Σ ρ² readings
    Cramér-von Mises    W² has the mean Σ_ij g(ρ_ij)/n (see `overlap`) instead of 1/6

So n_e = n²/Σ ρ² is the effective number of readings. Hyper-parameters are taken as given; as they were fitted to the same
readings, residuals look a little better than those of new data, and the tests err on the side of saying nothing.
(Own derivations but for those named.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammainc, gammaincc, kv

Floats = NDArray[np.float64]


def too_few_inside(share: float, level: float, size: float) -> float:
    """Probability of `share` or less inside, of `size` independent readings, each inside with probability `level`.

    The binomial's distribution function, between whole numbers by the incomplete beta function.

    >>> round(too_few_inside(0.5, 0.5, 4), 4)  # (1 + 4 + 6)/16
    0.6875
    """
    inside = share * size
    return 1.0 if inside >= size else float(betainc(size - inside, inside + 1.0, 1.0 - level))


def too_large(mean_square: float, size: float) -> float:
    """Probability of a mean of z² of at least this size, if z are standard normal and worth `size` readings."""
    return float(gammaincc(0.5 * size, 0.5 * size * mean_square))


def too_small(mean_square: float, size: float) -> float:
    """Probability of a mean of z² of at most this size."""
    return float(gammainc(0.5 * size, 0.5 * size * mean_square))


def cramer_von_mises(pit: Floats) -> float:
    """W² = 1/12n + Σ_i (u_(i) - (2i-1)/2n)² of probability values u (n,): their distance from uniformity.

    >>> round(cramer_von_mises(np.array([0.25, 0.75])), 6)  # as evenly spread as two values can be
    0.041667
    """
    n = len(pit)
    return float(1 / (12 * n) + ((np.sort(pit) - (2 * np.arange(1, n + 1) - 1) / (2 * n)) ** 2).sum())


def not_uniform(statistic: float, mean: float = 1 / 6) -> float:
    """Probability of a larger W² of uniform values, in the limit of many; `mean` is W²'s expectation, 1/6 if independent.

    Anderson & Darling (1952), eq. 4.35; for dependent values the distribution is scaled to its mean.

    >>> round(not_uniform(0.46136), 4)  # their table
    0.05
    """
    x = statistic / (6 * mean)
    if x < 0.01:  # the series has no digits left there, and the probability is 1
        return 1.0
    total, coefficient = 0.0, 1.0
    for k in range(12):
        b = (4 * k + 1) ** 2 / (16 * x)
        total += coefficient * np.sqrt(4 * k + 1) * np.exp(-b) * kv(0.25, b)
        coefficient *= (k + 0.5) / (k + 1)  # Γ(k + ½)/(Γ(½) k!)
    return float(np.clip(1.0 - total / (np.pi * np.sqrt(x)), 0.0, 1.0))
