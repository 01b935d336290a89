"""Real numbers that are asked for, and powers of two: one rule for each kind. Whole ones have theirs in `counts`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from surrogates.counts import whole
from surrogates.errors import DataError


def is_number(value: Any) -> bool:
    """Whether it is one real number, Python's or NumPy's; True and False aren't."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def power_of_two(value: Any, name: str) -> int:
    """A number of points that a Sobol sequence is balanced at, two or more.

    Raises
    ------
    DataError
        If it isn't a power of two.
    """
    if whole(value, name, least=2) & (int(value) - 1):
        raise DataError(f"{name} is {value!r}; a Sobol sequence wants a power of two, such as 128")
    return int(value)


def positive(value: Any, name: str) -> float:
    """A finite number above zero.

    Raises
    ------
    DataError
        If it isn't one.
    """
    if not is_number(value) or not math.isfinite(value) or value <= 0:
        raise DataError(f"{name} is {value!r}; it must be a finite number above zero")
    return float(value)
