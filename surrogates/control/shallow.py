"""One problem by a network of one hidden layer under hard end conditions, controls eliminated.

Symbols: τ = 2s - 1; features φ(s) = (tanh(w τ + b), τ, 1); outputs (Y, Q) = C φ; θ = (C, w, b);
residuals r = z' - T F(t, z) at M points, zero where the Euler-Lagrange equations hold. F and its derivative in z come from
`EulerLagrange.field`, so that the Jacobian in θ is closed algebra.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from surrogates.physics.optimal_control.hamiltonian import EulerLagrange

from .ansatz import Ansatz, Shapes


class Shallow(NamedTuple):
    """Parameters: C (2n, L + 2), w (L,), b (L,)."""

    C: Tensor
    w: Tensor
    b: Tensor

    def flat(self) -> Tensor:
        """θ (P,)"""
        return torch.cat([part.flatten() for part in self])

    @staticmethod
    def of(θ: Tensor, outputs: int) -> Shallow:
        """The parameters in θ (P,) of a network with so many outputs."""
        L = (len(θ) - 2 * outputs) // (outputs + 2)
        C, w, b = torch.split(θ, [outputs * (L + 2), L, L])
        return Shallow(C.reshape(outputs, L + 2), w, b)

    def features(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """φ and dφ/ds at places s (M,): (M, L + 2) each."""
        τ, one = 2 * s[:, None] - 1, torch.ones_like(s)[:, None]
        h = torch.tanh(τ * self.w + self.b)
        slope = 2 * self.w * (1 - h**2)
        return torch.cat([h, τ, one], 1), torch.cat([slope, 2 * one, 0 * one], 1)


def random_shallow(outputs: int, width: int, scale: float, generator: torch.Generator) -> Shallow:
    """Hidden weights w ~ U(-scale, scale), centres uniform in [-1, 1], outer weights zero."""
    w, centres = 2 * torch.rand(2, width, generator=generator, dtype=torch.float64) - 1
    return Shallow(torch.zeros(outputs, width + 2, dtype=torch.float64), scale * w, -scale * w * centres)


@dataclass(frozen=True)
class Residuals:
    """The Euler-Lagrange residuals of a problem as a function of θ, with their Jacobian.

    Each row is divided by the size that its component of z had in the first guess, `scale` (2n,).
    """

    system: EulerLagrange
    s: Tensor
    scale: Tensor

    def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
        """{"euler_lagrange": residuals (2n M,)}"""
        z, dz, _ = self._trajectory(Shallow.of(θ, 2 * self._n))
        F = self.system.field(self._t, z, self._q).F
        return {"euler_lagrange": ((dz - self._span * F) / self.scale).flatten()}

    def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
        """{"euler_lagrange": (2n M, P)}"""
        _, J = self.linearise(Shallow.of(θ, 2 * self._n), outer_only=False)
        return {"euler_lagrange": J}

    def linearise(self, net: Shallow, *, outer_only: bool) -> tuple[Tensor, Tensor]:
        """Residuals (2n M,) and their Jacobian in C, or in all of θ."""
        n, N = self._n, 2 * self._n
        z, dz, curvatures = self._trajectory(net)
        field = self.system.field(self._t, z, self._q)
        r = (dz - self._span * field.F) / self.scale
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        s = torch.cat([self.s, ends])
        φ, dφ = net.features(s)
        columns, slopes = _outer(φ, N), _outer(dφ, N)  # (M + 2, N, P) of the outputs and their derivatives
        if not outer_only:
            inner, dinner = _hidden(net, s)
            columns, slopes = torch.cat([columns, inner], -1), torch.cat([slopes, dinner], -1)
        M, shapes = len(self.s), self._shapes
        a = torch.cat([shapes.a, shapes.c], -1)[..., None]
        da = torch.cat([shapes.da, shapes.dc], -1)[..., None]
        z_θ, dz_θ = a * columns[:M], da * columns[:M] + a * slopes[:M]
        at_ends = Ansatz(self.system.problem).shapes(ends)
        for k, curvature, weight, dweight in (
            (0, -curvatures[0], shapes.v, shapes.dv),
            (1, curvatures[1], shapes.w, shapes.dw),
        ):
            if bool((curvature != 0).any()):
                moved = curvature @ (at_ends.a[k][:, None] * columns[M + k, :n])  # (n, P)
                z_θ[:, n:] += weight[..., None] * moved
                dz_θ[:, n:] += dweight[..., None] * moved
        J = (dz_θ - self._span * field.F_z @ z_θ) / self.scale[:, None]
        return r.flatten(), J.reshape(M * N, -1)

    def trajectory(self, net: Shallow, s: Tensor) -> Tensor:
        """z (k, 2n) at places s (k,)."""
        return Residuals(self.system, s, self.scale)._trajectory(net)[0]

    @property
    def _n(self) -> int:
        return self.system.problem.state_size

    @property
    def _span(self) -> float:
        start, end = self.system.problem.horizon
        return end - start

    @property
    def _t(self) -> Tensor:
        return self.system.problem.horizon[0] + self._span * self.s

    @property
    def _q(self) -> Tensor:
        return self.system.parameters((len(self.s),))

    @property
    def _shapes(self) -> Shapes:
        return Ansatz(self.system.problem).shapes(self.s)

    def _trajectory(self, net: Shallow) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        φ, dφ = net.features(self.s)
        ends, _ = net.features(torch.tensor([0.0, 1.0], dtype=torch.float64))
        return Ansatz(self.system.problem).trajectory(
            self._shapes, φ @ net.C.T, dφ @ net.C.T, ends @ net.C.T, self.system.parameters()
        )


def _outer(φ: Tensor, N: int) -> Tensor:
    """Derivative of the outputs C φ in C, (M, N, N (L + 2))."""
    M, L = φ.shape
    J = torch.zeros(M, N, N, L, dtype=φ.dtype)
    J[:, range(N), range(N)] = φ[:, None]
    return J.reshape(M, N, N * L)


def _hidden(net: Shallow, s: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of the outputs in (w, b), and of their slopes in s: (M, N, 2L) each."""
    τ = 2 * s[:, None] - 1
    h = torch.tanh(τ * net.w + net.b)
    g = 1 - h**2
    C = net.C[:, : len(net.w)]
    bend = -2 * h * g  # tanh''
    of_w, of_b = g * τ, g
    slope_w, slope_b = 2 * g + 2 * net.w * bend * τ, 2 * net.w * bend
    parts = [torch.cat([C * a[:, None], C * b[:, None]], -1) for a, b in ((of_w, of_b), (slope_w, slope_b))]
    return parts[0], parts[1]
