"""Gauss collocation of the Euler-Lagrange system for a batch of cases, linearised and condensed to the elements' ends.

Symbols: B cases, K elements, degree d, N = 2n, z = (x, p); s in [0, 1], t = t0 + (T - t0) s. In every element

    R = D Z - h F(t, P Z) = 0 at d Gauss points,     h = (T - t0) (length of the element)

which is the Gauss-Runge-Kutta method of order 2d at the elements' ends (Ascher, Mattheij & Russell 1995, section 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .boundary import Ends, Given, end_conditions
from .hamiltonian import EulerLagrange, Field
from .mesh import Mesh, derivative, gauss, interpolation


class Cases(NamedTuple):
    """What differs from case to case.

    initial, final : (B, n) given states, anything where they are free; t0, T : (B,), T a guess where it is free
    q : (B, parameters)
    """

    initial: Tensor
    final: Tensor
    t0: Tensor
    T: Tensor
    q: Tensor

    def take(self, index: Tensor) -> Cases:
        """Some of the cases."""
        return Cases(*(part[index] for part in self))


class Extremals(NamedTuple):
    """Nodal values and final times: Z (B, K, d + 1, 2n), T (B,)."""

    Z: Tensor
    T: Tensor

    def take(self, index: Tensor) -> Extremals:
        """Some of the cases."""
        return Extremals(self.Z[index], self.T[index])


class Linearised(NamedTuple):
    """A collocation system at one guess, factored.

    r : (B, K, dN) residuals in the elements; b : (B, N or N + 1) residuals of the conditions at the ends, and of that of
        a free final time
    local, local_pivots : factors of the elements' matrices in all nodes but the first
    inner : (B, K, dN, N or N + 1) what a change of the first node (and of T) asks of the others
    ends, ends_pivots : factors of the system of the elements' ends
    J : (B,) cost
    """

    r: Tensor
    b: Tensor
    local: Tensor
    local_pivots: Tensor
    inner: Tensor
    ends: Tensor
    ends_pivots: Tensor
    J: Tensor

    def take(self, index: Tensor) -> Linearised:
        """Some of the cases."""
        return Linearised(*(part[index] for part in self))


@dataclass(frozen=True)
class Collocation:
    """The collocation equations of one problem on one mesh."""

    system: EulerLagrange
    mesh: Mesh

    @cached_property
    def _P(self) -> Tensor:
        return torch.from_numpy(interpolation(self.mesh.degree, gauss(self.mesh.degree)[0]))  # (d, d + 1)

    @cached_property
    def _D(self) -> Tensor:
        return torch.from_numpy(derivative(self.mesh.degree, gauss(self.mesh.degree)[0]))  # (d, d + 1)

    def fields(self, cases: Cases, guess: Extremals) -> tuple[Tensor, Tensor, Field]:
        """Times (B, K, d), values (B, K, d, N) and the field at the collocation points."""
        s = self.mesh.gauss
        span = (guess.T - cases.t0)[:, None, None]
        t = cases.t0[:, None, None] + span * s
        z = torch.einsum("ij,bkjc->bkic", self._P, guess.Z)
        q = cases.q[:, None, None, :].expand(*t.shape, -1)
        return t, z, self.system.field(t, z, q)

    def cost(self, cases: Cases, guess: Extremals) -> Tensor:
        """Φ0 + ∫ (L + pᵀ(f - x')) dt + Φ, (B,), by the Gauss formula.

        The second part vanishes where the equations hold. With it the value is stationary at an extremal, so that an error
        of z enters by its square.
        """
        _, z, field = self.fields(cases, guess)
        n = self.system.problem.state_size
        start, end = self._ends(cases, guess)
        h = ((guess.T - cases.t0)[:, None] * self.mesh.lengths)[..., None, None]
        missed = h * field.F[..., :n] - torch.einsum("ij,bkjc->bkic", self._D, guess.Z[..., :n])
        weights = torch.from_numpy(gauss(self.mesh.degree)[1])[:, None]
        return self._cost(cases, guess, field, start, end) + (weights * z[..., n:] * missed).sum((1, 2, 3))

    def linearise(self, cases: Cases, guess: Extremals) -> Linearised:
        """Residuals at a guess, and the factored Jacobian."""
        _, _, field = self.fields(cases, guess)
        start, end = self._ends(cases, guess)
        N, d = guess.Z.shape[-1], self.mesh.degree
        B, K = guess.Z.shape[:2]
        h = ((guess.T - cases.t0)[:, None] * self.mesh.lengths)[..., None, None]  # (B, K, 1, 1)
        r = torch.einsum("ij,bkjc->bkic", self._D, guess.Z) - h * field.F
        eye = torch.eye(N, dtype=r.dtype)
        M = self._D[:, None, :, None] * eye[None, :, None, :]  # (d, N, d + 1, N)
        M = M - (h[..., None] * field.F_z)[..., :, None, :] * self._P[:, None, :, None]
        M = M.reshape(B, K, d * N, (d + 1) * N)
        asked = [M[..., :N]]
        if self.system.problem.free_final_time:
            asked.append(self._by_final_time(cases, guess, field).reshape(B, K, d * N, 1))
        local, pivots, _ = torch.linalg.lu_factor_ex(M[..., N:])
        inner = torch.linalg.lu_solve(local, pivots, torch.cat(asked, -1))
        b, rows = self._conditions(guess, start, end)
        ends, ends_pivots, _ = torch.linalg.lu_factor_ex(self._ends_matrix(inner, rows))
        J = self._cost(cases, guess, field, start, end)
        return Linearised(r.reshape(B, K, d * N), b, local, pivots, inner, ends, ends_pivots, J)

    def step(self, at: Linearised, r: Tensor, b: Tensor) -> Extremals:
        """The change of nodal values and final times that Newton's method makes for the residuals r and b."""
        B, K, dN = r.shape
        N = (at.ends.shape[-1] - (at.inner.shape[-1] - (dN // self.mesh.degree))) // (K + 1)
        rest = torch.linalg.lu_solve(at.local, at.local_pivots, r[..., None])[..., 0]  # (B, K, dN)
        right = torch.cat([-b[:, : N // 2], -rest[..., -N:].reshape(B, K * N), -b[:, N // 2 :]], -1)
        δ = torch.linalg.lu_solve(at.ends, at.ends_pivots, right[..., None])[..., 0]
        first = δ[:, : (K + 1) * N].reshape(B, K + 1, N)
        δT = δ[:, (K + 1) * N :]  # (B, 0 or 1)
        asked = torch.cat([first[:, :-1], δT[:, None, :].expand(B, K, -1)], -1)
        others = -rest - (at.inner @ asked[..., None])[..., 0]
        Z = torch.cat([first[:, :-1, None], others.reshape(B, K, -1, N)], 2)
        return Extremals(Z, δT[:, 0] if δT.shape[1] else torch.zeros(B, dtype=Z.dtype))

    def _ends(self, cases: Cases, guess: Extremals) -> tuple[Ends, Ends]:
        problem, system = self.system.problem, self.system
        given = [torch.tensor([v is not None for v in values]) for values in problem.given_at_ends]
        start = end_conditions(
            system, cases.t0, guess.Z[:, 0, 0], cases.q, Given(cases.initial, given[0]), is_final=False
        )
        end = end_conditions(system, guess.T, guess.Z[:, -1, -1], cases.q, Given(cases.final, given[1]), is_final=True)
        if problem.free_final_time:
            end = self._with_final_time(cases, guess, end)
        return start, end

    def _with_final_time(self, cases: Cases, guess: Extremals, end: Ends) -> Ends:
        """One condition more: H(T) + ∂Φ/∂T = 0. Its derivative in z is (H_x, f) = (-F_p-part, F_x-part)."""
        z = guess.Z[:, -1, -1]
        n = z.shape[-1] // 2
        field = self.system.field(guess.T, z, cases.q)
        H_z = torch.cat([-field.F[:, n:], field.F[:, :n]], -1)
        return end._replace(
            r=torch.cat([end.r, (field.H + end.cost_t)[:, None]], -1),
            r_z=torch.cat([end.r_z, (H_z + end.cost_tz)[:, None]], 1),
            r_t=torch.cat([end.r_t, (field.H_t + end.cost_tt)[:, None]], -1),
        )

    def _conditions(self, guess: Extremals, start: Ends, end: Ends) -> tuple[Tensor, tuple[Ends, Ends]]:
        return torch.cat([start.r, end.r], -1), (start, end)

    def _by_final_time(self, cases: Cases, guess: Extremals, field: Field) -> Tensor:
        """∂R/∂T, (B, K, d, N)."""
        span = (guess.T - cases.t0)[:, None, None, None]
        drift = field.F + span * field.F_t * self.mesh.gauss[..., None]
        return -self.mesh.lengths[:, None, None] * drift

    def _ends_matrix(self, inner: Tensor, rows: tuple[Ends, Ends]) -> Tensor:
        """Unknowns: changes at the K + 1 ends of elements, and of T. Rows: start, continuity element by element, end."""
        start, end = rows
        B, K = inner.shape[:2]
        N = start.r_z.shape[-1]
        n, extra = N // 2, inner.shape[-1] - N
        size = (K + 1) * N + extra
        A = torch.zeros(B, size, size, dtype=inner.dtype)
        A[:, :n, :N] = start.r_z
        last = inner[..., -N:, :]  # (B, K, N, N + extra)
        eye = torch.eye(N, dtype=inner.dtype)
        for k in range(K):
            at = slice(n + k * N, n + (k + 1) * N)
            A[:, at, k * N : (k + 1) * N] = last[:, k, :, :N]
            A[:, at, (k + 1) * N : (k + 2) * N] = eye
            A[:, at, size - extra :] = last[:, k, :, N:]
        A[:, n + K * N :, K * N : (K + 1) * N] = end.r_z
        if extra:
            A[:, n + K * N :, -1] = end.r_t
        return A

    def _cost(self, cases: Cases, guess: Extremals, field: Field, start: Ends, end: Ends) -> Tensor:
        integral = ((guess.T - cases.t0)[:, None, None] * self.mesh.gauss_weights * field.L).sum((1, 2))
        return start.cost + integral + end.cost
