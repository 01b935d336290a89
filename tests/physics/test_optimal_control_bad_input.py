"""Every refusal: what is named, what came, what was expected, what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates.errors import NumericalError, ProblemError
from surrogates.physics.optimal_control import (
    EulerLagrange,
    Family,
    Problem,
    Scales,
    named_problem,
    scaled,
    solve,
)


def posed(**changes: Any) -> Problem:
    """Two states, one control, a parameter; with some of its arguments changed."""
    good: dict[str, Any] = {
        "dynamics": lambda t, x, u, θ: torch.stack([x[..., 1], u[..., 0] - θ["k"] * x[..., 0]], -1),
        "running_cost": lambda t, x, u, θ: x[..., 0] ** 2 + u[..., 0] ** 2,
        "horizon": (0.0, 1.0),
        "initial_state": (1.0, 0.0),
        "control_size": 1,
        "parameters": {"k": 1.0},
    }
    return Problem(**{**good, **changes})


def from_numpy(t: Any, x: Any, u: Any, θ: Any) -> torch.Tensor:
    return torch.as_tensor(np.stack([x[..., 1].detach().numpy(), u[..., 0].detach().numpy()], -1))


STACK = torch.stack
REFUSED: list[tuple[dict[str, Any], str]] = [
    # sizes, numbers, names
    ({"horizon": (1.0, 0.0)}, r"horizon is \(1.0, 0.0\); the final time must be later than the initial time"),
    ({"horizon": (0.0, math.nan)}, "horizon is nan; it must be finite"),
    ({"horizon": 2.0}, r"horizon is 2.0; it must be a pair \(low, high\)"),
    ({"horizon": ("a", 1)}, "horizon is 'a'; it must be a number"),
    ({"initial_state": ()}, r"initial_state is empty; give one number \(or None, for free\) per state component"),
    ({"initial_state": 1.0}, r"initial_state is 1.0; give a sequence with one number \(or None, for free\)"),
    ({"initial_state": None}, r"initial_state is None; give a sequence"),
    ({"initial_state": (1.0, "b")}, r"initial_state\[1\] is 'b'; it must be a number"),
    ({"initial_state": (1.0, math.inf)}, r"initial_state\[1\] is inf; it must be finite"),
    (
        {"initial_state": (1.0, 0.0, 2.0)},
        r"dynamics gives shape \(3, 5, 2\) .*\(3, 5, 3\) is expected, that is \(\.\.\., n\)",
    ),
    ({"final_state": (1.0,)}, "final_state has 1 entries; 2 are expected: state components, as initial_state has them"),
    ({"final_state": 3}, "final_state is 3; give a sequence"),
    ({"control_size": 0}, "control_size is 0; it must be an integer >= 1"),
    ({"control_size": 1.0}, "control_size is 1.0; it must be an integer >= 1"),
    ({"control_size": True}, "control_size is True; it must be an integer >= 1"),
    (
        {"control_bounds": [(1.0, -1.0)]},
        r"control_bounds\[0\] is \(1.0, -1.0\); the low bound must be below the high one",
    ),
    ({"control_bounds": [(1.0, 1.0)]}, "the low bound must be below the high one"),
    ({"control_bounds": [(math.nan, 1.0)]}, "the low bound must be below the high one"),
    (
        {"control_bounds": (-1.0, 1.0)},
        r"control_bounds has 2 entries; 1 are expected: pairs \(low, high\), one per control",
    ),
    ({"control_bounds": [3.0]}, r"control_bounds\[0\] is 3.0; it must be a pair \(low, high\)"),
    ({"control_bounds": [("a", 1.0)]}, r"control_bounds\[0\] is \('a', 1.0\); its ends must be numbers, or None"),
    ({"parameters": {"k": "fast"}}, "k is 'fast'; it must be a number"),
    ({"parameters": {"k": math.inf}}, "k is inf; it must be finite"),
    ({"parameters": {"k": 1.0, "x1": 2.0}}, "'x1' names a parameter and a component; choose other names"),
    ({"state_names": ("a",)}, "state_names has 1 entries; 2 are expected: names, one per component"),
    ({"state_names": ("a", "a")}, r"state_names is \('a', 'a'\); the names must differ from each other"),
    ({"control_names": ("a", "b")}, "control_names has 2 entries; 1 are expected: names, one per component"),
    ({"state_names": ("a", "k")}, "'k' names a parameter and a component"),
    ({"state_names": ("u", "v")}, "'u' names a state and a control; choose other names"),
    ({"running_cost": None}, "there is nothing to minimise; give a running_cost, a terminal_cost or both"),
    # functions
    (
        {"parameters": {}},
        r"dynamics fails on a batch of shape \(3, 5\): KeyError: 'k'; .*read parameters as θ\['name'\]",
    ),
    (
        {"dynamics": lambda t, x, u, θ: x[1]},
        r"dynamics gives shape \(5, 2\) for a batch of shape \(3, 5\); \(3, 5, 2\)",
    ),
    ({"dynamics": lambda t, x: x}, "dynamics fails on a batch .*TypeError.*index components on the last axis, as in x"),
    ({"dynamics": lambda t, x, u, θ: [x, u]}, r"dynamics gives a list; a tensor of shape \(\.\.\., n\) is expected"),
    (
        {"dynamics": from_numpy},
        r"dynamics can't be differentiated: .*write it without NumPy, \.item\(\) and \.detach\(\)",
    ),
    ({"dynamics": lambda t, x, u, θ: x.detach()}, "dynamics can't be differentiated"),
    ({"dynamics": lambda t, x, u, θ: np.sin(x.numpy())}, r"dynamics fails on a batch .*RuntimeError"),
    (
        {"dynamics": lambda t, x, u, θ: x.float()},
        "dynamics gives torch.float32; torch.float64 is expected: make its constants",
    ),
    (
        {"dynamics": lambda t, x, u, θ: x / 0.0 * u},
        "dynamics gives nan near the initial state; it must be finite there",
    ),
    (
        {"dynamics": lambda t, x, u, θ: x.sqrt() + u},
        "the derivative of dynamics is inf near the initial state; it must be finite",
    ),
    (
        {"running_cost": lambda t, x, u, θ: x**2},
        r"running_cost gives shape \(3, 5, 2\) .*\(3, 5\) is expected, that is \(\.\.\.\)",
    ),
    ({"running_cost": lambda t, x, u, θ: (x**2).sum()}, r"running_cost gives shape \(\) for a batch"),
    ({"running_cost": lambda t, x, u, θ: 1.0}, r"running_cost gives a float; a tensor of shape \(\.\.\.\) is expected"),
    (
        {"running_cost": lambda t, x, u, θ: x[..., 0].log() * u[..., 0].log()},
        "running_cost gives nan near|gives -inf near",
    ),
    (
        {"terminal_cost": lambda t, x, θ: x.sum(-1).float()},
        "terminal_cost gives torch.float32; torch.float64 is expected",
    ),
    ({"terminal_cost": lambda t, x, θ: x[..., 7]}, r"terminal_cost fails on a batch of shape \(3, 5\): IndexError"),
    ({"initial_cost": lambda t, x, θ: x}, r"initial_cost gives shape \(3, 5, 2\)"),
    # a state that nothing moves
    (
        {"dynamics": lambda t, x, u, θ: STACK([x[..., 1] * 0.0, u[..., 0]], -1), "final_state": (2.0, None)},
        "'x1' is 1.0 at the start and 2.0 at the end, but dynamics never changes it; leave one of the two conditions free",
    ),
]


@pytest.mark.parametrize(
    ("changes", "words"), REFUSED, ids=[f"{i}-{next(iter(c))}" for i, (c, _) in enumerate(REFUSED)]
)
def test_problems_that_cant_be_posed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        posed(**changes)


def test_what_is_nearly_refused_is_allowed() -> None:
    still = posed(dynamics=lambda t, x, u, θ: STACK([x[..., 1] * 0.0, u[..., 0]], -1), final_state=(1.0, None))
    assert still.final_state == (1.0, None)
    assert posed(initial_state=np.array([1.0, 0.0])).initial_state == (1.0, 0.0)
    assert posed(control_bounds=[(None, 1)]).bounds.tolist() == [[-math.inf], [1.0]]
    assert posed(control_bounds=[(-math.inf, 1)]).is_bounded
    assert not posed(control_bounds=[(None, None)]).is_bounded
    assert posed(final_state=(None, 1.0)).given_at_ends == ((1.0, 0.0), (None, 1.0))
    assert posed(terminal_cost=lambda t, x, θ: torch.ones_like(t), running_cost=None).running_cost is None


FAMILIES: list[tuple[Callable[[], object], str]] = [
    (lambda: posed().with_values(parameters={"q": 1.0}), r"parameter 'q' is unknown; the problem has \['k'\]"),
    (lambda: posed().with_values(initial_state=[1.0]), "final_state has 2 entries; 1 are expected"),
    (lambda: posed().with_values(horizon=(2.0, 1.0)), "the final time must be later"),
    (lambda: posed().over(parameters={"q": (0, 1)}), r"parameter 'q' is unknown; the problem has \['k'\]"),
    (
        lambda: posed().over(parameters={"k": (1, 0)}),
        r"range of 'k' is \(1.0, 0.0\); its low end must be below .* hold it fixed",
    ),
    (lambda: Family(posed(), {"y": (0.0, 1.0)}, None, {}), r"state 'y' is unknown; the problem has \['x1', 'x2'\]"),
    (
        lambda: posed(state_names=("initial_time", "v")).over(initial_state=[(0, 1), 0.0], initial_time=(0.0, 0.5)),
        "'initial_time' names an input of its own beside t0; rename",
    ),
    (lambda: posed().over(parameters={"k": 1.0}), r"range of 'k' is 1.0; it must be a pair"),  # type: ignore[dict-item]
    (
        lambda: posed().over(initial_state=[(2, 1), 0.0]),
        r"the range of 'x1' is \(2.0, 1.0\); its low end must be below",
    ),
    (
        lambda: posed().over(initial_state=[(2, 3)]),
        "initial_state has 1 entries; 2 are expected: ranges, one per state",
    ),
    (lambda: posed().over(initial_state=[(2, 3), 1.0]), r"holds 'x2' at 1.0, but the problem has 0.0; .*with_values"),
    (lambda: posed(initial_state=(None, 0.0)).over(initial_state=[(0, 1), 0.0]), "initial value of 'x1' is free, so"),
    (lambda: posed().over(initial_state=[(0, 1, 2), 0.0]), r"the range of 'x1' is \(0, 1, 2\); it must be a pair"),  # type: ignore[list-item]
    (lambda: posed().over(initial_state=[(0,), 0.0]), r"the range of 'x1' is \(0,\); it must be a pair"),  # type: ignore[list-item]
    (
        lambda: posed().over(initial_time=(0.5, 0.2)),
        r"range of initial_time is \(0.5, 0.2\); its low end must be below",
    ),
    (
        lambda: posed().over(initial_time=(0.5, 1.0)),
        r"initial_time may be 1.0, but the horizon ends at 1.0; its high end",
    ),
    (lambda: posed().over(), "nothing varies in this family; give a range for a state, a parameter or initial_time"),
    (lambda: Family(posed(), {}, None, {}), "nothing varies in this family"),
    (
        lambda: Scales((1.0, -1.0), (1.0,), 1.0),
        r"the scales of state are \(1.0, -1.0\); they must be finite and above 0",
    ),
    (
        lambda: scaled(posed(), Scales((1.0,), (1.0,), 1.0)),
        "there are 1 state and 1 control scales; the problem has 2 states",
    ),
    (
        lambda: scaled(named_problem("brachistochrone").problem, Scales((1.0,) * 3, (1.0,), 1.0)),
        r"a problem with free final time can't be scaled .*; fix the time first",
    ),
]


@pytest.mark.parametrize(("make", "words"), FAMILIES, ids=[str(i) for i in range(len(FAMILIES))])
def test_families_and_values_that_cant_be(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        make()


# --- solve ---


def answer() -> xr.Dataset:
    return solve(posed(), times=np.linspace(0, 1, 11))


def spoilt(**changes: Any) -> xr.Dataset:
    return answer().assign(**changes)


ARGUMENTS: list[tuple[Callable[[], dict[str, Any]], str]] = [
    (lambda: {"method": "shooting"}, r"method is 'shooting'; it must be one of \('collocation', 'bvp'\)"),
    (lambda: {"tolerance": 1e-14}, "tolerance is 1e-14; it must be between 1e-12 and 1e-2"),
    (lambda: {"tolerance": math.nan}, "tolerance is nan; it must be between"),
    (lambda: {"starts": -1}, "starts is -1; it must be an integer >= 0"),
    (lambda: {"starts": 2.5}, "starts is 2.5; it must be an integer >= 0"),
    (lambda: {"times": [0.0, 2.0]}, r"times reach from 0.0 to 2.0; they must lie in \[0.0, 1.0\]"),
    (lambda: {"times": [-0.1, 0.5]}, "times reach from -0.1 to 0.5"),
    (lambda: {"times": []}, "times must be one-dimensional, finite and increasing"),
    (lambda: {"times": [0.5, 0.5]}, "times must be one-dimensional, finite and increasing"),
    (lambda: {"times": [0.5, 0.2]}, "times must be one-dimensional, finite and increasing"),
    (lambda: {"times": [0.0, math.nan]}, "times must be one-dimensional, finite and increasing"),
    (lambda: {"times": 0.5}, "times must be one-dimensional, finite and increasing"),
    (
        lambda: {"guess": answer().drop_vars("p")},
        r"guess lacks 'p'; give what solve\(\) returned, with x and p over time",
    ),
    (lambda: {"guess": answer().drop_vars("time")}, "guess lacks 'time'"),
    (lambda: {"guess": answer().isel(state=[0])}, "guess has 1 state components; the problem has 2"),
    (
        lambda: {"guess": spoilt(x=answer().x * math.nan)},
        "guess holds values that aren't finite; leave it out, or fill them",
    ),
    (lambda: {"guess": answer().isel(time=[0])}, "guess has 1 times; at least 2, finite and increasing, are expected"),
    (lambda: {"guess": answer().isel(time=slice(None, None, -1))}, "guess has 11 times; .*increasing, are expected"),
    (lambda: {"guess": answer().assign_coords(time=[0.0] * 11)}, "guess has 11 times; .*increasing, are expected"),
    (
        lambda: {"guess": spoilt(x=answer().x.isel(time=0))},
        r"guess has 'x' over \('state',\); \('time', 'state'\) is expected",
    ),
]


@pytest.mark.parametrize(("arguments", "words"), ARGUMENTS, ids=[str(i) for i in range(len(ARGUMENTS))])
def test_arguments_that_dont_fit(arguments: Callable[[], dict[str, Any]], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        solve(posed(), **arguments())


def test_times_of_a_free_final_time_are_shares() -> None:
    with pytest.raises(ProblemError, match=r"times reach from 0.0 to 1.8; they must lie in \[0.0, 1.0\]"):
        solve(
            posed(free_final_time=True, final_state=(0.0, 0.0), running_cost=lambda t, x, u, θ: 1 + u[..., 0] ** 2),
            times=[0.0, 1.8],
        )


def test_a_law_that_breaks_later_on_ends_in_an_error() -> None:
    """Finite around the initial state, but not on the way: log x with x' = -1 + u from 0.5, where control is dear."""
    problem = Problem(
        dynamics=lambda t, x, u, θ: -1 + u + 0.0 * x,
        running_cost=lambda t, x, u, θ: 1e6 * u[..., 0] ** 2 + torch.log(x[..., 0]),
        horizon=(0.0, 2.0),
        initial_state=(0.5,),
        control_size=1,
    )
    with pytest.raises(NumericalError, match=r"no extremal was found|leave a defect|lost the extremal"):
        solve(problem)


