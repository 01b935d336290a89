"""The border of the library: labelled xarray data in, plain float64 arrays inside, labelled answers out.

Only here, with `labels` and `vectors`, names, labels and units are translated into arrays and back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError
from surrogates.labels import Label as Label
from surrogates.labels import codes_of
from surrogates.units import Units, convert
from surrogates.variables import finite, numbers, units_of, unmasked
from surrogates.vectors import OwnDim, Vectors, gather, own_dims, require_own_dims

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """Labels and units that a fitted model knows.

    tasks, fidelities : labels in sorted order; a single None where the schema names no such variable.
    units : of every variable that the schema names.
    own_dims : of vector inputs; empty where all inputs are plain numbers
    categories : labels of categorical inputs, whose columns hold their positions
    """

    tasks: tuple[Label | None, ...]
    fidelities: tuple[Label | None, ...]
    units: Mapping[str, Units]
    own_dims: Mapping[str, OwnDim] = field(default_factory=dict)
    categories: Mapping[str, tuple[Label | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Observations as arrays.  n readings, d inputs; with vector inputs, x is the position of their place (n, 1)."""

    x: Floats  # (n, d)
    y: Floats  # (n,)
    task: Integers  # (n,) position in vocabulary.tasks
    fidelity: Integers  # (n,) position in vocabulary.fidelities
    noise_variance: Floats | None  # (n,) known variance of each reading, in the target's squared units
    vocabulary: Vocabulary
    notes: tuple[str, ...] = ()  # what a user should know: tasks without a single observed target
    vectors: Vectors | None = None


@dataclass(frozen=True)
class Points:
    """Places to predict at as arrays, and how to give the answer its labels back.  m points, d inputs."""

    x: Floats  # (m, d)
    task: Integers  # (m,)
    fidelity: Integers | None  # (m,), None if the request names no fidelity
    noise_variance: (
        Floats | None
    )  # (m,) in the target's squared units, NaN where unknown; None if the request names none
    frame: xr.Dataset  # dims, coordinates and attrs of the request, no data variables
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    vectors: Vectors | None = None  # as in `Table`

    def label(self, values: Floats, attrs: Mapping[str, Any], *, leading: tuple[str, ...] = ()) -> xr.DataArray:
        """Values (..., m) as an array over `leading` and the request's own dims."""
        full = values.reshape(values.shape[:-1] + self.shape)
        return xr.DataArray(full, dims=leading + self.dims, coords=self.frame.coords, attrs=dict(attrs))


