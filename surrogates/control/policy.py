"""The first control of a family's cases as a plain torch module, for simulation loops, other programs and ONNX."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from surrogates.errors import DataError
from surrogates.physics.optimal_control import EulerLagrange

from .operator import Operator

#: cases that are evaluated together
BLOCK = 256
#: Newton steps of a policy whose Hamiltonian isn't quadratic in the controls
UNROLLED = 12
#: relative size of a step that changes H by less than rounding
LAST_STEP = 1e-6


class Policy(nn.Module):
    """u at the start of the horizon: inputs (..., d) -> (..., m), in the family's own units and order of inputs.

    For a family over initial states and the initial time it is a feedback law: at time t in state x, the rest of the
    horizon is a case of the family, whose first control is the optimal one (Bellman). p(t0) comes from the network,
    u = argmin H from the problem: in closed form where H is quadratic in u, by twelve safeguarded Newton steps otherwise.
    No input is checked; outside the ranges that were fitted the answer is an extrapolation.
    """

    weights: Tensor
    offset: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        problem = operator.family.problem
        n = problem.state_size
        self.features = operator.features
        offset, modes = operator._sampled((0.0,))
        low, high = operator.family.ranges
        self.register_buffer("weights", operator.weights @ modes[:, 0, n:])  # (L, n), straight to the costates
        self.register_buffer("offset", offset[0, n:])
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self._system = EulerLagrange(problem)
        assert self._system.is_quadratic in (True, False)  # found now: the module may be traced
        self._columns = _columns(operator)

    @staticmethod
    def of(operator: Operator) -> Policy:
        """The policy of a fitted operator.

        Raises
        ------
        DataError
            If a component's initial state is free: then a case doesn't say where its first control is wanted.
        """
        free = [
            name
            for name, value in zip(operator.family.problem.states, operator.family.problem.initial_state, strict=True)
            if value is None
        ]
        if free:
            raise DataError(f"the initial value of {free[0]!r} is free, so that a case has no state to act in")
        return Policy(operator)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., d) -> (..., m)."""
        unit = 2 * (inputs - self.low) / (self.high - self.low) - 1
        p = self.features(unit) @ self.weights + self.offset
        x, t, q = self._columns(inputs)
        u = self._system.explicit_control(t, x, p, q, steps=UNROLLED)
        wants_graph = torch.is_grad_enabled() and p.requires_grad
        if not wants_graph and self._system.is_quadratic:
            return u
        u = _finished(self._system, t, x, p, q, u)
        return u if wants_graph else u.detach()

    def controls(self, inputs: Tensor) -> Tensor:
        """The same as `forward`, without a graph and in blocks that stay in cache: the quicker one for many cases."""
        with torch.no_grad():
            if not inputs.numel():
                raise DataError("there are no cases; give at least one")
            flat = inputs.reshape(-1, inputs.shape[-1])
            parts: list[Tensor] = [self(block) for block in torch.split(flat, BLOCK)]
            return torch.cat(parts).reshape(*inputs.shape[:-1], -1)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the policy as an ONNX file with input "inputs" (batch, d) and output "control" (batch, m), float64.

        Raises
        ------
        MissingExtraError
            If onnx or onnxscript isn't installed.
        """
        from .onnx_export import export

        export(self, path)


def _finished(system: EulerLagrange, t: Tensor, x: Tensor, p: Tensor, q: Tensor, u: Tensor) -> Tensor:
    """The minimiser near u by a last Newton step, too small to be seen in H, and with its derivatives.

    They are -H_uu⁻¹ dH_u in the directions that no bound holds, 0 in the others.
    """
    low, high = system.problem.bounds
    with torch.enable_grad():
        v = u.detach().requires_grad_()
        (g,) = torch.autograd.grad(system.hamiltonian(t, x, v, p, q).sum(), v, create_graph=True)
        C = torch.stack([torch.autograd.grad(row.sum(), v, retain_graph=True)[0] for row in g.unbind(-1)], -2)
    free = ~(((u <= low) & (g > 0)) | ((u >= high) & (g < 0)))
    both = free[..., :, None] & free[..., None, :]
    C = torch.where(both, C, torch.zeros_like(C)) + torch.diag_embed((~free).to(C.dtype))
    step: Tensor = torch.linalg.solve(C, (g * free)[..., None])[..., 0]
    is_last = step.detach().abs() <= LAST_STEP * (1 + u.detach().abs())
    there = u.detach() - torch.where(is_last, step, step - step.detach())
    return there.clamp(low, high)


class _columns:
    """Where a case's state, time and parameters stand among its inputs."""

    def __init__(self, operator: Operator) -> None:
        family, problem = operator.family, operator.family.problem
        place = {name: i for i, name in enumerate(family.inputs)}
        nominal = [
            *[(place.get(name), value) for name, value in zip(problem.states, problem.initial_state, strict=True)],
            (place.get("initial_time") if family.initial_time else None, problem.horizon[0]),
            *[
                (place.get(name) if name in family.parameters else None, value)
                for name, value in problem.parameters.items()
            ],
        ]
        self.sources = [(i, 0.0 if value is None else float(value)) for i, value in nominal]
        self.n = problem.state_size

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        columns = [
            inputs[..., i] if i is not None else torch.full_like(inputs[..., 0], value) for i, value in self.sources
        ]
        whole = torch.stack(columns, -1)
        return whole[..., : self.n], whole[..., self.n], whole[..., self.n + 1 :]
