"""Prior correlations of many hyper-parameter draws at once, as functions of torch tensors.

k draws, n rows, C components, B batches of q places, d inputs. Places have a leading dim of k, or of 1 where they are the
same for all draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from .._settings import exact
from ..custom import CustomCorrelations, dense_correlations
from ..process import Correlations, StationaryCorrelations
from .once import require_first_derivative
from .radial import SquaredDistance, correlation


class TorchCorrelations(Protocol):
    """ψ_c between places and rows, and among places."""

    def cross(self, z: Tensor, rows: Tensor) -> list[Tensor]:
        """z: (k or 1, m, d), rows: (k or 1, n, d)  ->  C tensors (k, m, n)."""
        ...

    def among(self, z: Tensor) -> list[Tensor]:
        """z: (k or 1, B, q, d)  ->  C tensors (k, B, q, q)."""
        ...


@dataclass(frozen=True, eq=False)
class Stationary:
    """Stationary kernels, twice differentiable.

    names : (C,) of the kernels
    scales : (k, C, d) 1/l; zero for inputs that the kernel doesn't see
    """

    names: tuple[str, ...]
    scales: Tensor

    def cross(self, z: Tensor, rows: Tensor) -> list[Tensor]:
        scales = self.scales.unbind(1)
        pairs = [(s[:, None] * z, s[:, None] * rows) for s in scales]  # (k, m, d), (k, n, d)
        return [correlation(name, SquaredDistance.apply(*pair)) for name, pair in zip(self.names, pairs, strict=True)]

    def among(self, z: Tensor) -> list[Tensor]:
        found = []
        for name, s in zip(self.names, self.scales.unbind(1), strict=True):
            scaled = s[:, None, None] * z
            found.append(correlation(name, SquaredDistance.apply(scaled, scaled)))
        return found


@dataclass(frozen=True, eq=False)
class Custom:
    """gpytorch kernels, one module per draw; differentiable as often as they are."""

    modules: tuple[Any, ...]

    def cross(self, z: Tensor, rows: Tensor) -> list[Tensor]:
        each = zip(self.modules, _each(z, self), _each(rows, self), strict=True)
        return [torch.stack([dense_correlations(module, x, places).T for module, places, x in each])]

    def among(self, z: Tensor) -> list[Tensor]:
        each = zip(self.modules, _each(z, self), strict=True)
        return [torch.stack([torch.stack([_block(m, x) for x in places]) for m, places in each])]

    def __len__(self) -> int:
        return len(self.modules)


@dataclass(frozen=True, eq=False)
class Plain:
    """Any other correlations, by the closed forms that the posterior itself has: once differentiable."""

    each: tuple[Correlations, ...]

    def cross(self, z: Tensor, rows: Tensor) -> list[Tensor]:
        pairs = zip(self.each, _each(z, self), _each(rows, self), strict=True)
        return _by_component([_Cross.apply(places, x, own) for own, places, x in pairs])

    def among(self, z: Tensor) -> list[Tensor]:
        pairs = zip(self.each, _each(z, self), strict=True)
        # C tensors (q, q) of every batch, side by side
        blocks = [torch.stack([_Cross.apply(x, x, own) for x in places], dim=1) for own, places in pairs]
        return _by_component(blocks)

    def __len__(self) -> int:
        return len(self.each)


class _Cross(Function):
    """ψ_c (C, m, n) between places (m, d) and rows (n, d)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, x: Tensor, own: Correlations) -> Tensor:
        ctx.save_for_backward(z, x)
        ctx.own = own
        return torch.from_numpy(np.stack([ψ.T for ψ in own.cross(_numpy(x), _numpy(z))]))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        require_first_derivative("kernels that are put together from others")
        z, x = (_numpy(places) for places in ctx.saved_tensors)
        weights = [_numpy(g) for g in gradients[0]]
        by_z = by_x = None
        if ctx.needs_input_grad[0]:
            by_z = torch.from_numpy(ctx.own.slope_products(x, z, [np.ascontiguousarray(w.T) for w in weights]))
        if ctx.needs_input_grad[1]:
            by_x = torch.from_numpy(ctx.own.slope_products(z, x, weights))
        return by_z, by_x, None


def torch_correlations(each: Sequence[Correlations]) -> TorchCorrelations:
    """The correlations of k draws, which are of one kind."""
    first = each[0]
    if isinstance(first, StationaryCorrelations):
        stationary = [c for c in each if isinstance(c, StationaryCorrelations)]
        scales = np.stack([1.0 / c.lengthscales for c in stationary])
        return Stationary(tuple(kernel.name for kernel in first.kernels), torch.from_numpy(scales))
    if isinstance(first, CustomCorrelations):
        return Custom(tuple(c.module for c in each if isinstance(c, CustomCorrelations)))
    return Plain(tuple(each))


def _block(module: Any, x: Tensor) -> Tensor:
    """ψ among places (q, d), whose distances from themselves are exactly zero."""
    with exact():
        diagonal = module(x, diag=True)
    return torch.diagonal_scatter(dense_correlations(module, x, x), diagonal, dim1=-2, dim2=-1)


def _numpy(x: Tensor) -> Any:
    return np.ascontiguousarray(x.detach().numpy())


def _each(z: Tensor, draws: Custom | Plain) -> Sequence[Tensor]:
    """The places of every draw."""
    return z.expand(len(draws), *z.shape[1:]).unbind(0)


def _by_component(draws: list[Tensor]) -> list[Tensor]:
    """k tensors (C, ...)  ->  C tensors (k, ...)."""
    return list(torch.stack(draws, dim=1).unbind(0))
