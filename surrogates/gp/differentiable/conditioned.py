"""Posteriors of many hyper-parameter draws at once, as functions of torch tensors: mean and joint covariance of batches.

    m* = h*'β̂ + k*'α          Cov* = k** - k*'Σ⁻¹k* + u'A⁻¹u,   u = h* - B'k*,   B = Σ⁻¹H

The same formulas as `process.Conditioned`, from the same factors; they are here once more since autograd has to see them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..process import Conditioned, met_places
from ..trends import Trend
from .correlations import TorchCorrelations, torch_correlations
from .trends import own_columns, shared_columns

Integers = NDArray[np.int64]


class Gaussian(NamedTuple):
    """Mean (k, B, q) and joint covariance (k, B, q, q) of B batches of q places, for each of k draws."""

    mean: Tensor
    covariance: Tensor

    @property
    def variance(self) -> Tensor:
        """(k, B, q)"""
        return torch.diagonal(self.covariance, dim1=-2, dim2=-1)


@dataclass(frozen=True, eq=False)
class Stack:
    """k posteriors of one kind with n rows each: same kernels, same trend, same tasks.

    rows : (k, n, d) scaled places
    task : (k, n)
    mixing : (k, C, T, T)
    root : (k, n, n) L⁻¹ of Σ = L L'; None where Σ⁻¹ itself is there
    inverse : (k, n, n) Σ⁻¹, or None
    alpha : (k, n)
    coefficients : (k, q) β̂ of every task, then those that are shared
    solved : (k, n, q) B
    root_A : (k, q, q) L_A⁻¹
    nugget : (k,)
    blind : how many of the last inputs the kernels don't see
    """

    trend: Trend
    correlations: TorchCorrelations
    rows: Tensor
    task: Tensor
    mixing: Tensor
    root: Tensor | None
    inverse: Tensor | None
    alpha: Tensor
    coefficients: Tensor
    solved: Tensor
    root_A: Tensor
    nugget: Tensor
    blind: int

    def joint(self, z: Tensor, task: Tensor) -> Gaussian:
        """Mean and covariance at places z (k or 1, B, q, d) of tasks (B, q)."""
        _, B, q, d = z.shape
        flat, codes = z.reshape(z.shape[0], B * q, d), task.reshape(-1)
        K = self._cross(flat, codes)  # (k, m, n)
        h = self._columns(flat, codes)  # (k, m, q)
        mean = (h @ self.coefficients.unsqueeze(-1) + K @ self.alpha.unsqueeze(-1)).squeeze(-1)
        V = (h - K @ self.solved) @ self.root_A.transpose(-1, -2)
        k = len(self.alpha)
        blocks = [part.reshape(k, B, q, -1) for part in (K, V)]
        if self.root is not None:
            half = (K @ self.root.transpose(-1, -2)).reshape(k, B, q, -1)
            explained = half @ half.transpose(-1, -2)
        else:
            assert self.inverse is not None
            explained = (K @ self.inverse).reshape(k, B, q, -1) @ blocks[0].transpose(-1, -2)
        covariance = self._prior(z, task) - explained + blocks[1] @ blocks[1].transpose(-1, -2)
        return Gaussian(mean.reshape(k, B, q), 0.5 * (covariance + covariance.transpose(-1, -2)))

    def own_coefficients(self, β: Tensor) -> Tensor:
        """(k, T, ...) the last of each task's coefficients among all (k, q, ...), or the shared one."""
        T = self.mixing.shape[-1]
        if self.trend.shared:
            return β[:, -1:].expand(-1, T, *β.shape[2:])
        return β.reshape(len(β), T, -1, *β.shape[2:])[:, :, -1]

    def _cross(self, z: Tensor, task: Tensor) -> Tensor:
        """Covariance of places (k or 1, m, d) with the rows (k, m, n), with the nugget of those that were read."""
        parts = self.correlations.cross(z, self.rows)
        K: Tensor | int = 0
        for c, ψ in enumerate(parts):
            K = K + ψ * self._mixed(c, task)
        assert isinstance(K, Tensor)
        if bool((self.nugget > 0).any()):
            K = K + self._met(z.detach(), task)
        return K

    @cached_property
    def _has_equal_rows(self) -> bool:
        """Whether all draws have the same rows: a level's differ where its parent's values were drawn."""
        return bool((self.rows == self.rows[0]).all()) and bool((self.task == self.task[0]).all())

    def _mixed(self, c: int, task: Tensor) -> Tensor:
        """B_c[t*_j, t_i]: (k, m, n)."""
        asked = self.mixing[:, c].index_select(1, task)  # (k, m, T)
        if bool((self.task == self.task[0]).all()):
            return asked.index_select(2, self.task[0])
        return asked.gather(2, self.task[:, None].expand(-1, len(task), -1))

    def _met(self, z: Tensor, task: Tensor) -> Tensor:
        """The nugget where a place is a row's own: (k, m, n)."""
        extra = self.alpha.new_zeros(len(self.alpha), z.shape[1], self.rows.shape[1])
        seen, codes = z.shape[2] - self.blind, task.numpy()

        def met(k: int, places: Tensor) -> tuple[Integers, Integers]:
            rows = self.rows[k].numpy()[:, :seen]
            return met_places(rows, self.task[k].numpy(), places.numpy()[:, :seen], codes)

        if len(z) == 1 and self._has_equal_rows:
            at, columns = met(0, z[0])
            extra[:, columns, at] = self.nugget[:, None]
            return extra
        for k, places in enumerate(z.expand(len(self.alpha), -1, -1)):
            at, columns = met(k, places)
            extra[k, columns, at] = self.nugget[k]
        return extra

    def _columns(self, z: Tensor, task: Tensor) -> Tensor:
        """Trend columns (k or 1, m, q), each task's in its own block."""
        h = own_columns(self.trend, z)
        mine = torch.nn.functional.one_hot(task, self.mixing.shape[-1]).to(z.dtype)  # (m, T)
        blocks = (mine[:, :, None] * h[:, :, None, :]).flatten(2)
        return torch.cat([blocks, shared_columns(self.trend, z)], dim=-1)

    def _prior(self, z: Tensor, task: Tensor) -> Tensor:
        """Prior covariance (k, B, q, q) of batches of places."""
        total: Tensor | int = 0
        for c, ψ in enumerate(self.correlations.among(z)):
            total = total + ψ * self.mixing[:, c][:, task[:, :, None], task[:, None, :]]
        assert isinstance(total, Tensor)
        if bool((self.nugget > 0).any()):
            seen = z.detach()[..., : z.shape[-1] - self.blind]
            same = (seen[..., :, None, :] == seen[..., None, :, :]).all(dim=-1)
            same = same & (task[:, :, None] == task[:, None, :])
            total = total + self.nugget[:, None, None, None] * same
        return total


