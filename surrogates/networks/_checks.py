"""What every network asks of its sizes and inputs, said in the same words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from surrogates.errors import DataError


def check_inputs(X: Tensor, width: int, name: str) -> None:
    """X must be float64 of shape (..., width)."""
    if X.ndim == 0 or X.shape[-1] != width:
        raise DataError(f"the inputs have shape {tuple(X.shape)}; this {name} takes (..., {width})")
    if X.dtype != torch.float64:
        raise DataError(f"the inputs are {X.dtype}; this {name} takes torch.float64: convert them with .double()")


def check_count(value: int, name: str, *, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"{name} is {value!r}; it must be an integer >= {least}")


def check_sizes(sizes: Sequence[int], *, least: int = 2) -> None:
    if len(sizes) < least:
        raise DataError(f"sizes is {tuple(sizes)}; it needs {least} widths or more, from inputs to outputs")
    for k, size in enumerate(sizes):
        check_count(size, f"sizes[{k}]")


def check_scale(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise DataError(f"scale is {scale!r}; it must be a finite number > 0")
