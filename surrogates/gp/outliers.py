"""Which tasks share nothing with the others: found one by one, by the evidence.

A task t is put apart if that raises the Laplace approximation of the log evidence,

    log Z = ℓ(θ̂) + log p(θ̂) + ½ p log 2π - ½ log|H|,

by more than the prior odds of an outlier ask for. Candidates are screened by how much better a model of the task alone, with
hyper-parameters of its own, explains its readings than the shared model does given the others',

    log Z_t - [ℓ(y) - ℓ(y_-t)],

which costs one factor of the other tasks' covariance.  (Own construction; restricted likelihoods of block-diagonal models
add up, so that the terms are comparable.)  Learnt noise includes what a kernel doesn't resolve, and so a task apart has
noise of its own, too: it is then what a model of it alone would be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.schema import Label

from .collapse import trend_prior
from .fitting import Posterior, Problem, Scaled, Settings, fit_posterior, make_problem, own_noise
from .kernels import Kernel

Floats = NDArray[np.float64]
#: prior probability that a task is an outlier
OUTLIERS = 0.2
#: nats by which the task alone must be better, to be tried
SCREEN = -6.0
#: most tasks that stand apart: each brings a covariance matrix of its own
MOST = 8


class _Fit(NamedTuple):
    posterior: Posterior
    problem: Problem
    evidence: float


def stand_apart(
    scaled: Scaled, settings: Settings, labels: Sequence[Label | None], *, seed: int
) -> tuple[Scaled, Settings]:
    """Put those tasks apart that are better off without the others: ``settings.apart``, and noise of their own."""
    if scaled.readings.tasks < 2 or not isinstance(settings.kernel, Kernel):
        return scaled, settings
    price = math.log((1 - OUTLIERS) / OUTLIERS)
    best = _fit(scaled, settings, seed)
    alone = _alone(scaled, settings, seed)
    refused: set[int] = set()
    while len(settings.apart) < min(MOST, scaled.readings.tasks - 1):
        gains = {t: z - _given_others(scaled, settings, best, t) for t, z in alone.items() if t not in settings.apart}
        gains = {t: gain for t, gain in gains.items() if t not in refused and gain > SCREEN}
        if not gains:
            break
        candidate = max(gains, key=lambda t: gains[t])
        wider = replace(settings, apart=tuple(sorted((*settings.apart, candidate))))
        trial = _fit(scaled, wider, seed)
        if trial.evidence - best.evidence > price:
            settings, best = wider, trial
            refused = set()
        else:
            refused.add(candidate)
            if len(refused) > 2:
                break
    return replace(scaled, readings=own_noise(scaled.readings, settings, labels)), settings


def _fit(scaled: Scaled, settings: Settings, seed: int) -> _Fit:
    scaled = replace(scaled, readings=own_noise(scaled.readings, settings, range(scaled.readings.tasks)))
    posterior, problem = fit_posterior(scaled, settings, integrate=False, seed=seed, progress=lambda value: None)
    return _Fit(posterior, problem, _evidence(posterior, problem))


def _evidence(posterior: Posterior, problem: Problem) -> float:
    """Laplace's approximation of the log evidence, with average information for its curvature, up to the data's constant."""
    minimum = posterior.minimum
    H = minimum.curvature if minimum.curvature is not None else problem.objective(minimum.x, 2).curvature
    assert H is not None
    # the factors of 2π of the prior and of the integral cancel
    return -minimum.value - float(np.log(posterior.layout.prior[1]).sum()) - 0.5 * float(np.linalg.slogdet(H)[1])


def _alone(scaled: Scaled, settings: Settings, seed: int) -> dict[int, float]:
    """Log evidence of each task's readings by a model of its own; tasks too small for a trend of their own are left out."""
    readings = scaled.readings
    found = {}
    for t in range(readings.tasks):
        if t in scaled.prior.poor:
            continue
        mine = readings.of_tasks(readings.task == t)
        mine = replace(mine, task=np.zeros_like(mine.task), tasks=1)
        single = replace(scaled, readings=mine, prior=trend_prior(mine, scaled.trend))
        if not single.prior.poor:
            found[t] = _fit(single, settings, seed).evidence
    return found


def _given_others(scaled: Scaled, settings: Settings, fit: _Fit, t: int) -> float:
    """ℓ(y) - ℓ(y_-t) at the fit's hyper-parameters."""
    rest = scaled.readings.of_tasks(scaled.readings.task != t)
    precision = scaled.prior.precision.copy()
    precision[t] = 1.0  # of a trend that no reading tells of: it has no influence
    prior = replace(scaled.prior, precision=precision)
    others = make_problem(replace(scaled, prior=prior), settings, own_noise(rest, settings, range(rest.tasks)))
    return others.objective(fit.posterior.mode, 0).value - fit.posterior.minimum.value
