"""What a population of units says of the next one: a Gaussian prior over fingerprints by empirical Bayes.

Two rounds: fingerprints under a wide hand-made prior give a mean and a covariance; fingerprints under these give the final
ones. The covariance is drawn a little towards its diagonal, since tens of units can't tell all correlations of forty
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .adaptation import adapt
from .layout import NUISANCES, Layout, hand_prior
from .misfit import Recipe, Windows
from .prior import Prior

Floats = NDArray[np.float64]
#: the share of the covariance that is taken from its diagonal alone is this over the number of units: correlations are what
#: a short record is completed by, but few units can't tell them; and a floor under every standard deviation
SHRINKAGE, FLOOR = 2.4, 0.05
#: standard deviation of the masses' offsets at a record's start [K]
START_DEVIATION = 1.0


class Population(NamedTuple):
    """Fingerprints of the population and the prior that follows from them.

    θ : (U, P); prior : for the next unit; steps : evaluations in both rounds; is_converged : (U,) in the last round
    """

    θ: Floats
    prior: Prior
    steps: int
    is_converged: NDArray[np.bool_]


def first_prior(layout: Layout) -> Prior:
    """The hand-made prior."""
    mean, deviation = hand_prior(layout)
    return Prior(mean, np.diag(deviation**-2.0))


def prior_from(θ: Floats, layout: Layout) -> Prior:
    """Mean and shrunk covariance of fingerprints (U, P); records' own starts keep a prior around zero.

    Σ = (1 - s) S + s diag S + floor² I, S the sample covariance, s = min(SHRINKAGE / U, 1)
    """
    shared = θ[:, : layout.shared_size]
    S, s = np.cov(shared, rowvar=False), min(SHRINKAGE / len(θ), 1.0)
    Σ = np.zeros((layout.size, layout.size))
    Σ[: layout.shared_size, : layout.shared_size] = (1 - s) * S + np.diag(s * np.diag(S) + FLOOR**2)
    Σ[range(-NUISANCES, 0), range(-NUISANCES, 0)] = START_DEVIATION**2
    mean: Floats = np.concatenate([shared.mean(0), np.zeros(NUISANCES)])
    return Prior(mean, np.asarray(np.linalg.inv(Σ), dtype=np.float64))


def fit_population(
    windows: Windows,
    layout: Layout,
    recipe: Recipe,
    step_hours: float,
    *,
    start: Floats | None = None,
    follow: Callable[[float], None] | None = None,
) -> Population:
    """Fingerprints of all units and the prior that they make, in two rounds, the first from `start` (U, P) if given."""
    first = adapt(
        windows,
        first_prior(layout),
        layout,
        recipe,
        step_hours,
        start=start,
        most_steps=12,
        tolerance=0.05,
        follow=follow,
    )
    second = adapt(
        windows,
        prior_from(first.θ, layout),
        layout,
        recipe,
        step_hours,
        start=first.θ,
        most_steps=12,
        tolerance=0.01,
        follow=follow,
    )
    return Population(second.θ, prior_from(second.θ, layout), first.steps + second.steps, second.is_converged)
