"""Which structure, kernel and trend: all are tried, and weighed by their evidence.

Evidence is the likelihood integrated over hyper-parameters with proper priors, so that a structure pays for what it could
have said. Structures compare since all have the same flat constants of each task and fidelity on the same scaled readings.
Leave-one-out errors mislead here: a place left out of one fidelity is still there in the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import NumericalError

from .levels import Levels
from .parts import Climb, Fit, Part, Structure, thinned

Floats = NDArray[np.float64]
#: nats below the best, by Laplace's approximation, at which a structure isn't looked at closer
SHORTLIST = 7.0
#: share of the best structure's below which others are left out of answers
LEAST = 0.01
#: hyper-parameter points tried for each structure of the shortlist
POINTS = 240
#: up to so many readings hyper-parameters are integrated
INTEGRATE_UP_TO = 250


class Tried(NamedTuple):
    """A structure that was tried, with its log evidence and its probability among all."""

    structure: Structure
    log_evidence: float
    probability: float


def choose(
    levels: Levels,
    structures: Sequence[Structure],
    climbs: Callable[[Structure], Climb],
    *,
    average: bool,
    integrate: bool | None,
    seed: int,
    progress: Callable[[float], None],
) -> tuple[tuple[Part, ...], tuple[Tried, ...], tuple[Structure, ...]]:
    """Fit all structures; average them by evidence, or take the best. The last of three answers are those that failed.

    Raises
    ------
    NumericalError
        If no structure can be fitted.
    """
    fits: list[Fit] = []
    failure: NumericalError | None = None
    for structure in structures:
        try:
            fit = climbs(structure)(levels, structure, seed, progress)
        except NumericalError as error:
            failure = error
            continue
        if math.isfinite(fit.log_evidence):
            fits.append(fit)
    if not fits:
        raise NumericalError(
            f"none of {', '.join(map(str, structures))} could be fitted ({failure or 'no evidence is finite'}); try another "
            f"kernel or trend, or give a small known noise"
        ) from failure
    best = max(fit.log_evidence for fit in fits)
    if len(levels.y) <= INTEGRATE_UP_TO if integrate is None else integrate:
        fits = [_integrated(fit, seed) if fit.log_evidence > best - SHORTLIST else fit for fit in fits]
    fitted = {fit.structure for fit in fits}
    failed = tuple(structure for structure in structures if structure not in fitted)
    weights = _probabilities(np.array([fit.log_evidence for fit in fits]))
    tried = tuple(
        sorted(
            (Tried(fit.structure, fit.log_evidence, float(w)) for fit, w in zip(fits, weights, strict=True)),
            key=lambda one: -one.probability,
        )
    )
    parts = tuple(Part(fit, float(w)) for fit, w in zip(fits, weights, strict=True))
    if not average:
        return (Part(max(parts, key=lambda part: part.weight).fit, 1.0),), tried, failed
    return thinned(parts, LEAST), tried, failed


def _integrated(fit: Fit, seed: int) -> Fit:
    """With draws of the hyper-parameters; at their mode, if there are none."""
    try:
        draws = fit.integrated(count=POINTS, seed=seed)
    except NumericalError:
        return fit
    return draws if math.isfinite(draws.log_evidence) else fit


def _probabilities(log_evidence: Floats) -> Floats:
    raised = np.exp(log_evidence - log_evidence.max())
    return np.asarray(raised / raised.sum())
