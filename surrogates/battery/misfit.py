"""How badly fingerprints explain a record: open-loop forecasts over 24 h, and the steps of the observer.

    -log p(θ | record) = const + n/2 [ Σ w(h) r²/σ_r² over starts and horizons + mean over steps of e²/σ_e² ]
                         + λ/2 (θ - μ)' Σ⁻¹ (θ - μ)

r: forecast errors of overlapping windows, which say little that is new one after the other; so the record counts as
n = hours / `hours_per_reading` independent readings, not as the number of its rows. A short record holds few windows of 24 h
that don't overlap but many of a few hours: w(h) fades with the horizon h, the sooner the shorter the record. μ, Σ: the prior
over fingerprints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .drivers import ORIGIN, columns_of
from .layout import Layout
from .observer import Runs, forecasts, responses, run
from .records import Records, measured_since
from .system import N_RATES, N, slopes_of, system_of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """How a record is weighed.

    horizon : length of a forecast, 1 to 24 [h]
    stride : least distance between starts of forecasts [h]; longer records take longer ones, a tenth of an hour per day
    judged_every : distance between the moments of a forecast that are judged, up to its horizon [h]
    fading : moments weigh by exp(-h / τ), τ = `fading` · √days [h]
    warm_up : before the first forecast, and after a long gap [h]
    forecast_deviation, step_deviation : σ_r after 24 h, σ_e [K]
    hours_per_reading : hours of data that count as one independent reading
    """

    horizon: float = 24.0
    stride: float = 1.75
    judged_every: float = 1.0
    fading: float = 2.6
    warm_up: float = 8.0
    forecast_deviation: float = 0.5
    step_deviation: float = 0.2
    hours_per_reading: float = 6.0


class Windows(NamedTuple):
    """Which forecasts of a record are judged.

    drivers : (U, T, m); measured : (U, T) above ORIGIN, NaN where unknown
    starts : (S,) rows; ahead : (H,) steps from a start; weight : (U, S, H), see `_faded`; step_weight :
        (U, T), sums to one
    readings : (U,) independent readings that the record is worth
    lag : steps in 24 h
    """

    drivers: Floats
    measured: Floats
    starts: NDArray[np.int64]
    ahead: NDArray[np.int64]
    weight: Floats
    step_weight: Floats
    readings: Floats
    lag: int


class Misfit(NamedTuple):
    """Value (U,), gradient (U, P) and Gauss-Newton matrix (U, P, P) of the record's part (without prior)."""

    value: Floats
    gradient: Floats
    curvature: Floats


def windows_of(records: Records, recipe: Recipe, features: Floats | None = None) -> Windows:
    """Cut a record into forecasts that can be judged; those over unknown weather or power end there."""
    measured = records.indoor - ORIGIN
    per_hour = 1 / records.step_hours
    H, T, every = (round(recipe.horizon * per_hour), records.steps, max(1, round(recipe.judged_every * per_hour)))
    days = T * records.step_hours / 24
    warm, stride = round(recipe.warm_up * per_hour), max(1, round(max(recipe.stride, days / 10) * per_hour))
    starts = np.arange(min(warm, max(T - 2, 0)), max(T - every, 1), stride)
    ahead = np.arange(every, H + 1, every)
    hours = (np.isfinite(measured) & records.is_known).sum(1) * records.step_hours
    weight = _faded(
        judged(records, starts, ahead, warm), ahead.astype(np.float64) * records.step_hours, hours / 24, recipe
    )
    rows = np.arange(T)
    # what the observer makes of stand-ins must have died away before its steps count
    fine = np.isfinite(measured) & measured_since(records.is_known, rows, rows[:, None], warm)[:, :, 0]
    steps = np.where(rows >= warm, fine, False).astype(np.float64)
    return Windows(
        columns_of(records, features),
        measured,
        starts,
        ahead,
        weight,
        steps / np.maximum(steps.sum(1), 1)[:, None],
        hours / recipe.hours_per_reading,
        records.steps_per_day,
    )


def _faded(is_judged: NDArray[np.bool_], hours: Floats, days: Floats, recipe: Recipe) -> Floats:
    """Weights (U, S, H) ∝ exp(-h/τ) of forecasts `hours` (H,) ahead; τ = `fading` √days.

    The variance of an error rises with the horizon about as h, so that weights sum to 24 h over the mean horizon.
    """
    τ = recipe.fading * np.sqrt(np.maximum(days, 1e-9))
    weight = is_judged * np.exp(-hours / np.maximum(τ, 0.1)[:, None])[:, None]
    moment = (weight * hours).sum((1, 2))
    return np.asarray(weight * np.divide(24.0, moment, out=np.zeros_like(moment), where=moment > 0)[:, None, None])


