"""Correlation functions as sums of products of factors, each of one input where that is possible.

    ψ_c(x, x') = Σ_j w_j Π_f φ_jf(x, x')

The RBF kernel is a product over inputs; sums and products of terms are expanded. A Matérn kernel of several inputs is a
function of their scaled distance: one factor. Each factor has random waves, of modulus one and a product over inputs for all
kernels, whose mean E[v(x) v̄(x')] is the factor: spectral sampling (Rahimi & Recht 2007), and our own for labels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ive

from surrogates.gp.composite import CompositeCorrelations
from surrogates.gp.kernels import KERNELS
from surrogates.gp.process import Correlations, StationaryCorrelations
from surrogates.gp.terms import Categorical, Frame, Periodic, Product, Smooth, Sum, Term

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
#: random functions of one input: (m,) -> (R, m)
Waves = Callable[[Floats], Complex]
#: twice ν: degrees of freedom of the Matérn kernels' spectral densities
DEGREES = {"matern12": 1, "matern32": 3, "matern52": 5}
#: sums and products with more parts than this aren't expanded
MOST_PARTS = 40


class Factor(Protocol):
    """A correlation function of some columns of the scaled inputs.

    length : over which it varies; has_kinks : at its centre
    """

    @property
    def columns(self) -> tuple[int, ...]: ...
    @property
    def length(self) -> float: ...
    @property
    def has_kinks(self) -> bool: ...
    def table(self, x: Floats, z: Floats) -> Floats: ...  # of one column: (n,), (m,) -> (n, m)
    def waves(self, count: int, generator: np.random.Generator) -> list[Waves]: ...  # one for each column


@dataclass(frozen=True)
class SmoothFactor:
    """A stationary kernel of some columns with length-scales `l`."""

    kind: str
    columns: tuple[int, ...]
    l: tuple[float, ...]

    @property
    def length(self) -> float:
        return min(self.l)

    @property
    def has_kinks(self) -> bool:
        return self.kind != "rbf"

    def table(self, x: Floats, z: Floats) -> Floats:
        return KERNELS[self.kind].pair(x[:, None], z[:, None], np.array(self.l))[0]

    def waves(self, count: int, generator: np.random.Generator) -> list[Waves]:
        """e^{iω_k x_k}: ω is normal, or of Student's t, all of whose components have one scale."""
        ω = generator.standard_normal((len(self.l), count)) / np.array(self.l)[:, None]
        if self.kind in DEGREES:
            ν = DEGREES[self.kind]
            ω = ω / np.sqrt(generator.chisquare(ν, count) / ν)
        return [_plane(row) for row in ω]


def _plane(ω: Floats) -> Waves:
    return lambda x: np.exp(1j * ω[:, None] * x)


@dataclass(frozen=True)
class PeriodicFactor:
    """exp(-2 sin²(π (x - x')/p)/l²) = Σ_m e^{-a} I_m(a) e^{2πim(x-x')/p}, a = l⁻² (a Fourier series of Bessel functions)."""

    column: int
    l: float
    p: float

    @property
    def columns(self) -> tuple[int, ...]:
        return (self.column,)

    @property
    def length(self) -> float:
        return self.p * min(1.0, self.l) / 6

    @property
    def has_kinks(self) -> bool:
        return False

    def table(self, x: Floats, z: Floats) -> Floats:
        return np.asarray(np.exp(-2 * np.sin(math.pi / self.p * (x[:, None] - z)) ** 2 / self.l**2))

    def waves(self, count: int, generator: np.random.Generator) -> list[Waves]:
        orders = np.arange(-400, 401)
        shares = ive(orders, self.l**-2)
        m = generator.choice(orders, count, p=shares / shares.sum())
        return [lambda x: np.exp(2j * math.pi / self.p * m[:, None] * x)]


