"""Trend columns as functions of torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from ..trends import Trend
from .once import require_first_derivative


def own_columns(trend: Trend, z: Tensor) -> Tensor:
    """h(z) of each task's own coefficients.  z: (..., d)  ->  (..., p)."""
    return torch.cat([_flat_columns(trend, z), z[..., [c.input for c in trend.own]]], dim=-1)


def shared_columns(trend: Trend, z: Tensor) -> Tensor:
    """Columns whose coefficients all tasks have in common.  z: (..., d)  ->  (..., r)."""
    return z[..., [c.input for c in trend.shared]]


def _flat_columns(trend: Trend, z: Tensor) -> Tensor:
    if trend.basis is not None:
        columns: Tensor = _Basis.apply(z, trend)
        return columns
    if trend.name == "none":
        return z[..., :0]
    parts = [torch.ones_like(z[..., :1])]
    if trend.name in ("linear", "quadratic"):
        parts.append(z[..., list(trend.active)])
    if trend.name == "quadratic":
        first, second = (list(side) for side in zip(*trend.pairs, strict=True)) if trend.pairs else ([], [])
        parts.append(z[..., first] * z[..., second])
    return torch.cat(parts, dim=-1)


class _Basis(Function):
    """A user's own columns, with their Jacobian by central differences."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, trend: Trend) -> Tensor:
        flat = np.ascontiguousarray(z.detach().reshape(-1, z.shape[-1]).numpy())
        ctx.jacobian = torch.from_numpy(trend.flat_jacobian(flat)) if ctx.needs_input_grad[0] else None
        return torch.from_numpy(trend.flat_columns(flat)).reshape(*z.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        require_first_derivative("trends with functions of the user's own")
        (g,) = gradients
        by_place = torch.einsum("mp,mpd->md", g.reshape(-1, g.shape[-1]), ctx.jacobian)
        return by_place.reshape(*g.shape[:-1], -1), None
