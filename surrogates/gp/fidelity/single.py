"""A single fidelity: what `HierarchicalGP` makes of it, as a structure like the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments
from surrogates.report import Estimate, FitReport
from surrogates.schema import Schema, Vocabulary

from .. import storage
from ..core import Core
from ..evidence import log_evidence
from ..fitted import FittedHierarchicalGP
from ..process import Process
from .graph import Graph
from .joint import readings_of
from .levels import Levels
from .parts import Structure, jitter_of, noise_by_draw_of, noise_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SingleFit:
    """A hierarchical process with one fidelity; the labels stay with it for its file."""

    structure: Structure
    inner: FittedHierarchicalGP

    @property
    def core(self) -> Core:
        return self.inner.core

    @property
    def log_evidence(self) -> float:
        objective = self.core.problem.objective
        return log_evidence(objective, objective.layout, self.core.mode, self.core.draws)

    @property
    def is_success(self) -> bool:
        return self.inner.report.is_success

    @property
    def evaluations(self) -> int:
        return self.inner.report.evaluations

    @property
    def per_task(self) -> bool:
        return False

    @property
    def jitter(self) -> float:
        return jitter_of(self.core)

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.core.processes

    @property
    def weights(self) -> Floats:
        return self.core.weights

    def leave_one_out(self) -> Moments:
        return self.core.leave_one_out()

    def noise_variances(self) -> Floats:
        return noise_of(self.core)

    def noise_by_draw(self) -> Floats:
        return noise_by_draw_of(self.core)

    def sections(self, levels: Levels, vocabulary: Vocabulary) -> Mapping[str, Mapping[str, Estimate]]:
        return {title: group for title, group in self.inner.report.sections.items() if not title.startswith("noise")}

    def integrated(self, *, count: int, seed: int) -> SingleFit:
        """Itself: hyper-parameters were integrated where they are for one fidelity."""
        return self

    def on(self, levels: Levels) -> SingleFit:
        """The same hyper-parameters on other readings."""
        return replace(
            self,
            inner=replace(
                self.inner, core=self.core.with_readings(readings_of(levels, self.core.scaled.readings.exact), None)
            ),
        )

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header and arrays of the inner model."""
        inner = self.inner
        header, arrays = storage.pack(inner.schema, inner.vocabulary, inner.report, inner.core)
        return {"structure": vars(self.structure), "single": header}, arrays


def levels_of(fitted: FittedHierarchicalGP, graph: Graph) -> Levels:
    """The readings in the inner model's own scaling."""
    scaled = fitted.core.scaled
    readings = scaled.readings
    level = np.zeros(len(readings.y), dtype=np.int64)
    return Levels(
        graph,
        scaled.inputs,
        (scaled.target,),
        readings.x,
        readings.y,
        readings.task,
        readings.tasks,
        level,
        readings.variance,
    )


def unpack_single(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], tasks: list[Any]) -> SingleFit:
    """What `pack` gave.

    tasks : labels of the whole model; `update` may have brought some that the inner one's header lacks
    """
    parts: tuple[Schema, Vocabulary, FitReport, Core]
    parts = storage.unpack({**header["single"], "tasks": tasks}, arrays)
    return SingleFit(Structure(**header["structure"]), FittedHierarchicalGP(*parts))
