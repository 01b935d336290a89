"""Objectives over fitted surrogates as a pymoo problem: Pareto fronts over tasks, models or measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from pymoo.core.problem import Problem
from scipy.optimize import NonlinearConstraint

from surrogates.errors import DataError

from .objectives import Objective

Floats = NDArray[np.float64]


class PymooProblem(Problem):  # type: ignore[misc]
    """Several objectives at once as a `pymoo.core.problem.Problem`, a whole population evaluated in one call.

    Its variables are the inputs of all objectives, each name once; an objective that doesn't know an input doesn't depend on
    it. Their bounds are those that all objectives allow.

    Parameters
    ----------
    objectives : by name, as `objective` makes them: of several tasks, of several fitted models, or several measures of one
    constraints : as `chance_constraint` and `Objective.constraint` make them

    Attributes
    ----------
    inputs : names of the variables, in the order of x

    Raises
    ------
    DataError
        If there is no objective, inputs of one name have different units, or bounds exclude each other; if a constraint
        isn't one of those, or names an input that no objective has.
    MissingExtraError
        If pymoo isn't installed.

    Examples
    --------
    >>> import numpy as np
    >>> from pymoo.algorithms.moo.nsga2 import NSGA2
    >>> from pymoo.optimize import minimize
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> from surrogates.design import PymooProblem, Response, objective
    >>> x = np.tile(np.linspace(0, 1, 12), 2)
    >>> task = np.repeat(["left", "right"], 12)
    >>> y = np.where(task == "left", x**2, (x - 1) ** 2) + 0.01 * np.random.default_rng(0).standard_normal(24)
    >>> data = as_dataset(x, y, inputs=["x"], task=task)
    >>> fitted = HierarchicalGP(Schema(inputs="x", target="y", task="task"), kernel="rbf", trend="constant").fit(data)
    >>> problem = PymooProblem({name: objective(Response(fitted, task=name)) for name in ("left", "right")})
    >>> front = problem.dataset(minimize(problem, NSGA2(pop_size=20), ("n_gen", 20), seed=0).X)
    >>> bool(abs(front["left"] ** 0.5 + front["right"] ** 0.5 - 1).max() < 0.1)
    True
    """

    def __init__(self, objectives: Mapping[str, Objective], constraints: Sequence[NonlinearConstraint] = ()) -> None:
        if not objectives:
            raise DataError("objectives is empty; give one or more by name, such as {'part A': objective(...)}")
        self.objectives, self.limits = dict(objectives), list(constraints)
        for k, limit in enumerate(self.limits):
            if not isinstance(limit, NonlinearConstraint) or not isinstance(limit.fun, Objective):
                raise DataError(
                    f"constraint {k} is a {type(limit).__name__} of something else than a surrogate; give what "
                    f"chance_constraint() or Objective.constraint() returns"
                )
        self.inputs, low, high = _box(self.objectives)
        for k, limit in enumerate(self.limits):
            unknown = set(limit.fun.inputs) - set(self.inputs)
            if unknown:
                raise DataError(
                    f"constraint {k} names the input {min(unknown)!r}, which no objective has; they have {self.inputs}: fix "
                    f"it in the constraint's Response"
                )
        sides = sum(int(np.isfinite(limit.lb)) + int(np.isfinite(limit.ub)) for limit in self.limits)
        super().__init__(n_var=len(low), n_obj=len(self.objectives), n_ieq_constr=sides, xl=low, xu=high)

    def dataset(self, x: ArrayLike) -> xr.Dataset:
        """What designs x (n, d) are and what they reach, over ``design``: the inputs, and every objective's measure.

        Raises
        ------
        DataError
            If x doesn't have one column for each input.
        """
        designs = np.atleast_2d(np.asarray(x, dtype=np.float64))
        if designs.ndim != 2 or designs.shape[1] != len(self.inputs):
            raise DataError(
                f"x has shape {np.shape(x)}; (n, {len(self.inputs)}) is expected, of the inputs {self.inputs}"
            )
        answer = {}
        for k, name in enumerate(self.inputs):
            units = next(one.response.units(name) for one in self.objectives.values() if name in one.inputs)
            answer[name] = ("design", designs[:, k], {"units": units} if units else {})
        for name, one in self.objectives.items():
            units = None if one.measure.kind == "probability" else one.response.units(one.response.target)
            text = f"{one.measure} of {one.response.target}"
            values = one.measured(self._own(one, designs))
            answer[name] = ("design", values, {"long_name": text, **({"units": units} if units else {})})
        return xr.Dataset(answer)

    def _evaluate(self, x: Floats, out: Any, *_: Any, **__: Any) -> None:
        """F (n, objectives) to be minimised, G (n, limits) to be at most zero."""
        out["F"] = np.stack([one.values(self._own(one, x)) for one in self.objectives.values()], axis=-1)
        sides = []
        for limit in self.limits:
            value = limit.fun.values(self._own(limit.fun, x))
            sides += [limit.lb - value] if np.isfinite(limit.lb) else []
            sides += [value - limit.ub] if np.isfinite(limit.ub) else []
        if sides:
            out["G"] = np.stack(sides, axis=-1)

    def _own(self, one: Objective, x: Floats) -> Floats:
        """The columns that an objective knows."""
        return x[:, [self.inputs.index(name) for name in one.inputs]]


def _box(objectives: Mapping[str, Objective]) -> tuple[tuple[str, ...], Floats, Floats]:
    """Names of all inputs, and the bounds that all objectives allow."""
    found: dict[str, tuple[float, float]] = {}
    units: dict[str, str | None] = {}
    for label, one in objectives.items():
        if not isinstance(one, Objective):
            raise DataError(f"objective {label!r} is a {type(one).__name__}; give what objective() returns")
        for name, low, high in zip(one.inputs, one.bounds.lb, one.bounds.ub, strict=True):
            own = one.response.units(name)
            if own != units.setdefault(name, own):
                raise DataError(
                    f"input {name!r} is in {own!r} for {label!r} and in {units[name]!r} for another objective; fit all "
                    f"surrogates on data in the same units"
                )
            before = found.get(name, (-np.inf, np.inf))
            found[name] = max(before[0], float(low)), min(before[1], float(high))
    for name, (low, high) in found.items():
        if low > high:
            raise DataError(
                f"bounds of {name!r} exclude each other: at least {low:g}, at most {high:g}; give common ones"
            )
        if not np.isfinite([low, high]).all():
            raise DataError(f"bounds of {name!r} are ({low:g}, {high:g}); an evolution needs finite ones")
    ends = np.array(list(found.values()))
    return tuple(found), ends[:, 0], ends[:, 1]
