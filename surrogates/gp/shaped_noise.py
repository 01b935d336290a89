"""Noise that changes with the place, and readings that count more or less than one: collapsed exactly.

A reading r of group f at place x has the variance e^{a_f + u(x)}/w_r with u = b'φ(x). With W (F, n) sums of w_r per cell,
R (F, n) numbers of readings, Ȳ and SS (F, n) weighted means and sums of squares, p_if = W_if e^{-a_f - u_i}:

    w_i = Σ_f p_if,   y_i = Σ_f p_if Ȳ_if/w_i,   D = diag(1/w_i)
    c   = -½ Σ_if e^{-a_f-u_i} [SS_if + W_if (Ȳ_if - y_i)²] - ½ Σ_if R_if (a_f + u_i) + ½ Σ_r log w_r
          - ½ N log 2π + ½ Σ_i log(2π/w_i)

Readings of one (task, place) share u, so that the collapse of `noise` stays exact; it is checked against the likelihood of
the single readings. log σ² linear in the place is the log-linear variance model of Harvey (1976, Econometrica 44:461); what
is collapsed and its derivatives are our own derivation.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from .noise import Rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: standard deviation of the slopes' normal prior around zero, and their bound: e^(2/2) times the noise across the box
SLOPE_DEVIATION, SLOPE_BOUND = 2.0, 12.0


@dataclass(frozen=True)
class NoiseBasis:
    """Functions φ(x) of the scaled inputs, each with a range of about one and a mean of zero over the unit cube.

    columns : inputs that they depend on; quadratic : squares and products too
    """

    columns: tuple[int, ...]
    quadratic: bool = False

    def __call__(self, x: Floats) -> Floats:
        """x: (m, d) -> (m, r)."""
        chosen = np.ascontiguousarray(x[:, list(self.columns)])  # sums depend on the layout, in their last digit
        if not self.quadratic:
            return chosen
        products = [4 * (chosen[:, i] * chosen[:, j] - (i == j) / 12) for i, j in self._pairs()]
        return np.column_stack([chosen, *products])

    @property
    def size(self) -> int:
        """r"""
        return len(self.columns) + (len(self._pairs()) if self.quadratic else 0)

    def names(self, inputs: list[str]) -> list[str]:
        """What each function depends on, by the inputs' names."""
        own = [inputs[k] for k in self.columns]
        return own + ([f"{own[i]}·{own[j]}" for i, j in self._pairs()] if self.quadratic else [])

    def _pairs(self) -> list[tuple[int, int]]:
        return list(itertools.combinations_with_replacement(range(len(self.columns)), 2))


