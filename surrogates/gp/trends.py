"""Trend bases h(x): each task has its own coefficients, which the models integrate out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

Floats = NDArray[np.float64]
#: A user's own basis: scaled inputs (n, d) -> columns (n, p).
Basis = Callable[[Floats], Floats]
NAMES = ("none", "constant", "linear", "quadratic")


class Covariate(NamedTuple):
    """An input that is a trend column itself, whose coefficient has a normal prior.

    input : which of the inputs
    shared : all tasks have the same coefficient
    """

    input: int
    mean: float
    deviation: float
    shared: bool


@dataclass(frozen=True)
class Trend:
    """Columns h(x) of the trend and their derivatives, in scaled inputs.

    name : one of "none", "constant", "linear", "quadratic", or "custom"
    active : inputs that vary; the others would repeat the constant column
    basis : a user's own function, for "custom"
    slope : standard deviation of a normal prior of all coefficients but the constant's; None: all are flat
    covariates : inputs with coefficients of a normal prior; own ones come behind the other columns
    """

    name: str
    active: tuple[int, ...]
    basis: Basis | None = None
    slope: float | None = None
    covariates: tuple[Covariate, ...] = ()

    @property
    def own(self) -> tuple[Covariate, ...]:
        """Covariates of which each task has a coefficient."""
        return tuple(c for c in self.covariates if not c.shared)

    @property
    def shared(self) -> tuple[Covariate, ...]:
        """Covariates whose coefficient all tasks have in common."""
        return tuple(c for c in self.covariates if c.shared)

    def columns(self, x: Floats) -> Floats:
        """h(x), covariates included unless they are shared.  x: (n, d) -> (n, p)."""
        flat = self.flat_columns(x)
        return np.concatenate([flat, x[:, [c.input for c in self.own]]], axis=1) if self.own else flat

    def shared_columns(self, x: Floats) -> Floats:
        """Columns of the shared covariates.  x: (n, d) -> (n, r)."""
        return np.asarray(x[:, [c.input for c in self.shared]])

    def flat_columns(self, x: Floats) -> Floats:
        """h(x) without covariates.  x: (n, d) -> (n, p)."""
        if self.basis is not None:
            return self._custom(x)
        n = len(x)
        if self.name == "none":
            return np.zeros((n, 0))
        parts = [np.ones((n, 1))]
        if self.name in ("linear", "quadratic"):
            parts.append(x[:, list(self.active)])
        if self.name == "quadratic":
            parts += [(x[:, i] * x[:, j])[:, None] for i, j in self.pairs]
        return np.concatenate(parts, axis=1)

    def jacobian(self, x: Floats) -> Floats:
        """∂h/∂x.  x: (n, d) -> (n, p, d); central differences for a user's own basis."""
        return np.concatenate([self.flat_jacobian(x), _unit_columns(self.own, x)], axis=1)

    def shared_jacobian(self, x: Floats) -> Floats:
        """∂/∂x of `shared_columns`.  x: (n, d) -> (n, r, d)."""
        return _unit_columns(self.shared, x)

    def flat_jacobian(self, x: Floats) -> Floats:
        """∂/∂x of `flat_columns`.  x: (n, d) -> (n, p, d)."""
        n, d = x.shape
        if self.basis is not None:
            step = 1e-5
            shifts = step * np.eye(d)
            return np.stack([(self._custom(x + s) - self._custom(x - s)) / (2 * step) for s in shifts], axis=-1)
        p = self.flat_columns(x[:1]).shape[1] if n else self.flat_columns(np.zeros((1, d))).shape[1]
        result = np.zeros((n, p, d))
        if self.name in ("linear", "quadratic"):
            for column, k in enumerate(self.active, start=1):
                result[:, column, k] = 1.0
        if self.name == "quadratic":
            for column, (i, j) in enumerate(self.pairs, start=1 + len(self.active)):
                result[:, column, i] += x[:, j]
                result[:, column, j] += x[:, i]
        return result

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Inputs of every quadratic column."""
        return list(itertools.combinations_with_replacement(self.active, 2))

    def _custom(self, x: Floats) -> Floats:
        assert self.basis is not None
        columns = np.asarray(self.basis(x.copy()), dtype=np.float64)
        if columns.ndim != 2 or len(columns) != len(x) or not np.isfinite(columns).all():
            raise DataError(
                f"the trend function gave shape {columns.shape} for {len(x)} points; "
                f"wanted finite columns ({len(x)}, p), one row per point"
            )
        return columns


def _unit_columns(covariates: tuple[Covariate, ...], x: Floats) -> Floats:
    """Derivatives (n, r, d) of the inputs themselves."""
    result = np.zeros((len(x), len(covariates), x.shape[1]))
    for column, covariate in enumerate(covariates):
        result[:, column, covariate.input] = 1.0
    return result


def make_trend(trend: str | Basis, x: Floats) -> Trend:
    """The trend of that name (or a user's basis) for scaled inputs x (n, d).

    Raises
    ------
    DataError
        If the name is unknown.
    """
    active = tuple(k for k in range(x.shape[1]) if np.ptp(x[:, k]) > 0)
    if callable(trend):
        return Trend("custom", active, trend)
    if trend not in NAMES:
        raise DataError(f"trend {trend!r} is unknown; choose one of {NAMES} or pass a function (n, d) -> (n, p)")
    return Trend(trend, active)
