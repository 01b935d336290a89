"""Piecewise polynomials in time: elements, nodes, collocation points, and evaluation anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """Elements of [0, 1] with polynomials of one degree, continuous where they meet.

    breaks : ends of the elements, from 0 to 1, K + 1 of them
    degree : d of the polynomials; each has d + 1 Chebyshev-Lobatto nodes and d Gauss-Legendre collocation points
    """

    breaks: tuple[float, ...]
    degree: int

    @staticmethod
    def uniform(elements: int, degree: int) -> Mesh:
        """Equal elements."""
        return Mesh(tuple((np.arange(elements + 1) / elements).tolist()), degree)

    @property
    def elements(self) -> int:
        """K"""
        return len(self.breaks) - 1

    @property
    def lengths(self) -> Tensor:
        """Of the elements, (K,)."""
        return torch.tensor(np.diff(self.breaks))

    @property
    def nodes(self) -> Tensor:
        """(K, d + 1) in [0, 1]."""
        return self.at(torch.from_numpy(lobatto(self.degree)))

    @property
    def gauss(self) -> Tensor:
        """Collocation points, (K, d) in [0, 1]."""
        return self.at(torch.from_numpy(gauss(self.degree)[0]))

    @property
    def gauss_weights(self) -> Tensor:
        """Weights of the integral over [0, 1], (K, d)."""
        return self.lengths[:, None] * torch.from_numpy(gauss(self.degree)[1])

    def at(self, inside: Tensor) -> Tensor:
        """Positions (k,) in [0, 1] of every element, in [0, 1] of the whole, (K, k)."""
        left = torch.tensor(self.breaks[:-1], dtype=torch.float64)
        return left[:, None] + self.lengths[:, None] * inside

    def locate(self, s: Floats) -> tuple[NDArray[np.intp], Floats]:
        """Element of every place s (k,) in [0, 1], and the position in it."""
        breaks = np.asarray(self.breaks)
        k = np.clip(np.searchsorted(breaks, s, side="right") - 1, 0, self.elements - 1)
        return k, (s - breaks[k]) / np.diff(breaks)[k]

    def interpolate(self, Z: Tensor, s: Floats) -> Tensor:
        """The piecewise polynomial with nodal values Z (..., K, d + 1, c) at places s (k,): (..., k, c)."""
        k, inside = self.locate(s)
        rows = torch.from_numpy(interpolation(self.degree, inside))  # (k, d + 1)
        return torch.einsum("kj,...kjc->...kc", rows, Z[..., torch.from_numpy(k), :, :])


@cache
def lobatto(degree: int) -> Floats:
    """Chebyshev-Lobatto nodes on [0, 1], (d + 1,), both ends included."""
    return np.asarray(np.sin(0.5 * np.pi * np.arange(degree + 1) / degree) ** 2)


@cache
def gauss(points: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre points and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(points)
    return 0.5 * (x + 1), 0.5 * w


def interpolation(degree: int, s: Floats) -> Floats:
    """Values of the nodes' Lagrange polynomials at s (k,): (k, d + 1), by the barycentric formula."""
    nodes = lobatto(degree)
    weights = np.where(np.arange(degree + 1) % 2, -1.0, 1.0)
    weights[[0, -1]] *= 0.5
    gap = s[:, None] - nodes
    at_node = gap == 0
    rows = weights / np.where(at_node, 1.0, gap)
    rows = np.where(at_node.any(1, keepdims=True), at_node.astype(float), rows)
    return np.asarray(rows / rows.sum(1, keepdims=True))


@cache
def node_derivative(degree: int) -> Floats:
    """Derivatives at the nodes of the polynomials through nodal values, (d + 1, d + 1), on [0, 1].

    The diagonal is minus the sum of the others, so that constants have derivative 0 to rounding.
    """
    nodes = lobatto(degree)
    weights = np.where(np.arange(degree + 1) % 2, -1.0, 1.0)
    weights[[0, -1]] *= 0.5
    # differences of sin² by the product formula: no cancellation between close nodes
    angle = 0.5 * np.pi * np.arange(degree + 1) / degree
    gap = np.sin(angle[:, None] + angle) * np.sin(angle[:, None] - angle)
    np.fill_diagonal(gap, 1.0)
    D = weights[None, :] / weights[:, None] / gap
    np.fill_diagonal(D, 0.0)
    np.fill_diagonal(D, -D.sum(1))
    assert nodes.shape == (degree + 1,)
    return np.asarray(D)


def derivative(degree: int, s: Floats) -> Floats:
    """Derivatives of the nodes' Lagrange polynomials at s (k,): (k, d + 1), on [0, 1]."""
    return np.asarray(interpolation(degree, s) @ node_derivative(degree))
