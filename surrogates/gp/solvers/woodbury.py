"""Woodbury: exchangeable tasks with places of their own, of which the union Z has fewer than all rows.

Given the common process at Z (N places), tasks are independent:  Σ = blkdiag(A_t) + P K0 P',  A_t = K1(X_t) + D_t.

    G = Σ_t P_t'A_t⁻¹P_t = C C',   J = I + C'K0C,   (G⁻¹ + K0)⁻¹ = C J⁻¹C',   Ω = (K0⁻¹ + G)⁻¹ = C^-T (I - J⁻¹) C⁻¹
    Σ⁻¹ = A⁻¹ - A⁻¹P Ω P'A⁻¹,   log|Σ| = Σ log|A_t| + log|J|

G has full rank, as every place of Z has readings, so K0 is never factored and needs no jitter.  Tasks with the same
places and the same noise share one A_t.  Cost Σ n_t³ over different tasks, + N³ + N² pT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import (
    add_to_diagonal,
    invert_factor_in_place,
    log_determinant,
    mirror,
    solve_factored,
    solve_lower,
    solve_lower_transposed,
    try_cholesky_in_place,
)

from ..design import Design
from ..kernels import Kernel
from ..reml import NotPositiveDefinite, factor_trend, trend_constant
from ..sharing import Mixing
from ._base import Curvature, Gradient, Inverse, Result, State
from ._pairs import Pairs, Places

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def union_of_places(x: Floats) -> tuple[Floats, Integers]:
    """Distinct rows Z (N, d) of x (n, d), and each row's position in Z (n,)."""
    Z, index = np.unique(x, axis=0, return_inverse=True)
    return Z, index.reshape(-1).astype(np.int64)


@dataclass(frozen=True)
class _Group:
    """m tasks with the same n_t places and the same noise pattern."""

    tasks: Integers  # (m,)
    rows: Integers  # (m, n_t) of the design
    places: Integers  # (n_t,) of Z
    h: Floats  # (n_t, p)


class _Blocks(NamedTuple):
    """Factors at one state."""

    pairs: Pairs
    inverses: list[Floats]  # A_t⁻¹ (n_t, n_t), full, one per group
    log_determinants: float  # Σ log|A_t| + log|J|
    C: Floats  # (N, N) lower
    J: Floats  # (N, N) lower factor of J


class _Trend(NamedTuple):
    """The integrated trend at one state."""

    ΩE: Floats  # (N, q), E = P'A⁻¹H
    JE: Floats  # (N, q) J⁻¹C⁻¹E
    inverse: Floats  # 𝒜⁻¹ (q, q)
    log_determinant: float


