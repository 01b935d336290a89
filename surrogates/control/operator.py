"""The map from a family's inputs to whole trajectories: features, a linear layer, modes in time, exact end conditions.

Symbols: B cases, L features φ, r modes; S = K (d + 1) 2n nodal values of z = (x, p) on a mesh of the horizon, and the
horizon's length where the final time is free.

    c = Wᵀ φ(inputs),   (Z, T - t0) = offset + c · modes,   then the end conditions are imposed:
    x += (1 - s)(x0 - x(0)) where x0 is given, s (xT - x(1)) where xT is given,
    p += (1 - s)(-Φ0_x - p(0)), s (Φ_x - p(1)) where x is free
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from surrogates.physics.optimal_control import Cases, EulerLagrange, Extremals, Family, Mesh, cases_of
from surrogates.physics.optimal_control.boundary import end_cost

#: modes are kept down to this size relative to the largest
SMALLEST_MODE = 1e-9
#: deviations of a component count as such from this share of its size on; smaller ones are near rounding
SMALLEST_DEVIATION = 1e-6
#: cases that are evaluated together; larger blocks leave the cache
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Operator:
    """A fitted family in the variables of its own problem.

    features : (B, d) inputs in [-1, 1] -> (B, L); weights : (L, r); modes : (r, S); offset : (S,)
    """

    family: Family
    mesh: Mesh
    features: nn.Module
    weights: Tensor
    modes: Tensor
    offset: Tensor

    def unit(self, points: Tensor) -> Tensor:
        """Inputs (B, d) in [-1, 1]."""
        low, high = self.family.ranges
        unit: Tensor = 2 * (points - low) / (high - low) - 1
        return unit

    def coefficients(self, points: Tensor) -> Tensor:
        """c (B, r)."""
        with torch.no_grad():
            unit = self.unit(points)
            parts: list[Tensor] = [self.features(block) @ self.weights for block in torch.split(unit, BLOCK)]
            return torch.cat(parts)

    def cases(self, points: Tensor) -> Cases:
        """The cases at inputs (B, d), with T where it is known."""
        return cases_of(self.family, points)

    def extremals(self, points: Tensor, coefficients: Tensor | None = None) -> Extremals:
        """Nodal values (B, K, d + 1, 2n) and final times (B,)."""
        c = self.coefficients(points) if coefficients is None else coefficients
        cases = self.cases(points)
        T = self._final_times(c, cases)
        K, d = self.mesh.elements, self.mesh.degree
        Z = (self.offset[: self._nodal] + c @ self.modes[:, : self._nodal]).reshape(len(c), K, d + 1, -1)
        s = self.mesh.nodes
        return Extremals(Z + self._correction(Z[:, 0, 0], Z[:, -1, -1], s.reshape(-1), cases, T).reshape(Z.shape), T)

    def at(self, points: Tensor, s: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """z (B, k, 2n) at places s (k,) of [0, 1], and final times (B,), without the nodal values in between."""
        c = self.coefficients(points)
        cases = self.cases(points)
        T = self._final_times(c, cases)
        offset, modes = self._sampled(tuple(s.tolist()))
        N = offset.shape[-1]
        z = (offset.flatten() + c @ modes.flatten(1)).reshape(len(c), -1, N)
        ends_offset, ends_modes = self._sampled((0.0, 1.0))
        ends = (ends_offset.flatten() + c @ ends_modes.flatten(1)).reshape(len(c), 2, N)
        return z + self._correction(ends[:, 0], ends[:, 1], torch.from_numpy(s), cases, T), T

    @property
    def system(self) -> EulerLagrange:
        """The Euler-Lagrange system of the family's problem."""
        return self._system

    @cached_property
    def _system(self) -> EulerLagrange:
        return EulerLagrange(self.family.problem)

    @property
    def _nodal(self) -> int:
        return self.mesh.elements * (self.mesh.degree + 1) * 2 * self.family.problem.state_size

    def _final_times(self, c: Tensor, cases: Cases) -> Tensor:
        if not self.family.problem.free_final_time:
            return cases.T
        return cases.t0 + self.offset[-1] + c @ self.modes[:, -1]

    def _sampled(self, places: tuple[float, ...]) -> tuple[Tensor, Tensor]:
        """Offset (k, 2n) and modes (r, k, 2n) at places of [0, 1]; kept for the last few sets of places."""
        cache: dict[tuple[float, ...], tuple[Tensor, Tensor]] = self._cache
        if places not in cache:
            K, d = self.mesh.elements, self.mesh.degree
            s = np.array(places)
            nodal = torch.cat([self.offset[None], self.modes])[:, : self._nodal].reshape(-1, K, d + 1, self._width)
            sampled = self.mesh.interpolate(nodal, s)
            if len(cache) > 4:
                cache.pop(next(iter(cache)))
            cache[places] = (sampled[0].contiguous(), sampled[1:].contiguous())
        return cache[places]

    @cached_property
    def _cache(self) -> dict[tuple[float, ...], tuple[Tensor, Tensor]]:
        return {}

    @property
    def _width(self) -> int:
        return 2 * self.family.problem.state_size

    def _correction(self, first: Tensor, last: Tensor, s: Tensor, cases: Cases, T: Tensor) -> Tensor:
        """What the end conditions ask for, (B, k, 2n), where the ends are `first` and `last` (B, 2n)."""
        problem, n = self.family.problem, self.family.problem.state_size
        given_first, given_last = (torch.tensor([v is not None for v in values]) for values in problem.given_at_ends)
        dx0 = torch.where(given_first, cases.initial - first[:, :n], 0.0)
        dxT = torch.where(given_last, cases.final - last[:, :n], 0.0)
        Φ0_x = end_cost(problem, cases.t0, first[:, :n] + dx0, cases.q, is_final=False).gradient[:, :n]
        Φ_x = end_cost(problem, T, last[:, :n] + dxT, cases.q, is_final=True).gradient[:, :n]
        dp0 = torch.where(given_first, 0.0, -Φ0_x - first[:, n:])
        dpT = torch.where(given_last, 0.0, Φ_x - last[:, n:])
        at_start, at_end = torch.cat([dx0, dp0], -1)[:, None], torch.cat([dxT, dpT], -1)[:, None]
        return (1 - s)[:, None] * at_start + s[:, None] * at_end


