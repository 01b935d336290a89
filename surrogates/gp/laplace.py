"""Integration over the hyper-parameters: importance-weighted draws around the posterior's mode.

With few observations the likelihood leaves length-scales and amplitudes uncertain, and predictions at the mode alone are
over-confident. Draws start from a Laplace approximation (Rue, Martino & Chopin 2009 integrate the same way on a grid),
are quasi-random, so that a few suffice, and are weighted by the true posterior over the approximate one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, gammaln, logsumexp, ndtri
from scipy.stats import qmc

from surrogates.errors import NumericalError

Floats = NDArray[np.float64]
#: degrees of freedom of the proposals
TAILS = 5.0


class Draws(NamedTuple):
    """Hyper-parameters (k, p) with normalised weights (k,); effective: 1/Σ w² of all points tried.

    log_integral : estimate of log ∫ exp(-objective) over the box of the bounds; NaN where nothing was integrated
    """

    parameters: Floats
    weights: Floats
    effective: float
    log_integral: float = math.nan


@dataclass(frozen=True)
class _Proposal:
    """A multivariate Student density with few degrees of freedom: its tails cover what the approximation misses."""

    centre: Floats  # (p,)
    factor: Floats  # (p, p) lower Cholesky factor of its precision
    count: int

    def draw(self, seed: int) -> Floats:
        """(count, p) quasi-random points."""
        p = len(self.centre)
        u = _sobol(p + 1, self.count, seed)
        z = ndtri(u[:, :p]) / np.sqrt(chdtri(TAILS, 1 - u[:, p:]) / TAILS)
        # a Cholesky factor moves smoothly with the data, unlike eigenvectors
        return np.asarray(self.centre + np.linalg.solve(self.factor.T, z.T).T)

    def log_density(self, θ: Floats) -> Floats:
        """Of `count` points together, at θ (k, p)."""
        p = len(self.centre)
        z = (θ - self.centre) @ self.factor
        spread = -0.5 * (TAILS + p) * np.log1p((z * z).sum(axis=1) / TAILS)
        constant = gammaln(0.5 * (TAILS + p)) - gammaln(0.5 * TAILS) - 0.5 * p * np.log(TAILS * np.pi)
        return np.asarray(constant + np.log(np.diag(self.factor)).sum() + spread + np.log(self.count))


def laplace_draws(
    objective: Callable[[Floats], float],
    mode: Floats,
    curvature: Floats,
    bounds: Floats,
    *,
    count: int,
    keep: int,
    seed: int,
) -> Draws:
    """Weighted draws of the posterior exp(-objective).

    A third of the points come from a Student density with the Laplace approximation's centre and shape, the rest from
    one with the centre and shape that the first third found, since posteriors of length-scales are skewed. Weights count
    both densities (the balance heuristic of Veach & Guibas 1995).

    Parameters
    ----------
    objective : negative log posterior; may raise NumericalError where it isn't defined
    mode : (p,) its minimum
    curvature : (p, p) positive definite, about its second derivative there
    bounds : (p, 2); points outside have no weight
    count : how many points are tried, besides the mode itself
    keep : at most so many draws are returned, chosen by systematic resampling
    seed : of the quasi-random sequences
    """
    # an order of the coordinates that doesn't depend on how tasks, inputs or fidelities are numbered
    order = np.argsort(mode * np.sqrt(np.diagonal(curvature)), kind="stable")
    back = np.argsort(order)
    mode, curvature, bounds = mode[order], curvature[np.ix_(order, order)], bounds[order]

    def log_posterior(points: Floats) -> Floats:
        return _values(lambda θ: objective(θ[back]), points, bounds)

    first = _Proposal(mode, _lower(curvature) / 1.2, count // 3)
    points = np.concatenate([mode[None], first.draw(seed)])
    values = log_posterior(points)
    if not np.isfinite(values).any():
        return Draws(mode[None, back], np.ones(1), 1.0)
    weights = _truncated(values - first.log_density(points))
    centre = np.asarray(weights @ points, dtype=np.float64)
    deviation = points - centre
    # shrunk towards the first shape, as few points determine a covariance badly
    shape = 0.7 * (weights[:, None] * deviation).T @ deviation + 0.3 * np.linalg.inv(curvature)
    second = _Proposal(centre, _lower(np.linalg.inv(shape)) / 1.15, count - count // 3)
    more = second.draw(seed + 1)
    points = np.concatenate([points, more])
    values = np.concatenate([values, log_posterior(more)])
    log_weights = values - np.logaddexp(first.log_density(points), second.log_density(points))
    integral = float(logsumexp(log_weights[1:]))  # of those that were drawn: the mode was put there
    weights = _truncated(log_weights)
    effective = float(1.0 / (weights @ weights))
    chosen, copies = np.unique(_systematic(weights, min(keep, count)), return_counts=True)
    return Draws(points[chosen][:, back], copies / copies.sum(), effective, integral)


def _lower(precision: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.cholesky(precision), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise NumericalError("the curvature at the hyper-parameters' mode isn't positive definite") from error


def _values(objective: Callable[[Floats], float], points: Floats, bounds: Floats) -> Floats:
    """Log posterior at points (k, p); -inf outside the bounds and where it isn't defined."""
    result = np.full(len(points), -np.inf)
    for k in np.flatnonzero(((points >= bounds[:, 0]) & (points <= bounds[:, 1])).all(axis=1)):
        try:
            result[k] = -objective(points[k])
        except NumericalError:
            continue
    return result


def _truncated(log_weights: Floats) -> Floats:
    """Normalised weights, none above 1/√k: a point that the proposal missed must not take over (Ionides 2008)."""
    weights = np.exp(log_weights - log_weights.max())
    weights = np.minimum(weights / weights.sum(), 1.0 / np.sqrt(len(weights)))
    return np.asarray(weights / weights.sum())


def _systematic(weights: Floats, count: int) -> NDArray[np.int64]:
    """`count` positions, each about count · weight times (systematic resampling, without a random start)."""
    ticks = (np.arange(count) + 0.5) / count
    return np.minimum(np.searchsorted(np.cumsum(weights), ticks), len(weights) - 1).astype(np.int64)


def _sobol(dimensions: int, count: int, seed: int) -> Floats:
    """Scrambled Sobol points inside the open unit cube: (count, dimensions)."""
    with warnings.catch_warnings():
        # the balance of 2^k points doesn't matter for weighted draws
        warnings.filterwarnings("ignore", message="The balance properties of Sobol", category=UserWarning)
        points = qmc.Sobol(dimensions, scramble=True, seed=seed).random(count)
    return np.asarray(np.clip(points, 1e-9, 1 - 1e-9))
