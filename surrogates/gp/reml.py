"""The restricted likelihood of data with an integrated trend, for one dense covariance matrix.

    A = H'Σ⁻¹H + Λ;   P = Σ⁻¹ - Σ⁻¹H A⁻¹ H'Σ⁻¹;   β̂ = A⁻¹H'Σ⁻¹y;   α = Py = Σ⁻¹(y - Hβ̂)
    ℓ = -½ y'Py - ½ log|Σ| - ½ log|A| + ½ log|Λ|₊ - ½ (n - rank of the flat trend) log 2π

Λ is diagonal: zero where a coefficient's prior is flat, else the prior's precision; |Λ|₊ is the product of the others.
(Patterson & Thompson 1971; Rasmussen & Williams 2006, sec. 2.7.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import NumericalError
from surrogates.linalg import (
    invert_factor_in_place,
    log_determinant,
    solve_lower,
    solve_lower_transposed,
    try_cholesky_in_place,
    update_symmetric_in_place,
)

Floats = NDArray[np.float64]


class NotPositiveDefinite(NumericalError):
    """Σ can't be factored at these parameters; an optimiser steps back."""


class Reml(NamedTuple):
    """What the likelihood, its gradient and the predictions need.  n rows, q trend columns, c data columns."""

    value: float  # ℓ above; for c columns of data the quadratic terms add up and `weight` multiplies the rest
    alpha: Floats  # (n, c)
    G: Floats  # (n, q): Σ⁻¹ H A^-T/2, so that P = Σ⁻¹ - G G'
    beta: Floats  # (q, c)


def trend_constant(prior_precision: Floats, rows: int) -> float:
    """½ log|Λ|₊ - ½ (rows - number of flat coefficients) log 2π.  prior_precision: (q,)."""
    proper = prior_precision[prior_precision > 0]
    flat = len(prior_precision) - len(proper)
    return 0.5 * float(np.log(proper).sum()) - 0.5 * (rows - flat) * math.log(2 * math.pi)


def factor_trend(A: Floats) -> Floats:
    """Lower Cholesky factor of A (q, q).

    Raises
    ------
    NotPositiveDefinite
        If the trend's coefficients can't be told apart.
    """
    L = np.array(A, dtype=np.float64, order="C")
    if not try_cholesky_in_place(L):
        raise NotPositiveDefinite("the trend's columns can't be told apart at these parameters")
    return np.tril(L)


class Whitened(NamedTuple):
    """The likelihood and what its derivatives start from: H and Y times the inverse of Σ's factor."""

    value: float
    V: Floats  # (n, q)
    Z: Floats  # (n, c)
    L_A: Floats  # (q, q)
    projected: Floats  # (q, c) L_A⁻¹V'Z


def whiten(S: Floats, H: Floats, Y: Floats, prior_precision: Floats, *, weight: float = 1.0) -> Whitened:
    """Restricted likelihood; S (n, n) holds Σ's lower triangle and is overwritten with its Cholesky factor.

    Parameters
    ----------
    S : (n, n), C order
    H : (n, q) trend columns
    Y : (n, c) data, every column with the same Σ and H
    prior_precision : (q,) diagonal of Λ
    weight : how many independent columns the determinants count for

    Raises
    ------
    NotPositiveDefinite
        If Σ or A isn't.
    """
    if not try_cholesky_in_place(S):
        raise NotPositiveDefinite("the covariance matrix is not positive definite at these parameters")
    n, q = H.shape
    whitened = solve_lower(S, np.concatenate([H.T, Y.T]).T)  # in Fortran order, as LAPACK wants it
    V, Z = whitened[:, :q], whitened[:, q:]
    L_A = factor_trend(V.T @ V + np.diag(prior_precision))
    projected = solve_lower(L_A, V.T @ Z)
    quadratic = float((Z * Z).sum() - (projected * projected).sum())
    determinants = log_determinant(S) + log_determinant(L_A)
    value = -0.5 * quadratic - 0.5 * weight * determinants + weight * trend_constant(prior_precision, n)
    return Whitened(value, V, Z, L_A, projected)


def reml(S: Floats, H: Floats, Y: Floats, prior_precision: Floats, *, weight: float = 1.0) -> Reml:
    """`whiten`, and the solution of the normal equations."""
    return solve_whitened(S, whiten(S, H, Y, prior_precision, weight=weight))


def solve_whitened(S: Floats, whitened: Whitened) -> Reml:
    """Solution of the normal equations; S holds the factor that `whiten` left."""
    value, V, Z, L_A, projected = whitened
    β = solve_lower_transposed(L_A, projected)
    half_G = solve_lower(L_A, V.T).T  # (n, q)
    back = solve_lower_transposed(S, np.concatenate([(Z - V @ β).T, half_G.T]).T)
    return Reml(value, back[:, : Z.shape[1]], back[:, Z.shape[1] :], β)


def weigh(S: Floats, solution: Reml, *, weight: float = 1.0) -> Floats:
    """W = αα' - weight·P into S's lower triangle, which holds the factor that `reml` left; returns diag(P) (n,).

    The gradient of ℓ by any parameter is ½ Σ_ij W_ij ∂Σ_ij.
    """
    invert_factor_in_place(S)
    p_diagonal = np.diagonal(S) - (solution.G**2).sum(axis=1)
    factors = np.concatenate([solution.alpha, np.sqrt(weight) * solution.G], axis=1)
    update_symmetric_in_place(S, factors, scale=-weight)
    return np.asarray(p_diagonal)
