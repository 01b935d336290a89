"""Robust sharing: tasks have correlations and amplitudes of their own, drawn to those of all; outliers stand apart.

    B_0 = s diag(a) [c c' + diag(1 - c²)] diag(a)  of the tasks that share,      B_k = s_k e_t e_t'  of the k-th that doesn't
    c_t² = 1/(1 + exp(-η - τ sinh ξ_t)),           log a_t = α (sinh ζ_t - mean sinh ζ)

g_t is a_t times c_t parts of a process common to all tasks and √(1 - c_t²) parts of one of its own, so that two tasks'
functions correlate by c_t c_u. η is what tasks have in common, ξ_t and ζ_t are standard normal: where the data of a task say
nothing, it shares as the others do. The hyperbolic sine gives the priors heavy tails: most tasks stay together, and one that
differs leaves them at a price that grows with the logarithm of its distance only. Equal c and a give the exchangeable
B = s[ρ 11' + (1-ρ) I] with ρ = c²; c_t = 0 makes task t independent of the others, with their length-scales. A task that
stands apart has length-scales of its own, too: only the noise is common.  (Our own construction; one-factor correlation
matrices are classical.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sharing import AMPLITUDE_PRIOR, CORRELATION_BOUNDS, CORRELATION_PRIOR, Mixing

Floats = NDArray[np.float64]
#: τ and α: how far most tasks' correlations (logits) and amplitudes (logarithms) lie apart
SPREAD, AMPLITUDES = 0.7, 0.15


@dataclass(frozen=True)
class Robust:
    """Parameters log s, η, ξ (m,), ζ (m,) of the m tasks that share, then log s_k of those apart.

    tasks : T >= 2
    apart : tasks that share nothing
    """

    tasks: int
    apart: tuple[int, ...] = ()

    @property
    def sharing(self) -> tuple[int, ...]:
        """The tasks that share: (m,)."""
        return tuple(t for t in range(self.tasks) if t not in self.apart)

    @property
    def components(self) -> int:
        return 1 + len(self.apart)

    @property
    def component_names(self) -> tuple[str, ...]:
        """Whose length-scales each component has."""
        return ("", *(f"task {t}" for t in self.apart))

    @property
    def names(self) -> tuple[str, ...]:
        own = [f"{name} of task {t}" for name in ("correlation", "amplitude") for t in self.sharing]
        return ("log s", "logit ρ", *own, *(f"log s of task {t}" for t in self.apart))

    @property
    def bounds(self) -> list[tuple[float, float]]:
        return [
            (-8.0, 8.0),
            CORRELATION_BOUNDS,
            *[(-4.0, 4.0)] * (2 * len(self.sharing)),
            *[(-8.0, 8.0)] * len(self.apart),
        ]

    @property
    def prior(self) -> tuple[Floats, Floats]:
        # of s and ρ as for exchangeable tasks
        own = [(0.0, 1.0)] * (2 * len(self.sharing))
        mean, deviation = np.transpose([AMPLITUDE_PRIOR, CORRELATION_PRIOR, *own, *[AMPLITUDE_PRIOR] * len(self.apart)])
        return mean, deviation

    def start(self, correlation: float) -> Floats:
        own = np.zeros(2 * len(self.sharing) + len(self.apart))
        return np.concatenate([[0.0, np.log(correlation / (1 - correlation))], own])

    def correlations(self, parameters: Floats) -> Floats:
        """ρ_t = c_t², the share of a task's variance that is common to all; 0 of those apart: (T,)."""
        m = len(self.sharing)
        ρ = np.zeros(self.tasks)
        ρ[list(self.sharing)] = 1.0 / (1.0 + np.exp(-parameters[1] - SPREAD * np.sinh(parameters[2 : 2 + m])))
        return ρ

    def mixing(self, parameters: Floats) -> Mixing:
        T, m, k = self.tasks, len(self.sharing), len(self.names)
        shared = np.array(self.sharing, dtype=np.int64)
        s, (ξ, ζ) = np.exp(parameters[0]), parameters[2 : 2 + 2 * m].reshape(2, m)
        ρ = self.correlations(parameters)[shared]
        log_a = AMPLITUDES * np.sinh(ζ)
        a = np.exp(log_a - log_a.mean())
        v, own = a * np.sqrt(ρ), s * a**2 * (1 - ρ)  # (m,)
        common = s * np.outer(v, v)
        matrix, jacobian = np.zeros((self.components, T, T)), np.zeros((k, self.components, T, T))
        group = np.ix_(shared, shared)
        matrix[0][group] = common + np.diag(own)
        jacobian[0] = matrix
        jacobian[0, 1:] = 0.0
        # ∂ log v_t = ½ (1 - ρ_t) ∂ logit ρ_t, and ∂ log v_t is row and column t of the common part
        half = 0.5 * (1 - ρ)
        jacobian[1, 0][group] = (half[:, None] + half) * common - np.diag(own * ρ)
        slope = SPREAD * np.cosh(ξ)
        self._cross(jacobian[2 : 2 + m, 0], (slope * half)[:, None] * common, -slope * own * ρ)
        # the mean of the log amplitudes is taken off: a common factor makes 2B
        slope = AMPLITUDES * np.cosh(ζ)
        jacobian[2 + m : 2 + 2 * m, 0] = (-2 / m * slope)[:, None, None] * matrix[0]
        self._cross(jacobian[2 + m : 2 + 2 * m, 0], slope[:, None] * common, 2 * slope * own)
        for j, t in enumerate(self.apart):
            matrix[1 + j, t, t] = jacobian[2 + 2 * m + j, 1 + j, t, t] = np.exp(parameters[2 + 2 * m + j])
        return Mixing(matrix, jacobian, None, None)

    def _cross(self, slopes: Floats, rows: Floats, diagonal: Floats) -> None:
        """Add row t and column t of the t-th of m tasks, and something on the diagonal.  slopes: (m, T, T), rows: (m, m)."""
        shared, t = np.array(self.sharing, dtype=np.int64), np.arange(len(rows))
        slopes[t[:, None], shared[:, None], shared] += rows
        slopes[t[:, None], shared, shared[:, None]] += rows
        slopes[t, shared, shared] += diagonal
