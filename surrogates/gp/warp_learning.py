"""The power of a Box-Cox warp, by the restricted likelihood of the readings in their own units.

For each power λ the hyper-parameters are fitted again, from where they were at the λ before; what is maximised is the
penalised restricted likelihood, with the Jacobian's share of the contrasts (`fitting.log_units`), times a normal prior of
λ with mean 0.5 and deviation 0.75. λ is plugged in: predictions don't tell of its uncertainty, the report does.
"""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.optimize import minimize_scalar

from surrogates.errors import NumericalError
from surrogates.schema import Table

from .fitting import Start, quick_minimum, thinned
from .preparing import Settings, log_units, scale
from .warping import POWER_PRIOR, POWERS, Warp

#: more readings than this don't take part in the choice
MOST = 300
#: how exactly the power is found, far below what data can tell
ACCURACY = 0.01


def learn_power(table: Table, settings: Settings, warp: Warp, *, target: str, seed: int) -> Warp:
    """The box-cox warp with the power that the data favour, and the deviation that the profile's curvature gives it.

    Parameters
    ----------
    table : the readings in their own units
    settings : of the fit
    warp : its bounds are kept
    target : name of the target, for messages
    seed : of the subset of at most 300 readings that take part
    """
    starts: list[Start] = []
    tried: dict[float, float] = {}

    def loss(λ: float) -> float:
        if λ not in tried:
            tried[λ] = _profile(table, settings, replace(warp, power=λ), target, seed, starts)
        return tried[λ]

    low, high = POWERS
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": ACCURACY})
    best = float(found.x)
    for end in POWERS:  # the search comes near its ends only
        if abs(best - end) < 2 * ACCURACY and loss(end) <= loss(best):
            best = end
    step = 0.2
    inner = min(max(best, low + step), high - step)
    curvature = (loss(inner + step) - 2 * loss(inner) + loss(inner - step)) / step**2
    spread = 1.0 / math.sqrt(max(curvature, POWER_PRIOR[1] ** -2))
    return replace(warp, power=best, power_spread=spread)


def _profile(table: Table, settings: Settings, warp: Warp, target: str, seed: int, starts: list[Start]) -> float:
    """Negative log posterior of the power, hyper-parameters at their best; it leaves them in `starts`."""
    full = scale(warp.table(table, target), settings, warp)
    scaled = thinned(full, MOST, seed)
    try:
        minimum, problem = quick_minimum(scaled, settings, starts[-1] if starts else None)
    except NumericalError:
        return 1e10
    starts[:] = [Start(minimum.x)]
    mean, deviation = POWER_PRIOR
    return minimum.value - log_units(scaled, problem.objective.design) + 0.5 * ((warp.power - mean) / deviation) ** 2
