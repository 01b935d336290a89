"""A family of optimal-control problems as functions of arrays, with exact derivatives: first controls, and optimal costs.

Derivatives of the optimal cost J come from the extremal itself, by the envelope theorem (Bryson & Ho 1975, section 2.3, for
states and times; for parameters it is the same argument):

    dJ/dx0 = p(t0),      dJ/dt0 = Φ0_t - H(t0),      dJ/dθ = Φ0_θ + Φ_θ + ∫ H_θ dt

They are exact at an extremal, so that the network's answer is polished by Newton's method first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.physics.optimal_control import Cases, Collocation, Extremals, polish
from surrogates.physics.optimal_control.boundary import end_cost

from .fitted_family import FittedFamily
from .policy import Policy

Floats = NDArray[np.float64]
#: Newton steps from the network's answer: each squares the error
STEPS = 2


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Controls (n, m) and costs (n,) at inputs (n, d)."""

    fitted: FittedFamily

    def check(self) -> None:
        """Refuse families whose cases don't say where they start.

        Raises
        ------
        DataError
            If a component's initial state is free.
        """
        _ = self._policy

    def checked(self, x: Floats) -> Floats:
        """Inputs (n, d) within the ranges that were fitted.

        Raises
        ------
        DataError
            If one isn't.
        """
        return self.fitted._points(x).numpy()

    def controls(self, x: Floats) -> Floats:
        """First controls (n, m)."""
        return self._policy.controls(torch.from_numpy(x)).numpy()

    def control_slopes(self, x: Floats) -> Floats:
        """Their derivatives (n, m, d)."""
        inputs = torch.tensor(x, requires_grad=True)
        u = self._policy(inputs)
        rows = [torch.autograd.grad(u[:, i].sum(), inputs, retain_graph=True)[0] for i in range(u.shape[1])]
        return torch.stack(rows, 1).numpy()

    def costs(self, x: Floats) -> Floats:
        """Optimal costs (n,)."""
        cases, at = self._extremals(x)
        return self._collocation.cost(cases, at).numpy()

    def cost_slopes(self, x: Floats) -> Floats:
        """Their derivatives (n, d)."""
        cases, at = self._extremals(x)
        family, system = self.fitted.family, self._collocation.system
        problem, n = family.problem, family.problem.state_size
        first, last = at.Z[:, 0, 0], at.Z[:, -1, -1]
        start = end_cost(problem, cases.t0, first[:, :n], cases.q, is_final=False).gradient
        end = end_cost(problem, at.T, last[:, :n], cases.q, is_final=True).gradient
        t0, q = cases.t0, cases.q
        u = system.control(t0, first[:, :n], first[:, n:], q)
        H = system.hamiltonian(t0, first[:, :n], u, first[:, n:], q)
        by_parameter = start[:, n:-1] + end[:, n:-1] + self._integrated(cases, at)
        columns = {name: first[:, n + i] for i, name in enumerate(problem.states)}
        columns |= {name: by_parameter[:, i] for i, name in enumerate(problem.parameters)}
        columns["initial_time"] = start[:, -1] - H
        return torch.stack([columns[name] for name in family.inputs], -1).detach().numpy()

    def _integrated(self, cases: Cases, at: Extremals) -> Tensor:
        """∫ H_θ dt (n, parameters), by the Gauss formula."""
        collocation, n = self._collocation, self.fitted.family.problem.state_size
        system, weights = collocation.system, collocation.mesh.gauss_weights
        t, z, _ = collocation.fields(cases, at)
        q = cases.q[:, None, None].expand(*t.shape, -1)
        u = system.control(t, z[..., :n], z[..., n:], q)
        with torch.enable_grad():
            q = q.detach().clone().requires_grad_()
            H = system.hamiltonian(t, z[..., :n], u, z[..., n:], q)
            if not H.requires_grad:  # there are no parameters
                return torch.zeros_like(cases.q)
            (H_q,) = torch.autograd.grad(H.sum(), q, allow_unused=True, materialize_grads=True)
        span = (at.T - cases.t0)[:, None, None] * weights
        return (span[..., None] * H_q).sum((1, 2))

    def _extremals(self, x: Floats) -> tuple[Cases, Extremals]:
        points = torch.from_numpy(x)
        operator = self.fitted.operator
        cases = operator.cases(points)
        return cases, polish(self._collocation, cases, operator.extremals(points), steps=STEPS)

    @cached_property
    def _policy(self) -> Policy:
        return self.fitted.policy()

    @cached_property
    def _collocation(self) -> Collocation:
        return Collocation(self.fitted.operator.system, self.fitted.operator.mesh)