class Basis(NamedTuple):
    """What trajectories are expressed in: offset + Σ c_k directions_k · scale.

    offset : (S,); directions : (r, S) orthonormal; scale : (S,) largest deviation of each component of z
    """

    offset: Tensor
    directions: Tensor
    scale: Tensor

    @property
    def modes(self) -> Tensor:
        """(r, S) in the problem's units."""
        return self.directions * self.scale

    def coefficients(self, values: Tensor) -> Tensor:
        """c (B, r) of values (B, S)."""
        c: Tensor = ((values - self.offset) / self.scale) @ self.directions.T
        return c


def principal_modes(values: Tensor, mesh: Mesh, width: int, *, smallest: float = SMALLEST_MODE) -> Basis:
    """Principal directions of nodal values (B, S) of z, of `width` components, and of what stands behind them.

    Every component of z is divided by its largest deviation before the singular value decomposition, so that units don't
    decide.

    smallest : singular value, relative to the largest, down to which directions are kept
    """
    offset = values.mean(0)
    centred = values - offset
    K, d = mesh.elements, mesh.degree
    nodal = K * (d + 1) * width

    def largest(of: Tensor) -> Tensor:
        by_component = of[:, :nodal].reshape(len(of), -1, width).abs().amax((0, 1))
        return torch.cat([by_component.repeat(K * (d + 1)), of[:, nodal:].abs().amax(0)])

    # a component that is the same in all cases deviates by rounding, which isn't to be magnified
    scale = torch.maximum(largest(centred), SMALLEST_DEVIATION * largest(values))
    scale = torch.where(scale > 0, scale, 1.0)
    # a sample of the rows spans the same directions
    rows = (centred / scale)[:: max(1, len(centred) // 1500)]
    _, σ, Vh = torch.linalg.svd(rows, full_matrices=False)
    r = max(1, int((σ > smallest * σ[0]).sum())) if float(σ[0]) > 0 else 1
    return Basis(offset, Vh[:r], scale)
