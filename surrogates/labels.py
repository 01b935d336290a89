"""Labels of tasks, fidelities and categories: their positions, and which of them is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.variables import flat

Integers = NDArray[np.int64]
#: A task or fidelity label, as it stands in the data.
Label = str | int | float | bool
#: most labels that a message names
NAMED = 8


def listed(labels: Sequence[Label | None]) -> str:
    """Labels for a message, the first eight of them.

    >>> listed(["a", 2])
    "'a', 2"
    """
    return ", ".join(map(repr, labels[:NAMED])) + (" ..." if len(labels) > NAMED else "")


def require_label(kind: str, name: str | None, known: Sequence[Label | None], label: Any, *, optional: bool) -> Any:
    """The task or fidelity that is meant: `label`, or the only one there is; None where none is named.

    Raises
    ------
    DataError
        If the model doesn't know the label, or knows several and none is given, unless that is `optional`.
    """
    if name is None:
        if label is not None:
            raise DataError(f"{kind} is {label!r}, but the model's schema names no {kind}; leave it out")
        return None
    if label is None:
        if len(known) > 1 and not optional:
            raise DataError(f"{kind} isn't given, and the model knows {listed(known)}; give {kind}= one of them")
        return None if optional else known[0]
    if label not in known:
        raise DataError(f"unknown {kind} {label!r}; the model knows {listed(known)}")
    return label


def codes_of(
    dataset: xr.Dataset,
    name: str | None,
    sizes: Mapping[str, int],
    keep: NDArray[np.bool_],
    known: tuple[Label | None, ...] | None,
    *,
    append: bool,
) -> tuple[tuple[Label | None, ...], Integers, list[Label]]:
    """Labels, the position of each kept row's label, and labels that only dropped rows have.

    Parameters
    ----------
    dataset : with the variable that holds the labels
    name : of the variable; None: all rows have the one label None
    sizes : of the dims that rows are stacked from
    keep : (rows,) those that are used
    known : labels of a fitted model, which keep their positions; None: what is found, sorted
    append : whether new labels may follow the known ones

    Raises
    ------
    DataError
        If labels are missing, dates, of several types, or unknown where none may follow.
    """
    count = int(keep.sum())
    if name is None:
        return (None,), np.zeros(count, dtype=np.int64), []
    everything = flat(dataset[name], sizes)
    if everything.dtype.kind in "mM":
        raise DataError(f"variable {name!r} has labels of dtype {everything.dtype}; convert them to text first")
    missing = pd.isna(everything[keep])
    if missing.any():
        raise DataError(f"variable {name!r} has {int(missing.sum())} missing labels; every reading needs one")
    try:
        found, position = np.unique(everything[keep], return_inverse=True)
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in everything[keep]})
        raise DataError(
            f"variable {name!r} has labels that can't be sorted, of types {', '.join(kinds)}; give all the same type"
        ) from error
    labels: list[Label] = [label.item() if isinstance(label, np.generic) else label for label in found]
    dropped = everything[~keep]
    # of any types: what isn't part of the model need not be sortable with the rest
    empty = sorted(set(dropped[~pd.isna(dropped)].tolist()) - set(labels), key=lambda v: (type(v).__name__, v))
    if known is None:
        return tuple(labels), position.reshape(-1).astype(np.int64), empty
    place = {label: position for position, label in enumerate(known)}
    new = [label for label in labels if label not in place]
    if new and not append:
        raise DataError(
            f"unknown {name} {listed(new)}; the model knows {listed(known)}; "
            f"correct the label, or add its observations first (update for a new task, fit for a new fidelity)"
        )
    types = {type(label).__name__ for label in known}
    odd = [label for label in new if type(label).__name__ not in types]
    if odd:
        raise DataError(f"{name} {odd[0]!r} is of type {type(odd[0]).__name__}, the model's are of {', '.join(types)}")
    full = (*known, *new)
    place |= {label: len(known) + position for position, label in enumerate(new)}
    lookup = np.array([place[label] for label in labels], dtype=np.int64)
    return full, lookup[position.reshape(-1)] if len(labels) else np.zeros(0, dtype=np.int64), empty
