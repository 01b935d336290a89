"""Linear difference equations of many units at once: one-step residuals, open-loop rollouts and their derivatives.

Coefficients θ = (a, b) (U, n + m) as in `terms`. A rollout may be pushed, step by step, by what is already known of its
errors, for instance by ρ times the one-step residual 24 h earlier:

    T̂[k] = Σ a_i T̂[k-i] + Σ b_j x_j[k] + ρ e[k - 24 h],     e[k] = T[k] - Σ a_i T[k-i] - Σ b_j x_j[k]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from surrogates.battery.drivers import ORIGIN
from surrogates.battery.records import Flags, Floats, Records

from .interface import Integers, last_known, rows_ahead
from .terms import Terms


@dataclass(frozen=True, eq=False)
class Prepared:
    """Records turned into what linear models work on.

    columns : (U, T, m) inputs
    indoor : (U, T) from ORIGIN [K]; gaps filled by the last known
    past : (U, T, n) lags of `indoor`
    usable : (U, T) rows whose residual means something
    judged : (U, T) rows whose temperature was measured
    trusted : (U, T) rows whose power and weather were measured
    day : steps in 24 h
    """

    terms: Terms
    columns: Floats
    indoor: Floats
    past: Floats
    usable: Flags
    judged: Flags
    trusted: Flags
    day: int

    @staticmethod
    def of(records: Records, terms: Terms) -> Prepared:
        indoor = last_known(records.indoor) - ORIGIN
        columns = terms.columns(records)
        judged = np.isfinite(records.indoor)
        usable, past = terms.usable(records), terms.past(indoor)
        return Prepared(terms, columns, indoor, past, usable, judged, records.is_known, records.steps_per_day)

    @property
    def days(self) -> float:
        """How much a usual unit gives to learn from."""
        return float(np.median(self.usable.sum(axis=1))) / self.day

    @property
    def units(self) -> int:
        """U"""
        return int(self.indoor.shape[0])

    @property
    def steps(self) -> int:
        """T"""
        return int(self.indoor.shape[1])

    @property
    def size(self) -> int:
        """P = n + m, coefficients of a unit."""
        return self.terms.order + int(self.columns.shape[2])

    def of_units(self, chosen: Integers) -> Prepared:
        """These units, by position."""
        return replace(
            self,
            columns=self.columns[chosen],
            indoor=self.indoor[chosen],
            past=self.past[chosen],
            usable=self.usable[chosen],
            judged=self.judged[chosen],
            trusted=self.trusted[chosen],
        )

    def during(self, first: int, last: int) -> Prepared:
        """Rows first .. last - 1; those among the first whose lags lie outside aren't usable any more."""
        rows = slice(first, last)
        usable = self.usable[:, rows].copy()
        usable[:, : self.terms.reach] = False
        return replace(
            self,
            columns=self.columns[:, rows],
            indoor=self.indoor[:, rows],
            past=self.past[:, rows],
            usable=usable,
            judged=self.judged[:, rows],
            trusted=self.trusted[:, rows],
        )


def forcing(θ: Floats, data: Prepared) -> Floats:
    """Σ b_j x_j of each row.  -> (U, T)"""
    return np.asarray(np.matmul(data.columns, θ[:, data.terms.order :, None])[..., 0])


def residuals(θ: Floats, data: Prepared) -> Floats:
    """One-step residuals e (U, T), 0 in rows that aren't usable."""
    e = data.indoor - np.matmul(data.past, θ[:, : data.terms.order, None])[..., 0] - forcing(θ, data)
    return np.where(data.usable, e, 0.0)


def rollout(θ: Floats, data: Prepared, starts: Integers, horizon: int, push: Floats | None = None) -> Floats:
    """Open-loop forecasts, from ORIGIN [K].

    Parameters
    ----------
    θ : (U, P)
    starts : (S,)
    push : (U, S, H) added to the equation in each step

    Returns
    -------
    (U, S, H)
    """
    f = forcing(θ, data)[:, rows_ahead(starts, horizon)]
    return advance(θ[:, : data.terms.order], history(data, starts), f if push is None else f + push)


