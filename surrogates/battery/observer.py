"""The two runs from which every forecast of a record follows.

*Observed*: x̂ = x⁻ + K e wherever the air was measured. *Free*: never corrected, but with the innovations that are usual at
the hour and on the kind of day, X⁺ = Φ X + G z + K ē, where ē = Σ_j ρ_j m_j (`habits`) was known 24 h before. Since the room
is linear, the open-loop forecast from any start s is

    T(s + h) = X_a(s + h) + [Φ^h (x̂(s) - X(s))]_a

so that all starts and horizons cost two runs and one product. Sensitivities by all parameters go through the same two runs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .habits import Habits
from .layout import Layout
from .system import N_RATES, N, Slopes, System

Floats = NDArray[np.float64]
#: steps whose forcing is computed at once: keeps it in cache
BLOCK = 256


class Runs(NamedTuple):
    """What the two runs leave. q = 1, or 1 + P with sensitivities: entry 0 is the value, the rest its derivatives.

    innovation : (T, U, q), 0 where nothing was measured
    free : (T, U, q) air of the free run above ORIGIN
    departure : (S, U, 4, q) x̂(s) - X(s)
    observed : (S, U, 4) x̂(s), values only
    usual : (T, U) ē, values only
    """

    innovation: Floats
    free: Floats
    departure: Floats
    observed: Floats
    usual: Floats


def run(
    system: System,
    slopes: Slopes | None,
    layout: Layout,
    drivers: Floats,
    measured: Floats,
    starts: NDArray[np.int64],
    *,
    lag: int,
) -> Runs:
    """Both runs over a record.

    Parameters
    ----------
    system, slopes : the U rooms, and their derivatives where sensitivities are wanted
    drivers : (U, T, m); row k leads from the end of row k - 1 to the end of row k; the calendar is that of all units
    measured : (U, T) air above ORIGIN, NaN where unknown
    starts : (S,) rows, increasing
    lag : steps in 24 h
    """
    U, T = measured.shape
    q = 1 if slopes is None else 1 + slopes.G.shape[1]
    x, X = _initial(system, layout, measured, q), _initial(system, layout, measured, q)
    e, free, usual = np.zeros((T, U, q)), np.zeros((T, U, q)), np.zeros((T, U))
    departure, observed = np.zeros((len(starts), U, N, q)), np.zeros((len(starts), U, N))
    slot = np.full(T, -1)
    slot[starts] = np.arange(len(starts))
    is_measured = np.isfinite(measured)
    y = np.where(is_measured, measured, 0.0)
    K = system.K[:, :, None]
    nodes, own = np.arange(N), 1 + layout.observer.start + np.arange(N)
    habits = Habits(system.shares, layout, drivers, is_measured, q, lag)
    for first in range(0, T, BLOCK):
        forcing = _forcing(system, slopes, drivers[:, first : first + BLOCK])  # (steps, U, 4, q)
        for k in range(first, min(first + BLOCK, T)):
            x = _step(system, slopes, x, forcing[k - first])
            X = _step(system, slopes, X, forcing[k - first])
            error = -x[:, 0]  # (U, q)
            error[:, 0] += y[:, k]
            error *= is_measured[:, k, None]
            e[k] = error
            replay = habits.replayed(k)
            x += K * error[:, None]
            X += K * replay[:, None]
            if slopes is not None:
                x[:, nodes, own] += error[:, :1]
                X[:, nodes, own] += replay[:, :1]
            habits.learn(k, error)
            free[k], usual[k] = X[:, 0], replay[:, 0]
            if (s := slot[k]) >= 0:
                observed[s], departure[s] = x[..., 0], x - X
    return Runs(e, free, departure, observed, usual)


def _initial(system: System, layout: Layout, measured: Floats, q: int) -> Floats:
    """The state before the first row: air and masses at the level of the first readings, plus the fingerprint's offsets."""
    x = np.zeros((len(measured), N, q))
    x[..., 0] = system.start
    x[:, :3, 0] += first_level(measured)[:, None]
    if q > 1:
        for j in (0, 1):
            x[:, 1 + j, 1 + layout.start.start + j] = 1
    return x


def first_level(measured: Floats) -> Floats:
    """(U,) mean of the first eight temperatures that were measured, the level from which all nodes start."""
    count = np.cumsum(np.isfinite(measured), axis=1)
    early = np.where((count <= 8) & np.isfinite(measured), measured, np.nan)
    return np.where(count[:, -1] > 0, np.nansum(early, axis=1) / np.maximum(np.minimum(count[:, -1], 8), 1), 0.0)


def _forcing(system: System, slopes: Slopes | None, drivers: Floats) -> Floats:
    """G z and its derivatives.  (U, steps, m) -> (steps, U, 4, q)"""
    U, steps, _ = drivers.shape
    value = system.G[:, :, None, :]  # (U, 4, 1, m)
    rows = value if slopes is None else np.concatenate([value, slopes.G.transpose(0, 2, 1, 3)], axis=2)
    q = rows.shape[2]
    flat = drivers @ rows.reshape(U, N * q, -1).transpose(0, 2, 1)  # (U, steps, 4 q)
    return np.ascontiguousarray(flat.reshape(U, steps, N, q).transpose(1, 0, 2, 3))


def _step(system: System, slopes: Slopes | None, x: Floats, forcing: Floats) -> Floats:
    """Φ x + G z, with the derivatives by the rates."""
    ahead = system.Φ @ x
    ahead += forcing
    if slopes is not None:
        ahead[:, :, 1 : 1 + N_RATES] += (slopes.Φ @ x[:, None, :, :1])[..., 0].transpose(0, 2, 1)
    return ahead


def responses(system: System, slopes: Slopes | None, horizon: int) -> Floats:
    """First row of Φ^h for h = 1 .. H, with derivatives by the rates.  -> (H, U, 4, 1 or 8)"""
    U = len(system.Φ)
    q = 1 if slopes is None else 1 + N_RATES
    a = np.zeros((U, N, q))
    a[:, 0, 0] = 1
    out = np.zeros((horizon, U, N, q))
    transposed = np.ascontiguousarray(system.Φ.transpose(0, 2, 1))
    for h in range(horizon):
        ahead = transposed @ a
        if slopes is not None:
            ahead[:, :, 1:] += (slopes.Φ.transpose(0, 1, 3, 2) @ a[:, None, :, :1])[..., 0].transpose(0, 2, 1)
        a = out[h] = ahead
    return out


def forecasts(runs: Runs, response: Floats, starts: NDArray[np.int64]) -> Floats:
    """Air above ORIGIN at all horizons of all starts, values only.  -> (U, S, H); NaN beyond the record's end"""
    H, T = len(response), len(runs.free)
    at = starts[:, None] + np.arange(1, H + 1)  # (S, H)
    free = runs.free[np.minimum(at, T - 1), :, 0]  # (S, H, U)
    moved = np.einsum("huj,suj->ush", response[..., 0], runs.departure[..., 0])
    answer = free.transpose(2, 0, 1) + moved
    answer[:, at >= T] = np.nan
    return np.asarray(answer)
