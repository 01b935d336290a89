"""Fitted surrogates as OpenMDAO components with analytic partial derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openmdao.api as om
from numpy.typing import NDArray

from surrogates.battery import AdaptedUnits
from surrogates.battery.intake import Data
from surrogates.control import FittedFamily
from surrogates.control.sensitivity import Sensitivity
from surrogates.counts import whole
from surrogates.errors import DataError
from surrogates.gp.differentiable import FittedProcess

from .battery_outputs import schedule
from .measures import Mean, Measure
from .openmdao_units import openmdao_units
from .response import Response

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
    >>> _ = problem.setup()
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
        self.measures: dict[str, Measure] = {self.response.target: Mean()}
        if outputs is not None:
            self.measures = dict(outputs)
        self.vec_size = whole(vec_size, "vec_size")
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
        self.fitted, self.cost, self.vec_size = fitted, cost, whole(vec_size, "vec_size")
        self._answers = Sensitivity(fitted)
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


class OpenMDAOBattery(om.ExplicitComponent):  # type: ignore[misc]
    """A room as a store: power schedule in, temperature and state of charge out, as an OpenMDAO component.

    Input `power` (H,) [kW] over the H steps ahead. Outputs over the ends of the steps: `temperature` (H,) [degC],
    `state_of_charge` (H,), 1 at the cold edge of the comfort band and 0 at the warm one, `temperature_std` (H,) [K] of the
    forecast, which no power changes. Values are those of `AdaptedUnits.predict`; partials are exact, lower triangular.

    Parameters
    ----------
    units : an adapted room, or several, of which `data` names one
    data : weather of the rows ahead, as `AdaptedUnits.plan` takes it; power there is not used
    start : stamp of the last row of readings, if it isn't the last with an indoor temperature

    Attributes
    ----------
    power_limit : the largest power that the unit draws [kW], an upper bound for the schedule

    Raises
    ------
    DataError
        If there are several rooms ahead; as `AdaptedUnits.plan`; when it runs, if power is negative or not finite.
    """

    def __init__(self, units: AdaptedUnits, data: Data, *, start: str | np.datetime64 | None = None) -> None:
        super().__init__()
        self._schedule = schedule(units, data, start)
        self.power_limit = self._schedule.most

    def setup(self) -> None:
        """Input without power, outputs, and the partials' triangle."""
        H = len(self._schedule.passive)
        self.add_input("power", val=np.zeros(H), units="kW")
        add_thermal_outputs(self, H)
        self.add_output("temperature_std", val=self._schedule.std, units="degK")
        self._rows, self._columns = np.tril_indices(H)
        self.declare_partials(["temperature", "state_of_charge"], "power", rows=self._rows, cols=self._columns)

    def compute(self, inputs: Any, outputs: Any, *_: Any) -> None:
        """The forecast under the schedule."""
        air = self._schedule.temperature(self._power(inputs))
        low, high = self._schedule.comfort
        outputs["temperature"], outputs["state_of_charge"] = air, (high - air) / (high - low)
        outputs["temperature_std"] = self._schedule.std

    def compute_partials(self, inputs: Any, partials: Any, *_: Any) -> None:
        """Responses of the room to heat, times what a little more power gives."""
        slopes = self._schedule.slopes(self._power(inputs))[self._rows, self._columns]
        low, high = self._schedule.comfort
        partials["temperature", "power"], partials["state_of_charge", "power"] = slopes, -slopes / (high - low)

    def _power(self, inputs: Any) -> Floats:
        return self._schedule.checked(np.array(inputs["power"]), "power", 0.0, np.inf)


class OpenMDAOThermostat(om.ExplicitComponent):  # type: ignore[misc]
    """A room under a thermostat: set-points in, power and temperature out, as an OpenMDAO component.

    Input `set_point` (H,) [degC] over the H steps ahead. Outputs over the ends of the steps: `power` (H,) [kW] that holds
    them as far as the unit can, `temperature` (H,) [degC], `state_of_charge` (H,). The room is that of the forecast at the
    fingerprint's mode, whereas `AdaptedUnits.plan` gives means over draws. Partials are exact; they jump where the unit
    starts to cool or reaches its limit.

    Parameters
    ----------
    units, data, start : as for `OpenMDAOBattery`

    Raises
    ------
    DataError
        As `OpenMDAOBattery`; when it runs, if a set-point isn't between -30 and 60 degC.
    """

    def __init__(self, units: AdaptedUnits, data: Data, *, start: str | np.datetime64 | None = None) -> None:
        super().__init__()
        self._schedule = schedule(units, data, start)

    def setup(self) -> None:
        """Input in the middle of the comfort band, outputs, and the partials' triangle."""
        H = len(self._schedule.passive)
        self.add_input("set_point", val=np.full(H, sum(self._schedule.comfort) / 2), units="degC")
        self.add_output("power", val=np.zeros(H), units="kW")
        add_thermal_outputs(self, H)
        self._rows, self._columns = np.tril_indices(H)
        names = ["power", "temperature", "state_of_charge"]
        self.declare_partials(names, "set_point", rows=self._rows, cols=self._columns)

    def compute(self, inputs: Any, outputs: Any, *_: Any) -> None:
        """Closed loop, step by step."""
        power, _slopes = self._schedule.held(self._set_point(inputs))
        air = self._schedule.temperature(power)
        low, high = self._schedule.comfort
        outputs["power"], outputs["temperature"] = power, air
        outputs["state_of_charge"] = (high - air) / (high - low)

    def compute_partials(self, inputs: Any, partials: Any, *_: Any) -> None:
        """Those of the power along the loop, then of the temperature by the power."""
        power, by_set_point = self._schedule.held(self._set_point(inputs))
        at, (low, high) = (self._rows, self._columns), self._schedule.comfort
        partials["power", "set_point"] = by_set_point[at]
        air = (self._schedule.slopes(power) @ by_set_point)[at]
        partials["temperature", "set_point"], partials["state_of_charge", "set_point"] = air, -air / (high - low)

    def _set_point(self, inputs: Any) -> Floats:
        return self._schedule.checked(np.array(inputs["set_point"]), "set_point", -30.0, 60.0)


def add_thermal_outputs(component: Any, steps: int) -> None:
    """Temperature and state of charge over steps."""
    component.add_output("temperature", val=np.full(steps, 25.0), units="degC")
    component.add_output("state_of_charge", val=np.full(steps, 0.5))


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
