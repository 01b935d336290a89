"""Molecules with properties of which many are unknown, and what studies need of them: splits, and few labels."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from surrogates.errors import DataError
from surrogates.structures import Structure

from .splits import FRACTIONS, Split, group_split, scaffold_group


@dataclass(frozen=True, eq=False)
class Molecules:
    """A table of molecules and its split.

    data : dim ``molecule``; each data variable is a property (float64, NaN where unknown, attrs ``units`` and
        ``long_name``), all else are coordinates: canonical ``smiles``, their ``connectivity`` (canonical without stereo)
        and Bemis-Murcko ``scaffold`` ("" without rings), and what the loader tells of each row or value. ``data.attrs``
        says where the values are from.
    rows : which rows are for training, validation and test
    """

    data: xr.Dataset
    rows: Split

    @property
    def train(self) -> xr.Dataset:
        """The rows to learn from."""
        return self.data.isel(molecule=self.rows.train)

    @property
    def validation(self) -> xr.Dataset:
        """The rows to choose settings by."""
        return self.data.isel(molecule=self.rows.validation)

    @property
    def test(self) -> xr.Dataset:
        """The rows to judge by."""
        return self.data.isel(molecule=self.rows.test)

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the properties."""
        return tuple(str(name) for name in self.data.data_vars)

    def split(
        self, by: str = "scaffold", fractions: tuple[float, float, float] = FRACTIONS, *, seed: int = 0
    ) -> Molecules:
        """The same table, split in another way.

        Parameters
        ----------
        by : "scaffold" (see `splits.scaffold_split`), "random" (by molecule), or the name of a coordinate over
            ``molecule``, whose equal values stay together
        fractions : of train, validation and test
        seed : of the draw

        Raises
        ------
        DataError
            If `by` is none of these, or `splits.group_split` can't do it.
        """
        return replace(self, rows=split_rows(self.data, by, fractions, seed))

    def select(self, properties: Sequence[str]) -> Molecules:
        """Only these properties; molecules that have none of them stay, with NaN, so that splits stay the same."""
        unknown = [name for name in properties if name not in self.data.data_vars]
        if unknown or not properties:
            raise DataError(f"properties {unknown} aren't there; known are {', '.join(self.properties)}")
        others = [name for name in self.properties if name not in properties]
        return replace(self, data=self.data.drop_vars(others)[list(properties)])

    def scarce(self, labels: int, *, seed: int = 0, fewer: str = "error") -> xr.Dataset:
        """Training rows in which each property keeps exactly `labels` values, drawn at random and apart from the others.

        The draw of a property depends on the seed, its name and its labels only, and more labels contain fewer: with one
        seed, each of the 50 is among the 100. Rows that keep no label are left out.

        Parameters
        ----------
        labels : how many per property >= 1
        seed : of the draw
        fewer : what to do with a property that has fewer: "error", "drop" it, or "keep" all that it has

        Raises
        ------
        DataError
            If `labels` or `fewer` can't be used, a property has too few labels, or none is left.
        """
        if isinstance(labels, bool) or not isinstance(labels, int | np.integer) or labels < 1:
            raise DataError(f"labels is {labels!r}; an integer >= 1 is expected")
        if fewer not in ("error", "drop", "keep"):
            raise DataError(f"fewer is {fewer!r}; 'error', 'drop' or 'keep' is expected")
        train = self.train
        known = {name: np.flatnonzero(np.isfinite(train[name].to_numpy())) for name in self.properties}
        lacking = {name: len(rows) for name, rows in known.items() if len(rows) < labels}
        if lacking and fewer == "error":
            raise DataError(
                f"fewer than {labels} training labels: {', '.join(f'{k} ({n})' for k, n in lacking.items())}; ask for "
                "fewer, select other properties, or say fewer='drop' or 'keep'"
            )
        if fewer == "drop":
            train = train.drop_vars(list(lacking))
        kept = np.zeros(train.sizes["molecule"], dtype=bool)
        scarce = train.copy()
        for name in map(str, train.data_vars):
            order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(known[name])[:labels]
            values = np.full(len(kept), np.nan)
            values[order] = train[name].to_numpy()[order]
            scarce[name] = train[name].copy(data=values)
            kept[order] = True
        if not kept.any():
            raise DataError(f"no property has {labels} training labels; ask for fewer")
        return scarce.isel(molecule=np.flatnonzero(kept))


def of_structures(structures: Sequence[Structure]) -> xr.Dataset:
    """A table without properties: coordinates ``smiles``, ``connectivity`` and ``scaffold`` over ``molecule``."""
    names = ("smiles", "connectivity", "scaffold")
    return xr.Dataset(
        coords={name: ("molecule", np.array([getattr(each, name) for each in structures], dtype=str)) for name in names}
    )


def split_rows(data: xr.Dataset, by: str, fractions: tuple[float, float, float], seed: int) -> Split:
    """Rows of the three parts of a table that began with `of_structures`: equal molecules are equal strings there."""
    connectivity = data["connectivity"].values.tolist()
    if by == "scaffold":
        pairs = zip(data["scaffold"].values.tolist(), connectivity, strict=True)
        return group_split([scaffold_group(*pair) for pair in pairs], fractions, seed=seed)
    if by == "random":
        return group_split(connectivity, fractions, seed=seed)
    known = [str(name) for name, coordinate in data.coords.items() if coordinate.dims == ("molecule",)]
    if by not in known:
        raise DataError(f"a split by {by!r} is unknown; expected is 'scaffold', 'random' or one of {', '.join(known)}")
    return group_split(data[by].values.tolist(), fractions, seed=seed)
