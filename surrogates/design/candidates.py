"""What could be asked next: tables over the dim ``candidate``, with inputs, task and fidelity, each row one experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import qmc

from surrogates.errors import DataError
from surrogates.gp.by_draw import ByDraw
from surrogates.schema import Label, Schema, Vocabulary, as_labelled

from .labelled import ranges

Floats = NDArray[np.float64]
Constraints = Callable[[xr.Dataset], ArrayLike]
Bounds = Mapping[str, Sequence[Any]]
#: how often as many places as wanted are drawn, before constraints that few of them meet are given up
TRIES = 64


class Option(NamedTuple):
    """What can be chosen but for the place; None where the schema names no such variable."""

    task: Label | None
    fidelity: Label | None


@dataclass(frozen=True)
class Box:
    """Where the inputs may lie, in the units of the fit.

    labels : those allowed of categorical inputs, whose low and high mean nothing
    """

    schema: Schema
    vocabulary: Vocabulary
    low: Floats  # (d,)
    high: Floats  # (d,)
    labels: Mapping[str, tuple[Label | None, ...]]

    def places(self, u: Floats) -> dict[str, NDArray[Any]]:
        """Columns of inputs from points of the unit cube (m, d)."""
        columns: dict[str, NDArray[Any]] = {}
        for k, name in enumerate(self.schema.inputs):
            if name in self.labels:
                allowed = np.array(self.labels[name])
                columns[name] = allowed[np.minimum((u[:, k] * len(allowed)).astype(int), len(allowed) - 1)]
            else:
                columns[name] = self.low[k] + u[:, k] * (self.high[k] - self.low[k])
        return columns

    def sobol(self, count: int, seed: int) -> dict[str, NDArray[Any]]:
        """Columns of `count` places that fill the box evenly."""
        return self.places(_sobol(count, len(self.low), seed))

    def columns_of(self, x: Floats) -> dict[str, NDArray[Any]]:
        """Columns of inputs from the model's own places (m, d) within the box, where labels are numbers."""
        inside = np.ones(len(x), dtype=bool)
        known = self.vocabulary.categories
        for k, name in enumerate(self.schema.inputs):
            if name in self.labels:
                inside &= np.isin(x[:, k], [known[name].index(label) for label in self.labels[name]])
            else:
                inside &= (x[:, k] >= self.low[k]) & (x[:, k] <= self.high[k])
        return {
            name: np.array(known[name])[np.rint(x[inside, k]).astype(int)] if name in known else x[inside, k]
            for k, name in enumerate(self.schema.inputs)
        }

    def around(self, table: xr.Dataset, count: int, radius: float, generator: np.random.Generator) -> xr.Dataset:
        """`count` rows near each row of a table, within `radius` of the box's width; labels stay."""
        repeated = table.isel(candidate=np.repeat(np.arange(table.sizes["candidate"]), count))
        for k, name in enumerate(self.schema.inputs):
            if name in self.labels:
                continue
            step = radius * (self.high[k] - self.low[k]) * generator.uniform(-1, 1, repeated.sizes["candidate"])
            moved = np.clip(repeated[name].to_numpy() + step, self.low[k], self.high[k])
            repeated[name] = ("candidate", moved, repeated[name].attrs)
        return repeated


def make_box(model: ByDraw, bounds: Bounds | None) -> Box:
    """The box of the readings, narrowed or widened by `bounds`.

    Raises
    ------
    DataError
        Bounds of what is no input; no two finite numbers in their order; unknown labels of a categorical input.
    """
    schema, vocabulary = model.schema, model.vocabulary
    given = dict(bounds or {})
    strange = [name for name in given if name not in schema.inputs]
    if strange:
        raise DataError(f"bounds name {', '.join(map(repr, strange))}; the inputs are {list(schema.inputs)}")
    low, high = np.array(list(ranges(model.fitted).values())).T
    labels = dict(vocabulary.categories)
    for k, name in enumerate(schema.inputs):
        if name not in given:
            continue
        if name in labels:
            labels[name] = _allowed(name, given[name], labels[name])
            continue
        try:
            pair = np.asarray(given[name], dtype=np.float64)
        except (TypeError, ValueError):
            pair = np.zeros(0)
        if pair.shape != (2,) or not np.isfinite(pair).all() or pair[0] > pair[1]:
            raise DataError(
                f"bounds of {name!r} are {given[name]!r}; two finite numbers (low, high), low <= high, are wanted"
            )
        low[k], high[k] = pair
    return Box(schema, vocabulary, low, high, labels)


