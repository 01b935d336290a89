"""Paper mode: the normal-inverse-Wishart hierarchy by expectation-maximisation, with plug-in mean and trend.

A baseline, reconstructed after H-MT-MF (arXiv 2603.09842) and its ancestor NIW-GP (Yu, Tresp & Schwaighofer 2005).  On
the union Z of places (N), function values of task t are g_t ~ N(μ, C), μ ~ N(0, C/π), C ~ inverse Wishart around κ:

    E:  V_t = C_tt + D_t,  m_t = μ + C_t'V_t⁻¹(y_t - H_tβ_t - μ_t),  S_t = C - C_t'V_t⁻¹C_t
    M:  C = [π μμ' + τκ + Σ_t S_t + Σ_t (m_t - μ)(m_t - μ)']/(τ + T),
        σ²_f = {SS_f + Σ_i R_if[(Ȳ_if - ŷ_i)² + v_i]}/N_f

Where we differ from the alternation usually given: μ and β, given C, are the joint mode, found by one generalised least
squares (the theorem that the hierarchy given C is an intrinsic coregionalisation model with ρ = 1/(1 + π)); π and κ come
from the restricted likelihood of that model, π = (1-ρ)/ρ, κ = (1-ρ)sψ; τ = 2N + 3.  Away from Z the variance gets the
Nyström residual κ** - k*'κ⁻¹k*, without which it falls to zero.  Plug-in makes its intervals too narrow.  κ gets 1e-10 of
its diagonal added (``report.jitter``): smooth kernels make it singular.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import cholesky, log_determinant, solve_factored
from surrogates.posterior import Moments, Slopes

from .design import Design
from .noise import KnownNoise, LearntNoise
from .process import Correlations, block_of_union, distinct_places
from .reml import reml
from .solvers.woodbury import union_of_places
from .trends import Trend

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: added to the diagonal of κ, relative to it: smooth kernels make it singular in double precision
JITTER = 1e-10


class Hyper(NamedTuple):
    """What expectation-maximisation arrives at."""

    C: Floats  # (N, N)
    log_noise: Floats  # (F,)
    steps: int
    converged: bool
    trace: tuple[float, ...]  # penalised log-likelihood after each step, up to a constant


@dataclass(frozen=True)
class NiwProcess:
    """Plug-in posterior given C, μ and β.  Made by `niw_process`."""

    trend: Trend
    correlations: Correlations
    amplitude: float  # κ = amplitude · ψ
    Z: Floats  # (N, d)
    L: Floats  # (N, N) factor of κ
    beta: Floats  # (T, p)
    means: Floats  # (T, N) m_t
    spreads: Floats  # (T, N, N) S_t
    nugget: (
        float  # variance of f, own to each (task, place), that the kernel doesn't resolve; never learnt from readings
    )

    def moments(self, x: Floats, task: Integers, *, beside: bool = False) -> Moments:
        """Mean h*'β_t + k*'κ⁻¹m_t and variance, Nyström residual included, at x (m, d)."""
        k, a = self._projected(x)
        mean = (self.trend.columns(x) * self.beta[task]).sum(axis=1) + (a * self.means[task].T).sum(axis=0)
        variance = np.maximum(self.amplitude - (k * a).sum(axis=0), 0.0)
        for t in np.unique(task):
            mine = task == t
            variance[mine] += (a[:, mine] * (self.spreads[t] @ a[:, mine])).sum(axis=0)
        return Moments(mean, np.maximum(variance, 0.0) + self.nugget)

    def slopes(self, x: Floats, task: Integers) -> Slopes:
        """Derivatives of `moments` by x (m, d)."""
        _, a = self._projected(x)
        Sa = np.empty_like(a)
        for t in np.unique(task):
            Sa[:, task == t] = self.spreads[t] @ a[:, task == t]
        # ∂m = J_k'κ⁻¹m_t and, with a = κ⁻¹k, ∂(a'Sa - k'a) = 2 J_k'(κ⁻¹Sa - a)
        by_mean = solve_factored(self.L, self.means[task].T)
        by_variance = 2 * (solve_factored(self.L, Sa) - a)
        mean = self.correlations.slope_products(self.Z, x, [self.amplitude * by_mean])
        mean += np.einsum("mpd,mp->md", self.trend.jacobian(x), self.beta[task])
        return Slopes(mean, self.correlations.slope_products(self.Z, x, [self.amplitude * by_variance]))

    def covariance(self, x: Floats, task: Integers) -> Floats:
        """Joint covariance (m, m); different tasks are independent once μ is plugged in."""
        k, a = self._projected(x)
        prior = self.amplitude * self.correlations.cross(x, x)[0] - k.T @ a
        total = np.zeros_like(prior)
        for t in np.unique(task):
            mine = np.ix_(task == t, task == t)
            at = a[:, task == t]
            total[mine] = prior[mine] + at.T @ self.spreads[t] @ at
        place = distinct_places(x, task)[1]
        total[place[:, None] == place] += self.nugget
        return np.asarray(0.5 * (total + total.T))

    def cross_covariance(self, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
        """Covariance (m, k) between x (m, d) of tasks (m,) and z (k, d) of tasks (k,)."""
        return block_of_union(self, x, task, z, other)

    def sample(self, x: Floats, task: Integers, count: int, generator: np.random.Generator) -> Floats:
        """Joint draws (count, m)."""
        first, place = distinct_places(x, task)
        L = cholesky(self.covariance(x[first], task[first]), name="posterior covariance of the places to sample at").L
        draws = self.moments(x[first], task[first]).mean + generator.standard_normal((count, len(first))) @ L.T
        return np.asarray(draws[:, place])

    def _projected(self, x: Floats) -> tuple[Floats, Floats]:
        """k* = κ(Z, x) and κ⁻¹k*: (N, m) each."""
        k = self.amplitude * self.correlations.cross(self.Z, x)[0]
        return k, solve_factored(self.L, k)


class _Step(NamedTuple):
    """One expectation step: joint mode of μ and β, and the tasks' posteriors."""

    alpha: Floats  # (n,) V⁻¹(y - Hβ - μ)
    beta: Floats  # (T, p)
    mean: Floats  # (N,) μ
    means: Floats  # (T, N)
    spreads: Floats  # (T, N, N)
    inverse_diagonal: Floats  # (n,) diag V_t⁻¹
    value: float  # log-likelihood part, with the trends' priors


