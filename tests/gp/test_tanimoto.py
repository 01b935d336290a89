"""The Tanimoto kernel and its restricted likelihood, against loops, finite differences and dense definitions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brute import central_gradient
from counted import Reference, model, psi, table, tanimoto
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surrogates import HierarchicalGP, Schema
from surrogates.errors import DataError
from surrogates.gp import Tanimoto
from surrogates.gp.library import Library, Tables, thermometer
from surrogates.gp.mixtures import MixtureGram
from surrogates.gp.tanimoto import TanimotoCorrelations, mixed, weight

SHAPE = np.array([0.4, -0.3])
FEW_COUNTS = arrays(np.int64, st.tuples(st.integers(1, 8), st.integers(1, 5)), elements=st.integers(0, 4))


def library(things: xr.Dataset) -> tuple[Library, np.ndarray]:
    blocks = {"parts": things["parts"].to_numpy()}, {"traits": things["traits"].to_numpy()}
    return Library.fit(*blocks).extended(*blocks)


def test_the_kernel_is_its_double_loop() -> None:
    train, other = table(12), table(9, seed=5)
    known, number = library(train)
    both, more = known.extended({"parts": other["parts"].to_numpy()}, {"traits": other["traits"].to_numpy()})
    for shapes in (SHAPE[None], np.array([[-2.0, 0.7], [1.0, 0.1]]), np.zeros((1, 0))):
        ψ = TanimotoCorrelations(both, shapes).cross(number[:, None].astype(float), more[:, None].astype(float))
        for c, shape in enumerate(shapes):
            np.testing.assert_allclose(ψ[c], psi(train, other, train, shape), atol=1e-12)


@given(FEW_COUNTS)
def test_correlations_are_one_at_home_symmetric_and_positive(counts: np.ndarray) -> None:
    traits = counts.sum(axis=1, keepdims=True) * 0.3
    known = Library.fit({"c": counts}, {"d": traits})
    ψ = mixed(known.pairs, SHAPE)
    assert len(known) == len(np.unique(counts, axis=0))
    assert np.array_equal(np.diag(ψ), np.ones(len(ψ)))
    np.testing.assert_allclose(ψ, ψ.T, atol=1e-15)
    assert np.linalg.eigvalsh(ψ)[0] > -1e-12
    assert ((ψ >= 0) & (ψ <= 1)).all()


@given(FEW_COUNTS)
def test_levels_in_common_are_sums_of_minima(counts: np.ndarray) -> None:
    known = Library.fit({"c": counts}, {})
    levels = thermometer(known.counts)
    dense = known.counts.toarray().astype(float)
    np.testing.assert_array_equal((levels @ levels.T).toarray(), np.minimum(dense[:, None], dense).sum(axis=2))
    np.testing.assert_allclose(known.pairs.tanimoto, [[tanimoto(a, b) for b in dense] for a in dense], atol=1e-15)


def test_known_places_keep_their_numbers_and_order_is_of_no_account() -> None:
    things = table(10)
    known, number = library(things)
    turned, other = library(things.isel(thing=slice(None, None, -1)))
    np.testing.assert_array_equal(number, other[::-1])
    np.testing.assert_array_equal(known.pairs.tanimoto, turned.pairs.tanimoto)
    twice, again = known.extended({"parts": things["parts"].to_numpy()}, {"traits": things["traits"].to_numpy()})
    np.testing.assert_array_equal(again, number)
    assert len(twice) == len(known)


def test_a_feature_that_never_varies_or_has_a_tail_is_of_no_harm() -> None:
    traits = np.concatenate([np.random.default_rng(0).normal(size=(30, 1)), np.full((30, 1), 1e9)], axis=1)
    traits[0, 0] = 1e12
    known = Library.fit({"c": np.arange(30)[:, None]}, {"d": traits})
    _, squared = known.pairs
    assert known.width[1] == 0
    assert squared.max() <= 8.0**2
    assert (~np.isfinite(squared)).sum() == 0


@pytest.mark.parametrize("sizes", [(5, 1, 7), (130, 90), tuple([3] * 70)])
@pytest.mark.parametrize("shapes", [SHAPE[None], np.array([[0.5, -0.2], [-1.0, 0.4]]), np.zeros((1, 0))])
def test_the_panelled_matrix_and_its_derivatives_are_the_plain_ones(sizes: tuple[int, ...], shapes: np.ndarray) -> None:
    """Of ½ Σ W K by B and by the shape parameters, and of K α, by finite differences of the plain matrix."""
    generator = np.random.default_rng(3)
    group, T, C = np.repeat(np.arange(len(sizes)), sizes), len(sizes), len(shapes)
    n = len(group)
    tables = Tables(*(np.abs(m + m.T) for m in generator.uniform(0, 0.5, (2, n, n))))
    B = np.stack([np.cov(generator.normal(size=(T, 3 + T))) for _ in shapes])
    D, α = generator.uniform(0.1, 1, n), generator.normal(size=n)

    def plain(shapes: np.ndarray) -> np.ndarray:
        return sum((B[c][np.ix_(group, group)] * mixed(tables, s) for c, s in enumerate(shapes)), np.diag(D))

    gram, out = MixtureGram(tables, group, T, C, shapes.shape[1]), np.zeros((n, n))
    gram.build(shapes, B, D, out)
    np.testing.assert_allclose(np.tril(out), np.tril(plain(shapes)), atol=1e-12)
    W = generator.normal(size=(n, n))
    W = W + W.T
    contraction, members = gram.contract(B, np.tril(W), α), np.eye(T)[group]
    assert contraction.grouped is not None
    assert contraction.stretched is not None
    for c, shape in enumerate(shapes):
        ψ = mixed(tables, shape)
        np.testing.assert_allclose(contraction.mixing[c], 0.5 * members.T @ (W * ψ) @ members, atol=1e-9)
        np.testing.assert_allclose(contraction.grouped[c], ψ @ (members * α[:, None]), atol=1e-10)
        for k in range(len(shape)):
            step = np.zeros_like(shapes)
            step[c, k] = 1e-5
            slope = (plain(shapes + step) - plain(shapes - step)) / 2e-5
            np.testing.assert_allclose(contraction.lengthscales[c, k], 0.5 * (W * slope).sum(), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(contraction.stretched[c, k], slope @ α, atol=1e-7)


@pytest.mark.parametrize("sharing", ["icm", "common", "two-kernels"])
@pytest.mark.parametrize("smooth", [True, False])
def test_the_objective_is_the_dense_one(sharing: str, smooth: bool) -> None:
    """Value, gradient and average information."""
    data = table()
    fitted = model(sharing, smooth=smooth).fit(data)
    objective, reference = fitted.core.problem.objective, Reference(fitted, data)
    mean, deviation = objective.layout.prior
    θ = np.clip(mean, -1.5, 1.5) + 0.3 * np.random.default_rng(1).standard_normal(len(mean))
    value, gradient, curvature = objective(θ, 2)
    assert gradient is not None
    assert curvature is not None

    def dense(θ: np.ndarray) -> float:
        return -reference.log_likelihood(θ) + 0.5 * float((((θ - mean) / deviation) ** 2).sum())

    assert value == pytest.approx(dense(θ), rel=1e-10)
    np.testing.assert_allclose(gradient, central_gradient(dense, θ), rtol=1e-5, atol=1e-6)
    steps = 1e-5 * np.eye(len(θ))
    slopes = [(reference.covariance(θ + e) - reference.covariance(θ - e)) / 2e-5 for e in steps]
    P = reference.projection(θ)
    v = np.stack([slope @ P @ reference.y for slope in slopes])
    np.testing.assert_allclose(curvature, 0.5 * v @ P @ v.T + np.diag(deviation**-2.0), rtol=1e-5, atol=1e-5)


def test_the_share_of_the_counts_is_between_zero_and_one() -> None:
    assert weight(np.array([0.0, 0.0])) == 0.5
    assert weight(np.array([-30.0, 0.0])) < 1e-12


def test_names_of_the_kernel_are_those_of_the_schema() -> None:
    assert Tanimoto("a").names == ("a",)
    assert Tanimoto(("a", "b"), "c").names == ("a", "b", "c")
    schema = Schema(inputs=("parts", "traits"), target="value")
    with pytest.raises(DataError, match=r"inputs are \('parts', 'traits'\), the kernel reads \('parts',\); name every"):
        HierarchicalGP(schema, kernel=Tanimoto("parts"), trend="constant")
    with pytest.raises(DataError, match=r"names \['a'\] twice; an input is either counts or smooth"):
        Tanimoto("a", "a")
    with pytest.raises(DataError, match=r"Tanimoto\(counts=\(\)\) names no input"):
        Tanimoto(())
