"""How probable the data are under a model, its hyper-parameters integrated: what structures are compared by.

    log p(y) = log ∫ exp ℓ(θ) p(θ) dθ

ℓ is the restricted likelihood, so that evidences compare between models with the same flat trend columns and the same
scaled readings only; all else must have proper priors. (Rasmussen & Williams 2006, sec. 5.2.)
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from .laplace import Draws
from .objective import Value

Floats = NDArray[np.float64]


class Priors(Protocol):
    """What the evidence needs of a layout: bounds (p, 2), and mean (p,) and deviation (p,) of the normal priors."""

    @property
    def bounds(self) -> Floats: ...
    @property
    def prior(self) -> tuple[Floats, Floats]: ...


class Penalised(Protocol):
    """-ℓ(θ) - log prior(θ), the prior without the constants of its normal densities."""

    def __call__(self, θ: Floats, order: int, /) -> Value: ...


def log_evidence(objective: Penalised, layout: Priors, mode: Floats, draws: Draws) -> float:
    """log p(y) in the objective's (scaled) units.

    The integral over the hyper-parameters is the importance-sampling estimate that came with the draws; where there is
    none, since the fit stayed at the mode, it is Laplace's, with the exact curvature by differences of the gradient.

    Parameters
    ----------
    objective : the penalised likelihood
    layout : its priors. They count as normal densities cut off at the bounds; priors that a kernel has of its own are
        taken as they are
    mode : (p,) the objective's minimum
    draws : what the fit integrated with
    """
    integral = draws.log_integral
    if not math.isfinite(integral):
        curvature = difference_curvature(objective, mode)
        integral = laplace_integral(objective(mode, 0).value, curvature)
    return integral + log_prior_constant(layout)


def laplace_integral(value: float, curvature: Floats) -> float:
    """log ∫ exp(-objective) = -value + ½ p log 2π - ½ log|C| of a quadratic objective with that minimum and curvature.

    >>> round(laplace_integral(0.0, np.array([[2.0 * math.pi]])), 12)
    0.0
    """
    p = len(curvature)
    return -value + 0.5 * p * math.log(2 * math.pi) - 0.5 * float(np.linalg.slogdet(curvature)[1])


def log_prior_constant(layout: Priors) -> float:
    """What the logarithm of the normal priors' product lacks: -Σ log(σ_k √2π) - Σ log(mass inside the bounds)."""
    mean, deviation = layout.prior
    low, high = (layout.bounds.T - mean) / deviation
    mirrored = low > 0  # the smaller tail keeps its digits
    low, high = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    mass = np.where(high > -30, ndtr(high) - ndtr(low), 1.0)
    # so far out that both ends underflow: the nearer end's tail
    log_mass = np.where(high > -30, np.log(np.maximum(mass, 1e-300)), log_ndtr(high))
    return -float((np.log(deviation * math.sqrt(2 * math.pi)) + log_mass).sum())


def difference_curvature(objective: Penalised, θ: Floats) -> Floats:
    """Hessian (p, p) by central differences of the gradient, made positive definite."""
    step = 1e-4
    columns = []
    for e in step * np.eye(len(θ)):
        up, down = objective(θ + e, 1).gradient, objective(θ - e, 1).gradient
        assert up is not None
        assert down is not None
        columns.append((up - down) / (2 * step))
    values, vectors = np.linalg.eigh(0.5 * (np.array(columns) + np.array(columns).T))
    return np.asarray((vectors * np.maximum(values, 1e-2)) @ vectors.T)