def judged(records: Records, starts: NDArray[np.int64], ahead: NDArray[np.int64], warm: int) -> NDArray[np.bool_]:
    """(U, S, H) whether a forecast can be judged at a horizon: the target is measured, and power and weather are known
    from `warm` rows before the start up to there."""
    at = starts[:, None] + ahead  # (S, H)
    inside = np.minimum(at, records.steps - 1)
    clear = measured_since(records.is_known, starts, inside, warm)
    return np.asarray(clear & np.isfinite(records.indoor[:, inside]) & (at < records.steps))


def value_of(θ: Floats, layout: Layout, windows: Windows, recipe: Recipe, step_hours: float) -> Floats:
    """The record's part of the negative log density.  (U, P) -> (U,)"""
    system = system_of(θ, layout, step_hours)
    runs = run(system, None, layout, windows.drivers, windows.measured, windows.starts, lag=windows.lag)
    response = responses(system, None, int(windows.ahead[-1]))
    squares = _mean_square(runs, response, windows) / recipe.forecast_deviation**2
    steps = (windows.step_weight * runs.innovation[:, :, 0].T ** 2).sum(1) / recipe.step_deviation**2
    return np.asarray(0.5 * windows.readings * (squares + steps))


def own_errors(θ: Floats, layout: Layout, windows: Windows, step_hours: float) -> Floats:
    """(U,) root mean square of the forecasts' errors over the record itself [K]; NaN where none can be judged."""
    system = system_of(θ, layout, step_hours)
    runs = run(system, None, layout, windows.drivers, windows.measured, windows.starts, lag=windows.lag)
    alike = (windows.weight > 0).astype(np.float64)
    count = alike.sum((1, 2))
    even = windows._replace(weight=alike / np.maximum(count, 1)[:, None, None])
    squares = _mean_square(runs, responses(system, None, int(windows.ahead[-1])), even)
    return np.where(count > 0, np.sqrt(squares), np.nan)


def misfit_of(θ: Floats, layout: Layout, windows: Windows, recipe: Recipe, step_hours: float) -> Misfit:
    """The record's part of the negative log density, with gradient and Gauss-Newton matrix."""
    U, P = θ.shape
    system, slopes = slopes_of(θ, layout, step_hours)
    runs = run(system, slopes, layout, windows.drivers, windows.measured, windows.starts, lag=windows.lag)
    response = responses(system, slopes, int(windows.ahead[-1]))[windows.ahead - 1]
    value, gradient, curvature = np.zeros(U), np.zeros((U, P)), np.zeros((U, P, P))
    target = _targets(windows)
    σ2, τ2 = recipe.forecast_deviation**2, recipe.step_deviation**2
    for u in range(U):
        r, J = _forecast_errors(u, runs, response, windows, target[u])
        w = windows.weight[u].reshape(-1)
        keep = w > 0
        r, J, w = r[keep], J[keep], w[keep]
        e, E = runs.innovation[:, u, 0], runs.innovation[:, u, 1:]
        v = windows.step_weight[u]
        n = windows.readings[u]
        J *= np.sqrt(w / σ2)[:, None]
        r *= np.sqrt(w / σ2)
        E, e = E * np.sqrt(v / τ2)[:, None], e * np.sqrt(v / τ2)
        value[u] = 0.5 * n * (r @ r + e @ e)
        gradient[u] = n * (r @ J + e @ E)
        curvature[u] = n * (J.T @ J + E.T @ E)
    return Misfit(value, gradient, curvature)


def _mean_square(runs: Runs, response: Floats, windows: Windows) -> Floats:
    """(U,) weighted mean of squared forecast errors."""
    predicted = forecasts(runs, response, windows.starts)[:, :, windows.ahead - 1]
    r = np.where(windows.weight > 0, predicted - _targets(windows), 0.0)
    return np.asarray((windows.weight * r**2).sum((1, 2)))


def _targets(windows: Windows) -> Floats:
    at = np.minimum(windows.starts[:, None] + windows.ahead, windows.measured.shape[1] - 1)
    return np.where(windows.weight > 0, windows.measured[:, at], 0.0)


def _forecast_errors(u: int, runs: Runs, response: Floats, windows: Windows, target: Floats) -> tuple[Floats, Floats]:
    """Errors (S H,) and their derivatives (S H, P) of one unit."""
    at = np.minimum(windows.starts[:, None] + windows.ahead, len(runs.free) - 1)
    free = runs.free[at, u]  # (S, H, 1 + P)
    a, da = response[:, u, :, 0], response[:, u, :, 1:]  # (H, 4), (H, 4, 7)
    δ = runs.departure[:, u]  # (S, 4, 1 + P)
    S, H = at.shape
    moved = np.matmul(a[None], δ)  # (S, H, 1 + P)
    total = free + moved
    total[:, :, 1 : 1 + N_RATES] += (δ[:, :, 0] @ da.transpose(1, 0, 2).reshape(N, -1)).reshape(S, H, N_RATES)
    total = total.reshape(S * H, -1)
    return total[:, 0] - target.reshape(-1), total[:, 1:]
