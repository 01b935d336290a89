"""Chebyshev polynomials of several inputs as features, of which only as many as the data ask for are kept."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from surrogates.errors import DataError

from ._checks import check_inputs

#: terms of the first set, from which the inputs' rates of decay are read
FIRST_TERMS = 500


class ChebyshevFeatures(nn.Module):
    """φ_i(x) = Π_j T_{i_j}(x_j) for given degrees i, x in [-1, 1]^d: a frozen trunk under a linear last layer.

    For a smooth map of several inputs, sets of degrees bounded by Σ a_j i_j ≤ p with weights a_j of the inputs' own
    rates of decay ("weighted total degree") need far fewer terms than a grid: polynomial chaos, Xiu & Karniadakis (2002);
    weighted sets as in Chkifa, Cohen & Schwab (2014).

    Parameters
    ----------
    degrees : (L, d) integers >= 0

    Examples
    --------
    >>> features = ChebyshevFeatures(torch.tensor([[0, 0], [2, 0], [1, 1]]))
    >>> features.values(torch.tensor([[0.5, -1.0]]).double()).tolist()
    [[1.0, -0.5, -0.5]]
    """

    degrees: Tensor  # (L, d)
    _first: Tensor
    _last: Tensor

    def __init__(self, degrees: Tensor) -> None:
        super().__init__()
        if degrees.ndim != 2 or not len(degrees) or degrees.is_floating_point() or bool((degrees < 0).any()):
            raise DataError(
                f"degrees are {degrees.dtype} of shape {tuple(degrees.shape)}; integers >= 0 of shape (terms, inputs) "
                f"are expected"
            )
        self.register_buffer("degrees", degrees.long())
        self.d_in, self.width = degrees.shape[1], len(degrees)
        self._highest = int(degrees.max())
        # products are shared: terms are pairs of one product of the first inputs and one of the last
        half = (self.d_in + 1) // 2
        first, self._first = torch.unique(self.degrees[:, :half], dim=0, return_inverse=True)
        # of a single input nothing is left for the last: one product of none, which is 1
        last, self._last = (
            torch.unique(self.degrees[:, half:], dim=0, return_inverse=True)
            if half < self.d_in
            else (self.degrees[:1, half:], torch.zeros_like(self._first))
        )
        self._parts = ((first, range(half)), (last, range(half, self.d_in)))

    def forward(self, X: Tensor) -> Tensor:
        """The same as `values`."""
        return self.values(X)

    def values(self, X: Tensor) -> Tensor:
        """φ: X (..., d) -> (..., L)."""
        check_inputs(X, self.d_in, "ChebyshevFeatures")
        return self.rows(X.reshape(-1, self.d_in)).T.reshape(*X.shape[:-1], self.width)

    def rows(self, X: Tensor) -> Tensor:
        """φ transposed: X (B, d) -> (L, B), which is the quicker one to make."""
        T = _chebyshev(X.T, self._highest)  # (degree + 1, d, B)
        products = []
        for degrees, inputs in self._parts:
            product = torch.ones(len(degrees), 1, dtype=X.dtype).expand(-1, X.shape[0])  # len() would fix it in a trace
            for column, j in enumerate(inputs):
                product = product * T[degrees[:, column], j]
            products.append(product)
        return products[0].index_select(0, self._first) * products[1].index_select(0, self._last)


def weighted_degrees(weights: list[float], bound: float) -> Tensor:
    """All degrees i (L, d) with Σ weights_j i_j <= bound."""
    sets = torch.zeros(1, 0, dtype=torch.long)
    used = torch.zeros(1, dtype=torch.float64)
    for w in weights:
        most = int((bound + 1e-9) // w)
        next_degree = torch.arange(most + 1)
        total = used[:, None] + w * next_degree.double()  # a number times integers would be float32
        row, degree = torch.nonzero(total <= bound + 1e-9, as_tuple=True)
        sets = torch.cat([sets[row], degree[:, None]], 1)
        used = total[row, degree]
    return sets


def choose_degrees(X: Tensor, Y: Tensor, terms: int) -> Tensor:
    """Degrees of about as many terms as asked for, by how fast the coefficients of Y decay in every input.

    A first set of equal weights is fitted by least squares; a plane through the logarithms of the coefficients' norms
    gives each input's rate of decay, and so the next set. Where all terms with an odd (or even) sum of the degrees in
    some inputs are small, as a symmetry of the map makes them, a set without them is tried, and kept if it predicts a
    tenth of the rows, held out, better.

    Points drawn from the arcsine distribution, x = cos πv with v uniform, keep the least squares well conditioned with
    few more rows than terms; uniform points need the square of the terms in one input (Cohen & Migliorati 2017). With
    four inputs and more, degrees stay low, and uniform points did better (measured).

    X : (n, d) in [-1, 1]; Y : (n, r), n at least twice `terms`

    Returns
    -------
    (L, d) integers, L <= terms
    """
    if len(X) < 2 * terms:
        raise DataError(
            f"{len(X)} rows are too few for {terms} terms; give at least {2 * terms}, or ask for fewer terms"
        )
    d = X.shape[1]
    held = torch.arange(len(X)) % 10 == 0
    fit, check = (X[~held], Y[~held]), (X[held], Y[held])
    degrees = _largest([1.0] * d, min(terms, FIRST_TERMS), None)
    sizes = _coefficients(*fit, degrees).norm(dim=1).clamp(min=1e-300)
    symmetry = _symmetry(degrees, sizes)
    candidates = []
    for rule in (None, symmetry):
        chosen, found = degrees, sizes
        for _ in range(2):
            kept = torch.ones(len(chosen), dtype=torch.bool) if rule is None else rule.allows(chosen)
            chosen = _largest(_decay(chosen[kept], found[kept]), terms, rule)
            weights = _coefficients(*fit, chosen)
            found = weights.norm(dim=1).clamp(min=1e-300)
        missed = ChebyshevFeatures(chosen).values(check[0]) @ weights - check[1]
        candidates.append((float(missed.norm()), chosen))
    return min(candidates, key=lambda pair: pair[0])[1]


class _Symmetry(NamedTuple):
    """Terms are kept whose degrees, summed over some inputs, are odd (or even)."""

    inputs: Tensor  # (d,) of 0 and 1
    parity: int

    def allows(self, degrees: Tensor) -> Tensor:
        """(L,); the constant always, since the mean of a sample has no symmetry."""
        return ((degrees * self.inputs).sum(1) % 2 == self.parity) | (degrees == 0).all(1)


def _symmetry(degrees: Tensor, sizes: Tensor) -> _Symmetry:
    """The rule that leaves out the smallest terms, by the largest of them."""
    d = degrees.shape[1]
    best, least = _Symmetry(torch.zeros(d, dtype=torch.long), 0), math.inf
    for number in range(1, 2**d):
        inputs = torch.tensor([(number >> j) & 1 for j in range(d)])
        for parity in (0, 1):
            rule = _Symmetry(inputs, parity)
            forbidden = sizes[~rule.allows(degrees)]
            if len(forbidden) and float(forbidden.max()) < least:
                best, least = rule, float(forbidden.max())
    return best


def _coefficients(X: Tensor, Y: Tensor, degrees: Tensor) -> Tensor:
    solution: Tensor = torch.linalg.lstsq(ChebyshevFeatures(degrees).values(X), Y, driver="gels").solution
    return solution


def _decay(degrees: Tensor, sizes: Tensor) -> list[float]:
    """Decay per degree of every input, relative to the slowest: slopes of a plane through the larger coefficients."""
    A = torch.cat([degrees.double(), torch.ones(len(degrees), 1, dtype=torch.float64)], 1)
    y, keep = sizes.log(), torch.ones(len(degrees), dtype=torch.bool)
    slopes = torch.zeros(A.shape[1], dtype=torch.float64)
    for _ in range(4):
        if int(keep.sum()) <= A.shape[1]:  # too few to leave out more
            break
        slopes = torch.linalg.lstsq(A[keep], y[keep, None]).solution[:, 0]
        above = y - A @ slopes
        keep = above > -0.5 * above[keep].std()
    rates = (-slopes[:-1]).clamp(min=0.05)
    relative: list[float] = (rates / rates.min()).clamp(max=20.0).tolist()
    return relative


def _largest(weights: list[float], terms: int, rule: _Symmetry | None) -> Tensor:
    """The largest weighted set of at most so many terms that a symmetry allows."""
    low, high, best = 0.0, 2.0, torch.zeros(1, len(weights), dtype=torch.long)
    growing = True
    for _ in range(60):
        middle = high if growing else 0.5 * (low + high)
        found = weighted_degrees(weights, middle)
        if rule is not None:
            found = found[rule.allows(found)]
        if len(found) <= terms and middle < 60:
            low, best = middle, found if len(found) else best
            high = 1.3 * high if growing else high
        else:
            high, growing = middle, False
        if not growing and high - low < 0.01:
            break
    return best


def _chebyshev(X: Tensor, degree: int) -> Tensor:
    """T_0 ... T_degree at X: (degree + 1, *X.shape)."""
    T = [torch.ones_like(X), X]
    while len(T) <= degree:
        T.append(2 * X * T[-1] - T[-2])
    return torch.stack(T[: degree + 1])