def expectation_maximisation(
    design: Design, κ: Floats, precision: float, log_noise: Floats, *, tolerance: float = 1e-6, max_steps: int = 2000
) -> Hyper:
    """Iterate E and M until the penalised log-likelihood's relative gain stays below `tolerance`.

    Parameters
    ----------
    design : rows of all tasks
    κ : (N, N) base covariance of the union of places
    precision : π
    log_noise : (F,) start of the noise; learnt noise is updated, known noise stays
    """
    _, index = union_of_places(design.x)
    N, T = len(κ), design.tasks
    τ = 2.0 * N + 3.0
    C, φ, trace, converged = κ.copy(), log_noise.copy(), [], False
    for _ in range(max_steps):
        step = _expect(design, index, C, precision, φ)
        penalty = _penalty(C, κ, step.mean, precision, τ)
        trace.append(step.value + penalty)
        if len(trace) > 5 and abs(trace[-1] - trace[-2]) < tolerance * (1 + abs(trace[-1])):
            converged = True
            break
        deviations = step.means - step.mean
        scatter = precision * np.outer(step.mean, step.mean) + step.spreads.sum(axis=0) + deviations.T @ deviations
        C = (τ * κ + scatter) / (τ + T)
        φ = _noise_update(design, φ, step, index)
    return Hyper(C, φ, len(trace), converged, tuple(trace))


