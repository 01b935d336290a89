"""Inducing: exchangeable tasks, any number of them, whose common process is known by its values at M places Z.

    Σ = blkdiag(K_t - Q_tt + D_t) + Q,   Q_ts = a ψ0(X_t, Z) ψ0(Z, Z)⁻¹ ψ0(Z, X_s)

The covariance inside a task is exact, only that between tasks goes through Z; exact if Z holds all places. Tasks are
streamed through in batches: the memory besides the data doesn't grow with them, and the work is one sum over them for a
value and a second one for the gradient (formulas: `surrogates.gp.inducing.statistics`).
Cost Σ n_t³ + n_t² M + n_t M² over the tasks, + M³.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import invert_lower, log_determinant, solve_factored, try_cholesky_in_place

from ..design import Design
from ..inducing.batches import Batch, make_batches
from ..inducing.statistics import (
    Central,
    Data,
    Point,
    correlations,
    gradient_statistics,
    information_statistics,
    solve_rows,
    solve_statistics,
    value_statistics,
)
from ..inducing.workers import Workers
from ..kernels import Kernel
from ..reml import NotPositiveDefinite, trend_constant
from ..sharing import Mixing
from ._base import Gradient, Inverse, Result, State

Floats = NDArray[np.float64]
#: added to the diagonal of ψ0(Z, Z), the least that lets it be factored: it takes as much from the covariance between
#: tasks, and nothing from the one inside them
JITTERS = (1e-12, 1e-10, 1e-8)


class Sums(NamedTuple):
    """The sums over the tasks at one state, and what follows from them."""

    value: float
    J_inverse: Floats  # (M, M)
    J: Floats  # (M, M) lower factor
    m: Floats  # (M,)
    G: Floats  # (M, M)


@dataclass(frozen=True)
class StreamedCurvature:
    """Directions ∂Σ/∂θ α by batch, and the sums that complete them."""

    solver: Inducing
    state: State
    point: Point
    sums: Sums
    directions: Floats  # (k, n) of the shapes and the sharing parameters, without U · shared
    shared: Floats  # (M, k)

    def information(self, noise: Floats) -> Floats:
        """V'PV of all directions V, those of the noise (f, n) last."""
        V = np.concatenate([self.directions, noise]).T  # (n, k + f)
        shared = np.concatenate([self.shared, np.zeros((len(self.shared), len(noise)))], axis=1)
        inside, across = self.solver.reduce(information_statistics, V, self.state, self.point, shared).sums
        return np.asarray(inside - across.T @ self.sums.J_inverse @ across)


