"""Small tables of several levels, as the recursive fits take them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from surrogates.gp.core import Core
from surrogates.gp.fidelity.graph import Graph
from surrogates.gp.fidelity.levels import Levels
from surrogates.gp.fidelity.parts import Structure
from surrogates.gp.fidelity.recursive_fit import Member, RecursiveFit
from surrogates.gp.laplace import Draws
from surrogates.scaling import InputScaling, TargetScaling

Floats = NDArray[np.float64]


def structure_of(kind: str, kernel: str = "matern52", trend: str = "linear") -> Structure:
    return Structure(kind, kernel, trend)


def nested_levels(
    counts: tuple[int, ...] = (18, 9),
    *,
    tasks: int = 1,
    inputs: int = 1,
    parents: tuple[int | None, ...] | None = None,
    seed: int = 0,
) -> Levels:
    """Exact readings; each level's places are the first of its parent's, in every task others."""
    generator = np.random.default_rng(seed)
    L = len(counts)
    parents = (None, *range(L - 1)) if parents is None else parents
    x, y, task, level = [], [], [], []
    for t in range(tasks):
        places = generator.uniform(-0.5, 0.5, (max(counts), inputs))
        low = np.sin(6 * places[:, 0] + 0.3 * t) + places.sum(axis=1) ** 2
        values: list[Floats] = []
        for l, n in enumerate(counts):
            p = parents[l]
            own = np.cos((4 + l) * places[:, -1] + t)
            values.append(low if p is None else (0.8 + 0.1 * l) * values[p] + 0.4 * own)
            x.append(places[:n])
            y.append(values[l][:n])
            task.append(np.full(n, t))
            level.append(np.full(n, l))
    readings = np.concatenate(y)
    return levels_of(
        np.concatenate(x), readings, np.concatenate(task), np.concatenate(level), parents, np.zeros(len(readings))
    )


def levels_of(
    x: Floats,
    y: Floats,
    task: NDArray[np.int64],
    level: NDArray[np.int64],
    parents: tuple[int | None, ...],
    variance: Floats | None,
) -> Levels:
    """Levels that are scaled already."""
    graph = Graph(tuple(f"level {l}" for l in range(len(parents))), tuple(() if p is None else (p,) for p in parents))
    d, tasks = x.shape[1], int(task.max()) + 1
    inputs, target = InputScaling(np.zeros(d), np.ones(d)), TargetScaling(0.0, 1.0)
    return Levels(graph, inputs, (target,) * len(parents), x, y, task, tasks, level, variance)


def at_modes(fit: RecursiveFit, modes: list[Floats], jitter: float) -> RecursiveFit:
    """The same fit at given hyper-parameters, with another variance for exact readings."""
    (member,) = fit.members
    made = []
    for level, mode in zip(member.levels, modes, strict=True):
        core = level.core
        scaled = replace(core.scaled, readings=replace(core.scaled.readings, exact=jitter))
        made.append(level._replace(core=Core(scaled, core.settings, Draws(mode[None], np.ones(1), 1.0), mode)))
    return replace(fit, members=(Member(tuple(made), member.pins),))
