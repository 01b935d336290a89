"""Linear outputs by name, above a shared trunk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from surrogates.counts import whole
from surrogates.errors import DataError

from ._checks import check_inputs
from .linear import linear


class Heads(nn.Module):
    """One linear map for each named task or property, h W_name' + b_name, computed as one product.

    Glorot weights of each head by its own size, zero biases.

    Parameters
    ----------
    width : of the trunk's outputs h
    sizes : number of outputs of each name, such as {"logS": 2} for a mean and a log variance
    generator : draws the weights, in the order of `sizes`
    dtype : torch.float64 or torch.float32

    Examples
    --------
    >>> heads = Heads(8, {"logS": 2, "gap": 1}, torch.Generator().manual_seed(0))
    >>> {name: y.shape for name, y in heads(torch.zeros(5, 8).double()).items()}
    {'logS': torch.Size([5, 2]), 'gap': torch.Size([5, 1])}
    """

    def __init__(
        self,
        width: int,
        sizes: Mapping[str, int],
        generator: torch.Generator,
        *,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        if not sizes:
            raise DataError("sizes is empty; name one output or more, such as {'logS': 1}")
        whole(width, "width")
        for name, size in sizes.items():
            whole(size, f"sizes[{name!r}]")
        self.sizes = dict(sizes)
        self.dtype = dtype
        self.weight = nn.Parameter(_drawn(width, sizes.values(), generator, dtype))  # (all outputs, width)
        self.bias = nn.Parameter(torch.zeros(len(self.weight), dtype=dtype))

    def forward(self, h: Tensor) -> dict[str, Tensor]:
        """h (..., width) -> (..., size) for each name."""
        check_inputs(h, self.weight.shape[1], "Heads module", dtype=self.dtype)
        outputs = nn.functional.linear(h, self.weight, self.bias)
        parts = torch.split(outputs, list(self.sizes.values()), dim=-1)
        return dict(zip(self.sizes, parts, strict=True))


class StackedHeads(nn.Module):
    """`Heads` of equal sizes as one tensor: h W_t' + b_t for tasks t = 0 ... m - 1, k outputs each, one product for all.

    The weights are those that `Heads` would draw for the same tasks.

    Parameters
    ----------
    width : of the trunk's outputs h
    tasks, outputs : m, and k for each of them, as many as the likelihood takes
    generator : draws the weights, task by task
    dtype : torch.float64 or torch.float32

    Examples
    --------
    >>> heads = StackedHeads(8, tasks=3, outputs=2, generator=torch.Generator().manual_seed(0))
    >>> heads(torch.zeros(5, 8).double()).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        width: int,
        *,
        tasks: int,
        outputs: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("tasks", tasks), ("outputs", outputs)):
            whole(value, name)
        self.dtype = dtype
        self.weight = nn.Parameter(_drawn(width, [outputs] * tasks, generator, dtype).view(tasks, outputs, width))
        self.bias = nn.Parameter(torch.zeros(tasks, outputs, dtype=dtype))

    def forward(self, h: Tensor) -> Tensor:
        """h (..., width) -> (..., m, k)."""
        check_inputs(h, self.weight.shape[-1], "StackedHeads module", dtype=self.dtype)
        outputs = nn.functional.linear(h, self.weight.flatten(0, 1), self.bias.flatten())
        return outputs.view(*outputs.shape[:-1], *self.bias.shape)


def _drawn(width: int, sizes: Iterable[int], generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Glorot weights of each head by its own size, one below the other: (all outputs, width)."""
    return torch.cat([linear(width, size, generator=generator, dtype=dtype).weight for size in sizes]).detach()
