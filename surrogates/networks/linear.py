"""The linear layer that all networks are made of."""

from __future__ import annotations

import torch
from torch import nn

from ._checks import check_dtype


def linear(
    d_in: int, d_out: int, *, generator: torch.Generator, bias: bool = True, dtype: torch.dtype = torch.float64
) -> nn.Linear:
    """X W' + b, W drawn after Glorot & Bengio (2010): N(0, 2 / (d_in + d_out)); b = 0.

    W is drawn in float64 and then rounded to `dtype`, so that one seed gives the same layer in either precision.

    torch's own initialisation, which would draw from the global generator, is passed by on the meta device.

    Examples
    --------
    >>> layer = linear(3, 2, generator=torch.Generator().manual_seed(0))
    >>> layer(torch.zeros(3).double()).tolist()
    [0.0, 0.0]
    """
    check_dtype(dtype)
    layer = nn.Linear(d_in, d_out, bias=bias, dtype=torch.float64, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.normal_(0.0, (2.0 / (d_in + d_out)) ** 0.5, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer.to(dtype)
