"""What a linear model's own recent residuals say about the hours to come.

Residuals of a model of a room recur, since people and their habits do, and last, since masses and doors do. The rollout
is pushed by Σ w_j q_j, with q_j the residuals of the same hour one, two and three days before, and the mean residuals of
the last hour and the last six hours, dying away. The equation is linear, so the forecast is

    T̂ = T̂_0 + Σ w_j r_j,     r_j = response to the push q_j from rest,

and the weights follow from least squares on rehearsed forecasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from surrogates.battery.drivers import ORIGIN
from surrogates.battery.records import Flags, Floats, Records

from .cold_starts import ColdStart, by_days, judged, mean_rmse
from .interface import Integers, check_forecast, rows_ahead
from .linear import Prepared, advance, days_before, residuals, rollout
from .terms import Terms

#: earlier days of the same hour
DAYS = 3
#: (averaged over [h], dying away with [h])
RECENT = ((1.0, 2.0), (6.0, 8.0))
#: pushes in all
PUSHES = DAYS + len(RECENT)


def pushes(e: Floats, starts: Integers, horizon: int, day: int) -> Floats:
    """q (U, S, H, j) from residuals e (U, T) up to each start."""
    parts = [days_before(e, starts, horizon, day, days) for days in range(1, DAYS + 1)]
    hours = np.arange(1, horizon + 1) * 24 / day
    total = np.concatenate([np.zeros((len(e), 1)), np.cumsum(e, axis=1)], axis=1)
    for span, decay in RECENT:
        rows = max(round(span * day / 24), 1)
        mean = (total[:, starts + 1] - total[:, np.maximum(starts + 1 - rows, 0)]) / rows  # (U, S)
        parts.append(mean[..., None] * np.exp(-hours / decay))
    return np.stack(parts, axis=-1)


def forecast_parts(θ: Floats, data: Prepared, starts: Integers, horizon: int) -> tuple[Floats, Floats]:
    """T̂_0 (U, S, H) from the origin of `terms` and r (U, S, H, j)."""
    a = θ[:, : data.terms.order]
    q = pushes(residuals(θ, data), starts, horizon, data.day)
    rest = np.zeros((data.units, len(starts), data.terms.order))
    r = np.stack([advance(a, rest, q[..., j]) for j in range(q.shape[-1])], axis=-1)
    return rollout(θ, data, starts, horizon), r


def best_weights(error: Floats, r: Floats, counts: Flags, *, ridge: float = 0.01) -> Floats:
    """w (j,) that minimise the mean square of error - Σ w_j r_j, every unit weighing by its inverse error.

    error : (U, S, H) T - T̂_0
    r : (U, S, H, j)
    counts : (U, S, H)
    ridge : relative to the mean square of the responses
    """
    w = np.zeros(r.shape[-1])
    fine = np.where(counts[..., None], r, 0.0)
    left = np.where(counts, error, 0.0)
    n = np.maximum(counts.sum(axis=(1, 2)), 1)
    for _ in range(2):  # the mean of root mean squares isn't quadratic; reweighting twice comes near its minimum
        rms = np.sqrt(((left - fine @ w) ** 2).sum(axis=(1, 2)) / n)
        share = 1 / np.maximum(rms, 1e-9) / n
        A = np.einsum("ushi,ushj,u->ij", fine, fine, share, optimize=True)
        b = np.einsum("ushi,ush,u->i", fine, left, share, optimize=True)
        w = np.linalg.solve(A + ridge * (np.trace(A) / len(w) + 1e-12) * np.eye(len(w)), b)
    return w


class Tuned(NamedTuple):
    """What rehearsals with so many days found: how strongly to regularise, shares of the pushes (j,), the error [K]."""

    days: float
    strength: float
    pushes: Floats
    rmse: float


def tuned_at(days: float, tuned: tuple[Tuned, ...]) -> tuple[float, Floats]:
    """Strength and shares of the pushes for so many days, between what was tuned for fewer and for more."""
    known = tuple(one.days for one in tuned)
    strength = np.exp(by_days(days, known, np.log([one.strength for one in tuned])))
    return float(strength), by_days(days, known, np.stack([one.pushes for one in tuned]))


Kind = TypeVar("Kind", bound=np.generic)
#: from a rehearsal to data, coefficients and records of each group of units
Rehearse = Callable[[ColdStart], list[tuple[Prepared, Floats, Records]]]


def rehearsed(days: float, strength: float, cases: tuple[ColdStart, ...], fit: Rehearse, *, has_memory: bool) -> Tuned:
    """The pushes' best shares for one way to fit, over rehearsals of one size, and the error that remains.

    fit : of a rehearsal, gives for each group of units its data, coefficients and records
    """
    errors, responses, counts = [], [], []
    for case in cases:
        for data, θ, records in fit(case):
            base, r = forecast_parts(θ, data, case.starts, data.day)
            errors.append(data.indoor[:, rows_ahead(case.starts, data.day)] - base)
            responses.append(r)
            counts.append(judged(records, case.starts, data.terms.reach))
    most = max(e.shape[1] for e in errors)
    error, fine = _stacked(errors, most), _stacked(counts, most)
    r = _stacked(responses, most)
    w = best_weights(error, r, fine) if has_memory else np.zeros(PUSHES)
    return Tuned(days, strength, w, mean_rmse(error - r @ w, fine))


def _stacked(parts: list[NDArray[Kind]], starts: int) -> NDArray[Kind]:
    """Parts (U, S, ...) below each other, those with fewer starts filled up with zeros."""
    filled: list[NDArray[Kind]] = [
        np.pad(p, [(0, 0), (0, starts - p.shape[1]), *[(0, 0)] * (p.ndim - 2)]) for p in parts
    ]
    return np.concatenate(filled)


@dataclass(frozen=True, eq=False)
class LinearForecaster:
    """Rollouts of adapted linear models.

    coefficients : (U, P)
    pushes : (j,) shares of the pushes
    """

    terms: Terms
    coefficients: Floats
    pushes: Floats

    def forecast(self, records: Records, starts: Integers, horizon: int) -> Floats:
        """See `Forecaster`."""
        check_forecast(records, starts, horizon, len(self.coefficients))
        base, r = forecast_parts(self.coefficients, Prepared.of(records, self.terms), starts, horizon)
        return np.asarray(base + r @ self.pushes + ORIGIN)
