"""Before a fit of many tasks: an exact fit of a few of them says where to start and how far apart places may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..collapse import Readings, collapse, rows_of_tasks, trend_prior
from ..fitting import Start, descend_from_starts, make_problem, make_sharing
from ..kernels import Kernel
from ..preparing import Scaled, Settings
from ..solvers import choose_solver
from ..solvers.inducing import Inducing
from .places import choose_places

Floats = NDArray[np.float64]
#: readings of the tasks that are fitted exactly first, and how many of them one task may have
PILOT, PILOT_OF_TASK = 800, 200


def prepare(scaled: Scaled, settings: Settings, *, seed: int) -> tuple[Scaled, Start | None]:
    """The places of the common process and a start, if the solver is to be "inducing"; else nothing new.

    seed : of the tasks that are fitted first, and of the places to choose from
    """
    if not isinstance(settings.kernel, Kernel):
        return scaled, None
    design = collapse(scaled.readings, scaled.trend, scaled.prior).design
    sharing = make_sharing(settings, design.tasks)
    name = choose_solver(design, sharing) if settings.solver == "auto" else settings.solver
    if name != Inducing.name:
        return scaled, None
    pilot = few_tasks(scaled.readings, seed)
    few = replace(scaled, readings=pilot, prior=trend_prior(pilot, scaled.trend))
    problem = make_problem(few, replace(settings, solver="auto"))
    start = descend_from_starts(problem.objective, settings)
    lengthscales = np.exp(problem.objective.layout.split(start.x).log_shapes[0])
    Z = choose_places(design.x, settings.kernel, lengthscales, count=settings.inducing, seed=seed)
    return replace(scaled, common_places=Z), Start(start.x)


def few_tasks(readings: Readings, seed: int, size: int = PILOT) -> Readings:
    """Readings of some tasks, two at least, renumbered; chosen by their values, so that names don't matter.

    Noise groups stay, those without a reading too.
    """
    members = [rows for rows in rows_of_tasks(readings.task, readings.tasks) if len(rows)]
    members.sort(key=lambda rows: (len(rows), float(np.sort(readings.y[rows]).sum())))
    generator = np.random.default_rng(seed)
    chosen: list[NDArray[np.int64]] = []
    total = 0
    for position in generator.permutation(len(members)):
        rows = members[position]
        order = rows[np.lexsort((*readings.x[rows].T, readings.y[rows]))]
        some = order[np.sort(generator.choice(len(order), min(len(order), PILOT_OF_TASK), replace=False))]
        if len(chosen) >= 2 and total + len(some) > size:
            break
        chosen.append(some)
        total += len(some)
    keep = np.concatenate(chosen)
    task = np.repeat(np.arange(len(chosen)), [len(rows) for rows in chosen])
    variance = None if readings.variance is None else readings.variance[keep]
    return Readings(
        readings.x[keep],
        readings.y[keep],
        task.astype(np.int64),
        len(chosen),
        readings.group[keep],
        readings.groups,
        variance,
        basis=readings.basis,
        weight=None if readings.weight is None else readings.weight[keep],
    )
