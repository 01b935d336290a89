"""Posteriors of chains of levels, as functions of torch tensors; `fidelity.chain` says where the formulas come from.

Every level that is asked for, or stands above one, is worked out at all places; for levels l that build on p

    linear      Cov(f_l, f_l') = (ρ̂ρ̂' + Cov(ρ, ρ')) Cov(f_p, f_p') + Cov(g_l, g_l'),   Cov(f_l, f_j) = ρ̂ Cov(f_p, f_j)
    nonlinear   Cov(f_l, f_l') = b b' Cov(f_p, f_p') + r √(s s'),                       Cov(f_l, f_j) = b Cov(f_p, f_j)

with b = Cov(f_l, f_p)/Var f_p, s = Var f_l - b² Var f_p and r the correlation of g_l at the parent's mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..fidelity.chain import KNOWN, Chain, gauss_hermite
from .conditioned import Gaussian, Stack, kind_of, stack


@dataclass(frozen=True, eq=False)
class StackedChains:
    """k chains of one kind.

    parents, widths : (L,)
    levels : (L,) stacks of k posteriors
    """

    parents: tuple[int | None, ...]
    widths: tuple[float, ...]
    levels: tuple[Stack, ...]
    linear: bool

    def joint(self, z: Tensor, code: Tensor) -> Gaussian:
        """Mean and covariance at places z (1, B, q, d) of codes task · L + level (B, q)."""
        L = len(self.levels)
        level, task = code % L, code // L
        asked = level.unique().tolist()
        means: dict[int, Tensor] = {}
        covariances: dict[tuple[int, int], Tensor] = {}  # of rows' level with columns' level
        for l in self._needed(asked):
            means[l] = self._climb(l, z, task, means, covariances)
        if len(asked) == 1:
            only = asked[0]
            return Gaussian(means[only], covariances[only, only])
        mean, covariance = torch.zeros_like(means[asked[0]]), torch.zeros_like(covariances[asked[0], asked[0]])
        for l in asked:
            mine = level == l
            mean = torch.where(mine, means[l], mean)
            for j in asked:
                both = mine[:, :, None] & (level == j)[:, None, :]
                covariance = torch.where(both, covariances[l, j], covariance)
        return Gaussian(mean, covariance)

    def _needed(self, asked: Sequence[int]) -> list[int]:
        """Levels asked for and all above them, parents first."""
        needed = set(asked)
        for l in reversed(range(len(self.levels))):
            parent = self.parents[l]
            if l in needed and parent is not None:
                needed.add(parent)
        return sorted(needed)

    def _climb(
        self, l: int, z: Tensor, task: Tensor, means: dict[int, Tensor], covariances: dict[tuple[int, int], Tensor]
    ) -> Tensor:
        """The mean of one level; its covariances with itself and all levels so far are put in place."""
        p = self.parents[l]
        before = list(means)
        if p is None:
            own = self.levels[l].joint(z, task)
            covariances[l, l] = own.covariance
            for j in before:
                covariances[l, j] = covariances[j, l] = torch.zeros_like(own.covariance)
            return own.mean
        parent = Gaussian(means[p], covariances[p, p])
        climb = self._linear if self.linear else self._nonlinear
        slope, found = climb(l, z, task, parent)
        covariances[l, l] = found.covariance
        for j in before:
            covariances[l, j] = slope.unsqueeze(-1) * covariances[p, j]
            covariances[j, l] = covariances[l, j].transpose(-1, -2)
        return found.mean

    def _linear(self, l: int, z: Tensor, task: Tensor, parent: Gaussian) -> tuple[Tensor, Gaussian]:
        """ρ̂ (k, B, q) of the places, and the level."""
        own = self.levels[l].joint(self._with_parent(l, z, parent.mean), task)
        stacked, width = self.levels[l], self.widths[l]
        root = stacked.own_coefficients(stacked.root_A.transpose(-1, -2)) / width  # (k, T, q)
        spread = (root @ root.transpose(-1, -2))[:, task[:, :, None], task[:, None, :]]
        ρ = (stacked.own_coefficients(stacked.coefficients) / width)[:, task]
        both = ρ.unsqueeze(-1) * ρ.unsqueeze(-2) + spread
        return ρ, Gaussian(own.mean, own.covariance + both * parent.covariance)

    def _nonlinear(self, l: int, z: Tensor, task: Tensor, parent: Gaussian) -> tuple[Tensor, Gaussian]:
        """b (k, B, q) of the places, and the level."""
        k, B, q = parent.mean.shape
        nodes, weights = (torch.from_numpy(part.copy()) for part in gauss_hermite(linear=False))
        variance = parent.variance.clamp_min(0.0)
        known = variance <= KNOWN**2
        deviation = torch.sqrt(torch.where(known, 1.0, variance)) * ~known
        values = parent.mean.unsqueeze(-1) + deviation.unsqueeze(-1) * nodes  # (k, B, q, K)
        places = z.unsqueeze(3).expand(k, B, q, len(nodes), z.shape[-1])
        each = self._with_parent(l, places.reshape(k, -1, 1, z.shape[-1]), values.reshape(k, -1, 1))
        codes = task.unsqueeze(-1).expand(B, q, len(nodes)).reshape(-1, 1)
        at = self.levels[l].joint(each, codes)
        m, v = (part.reshape(k, B, q, -1) for part in (at.mean, at.variance.clamp_min(0.0)))
        mean = m @ weights
        total = v @ weights + (m - mean.unsqueeze(-1)) ** 2 @ weights
        slope = (m @ (weights * nodes)) * ~known / torch.where(known, 1.0, deviation)
        rest = (total - slope**2 * variance * ~known).clamp_min(0.0)
        own = self.levels[l].joint(self._with_parent(l, z, parent.mean), task)
        spread = _root(own.variance)
        correlation = own.covariance / (spread.unsqueeze(-1) * spread.unsqueeze(-2))
        share = _root(rest) * (own.variance > 0)
        covariance = slope.unsqueeze(-1) * slope.unsqueeze(-2) * parent.covariance
        covariance = covariance + correlation * share.unsqueeze(-1) * share.unsqueeze(-2)
        return slope, Gaussian(mean, torch.diagonal_scatter(covariance, total, dim1=-2, dim2=-1))

    def _with_parent(self, l: int, z: Tensor, values: Tensor) -> Tensor:
        """Places with the parent's value (k, B, q) as last input."""
        return torch.cat([z.expand(*values.shape, z.shape[-1]), values.unsqueeze(-1) / self.widths[l]], dim=-1)


def stack_chains(chains: Sequence[Chain]) -> StackedChains:
    """Chains of one kind side by side; see `kind_of_chain`."""
    first = chains[0]
    levels = tuple(stack([chain.levels[l] for chain in chains]) for l in range(len(first.levels)))
    return StackedChains(first.parents, first.widths, levels, first.linear)


def kind_of_chain(chain: Chain) -> tuple[object, ...]:
    """What chains must have in common to be stacked."""
    return chain.parents, chain.widths, chain.linear, tuple(kind_of(level) for level in chain.levels)


def _root(variance: Tensor) -> Tensor:
    """Square root with a finite slope where there is no variance."""
    positive = variance > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, variance, 1.0)), torch.finfo(variance.dtype).tiny)
