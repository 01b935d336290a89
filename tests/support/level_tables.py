"""Small tables of several levels, as the recursive fits take them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from surrogates.gp.core import Core
from surrogates.gp.fidelity.nested import Nested
from surrogates.gp.fidelity.recursive_fit import Member, RecursiveFit
from surrogates.gp.fitting import Settings
from surrogates.gp.kernels import KERNELS
from surrogates.gp.laplace import Draws

Floats = NDArray[np.float64]


def settings_of(kernel: str = "matern52", trend: str = "linear") -> Settings:
    return Settings(KERNELS[kernel], trend, "common", 1, "known", "auto")


def nested_levels(
    counts: tuple[int, ...] = (18, 9),
    *,
    tasks: int = 1,
    inputs: int = 1,
    parents: tuple[int | None, ...] | None = None,
    seed: int = 0,
) -> Nested:
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
    codes = (np.concatenate(part).astype(np.int64) for part in (task, level))
    readings = np.concatenate(y)
    return Nested(np.concatenate(x), readings, *codes, tasks, L, parents, np.zeros(len(readings)))


def at_modes(fit: RecursiveFit, modes: list[Floats], jitter: float) -> RecursiveFit:
    """The same fit at given hyper-parameters, with another variance for exact readings."""
    (member,) = fit.members
    cores = []
    for core, mode in zip(member.cores, modes, strict=True):
        scaled = replace(core.scaled, readings=replace(core.scaled.readings, exact=jitter))
        cores.append(Core(scaled, core.settings, Draws(mode[None], np.ones(1), 1.0), mode))
    members = (Member(tuple(cores), member.widths, member.evidences, member.pins),)
    return RecursiveFit(fit.levels, fit.kind, members)
