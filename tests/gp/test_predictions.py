"""The posterior against universal kriging by brute force, refits, finite differences and sampling."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from brute import Case, Floats, Integers, hyperparameters, make_case

from surrogates.gp.collapse import Readings, collapse, trend_prior
from surrogates.gp.fitting import Problem, conditioner
from surrogates.gp.kernels import KERNELS
from surrogates.gp.leave_one_out import Solved, leave_one_out
from surrogates.gp.preparing import Settings
from surrogates.gp.process import Process
from surrogates.gp.solvers import applicable_solvers

CASES = {
    "replicates": {},
    "rbf, two kernels": {"kernel": "rbf", "sharing": "two-kernels"},
    "known noise": {"known": True},
    "shared": {"design": "shared", "n": 45},
    "shared, icm": {"design": "shared", "n": 45, "sharing": "icm"},
    "overlapping": {"design": "overlapping", "n": 60},
    "no trend": {"trend": "none"},
    "quadratic trend, one task": {"trend": "quadratic", "tasks": 1},
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(**CASES[request.param])  # type: ignore[arg-type]


def conditioned(case: Case, θ: Floats, solver: str = "dense") -> Process:
    settings = Settings(KERNELS[case.kernel], case.trend.name, "common", 1, "fidelity", solver)
    return conditioner(Problem(case.collapsed, case.objective(solver)), settings, case.trend)(θ)


def places(case: Case, m: int = 9) -> tuple[Floats, Integers]:
    generator = np.random.default_rng(5)
    x = generator.uniform(-0.8, 0.8, (m, case.readings.x.shape[1]))
    return x, generator.integers(0, case.readings.tasks, m)


def test_mean_and_covariance_are_universal_kriging(case: Case) -> None:
    θ = hyperparameters(case)
    x, task = places(case)
    mean, covariance = case.predict(θ, x, task)
    for solver in applicable_solvers(case.collapsed.design, case.sharing):
        process = conditioned(case, θ, solver)
        moments = process.moments(x, task)
        np.testing.assert_allclose(moments.mean, mean, rtol=1e-8, atol=1e-8, err_msg=solver)
        np.testing.assert_allclose(moments.variance, np.diag(covariance), rtol=1e-8, atol=1e-8, err_msg=solver)
        np.testing.assert_allclose(process.covariance(x, task), covariance, rtol=1e-8, atol=1e-8, err_msg=solver)


def test_a_flat_trend_is_the_limit_of_a_wide_prior() -> None:
    """Integrated β: the same as a Gaussian process with covariance K + 1e8 h h'."""
    case = make_case(tasks=2)
    θ = hyperparameters(case)
    x, task = places(case)
    r = case.readings
    H, h = case.trend_columns(r.x, r.task), case.trend_columns(x, task)
    S = case.reading_covariance(θ) + 1e6 * H @ H.T
    k = case.covariance(θ, r.x, r.task, x, task) + 1e6 * H @ h.T
    prior = case.covariance(θ, x, task, x, task) + 1e6 * h @ h.T
    moments = conditioned(case, θ).moments(x, task)
    np.testing.assert_allclose(moments.mean, k.T @ np.linalg.solve(S, r.y), atol=1e-4)
    np.testing.assert_allclose(moments.variance, np.diag(prior - k.T @ np.linalg.solve(S, k)), atol=1e-4)


def test_slopes_are_those_of_central_differences(case: Case) -> None:
    process = conditioned(case, hyperparameters(case))
    x, task = places(case)
    slopes, step = process.slopes(x, task), 1e-5
    for k in range(x.shape[1]):
        e = step * np.eye(x.shape[1])[k]
        up, down = process.moments(x + e, task), process.moments(x - e, task)
        np.testing.assert_allclose(slopes.mean[:, k], (up.mean - down.mean) / (2 * step), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            slopes.variance[:, k], (up.variance - down.variance) / (2 * step), rtol=1e-5, atol=1e-6
        )


def test_draws_have_the_posterior_moments() -> None:
    case = make_case(kernel="matern32")
    process = conditioned(case, hyperparameters(case))
    x, task = places(case, 6)
    draws = process.sample(x, task, 40_000, np.random.default_rng(0))
    mean, covariance = process.moments(x, task).mean, process.covariance(x, task)
    deviation = np.sqrt(np.diag(covariance))
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * deviation / np.sqrt(len(draws))).all()
    error = np.abs(np.cov(draws.T) - covariance) / np.outer(deviation, deviation)
    assert error.max() < 5 * np.sqrt(2 / len(draws))


def test_far_away_is_the_prior_around_the_trend() -> None:
    case = make_case(trend="none")
    θ = hyperparameters(case)
    moments = conditioned(case, θ).moments(np.full((1, 2), 500.0), np.zeros(1, dtype=np.int64))
    s = np.exp(case.layout.split(θ).sharing[0])
    assert moments.mean[0] == pytest.approx(0.0, abs=1e-12)
    assert moments.variance[0] == pytest.approx(s, rel=1e-12)


