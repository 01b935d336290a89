"""Dense solver: one Cholesky factor, one inverse, any task covariance, any noise."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import invert_lower, multiply_symmetric, solve_factored, try_cholesky_in_place

from ..design import Design
from ..gram import Gram, Workspace
from ..kernels import Kernel
from ..reml import NotPositiveDefinite, solve_whitened, weigh, whiten
from ..sharing import Mixing
from ._base import Curvature, Gradient, Inverse, Result, State

Floats = NDArray[np.float64]


class Dense:
    """Σ = K + D as a whole: n³ for the value and its gradient.  (For the formulas, see `reml` and `Gram.contract`.)"""

    name = "dense"
    has_curvature = True

    def __init__(self, design: Design, gram: Workspace) -> None:
        self._design, self._gram = design, gram
        n = len(design.x)
        self._S = np.zeros((n, n))

    @staticmethod
    def of(design: Design, kernels: tuple[Kernel, ...]) -> Dense:
        """The solver for stationary kernels."""
        return Dense(design, Gram(design.x, design.task, design.tasks, kernels))

    def evaluate(self, state: State, *, order: int) -> Result:
        design, gram, S = self._design, self._gram, self._S
        gram.build(state.shapes, state.mixing.matrix, state.D, S, slopes=order > 0)
        whitened = whiten(S, design.H, state.y[:, None], design.precision)
        if order == 0:
            return Result(whitened.value, None, None)
        solution = solve_whitened(S, whitened)
        p_diagonal = weigh(S, solution)
        α = solution.alpha[:, 0]
        contraction = gram.contract(state.mixing.matrix, S, α if order > 1 else None)
        by_mixing = np.einsum("kcab,cab->k", state.mixing.jacobian, contraction.mixing)
        gradient = Gradient(contraction.lengthscales, by_mixing, α, p_diagonal)
        if order == 1:
            return Result(solution.value, gradient, None)
        assert contraction.grouped is not None
        assert contraction.stretched is not None
        directions = mixing_directions(state.mixing, contraction.grouped, design.task)
        stretched = contraction.stretched.reshape(-1, len(α))
        return Result(solution.value, gradient, Curvature(stretched, directions, partial(_project, S, α)))

    def inverse(self, state: State) -> Inverse:
        S = np.zeros_like(self._S)
        self._gram.build(state.shapes, state.mixing.matrix, state.D, S, slopes=False)
        if not try_cholesky_in_place(S):
            raise NotPositiveDefinite("the covariance matrix is not positive definite at the fitted parameters")
        return Inverse(partial(solve_factored, S), invert_lower(S))


def mixing_directions(mixing: Mixing, grouped: Floats, task: NDArray[np.int64]) -> Floats:
    """∂K/∂θ α for the sharing parameters: Σ_c Σ_b ∂B_c[t_i, b] Σ_j ψ_c,ij α_j 1{t_j = b}.

    grouped: (C, n, T)  ->  (r, n)
    """
    directions = np.zeros((len(mixing.jacobian), len(task)))
    bounds = np.searchsorted(task, np.arange(mixing.matrix.shape[1] + 1))
    for t, (start, stop) in enumerate(itertools.pairwise(bounds)):  # rows are sorted by task
        for c, U in enumerate(grouped):
            directions[:, start:stop] += mixing.jacobian[:, c, t] @ U[start:stop].T
    return directions


def _project(W: Floats, α: Floats, V: Floats) -> Floats:
    """P V from P = αα' - W."""
    return np.outer(α, α @ V) - multiply_symmetric(W, V)
