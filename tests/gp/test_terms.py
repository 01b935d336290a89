"""Terms of kernels: against gpytorch's own, double loops and central differences; all are correlation matrices."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import pytest
import torch
from gpytorch.kernels import MaternKernel, PeriodicKernel, RBFKernel
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp import Categorical, Periodic, Smooth, additive
from surrogates.gp.composite import (
    Composite,
    CompositeCorrelations,
    CompositeGram,
    from_fields,
    leaves,
    make_composite,
    to_fields,
)
from surrogates.gp.terms import Frame, Term

Floats = NDArray[np.float64]
INPUTS = ("x", "z", "hour", "material")
FRAME = Frame({name: k for k, name in enumerate(INPUTS)}, (2.0, 0.5, 48.0, 3.0))
TERMS: dict[str, Term] = {
    "smooth": Smooth(("x", "z"), "matern32"),
    "rough": Smooth("x", "matern12"),
    "periodic": Periodic("hour", 24),
    "learnt period": Periodic("hour"),
    "categorical": Categorical("material"),
    "sum": Smooth("x", "rbf") + Periodic("hour") + Categorical("material"),
    "product": Smooth(("x", "z")) * Categorical("material") * Periodic("hour"),
    "sum in product": (Smooth("x") + Categorical("material")) * Smooth("z", "rbf") + Periodic("hour", 12),
    "additive": additive("x", ("z", "hour")),
    "three alike": Smooth("x") + Smooth("x") + Smooth("x"),
}


def places(n: int, seed: int = 0) -> Floats:
    generator = np.random.default_rng(seed)
    x = generator.uniform(-0.5, 0.5, (n, 4))
    x[:, 3] = generator.integers(0, 4, n) / 3 - 0.5
    return x


def parameters(term: Term, seed: int = 1) -> Floats:
    own = term.parameters(FRAME)
    mean, deviation = np.array([p.mean for p in own]), np.array([p.deviation for p in own])
    return np.asarray(mean + 0.4 * deviation * np.random.default_rng(seed).standard_normal(len(own)))


def value(term: Term, x: Floats, z: Floats, θ: Floats) -> Floats:
    return term.slopes(x, z, θ, FRAME)[0]


def by_gpytorch(kernel: Any, x: Floats, z: Floats) -> Floats:
    with torch.no_grad():
        return np.asarray(kernel.double()(torch.tensor(x), torch.tensor(z)).to_dense().numpy())


def test_smooth_terms_are_gpytorchs() -> None:
    x, z, l = places(7), places(5, 2), np.array([0.4, 0.9])
    for kind, kernel in (
        ("matern52", MaternKernel(2.5, ard_num_dims=2)),
        ("matern32", MaternKernel(1.5, ard_num_dims=2)),
        ("rbf", RBFKernel(ard_num_dims=2)),
    ):
        kernel.lengthscale = torch.tensor(l)
        wanted = by_gpytorch(kernel, x[:, [0, 1]], z[:, [0, 1]])
        np.testing.assert_allclose(value(Smooth(("x", "z"), kind), x, z, np.log(l)), wanted, rtol=1e-6)


def test_the_periodic_term_is_gpytorchs() -> None:
    """gpytorch's length-scale is the square of ours; the period is told in hours, x in units of 48."""
    x, z = places(7), places(5, 2)
    kernel = PeriodicKernel()
    kernel.lengthscale, kernel.period_length = 0.7**2, 24.0
    wanted = by_gpytorch(kernel, 48 * x[:, [2]], 48 * z[:, [2]])
    np.testing.assert_allclose(value(Periodic("hour", 24), x, z, np.log([0.7])), wanted, rtol=1e-6)
    np.testing.assert_allclose(value(Periodic("hour"), x, z, np.log([0.7, 0.5])), wanted, rtol=1e-6)
    shifted = x + np.array([0, 0, 3 * 24 / 48, 0])
    np.testing.assert_allclose(value(Periodic("hour", 24), shifted, z, np.log([0.7])), wanted, rtol=1e-6)


