"""One network: a trunk that all properties share, a head for each, and the loss of its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from surrogates.networks import MLP, Likelihood, StackedHeads, approx_ndcg_loss, relevance_by_rank
from surrogates.training.conflicts import Batch

Floats = NDArray[np.float64]
#: of the rank loss, in the labels' scaled units
TEMPERATURE = 0.1


class PropertyHeads(nn.Module):
    """`StackedHeads` that take one representation for all properties, or one for each, as the engine asks for."""

    def __init__(self, stacked: StackedHeads) -> None:
        super().__init__()
        self.stacked = stacked

    def forward(self, z: Tensor) -> Tensor:
        """z (B, h), or (m, B, h) of which property i sees slice i -> (B, m, k)."""
        if z.ndim == 2:
            outputs: Tensor = self.stacked(z)
            return outputs
        return torch.einsum("mbh,mkh->bmk", z, self.stacked.weight) + self.stacked.bias


def build(
    d_in: int, hidden: tuple[int, ...], *, tasks: int, outputs: int, generator: torch.Generator
) -> tuple[nn.Module, PropertyHeads]:
    """Trunk X (B, d_in) -> z (B, h), all of its layers with SiLU, and heads; float32."""
    trunk = nn.Sequential(MLP((d_in, *hidden), activation="silu", dtype=torch.float32, generator=generator), nn.SiLU())
    stacked = StackedHeads(hidden[-1], tasks=tasks, outputs=outputs, generator=generator, dtype=torch.float32)
    return trunk, PropertyHeads(stacked)


@dataclass(frozen=True)
class PropertyLoss:
    """(1 - r) likelihood loss + r ApproxNDCG, the latter a number of each property that is added to all its labels.

    ranking : r, 0 to 1
    """

    likelihood: Likelihood
    ranking: float = 0.0

    def __call__(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Outputs (B, m, k) -> losses (B, m)."""
        y = torch.where(batch.mask, batch.Y, torch.nan)
        loss = self.likelihood.loss(outputs, y, batch.signs)
        if self.ranking == 0:
            return loss
        exact = y if batch.signs is None else torch.where(batch.signs == 0, y, torch.nan)
        rank = approx_ndcg_loss(self.likelihood.mean(outputs), relevance_by_rank(exact), temperature=TEMPERATURE)
        return (1 - self.ranking) * loss + self.ranking * rank


@dataclass(frozen=True, eq=False)
class Inputs:
    """What networks see of features: descriptors, and log(1 + count) of the fragments of two training molecules or more.

    fragments : (b,) bool, which counts are taken; none if the network doesn't see them
    """

    fragments: NDArray[np.bool_]

    @staticmethod
    def of(counts: Floats, *, fingerprint: bool) -> Inputs:
        """By the training molecules' counts (n, b)."""
        return Inputs(((counts > 0).sum(0) >= 2) & fingerprint)

    def __call__(self, counts: Floats, descriptors: Floats) -> Tensor:
        """(n, d) float32."""
        parts = [descriptors, np.log1p(counts[:, self.fragments])]
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Member:
    """A trained network.

    fold : which molecules it was not trained on
    state : what the method for conflicting tasks remembers
    cosines : (m, m) of the properties' gradients by the shared parameters, on the molecules of its fold
    validation : loss of these molecules
    """

    trunk: nn.Module
    heads: PropertyHeads
    inputs: Inputs
    fold: int
    state: Mapping[str, Tensor]
    cosines: Floats
    validation: float
    warnings: tuple[str, ...]

    def represent(self, counts: Floats, descriptors: Floats) -> Tensor:
        """z (n, h)."""
        with torch.no_grad():
            z: Tensor = self.trunk(self.inputs(counts, descriptors))
            return z

    def predict(self, counts: Floats, descriptors: Floats, likelihood: Likelihood) -> tuple[Floats, Floats]:
        """Mean and standard deviation (n, m) of labels."""
        with torch.no_grad():
            outputs = self.heads(self.represent(counts, descriptors))
            return likelihood.mean(outputs).double().numpy(), likelihood.std(outputs).double().numpy()


def layers(member: Member) -> dict[str, NDArray[Any]]:
    """All parameters of a member by name."""
    named = {f"trunk.{n}": p for n, p in member.trunk.state_dict().items()}
    named |= {f"heads.{n}": p for n, p in member.heads.state_dict().items()}
    return {name: value.detach().numpy() for name, value in named.items()}
