"""Increasing functions z = w(y) under which an output may look like a Gaussian process.

    name       z                              y                          dz/dy
    log        log(y - a)                     a + e^z                    1/(y - a)
               -log(b - y), if bounded above  b - e^-z                   1/(b - y)
    box-cox    ((y - a)^λ - 1)/λ              a + (1 + λz)^(1/λ)         (y - a)^(λ-1)
    logit      log((y - a)/(b - y))           a + (b - a)/(1 + e^-z)     1/(y - a) + 1/(b - y)

(Box & Cox 1964, J. R. Stat. Soc. B 26:211, for the power family; Snelson, Rasmussen & Ghahramani 2004, "Warped Gaussian
processes", for a Gaussian process under a monotone function.) λ lies in [0, 2]: below zero the mean of y would not exist,
since the density of 1 + λz at zero is positive. For λ > 0, what z puts below -1/λ is y = a.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log1p

from surrogates.errors import DataError
from surrogates.schema import Table

Floats = NDArray[np.float64]
NAMES = ("log", "box-cox", "logit")
#: powers λ that are tried, and their normal prior
POWERS, POWER_PRIOR = (0.0, 2.0), (0.5, 0.75)


@dataclass(frozen=True)
class Warp:
    """One warp.

    name : "log", "box-cox" or "logit"
    low, high : bounds a and b of the output, not met by any reading; infinite where there is none
    power, power_spread : λ of "box-cox", and the standard deviation of what the data say of it
    """

    name: str
    low: float
    high: float
    power: float = 0.0
    power_spread: float = 0.0

    def __call__(self, y: Floats) -> Floats:
        """z of y, which must lie inside the bounds."""
        if self.name == "logit":
            return np.asarray(np.log(y - self.low) - np.log(self.high - y))
        if math.isinf(self.low):
            return np.asarray(-np.log(self.high - y))
        z = np.log(y - self.low)
        return np.asarray(z if self.power == 0 else np.expm1(self.power * z) / self.power)

    def inverse(self, z: Floats) -> Floats:
        """y of z; infinite where that exceeds the largest float."""
        if self.name == "logit":
            return np.asarray(self.low + (self.high - self.low) * expit(z))
        with np.errstate(divide="ignore", over="ignore"):
            if math.isinf(self.low):
                return np.asarray(self.high - np.exp(-z))
            if self.power == 0:
                return np.asarray(self.low + np.exp(z))
            return np.asarray(self.low + np.exp(log1p(np.maximum(self.power * z, -1.0)) / self.power))

    def slope(self, z: Floats) -> Floats:
        """dy/dz at z; zero where y is held at its bound."""
        if self.name == "logit":
            return np.asarray((self.high - self.low) * expit(z) * expit(-z))
        if math.isinf(self.low):
            return np.asarray(np.exp(-z))
        if self.power == 0:
            return np.asarray(np.exp(z))
        base = 1.0 + self.power * z
        inside = base > 0
        return np.asarray(np.where(inside, np.where(inside, base, 1.0) ** (1.0 / self.power - 1.0), 0.0))

    def log_slope(self, y: Floats) -> Floats:
        """log dz/dy at y."""
        if self.name == "logit":
            return np.asarray(math.log(self.high - self.low) - np.log(y - self.low) - np.log(self.high - y))
        if math.isinf(self.low):
            return np.asarray(-np.log(self.high - y))
        return np.asarray((self.power - 1.0) * np.log(y - self.low))

    @property
    def floor(self) -> float:
        """z at and below which y is its lower bound."""
        return -1.0 / self.power if self.power > 0 else -math.inf

    def table(self, table: Table, target: str) -> Table:
        """The table with z for y; known noise goes along by the slope at its reading (the delta method).

        Raises
        ------
        DataError
            If a reading lies on a bound or beyond.
        """
        outside = ~((table.y > self.low) & (table.y < self.high))
        if outside.any():
            raise DataError(
                f"target {target!r} has {int(outside.sum())} readings at or beyond the bounds of warp={self.name!r}, "
                f"({self.low:g}, {self.high:g}) (first: {table.y[outside][0]:g}); give wider bounds=(low, high), or "
                f"leave these readings out"
            )
        variance = table.noise_variance
        if variance is not None:
            variance = variance * np.exp(2 * self.log_slope(table.y))
        return replace(table, y=self(table.y), noise_variance=variance)

    def describe(self, target: str) -> str:
        """The scale that z is on, in words."""
        if self.name == "box-cox":
            return f"on the Box-Cox scale of {target}, power {self.power:.2g}"
        return f"on the {self.name} scale of {target}"


def make_warp(name: str, bounds: tuple[float, float] | None) -> Warp:
    """The warp of that name; box-cox starts with the power 1, which is none.

    Raises
    ------
    DataError
        If there is none, or the bounds aren't such as it needs.
    """
    if name not in NAMES:
        raise DataError(f"warp is {name!r}; choose one of {NAMES} or None")
    low, high = (0.0, 1.0 if name == "logit" else math.inf) if bounds is None else _pair(bounds)
    found = (math.isfinite(low), math.isfinite(high))
    wanted = {
        "log": ({(True, False), (False, True)}, "one finite bound, such as (0, inf)"),
        "box-cox": ({(True, False)}, "a finite lower bound only, such as (0, inf)"),
        "logit": ({(True, True)}, "two finite bounds, such as (0, 100)"),
    }[name]
    if found not in wanted[0] or not low < high:
        raise DataError(f"bounds are ({low:g}, {high:g}); warp={name!r} needs {wanted[1]}, the lower one first")
    return Warp(name, low, high, 1.0 if name == "box-cox" else 0.0)


def _pair(bounds: object) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in bounds)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise DataError(f"bounds are {bounds!r}; give two numbers (low, high), infinite where there is none") from error
    return low, high
