"""Fitted surrogates as OpenMDAO components with analytic partial derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, missing_extra
from surrogates.gp.differentiable import FittedProcess

from .measures import Mean, Measure
from .openmdao_units import openmdao_units
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
        self._units: dict[str, str | None] = {
            name: openmdao_units(response.units(name), name, given=given) for name in response.inputs
        }
        for name, measure in self.measures.items():
            target = response.target
            self._units[name] = (
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
        declare(self, middle, dict.fromkeys(self.measures, ""), self._units)

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


def declare(
    component: Any, inputs: Mapping[str, float], outputs: Mapping[str, str], units: Mapping[str, str | None]
) -> None:
    """Vectors of `vec_size` values; an output's value k depends on the inputs' values k alone."""
    size = component.vec_size
    for name, value in inputs.items():
        component.add_input(name, val=np.full(size, value), units=units[name])
    for name in outputs:
        component.add_output(name, val=np.ones(size), units=units[name])
    each = np.arange(size)
    component.declare_partials(list(outputs), list(inputs), rows=each, cols=each)


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
