"""Kronecker: any task covariance B, but all tasks with the same N places and the same noise pattern.

    Σ = B ⊗ ψ + Δ ⊗ D,   Δ^-½BΔ^-½ = R a R',   D^-½ψD^-½ = V k V',   Q = Δ^-½R,   U = D^-½V
    Σ⁻¹ = (Q ⊗ U) diag(1/(a_i k_j + 1)) (Q ⊗ U)'

The noise is a factor Δ of the task times a factor D of the place (Δ = I if all tasks have the same gauges). Each column
of Q gives a Gaussian process of its own, with covariance a_i ψ + D and the same trend columns.
The gradient is contracted with ∂B and ∂ψ in closed form; nothing is differentiated through an eigendecomposition, which
is ill-conditioned where eigenvalues coincide.  Cost T³ + N³ + T N (T + N).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import solve_factored, solve_lower, spectrum

from ..design import Design
from ..kernels import Kernel
from ..reml import NotPositiveDefinite, factor_trend, trend_constant
from ._base import Curvature, Gradient, Inverse, Result, State
from ._pairs import Pairs, Places

Floats = NDArray[np.float64]


class _Spectra(NamedTuple):
    pairs: Pairs
    a: Floats  # (T,)
    Q: Floats  # (T, T)
    U: Floats  # (N, N) = D^-½ V
    w: Floats  # (T, N) = 1/(a_i k_j + 1)
    log_determinant: float  # log|Σ|, less the trend's share of log|Δ|


class Kronecker:
    """One eigendecomposition of N x N and one of T x T."""

    name = "kronecker"
    has_curvature = True

    def __init__(self, design: Design, kernels: tuple[Kernel, ...]) -> None:
        self._T, self._N = design.tasks, len(design.x) // design.tasks
        self._places = Places(design.x[: self._N], kernels)
        self._h, self._prior = design.basis[: self._N], design.prior_precision[0]

    def evaluate(self, state: State, *, order: int) -> Result:
        T, N = self._T, self._N
        spectra = self._spectra(state)
        Y = spectra.Q.T @ state.y.reshape(T, N)  # rotated tasks (T, N)
        g, z = spectra.U.T @ self._h, Y @ spectra.U  # whitened (N, p), (T, N)
        value = -0.5 * spectra.log_determinant
        α, half = np.empty((T, N)), np.empty((T, N, self._h.shape[1]))
        for i, w in enumerate(spectra.w):
            L = factor_trend(g.T @ (w[:, None] * g) + np.diag(self._prior))
            Hy = g.T @ (w * z[i])
            β = solve_factored(L, Hy[:, None])[:, 0]
            value += -0.5 * float(z[i] @ (w * z[i]) - β @ Hy) - float(np.log(np.diagonal(L)).sum())
            α[i] = w * (z[i] - g @ β)
            half[i] = solve_lower(L, (w[:, None] * g).T).T
        value += T * trend_constant(self._prior, N)
        if order == 0:
            return Result(value, None, None)
        # P_i = U [diag w_i - half_i half_i'] U' for every rotated task i
        rotated = α @ spectra.U.T  # (T, N)
        gradient = self._gradient(state, spectra, rotated, half)
        if order == 1:
            return Result(value, gradient, None)
        return Result(value, gradient, self._curvature(state, spectra, gradient.alpha.reshape(T, N), half))

    def inverse(self, state: State) -> Inverse:
        spectra = self._spectra(state)
        return Inverse(lambda V: self._apply(spectra, V, lambda Z: spectra.w[:, :, None] * Z))

    def _spectra(self, state: State) -> _Spectra:
        pairs = self._places.pairs(state.shapes)
        D = state.D.reshape(self._T, self._N)
        root, Δ = np.sqrt(D[0]), D[:, 0] / D[0, 0]
        k, V = spectrum(pairs.ψ[0] / np.outer(root, root))
        a, R = spectrum(state.mixing.matrix[0] / np.sqrt(np.outer(Δ, Δ)))
        scale = 1.0 + np.outer(a, k)
        if not (scale > 0).all():
            raise NotPositiveDefinite("the covariance matrix is not positive definite at these parameters")
        # the trend's coefficients turn with Q too: log|A| = Σ_i log|A_i| - p Σ_t log Δ_t
        tasks = (self._N - self._h.shape[1]) * np.log(Δ).sum()
        determinant = float(np.log(scale).sum() + 2 * self._T * np.log(root).sum() + tasks)
        return _Spectra(pairs, a, R / np.sqrt(Δ)[:, None], V / root[:, None], 1.0 / scale, determinant)

    def _gradient(self, state: State, spectra: _Spectra, rotated: Floats, half: Floats) -> Gradient:
        Q, U, ψ = spectra.Q, spectra.U, spectra.pairs.ψ[0]
        back = np.einsum("jk,tkp->tjp", U, half)  # U half_i (T, N, p)
        α = Q @ rotated
        # ∂ℓ/∂ψ = ½ Σ_i a_i (α_i α_i' - P_i)
        weights = rotated.T @ (spectra.a[:, None] * rotated) - (U * (spectra.a @ spectra.w)) @ U.T
        weights += np.einsum("t,tjp,tkp->jk", spectra.a, back, back)
        # ∂ℓ/∂B in rotated tasks: ½ [α_i'ψ α_j - 1{i=j} tr(P_i ψ)]
        traces = spectra.w @ np.einsum("jk,jl,lk->k", U, ψ, U) - np.einsum("tjp,jk,tkp->t", back, ψ, back)
        by_matrix = 0.5 * Q @ (rotated @ ψ @ rotated.T - np.diag(traces)) @ Q.T
        diagonals = spectra.w @ (U**2).T - (back**2).sum(axis=2)  # diag P_i (T, N)
        by_mixing = np.einsum("kab,ab->k", state.mixing.jacobian[:, 0], by_matrix)
        return Gradient(spectra.pairs.by_lengthscale(weights[None]), by_mixing, α.ravel(), (Q**2 @ diagonals).ravel())

    def _curvature(self, state: State, spectra: _Spectra, α: Floats, half: Floats) -> Curvature:
        B = state.mixing.matrix[0]
        stretched = spectra.pairs.stretched(α.T @ B)[0]  # (d, N, T)
        mixing = state.mixing.jacobian[:, 0] @ (α @ spectra.pairs.ψ[0])  # (r, T, N)

        def project(Z: Floats) -> Floats:
            return np.asarray(spectra.w[:, :, None] * Z - half @ (half.transpose(0, 2, 1) @ Z))

        return Curvature(
            stretched.transpose(0, 2, 1).reshape(len(stretched), -1),
            mixing.reshape(len(mixing), -1),
            lambda V: self._apply(spectra, V, project),
        )

    def _apply(self, spectra: _Spectra, V: Floats, middle: Callable[[Floats], Floats]) -> Floats:
        """(Q ⊗ U) middle((Q ⊗ U)'V).  V: (T N, k)."""
        T, N, k = self._T, self._N, V.shape[1]
        rotated = np.tensordot(spectra.Q.T, V.reshape(T, N, k), axes=1)
        back = spectra.U @ middle(spectra.U.T @ rotated)
        return np.asarray(np.tensordot(spectra.Q, back, axes=1).reshape(T * N, k))
