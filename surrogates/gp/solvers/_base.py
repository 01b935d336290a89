"""What a solver takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..sharing import Mixing

Floats = NDArray[np.float64]


class State(NamedTuple):
    """Everything a solver needs at one value of the hyper-parameters.  n rows, C kernels, d inputs."""

    shapes: Floats  # (C, d) length-scales, or a custom kernel's raw parameters (1, r)
    mixing: Mixing
    D: Floats  # (n,) noise variance of the rows
    y: Floats  # (n,) data less the trend's prior mean


class Gradient(NamedTuple):
    """Derivatives of the restricted likelihood.  r: sharing parameters."""

    shapes: Floats  # (C, d) by log length-scale
    mixing: Floats  # (r,) by sharing parameter
    alpha: Floats  # (n,)
    p_diagonal: Floats  # (n,)


class Curvature(NamedTuple):
    """Directions ∂K/∂θ α, and P times any vectors: the ingredients of the average information."""

    shapes: Floats  # (C d, n)
    mixing: Floats  # (r, n)
    apply_projection: Callable[[Floats], Floats]  # (n, k) -> P (n, k)

    def information(self, noise: Floats) -> Floats:
        """V'PV of all directions V, those of the noise (f, n) last."""
        V = np.concatenate([self.shapes, self.mixing, noise]).T  # (n, k)
        return np.asarray(V.T @ self.apply_projection(V))


class Informative(Protocol):
    """What gives the average information of all parameters."""

    def information(self, noise: Floats) -> Floats: ...


class Result(NamedTuple):
    """The likelihood, with as much of its derivatives as was asked for."""

    value: float
    gradient: Gradient | None
    curvature: Informative | None


class Inverse(NamedTuple):
    """Σ⁻¹ at one state, with factors of its own.

    solve : (n, k) -> Σ⁻¹ (n, k)
    root : (n, n) L⁻¹ of Σ = L L', where it is cheap to have: one product is then enough for a variance
    """

    solve: Callable[[Floats], Floats]
    root: Floats | None = None


class Solver(Protocol):
    """One way to evaluate the likelihood and to apply Σ⁻¹."""

    name: str
    has_curvature: bool  # whether order 2 is offered

    def evaluate(self, state: State, *, order: int) -> Result:
        """Value (order 0), with gradient (1), with average-information directions (2)."""
        ...

    def inverse(self, state: State) -> Inverse:
        """Σ⁻¹ at `state`; later evaluations leave it alone."""
        ...
