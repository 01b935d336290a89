"""Fitted surrogates as OpenMDAO components with analytic partial derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.control import FittedFamily
from surrogates.errors import DataError, missing_extra
from surrogates.gp.differentiable import FittedProcess

from .measures import Mean, Measure
from .openmdao_units import openmdao_units
from .policy_outputs import PolicyOutputs
from .response import Response

try:
    import openmdao.api as om
except ImportError:
    raise missing_extra("openmdao", "openmdao") from None

Floats = NDArray[np.float64]


class OpenMDAOComponent(om.ExplicitComponent):  # type: ignore[misc]
    """A fitted Gaussian process as an `openmdao.api.ExplicitComponent`, with analytic partials.

    Its inputs are the response's free inputs, its outputs measures of it, `vec_size` values each. Units are those of the
    fit; OpenMDAO converts where a connection asks for it. A standard deviation of degC is declared in degK.

    Parameters
    ----------
    of : a fitted model with one task; or a `Response`, which names task and fidelity, fixes inputs and says what is
        uncertain
    outputs : measures by the name of their output; by default the mean, by the target's name. With
        ``{"height": Mean(), "height_std": Std()}`` the standard deviation comes too
    vec_size : how many designs are evaluated at once
    units : what OpenMDAO calls the units of an input, or of the target, where it doesn't know those of the data

    Raises
    ------
    UnitsError
        If OpenMDAO doesn't know a variable's units.
    DataError
        As `Response`; no outputs, an output with an input's name, a vec_size that isn't a positive whole number.
    MissingExtraError
        If OpenMDAO isn't installed.

    Examples
    --------
    >>> import numpy as np, openmdao.api as om
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> from surrogates.design import Mean, OpenMDAOComponent, Std
    >>> x = np.linspace(0, 1, 12)
    >>> data = as_dataset(x, (x - 0.3) ** 2, inputs=["width"], target="loss")
    >>> data["width"].attrs["units"] = "mm"
    >>> fitted = HierarchicalGP(Schema(inputs="width", target="loss")).fit(data)
    >>> problem = om.Problem(reports=False)
    >>> component = OpenMDAOComponent(fitted, {"loss": Mean(), "loss_std": Std()})
    >>> _ = problem.model.add_subsystem("surrogate", component, promotes=["*"])
    >>> problem.setup()
    >>> problem.set_val("width", 3e-4, units="m")
    >>> problem.run_model()
    >>> float(abs(problem.get_val("loss")[0])) < 1e-4
    True
    """

    def __init__(
        self,
        of: Response | FittedProcess,
        outputs: Mapping[str, Measure] | None = None,
        *,
        vec_size: int = 1,
        units: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__()
        self.response = of if isinstance(of, Response) else Response(of)
        self.measures = {self.response.target: Mean()} if outputs is None else dict(outputs)
        self.vec_size = check_size(vec_size)
        response, given = self.response, _known(units, (*self.response.inputs, self.response.target))
        check_names(response.inputs, tuple(self.measures))
        self._spelt: dict[str, str | None] = {
            name: openmdao_units(response.units(name), name, given=given) for name in response.inputs
        }
        for name, measure in self.measures.items():
            target = response.target
            self._spelt[name] = (
                None
                if measure.kind == "probability"
                else openmdao_units(
                    response.units(target), target, given=given, differences=measure.kind == "deviation"
                )
            )

    def setup(self) -> None:
        """Inputs at the middle of the data, outputs, and the partials' pattern."""
        box = self.response.bounds()
        middle = dict(zip(self.response.inputs, 0.5 * (box.lb + box.ub), strict=True))
        declare(self, middle, list(self.measures), self._spelt)

    def compute(self, inputs: Any, outputs: Any, *_: Any) -> None:
        """All measures at all designs."""
        values = self.response.values(self._x(inputs), list(self.measures.values()))
        for name, value in zip(self.measures, values, strict=True):
            outputs[name] = value

    def compute_partials(self, inputs: Any, partials: Any, *_: Any) -> None:
        """In closed form; see `surrogates.design.Objective`."""
        found = self.response.values_and_slopes(self._x(inputs), list(self.measures.values()))
        for name, (_value, slopes) in zip(self.measures, found, strict=True):
            for k, own in enumerate(self.response.inputs):
                partials[name, own] = slopes[:, k]

    def _x(self, inputs: Any) -> Floats:
        return self.response.checked(columns(inputs, self.response.inputs), many=True)


