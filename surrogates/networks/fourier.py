"""Fourier features of the inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from surrogates.counts import whole

from ._checks import check_inputs, check_scale


class FourierFeatures(nn.Module):
    """γ(x) = [cos 2πΩx, sin 2πΩx] with frozen frequencies Ω ~ N(0, scale²); what a network needs to learn fast changes.

    Tancik et al. (2020), arXiv:2006.10739, eq. 5 and section 6. `scale` is in periods per unit of x: too small smooths
    the answer, too large makes it noisy between observations.

    Parameters
    ----------
    d_in : number of inputs
    features : number of frequencies m; there are 2m outputs
    scale : standard deviation of the frequencies
    generator : draws them

    Examples
    --------
    >>> FourierFeatures(2, 16, 1.0, torch.Generator().manual_seed(0))(torch.zeros(7, 2).double()).shape
    torch.Size([7, 32])
    """

    Ω: Tensor  # (m, d_in)

    def __init__(self, d_in: int, features: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        whole(d_in, "d_in")
        whole(features, "features")
        check_scale(scale)
        self.d_in, self.width = d_in, 2 * features
        # a buffer: saved with the module, not among its parameters
        self.register_buffer("Ω", scale * torch.randn(features, d_in, generator=generator, dtype=torch.float64))

    def forward(self, X: Tensor) -> Tensor:
        """X (..., d_in) -> (..., 2m)."""
        check_inputs(X, self.d_in, "FourierFeatures")
        phase = 2 * math.pi * (X @ self.Ω.T)  # (..., m)
        return torch.cat([phase.cos(), phase.sin()], dim=-1)
