"""Machines that move fast: a swinging pole, a flying cross."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..problem import Parameters, Problem
from .reference import COLLOCATION, Reference


def cart_pole() -> Reference:
    """A cart swings its hanging pole up and stops 1 m further on, with the least force.

        min ∫₀² F² dt,     |F| ≤ 20 N,     (q, φ, v, ω)(0) = 0,  (q, φ, v, ω)(2 s) = (1 m, π, 0, 0)
        q' = v,  v' = (m l ω² sin φ + F + m g sin φ cos φ) / (M + m sin² φ),
        φ' = ω,  ω' = -(m l ω² sin φ cos φ + F cos φ + (M + m) g sin φ) / (l (M + m sin² φ))

    q in m, φ in rad from hanging, J in N² s; cart_mass M = 1 kg, pole_mass m = 0.3 kg at the end of a pole of length
    l = 0.5 m, gravity g = 9.81 m/s². The bound doesn't act, |F| < 14 N, nor does Kelly's |q| ≤ 2 m, left out here.

    There are two good answers, and worse ones. The best swings three times, first backwards. A direct method that starts
    from a straight line ends in the second, which swings twice: p(0) = (3.6189552790, -52.0012190071, 4.8504765275,
    4.2899048164).
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        φ, v, ω = x[..., 1], x[..., 2], x[..., 3]
        sine, cosine = torch.sin(φ), torch.cos(φ)
        M, m, l, g = θ["cart_mass"], θ["pole_mass"], θ["length"], θ["gravity"]
        push = u[..., 0] + m * l * ω**2 * sine
        total = M + m * sine**2
        turn = -(push * cosine + (M + m) * g * sine) / (l * total)
        return torch.stack([v, ω, (push + m * g * sine * cosine) / total, turn], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return u[..., 0] ** 2

    return Reference(
        name="cart_pole",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 2.0),
            initial_state=(0.0, 0.0, 0.0, 0.0),
            final_state=(1.0, math.pi, 0.0, 0.0),
            control_size=1,
            control_bounds=[(-20.0, 20.0)],
            parameters={"cart_mass": 1.0, "pole_mass": 0.3, "length": 0.5, "gravity": 9.81},
            state_names=("q", "phi", "v", "omega"),
            control_names=("F",),
        ),
        J=57.94478030673,
        tolerance=1e-10,
        evidence=COLLOCATION.format(digits="5e-12", direct="4e-10")
        + " solve_bvp agrees in p(0) to 1e-9. The best of the minima that 75 random starts of the direct method led to.",
        source="Kelly, SIAM Review 59 (2017) 849-904, section 6; no cost is printed there.",
        x_T=(1.0, math.pi, 0.0, 0.0),
        u0=(-6.861147322394,),
        p0=(6.305902970092, -35.561807630967, 4.341305794683, -4.690494425053),
        H=-47.07534257959,
        other_minima=(58.80766745817,),
    )


def quadrotor() -> Reference:
    """A planar quadrotor flies from rest to rest, 2 m aside and 1 m up in 2 s, with the least thrust.

        min ∫₀² (F1² + F2²) dt,     (y, z, φ, v, w, ω)(0) = 0,  (y, z, φ, v, w, ω)(2 s) = (2 m, 1 m, 0, 0, 0, 0)
        y' = v,  v' = -(F1 + F2) sin φ / m,     z' = w,  w' = (F1 + F2) cos φ / m - g,     φ' = ω,  ω' = (F1 - F2) r / I

    Lengths in m, φ in rad, F in N, J in N² s; mass m = 0.486 kg, inertia I = 0.00383 kg m², arm r = 0.25 m, gravity
    g = 9.81 m/s². Six states, two controls, smooth. Hovering costs 22.73 N² s of J.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        φ, v, w, ω = x[..., 2], x[..., 3], x[..., 4], x[..., 5]
        lift = u.sum(-1) / θ["mass"]
        turn = (u[..., 0] - u[..., 1]) * θ["arm"] / θ["inertia"]
        return torch.stack([v, w, ω, -lift * torch.sin(φ), lift * torch.cos(φ) - θ["gravity"], turn], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return (u**2).sum(-1)

    return Reference(
        name="quadrotor",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 2.0),
            initial_state=(0.0,) * 6,
            final_state=(2.0, 1.0, 0.0, 0.0, 0.0, 0.0),
            control_size=2,
            parameters={"mass": 0.486, "inertia": 0.00383, "arm": 0.25, "gravity": 9.81},
            state_names=("y", "z", "phi", "v", "w", "omega"),
            control_names=("F1", "F2"),
        ),
        J=23.817522171269,
        tolerance=1e-11,
        evidence=COLLOCATION.format(digits="1e-12", direct="4e-12")
        + " solve_bvp agrees in p(0) to 1e-10. Other local minima, above 27, turn over.",
        source="Model and constants as of the planar quadrotor in Tedrake's Underactuated Robotics; the task is ours.",
        x_T=(2.0, 1.0, 0.0, 0.0, 0.0, 0.0),
        u0=(1.88402718506985, 3.607301436355171),
        p0=(-0.907098381304, -0.357629288742, 0.736333208449, -0.902233342365, -2.668785710013, 0.02640056153),
        H=9.618605728411,
    )
