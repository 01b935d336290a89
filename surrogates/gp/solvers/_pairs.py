"""Full correlation matrices of a small set of places, for the structured solvers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels import Kernel
from ..sharing import Mixing

Floats = NDArray[np.float64]
Spread = Callable[[Floats, Floats], Floats]


#: squared differences of up to so many pairs and inputs are kept: 160 MB
KEPT = 20_000_000


class Places:
    """N fixed places, with the squared differences of all pairs: (x_ik - x_jk)² for each input k."""

    def __init__(self, x: Floats, kernels: tuple[Kernel, ...]) -> None:
        self._x, self._kernels = x, kernels
        N, d = x.shape
        self._kept = np.stack([self._difference(k) for k in range(d)]).reshape(d, N * N) if d * N * N <= KEPT else None

    def pairs(self, lengthscales: Floats) -> Pairs:
        """Correlations at lengthscales (C, d)."""
        N, C = len(self._x), len(self._kernels)
        ψ, slope, scratch = np.empty((C, N, N)), np.empty((C, N, N)), np.empty((N, N))
        for c, kernel in enumerate(self._kernels):
            ψ[c] = self.combine((kernel.stretch / lengthscales[c]) ** 2)
            kernel.fill(ψ[c], slope[c], scratch)
        return Pairs(self, lengthscales, ψ, slope)

    def square(self, k: int) -> Floats:
        """(x_ik - x_jk)²: (N, N)."""
        return self._difference(k) if self._kept is None else self._kept[k].reshape(len(self._x), -1)

    def combine(self, weights: Floats) -> Floats:
        """Σ_k weights_k (x_ik - x_jk)².  weights: (d,)  ->  (N, N)."""
        N = len(self._x)
        if self._kept is not None:
            return (weights @ self._kept).reshape(N, N)
        total = np.zeros((N, N))
        for k, weight in enumerate(weights):
            total += weight * self.square(k)
        return total

    def contract(self, M: Floats) -> Floats:
        """Σ_ij M_ij (x_ik - x_jk)².  M: (N, N)  ->  (d,)."""
        if self._kept is not None:
            return np.asarray(self._kept @ M.ravel())
        return np.array([np.vdot(M, self.square(k)) for k in range(self._x.shape[1])])

    def _difference(self, k: int) -> Floats:
        column = self._x[:, k]
        return np.asarray((column[:, None] - column) ** 2)


@dataclass(frozen=True)
class Pairs:
    """ψ_c and ψ̇_c between N places.  C kernels, d inputs."""

    places: Places
    lengthscales: Floats  # (C, d)
    ψ: Floats  # (C, N, N)
    slope: Floats  # (C, N, N)

    def by_lengthscale(self, weights: Floats) -> Floats:
        """½ Σ_ij weights_c,ij ∂ψ_c,ij/∂log l_ck.  weights: (C, N, N), symmetric  ->  (C, d)."""
        spread = np.stack([self.places.contract(M) for M in weights * self.slope])
        return np.asarray(0.5 * spread / self.lengthscales**2)

    def common_and_own(self, mixing: Mixing) -> tuple[Floats, Floats]:
        """K0 = Σ_c common_c ψ_c and K1 = Σ_c own_c ψ_c for B_c = common_c 11' + own_c I: (N, N) each."""
        assert mixing.pair is not None
        first, second = mixing.pair.T
        common, own = first[0] * self.ψ[0], second[0] * self.ψ[0]
        for c in range(1, len(self.ψ)):
            common += first[c] * self.ψ[c]
            own += second[c] * self.ψ[c]
        return common, own

    def directions(self, right: Floats, mixing: Mixing, spread: Spread) -> tuple[Floats, Floats]:
        """∂K/∂log l α (C d, n) and ∂K/∂θ α (r, n) for exchangeable tasks.

        right : (N, 1 + T), the sum over tasks of α at each place, then each task's own
        spread : (N, 1 + T) products and (common, own) weights -> (n,) rows of the design
        """
        assert mixing.pair is not None
        assert mixing.pair_jacobian is not None
        pair, jacobian = mixing.pair, mixing.pair_jacobian
        shapes = [spread(step, pair[c]) for c, steps in enumerate(self.stretched(right)) for step in steps]
        plain = self.ψ @ right
        slopes = [sum(spread(plain[c], slope[c]) for c in range(len(plain))) for slope in jacobian]
        return np.stack(shapes), np.stack([np.asarray(slope) for slope in slopes])

    def stretched(self, right: Floats) -> Floats:
        """∂ψ_c/∂log l_ck @ right.  right: (N, m)  ->  (C, d, N, m)."""
        C, d = self.lengthscales.shape
        steps = [self.slope[c] * self.places.square(k) @ right for c in range(C) for k in range(d)]
        return np.stack(steps).reshape(C, d, *right.shape) / self.lengthscales[:, :, None, None] ** 2
