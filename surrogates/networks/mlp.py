"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ._checks import check_inputs, check_sizes
from .activations import Activation, activation_by_name
from .linear import linear


class MLP(nn.Module):
    """h₀ = X, h_k = σ(h_{k-1} W_k' + b_k), outputs h_{L-1} W_L' + b_L; Glorot weights, zero biases.

    Parameters
    ----------
    sizes : widths from inputs to outputs, (d_in, hidden..., d_out); two widths make an affine map
    activation : σ, one of `ACTIVATIONS`
    generator : draws the weights

    Examples
    --------
    >>> net = MLP((2, 32, 32, 1), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(7, 5, 2).double()).shape
    torch.Size([7, 5, 1])
    """

    def __init__(self, sizes: Sequence[int], *, activation: Activation = "tanh", generator: torch.Generator) -> None:
        super().__init__()
        check_sizes(sizes)
        self.sizes = tuple(sizes)
        self.activation = activation_by_name(activation)
        *inner, last = [linear(i, o, generator=generator) for i, o in pairwise(self.sizes)]
        self.hidden, self.last = nn.ModuleList(inner), last

    def forward(self, X: Tensor) -> Tensor:
        """X (..., d_in) -> (..., d_out)."""
        check_inputs(X, self.sizes[0], "MLP")
        h = X
        for layer in self.hidden:
            h = self.activation(layer(h))
        outputs: Tensor = self.last(h)
        return outputs
