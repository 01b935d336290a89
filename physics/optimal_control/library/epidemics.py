"""Vaccination against an epidemic."""

from __future__ import annotations

import torch
from torch import Tensor

from ..problem import Parameters, Problem
from .reference import COLLOCATION, Reference


def epidemic() -> Reference:
    """Vaccination in an SEIR model with births and deaths.

        min ∫₀²⁰ (A I + u²) dt,     0 ≤ u ≤ 0.9
        S' = b N - d S - c S I - u S,     E' = c S I - (e + d) E,
        I' = e E - (g + a + d) I,         N' = (b - d) N - a I,     (S, E, I, N)(0) = (1000, 100, 50, 1165)

    S, E, I, N count susceptible, exposed, infectious and all individuals; those recovered are the rest. u is the rate of
    vaccination. Rates per unit of time: birth b = 0.525, death d = 0.5, onset e = 0.5, recovery g = 0.1, fatality
    a = 0.2; contact c = 0.001 for each individual; illness_weight A = 0.1.

    u = clip(p_S S / 2, 0, 0.9) is at its upper bound up to t = 1.0423131149, and falls to 0 at the end. States are of the
    order of 10³, costates of 10⁻².
    """

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        S, E, I, N = x.unbind(-1)
        infection = θ["contact"] * S * I
        return torch.stack(
            [
                θ["birth"] * N - θ["death"] * S - infection - u[..., 0] * S,
                infection - (θ["onset"] + θ["death"]) * E,
                θ["onset"] * E - (θ["recovery"] + θ["fatality"] + θ["death"]) * I,
                (θ["birth"] - θ["death"]) * N - θ["fatality"] * I,
            ],
            -1,
        )

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return θ["illness_weight"] * x[..., 2] + u[..., 0] ** 2

    return Reference(
        name="epidemic",
        problem=Problem(
            dynamics=rate,
            running_cost=cost,
            horizon=(0.0, 20.0),
            initial_state=(1000.0, 100.0, 50.0, 1165.0),
            control_size=1,
            control_bounds=[(0.0, 0.9)],
            parameters={
                "birth": 0.525,
                "death": 0.5,
                "contact": 0.001,
                "onset": 0.5,
                "recovery": 0.1,
                "fatality": 0.2,
                "illness_weight": 0.1,
            },
            state_names=("S", "E", "I", "N"),
        ),
        J=24.18567471866,
        tolerance=1e-10,
        evidence=COLLOCATION.format(digits="1e-12 relative", direct="6e-8, which its mesh allows")
        + " solve_bvp agrees in p(0) to 1e-12.",
        source="Lenhart & Workman, Optimal Control Applied to Biological Models (2007), lab 7; the book prints no cost. "
        "The contact rate is one at which the bound acts.",
        x_T=(1773.6031851038, 1.8170108175, 1.0902835900, 1857.1431001321),
        u0=(0.9,),
        p0=(0.003489846023006, 0.101096516957894, 0.20664639926076, 0.011147182944849),
        H=0.1090283589959,
    )
