"""How wrong forecasts of a new unit will be, found by rehearsing: each unit of the population is met as if it were new.

For several amounts of data, every unit is adapted to a short stretch of its own record under a prior that was made without
it and without the last part of anybody's record; forecasts of that last part are compared with what came. So neither the
unit nor its weather was seen before. The same is rehearsed backwards in time, and from stretches near and far: the seasons
to come differ from what was seen in a way that nobody knows, so the least favourable of these rehearsals counts, horizon by
horizon. The standard deviation of a forecast is then

    σ(h, days) · (s / s̄(days))^α(days)

h: horizon; s: the error that the unit's own forecasts had over its record, s̄ the usual one. σ is the 90 % quantile of errors
over 1.645, so that 90 % intervals cover what they say. In the same way the parameters' standard deviations are widened by
how far the fingerprints from little data were from those from all of the earlier part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .adaptation import adapt
from .fingerprints import most_load_of
from .forecasting import forecast
from .holding import thermostats
from .layout import Layout
from .misfit import Recipe, judged, own_errors, windows_of
from .population import first_prior, prior_from
from .prior import Prior
from .records import Records

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
REHEARSED = (1.0, 2.5, 7.0, 21.0, 60.0)
#: share of the record that teaches; the rest is judged
TAUGHT = 0.6
#: rows between the starts of forecasts that are judged: no divisor of a day, so that all hours come about
BETWEEN = 29
NINETY = 1.6448536269514722
#: every so many of these starts, closed loops are rehearsed; and what stands for their error where no set-point is known
SPARSE, UNKNOWN_SHARED = 4, 0.05


class Calibration(NamedTuple):
    """Errors of rehearsed cold starts.

    days : (k,) amounts of data; deviation : (k, H) σ [K] by horizon; spread : (k,) by which parameters' standard
    deviations are multiplied; exponent : (k,) α; usual : (k,) s̄ [K]
    residual : (k,) share of yesterday's error that is added to a forecast (`forecasting.with_residual`); zeros for none
    shared : (k,) relative error of the power that all units together draw to hold their set-points, root mean square over
        blocks of 3 h
    """

    days: Floats
    deviation: Floats
    spread: Floats
    exponent: Floats
    usual: Floats
    residual: Floats
    shared: Floats

    def deviation_of(self, days: Floats, own_error: Floats) -> Floats:
        """(U, H) standard deviations of forecasts of units with so much data and such errors of their own (U,).

        Units whose own errors aren't known (NaN) are taken for usual ones.
        """
        base = np.stack([self._at(days, column) for column in self.deviation.T], axis=-1)
        usual = self._at(days, self.usual)
        scale = (np.where(np.isfinite(own_error), own_error, usual) / usual) ** self._at(days, self.exponent)
        return np.asarray(base * scale[:, None])

    def spread_of(self, days: Floats) -> Floats:
        """(U,) by which standard deviations of parameters are multiplied."""
        return self._at(days, self.spread)

    def residual_of(self, days: Floats) -> Floats:
        """(U,) share of yesterday's error that is added to a forecast."""
        return self._at(days, self.residual)

    def shared_of(self, days: Floats) -> Floats:
        """(U,) relative error of power that units share; sums over many units don't average it away."""
        return self._at(days, self.shared)

    def _at(self, days: Floats, column: Floats) -> Floats:
        return np.interp(np.log(days), np.log(self.days), column)


class _Rehearsal(NamedTuple):
    """Errors (U, S, H) and those of the forecasts of 24 h before; own errors (U,), standardised differences of fingerprints
    (U, q), shared error of power.
    """

    errors: Floats
    before: Floats
    own: Floats
    apart: Floats
    shared: float


class _Direction(NamedTuple):
    """A direction of time to rehearse in.

    first : row from which on is taught; starts : (S,) of forecasts that are judged; θ : (U, P) and prior of each unit, from
    what was taught
    """

    first: int
    starts: Integers
    θ: Floats
    prior: Prior