@dataclass(frozen=True)
class Schema:
    """Names of the variables that a model reads.

    Parameters
    ----------
    inputs : names of the input variables, or one name; kept as a tuple
    target : name of the observed variable; NaN there means "not observed"
    task : name of the variable that tells which task a reading belongs to; None for a single task
    fidelity : name of the variable that tells which instrument or code made it; None for a single one
    noise : name of a variable with the known noise of each reading, if known
    noise_is : whether `noise` holds standard deviations ("std") or variances ("variance")

    Inputs, task, fidelity and noise may be data variables or coordinates over any dims; they are broadcast against
    the target. An input that the model's kernel takes as categorical holds labels, of text or numbers. Where the kernel
    takes vectors, an input may have one dim more, of its own.

    Examples
    --------
    >>> Schema(inputs=("x", "y"), target="height", task="part").inputs
    ('x', 'y')
    """

    inputs: Sequence[str]
    target: str
    task: str | None = None
    fidelity: str | None = None
    noise: str | None = None
    noise_is: str = "std"

    def __post_init__(self) -> None:
        if isinstance(self.inputs, str):
            object.__setattr__(self, "inputs", (self.inputs,))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if not self.inputs:
            raise DataError("Schema(inputs=()) names no input; give at least one variable name")
        if self.noise_is not in ("std", "variance"):
            raise DataError(f"noise_is is {self.noise_is!r}; it must be 'std' or 'variance'")
        names = [*self.inputs, self.target, *(n for n in (self.task, self.fidelity, self.noise) if n is not None)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(f"the schema uses {twice} for two purposes; every variable has one")
        taken = sorted({"mean", "std", "noise_std"} & set(names))
        if taken:
            raise DataError(f"{taken} are names of what predictions hold; rename the variable")

    def encode(
        self,
        data: xr.Dataset | pd.DataFrame,
        *,
        vocabulary: Vocabulary | None = None,
        vectors: Collection[str] = (),
        categorical: Collection[str] = (),
    ) -> Table:
        """Observations as arrays; rows whose target is NaN are dropped.

        Parameters
        ----------
        data : the observations; a DataFrame is read as ``xr.Dataset.from_dataframe`` reads it, a MultiIndex as columns
        vocabulary : of a fitted model: its units are converted to, its fidelities are the only ones allowed, and its
            tasks keep their positions (new ones are appended). None: everything is learnt from the data.
        vectors : inputs that may have a dim of their own, all or none; a vocabulary knows them itself
        categorical : inputs that hold labels; a vocabulary knows them itself, and new labels are appended

        Raises
        ------
        DataError
            Names that are not there, no observed target, NaN or inf where numbers must be, unknown fidelities.
        UnitsError
            Units that can't be converted to those of `vocabulary`.
        """
        dataset = as_labelled(data)
        self._require(dataset, [*self.inputs, self.target, self.task, self.fidelity, self.noise])
        units = dict(vocabulary.units) if vocabulary else self._units(dataset)
        target = dataset[self.target]
        own = dict(vocabulary.own_dims) if vocabulary else own_dims(dataset, vectors, target=self.target)
        require_own_dims(dataset, own, (self.target, self.task, self.fidelity, self.noise))
        names = [self.target, *self.inputs, self.task, self.fidelity, self.noise]
        dims = _dims_of(dataset, names, first=self.target, without=own)
        sizes = {str(dim): dataset.sizes[dim] for dim in dims}
        self._refuse_foreign_dims(dataset, own)
        y = convert(numbers(target, sizes), self.target, found=units_of(target), wanted=units[self.target])
        observed = ~np.isnan(y)
        if not observed.any():
            raise DataError(
                f"no observation: the target {self.target!r} has {y.size} entries and none is a number; "
                f"a fit needs at least one"
            )
        y = finite(y[observed], self.target)
        labels: dict[str, tuple[Label | None, ...]] = dict(vocabulary.categories) if vocabulary else {}
        codes = {}
        for name in labels if vocabulary else categorical:
            labels[name], code, _ = codes_of(dataset, name, sizes, observed, labels.get(name), append=True)
            codes[name] = code.astype(np.float64)
        places, x = self._places(dataset, own, sizes, units, observed, codes)
        variance = None if self.noise is None else self._variance(dataset, self.noise, sizes, units, observed)
        known = vocabulary.tasks if vocabulary else None
        tasks, task, empty = codes_of(dataset, self.task, sizes, observed, known, append=True)
        levels = vocabulary.fidelities if vocabulary else None
        fidelities, fidelity, _ = codes_of(dataset, self.fidelity, sizes, observed, levels, append=False)
        notes = tuple(
            f"{self.task} {label!r} has no observed {self.target!r}: it is not part of the model" for label in empty
        )
        return Table(x, y, task, fidelity, variance, Vocabulary(tasks, fidelities, units, own, labels), notes, places)

    def encode_points(self, at: xr.Dataset | pd.DataFrame, vocabulary: Vocabulary) -> Points:
        """Places to predict at as arrays; the target need not be there, the fidelity may be.

        Raises
        ------
        DataError
            Names that are not there, NaN or inf in an input, a task or fidelity that the model doesn't know.
        UnitsError
            Units that can't be converted to those of `vocabulary`.
        """
        dataset = as_labelled(at)
        self._require(dataset, [*self.inputs, self.task])
        fidelity_name, noise_name = (
            name if name in dataset.variables else None for name in (self.fidelity, self.noise)
        )
        own = vocabulary.own_dims
        require_own_dims(dataset, own, (self.task, fidelity_name))
        dims = _dims_of(dataset, [*self.inputs, self.task, fidelity_name], first=self.target, without=own)
        sizes = {dim: dataset.sizes[dim] for dim in dims}
        everything = np.ones(int(np.prod(list(sizes.values()), dtype=np.int64)), dtype=bool)
        codes = {
            name: codes_of(dataset, name, sizes, everything, known, append=False)[1].astype(np.float64)
            for name, known in vocabulary.categories.items()
        }
        places, x = self._places(dataset, own, sizes, vocabulary.units, everything, codes)
        _, task, _ = codes_of(dataset, self.task, sizes, everything, vocabulary.tasks, append=False)
        fidelity = variance = None
        if fidelity_name is not None:
            _, fidelity, _ = codes_of(dataset, fidelity_name, sizes, everything, vocabulary.fidelities, append=False)
        if noise_name is not None and set(map(str, dataset[noise_name].dims)) <= set(dims):
            variance = self._variance(dataset, noise_name, sizes, vocabulary.units, everything, missing=True)
        frame = dataset.drop_vars([str(name) for name in dataset.data_vars if not set(dataset[name].dims) <= set(dims)])
        frame = frame.drop_dims([str(dim) for dim in frame.dims if dim not in dims])
        frame = frame.set_coords([n for n in (*self.inputs, self.task, self.fidelity) if n in frame.data_vars])
        frame = frame.drop_vars([str(name) for name in frame.data_vars])
        return Points(x, task, fidelity, variance, frame, dims, tuple(sizes.values()), places)

    def _places(
        self,
        dataset: xr.Dataset,
        own: Mapping[str, OwnDim],
        sizes: Mapping[str, int],
        units: Mapping[str, Units],
        keep: NDArray[np.bool_],
        codes: Mapping[str, Floats],
    ) -> tuple[Vectors | None, Floats]:
        """The vectors, if there are any, and the columns x (n, d) of the kept rows, some of them codes of labels."""
        if own:
            return gather(dataset, own, sizes, units, keep)
        columns = [
            codes[name] if name in codes else self._input(dataset, name, sizes, units, keep) for name in self.inputs
        ]
        return None, np.stack(columns, axis=-1)

    def _refuse_foreign_dims(self, dataset: xr.Dataset, own: Mapping[str, OwnDim]) -> None:
        """A variable over a dim that the target lacks would repeat every reading; a vector input's own dim doesn't."""
        dims = set(dataset[self.target].dims)
        for name in (*self.inputs, self.task, self.fidelity, self.noise):
            if name is None:
                continue
            allowed = {*dims, own[name].name} if name in own else dims
            foreign = [str(dim) for dim in dataset[name].dims if dim not in allowed]
            if foreign:
                raise DataError(
                    f"variable {name!r} runs along {', '.join(map(repr, foreign))}, which the target {self.target!r} "
                    f"(over {tuple(map(str, dataset[self.target].dims))}) doesn't: one reading would count many times; "
                    f"give each reading its own value of {name!r}"
                )

    def _require(self, dataset: xr.Dataset, names: Sequence[str | None]) -> None:
        missing = [name for name in names if name is not None and name not in dataset.variables]
        if missing:
            raise DataError(
                f"the data have no variable {', '.join(map(repr, missing))}; "
                f"they have {sorted(map(str, dataset.variables))}; correct the schema or rename the variable"
            )

    def _units(self, dataset: xr.Dataset) -> dict[str, Units]:
        return {name: units_of(dataset[name]) for name in (*self.inputs, self.target)}

    def _input(
        self,
        dataset: xr.Dataset,
        name: str,
        sizes: Mapping[str, int],
        units: Mapping[str, Units],
        keep: NDArray[np.bool_],
    ) -> Floats:
        column = finite(numbers(dataset[name], sizes)[keep], name)
        return convert(column, name, found=units_of(dataset[name]), wanted=units[name])

    def _variance(
        self,
        dataset: xr.Dataset,
        name: str,
        sizes: Mapping[str, int],
        units: Mapping[str, Units],
        keep: NDArray[np.bool_],
        *,
        missing: bool = False,
    ) -> Floats:
        """Known noise variance in the target's squared units."""
        noise = numbers(dataset[name], sizes)[keep]
        finite(noise[~np.isnan(noise)] if missing else noise, name)
        if (noise < 0).any():
            raise DataError(f"known noise {name!r} has negative entries (smallest {noise.min():g}); it must be >= 0")
        wanted = units[self.target]
        if self.noise_is == "std":
            return convert(noise, name, found=units_of(dataset[name]), wanted=wanted, differences=True) ** 2
        squared = None if wanted is None else f"({wanted})**2"
        return convert(noise, name, found=units_of(dataset[name]), wanted=squared, differences=True)


def as_dataset(
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    inputs: str | Sequence[str],
    target: str = "y",
    task: ArrayLike | None = None,
    fidelity: ArrayLike | None = None,
) -> xr.Dataset:
    """A labelled table over the dim ``sample`` from plain arrays.

    Parameters
    ----------
    x : (n, d) inputs, or (n,) for one input
    y : (n,) targets, or None for places to predict at
    inputs : d names, or one name
    target : name of the target
    task, fidelity : (n,) labels; they become the variables ``task`` and ``fidelity``

    Raises
    ------
    DataError
        If the lengths don't match.

    Examples
    --------
    >>> as_dataset([[0.0], [1.0]], [2.0, 3.0], inputs=["x"], task=["a", "b"]).sizes["sample"]
    2
    """
    inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    table = unmasked(x)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != len(inputs):
        raise DataError(f"x has shape {table.shape}; {len(inputs)} inputs {inputs} want (n, {len(inputs)})")
    columns: dict[str, NDArray[Any]] = {name: table[:, k] for k, name in enumerate(inputs)}
    for name, values in ((target, y), ("task", task), ("fidelity", fidelity)):
        if values is not None:
            if name in columns:
                raise DataError(f"the name {name!r} is used twice; every variable needs a name of its own")
            column = unmasked(values)
            if column.shape != (len(table),):
                raise DataError(
                    f"{name!r} has shape {column.shape}; x has {len(table)} rows, so it must be ({len(table)},)"
                )
            columns[name] = column
    return xr.Dataset({name: ("sample", column) for name, column in columns.items()})


def as_labelled(data: xr.Dataset | pd.DataFrame) -> xr.Dataset:
    """The data as a Dataset; a DataFrame is read as ``xr.Dataset.from_dataframe`` reads it, a MultiIndex as columns.

    Raises
    ------
    DataError
        If `data` is neither.
    """
    if isinstance(data, xr.Dataset):
        return data
    if isinstance(data, pd.DataFrame):
        # row by row: a MultiIndex would become a grid, with places for combinations that nobody asked for
        return xr.Dataset.from_dataframe(data.reset_index() if isinstance(data.index, pd.MultiIndex) else data)
    raise DataError(
        f"expected an xarray.Dataset or a pandas.DataFrame, got {type(data).__name__}; "
        f"surrogates.as_dataset makes a Dataset from arrays"
    )


def _dims_of(
    dataset: xr.Dataset, names: Sequence[str | None], *, first: str, without: Mapping[str, OwnDim]
) -> tuple[str, ...]:
    """All dims of the named variables but their own ones, in the order of `first` if it is there, then of the dataset."""
    used = {str(dim) for name in names if name is not None for dim in dataset[name].dims}
    used -= {own.name for own in without.values() if own.name is not None}
    order = [str(dim) for dim in dataset[first].dims] if first in dataset.variables else []
    order += [str(dim) for dim in dataset.sizes if str(dim) not in order]
    return tuple(dim for dim in order if dim in used)
