"""Splits of a table into train, validation and test rows that keep groups whole: molecules, scaffolds, or any labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.structures import checked_structures

Rows = NDArray[np.int64]
FRACTIONS = (0.8, 0.1, 0.1)


class Split(NamedTuple):
    """Row numbers of the three parts, ascending; together they are all rows, and no two share a group."""

    train: Rows
    validation: Rows
    test: Rows


def group_split(
    groups: Sequence[Hashable], fractions: tuple[float, float, float] = FRACTIONS, *, seed: int = 0
) -> Split:
    """Split rows so that equal labels stay together.

    Groups are visited in random order. Each goes to the test rows if it fits in what is left of their number, else to
    the validation rows if it fits there, else to the training rows. So neither test nor validation is larger than asked
    for, large groups tend to be trained on, and the group that would burst a part is passed over, not split.

    Parameters
    ----------
    groups : one label per row
    fractions : of train, validation and test rows; >= 0, they add up to 1
    seed : of the order

    Raises
    ------
    DataError
        If fractions or labels can't be used, or a part that should have rows gets none.

    Examples
    --------
    >>> group_split(["a", "a", "b", "c", "c", "d"], (0.5, 0.25, 0.25), seed=0)
    Split(train=array([2, 5]), validation=array([0, 1]), test=array([3, 4]))
    """
    if len(fractions) != 3 or not all(0 <= part <= 1 for part in fractions) or abs(sum(fractions) - 1) > 1e-9:
        raise DataError(f"fractions are {fractions}; three numbers in [0, 1] that add up to 1 are expected: train, "
                        "validation, test")  # fmt: skip
    if pd.isna(pd.Series(list(groups), dtype=object)).any():
        raise DataError("some groups have no label (None or NaN); every row needs one")
    codes, names = pd.factorize(pd.Series(list(groups), dtype=object))
    sizes = np.bincount(codes, minlength=len(names))
    room = {2: round(fractions[2] * len(codes)), 1: round(fractions[1] * len(codes))}
    part_of = np.zeros(len(names), dtype=np.int64)
    for group in np.random.default_rng(seed).permutation(len(names)):
        part = next((part for part, left in room.items() if sizes[group] <= left), 0)
        part_of[group] = part
        if part:
            room[part] -= int(sizes[group])
    rows = [np.flatnonzero(part_of[codes] == part) for part in range(3)]
    for name, fraction, chosen in zip(Split._fields, fractions, rows, strict=True):
        if fraction > 0 and len(chosen) == 0:
            raise DataError(
                f"the {name} part gets none of {len(codes)} rows, though its fraction is {fraction}: they are in "
                f"{len(names)} groups, the largest of {sizes.max(initial=0)} rows; give more rows, smaller groups or "
                "another fraction"
            )
    return Split(*rows)


def random_split(smiles: Sequence[str], fractions: tuple[float, float, float] = FRACTIONS, *, seed: int = 0) -> Split:
    """Split at random by molecule: rows of one molecule, however its SMILES is spelt, stay together, stereoisomers too.

    Parameters and errors as for `group_split`; MissingExtraError if RDKit isn't installed, DataError if a SMILES can't be
    read.
    """
    return group_split([structure.connectivity for structure in checked_structures(smiles)], fractions, seed=seed)


def scaffold_split(smiles: Sequence[str], fractions: tuple[float, float, float] = FRACTIONS, *, seed: int = 0) -> Split:
    """Split by Bemis-Murcko scaffold (J. Med. Chem. 39, 2887, 1996), so that test molecules have unseen ring systems.

    A molecule without a ring has no scaffold; each of these is a group of its own. (All in one group would make the
    largest group out of molecules that have nothing in common.) Rings are told apart by their atoms and bonds, and so are
    exocyclic double bonds, which RDKit counts to the scaffold.

    Parameters and errors as for `group_split`; MissingExtraError if RDKit isn't installed, DataError if a SMILES can't be
    read.

    Examples
    --------
    >>> split = scaffold_split(["Cc1ccccc1", "CC", "c1ccccc1O", "CCO", "OCC"], (0.6, 0.0, 0.4), seed=0)
    >>> split.test  # ethanol, in both of its spellings
    array([3, 4])
    """
    structures = checked_structures(smiles)
    return group_split([scaffold_group(s.scaffold, s.connectivity) for s in structures], fractions, seed=seed)


def scaffold_group(scaffold: str, connectivity: str) -> str:
    """The label by which a molecule is grouped: its scaffold, or itself marked as acyclic."""
    return scaffold or f"acyclic {connectivity}"