@dataclass(frozen=True)
class ShapedNoise:
    """log σ²_f(x) = a_f + b'φ(x), learnt, for weighted readings.  φ here stands for (a (F,), b (r,))."""

    weights: Floats  # W (F, n)
    numbers: Floats  # R (F, n)
    means: Floats  # Ȳ (F, n), 0 where R is 0
    squares: Floats  # SS (F, n)
    features: Floats  # φ(x) (n, r)
    group: Integers  # (N,) of each reading
    row: Integers  # (N,)
    weight: Floats  # w_r (N,)
    labels: tuple[str, ...]  # (F,)

    @property
    def names(self) -> tuple[str, ...]:
        return (*(f"log σ²[{label}]" for label in self.labels), *(f"slope of log σ²[{k}]" for k in range(self.slopes)))

    @property
    def slopes(self) -> int:
        """r"""
        return int(self.features.shape[1])

    @property
    def pattern(self) -> Floats:
        """(n, ...): rows with equal entries have equal noise at all parameters."""
        return np.concatenate([self.weights.T, self.numbers.T, self.features], axis=1)

    def rows(self, φ: Floats) -> Rows:
        """Collapsed data at φ (F + r,)."""
        a, u = self._split(φ)
        plain = np.exp(-a) @ self.weights  # (n,)
        y = (np.exp(-a) @ (self.weights * self.means)) / plain
        w = plain * np.exp(-u)
        spread = (np.exp(-a)[:, None] * np.exp(-u) * (self.squares + self.weights * (self.means - y) ** 2)).sum()
        logs = (self.numbers * (a[:, None] + u)).sum() - np.log(self.weight).sum() + np.log(w).sum()
        return Rows(y, 1.0 / w, 0.5 * float((len(w) - len(self.weight)) * math.log(2 * math.pi) - spread - logs))

    def gradient(self, φ: Floats, rows: Rows, α: Floats, p_diagonal: Floats) -> Floats:
        """∂ℓ/∂φ: the sums over cells of ½ {[SS_if + W_if((Ȳ_if - ŷ_i)² + v_i)]/σ²_if - R_if}, times φ(x_i) for b."""
        v = rows.D - rows.D**2 * p_diagonal
        square = (self.means - rows.y + rows.D * α) ** 2 + v
        cells = 0.5 * ((self.squares + self.weights * square) * self._precision(φ) - self.numbers)
        return np.concatenate([cells.sum(axis=1), cells.sum(axis=0) @ self.features])

    def directions(self, φ: Floats, rows: Rows, α: Floats) -> tuple[Floats, Floats]:
        """Collapsed ∂Σ/∂φ α (F + r, n), and what of the average information the collapse hides; see `LearntNoise`."""
        deviation, precision = self.means - rows.y + rows.D * α, self._precision(φ)
        weighted = self.weights * deviation * precision  # (F, n)
        whole = (self.squares * precision) + weighted * deviation
        collapsed = np.concatenate([weighted, weighted.sum(axis=0) * self.features.T])  # before D
        by_row = whole.sum(axis=0) * self.features.T  # (r, n)
        F = len(self.labels)
        hidden = np.zeros((F + self.slopes,) * 2)
        hidden[:F, :F] = np.diag(whole.sum(axis=1))
        hidden[:F, F:] = whole @ self.features
        hidden[F:, :F] = hidden[:F, F:].T
        hidden[F:, F:] = by_row @ self.features
        return rows.D * collapsed, hidden - (rows.D * collapsed) @ collapsed.T

    def reading_variance(self, φ: Floats) -> Floats:
        """(N,) noise variance of every reading."""
        a, u = self._split(φ)
        return np.asarray(np.exp(a[self.group] + u[self.row]) / self.weight)

    def _split(self, φ: Floats) -> tuple[Floats, Floats]:
        """a (F,) and u (n,)."""
        F = len(self.labels)
        return φ[:F], self.features @ φ[F:]

    def _precision(self, φ: Floats) -> Floats:
        """1/σ²_if (F, n)"""
        a, u = self._split(φ)
        return np.asarray(np.exp(-a)[:, None] * np.exp(-u))


def shaped_noise(
    y: Floats, group: Integers, labels: tuple[str, ...], row: Integers, features: Floats, weight: Floats | None
) -> ShapedNoise:
    """From single readings: y, group, row and weight (N,), features (n, r) of the rows."""
    F, n = len(labels), len(features)
    w = np.ones(len(y)) if weight is None else weight
    cell = group * n + row
    numbers = np.bincount(cell, minlength=F * n).astype(np.float64)
    weights = np.bincount(cell, w, minlength=F * n)
    # each cell's first reading is taken off, or the sums of squares of exact repeats would be rounding noise
    reference = np.zeros(F * n)
    reference[cell[::-1]] = y[::-1]
    excess = np.bincount(cell, w * (y - reference[cell]), minlength=F * n)
    means = reference + np.divide(excess, weights, out=np.zeros(F * n), where=weights > 0)
    squares = np.bincount(cell, w * (y - means[cell]) ** 2, minlength=F * n)
    W, R, Ȳ, SS = (table.astype(np.float64).reshape(F, n) for table in (weights, numbers, means, squares))
    return ShapedNoise(W, R, Ȳ, SS, features, group, row, w, labels)


def evidence_bound(weight: Floats, degrees: float) -> float:
    """What a bound on the log evidence has besides ℓ where weights stand for Student's t; see `student_t`.

    weight : (N,) E w
    """
    a0, b0 = 0.5 * degrees, 0.5 * degrees
    a = a0 + 0.5
    b = a / weight
    logs = digamma(a) - np.log(b)
    divergence = (a - a0) * digamma(a) - gammaln(a) + gammaln(a0) + a0 * (np.log(b) - np.log(b0)) + a * (b0 - b) / b
    return float((0.5 * (logs - np.log(weight)) - divergence).sum())
