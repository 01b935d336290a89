"""Stationary correlation functions ψ(r) of the scaled distance r² = Σ_k (x_k - x'_k)²/l_k², with their derivative factor.

    kernel        ψ                      ψ̇, defined by ∂ψ/∂log l_k = ψ̇ (x_k - x'_k)²/l_k²
    rbf           exp(-r²/2)             ψ
    matern52      (1 + a + a²/3) e^-a    (5/3)(1 + a) e^-a      a = √5 r
    matern32      (1 + a) e^-a           3 e^-a                 a = √3 r
    matern12      e^-r                   e^-r / r

The same factor gives the derivative by place: ∂ψ/∂x_k = -ψ̇ (x_k - x'_k)/l_k². (Rasmussen & Williams 2006, ch. 4.2.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

Floats = NDArray[np.float64]
#: of log l for inputs in the unit cube: deviation of its normal prior; and the least and the largest l
LENGTHSCALE_DEVIATION, NARROWEST, WIDEST = 1.2, 0.02, 20.0
#: (a², ψ̇ out, scratch): turns a² into ψ in place and writes ψ̇. In place, since fresh buffers cost more than the sums.
Fill = Callable[[Floats, Floats, Floats], None]


@dataclass(frozen=True)
class Kernel:
    """A stationary correlation function with one length-scale per input (ARD).

    stretch : a = stretch · r is the distance that `fill` takes
    is_smooth : once differentiable at r = 0
    """

    name: str
    stretch: float
    fill: Fill
    is_smooth: bool = True

    def pair(self, x: Floats, z: Floats, lengthscales: Floats) -> tuple[Floats, Floats]:
        """ψ and ψ̇ between all rows.  x: (n, d), z: (m, d), lengthscales: (d,)  ->  (n, m), (n, m)."""
        scale = self.stretch / lengthscales
        correlation = squared_distance(x * scale, z * scale)
        slope = np.empty_like(correlation)
        self.fill(correlation, slope, np.empty_like(correlation))
        return correlation, slope


def log_lengthscale(inputs: int) -> float:
    """Prior mean of log l for so many inputs that vary: log(0.4 √d).

    Distances grow with the root of the number of inputs (Hvarfner, Hellsten & Nardi 2024).
    """
    return math.log(0.4) + 0.5 * math.log(inputs)


def squared_distance(x: Floats, z: Floats) -> Floats:
    """|x_i - z_j|² by differences.  x: (n, d), z: (m, d)  ->  (n, m).

    The expansion |x|² - 2 x'z + |z|² is faster for many inputs, but loses the distance of close points.
    """
    total = np.zeros((len(x), len(z)))
    add_squared_distance(x, z, total, np.empty_like(total))
    return total


def add_squared_distance(x: Floats, z: Floats, total: Floats, scratch: Floats) -> None:
    """Add |x_i - z_j|² to `total` in place.  x: (n, d), z: (m, d), total and scratch: (n, m)."""
    for k in range(x.shape[1]):
        np.subtract(x[:, k, None], z[None, :, k], out=scratch)
        np.multiply(scratch, scratch, out=scratch)
        total += scratch


def _rbf(a2: Floats, slope: Floats, scratch: Floats) -> None:
    np.negative(a2, out=a2)
    np.exp(a2, out=a2)
    slope[...] = a2


def _matern52(a2: Floats, slope: Floats, scratch: Floats) -> None:
    np.sqrt(a2, out=scratch)  # a
    np.negative(scratch, out=slope)
    np.exp(slope, out=slope)  # e^-a
    a2 *= 1.0 / 3.0
    scratch += 1.0
    a2 += scratch
    a2 *= slope
    scratch *= 5.0 / 3.0
    slope *= scratch


def _matern32(a2: Floats, slope: Floats, scratch: Floats) -> None:
    np.sqrt(a2, out=a2)
    np.negative(a2, out=slope)
    np.exp(slope, out=slope)  # e^-a
    a2 += 1.0
    a2 *= slope
    slope *= 3.0


def _matern12(a2: Floats, slope: Floats, scratch: Floats) -> None:
    np.sqrt(a2, out=scratch)
    np.negative(scratch, out=a2)
    np.exp(a2, out=a2)
    slope.fill(0.0)  # where r = 0 the factor is multiplied by a zero
    np.divide(a2, scratch, out=slope, where=scratch > 0)


KERNELS = MappingProxyType(
    {
        "rbf": Kernel("rbf", math.sqrt(0.5), _rbf),
        "matern52": Kernel("matern52", math.sqrt(5), _matern52),
        "matern32": Kernel("matern32", math.sqrt(3), _matern32),
        "matern12": Kernel("matern12", 1.0, _matern12, is_smooth=False),
    }
)


def kernel_named(name: str) -> Kernel:
    """The kernel of that name.

    Raises
    ------
    DataError
        If there is none.
    """
    if name not in KERNELS:
        raise DataError(f"kernel {name!r} is unknown; choose one of {sorted(KERNELS)} or pass a gpytorch kernel")
    return KERNELS[name]
