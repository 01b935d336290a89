"""Robust sharing: every task has a correlation and an amplitude of its own, drawn to those of all tasks.

    B = s diag(a) [c c' + diag(1 - c²)] diag(a),      c_t² = 1/(1 + exp(-η - τ sinh ξ_t)),      log a_t = α (ζ_t - mean ζ)

g_t is a_t times c_t parts of a process common to all tasks and √(1 - c_t²) parts of one of its own, so that two tasks'
functions correlate by c_t c_u. η is what tasks have in common, ξ_t and ζ_t are standard normal: where the data of a task
say nothing, it shares as the others do. The hyperbolic sine gives the prior heavy tails: most tasks stay together, and one
that differs may leave them at a price that grows with the logarithm of its distance only. Equal c and a give the exchangeable
B = s[ρ 11' + (1-ρ) I] with ρ = c²; c_t = 0 makes task t independent of the others.  (Our own construction; the
one-factor correlation matrix is classical.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sharing import Mixing

Floats = NDArray[np.float64]
#: τ and α: how far tasks' correlations (logits) and amplitudes (logarithms) lie apart
SPREAD, AMPLITUDES = 0.7, 0.4


@dataclass(frozen=True)
class Robust:
    """Parameters log s, η, then ξ (T,), then ζ (T,); T >= 2 tasks.

    two_kernels : the common and the own processes have length-scales of their own
    """

    tasks: int
    two_kernels: bool = False
    amplitudes: bool = True

    @property
    def components(self) -> int:
        return 2 if self.two_kernels else 1

    @property
    def names(self) -> tuple[str, ...]:
        T = range(self.tasks)
        scales = tuple(f"log a[{t}]" for t in T) if self.amplitudes else ()
        return ("log s", "logit ρ", *(f"ξ[{t}]" for t in T), *scales)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        own = self.tasks * (1 + self.amplitudes)
        return [(-8.0, 8.0), (-6.0, 9.0), *[(-5.0, 5.0)] * own]

    @property
    def prior(self) -> tuple[Floats, Floats]:
        own = self.tasks * (1 + self.amplitudes)
        # of s and ρ as for exchangeable tasks
        return np.concatenate([[1.5, 0.5], np.zeros(own)]), np.concatenate([[2.0, 1.75], np.ones(own)])

    def start(self, correlation: float) -> Floats:
        own = np.zeros(self.tasks * (1 + self.amplitudes))
        return np.concatenate([[0.0, np.log(correlation / (1 - correlation))], own])

    def correlations(self, parameters: Floats) -> Floats:
        """ρ_t = c_t², the share of each task's variance that is common to all: (T,)."""
        return _logistic(parameters[1] + SPREAD * np.sinh(parameters[2 : 2 + self.tasks]))

    def scales(self, parameters: Floats) -> Floats:
        """Amplitude a_t of each task relative to the geometric mean of all: (T,)."""
        ζ = parameters[2 + self.tasks :]
        return np.asarray(np.exp(AMPLITUDES * (ζ - ζ.mean()))) if self.amplitudes else np.ones(self.tasks)

    def mixing(self, parameters: Floats) -> Mixing:
        T, s = self.tasks, np.exp(parameters[0])
        ρ, a = self.correlations(parameters), self.scales(parameters)
        v = a * np.sqrt(ρ)
        common, own = s * np.outer(v, v), s * a**2 * (1 - ρ)
        np.fill_diagonal(common, s * v**2)
        B = self._parts(common, np.diag(own))
        each = np.eye(T)
        # ∂v_t/∂logit ρ_t = ½ v_t (1 - ρ_t), of which row and column t of vv' consist
        by_row = each[:, :, None] * common[:, None, :]  # (T, T, T): row t of the common part
        crossed = by_row + by_row.transpose(0, 2, 1)
        steps = 0.5 * (1 - ρ)[:, None, None] * crossed
        loss = each[:, :, None] * each * (own * ρ)[:, None, None]
        by_logit = np.stack([self._parts(steps[t], -loss[t]) for t in range(T)])
        jacobian = [B[None], by_logit.sum(axis=0)[None]]
        slope = SPREAD * np.cosh(parameters[2 : 2 + T])
        jacobian.append(slope[:, None, None, None] * by_logit)
        if self.amplitudes:
            by_scale = np.stack([self._parts(crossed[t], 2 * own[t] * np.diag(each[t])) for t in range(T)])
            jacobian.append(AMPLITUDES * (by_scale - by_scale.mean(axis=0)))
        return Mixing(B, np.concatenate(jacobian), None, None)

    def _parts(self, common: Floats, own: Floats) -> Floats:
        """(C, T, T)."""
        return np.stack([common, own]) if self.two_kernels else (common + own)[None]


def _logistic(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
