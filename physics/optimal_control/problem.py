"""An optimal-control problem, written once in torch; everything else is derived from it by automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import torch
from torch import Tensor

from surrogates.errors import ProblemError

from .checks import check_functions

#: parameters by name, each of the batch's shape (...)
Parameters = Mapping[str, Tensor]
#: (t (...), x (..., n), u (..., m), θ) -> (..., n) for dynamics, (...) for a running cost
Law = Callable[[Tensor, Tensor, Tensor, Parameters], Tensor]
#: (t (...), x (..., n), θ) -> (...)
EndCost = Callable[[Tensor, Tensor, Parameters], Tensor]
Interval = tuple[float, float]
#: what a range must be
BELOW = "its low end must be below its high end; leave it out, or give a number, to hold it fixed"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Minimise a cost over the controls of a differential equation.

        min  Φ0(t0, x(t0)) + ∫ L(t, x, u, θ) dt + Φ(T, x(T)),     x' = f(t, x, u, θ),     lo ≤ u ≤ hi

    All functions are given batches: every array has the same leading shape ``(...)``, and the answer must keep it.
    They are differentiated twice, so they are written with torch operations throughout.

    Parameters
    ----------
    dynamics : f, (t (...), x (..., n), u (..., m), θ) -> (..., n)
    horizon : (t0, T); with `free_final_time` T is the first guess
    initial_state : n numbers; None for a component that is free at t0
    control_size : m
    running_cost : L, (t, x, u, θ) -> (...); None for none
    terminal_cost : Φ, (t, x, θ) -> (...); None for none
    initial_cost : Φ0, (t, x, θ) -> (...), of components that are free at t0; None for none
    final_state : n numbers; None for a component that is free at T. None alone: all are free
    control_bounds : (lo, hi) for each control, infinite or None where there is no bound
    parameters : names and nominal values of θ; the functions read them as ``θ["name"]``, of shape (...)
    free_final_time : whether T is to be found
    state_names, control_names : of the components; x1, x2, ... and u1, u2, ... by default (u if there is one)

    Raises
    ------
    ProblemError
        If sizes don't match, a bound's low end isn't below its high end, conditions contradict each other, or a function
        gives another shape or dtype than expected, isn't differentiable, or isn't finite at the initial state.

    Notes
    -----
    With the Hamiltonian H = L + pᵀf, a minimum satisfies the Euler-Lagrange (Pontryagin) conditions

        x' = H_p,   p' = -H_x,   u = argmin H over the bounds,
        p_i(t0) = -∂Φ0/∂x_i where x_i(t0) is free,   p_i(T) = ∂Φ/∂x_i where x_i(T) is free,
        H(T) + ∂Φ/∂T = 0 where T is free

    (Bryson & Ho 1975, sections 2.3-2.8). Where H has several minima in u, argmin H is one found from the middle of the
    bounds, or the best of nine controls between finite bounds. The costate p(t0) is the gradient of the optimal cost
    in x(t0).

    Examples
    --------
    >>> decay = Problem(
    ...     dynamics=lambda t, x, u, θ: -x + u,
    ...     running_cost=lambda t, x, u, θ: 0.5 * (x[..., 0] ** 2 + u[..., 0] ** 2),
    ...     horizon=(0.0, 1.0), initial_state=(1.0,), control_size=1)
    >>> decay.state_size, decay.control_names
    (1, ('u',))
    """

    dynamics: Law
    horizon: Interval
    initial_state: Sequence[float | None]
    control_size: int
    running_cost: Law | None = None
    terminal_cost: EndCost | None = None
    initial_cost: EndCost | None = None
    final_state: Sequence[float | None] | None = None
    control_bounds: Sequence[tuple[float | None, float | None]] | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    free_final_time: bool = False
    state_names: Sequence[str] | None = None
    control_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        start, end = _interval(self.horizon, "horizon", "the final time must be later than the initial time")
        put("horizon", (start, end))
        put("initial_state", _condition(self.initial_state, "initial_state"))
        n = len(self.initial_state)
        if n == 0:
            raise ProblemError("initial_state is empty; give one number (or None, for free) per state component")
        final = (None,) * n if self.final_state is None else _condition(self.final_state, "final_state")
        put("final_state", final)
        _same_length("final_state", final, n, "state components, as initial_state has them")
        if isinstance(self.control_size, bool) or not isinstance(self.control_size, int) or self.control_size < 1:
            raise ProblemError(f"control_size is {self.control_size!r}; it must be an integer >= 1")
        put("control_bounds", _bounds(self.control_bounds, self.control_size))
        put("parameters", MappingProxyType({name: _number(v, name) for name, v in self.parameters.items()}))
        m = self.control_size
        put("state_names", _names(self.state_names, "state_names", "x", n))
        put(
            "control_names",
            ("u",) if self.control_names is None and m == 1 else _names(self.control_names, "control_names", "u", m),
        )
        twice = [name for name in self.parameters if name in (*self.states, *self.controls)]
        if twice:
            raise ProblemError(f"{twice[0]!r} names a parameter and a component; choose other names")
        if both := [name for name in self.controls if name in self.states]:
            raise ProblemError(f"{both[0]!r} names a state and a control; choose other names")
        if self.running_cost is None and self.terminal_cost is None and self.initial_cost is None:
            raise ProblemError("there is nothing to minimise; give a running_cost, a terminal_cost or both")
        check_functions(self)

    @property
    def state_size(self) -> int:
        """n"""
        return len(self.initial_state)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state components."""
        return tuple(self.state_names or ())

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls."""
        return tuple(self.control_names or ())

    @property
    def given_at_ends(self) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
        """States given at t0 and at T; None where they are free."""
        return tuple(self.initial_state), tuple(self.final_state or ())

    @property
    def bounds(self) -> Tensor:
        """Lower and upper bounds of the controls, (2, m), infinite where there is none."""
        return torch.tensor(self.control_bounds, dtype=torch.float64).reshape(self.control_size, 2).T

    @property
    def is_bounded(self) -> bool:
        """Whether any control has a finite bound."""
        return any(math.isfinite(end) for pair in self.control_bounds or () for end in pair if end is not None)

    def with_values(
        self,
        *,
        initial_state: Sequence[float | None] | None = None,
        horizon: Interval | None = None,
        parameters: Mapping[str, float] | None = None,
    ) -> Problem:
        """The same problem from another state, over another horizon, or at other parameters (those not named stay)."""
        unknown = set(parameters or ()) - set(self.parameters)
        if unknown:
            raise ProblemError(f"parameter {min(unknown)!r} is unknown; the problem has {sorted(self.parameters)}")
        return replace(
            self,
            initial_state=self.initial_state if initial_state is None else initial_state,
            horizon=self.horizon if horizon is None else horizon,
            parameters={**self.parameters, **(parameters or {})},
        )

    def over(
        self,
        *,
        initial_state: Sequence[Interval | float] | None = None,
        initial_time: Interval | None = None,
        parameters: Mapping[str, Interval] | None = None,
    ) -> Family:
        """The family of problems with quantities of this one anywhere in given ranges.

        Parameters
        ----------
        initial_state : for each component a range (low, high), or a number that it keeps
        initial_time : range of t0, for feedback: the rest of the horizon from any time on
        parameters : range (low, high) of each parameter that varies

        Examples
        --------
        >>> decay = Problem(dynamics=lambda t, x, u, θ: -θ["rate"][..., None] * x + u, parameters={"rate": 1.0},
        ...     running_cost=lambda t, x, u, θ: x[..., 0] ** 2 + u[..., 0] ** 2,
        ...     horizon=(0.0, 1.0), initial_state=(1.0,), control_size=1)
        >>> decay.over(initial_state=[(-1, 1)], parameters={"rate": (0.5, 2)}).inputs
        ('x1', 'rate')
        """
        return Family(self, _state_ranges(self, initial_state), initial_time, dict(parameters or {}))


