"""Trajectories that satisfy the end conditions of a problem for whatever a network puts out.

Symbols: s in [0, 1] the share of the horizon, Y and Q the network's outputs for x and p; ' is d/ds.

    start given, end free    x = x0 + s Y                       p = Φ_x(x(1)) + (s - 1) Q
    both given               x = x0 + s (xT - x0) + s (1-s) Y   p = Q
    start free, end given    x = xT + (s - 1) Y                 p = -Φ0_x(x(0)) + s Q
    both free                x = Y                              p = -(1-s) Φ0_x(x(0)) + s Φ_x(x(1)) + s (1-s) Q

component by component. x(0) and x(1) are the network's own, so the conditions hold exactly at every parameter value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from surrogates.physics.optimal_control import Problem
from surrogates.physics.optimal_control.boundary import end_cost


class Shapes(NamedTuple):
    """The ansatz at places s (M,): x = b + a Y, p = -v Φ0_x(x(0)) + w Φ_x(x(1)) + c Q, and derivatives in s; all (M, n)."""

    b: Tensor
    db: Tensor
    a: Tensor
    da: Tensor
    v: Tensor
    dv: Tensor
    w: Tensor
    dw: Tensor
    c: Tensor
    dc: Tensor


@dataclass(frozen=True)
class Ansatz:
    """Hard end conditions of one problem."""

    problem: Problem

    def shapes(self, s: Tensor) -> Shapes:
        """The ansatz's functions at places s (M,)."""
        one, zero = torch.ones_like(s), torch.zeros_like(s)
        columns = []
        for x0, xT in zip(*self.problem.given_at_ends, strict=True):
            if x0 is not None and xT is None:
                entry = (x0 * one, zero, s, one, zero, zero, one, zero, s - 1, one)
            elif x0 is not None and xT is not None:
                entry = (x0 + s * (xT - x0), (xT - x0) * one, s * (1 - s), 1 - 2 * s, zero, zero, zero, zero, one, zero)
            elif xT is not None:
                entry = (xT * one, zero, s - 1, one, one, zero, zero, zero, s, one)
            else:
                entry = (zero, zero, one, zero, 1 - s, -one, s, one, s * (1 - s), 1 - 2 * s)
            columns.append(entry)
        return Shapes(*(torch.stack(parts, -1) for parts in zip(*columns, strict=True)))

    def trajectory(
        self, shapes: Shapes, outputs: Tensor, slopes: Tensor, ends: Tensor, q: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Values and derivatives of z = (x, p), and the end costs' curvatures that a Jacobian needs.

        outputs, slopes : (M, 2n) of (Y, Q) and their derivatives in s; ends : (2, 2n) outputs at s = 0 and 1
        q : (parameters,)

        Returns z (M, 2n), z' (M, 2n), (Φ0_xx, Φ_xx) each (n, n)
        """
        n = self.problem.state_size
        at_ends = self.shapes(torch.tensor([0.0, 1.0], dtype=torch.float64))
        x_ends = at_ends.b + at_ends.a * ends[:, :n]
        t = torch.tensor(self.problem.horizon, dtype=torch.float64)
        first = end_cost(self.problem, t[0], x_ends[0], q, is_final=False)
        last = end_cost(self.problem, t[1], x_ends[1], q, is_final=True)
        Y, Q = outputs[:, :n], outputs[:, n:]
        x = shapes.b + shapes.a * Y
        p = -shapes.v * first.gradient[:n] + shapes.w * last.gradient[:n] + shapes.c * Q
        dx = shapes.db + shapes.da * Y + shapes.a * slopes[:, :n]
        dp = -shapes.dv * first.gradient[:n] + shapes.dw * last.gradient[:n] + shapes.dc * Q + shapes.c * slopes[:, n:]
        return torch.cat([x, p], -1), torch.cat([dx, dp], -1), (first.hessian[:n, :n], last.hessian[:n, :n])

    def outputs(self, s: Tensor, z: Tensor) -> Tensor:
        """Outputs (Y, Q) whose trajectory is z (M, 2n) at places s (M,) inside (0, 1), the inverse of `trajectory`.

        Natural end conditions are taken at the first and last of the values.
        """
        n = self.problem.state_size
        shapes = self.shapes(s)
        x, p = z[:, :n], z[:, n:]
        t = torch.tensor(self.problem.horizon, dtype=torch.float64)
        q = torch.tensor(list(self.problem.parameters.values()), dtype=torch.float64)
        first = end_cost(self.problem, t[0], x[0], q, is_final=False).gradient[:n]
        last = end_cost(self.problem, t[1], x[-1], q, is_final=True).gradient[:n]
        Y = (x - shapes.b) / shapes.a
        Q = (p + shapes.v * first - shapes.w * last) / shapes.c
        return torch.cat([Y, Q], -1)
