"""Fingerprints of many units at once by damped Gauss-Newton (Levenberg-Marquardt), each unit with its own damping.

The prior makes the problem well posed with any amount of data: without data the answer is the prior's mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .layout import Layout
from .misfit import Recipe, Windows, misfit_of, value_of
from .system import system_of

Floats = NDArray[np.float64]
#: the observer must forget: the slowest error of its estimate shrinks at least by this factor in a step. Without it a
#: fit can trade a good fit of short records for an observer that explodes later
SLOWEST_MEMORY = 0.998


class Prior(NamedTuple):
    """Gaussian over fingerprints.  mean (P,) or (U, P); precision (P, P) or (U, P, P)."""

    mean: Floats
    precision: Floats


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
    weight: float = 1.0,
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
    weight : λ, by which the prior counts
    start : (U, P) where to begin; the prior's mean by default
    most_steps : evaluations with sensitivities
    tolerance : on the decrease of the negative log density that the next step promises
    follow : called with the mean objective after each step
    """
    U, P = len(windows.measured), layout.size
    μ = np.broadcast_to(prior.mean, (U, P))
    Λ = weight * np.broadcast_to(prior.precision, (U, P, P))
    θ = np.array(μ if start is None else start)
    active, damping = np.arange(U), np.full(U, 1e-3)
    growth = np.full(U, 4.0)
    value, curvature = np.full(U, np.inf), np.zeros((U, P, P))
    converged = np.zeros(U, dtype=bool)
    steps = 0
    while active.size and steps < most_steps:
        part = pick(windows, active)
        fit = misfit_of(θ[active], layout, part, recipe, step_hours)
        steps += 1
        off = θ[active] - μ[active]
        pull = np.einsum("upq,uq->up", Λ[active], off)
        value[active] = fit.value + 0.5 * (off * pull).sum(1)
        curvature[active] = fit.curvature + Λ[active]
        if follow is not None:
            follow(float(value.mean()))
        gradient, moved = fit.gradient + pull, np.zeros(len(active), dtype=bool)
        waiting = np.arange(len(active))
        for _ in range(12):
            units = active[waiting]
            Δ, promise = _step(gradient[waiting], curvature[units], Λ[units], damping[units])
            done = promise < tolerance
            converged[units[done]] = True
            waiting, Δ, promise = waiting[~done], Δ[~done], promise[~done]
            if not waiting.size:
                break
            units = active[waiting]
            trial = θ[units] + Δ
            after = _objective(trial, pick(windows, units), μ[units], Λ[units], layout, recipe, step_hours)
            gain = (value[units] - after) / promise
            good = np.isfinite(after) & (gain > 1e-3)
            θ[units[good]] = trial[good]
            moved[waiting[good]] = True
            damping[units[good]] *= np.clip(1 - (2 * gain[good] - 1) ** 3, 0.1, 2.0)
            growth[units[good]] = 4.0
            damping[units[~good]] *= growth[units[~good]]
            growth[units[~good]] *= 2
            waiting = waiting[~good]
            if not waiting.size:
                break
        active = active[moved]
    if active.size:  # cut short: value and precision belong to the fingerprints before the last step
        value[active], curvature[active] = _at(θ, active, windows, μ, Λ, layout, recipe, step_hours)
    return Adapted(θ, curvature, value, steps, converged)


def _at(
    θ: Floats,
    units: NDArray[np.int64],
    windows: Windows,
    μ: Floats,
    Λ: Floats,
    layout: Layout,
    recipe: Recipe,
    step_hours: float,
) -> tuple[Floats, Floats]:
    """Negative log density and its Gauss-Newton matrix at the fingerprints of some units."""
    fit = misfit_of(θ[units], layout, pick(windows, units), recipe, step_hours)
    off = θ[units] - μ[units]
    return fit.value + 0.5 * np.einsum("up,upq,uq->u", off, Λ[units], off), fit.curvature + Λ[units]


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


def _step(gradient: Floats, curvature: Floats, Λ: Floats, damping: Floats) -> tuple[Floats, Floats]:
    """Damped step and the decrease that the quadratic model promises.  Damping is relative to the curvature's diagonal."""
    diagonal = np.einsum("upp->up", curvature)
    lifted = curvature + (damping[:, None] * diagonal)[:, :, None] * np.eye(curvature.shape[-1])
    Δ = -np.linalg.solve(lifted, gradient[:, :, None])[..., 0]
    promise = -(gradient * Δ).sum(1) - 0.5 * np.einsum("up,upq,uq->u", Δ, curvature, Δ)
    return Δ, promise


def _objective(
    θ: Floats, windows: Windows, μ: Floats, Λ: Floats, layout: Layout, recipe: Recipe, step_hours: float
) -> Floats:
    """Negative log density; inf where the observer doesn't forget."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = value_of(θ, layout, windows, recipe, step_hours)
        off = θ - μ
        value = value + 0.5 * np.einsum("up,upq,uq->u", off, Λ, off)
    return np.where(memory(θ, layout, step_hours) < SLOWEST_MEMORY, np.nan_to_num(value, nan=np.inf), np.inf)


def memory(θ: Floats, layout: Layout, step_hours: float) -> Floats:
    """(U,) factor by which the observer's slowest error shrinks in a step: spectral radius of (I - K c) Φ."""
    system = system_of(θ, layout, step_hours)
    error = system.Φ - system.K[:, :, None] * system.Φ[:, None, 0]
    return np.asarray(np.abs(np.linalg.eigvals(error)).max(axis=-1))
