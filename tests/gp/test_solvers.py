"""Every solver against the plain restricted likelihood of the single readings, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from brute import Case, Floats, central_gradient, hyperparameters, make_case

from surrogates.gp import panels
from surrogates.gp.solvers import SOLVERS, _pairs, applicable_solvers, choose_solver

CASES: dict[str, dict[str, Any]] = {
    "replicates": {},
    "rbf, two kernels": {"kernel": "rbf", "sharing": "two-kernels"},
    "matern32, known noise": {"kernel": "matern32", "known": True},
    "matern12, icm": {"kernel": "matern12", "sharing": "icm"},
    "one task": {"tasks": 1, "groups": 1},
    "quadratic trend": {"trend": "quadratic", "tasks": 2},
    "no trend": {"trend": "none"},
    "shared": {"design": "shared", "n": 45},
    "shared, two kernels": {"design": "shared", "n": 45, "sharing": "two-kernels"},
    "shared, icm": {"design": "shared", "n": 45, "sharing": "icm"},
    "shared, known noise": {"design": "shared", "n": 45, "known": True},
    "overlapping": {"design": "overlapping", "n": 60},
    "overlapping, two kernels": {"design": "overlapping", "n": 60, "sharing": "two-kernels"},
    "overlapping, known noise": {"design": "overlapping", "n": 60, "known": True},
}


@pytest.fixture(params=CASES, ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(**CASES[request.param])


def solvers_of(case: Case) -> tuple[str, ...]:
    return applicable_solvers(case.collapsed.design, case.sharing)


def test_every_solver_gives_the_likelihood_of_the_single_readings(case: Case) -> None:
    θ = hyperparameters(case)
    truth = case.log_likelihood(θ)
    for name in solvers_of(case):
        assert case.likelihood_by(name, θ) == pytest.approx(truth, rel=1e-10, abs=1e-9), name


def test_every_gradient_is_that_of_central_differences(case: Case) -> None:
    θ = hyperparameters(case)
    mean, deviation = case.layout.prior

    def penalised(at: Floats) -> float:
        return -case.log_likelihood(at) + 0.5 * float((((at - mean) / deviation) ** 2).sum())

    truth = central_gradient(penalised, θ)
    for name in solvers_of(case):
        gradient = case.derivatives(name, θ).gradient
        np.testing.assert_allclose(gradient, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max(), err_msg=name)


def test_every_average_information_is_that_of_the_single_readings(case: Case) -> None:
    """A_ij = ½ y'P ∂Σ_i P ∂Σ_j P y with all readings as rows, ∂Σ by central differences."""
    θ = hyperparameters(case)
    P, y = case.projection(θ), case.readings.y
    step = 1e-5
    directions = [
        (case.reading_covariance(θ + e) - case.reading_covariance(θ - e)) / (2 * step) @ P @ y
        for e in step * np.eye(len(θ))
    ]
    V = np.stack(directions)
    truth = 0.5 * V @ P @ V.T + np.diag(case.layout.prior[1] ** -2)
    for name in solvers_of(case):
        curvature = case.derivatives(name, θ).curvature
        np.testing.assert_allclose(curvature, truth, rtol=1e-6, atol=1e-6 * np.abs(truth).max(), err_msg=name)


def test_all_solvers_agree_to_rounding(case: Case) -> None:
    θ = hyperparameters(case)
    dense = case.objective("dense")
    truth, V = case.derivatives("dense", θ), np.random.default_rng(0).normal(size=(len(case.collapsed.design.x), 3))
    inverse = dense.solver.inverse(dense.state(θ)[0]).solve(V)
    for name in solvers_of(case):
        other = case.objective(name)
        value = case.derivatives(name, θ)
        assert value.value == pytest.approx(truth.value, rel=1e-10), name
        np.testing.assert_allclose(value.gradient, truth.gradient, rtol=1e-8, atol=1e-8 * abs(truth.gradient).max())
        np.testing.assert_allclose(value.curvature, truth.curvature, rtol=1e-8, atol=1e-8 * abs(truth.curvature).max())
        solved = other.solver.inverse(other.state(θ)[0]).solve(V)
        np.testing.assert_allclose(solved, inverse, rtol=1e-8, atol=1e-8 * abs(inverse).max())


