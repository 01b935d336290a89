"""Predictive moments, and the one rule by which several posteriors become one.

mean = Σ_k w_k m_k          variance = Σ_k w_k (v_k + m_k²) - mean²          (law of total variance)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Moments(NamedTuple):
    """Mean and variance of a function at m points.  (m,) each."""

    mean: Floats
    variance: Floats


class Slopes(NamedTuple):
    """Derivatives of mean and variance by d inputs.  (m, d) each."""

    mean: Floats
    variance: Floats


class Decomposition(NamedTuple):
    """Mean of a mixture, and its variance in two parts.  (m,) each.

    within : Σ_k w_k v_k, what the parts say of themselves; between : Σ_k w_k (m_k - mean)², what they disagree about
    """

    mean: Floats
    within: Floats
    between: Floats


def decompose(parts: Sequence[Moments], weights: Floats) -> Decomposition:
    """Moments of a mixture, such as an ensemble.  weights: (k,), or (k, m) by point, sum to one over k.

    >>> a, b = Moments(np.array([0.0]), np.array([1.0])), Moments(np.array([2.0]), np.array([1.0]))
    >>> decompose([a, b], np.array([0.5, 0.5]))
    Decomposition(mean=array([1.]), within=array([1.]), between=array([1.]))
    """
    mean = sum((w * part.mean for w, part in zip(weights, parts, strict=True)), np.zeros_like(parts[0].mean))
    within, between = np.zeros_like(mean), np.zeros_like(mean)
    for w, part in zip(weights, parts, strict=True):
        within += w * part.variance
        between += w * (part.mean - mean) ** 2  # around the common mean: the difference of squares would cancel
    return Decomposition(mean, within, between)


def mix(parts: Sequence[Moments], weights: Floats) -> Moments:
    """Moments of a mixture, the parts of `decompose` added.  weights: (k,) or (k, m), sum to one over k.

    >>> mix([Moments(np.array([0.0]), np.array([1.0])), Moments(np.array([2.0]), np.array([1.0]))], np.array([0.5, 0.5]))
    Moments(mean=array([1.]), variance=array([2.]))
    """
    mean, within, between = decompose(parts, weights)
    return Moments(mean, within + between)


def mix_slopes(parts: Sequence[Slopes], moments: Sequence[Moments], weights: Floats) -> Slopes:
    """Derivatives of `mix`: ∂variance = Σ_k w_k [∂v_k + 2 (m_k - mean) ∂m_k]."""
    centre = mix(moments, weights).mean
    mean, variance = np.zeros_like(parts[0].mean), np.zeros_like(parts[0].mean)
    for w, part, moment in zip(weights, parts, moments, strict=True):
        mean += w * part.mean
        # the term with ∂mean vanishes, since the weighted deviations sum to zero
        variance += w * (part.variance + 2 * (moment.mean - centre)[:, None] * part.mean)
    return Slopes(mean, variance)


def deviation_slopes(variance_slopes: Floats, variance: Floats) -> Floats:
    """Derivatives of the standard deviation, ∂σ = ∂v/2σ, from the variance's (m, d) and itself (m,); NaN where it is 0.

    >>> deviation_slopes(np.array([[4.0], [0.0]]), np.array([4.0, 0.0]))
    array([[ 1.],
           [nan]])
    """
    twice = 2 * np.sqrt(variance)[:, None]
    return np.asarray(np.divide(variance_slopes, twice, out=np.full(variance_slopes.shape, np.nan), where=twice > 0))


def mix_covariances(covariances: Sequence[Floats], means: Sequence[Floats], weights: Floats) -> Floats:
    """Joint covariance (m, m) of a mixture of Gaussians with these covariances (m, m) and means (m,)."""
    centre = sum((w * mean for w, mean in zip(weights, means, strict=True)), np.zeros_like(means[0]))
    total = np.zeros_like(covariances[0])
    for w, covariance, mean in zip(weights, covariances, means, strict=True):
        total += w * (covariance + np.outer(mean - centre, mean - centre))
    return total
