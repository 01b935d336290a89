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
from .fitting import STARTS, Posterior, Problem, fit_posterior, make_problem
from .kernels import Kernel
from .preparing import Scaled, Settings, own_noise

Floats = NDArray[np.float64]
#: prior probability that a task is an outlier
OUTLIERS = 0.2
#: nats by which the task alone must be better, to be tried
SCREEN = -6.0
#: candidates in turn that may be refused
PATIENCE = 3
#: most tasks that stand apart: each brings a covariance matrix of its own
MOST = 8


class _Fit(NamedTuple):
    posterior: Posterior
    problem: Problem
    evidence: float


class Apart(NamedTuple):
    """Data and settings with the outliers put apart, and where a fit may start: at the mode (p,) that was found."""

    scaled: Scaled
    settings: Settings
    near: list[Floats]
    evaluations: int


def stand_apart(scaled: Scaled, settings: Settings, labels: Sequence[Label | None], *, seed: int) -> Apart:
    """Put those tasks apart that are better off without the others: ``settings.apart``, and noise of their own."""
    if scaled.readings.tasks < 2 or not isinstance(settings.kernel, Kernel):
        return Apart(scaled, settings, [], 0)
    price = math.log((1 - OUTLIERS) / OUTLIERS)
    asked, settings = settings.solver, replace(settings, solver="auto")  # parts of the data may lack its pattern
    best, alone = _fit(scaled, settings, seed), _alone(scaled, settings, seed)
    evaluations = best.posterior.evaluations
    candidates = _screened(scaled, settings, best, alone)
    refused = 0
    while candidates and refused < PATIENCE and len(settings.apart) < min(MOST, scaled.readings.tasks - 1):
        t = candidates.pop(0)
        wider = replace(settings, apart=tuple(sorted((*settings.apart, t))))
        trial = _fit(scaled, wider, seed, near=_near(settings, best, alone[t], t))
        evaluations += trial.posterior.evaluations
        if trial.evidence - best.evidence > price:
            settings, best, refused = wider, trial, 0
            candidates = _screened(scaled, settings, best, alone)
        else:
            refused += 1
    if not settings.apart:
        settings = replace(settings, solver=asked)
    scaled = replace(scaled, readings=own_noise(scaled.readings, settings, labels))
    return Apart(scaled, settings, [best.posterior.mode], evaluations)


def _screened(scaled: Scaled, settings: Settings, best: _Fit, alone: dict[int, _Fit]) -> list[int]:
    """Tasks that may be better off alone, the most promising first."""
    open_to = [t for t in alone if t not in settings.apart]
    gains = {t: alone[t].evidence - _given_others(scaled, settings, best, t) for t in open_to}
    return sorted((t for t, gain in gains.items() if gain > SCREEN), key=lambda t: -gains[t])


def _near(settings: Settings, best: _Fit, alone: _Fit, t: int) -> list[dict[str, float]]:
    """Starts, by name: hyper-parameters of the shared model, and those of task t alone as they are called beside it.

    Where noise is known, the task alone may have made a nugget of its detail, and beside the others it has none of its own:
    so there is a second start, which explains the detail by the process.
    """
    known = dict(zip(best.posterior.layout.names, best.posterior.mode, strict=True))
    for name, value in zip(alone.posterior.layout.names, alone.posterior.mode, strict=True):
        for plain, beside in (
            ("log s", f"log s of task {t}"),
            ("log l[", f", task {t}]"),
            ("log σ²[", f" ({t} alone)]"),
        ):
            if name.startswith(plain):
                known[beside if plain == name else name.removesuffix("]") + beside] = value
    if settings.noise not in ("known", "none"):
        return [known]
    own = (f"log s of task {t}", f", task {t}]")
    l, _, _ = STARTS[0]
    detailed = {
        name: 0.0 if name == own[0] else math.log(l) if name.endswith(own[1]) else v for name, v in known.items()
    }
    return [known, detailed]


def _fit(scaled: Scaled, settings: Settings, seed: int, *, near: Sequence[dict[str, float]] = ()) -> _Fit:
    """A fit at its mode; from hyper-parameters by name, if there are any, else from scratch."""
    scaled = replace(scaled, readings=own_noise(scaled.readings, settings, range(scaled.readings.tasks)))
    names = make_problem(scaled, settings).objective.layout.names if near else ()
    starts = [np.array([known[name] for name in names]) for known in near]
    posterior, problem = fit_posterior(
        scaled, settings, integrate=False, seed=seed, progress=lambda value: None, near=starts
    )
    return _Fit(posterior, problem, _evidence(posterior, problem))


def _evidence(posterior: Posterior, problem: Problem) -> float:
    """Laplace's approximation of the log evidence, with average information for its curvature, up to the data's constant."""
    minimum = posterior.minimum
    H = minimum.curvature if minimum.curvature is not None else problem.objective(minimum.x, 2).curvature
    assert H is not None
    # the factors of 2π of the prior and of the integral cancel
    return -minimum.value - float(np.log(posterior.layout.prior[1]).sum()) - 0.5 * float(np.linalg.slogdet(H)[1])


def _alone(scaled: Scaled, settings: Settings, seed: int) -> dict[int, _Fit]:
    """Each task's readings by a model of its own; tasks too small for a trend of their own are left out."""
    readings = scaled.readings
    found = {}
    for t in range(readings.tasks):
        if t in scaled.prior.poor:
            continue
        mine = readings.of_tasks(readings.task == t)
        mine = replace(mine, task=np.zeros_like(mine.task), tasks=1)
        single = replace(scaled, readings=mine, prior=trend_prior(mine, scaled.trend))
        if not single.prior.poor:
            found[t] = _fit(single, settings, seed)
    return found


def _given_others(scaled: Scaled, settings: Settings, fit: _Fit, t: int) -> float:
    """ℓ(y) - ℓ(y_-t) at the fit's hyper-parameters."""
    rest = scaled.readings.of_tasks(scaled.readings.task != t)
    precision = scaled.prior.precision.copy()
    precision[t] = 1.0  # of a trend that no reading tells of: it has no influence
    prior = replace(scaled.prior, precision=precision)
    others = make_problem(replace(scaled, prior=prior), settings, own_noise(rest, settings, range(rest.tasks)))
    return others.objective(fit.posterior.mode, 0).value - fit.posterior.minimum.value