def base_covariance(correlations: Correlations, amplitude: float, Z: Floats) -> Floats:
    """κ = amplitude (ψ(Z, Z) + JITTER I): (N, N)."""
    return np.asarray(amplitude * (correlations.cross(Z, Z)[0] + JITTER * np.eye(len(Z))))


def niw_process(
    design: Design, trend: Trend, correlations: Correlations, amplitude: float, precision: float, hyper: Hyper
) -> NiwProcess:
    """The plug-in posterior at the end of expectation-maximisation."""
    Z, index = union_of_places(design.x)
    step = _expect(design, index, hyper.C, precision, hyper.log_noise)
    L = cholesky(base_covariance(correlations, amplitude, Z), name="base covariance of the union of places").L
    nugget = design.noise.nugget(hyper.log_noise) if isinstance(design.noise, KnownNoise) else 0.0
    return NiwProcess(trend, correlations, amplitude, Z, L, step.beta, step.means, step.spreads, nugget)


def niw_alpha(design: Design, precision: float, hyper: Hyper) -> tuple[Floats, Floats]:
    """α and diag V⁻¹ (n,), for leave-one-out with mean and trend plugged in."""
    _, index = union_of_places(design.x)
    step = _expect(design, index, hyper.C, precision, hyper.log_noise)
    return step.alpha, step.inverse_diagonal


def _expect(design: Design, index: Integers, C: Floats, precision: float, φ: Floats) -> _Step:
    """μ and β by generalised least squares on Cov(g_t, g_s) = C (1{t=s} + 1/π), then the tasks given both."""
    rows, N, T = design.noise.rows(φ), len(C), design.tasks
    cell = C[np.ix_(index, index)]
    same = design.task[:, None] == design.task[None, :]
    joint = np.ascontiguousarray(cell * (same + 1.0 / precision) + np.diag(rows.D))
    y = rows.y - design.offset
    solution = reml(joint, design.H, y[:, None], design.prior_precision.ravel())
    α = solution.alpha[:, 0]
    by_task = np.zeros((T, N))
    by_task[design.task, index] = α
    mean = C @ by_task.sum(axis=0) / precision
    means = mean + by_task @ C
    spreads, diagonal, value = np.empty((T, N, N)), np.empty(len(α)), rows.constant
    value -= 0.5 * float(design.prior_precision.ravel() @ solution.beta[:, 0] ** 2)
    for t in range(T):
        mine = slice(int(design.bounds[t]), int(design.bounds[t + 1]))
        V = cell[mine, mine] + np.diag(rows.D[mine])
        L = cholesky(V, name="covariance of a task").L
        cross = C[index[mine]]
        spreads[t] = C - cross.T @ solve_factored(L, cross)
        diagonal[mine] = np.diagonal(solve_factored(L, np.eye(len(V))))
        value -= 0.5 * (float(α[mine] @ V @ α[mine]) + log_determinant(L))
    beta = solution.beta[:, 0].reshape(design.prior_mean.shape) + design.prior_mean
    return _Step(α, beta, mean, means, spreads, diagonal, value)


def _penalty(C: Floats, κ: Floats, mean: Floats, precision: float, τ: float) -> float:
    """log of the normal-inverse-Wishart density of (μ, C), up to a constant."""
    L = cholesky(C, name="covariance of the hierarchy").L
    solved = solve_factored(L, np.concatenate([mean[:, None], κ], axis=1))
    return -0.5 * (precision * float(mean @ solved[:, 0]) + τ * (log_determinant(L) + float(np.trace(solved[:, 1:]))))


def _noise_update(design: Design, φ: Floats, step: _Step, index: Integers) -> Floats:
    noise = design.noise
    if not isinstance(noise, LearntNoise):
        return φ
    rows = noise.rows(φ)
    fitted = rows.y - rows.D * step.alpha
    v = step.spreads[design.task, index, index]
    residual = (noise.counts * ((noise.means - fitted) ** 2 + v)).sum(axis=1)
    return np.asarray(np.log(np.maximum((noise.squares + residual) / noise.totals, 1e-6)))