def _allowed(name: str, given: Sequence[Any], known: tuple[Label | None, ...]) -> tuple[Label | None, ...]:
    wanted = (given,) if isinstance(given, str) else tuple(given)
    strange = [label for label in wanted if label not in known]
    if strange or not wanted:
        raise DataError(f"bounds of {name!r} are {given!r}; labels among {', '.join(map(repr, known))} are wanted")
    return wanted


def table_of(box: Box, columns: Mapping[str, NDArray[Any]], options: Sequence[Option]) -> xr.Dataset:
    """Every place (m rows of `columns`) as each of the options (o): a table of o·m candidates, options in blocks."""
    m = len(next(iter(columns.values())))
    units = box.vocabulary.units
    data: dict[str, Any] = {
        name: ("candidate", np.tile(column, len(options)), {"units": units[name]} if units.get(name) else {})
        for name, column in columns.items()
    }
    for k, name in enumerate((box.schema.task, box.schema.fidelity)):
        if name is not None:
            data[name] = ("candidate", np.repeat(np.array([option[k] for option in options]), m))
    return xr.Dataset(data)


def spread_out(
    box: Box, options: Sequence[Option], count: int, constraints: Constraints | None, seed: int
) -> xr.Dataset:
    """`count` places of a Sobol sequence for each option, those that the constraints forbid left out and made up for.

    Raises
    ------
    DataError
        If the constraints leave nothing.
    """
    if constraints is None:
        return table_of(box, box.sobol(count, seed), options)
    drawn = count
    while True:
        columns = box.sobol(drawn, seed)
        table = table_of(box, columns, options)
        allowed = feasible(constraints, table).reshape(len(options), drawn)
        if (allowed.sum(axis=1) >= count).all() or drawn >= TRIES * count:
            break
        drawn *= 4
    if not allowed.any():
        raise DataError(
            f"constraints leave none of {drawn} places within the bounds; widen the bounds, or give the places that can be "
            f"reached as candidates"
        )
    # the first of the sequence that are allowed, of every option
    kept = allowed & (np.cumsum(allowed, axis=1) <= count)
    return table.isel(candidate=np.flatnonzero(kept.ravel()))


def given_table(model: ByDraw, given: xr.Dataset | pd.DataFrame, options: Sequence[Option]) -> xr.Dataset:
    """The user's candidates, as each of the options where they name no task or no fidelity.

    Raises
    ------
    DataError, UnitsError
        If there are none; and as `Schema.encode_points`.
    """
    schema = model.schema
    data = as_labelled(given)
    for k, name in enumerate((schema.task, schema.fidelity)):
        if name is not None and name not in data.variables:
            labels = list(dict.fromkeys(option[k] for option in options))
            data = data.assign({name: (f"every_{name}", np.array(labels))})
    # what else the user's costs and constraints may look at comes along
    frame = (data if data.sizes else data.expand_dims("candidate")).to_dataframe().reset_index()
    if not len(frame):
        raise DataError(
            "candidates hold no place; give at least one, or a number of places to be spread over the bounds"
        )
    columns = {name: column for name, column in frame.items() if name not in data.dims or name in data.variables}
    flat = {str(name): ("candidate", column.to_numpy(), data[name].attrs) for name, column in columns.items()}
    table = xr.Dataset(flat)
    model.places(table)  # labels that aren't known are refused here; those that have no price just aren't asked
    return table


def feasible(constraints: Constraints | None, table: xr.Dataset) -> NDArray[np.bool_]:
    """Which candidates the constraints allow: (m,).

    Raises
    ------
    DataError
        If they don't answer with one boolean for each.
    """
    m = table.sizes["candidate"]
    if constraints is None:
        return np.ones(m, dtype=bool)
    answer = np.asarray(constraints(table))
    if answer.shape != (m,) or answer.dtype != bool:
        raise DataError(
            f"constraints gave {answer.dtype} of shape {answer.shape} for {m} candidates; one True or False "
            f"for each is wanted"
        )
    return answer


def _sobol(count: int, dims: int, seed: int) -> Floats:
    """The first `count` points of a scrambled Sobol sequence: (count, dims)."""
    powers = max(int(np.ceil(np.log2(count))), 0)
    return np.asarray(qmc.Sobol(dims, scramble=True, seed=seed).random_base2(powers)[:count])
