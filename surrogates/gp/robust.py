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

from .sharing import Mixing

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
    def parts(self) -> tuple[str, ...]:
        """Whose length-scales each component has."""
        return ("", *(f", task {t}" for t in self.apart))

    @property
    def names(self) -> tuple[str, ...]:
        own = [f"{name} of task {t}" for name in ("correlation", "amplitude") for t in self.sharing]
        return ("log s", "logit ρ", *own, *(f"log s of task {t}" for t in self.apart))

    @property
    def bounds(self) -> list[tuple[float, float]]:
        return [(-8.0, 8.0), (-6.0, 9.0), *[(-4.0, 4.0)] * (2 * len(self.sharing)), *[(-8.0, 8.0)] * len(self.apart)]

    @property
    def prior(self) -> tuple[Floats, Floats]:
        own, k = 2 * len(self.sharing), len(self.apart)
        # of s and ρ as for exchangeable tasks
        mean = np.concatenate([[1.5, 0.5], np.zeros(own), np.full(k, 1.5)])
        return mean, np.concatenate([[2.0, 1.75], np.ones(own), np.full(k, 2.0)])

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
        T, shared, m = self.tasks, list(self.sharing), len(self.sharing)
        s, (ξ, ζ) = np.exp(parameters[0]), parameters[2 : 2 + 2 * m].reshape(2, m)
        ρ = self.correlations(parameters)[shared]
        log_a = AMPLITUDES * np.sinh(ζ)
        a = np.exp(log_a - log_a.mean()) if m else log_a
        v = a * np.sqrt(ρ)
        own = s * a**2 * (1 - ρ)  # (m,)
        common, each = s * np.outer(v, v), np.eye(m)
        # row and column t of the common part: ∂ by log v_t
        by_row = each[:, :, None] * common
        crossed = by_row + by_row.transpose(0, 2, 1)  # (m, m, m)
        diagonal = each[:, :, None] * each  # (m, m, m)
        # ∂ log v_t = ½ (1 - ρ_t) ∂ logit ρ_t
        by_logit = 0.5 * (1 - ρ)[:, None, None] * crossed - (own * ρ)[:, None, None] * diagonal
        by_scale = crossed + 2 * own[:, None, None] * diagonal
        B = common + np.diag(own)
        steps = [B[None], by_logit.sum(axis=0)[None], (SPREAD * np.cosh(ξ))[:, None, None] * by_logit]
        centred = by_scale - by_scale.sum(axis=0) / max(m, 1)
        steps.append((AMPLITUDES * np.cosh(ζ))[:, None, None] * centred)
        matrix = np.zeros((self.components, T, T))
        jacobian = np.zeros((len(self.names), self.components, T, T))
        matrix[0][np.ix_(shared, shared)] = B
        jacobian[: 2 + 2 * m, 0][np.ix_(range(2 + 2 * m), shared, shared)] = np.concatenate(steps)
        for k, t in enumerate(self.apart):
            matrix[1 + k, t, t] = jacobian[2 + 2 * m + k, 1 + k, t, t] = np.exp(parameters[2 + 2 * m + k])
        return Mixing(matrix, jacobian, None, None)
