"""The posterior of tasks with shared places against the dense one; means and covariances are in test_predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from brute import Case, hyperparameters, make_case

from surrogates.gp.kernels import KERNELS
from surrogates.gp.noise import KnownNoise
from surrogates.gp.process import Conditioned, StationaryCorrelations, condition
from surrogates.gp.rotated import RotatedProcess, rotated_process

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two kernels": {"sharing": "two-kernels"},
    "known noise": {"known": True},
    "no trend": {"trend": "none"},
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(design="shared", n=45, **CASES[request.param])


def both(case: Case) -> tuple[RotatedProcess, Conditioned]:
    θ, dense = hyperparameters(case), case.objective("dense")
    state, noise = dense.state(θ)[0], dense.design.noise
    nugget = noise.nugget(case.layout.split(θ).log_noise) if isinstance(noise, KnownNoise) else 0.0
    pairs = StationaryCorrelations((KERNELS[case.kernel],) * case.sharing.components, state.shapes)
    truth = condition(dense.design, case.trend, pairs, state, dense.solver.inverse(state), nugget)
    return rotated_process(dense.design, case.trend, pairs, state, nugget), truth


def test_all_answers_are_those_of_the_dense_matrix(case: Case) -> None:
    process, truth = both(case)
    generator = np.random.default_rng(0)
    x = np.concatenate([generator.uniform(-0.7, 0.7, (9, 2)), case.collapsed.design.x[:5]])
    task = np.concatenate([generator.integers(0, 3, 9), case.collapsed.design.task[:5]])
    for beside in (False, True):
        a, b = process.moments(x, task, beside=beside), truth.moments(x, task, beside=beside)
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(a.variance, b.variance, rtol=1e-9, atol=1e-10)
    slopes, true = process.slopes(x, task), truth.slopes(x, task)
    np.testing.assert_allclose(slopes.mean, true.mean, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(slopes.variance, true.variance, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(process.covariance(x, task), truth.covariance(x, task), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("asked", [[0], [0, 2], [0, 1, 2]])
def test_draws_have_the_mean_and_covariance(asked: list[int]) -> None:
    """Of one, of some and of all tasks: the mean over tasks takes part of every draw."""
    case = make_case(design="shared", n=45, known=True)
    process, truth = both(case)
    x = np.concatenate([np.random.default_rng(1).uniform(-0.6, 0.6, (4, 2)), case.collapsed.design.x[:2]])
    task = np.repeat(np.array(asked), len(x))
    x, count = np.tile(x, (len(asked), 1)), 20_000
    draws = process.sample(x, task, count, np.random.default_rng(0))
    mean, covariance = truth.moments(x, task).mean, truth.covariance(x, task)
    spread = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(axis=0) - mean) / spread).max() < 5 / math.sqrt(count)
    error = (np.cov(draws.T) - covariance) / np.outer(spread, spread)
    assert np.abs(error).max() < 5 * math.sqrt(2 / count)