def rehearse(
    records: Records,
    θ: Floats,
    layout: Layout,
    recipe: Recipe,
    weight: float,
    features: Floats | None = None,
    *,
    has_residual: bool = False,
) -> Calibration:
    """Meet each unit of a population as if it were new.

    Parameters
    ----------
    records : of the population; θ : (U, P) their fingerprints from all data
    weight : by which the prior is tempered, as for new units
    features : (U, T, f) learnt features, or None
    has_residual : whether forecasts get a share of yesterday's error, the one that would have served best
    """
    T, H = records.steps, round(recipe.horizon / records.step_hours)
    taught = round(TAUGHT * T)
    total = T * records.step_hours / 24
    ways = (
        _direction(records, θ, layout, recipe, weight, features, 0, np.arange(taught, T - H, BETWEEN)),
        _direction(records, θ, layout, recipe, weight, features, T - taught, np.arange(0, T - taught - H, BETWEEN)),
    )
    amounts = [d for d in REHEARSED if d <= TAUGHT * total] or [TAUGHT * total]
    rows: list[tuple[Floats, float, float, float, float, float]] = []
    for days in amounts:
        length = min(round(days * records.steps_per_day), taught)
        met = [
            _meet(records, way, layout, recipe, first, first + length, features)
            for way in ways
            for first in sorted({way.first, way.first + taught - length})
        ]
        share = _share_of(met) if has_residual else 0.0
        met = [one._replace(errors=one.errors - share * np.nan_to_num(one.before)) for one in met]
        usual = float(np.exp(np.nanmean(np.log(np.concatenate([one.own for one in met])))))
        exponent = _exponent(met)
        apart = np.abs(np.concatenate([one.apart for one in met]))
        spread = max(1.0, float(np.quantile(apart, 0.9)) / NINETY)
        shared = max(one.shared for one in met)
        rows.append((_least_favourable(met, usual, exponent), spread, exponent, usual, share, shared))
    deviation, *columns = zip(*rows, strict=True)
    return Calibration(np.array(amounts), np.array(deviation), *(np.array(column) for column in columns))


def _least_favourable(met: list[_Rehearsal], usual: float, exponent: float) -> Floats:
    """(H,) 90 % quantiles of errors over 1.645, each from the rehearsal in which it is largest."""
    quantiles = [
        np.nanquantile(
            np.abs(one.errors) / ((np.where(np.isfinite(one.own), one.own, usual) / usual) ** exponent)[:, None, None],
            0.9,
            axis=(0, 1),
        )
        for one in met
    ]
    return np.asarray(np.nanmax(quantiles, axis=0) / NINETY)


def _direction(
    records: Records,
    θ: Floats,
    layout: Layout,
    recipe: Recipe,
    weight: float,
    features: Floats | None,
    first: int,
    starts: Integers,
) -> _Direction:
    """What the population knows after `TAUGHT` of the time from row `first` on; θ is only where the search begins."""
    last = first + round(TAUGHT * records.steps)
    part = windows_of(records.during(first, last), recipe, None if features is None else features[:, first:last])
    rough = adapt(part, first_prior(layout), layout, recipe, records.step_hours, start=θ, most_steps=5, tolerance=0.5)
    prior = prior_from(rough.θ, layout)
    known = adapt(part, prior, layout, recipe, records.step_hours, start=rough.θ, most_steps=5, tolerance=0.1)
    return _Direction(first, starts, known.θ, _priors_without(known.θ, layout).tempered(weight))


def _priors_without(θ: Floats, layout: Layout) -> Prior:
    """For each unit the prior that the others make."""
    priors = [prior_from(np.delete(θ, u, axis=0), layout) for u in range(len(θ))]
    return Prior(np.stack([p.mean for p in priors]), np.stack([p.precision for p in priors]))


