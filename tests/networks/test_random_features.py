from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import RandomFeatures
from surrogates.networks.random_features import Distribution


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def points(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=generator(seed), dtype=torch.float64) * 2 - 1


def test_values_equal_a_loop_by_hand() -> None:
    features = RandomFeatures(2, 5, scale=3.0, generator=generator())
    X = points(4, 2)
    for x, φ in zip(X.tolist(), features.values(X).tolist(), strict=True):
        steps = [
            math.tanh(sum(float(features.W[i, l]) * x[i] for i in range(2)) + float(features.b[l])) for l in range(5)
        ]
        assert φ == pytest.approx([*steps, *x, 1.0], rel=1e-12, abs=1e-14)
    assert torch.equal(features(X), features.values(X))
    assert features.width == 8
    assert not list(features.parameters())


@settings(deadline=None, max_examples=30)
@given(
    d=st.integers(1, 4),
    count=st.integers(1, 12),
    scale=st.floats(0.1, 8.0),
    distribution=st.sampled_from(["uniform", "normal"]),
    seed=st.integers(0, 99),
)
def test_closed_form_derivatives_equal_autograd(
    d: int, count: int, scale: float, distribution: Distribution, seed: int
) -> None:
    features = RandomFeatures(d, count, scale=scale, distribution=distribution, generator=generator(seed))
    X = points(3, 2, d, seed=seed)
    J = features.jacobian(X)
    assert J.shape == (3, 2, count + d + 1, d)
    by_autograd = torch.vmap(torch.vmap(torch.func.jacrev(features.values)))(X)
    torch.testing.assert_close(J, by_autograd, rtol=1e-9, atol=1e-12)
    for axis in range(d):
        torch.testing.assert_close(features.derivative(X, axis), J[..., axis], rtol=1e-14, atol=0.0)


def test_closed_form_derivatives_equal_finite_differences() -> None:
    features = RandomFeatures(2, 9, scale=2.0, generator=generator())
    X, h = points(6, 2), 1e-3
    for axis in range(2):
        s = h * torch.eye(2, dtype=torch.float64)[axis]
        f = [features.values(X + k * s) for k in (-2, -1, 1, 2)]
        torch.testing.assert_close(
            features.derivative(X, axis), (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize(("distribution", "variance"), [("uniform", 4.0 / 3), ("normal", 4.0 / 3)])
def test_weights_have_their_variance_and_steps_lie_in_the_box(distribution: Distribution, variance: float) -> None:
    """Variance of U(-2, 2) is 4/3, that of N(0, 2²/3) too: each direction's share is as large for d = 3."""
    features = RandomFeatures(3, 20_000, scale=2.0, distribution=distribution, generator=generator())
    W, count = features.W, features.W.numel()
    assert abs(float(W.var()) / variance - 1) < 5 * math.sqrt(2 / count)
    assert abs(float(W.mean())) < 5 * math.sqrt(variance / count)
    assert distribution == "normal" or float(W.abs().max()) <= 2.0
    assert distribution == "uniform" or float(W.abs().max()) > 3.0
    # |b| = |c·w| with c in [-1, 1]³: at most ‖w‖₁, and of variance d var(w)/3
    assert bool((features.b.abs() <= W.abs().sum(0)).all())
    assert float(features.b.var()) == pytest.approx(variance, rel=0.05)


def test_centres_are_not_the_weights_again() -> None:
    """For d = 1 the centre is -b/w; it is uniform on [-1, 1] and uncorrelated with w."""
    features = RandomFeatures(1, 20_000, scale=2.0, generator=generator())
    w, c = features.W[0], -features.b / features.W[0]
    assert float(c.abs().max()) <= 1 + 1e-12
    assert float(c.var()) == pytest.approx(1 / 3, rel=0.03)
    assert abs(float(torch.corrcoef(torch.stack([w, c]))[0, 1])) < 5 / math.sqrt(20_000)


def test_the_same_seed_draws_the_same() -> None:
    a, b, c = (RandomFeatures(2, 6, scale=1.0, generator=generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(a.W, b.W)
    assert torch.equal(a.b, b.b)
    assert not (a.W == c.W).any()


def test_what_is_wrong_is_named() -> None:
    features = RandomFeatures(2, 6, scale=1.0, generator=generator())
    for axis in (2, -1):
        with pytest.raises(DataError, match=f"axis is {axis}; these features have 2 inputs, counted from 0"):
            features.derivative(points(3, 2), axis)
    for call in (features.values, features.jacobian, lambda X: features.derivative(X, 0)):
        with pytest.raises(DataError, match=r"inputs have shape \(3, 1\); this RandomFeatures takes \(\.\.\., 2\)"):
            call(points(3, 1))
    with pytest.raises(DataError, match="distribution 'cauchy' is unknown; known are uniform, normal"):
        RandomFeatures(2, 6, scale=1.0, distribution=cast(Any, "cauchy"), generator=generator())
    with pytest.raises(DataError, match=r"scale is 0.0; it must be a finite number > 0"):
        RandomFeatures(2, 6, scale=0.0, generator=generator())
