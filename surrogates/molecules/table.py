"""From the user's table to molecules and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.structures import read_structures
from surrogates.variables import require_numbers

Floats = NDArray[np.float64]
_SIGNS = {"": 0, "=": 0, ">": 1, ">=": 1, "<": -1, "<=": -1}


class Entries(NamedTuple):
    """Molecules, or tuples of them, as they were asked for.

    written : as the user wrote them, a tuple of components each
    keys : canonical SMILES; None where one can't be read
    embedding : (n, D), or None
    problems : in words, one for each that can't be read
    """

    written: list[tuple[str, ...]]
    keys: list[tuple[str, ...] | None]
    embedding: Floats | None
    problems: tuple[str, ...]

    @property
    def readable(self) -> NDArray[np.int64]:
        """Rows that can be read."""
        return np.array([row for row, key in enumerate(self.keys) if key is not None], dtype=np.int64)


class Labels(NamedTuple):
    """What is known of n molecules' m properties, in the user's units.

    values : (n, m), NaN where nothing is known
    signs : (n, m) of -1, 0, +1: the truth is at most, is, is at least the value
    """

    properties: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    signs: NDArray[np.int8]

    def take(self, rows: NDArray[np.int64]) -> Labels:
        """Some of the molecules."""
        return self._replace(values=self.values[rows], signs=self.signs[rows])

    def joined(self, more: Labels) -> Labels:
        """With further properties of further molecules, below and to the right."""
        return Labels(
            (*self.properties, *more.properties),
            (*self.units, *more.units),
            block_diagonal(self.values, more.values, np.nan),
            block_diagonal(self.signs, more.signs, 0),
        )


def block_diagonal(a: NDArray[Any], b: NDArray[Any], fill: float) -> NDArray[Any]:
    """a (n, m) and b (p, q) in the corners of (n + p, m + q), `fill` elsewhere."""
    (n, m), (p, q) = a.shape, b.shape
    out = np.full((n + p, m + q), fill, dtype=a.dtype)
    out[:n, :m], out[n:, m:] = a, b
    return out


def stacked(a: Floats | None, b: Floats | None) -> Floats | None:
    """Embeddings (n, D) and (p, D) below each other, where there are some."""
    return None if a is None or b is None else np.concatenate([a, b])


@dataclass(frozen=True)
class Columns:
    """Which variables of a table are what.

    smiles : one name, or one for each component of an entry
    properties : None: all variables of numbers over the molecules, besides those named here
    embedding : variable over (molecule, feature)
    bounds : property -> variable of "<", ">", "=" or "" that says which of its values are bounds
    """

    smiles: tuple[str, ...]
    properties: tuple[str, ...] | None
    embedding: str | None
    bounds: Mapping[str, str]

    def dataset(self, table: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """The table as a dataset over one dim of molecules, its names as texts."""
        if isinstance(table, pd.DataFrame):
            table = xr.Dataset.from_dataframe(table.reset_index(drop=True).rename_axis("molecule"))
        if not isinstance(table, xr.Dataset):
            raise DataError(f"the table is a {type(table).__name__}; give an xarray Dataset or a pandas DataFrame")
        table = table.rename({name: str(name) for name in table.variables if not isinstance(name, str)})
        for name in self.smiles:
            if name not in table.variables:
                raise DataError(
                    f"the table has no variable {name!r} of SMILES; it has {', '.join(map(str, table.variables))}; "
                    f"name it by MolecularNet(smiles=...)"
                )
            if table[name].ndim != 1:
                raise DataError(f"{name!r} has dims {table[name].dims}; SMILES must lie along one dim of molecules")
        return table

    def entries(self, table: xr.Dataset) -> Entries:
        """Its molecules."""
        written = list(zip(*(map(text_of, table[name].values.tolist()) for name in self.smiles), strict=True))
        embedding = None
        if self.embedding is not None:
            embedding = _embedding(table, self.embedding, len(written))
        return read_entries(written, embedding)

    def labels(self, table: xr.Dataset) -> Labels:
        """Its labels; infinite ones and columns that aren't numbers are refused."""
        (dim,) = table[self.smiles[0]].dims
        names = self.properties if self.properties is not None else self._found(table, str(dim))
        if not names:
            raise DataError("the table has no property: no variable of numbers over its molecules")
        unknown = [name for name in (*names, *self.bounds) if name not in table.variables]
        if unknown:
            raise DataError(
                f"the table has no property {unknown[0]!r}; it has {', '.join(self._found(table, str(dim)))}"
            )
        if twice := [name for k, name in enumerate(names) if name in names[:k]]:
            raise DataError(f"property {twice[0]!r} is named twice; name each once")
        columns, signs = [], []
        for name in names:
            columns.append(_numbers(table[name], str(dim)))
            signs.append(self._signs(table, name, len(columns[-1])))
        units = tuple(str(table[name].attrs.get("units", "")) for name in names)
        return Labels(tuple(names), units, np.stack(columns, 1), np.stack(signs, 1))

    def _found(self, table: xr.Dataset, dim: str) -> tuple[str, ...]:
        other = {*self.smiles, self.embedding, *self.bounds.values()}
        return tuple(
            str(name)
            for name, v in table.data_vars.items()
            if name not in other and v.dims == (dim,) and v.dtype.kind in "fiu"
        )

    def _signs(self, table: xr.Dataset, name: str, n: int) -> NDArray[np.int8]:
        if name not in self.bounds:
            return np.zeros(n, dtype=np.int8)
        given = self.bounds[name]
        if given not in table.variables:
            raise DataError(f"the table has no variable {given!r}, which bounds[{name!r}] names")
        texts = ["" if text is None or text != text else str(text).strip() for text in table[given].values.tolist()]
        odd = [(row, text) for row, text in enumerate(texts) if text not in _SIGNS]
        if odd:
            raise DataError(f"{given!r} has {odd[0][1]!r} in row {odd[0][0]}; it may have '<', '>', '=' and ''")
        return np.array([_SIGNS[text] for text in texts], dtype=np.int8)


