"""Readings with Student's t noise: a Gaussian model in which every reading has a weight of its own.

t_ν noise of scale σ is a mixture of Gaussians, ε | w ~ N(0, σ²/w), w ~ Gamma(ν/2, ν/2). The posterior of functions and
weights is approximated by a product q(f) q(w), as in Tipping & Lawrence (2005, Neurocomputing 69:123):

    q(w_r) = Gamma((ν+1)/2, (ν + e_r)/2),   E w_r = (ν+1)/(ν + e_r),   e_r = E (y_r - f_r)²/σ²

q(f) is the Gaussian posterior with noise σ²/E w_r, for which every solver and every answer of this library is exact; the
hyper-parameters maximise its restricted likelihood, and the two alternate. At the end the bound on the log evidence is

    ℓ + Σ_r {½ (E log w_r - log E w_r) - KL[q(w_r) | Gamma(ν/2, ν/2)]},

by which ν is chosen among 3, 5, 10 and 30. Weights are those of the mode, and stay in the hyper-parameters' integration.
Laplace's method (Vanhatalo, Jylänki & Vehtari 2009) needs no factorisation but an iteration for each evaluation, whose
Hessian may be indefinite.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .fitting import Problem, Start, make_problem, quick_minimum, thinned
from .preparing import Scaled, Settings
from .shaped_noise import evidence_bound

Floats = NDArray[np.float64]
#: degrees of freedom ν to choose from; two would have no variance
DEGREES = (3.0, 5.0, 10.0, 30.0)
#: rounds of weights and hyper-parameters, and the change of a weight that ends them
ROUNDS, SETTLED = 60, 2e-3
#: the same while degrees of freedom are compared
ROUGHLY = 0.02
#: more readings than this don't take part in the choice of ν
MOST = 400
#: a reading with less weight than this is an outlier, for a report
OUTLIER = 0.3


def student_t(scaled: Scaled, settings: Settings, *, seed: int) -> Scaled:
    """The same readings with weights, and the degrees of freedom that the data favour.

    seed : of the subset of about 400 readings on which larger fits choose their degrees of freedom
    """
    few = thinned(scaled, MOST, seed)
    weight: Floats = np.ones(len(few.readings.y))
    tried: list[tuple[float, float, Floats, Start]] = []  # bound, ν, weights, hyper-parameters
    for ν in DEGREES:
        weight, start, value = _alternate(few, settings, ν, weight, tried[-1][3] if tried else None, ROUGHLY)
        tried.append((value, ν, weight, start))
        if value < max(each[0] for each in tried) - 1:  # the bound has one top
            break
    _, ν, weight, start = max(tried, key=lambda each: each[0])
    if few is not scaled:
        weight = _of(_settle(_weighted(scaled, np.ones(len(scaled.readings.y)), ν), settings, start.x, ROUGHLY))
    return _weighted(scaled, _alternate(scaled, settings, ν, weight, start, SETTLED)[0], ν)


def reweighted(scaled: Scaled, settings: Settings, θ: Floats) -> Scaled:
    """Weights of further readings too, hyper-parameters θ kept: what conditioning on them means here."""
    assert scaled.degrees is not None
    current = _weighted(scaled, np.ones(len(scaled.readings.y)), scaled.degrees)
    return _settle(current, settings, θ, SETTLED)


def expected_weights(problem: Problem, θ: Floats, y: Floats, weight: Floats, degrees: float) -> Floats:
    """E w (N,) given the posterior at θ of a model with readings y (N,) that have weights (N,) already."""
    collapsed, objective = problem
    noise = objective.layout.split(θ).log_noise
    rows, solved = objective.design.noise.rows(noise), objective.gradient(θ)
    fitted = rows.y - rows.D * solved.alpha
    spread = np.maximum(rows.D - rows.D**2 * solved.p_diagonal, 0.0)
    row = collapsed.row
    σ2 = collapsed.design.noise.reading_variance(noise) * weight
    e = ((y - fitted[row]) ** 2 + spread[row]) / σ2
    return np.asarray((degrees + 1) / (degrees + e))


def _weighted(scaled: Scaled, weight: Floats, degrees: float) -> Scaled:
    return replace(scaled, readings=replace(scaled.readings, weight=weight), degrees=degrees)


def _alternate(
    scaled: Scaled, settings: Settings, ν: float, weight: Floats, start: Start | None, tolerance: float
) -> tuple[Floats, Start, float]:
    """Weights, hyper-parameters, and the bound on their log posterior."""
    current = _weighted(scaled, weight, ν)
    for _ in range(ROUNDS):
        minimum, _ = quick_minimum(current, settings, start)
        start, before = Start(minimum.x), _of(current)
        current = _settle(current, settings, minimum.x, tolerance, rounds=3)
        if np.abs(_of(current) - before).max() < tolerance:
            break
    minimum, _ = quick_minimum(current, settings, start)
    return _of(current), Start(minimum.x), evidence_bound(_of(current), ν) - minimum.value


def _settle(current: Scaled, settings: Settings, θ: Floats, tolerance: float, rounds: int = ROUNDS) -> Scaled:
    """Weights and functions in turn, hyper-parameters kept."""
    assert current.degrees is not None
    for _ in range(rounds):
        before = _of(current)
        problem = make_problem(current, settings)
        weight = expected_weights(problem, θ, current.readings.y, before, current.degrees)
        current = _weighted(current, weight, current.degrees)
        if np.abs(weight - before).max() < tolerance:
            break
    return current


def _of(scaled: Scaled) -> Floats:
    assert scaled.readings.weight is not None
    return scaled.readings.weight
