"""Pareto fronts by pymoo against those of a grid, with and without chance constraints; what is refused."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from design_fits import Floats, gauges, plate
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.indicators.hv import HV
from pymoo.optimize import minimize
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from scipy.optimize import NonlinearConstraint

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset
from surrogates.design import (
    CVaR,
    Mean,
    Probability,
    PymooProblem,
    Quantile,
    Response,
    Std,
    chance_constraint,
    objective,
)
from surrogates.errors import DataError


@cache
def price() -> FittedHierarchicalGP:
    """Depends on z alone, and is known over less of it."""
    z = np.linspace(-0.8, 0.9, 12)
    data = as_dataset(z, 2 + z + 0.2 * np.sin(5 * z), inputs=["z"], target="price")
    data["z"].attrs["units"], data["price"].attrs["units"] = "mm", "EUR"
    return HierarchicalGP(Schema(inputs="z", target="price"), noise="none").fit(data)


def grid_of(problem: PymooProblem, n: int = 31) -> Floats:
    axes = [np.linspace(a, b, n) for a, b in zip(problem.xl, problem.xu, strict=True)]
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, len(axes))


def check_front(problem: PymooProblem, *, gap: float = 0.03) -> None:
    """NSGA-II's front dominates as much as the grid's."""
    grid = grid_of(problem)
    out = problem.evaluate(grid, return_as_dictionary=True)
    F = out["F"][(out["G"] <= 0).all(axis=1)] if problem.n_ieq_constr else out["F"]
    best = F[NonDominatedSorting().do(F, only_non_dominated_front=True)]
    found = minimize(problem, NSGA2(pop_size=40), ("n_gen", 25), seed=1)
    corner = F.max(axis=0)
    scale = corner - best.min(axis=0)
    wanted, got = (HV(ref_point=np.ones(problem.n_obj))((of - best.min(axis=0)) / scale) for of in (best, found.F))
    assert got == pytest.approx(wanted, rel=gap)
    # no point of the front is dominated by the grid by more than a little
    worse = ((best[None] - found.F[:, None]) / scale).max(axis=-1).min(axis=-1)
    assert (worse > -gap).all()
    if problem.n_ieq_constr:
        assert (found.G <= 1e-9).all()


def test_the_front_over_two_tasks_is_the_grids() -> None:
    problem = PymooProblem({task: objective(Response(plate(), task=task), Mean(1.0)) for task in ("a", "b")})
    assert problem.inputs == ("x", "z")
    check_front(problem)


def test_the_front_under_a_chance_constraint_is_the_grids() -> None:
    limited = Response(gauges(), task="a", fidelity="scanner", over=("model", "noise"))
    free = {
        "least": objective(Response(plate(), task="b"), Quantile(0.9)),
        "surest": objective(Response(plate(), task="a"), CVaR(0.8, tail="lower"), maximize=True),
    }
    limits = [chance_constraint(limited, probability=0.9, at_least=-0.1)]
    problem = PymooProblem(
        free, [*limits, objective(Response(plate(), task="b")).constraint(at_least=-0.5, at_most=0.5)]
    )
    assert problem.n_ieq_constr == 3
    check_front(problem, gap=0.05)  # the grid is coarse beside the limit
    found = minimize(problem, NSGA2(pop_size=20), ("n_gen", 10), seed=2)
    assert (objective(limited, Probability(at_least=-0.1)).values(found.X) >= 0.9 - 1e-9).all()


def test_surrogates_with_different_inputs_share_those_they_have() -> None:
    problem = PymooProblem({"height": objective(Response(plate(), task="a")), "price": objective(price())})
    assert problem.inputs == ("x", "z")
    np.testing.assert_allclose([problem.xl[1], problem.xu[1]], [-0.8, 0.9])
    check_front(problem)
    x = np.array([[0.1, 0.2], [0.3, -0.4]])
    np.testing.assert_allclose(problem.evaluate(x)[:, 1], objective(price()).values(x[:, 1:]))


def test_designs_are_labelled_with_what_they_reach() -> None:
    up = objective(Response(plate(), task="a"), maximize=True)
    problem = PymooProblem(
        {"height": up, "price": objective(price()), "fits": objective(price(), Probability(at_most=2.0))}
    )
    found = problem.dataset([[0.1, 0.2], [0.3, -0.4]])
    assert {name: found[name].attrs.get("units") for name in found} == {
        "x": "mm",
        "z": "mm",
        "height": "um",
        "price": "EUR",
        "fits": None,
    }
    np.testing.assert_array_equal(found["height"], -up.values([[0.1, 0.2], [0.3, -0.4]]))
    assert found["height"].attrs["long_name"] == "Mean(k_std=0.0) of height"
    assert problem.dataset([0.1, 0.2]).sizes["design"] == 1


@pytest.mark.parametrize("x", [[0.1], [[0.1, 0.2, 0.3]], np.zeros((1, 2, 2)), []])
def test_designs_have_a_column_for_each_input(x: Any) -> None:
    problem = PymooProblem({"height": objective(Response(plate(), task="a"))})
    with pytest.raises(DataError, match=r"x has shape \(.*\); \(n, 2\) is expected, of the inputs \('x', 'z'\)"):
        problem.dataset(x)


def test_a_population_is_evaluated_at_once() -> None:
    calls = []

    class Counting:
        kind = "value"

        def __call__(self, of: Any) -> Any:
            calls.append(len(of.mean))
            return of.moments()[0]

    one = objective(Response(plate(), task="a"), Counting())  # type: ignore[arg-type]
    PymooProblem({"a": one}).evaluate(np.zeros((50, 2)))
    assert calls == [50]


def test_problems_that_make_no_sense() -> None:
    one, other = objective(Response(plate(), task="a")), Std()
    wrong: Any = other
    with pytest.raises(DataError, match="objectives is empty"):
        PymooProblem({})
    with pytest.raises(DataError, match="objective 'a' is a Std; give what"):
        PymooProblem({"a": wrong})
    with pytest.raises(DataError, match="bounds of 'x' exclude each other: at least 2, at most"):
        PymooProblem({"a": one, "b": objective(Response(plate(), task="b"), bounds={"x": (2, 3)})})
    with pytest.raises(DataError, match="an evolution needs finite ones"):
        PymooProblem({"b": objective(Response(plate(), task="b"), bounds={"x": (0, np.inf)})})
    with pytest.raises(DataError, match="input 'x' is in None for 'b' and in 'mm' for another objective"):
        PymooProblem({"a": one, "b": objective(Response(gauges(), task="a"))})
    with pytest.raises(DataError, match="constraint 0 is a NonlinearConstraint of something else"):
        PymooProblem({"a": one}, [NonlinearConstraint(lambda x: x[0], 0, 1)])
    with pytest.raises(DataError, match="constraint 0 names the input 'x', which no objective has"):
        PymooProblem({"price": objective(price())}, [one.constraint(at_most=1.0)])
