"""Draws of a Gaussian process as functions that can be asked anywhere, by Matheron's rule with random waves.

    f = h'β + g + k'Σ⁻¹(y - Hβ - g_X - e),   g = Σ_j Re[a_j Π_k v_jk(x_k)],   a_j ~ complex normal

The waves v make g's covariance exact on average over them (Rahimi & Recht 2007; Wilson et al. 2020 for the rule). The nugget
of known noise, detail that the kernel doesn't resolve, is left out of f.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.gp.process import Conditioned
from surrogates.linalg import solve_lower_transposed, spectrum

from .factors import Part, Waves

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
#: random waves of a prior draw, and of one of its parts at the least
WAVES, LEAST_WAVES = 160, 48


class Paths(NamedTuple):
    """Draws (s of them) of one task's function, that share their waves.

    update : (n, s) weights of the rows' correlations; beta : (q, s) of all trend columns
    waves : of each part, by column; amplitudes : of each part (R, s)
    """

    process: Conditioned
    task: int
    update: Floats
    beta: Floats
    waves: list[list[tuple[int, Waves]]]
    amplitudes: list[Complex]

    @property
    def own_beta(self) -> Floats:
        """(p, s) of the task's trend columns, and of those that all tasks share."""
        return self.beta[trend_columns(self.process, self.task)]

    def __call__(self, x: Floats) -> Floats:
        """Values (m, s) at scaled places x (m, d)."""
        total = (
            trend_table(self.process, x) @ self.own_beta
            + self.process.cross(x, np.full(len(x), self.task)).T @ self.update
        )
        for waves, a in zip(self.waves, self.amplitudes, strict=True):
            total += (at_places(waves, x, len(a)).T @ a).real
        return np.asarray(total)


def trend_columns(process: Conditioned, task: int) -> NDArray[np.int64]:
    """Which of all trend coefficients a task's function has."""
    T, p = process.beta.shape
    return np.concatenate([task * p + np.arange(p), T * p + np.arange(len(process.gamma))])


def trend_table(process: Conditioned, x: Floats) -> Floats:
    """Those trend columns at scaled places x (m, d): (m, p)."""
    return np.concatenate([process.trend.columns(x), process.trend.shared_columns(x)], axis=1)


def at_places(waves: Sequence[tuple[int, Waves]], x: Floats, count: int) -> Complex:
    """Products over all columns of R waves at places x (m, d): (R, m)."""
    total = np.ones((count, len(x)), dtype=np.complex128)
    for k, wave in waves:
        total *= wave(x[:, k])
    return total


def draw_paths(
    process: Conditioned, task: int, parts: Sequence[Part], count: int, generator: np.random.Generator
) -> Paths:
    """Draws of a task's function from a posterior whose correlations are these parts."""
    design = process.design
    n, T = len(design.x), design.tasks
    flat = np.concatenate([process.beta.ravel(), process.gamma])[:, None]
    β = flat + solve_lower_transposed(process.L_A, generator.standard_normal((len(process.L_A), count)))
    e = np.sqrt(process.state.D)[:, None] * generator.standard_normal((n, count))
    g, waves, amplitudes = np.zeros((n, count)), [], []
    size = max(LEAST_WAVES, WAVES // len(parts))
    for part in parts:
        waves.append(part.waves(size, generator))
        at_rows = at_places(waves[-1], design.x, size)
        root = np.sqrt(part.share / size) * _root(process.state.mixing.matrix[part.c])
        unit: Any = generator.standard_normal((2, T, size, count))
        a = np.einsum("tu,uwc->twc", root, unit[0] + 1j * unit[1])
        for t in range(T):
            rows = slice(int(design.bounds[t]), int(design.bounds[t + 1]))
            g[rows] += (at_rows[:, rows].T @ a[t]).real
        amplitudes.append(a[task])
    y = (process.state.y + design.offset)[:, None] - design.H @ β - g - e
    return Paths(process, task, process.inverse.solve(y), β, waves, amplitudes)


def _root(B: Floats) -> Floats:
    values, vectors = spectrum(B)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
