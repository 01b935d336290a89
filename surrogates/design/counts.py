"""Numbers of things that are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from surrogates.errors import DataError


def whole(value: Any, name: str, *, least: int = 1) -> int:
    """A whole number.

    Raises
    ------
    DataError
        If it isn't one, or is less than `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise DataError(f"{name} is {value!r}; a whole number of at least {least} is wanted")
    return int(value)