def history(data: Prepared, starts: Integers) -> Floats:
    """The last n temperatures, oldest first; before the first reading, that at the start.  -> (U, S, n)"""
    n = data.terms.order
    past = data.indoor[:, np.maximum(starts[:, None] + np.arange(1 - n, 1), 0)]
    return np.where(np.isnan(past), past[:, :, -1:], past)


def advance(a: Floats, state: Floats, f: Floats) -> Floats:
    """y[h] = Σ a_i y[h-i] + f[h] after the state y[-n] .. y[-1].  (U, n), (U, S, n), (U, S, H) -> (U, S, H)"""
    n, horizon = a.shape[1], f.shape[2]
    y = np.concatenate([state, np.zeros_like(f)], axis=2)
    backwards = a[:, ::-1, None]
    for h in range(horizon):
        y[:, :, n + h] = np.matmul(y[:, :, h : h + n], backwards)[..., 0] + f[:, :, h]
    return y[:, :, n:]


def days_before(e: Floats, starts: Integers, horizon: int, day: int, days: int) -> Floats:
    """e of the same hour, `days` days before the last 24 h ahead that are complete at the start.

    Step h gets the row start + h - day · (days + (h - 1) // day), which is at or before the start; 0 before the first row.
    (U, T) -> (U, S, H)
    """
    rows = _same_hour(starts, horizon, day, days)
    return np.where(rows >= 0, e[:, np.maximum(rows, 0)], 0.0)


def _same_hour(starts: Integers, horizon: int, day: int, days: int) -> Integers:
    """(S, H)"""
    step = np.arange(1, horizon + 1)
    return np.asarray(starts[:, None] + step - day * (days + (step - 1) // day))


def sensitivities(θ: Floats, data: Prepared, starts: Integers, horizon: int, rho: float) -> tuple[Floats, Floats]:
    """Forecasts pushed by rho · yesterday's residuals, and their exact derivatives by θ.

    The derivative d of T̂ obeys the same equation as T̂: d[h] = Σ a_i d[h-i] + φ̂[h] - rho φ[h - 24 h], with the regressors
    φ̂ of the forecast and φ of the readings a day before.

    Returns
    -------
    (U, S, H), (U, S, H, P)
    """
    n, P = data.terms.order, data.size
    a = θ[:, :n]
    push = rho * days_before(residuals(θ, data), starts, horizon, data.day, 1)
    before = history(data, starts)
    forecast = advance(a, before, forcing(θ, data)[:, rows_ahead(starts, horizon)] + push)
    y = np.concatenate([before, forecast], axis=2)
    U, S = y.shape[:2]
    d = np.zeros((U, n + horizon, S, P))  # time before starts, so that a step is one product a unit
    source = d[:, n:]  # filled with φ̂ - rho φ first, then overwritten step by step
    for lag in range(1, n + 1):
        source[..., lag - 1] = y[:, :, n - lag : n - lag + horizon].transpose(0, 2, 1)
    source[..., n:] = data.columns[:, rows_ahead(starts, horizon).T]
    if rho:
        rows = _same_hour(starts, horizon, data.day, 1).T
        at = np.maximum(rows, 0)
        share = np.where(rows >= 0, rho * data.usable[:, at], 0.0)[..., None]  # (U, H, S, 1)
        source[..., :n] -= share * data.past[:, at]
        source[..., n:] -= share * data.columns[:, at]
    flat, backwards = d.reshape(U, n + horizon, S * P), a[:, None, ::-1]
    for h in range(horizon):
        flat[:, n + h] += np.matmul(backwards, flat[:, h : h + n])[:, 0]
    return forecast, d[:, n:].transpose(0, 2, 1, 3)


def stabilised(θ: Floats, order: int, largest: float = 0.9995) -> Floats:
    """θ with the poles of units that would run away (radius above `largest`) drawn in to it.  (U, P) -> (U, P)

    Replacing a_i by a_i r^i multiplies every pole by r.
    """
    companion = np.zeros((len(θ), order, order))
    companion[:, 0] = θ[:, :order]
    companion[:, np.arange(1, order), np.arange(order - 1)] = 1.0
    radius = np.abs(np.linalg.eigvals(companion)).max(axis=1)
    r = np.minimum(1.0, largest / np.maximum(radius, 1e-12))
    drawn = θ.copy()
    drawn[:, :order] *= r[:, None] ** np.arange(1, order + 1)
    return drawn