def test_the_categorical_term_is_compound_symmetry() -> None:
    x = places(9)
    table = value(Categorical("material"), x, x, np.array([math.log(0.3 / 0.7)]))
    for i in range(9):
        for j in range(9):
            assert table[i, j] == pytest.approx(1.0 if x[i, 3] == x[j, 3] else 0.3)


def test_sums_and_products_are_made_of_their_parts() -> None:
    x, z = places(6), places(4, 3)
    a, b = TERMS["smooth"], TERMS["categorical"]
    α, β, v = parameters(a), parameters(b), np.array([0.3, -1.0])
    w = np.exp(v) / np.exp(v).sum()
    ψa, ψb = value(a, x, z, α), value(b, x, z, β)
    np.testing.assert_allclose(value(a + b, x, z, np.concatenate([v, α, β])), w[0] * ψa + w[1] * ψb)
    np.testing.assert_allclose(value(a * b, x, z, np.concatenate([α, β])), ψa * ψb)
    assert str(TERMS["sum in product"]) == "(matern52(x) + categorical(material))*rbf(z) + periodic(hour, 12)"
    assert len((a + b + a).terms) == len((a * b * a).terms) == 3


@pytest.mark.parametrize("name", TERMS)
def test_derivatives_are_differences(name: str) -> None:
    term, x, z, step = TERMS[name], places(6), places(5, 2), 1e-6
    θ = parameters(term)
    _, slopes = term.slopes(x, z, θ, FRAME)
    assert len(slopes) == len(θ)
    for j, slope in enumerate(slopes):
        e = step * np.eye(len(θ))[j]
        wanted = (value(term, x, z, θ + e) - value(term, x, z, θ - e)) / (2 * step)
        np.testing.assert_allclose(slope, wanted, atol=1e-8)
    weights = np.random.default_rng(5).normal(size=(6, 5))
    got = term.by_place(x, z, θ, weights, FRAME)
    for k in range(3):  # labels have no derivative
        e = step * np.eye(4)[k]
        change = (value(term, x, z + e, θ) - value(term, x, z - e, θ)) / (2 * step)
        np.testing.assert_allclose(got[:, k], (weights * change).sum(axis=0), atol=1e-7)
    np.testing.assert_array_equal(got[:, 3], 0.0)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(TERMS)), seed=st.integers(0, 10_000), n=st.integers(1, 12))
def test_every_table_is_a_correlation_matrix(name: str, seed: int, n: int) -> None:
    term, x = TERMS[name], places(n, seed)
    table = value(term, x, x, parameters(term, seed))
    np.testing.assert_allclose(table, table.T, atol=1e-14)
    np.testing.assert_allclose(np.diag(table), 1.0, rtol=1e-12)
    assert np.linalg.eigvalsh(table).min() > -1e-10


@pytest.mark.parametrize("name", TERMS)
def test_terms_say_their_parameters(name: str) -> None:
    term = TERMS[name]
    θ = parameters(term)
    told = term.told(np.stack([θ, θ]), FRAME)
    assert len(told) == len(θ)
    assert all(each.values.shape == (2,) for each in told.values())
    if name == "learnt period":
        assert told["period of hour"].values[0] == pytest.approx(48 * math.exp(θ[1]))
        assert told["period of hour"].units_of == "hour"
    if name == "sum":
        shares = sum(float(each.values[0]) for label, each in told.items() if label.startswith("share"))
        assert shares == pytest.approx(1.0)


