"""Stationary correlations as functions of torch tensors that can be differentiated twice.

With s = r² the squared scaled distance, every kernel of `kernels.KERNELS` is ψ(s), and its derivatives by s are closed:

    kernel        ψ                      ψ'                    ψ''
    rbf           exp(-s/2)              -ψ/2                  ψ/4
    matern52      (1 + a + a²/3) e^-a    -(5/6)(1 + a) e^-a    (25/12) e^-a           a = √(5s)
    matern32      (1 + a) e^-a           -(3/2) e^-a           (9/4) e^-a / a         a = √(3s)
    matern12      e^-a                   -e^-a / (2a)          (1 + a) e^-a / (4a³)   a = √s

By autograd through √s, derivatives at s = 0 would be NaN; here factors that are infinite there are zero, since what they
are multiplied by vanishes (at a kink there is no derivative, and zero is the mean of both sides).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class SquaredDistance(Function):
    """|z_i - x_j|² by differences.  z: (..., m, d), x: (..., n, d)  ->  (..., m, n)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(z, x)
        total = z.new_zeros((*torch.broadcast_shapes(z.shape[:-2], x.shape[:-2]), z.shape[-2], x.shape[-2]))
        for k in range(z.shape[-1]):
            difference = z[..., :, None, k] - x[..., None, :, k]
            total += difference * difference
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None]:
        (g,), (z, x) = gradients, ctx.saved_tensors
        by_z = by_x = None
        if ctx.needs_input_grad[0]:
            by_z = _summed(2 * (z * g.sum(dim=-1, keepdim=True) - g @ x), z)
        if ctx.needs_input_grad[1]:
            by_x = _summed(2 * (x * g.sum(dim=-2).unsqueeze(-1) - g.transpose(-1, -2) @ z), x)
        return by_z, by_x


class _Matern(Function):
    """ψ of s, whose derivative is `_MaternSlope`.  kind: twice ν, which is 1, 3 or 5."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, kind: int) -> Tensor:
        ctx.save_for_backward(s)
        ctx.kind = kind
        a = torch.sqrt(kind * s)
        if kind == 1:
            return torch.exp(-a)
        return (1 + a if kind == 3 else 1 + a + a * a / 3) * torch.exp(-a)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (s,) = ctx.saved_tensors
        return gradients[0] * _MaternSlope.apply(s, ctx.kind), None


class _MaternSlope(Function):
    """ψ' of s, whose derivative is given without a further one."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, kind: int) -> Tensor:
        ctx.save_for_backward(s)
        ctx.kind = kind
        a = torch.sqrt(kind * s)
        decay = torch.exp(-a)
        if kind == 1:
            return torch.where(s > 0, -decay / (2 * a), 0.0)
        return -1.5 * decay if kind == 3 else -(5 / 6) * (1 + a) * decay

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (s,) = ctx.saved_tensors
        a = torch.sqrt(ctx.kind * s)
        decay = torch.exp(-a)
        if ctx.kind == 5:
            return gradients[0] * (25 / 12) * decay, None
        slope = (9 / 4) * decay / a if ctx.kind == 3 else (1 + a) * decay / (4 * a**3)
        return gradients[0] * torch.where(s > 0, slope, 0.0), None


def correlation(name: str, s: Tensor) -> Tensor:
    """ψ of the kernel of that name at squared scaled distances s, of any shape.

    >>> s = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    >>> ψ = correlation("matern52", s)
    >>> [round(value, 6) for value in ψ.tolist()]
    [1.0, 0.523994]
    """
    if name == "rbf":
        return torch.exp(-0.5 * s)
    ψ: Tensor = _Matern.apply(s, {"matern12": 1, "matern32": 3, "matern52": 5}[name])
    return ψ


def _summed(gradient: Tensor, like: Tensor) -> Tensor:
    """Over the leading dims that were broadcast."""
    return gradient.sum_to_size(like.shape)
