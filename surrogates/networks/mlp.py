"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from surrogates.errors import DataError

from ._checks import check_inputs, check_sizes
from .activations import Activation, activation_by_name
from .linear import linear


class MLP(nn.Module):
    """h₀ = X, h_k = σ(h_{k-1} W_k' + b_k), outputs h_{L-1} W_L' + b_L; Glorot weights, zero biases.

    Dropout (Srivastava et al. 2014) sets each entry of h_1 ... h_{L-1} to 0 with probability p and multiplies the rest by
    1/(1 - p). It happens only in a call that is given a generator, and with that generator: there is no train/eval mode to
    remember, and the same seed drops the same entries, as a look-ahead step on the same batch needs it.

    Parameters
    ----------
    sizes : widths from inputs to outputs, (d_in, hidden..., d_out); two widths make an affine map
    activation : σ, one of `ACTIVATIONS`
    dropout : p, >= 0 and < 1
    dtype : of parameters, inputs and outputs: torch.float64 or torch.float32
    generator : draws the weights

    Examples
    --------
    >>> net = MLP((2, 32, 32, 1), generator=torch.Generator().manual_seed(0))
    >>> net(torch.zeros(7, 5, 2).double()).shape
    torch.Size([7, 5, 1])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Activation = "tanh",
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float64,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        check_sizes(sizes)
        if not 0 <= dropout < 1:
            raise DataError(f"dropout is {dropout!r}; it must be a number >= 0 and < 1")
        self.sizes, self.dropout, self.dtype = tuple(sizes), dropout, dtype
        self.activation = activation_by_name(activation)
        *inner, last = [linear(i, o, generator=generator, dtype=dtype) for i, o in pairwise(self.sizes)]
        self.hidden, self.last = nn.ModuleList(inner), last

    def forward(self, X: Tensor, dropping: torch.Generator | None = None) -> Tensor:
        """X (..., d_in) -> (..., d_out); `dropping` draws what is dropped out, None drops nothing."""
        check_inputs(X, self.sizes[0], "MLP", dtype=self.dtype)
        h = X
        for layer in self.hidden:
            h = self.activation(layer(h))
            if dropping is not None and self.dropout > 0:
                kept = torch.empty_like(h, requires_grad=False).bernoulli_(1 - self.dropout, generator=dropping)
                h = h * kept / (1 - self.dropout)
        outputs: Tensor = self.last(h)
        return outputs
