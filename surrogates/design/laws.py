"""Independent random inputs: what they are drawn from, and points and weights that integrate over them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from surrogates.errors import DataError
from surrogates.schema import Label

Floats = NDArray[np.float64]
#: the probability that integrals leave out at either end of an unbounded input
TAIL = 1e-15
#: standard normal numbers are taken as no larger
FAR = 37.0
#: Gauss-Legendre points of a panel, more for each length that has to be resolved, and lengths of a panel at the most
POINTS, POINTS_PER_LENGTH, LENGTHS = 10, 7, 6
#: probabilities between which panels lie, for laws other than the uniform and the normal
BREAKS = (1e-9, 1e-5, 1e-3, 0.02, 0.1, 0.3)


@dataclass(frozen=True)
class Input:
    """One input's law, in the model's units.

    law : a frozen continuous distribution of scipy.stats; None where the input takes some values only
    values, shares : (L,) those values (codes of labels, or a constant) with their probabilities
    """

    name: str
    law: Any = None
    values: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    text: str = ""

    def quantile(self, u: Floats) -> Floats:
        """Values at probabilities u (...,)."""
        if self.law is not None:
            return np.asarray(self.law.ppf(u))
        edges = np.cumsum(self.shares)[:-1]
        return np.asarray(np.array(self.values)[np.searchsorted(edges, u, side="right")])

    def at_normal(self, z: Floats) -> Floats:
        """Values whose probability is that of standard normal numbers z (...,): exact in both tails."""
        if self.law is None:
            return self.quantile(ndtr(z))
        z = np.clip(z, -FAR, FAR)  # farther out an unbounded law has no finite value in double precision
        return np.asarray(np.where(z < 0, self.law.ppf(ndtr(z)), self.law.isf(ndtr(-z))))

    def nodes(self, length: float, kinks: Floats) -> tuple[Floats, Floats]:
        """Points (M,) and weights (M,), which add up to one, of integrals over the law.

        Exact to rounding for functions analytic but at `kinks` (n,) that vary over `length`, if the law is uniform or
        normal; for others as exact as their density is smooth.
        """
        if self.law is None:
            return np.array(self.values), np.array(self.shares)
        low, high = self.law.support()
        uniform, normal = (self.law.dist.name == name for name in ("uniform", "norm"))
        inner: Sequence[float] = ()
        if not uniform:
            low, high = max(low, float(self.law.ppf(TAIL))), min(high, float(self.law.isf(TAIL)))
        if normal:
            length = min(length, float(self.law.std()))
        elif not uniform:
            inner = [*self.law.ppf(BREAKS), self.law.median(), *self.law.isf(BREAKS)]
        breaks = _fine(np.unique([low, *inner, *kinks[(kinks > low) & (kinks < high)], high]), LENGTHS * length)
        x, w = [], []
        for start, end in itertools.pairwise(breaks.tolist()):
            t, weight = _legendre(POINTS + math.ceil(POINTS_PER_LENGTH * (end - start) / length))
            x.append(0.5 * (start + end) + 0.5 * (end - start) * t)
            w.append(0.5 * (end - start) * weight * self.law.pdf(x[-1]))
        weights = np.concatenate(w)
        return np.concatenate(x), weights / weights.sum()


def _fine(breaks: Floats, widest: float) -> Floats:
    """More breaks, so that no panel is wider than that."""
    parts = [
        np.linspace(start, end, math.ceil((end - start) / widest), endpoint=False)
        for start, end in itertools.pairwise(breaks.tolist())
    ]
    return np.concatenate([*parts, breaks[-1:]])


@lru_cache(maxsize=64)
def _legendre(points: int) -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return nodes, weights


def make_inputs(
    names: Sequence[str],
    given: Mapping[str, Any] | None,
    ranges: Mapping[str, tuple[float, float]],
    categories: Mapping[str, tuple[Label | None, ...]],
    *,
    what: str = "distributions",
) -> tuple[Input, ...]:
    """The law of every input; those not given are uniform over their range, or over all labels.

    Raises
    ------
    DataError
        Names that aren't inputs, bounds out of order, laws that are none, no law where there is no range.
    """
    given = {} if given is None else given
    unknown = [name for name in given if name not in names]
    if unknown:
        raise DataError(f"{what} names {unknown}; inputs that have one are {tuple(names)}")
    return tuple(
        _labels(name, given.get(name), categories[name])
        if name in categories
        else _continuous(name, given.get(name), ranges.get(name), what)
        for name in names
    )


def _continuous(name: str, given: Any, range_: tuple[float, float] | None, what: str) -> Input:
    from scipy import stats

    if given is None:
        if range_ is None:
            raise DataError(f"the range of {name!r} isn't known; give {what}={{{name!r}: (low, high)}}")
        low, high = range_
        if low == high:
            return Input(name, values=(low,), shares=(1.0,), text=f"{low:g}, as in all data")
        return Input(name, stats.uniform(low, high - low), text=f"uniform from {low:g} to {high:g}")
    if hasattr(given, "ppf") and hasattr(given, "pdf"):
        ends = np.array([given.ppf(1e-3), given.median(), given.isf(1e-3)])
        if not np.isfinite(ends).all() or np.ndim(given.median()) > 0:
            raise DataError(
                f"the distribution of {name!r} has quantiles {ends.tolist()}; give a proper one of one number"
            )
        return Input(name, given, text=f"{given.dist.name}, mean {given.mean():g}, std {given.std():g}")
    try:
        low, high = (float(end) for end in given)
    except (TypeError, ValueError):
        raise DataError(
            f"the distribution of {name!r} is {given!r}; give (low, high) for a uniform one, or a frozen continuous "
            f"distribution of scipy.stats, such as scipy.stats.norm(0, 1)"
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(
            f"the bounds of {name!r} are ({low:g}, {high:g}); they must be finite numbers, the lower one first"
        )
    return Input(name, stats.uniform(low, high - low), text=f"uniform from {low:g} to {high:g}")


def _labels(name: str, given: Any, known: tuple[Label | None, ...]) -> Input:
    if given is None:
        given = dict.fromkeys(known, 1.0)
    if not isinstance(given, Mapping):
        raise DataError(f"{name!r} holds labels: give their probabilities, {{label: probability}}, not {given!r}")
    unknown = [label for label in given if label not in known]
    if unknown:
        raise DataError(
            f"unknown {name} {', '.join(map(repr, unknown))}; the model knows {', '.join(map(repr, known))}"
        )
    shares = np.array([float(share) for share in given.values()])
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise DataError(
            f"the probabilities of {name!r} are {shares.tolist()}; they must be at least zero, not all of them"
        )
    values = tuple(float(known.index(label)) for label in given)
    text = ", ".join(f"{label}: {share / shares.sum():.3g}" for label, share in zip(given, shares, strict=True))
    return Input(name, values=values, shares=tuple((shares / shares.sum()).tolist()), text=text)
