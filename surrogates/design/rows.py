"""Rows of plain values, as a journal keeps them, out of labelled data and back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from surrogates.errors import DataError
from surrogates.schema import Label, Schema, as_labelled
from surrogates.units import Units, convert
from surrogates.variables import flat, units_of

#: values of one place, or one reading, by the names of the variables
Row = dict[str, Label]
#: what else a suggestion, or a user's own reading, may hold
EXTRAS = ("gain", "cost")


@dataclass(frozen=True)
class Columns:
    """Which variables rows have, and the units of their numbers.

    schema : names
    units : of inputs and target, as the first data have them
    """

    schema: Schema
    units: Mapping[str, Units]

    @staticmethod
    def of(schema: Schema, data: xr.Dataset | pd.DataFrame) -> Columns:
        """The columns of a table of readings."""
        dataset = as_labelled(data)
        names = [*schema.inputs, schema.target]
        return Columns(schema, {name: units_of(dataset[name]) for name in names if name in dataset.variables})

    @property
    def place(self) -> tuple[str, ...]:
        """Names that say what is measured where: inputs, task, fidelity."""
        return (*self.schema.inputs, *(name for name in (self.schema.task, self.schema.fidelity) if name is not None))

    @property
    def reading(self) -> tuple[str, ...]:
        """Names of a reading's variables."""
        noise = () if self.schema.noise is None else (self.schema.noise,)
        return (*self.place, self.schema.target, *noise)

    def rows(self, data: xr.Dataset | pd.DataFrame, who: str, *, readings: bool) -> list[Row]:
        """One row for each place or reading; NaN and inf stay in targets and are refused elsewhere.

        Parameters
        ----------
        data : the table, over any dims
        who : gave it, for messages
        readings : whether targets (and known noise) are wanted, too

        Raises
        ------
        DataError
            Names that aren't there, NaN or inf in inputs, missing labels, variables with dims of their own.
        UnitsError
            Units that can't be converted.
        """
        if not isinstance(data, xr.Dataset | pd.DataFrame):
            raise DataError(f"{who} gave {type(data).__name__}; an xarray.Dataset with {self.place} is wanted")
        dataset = as_labelled(data)
        wanted = self.reading if readings else self.place
        missing = [name for name in wanted if name not in dataset.variables]
        if missing:
            raise DataError(
                f"{who} gave no {', '.join(map(repr, missing))}; each row needs {', '.join(map(repr, wanted))}"
            )
        names = [*wanted, *(name for name in EXTRAS if name in dataset.variables and name not in wanted)]
        dims = dict.fromkeys(str(dim) for name in wanted for dim in dataset[name].dims)
        if readings and (foreign := [dim for dim in dims if dim not in dataset[self.schema.target].dims]):
            raise DataError(
                f"{who} gave variables along {', '.join(map(repr, foreign))}, along which {self.schema.target!r} doesn't "
                f"run: one reading would count many times; a loop takes inputs that are single numbers or labels"
            )
        sizes = {dim: dataset.sizes[dim] for dim in dims}
        columns = {name: self._column(dataset, name, sizes, who) for name in names}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def dataset(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str], dim: str) -> xr.Dataset:
        """The rows as labelled columns over `dim`; numbers that a row lacks are NaN."""
        answer = xr.Dataset()
        for name in names:
            values = [row.get(name) for row in rows]
            labels = name in (self.schema.task, self.schema.fidelity) or any(isinstance(v, str) for v in values)
            column = np.array(values) if labels else np.array([math.nan if v is None else v for v in values], float)
            units = self.units.get(self.schema.target if name == self.schema.noise else name)
            if name == self.schema.noise and self.schema.noise_is == "variance" and units:
                units = f"({units})**2"
            answer[name] = (dim, column, {"units": units} if units else {})
        return answer

    def plain(self, value: Any) -> Any:
        """Values of the target as they are, or, where they are a DataArray with units, in those of the first data.

        Raises
        ------
        UnitsError
            If the units can't be converted.
        """
        if not isinstance(value, xr.DataArray) or units_of(value) is None:
            return value
        name = self.schema.target
        return convert(value.to_numpy().astype(np.float64), name, found=units_of(value), wanted=self.units[name])

    def _column(self, dataset: xr.Dataset, name: str, sizes: Mapping[str, int], who: str) -> list[Any]:
        """Plain values of one variable, numbers in the units of the first data."""
        variable = dataset[name]
        if foreign := [str(dim) for dim in variable.dims if dim not in sizes]:
            raise DataError(f"{who} gave {name!r} along {', '.join(map(repr, foreign))}, which the others lack")
        values = flat(variable, sizes)
        if name in (self.schema.task, self.schema.fidelity) or (
            name in self.schema.inputs and values.dtype.kind in "OUS"
        ):
            if pd.isna(values).any():
                raise DataError(f"{who} gave {name!r} with missing labels; every row needs one")
            return [plain_label(value, name, who) for value in values]
        if values.dtype.kind not in "fiub":
            raise DataError(f"{who} gave {name!r} with dtype {values.dtype}; numbers are wanted")
        numbers = values.astype(np.float64)
        if name in self.units:
            numbers = convert(numbers, name, found=units_of(variable), wanted=self.units[name])
        if name not in (self.schema.target, "gain") and not np.isfinite(numbers).all():
            bad = numbers[~np.isfinite(numbers)][0]
            raise DataError(f"{who} gave {name!r} = {bad}; a finite number is wanted in every row")
        return [float(value) for value in numbers]


def plain_label(value: Any, name: str, who: str) -> Label:
    """A label as JSON keeps it.

    Raises
    ------
    DataError
        If it is neither text nor a number.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float | bool):
        raise DataError(f"{who} gave {name!r} = {value!r}, a {type(value).__name__}; text or a number is wanted")
    return value


def digest(rows: Sequence[Row]) -> str:
    """Of all values, bit by bit."""
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


class Nearness:
    """Which places are the same: labels are equal, and numbers up to 1e-9 of their spread (or of themselves)."""

    def __init__(self, names: Sequence[str], known: Sequence[Mapping[str, Any]]) -> None:
        self.names = tuple(names)
        numbers = {name: [row[name] for row in known if isinstance(row[name], float)] for name in self.names}
        self.spread = {name: max(values) - min(values) if values else 0.0 for name, values in numbers.items()}

    def same(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Whether two places are one."""
        return all(self._equal(name, one[name], other[name]) for name in self.names)

    def among(self, place: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a place is one of several."""
        return any(self.same(place, other) for other in others)

    def _equal(self, name: str, one: Label, other: Label) -> bool:
        if isinstance(one, float) and isinstance(other, float):
            return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9 * self.spread[name])
        return one == other
