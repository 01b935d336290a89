"""Answers of chains: propagation of the parent against Monte Carlo, slopes against differences, draws against moments."""

from __future__ import annotations

import numpy as np
import pytest
from level_tables import nested_levels, structure_of
from numpy.typing import NDArray

from surrogates.gp.fidelity.chain import Chain
from surrogates.gp.fidelity.recursive import fit_recursive
from surrogates.posterior import Moments

Floats = NDArray[np.float64]


def chain_of(kind: str, *, tasks: int = 1, counts: tuple[int, ...] = (9, 6), inputs: int = 1, seed: int = 0) -> Chain:
    """Few readings, so that parents are uncertain between them."""
    levels = nested_levels(counts, tasks=tasks, inputs=inputs, seed=seed)
    return fit_recursive(levels, structure_of(kind), integrate=False).chains[0]


def between(m: int, codes: int, inputs: int = 1, seed: int = 3) -> tuple[Floats, NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.55, 0.55, (m, inputs)), generator.integers(0, codes, m)


def by_monte_carlo(chain: Chain, x: Floats, count: int) -> Moments:
    """Moments of the second level of two, its parent's marginal drawn."""
    zero = np.zeros(len(x), dtype=np.int64)
    parent = chain.levels[0].moments(x, zero)
    generator = np.random.default_rng(1)
    means, variances = [], []
    for _ in range(count):
        f = parent.mean + np.sqrt(parent.variance) * generator.standard_normal(len(x))
        given = chain.levels[1].moments(np.column_stack([x, f / chain.widths[1]]), zero)
        means.append(given.mean)
        variances.append(given.variance)
    return Moments(np.mean(means, axis=0), np.mean(variances, axis=0) + np.var(means, axis=0))


@pytest.mark.parametrize("kind", ["autoregressive", "nonlinear"])
def test_the_parents_uncertainty_is_propagated(kind: str) -> None:
    chain = chain_of(kind)
    x = np.linspace(-0.6, 0.6, 9)[:, None]
    got, count = chain.moments(x, np.ones(9, dtype=np.int64)), 3000
    expected = by_monte_carlo(chain, x, count)
    error = 5 * np.sqrt(expected.variance / count)
    assert (np.abs(got.mean - expected.mean) < error + 1e-9).all()
    np.testing.assert_allclose(got.variance, expected.variance, rtol=0.15, atol=1e-9)
    parent = chain.levels[0].moments(x, np.zeros(9, dtype=np.int64))
    plugged = chain.levels[1].moments(np.column_stack([x, parent.mean / chain.widths[1]]), np.zeros(9, dtype=np.int64))
    assert (got.variance > 1.5 * plugged.variance).any()  # else there is nothing to see here


@pytest.mark.parametrize("kind", ["autoregressive", "nonlinear"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_slopes_are_those_of_differences(kind: str, tasks: int) -> None:
    chain = chain_of(kind, tasks=tasks, counts=(10, 8, 7), inputs=2)
    x, code = between(12, 3 * tasks, inputs=2)
    slopes, h = chain.slopes(x, code), 1e-5
    for k in range(2):
        step = h * np.eye(2)[k]
        up, down = chain.moments(x + step, code), chain.moments(x - step, code)
        np.testing.assert_allclose(slopes.mean[:, k], (up.mean - down.mean) / (2 * h), rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(slopes.variance[:, k], (up.variance - down.variance) / (2 * h), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["autoregressive", "nonlinear"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_draws_have_the_moments_and_the_covariance(kind: str, tasks: int) -> None:
    chain = chain_of(kind, tasks=tasks, counts=(8, 6, 5))
    x, code = between(7, 3 * tasks)
    x[1], code[1] = x[0], (code[0] + 1) % (3 * tasks)  # one place of two levels
    count = 3000 if kind == "autoregressive" else 1200
    draws = chain.sample(x, code, count, np.random.default_rng(2))
    moments, covariance = chain.moments(x, code), chain.covariance(x, code)
    spread = np.sqrt(moments.variance)
    assert (np.abs(draws.mean(axis=0) - moments.mean) < 5 * spread / np.sqrt(count) + 1e-6).all()
    np.testing.assert_allclose(np.diag(covariance), moments.variance, rtol=1e-8, atol=1e-12)
    correlation = covariance / np.outer(spread, spread)
    # products of two normals have deviation √2 at most; those of a nonlinear chain come from draws themselves
    tolerance = 5 * np.sqrt(2 / count) if kind == "autoregressive" else 0.4
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(spread, spread), correlation, atol=tolerance)
    assert np.linalg.eigvalsh(covariance).min() > -1e-9 * covariance.max()


def test_a_draw_of_a_nonlinear_level_follows_its_parents_draw() -> None:
    """Far from readings both are uncertain together: they are no independent draws."""
    chain = chain_of("nonlinear")
    x = np.array([[0.58], [0.58]])
    draws = chain.sample(x, np.array([0, 1]), 600, np.random.default_rng(0))
    by_draws = float(np.asarray(np.corrcoef(draws.T))[0, 1])
    covariance = chain.covariance(x, np.array([0, 1]))
    assert abs(by_draws) > 0.3
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(by_draws, abs=0.15)


def test_chains_pass_through_exact_readings() -> None:
    for kind in ("autoregressive", "nonlinear"):
        levels = nested_levels((12, 7, 6), tasks=2)
        chain = fit_recursive(levels, structure_of(kind), integrate=False).chains[0]
        moments = chain.moments(levels.x, levels.task * 3 + levels.level)
        np.testing.assert_allclose(moments.mean, levels.y, atol=1e-4)
        assert moments.variance.max() < 1e-7
