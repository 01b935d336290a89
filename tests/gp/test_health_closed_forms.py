"""Leverage, influence and dependence in closed form, against readings that are really left out or changed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from brute import Case, Floats, Integers, hyperparameters, make_case

from surrogates.gp.fitting import Problem, conditioner
from surrogates.gp.health import Draw, smoothing
from surrogates.gp.kernels import KERNELS
from surrogates.gp.noise import KnownNoise
from surrogates.gp.preparing import Settings
from surrogates.gp.process import Conditioned
from surrogates.gp.solvers import applicable_solvers
from surrogates.health import Smoothing
from surrogates.health.linear import overlap

CASES: dict[str, dict[str, Any]] = {
    "replicates": {},
    "rbf, two kernels": {"kernel": "rbf", "sharing": "two-kernels"},
    "known noise, replicates": {"known": True},
    "shared": {"design": "shared", "n": 45},
    "shared, icm, known noise": {"design": "shared", "n": 45, "sharing": "icm", "known": True},
    "overlapping": {"design": "overlapping", "n": 60},
    "no trend": {"trend": "none"},
    "quadratic trend, one task": {"trend": "quadratic", "tasks": 1},
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(**CASES[request.param])


def process_of(case: Case, θ: Floats, solver: str) -> Conditioned:
    settings = Settings(KERNELS[case.kernel], "linear", "common", 1, "fidelity", solver)
    process = conditioner(Problem(case.collapsed, case.objective(solver)), settings, case.trend)(θ)
    assert isinstance(process, Conditioned)
    return process


def draw_of(case: Case, θ: Floats, solver: str, weight: float = 1.0) -> Draw:
    variance = case.collapsed.design.noise.reading_variance(case.layout.split(θ).log_noise)
    return Draw(process_of(case, θ, solver), weight, variance)


def smoothed(case: Case, θ: Floats, solver: str = "dense") -> Smoothing:
    return smoothing([draw_of(case, θ, solver)], case.collapsed, case.readings.y)


class Truth(NamedTuple):
    """Covariances of all single readings (N, N), of what the kernel resolves and of the data, and trend columns (N, q)."""

    K: Floats
    S: Floats
    H: Floats

    def resolved(self, y: Floats, keep: Integers) -> tuple[Floats, Floats]:
        """Mean (N,) and covariance (N, N) of what the kernel resolves, given the readings `keep` of y (N,).

        One bordered system of universal kriging; a nugget is no part of what is predicted, but of the data's covariance.
        """
        q = self.H.shape[1]
        border = np.block([[self.S[np.ix_(keep, keep)], self.H[keep]], [self.H[keep].T, np.zeros((q, q))]])
        right = np.concatenate([self.K[keep], self.H.T])
        weights = np.linalg.solve(border, right)
        return weights[: len(keep)].T @ y[keep], self.K - weights.T @ right


def truth_of(case: Case, θ: Floats) -> Truth:
    r = case.readings
    K, S = case.covariance(θ, r.x, r.task, r.x, r.task), case.reading_covariance(θ)
    if isinstance(case.collapsed.design.noise, KnownNoise):
        same = (r.task[:, None] == r.task) & (r.x[:, None] == r.x[None]).all(axis=2)
        K = K - same * np.exp(case.layout.split(θ).log_noise[0])
    return Truth(K, S, case.trend_columns(r.x, r.task))


def test_what_a_left_out_reading_moves(case: Case) -> None:
    θ = hyperparameters(case)
    y, truth, found = case.readings.y, truth_of(case, θ), smoothed(case, θ)
    N = len(y)
    mean, _ = truth.resolved(y, np.arange(N))
    first = np.unique(case.collapsed.row, return_index=True)[1]  # one reading of every row
    for r in range(0, N, 3):
        without, covariance = truth.resolved(y, np.delete(np.arange(N), r))
        moved = (mean - without)[first]
        assert found.shift[r] == pytest.approx(np.sqrt((moved**2).mean()), rel=1e-6, abs=1e-10)
        assert found.largest[r] == pytest.approx(np.abs(moved).max(), rel=1e-6, abs=1e-10)
        in_deviations = np.abs(mean - without) / np.sqrt(np.diag(covariance))
        assert found.influence[r] == pytest.approx(in_deviations[r], rel=1e-6, abs=1e-9)
        assert in_deviations.max() <= in_deviations[r] * (1 + 1e-6)


def test_no_combination_of_predictions_moves_by_more() -> None:
    """The influence is the Mahalanobis length of the change of all rows at once."""
    case = make_case(n=40, kernel="matern12")
    θ = hyperparameters(case)
    y, truth, found = case.readings.y, truth_of(case, θ), smoothed(case, θ)
    N = len(y)
    mean, _ = truth.resolved(y, np.arange(N))
    first = np.unique(case.collapsed.row, return_index=True)[1]
    for r in range(N):
        without, covariance = truth.resolved(y, np.delete(np.arange(N), r))
        moved = (mean - without)[first]
        length = np.sqrt(moved @ np.linalg.solve(covariance[np.ix_(first, first)], moved))
        assert found.influence[r] == pytest.approx(length, rel=1e-5)


def test_leverage_is_the_derivative_of_the_fitted_value(case: Case) -> None:
    θ = hyperparameters(case)
    y, truth = case.readings.y, truth_of(case, θ)
    everything = np.arange(len(y))
    mean, _ = truth.resolved(y, everything)
    derivative = [truth.resolved(y + (everything == k), everything)[0][k] - mean[k] for k in everything]
    np.testing.assert_allclose(smoothed(case, θ).leverage, derivative, rtol=1e-7, atol=1e-9)


def test_dependence_is_that_of_all_left_out_residuals(case: Case) -> None:
    """Left-out residuals diag(P)⁻¹ P y correlate as P does; here with every reading a row."""
    θ = hyperparameters(case)
    P = case.projection(θ)
    R = P / np.sqrt(np.outer(np.diag(P), np.diag(P)))
    found = smoothed(case, θ).dependence
    np.testing.assert_allclose(found.squares, (R**2).sum(axis=1), rtol=1e-7)
    own = case.readings.task[:, None] == case.readings.task
    np.testing.assert_allclose(found.own_squares, (own * R**2).sum(axis=1), rtol=1e-7)
    np.testing.assert_allclose(found.covered, overlap(R).sum(axis=1), rtol=1e-7, atol=1e-9)


def test_tasks_may_be_coarser_than_the_designs() -> None:
    case = make_case(tasks=4)
    draws, y = [draw_of(case, hyperparameters(case), "dense")], case.readings.y
    pairs = smoothing(draws, case.collapsed, y, task=case.readings.task // 2).dependence
    one = smoothing(draws, case.collapsed, y, task=0 * case.readings.task).dependence
    finer = smoothing(draws, case.collapsed, y).dependence
    np.testing.assert_allclose(one.own_squares, one.squares)
    assert (finer.own_squares <= pairs.own_squares).all()
    assert (pairs.own_squares < one.own_squares).any()


def test_condition_is_that_of_the_rows_covariance(case: Case) -> None:
    θ = hyperparameters(case)
    process = process_of(case, θ, "dense")
    design = process.design
    S = process.cross(design.x, design.task) + np.diag(process.state.D)
    assert smoothed(case, θ).condition == pytest.approx(np.linalg.cond(S, 1), rel=1e-7)


def test_all_solvers_say_the_same(case: Case) -> None:
    θ = hyperparameters(case)
    truth = smoothed(case, θ)
    for solver in applicable_solvers(case.collapsed.design, case.sharing):
        if solver == "rotation":  # which has no posterior with a matrix of all rows; see test_fitted_health
            continue
        for ours, theirs in zip(_flat(smoothed(case, θ, solver)), _flat(truth), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9, err_msg=solver)


def test_blocks_of_columns_make_no_difference(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    θ = hyperparameters(case)
    whole = smoothed(case, θ)
    monkeypatch.setattr("surrogates.gp.health.BLOCK", 7 * len(case.readings.y))
    for ours, theirs in zip(_flat(smoothed(case, θ)), _flat(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def test_some_pairs_stand_for_all_where_readings_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(n=240)
    θ = hyperparameters(case)
    exact = smoothed(case, θ).dependence
    monkeypatch.setattr("surrogates.gp.health.PAIRS", 150)
    estimate = smoothed(case, θ).dependence
    assert float(estimate.squares.sum()) == pytest.approx(float(exact.squares.sum()), rel=0.1)
    assert float(estimate.covered.sum()) == pytest.approx(float(exact.covered.sum()), rel=0.1)


def test_draws_are_averaged_and_shifts_are_those_of_their_mean() -> None:
    case = make_case(n=40)
    one, other = hyperparameters(case, 1), hyperparameters(case, 2)
    draws = [draw_of(case, one, "dense", 0.3), draw_of(case, other, "dense", 0.7)]
    both = smoothing(draws, case.collapsed, case.readings.y)
    parts = smoothed(case, one), smoothed(case, other)
    np.testing.assert_allclose(both.leverage, 0.3 * parts[0].leverage + 0.7 * parts[1].leverage, rtol=1e-10)
    np.testing.assert_allclose(both.influence, 0.3 * parts[0].influence + 0.7 * parts[1].influence, rtol=1e-10)
    y, truths = case.readings.y, (truth_of(case, one), truth_of(case, other))
    everything, first = np.arange(len(y)), np.unique(case.collapsed.row, return_index=True)[1]

    def mean(keep: Integers) -> Floats:
        return np.asarray(0.3 * truths[0].resolved(y, keep)[0] + 0.7 * truths[1].resolved(y, keep)[0])[first]

    moved = mean(everything) - mean(everything[1:])
    assert both.shift[0] == pytest.approx(np.sqrt((moved**2).mean()), rel=1e-7)


def _flat(found: Smoothing) -> list[Any]:
    *plain, condition, dependence = found
    return [*plain, condition, *dependence]