class Inducing:
    """Σ n_t³ + n_t² M + n_t M² over the tasks for the value and its gradient, in batches.

    Z : (M, d) places of the common process
    """

    name = "inducing"
    has_curvature = True

    def __init__(self, design: Design, kernels: tuple[Kernel, ...], Z: Floats, workers: Workers | None = None) -> None:
        self.design, self.kernels, self.Z = design, kernels, np.ascontiguousarray(Z)
        self._workers = Workers() if workers is None else workers
        self._batches = make_batches(design, len(Z))
        present = np.diff(design.bounds) > 0
        self._constant = trend_constant(design.prior_precision[present].ravel(), len(design.x))
        self.jitter = JITTERS[0]

    def evaluate(self, state: State, *, order: int) -> Result:
        point = self.point(state)
        sums = self.sums(state, point)
        if order == 0:
            return Result(sums.value, None, None)
        central = Central(sums.J_inverse, sums.m, order > 1)
        data = self._data(state)
        found = self._workers.reduce(gradient_statistics, self._batches, data, point, central)
        by_shape, by_pair, Y = found.sums[:3]
        M, L = len(self.Z), point.root
        # Z's own part: Σ U'WU - Σ U_t'W_ttU_t
        outer = np.outer(sums.m, sums.m) - np.eye(M) + sums.J_inverse - Y
        by_pair[0] += 0.5 * float(np.trace(outer)) / point.common
        weights = -0.5 * (L.T @ outer @ L) * point.slope
        by_shape[0] += _spread(weights, self.Z) / point.lengthscales[0] ** 2
        mixing = _by_parameters(state.mixing, by_pair)
        α, diagonal = self._collect(found.rows, 0), self._collect(found.rows, 1)
        gradient = Gradient(by_shape, mixing, α, diagonal)
        if order == 1:
            return Result(sums.value, gradient, None)
        return Result(sums.value, gradient, self._curvature(state, point, sums, found.sums[3], found.rows))

    def inverse(self, state: State) -> Inverse:
        point = self.point(state)
        return Inverse(partial(self._solve, state, point))

    def point(self, state: State) -> Point:
        """What all tasks share at this state.

        Raises
        ------
        NotPositiveDefinite
            If the correlations of Z can't be factored.
        """
        assert state.mixing.pair is not None
        ψ, slope = correlations(self.kernels[0], self.Z, self.Z, state.shapes[0])
        ψ[np.diag_indices_from(ψ)] = 1.0
        for jitter in JITTERS:
            L = ψ.copy()
            L[np.diag_indices_from(L)] += jitter
            if try_cholesky_in_place(L):
                self.jitter = jitter
                a, b = state.mixing.pair[0, 0], state.mixing.pair[-1, 1]
                return Point(self.kernels, state.shapes, float(a), float(b), self.Z, slope, invert_lower(L))
        raise NotPositiveDefinite("the places of the common process are too close at these parameters")

    def sums(self, state: State, point: Point) -> Sums:
        """The first round."""
        found = self._workers.reduce(value_statistics, self._batches, self._data(state), point)
        value, b, G = found.sums
        J = np.eye(len(b)) + 0.5 * (G + G.T)
        if not np.isfinite(J).all() or not try_cholesky_in_place(J):
            raise NotPositiveDefinite("the common process is not positive definite at these parameters")
        J = np.tril(J)
        m = solve_factored(J, b[:, None])[:, 0]
        total = float(value) + 0.5 * float(b @ m) - 0.5 * log_determinant(J) + self._constant
        return Sums(total, solve_factored(J, np.eye(len(b))), J, m, G)

    def reduce(self, function: Any, V: Floats, state: State, point: Point, shared: Any) -> Any:
        """Sum `function` over the batches, which get their rows of V (n, k) and of the noise."""
        data = [(batch.take(V), batch.take(state.D, 1.0)) for batch in self._batches]
        return self._workers.reduce(function, self._batches, data, point, shared)

    @property
    def batches(self) -> tuple[Batch, ...]:
        """The tasks, in batches."""
        return self._batches

    def _data(self, state: State) -> list[Data]:
        return [Data(batch.take(state.y), batch.take(state.D, 1.0)) for batch in self._batches]

    def _collect(self, rows: list[tuple[Floats, ...]], which: int) -> Floats:
        """The batches' rows in the design's order: (..., b, m) -> (..., n)."""
        leading = rows[0][which].shape[:-2]
        values = np.zeros((len(self.design.x), *leading))
        for batch, found in zip(self._batches, rows, strict=True):
            batch.put(np.moveaxis(found[which], (-2, -1), (0, 1)), values)
        return np.moveaxis(values, 0, -1)

    def _curvature(
        self, state: State, point: Point, sums: Sums, common: Floats, rows: list[tuple[Floats, ...]]
    ) -> StreamedCurvature:
        found = self._collect(rows, 2)  # (C d + 2, n)
        size = point.lengthscales.size
        assert state.mixing.pair_jacobian is not None
        jacobian = np.stack([state.mixing.pair_jacobian[:, 0, 0], state.mixing.pair_jacobian[:, -1, 1]], axis=1)
        directions = np.concatenate([found[:size], jacobian @ found[size:]])
        shared = np.zeros((len(self.Z), len(directions)))
        shared[:, : len(common)] = np.sqrt(point.common) * point.root @ common.T
        return StreamedCurvature(self, state, point, sums, directions, shared)

    def _solve(self, state: State, point: Point, V: Floats) -> Floats:
        """Σ⁻¹V, without the trend: Â⁻¹(V - U (I + U'Â⁻¹U)⁻¹ U'Â⁻¹V)."""
        G, UV = self.reduce(solve_statistics, V, state, point, None).sums
        shared = np.linalg.solve(np.eye(len(G)) + 0.5 * (G + G.T), UV)
        found = self.reduce(solve_rows, V, state, point, shared)
        values = np.zeros_like(V)
        for batch, rows in zip(self._batches, found.rows, strict=True):
            batch.put(rows[0], values)
        return values


def _by_parameters(mixing: Mixing, by_pair: Floats) -> Floats:
    """By the sharing parameters, from derivatives by a and b (2,)."""
    assert mixing.pair_jacobian is not None
    return np.asarray(mixing.pair_jacobian[:, 0, 0] * by_pair[0] + mixing.pair_jacobian[:, -1, 1] * by_pair[1])


def _spread(M: Floats, z: Floats) -> Floats:
    """Σ_ij M_ij (z_ik - z_jk)² for a symmetric M.  (n, n), (n, d)  ->  (d,)"""
    sums = M.sum(axis=1)
    return np.asarray(2 * (sums @ (z * z) - np.einsum("ik,ik->k", z, M @ z)))
