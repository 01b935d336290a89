"""Open-loop forecasts of fingerprinted units from many starts at once: what is judged, calibrated and benchmarked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .drivers import ORIGIN, columns_of
from .layout import Layout
from .observer import forecasts, responses, run
from .records import Records
from .system import System, system_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: past that the observer runs through before the first start [days]: a week, so that the last weekend is among what is
#: usual on weekends, and a day in which the masses settle
PAST = 8.0


def forecast(
    θ: Floats, layout: Layout, records: Records, starts: Integers, horizon: int, features: Floats | None = None
) -> Floats:
    """Temperatures at the ends of rows start + 1 .. start + horizon, from readings up to each start.

    Parameters
    ----------
    θ : (U, P); records : the same U units; starts : (S,) rows; horizon : H steps; features : (U, T, f) or None

    Returns
    -------
    (U, S, H) [degC]
    """
    first = max(0, int(starts.min()) - round(PAST * records.steps_per_day))
    last = min(records.steps, int(starts.max()) + horizon + 1)
    part = records.during(first, last)
    order = np.unique(starts)
    drivers = columns_of(part, None if features is None else features[:, first:last])
    system = without_start(system_of(θ, layout, records.step_hours))
    runs = run(system, None, layout, drivers, part.indoor - ORIGIN, order - first, lag=records.steps_per_day)
    answer = forecasts(runs, responses(system, None, horizon), order - first)
    return answer[:, np.searchsorted(order, starts)] + ORIGIN


def with_residual(
    θ: Floats,
    layout: Layout,
    records: Records,
    starts: Integers,
    horizon: int,
    share: Floats,
    features: Floats | None = None,
) -> Floats:
    """Forecasts with the linear residual: a share of the error that the forecast from 24 h before has made by the start.

        T(s + h) = T_physics(s + h) + α r(h),     r(h) = measured - T_physics from s - 24 h, at s - 24 h + (h modulo 24 h)

    α in [0, 1] weighs finitely many past readings, so the residual is stable; power to come isn't in it, so that more power
    cools as it does without.

    share : (U,) α; the other parameters and the answer are those of `forecast`
    """
    answer = forecast(θ, layout, records, starts, horizon, features)
    lag = records.steps_per_day
    old = np.nonzero(starts >= lag)[0]
    if len(old) and (share > 0).any():
        rows = starts[old, None] - lag + np.arange(1, lag + 1)
        missed = records.indoor[:, rows] - forecast(θ, layout, records, starts[old] - lag, lag, features)
        fine = np.isfinite(missed) & records.is_known[:, rows]
        residual = share[:, None, None] * np.where(fine, missed, 0.0)
        answer[:, old] += residual[:, :, np.arange(horizon) % lag]
    return answer


def without_start(system: System) -> System:
    """The same rooms for another record: offsets at a record's start belong to the record they were fitted to."""
    return system._replace(start=np.zeros_like(system.start))