@pytest.mark.parametrize("components", [1, 2])
def test_the_workspace_has_the_sums_of_whole_matrices(components: int) -> None:
    """Against Σ over all pairs, with the derivative of each parameter by central differences."""
    n, T = 11, 3
    generator = np.random.default_rng(2)
    x, group = places(n), np.sort(generator.integers(0, T, n))
    kernel = make_composite(TERMS["product"], INPUTS).bound(np.array(FRAME.width))
    shapes = np.stack([parameters(kernel.term, seed) for seed in range(components)])
    B = np.stack([np.eye(T) + 0.5 + c for c in range(components)])
    D, W, α = generator.uniform(0.1, 1, n), generator.normal(size=(n, n)), generator.normal(size=n)
    W = W + W.T

    def K(shapes: Floats, B: Floats) -> Floats:
        out = np.empty((n, n))
        CompositeGram(x, group, T, kernel).build(shapes, B, np.zeros(n), out)
        return out

    gram, S = CompositeGram(x, group, T, kernel), np.empty((n, n))
    gram.build(shapes, B, D, S)
    wanted = sum(b[np.ix_(group, group)] * value(kernel.term, x, x, θ) for b, θ in zip(B, shapes, strict=True))
    np.testing.assert_allclose(S, wanted + np.diag(D), rtol=1e-12)
    got = gram.contract(B, np.tril(W), α)
    assert got.grouped is not None
    assert got.stretched is not None
    for c in range(components):
        for j in range(shapes.shape[1]):
            e = np.zeros_like(shapes)
            e[c, j] = 1e-6
            slope = (K(shapes + e, B) - K(shapes - e, B)) / 2e-6
            assert got.lengthscales[c, j] == pytest.approx(0.5 * (W * slope).sum(), abs=1e-6)
            np.testing.assert_allclose(got.stretched[c, j], slope @ α, atol=1e-7)
        ψ = value(kernel.term, x, x, shapes[c])
        for a in range(T):
            for b in range(T):
                block = np.outer(group == a, group == b)
                assert got.mixing[c, a, b] == pytest.approx(0.5 * (W * ψ * block).sum(), abs=1e-10)
            np.testing.assert_allclose(got.grouped[c, :, a], ψ @ (α * (group == a)), atol=1e-12)


def test_correlations_as_the_posterior_reads_them() -> None:
    kernel = make_composite(TERMS["sum in product"], INPUTS).bound(np.array(FRAME.width))
    x, z, shapes = places(5), places(4, 7), np.stack([parameters(kernel.term)])
    read = CompositeCorrelations(kernel, shapes)
    np.testing.assert_array_equal(read.cross(x, z)[0], value(kernel.term, x, z, shapes[0]))
    np.testing.assert_array_equal(read.diagonal(x)[0], 1.0)
    np.testing.assert_array_equal(read.diagonal_slopes(x)[0], np.zeros((5, 4)))
    w = np.ones((5, 4))
    np.testing.assert_array_equal(
        read.slope_products(x, z, [w]), kernel.term.by_place(x, z, shapes[0], w, kernel.frame)
    )


def test_a_smooth_term_without_names_takes_what_is_left() -> None:
    kernel = make_composite(Smooth() * Categorical("material") + Periodic("hour", 24), INPUTS)
    assert str(kernel.term) == kernel.name == "matern52(x, z)*categorical(material) + periodic(hour, 24)"
    assert kernel.categorical == ("material",)
    assert kernel.trending == (0, 1)
    assert [type(leaf).__name__ for leaf in leaves(kernel.term)] == ["Smooth", "Categorical", "Periodic"]


@pytest.mark.parametrize("name", TERMS)
def test_terms_come_back_from_files(name: str) -> None:
    kernel = Composite(TERMS[name], INPUTS, (1.0, 2.0, 3.0, 4.0))
    assert from_fields(to_fields(kernel)) == kernel


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: make_composite(Smooth("u"), ("x",)), r"kernel matern52\(u\) reads \['u'\]; the schema's inputs are"),
        (lambda: make_composite(Smooth("x"), ("x", "z")), r"no term of kernel matern52\(x\) reads \['z'\]"),
        (lambda: make_composite(Smooth("x") + Categorical("x"), ("x",)), r"reads \['x'\] as labels and as numbers"),
        (lambda: make_composite(Smooth() + Categorical("x"), ("x",)), r"Smooth\(\) has no input left to read"),
        (lambda: Smooth("x", "cubic"), "kernel 'cubic' is unknown"),
        (lambda: Periodic("x", 0.0), r"Periodic\('x'\) has the period 0.0; give a positive number"),
        (lambda: additive("x"), "adds up fewer than two functions"),
        (lambda: operator.add(Smooth("x"), "y"), "'y' is no term of a kernel; add and multiply Smooth"),
    ],
)
def test_terms_that_make_no_sense(make: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()
