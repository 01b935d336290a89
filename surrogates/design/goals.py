"""What the next experiment is for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from surrogates.errors import DataError
from surrogates.schema import Label

from .numbers import is_number

Tasks = Sequence[Label] | Mapping[Label, float]


@dataclass(frozen=True)
class Map:
    """Know the tasks' functions everywhere: reduce the mean variance of f.

    Parameters
    ----------
    tasks : those that count, or a mapping of task -> weight; None: all alike
    fidelity : whose function is wanted, where fidelities have functions of their own; None: the last
    reference : places that count, with the inputs over any dims; places that also name their task count for it alone.
        None: 128 places for each task, spread over the bounds
    """

    tasks: Tasks | None = None
    fidelity: Label | None = None
    reference: xr.Dataset | None = None


@dataclass(frozen=True)
class LevelSet:
    """Know where the tasks' functions exceed a limit: reduce the mean of p(1 - p), p the probability that f > limit.

    Parameters
    ----------
    limit : in the target's units
    tasks, fidelity, reference : as in `Map`
    """

    limit: float
    tasks: Tasks | None = None
    fidelity: Label | None = None
    reference: xr.Dataset | None = None

    def __post_init__(self) -> None:
        if not is_number(self.limit) or not math.isfinite(self.limit):
            raise DataError(f"limit is {self.limit!r}; a finite number in the target's units is wanted")


@dataclass(frozen=True)
class Optimum:
    """Find the place where one function is smallest or largest: raise the best mean that is known afterwards.

    Parameters
    ----------
    sense : "minimise" or "maximise"
    task : whose function; None: the only one
    fidelity : as in `Map`
    reference : places that may be chosen in the end, as in `Map`. None: 256 places, spread over the bounds, and
        those of all readings
    """

    sense: Literal["minimise", "maximise"] = "minimise"
    task: Label | None = None
    fidelity: Label | None = None
    reference: xr.Dataset | None = None

    def __post_init__(self) -> None:
        if self.sense not in ("minimise", "maximise"):
            raise DataError(f"sense is {self.sense!r}; it must be 'minimise' or 'maximise'")


Goal = Map | LevelSet | Optimum
#: goals that one word says
WORDS: dict[str, Goal] = {"map": Map(), "minimise": Optimum("minimise"), "maximise": Optimum("maximise")}


def goal_of(given: Goal | str) -> Goal:
    """The goal, or the one that a word means.

    Raises
    ------
    DataError
        If it is neither.

    Examples
    --------
    >>> goal_of("map")
    Map(tasks=None, fidelity=None, reference=None)
    """
    if isinstance(given, Map | LevelSet | Optimum):
        return given
    if not isinstance(given, str) or given not in WORDS:
        raise DataError(
            f"goal is {given!r}; give one of {', '.join(map(repr, WORDS))}, or a Map, LevelSet(limit) or Optimum"
        )
    return WORDS[given]
