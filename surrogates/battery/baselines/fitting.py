"""Coefficients from readings: closed form on one-step residuals, then Gauss-Newton steps on open-loop errors.

A prior N(μ, Σ) of the coefficients, tempered by λ, weighs against the readings of d days:

    one step     J(θ) = d · mean e² / σ_1² + λ (θ - μ)' Σ⁻¹ (θ - μ)
    open loop    J(θ) = d · mean (T̂ - T)² / σ_24² + λ (θ - μ)' Σ⁻¹ (θ - μ),    over starts and 24 h

d counts days rather than rows, since errors of neighbouring rows and starts are all but the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from surrogates.battery.prior import Prior
from surrogates.battery.records import Floats, measured_since

from .interface import Integers, rows_ahead
from .linear import Prepared, days_before, history, residuals, rollout, sensitivities

#: typical errors that turn squares into weights: one step, and 24 h open loop [K]
STEP_ERROR, DAY_ERROR = 0.05, 0.5
#: step lengths of Gauss-Newton that are tried in turn
LENGTHS = (1.0, 0.4, 0.1)


def fit_one_step(data: Prepared, prior: Prior) -> Floats:
    """Minimiser of the one-step objective.  -> (U, P)"""
    θ = np.empty((data.units, data.size))
    for unit in range(data.units):
        G, g, rows = gram(data, unit)
        weight = rows / data.day / STEP_ERROR**2 / max(rows, 1)
        θ[unit] = np.linalg.solve(weight * G + prior.precision, weight * g + prior.precision @ prior.mean)
    return θ


def gram(data: Prepared, unit: int) -> tuple[Floats, Floats, int]:
    """Σ φφ' (P, P), Σ φT (P,) and the number of usable rows of one unit."""
    rows = data.usable[unit]
    φ = np.concatenate([data.past[unit, rows], data.columns[unit, rows]], axis=1)
    return φ.T @ φ, φ.T @ data.indoor[unit, rows], int(rows.sum())


@dataclass(frozen=True, eq=False)
class Windows:
    """Stretches of the training rows that open-loop errors are taken over.

    starts : (S,)
    horizon : H
    weight : (U, S, H), sums to the number of days of each unit
    truth : (U, S, H) from ORIGIN [K], 0 where the weight is 0
    """

    starts: Integers
    horizon: int
    weight: Floats
    truth: Floats

    @staticmethod
    def of(data: Prepared, most: int) -> Windows:
        """At most `most` windows of 24 h, evenly spread; shorter ones where the rows don't suffice for any."""
        first = data.terms.reach
        horizon = min(data.day, max((data.steps - first) // 2, 1))
        last = data.steps - 1 - horizon
        count = min(most, max(last - first + 1, 1))
        starts = np.unique(np.linspace(first, max(last, first), count).astype(np.int64))
        starts = starts[starts <= last]
        ahead = rows_ahead(starts, horizon)
        known = np.isfinite(history(data, starts)).all(axis=2, keepdims=True)  # (U, S, 1)
        fine = data.judged[:, ahead] & measured_since(data.trusted, starts, ahead, data.terms.reach) & known
        days = data.usable.sum(axis=1) / data.day
        weight = fine * (days / np.maximum(fine.sum(axis=(1, 2)), 1))[:, None, None]
        return Windows(starts, horizon, weight, np.where(fine, data.indoor[:, ahead], 0.0))


def fit_open_loop(data: Prepared, prior: Prior, θ: Floats, *, rho: float, most_windows: int, iterations: int) -> Floats:
    """Gauss-Newton on the open-loop objective from θ, steps shortened where it wouldn't fall.  (U, P) -> (U, P)

    A unit stays where it is when no step length helps.
    """
    windows = Windows.of(data, most_windows)
    if not len(windows.starts):
        return θ
    best, value = θ, _objective(θ, data, prior, windows, rho)
    for _ in range(iterations):
        step = _step(best, data, prior, windows, rho)
        waiting = np.ones(data.units, dtype=bool)
        for length in LENGTHS:
            trial = np.where(waiting[:, None], best + length * step, best)
            found = _objective(trial, data, prior, windows, rho)
            better = waiting & (found < value)
            best, value = np.where(better[:, None], trial, best), np.where(better, found, value)
            waiting &= ~better
            if not waiting.any():
                break
        if waiting.all():
            break
    return best


def _objective(θ: Floats, data: Prepared, prior: Prior, windows: Windows, rho: float) -> Floats:
    """(U,)"""
    with np.errstate(over="ignore", invalid="ignore"):
        push = rho * days_before(residuals(θ, data), windows.starts, windows.horizon, data.day, 1)
        forecast = rollout(θ, data, windows.starts, windows.horizon, push)
        error = np.where(windows.weight > 0, forecast - windows.truth, 0.0)
        off = θ - prior.mean
        total = (windows.weight * error**2).sum(axis=(1, 2)) / DAY_ERROR**2
        total += np.einsum("ui,ij,uj->u", off, prior.precision, off)
    return np.where(np.isfinite(total), total, np.inf)


def _step(θ: Floats, data: Prepared, prior: Prior, windows: Windows, rho: float) -> Floats:
    """The Gauss-Newton step (U, P); 0 for units whose forecasts run away."""
    with np.errstate(over="ignore", invalid="ignore"):
        forecast, D = sensitivities(θ, data, windows.starts, windows.horizon, rho)
    U, P = θ.shape
    root = np.sqrt(windows.weight.transpose(0, 2, 1)) / DAY_ERROR  # (U, H, S), the order that D lies in
    error = np.where(root > 0, (forecast - windows.truth).transpose(0, 2, 1) * root, 0.0).reshape(U, -1)
    D = (D.transpose(0, 2, 1, 3) * root[..., None]).reshape(U, -1, P)
    if not np.isfinite(D).all():
        D = np.where(root.reshape(U, -1, 1) > 0, D, 0.0)
    H = np.matmul(D.transpose(0, 2, 1), D) + prior.precision
    g = np.matmul(D.transpose(0, 2, 1), error[..., None])[..., 0] + (θ - prior.mean) @ prior.precision
    lost = ~np.isfinite(H.sum(axis=(1, 2)) + g.sum(axis=1))
    H[lost], g[lost] = np.eye(P), 0.0
    return np.asarray(np.linalg.solve(H, -g[..., None])[..., 0])
