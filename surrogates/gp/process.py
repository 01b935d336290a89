"""The posterior of the tasks' functions at one value of the hyper-parameters.  All answers start here.

    m* = h*'β̂ + k*'α          v* = k** - k*'Σ⁻¹k* + u'A⁻¹u,   u = h* - H'Σ⁻¹k*,   A = H'Σ⁻¹H + Λ

of the function f itself, trend coefficients and common process integrated (Rasmussen & Williams 2006, eq. 2.41-2.42).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import cholesky, invert_lower, solve_factored, solve_lower, solve_lower_transposed
from surrogates.posterior import Moments, Slopes

from .design import Design
from .kernels import Kernel
from .reml import factor_trend
from .solvers._base import Inverse, State
from .trends import Trend

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Process(Protocol):
    """A posterior over functions of (place, task), in scaled units."""

    def moments(self, x: Floats, task: Integers, *, beside: bool = False) -> Moments: ...
    def slopes(self, x: Floats, task: Integers) -> Slopes: ...
    def covariance(self, x: Floats, task: Integers) -> Floats: ...
    def cross_covariance(self, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats: ...
    def sample(self, x: Floats, task: Integers, count: int, generator: np.random.Generator) -> Floats: ...


class Correlations(Protocol):
    """Prior correlations ψ_c between places and their derivative by the second place."""

    def cross(self, x: Floats, z: Floats) -> list[Floats]: ...
    def diagonal(self, x: Floats) -> list[Floats]: ...
    def slope_products(self, x: Floats, z: Floats, weights: list[Floats]) -> Floats: ...
    def diagonal_slopes(self, x: Floats) -> list[Floats]: ...


@dataclass(frozen=True)
class StationaryCorrelations:
    """Correlations of stationary kernels with length-scales (C, d)."""

    kernels: tuple[Kernel, ...]
    lengthscales: Floats

    def cross(self, x: Floats, z: Floats) -> list[Floats]:
        """ψ_c between rows of x (n, d) and z (m, d): C arrays (n, m)."""
        return [kernel.pair(x, z, self.lengthscales[c])[0] for c, kernel in enumerate(self.kernels)]

    def diagonal(self, x: Floats) -> list[Floats]:
        """ψ_c(x_i, x_i) = 1: C arrays (n,)."""
        return [np.ones(len(x)) for _ in self.kernels]

    def diagonal_slopes(self, x: Floats) -> list[Floats]:
        """∂ψ_c(x_i, x_i)/∂x_ik = 0: C arrays (n, d)."""
        return [np.zeros(x.shape) for _ in self.kernels]

    def slope_products(self, x: Floats, z: Floats, weights: list[Floats]) -> Floats:
        """Σ_i Σ_c weights_c,ij ∂ψ_c(x_i, z_j)/∂z_jk.  weights: C arrays (n, m)  ->  (m, d)."""
        total = np.zeros(z.shape)
        for c, kernel in enumerate(self.kernels):
            M = kernel.pair(x, z, self.lengthscales[c])[1] * weights[c]
            total += (M.T @ x - z * M.sum(axis=0)[:, None]) / self.lengthscales[c] ** 2
        return total


@dataclass(frozen=True)
class Conditioned:
    """Posterior given the rows of a design.  Made by `condition`; immutable, with factors of its own.

    nugget : variance of f that its kernel doesn't resolve, own to each (task, place) and part of every row's D
    blind : how many of the last inputs belong to the trend alone; they don't tell places apart
    """

    design: Design
    trend: Trend
    correlations: Correlations
    state: State
    inverse: Inverse
    alpha: Floats  # (n,)
    beta: Floats  # (T, p), prior mean included
    gamma: Floats  # (r,) of the shared columns, prior mean included
    B: Floats  # Σ⁻¹H (n, q)
    L_A: Floats  # (q, q)
    root_A: Floats  # (q, q) L_A⁻¹
    nugget: float
    blind: int = 0

    def moments(self, x: Floats, task: Integers, *, beside: bool = False) -> Moments:
        """Mean and variance at x (m, d) of tasks (m,); or infinitely close to it, where no place was read."""
        K = self.cross(x, task) if beside else self._cross_with_nugget(x, task)
        mean = self._trend_mean(x, task) + K.T @ self.alpha
        # NumPy's products only: alternating with SciPy's, two thread pools would get in each other's way
        if self.inverse.root is None:
            SK = self.inverse.solve(K)
            explained, u = np.einsum("nm,nm->m", K, SK), self._unexplained_trend(x, task, SK)
        else:
            half = self.inverse.root @ K
            explained, u = np.einsum("nm,nm->m", half, half), -(self.B.T @ K)
            self._add_trend(u, x, task)
        V = self.root_A @ u
        variance = self._prior_variance(x, task) - explained + np.einsum("qm,qm->m", V, V)
        return Moments(mean, np.maximum(variance, 0.0))

    def slopes(self, x: Floats, task: Integers) -> Slopes:
        """Derivatives by x (m, d), infinitely close to it: where a nugget was read, f jumps.

        ∂m*/∂x = J_h'β̂ + J_k'α;  ∂v*/∂x = ∂k** - 2 J_k'(Σ⁻¹k* + B A⁻¹u) + 2 J_h'A⁻¹u
        """
        design = self.design
        SK = self.inverse.solve(self.cross(x, task))
        c = solve_factored(self.L_A, self._unexplained_trend(x, task, SK))  # A⁻¹u (q, m)
        R = SK + self.B @ c
        J, shared = self.trend.jacobian(x), self.trend.shared_jacobian(x)  # (m, p, d), (m, r, d)
        weights = [self._mixed(B, task) for B in self.state.mixing.matrix]
        mean = np.einsum("mpd,mp->md", J, self.beta[task]) + np.einsum("mrd,r->md", shared, self.gamma)
        mean += self.correlations.slope_products(design.x, x, [w * self.alpha[:, None] for w in weights])
        own = c[: self.beta.size].reshape(*self.beta.shape, len(x))[task, :, np.arange(len(x))]  # (m, p)
        variance = 2 * (np.einsum("mpd,mp->md", J, own) + np.einsum("mrd,rm->md", shared, c[self.beta.size :]))
        variance -= 2 * self.correlations.slope_products(design.x, x, [w * R for w in weights])
        for B, slope in zip(self.state.mixing.matrix, self.correlations.diagonal_slopes(x), strict=True):
            variance += np.diagonal(B)[task, None] * slope
        return Slopes(mean, variance)

    def covariance(self, x: Floats, task: Integers) -> Floats:
        """Joint covariance (m, m) at x (m, d) of tasks (m,)."""
        K = self._cross_with_nugget(x, task)
        SK = self.inverse.solve(K)
        V = solve_lower(self.L_A, self._unexplained_trend(x, task, SK))
        covariance = self._prior_covariance(x, task) - K.T @ SK + V.T @ V
        return np.asarray(0.5 * (covariance + covariance.T))

    def cross_covariance(self, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
        """Covariance (m, k) between x (m, d) of tasks (m,) and z (k, d) of tasks (k,): the off-diagonal block of both.

        Σ⁻¹ is applied to the smaller of both sets only.
        """
        K, k = self._cross_with_nugget(x, task), self._cross_with_nugget(z, other)
        explained = K.T @ self.inverse.solve(k) if len(z) < len(x) else self.inverse.solve(K).T @ k
        U, u = -(self.B.T @ K), -(self.B.T @ k)
        self._add_trend(U, x, task)
        self._add_trend(u, z, other)
        pairs = zip(self.state.mixing.matrix, self.correlations.cross(x, z), strict=True)
        prior = np.asarray(sum(ψ * B[np.ix_(task, other)] for B, ψ in pairs))
        if self.nugget > 0:
            prior[same_places(self._seen(x), task, self._seen(z), other)] += self.nugget
        return np.asarray(prior - explained + (self.root_A @ U).T @ (self.root_A @ u))

    def sample(self, x: Floats, task: Integers, count: int, generator: np.random.Generator) -> Floats:
        """Joint draws (count, m) by Matheron's rule: f* = h*'β + g* + k*'Σ⁻¹(y - Hβ - g_X - e).

        g is a prior draw at rows and places together, e a draw of the noise, β one of N(β̂, A⁻¹).
        """
        return self.sample_with_coefficients(x, task, count, generator)[0]

    def sample_with_coefficients(
        self, x: Floats, task: Integers, count: int, generator: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """`sample`, and the trend coefficients β (q, count) of the draws."""
        design, n = self.design, len(self.design.x)
        both, tasks = np.concatenate([design.x, x]), np.concatenate([design.task, task])
        first, place = distinct_places(self._seen(both), tasks)  # a place met twice would make the covariance singular
        prior = self._prior_covariance(both[first], tasks[first], distinct=True)
        L = cholesky(prior, name="prior covariance of the places to sample at").L
        g = (L @ generator.standard_normal((len(first), count)))[place]
        e = np.sqrt(np.maximum(self.state.D - self.nugget, 0.0))[:, None] * generator.standard_normal((n, count))
        deviation = solve_lower_transposed(self.L_A, generator.standard_normal((len(self.L_A), count)))
        β = np.concatenate([self.beta.ravel(), self.gamma])[:, None] + deviation  # (q, count)
        y = (self.state.y + design.offset)[:, None] - design.H @ β - g[:n] - e
        update = self._cross_with_nugget(x, task).T @ self.inverse.solve(y)
        return np.asarray((self._trend_of(x, task, β) + g[n:] + update).T), β

    def _seen(self, x: Floats) -> Floats:
        """Inputs that tell places apart."""
        return x[:, : x.shape[1] - self.blind]

    def _trend_of(self, x: Floats, task: Integers, β: Floats) -> Floats:
        """h'β at x (m, d) of tasks (m,), for k vectors of coefficients.  β: (q, k)  ->  (m, k)."""
        own = β[: self.beta.size].reshape(*self.beta.shape, β.shape[1])
        total = np.einsum("mp,mpk->mk", self.trend.columns(x), own[task])
        return np.asarray(total + self.trend.shared_columns(x) @ β[self.beta.size :])

    def _trend_mean(self, x: Floats, task: Integers) -> Floats:
        """h'β̂ at x (m, d) of tasks (m,): (m,)."""
        total = (self.trend.columns(x) * self.beta[task]).sum(axis=1)
        return np.asarray(total + self.trend.shared_columns(x) @ self.gamma if len(self.gamma) else total)

    def _mixed(self, B: Floats, task: Integers) -> Floats:
        """B[t_i, t*_j]: (n, m)."""
        return np.asarray(B[self.design.task][:, task])

    def cross(self, x: Floats, task: Integers) -> Floats:
        """k*: (n, m)."""
        parts = zip(self.state.mixing.matrix, self.correlations.cross(self.design.x, x), strict=True)
        total = np.zeros((len(self.design.x), len(x)))
        for B, ψ in parts:
            ψ *= self._mixed(B, task)
            total += ψ
        return total

    def _cross_with_nugget(self, x: Floats, task: Integers) -> Floats:
        """k* (n, m) with the nugget of those places that were read."""
        K = self.cross(x, task)
        if self.nugget > 0:
            rows, columns = met_places(self._seen(self.design.x), self.design.task, self._seen(x), task)
            K[rows, columns] += self.nugget
        return K

    def _prior_variance(self, x: Floats, task: Integers) -> Floats:
        pairs = zip(self.state.mixing.matrix, self.correlations.diagonal(x), strict=True)
        return np.asarray(self.nugget + sum(np.diagonal(B)[task] * ψ for B, ψ in pairs))

    def _prior_covariance(self, x: Floats, task: Integers, *, distinct: bool = False) -> Floats:
        """(m, m); `distinct` if no (task, place) is met twice."""
        pairs = zip(self.state.mixing.matrix, self.correlations.cross(x, x), strict=True)
        total = np.asarray(sum(ψ * B[np.ix_(task, task)] for B, ψ in pairs))
        if self.nugget > 0:
            place = np.arange(len(x)) if distinct else distinct_places(self._seen(x), task)[1]
            total[place[:, None] == place] += self.nugget
        return total

    def _unexplained_trend(self, x: Floats, task: Integers, SK: Floats) -> Floats:
        """u = h* - H'Σ⁻¹k*: (q, m)."""
        design = self.design
        p = design.basis.shape[1]
        own = np.zeros((design.tasks, p, len(task)))
        for t in range(design.tasks):
            rows = slice(int(design.bounds[t]), int(design.bounds[t + 1]))
            own[t] = -(design.basis[rows].T @ SK[rows])
        u = own.reshape(design.tasks * p, len(task))
        if design.shared is not None:
            u = np.concatenate([u, -(design.shared.columns.T @ SK)])
        self._add_trend(u, x, task)
        return u

    def _add_trend(self, u: Floats, x: Floats, task: Integers) -> None:
        """Add h* at x (m, d) to u (q, m)."""
        self.add_own(u, self.trend.columns(x), task)
        if len(self.gamma):
            u[self.beta.size :] += self.trend.shared_columns(x).T

    def add_own(self, u: Floats, columns: Floats, task: Integers) -> None:
        """Add h* (m, p) to the block of each place's own task in u (q, m)."""
        p = columns.shape[1]
        u[task * p + np.arange(p)[:, None], np.arange(len(task))] += columns.T


