"""Frozen random features, of which only a linear combination is learnt."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from surrogates.counts import whole
from surrogates.errors import DataError

from ._checks import check_inputs, check_scale

Distribution = Literal["uniform", "normal"]


class RandomFeatures(nn.Module):
    """φ(x) = [tanh(x W + b), x, 1] with frozen W and b: a hidden layer that isn't trained (extreme learning machine).

    W is drawn from U(-scale, scale) or N(0, scale²/d), and b_l = -c_l·w_l with centres c_l drawn uniformly from the
    box [-1, 1]^d, so that each step of a feature lies where the inputs are (scale them to that box). Inputs and
    constant stand beside the features, so that affine functions are met exactly.
    Huang, Zhu & Siew (2006); as a solver of differential equations, Dwivedi & Srinivasan (2020), arXiv:1907.03507.

    Parameters
    ----------
    d_in : number of inputs d
    features : number L of tanh features; there are L' = L + d + 1 in all
    scale : steepness; for "uniform" and d = 1, 3 to 10 do about equally well, for 2 inputs 2 to 3, for 3 about 1 (measured)
    distribution : of the entries of W (d, L)
    generator : draws W and the centres

    Examples
    --------
    >>> from surrogates.networks import fit_last_layer
    >>> features = RandomFeatures(1, 40, scale=6.0, generator=torch.Generator().manual_seed(0))
    >>> X = torch.linspace(-1, 1, 80).double()[:, None]
    >>> last = fit_last_layer(features.values(X), torch.exp(X))
    >>> slope = features.derivative(X, 0) @ last.weights
    >>> bool((slope - torch.exp(X)).abs().max() < 1e-7)
    True
    """

    W: Tensor  # (d, L)
    b: Tensor  # (L,)

    def __init__(
        self,
        d_in: int,
        features: int,
        *,
        scale: float,
        distribution: Distribution = "uniform",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        whole(d_in, "d_in")
        whole(features, "features")
        check_scale(scale)
        self.d_in, self.width = d_in, features + d_in + 1
        W = torch.empty(d_in, features, dtype=torch.float64)
        if distribution == "uniform":
            W.uniform_(-scale, scale, generator=generator)
        elif distribution == "normal":
            W.normal_(0.0, scale / d_in**0.5, generator=generator)
        else:
            raise DataError(f"distribution {distribution!r} is unknown; known are uniform, normal")
        centres = torch.empty(d_in, features, dtype=torch.float64).uniform_(-1, 1, generator=generator)
        self.register_buffer("W", W)
        self.register_buffer("b", -(centres * W).sum(0))

    def forward(self, X: Tensor) -> Tensor:
        """The same as `values`."""
        return self.values(X)

    def values(self, X: Tensor) -> Tensor:
        """φ: X (..., d) -> (..., L')."""
        return torch.cat([self._tanh(X), X, torch.ones_like(X[..., :1])], dim=-1)

    def derivative(self, X: Tensor, axis: int) -> Tensor:
        """∂φ/∂x_axis: X (..., d) -> (..., L')."""
        if not 0 <= axis < self.d_in:
            raise DataError(f"axis is {axis!r}; these features have {self.d_in} inputs, counted from 0")
        slopes = (1 - self._tanh(X) ** 2) * self.W[axis]  # (..., L)
        affine = torch.zeros(*X.shape[:-1], self.d_in + 1, dtype=X.dtype)
        affine[..., axis] = 1.0
        return torch.cat([slopes, affine], dim=-1)

    def jacobian(self, X: Tensor) -> Tensor:
        """∂φ/∂x: X (..., d) -> (..., L', d)."""
        slopes = (1 - self._tanh(X) ** 2)[..., :, None] * self.W.T  # (..., L, d)
        affine = torch.eye(self.d_in + 1, self.d_in, dtype=X.dtype)  # the last row belongs to the constant
        return torch.cat([slopes, affine.expand(*X.shape[:-1], -1, -1)], dim=-2)

    def _tanh(self, X: Tensor) -> Tensor:
        check_inputs(X, self.d_in, "RandomFeatures")
        return torch.tanh(X @ self.W + self.b)
