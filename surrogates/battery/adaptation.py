"""Fingerprints of many units at once by damped Gauss-Newton (Levenberg-Marquardt), each unit with its own damping.

The prior makes the problem well posed with any amount of data: without data the answer is the prior's mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import Layout
from .misfit import Misfit, Recipe, Windows, misfit_of, value_of
from .prior import Prior
from .system import system_of

Floats = NDArray[np.float64]
#: the observer must forget: the slowest error of its estimate shrinks at least by this factor in 15 min. Without it a
#: fit can trade a good fit of short records for an observer that explodes later
SLOWEST_MEMORY = 0.998
#: dampings that are tried for a step, and the least share of its promise that it must keep
ATTEMPTS, LEAST_GAIN = 12, 1e-3


class Adapted(NamedTuple):
    """Fingerprints at the mode.

    θ : (U, P); precision : (U, P, P) of the Laplace approximation; value : (U,) negative log density
    steps : evaluations with sensitivities; is_converged : (U,)
    """

    θ: Floats
    precision: Floats
    value: Floats
    steps: int
    is_converged: NDArray[np.bool_]


def adapt(
    windows: Windows,
    prior: Prior,
    layout: Layout,
    recipe: Recipe,
    step_hours: float,
    *,
    start: Floats | None = None,
    most_steps: int = 25,
    tolerance: float = 3e-3,
    follow: Callable[[float], None] | None = None,
) -> Adapted:
    """The most probable fingerprints given records and prior.

    Parameters
    ----------
    windows : of U records over the same rows
    prior : of all units, or of each
    start : (U, P) where to begin; the prior's mean by default
    most_steps : steps of Gauss-Newton
    tolerance : a unit has converged when an undamped step promises to lower its negative log density by less
    follow : called with the mean negative log density before each step
    """
    problem = _Problem(windows, prior, layout, recipe, step_hours)
    θ = np.array(np.broadcast_to(prior.mean, (len(windows.measured), layout.size)) if start is None else start)
    U, P = θ.shape
    active, damping, growth = np.arange(U), np.full(U, 1e-3), np.full(U, 4.0)
    value, curvature = np.full(U, np.inf), np.zeros((U, P, P))
    converged, steps = np.zeros(U, dtype=bool), 0
    while active.size:
        fit = problem.at(θ[active], active)
        value[active], curvature[active] = fit.value, fit.curvature
        steps += 1
        if follow is not None:
            follow(float(value.mean()))
        _, promise = _step(fit.gradient, fit.curvature, np.zeros(active.size))
        is_open = ~(promise < tolerance)  # NaN stays open
        converged[active[~is_open]] = True
        active, gradient = active[is_open], fit.gradient[is_open]
        if steps > most_steps:
            break
        waiting = np.arange(active.size)
        for _ in range(ATTEMPTS):
            if not waiting.size:
                break
            units = active[waiting]
            Δ, promise = _step(gradient[waiting], curvature[units], damping[units])
            gain = (value[units] - problem.value_at(θ[units] + Δ, units)) / promise
            good = gain > LEAST_GAIN
            θ[units[good]] += Δ[good]
            damping[units[good]] *= np.clip(1 - (2 * gain[good] - 1) ** 3, 0.1, 2.0)
            growth[units[good]] = 4.0
            damping[units[~good]] *= growth[units[~good]]
            growth[units[~good]] *= 2
            waiting = waiting[~good]
        active = np.delete(active, waiting)  # whoever finds no better place stays where it is, and hasn't converged
    return Adapted(θ, curvature, value, steps, converged)


class _Problem(NamedTuple):
    """Negative log density of fingerprints: record and prior."""

    windows: Windows
    prior: Prior
    layout: Layout
    recipe: Recipe
    step_hours: float

    def at(self, θ: Floats, units: NDArray[np.int64]) -> Misfit:
        """Value, gradient and Gauss-Newton matrix of some units' fingerprints."""
        fit = misfit_of(θ, self.layout, pick(self.windows, units), self.recipe, self.step_hours)
        value, pull, Λ = self._from_prior(θ, units)
        return Misfit(fit.value + value, fit.gradient + pull, fit.curvature + Λ)

    def value_at(self, θ: Floats, units: NDArray[np.int64]) -> Floats:
        """Value alone; inf where the observer doesn't forget."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = value_of(θ, self.layout, pick(self.windows, units), self.recipe, self.step_hours)
            value = value + self._from_prior(θ, units)[0]
            is_fine = np.isfinite(value) & (memory(θ, self.layout, self.step_hours) < SLOWEST_MEMORY)
        return np.where(is_fine, value, np.inf)

    def _from_prior(self, θ: Floats, units: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Value (u,), gradient (u, P) and curvature (u, P, P) of the prior's part."""
        μ, Λ = self.prior.mean, self.prior.precision
        off = θ - (μ if μ.ndim == 1 else μ[units])
        Λ = np.broadcast_to(Λ, (len(θ), *Λ.shape)) if Λ.ndim == 2 else Λ[units]
        pull = np.einsum("upq,uq->up", Λ, off)
        return 0.5 * (off * pull).sum(1), pull, Λ


def pick(windows: Windows, units: NDArray[np.int64]) -> Windows:
    """The windows of these units."""
    if len(units) == len(windows.measured) and (units == np.arange(len(units))).all():
        return windows
    return windows._replace(
        drivers=windows.drivers[units],
        measured=windows.measured[units],
        weight=windows.weight[units],
        step_weight=windows.step_weight[units],
        readings=windows.readings[units],
    )


def _step(gradient: Floats, curvature: Floats, damping: Floats) -> tuple[Floats, Floats]:
    """Damped step and the decrease that the quadratic model promises.  Damping is relative to the curvature's diagonal."""
    diagonal = np.einsum("upp->up", curvature)
    lifted = curvature + (damping[:, None] * diagonal)[:, :, None] * np.eye(curvature.shape[-1])
    Δ = -np.linalg.solve(lifted, gradient[:, :, None])[..., 0]
    promise = -(gradient * Δ).sum(1) - 0.5 * np.einsum("up,upq,uq->u", Δ, curvature, Δ)
    return Δ, promise


def memory(θ: Floats, layout: Layout, step_hours: float) -> Floats:
    """(U,) factor by which the observer's slowest error shrinks in 15 min: spectral radius of (I - K c) Φ, to that time."""
    system = system_of(θ, layout, step_hours)
    error = system.Φ - system.K[:, :, None] * system.Φ[:, None, 0]
    return np.asarray(np.abs(np.linalg.eigvals(error)).max(axis=-1) ** (0.25 / step_hours))