def distinct_places(x: Floats, task: Integers) -> tuple[Integers, Integers]:
    """A row of each distinct (task, place), and which of them each row is.  x: (n, d), task: (n,)  ->  (k,), (n,)."""
    keys = np.concatenate([task[:, None], x], axis=1)
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, place.reshape(-1)


def same_places(x: Floats, task: Integers, z: Floats, other: Integers) -> NDArray[np.bool_]:
    """Which rows of x (m, d) and of z (k, d) are the same (task, place): (m, k)."""
    _, place = distinct_places(np.concatenate([x, z]), np.concatenate([task, other]))
    return np.asarray(place[: len(x), None] == place[len(x) :])


def block_of_union(process: Process, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
    """`cross_covariance` as a block of the joint covariance of both sets, where there is no shorter way."""
    joint = process.covariance(np.concatenate([x, z]), np.concatenate([task, other]))
    return np.ascontiguousarray(joint[: len(x), len(x) :])


def met_places(x: Floats, task: Integers, z: Floats, other: Integers) -> tuple[Integers, Integers]:
    """Rows of x (n, d) and of z (m, d) that are the same (task, place): (k,), (k,); those of x are all different."""
    near = np.flatnonzero(np.isin(other, task))
    for k in range(x.shape[1]):  # a sieve, since rows are compared one by one otherwise
        near = near[np.isin(z[near, k], x[:, k])]
    _, place = distinct_places(np.concatenate([x, z[near]]), np.concatenate([task, other[near]]))
    row_of = np.full(len(x) + len(near), -1)
    row_of[place[: len(x)]] = np.arange(len(x))
    rows = row_of[place[len(x) :]]
    return rows[rows >= 0], near[rows >= 0]


def condition(
    design: Design,
    trend: Trend,
    correlations: Correlations,
    state: State,
    inverse: Inverse,
    nugget: float,
    blind: int = 0,
) -> Conditioned:
    """Posterior of the functions at one state of the hyper-parameters.

    Raises
    ------
    NumericalError
        If the trend's coefficients can't be told apart.
    """
    H = design.H
    solved = inverse.solve(np.concatenate([H, state.y[:, None]], axis=1))
    B, Sy = solved[:, :-1], solved[:, -1]
    L_A = factor_trend(H.T @ B + np.diag(design.precision))
    β = solve_factored(L_A, (H.T @ Sy)[:, None])[:, 0]
    α = Sy - B @ β
    own = β[: design.prior_mean.size].reshape(design.prior_mean.shape) + design.prior_mean
    shared = np.zeros(0) if design.shared is None else β[design.prior_mean.size :] + design.shared.mean
    root = invert_lower(L_A)
    return Conditioned(design, trend, correlations, state, inverse, α, own, shared, B, L_A, root, nugget, blind)
