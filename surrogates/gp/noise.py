"""Observation noise, and the exact collapse of all readings at one (task, place) into one row.

Symbols (n rows, F noise groups): R (F, n) readings per cell, Ȳ (F, n) their means, SS (F,) within-cell sums of squares,
w_i = Σ_f R_if/σ²_f, y_i = Σ_f R_if Ȳ_if/(σ²_f w_i), D = diag(1/w_i). What the collapse takes out of the likelihood is

    c = -½ Σ_f SS_f/σ²_f - ½ Σ_if R_if (Ȳ_if - y_i)²/σ²_f - ½ Σ_f N_f log 2πσ²_f + ½ Σ_i log(2π/w_i)

It depends on σ² and stays in the objective.  All of it is checked against the likelihood of the single readings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Rows(NamedTuple):
    """Collapsed data at one value of the noise parameters."""

    y: Floats  # (n,) precision-weighted mean of each row's readings
    D: Floats  # (n,) its noise variance
    constant: float  # c above


class NoiseModel(Protocol):
    """Noise with parameters φ (log variances)."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def pattern(self) -> Floats: ...
    def rows(self, φ: Floats) -> Rows: ...
    def gradient(self, φ: Floats, rows: Rows, α: Floats, p_diagonal: Floats) -> Floats: ...
    def directions(self, φ: Floats, rows: Rows, α: Floats) -> tuple[Floats, Floats]: ...
    def reading_variance(self, φ: Floats) -> Floats: ...


@dataclass(frozen=True)
class LearntNoise:
    """One variance per noise group, learnt: σ²_f = e^φ_f."""

    counts: Floats  # R (F, n)
    means: Floats  # Ȳ (F, n), 0 where R is 0
    squares: Floats  # SS (F,)
    group: Integers  # (N,) of each reading
    labels: tuple[str, ...]  # (F,)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"log σ²[{label}]" for label in self.labels)

    @property
    def pattern(self) -> Floats:
        """(n, F): rows with equal entries have equal noise at all parameters."""
        return np.ascontiguousarray(self.counts.T)

    @cached_property
    def totals(self) -> Floats:
        """N (F,) readings of each group."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def _sums(self) -> Floats:
        """R Ȳ (F, n)."""
        return self.counts * self.means

    @cached_property
    def _mixed(self) -> Integers:
        """Rows that hold readings of several groups; only in these do the groups' means differ from y."""
        return np.flatnonzero((self.counts > 0).sum(axis=0) > 1)

    def rows(self, φ: Floats) -> Rows:
        """Collapsed data at φ (F,)."""
        precision = np.exp(-φ)
        w = precision @ self.counts  # (n,)
        y = (precision @ self._sums) / w
        spread = float(self.squares @ precision)
        if len(self._mixed):
            deviation = self.means[:, self._mixed] - y[self._mixed]
            spread += float(precision @ (self.counts[:, self._mixed] * deviation**2).sum(axis=1))
        constant = (len(w) - self.totals.sum()) * math.log(2 * math.pi)
        c = 0.5 * float(constant - spread - self.totals @ φ - np.log(w).sum())
        return Rows(y, 1.0 / w, c)

    def gradient(self, φ: Floats, rows: Rows, α: Floats, p_diagonal: Floats) -> Floats:
        """∂ℓ/∂φ_f = ½ {[SS_f + Σ_i R_if((Ȳ_if - ŷ_i)² + v_i)]/σ²_f - N_f}, ŷ = y - Dα, v = D - D² diag P."""
        v = rows.D - rows.D**2 * p_diagonal
        square = (self.means - rows.y + rows.D * α) ** 2
        residual = np.einsum("fi,fi->f", square + v, self.counts)
        return np.asarray(0.5 * ((self.squares + residual) / np.exp(φ) - self.totals))

    def directions(self, φ: Floats, rows: Rows, α: Floats) -> tuple[Floats, Floats]:
        """Collapsed ∂Σ/∂φ_f α (F, n), and the part (F, F) of the average information that the collapse hides.

        With Z the readings' row membership, ṽ_f = D Z'E⁻¹ v_f for v_f = ∂E/∂φ_f Py in the space of the readings
        (E their noise), v_f'P v_g = ṽ_f'P ṽ_g + [v_f'E⁻¹v_g - ṽ_f'D⁻¹ṽ_g].
        """
        σ2 = np.exp(φ)
        deviation = self.means - rows.y + rows.D * α  # (F, n)
        weighted = self.counts * deviation / σ2[:, None]
        hidden = np.diag(self.squares / σ2 + (weighted * deviation).sum(axis=1))
        collapsed = rows.D * weighted
        return collapsed, hidden - collapsed @ weighted.T

    def reading_variance(self, φ: Floats) -> Floats:
        """(N,) noise variance of every reading."""
        return np.exp(φ)[self.group]


#: variance of readings that are all known to be exact, relative to the target's residual variance
EXACT = 1e-10


@dataclass(frozen=True)
class KnownNoise:
    """Given variances of the readings, plus one learnt nugget η² = e^φ per place.

    The nugget is what the kernel can't resolve: without it, unresolved detail is forced into the length-scales. Where all
    readings are exact, as a deterministic code's are, there is none, and the model interpolates.
    """

    mean: Floats  # (n,) precision-weighted mean of the row's readings
    variance: Floats  # (n,) its known variance
    constant: float
    readings: Floats  # (N,) known variance of every reading
    exact: float = EXACT  # what stands for zero on the diagonal

    @cached_property
    def is_exact(self) -> bool:
        """Whether no reading has noise."""
        return not self.readings.any()

    @property
    def names(self) -> tuple[str, ...]:
        return () if self.is_exact else ("log nugget",)  # φ may lack it: fitted to exact readings, updated with others

    @property
    def pattern(self) -> Floats:
        """(n, 1): rows with equal entries have equal noise at all parameters."""
        return self.variance[:, None]

    def nugget(self, φ: Floats) -> float:
        """η²: variance of the function that its kernel doesn't resolve."""
        return float(np.exp(φ[0])) if len(φ) else 0.0

    def rows(self, φ: Floats) -> Rows:
        """Collapsed data at φ, which is (1,), or empty where the fit's readings were exact."""
        return Rows(self.mean, self.variance + (self.nugget(φ) if len(φ) else self.exact), self.constant)

    def gradient(self, φ: Floats, rows: Rows, α: Floats, p_diagonal: Floats) -> Floats:
        """∂ℓ/∂φ = ½ η² Σ_i (α_i² - P_ii)."""
        return 0.5 * np.exp(φ) * float((α**2 - p_diagonal).sum())

    def directions(self, φ: Floats, rows: Rows, α: Floats) -> tuple[Floats, Floats]:
        """∂Σ/∂φ α (1, n); the collapse hides nothing."""
        return np.exp(φ)[:, None] * α, np.zeros((len(φ), len(φ)))

    def reading_variance(self, φ: Floats) -> Floats:
        """(N,) noise variance of every reading."""
        return self.readings