def test_an_end_that_cant_be_reached_ends_in_an_error() -> None:
    """x' = 1 + u², from 0 to 0.5 in time 1: f ≥ 1."""
    problem = Problem(
        dynamics=lambda t, x, u, θ: 1 + u**2,
        running_cost=lambda t, x, u, θ: u[..., 0] ** 2,
        horizon=(0.0, 1.0),
        initial_state=(0.0,),
        final_state=(0.5,),
        control_size=1,
    )
    with pytest.raises(NumericalError, match="no extremal was found"):
        solve(problem)


def test_an_input_is_never_changed() -> None:
    guess = answer()
    before = guess.copy(deep=True)
    parameters = {"k": 1.0}
    problem = posed(parameters=parameters)
    parameters["k"] = 5.0
    solve(problem, guess=guess)
    xr.testing.assert_identical(guess, before)
    assert problem.parameters["k"] == 1.0
    with pytest.raises(TypeError):
        problem.parameters["k"] = 2.0  # type: ignore[index]


def test_bounds_that_hold_everywhere_are_met() -> None:
    """The free control is -p/2 > 1 throughout: all of the answer lies at its bound, and no direction is free."""
    problem = posed(
        running_cost=lambda t, x, u, θ: -100 * x[..., 0] + 0.01 * u[..., 0] ** 2, control_bounds=[(-1.0, 1.0)]
    )
    got = solve(problem)
    assert (got.u.values[:-20] == 1.0).all()
    assert EulerLagrange(problem).is_quadratic
