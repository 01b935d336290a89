"""Covariance matrices of grouped rows, built and differentiated in row panels that stay in the processor's cache.

Only lower triangles are computed. Rows are sorted by group; K_ij = Σ_c B_c[g_i, g_j] ψ_c(x_i, x_j).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import add_to_diagonal

from .kernels import Kernel, add_squared_distance
from .panels import Panels, complete_block, multiply_panel, panel_of, symmetrise

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Contraction(NamedTuple):
    """Derivatives of ½ Σ_ij W_ij K_ij, and of K α.  C kernels, T groups, d inputs.

    mixing : ∂/∂B_c (C, T, T);  lengthscales : ∂/∂log l (C, d)
    grouped : Σ_j ψ_c,ij α_j 1{g_j = b} (C, n, T);  stretched : ∂K/∂log l_k α (C, d, n); both None unless asked for
    """

    mixing: Floats
    lengthscales: Floats
    grouped: Floats | None
    stretched: Floats | None


class Workspace(Protocol):
    """Builds the covariance matrix of one set of rows, and contracts its derivatives; for its methods see `Gram`."""

    def build(self, shapes: Floats, B: Floats, D: Floats, out: Floats, /, *, slopes: bool = True) -> None: ...
    def contract(self, B: Floats, W: Floats, α: Floats | None, /) -> Contraction: ...


class Gram:
    """Workspace for one set of rows.  x: (n, d), group: (n,) sorted codes below T, one kernel per component.

    It holds buffers of the optimiser's and is never shared with a fitted model.
    """

    def __init__(self, x: Floats, group: Integers, groups: int, kernels: tuple[Kernel, ...]) -> None:
        self.x = np.ascontiguousarray(x - x.mean(axis=0) if len(x) else x)
        self.group = group
        self.groups = groups
        self.kernels = kernels
        n = len(x)
        self.ψ = [np.empty((n, n)) for _ in kernels]
        self.slope = [np.empty((n, n)) for _ in kernels]
        self._panels = panels = Panels(group, groups)
        self._scratch, self._work = panels.buffer(), panels.buffer()
        self._more = panels.buffer() if len(kernels) > 1 else np.empty(0)
        self._diagonal = np.arange(panels.rows)
        self._lengthscales = np.ones((len(kernels), x.shape[1]))

    def build(self, lengthscales: Floats, B: Floats, D: Floats, out: Floats, *, slopes: bool = True) -> None:
        """Lower triangle of Σ = Σ_c B_c[g_i, g_j] ψ_c + diag(D) into `out`; ψ_c and ψ̇_c are kept if `slopes` are wanted.

        lengthscales: (C, d), B: (C, T, T), D: (n,), out: (n, n)
        """
        self._lengthscales = lengthscales
        for c, kernel in enumerate(self.kernels):
            z = self.x * (kernel.stretch / lengthscales[c])
            left, right = _expanded(z)
            for start, stop in self._panels.edges:
                # contiguous work is faster than work on rows of the large matrices
                a2, slope = panel_of(self._scratch, start, stop), panel_of(self._work, start, stop)
                place = out[start:stop, :stop] if c == 0 else panel_of(self._more, start, stop)
                if kernel.is_smooth:
                    np.matmul(left[start:stop], right[:, :stop], out=a2)
                    np.maximum(a2, 0.0, out=a2)
                else:
                    a2.fill(0.0)
                    add_squared_distance(z[start:stop], z[:stop], a2, slope)
                a2[self._diagonal[: stop - start], self._diagonal[: stop - start] + start] = 0.0
                kernel.fill(a2, slope, place)
                if slopes:
                    self.ψ[c][start:stop, :stop] = a2
                    self.slope[c][start:stop, :stop] = slope
                factor = self._panels.factor(B[c], start, stop)
                if c == 0:
                    np.multiply(a2, factor, out=place)
                else:
                    a2 *= factor
                    out[start:stop, :stop] += a2
        add_to_diagonal(out, D)

    def contract(self, B: Floats, W: Floats, α: Floats | None) -> Contraction:
        """Contract W with the derivatives of K.

        Parameters
        ----------
        B : (C, T, T)
        W : (n, n), of which the lower triangle counts; the blocks on its diagonal are completed in place
        α : (n,) to multiply K's derivatives by, or None
        """
        C, (n, d), T = len(self.kernels), self.x.shape, self.groups
        mixing, lengthscales = np.zeros((C, T, T)), np.zeros((C, d))
        powers = np.concatenate([np.ones((n, 1)), self.x, self.x**2], axis=1)  # (n, 1 + 2d)
        grouped, moments = np.zeros((C, n, T)), np.zeros((C, n, 1 + 2 * d))
        members = None if α is None else self._panels.spread(α)
        for start, stop in self._panels.edges:
            complete_block(W, start, stop)
            for c in range(C):
                work = panel_of(self._work, start, stop)
                np.multiply(W[start:stop, :stop], self.ψ[c][start:stop, :stop], out=work)
                self._panels.add_groups(mixing[c], work, start, stop)
                factor = self._panels.factor(B[c], start, stop)
                slope = self.slope[c][start:stop, :stop]
                if α is not None and members is not None:
                    self._add_direction(slope, factor, powers * α[:, None], (start, stop), moments[c])
                    multiply_panel(self.ψ[c][start:stop, :stop], members, (start, stop), grouped[c])
                np.multiply(W[start:stop, :stop], slope, out=work)
                lengthscales[c] += self._spread(work, factor, powers, start, stop)
        shapes = 0.5 * lengthscales / self._lengthscales**2
        if α is None:
            return Contraction(0.5 * symmetrise(mixing), shapes, None, None)
        stretched = np.stack([_stretch(m, self.x) for m in moments]) / self._lengthscales[..., None] ** 2
        return Contraction(0.5 * symmetrise(mixing), shapes, grouped, stretched)

    def _spread(self, panel: Floats, factor: Floats, powers: Floats, start: int, stop: int) -> Floats:
        """Σ_ij panel_ij B_ij (x_ik - x_jk)² over both triangles, for all k at once: (d,)."""
        twice = np.ones((stop, 1))
        twice[:start] = 2.0
        if len(factor) == 1:
            twice *= factor.T
        else:
            panel *= factor
        m = panel @ (powers[:stop] * twice)  # (rows, 1 + 2d)
        return np.asarray(_stretch(m, self.x[start:stop]).sum(axis=1))

    def _add_direction(
        self, slope: Floats, factor: Floats, weighted: Floats, edge: tuple[int, int], out: Floats
    ) -> None:
        """Add the panel's share of (B∘ψ̇) @ weighted to `out` (n, k)."""
        if len(factor) > 1:
            multiply_panel(slope * factor, weighted, edge, out)
            return
        start, stop = edge
        out[start:stop] += slope @ (weighted[:stop] * factor.T)
        if start:
            out[:start] += factor.T[:start] * (slope[:, :start].T @ weighted[start:stop])


def _expanded(z: Floats) -> tuple[Floats, Floats]:
    """Factors of |z_i|² - 2 z_i'z_j + |z_j|².  z: (n, d)  ->  (n, d + 2), (d + 2, n).

    One thin product instead of 3 d passes. It loses the distance of close points below 1e-8 of the largest one, where
    kernels that are smooth at zero don't notice; z must be centred.
    """
    square = (z * z).sum(axis=1)[:, None]
    ones = np.ones_like(square)
    return np.concatenate([-2.0 * z, square, ones], axis=1), np.concatenate([z, ones, square], axis=1).T.copy()


def _stretch(moments: Floats, x: Floats) -> Floats:
    """Σ_j M_ij (x_ik - x_jk)² from M's products with 1, x, x²: (n, 1 + 2d) -> (d, n)."""
    d = x.shape[1]
    return np.asarray((x**2 * moments[:, :1] - 2 * x * moments[:, 1 : 1 + d] + moments[:, 1 + d :]).T)
