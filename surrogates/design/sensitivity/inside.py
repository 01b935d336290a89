"""What is inside of a fitted process: posteriors in scaled units whose correlations are known as parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.gp.core import Core
from surrogates.gp.fidelity.fitted import FittedMultiFidelityGP
from surrogates.gp.fitted import FittedHierarchicalGP
from surrogates.gp.labelling import in_blocks
from surrogates.gp.process import Conditioned, Process
from surrogates.scaling import InputScaling

from ..labelled import Fitted
from .factors import Part, parts_of
from .paths import trend_columns, trend_table

Floats = NDArray[np.float64]
#: rows up to which a process of another solver is made anew by the dense one
DENSE = 3000


class Inside(NamedTuple):
    """Posteriors of the functions, mixed with weights (k,), and the way back from scaled units.

    task : the code of the function asked for
    value : from scaled f to the target's units; spread : its slope, where the target isn't warped
    """

    processes: tuple[Conditioned, ...]
    parts: tuple[tuple[Part, ...], ...]
    weights: Floats
    task: int
    scaling: InputScaling
    value: Callable[[Floats], Floats]
    spread: float | None

    def mean(self, x: Floats) -> Floats:
        """Posterior mean at places x (m, d) in the model's units, of a target that isn't warped."""
        scaled, total = self.scaling(x), np.zeros(len(x))
        for process, w in zip(self.processes, self.weights, strict=True):
            β = np.concatenate([process.beta.ravel(), process.gamma])[trend_columns(process, self.task)]
            for rows in in_blocks(len(x), len(process.design.x)):
                own = scaled[rows]
                K = process.cross(own, np.full(len(own), self.task))
                total[rows] += w * (trend_table(process, own) @ β + process.alpha @ K)
        return self.value(total)


def look_inside(fitted: Fitted, task: Any, fidelity: Any) -> Inside | None:
    """The posteriors of a task and fidelity (labels or None); None where they are of another kind."""
    code = 0 if task is None else fitted.vocabulary.tasks.index(task)
    if isinstance(fitted, FittedHierarchicalGP):
        core = _dense(fitted.core)
        if core.niw is not None:
            return None
        spread = core.scaled.target.spread if core.scaled.warp is None else None
        return _inside(core.processes, core.weights, code, core.scaled.inputs, core.output.value, spread)
    if isinstance(fitted, FittedMultiFidelityGP):
        labels = list(fitted.levels.graph.labels)
        level = len(labels) - 1 if fidelity is None else labels.index(fidelity)
        target, group = fitted.levels.targets[level], code * len(labels) + level
        return _inside(fitted.processes, fitted.weights, group, fitted.levels.inputs, target.mean, target.spread)
    return None


def _inside(
    processes: Sequence[Process],
    weights: Floats,
    task: int,
    scaling: InputScaling,
    value: Callable[[Floats], Floats],
    spread: float | None,
) -> Inside | None:
    known = tuple(process for process in processes if isinstance(process, Conditioned))
    parts = tuple(own for own in (parts_of(process.correlations) for process in known) if own is not None)
    if len(parts) < len(processes):
        return None
    return Inside(known, parts, weights, task, scaling, value, spread)


def _dense(core: Core) -> Core:
    """The same posterior by the dense solver, where another one was taken for speed."""
    if core.niw is not None or all(isinstance(process, Conditioned) for process in core.processes):
        return core
    if len(core.problem.objective.design.x) > DENSE:
        return core
    return replace(core, settings=replace(core.settings, solver="dense"))
