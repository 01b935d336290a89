"""Problems whose solution is a formula."""

from __future__ import annotations

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

from ..problem import Parameters, Problem
from .reference import Reference, Solution

CLOSED = "Closed form."


def scalar_lq() -> Reference:
    """Linear dynamics, quadratic cost, one state.

        min ½ ∫₀¹ (x² + w u²) dt,     x' = -a x + u,     x(0) = 1;     decay a = 1, control_weight w = 1

    At these parameters, with r = √2 and b = -(cosh r + r sinh r) / (r cosh r + sinh r),

        x = cosh rt + b sinh rt,     u = -p = (1 + rb) cosh rt + (r + b) sinh rt,     J = p(0) / 2.

    Dimensionless.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return torch.stack([-θ["decay"] * x[..., 0] + u[..., 0]], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return 0.5 * (x[..., 0] ** 2 + θ["control_weight"] * u[..., 0] ** 2)

    r = math.sqrt(2)
    b = -(math.cosh(r) + r * math.sinh(r)) / (r * math.cosh(r) + math.sinh(r))

    def exact(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c, s = torch.cosh(r * t), torch.sinh(r * t)
        u = (1 + r * b) * c + (r + b) * s
        return (c + b * s)[..., None], u[..., None], -u[..., None]

    p0 = -(1 + r * b)
    return Reference(
        name="scalar_lq",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 1.0),
            initial_state=(1.0,),
            control_size=1,
            parameters={"decay": 1.0, "control_weight": 1.0},
        ),
        J=p0 / 2,
        tolerance=1e-14,
        evidence=CLOSED,
        source="Textbook linear-quadratic regulator, as in Bryson & Ho, Applied Optimal Control (1975), section 5.2.",
        x_T=_at(exact, 1.0)[0],
        u0=(-p0,),
        p0=(p0,),
        H=0.5 - 0.5 * p0**2 - p0,
        exact=exact,
    )


def double_integrator() -> Reference:
    """A mass brought to rest at the origin, nearly, with little force.

        min ½ w |x(2)|² + ½ ∫₀² u² dt,     x1' = x2,  x2' = u,     x(0) = (1, 0);     end_weight w = 10

    At this weight p1 = a, p2 = c + a (2 - t), u = -p2 with a = 210/181, c = -200/181, and J = 105/181. Dimensionless.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return torch.stack([x[..., 1], u[..., 0]], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return 0.5 * u[..., 0] ** 2

    def end(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
        return 0.5 * θ["end_weight"] * (x**2).sum(-1)

    a, c = 210 / 181, -200 / 181

    def exact(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p1, p2 = a * torch.ones_like(t), c + a * (2 - t)
        x2 = -c * t - a * (2 * t - t**2 / 2)
        x1 = 1 - c * t**2 / 2 - a * (t**2 - t**3 / 6)
        return torch.stack([x1, x2], -1), -p2[..., None], torch.stack([p1, p2], -1)

    return Reference(
        name="double_integrator",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            terminal_cost=end,
            horizon=(0.0, 2.0),
            initial_state=(1.0, 0.0),
            control_size=1,
            parameters={"end_weight": 10.0},
        ),
        J=105 / 181,
        tolerance=1e-14,
        evidence=CLOSED,
        source="Textbook problem with a soft end condition, as in Bryson & Ho, Applied Optimal Control (1975), section 5.2.",
        x_T=(21 / 181, -20 / 181),
        u0=(-220 / 181,),
        p0=(a, 220 / 181),
        H=-0.5 * (220 / 181) ** 2,
        exact=exact,
    )


def scalar_mayer() -> Reference:
    """One nonlinear state whose end value is maximised; the control costs by slowing the growth.

        min -x(2),     x' = k (-x + x u - u²),     x(0) = 1;     rate k = 5/2

    With E = e^{kt}: u = x/2, x = 4 / (1 + 3E), p = -(1 + 3E)² / (E (e^{-2k} + 6 + 9 e^{2k})), J = -4 / (1 + 3 e^{2k}).
    H is convex in u since p < 0. Dimensionless. A direct method without a bound on u may run away: x' -> -∞ with u.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        x1, v = x[..., 0], u[..., 0]
        return torch.stack([θ["rate"] * (-x1 + x1 * v - v**2)], -1)

    def end(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
        return -x[..., 0]

    k = 2.5
    scale = math.exp(-2 * k) + 6 + 9 * math.exp(2 * k)

    def exact(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        E = torch.exp(k * t)
        x = 4 / (1 + 3 * E)
        return x[..., None], x[..., None] / 2, (-((1 + 3 * E) ** 2) / (E * scale))[..., None]

    J = -4 / (1 + 3 * math.exp(2 * k))
    return Reference(
        name="scalar_mayer",
        problem=Problem(
            dynamics=rate,
            terminal_cost=end,
            horizon=(0.0, 2.0),
            initial_state=(1.0,),
            control_size=1,
            parameters={"rate": k},
        ),
        J=J,
        tolerance=1e-16,
        evidence=CLOSED,
        source="Garg et al., Automatica 46 (2010) 1843-1851, first example.",
        x_T=(-J,),
        u0=(0.5,),
        p0=(-16 / scale,),
        H=k * 12 / scale,
        exact=exact,
    )


def brachistochrone() -> Reference:
    """The slide on which a bead falls fastest to a given point; the time is free.

        min T,     X' = v sin u,  Y' = v cos u,  v' = g cos u,     (X, Y, v)(0) = 0,  (X, Y)(T) = (10, 5)

    X in m to the side, Y in m downwards, v in m/s, u in rad from the vertical; gravity g = 9.80665 m/s². J in s.
    The slide is a cycloid of a wheel of radius R, which turns by φ = t √(g/R):

        X = R (φ - sin φ),  Y = R (1 - cos φ),  v = 2 √(gR) sin φ/2,  u = φ/2,     T = φ(T) √(R/g),  H = 0.

    H = 1 + A cos u + B sin u has one minimum a turn, where H_uu = 1, and one maximum between. The bounds
    -π/2 ≤ u ≤ 3π/2 keep u within one turn around the middle, to the side; they don't act.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        v, sine, cosine = x[..., 2], torch.sin(u[..., 0]), torch.cos(u[..., 0])
        return torch.stack([v * sine, v * cosine, θ["gravity"] * cosine], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return torch.ones_like(x[..., 0])

    g, X_T, Y_T = 9.80665, 10.0, 5.0
    φ_T = float(brentq(lambda φ: (φ - math.sin(φ)) * Y_T - (1 - math.cos(φ)) * X_T, 1.0, 6.0, xtol=1e-15, rtol=1e-15))
    R = Y_T / (1 - math.cos(φ_T))
    speed = 2 * math.sqrt(g * R)

    def exact(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        φ = math.sqrt(g / R) * t
        v = speed * torch.sin(φ / 2)
        x = torch.stack([R * (φ - torch.sin(φ)), R * (1 - torch.cos(φ)), v], -1)
        p_Y = -1 / (speed * math.tan(φ_T / 2))  # the end speed is free: p_v(T) = 0
        p = torch.stack([-torch.ones_like(t) / speed, p_Y * torch.ones_like(t), -(torch.cos(φ / 2) + p_Y * v) / g], -1)
        return x, φ[..., None] / 2, p

    T = φ_T * math.sqrt(R / g)
    return Reference(
        name="brachistochrone",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 2.0),
            initial_state=(0.0, 0.0, 0.0),
            final_state=(X_T, Y_T, None),
            control_size=1,
            control_bounds=[(-math.pi / 2, 3 * math.pi / 2)],
            free_final_time=True,
            parameters={"gravity": g},
            state_names=("X", "Y", "v"),
        ),
        J=T,
        tolerance=1e-13,
        evidence=CLOSED,
        source="Johann Bernoulli (1696); ends and gravity as in the Dymos documentation, which prints T = 1.8016 s.",
        x_T=(X_T, Y_T, speed * math.sin(φ_T / 2)),
        u0=(0.0,),
        p0=_at(exact, 0.0)[2],
        H=0.0,
        final_time=T,
        exact=exact,
    )


def _at(exact: Solution, t: float) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    x, u, p = (tuple(a.tolist()) for a in exact(torch.tensor(t, dtype=torch.float64)))
    return x, u, p
