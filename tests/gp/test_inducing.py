"""The solver "inducing" and its posterior against the approximate model's definition, and against the exact one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from brute import Case, Floats, Integers, central_gradient, correlations, hyperparameters, make_case

from surrogates.gp.collapse import Readings, collapse, trend_prior
from surrogates.gp.inducing import batches as batching
from surrogates.gp.inducing.batches import batch_of, make_batches
from surrogates.gp.inducing.process import StreamedProcess, streamed_process
from surrogates.gp.kernels import KERNELS
from surrogates.gp.noise import KnownNoise
from surrogates.gp.objective import Objective
from surrogates.gp.process import StationaryCorrelations, condition
from surrogates.gp.solvers.inducing import Inducing
from surrogates.gp.solvers.woodbury import union_of_places

CASES: dict[str, dict[str, Any]] = {
    "own places": {},
    "overlapping, two kernels": {"design": "overlapping", "n": 60, "sharing": "two-kernels"},
    "overlapping, known noise": {"design": "overlapping", "n": 60, "known": True},
    "matern12": {"kernel": "matern12"},
    "rbf": {"kernel": "rbf"},
    "no trend": {"trend": "none"},
    "quadratic trend": {"trend": "quadratic", "tasks": 2},
}
FEW = np.random.default_rng(3).uniform(-0.5, 0.5, (6, 2))


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(**CASES[request.param])


class At(NamedTuple):
    """An objective with its derivatives."""

    value: float
    gradient: Floats
    curvature: Floats


def derivatives(objective: Objective, θ: Floats) -> At:
    value, gradient, curvature = objective(θ, 2)
    assert gradient is not None
    assert curvature is not None
    return At(value, gradient, curvature)


def objective(case: Case, Z: Floats | None = None) -> Objective:
    """The objective with these places of the common process; None: all places, with which it is the exact one."""
    design = case.collapsed.design
    Z = union_of_places(design.x)[0] if Z is None else Z
    return Objective(design, case.layout, Inducing(design, (KERNELS[case.kernel],) * case.sharing.components, Z))


def common(case: Case, θ: Floats, x: Floats, z: Floats) -> Floats:
    """Prior covariance of the common process."""
    parts = case.layout.split(θ)
    pair = case.sharing.mixing(parts.sharing).pair
    assert pair is not None
    l = np.exp(parts.log_shapes)
    total = np.zeros((len(x), len(z)))
    for c, (share, _) in enumerate(pair):
        total += share * correlations(case.kernel, x, z, l[c])
    return total


def approximate(case: Case, θ: Floats, x: Floats, t: Integers, z: Floats, u: Integers, Z: Floats) -> Floats:
    """Prior covariance of f by definition: exact inside a task, between tasks through the places Z."""
    through = common(case, θ, x, Z) @ np.linalg.solve(common(case, θ, Z, Z), common(case, θ, Z, z))
    return np.where(t[:, None] == u, case.covariance(θ, x, t, z, u), through)


def reading_covariance(case: Case, θ: Floats, Z: Floats) -> Floats:
    r = case.readings
    noise = r.variance if r.variance is not None else np.exp(case.layout.split(θ).log_noise)[r.group]
    return approximate(case, θ, r.x, r.task, r.x, r.task, Z) + np.diag(noise)


def restricted_likelihood(case: Case, S: Floats) -> float:
    H, y = case.trend_columns(case.readings.x, case.readings.task), case.readings.y
    Si = np.linalg.inv(S)
    A = H.T @ Si @ H
    P = Si - Si @ H @ np.linalg.solve(A, H.T @ Si)
    determinants = np.linalg.slogdet(S)[1] + np.linalg.slogdet(A)[1]
    return float(-0.5 * y @ P @ y - 0.5 * determinants - 0.5 * (len(y) - H.shape[1]) * math.log(2 * math.pi))


def test_the_likelihood_is_the_definitions(case: Case) -> None:
    θ = hyperparameters(case)
    o = objective(case, FEW)
    truth = restricted_likelihood(case, reading_covariance(case, θ, FEW))
    assert -o(θ, 0).value - o.log_prior(θ) == pytest.approx(truth, rel=1e-9)


def test_with_all_places_it_is_the_exact_model(case: Case) -> None:
    θ = hyperparameters(case)
    truth, found = case.derivatives("dense", θ), derivatives(objective(case), θ)
    assert found.value == pytest.approx(truth.value, rel=1e-8, abs=1e-8)
    for ours, exact in ((found.gradient, truth.gradient), (found.curvature, truth.curvature)):
        np.testing.assert_allclose(ours, exact, rtol=1e-8, atol=1e-8 * np.abs(exact).max())
    o, dense = objective(case), case.objective("dense")
    a, b = o.gradient(θ), dense.gradient(θ)
    np.testing.assert_allclose(a.alpha, b.alpha, rtol=1e-8, atol=1e-8 * np.abs(b.alpha).max())
    np.testing.assert_allclose(a.p_diagonal, b.p_diagonal, rtol=1e-8)
    V = np.random.default_rng(0).normal(size=(len(o.design.x), 3))
    ours, exact = (each.solver.inverse(each.state(θ)[0]).solve(V) for each in (o, dense))
    np.testing.assert_allclose(ours, exact, rtol=1e-7, atol=1e-8 * np.abs(exact).max())


def test_the_gradient_is_that_of_differences(case: Case) -> None:
    θ, o = hyperparameters(case), objective(case, FEW)
    found = derivatives(o, θ).gradient
    truth = central_gradient(lambda at: o(at, 0).value, θ)
    np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max())


def test_the_average_information_is_the_definitions(case: Case) -> None:
    """A_ij = ½ y'P ∂Σ_i P ∂Σ_j P y with all readings as rows, ∂Σ by central differences."""
    θ, y, step = hyperparameters(case), case.readings.y, 1e-5
    S, H = reading_covariance(case, θ, FEW), case.trend_columns(case.readings.x, case.readings.task)
    Si = np.linalg.inv(S)
    P = Si - Si @ H @ np.linalg.solve(H.T @ Si @ H, H.T @ Si) if H.shape[1] else Si
    slopes = [
        (reading_covariance(case, θ + e, FEW) - reading_covariance(case, θ - e, FEW)) / (2 * step)
        for e in step * np.eye(len(θ))
    ]
    V = np.stack([slope @ P @ y for slope in slopes])
    truth = 0.5 * V @ P @ V.T + np.diag(case.layout.prior[1] ** -2)
    found = derivatives(objective(case, FEW), θ).curvature
    np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max())


