"""Chebyshev features against numpy.polynomial.chebyshev, and the choice of their degrees on maps that are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import ChebyshevFeatures, choose_degrees
from surrogates.networks.polynomials import weighted_degrees

RATES = torch.tensor([0.8, 0.5, 0.3, 0.2, 0.1, 0.05], dtype=torch.float64)


def uniform(*shape: int, seed: int = 1) -> Tensor:
    return 2 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1


def arcsine(n: int, d: int, seed: int = 1) -> Tensor:
    return torch.cos(math.pi * uniform(n, d, seed=seed))


def fitted(X: Tensor, Y: Tensor, degrees: Tensor) -> Tensor:
    weights: Tensor = torch.linalg.lstsq(ChebyshevFeatures(degrees).values(X), Y).solution
    return weights


def missed(f: Callable[[Tensor], Tensor], X: Tensor, terms: int, d: int) -> float:
    """Largest error of the fit at fresh places, relative to the largest value."""
    degrees = choose_degrees(X, f(X), terms)
    assert len(degrees) <= terms
    fresh = uniform(500, d, seed=99)
    answer = ChebyshevFeatures(degrees).values(fresh) @ fitted(X, f(X), degrees)
    return float((answer - f(fresh)).abs().max() / f(fresh).abs().max())


# --- the features ---


@settings(deadline=None, max_examples=40)
@given(d=st.integers(1, 5), L=st.integers(1, 15), highest=st.integers(0, 9), seed=st.integers(0, 99))
def test_values_are_products_of_chebyshev_polynomials(d: int, L: int, highest: int, seed: int) -> None:
    degrees = torch.randint(highest + 1, (L, d), generator=torch.Generator().manual_seed(seed))
    features, X = ChebyshevFeatures(degrees), uniform(3, 4, d, seed=seed)
    expected = np.ones((3, 4, L))
    for l, row in enumerate(degrees.tolist()):
        for j, degree in enumerate(row):
            expected[..., l] *= chebyshev.chebval(X[..., j].numpy(), np.eye(degree + 1)[degree])
    assert features.values(X).shape == (3, 4, L)
    np.testing.assert_allclose(features.values(X).numpy(), expected, rtol=0, atol=1e-13)
    assert torch.equal(features(X), features.values(X))
    assert torch.equal(features.rows(X.reshape(-1, d)).T.reshape(3, 4, L), features.values(X))
    assert (features.width, features.d_in) == (L, d)
    assert not list(features.parameters())


def test_gradients_flow_through_the_features() -> None:
    """T_n' = n U_{n-1}: at x = cos θ, n sin nθ / sin θ."""
    θ = torch.linspace(0.3, 2.8, 7, dtype=torch.float64)
    x = torch.cos(θ).requires_grad_()
    (slope,) = torch.autograd.grad(ChebyshevFeatures(torch.tensor([[7]]))(x[:, None]).sum(), x)
    torch.testing.assert_close(slope, 7 * torch.sin(7 * θ) / torch.sin(θ), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "degrees",
    [
        torch.zeros(0, 2, dtype=torch.long),
        torch.tensor([1, 2]),
        torch.tensor([[0, -1]]),
        torch.tensor([[0.0, 1.0]]),
    ],
)
def test_degrees_that_are_none_are_refused(degrees: Tensor) -> None:
    with pytest.raises(DataError, match="integers >= 0 of shape"):
        ChebyshevFeatures(degrees)


def test_inputs_of_another_width_or_dtype_are_refused() -> None:
    features = ChebyshevFeatures(torch.tensor([[0, 1], [2, 0]]))
    with pytest.raises(DataError, match="ChebyshevFeatures"):
        features.values(uniform(4, 3))
    with pytest.raises(DataError, match="ChebyshevFeatures"):
        features.values(cast(Any, uniform(4, 2).float()))


# --- sets of degrees ---


@settings(deadline=None, max_examples=40)
@given(weights=st.lists(st.floats(0.5, 4.0), min_size=1, max_size=4), bound=st.floats(0.0, 7.0))
def test_weighted_sets_equal_a_loop_over_a_grid(weights: list[float], bound: float) -> None:
    d, most = len(weights), int(bound / 0.5) + 1
    grid = np.stack(np.meshgrid(*[np.arange(most + 1)] * d, indexing="ij"), -1).reshape(-1, d)
    used = grid @ np.array(weights)
    inside = {tuple(row) for row in grid[used <= bound].tolist()}
    edge = {tuple(row) for row in grid[np.abs(used - bound) < 1e-8].tolist()}
    found = [tuple(row) for row in weighted_degrees(weights, bound).tolist()]
    assert len(found) == len(set(found))
    assert inside - edge <= set(found) <= inside | edge


def test_total_degrees_are_counted() -> None:
    assert len(weighted_degrees([1.0] * 3, 6.0)) == math.comb(9, 3)


# --- the choice of degrees ---


def test_a_polynomial_is_recovered_exactly() -> None:
    X = arcsine(400, 2)
    degrees = choose_degrees(X, polynomial(X), 60)
    weights = fitted(X, polynomial(X), degrees)
    for row, w in zip(degrees.tolist(), weights[:, 0].tolist(), strict=True):
        assert w == pytest.approx({(0, 0): 1.0, (3, 1): 2.0, (0, 2): -0.5}.get(tuple(row), 0.0), abs=1e-12)
    assert missed(polynomial, X, 60, 2) < 1e-13


