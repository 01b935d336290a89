"""Robust sharing's task covariance and its draws, against limits, differences and normal truths."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from brute import Case, Floats, central_gradient, hyperparameters, make_case
from hypothesis import given
from hypothesis import strategies as st

from surrogates.gp.blocks import Block, own_positions, robust_draws
from surrogates.gp.objective import Layout, Objective, ShapeParameters, Value
from surrogates.gp.robust import Robust
from surrogates.gp.sharing import Exchangeable, Sharing

APART = [(), (1,), (0, 3), (0, 1, 2)]


def point(sharing: Robust, seed: int = 0) -> Floats:
    mean, deviation = sharing.prior
    return np.asarray(mean + deviation * np.random.default_rng(seed).standard_normal(len(mean)))


@given(seed=st.integers(0, 2**32 - 1), apart=st.sampled_from(APART))
def test_the_jacobian_is_that_of_central_differences(seed: int, apart: tuple[int, ...]) -> None:
    sharing = Robust(4, apart)
    θ = np.clip(point(sharing, seed), -3, 3)
    found, step = sharing.mixing(θ).jacobian, 1e-5
    for k, e in enumerate(step * np.eye(len(θ))):
        slope = (sharing.mixing(θ + e).matrix - sharing.mixing(θ - e).matrix) / (2 * step)
        np.testing.assert_allclose(found[k], slope, rtol=1e-6, atol=1e-7 * (1 + np.abs(found[k]).max()))


@given(seed=st.integers(0, 2**32 - 1), apart=st.sampled_from(APART))
def test_it_is_a_covariance_whose_correlations_are_products(seed: int, apart: tuple[int, ...]) -> None:
    sharing = Robust(4, apart)
    θ = np.clip(point(sharing, seed), -4, 4)
    B = sharing.mixing(θ).matrix.sum(axis=0)
    np.testing.assert_array_equal(B, B.T)
    assert np.linalg.eigvalsh(B).min() >= -1e-12 * np.abs(B).max()
    correlation = B / np.sqrt(np.outer(np.diag(B), np.diag(B)))
    c = np.sqrt(sharing.correlations(θ))
    np.testing.assert_allclose(correlation - np.diag(np.diag(correlation)), np.outer(c, c) - np.diag(c**2), atol=1e-12)
    together = list(sharing.sharing)
    # amplitudes are told relative to each other: their product is that of s
    assert np.log(np.diag(B)[together]).mean() == pytest.approx(θ[0])


@pytest.mark.parametrize("correlation", [0.2, 0.9])
def test_equal_tasks_are_exchangeable_exactly(correlation: float) -> None:
    robust, common = Robust(5), Exchangeable(5)
    ours, theirs = robust.mixing(robust.start(correlation)), common.mixing(common.start(correlation))
    np.testing.assert_allclose(ours.matrix, theirs.matrix, rtol=1e-14)
    np.testing.assert_allclose(ours.jacobian[:2], theirs.jacobian, rtol=1e-12, atol=1e-14)


def test_no_correlation_is_independence() -> None:
    sharing = Robust(3)
    θ = sharing.start(0.9)
    θ[2 + 1] = -4.0  # task 1: ξ
    B = sharing.mixing(θ).matrix[0]
    assert np.abs(B[1, [0, 2]]).max() < 1e-3
    assert B[0, 2] == pytest.approx(0.9)


def test_a_permutation_of_tasks_permutes_the_covariance() -> None:
    sharing, order = Robust(4), np.array([2, 0, 3, 1])
    θ = point(sharing)
    other = np.concatenate([θ[:2], θ[2:6][order], θ[6:][order]])
    np.testing.assert_allclose(sharing.mixing(other).matrix[0], sharing.mixing(θ).matrix[0][np.ix_(order, order)])


def case_of(sharing: Sharing, **choices: Any) -> Case:
    """A random problem with this task covariance."""
    case = make_case(**choices)
    d = case.readings.x.shape[1]
    size = d * sharing.components
    shapes = ShapeParameters(
        tuple(f"l{k}" for k in range(size)),
        np.full(size, math.log(0.6)),
        np.full(size, 1.2),
        [(-4.0, 3.0)] * size,
        True,
        sharing.components,
    )
    return replace(case, sharing=sharing, layout=replace(case.layout, shapes=shapes, sharing=sharing))


@pytest.mark.parametrize("apart", [(), (2,), (0, 2)])
def test_likelihood_and_gradient_are_those_of_single_readings(apart: tuple[int, ...]) -> None:
    case = case_of(Robust(3, apart))
    θ = hyperparameters(case)
    assert case.likelihood_by("dense", θ) == pytest.approx(case.log_likelihood(θ), rel=1e-10)
    mean, deviation = case.layout.prior
    truth = central_gradient(
        lambda at: -case.log_likelihood(at) + 0.5 * float((((at - mean) / deviation) ** 2).sum()), θ
    )
    gradient = case.derivatives("dense", θ).gradient
    np.testing.assert_allclose(gradient, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max())


def test_the_likelihood_of_a_task_apart_is_a_factor() -> None:
    case = case_of(Robust(3, (1,)), groups=1)
    θ, r = hyperparameters(case), case.readings
    parts = case.layout.split(θ)
    mine, others = r.of_tasks(r.task == 1), r.of_tasks(r.task != 1)
    alone = case_of(Exchangeable(1), groups=1)
    alone = replace(alone, readings=replace(mine, task=0 * mine.task, tasks=1))
    own = alone.layout.join(parts.log_shapes[1], parts.sharing[-1:], parts.log_noise)
    pair = case_of(Robust(2), groups=1)
    pair = replace(pair, readings=replace(others, task=others.task // 2, tasks=2))
    shared = pair.layout.join(parts.log_shapes[0], parts.sharing[:-1], parts.log_noise)
    whole = case.log_likelihood(θ)
    assert whole == pytest.approx(alone.log_likelihood(own) + pair.log_likelihood(shared), rel=1e-10)


class Quadratic:
    """-log of a normal density, where an objective is asked for."""

    def __init__(self, layout: Layout, mode: Floats, curvature: Floats) -> None:
        self.layout, self._mode, self._curvature = layout, mode, curvature

    def __call__(self, θ: Floats, order: int) -> Value:
        z = θ - self._mode
        return Value(0.5 * float(z @ self._curvature @ z), None, None)


def test_draws_of_a_normal_posterior_have_its_moments() -> None:
    """Twelve tasks, 30 hyper-parameters: weights of joint draws would degenerate."""
    sharing = Robust(12, (3, 7))
    layout = case_of(sharing, tasks=12, n=60, groups=1).layout
    layout = replace(layout, noise_names=("all", "three", "seven"))
    generator, p = np.random.default_rng(0), len(layout.names)
    blocks = [own_positions(layout, t, np.array([k])) for k, t in enumerate((3, 7), start=1)]
    main = np.setdiff1d(np.arange(p), np.concatenate(blocks))
    curvature = np.zeros((p, p))
    for part in (main, *blocks):
        factor = generator.standard_normal((len(part), len(part))) / np.sqrt(len(part))
        curvature[np.ix_(part, part)] = 20 * (factor @ factor.T + 0.5 * np.eye(len(part)))
    mode = np.asarray(layout.bounds.mean(axis=1))
    quadratic = Quadratic(layout, mode, curvature)

    def of(part: Any) -> Block:
        def value(own: Floats) -> float:
            θ = mode.copy()
            θ[part] = own
            return quadratic(θ, 0).value

        return Block(part, value)

    draws = robust_draws(
        cast(Objective, quadratic), mode, curvature, [of(part) for part in blocks], count=4000, keep=2000, seed=0
    )
    assert draws.parameters.shape == (2000, p)
    np.testing.assert_allclose(draws.weights, 1 / 2000)
    assert draws.effective > 500
    covariance = np.linalg.inv(curvature)
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((draws.parameters.mean(axis=0) - mode) / deviation, 0.0, atol=0.12)
    np.testing.assert_allclose(draws.parameters.std(axis=0) / deviation, 1.0, atol=0.12)
    found = np.corrcoef(draws.parameters.T)
    truth = covariance / np.outer(deviation, deviation)
    np.testing.assert_allclose(found, truth, atol=0.15)


def test_draws_don_t_depend_on_how_tasks_are_numbered() -> None:
    layout = case_of(Robust(4), tasks=4, groups=1).layout
    p = len(layout.names)
    factor = np.random.default_rng(1).standard_normal((p, p))
    curvature = factor @ factor.T + p * np.eye(p)
    mode = np.linspace(0.1, 0.9, p)
    first, T = len(layout.shapes.names) + 2, np.array([2, 0, 3, 1])
    order = np.concatenate([np.arange(first), first + T, first + 4 + T, np.arange(first + 8, p)])
    one = robust_draws(
        cast(Objective, Quadratic(layout, mode, curvature)), mode, curvature, [], count=64, keep=16, seed=3
    )
    mode, curvature = mode[order], curvature[np.ix_(order, order)]
    other = robust_draws(
        cast(Objective, Quadratic(layout, mode, curvature)), mode, curvature, [], count=64, keep=16, seed=3
    )
    np.testing.assert_allclose(other.parameters, one.parameters[:, order], rtol=1e-9, atol=1e-9)
