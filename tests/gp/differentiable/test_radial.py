"""Correlations of torch tensors against those that the fits use, and their derivatives against autograd's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surrogates.gp.differentiable.radial import SquaredDistance, correlation
from surrogates.gp.kernels import KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_correlations_are_those_of_the_fits(name: str) -> None:
    rng = np.random.default_rng(0)
    x, z, scale = rng.standard_normal((4, 3)), rng.standard_normal((5, 3)), np.array([0.5, 1.0, 2.0])
    z[0] = x[0]
    expected = KERNELS[name].pair(x, z, scale)[0]
    s = SquaredDistance.apply(torch.from_numpy(z / scale), torch.from_numpy(x / scale))
    np.testing.assert_allclose(correlation(name, s).T, expected, rtol=1e-13)


@pytest.mark.parametrize("name", KERNELS)
def test_derivatives_by_the_squared_distance(name: str) -> None:
    s = torch.tensor([0.01, 0.3, 2.0, 9.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: correlation(name, s), s)
    assert torch.autograd.gradgradcheck(lambda s: correlation(name, s), s)


@pytest.mark.parametrize("name", KERNELS)
def test_derivatives_stay_finite_where_places_meet(name: str) -> None:
    z = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    ψ = correlation(name, SquaredDistance.apply(z, z))
    (slope,) = torch.autograd.grad(ψ.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), z)
    assert torch.equal(ψ, torch.ones(2, 2, dtype=torch.float64))
    assert torch.equal(slope, torch.zeros_like(slope))
    assert bool(torch.isfinite(second).all())


def test_squared_distances_in_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 1, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    found = SquaredDistance.apply(z, x)
    assert found.shape == (2, 5, 4, 6)
    torch.testing.assert_close(found, ((z[..., :, None, :] - x[..., None, :, :]) ** 2).sum(-1))
    assert torch.autograd.gradcheck(SquaredDistance.apply, (z, x))
    assert torch.autograd.gradgradcheck(SquaredDistance.apply, (z, x))