def stack(processes: Sequence[Conditioned]) -> Stack:
    """Posteriors of one kind side by side; see `kind_of`."""
    first = processes[0]
    inverses = [process.inverse for process in processes]
    roots = [inverse.root for inverse in inverses]
    has_roots = all(root is not None for root in roots)
    n = len(first.design.x)
    return Stack(
        first.trend,
        torch_correlations([process.correlations for process in processes]),
        _stacked([process.design.x for process in processes]),
        _stacked([process.design.task for process in processes]),
        _stacked([process.state.mixing.matrix for process in processes]),
        _stacked([root for root in roots if root is not None]) if has_roots else None,
        None if has_roots else _stacked([inverse.solve(np.eye(n)) for inverse in inverses]),
        _stacked([process.alpha for process in processes]),
        _stacked([np.concatenate([process.beta.ravel(), process.gamma]) for process in processes]),
        _stacked([process.B for process in processes]),
        _stacked([process.root_A for process in processes]),
        torch.tensor([process.nugget for process in processes], dtype=torch.float64),
        first.blind,
    )


def kind_of(process: Conditioned) -> tuple[object, ...]:
    """What posteriors must have in common to be stacked."""
    names = tuple(kernel.name for kernel in getattr(process.correlations, "kernels", ()))
    shape = process.design.x.shape, process.state.mixing.matrix.shape, process.B.shape
    return type(process.correlations), names, shape, process.trend, process.blind


def _stacked(arrays: Sequence[NDArray[np.float64] | Integers]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))
