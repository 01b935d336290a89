"""Thin wrappers of LAPACK against NumPy on full matrices, and the reported jitter."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from surrogates.errors import JitterWarning, NumericalError
from surrogates.linalg import (
    add_to_diagonal,
    cholesky,
    invert_factor_in_place,
    invert_lower,
    log_determinant,
    mirror,
    multiply_symmetric,
    solve_factored,
    solve_lower,
    solve_lower_transposed,
    spectrum,
    try_cholesky_in_place,
    update_symmetric_in_place,
)

Floats = NDArray[np.float64]
SIZES = [1, 2, 7, 70]


def spd(n: int, seed: int = 0) -> Floats:
    """A symmetric positive definite matrix."""
    R = np.random.default_rng(seed).normal(size=(n, n + 3))
    return R @ R.T


def lower_only(S: NDArray[Any]) -> Floats:
    """Its lower triangle, and garbage above."""
    return np.tril(S) + np.triu(np.full(S.shape, 1e6), 1)


@pytest.mark.parametrize("n", SIZES)
def test_a_positive_definite_matrix_needs_no_jitter(n: int) -> None:
    K = spd(n)
    before = K.copy()
    factor = cholesky(K)
    assert factor.jitter == 0.0
    np.testing.assert_allclose(factor.L, np.linalg.cholesky(K), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(K, before)
    assert np.array_equal(factor.L, np.tril(factor.L))


def test_an_empty_matrix_has_an_empty_factor() -> None:
    assert cholesky(np.zeros((0, 0))).L.shape == (0, 0)
    assert solve_lower(np.zeros((0, 0)), np.zeros((0, 3))).shape == (0, 3)
    assert multiply_symmetric(np.eye(3), np.zeros((3, 0))).shape == (3, 0)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_jitter_is_reported_with_its_amount(scale: float) -> None:
    v = np.array([[1.0, 0.5], [0.3, -2.0], [0.7, 0.1], [0.2, 0.4]]) * np.sqrt(scale)
    K = v @ v.T  # of rank two
    K[np.diag_indices(4)] -= 1e-12 * scale  # as rounding would leave it
    with pytest.warns(
        JitterWarning, match=r"the prior matrix is not positive definite .*; added .* to its diagonal"
    ) as w:
        factor = cholesky(K, name="prior")
    mean = np.trace(K) / 4
    assert 1e-12 * scale <= factor.jitter <= 1e-8 * mean
    said = re.search(r"added (\S+) to its diagonal \((\S+) of its mean\)", str(w[0].message))
    assert said is not None
    assert float(said[1]) == pytest.approx(factor.jitter, rel=0.05)
    assert float(said[2]) == pytest.approx(factor.jitter / mean, rel=0.5)
    np.testing.assert_allclose(factor.L @ factor.L.T, K + factor.jitter * np.eye(4), atol=1e-14 * mean)
    # a tenth of it would not have done
    assert not try_cholesky_in_place(np.ascontiguousarray(K + 0.1 * factor.jitter * np.eye(4)))


def test_the_warning_points_at_the_caller() -> None:
    with pytest.warns(JitterWarning) as caught:
        cholesky(np.ones((2, 2)) - 1e-13 * np.eye(2))
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("K", "words"),
    [
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "the Gram matrix is not positive definite, even with .* duplicate points"),
        (-np.eye(2), "not positive definite, even with"),
        (np.zeros((2, 2)), "not positive definite, even with"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "the Gram matrix holds NaN or inf; check the inputs"),
        (np.array([[np.inf, 0.0], [0.0, 1.0]]), "holds NaN or inf"),
    ],
    ids=["indefinite", "negative", "zero", "NaN", "inf"],
)
def test_what_cannot_be_factored_is_refused(K: Floats, words: str) -> None:
    with pytest.raises(NumericalError, match=words):
        cholesky(K, name="Gram")


@pytest.mark.parametrize("n", SIZES)
def test_in_place_factor_and_inverse_read_the_lower_triangle_only(n: int) -> None:
    K = spd(n)
    S = lower_only(K)
    assert try_cholesky_in_place(S)
    np.testing.assert_allclose(np.tril(S), np.linalg.cholesky(K), rtol=1e-10, atol=1e-12)
    assert log_determinant(S) == pytest.approx(np.linalg.slogdet(K)[1], rel=1e-10)
    invert_factor_in_place(S)
    np.testing.assert_allclose(np.tril(S), np.tril(np.linalg.inv(K)), rtol=1e-8, atol=1e-12)
    assert not try_cholesky_in_place(lower_only(K - np.diag(np.full(n, 1e3 * n))))


def test_a_factor_with_a_zero_on_its_diagonal_has_no_inverse() -> None:
    with pytest.raises(NumericalError, match="zero on its diagonal"):
        invert_factor_in_place(np.diag([1.0, 0.0]))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n", SIZES)
def test_triangular_solves_are_numpys(n: int, order: str) -> None:
    K = spd(n)
    L = np.linalg.cholesky(K)
    stored = lower_only(L)
    B = np.array(np.random.default_rng(1).normal(size=(n, 3)), order=order)  # type: ignore[call-overload]
    before = B.copy()
    np.testing.assert_allclose(solve_lower(stored, B), np.linalg.solve(L, B), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(solve_lower_transposed(stored, B), np.linalg.solve(L.T, B), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(solve_factored(stored, B), np.linalg.solve(K, B), rtol=1e-9, atol=1e-11)
    np.testing.assert_array_equal(B, before)


@pytest.mark.parametrize("n", SIZES)
def test_symmetric_products_and_updates_read_the_lower_triangle_only(n: int) -> None:
    generator = np.random.default_rng(2)
    K, B, F = spd(n), generator.normal(size=(n, 4)), generator.normal(size=(n, 2))
    S = lower_only(K)
    np.testing.assert_allclose(multiply_symmetric(S, B), K @ B, rtol=1e-12, atol=1e-12)
    full = mirror(S)
    np.testing.assert_array_equal(full, np.tril(K) + np.tril(K, -1).T)
    np.testing.assert_array_equal(S, lower_only(K))
    update_symmetric_in_place(S, F, scale=-0.5)
    np.testing.assert_allclose(np.tril(S), np.tril(F @ F.T - 0.5 * K), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.triu(S, 1), np.triu(lower_only(K), 1))


@pytest.mark.parametrize("n", SIZES)
def test_the_diagonal_is_added_to_in_place(n: int) -> None:
    S, values = spd(n), np.arange(1.0, n + 1)
    expected = S + np.diag(values)
    add_to_diagonal(S, values)
    np.testing.assert_array_equal(S, expected)


@pytest.mark.parametrize("n", SIZES)
def test_the_spectrum_puts_the_matrix_together_again(n: int) -> None:
    K = spd(n)
    values, vectors = spectrum(K)
    assert (np.diff(values) >= 0).all()
    np.testing.assert_allclose((vectors * values) @ vectors.T, K, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(values.sum(), np.trace(K), rtol=1e-12)


def test_the_inverse_of_a_lower_factor() -> None:
    L = np.linalg.cholesky(np.cov(np.random.default_rng(0).normal(size=(5, 40))))
    above = np.asarray(L + np.triu(np.full((5, 5), 9.0), 1), dtype=np.float64)  # what stands there doesn't count
    inverse = invert_lower(above)
    np.testing.assert_allclose(inverse @ L, np.eye(5), atol=1e-13)
    np.testing.assert_array_equal(np.triu(inverse, 1), 0)
    assert invert_lower(np.zeros((0, 0))).shape == (0, 0)
    with pytest.raises(NumericalError, match="zero on its diagonal"):
        invert_lower(np.zeros((2, 2)))
