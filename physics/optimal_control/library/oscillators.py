"""Oscillators, and a scalar system as sensitive as a stiff one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..problem import Parameters, Problem
from .reference import CHEBYSHEV, Reference

GALLERY = "Rutquist & Edvall, PROPT - Matlab Optimal Control Software, TOMLAB (2010)"


def van_der_pol() -> Reference:
    """Van der Pol's oscillator, calmed.

        min ∫₀⁵ (x1² + x2² + w u²) dt,     x1' = μ (1 - x2²) x1 - x2 + u,  x2' = x1,     x(0) = (0, 1)

    damping μ = 1, control_weight w = 1. x2 is the position, x1 the velocity. u = -p1 / (2w). Dimensionless.
    """
    return Reference(
        name="van_der_pol",
        problem=_van_der_pol(None),
        J=2.8669524225633,
        tolerance=1e-12,
        evidence=CHEBYSHEV,
        source=f"{GALLERY}, Van der Pol oscillator, here without bounds.",
        x_T=(0.0664524415261, -0.0518735319806),
        u0=(-0.4116986964983,),
        p0=(0.8233973929967, 4.8741872222811),
        H=0.0071067903049,
    )


def bounded_van_der_pol() -> Reference:
    """`van_der_pol` with -0.3 ≤ u ≤ 1.

    Both bounds act: u = -0.3 up to t = 0.0486083064, u = 1 from 1.0471124285 to 1.4326310993. u = clip(-p1 / (2w)).
    """
    return Reference(
        name="bounded_van_der_pol",
        problem=_van_der_pol([(-0.3, 1.0)]),
        J=2.867261045222,
        tolerance=1e-11,
        evidence="Our own computation: Chebyshev collocation of four arcs with the three switching times as unknowns, two "
        "resolutions equal to 4e-15; single shooting agrees to 4e-12, direct collocation to 1e-8.",
        source=f"{GALLERY}, Van der Pol oscillator, prints 2.867259538: its polynomial crosses the kinks.",
        x_T=(0.066808052150, -0.052116438465),
        u0=(-0.3,),
        p0=(0.832938893084, 4.885658644348),
        H=0.0071794390,
    )


def _van_der_pol(bounds: Sequence[tuple[float, float]] | None) -> Problem:
    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        x1, x2 = x[..., 0], x[..., 1]
        return torch.stack([θ["damping"] * (1 - x2**2) * x1 - x2 + u[..., 0], x1], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return (x**2).sum(-1) + θ["control_weight"] * u[..., 0] ** 2

    return Problem(
        dynamics=rate,
        running_cost=cost,
        horizon=(0.0, 5.0),
        initial_state=(0.0, 1.0),
        control_size=1,
        control_bounds=bounds,
        parameters={"damping": 1.0, "control_weight": 1.0},
    )


def rayleigh() -> Reference:
    """Rayleigh's equation: the current of a tunnel-diode oscillator.

        min ∫₀^2.5 (x1² + u²) dt,     x1' = x2,  x2' = -x1 + (a - b x2²) x2 + k u,     x(0) = (-5, -5)

    damping a = 1.4, cubic_damping b = 0.14, gain k = 4. u = -k p2 / 2. Dimensionless.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        x1, x2 = x[..., 0], x[..., 1]
        force = (θ["damping"] - θ["cubic_damping"] * x2**2) * x2
        return torch.stack([x2, -x1 + force + θ["gain"] * u[..., 0]], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return x[..., 0] ** 2 + u[..., 0] ** 2

    return Reference(
        name="rayleigh",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 2.5),
            initial_state=(-5.0, -5.0),
            control_size=1,
            parameters={"damping": 1.4, "cubic_damping": 0.14, "gain": 4.0},
        ),
        J=29.376079655943,
        tolerance=1e-11,
        evidence=CHEBYSHEV,
        source=f"{GALLERY}, Rayleigh problem without bounds: 29.376079656, equal.",
        x_T=(1.420976621152, 1.846630433544),
        u0=(5.162796372184,),
        p0=(-8.737062564584, -2.581398186092),
        H=2.0191745579,
    )


def hyper_sensitive() -> Reference:
    """Long horizon, both ends given: the solution leaves 1, rests near 0, and ends in 1.5.

        min ∫₀¹⁰ (x² + u²) dt,     x' = -s x³ + u,     x(0) = 1,  x(10) = 1.5;     stiffness s = 1

    At rest errors of p(0) grow e-fold in each unit of time, so that forward shooting is useless. u = -p / 2. Dimensionless.
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return torch.stack([-θ["stiffness"] * x[..., 0] ** 3 + u[..., 0]], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return x[..., 0] ** 2 + u[..., 0] ** 2

    return Reference(
        name="hyper_sensitive",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 10.0),
            initial_state=(1.0,),
            final_state=(1.5,),
            control_size=1,
            parameters={"stiffness": 1.0},
        ),
        J=6.723925388877,
        tolerance=1e-11,
        evidence=CHEBYSHEV,
        source=f"Rao & Mease, Optimal Control Applications and Methods 21 (2000) 1-19; {GALLERY}, prints 6.723925391.",
        x_T=(1.5,),
        u0=(-0.414146950407,),
        p0=(0.828293900815,),
        H=0.0001884027,
    )
