"""What a generator of data gives: observations, truth, and how both were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import xarray as xr


@dataclass(frozen=True)
class Study:
    """A simulated measurement campaign.

    observed : noisy readings over the dim ``sample``
    truth : the noise-free function on a grid
    parameters : everything it was generated with, as plain numbers and lists
    """

    observed: xr.Dataset
    truth: xr.Dataset
    parameters: Mapping[str, Any]


def is_count(value: object, least: int = 0) -> bool:
    """Whether this is a whole number, `least` or more.

    >>> is_count(2), is_count(2.0), is_count(0, least=1)
    (True, False, False)
    """
    return isinstance(value, Integral) and int(value) >= least
