"""Rooms that follow the physics of a fingerprint exactly, for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.battery.drivers import ORIGIN, columns_of
from surrogates.battery.layout import Layout, hand_prior
from surrogates.battery.misfit import Recipe
from surrogates.battery.records import Records
from surrogates.battery.system import system_of

Floats = NDArray[np.float64]
STEP = 0.25
RECIPE = Recipe(stride=3.0)


def weather(units: int, steps: int, seed: int) -> Records:
    """Records without temperatures that mean anything."""
    rng = np.random.default_rng(seed)
    time = np.datetime64("2025-06-01T00:15", "ns") + np.arange(steps) * np.timedelta64(15, "m")
    hour = np.arange(steps) * STEP
    sun = np.maximum(np.sin(2 * np.pi * (hour - 6) / 24), 0) * rng.uniform(0.5, 1, (units, steps))
    held = np.repeat(rng.uniform(0, 2, (units, steps // 6 + 1)), 6, axis=1)[:, :steps]
    return Records(
        tuple(f"room {u}" for u in range(units)), time, STEP, held, 25 + rng.normal(size=(units, steps)),
        28 + 5 * np.sin(2 * np.pi * (hour - 9) / 24) + 0.3 * rng.normal(size=(units, steps)),
        600 * sun[..., None] * rng.uniform(0.3, 1, (units, 1, 5)), 12 + rng.normal(size=(units, steps)),
        np.full((units, steps), 24.0), np.full(units, 2.0), np.ones((units, steps), dtype=bool),
    )  # fmt: skip


def drawn(layout: Layout, units: int, seed: int, spread: float = 0.4) -> Floats:
    mean, deviation = hand_prior(layout)
    θ = mean + spread * deviation * np.random.default_rng(seed).normal(size=(units, layout.size))
    θ[:, layout.observer] = mean[layout.observer]
    return θ


def simulated(θ: Floats, layout: Layout, steps: int, seed: int, noise: float = 0.0) -> Records:
    """Rooms of these fingerprints that follow their physics exactly, read with noise [K]; no innovations."""
    records = weather(len(θ), steps, seed)
    system, z = system_of(θ, layout, STEP), columns_of(records)
    x = np.zeros((len(θ), 4))
    air = np.zeros((len(θ), steps))
    for k in range(steps):
        x = np.einsum("uij,uj->ui", system.Φ, x) + np.einsum("ujm,um->uj", system.G, z[:, k])
        air[:, k] = x[:, 0]
    records.indoor[:] = air + ORIGIN + noise * np.random.default_rng(seed + 1).normal(size=air.shape)
    return records
