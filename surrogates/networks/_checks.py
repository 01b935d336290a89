"""What every network asks of its sizes and inputs, said in the same words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from surrogates.counts import whole
from surrogates.errors import DataError

#: How the remedy is written for each precision a network may have.
_CONVERSIONS = {torch.float32: ".float()", torch.float64: ".double()"}


def check_inputs(X: Tensor, width: int, name: str, *, dtype: torch.dtype = torch.float64) -> None:
    """X must be of shape (..., width) and of the network's own precision."""
    if X.ndim == 0 or X.shape[-1] != width:
        raise DataError(f"the inputs have shape {tuple(X.shape)}; this {name} takes (..., {width})")
    if X.dtype != dtype:
        raise DataError(f"the inputs are {X.dtype}; this {name} takes {dtype}: convert them with {_CONVERSIONS[dtype]}")


def check_dtype(dtype: torch.dtype) -> None:
    if dtype not in _CONVERSIONS:
        raise DataError(f"dtype is {dtype}; known are torch.float32, torch.float64")


def check_sizes(sizes: Sequence[int], *, least: int = 2) -> None:
    if len(sizes) < least:
        raise DataError(f"sizes is {tuple(sizes)}; it needs {least} widths or more, from inputs to outputs")
    for k, size in enumerate(sizes):
        whole(size, f"sizes[{k}]")


def check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"scale is {scale!r}; it must be a finite number > 0")
