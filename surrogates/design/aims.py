"""From a goal to the places that count, and what is measured there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.by_draw import ByDraw, Places
from surrogates.labels import require_label
from surrogates.schema import Label, as_labelled

from .candidates import Box, Constraints, Option, feasible, spread_out, table_of
from .gains import BestMean, MeanAmbiguity, MeanVariance, Measure
from .goals import Goal, LevelSet, Optimum, Tasks
from .numbers import positive

Floats = NDArray[np.float64]
#: places of each task where the user gives none: for maps, and to choose an optimum among
REFERENCE, CHOICES = 128, 256


def aim_of(goal: Goal, model: ByDraw, box: Box, constraints: Constraints | None, seed: int) -> tuple[Places, Measure]:
    """Reference places, and what is measured there.

    Raises
    ------
    DataError
        Tasks or a fidelity that the model doesn't know, weights that aren't positive, a reference without places.
    """
    level = _fidelity(goal.fidelity, model)
    if isinstance(goal, Optimum):
        task = require_label("task", model.schema.task, model.vocabulary.tasks, goal.task, optional=False)
        option = Option(task, level)
        reference = _choices(model, box, option, constraints, seed) if goal.reference is None else goal.reference
        places = _places(model, reference, [option])
        return places, BestMean(1 if goal.sense == "maximise" else -1)
    shares = _shares(goal.tasks, model)
    options = [Option(task, level) for task in shares]
    reference = table_of(box, box.sobol(REFERENCE, seed), options) if goal.reference is None else goal.reference
    places = _places(model, reference, options)
    weights = _weights(model, places, shares)
    if isinstance(goal, LevelSet):
        return places, MeanAmbiguity(float(goal.limit), weights)
    return places, MeanVariance(weights)


def _places(model: ByDraw, reference: Any, options: list[Option]) -> Places:
    """The reference at the tasks and the fidelity that count; places that name another task don't."""
    schema, data = model.schema, as_labelled(reference)
    if schema.fidelity is not None:
        data = data.drop_vars(schema.fidelity, errors="ignore").assign({schema.fidelity: options[0].fidelity})
    names_task = schema.task is not None and schema.task in data.variables
    if schema.task is not None and not names_task:
        data = data.assign({schema.task: ("asked_task", np.array([option.task for option in options]))})
    places = model.places(data)
    if names_task:
        wanted = [model.vocabulary.tasks.index(option.task) for option in options]
        places = places.take(np.flatnonzero(np.isin(places.task, wanted)))
    if not len(places.x):
        raise DataError("the goal's reference has no place of a task that counts; give some, or leave it out")
    return places


def _weights(model: ByDraw, places: Places, shares: Mapping[Label | None, float]) -> Floats:
    """ω (R,): each task's share, evenly over its places; they sum to one."""
    weights = np.zeros(len(places.x))
    for task, share in shares.items():
        mine = places.task == model.vocabulary.tasks.index(task)
        weights[mine] = share / max(int(mine.sum()), 1)
    return np.asarray(weights / weights.sum())


def _shares(tasks: Tasks | None, model: ByDraw) -> dict[Label | None, float]:
    known = model.vocabulary.tasks
    if tasks is None:
        return dict.fromkeys(known, 1.0)
    if model.schema.task is None:
        raise DataError(f"the goal names tasks {tasks!r}, but the model's schema names no task; leave them out")
    if isinstance(tasks, str) or not tasks:
        raise DataError(f"the goal's tasks are {tasks!r}; give a list of tasks, or a mapping of task -> weight")
    given = dict(tasks) if isinstance(tasks, Mapping) else dict.fromkeys(tasks, 1.0)
    for task in given:
        require_label("task", model.schema.task, known, task, optional=False)
    return {task: positive(weight, f"the goal's weight of {task!r}") for task, weight in given.items()}


def _fidelity(fidelity: Label | None, model: ByDraw) -> Label | None:
    """Whose function is wanted; where fidelities differ in noise alone, any will do."""
    known = model.vocabulary.fidelities
    given: Label | None = require_label("fidelity", model.schema.fidelity, known, fidelity, optional=True)
    return model.last_fidelity if given is None else given


def _choices(model: ByDraw, box: Box, option: Option, constraints: Constraints | None, seed: int) -> xr.Dataset:
    """Places to choose the optimum among: spread over the box, and those of all readings within it."""
    spread = spread_out(box, [option], CHOICES, constraints, seed)
    read = table_of(box, box.columns_of(np.unique(model.readings, axis=0)), [option])
    read = read.isel(candidate=np.flatnonzero(feasible(constraints, read)))
    return xr.concat([spread, read], "candidate")