class OpenMDAOPolicy(om.ExplicitComponent):  # type: ignore[misc]
    """The optimal first control, and the optimal cost, of a family of control problems as an OpenMDAO component.

    Inputs are what varies in the family: states, the initial time, parameters, `vec_size` cases each. Outputs are the
    controls, by their names; and the optimal cost, if it is given a name. For a family over states and initial time the
    controls are a feedback law u(t, x).

    The cost and its partials are those of the extremal that two Newton steps make of the network's (some ms); partials are
    the costates at the start, minus the Hamiltonian, and the integral of its derivative by parameters (envelope theorem).

    Parameters
    ----------
    fitted : a family, as `OptimalControlNet.fit` makes it of a `Family`
    cost : name of the output that holds the optimal cost; None for none
    vec_size : how many cases are evaluated at once
    units : of inputs and outputs, as OpenMDAO calls them; a problem has none

    Raises
    ------
    DataError
        If it isn't a fitted family; if an initial state is free; names that clash; and, when it runs, if an input lies
        outside the range that was fitted.
    UnitsError
        If OpenMDAO doesn't know the units.
    """

    def __init__(
        self,
        fitted: FittedFamily,
        *,
        cost: str | None = None,
        vec_size: int = 1,
        units: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(fitted, FittedFamily):
            raise DataError(
                f"a {type(fitted).__name__} is no family of control problems; fit one, by "
                f"OptimalControlNet().fit(problem.over(...)), so that there are inputs to choose"
            )
        self.fitted, self.cost, self.vec_size = fitted, cost, check_size(vec_size)
        self._answers = PolicyOutputs(fitted)
        self._answers.check()
        names = (*fitted.family.problem.controls, *([] if cost is None else [cost]))
        check_names(fitted.inputs, names)
        given = _known(units, (*fitted.inputs, *names))
        self._spelt = {name: openmdao_units(None, name, given=given) for name in (*fitted.inputs, *names)}

    def setup(self) -> None:
        """Inputs at the middle of their ranges, outputs, and the partials' pattern."""
        low, high = self.fitted.family.ranges
        middle = dict(zip(self.fitted.inputs, (0.5 * (low + high)).tolist(), strict=True))
        declare(self, middle, [name for name in self._spelt if name not in middle], self._spelt)

    def compute(self, inputs: Any, outputs: Any, *_: Any) -> None:
        """Controls of all cases, and their costs."""
        x = self._x(inputs)
        for name, u in zip(self.fitted.family.problem.controls, self._answers.controls(x).T, strict=True):
            outputs[name] = u
        if self.cost is not None:
            outputs[self.cost] = self._answers.costs(x)

    def compute_partials(self, inputs: Any, partials: Any, *_: Any) -> None:
        """Of the network by autograd, of the cost by the envelope theorem."""
        x = self._x(inputs)
        slopes = self._answers.control_slopes(x)  # (n, m, d)
        found = dict(zip(self.fitted.family.problem.controls, slopes.transpose(1, 0, 2), strict=True))
        if self.cost is not None:
            found[self.cost] = self._answers.cost_slopes(x)
        for name, slope in found.items():
            for k, own in enumerate(self.fitted.inputs):
                partials[name, own] = slope[:, k]

    def _x(self, inputs: Any) -> Floats:
        return self._answers.checked(columns(inputs, self.fitted.inputs))


def declare(
    component: Any, inputs: Mapping[str, float], outputs: Sequence[str], units: Mapping[str, str | None]
) -> None:
    """Vectors of `vec_size` values; an output's value k depends on the inputs' values k alone."""
    size = component.vec_size
    for name, value in inputs.items():
        component.add_input(name, val=np.full(size, value), units=units[name])
    for name in outputs:
        component.add_output(name, val=np.ones(size), units=units[name])
    each = np.arange(size)
    component.declare_partials(outputs, list(inputs), rows=each, cols=each)


def columns(inputs: Any, names: Sequence[str]) -> Floats:
    """(n, d)"""
    return np.stack([np.asarray(inputs[name], dtype=np.float64).ravel() for name in names], axis=-1)


def check_size(vec_size: Any) -> int:
    """Refuse what can't count designs.

    Raises
    ------
    DataError
        If it isn't a whole number, at least 1.
    """
    if isinstance(vec_size, bool) or not isinstance(vec_size, int | np.integer) or vec_size < 1:
        raise DataError(f"vec_size is {vec_size!r}; give how many designs are evaluated at once, a whole number >= 1")
    return int(vec_size)


def check_names(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Refuse outputs that aren't there or have an input's name.

    Raises
    ------
    DataError
        If so.
    """
    if not outputs:
        raise DataError("outputs is empty; name one, such as {'y': Mean()}, or leave it out")
    twice = set(inputs) & set(outputs)
    if twice:
        raise DataError(f"{min(twice)!r} names an input and an output; give the output another name")


def _known(units: Mapping[str, str | None] | None, names: Sequence[str]) -> Mapping[str, str | None]:
    given = {} if units is None else units
    for name in given:
        if name not in names:
            raise DataError(f"units name {name!r}, which is no variable of the component; they are {tuple(names)}")
    return given
