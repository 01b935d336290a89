"""The posterior of the tasks' functions, given the common process at a few places and each task's own readings.

Given z at the places Z, a task's function is kriged from its own readings alone; then z ~ N(m, J⁻¹) is integrated:

    c = k*_τ - u*U_τ'     e = h* - c Â⁻¹H     w = c Â⁻¹ + e A⁻¹H'Â⁻¹     q = u* - w U_τ      (rows, one per place)
    m* = w y_τ + q m      v* = k** - u*u*' - c Â⁻¹c' + e A⁻¹e' + q J⁻¹q'

with u* = √a ψ0(x*, Z) L⁻ᵀ, k*_τ the task's own covariance, A = H'Â⁻¹H + Λ. A place costs n_τ² + n_τ M + M², whatever
the number of tasks. (The predictive distribution of Snelson & Ghahramani 2007 with tasks as blocks; trend: our own.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import spectrum
from surrogates.posterior import Moments, Slopes

from ..design import Design
from ..process import StationaryCorrelations, block_of_union, distinct_places, met_places
from ..solvers._base import State
from ..solvers.inducing import Inducing
from ..trends import Trend
from .batches import batch_of
from .statistics import Point, correlations, local

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class _Task(NamedTuple):
    """One task's readings.  n of them, p trend columns, M common places."""

    rows: slice
    U: Floats  # (n, M)
    inverse: Floats  # (n, n) Â⁻¹
    R: Floats  # (n, n)
    solved: Floats  # (n, p) Â⁻¹H
    A_inverse: Floats  # (p, p)
    residual: Floats  # (n,) y - U m


class _Asked(NamedTuple):
    """Places of one task.  k places."""

    u: Floats  # (k, M)
    c: Floats  # (k, n)
    e: Floats  # (k, p)
    w: Floats  # (k, n)
    q: Floats  # (k, M)


