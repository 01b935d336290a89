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


@dataclass(frozen=True)
class Pairs:
    """ψ_c and ψ̇_c between N places.  C kernels, d inputs."""

    x: Floats  # (N, d), centred
    lengthscales: Floats  # (C, d)
    ψ: Floats  # (C, N, N)
    slope: Floats  # (C, N, N)

    @staticmethod
    def of(x: Floats, kernels: tuple[Kernel, ...], lengthscales: Floats) -> Pairs:
        """All pairs of x (N, d)."""
        x = x - x.mean(axis=0)  # the squares in by_lengthscale would cancel otherwise
        both = [kernel.pair(x, x, lengthscales[c]) for c, kernel in enumerate(kernels)]
        if len(both) == 1:  # a view; these matrices are small and made thousands of times
            return Pairs(x, lengthscales, both[0][0][None], both[0][1][None])
        return Pairs(x, lengthscales, np.stack([ψ for ψ, _ in both]), np.stack([slope for _, slope in both]))

    def by_lengthscale(self, weights: Floats) -> Floats:
        """½ Σ_ij weights_c,ij ∂ψ_c,ij/∂log l_ck.  weights: (C, N, N), symmetric  ->  (C, d)."""
        M = weights * self.slope
        spread = np.einsum("cij,ik->ck", M, self.x**2) - np.einsum("ik,cik->ck", self.x, M @ self.x)
        return np.asarray(spread / self.lengthscales**2)

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
        """∂ψ_c/∂log l_ck @ right.  right: (N, m) or (C, N, m)  ->  (C, d, N, m)."""
        d = self.x.shape[1]
        x = self.x.T[:, :, None]  # (d, N, 1)
        right = np.broadcast_to(right, (len(self.ψ), *right.shape[-2:]))
        result = np.empty((len(self.ψ), d, *right.shape[-2:]))
        for c, slope in enumerate(self.slope):
            plain, first, second = slope @ right[c], slope @ (x * right[c]), slope @ (x**2 * right[c])
            result[c] = x**2 * plain - 2 * x * first + second
        return result / self.lengthscales[:, :, None, None] ** 2
