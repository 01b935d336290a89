"""Optimal-control policies as OpenMDAO components: controls, costs against the solver, partials, and what is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

from surrogates import FittedFamily, OptimalControlNet
from surrogates.control import FamilyRoad
from surrogates.design import OpenMDAOPolicy
from surrogates.errors import DataError, UnitsError
from surrogates.physics.optimal_control import Problem, named_problem, solve


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@cache
def pendulum() -> FittedFamily:
    """Van der Pol's oscillator from any state and time, with any weight of its control."""
    base = named_problem("van_der_pol").problem
    problem = Problem(
        dynamics=base.dynamics,
        running_cost=lambda t, x, u, θ: (x**2).sum(-1) + θ["weight"] * u[..., 0] ** 2 + 0.1 * t * u[..., 0] ** 2,
        terminal_cost=lambda t, x, θ: θ["end"] * (x**2).sum(-1),
        horizon=(0.0, 3.0),
        initial_state=(0.3, 0.0),
        control_size=1,
        parameters={**base.parameters, "weight": 1.0, "end": 1.0},
    )
    family = problem.over(
        initial_state=[(-0.5, 0.5), (-0.5, 0.5)],
        initial_time=(0.0, 1.0),
        parameters={"weight": (0.8, 1.5), "end": (0.5, 2.0)},
    )
    return OptimalControlNet(family=FamilyRoad(max_cases=300)).fit(family)


CASES = np.array([[0.2, -0.3, 0.4, 1.1, 0.8], [-0.4, 0.1, 0.7, 0.9, 1.6]])


def run(component: Any, cases: Any = CASES) -> om.Problem:
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("c", component, promotes=["*"])
    problem.setup()
    for name, column in zip(pendulum().inputs, cases.T, strict=True):
        problem.set_val(name, column)
    problem.run_model()
    return problem


def test_controls_and_costs_are_those_of_the_solver() -> None:
    problem = run(OpenMDAOPolicy(pendulum(), cost="J", vec_size=2))
    for k, (x1, x2, t0, weight, end) in enumerate(CASES[:1]):
        base = pendulum().family.problem
        one = base.with_values(initial_state=(x1, x2), horizon=(t0, 3.0), parameters={"weight": weight, "end": end})
        truth = solve(one, tolerance=1e-9)
        assert problem.get_val("J")[k] == pytest.approx(float(truth["J"]), rel=1e-7)
        assert problem.get_val("u")[k] == pytest.approx(truth["u"][0, 0].item(), abs=2e-3)
    np.testing.assert_allclose(problem.get_val("u"), pendulum().predict(CASES, times=[0.0])["u"][:, 0, 0], rtol=1e-10)


def test_partials_are_exact() -> None:
    problem = run(OpenMDAOPolicy(pendulum(), cost="J", vec_size=2))
    found = problem.check_partials(out_stream=None, step=1e-4, form="central")["c"]
    assert len(found) == 10
    for pair, entry in found.items():
        atol = 1e-6 * max(np.abs(entry["J_fd"]).max(), 0.1)
        np.testing.assert_allclose(entry["J_fwd"], entry["J_fd"], atol=atol, rtol=0, err_msg=str(pair))


def test_a_driver_finds_the_cheapest_start() -> None:
    problem = om.Problem(reports=False)
    problem.model.add_subsystem("c", OpenMDAOPolicy(pendulum(), cost="J", units={"initial_time": "s"}), promotes=["*"])
    problem.model.add_design_var("x1", lower=-0.5, upper=0.5)
    problem.model.add_objective("J")
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False, tol=1e-10)
    problem.setup()
    for name, value in zip(pendulum().inputs, CASES[0], strict=True):
        problem.set_val(name, value)
    assert problem.run_driver().success
    best = problem.get_val("J")[0]
    grid = np.repeat(CASES[:1], 101, axis=0)
    grid[:, 0] = np.linspace(-0.5, 0.5, 101)
    costs = run(OpenMDAOPolicy(pendulum(), cost="J", vec_size=101), grid).get_val("J")
    assert costs.min() - 1e-4 < best <= costs.min() + 1e-9


def test_what_makes_no_sense_is_refused() -> None:
    single: Any = OptimalControlNet().fit(named_problem("scalar_lq").problem)
    with pytest.raises(DataError, match="a FittedControl is no family of control problems; fit one"):
        OpenMDAOPolicy(single)
    with pytest.raises(DataError, match="'x1' names an input and an output"):
        OpenMDAOPolicy(pendulum(), cost="x1")
    with pytest.raises(UnitsError, match=r"units\['u'\] is 'volts', which OpenMDAO doesn't know"):
        OpenMDAOPolicy(pendulum(), units={"u": "volts"})
    with pytest.raises(DataError, match="units name 'speed', which is no variable"):
        OpenMDAOPolicy(pendulum(), units={"speed": "m/s"})
    with pytest.raises(DataError, match=r"input 'x1' is 0.9 in case 0; this family was fitted for"):
        run(OpenMDAOPolicy(pendulum()), np.array([[0.9, 0.0, 0.5, 1.0, 1.0]]))
