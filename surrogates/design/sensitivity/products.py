"""Functions that are sums of products of one-dimensional ones, Σ_a c_a Π_k φ_ak(x_k), and what integrals say of them.

For independent inputs, with m_ak = E φ_ak and G_k,ab = E φ_ak φ_bk, the variance of what the inputs S explain is

    V_S = Σ_ab C_ab [Π_{k∈S} G_k,ab Π_{k∉S} m_ak m_bk - Π_k m_ak m_bk],   C = c c'

and the expected V_S of a random function is the same with the expectation of c c'. A main effect, which is a function of one
input, is tabulated instead: sums of large c_a of both signs, as interpolation has, lose fewer digits so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: of singular values, below which a direction is dropped; functions of half of the inputs
RANK, MOST_FUNCTIONS = 1e-15, 1000
#: real or complex arrays
Numbers = NDArray[Any]


class Products(NamedTuple):
    """N products of functions of d inputs, at each input's points.

    tables : d arrays (N, M_k); weights : d arrays (M_k,), each adds up to one
    """

    tables: tuple[Numbers, ...]
    weights: tuple[Floats, ...]

    @property
    def means(self) -> Numbers:
        """(d, N) E φ_ak."""
        return np.stack([table @ w for table, w in zip(self.tables, self.weights, strict=True)])

    def main_effects(self, coefficients: Numbers) -> list[Numbers]:
        """E[f | x_k] at each input's points, for functions with coefficients (N, s): d arrays (M_k, s)."""
        means = self.means
        return [
            table.T @ (coefficients * np.prod(np.delete(means, k, axis=0), axis=0)[:, None])
            for k, table in enumerate(self.tables)
        ]

    def main_variances(self, coefficients: Numbers) -> Floats:
        """(d, s) variances of the main effects' real parts."""
        effects = [effect.real for effect in self.main_effects(coefficients)]
        return np.stack([variance(effect, w) for effect, w in zip(effects, self.weights, strict=True)])

    def crossed(self, other: Products, inputs: Collection[int], *, conjugate: bool = False) -> Numbers:
        """Π_{k∈S} E φ_ak φ_bk Π_{k∉S} m_ak m_bk for the inputs S, b of the other functions, conjugated if asked for."""
        total: Numbers = np.ones((1, 1))
        for k, (one, two, w) in enumerate(zip(self.tables, other.tables, self.weights, strict=True)):
            second = two.conj() if conjugate else two
            factor = (one * w) @ second.T if k in inputs else np.outer(one @ w, second @ w)
            total = total * factor
        return total


def stacked(parts: Sequence[Products]) -> Products:
    """All the functions of parts with the same points."""
    tables = zip(*(part.tables for part in parts), strict=True)
    return Products(tuple(np.concatenate(each) for each in tables), parts[0].weights)


def variance(values: Floats, weights: Floats) -> Floats:
    """Variance of functions (M, ...) over points with weights (M,)."""
    centred = values - np.tensordot(weights, values, 1)
    return np.asarray(np.tensordot(weights, centred**2, 1))


def tensor(products: Products, coefficients: Floats) -> tuple[Floats, list[Floats]] | None:
    """One function's coefficients (r_1, ..., r_d) in orthonormal functions of each input, and these functions' means (r_k,).

    None where there would be too many. The products' numbers may be large, of both signs, and all but cancel: that costs
    digits in proportion to the numbers here, but to their squares in c'Gc.
    """
    bases, means = [], []
    for table, w in zip(products.tables, products.weights, strict=True):
        root = np.sqrt(w)
        constant = root * abs(table).max()  # which means are taken off along
        _, values, vectors = np.linalg.svd(np.concatenate([table * root, constant[None]]), full_matrices=False)
        kept = vectors[values > RANK * values[0]]
        bases.append((table * root) @ kept.T)
        means.append(kept @ root)
    sizes = [basis.shape[1] for basis in bases]
    half = (len(sizes) + 1) // 2
    left, right = math.prod(sizes[:half]), math.prod(sizes[half:])
    if max(left, right) > MOST_FUNCTIONS:
        return None
    total = np.zeros((left, right))
    for start in range(0, len(coefficients), 500):  # blocks: mixtures have thousands of products
        rows = slice(start, start + 500)
        one, other = (_each_product([basis[rows] for basis in part]) for part in (bases[:half], bases[half:]))
        total += (one * coefficients[rows, None]).T @ (other if half < len(sizes) else np.ones((len(one), 1)))
    return total.reshape(sizes), means


def _each_product(bases: Sequence[Floats]) -> Floats:
    """Products of all columns, row by row: (n, r_1 r_2 ...)."""
    total = np.ones((len(bases[0]) if bases else 1, 1))
    for basis in bases:
        total = (total[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    return total


def tensor_variance(function: Floats, means: Sequence[Floats], inputs: Collection[int]) -> float:
    """V_S of the inputs S of a function that `tensor` gave."""
    for k in reversed(range(len(means))):
        if k not in inputs:
            function = np.tensordot(function, means[k], (k, 0))
    mean = function
    for k in sorted(inputs, reverse=True):
        mean = np.tensordot(mean, means[k], (-1, 0))
    constant = np.ones(())
    for k in sorted(inputs):
        constant = np.multiply.outer(constant, means[k])
    return float(((function - mean * constant) ** 2).sum())
