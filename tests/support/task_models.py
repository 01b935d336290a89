"""Trunks, heads and gradients of several tasks, small and from the definitions; for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from surrogates.training.conflicts import Batch, Engine


class StackedHeads(nn.Module):
    """m perceptrons side by side: z (B, h), or (m, B, h) with a slice for each head -> (B, m, sizes[-1])."""

    def __init__(self, m: int, sizes: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.W, self.b = nn.ParameterList(), nn.ParameterList()
        for i, o in pairwise(sizes):
            self.W.append(nn.Parameter(torch.randn(m, i, o, generator=generator, dtype=dtype) / i**0.5))
            self.b.append(nn.Parameter(0.1 * torch.randn(m, 1, o, generator=generator, dtype=dtype)))

    def forward(self, z: Tensor) -> Tensor:
        h = z.expand(len(self.W[0]), *z.shape[-2:])
        for k, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            h = torch.baddbmm(b, h if k == 0 else torch.tanh(h), W)
        return h.transpose(0, 1)


class Opaque(nn.Module):
    """A trunk whose inside the engine can't see."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, X: Tensor) -> Tensor:
        z: Tensor = self.trunk(X)
        return z


def perceptron(sizes: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype) -> nn.Sequential:
    """Linear layers, each followed by SiLU."""
    parts: list[nn.Module] = []
    for i, o in pairwise(sizes):
        linear = nn.Linear(i, o, dtype=dtype, device="meta").to_empty(device="cpu")  # torch's draws are global
        with torch.no_grad():
            linear.weight.normal_(0.0, (1.0 / i) ** 0.5, generator=generator)
            linear.bias.normal_(0.0, 0.1, generator=generator)
        parts += [linear, nn.SiLU()]
    return nn.Sequential(*parts)


def sparse_batch(B: int, d: int, m: int, share: float, generator: torch.Generator, dtype: torch.dtype) -> Batch:
    """Random rows, of whose labels only a share is there."""
    Y = torch.randn(B, m, generator=generator, dtype=dtype)
    Y[torch.rand(B, m, generator=generator) >= share] = torch.nan
    return Batch.of(torch.randn(B, d, generator=generator, dtype=dtype), Y)


def task_losses(engine: Engine, batch: Batch) -> Tensor:
    """(m,) mean losses in the graph, one pass for all, from the definition."""
    return batch.means(engine.loss(engine.heads(engine.trunk(batch.X)), batch))


def task_gradients(engine: Engine, batch: Batch) -> Tensor:
    """G (m, P): one backward pass for each task, flat, in the order of the trunk's trainable parameters."""
    shared = [p for _, p in engine.shared]
    L = task_losses(engine, batch)
    rows = [
        torch.autograd.grad(value, shared, retain_graph=True, allow_unused=True, materialize_grads=True) for value in L
    ]
    return torch.stack([flat(row) for row in rows])


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """(P,), without a graph."""
    return torch.cat([t.detach().flatten() for t in tensors])
