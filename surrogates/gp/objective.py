"""The penalised restricted likelihood as a function of one vector of hyper-parameters.

θ = (log length-scales, sharing parameters, log noise variances); each has a weak normal prior in the scaled units, where
inputs fill the unit cube and the target's residual spread is one.  The objective is -ℓ(θ) - log prior(θ).

Average information (Gilmour, Thompson & Cullis 1995): A_ij = ½ v_i'P v_j with v_i = (∂Σ/∂θ_i) Py, the mean of the
observed and the expected information; it needs no second derivatives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .design import Design
from .noise import Rows
from .shaped_noise import SLOPE_BOUND, SLOPE_DEVIATION
from .sharing import Sharing
from .solvers._base import Gradient, Informative, Inverse, Solver, State

Floats = NDArray[np.float64]
#: solvers work in buffers of theirs, which threads that question one fitted model share
_BUFFERS = threading.Lock()


class Parts(NamedTuple):
    """θ taken apart."""

    log_shapes: Floats  # (C, d)
    sharing: Floats  # (r,)
    log_noise: Floats  # (F,)


class ShapeParameters(NamedTuple):
    """The kernels' own parameters: names, normal prior, bounds; `logarithmic` if the solver takes their exponential.

    own : log density, and its gradient (C d,), of further priors of theirs
    """

    names: tuple[str, ...]
    mean: Floats  # (C d,)
    deviation: Floats  # (C d,)
    bounds: list[tuple[float, float]]
    logarithmic: bool
    components: int
    own: Callable[[Floats], tuple[float, Floats]] | None = None


class Value(NamedTuple):
    """The objective at one θ, with as much of its derivatives as was asked for."""

    value: float
    gradient: Floats | None
    curvature: Floats | None


@dataclass(frozen=True)
class Layout:
    """How θ is laid out, its bounds and its prior."""

    shapes: ShapeParameters
    sharing: Sharing
    noise_names: tuple[str, ...]
    noise_prior: tuple[float, float]
    noise_bounds: tuple[float, float]
    noise_slopes: int = 0  # so many of the last noise parameters are slopes of log variances

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.shapes.names, *self.sharing.names, *self.noise_names)

    @property
    def bounds(self) -> Floats:
        """(p, 2)"""
        F = len(self.noise_names) - self.noise_slopes
        slopes = [(-SLOPE_BOUND, SLOPE_BOUND)] * self.noise_slopes
        return np.array([*self.shapes.bounds, *self.sharing.bounds, *([self.noise_bounds] * F), *slopes])

    @property
    def prior(self) -> tuple[Floats, Floats]:
        """Mean (p,) and standard deviation (p,)."""
        mean, deviation = self.sharing.prior
        slope = np.arange(len(self.noise_names)) >= len(self.noise_names) - self.noise_slopes
        noise = (np.where(slope, 0.0, self.noise_prior[0]), np.where(slope, SLOPE_DEVIATION, self.noise_prior[1]))
        return (
            np.concatenate([self.shapes.mean, mean, noise[0]]),
            np.concatenate([self.shapes.deviation, deviation, noise[1]]),
        )

    def noise_start(self, log_variance: float) -> Floats:
        """Noise parameters with that logarithm of every variance, and slopes of zero."""
        levels = len(self.noise_names) - self.noise_slopes
        return np.concatenate([np.full(levels, log_variance), np.zeros(self.noise_slopes)])

    def split(self, θ: Floats) -> Parts:
        """θ (p,) taken apart."""
        a = len(self.shapes.names)
        b = a + len(self.sharing.names)
        return Parts(θ[:a].reshape(self.shapes.components, -1), θ[a:b], θ[b:])

    def join(self, shapes: Floats, sharing: Floats, noise: Floats) -> Floats:
        """The inverse of `split`."""
        return np.concatenate([np.ravel(shapes), sharing, noise])


class Objective:
    """-ℓ(θ) - log prior(θ) for one design and one solver.

    Counts its evaluations. The solver's buffers are overwritten by every call.
    """

    def __init__(self, design: Design, layout: Layout, solver: Solver) -> None:
        self.design, self.layout, self.solver = design, layout, solver
        self.evaluations = 0
        self._mean, self._deviation = layout.prior
        self._latest: tuple[bytes, Gradient] | None = None

    def state(self, θ: Floats) -> tuple[State, Rows]:
        """What the solver needs at θ, and the collapsed data."""
        parts = self.layout.split(θ)
        rows = self.design.noise.rows(parts.log_noise)
        shapes = np.exp(parts.log_shapes) if self.layout.shapes.logarithmic else parts.log_shapes
        return State(shapes, self.layout.sharing.mixing(parts.sharing), rows.D, rows.y - self.design.offset), rows

    def log_prior(self, θ: Floats) -> float:
        """Logarithm of the prior's density at θ, up to a constant."""
        z = (θ - self._mean) / self._deviation
        own = self.layout.shapes.own
        return -0.5 * float(z @ z) + (own(self.layout.split(θ).log_shapes)[0] if own else 0.0)

    def gradient(self, θ: Floats) -> Gradient:
        """The solver's gradient at θ, with α and diag P; kept from the latest descent that ended there."""
        key = θ.tobytes()
        with _BUFFERS:
            if self._latest is None or self._latest[0] != key:
                state, _ = self.state(θ)
                result = self.solver.evaluate(state, order=1).gradient
                assert result is not None
                self._latest = (key, result)
            return self._latest[1]

    def inverse(self, state: State) -> Inverse:
        """Σ⁻¹ at `state`, with factors of its own."""
        with _BUFFERS:
            return self.solver.inverse(state)

    def __call__(self, θ: Floats, order: int) -> Value:
        """Objective at θ (p,): value (order 0), gradient (1), gradient and average information (2)."""
        self.evaluations += 1
        state, rows = self.state(θ)
        result = self.solver.evaluate(state, order=order)
        value = -(result.value + rows.constant) - self.log_prior(θ)
        if result.gradient is None:
            return Value(value, None, None)
        self._latest = (θ.tobytes(), result.gradient)
        noise = self.layout.split(θ).log_noise
        α, p = result.gradient.alpha, result.gradient.p_diagonal
        slope = self.layout.join(
            result.gradient.shapes, result.gradient.mixing, self.design.noise.gradient(noise, rows, α, p)
        )
        gradient = -slope + (θ - self._mean) / self._deviation**2
        if self.layout.shapes.own:
            further = self.layout.shapes.own(self.layout.split(θ).log_shapes)[1]
            gradient[: len(further)] -= further
        if result.curvature is None:
            return Value(value, gradient, None)
        information = self._average_information(result.curvature, noise, rows, α)
        return Value(value, gradient, information + np.diag(self._deviation**-2))

    def _average_information(self, curvature: Informative, noise: Floats, rows: Rows, α: Floats) -> Floats:
        collapsed, hidden = self.design.noise.directions(noise, rows, α)
        A = curvature.information(collapsed)
        first = len(A) - len(hidden)
        A[first:, first:] += hidden
        return np.asarray(0.25 * (A + A.T))