class Woodbury:
    """Σ n_t³ + N³ for the value and its gradient."""

    name = "woodbury"
    has_curvature = True

    def __init__(self, design: Design, kernels: tuple[Kernel, ...]) -> None:
        self._design = design
        self._Z, self._index = union_of_places(design.x)
        self._places = Places(self._Z, kernels)
        self._groups = _groups(design, self._index)

    def evaluate(self, state: State, *, order: int) -> Result:
        design, blocks = self._design, self._factor(state)
        y = state.y[:, None]
        trend = self._integrate_trend(blocks)
        Ay = self._block_solve(blocks, y)
        b = self._gather(Ay)
        Cb = solve_lower(blocks.C, b)
        Jb = solve_factored(blocks.J, Cb)
        Ωb = solve_lower_transposed(blocks.C, Cb - Jb)
        Hy = self._trend_product(Ay) - trend.ΩE.T @ b  # H'Σ⁻¹y (q, 1)
        β = trend.inverse @ Hy
        quadratic = float((y * Ay).sum() - (b * Ωb).sum() - (β * Hy).sum())
        value = -0.5 * (quadratic + blocks.log_determinants + trend.log_determinant)
        value += trend_constant(design.prior_precision.ravel(), len(y))
        if order == 0:
            return Result(value, None, None)
        ΩEβ = trend.ΩE @ β
        α = Ay - self._block_solve(blocks, self._trend_values(β) + (Ωb - ΩEβ)[self._index])
        a0 = (blocks.C @ (Jb - trend.JE @ β))[:, 0]  # P'α
        gradient = self._gradient(state.mixing, blocks, trend, α[:, 0], a0)
        if order == 1:
            return Result(value, gradient, None)
        return Result(value, gradient, self._curvature(state.mixing, blocks, trend, α[:, 0]))

    def inverse(self, state: State) -> Inverse:
        blocks = self._factor(state)
        return Inverse(lambda V: self._solve(blocks, V))

    def _factor(self, state: State) -> _Blocks:
        pairs = self._places.pairs(state.shapes)
        K0, K1 = pairs.common_and_own(state.mixing)
        G, determinants = np.zeros_like(K0), 0.0
        inverses: list[Floats] = []
        for group in self._groups:
            cell = np.ix_(group.places, group.places)
            A = K1[cell]
            add_to_diagonal(A, state.D[group.rows[0]])
            if not try_cholesky_in_place(A):
                raise NotPositiveDefinite("a task's covariance matrix is not positive definite at these parameters")
            determinants += len(group.tasks) * log_determinant(A)
            invert_factor_in_place(A)
            inverses.append(mirror(A))
            G[cell] += len(group.tasks) * inverses[-1]
        if not try_cholesky_in_place(G):
            raise NotPositiveDefinite("the information about the common process is singular at these parameters")
        C = np.tril(G)
        J = C.T @ K0 @ C
        add_to_diagonal(J, np.ones(len(J)))
        if not try_cholesky_in_place(J):
            raise NotPositiveDefinite("the common process is not positive definite at these parameters")
        return _Blocks(pairs, inverses, determinants + log_determinant(J), C, J)

    def _integrate_trend(self, blocks: _Blocks) -> _Trend:
        design, p = self._design, self._design.basis.shape[1]
        q = design.tasks * p
        E, A = np.zeros((len(self._Z), design.tasks, p)), np.zeros((design.tasks, p, design.tasks, p))
        for group, inverse in zip(self._groups, blocks.inverses, strict=True):
            Ah = inverse @ group.h
            E[group.places[:, None], group.tasks[None, :]] = Ah[:, None, :]
            A[group.tasks, :, group.tasks, :] = group.h.T @ Ah
        CE = solve_lower(blocks.C, E.reshape(len(self._Z), q))
        JE = solve_factored(blocks.J, CE)
        ΩE = solve_lower_transposed(blocks.C, CE - JE)
        A = A.reshape(q, q) - CE.T @ (CE - JE)
        L = factor_trend(A + np.diag(design.prior_precision.ravel()))
        return _Trend(ΩE, JE, solve_factored(L, np.eye(q)), log_determinant(L))

    def _gradient(self, mixing: Mixing, blocks: _Blocks, trend: _Trend, α: Floats, a0: Floats) -> Gradient:
        assert mixing.pair is not None
        assert mixing.pair_jacobian is not None
        pairs, N, p = blocks.pairs, len(self._Z), self._design.basis.shape[1]
        Φ = blocks.C @ trend.JE
        half = solve_lower(blocks.J, blocks.C.T)  # J^-1/2 C'
        common = np.outer(a0, a0) - half.T @ half + Φ @ trend.inverse @ Φ.T  # P'WP
        X = trend.ΩE @ trend.inverse  # (N, q)
        root = solve_lower(blocks.J, np.eye(N))
        inner = solve_lower_transposed(blocks.C, np.eye(N) - root.T @ root)
        both = solve_lower_transposed(blocks.C, inner.T) + X @ trend.ΩE.T  # Ω + ΩE 𝒜⁻¹ E'Ω
        own, p_diagonal = np.zeros((N, N)), np.empty(len(α))
        inverse_blocks = trend.inverse.reshape(self._design.tasks, p, self._design.tasks, p)
        X = X.reshape(N, self._design.tasks, p)
        for group, inverse in zip(self._groups, blocks.inverses, strict=True):
            # P_tt = A⁻¹ - A⁻¹[both - X_t h' - h X_t' + h 𝒜⁻¹_tt h']A⁻¹, of which only the last three differ by task
            cell, m = np.ix_(group.places, group.places), len(group.tasks)
            shared, Ah = inverse - inverse @ both[cell] @ inverse, inverse @ group.h
            weights = inverse_blocks[group.tasks, :, group.tasks, :]  # (m, p, p)
            AX = inverse @ X[group.places[:, None], group.tasks[None, :]].transpose(1, 0, 2)  # (m, n_t, p)
            varying = 0.5 * (Ah @ weights) - AX  # V 𝒜⁻¹V' = both-part + varying Ah' + Ah varying'
            p_diagonal[group.rows] = np.diagonal(shared) - 2 * (varying * Ah).sum(axis=2)
            outer = varying.sum(axis=0) @ Ah.T
            a = α[group.rows]
            own[cell] += a.T @ a - m * shared + outer + outer.T
        by_pair = 0.5 * np.stack([(common * pairs.ψ).sum((1, 2)), (own * pairs.ψ).sum((1, 2))], axis=1)
        weights = mixing.pair[:, 0, None, None] * common + mixing.pair[:, 1, None, None] * own
        by_mixing = np.einsum("kcb,cb->k", mixing.pair_jacobian, by_pair)
        return Gradient(pairs.by_lengthscale(weights), by_mixing, α, p_diagonal)

    def _curvature(self, mixing: Mixing, blocks: _Blocks, trend: _Trend, α: Floats) -> Curvature:
        """∂K α: the common kernel sees P'α, the own kernels each task's α at its places."""
        assert mixing.pair is not None
        assert mixing.pair_jacobian is not None
        right = np.zeros((len(self._Z), self._design.tasks))
        right[self._index, self._design.task] = α
        right = np.concatenate([right.sum(axis=1)[:, None], right], axis=1)

        def spread(product: Floats, pair: Floats) -> Floats:
            values = pair[0] * product[:, :1] + pair[1] * product[:, 1:]  # (N, T)
            return np.asarray(values[self._index, self._design.task])

        def project(V: Floats) -> Floats:
            U = self._solve(blocks, V)
            coefficients = trend.inverse @ self._trend_product(U)
            return U - self._solve(blocks, self._trend_values(coefficients))

        shapes, slopes = blocks.pairs.directions(right, mixing, spread)
        return Curvature(shapes, slopes, project)

    def _trend_product(self, U: Floats) -> Floats:
        """H'U: (n, k) -> (q, k)."""
        design = self._design
        total = np.zeros((design.tasks, design.basis.shape[1], U.shape[1]))
        for group in self._groups:
            total[group.tasks] = group.h.T @ U[group.rows]
        return total.reshape(design.tasks * design.basis.shape[1], U.shape[1])

    def _trend_values(self, coefficients: Floats) -> Floats:
        """H c: (q, k) -> (n, k)."""
        design = self._design
        blocks = coefficients.reshape(design.tasks, design.basis.shape[1], coefficients.shape[1])
        values = np.empty((len(design.x), coefficients.shape[1]))
        for group in self._groups:
            values[group.rows] = group.h @ blocks[group.tasks]
        return values

    def _block_solve(self, blocks: _Blocks, V: Floats) -> Floats:
        """A⁻¹V: (n, k) -> (n, k)."""
        result = np.empty_like(V)
        for group, inverse in zip(self._groups, blocks.inverses, strict=True):
            result[group.rows] = inverse @ V[group.rows]
        return result

    def _gather(self, V: Floats) -> Floats:
        """P'V: (n, k) -> (N, k)."""
        total = np.zeros((len(self._Z), V.shape[1]))
        for group in self._groups:
            total[group.places] += V[group.rows].sum(axis=0)
        return total

    def _solve(self, blocks: _Blocks, V: Floats) -> Floats:
        """Σ⁻¹V: (n, k) -> (n, k)."""
        AV = self._block_solve(blocks, V)
        CV = solve_lower(blocks.C, self._gather(AV))
        U = solve_lower_transposed(blocks.C, CV - solve_factored(blocks.J, CV))
        return AV - self._block_solve(blocks, U[self._index])


def _groups(design: Design, index: Integers) -> list[_Group]:
    """Tasks with readings, grouped by places and noise pattern."""
    members: dict[bytes, list[int]] = {}
    edges, pattern = design.bounds, design.noise.pattern
    for t in range(design.tasks):
        mine = slice(int(edges[t]), int(edges[t + 1]))
        if mine.stop > mine.start:
            members.setdefault(index[mine].tobytes() + pattern[mine].tobytes(), []).append(t)
    groups = []
    for tasks in members.values():
        first = slice(int(edges[tasks[0]]), int(edges[tasks[0] + 1]))
        rows = np.array([np.arange(edges[t], edges[t + 1]) for t in tasks], dtype=np.int64)
        groups.append(_Group(np.array(tasks, dtype=np.int64), rows, index[first], design.basis[first]))
    return groups
