"""Linear outputs by name, above a shared trunk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from surrogates.errors import DataError

from ._checks import check_count, check_inputs
from .linear import linear


class Heads(nn.Module):
    """One linear map for each named task or property, h W_name' + b_name, computed as one product.

    Glorot weights of each head by its own size, zero biases.

    Parameters
    ----------
    width : of the trunk's outputs h
    sizes : number of outputs of each name, such as {"logS": 2} for a mean and a log variance
    generator : draws the weights, in the order of `sizes`

    Examples
    --------
    >>> heads = Heads(8, {"logS": 2, "gap": 1}, torch.Generator().manual_seed(0))
    >>> {name: y.shape for name, y in heads(torch.zeros(5, 8).double()).items()}
    {'logS': torch.Size([5, 2]), 'gap': torch.Size([5, 1])}
    """

    def __init__(self, width: int, sizes: Mapping[str, int], generator: torch.Generator) -> None:
        super().__init__()
        if not sizes:
            raise DataError("sizes is empty; name one output or more, such as {'logS': 1}")
        check_count(width, "width")
        for name, size in sizes.items():
            check_count(size, f"sizes[{name!r}]")
        self.sizes = dict(sizes)
        drawn = [linear(width, size, generator=generator).weight for size in sizes.values()]
        self.weight = nn.Parameter(torch.cat(drawn).detach())  # (all outputs, width)
        self.bias = nn.Parameter(torch.zeros(len(self.weight), dtype=torch.float64))

    def forward(self, h: Tensor) -> dict[str, Tensor]:
        """h (..., width) -> (..., size) for each name."""
        check_inputs(h, self.weight.shape[1], "Heads module")
        outputs = nn.functional.linear(h, self.weight, self.bias)
        parts = torch.split(outputs, list(self.sizes.values()), dim=-1)
        return dict(zip(self.sizes, parts, strict=True))
