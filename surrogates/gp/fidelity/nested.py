"""Which readings of a parent stand where a child was read: what levels that build on each other need to know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from ..process import distinct_places, met_places
from .graph import Graph
from .levels import Levels

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def single_parents(graph: Graph) -> tuple[int | None, ...]:
    """(L,) the fidelity that each one builds on, or None.

    Raises
    ------
    DataError
        If a fidelity builds on several.
    """
    for label, parents in zip(graph.labels, graph.parents, strict=True):
        if len(parents) > 1:
            names = [graph.labels[p] for p in parents]
            raise DataError(
                f"fidelity {label!r} builds on {names}; levels that are fitted one after the other take one parent: use "
                f"structure='autoregressive' or 'coregional' for all at once"
            )
    return tuple(parents[0] if parents else None for parents in graph.parents)


def rows_of(levels: Levels, level: int) -> Integers:
    """Which readings (n,) are of that fidelity."""
    return np.flatnonzero(levels.level == level).astype(np.int64)


def parent_values(levels: Levels, level: int) -> Floats:
    """Exact reading (n,) of the parent at the task and place of each reading of a fidelity; NaN where there is none."""
    mine, p = rows_of(levels, level), single_parents(levels.graph)[level]
    values = np.full(len(mine), np.nan)
    if p is None or levels.variance is None:
        return values
    theirs = rows_of(levels, p)
    theirs = theirs[levels.variance[theirs] == 0]
    if len(theirs):
        theirs = theirs[distinct_places(levels.x[theirs], levels.task[theirs])[0]]  # exact repeats are equal
        row, met = met_places(levels.x[theirs], levels.task[theirs], levels.x[mine], levels.task[mine])
        values[met] = levels.y[theirs[row]]
    return values


def is_nested_exact(levels: Levels) -> bool:
    """No reading has noise, each fidelity has one parent or none, and wherever it was read, its parent was too."""
    if not levels.is_exact or not levels.graph.is_tree:
        return False
    children = [child for _, child in levels.graph.edges]
    return all(bool(np.isfinite(parent_values(levels, child)).all()) for child in children)