def uneven() -> Case:
    """Tasks of one to thirteen places, one of them without any reading."""
    case = make_case(n=60, tasks=6)
    r = case.readings
    keep = np.ones(len(r.y), dtype=bool)
    for t, kept in ((1, 1), (2, 0), (4, 5)):
        keep[np.flatnonzero(r.task == t)[kept:]] = False
    few = r.of_tasks(keep)
    collapsed = collapse(few, case.trend, trend_prior(few, case.trend))
    return Case(few, case.trend, collapsed, case.sharing, case.layout, case.kernel)


def test_batches_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    case = uneven()
    θ = hyperparameters(case)
    truth = case.derivatives("dense", θ)
    for numbers in (1, 100, 400, 10**6):
        monkeypatch.setattr(batching, "NUMBERS", numbers)
        o = objective(case)
        o.solver._batches = make_batches(o.design, len(o.solver.Z), numbers)  # type: ignore[attr-defined]
        found = derivatives(o, θ)
        assert found.value == pytest.approx(truth.value, rel=1e-9)
        np.testing.assert_allclose(found.gradient, truth.gradient, rtol=1e-7, atol=1e-8 * np.abs(truth.gradient).max())
        np.testing.assert_allclose(found.curvature, truth.curvature, rtol=1e-7, atol=1e-7)


def test_batches_hold_every_row_once_and_pad_little() -> None:
    design = uneven().collapsed.design
    for numbers in (1, 60, 10**6):
        made = make_batches(design, 4, numbers)
        rows = np.concatenate([batch.rows[batch.real] for batch in made])
        assert sorted(rows.tolist()) == list(range(len(design.x)))
        assert sum(batch.rows.size for batch in made) <= 1.6 * len(design.x)
    assert len(make_batches(design, 4, 1)) == 5  # a batch has at least one task, and the empty task has none