@dataclass(frozen=True)
class LabelFactor:
    """1 for the same label, else ρ.

    width : of a scaled unit in labels' codes, which are whole numbers
    """

    column: int
    ρ: float
    width: float

    @property
    def columns(self) -> tuple[int, ...]:
        return (self.column,)

    @property
    def length(self) -> float:
        return math.inf

    @property
    def has_kinks(self) -> bool:
        return False

    def table(self, x: Floats, z: Floats) -> Floats:
        return np.where(x[:, None] == z, 1.0, self.ρ)

    def waves(self, count: int, generator: np.random.Generator) -> list[Waves]:
        """One for all labels with probability ρ, else e^{2πiu code}, u uniform: of mean zero between different labels."""
        u = generator.random(count) * (generator.random(count) >= self.ρ)
        return [_plane(2 * math.pi * self.width * u)]


class Part(NamedTuple):
    """A product of factors, as a share of the c-th correlation function."""

    c: int
    share: float
    factors: tuple[Factor, ...]

    @property
    def is_product(self) -> bool:
        """Whether every factor is a function of one input."""
        return all(len(factor.columns) == 1 for factor in self.factors)

    def table(self, k: int, x: Floats, z: Floats) -> Floats:
        """The factors of input k between x (n,) and z (m,)."""
        total = np.ones((len(x), len(z)))
        for factor in self.factors:
            if factor.columns == (k,):
                total *= factor.table(x, z)
        return total

    def waves(self, count: int, generator: np.random.Generator) -> list[tuple[int, Waves]]:
        """Random waves by column, whose product over all columns is a wave of the part."""
        return [
            pair for factor in self.factors for pair in zip(factor.columns, factor.waves(count, generator), strict=True)
        ]


def parts_of(correlations: Correlations) -> tuple[Part, ...] | None:
    """The correlation functions as sums of parts; None where they are something else."""
    found: list[Part] = []
    if isinstance(correlations, StationaryCorrelations):
        for c, (kernel, l) in enumerate(zip(correlations.kernels, correlations.lengthscales, strict=True)):
            seen = np.flatnonzero(np.isfinite(l))
            found.append(Part(c, 1.0, _smooth(kernel.name, seen.tolist(), l[seen])))
        return tuple(found)
    if isinstance(correlations, CompositeCorrelations):
        for c, θ in enumerate(correlations.shapes):
            parts = _expanded(correlations.kernel.term, θ, correlations.kernel.frame)
            if len(parts) > MOST_PARTS:
                return None
            found += [Part(c, share, factors) for share, factors in parts]
        return tuple(found)
    return None


def _smooth(kind: str, columns: list[int], l: Floats) -> tuple[Factor, ...]:
    if kind == "rbf":
        return tuple(SmoothFactor(kind, (k,), (float(length),)) for k, length in zip(columns, l, strict=True))
    return (SmoothFactor(kind, tuple(columns), tuple(l.tolist())),)


_Products = list[tuple[float, tuple[Factor, ...]]]


def _expanded(term: Term, θ: Floats, frame: Frame) -> _Products:
    """The term at θ (r,) as shares and their factors."""
    if isinstance(term, Smooth):
        return [(1.0, _smooth(term.kind, [frame.column[name] for name in term.inputs], np.exp(θ)))]
    if isinstance(term, Periodic):
        k = frame.column[term.of]
        p = math.exp(θ[1]) if term.period is None else term.period / frame.width[k]
        return [(1.0, (PeriodicFactor(k, math.exp(θ[0]), p),))]
    if isinstance(term, Categorical):
        k = frame.column[term.of]
        return [(1.0, (LabelFactor(k, 1.0 / (1.0 + math.exp(-θ[0])), frame.width[k]),))]
    assert isinstance(term, (Sum, Product))
    shares = np.ones(len(term.terms))
    if isinstance(term, Sum):
        v, θ = θ[: len(shares)], θ[len(shares) :]
        shares = np.exp(v - v.max()) / np.exp(v - v.max()).sum()
    sizes = np.cumsum([len(one.parameters(frame)) for one in term.terms])
    split = zip(term.terms, np.split(θ, sizes[:-1]), strict=True)
    each = [_expanded(one, own, frame) for one, own in split]
    if isinstance(term, Sum):
        return [(w * share, own) for w, parts in zip(shares, each, strict=True) for share, own in parts]
    return [
        (math.prod(share for share, _ in chosen), tuple(factor for _, own in chosen for factor in own))
        for chosen in itertools.product(*each)
    ]
