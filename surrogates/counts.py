"""Numbers of things that are asked for, and seeds: one rule for whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from surrogates.errors import DataError


def whole(value: Any, name: str, *, least: int = 1) -> int:
    """The whole number that `value` is, Python's or NumPy's; truth values are none.

    Raises
    ------
    DataError
        If it isn't one, or is less than `least`.

    Examples
    --------
    >>> whole(np.int64(3), "draws")
    3
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise DataError(f"{name} is {value!r}; it must be an integer >= {least}")
    return int(value)