def test_hardly_any_noise_interpolates() -> None:
    case = make_case(groups=1, design="shared", n=30)
    θ = case.layout.join(np.full(2, -0.5), np.array([0.0, 1.0]), np.array([-23.0]))
    r = case.readings
    moments = conditioned(case, θ).moments(r.x, r.task)
    np.testing.assert_allclose(moments.mean, r.y, atol=1e-6)
    assert moments.variance.max() < 1e-8


def test_identical_tasks_are_pooled_data() -> None:
    """ρ -> 1 and no trend: one function, seen by all tasks."""
    case = make_case(tasks=2, trend="none")
    θ = hyperparameters(case)
    position = len(case.layout.shapes.names) + 1
    θ[position] = 40.0
    x, _ = places(case)
    first, second = (conditioned(case, θ).moments(x, np.full(len(x), t)) for t in range(2))
    np.testing.assert_allclose(first.mean, second.mean, atol=1e-10)
    np.testing.assert_allclose(first.variance, second.variance, atol=1e-10)


def without(readings: Readings, r: int) -> Readings:
    keep = np.arange(len(readings.y)) != r
    return readings.of_tasks(keep)


@pytest.mark.parametrize("name", ["replicates", "known noise", "shared", "no trend"])
def test_leaving_one_out_in_closed_form_is_n_refits(name: str) -> None:
    case = make_case(**CASES[name])  # type: ignore[arg-type]
    θ = hyperparameters(case)
    objective = case.objective("dense")
    state, rows = objective.state(θ)
    gradient = objective.solver.evaluate(state, order=1).gradient
    assert gradient is not None
    noise = case.collapsed.design.noise.reading_variance(case.layout.split(θ).log_noise)
    solved = Solved(gradient.alpha, gradient.p_diagonal, rows.y, rows.D, noise)
    closed = leave_one_out(case.collapsed, case.readings.y, solved)
    S, H, y = case.reading_covariance(θ), case.trend_columns(case.readings.x, case.readings.task), case.readings.y
    for r in range(len(y)):
        keep = np.arange(len(y)) != r
        q = H.shape[1]
        border = np.block([[S[np.ix_(keep, keep)], H[keep]], [H[keep].T, np.zeros((q, q))]])
        right = np.concatenate([S[keep, r], H[r]])
        weights = np.linalg.solve(border, right)
        assert closed.mean[r] == pytest.approx(weights[: len(y) - 1] @ y[keep], rel=1e-7, abs=1e-8)
        assert closed.variance[r] == pytest.approx(S[r, r] - weights @ right, rel=1e-7)


def test_a_repeat_of_an_exact_reading_is_known_exactly() -> None:
    case = make_case()
    readings = Readings(
        case.readings.x,
        np.round(case.readings.x.sum(axis=1), 3),
        case.readings.task,
        3,
        case.readings.group,
        ("a", "b"),
        np.zeros(len(case.readings.y)),
    )
    collapsed = collapse(readings, case.trend, trend_prior(readings, case.trend))
    assert len(collapsed.design.x) < len(readings.y)
    ones = np.ones(len(collapsed.design.x))
    solved = Solved(0.1 * ones, ones, collapsed.design.noise.rows(np.array([-5.0])).y, ones, np.zeros(len(readings.y)))
    moments = leave_one_out(collapsed, readings.y, solved)
    repeated = np.bincount(collapsed.row)[collapsed.row] > 1
    assert repeated.any()
    np.testing.assert_allclose(moments.mean[repeated], readings.y[repeated])
    assert (moments.variance[repeated] == 0).all()


def test_the_prior_of_a_poor_task_comes_from_the_others() -> None:
    """A task with fewer places than trend columns still has a finite prediction, near its sisters' trend."""
    case = make_case(tasks=3, n=30, design="shared")
    r = case.readings
    keep = (r.task != 2) | (np.cumsum(r.task == 2) <= 1)
    poor = r.of_tasks(keep)
    prior = trend_prior(poor, case.trend)
    assert prior.poor == (2,)
    assert (prior.precision[2] > 0).all()
    assert (prior.precision[:2] == 0).all()
    fits = [np.linalg.lstsq(case.trend.columns(r.x[r.task == t]), r.y[r.task == t], rcond=None)[0] for t in range(2)]
    np.testing.assert_allclose(prior.mean[2], np.mean(fits, axis=0), atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from dataclasses import replace

        other = replace(case, readings=poor, collapsed=collapse(poor, case.trend, prior))
    moments = conditioned(other, hyperparameters(case)).moments(*places(case))
    assert np.isfinite(moments.mean).all()
    assert np.isfinite(moments.variance).all()
