"""Correlation functions against the textbook and finite differences."""

from __future__ import annotations

import gpytorch
import numpy as np
import pytest
import torch
from brute import correlations
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.errors import DataError
from surrogates.gp.gram import Gram
from surrogates.gp.kernels import KERNELS, kernel_named

NAMES = sorted(KERNELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_double_loop_agrees(name: str) -> None:
    generator = np.random.default_rng(0)
    x, z, l = generator.normal(size=(7, 3)), generator.normal(size=(5, 3)), np.array([0.3, 1.0, 4.0])
    z[0] = x[0]
    np.testing.assert_allclose(KERNELS[name].pair(x, z, l)[0], correlations(name, x, z, l), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_gpytorch_agrees(name: str) -> None:
    peer = (
        gpytorch.kernels.RBFKernel(ard_num_dims=2)
        if name == "rbf"
        else gpytorch.kernels.MaternKernel(nu=int(name[-2]) / 2, ard_num_dims=2)
    )
    peer = peer.double()
    peer.lengthscale = torch.tensor([0.4, 0.9], dtype=torch.float64)
    x = np.random.default_rng(1).normal(size=(6, 2))
    theirs = peer(torch.from_numpy(x)).to_dense().detach().numpy()
    np.testing.assert_allclose(KERNELS[name].pair(x, x, np.array([0.4, 0.9]))[0], theirs, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_the_slope_is_the_derivative_by_lengthscale_and_by_place(name: str) -> None:
    generator = np.random.default_rng(2)
    x, z, l = generator.normal(size=(4, 2)), generator.normal(size=(3, 2)), np.array([0.7, 1.3])
    kernel, step = KERNELS[name], 1e-6
    slope = kernel.pair(x, z, l)[1]
    for k in range(2):
        e = step * np.eye(2)[k]
        Δ = x[:, None, k] - z[None, :, k]
        by_scale = (kernel.pair(x, z, l * np.exp(e))[0] - kernel.pair(x, z, l * np.exp(-e))[0]) / (2 * step)
        np.testing.assert_allclose(slope * Δ**2 / l[k] ** 2, by_scale, rtol=1e-7, atol=1e-9)
        by_place = (kernel.pair(x + e, z, l)[0] - kernel.pair(x - e, z, l)[0]) / (2 * step)
        np.testing.assert_allclose(-slope * Δ / l[k] ** 2, by_place, rtol=1e-7, atol=1e-9)


@given(st.sampled_from(NAMES), st.integers(0, 10**6), st.floats(0.05, 20.0))
@settings(max_examples=40, deadline=None)
def test_matrices_are_correlation_matrices(name: str, seed: int, scale: float) -> None:
    x = np.random.default_rng(seed).uniform(-1, 1, (12, 2))
    ψ, slope = KERNELS[name].pair(x, x, np.array([scale, 1.0]))
    assert np.array_equal(np.diag(ψ), np.ones(12))
    assert np.array_equal(ψ, ψ.T)
    assert np.linalg.eigvalsh(ψ)[0] > -1e-10
    assert np.isfinite(slope).all()
    assert (slope >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(1,), (5, 1, 7), (130, 90), tuple([2] * 40)])
def test_the_panelled_matrix_is_the_plain_one(name: str, sizes: tuple[int, ...]) -> None:
    """Panels cross or follow groups; whichever, the lower triangle is the plain matrix."""
    generator = np.random.default_rng(3)
    group = np.repeat(np.arange(len(sizes)), sizes)
    x, l = generator.uniform(-0.5, 0.5, (len(group), 2)), np.array([[0.3, 0.8]])
    B = np.cov(generator.normal(size=(len(sizes), 3 + len(sizes)))).reshape(1, len(sizes), len(sizes))
    D = generator.uniform(0.1, 1, len(group))
    gram, out = Gram(x, group, len(sizes), (KERNELS[name],)), np.zeros((len(group), len(group)))
    gram.build(l, B, D, out)
    plain = B[0][np.ix_(group, group)] * KERNELS[name].pair(x, x, l[0])[0] + np.diag(D)
    np.testing.assert_allclose(np.tril(out), np.tril(plain), atol=1e-12)
    # the contraction of a symmetric W with the matrix's derivatives, by plain sums
    W = generator.normal(size=out.shape)
    W = W + W.T
    contraction = gram.contract(B, np.tril(W), D)
    ψ, slope = KERNELS[name].pair(x, x, l[0])
    members = np.eye(len(sizes))[group]
    np.testing.assert_allclose(contraction.mixing[0], 0.5 * members.T @ (W * ψ) @ members, atol=1e-9)
    assert contraction.grouped is not None
    assert contraction.stretched is not None
    np.testing.assert_allclose(contraction.grouped[0], ψ @ (members * D[:, None]), atol=1e-10)
    for k in range(2):
        change = B[0][np.ix_(group, group)] * slope * (x[:, None, k] - x[None, :, k]) ** 2 / l[0, k] ** 2
        np.testing.assert_allclose(contraction.lengthscales[0, k], 0.5 * (W * change).sum(), atol=1e-8)
        np.testing.assert_allclose(contraction.stretched[0, k], change @ D, atol=1e-9)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"kernel 'cubic' is unknown; choose one of .*matern52"):
        kernel_named("cubic")
