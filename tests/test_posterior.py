"""Mixtures of posteriors against closed forms, sampling and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.posterior import Moments, Slopes, decompose, mix, mix_covariances, mix_slopes

Floats = NDArray[np.float64]


def parts(k: int, m: int, seed: int = 0) -> tuple[list[Moments], Floats]:
    """k posteriors at m points, and weights."""
    generator = np.random.default_rng(seed)
    moments = [Moments(generator.normal(size=m), generator.uniform(0.1, 2, m)) for _ in range(k)]
    weights = generator.dirichlet(np.ones(k))
    return moments, weights


@settings(deadline=None)
@given(w=st.floats(0, 1), a=st.floats(-5, 5), b=st.floats(-5, 5), u=st.floats(0, 4), v=st.floats(0, 4))
def test_two_gaussians_in_closed_form(w: float, a: float, b: float, u: float, v: float) -> None:
    """Var = w u + (1-w) v + w (1-w)(a-b)²."""
    got = mix([Moments(np.array([a]), np.array([u])), Moments(np.array([b]), np.array([v]))], np.array([w, 1 - w]))
    assert got.mean[0] == pytest.approx(w * a + (1 - w) * b, abs=1e-14)
    assert got.variance[0] == pytest.approx(w * u + (1 - w) * v + w * (1 - w) * (a - b) ** 2, rel=1e-12, abs=1e-14)


def test_moments_of_drawn_mixtures() -> None:
    moments, weights = parts(3, 2)
    generator = np.random.default_rng(1)
    n = 400_000
    chosen = generator.choice(3, n, p=weights)
    means, variances = np.array([p.mean for p in moments]), np.array([p.variance for p in moments])
    draws = means[chosen] + np.sqrt(variances[chosen]) * generator.standard_normal((n, 2))
    got = mix(moments, weights)
    np.testing.assert_array_less(np.abs(draws.mean(axis=0) - got.mean), 5 * np.sqrt(got.variance / n))
    fourth = ((draws - got.mean) ** 2).std(axis=0) / np.sqrt(n)
    np.testing.assert_array_less(np.abs(draws.var(axis=0) - got.variance), 5 * fourth)


def test_one_part_is_itself_and_equal_parts_are_one() -> None:
    (only,), _ = parts(1, 4)
    for moments, weights in (([only], np.ones(1)), ([only] * 4, np.full(4, 0.25))):
        got = mix(moments, weights)
        np.testing.assert_allclose(got.mean, only.mean, rtol=1e-15)
        np.testing.assert_allclose(got.variance, only.variance, rtol=1e-15)


def test_small_variances_survive_large_means() -> None:
    """The difference of squares would leave nothing of it."""
    far = [Moments(np.array([1e8]), np.array([1e-6])), Moments(np.array([1e8]), np.array([3e-6]))]
    assert mix(far, np.array([0.5, 0.5])).variance[0] == pytest.approx(2e-6, rel=1e-12)


def test_unequal_numbers_of_parts_and_weights_are_refused() -> None:
    moments, _ = parts(3, 2)
    with pytest.raises(ValueError, match="zip"):
        mix(moments, np.array([0.5, 0.5]))


def test_slopes_are_those_of_finite_differences() -> None:
    """Parts with m_k(x) = sin(k x1 + x2) and v_k(x) = 1 + k + cos(x1 - k x2)/2."""
    weights = np.array([0.2, 0.5, 0.3])
    x = np.random.default_rng(2).uniform(-1, 1, (5, 2))

    def moments(x: Floats) -> list[Moments]:
        return [Moments(np.sin(k * x[:, 0] + x[:, 1]), 1 + k + 0.5 * np.cos(x[:, 0] - k * x[:, 1])) for k in range(3)]

    slopes = []
    for k in range(3):
        c, s = np.cos(k * x[:, 0] + x[:, 1]), np.sin(x[:, 0] - k * x[:, 1])
        slopes.append(Slopes(np.stack([k * c, c], axis=1), np.stack([-0.5 * s, 0.5 * k * s], axis=1)))
    got, step = mix_slopes(slopes, moments(x), weights), 1e-6
    for k in range(2):
        e = step * np.eye(2)[k]
        up, down = mix(moments(x + e), weights), mix(moments(x - e), weights)
        np.testing.assert_allclose(got.mean[:, k], (up.mean - down.mean) / (2 * step), atol=1e-9)
        np.testing.assert_allclose(got.variance[:, k], (up.variance - down.variance) / (2 * step), atol=1e-9)


def test_the_joint_covariance_is_that_of_the_mixture() -> None:
    """E[Cov] + Cov[E], the second by NumPy's weighted covariance; its diagonal is the marginals' mixture."""
    generator = np.random.default_rng(3)
    roots = generator.normal(size=(4, 3, 3))
    covariances, means = [R @ R.T for R in roots], list(generator.normal(size=(4, 3)))
    weights = generator.dirichlet(np.ones(4))
    got = mix_covariances(covariances, means, weights)
    between = np.cov(np.array(means).T, aweights=weights, ddof=0)
    np.testing.assert_allclose(got, np.einsum("k,kij->ij", weights, covariances) + between, rtol=1e-12)
    marginal = mix([Moments(m, np.diag(C)) for m, C in zip(means, covariances, strict=True)], weights)
    np.testing.assert_allclose(np.diag(got), marginal.variance, rtol=1e-12)
    assert np.linalg.eigvalsh(got)[0] > 0


def test_spread_within_and_between_by_drawing_from_the_mixture() -> None:
    rng = np.random.default_rng(0)
    parts = [Moments(rng.normal(size=3), rng.uniform(0.5, 2, 3)) for _ in range(4)]
    weights = rng.dirichlet(np.ones(4), 3).T  # (k, m): other weights at each point
    mean, within, between = decompose(parts, weights)
    for j in range(3):
        who = rng.choice(4, size=200_000, p=weights[:, j])
        centre = np.array([part.mean[j] for part in parts])[who]
        y = centre + np.sqrt(np.array([part.variance[j] for part in parts])[who]) * rng.standard_normal(len(who))
        assert abs(y.mean() - mean[j]) < 5 * y.std() / len(y) ** 0.5
        assert abs(y.var() / (within[j] + between[j]) - 1) < 0.03
        assert abs(centre.var() / between[j] - 1) < 0.03
    np.testing.assert_array_equal(mix(parts, weights).variance, within + between)
