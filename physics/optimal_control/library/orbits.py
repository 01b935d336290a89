"""Transfers between circular orbits with low thrust, in the plane; in units in which the first orbit has radius 1."""

from __future__ import annotations

import torch
from torch import Tensor

from ..problem import Parameters, Problem
from .reference import COLLOCATION, Reference


def orbit_transfer() -> Reference:
    """To a larger orbit in a given time, with the least energy.

        min ½ ∫₀⁴ (u_r² + u_θ²) dt,     (r, v_r, v_θ)(0) = (1, 0, 1),  (r, v_r, v_θ)(4) = (1.5, 0, 1.5^-½)
        r' = v_r,  v_r' = v_θ²/r - μ/r² + u_r,  v_θ' = -v_r v_θ/r + u_θ

    u is the acceleration by thrust, along the radius and along the orbit; attraction μ = 1. In units of the first orbit's
    radius R and of √(R³/GM): for the Earth's orbit 149.6 Gm and 58.13 days, velocities in 29.78 km/s. u = -(p_vr, p_vθ).
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        r, v_r, v = x.unbind(-1)
        return torch.stack([v_r, v**2 / r - θ["attraction"] / r**2 + u[..., 0], -v_r * v / r + u[..., 1]], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return 0.5 * (u**2).sum(-1)

    return Reference(
        name="orbit_transfer",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 4.0),
            initial_state=(1.0, 0.0, 1.0),
            final_state=(1.5, 0.0, 1.5**-0.5),
            control_size=2,
            parameters={"attraction": 1.0},
            state_names=("r", "v_r", "v_t"),
            control_names=("u_r", "u_t"),
        ),
        J=0.014383661278279,
        tolerance=1e-13,
        evidence=COLLOCATION.format(digits="1e-13", direct="3e-13") + " solve_bvp agrees in p(0) to 1e-12.",
        source="Power-limited transfer, as in Marec, Optimal Space Trajectories (1979); ends and time are ours.",
        x_T=(1.5, 0.0, 1.5**-0.5),
        u0=(0.0551241719895, 0.1501510570398),
        p0=(-0.1273344238489, -0.0551241719895, -0.1501510570398),
        H=-0.0127920071338,
    )


def orbit_raising() -> Reference:
    """To the largest circular orbit that constant thrust reaches in a given time, by its direction alone.

        min -r(3.32),     a = F / (1 - q t),     (r, v_r, c)(0) = (1, 0, 1),  v_r(3.32) = 0,  c(3.32) = 1
        r' = v_r,  v_r' = (c² - 1)/r² + a sin u,  c' = √r a cos u - v_r c / (2r)

    u is the angle of the thrust from the direction of flight along the orbit, in rad; thrust F = 0.1405, mass_flow
    q = 0.0749, units as in `orbit_transfer`, gravity 1. The state c = v_θ √r instead of the velocity v_θ makes the
    condition of a circular orbit, v_θ = r^-½, a fixed component. Earth to Mars takes 193 days.

    H is A cos u + B sin u and the rest: one minimum a turn, where H_uu > 0, and one maximum. The angle turns from 0.43
    outwards through π (quickly, near t = 1.7) to 5.44, that is -0.84. The dynamics depend on time.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        r, v_r, c = x.unbind(-1)
        a = θ["thrust"] / (1 - θ["mass_flow"] * t)
        outwards, along = a * torch.sin(u[..., 0]), a * torch.cos(u[..., 0])
        return torch.stack([v_r, (c**2 - 1) / r**2 + outwards, torch.sqrt(r) * along - v_r * c / (2 * r)], -1)

    def end(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
        return -x[..., 0]

    return Reference(
        name="orbit_raising",
        problem=Problem(
            dynamics=rate,
            terminal_cost=end,
            horizon=(0.0, 3.32),
            initial_state=(1.0, 0.0, 1.0),
            final_state=(None, 0.0, 1.0),
            control_size=1,
            parameters={"thrust": 0.1405, "mass_flow": 0.0749},
            state_names=("r", "v_r", "c"),
        ),
        J=-1.52527770064828,
        tolerance=1e-12,
        evidence=COLLOCATION.format(digits="1e-12", direct="5e-11")
        + " solve_bvp agrees in p(0) to 2e-12. Worse local minima, above -1.503, have the thrust turn the other way.",
        source="Moyer & Pinkham (1964) in Bryson & Ho, Applied Optimal Control (1975), section 2.5: radius about 1.525, the "
        "orbit of Mars.",
        x_T=(1.52527770064828, 0.0, 1.0),
        u0=(0.43006300568955,),
        p0=(-0.864757870272402, -0.928933655778115, -2.025156217513822),
    )
