"""From a fingerprint to the exact step of a room: x⁺ = Φ x + G z, and how both change with the fingerprint.

Symbols, as in the page of mathematics (all temperatures above `drivers.ORIGIN`):

    x = (T_a, M, M2, d)   air, inner mass, deep mass [K], disturbance [K/h]
    z                     drivers of an interval (`drivers.columns_of`)
    dx/dt = A x + B C z,  B places heat in air and inner mass, C holds their gains;  (Φ, Γ) is the exact zero-order hold of
                          (A, B), G = Γ C
    e = T_a measured - T_a foreseen;  x̂ = x⁻ + K e;  in a forecast, K Σ ρ_j m_j of what was usual is added each step
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.physics.virtual_battery import Stores

from .drivers import gain_columns, power_column, sun_columns
from .layout import LARGEST_VARIATION, RATES, STATES, Layout

Floats = NDArray[np.float64]
N, N_RATES = len(STATES), len(RATES)


class System(NamedTuple):
    """The discrete room of each of U units.

    Φ : (U, 4, 4); G : (U, 4, m); K : (U, 4), observer gains; shares : (U, J), ρ of the memories of innovations;
    start : (U, 4) offsets of the state at a record's start
    """

    Φ: Floats
    G: Floats
    K: Floats
    shares: Floats
    start: Floats


class Slopes(NamedTuple):
    """Derivatives of a `System` by its P parameters.

    Φ : (U, 7, 4, 4), by the seven rates; the other parameters leave it alone
    G : (U, P, 4, m)
    """

    Φ: Floats
    G: Floats


def system_of(θ: Floats, layout: Layout, step_hours: float) -> System:
    """The rooms that fingerprints θ (U, P) describe."""
    Φ, Γ = _hold(θ, layout, step_hours)
    return _assembled(θ, layout, Φ, Γ @ gains_of(θ, layout))


def slopes_of(θ: Floats, layout: Layout, step_hours: float) -> tuple[System, Slopes]:
    """The rooms, and their derivatives."""
    Φ, Γ, dΦ, dΓ = _hold_and_slopes(θ, layout, step_hours)
    C, dC = gains_of(θ, layout), _gain_slopes(θ, layout)
    dG = Γ[:, None] @ dC  # (U, P, 4, m)
    dG[:, :N_RATES] += dΓ @ C[:, None]
    return _assembled(θ, layout, Φ, Γ @ C), Slopes(dΦ, dG)


def _assembled(θ: Floats, layout: Layout, Φ: Floats, G: Floats) -> System:
    start = np.zeros((len(θ), N))
    start[:, 1:3] = θ[:, layout.start]
    return System(Φ, G, θ[:, layout.observer], θ[:, layout.shares], start)


def variation_of(θ: Floats, layout: Layout) -> Floats:
    """(..., 3) how cooling varies with outdoor temperature, humidity and load."""
    return np.asarray(LARGEST_VARIATION) * np.tanh(θ[..., layout.variation])


def gains_of(θ: Floats, layout: Layout) -> Floats:
    """C: what each driver gives to the air and to the inner mass.  (U, P) -> (U, 2, m) [K/h per driver]"""
    C = np.zeros((len(θ), 2, layout.columns))
    C[:, 0, 0], C[:, 1, 0] = np.exp(θ[:, 0]), np.exp(θ[:, 3])  # air to outdoor, mass to outdoor
    C[:, 0, sun_columns(layout)], C[:, 1, sun_columns(layout)] = (
        np.exp(θ[:, layout.sun_on_air]),
        np.exp(θ[:, layout.sun_on_mass]),
    )
    C[:, 0, gain_columns(layout)] = θ[:, layout.gains]
    b = np.exp(θ[:, layout.cooling])[:, None]
    C[:, 0, power_column(layout)] = -b * np.concatenate([np.ones_like(b), variation_of(θ, layout)], axis=1)
    return C


def _gain_slopes(θ: Floats, layout: Layout) -> Floats:
    """(U, P, 2, m)"""
    U, P = θ.shape
    C = gains_of(θ, layout)
    dC = np.zeros((U, P, 2, layout.columns))
    dC[:, 0, 0, 0], dC[:, 3, 1, 0] = C[:, 0, 0], C[:, 1, 0]
    for node, place in ((0, layout.sun_on_air), (1, layout.sun_on_mass)):
        for k in range(place.stop - place.start):
            column = sun_columns(layout).start + k
            dC[:, place.start + k, node, column] = C[:, node, column]
    for k in range(layout.gains.stop - layout.gains.start):
        dC[:, layout.gains.start + k, 0, gain_columns(layout).start + k] = 1
    power = power_column(layout)
    dC[:, layout.cooling, 0, power] = C[:, 0, power]
    b = np.exp(θ[:, layout.cooling])
    tanh = np.tanh(θ[:, layout.variation])
    for k, largest in enumerate(LARGEST_VARIATION):
        dC[:, layout.variation.start + k, 0, power.start + 1 + k] = -b * largest * (1 - tanh[:, k] ** 2)
    return dC


@cache
def _patterns() -> Tensor:
    """(7, 4, 4): the generator is linear in the rates; what each contributes."""
    patterns = torch.zeros(N_RATES, N, N, dtype=torch.float64)
    for k in range(N_RATES - 1):
        rates = [torch.tensor(float(j == k), dtype=torch.float64) for j in range(N_RATES - 1)]
        patterns[k, :3, :3] = Stores(*rates).generator()
    patterns[N_RATES - 1, 3, 3] = -1  # the disturbance decays
    return patterns


def _generator(θ: Floats, layout: Layout, step_hours: float) -> tuple[Tensor, Tensor]:
    """[[A, B], [0, 0]] Δt (U, 6, 6), and the parts of it that each rate contributes (U, 7, 6, 6)."""
    U = len(θ)
    rates = torch.from_numpy(np.exp(θ[:, layout.rates]))
    parts = torch.zeros(U, N_RATES, N + 2, N + 2, dtype=torch.float64)
    parts[:, :, :N, :N] = rates[:, :, None, None] * _patterns() * step_hours
    M = parts.sum(1)
    M[:, 0, 3] = step_hours  # the disturbance heats the air
    M[:, 0, N] = M[:, 1, N + 1] = step_hours
    return M, parts


def _hold(θ: Floats, layout: Layout, step_hours: float) -> tuple[Floats, Floats]:
    M, _ = _generator(θ, layout, step_hours)
    E = torch.linalg.matrix_exp(M).numpy()
    return E[:, :N, :N].copy(), E[:, :N, N:].copy()


def _hold_and_slopes(θ: Floats, layout: Layout, step_hours: float) -> tuple[Floats, Floats, Floats, Floats]:
    """Φ, Γ and their derivatives, from exp([[M, dM], [0, M]]) = [[exp M, d exp M], [0, exp M]] (Van Loan 1978)."""
    M, parts = _generator(θ, layout, step_hours)
    U, size = len(θ), N + 2
    block = torch.zeros(U, N_RATES, 2 * size, 2 * size, dtype=torch.float64)
    block[:, :, :size, :size] = block[:, :, size:, size:] = M[:, None]
    block[:, :, :size, size:] = parts
    E = torch.linalg.matrix_exp(block).numpy()
    value, slope = E[:, 0, :size, :size], E[:, :, :size, size:]
    return value[:, :N, :N].copy(), value[:, :N, N:].copy(), slope[..., :N, :N].copy(), slope[..., :N, N:].copy()
