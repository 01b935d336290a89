"""Covariance matrices of grouped rows, built and differentiated in row panels that stay in the processor's cache.

Only lower triangles are computed. Rows are sorted by group; K_ij = Σ_c B_c[g_i, g_j] ψ_c(x_i, x_j).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.linalg import add_to_diagonal, strictly_upper

from .kernels import Kernel, add_squared_distance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: rows of a panel: 64 rows of 1,000 columns are half a megabyte, which the second-level cache holds
PANEL = 64
#: up to so many rows there is one panel: the upper triangle then costs less than the calls that would leave it out
ONE_PANEL = 192


class Contraction(NamedTuple):
    """Derivatives of ½ Σ_ij W_ij K_ij, and of K α.  C kernels, T groups, d inputs.

    mixing : ∂/∂B_c (C, T, T);  lengthscales : ∂/∂log l (C, d)
    grouped : Σ_j ψ_c,ij α_j 1{g_j = b} (C, n, T);  stretched : ∂K/∂log l_k α (C, d, n); both None unless asked for
    """

    mixing: Floats
    lengthscales: Floats
    grouped: Floats | None
    stretched: Floats | None


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
        rows = n if n <= ONE_PANEL else PANEL
        self._scratch, self._work = np.empty(rows * n), np.empty(rows * n)
        self._more = np.empty(rows * n if len(kernels) > 1 else 0)
        self._starts = np.flatnonzero(np.diff(group, prepend=-1))  # first row of each group that is there
        self._present = group[self._starts]
        self._edges = self._panel_edges()
        self._diagonal = np.arange(rows)
        self._flat_pairs = (group[:, None] * groups + group[None, :]).ravel() if n <= ONE_PANEL else None
        self._lengthscales = np.ones((len(kernels), x.shape[1]))

    def _panel_edges(self) -> list[tuple[int, int]]:
        """Panels end where a group ends if groups are large, so that B's factor is one row."""
        n = len(self.x)
        if n <= ONE_PANEL:
            return [(0, n)] if n else []
        stops = [*self._starts[1:].tolist(), n] if n >= 16 * len(self._starts) else [n]
        edges, start = [], 0
        for stop in stops:
            pieces = max(1, -(-(stop - start) // PANEL))
            cuts = np.linspace(start, stop, pieces + 1).astype(int).tolist()
            edges += list(itertools.pairwise(cuts))
            start = stop
        return [edge for edge in edges if edge[1] > edge[0]]

    def _factor(self, B: Floats, start: int, stop: int) -> Floats:
        """B[g_i, g_j] for rows of the panel and columns before its end: (1 or rows, stop)."""
        if self._flat_pairs is not None:
            return B.ravel().take(self._flat_pairs).reshape(stop, stop)
        one = self.group[start] == self.group[stop - 1]
        rows = B[self.group[start : start + 1]] if one else B[self.group[start:stop]]
        return np.asarray(rows[:, self.group[:stop]])

    def build(self, lengthscales: Floats, B: Floats, D: Floats, out: Floats, *, slopes: bool = True) -> None:
        """Lower triangle of Σ = Σ_c B_c[g_i, g_j] ψ_c + diag(D) into `out`; ψ_c and ψ̇_c are kept if `slopes` are wanted.

        lengthscales: (C, d), B: (C, T, T), D: (n,), out: (n, n)
        """
        self._lengthscales = lengthscales
        for c, kernel in enumerate(self.kernels):
            z = self.x * (kernel.stretch / lengthscales[c])
            left, right = _expanded(z)
            for start, stop in self._edges:
                # contiguous work is faster than work on rows of the large matrices
                a2, slope = self._buffer(self._scratch, start, stop), self._buffer(self._work, start, stop)
                place = out[start:stop, :stop] if c == 0 else self._buffer(self._more, start, stop)
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
                factor = self._factor(B[c], start, stop)
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
        for start, stop in self._edges:
            complete_block(W, start, stop)
            for c in range(C):
                work = self._buffer(self._work, start, stop)
                np.multiply(W[start:stop, :stop], self.ψ[c][start:stop, :stop], out=work)
                self._add_groups(mixing[c], work, start, stop)
                factor = self._factor(B[c], start, stop)
                slope = self.slope[c][start:stop, :stop]
                if α is not None:
                    self._add_direction(slope, factor, powers * α[:, None], (start, stop), moments[c])
                    self._add_grouped(self.ψ[c][start:stop, :stop], α, (start, stop), grouped[c])
                np.multiply(W[start:stop, :stop], slope, out=work)
                lengthscales[c] += self._spread(work, factor, powers, start, stop)
        shapes = 0.5 * lengthscales / self._lengthscales**2
        if α is None:
            return Contraction(0.5 * _symmetrise(mixing), shapes, None, None)
        stretched = np.stack([_stretch(m, self.x) for m in moments]) / self._lengthscales[..., None] ** 2
        return Contraction(0.5 * _symmetrise(mixing), shapes, grouped, stretched)

    def _buffer(self, buffer: Floats, start: int, stop: int) -> Floats:
        return buffer[: (stop - start) * stop].reshape(stop - start, stop)

    def _add_groups(self, total: Floats, panel: Floats, start: int, stop: int) -> None:
        """Add the panel's sums over pairs of groups to `total` (T, T); columns before the panel stand for two triangles."""
        inside = self.group[start:stop]
        first, last = int(inside[0]), int(inside[-1])
        sums = panel.sum(axis=0)[None, :] if first == last else _one_hot(inside, first, last) @ panel
        sums[:, :start] *= 2.0
        columns = int(np.searchsorted(self._starts, stop))
        total[first : last + 1, self._present[:columns]] += np.add.reduceat(sums, self._starts[:columns], axis=1)

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
            _multiply_panel(slope * factor, weighted, edge, out)
            return
        start, stop = edge
        out[start:stop] += slope @ (weighted[:stop] * factor.T)
        if start:
            out[:start] += factor.T[:start] * (slope[:, :start].T @ weighted[start:stop])

    def _add_grouped(self, ψ: Floats, α: Floats, edge: tuple[int, int], out: Floats) -> None:
        """Add the panel's share of ψ @ [α 1{group = b}] to `out` (n, T)."""
        members = np.zeros((len(α), self.groups))
        members[np.arange(len(α)), self.group] = α
        _multiply_panel(ψ, members, edge, out)


def _expanded(z: Floats) -> tuple[Floats, Floats]:
    """Factors of |z_i|² - 2 z_i'z_j + |z_j|².  z: (n, d)  ->  (n, d + 2), (d + 2, n).

    One thin product instead of 3 d passes. It loses the distance of close points below 1e-8 of the largest one, where
    kernels that are smooth at zero don't notice; z must be centred.
    """
    square = (z * z).sum(axis=1)[:, None]
    ones = np.ones_like(square)
    return np.concatenate([-2.0 * z, square, ones], axis=1), np.concatenate([z, ones, square], axis=1).T.copy()


def complete_block(W: Floats, start: int, stop: int) -> None:
    """Mirror the lower triangle of one block on W's diagonal."""
    block = W[start:stop, start:stop]
    np.copyto(block, block.T.copy(), where=strictly_upper(stop - start))


def _one_hot(group: Integers, first: int, last: int) -> Floats:
    return np.asarray(np.arange(first, last + 1)[:, None] == group[None, :], dtype=np.float64)


def _symmetrise(sums: Floats) -> Floats:
    return 0.5 * (sums + sums.transpose(0, 2, 1))


def _multiply_panel(panel: Floats, right: Floats, edge: tuple[int, int], out: Floats) -> None:
    """Add to `out` (n, k) what a symmetric matrix's lower panel adds to its product with `right` (n, k)."""
    start, stop = edge
    out[start:stop] += panel @ right[:stop]
    if start:
        out[:start] += panel[:, :start].T @ right[start:stop]


def _stretch(moments: Floats, x: Floats) -> Floats:
    """Σ_j M_ij (x_ik - x_jk)² from M's products with 1, x, x²: (n, 1 + 2d) -> (d, n)."""
    d = x.shape[1]
    return np.asarray((x**2 * moments[:, :1] - 2 * x * moments[:, 1 : 1 + d] + moments[:, 1 + d :]).T)
