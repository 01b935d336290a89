"""Rotation: all tasks have the same places and noise, and exchangeable processes.

With K1 the own and K0 the common covariance of the N shared places, the mean over tasks (times √T) has covariance
Σ₊ = K1 + T K0 + D, and the T-1 contrasts between tasks have Σ₋ = K1 + D each, independent of it.  Two factors of N x N
instead of one of TN x TN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import add_to_diagonal, mirror, solve_factored, try_cholesky_in_place

from ..design import Design
from ..kernels import Kernel
from ..reml import NotPositiveDefinite, Reml, solve_whitened, weigh, whiten
from ..sharing import Mixing
from ._base import Curvature, Gradient, Inverse, Result, State
from ._pairs import Pairs, Places

Floats = NDArray[np.float64]


class Rotation:
    """2 N³ + T N² for the value and its gradient, whatever the number of tasks."""

    name = "rotation"
    has_curvature = True

    def __init__(self, design: Design, kernels: tuple[Kernel, ...]) -> None:
        self._T, self._N = design.tasks, len(design.x) // design.tasks
        self._places = Places(design.x[: self._N], kernels)
        self._h, self._prior = design.basis[: self._N], design.prior_precision[0]

    def evaluate(self, state: State, *, order: int) -> Result:
        T, N = self._T, self._N
        pairs, covariances = self._covariances(state)
        Y = state.y.reshape(T, N)
        mean = Y.mean(axis=0)
        data = (np.sqrt(T) * mean[:, None], (Y - mean).T)
        whitened = [
            whiten(S, self._h, y, self._prior, weight=w)
            for S, y, w in zip(covariances, data, (1.0, T - 1.0), strict=True)
        ]
        value = sum(half.value for half in whitened)
        if order == 0:
            return Result(value, None, None)
        solutions = [solve_whitened(S, half) for S, half in zip(covariances, whitened, strict=True)]
        diagonals = [
            weigh(S, solution, weight=w) for S, solution, w in zip(covariances, solutions, (1.0, T - 1.0), strict=True)
        ]
        p_diagonal = np.tile((diagonals[0] + (T - 1) * diagonals[1]) / T, T)
        W = [mirror(S) for S in covariances]
        α = (solutions[0].alpha / np.sqrt(T) + solutions[1].alpha).T  # (T, N)
        assert state.mixing.pair is not None
        assert state.mixing.pair_jacobian is not None
        by_common, by_own = T * W[0], W[0] + W[1]
        by_pair = 0.5 * np.array([[np.vdot(by_common, ψ), np.vdot(by_own, ψ)] for ψ in pairs.ψ])
        common, own = state.mixing.pair.T[:, :, None, None]
        shapes = pairs.by_lengthscale(common * by_common + own * by_own)
        by_mixing = np.einsum("kcb,cb->k", state.mixing.pair_jacobian, by_pair)
        gradient = Gradient(shapes, by_mixing, α.ravel(), p_diagonal)
        if order == 1:
            return Result(value, gradient, None)
        return Result(value, gradient, self._curvature(state.mixing, pairs, α, W, solutions))

    def inverse(self, state: State) -> Inverse:
        _, factors = self._covariances(state)
        if not all(try_cholesky_in_place(S) for S in factors):
            raise NotPositiveDefinite("the covariance matrix is not positive definite at the fitted parameters")

        def solve(V: Floats) -> Floats:
            return self._rotate(V, lambda X: solve_factored(factors[0], X), lambda X: solve_factored(factors[1], X))

        return Inverse(solve)

    def _covariances(self, state: State) -> tuple[Pairs, tuple[Floats, Floats]]:
        """Σ₊ and Σ₋ (N, N)."""
        pairs = self._places.pairs(state.shapes)
        common, own = pairs.common_and_own(state.mixing)
        add_to_diagonal(own, state.D[: self._N])
        common *= self._T
        common += own
        return pairs, (common, own)

    def _rotate(self, V: Floats, plus: Callable[[Floats], Floats], minus: Callable[[Floats], Floats]) -> Floats:
        """Apply `plus` to the mean over tasks and `minus` to the contrasts.  V: (T N, k)."""
        k = V.shape[1]
        blocks = V.reshape(self._T, self._N, k)
        mean = blocks.mean(axis=0)
        contrasts = (blocks - mean).transpose(1, 0, 2).reshape(self._N, self._T * k)
        back = minus(contrasts).reshape(self._N, self._T, k).transpose(1, 0, 2)
        return np.asarray((plus(mean) + back).reshape(self._T * self._N, k))

    def _curvature(self, mixing: Mixing, pairs: Pairs, α: Floats, W: list[Floats], solutions: list[Reml]) -> Curvature:
        right = np.concatenate([α.sum(axis=0)[:, None], α.T], axis=1)  # (N, 1 + T)

        def spread(product: Floats, pair: Floats) -> Floats:
            return np.asarray((pair[0] * product[:, :1] + pair[1] * product[:, 1:]).T.ravel())

        plus, minus = (
            (solution.alpha @ solution.alpha.T - weights) / count
            for solution, weights, count in zip(solutions, W, (1.0, self._T - 1.0), strict=True)
        )
        shapes, slopes = pairs.directions(right, mixing, spread)
        return Curvature(shapes, slopes, lambda V: self._rotate(V, plus.__matmul__, minus.__matmul__))
