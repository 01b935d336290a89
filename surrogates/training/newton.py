"""Minimise a smooth objective inside a box: damped Newton where curvature is offered, L-BFGS-B where it isn't."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from surrogates.errors import NumericalError

Floats = NDArray[np.float64]
#: what L-BFGS-B, which knows no exceptions, sees where an objective isn't defined
_UNDEFINED = 1e25


class Outcome(enum.Enum):
    """How a minimisation ended."""

    CONVERGED = "converged"
    STEP_LIMIT = "stopped at the step limit before convergence"
    STALLED = "no further descent was found before convergence"

    @property
    def is_success(self) -> bool:
        """Whether the end is a minimum to the tolerance asked for."""
        return self is Outcome.CONVERGED


class Evaluated(Protocol):
    """An objective's value, with gradient and curvature where they were asked for."""

    @property
    def value(self) -> float: ...
    @property
    def gradient(self) -> Floats | None: ...
    @property
    def curvature(self) -> Floats | None: ...


#: (x (p,), order) -> value (order 0), gradient (1), positive definite curvature (2)
Objective = Callable[[Floats, int], Evaluated]


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    x : (p,); value : there; gradient : (p,) there; curvature : (p, p) there, or None
    trace : value after every accepted step
    correction : (p, p) what makes the curvature agree with the gradients seen, or None
    """

    x: Floats
    value: float
    gradient: Floats
    curvature: Floats | None
    outcome: Outcome
    evaluations: int
    trace: tuple[float, ...]
    correction: Floats | None = None


class _Point(NamedTuple):
    x: Floats
    value: float
    gradient: Floats
    curvature: Floats


def newton(
    objective: Objective,
    start: Floats,
    bounds: Floats,
    *,
    correction: Floats | None = None,
    tolerance: float = 1e-4,
    max_evaluations: int = 60,
) -> Minimum:
    """Damped Newton descent inside a box (Levenberg's damping, active bounds, steps of at most 1.5).

    Solves (C_ff + λ diag C_ff) step = -g_f over the free coordinates f; λ shrinks on success and grows on failure. C is
    the objective's own curvature plus a symmetric rank-one correction that makes it agree with the gradients seen (a
    structured secant): average information alone converges linearly, and slowly where the model fits badly. It has
    converged when the gain that the undamped model still predicts, ½ g_f'C_ff⁻¹g_f, is below `tolerance`.

    Parameters
    ----------
    objective : see `Objective`; may raise NumericalError where it isn't defined
    start : (p,)
    bounds : (p, 2)
    correction : (p, p) of the curvature to start with, such as a similar objective's; None: zero
    tolerance : predicted gain to stop at, in the objective's units
    max_evaluations : at most so many calls

    Raises
    ------
    NumericalError
        If the objective isn't defined at the start.
    """
    here = _evaluate(objective, np.clip(start, bounds[:, 0], bounds[:, 1]))
    trace, λ, evaluations = [here.value], 1e-3, 1
    correction = np.zeros_like(here.curvature) if correction is None else correction
    outcome = Outcome.STEP_LIMIT
    while evaluations < max_evaluations:
        free = _free(here.x, here.gradient, bounds)
        C = _corrected(here.curvature, correction, free)
        if not free.any() or _predicted_gain(here.gradient[free], C) < tolerance:
            outcome = Outcome.CONVERGED
            break
        if λ > 1e8:
            outcome = Outcome.STALLED
            break
        candidate = np.clip(here.x + _step(here.gradient, C, free, λ), bounds[:, 0], bounds[:, 1])
        evaluations += 1
        try:
            there = _evaluate(objective, candidate)
        except NumericalError:
            λ = max(10 * λ, 1e-2)
            continue
        correction = _secant(correction, there.x - here.x, there.gradient - here.gradient, there.curvature)
        if there.value < here.value:
            here, λ = there, 0.2 * λ
            trace.append(here.value)
        else:
            λ = max(5 * λ, 1e-2)
    return Minimum(here.x, here.value, here.gradient, here.curvature, outcome, evaluations, tuple(trace), correction)


def lbfgs(
    objective: Objective, start: Floats, bounds: Floats, *, tolerance: float = 1e-9, max_evaluations: int = 300
) -> Minimum:
    """L-BFGS-B (SciPy) inside a box; for objectives without curvature, and where Newton's method doesn't settle.

    Parameters
    ----------
    objective, start, bounds, max_evaluations : as in `newton`
    tolerance : relative reduction of the objective to stop at

    Where the objective isn't defined at the start, it stalls there with an infinite value.
    """
    trace: list[float] = []

    def value_and_gradient(x: Floats) -> tuple[float, Floats]:
        try:
            point = objective(x, 1)
        except NumericalError:
            return _UNDEFINED, np.zeros_like(x)
        assert point.gradient is not None
        trace.append(min(point.value, trace[-1] if trace else np.inf))
        return point.value, point.gradient

    result = scipy.optimize.minimize(
        value_and_gradient,
        np.clip(start, bounds[:, 0], bounds[:, 1]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxcor": 12, "ftol": tolerance, "gtol": 1e-6, "maxfun": max_evaluations, "maxiter": max_evaluations},
    )
    outcome = {0: Outcome.CONVERGED, 1: Outcome.STEP_LIMIT}.get(int(result.status), Outcome.STALLED)
    value = float(result.fun)
    if value == _UNDEFINED:  # its zero gradient looks like a minimum
        value, outcome = np.inf, Outcome.STALLED
    return Minimum(result.x, value, result.jac, None, outcome, int(result.nfev), tuple(trace))


def _evaluate(objective: Objective, x: Floats) -> _Point:
    point = objective(x, 2)
    assert point.gradient is not None
    assert point.curvature is not None
    if not (np.isfinite(point.value) and np.isfinite(point.gradient).all()):
        raise NumericalError("the objective is not finite")
    return _Point(x, point.value, point.gradient, point.curvature)


def _free(x: Floats, gradient: Floats, bounds: Floats) -> NDArray[np.bool_]:
    """Coordinates that are not pressed against a bound."""
    return ~(((x <= bounds[:, 0]) & (gradient > 0)) | ((x >= bounds[:, 1]) & (gradient < 0)))


def _secant(correction: Floats, step: Floats, change: Floats, curvature: Floats) -> Floats:
    """Rank-one update that makes (curvature + correction) step = change of gradient."""
    rest = change - (curvature + correction) @ step
    scale = float(rest @ step)
    if abs(scale) < 1e-8 * float(np.linalg.norm(rest) * np.linalg.norm(step)) or scale == 0.0:
        return correction
    return correction + np.outer(rest, rest) / scale


def _corrected(curvature: Floats, correction: Floats, free: NDArray[np.bool_]) -> Floats:
    """Curvature of the free coordinates with as much of its correction as leaves it positive definite.

    In no direction may it fall below a fifth of the plain one. Soft directions, where a length-scale and an amplitude
    trade off, are soft in both; so an absolute bound would refuse good corrections.
    """
    plain = curvature[np.ix_(free, free)]
    if not free.any() or not correction.any():
        return plain
    try:
        L = np.linalg.cholesky(plain)
    except np.linalg.LinAlgError as error:
        raise NumericalError("the curvature is not positive definite in double precision") from error
    whitened = np.linalg.solve(L, np.linalg.solve(L, correction[np.ix_(free, free)]).T)
    lowest = float(np.linalg.eigvalsh(0.5 * (whitened + whitened.T))[0])
    for share in (1.0, 0.5, 0.2):
        if 1 + share * lowest > 0.2:
            return plain + share * correction[np.ix_(free, free)]
    return plain


def _predicted_gain(g: Floats, C: Floats) -> float:
    return 0.5 * float(g @ np.linalg.solve(C, g))


def _step(gradient: Floats, C: Floats, free: NDArray[np.bool_], damping: float) -> Floats:
    step = np.zeros_like(gradient)
    step[free] = -np.linalg.solve(C + damping * np.diag(np.diagonal(C)), gradient[free])
    longest = float(np.abs(step).max())
    return step if longest <= 1.5 else step * (1.5 / longest)