def polynomial(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return (1 + 2 * (4 * x**3 - 3 * x) * y - 0.5 * (2 * y**2 - 1))[:, None]


def two(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return torch.stack([torch.exp(0.7 * x + 0.2 * y), 1 / (2 + x + 0.3 * y)], -1)


def six(X: Tensor) -> Tensor:
    return torch.exp(X @ RATES)[:, None]


def test_errors_of_an_analytic_map_of_two_inputs_decay_exponentially() -> None:
    """Degree n costs about n²/2 terms; the pole at x = -1.7 of 1/(2 + x + 0.3 y) gives a factor 3 a degree and more."""
    errors = [missed(two, arcsine(4 * L, 2), L, 2) for L in (10, 30, 90)]
    assert errors[0] < 0.02
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] < 0.01 * errors[1]


@pytest.mark.parametrize("terms", [80, 320])
def test_six_inputs_get_degrees_as_good_as_those_from_the_formula(terms: int) -> None:
    """exp(Σ a_j x_j): the coefficient of T_n is about (a_j/2)ⁿ/n!, so weights -log(a_j/2) are near the best set."""
    X, fresh = uniform(4 * terms, 6), uniform(500, 6, seed=99)

    def error(degrees: Tensor) -> float:
        answer = ChebyshevFeatures(degrees).values(fresh) @ fitted(X, six(X), degrees)
        return float((answer - six(fresh)).norm() / six(fresh).norm())

    best = (-(RATES / 2).log()).tolist()
    by_formula = max(
        (weighted_degrees(best, 0.1 * k) for k in range(200)), key=lambda set_: len(set_) * (len(set_) <= terms)
    )
    equal = max(
        (weighted_degrees([1.0] * 6, float(k)) for k in range(9)), key=lambda set_: len(set_) * (len(set_) <= terms)
    )
    chosen = choose_degrees(X, six(X), terms)
    assert len(chosen) <= terms
    assert error(chosen) < 2 * error(by_formula)
    assert error(chosen) < 0.25 * error(equal)


def test_inputs_that_matter_more_get_higher_degrees() -> None:
    """exp(2x) exp(y/10): coefficients I_n(2) and I_n(0.1), by 1e-8 at n = 11 and n = 5."""
    X = arcsine(400, 2)
    x, y = X.unbind(-1)
    highest = choose_degrees(X, torch.exp(2 * x + 0.1 * y)[:, None], 60).amax(0)
    assert int(highest[0]) >= 2 * int(highest[1])
    assert missed(lambda X: torch.exp(2 * X[:, :1] + 0.1 * X[:, 1:]), X, 60, 2) < 1e-9


def odd(X: Tensor) -> Tensor:
    x, y = X.unbind(-1)
    return torch.stack([torch.sin(2 * x + y), torch.sinh(x - 0.5 * y)], -1)


def test_symmetric_maps_are_given_terms_of_their_symmetry() -> None:
    """f(-x) = -f(x): terms of an even total degree are left out (but the constant), and the rest reach further."""
    X = arcsine(240, 2)
    degrees = choose_degrees(X, odd(X), 60)
    even = degrees.sum(1) % 2 == 0
    assert int(even.sum()) <= 1
    assert int(degrees.sum(1).max()) > 10  # all terms to degree 9 are 55, the odd ones 30
    full = choose_degrees(X, odd(X) + torch.exp(X[:, :1]), 60)
    assert int((full.sum(1) % 2 == 0).sum()) > 20


def test_a_symmetry_in_one_input_only() -> None:
    X = arcsine(240, 2)
    f = torch.exp(X[:, :1]) * torch.cos(2 * X[:, 1:])
    degrees = choose_degrees(X, f, 60)
    assert bool((degrees[:, 1] % 2 == 0).all())


def test_one_input_works() -> None:
    """exp on [-1, 1]: the error of degree 11 is about 2 I_12(1) = 1e-12."""
    X = arcsine(100, 1)
    degrees = choose_degrees(X, torch.exp(X), 12)
    assert sorted(degrees[:, 0].tolist()) == list(range(12))
    fresh = uniform(200, 1, seed=5)
    answer = ChebyshevFeatures(degrees).values(fresh) @ fitted(X, torch.exp(X), degrees)
    assert 1e-14 < float((answer - torch.exp(fresh)).abs().max()) < 1e-11


def test_the_order_of_rows_changes_little_and_that_of_outputs_nothing() -> None:
    X = arcsine(400, 2)
    Y = two(X)
    assert torch.equal(choose_degrees(X, Y, 50), choose_degrees(X, Y.flip(1), 50))
    backwards = ChebyshevFeatures(choose_degrees(X.flip(0), Y.flip(0), 50))
    assert abs(backwards.width - len(choose_degrees(X, Y, 50))) <= 5


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match=r"19 rows are too few for 10 terms; give at least 20"):
        choose_degrees(uniform(19, 2), uniform(19, 1), 10)
    assert len(choose_degrees(uniform(20, 2), uniform(20, 1), 10)) <= 10
