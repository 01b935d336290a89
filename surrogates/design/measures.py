"""What an optimiser is to look at of an uncertain response: one number of its distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from torch import Tensor

from surrogates.errors import DataError

from .mixtures import Mixture
from .numbers import is_number

Kind = Literal["value", "deviation", "probability"]


class Measure(Protocol):
    """A number of a distribution."""

    @property
    def kind(self) -> Kind:
        """Whether it is in the target's units, a difference in them, or a plain number."""

    def __call__(self, of: Mixture) -> Tensor:
        """(n,) at n places, differentiable."""


@dataclass(frozen=True)
class Mean:
    """mean + k_std · std: the mean, or a confidence bound on it.

    k_std : 0 for the mean; negative for a lower bound, as of a search for the least (lower confidence bound, Cox & John
        1997), positive for an upper one, as of a robust minimum
    """

    k_std: float = 0.0
    kind: ClassVar[Kind] = "value"

    def __post_init__(self) -> None:
        if not is_number(self.k_std) or not np.isfinite(self.k_std):
            raise DataError(f"k_std is {self.k_std!r}; give a finite number of standard deviations, such as 2 or -2")

    def __call__(self, of: Mixture) -> Tensor:
        """(n,)"""
        mean, std = of.moments()
        return mean + self.k_std * std if self.k_std else mean


@dataclass(frozen=True)
class Std:
    """The standard deviation."""

    kind: ClassVar[Kind] = "deviation"

    def __call__(self, of: Mixture) -> Tensor:
        """(n,)"""
        return of.moments()[1]


@dataclass(frozen=True)
class Quantile:
    """The value that the response stays below with probability q."""

    q: float
    kind: ClassVar[Kind] = "value"

    def __post_init__(self) -> None:
        check_probability("q", self.q)

    def __call__(self, of: Mixture) -> Tensor:
        """(n,)"""
        return of.quantile(self.q)


@dataclass(frozen=True)
class CVaR:
    """Conditional value at risk: the mean of the worst share 1 - alpha of cases (Rockafellar & Uryasev 2000, J. Risk 2:21).

    tail : which cases are the worst ones: the "upper", where less is better, or the "lower", where more is
    """

    alpha: float
    tail: Literal["upper", "lower"] = "upper"
    kind: ClassVar[Kind] = "value"

    def __post_init__(self) -> None:
        check_probability("alpha", self.alpha)
        if self.tail not in ("upper", "lower"):
            raise DataError(f"tail is {self.tail!r}; the worst cases are those of the 'upper' or the 'lower' tail")

    def __call__(self, of: Mixture) -> Tensor:
        """(n,)"""
        return of.mean_above(self.alpha) if self.tail == "upper" else of.mean_below(1 - self.alpha)


@dataclass(frozen=True)
class Probability:
    """Probability that the response lies within limits; one of them may be left out.

    To be demanded, a probability is better stated by `chance_constraint`: this one is flat where it is near 0 or 1.
    """

    at_least: float | None = None
    at_most: float | None = None
    kind: ClassVar[Kind] = "probability"

    def __post_init__(self) -> None:
        check_limits(self.at_least, self.at_most)

    def __call__(self, of: Mixture) -> Tensor:
        """(n,)"""
        if self.at_least is None:
            return of.share_below(float(self.at_most or 0.0))
        below = of.share_below(float(self.at_least))
        return 1 - below if self.at_most is None else of.share_below(float(self.at_most)) - below


def check_probability(name: str, value: float) -> None:
    """Refuse what is no probability that a tail can have.

    Raises
    ------
    DataError
        If it isn't strictly between 0 and 1.
    """
    if not is_number(value) or not 0 < value < 1:
        raise DataError(f"{name} is {value!r}; it must be a probability between 0 and 1, both excluded")


def check_limits(at_least: float | None, at_most: float | None) -> None:
    """Refuse limits that say nothing or can't be met.

    Raises
    ------
    DataError
        If there is none, one isn't finite, or the lower isn't below the upper.
    """
    given = [limit for limit in (at_least, at_most) if limit is not None]
    if not given:
        raise DataError("neither at_least nor at_most is given; give one limit or both")
    if not all(is_number(limit) and np.isfinite(limit) for limit in given):
        raise DataError(f"limits are at_least={at_least!r}, at_most={at_most!r}; they must be finite numbers")
    if len(given) == 2 and not given[0] < given[1]:
        raise DataError(f"at_least={at_least!r} isn't below at_most={at_most!r}; nothing could meet both")
