"""The same problem in other units: states, controls and cost of order one, time from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surrogates.errors import ProblemError

from .checks import known_state, middle_control
from .problem import EndCost, Parameters, Problem


@dataclass(frozen=True)
class Scales:
    """Units of a scaled problem: x = D_x ξ, u = D_u v, J = J_s j, t = t0 + (T - t0) s, and so p = J_s D_x⁻¹ π.

    state : D_x, n positive numbers; control : D_u, m positive numbers; cost : J_s > 0
    """

    state: tuple[float, ...]
    control: tuple[float, ...]
    cost: float

    def __post_init__(self) -> None:
        for name, values in (("state", self.state), ("control", self.control), ("cost", (self.cost,))):
            if not all(math.isfinite(v) and v > 0 for v in values):
                raise ProblemError(f"the scales of {name} are {values}; they must be finite and above 0")


def scaled(problem: Problem, scales: Scales) -> Problem:
    """The problem whose states, controls and costs are measured in `scales`, over the horizon [0, 1].

    Its Euler-Lagrange system is the original's in the new variables:
    ξ' = T D_x⁻¹ f, π' = -(T/J_s) D_x H_x, H_v = D_u H_u / J_s, π(T) = D_x Φ_x / J_s.

    Raises
    ------
    ProblemError
        If the numbers of scales aren't the problem's, or its final time is free.
    """
    if (len(scales.state), len(scales.control)) != (problem.state_size, problem.control_size):
        raise ProblemError(
            f"there are {len(scales.state)} state and {len(scales.control)} control scales; the problem has "
            f"{problem.state_size} states and {problem.control_size} controls"
        )
    if problem.free_final_time:
        raise ProblemError("a problem with free final time can't be scaled to the horizon [0, 1]; fix the time first")
    D_x = torch.tensor(scales.state, dtype=torch.float64)
    D_u = torch.tensor(scales.control, dtype=torch.float64)
    start, end = problem.horizon
    span = end - start

    def dynamics(s: Tensor, ξ: Tensor, v: Tensor, θ: Parameters) -> Tensor:
        return span * problem.dynamics(start + span * s, D_x * ξ, D_u * v, θ) / D_x

    def running(s: Tensor, ξ: Tensor, v: Tensor, θ: Parameters) -> Tensor:
        assert problem.running_cost is not None
        return span * problem.running_cost(start + span * s, D_x * ξ, D_u * v, θ) / scales.cost

    def at_end(cost: EndCost | None) -> EndCost | None:
        return None if cost is None else (lambda s, ξ, θ: cost(start + span * s, D_x * ξ, θ) / scales.cost)

    ends = [
        [None if v is None else v / d for v, d in zip(values, scales.state, strict=True)]
        for values in problem.given_at_ends
    ]
    bounds = [(lo / d, hi / d) for (lo, hi), d in zip(problem.bounds.T.tolist(), scales.control, strict=True)]
    return replace(
        problem,
        dynamics=dynamics,
        running_cost=None if problem.running_cost is None else running,
        terminal_cost=at_end(problem.terminal_cost),
        initial_cost=at_end(problem.initial_cost),
        horizon=(0.0, 1.0),
        initial_state=ends[0],
        final_state=ends[1],
        control_bounds=bounds,
    )


def unscaled(z: Tensor, scales: Scales) -> Tensor:
    """(x, p) from (ξ, π), (..., 2n): p = J_s D_x⁻¹ π."""
    D_x = torch.tensor(scales.state, dtype=z.dtype)
    return z * torch.cat([D_x, scales.cost / D_x])


def natural_scales(problem: Problem) -> Scales:
    """Units from what is given, without solving the problem; good to an order of magnitude.

    D_x : largest of |x(t0)| and |x(T)|; where both are 0 what the rates do to it over the horizon while the controls
        rest, but no more than ten times the largest state given
    D_u : half the distance of the bounds, else the control that moves the states by D_x over the horizon
    J_s : the cost of resting at the given states, with these controls
    """
    x, u = known_state(problem), middle_control(problem)
    t0, T = problem.horizon
    t = torch.tensor(t0, dtype=torch.float64)
    θ = {name: torch.tensor(value, dtype=torch.float64) for name, value in problem.parameters.items()}
    ends = [[v if v is not None else 0.0 for v in values] for values in problem.given_at_ends]
    D_x = torch.tensor(ends, dtype=torch.float64).abs().amax(0)
    drift = (T - t0) * problem.dynamics(t, x, u, θ).detach().abs()
    typical = float(D_x.max()) or 1.0
    D_x = torch.where(D_x > 0, D_x, drift.clamp(max=10 * typical))
    D_x = torch.where(D_x > 1e-3 * typical, D_x, typical)
    f_u = torch.func.jacrev(lambda v: problem.dynamics(t, x + 0.1 * D_x, v, θ))(u)  # (n, m)
    reach = (T - t0) * (f_u.detach().abs() / D_x[:, None]).amax(0)
    low, high = problem.bounds
    D_u = torch.where((high - low).isfinite(), (high - low) / 2, torch.where(reach > 0, 1 / reach, 1.0))
    cost = 0.0
    if problem.running_cost is not None:
        cost += (T - t0) * float(problem.running_cost(t, x + 0.1 * D_x, u + D_u, θ).detach().abs())
    if problem.terminal_cost is not None:
        cost += float(problem.terminal_cost(torch.tensor(T, dtype=torch.float64), x + 0.1 * D_x, θ).detach().abs())
    return Scales(tuple(D_x.tolist()), tuple(D_u.tolist()), cost or 1.0)
