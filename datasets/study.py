"""What a generator of data gives: observations, truth, and how both were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
