"""Recursive co-kriging against the dense covariance of all levels, from the definition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from dense_levels import DenseLevels, Points, over_rho
from level_tables import at_modes, nested_levels, structure_of
from numpy.typing import NDArray

from surrogates.gp.fidelity.level import Rho
from surrogates.gp.fidelity.levels import Levels
from surrogates.gp.fidelity.nested import single_parents
from surrogates.gp.fidelity.recursive import fit_recursive
from surrogates.gp.fidelity.recursive_fit import RecursiveFit

Floats = NDArray[np.float64]
#: large enough for dense inverses to keep eight digits
JITTER = 1e-5


class Compared(NamedTuple):
    """A fit at given hyper-parameters, and the same by definition."""

    fit: RecursiveFit
    dense: DenseLevels
    points: Points
    prior: tuple[Floats, Floats]


def compared(levels: Levels, *, kernel: str, shared: bool = True, rho: Rho | None = None) -> Compared:
    """The fit only serves to set everything up; its hyper-parameters are replaced by round numbers."""
    rho = rho or Rho(shared=shared)
    fit = fit_recursive(levels, structure_of("autoregressive", kernel), integrate=False, rho=rho)
    L, d = len(levels.targets), levels.x.shape[1]
    l = 0.3 + 0.1 * np.arange(L * d).reshape(L, d)
    s, c = 1.5 / (1 + np.arange(L)), np.full(L, 1.0 if levels.tasks == 1 else 0.7)
    modes = [np.concatenate([np.log(l[m]), [np.log(s[m])], [np.log(0.7 / 0.3)] * (levels.tasks > 1)]) for m in range(L)]
    fit = at_modes(fit, modes, JITTER)
    trends = [level.core.scaled.trend for level in fit.members[0].levels]
    covariates = [trend.covariates for trend in trends]
    slope = np.array([trend.slope for trend in trends])
    mean = np.array([c[0].mean if c else 0.0 for c in covariates])
    deviation = np.array([c[0].deviation if c else 1.0 for c in covariates])
    dense = DenseLevels(kernel, single_parents(levels.graph), levels.tasks, l, s, c, slope, JITTER)
    return Compared(fit, dense, Points(levels.x, levels.task, levels.level), (mean, deviation))


def log_likelihood(fit: RecursiveFit) -> float:
    """Of all levels, without the hyper-parameters' priors."""
    total = 0.0
    for level in fit.members[0].levels:
        objective, mode = level.core.problem.objective, level.core.mode
        total -= objective(mode, 0).value + objective.log_prior(mode)
    return total


def questions(levels: Levels, seed: int = 5) -> tuple[Points, NDArray[np.int64]]:
    """Places between readings and at them, of all tasks and levels in a mixed order."""
    generator = np.random.default_rng(seed)
    m = 3 * levels.tasks * len(levels.targets)
    code = generator.permutation(np.repeat(np.arange(levels.tasks * len(levels.targets)), 3))
    x = generator.uniform(-0.6, 0.6, (m, levels.x.shape[1]))
    x[:2] = levels.x[:2]
    x[3] = x[2]  # one place of two levels or tasks
    return Points(x, code // len(levels.targets), code % len(levels.targets)), code


CASES = {
    "two levels": (nested_levels((12, 7)), True),
    "three levels": (nested_levels((12, 8, 7)), True),
    "a tree": (nested_levels((12, 8, 7), parents=(None, 0, 0)), True),
    "two roots": (nested_levels((9, 8, 7), parents=(None, None, 1)), True),
    "tasks with one coefficient": (nested_levels((9, 6), tasks=2), True),
    "tasks with their own": (nested_levels((9, 6), tasks=2), False),
    "two inputs": (nested_levels((12, 9), inputs=2), True),
}


@pytest.mark.parametrize("name", CASES)
def test_likelihood_and_predictions_are_those_of_the_dense_joint_model(name: str) -> None:
    """ρ integrated by quadrature; the recursive road factors the likelihood by levels, and is exact."""
    levels, shared = CASES[name]
    fit, dense, points, prior = compared(levels, kernel="matern32", shared=shared)
    at, code = questions(levels)
    likelihood, answer = over_rho(dense, points, levels.y, at, prior, shared)
    assert log_likelihood(fit) == pytest.approx(likelihood, abs=1e-7)
    (process,) = fit.processes
    moments, covariance = process.moments(at.x, code), process.covariance(at.x, code)
    # readings are of f with its jitter, which the definition predicts where it was read
    np.testing.assert_allclose(moments.mean, answer.mean, rtol=2e-5, atol=20 * JITTER)
    np.testing.assert_allclose(covariance, answer.covariance, rtol=2e-5, atol=20 * JITTER)
    np.testing.assert_allclose(np.diag(covariance), moments.variance, rtol=1e-9, atol=1e-12)


def test_a_fixed_coefficient_gives_the_dense_model_at_that_coefficient() -> None:
    levels = nested_levels((12, 7, 6))
    fit, dense, points, _ = compared(levels, kernel="matern52", rho=Rho(0.9, 1e-9))
    ρ = np.full((3, 1), 0.9)
    # the coefficient's own terms cancel to sixteen digits
    assert log_likelihood(fit) == pytest.approx(dense.log_likelihood(points, levels.y, ρ), abs=1e-7)


def test_without_coefficient_levels_are_independent() -> None:
    """ρ = 0 for certain: the dear level is what its own readings alone make it."""
    levels = nested_levels((12, 8))
    fit, dense, _, _ = compared(levels, kernel="matern52", rho=Rho(0.0, 1e-9))
    high = levels.level == 1
    alone = Points(levels.x[high], levels.task[high], levels.level[high])
    at, code = questions(levels)
    own = code == 1
    separate = DenseLevels(
        "matern52", (None,), 1, dense.lengthscales[1:], dense.amplitude[1:], np.ones(1), dense.slope[1:], JITTER
    )
    zero = np.zeros(len(alone.x), dtype=np.int64)
    expected = separate.predict(
        Points(alone.x, zero, zero),
        levels.y[high],
        Points(at.x[own], zero[: own.sum()], zero[: own.sum()]),
        np.zeros((1, 1)),
    )
    (process,) = fit.processes
    moments = process.moments(at.x[own], code[own])
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-6, atol=20 * JITTER)
    np.testing.assert_allclose(moments.variance, np.diag(expected.covariance), rtol=1e-5, atol=20 * JITTER)
    both = process.covariance(at.x[:6], np.array([0, 1, 0, 1, 0, 1]))
    np.testing.assert_allclose(both[np.ix_([0, 2, 4], [1, 3, 5])], 0.0, atol=1e-8)


def test_leave_one_out_is_that_of_refits_without_the_reading() -> None:
    """Of a leaf, whose readings are nobody's covariate: the dense model without the reading, its twin kept."""
    levels = nested_levels((12, 7))
    fit, dense, points, prior = compared(levels, kernel="matern32")
    got = fit.leave_one_out()
    for i in (12, 15, 18):
        keep = np.arange(len(levels.y)) != i
        kept = Points(points.x[keep], points.task[keep], points.level[keep])
        at = Points(points.x[[i]], points.task[[i]], points.level[[i]])
        answer = over_rho(dense, kept, levels.y[keep], at, prior, True)[1]
        assert got.mean[i] == pytest.approx(answer.mean[0], rel=1e-6, abs=1e-6)
        assert got.variance[i] == pytest.approx(answer.covariance[0, 0], rel=1e-4)
