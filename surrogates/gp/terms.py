"""A small algebra of correlation functions: terms that are added and multiplied, with all their derivatives.

    Smooth        ψ(r) of `kernels`, r² = Σ_k (x_k - x'_k)²/l_k²               log l_k
    Periodic      exp(-2 sin²(π (x - x')/p)/l²)                                log l, and log p where it's learnt
    Categorical   1 for the same label, else ρ                                 logit ρ
    a + b + ...   Σ_j w_j ψ_j,   w = softmax(v)                                v_j, and the terms' own
    a * b * ...   Π_j ψ_j                                                      the terms' own

All are one at the same place, so that amplitude stays with the task covariance. Positive definite are the stationary ones;
the periodic one (MacKay 1998; Rasmussen & Williams 2006, eq. 4.31); compound symmetry ρ 11' + (1-ρ) I for 0 < ρ < 1, however
many labels there are; and sums and products of such (ibid., section 4.2.4). Sums over single inputs are the additive models
of Duvenaud, Nickisch & Rasmussen (2011), first order.

Every method takes the frame that tells which column of x holds which input, and how wide a scaled unit is.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from .kernels import KERNELS, LENGTHSCALE_DEVIATION, NARROWEST, WIDEST, kernel_named, log_lengthscale
from .sharing import CORRELATION_BOUNDS, CORRELATION_PRIOR

Floats = NDArray[np.float64]
#: of a learnt period, as a share of its input's range: prior, bounds and starts
PERIOD_PRIOR, PERIOD_BOUNDS, PERIOD_STARTS = (math.log(0.3), 1.0), (0.02, 3.0), (0.08, 0.15, 0.3, 0.5, 0.9)


class Frame(NamedTuple):
    """column : of each input; width : of each column's scaled unit, in the input's own (d,)"""

    column: Mapping[str, int]
    width: tuple[float, ...]


class Parameter(NamedTuple):
    """A hyper-parameter: its name, normal prior and bounds; start: values that descents try, the likeliest first."""

    name: str
    mean: float
    deviation: float
    bounds: tuple[float, float]
    starts: tuple[float, ...] = ()


class Told(NamedTuple):
    """A hyper-parameter for people: values (k,) in the units of an input, or without any."""

    values: Floats
    units_of: str | None


class Term(abc.ABC):
    """A correlation function, or what is made of several; `+` and `*` make more of them."""

    def __add__(self, other: Term) -> Sum:
        return Sum((*_parts(self, Sum), *_parts(other, Sum)))

    def __mul__(self, other: Term) -> Product:
        return Product((*_parts(self, Product), *_parts(other, Product)))

    @property
    @abc.abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that it reads."""

    @abc.abstractmethod
    def parameters(self, frame: Frame) -> list[Parameter]:
        """Its r hyper-parameters."""

    @abc.abstractmethod
    def slopes(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> tuple[Floats, list[Floats]]:
        """ψ (n, m) between x (n, d) and z (m, d) at θ (r,), and its r derivatives."""

    @abc.abstractmethod
    def by_place(self, x: Floats, z: Floats, θ: Floats, weights: Floats, frame: Frame) -> Floats:
        """Σ_i weights_ij ∂ψ(x_i, z_j)/∂z_jk: (m, d)."""

    @abc.abstractmethod
    def told(self, θ: Floats, frame: Frame) -> dict[str, Told]:
        """Hyper-parameters θ (k, r) in words and natural units."""


@dataclass(frozen=True)
class Smooth(Term):
    """A stationary kernel of some inputs, with one length-scale each.

    Parameters
    ----------
    of : names of inputs; none: all those that no categorical or periodic term reads
    kind : "matern52", "rbf", "matern32" or "matern12"

    Notes
    -----
    Prior: log l ~ N(log(0.4 √d), 1.2²) for d inputs, in units of their ranges.

    Examples
    --------
    >>> str(Smooth("x") * Categorical("material") + Smooth("x"))
    'matern52(x)*categorical(material) + matern52(x)'
    """

    of: str | Sequence[str] = ()
    kind: str = "matern52"

    def __post_init__(self) -> None:
        object.__setattr__(self, "of", (self.of,) if isinstance(self.of, str) else tuple(self.of))
        kernel_named(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(self.of)})"

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.of)

    def parameters(self, frame: Frame) -> list[Parameter]:
        mean, bounds = log_lengthscale(len(self.of)), (math.log(NARROWEST), math.log(WIDEST))
        return [Parameter(f"log l[{name}]", mean, LENGTHSCALE_DEVIATION, bounds) for name in self.of]

    def slopes(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> tuple[Floats, list[Floats]]:
        columns, l = [frame.column[name] for name in self.of], np.exp(θ)
        ψ, slope = KERNELS[self.kind].pair(x[:, columns], z[:, columns], l)
        squares = ((x[:, k, None] - z[None, :, k]) ** 2 / length**2 for k, length in zip(columns, l, strict=True))
        return ψ, [slope * square for square in squares]

    def by_place(self, x: Floats, z: Floats, θ: Floats, weights: Floats, frame: Frame) -> Floats:
        columns, l = [frame.column[name] for name in self.of], np.exp(θ)
        M = KERNELS[self.kind].pair(x[:, columns], z[:, columns], l)[1] * weights
        found = np.zeros(z.shape)
        found[:, columns] = (M.T @ x[:, columns] - z[:, columns] * M.sum(axis=0)[:, None]) / l**2
        return found

    def told(self, θ: Floats, frame: Frame) -> dict[str, Told]:
        l = np.exp(θ)
        width = [frame.width[frame.column[name]] for name in self.of]
        return {f"length-scale of {name} in {self}": Told(l[:, k] * width[k], name) for k, name in enumerate(self.of)}


@dataclass(frozen=True)
class Periodic(Term):
    """A function that repeats itself along one input: hours of a day, angles, days of a year.

    Parameters
    ----------
    of : name of the input
    period : in the input's units; None: learnt, from several starts

    Notes
    -----
    Priors, normal: log l ~ N(0, 1); log of a learnt period, as a share of the input's range, N(log 0.3, 1). A linear trend
    doesn't count an input that only periodic terms read.
    """

    of: str
    period: float | None = None

    def __post_init__(self) -> None:
        if self.period is not None and not (math.isfinite(self.period) and self.period > 0):
            raise DataError(f"Periodic({self.of!r}) has the period {self.period!r}; give a positive number, or None")

    def __str__(self) -> str:
        return f"periodic({self.of}{'' if self.period is None else f', {self.period:g}'})"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.of,)

    def parameters(self, frame: Frame) -> list[Parameter]:
        found = [Parameter(f"log l[periodic {self.of}]", 0.0, 1.0, (math.log(0.05), math.log(50.0)))]
        if self.period is None:
            low, high = (math.log(end) for end in PERIOD_BOUNDS)
            starts = tuple(math.log(p) for p in PERIOD_STARTS)
            found.append(Parameter(f"log period[{self.of}]", *PERIOD_PRIOR, (low, high), starts))
        return found

    def slopes(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> tuple[Floats, list[Floats]]:
        angle, l2 = self._angle(x, z, θ, frame), math.exp(2 * θ[0])
        square = 2 * np.sin(angle) ** 2 / l2
        ψ = np.exp(-square)
        found = [2 * ψ * square]
        if self.period is None:
            found.append(ψ * 2 / l2 * np.sin(2 * angle) * angle)
        return ψ, found

    def by_place(self, x: Floats, z: Floats, θ: Floats, weights: Floats, frame: Frame) -> Floats:
        angle, l2 = self._angle(x, z, θ, frame), math.exp(2 * θ[0])
        ψ = np.exp(-2 * np.sin(angle) ** 2 / l2)
        found = np.zeros(z.shape)
        pace = math.pi / self._period(θ, frame)
        found[:, frame.column[self.of]] = (weights * ψ * 2 / l2 * np.sin(2 * angle)).sum(axis=0) * pace
        return found

    def told(self, θ: Floats, frame: Frame) -> dict[str, Told]:
        found = {f"length-scale of {self}": Told(np.exp(θ[:, 0]), None)}
        if self.period is None:
            width = frame.width[frame.column[self.of]]
            found[f"period of {self.of}"] = Told(np.exp(θ[:, 1]) * width, self.of)
        return found

    def _period(self, θ: Floats, frame: Frame) -> float:
        """In scaled units."""
        if self.period is None:
            return math.exp(θ[1])
        return self.period / frame.width[frame.column[self.of]]

    def _angle(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> Floats:
        k = frame.column[self.of]
        return np.asarray(math.pi / self._period(θ, frame) * (x[:, k, None] - z[None, :, k]))


@dataclass(frozen=True)
class Categorical(Term):
    """Labels without an order: materials, suppliers, solvers. Any two different ones correlate by the same ρ.

    Parameters
    ----------
    of : name of the input; its labels may be text or numbers

    Notes
    -----
    Prior: logit ρ ~ N(0.5, 1.75²). A label that the fit hasn't seen is refused in questions, and learnt by `update`.
    """

    of: str

    def __str__(self) -> str:
        return f"categorical({self.of})"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.of,)

    def parameters(self, frame: Frame) -> list[Parameter]:
        return [Parameter(f"logit ρ[{self.of}]", *CORRELATION_PRIOR, CORRELATION_BOUNDS)]

    def slopes(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> tuple[Floats, list[Floats]]:
        k, ρ = frame.column[self.of], _logistic(θ[0])
        other = (x[:, k, None] != z[None, :, k]).astype(np.float64)
        return 1.0 - (1.0 - ρ) * other, [ρ * (1 - ρ) * other]

    def by_place(self, x: Floats, z: Floats, θ: Floats, weights: Floats, frame: Frame) -> Floats:
        return np.zeros(z.shape)

    def told(self, θ: Floats, frame: Frame) -> dict[str, Told]:
        return {f"correlation of any two of {self.of}": Told(1 / (1 + np.exp(-θ[:, 0])), None)}


@dataclass(frozen=True)
class Sum(Term):
    """Weighted terms, Σ_j w_j ψ_j with learnt shares w: functions that add up.  Made by `+`.

    Notes
    -----
    Prior of the shares: w = softmax(v), v_j ~ N(0, 1.5²).
    """

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.inputs))

    def parameters(self, frame: Frame) -> list[Parameter]:
        shares = [Parameter(f"share[{term}]", 0.0, 1.5, (-8.0, 8.0)) for term in self.terms]
        return shares + [parameter for term in self.terms for parameter in term.parameters(frame)]

    def slopes(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> tuple[Floats, list[Floats]]:
        w, parts = self._shares(θ[: len(self.terms)]), _split(self.terms, θ[len(self.terms) :], frame)
        each = [term.slopes(x, z, own, frame) for term, own in zip(self.terms, parts, strict=True)]
        total = sum((share * ψ for share, (ψ, _) in zip(w, each, strict=True)), np.zeros((len(x), len(z))))
        found = [share * (ψ - total) for share, (ψ, _) in zip(w, each, strict=True)]
        return total, found + [share * slope for share, (_, own) in zip(w, each, strict=True) for slope in own]

    def by_place(self, x: Floats, z: Floats, θ: Floats, weights: Floats, frame: Frame) -> Floats:
        w, parts = self._shares(θ[: len(self.terms)]), _split(self.terms, θ[len(self.terms) :], frame)
        each = (t.by_place(x, z, own, w_j * weights, frame) for t, own, w_j in zip(self.terms, parts, w, strict=True))
        return sum(each, np.zeros(z.shape))

    def told(self, θ: Floats, frame: Frame) -> dict[str, Told]:
        m = len(self.terms)
        w = np.stack([self._shares(v) for v in θ[:, :m]])
        shares = [(f"share of {term}", Told(w[:, j], None)) for j, term in enumerate(self.terms)]
        return _all_told(self.terms, θ[:, m:], frame, shares)

    def _shares(self, v: Floats) -> Floats:
        raised = np.exp(v - v.max())
        return np.asarray(raised / raised.sum())


@dataclass(frozen=True)
class Product(Term):
    """Terms that act together, Π_j ψ_j: close are places that are close in every term.  Made by `*`."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return "*".join(f"({term})" if isinstance(term, Sum) else str(term) for term in self.terms)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for term in self.terms for name in term.inputs))

    def parameters(self, frame: Frame) -> list[Parameter]:
        return [parameter for term in self.terms for parameter in term.parameters(frame)]

    def slopes(self, x: Floats, z: Floats, θ: Floats, frame: Frame) -> tuple[Floats, list[Floats]]:
        parts = _split(self.terms, θ, frame)
        each = [term.slopes(x, z, own, frame) for term, own in zip(self.terms, parts, strict=True)]
        found = []
        for j, (_, own) in enumerate(each):
            others = self._without(j, [ψ for ψ, _ in each])
            found += [others * slope for slope in own]
        return each[0][0] * self._without(0, [ψ for ψ, _ in each]), found

    def by_place(self, x: Floats, z: Floats, θ: Floats, weights: Floats, frame: Frame) -> Floats:
        parts = _split(self.terms, θ, frame)
        tables = [term.slopes(x, z, own, frame)[0] for term, own in zip(self.terms, parts, strict=True)]
        total = np.zeros(z.shape)
        for j, (term, own) in enumerate(zip(self.terms, parts, strict=True)):
            total += term.by_place(x, z, own, weights * self._without(j, tables), frame)
        return total

    def told(self, θ: Floats, frame: Frame) -> dict[str, Told]:
        return _all_told(self.terms, θ, frame)

    def _without(self, j: int, tables: list[Floats]) -> Floats:
        total = np.ones_like(tables[0])
        for i, table in enumerate(tables):
            if i != j:
                total *= table
        return total


def additive(*groups: str | Sequence[str], kind: str = "matern52") -> Sum:
    """A sum of smooth functions of single inputs, or of groups of them.

    >>> str(additive("x", ("y", "z"), kind="rbf"))
    'rbf(x) + rbf(y, z)'

    Raises
    ------
    DataError
        If there are fewer than two groups, or the kind is unknown.
    """
    if len(groups) < 2:
        raise DataError(
            f"additive{groups!r} adds up fewer than two functions; name two inputs or groups, or use Smooth"
        )
    return Sum(tuple(Smooth(group, kind) for group in groups))


def _parts(term: Term, kind: type[Sum] | type[Product]) -> tuple[Term, ...]:
    if not isinstance(term, Term):
        raise DataError(f"{term!r} is no term of a kernel; add and multiply Smooth, Periodic and Categorical")
    return term.terms if isinstance(term, kind) else (term,)


def _split(terms: tuple[Term, ...], θ: Floats, frame: Frame) -> list[Floats]:
    """θ (..., r) by term."""
    ends = np.cumsum([len(term.parameters(frame)) for term in terms])
    return np.split(θ, ends[:-1], axis=-1)


def _all_told(
    terms: tuple[Term, ...], θ: Floats, frame: Frame, first: Sequence[tuple[str, Told]] = ()
) -> dict[str, Told]:
    """What all terms tell, behind what is told first; a name that was taken gets a number."""
    pairs = [*first]
    for term, own in zip(terms, _split(terms, θ, frame), strict=True):
        pairs += term.told(own, frame).items()
    found: dict[str, Told] = {}
    for name, told in pairs:
        times = (k for k in itertools.count(2) if f"{name} ({k})" not in found)
        found[name if name not in found else f"{name} ({next(times)})"] = told
    return found


def _logistic(value: float) -> float:
    return float(1.0 / (1.0 + math.exp(-value)))
