"""Integration over the hyper-parameters: importance-weighted draws around the posterior's mode.

With few observations the likelihood leaves length-scales and amplitudes uncertain, and predictions at the mode alone are
over-confident. Draws come from a widened Laplace approximation (Rue, Martino & Chopin 2009 integrate the same way on a
grid), are quasi-random, so that a few suffice, and are weighted by the true posterior over the approximate one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from surrogates.errors import NumericalError

Floats = NDArray[np.float64]


class Draws(NamedTuple):
    """Hyper-parameters (k, p) with normalised weights (k,); effective: 1/Σ w²."""

    parameters: Floats
    weights: Floats
    effective: float


def laplace_draws(
    objective: Callable[[Floats], float],
    mode: Floats,
    curvature: Floats,
    bounds: Floats,
    *,
    count: int,
    seed: int,
    widening: float = 1.2,
) -> Draws:
    """Weighted draws of the posterior exp(-objective).

    Parameters
    ----------
    objective : negative log posterior; may raise NumericalError where it isn't defined
    mode : (p,) its minimum
    curvature : (p, p) positive definite, about its second derivative there
    bounds : (p, 2); draws outside have no weight
    count : how many draws, besides the mode itself
    seed : of the quasi-random sequence
    widening : standard deviations of the proposal in units of the Laplace approximation's
    """
    p = len(mode)
    uniform = _sobol(p, count, seed)
    z = np.concatenate([np.zeros((1, p)), ndtri(uniform)])
    # columns of inv(L') z have covariance curvature⁻¹; a Cholesky factor moves smoothly with the data, unlike eigenvectors
    L = np.linalg.cholesky(curvature)
    draws = mode + widening * np.linalg.solve(L.T, z.T).T
    log_weight = np.full(len(draws), -np.inf)
    for k, θ in enumerate(draws):
        if (θ >= bounds[:, 0]).all() and (θ <= bounds[:, 1]).all():
            try:
                log_weight[k] = -objective(θ) + 0.5 * float(z[k] @ z[k])
            except NumericalError:
                continue
    if not np.isfinite(log_weight).any():
        return Draws(mode[None], np.ones(1), 1.0)
    weights = np.exp(log_weight - log_weight.max())
    weights /= weights.sum()
    keep = weights > 1e-4 / len(weights)
    # a single draw that the approximation missed must not take over: truncated importance sampling (Ionides 2008)
    kept = np.minimum(weights[keep], 1.0 / np.sqrt(keep.sum()))
    kept /= kept.sum()
    return Draws(draws[keep], kept, float(1.0 / (kept @ kept)))


def _sobol(dimensions: int, count: int, seed: int) -> Floats:
    """Scrambled Sobol points inside the open unit cube: (count, dimensions)."""
    with warnings.catch_warnings():
        # the balance of 2^k points doesn't matter for weighted draws
        warnings.filterwarnings("ignore", message="The balance properties of Sobol", category=UserWarning)
        points = qmc.Sobol(dimensions, scramble=True, seed=seed).random(count)
    return np.asarray(np.clip(points, 1e-9, 1 - 1e-9))
