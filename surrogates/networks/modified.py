"""The modified multilayer perceptron of physics-informed learning."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from surrogates.errors import DataError

from ._checks import check_inputs, check_sizes
from .activations import Activation, activation_by_name
from .linear import linear


class ModifiedMLP(nn.Module):
    """An MLP in which two encoders of the inputs, U and V, are mixed into every hidden layer.

        U = σ(X W_U' + b_U),  V = σ(X W_V' + b_V),  h₀ = X
        Z_k = σ(h_{k-1} W_k' + b_k),  h_k = (1 - Z_k) ⊙ U + Z_k ⊙ V,  outputs h_{L-1} W_L' + b_L

    Wang, Teng & Perdikaris (2020), arXiv:2001.04536, section 2.6. The paper puts a plain layer h₁ = σ(X W' + b) before
    the first mixed one; we mix in the first layer too, as the authors' code does.

    Parameters
    ----------
    sizes : (d_in, hidden..., d_out); one or more hidden layers, all of the same width
    activation : σ, one of `ACTIVATIONS`
    generator : draws the weights

    Examples
    --------
    >>> net = ModifiedMLP((2, 32, 32, 1), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(7, 2).double()).shape
    torch.Size([7, 1])
    """

    def __init__(self, sizes: Sequence[int], *, activation: Activation = "tanh", generator: torch.Generator) -> None:
        super().__init__()
        check_sizes(sizes, least=3)
        if len(set(sizes[1:-1])) > 1:
            raise DataError(
                f"the hidden layers are {tuple(sizes[1:-1])} wide; a ModifiedMLP needs the same width in all"
            )
        self.sizes = tuple(sizes)
        self.activation = activation_by_name(activation)
        *inner, last = [linear(i, o, generator=generator) for i, o in pairwise(self.sizes)]
        self.hidden, self.last = nn.ModuleList(inner), last
        self.U = linear(sizes[0], sizes[1], generator=generator)
        self.V = linear(sizes[0], sizes[1], generator=generator)

    def forward(self, X: Tensor) -> Tensor:
        """X (..., d_in) -> (..., d_out)."""
        check_inputs(X, self.sizes[0], "ModifiedMLP")
        U = self.activation(self.U(X))
        difference = self.activation(self.V(X)) - U
        h = X
        for layer in self.hidden:
            h = U + self.activation(layer(h)) * difference  # = (1 - Z) U + Z V
        outputs: Tensor = self.last(h)
        return outputs
