"""Suggestions as a labelled table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.by_draw import ByDraw
from surrogates.schema import Schema

from .candidates import Option
from .gains import Measure

RESERVED = {"gain", "cost", "gain_per_cost", "expected", "suggestion", "option"}


class Best(NamedTuple):
    """The best candidate of one option."""

    row: xr.Dataset  # over "candidate", of length one
    gain: float
    cost: float

    @property
    def rate(self) -> float:
        """Gain per cost."""
        return self.gain / self.cost


class Step(NamedTuple):
    """One suggestion, what every option could have done instead, and what is expected of the goal's measure afterwards."""

    chosen: Best
    options: dict[Option, Best]
    expected: float


def require_free_names(schema: Schema) -> None:
    """Refuse variables that are called like what the answer holds.

    Raises
    ------
    DataError
        If there are any.
    """
    taken = sorted(RESERVED & {*schema.inputs, schema.task, schema.fidelity})
    if taken:
        raise DataError(
            f"{', '.join(map(repr, taken))} are names of what advice holds; rename the variable and fit again"
        )


def labelled(
    model: ByDraw, none: xr.Dataset, options: Sequence[Option], measure: Measure, steps: Sequence[Step]
) -> xr.Dataset:
    """The answer of `advise`; `none` is a table of candidates without rows."""
    schema = model.schema
    rows = xr.concat([step.chosen.row for step in steps] or [none], "candidate").rename(candidate="suggestion")
    names = [name for name in (*schema.inputs, schema.task, schema.fidelity) if name is not None]
    target = model.vocabulary.units[schema.target]
    better = "reduction of the" if measure.direction < 0 else "increase of the"
    attrs = {
        "gain": {"long_name": f"expected {better} {measure.text} of {schema.target}", **_units(target, measure.power)},
        "cost": {"long_name": "cost"},
        "gain_per_cost": {"long_name": "gain per cost"},
    }
    answer = rows[names].assign(
        {name: ("suggestion", [_number(step.chosen, name) for step in steps], attrs[name]) for name in attrs}
    )
    text = f"expected {measure.text} of {schema.target} after this suggestion and those before it"
    answer["expected"] = (
        "suggestion",
        [step.expected for step in steps],
        {"long_name": text, **_units(target, measure.power)},
    )
    for k, name in enumerate((schema.task, schema.fidelity)):
        if name is not None:
            answer.coords[f"option_{name}"] = ("option", np.array([option[k] for option in options]))
    shape = (len(steps), len(options))
    for name in attrs:
        values = [[_number(step.options.get(option), name) for option in options] for step in steps]
        answer[f"option_{name}"] = (("suggestion", "option"), np.array(values).reshape(shape), attrs[name])
    for name in schema.inputs:
        answer[f"option_{name}"] = (
            ("suggestion", "option"),
            _column(steps, options, name, none[name].dtype).reshape(shape),
            rows[name].attrs,
        )
    return answer


def _number(best: Best | None, name: str) -> float:
    if best is None:
        return float("nan")
    return {"gain": best.gain, "cost": best.cost, "gain_per_cost": best.rate}[name]


def _column(steps: Sequence[Step], options: Sequence[Option], name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """An input of every option's best (s, o)."""
    column = [
        [step.options[o].row[name].to_numpy()[0] if o in step.options else None for o in options] for step in steps
    ]
    return np.array(column, dtype=np.float64 if dtype.kind in "fiu" else object)


def _units(units: str | None, power: int) -> dict[str, str]:
    """Attributes of a power of the target's units."""
    if power == 0:
        return {"units": "1"}
    if not units:
        return {}
    return {"units": units if power == 1 else f"({units})**{power}"}
