"""Cholesky factors with a reported jitter, and thin wrappers of LAPACK that work in place on lower triangles.

Arrays are in C order and hold their lower triangle; LAPACK, which wants Fortran order, sees them as the upper triangle
of the transpose, so that nothing is copied.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from surrogates.errors import JitterWarning, NumericalError

Floats = NDArray[np.float64]


class Factor(NamedTuple):
    """K + jitter·I = L L'."""

    L: Floats  # (n, n), lower
    jitter: float  # what was added to the diagonal; 0.0 if nothing was


def cholesky(K: Floats, *, name: str = "covariance") -> Factor:
    """Lower Cholesky factor of K (n, n); where K isn't positive definite, of K + jitter·I, with a warning.

    Jitter starts at 1e-14 of the mean diagonal and grows tenfold, to at most 1e-8 of it.

    Raises
    ------
    NumericalError
        If even the largest jitter doesn't help, or K holds NaN or inf.

    Examples
    --------
    >>> cholesky(np.eye(2)).jitter
    0.0
    """
    if not np.isfinite(K).all():
        raise NumericalError(f"the {name} matrix holds NaN or inf; check the inputs and the parameters")
    scale = float(np.mean(np.diagonal(K))) if len(K) else 1.0
    for jitter in (0.0, *(scale * 10.0**k for k in range(-14, -7))):
        L = np.array(K, dtype=np.float64, order="C")
        L[np.diag_indices_from(L)] += jitter
        if try_cholesky_in_place(L):
            if jitter:
                warnings.warn(
                    f"the {name} matrix is not positive definite in double precision; added {jitter:.1e} to its "
                    f"diagonal ({jitter / scale:.0e} of its mean)",
                    JitterWarning,
                    stacklevel=2,
                )
            return Factor(np.tril(L), jitter)
    raise NumericalError(
        f"the {name} matrix is not positive definite, even with {jitter:.1e} on its diagonal; "
        f"look for duplicate points with tiny noise, or raise the noise"
    )


def try_cholesky_in_place(S: Floats) -> bool:
    """Overwrite the lower triangle of S (n, n, C order) with its Cholesky factor; False if it isn't positive definite."""
    if len(S) == 0:
        return True
    _, info = lapack.dpotrf(S.T, lower=0, overwrite_a=1, clean=0)
    return bool(info == 0)


def invert_factor_in_place(L: Floats) -> None:
    """Overwrite the lower factor L (n, n, C order) with the lower triangle of (L L')⁻¹."""
    if len(L):
        _, info = lapack.dpotri(L.T, lower=0, overwrite_c=1)
        if info:
            raise NumericalError("a Cholesky factor has a zero on its diagonal")


def invert_lower(L: Floats) -> Floats:
    """L⁻¹ (n, n), zeros above the diagonal, for the lower triangle of L (n, n, C order)."""
    if len(L) == 0:
        return np.zeros_like(L)
    inverse, info = lapack.dtrtri(np.tril(L).T, lower=0)
    if info:
        raise NumericalError("a triangular factor has a zero on its diagonal")
    return np.ascontiguousarray(inverse.T)


def solve_lower(L: Floats, B: Floats) -> Floats:
    """L⁻¹ B for the lower triangle of L (n, n, C order), B (n, k)."""
    return _triangular(L, B, transposed=1)


def solve_lower_transposed(L: Floats, B: Floats) -> Floats:
    """L⁻ᵀ B for the lower triangle of L (n, n, C order), B (n, k)."""
    return _triangular(L, B, transposed=0)


def solve_factored(L: Floats, B: Floats) -> Floats:
    """(L L')⁻¹ B for the lower triangle of L (n, n, C order), B (n, k)."""
    return solve_lower_transposed(L, solve_lower(L, B))


def _triangular(L: Floats, B: Floats, *, transposed: int) -> Floats:
    if B.size == 0:
        return np.zeros(B.shape)
    # seen in Fortran order, L' is an upper factor U; the solution overwrites the one copy that is made
    X = blas.dtrsm(1.0, L.T, np.array(B, order="F"), side=0, lower=0, trans_a=transposed, overwrite_b=1)
    return np.asarray(X)


def multiply_symmetric(S: Floats, B: Floats) -> Floats:
    """S B for a symmetric S (n, n, C order) of which the lower triangle is stored, B (n, k)."""
    if B.size == 0:
        return np.zeros(B.shape)
    return np.asarray(blas.dsymm(1.0, S.T, np.asfortranarray(B), side=0, lower=0))


def update_symmetric_in_place(S: Floats, F: Floats, *, scale: float) -> None:
    """S <- F F' + scale · S on the lower triangle of S (n, n, C order); F (n, r)."""
    if len(S):
        blas.dsyrk(1.0, F.T, beta=scale, c=S.T, trans=1, lower=0, overwrite_c=1)


def mirror(S: Floats) -> Floats:
    """The full symmetric matrix (n, n) of which S stores the lower triangle."""
    full = S.copy()
    np.copyto(full, S.T, where=strictly_upper(len(S)))
    return full


@lru_cache(maxsize=8)
def strictly_upper(n: int) -> NDArray[np.bool_]:
    """A mask (n, n) that is true above the diagonal; kept, as small matrices are mirrored thousands of times."""
    mask = np.triu(np.ones((n, n), dtype=bool), 1)
    mask.setflags(write=False)
    return mask


def add_to_diagonal(S: Floats, values: Floats) -> None:
    """Add values (n,) to the diagonal of S (n, n, C order) in place."""
    S.reshape(-1)[:: len(S) + 1] += values


def log_determinant(L: Floats) -> float:
    """log|L L'| for the lower factor L (n, n)."""
    return 2.0 * float(np.log(np.diagonal(L)).sum())


def spectrum(S: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (n,), ascending, and eigenvectors (n, n) in columns of the symmetric S."""
    values, vectors = scipy.linalg.eigh(S)
    return np.asarray(values), np.asarray(vectors)