def test_panels_give_what_one_panel_gives(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large designs are worked on in panels, some of which end where a task ends."""
    θ = hyperparameters(case)
    one = case.derivatives("dense", θ)
    monkeypatch.setattr(panels, "ONE_PANEL", 0)
    for rows in (3, 8, 64):
        monkeypatch.setattr(panels, "PANEL", rows)
        many = case.derivatives("dense", θ)
        assert many.value == pytest.approx(one.value, rel=1e-12)
        np.testing.assert_allclose(many.gradient, one.gradient, rtol=1e-9, atol=1e-9 * abs(one.gradient).max())
        np.testing.assert_allclose(many.curvature, one.curvature, rtol=1e-9, atol=1e-9 * abs(one.curvature).max())


@pytest.mark.parametrize("name", ["woodbury", "rotation", "kronecker"])
def test_squared_differences_need_not_be_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(design="shared", n=45)
    θ = hyperparameters(case)
    kept = case.derivatives(name, θ)
    monkeypatch.setattr(_pairs, "KEPT", 0)
    made = case.derivatives(name, θ)
    np.testing.assert_allclose(made.gradient, kept.gradient, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(made.curvature, kept.curvature, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_solvers_agree_at_extreme_hyperparameters(name: str) -> None:
    """Hardly any noise, long and short length-scales, tasks almost equal or almost independent."""
    case = make_case(design="shared", n=45)
    for l, ρ, noise in ((-3.5, 9.0, -13.8), (2.9, -6.0, -5.0), (0.0, 9.0, 1.3), (0.5, 0.0, -11.0)):
        θ = case.layout.join(np.full(2, l), np.array([0.0, ρ]), np.full(2, noise))
        a, b = case.derivatives("dense", θ), case.derivatives(name, θ)
        assert b.value == pytest.approx(a.value, rel=1e-8)
        np.testing.assert_allclose(b.gradient, a.gradient, rtol=1e-5, atol=1e-7 * np.abs(a.gradient).max())


def test_noise_by_task_is_separable_on_a_shared_design() -> None:
    """One gauge per task: the noise is a factor of the task, which the Kronecker solver takes and rotation can't."""
    case = make_case(design="shared", n=45, sharing="icm", groups=1)
    by_task = make_case(design="shared", n=45, sharing="icm", groups=3)
    readings = case.readings
    from surrogates.gp.collapse import Readings, collapse, trend_prior

    own = Readings(readings.x, readings.y, readings.task, 3, readings.task, ("a", "b", "c"), None)
    collapsed = collapse(own, case.trend, trend_prior(own, case.trend))
    separable = Case(own, case.trend, collapsed, by_task.sharing, by_task.layout, "matern52")
    assert applicable_solvers(collapsed.design, case.sharing) == ("kronecker", "dense")
    θ = hyperparameters(separable)
    truth, value = separable.derivatives("dense", θ), separable.derivatives("kronecker", θ)
    assert separable.likelihood_by("kronecker", θ) == pytest.approx(separable.log_likelihood(θ), rel=1e-9)
    np.testing.assert_allclose(value.gradient, truth.gradient, rtol=1e-8)
    np.testing.assert_allclose(value.curvature, truth.curvature, rtol=1e-7, atol=1e-9)


def test_the_solver_follows_the_pattern() -> None:
    """Shared places and gauges rotate; one moved reading or swapped gauge makes the pattern general again."""
    shared = make_case(design="shared", n=45)
    assert choose_solver(shared.collapsed.design, shared.sharing) == "rotation"
    icm = make_case(design="shared", n=45, sharing="icm")
    assert choose_solver(icm.collapsed.design, icm.sharing) == "kronecker"
    own = make_case()
    assert choose_solver(own.collapsed.design, own.sharing) == "dense"
    many = make_case(design="overlapping", n=600, tasks=10)
    assert choose_solver(many.collapsed.design, many.sharing) == "woodbury"
    swapped = make_case(design="shared", n=45)
    group = swapped.readings.group.copy()
    group[0] = 1 - group[0]
    from surrogates.gp.collapse import Readings, collapse, trend_prior

    r = swapped.readings
    other = Readings(r.x, r.y, r.task, r.tasks, group, r.groups, None)
    design = collapse(other, swapped.trend, trend_prior(other, swapped.trend)).design
    assert "rotation" not in applicable_solvers(design, swapped.sharing)


def test_two_tasks_without_correlation_are_two_models() -> None:
    """ρ -> 0: the joint likelihood is the sum of the tasks' own."""
    case = make_case(tasks=2, n=30)
    θ = hyperparameters(case)
    r = case.readings
    layout = case.layout
    position = len(layout.shapes.names) + 1
    θ[position] = -40.0
    joint = case.log_likelihood(θ)
    assert case.likelihood_by("dense", θ) == pytest.approx(joint, rel=1e-9)
    parts = 0.0
    for t in range(2):
        from surrogates.gp.collapse import Readings

        keep = r.task == t
        alone = Readings(
            r.x[keep], r.y[keep], np.zeros(int(keep.sum()), dtype=np.int64), 1, r.group[keep], r.groups, None
        )
        single = make_case(tasks=1, n=30)
        from dataclasses import replace

        parts += replace(single, readings=alone).log_likelihood(np.delete(θ, position))
    assert joint == pytest.approx(parts, rel=1e-9)
