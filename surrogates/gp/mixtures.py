"""Covariance matrices whose correlations are a mixture w T + (1-w) E of two tables, built and differentiated in panels.

What `Gram` does for stationary kernels. All derivatives by B, logit w and log ℓ follow from sums over pairs of groups of
W∘T, W∘E and W∘E∘r², and all directions ∂K/∂θ α from the products of T, E and E∘r² with [α 1{group = b}]; r² = |d-d'|²/(ℓ²D).
So no derivative costs a matrix of its own, however many tasks there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import add_to_diagonal

from .gram import Contraction
from .library import Tables
from .panels import Panels, complete_block, multiply_panel, panel_of, symmetrise
from .tanimoto import weight

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class MixtureGram:
    """Workspace for one set of rows; see `Gram`.

    Parameters
    ----------
    tables : T and the mean squared differences between all rows (n, n)
    group : (n,) sorted codes below `groups`
    components, parameters : C kernels, each with 2 parameters or none
    """

    def __init__(self, tables: Tables, group: Integers, groups: int, components: int, parameters: int) -> None:
        self._tables, self._group, self._groups = tables, group, groups
        self._panels = Panels(group, groups)
        self._work, self._more = self._panels.buffer(), self._panels.buffer()
        n = len(group)
        self._E = [np.empty((n, n)) for _ in range(components if parameters else 0)]
        self._shapes = np.zeros((components, parameters))

    def build(self, shapes: Floats, B: Floats, D: Floats, out: Floats, *, slopes: bool = True) -> None:
        """Lower triangle of Σ = Σ_c B_c[g_i, g_j] ψ_c + diag(D) into `out`; E_c are kept if `slopes` are wanted.

        shapes: (C, 2) logit w and log ℓ, or (C, 0); B: (C, T, T), D: (n,), out: (n, n)
        """
        self._shapes = shapes.copy()
        for c, shape in enumerate(shapes):
            for start, stop in self._panels.edges:
                ψ = panel_of(self._work, start, stop)
                if len(shape):
                    self._mix(c, shape, (start, stop), ψ, keep=slopes)
                else:
                    ψ[...] = self._tables.tanimoto[start:stop, :stop]
                ψ *= self._panels.factor(B[c], start, stop)
                if c == 0:
                    out[start:stop, :stop] = ψ
                else:
                    out[start:stop, :stop] += ψ
        add_to_diagonal(out, D)

    def contract(self, B: Floats, W: Floats, α: Floats | None) -> Contraction:
        """Contract W with the derivatives of K; see `Gram.contract`. `lengthscales` and `stretched` are by (logit w, log ℓ).

        B: (C, T, T);  W: (n, n), of which the lower triangle counts, its diagonal blocks are completed;  α: (n,) or None
        """
        n, T, (C, r) = len(self._group), self._groups, self._shapes.shape
        sums, products = np.zeros((1 + 2 * len(self._E), T, T)), np.zeros((1 + 2 * len(self._E), n, T))
        members = None if α is None else self._panels.spread(α)
        for edge in self._panels.edges:
            start, stop = edge
            complete_block(W, start, stop)
            for k in range(len(sums)):
                table = self._table(k, start, stop)
                if members is not None:
                    multiply_panel(table, members, edge, products[k])
                work = np.multiply(W[start:stop, :stop], table, out=panel_of(self._work, start, stop))
                self._panels.add_groups(sums[k], work, start, stop)
        sums = 0.5 * symmetrise(sums)
        mixing, by_shape = self._combined(sums)
        shapes = np.einsum("crab,cab->cr", by_shape, B) if r else np.zeros((C, 0))
        if α is None:
            return Contraction(mixing, shapes, None, None)
        grouped, by_shape = self._combined(products)
        rows = B[:, self._group]  # (C, n, T)
        stretched = np.einsum("crnb,cnb->crn", by_shape, rows) if r else np.zeros((C, 0, n))
        return Contraction(mixing, shapes, grouped, stretched)

    def _mix(self, c: int, shape: Floats, edge: tuple[int, int], ψ: Floats, *, keep: bool) -> None:
        """ψ_c of one panel; its E_c is kept if asked for."""
        start, stop = edge
        w = weight(shape)
        np.multiply(self._tables.squared[start:stop, :stop], -0.5 * np.exp(-2 * shape[1]), out=ψ)
        np.exp(ψ, out=ψ)
        if keep:
            self._E[c][start:stop, :stop] = ψ
        ψ *= 1 - w
        scratch = panel_of(self._more, start, stop)
        ψ += np.multiply(self._tables.tanimoto[start:stop, :stop], w, out=scratch)

    def _table(self, k: int, start: int, stop: int) -> Floats:
        """Panel of T (k = 0), of E_c (k = 1 + 2c) or of E_c∘|d-d'|²/D (k = 2 + 2c)."""
        if k == 0:
            return self._tables.tanimoto[start:stop, :stop]
        E = self._E[(k - 1) // 2][start:stop, :stop]
        if k % 2:
            return E
        return np.multiply(E, self._tables.squared[start:stop, :stop], out=panel_of(self._more, start, stop))

    def _combined(self, parts: Floats) -> tuple[Floats, Floats]:
        """Sums over the tables (1 + 2C, ...) as sums over ψ_c (C, ...) and ∂ψ_c/∂(logit w, log ℓ) (C, r, ...)."""
        C, r = self._shapes.shape
        if not r:
            return np.repeat(parts[:1], C, axis=0), np.zeros((C, 0, *parts.shape[1:]))
        plain, slopes = [], []
        for c, shape in enumerate(self._shapes):
            w, (T, E, Er) = weight(shape), (parts[0], parts[1 + 2 * c], parts[2 + 2 * c])
            plain.append(w * T + (1 - w) * E)
            slopes.append(np.stack([w * (1 - w) * (T - E), (1 - w) * np.exp(-2 * shape[1]) * Er]))
        return np.stack(plain), np.stack(slopes)
