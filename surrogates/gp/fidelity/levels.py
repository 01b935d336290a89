"""Readings of several fidelities in scaled units: inputs in one unit cube, each fidelity's target by its own spread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from surrogates.errors import DataError
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Table

from ..process import distinct_places
from ..trends import Trend, make_trend
from .graph import Graph

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: standard deviation of a trend's slopes, in standard deviations of the target over the inputs' box
SLOPE = 3.0
#: readings of a fidelity, less its tasks, that tell its spread
FREEDOM = 2


@dataclass(frozen=True)
class Levels:
    """Scaled readings.  N readings, d inputs, T tasks, L fidelities.

    variance : (N,) known noise variance, scaled; None where noise is learnt for each fidelity
    borrowed : (L,) the fidelity whose spread each one is scaled by: itself, unless its own readings don't tell it
    """

    graph: Graph
    inputs: InputScaling
    targets: tuple[TargetScaling, ...]  # (L,)
    x: Floats  # (N, d)
    y: Floats  # (N,)
    task: Integers  # (N,)
    tasks: int
    level: Integers  # (N,) positions in the graph
    variance: Floats | None
    borrowed: tuple[int, ...] = ()

    @property
    def group(self) -> Integers:
        """(N,) codes τ L + l of task and fidelity."""
        return self.task * len(self.graph.labels) + self.level

    @property
    def places(self) -> int:
        """How many different (task, fidelity, place) were read."""
        return len(distinct_places(self.x, self.group)[0])

    @cached_property
    def ratios(self) -> tuple[float, ...]:
        """(L,) loadings that mean "the same function", in scaled units; the last fidelity's is one."""
        return tuple(self.targets[-1].spread / target.spread for target in self.targets)

    @property
    def is_exact(self) -> bool:
        """Whether no reading has noise."""
        return self.variance is not None and not self.variance.any()

    @cached_property
    def spans(self) -> tuple[float, ...]:
        """(E,) for each edge, the spread of the parent's readings next to the child's places, of all its readings' spread.

        A child scaled by its own readings' spread has ρ of about the inverse, if it follows its parent.
        """
        found = []
        for parent, child in self.graph.edges:
            theirs, places = self.level == parent, self.x[self.level == child]
            nearest = cKDTree(self.x[theirs]).query(places)[1]
            spread = np.std(np.sort(self.y[theirs][nearest])) if len(places) > FREEDOM else 1.0
            found.append(float(np.clip(spread, 0.05, 1.0)))
        return tuple(found)

    def trend(self, name: str) -> Trend:
        """The trend of that name, with a prior for slopes: few precise readings don't determine them."""
        made = make_trend(name, self.x)
        return replace(made, slope=SLOPE) if name in ("linear", "quadratic") else made


def make_levels(table: Table, graph: Graph, noise: str) -> Levels:
    """Scale readings.

    Raises
    ------
    DataError
        A fidelity in the data that the graph lacks, or one in the graph without any reading.
    """
    position = _positions(table, graph)
    level = position[table.fidelity]
    counts = np.bincount(level, minlength=len(graph.labels))
    if (counts == 0).any():
        label = graph.labels[int(np.flatnonzero(counts == 0)[0])]
        raise DataError(f"fidelity {label!r} has no reading; leave it out of fidelities, or give some")
    inputs = InputScaling.fit(table.x)
    targets, borrowed = _targets(table, level, graph)
    return replace(_scaled(table, level, graph, inputs, targets, noise), borrowed=borrowed)


def _targets(table: Table, level: Integers, graph: Graph) -> tuple[tuple[TargetScaling, ...], tuple[int, ...]]:
    """Each fidelity's scale, and whose spread it has.

    Fidelities whose readings hardly vary within tasks, or are too few to, have that of one they build on, or else of any.
    """
    # an order of the readings that doesn't depend on the table's, so that sums are rounded alike
    order = np.lexsort((*table.x.T, table.y, table.task))
    found, told = [], []
    for k in range(len(graph.labels)):
        mine = order[level[order] == k]
        found.append(TargetScaling.fit(table.y[mine], table.task[mine], np.ones((len(mine), 1))))
        freedom = len(mine) - len(np.unique(table.task[mine]))
        told.append(freedom >= FREEDOM and not found[-1].constant)
    borrowed = []
    for k in range(len(found)):
        nearest = [k, *reversed(range(k)), *range(k + 1, len(found))]
        borrowed.append(next((other for other in nearest if told[other]), k))
    targets = tuple(replace(own, spread=found[other].spread) for own, other in zip(found, borrowed, strict=True))
    return targets, tuple(borrowed)


def more_levels(table: Table, levels: Levels, noise: str) -> Levels:
    """Old and new readings together, in the old ones' scaling."""
    level = _positions(table, levels.graph)[table.fidelity]
    more = _scaled(table, level, levels.graph, levels.inputs, levels.targets, noise)
    variance = None
    if levels.variance is not None and more.variance is not None:
        variance = np.concatenate([levels.variance, more.variance])
    return replace(
        more,
        x=np.concatenate([levels.x, more.x]),
        y=np.concatenate([levels.y, more.y]),
        task=np.concatenate([levels.task, more.task]),
        level=np.concatenate([levels.level, more.level]),
        variance=variance,
        borrowed=levels.borrowed,
    )


def _scaled(
    table: Table,
    level: Integers,
    graph: Graph,
    inputs: InputScaling,
    targets: tuple[TargetScaling, ...],
    noise: str,
) -> Levels:
    centre = np.array([target.centre for target in targets])[level]
    spread = np.array([target.spread for target in targets])[level]
    variance: Floats | None = None
    if noise == "none":
        variance = np.zeros(len(level))
    elif noise == "known":
        assert table.noise_variance is not None
        variance = table.noise_variance / spread**2
    y = (table.y - centre) / spread
    return Levels(graph, inputs, targets, inputs(table.x), y, table.task, len(table.vocabulary.tasks), level, variance)


def _positions(table: Table, graph: Graph) -> Integers:
    """(F,) places in the graph of the vocabulary's fidelities."""
    known = {label: k for k, label in enumerate(graph.labels)}
    strange = [label for label in table.vocabulary.fidelities if label not in known]
    if strange:
        raise DataError(
            f"the data have the fidelity {strange[0]!r}, which fidelities={list(graph.labels)} lacks; add it, or leave "
            f"its rows out"
        )
    return np.array([known[label] for label in table.vocabulary.fidelities], dtype=np.int64)