def read_entries(written: Sequence[tuple[str, ...]], embedding: Floats | None = None) -> Entries:
    """Canonical SMILES of each entry, and what is wrong with those that can't be read."""
    flat = [part for entry in written for part in entry]
    unique = dict.fromkeys(flat)
    found = dict(zip(unique, read_structures(list(unique)), strict=True))
    keys: list[tuple[str, ...] | None] = []
    problems = []
    for row, entry in enumerate(written):
        structures = [found[part] for part in entry]
        wrong = [part for part, structure in zip(entry, structures, strict=True) if structure is None]
        if wrong:
            keys.append(None)
            what = "is empty" if not wrong[0].strip() else "can't be read by RDKit"
            problems.append(f"the SMILES {wrong[0]!r} in row {row} {what}")
        else:
            keys.append(tuple(structure.smiles for structure in structures if structure is not None))
    return Entries(list(written), keys, embedding, tuple(problems))


def refuse(entries: Entries, remedy: str) -> None:
    """Raise if there are SMILES that can't be read."""
    if entries.problems:
        more = len(entries.problems) - 1
        others = f", and {more} more like it" if more else ""
        raise DataError(f"{entries.problems[0]}{others}; {remedy}")


def text_of(smiles: object) -> str:
    """A SMILES as text; one that is missing (None or NaN) is empty."""
    return "" if smiles is None or smiles != smiles else str(smiles)


def require_labels(keys: Sequence[tuple[str, ...]], labels: Labels) -> None:
    """Refuse properties of which not even level and scale can be known.

    Raises
    ------
    DataError
        If a property has fewer than two labels that aren't bounds, or all of them are of one molecule.
    """
    for k, name in enumerate(labels.properties):
        known = np.isfinite(labels.values[:, k])
        exact = np.flatnonzero(known & (labels.signs[:, k] == 0)).tolist()
        if len(exact) < 2:
            what = f"{len(exact) or 'no'} label{'s' * (len(exact) != 1)}"
            bounds = f" besides {known.sum() - len(exact)} bounds" if known.sum() > len(exact) else ""
            raise DataError(
                f"property {name!r} has {what}{bounds}; at least 2 are needed to know its level and scale: leave it out"
            )
        if len(of := {keys[row] for row in exact}) < 2:
            raise DataError(
                f"all {len(exact)} labels of property {name!r} are of one molecule, {'; '.join(of.pop())!r}; at least 2 "
                f"different molecules are needed: leave it out"
            )


def oddities(keys: Sequence[tuple[str, ...]], labels: Labels) -> tuple[str, ...]:
    """What is odd about the data, in words."""
    notes = []
    if salts := [key for key in dict.fromkeys(keys) if any("." in part for part in key)]:
        notes.append(
            f"{len(salts)} molecules have several fragments, such as {'; '.join(salts[0])!r}; each is taken as a whole"
        )
    for k, name in enumerate(labels.properties):
        values = labels.values[np.isfinite(labels.values[:, k]), k]
        if np.ptp(values) == 0:
            notes.append(
                f"property {name!r} is {values[0]:g} in all its {len(values)} labels; nothing can be learnt of it"
            )
    return tuple(notes)


def _numbers(variable: xr.DataArray, dim: str) -> Floats:
    if variable.dims != (dim,):
        raise DataError(f"property {variable.name!r} has dims {variable.dims}; it must lie along {dim!r} only")
    require_numbers(variable)
    values = variable.to_numpy().astype(np.float64)
    if bad := np.flatnonzero(np.isinf(values)).tolist():
        raise DataError(f"property {variable.name!r} is infinite in row {bad[0]}; use NaN where nothing is known")
    return values


def _embedding(table: xr.Dataset, name: str, n: int) -> Floats:
    if name not in table.variables:
        raise DataError(f"the table has no variable {name!r}, which MolecularNet(embedding=...) names")
    values = np.asarray(table[name].values, dtype=np.float64)
    if values.ndim != 2 or len(values) != n:
        raise DataError(
            f"the embedding {name!r} has shape {values.shape}; it must be (molecules, features) = ({n}, ...)"
        )
    if bad := np.flatnonzero(~np.isfinite(values).all(1)).tolist():
        raise DataError(
            f"the embedding {name!r} has NaN or infinite entries in row {bad[0]}; leave these molecules out"
        )
    return values