def _meet(
    records: Records, way: _Direction, layout: Layout, recipe: Recipe, a: int, b: int, features: Floats | None
) -> _Rehearsal:
    """Adapt all units to rows a .. b - 1, and forecast what is judged."""
    step_hours, starts = records.step_hours, way.starts
    stretch = windows_of(records.during(a, b), recipe, None if features is None else features[:, a:b])
    fit = adapt(stretch, way.prior, layout, recipe, step_hours, most_steps=12, tolerance=0.03)
    ahead = np.arange(1, round(recipe.horizon / step_hours) + 1)
    keep = judged(records, starts, ahead, round(recipe.warm_up / step_hours))
    predicted = forecast(fit.θ, layout, records, starts, len(ahead), features)
    errors = np.where(keep, predicted - records.indoor[:, starts[:, None] + ahead], np.nan)
    before, day = np.full_like(errors, np.nan), records.steps_per_day
    old = starts >= day
    if old.any():
        then = starts[old] - day
        missed = forecast(fit.θ, layout, records, then, len(ahead), features) - records.indoor[:, then[:, None] + ahead]
        before[:, old] = np.where(judged(records, then, ahead, round(recipe.warm_up / step_hours)), missed, np.nan)
    place = slice(0, layout.cooling + 1)
    deviation = np.sqrt(np.einsum("upp->up", np.linalg.inv(fit.precision)))[:, place]
    own = own_errors(fit.θ, layout, stretch, step_hours)
    shared = _shared_error(fit.θ, layout, records, starts[starts + day < records.steps][::SPARSE], features)
    return _Rehearsal(errors, before, own, (fit.θ - way.θ)[:, place] / deviation, shared)


def _share_of(met: list[_Rehearsal]) -> float:
    """The share of yesterday's error that leaves the least squares, in [0, 1]."""
    pairs = [np.where(np.isfinite(one.errors), one.before, np.nan) for one in met]
    square = sum(float(np.nansum(before**2)) for before in pairs)
    product = sum(float(np.nansum(one.errors * before)) for one, before in zip(met, pairs, strict=True))
    return float(np.clip(product / square, 0.0, 1.0)) if square > 0 else 0.0


def _shared_error(θ: Floats, layout: Layout, records: Records, starts: Integers, features: Floats | None) -> float:
    """Root mean square error of the energy of all units in blocks of 3 h, relative to that energy."""
    horizon, block = records.steps_per_day, records.steps_per_day // 8
    foreseen = thermostats(θ, layout, records, starts, horizon, most_load_of(records), features)
    rows = starts[:, None] + np.arange(1, horizon + 1)
    drawn = records.power[:, rows] / records.rated_power[:, None, None]
    fine = np.isfinite(foreseen) & records.is_known[:, rows]
    sums = [
        (np.where(fine, load, 0.0) * records.rated_power[:, None, None])
        .sum(0)[:, : 8 * block]
        .reshape(-1, 8, block)
        .sum(2)
        for load in (foreseen, drawn)
    ]
    square = float((sums[0] ** 2).sum())
    return float(np.sqrt(((sums[1] - sums[0]) ** 2).sum() / square)) if square > 0 else UNKNOWN_SHARED


def _exponent(met: list[_Rehearsal]) -> float:
    """How a unit's own error tells of its errors later: slope of the logarithms within each rehearsal."""
    x, y = [], []
    for one in met:
        rms = np.sqrt(np.nanmean(one.errors**2, axis=(1, 2)))
        good = np.isfinite(rms) & np.isfinite(one.own) & (rms > 0)
        x.append(np.log(one.own[good]) - np.log(one.own[good]).mean())
        y.append(np.log(rms[good]) - np.log(rms[good]).mean())
    slopes = np.concatenate(x)
    return float(np.clip(slopes @ np.concatenate(y) / max(float(slopes @ slopes), 1e-12), 0.0, 1.0))
