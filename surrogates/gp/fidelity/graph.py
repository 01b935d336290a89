"""Which fidelity corrects which: a graph whose nodes are the fidelities' labels, cheapest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from surrogates.errors import DataError
from surrogates.schema import Label


@dataclass(frozen=True)
class Graph:
    """Fidelities in an order in which every one comes after those that it corrects.  L fidelities.

    labels : (L,) fidelities, the last one is what predictions are for by default; a single None where data name none
    parents : (L,) positions of the fidelities that each one builds on; none for a source
    """

    labels: tuple[Label | None, ...]
    parents: tuple[tuple[int, ...], ...]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(parent, child) positions of all edges, by child."""
        return tuple((p, child) for child, parents in enumerate(self.parents) for p in parents)

    @property
    def is_tree(self) -> bool:
        """Whether no fidelity builds on several."""
        return all(len(parents) <= 1 for parents in self.parents)

    def name(self, edge: tuple[int, int]) -> str:
        """An edge in words."""
        return f"{self.labels[edge[0]]} -> {self.labels[edge[1]]}"


def make_graph(fidelities: Sequence[Label] | Mapping[Label, Label | Sequence[Label] | None]) -> Graph:
    """A chain from a sequence, cheapest first; a tree or a graph from what each fidelity builds on.

    >>> make_graph(["coarse", "fine"]).parents
    ((), (0,))
    >>> make_graph({"a": None, "b": None, "best": ["a", "b"]}).edges
    ((0, 2), (1, 2))

    Raises
    ------
    DataError
        Nothing given, labels twice, a parent that isn't there, a cycle.
    """
    if isinstance(fidelities, Mapping):
        return _ordered({_plain(label): _several(parents) for label, parents in fidelities.items()})
    if isinstance(fidelities, str):
        raise DataError(f"fidelities is the text {fidelities!r}; give a sequence of labels, cheapest first")
    labels = tuple(_plain(label) for label in fidelities)
    if not labels:
        raise DataError("fidelities is empty; give the labels of all fidelities, cheapest first")
    twice = sorted({str(label) for label in labels if labels.count(label) > 1})
    if twice:
        raise DataError(f"fidelities names {', '.join(twice)} twice; every fidelity stands once, cheapest first")
    return Graph(labels, ((), *((k,) for k in range(len(labels) - 1))))


def _several(parents: Label | Sequence[Label] | None) -> tuple[Label, ...]:
    if parents is None:
        return ()
    if isinstance(parents, (str, int, float, bool, np.generic)):
        return (_plain(parents),)
    return tuple(_plain(parent) for parent in parents)


def _plain(label: Any) -> Label:
    """NumPy's scalars as Python's, as a file holds them."""
    plain: Label = label.item() if isinstance(label, np.generic) else label
    return plain


def _ordered(given: dict[Label, tuple[Label, ...]]) -> Graph:
    """Topological order that keeps the given one where it can."""
    if not given:
        raise DataError("fidelities is empty; give every fidelity with those that it builds on")
    for label, parents in given.items():
        if len(set(parents)) < len(parents):
            raise DataError(f"fidelity {label!r} builds on {list(parents)}; name each of them once")
        strange = [parent for parent in parents if parent not in given]
        if strange:
            raise DataError(
                f"fidelity {label!r} builds on {strange[0]!r}, which isn't among {list(given)}; add it, with None "
                f"if it builds on nothing"
            )
    order: list[Label] = []
    left = list(given)
    while left:
        ready = [label for label in left if all(parent in order for parent in given[label])]
        if not ready:
            raise DataError(f"fidelities {left} build on each other in a circle; leave out one of the edges")
        order.append(ready[0])
        left.remove(ready[0])
    sinks = [label for label in order if not any(label in parents for parents in given.values())]
    order.remove(sinks[-1])  # what the graph leads to stands last
    order.append(sinks[-1])
    position = {label: k for k, label in enumerate(order)}
    places = tuple(tuple(sorted(position[parent] for parent in given[label])) for label in order)
    return Graph(tuple(order), places)