@dataclass(frozen=True)
class Family:
    """Problems that differ in initial state, initial time and parameters; made by `Problem.over`.

    problem : what they have in common, and the values of what doesn't vary
    initial_state : range of each state component that varies, by name
    initial_time : range of t0, or None
    parameters : range of each parameter that varies, by name
    """

    problem: Problem
    initial_state: Mapping[str, Interval]
    initial_time: Interval | None
    parameters: Mapping[str, Interval]

    def __post_init__(self) -> None:
        for name, ends in {**self.initial_state, **self.parameters}.items():
            _interval(ends, f"the range of {name!r}", BELOW)
        unknown = set(self.parameters) - set(self.problem.parameters)
        if unknown:
            raise ProblemError(
                f"parameter {min(unknown)!r} is unknown; the problem has {sorted(self.problem.parameters)}"
            )
        given = dict(zip(self.problem.states, self.problem.initial_state, strict=True))
        for name in self.initial_state:
            if name not in given:
                raise ProblemError(f"state {name!r} is unknown; the problem has {list(given)}")
            if given[name] is None:
                raise ProblemError(f"the initial value of {name!r} is free, so it can't be given a range")
        if self.initial_time is not None:
            if "initial_time" in (*self.initial_state, *self.parameters):
                raise ProblemError("'initial_time' names an input of its own beside t0; rename that state or parameter")
            _, last = _interval(self.initial_time, "the range of initial_time", BELOW)
            if last >= self.problem.horizon[1]:
                raise ProblemError(
                    f"initial_time may be {last}, but the horizon ends at {self.problem.horizon[1]}; "
                    f"its high end must be earlier"
                )
        if not self.inputs:
            raise ProblemError("nothing varies in this family; give a range for a state, a parameter or initial_time")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what varies: states, then "initial_time", then parameters."""
        time = () if self.initial_time is None else ("initial_time",)
        return (*self.initial_state, *time, *self.parameters)

    @property
    def ranges(self) -> Tensor:
        """Low and high ends of the inputs, (2, d)."""
        time = [] if self.initial_time is None else [self.initial_time]
        ends = [*self.initial_state.values(), *time, *self.parameters.values()]
        return torch.tensor(ends, dtype=torch.float64).T


def _state_ranges(problem: Problem, given: Sequence[Interval | float] | None) -> dict[str, Interval]:
    if given is None:
        return {}
    _same_length("initial_state", given, problem.state_size, "ranges, one per state component")
    ranges = {}
    for name, entry, nominal in zip(problem.states, given, problem.initial_state, strict=True):
        if not isinstance(entry, int | float):  # tuples, lists, arrays
            ranges[name] = _interval(entry, f"the range of {name!r}", BELOW)
        elif entry != nominal:
            raise ProblemError(
                f"initial_state holds {name!r} at {entry}, but the problem has {nominal}; "
                f"change the problem by with_values(initial_state=...) first, or give a range"
            )
    return ranges


def _number(value: object, name: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ProblemError(f"{name} is {value!r}; it must be a number") from None
    if not math.isfinite(number):
        raise ProblemError(f"{name} is {number}; it must be finite")
    return number


def _interval(ends: Interval, name: str, rule: str) -> Interval:
    try:
        low, high = ends
    except (TypeError, ValueError):
        raise ProblemError(f"{name} is {ends!r}; it must be a pair (low, high)") from None
    low, high = _number(low, name), _number(high, name)
    if not low < high:
        raise ProblemError(f"{name} is ({low}, {high}); {rule}")
    return low, high


def _condition(values: Sequence[float | None], name: str) -> tuple[float | None, ...]:
    if isinstance(values, float | int) or values is None:
        raise ProblemError(f"{name} is {values!r}; give a sequence with one number (or None, for free) per component")
    return tuple(None if v is None else _number(v, f"{name}[{i}]") for i, v in enumerate(values))


def _same_length(name: str, values: Sequence[object], n: int, of: str) -> None:
    if len(values) != n:
        raise ProblemError(f"{name} has {len(values)} entries; {n} are expected: {of}")


def _bounds(given: Sequence[tuple[float | None, float | None]] | None, m: int) -> tuple[Interval, ...]:
    pairs = [(None, None)] * m if given is None else list(given)
    _same_length("control_bounds", pairs, m, "pairs (low, high), one per control")
    checked = []
    for i, pair in enumerate(pairs):
        try:
            low, high = pair
        except (TypeError, ValueError):
            raise ProblemError(f"control_bounds[{i}] is {pair!r}; it must be a pair (low, high)") from None
        try:
            low = -math.inf if low is None else float(low)
            high = math.inf if high is None else float(high)
        except (TypeError, ValueError):
            raise ProblemError(f"control_bounds[{i}] is {pair!r}; its ends must be numbers, or None") from None
        if not low < high:  # also for nan
            raise ProblemError(f"control_bounds[{i}] is ({low}, {high}); the low bound must be below the high one")
        checked.append((low, high))
    return tuple(checked)


def _names(given: Sequence[str] | None, what: str, letter: str, n: int) -> tuple[str, ...]:
    names = tuple(f"{letter}{i + 1}" for i in range(n)) if given is None else tuple(given)
    _same_length(what, names, n, "names, one per component")
    if len(set(names)) < n:
        raise ProblemError(f"{what} is {names}; the names must differ from each other")
    return names