@dataclass(frozen=True)
class StreamedProcess:
    """Posterior whose memory and cost don't grow with the number of tasks.  Made by `streamed_process`; immutable.

    nugget : variance of f that its kernel doesn't resolve, own to each (task, place) and part of every row's D
    """

    design: Design
    trend: Trend
    state: State
    point: Point
    m: Floats  # (M,)
    J_root: Floats  # (M, M) its product with the transpose is J⁻¹
    nugget: float

    def moments(self, x: Floats, task: Integers, *, beside: bool = False) -> Moments:
        """Mean and variance at x (m, d) of tasks (m,); or infinitely close to it, where no place was read."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for t, mine in _by_task(task):
            known = self._task(t)
            asked = self._ask(known, t, x[mine], beside)
            mean[mine] = self._prior_mean(t, x[mine]) + asked.w @ (known.residual) + asked.u @ self.m
            own = (asked.u**2).sum(axis=1) + ((asked.c @ known.inverse) * asked.c).sum(axis=1)
            own -= ((asked.e @ known.A_inverse) * asked.e).sum(axis=1)
            across = asked.q @ self.J_root
            variance[mine] = self._variance + self.nugget - own + (across**2).sum(axis=1)
        return Moments(mean, np.maximum(variance, 0.0))

    def slopes(self, x: Floats, task: Integers) -> Slopes:
        """Derivatives by x (m, d), infinitely close to it: where a nugget was read, f jumps."""
        point = self.point
        mean, variance = np.empty(x.shape), np.empty(x.shape)
        both = StationaryCorrelations(point.kernels, point.lengthscales)
        common = StationaryCorrelations(point.kernels[:1], point.lengthscales[:1])
        amplitudes = [point.common, point.own] if len(point.kernels) > 1 else [point.common + point.own]
        J_inverse = self.J_root @ self.J_root.T
        for t, mine in _by_task(task):
            known, at = self._task(t), x[mine]
            asked = self._ask(known, t, at, True)
            X, jacobian = self.design.x[known.rows], self.trend.jacobian(at)  # (k, p, d)
            across = asked.q @ J_inverse  # (k, M)
            s = across @ known.U.T  # (k, n)
            by_c = (asked.w + s @ known.R).T  # (n, k): half of what each c counts for in -v*
            by_u = across - asked.u + by_c.T @ known.U  # (k, M)
            by_h = (asked.e - s @ known.solved) @ known.A_inverse  # (k, p)
            α, β = known.R @ known.residual, known.A_inverse @ (known.solved.T @ known.residual)
            slope = np.einsum("kpd,p->kd", jacobian, β + self.design.prior_mean[t])
            slope += both.slope_products(X, at, [np.outer(f * α, np.ones(len(at))) for f in amplitudes])
            spread = 2 * np.einsum("kpd,kp->kd", jacobian, by_h)
            spread -= 2 * both.slope_products(X, at, [f * by_c for f in amplitudes])
            low = np.sqrt(point.common) * np.tile(self.m - α @ known.U, (len(at), 1)) @ point.root
            slope += common.slope_products(point.Z, at, [low.T])
            spread += 2 * common.slope_products(point.Z, at, [np.sqrt(point.common) * (by_u @ point.root).T])
            mean[mine], variance[mine] = slope, spread
        return Slopes(mean, variance)

    def covariance(self, x: Floats, task: Integers) -> Floats:
        """Joint covariance (m, m) at x (m, d) of tasks (m,)."""
        q, total = np.empty((len(x), len(self.m))), np.zeros((len(x), len(x)))
        for t, mine in _by_task(task):
            q[mine], total[np.ix_(mine, mine)] = self._given_common(t, x[mine])[1:]
        q = q @ self.J_root
        return np.asarray(total + q @ q.T)

    def cross_covariance(self, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
        """Covariance (m, k) between x (m, d) of tasks (m,) and z (k, d) of tasks (k,)."""
        return block_of_union(self, x, task, z, other)

    def sample(self, x: Floats, task: Integers, count: int, generator: np.random.Generator) -> Floats:
        """Joint draws (count, m): of z at the common places, then of every task given z.

        A task's covariance given z is factored by its eigenvalues, of which those below zero are rounding errors.
        """
        z = self.m[:, None] + self.J_root @ generator.standard_normal((len(self.m), count))
        draws = np.empty((count, len(x)))
        for t, mine in _by_task(task):
            first, place = distinct_places(x[mine], task[mine])
            mean, q, covariance = self._given_common(t, x[mine][first])
            values, vectors = spectrum(covariance)
            own = vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * generator.standard_normal((len(first), count)))
            draws[:, mine] = (mean[:, None] + q @ z + own)[place].T
        return draws

    @property
    def _variance(self) -> float:
        return self.point.common + self.point.own

    def _prior_mean(self, t: int, x: Floats) -> Floats:
        return np.asarray(self.trend.columns(x) @ self.design.prior_mean[t])

    def _task(self, t: int) -> _Task:
        """The task's readings, factored."""
        batch = batch_of(self.design, np.array([t], dtype=np.int64))
        here = local(batch, self.point, batch.take(self.state.D, 1.0))
        rows = slice(int(self.design.bounds[t]), int(self.design.bounds[t + 1]))
        U, inverse, h = here.U[0], here.inverse[0], batch.h[0]
        solved = inverse @ h
        A = h.T @ solved + np.diag(self.design.prior_precision[t])
        residual = self.state.y[rows] - U @ self.m
        return _Task(rows, U, inverse, here.R[0], solved, np.linalg.inv(A), residual)

    def _ask(self, known: _Task, t: int, x: Floats, beside: bool) -> _Asked:
        point, X = self.point, self.design.x[known.rows]
        C = correlations(point.kernels[0], x, point.Z, point.lengthscales[0])[0]
        u = np.sqrt(point.common) * (C @ point.root.T)
        c = self._own_covariance(x, X) - u @ known.U.T
        if self.nugget > 0 and not beside:
            here = np.full(len(X), t, dtype=np.int64), np.full(len(x), t, dtype=np.int64)
            rows, columns = met_places(X, here[0], x, here[1])
            c[columns, rows] += self.nugget
        e = self.trend.columns(x) - c @ known.solved
        w = c @ known.inverse + e @ known.A_inverse @ known.solved.T
        return _Asked(u, c, e, w, u - w @ known.U)

    def _own_covariance(self, x: Floats, z: Floats) -> Floats:
        """Covariance inside a task, without nugget.  (k, d), (n, d) -> (k, n)"""
        parts = StationaryCorrelations(self.point.kernels, self.point.lengthscales).cross(x, z)
        return self.point.common * parts[0] + self.point.own * parts[-1]

    def _given_common(self, t: int, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean less that of z (k,), what z counts for (k, M), and covariance given z (k, k), at places of one task."""
        known = self._task(t)
        asked = self._ask(known, t, x, False)
        covariance = self._own_covariance(x, x) - asked.u @ asked.u.T - asked.c @ known.inverse @ asked.c.T
        covariance += asked.e @ known.A_inverse @ asked.e.T
        if self.nugget > 0:
            place = distinct_places(x, np.full(len(x), t, dtype=np.int64))[1]
            covariance[place[:, None] == place] += self.nugget
        mean = self._prior_mean(t, x) + asked.w @ self.state.y[known.rows]
        return mean, asked.q, 0.5 * (covariance + covariance.T)


def streamed_process(solver: Inducing, trend: Trend, state: State, nugget: float) -> StreamedProcess:
    """The posterior at one state of the hyper-parameters.

    Raises
    ------
    NumericalError
        If a covariance matrix can't be factored there.
    """
    point = solver.point(state)
    sums = solver.sums(state, point)
    root = np.asarray(np.linalg.inv(sums.J).T, dtype=np.float64)
    return StreamedProcess(solver.design, trend, state, point, sums.m, root, nugget)


def _by_task(task: Integers) -> Iterator[tuple[int, Integers]]:
    """Each task that is asked, and where."""
    order = np.argsort(task, kind="stable")
    starts = np.flatnonzero(np.diff(task[order], prepend=-1))
    for mine in np.split(order, starts[1:]) if len(order) else []:
        yield int(task[mine[0]]), mine
