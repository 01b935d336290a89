"""The posterior of exchangeable tasks that share their places and noise: two problems of N places, whatever their number.

In rotated coordinates (`solvers.rotation`) the mean over T tasks, times √T, is kriged with Σ₊ = T K0 + K1 + D, and every
contrast between tasks with Σ₋ = K1 + D. A place x of task τ meets the first with k₊ = √T k0 + k1/√T and trend h/√T, the
contrast of τ with k₋ = √(1-1/T) k1 and √(1-1/T) h, and no other contrast:

    v* = k** - Σ_± (k'Σ⁻¹k - u'A⁻¹u)_±,   u = h* - H'Σ⁻¹k,   A = H'Σ⁻¹H + Λ
    m* = h*'β̂_τ + k0'Σ_s α_s + k1'α_τ     with β̂ and α each the sum of what mean and contrasts give
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import invert_lower, spectrum, try_cholesky_in_place
from surrogates.posterior import Moments, Slopes

from .design import Design
from .process import StationaryCorrelations, distinct_places, met_places, same_places
from .reml import NotPositiveDefinite, factor_trend
from .solvers._base import State
from .trends import Trend

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class _Half(NamedTuple):
    """One of both problems, factored.  N places, p trend columns."""

    root: Floats  # (N, N) L⁻¹
    solved: Floats  # (N, p) Σ⁻¹h
    root_A: Floats  # (p, p) L_A⁻¹

    def weights(self, k: Floats, h: Floats) -> tuple[Floats, Floats, Floats]:
        """ω = Σ⁻¹k + Σ⁻¹H A⁻¹u, A⁻¹u, and k'Σ⁻¹k - u'A⁻¹u.  k: (N, m), h: (p, m)  ->  (N, m), (p, m), (m,)"""
        half, u = self.root @ k, h - self.solved.T @ k
        V = self.root_A @ u
        back = self.root_A.T @ V
        explained = np.einsum("nm,nm->m", half, half) - np.einsum("pm,pm->m", V, V)
        return self.root.T @ half + self.solved @ back, back, explained

    def explained(self, k: Floats, h: Floats, k_z: Floats, h_z: Floats) -> Floats:
        """k'Σ⁻¹k_z - u'A⁻¹u_z of all pairs.  k: (N, m), h: (p, m), k_z: (N, j), h_z: (p, j)  ->  (m, j)"""
        half, V = self._halves(k, h)
        half_z, V_z = self._halves(k_z, h_z)
        return half.T @ half_z - V.T @ V_z

    def _halves(self, k: Floats, h: Floats) -> tuple[Floats, Floats]:
        return self.root @ k, self.root_A @ (h - self.solved.T @ k)


@dataclass(frozen=True)
class RotatedProcess:
    """Posterior of tasks with shared places.  Made by `rotated_process`; immutable.

    nugget : variance of f that its kernel doesn't resolve, own to each (task, place) and part of every row's D
    """

    design: Design
    trend: Trend
    correlations: StationaryCorrelations
    state: State
    plus: _Half
    minus: _Half
    alpha: Floats  # (T, N)
    beta: Floats  # (T, p), prior mean included
    nugget: float

    def moments(self, x: Floats, task: Integers, *, beside: bool = False) -> Moments:
        """Mean and variance at x (m, d) of tasks (m,); or infinitely close to it, where no place was read."""
        k0, k1 = self._cross(x, nugget=not beside)
        h = self.trend.columns(x)
        mean = (h * self.beta[task]).sum(axis=1) + self.alpha.sum(axis=0) @ k0
        mean += np.einsum("nm,mn->m", k1, self.alpha[task])
        (k_plus, h_plus), (k_minus, h_minus) = self._rotated(k0, k1, h)
        explained = self.plus.weights(k_plus, h_plus)[2] + self.minus.weights(k_minus, h_minus)[2]
        return Moments(mean, np.maximum(self._variance() + self.nugget - explained, 0.0))

    def slopes(self, x: Floats, task: Integers) -> Slopes:
        """Derivatives by x (m, d), infinitely close to it: where a nugget was read, f jumps."""
        T, X = self.design.tasks, self._places
        k0, k1 = self._cross(x, nugget=False)
        h, J = self.trend.columns(x), self.trend.jacobian(x)  # (m, p, d)
        (k_plus, h_plus), (k_minus, h_minus) = self._rotated(k0, k1, h)
        ω_plus, b_plus, _ = self.plus.weights(k_plus, h_plus)
        ω_minus, b_minus, _ = self.minus.weights(k_minus, h_minus)
        share = np.sqrt(1 - 1 / T)
        total = np.tile(self.alpha.sum(axis=0)[:, None], len(x))
        pair = self._pair
        mean = np.einsum("mpd,mp->md", J, self.beta[task])
        mean += self.correlations.slope_products(X, x, [c * total + o * self.alpha[task].T for c, o in pair])
        variance = 2 * np.einsum("mpd,pm->md", J, b_plus / np.sqrt(T) + share * b_minus)
        both = ω_plus / np.sqrt(T) + share * ω_minus
        weights = [c * np.sqrt(T) * ω_plus + o * both for c, o in pair]
        variance -= 2 * self.correlations.slope_products(X, x, weights)
        return Slopes(mean, variance)

    def covariance(self, x: Floats, task: Integers) -> Floats:
        """Joint covariance (m, m) at x (m, d) of tasks (m,)."""
        return self.cross_covariance(x, task, x, task)

    def cross_covariance(self, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
        """Covariance (m, k) between x (m, d) of tasks (m,) and z (k, d) of tasks (k,)."""
        first, place = distinct_places(x, np.zeros_like(task))
        first_z, place_z = distinct_places(z, np.zeros_like(other))
        mean, own = self._mean_and_own(x[first], z[first_z])
        cell = np.ix_(place, place_z)
        return np.asarray(mean[cell] + ((task[:, None] == other) - 1 / self.design.tasks) * own[cell])

    def sample(self, x: Floats, task: Integers, count: int, generator: np.random.Generator) -> Floats:
        """Joint draws (count, m): of the mean over tasks, and of every task's deviation from it.

        Covariances are factored by their eigenvalues, of which those below zero are rounding errors.
        """
        T, (first, place) = self.design.tasks, distinct_places(x, np.zeros_like(task))
        mean, own = (_root(covariance) for covariance in self._mean_and_own(x[first], x[first]))
        asked, position = np.unique(task, return_inverse=True)
        common = mean @ generator.standard_normal((len(first), count))
        deviations = np.stack([own @ generator.standard_normal((len(first), count)) for _ in asked])  # (k, P, count)
        rest = np.sqrt(T - len(asked)) * (own @ generator.standard_normal((len(first), count)))
        common -= (deviations.sum(axis=0) + rest) / T
        draws = common[place] + deviations[position.reshape(-1), place]
        return np.asarray((draws + self.moments(x, task).mean[:, None]).T)

    @property
    def _places(self) -> Floats:
        return self.design.x[: len(self.design.x) // self.design.tasks]

    @property
    def _pair(self) -> Floats:
        """(C, 2) amplitudes of common and own process."""
        assert self.state.mixing.pair is not None
        return self.state.mixing.pair

    def _variance(self) -> float:
        return float(self._pair.sum())

    def _cross(self, x: Floats, *, nugget: bool) -> tuple[Floats, Floats]:
        """Common and own covariance with the shared places: (N, m) each."""
        ψ = self.correlations.cross(self._places, x)
        k0 = np.asarray(sum(c * part for (c, _), part in zip(self._pair, ψ, strict=True)))
        k1 = np.asarray(sum(o * part for (_, o), part in zip(self._pair, ψ, strict=True)))
        if nugget and self.nugget > 0:
            same = np.zeros(len(self._places), dtype=np.int64), np.zeros(len(x), dtype=np.int64)
            rows, columns = met_places(self._places, same[0], x, same[1])
            k1[rows, columns] += self.nugget
        return k0, k1

    def _rotated(self, k0: Floats, k1: Floats, h: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """What places meet of the mean and of their task's contrast: covariance (N, m) and trend (p, m) of each."""
        root, share = np.sqrt(self.design.tasks), np.sqrt(1 - 1 / self.design.tasks)
        return (root * k0 + k1 / root, h.T / root), (share * k1, share * h.T)

    def _mean_and_own(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Covariances (m, k) between the places x and z, of each set distinct: of the mean over tasks, and of a task's part.

        From the latter its mean is taken off by `covariance`.
        """
        T, h, h_z = self.design.tasks, self.trend.columns(x).T, self.trend.columns(z).T
        (k0, k1), (z0, z1) = self._cross(x, nugget=True), self._cross(z, nugget=True)
        ψ = self.correlations.cross(x, z)
        own = np.asarray(sum(o * part for (_, o), part in zip(self._pair, ψ, strict=True)))
        if self.nugget > 0:
            one = np.zeros(len(x), dtype=np.int64), np.zeros(len(z), dtype=np.int64)
            own = own + self.nugget * same_places(x, one[0], z, one[1])
        common = np.asarray(sum(c * part for (c, _), part in zip(self._pair, ψ, strict=True)))
        root = np.sqrt(T)
        shared = (root * k0 + k1 / root, h / root, root * z0 + z1 / root, h_z / root)
        return common + own / T - self.plus.explained(*shared), own - self.minus.explained(k1, h, z1, h_z)


def rotated_process(
    design: Design, trend: Trend, correlations: StationaryCorrelations, state: State, nugget: float
) -> RotatedProcess:
    """Posterior of tasks with shared places at one state of the hyper-parameters.

    Raises
    ------
    NumericalError
        If a covariance matrix can't be factored, or the trend's coefficients can't be told apart.
    """
    T, N = design.tasks, len(design.x) // design.tasks
    assert state.mixing.pair is not None
    ψ = correlations.cross(design.x[:N], design.x[:N])
    K0, K1 = (np.asarray(sum(w * part for w, part in zip(weights, ψ, strict=True))) for weights in state.mixing.pair.T)
    K1 = K1 + np.diag(state.D[:N])
    h, Y = design.basis[:N], state.y.reshape(T, N)
    average = Y.mean(axis=0)
    α, β, halves = np.zeros((T, N)), design.prior_mean.copy(), []
    for S, data in ((K1 + T * K0, average[None]), (K1, Y - average)):
        half = _half(S, h, design.prior_precision[0])
        V = half.root @ data.T  # (N, T)
        coefficients = half.root_A.T @ (half.root_A @ (half.solved.T @ data.T))  # (p, T)
        α += (half.root.T @ V - half.solved @ coefficients).T
        β += coefficients.T
        halves.append(half)
    return RotatedProcess(design, trend, correlations, state, halves[0], halves[1], α, β, nugget)


def _half(S: Floats, h: Floats, prior_precision: Floats) -> _Half:
    L = np.ascontiguousarray(S)
    if not try_cholesky_in_place(L):
        raise NotPositiveDefinite("the covariance matrix is not positive definite at the fitted parameters")
    root = invert_lower(L)
    solved = root.T @ (root @ h)
    return _Half(root, solved, invert_lower(factor_trend(h.T @ solved + np.diag(prior_precision))))


def _root(covariance: Floats) -> Floats:
    values, vectors = spectrum(0.5 * (covariance + covariance.T))
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