def test_tasks_may_be_numbered_in_any_order() -> None:
    case = uneven()
    θ, new = hyperparameters(case), np.random.default_rng(0).permutation(6)
    r = case.readings
    other = Readings(r.x, r.y, new[r.task].astype(np.int64), 6, r.group, r.groups, None)
    renamed = Case(
        other,
        case.trend,
        collapse(other, case.trend, trend_prior(other, case.trend)),
        case.sharing,
        case.layout,
        case.kernel,
    )
    a, b = derivatives(objective(case, FEW), θ), derivatives(objective(renamed, FEW), θ)
    assert a.value == pytest.approx(b.value, rel=1e-11)
    np.testing.assert_allclose(a.gradient, b.gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(a.curvature, b.curvature, rtol=1e-9, atol=1e-9)


# --- the posterior ---------------------------------------------------------------------------------------------------


def streamed(case: Case, θ: Floats, Z: Floats | None = None) -> StreamedProcess:
    o = objective(case, Z)
    noise = o.design.noise
    nugget = noise.nugget(case.layout.split(θ).log_noise) if isinstance(noise, KnownNoise) else 0.0
    assert isinstance(o.solver, Inducing)
    return streamed_process(o.solver, case.trend, o.state(θ)[0], nugget)


def asked(case: Case) -> tuple[Floats, Integers]:
    """Places that nobody read, and places that were."""
    generator, design = np.random.default_rng(5), case.collapsed.design
    x = np.concatenate([generator.uniform(-0.7, 0.7, (9, 2)), design.x[::9]])
    return x, np.concatenate([generator.integers(0, case.readings.tasks, 9), design.task[::9]])


def test_the_posterior_is_kriging_with_the_definitions_covariance(case: Case) -> None:
    θ, (x, task), r = hyperparameters(case), asked(case), case.readings
    S, H = reading_covariance(case, θ, FEW), case.trend_columns(r.x, r.task)
    border = np.block([[S, H], [H.T, np.zeros((H.shape[1],) * 2)]])
    right = np.concatenate([approximate(case, θ, r.x, r.task, x, task, FEW), case.trend_columns(x, task).T])
    weights = np.linalg.solve(border, right)
    mean = weights[: len(r.y)].T @ r.y
    covariance = approximate(case, θ, x, task, x, task, FEW) - weights.T @ right
    process = streamed(case, θ, FEW)
    moments = process.moments(x, task)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(moments.variance, np.diag(covariance), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(process.covariance(x, task), covariance, rtol=1e-7, atol=1e-8)


def test_with_all_places_means_and_variances_are_the_exact_ones(case: Case) -> None:
    θ, (x, task) = hyperparameters(case), asked(case)
    o = case.objective("dense")
    state = o.state(θ)[0]
    pairs = StationaryCorrelations((KERNELS[case.kernel],) * case.sharing.components, state.shapes)
    process = streamed(case, θ)
    exact = condition(o.design, case.trend, pairs, state, o.solver.inverse(state), process.nugget)
    for beside in (False, True):
        a, b = process.moments(x, task, beside=beside), exact.moments(x, task, beside=beside)
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(a.variance, b.variance, rtol=1e-7, atol=1e-7)
    smooth = slice(0, 9) if case.kernel == "matern12" else slice(None)  # where read, its mean has a kink
    slopes, true = process.slopes(x[smooth], task[smooth]), exact.slopes(x[smooth], task[smooth])
    np.testing.assert_allclose(slopes.mean, true.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slopes.variance, true.variance, rtol=1e-6, atol=1e-6)


def test_draws_have_the_posteriors_mean_and_covariance() -> None:
    case = make_case(design="overlapping", n=40)
    θ, (x, task) = hyperparameters(case), asked(case)
    x, task = np.concatenate([x, x[:2]]), np.concatenate([task, task[:2]])  # two asked twice
    process, count = streamed(case, θ, FEW), 20_000
    draws = process.sample(x, task, count, np.random.default_rng(0))
    mean, covariance = process.moments(x, task).mean, process.covariance(x, task)
    spread = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(axis=0) - mean) / spread).max() < 5 / math.sqrt(count)
    error = (np.cov(draws.T) - covariance) / np.outer(spread, spread)
    assert np.abs(error).max() < 5 * math.sqrt(2 / count)
    np.testing.assert_array_equal(draws[:, -2:], draws[:, :2])


def test_a_task_without_readings_has_the_common_process_and_the_trends_prior() -> None:
    case = uneven()
    θ = hyperparameters(case)
    x = np.random.default_rng(1).uniform(-0.5, 0.5, (4, 2))
    task = np.full(4, 2)
    mean, covariance = case.predict(θ, x, task)
    moments = streamed(case, θ).moments(x, task)
    np.testing.assert_allclose(moments.mean, mean, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(moments.variance, np.diag(covariance), rtol=1e-7)
    assert batch_of(case.collapsed.design, np.array([2])).rows.shape == (1, 0)
