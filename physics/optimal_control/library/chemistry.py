"""Chemical reactors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..problem import Parameters, Problem
from .reference import CHEBYSHEV, COLLOCATION, Reference


def stirred_tank() -> Reference:
    """A stirred tank with an exothermic reaction, cooled back to its unstable steady state.

        min (x1² + x2²)(0.78) + ½ ∫₀^0.78 (x1² + x2² + w u²) dt
        x1' = -2 (x1 + ¼) + E - (x1 + ¼) u,  x2' = ½ - x2 - E,     E = (x2 + ½) exp(a x1 / (x1 + 2)),  x(0) = (0.05, 0)

    x1 and x2 are the deviations of temperature and concentration, u that of the coolant's flow, all dimensionless;
    activation a = 25, control_weight w = 0.1. u = (x1 + ¼) p1 / w. The scales are far apart: x ~ 0.05, u ~ 2, J ~ 0.01.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        x1, x2 = x[..., 0], x[..., 1]
        E = (x2 + 0.5) * torch.exp(θ["activation"] * x1 / (x1 + 2))
        return torch.stack([-2 * (x1 + 0.25) + E - (x1 + 0.25) * u[..., 0], 0.5 - x2 - E], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return 0.5 * ((x**2).sum(-1) + θ["control_weight"] * u[..., 0] ** 2)

    def end(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
        return (x**2).sum(-1)

    return Reference(
        name="stirred_tank",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            terminal_cost=end,
            horizon=(0.0, 0.78),
            initial_state=(0.05, 0.0),
            control_size=1,
            parameters={"activation": 25.0, "control_weight": 0.1},
        ),
        J=0.0142139687832933,
        tolerance=1e-14,
        evidence=CHEBYSHEV,
        source="Kirk, Optimal Control Theory (1970), example 6.2-2, with half the running cost and an end cost.",
        x_T=(-0.0087379521789113, -0.0183429248497548),
        u0=(1.7079095847651,),
        p0=(0.5693031949217, 0.0946420334599),
        H=-0.0021745264,
    )


def batch_reactor() -> Reference:
    """The temperature of a batch reactor, A -> B -> C, that leaves the most B.

        min -B(1),     A' = -u A²,  B' = u A² - κ u² B,     (A, B)(0) = (1, 0)

    The control is the first reaction's rate constant instead of the temperature T: with u = 4000 exp(-2500 K / T), the
    second constant, 620000 exp(-5000 K / T), is κ u², loss κ = 620000 / 4000². 298 K ≤ T ≤ 398 K bounds u. Concentrations
    in units of A(0), time in units of the horizon.

    H = (p_B - p_A) A² u - p_B κ B u² is convex in u, since p_B < 0, but linear at t = 0, where B = 0: the upper bound
    acts there, up to t = 0.0068198122, and the control falls steeply behind it, as 1/B.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        A, B, k = x[..., 0], x[..., 1], u[..., 0]
        first = k * A**2
        return torch.stack([-first, first - θ["loss"] * k**2 * B], -1)

    def end(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
        return -x[..., 1]

    low, high = (4000 * math.exp(-2500 / T) for T in (298, 398))
    return Reference(
        name="batch_reactor",
        problem=Problem(
            dynamics=rate,
            terminal_cost=end,
            horizon=(0.0, 1.0),
            initial_state=(1.0, 0.0),
            control_size=1,
            control_bounds=[(low, high)],
            parameters={"loss": 620000 / 4000**2},
            state_names=("A", "B"),
            control_names=("k",),
        ),
        J=-0.6108029205534,
        tolerance=1e-12,
        evidence=COLLOCATION.format(digits="1e-13", direct="5e-7, which its mesh allows")
        + " solve_bvp agrees in p(0) to 1e-9.",
        source="Renfro, Morshedi & Asbjornsen, Computers & Chemical Engineering 11 (1987) 503-517; piecewise controls give "
        "0.610775 in Dadebo & McAuley, Computers & Chemical Engineering 19 (1995) 513-525.",
        x_T=(0.298412726338, 0.610802920553),
        u0=(high,),
        p0=(-0.778041298504, -0.789234568543),
        H=-0.083759978784,
    )
