"""Which trunk a family uses, as a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from surrogates.counts import whole
from surrogates.errors import DataError

from ._checks import check_scale, check_sizes
from .activations import Activation, activation_by_name
from .fourier import FourierFeatures
from .linear import linear
from .mlp import MLP
from .modified import ModifiedMLP
from .random_features import RandomFeatures

Kind = Literal["mlp", "fourier", "modified", "random"]


@dataclass(frozen=True)
class Trunk:
    """The network between inputs (..., d_in) and outputs (..., d_out), chosen by name.

    ============ ============================================================ ====================
    kind         network                                                      uses
    ============ ============================================================ ====================
    ``mlp``      `MLP`                                                        hidden, activation
    ``fourier``  `FourierFeatures`, then an `MLP`                             all
    ``modified`` `ModifiedMLP`: all hidden layers of one width                hidden, activation
    ``random``   `RandomFeatures` (frozen), then a linear layer without bias  features, scale
    ============ ============================================================ ====================

    Parameters
    ----------
    kind : see above
    hidden : widths of the hidden layers
    activation : one of `ACTIVATIONS`
    features : number of random features, or of frequencies
    scale : of the frequencies (None: 1) or of the random weights (None: 5/d_in, about the best for 1 to 3 inputs,
        measured); inputs are thought of as in [-1, 1]

    Examples
    --------
    >>> net = Trunk("modified", hidden=(16, 16)).build(2, 1, torch.Generator().manual_seed(0))
    >>> net(torch.zeros(5, 2).double()).shape
    torch.Size([5, 1])
    >>> Trunk("transformer")
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: trunk 'transformer' is unknown; known are mlp, fourier, modified, random
    """

    kind: Kind = "mlp"
    hidden: tuple[int, ...] = (32, 32)
    activation: Activation = "tanh"
    features: int = 64
    scale: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"trunk {self.kind!r} is unknown; known are {', '.join(get_args(Kind))}")
        activation_by_name(self.activation)
        check_sizes(self.hidden, least=0)
        whole(self.features, "features")
        if self.scale is not None:
            check_scale(self.scale)

    def build(self, d_in: int, d_out: int, generator: torch.Generator) -> nn.Module:
        """The module, of float64 parameters drawn by `generator`."""
        sizes = (d_in, *self.hidden, d_out)
        if self.kind == "mlp":
            return MLP(sizes, activation=self.activation, generator=generator)
        if self.kind == "modified":
            return ModifiedMLP(sizes, activation=self.activation, generator=generator)
        if self.kind == "fourier":
            waves = FourierFeatures(d_in, self.features, self.scale or 1.0, generator)
            return nn.Sequential(waves, MLP((waves.width, *sizes[1:]), activation=self.activation, generator=generator))
        steps = RandomFeatures(d_in, self.features, scale=self.scale or 5.0 / d_in, generator=generator)
        # no bias, since the constant is among the features
        return nn.Sequential(steps, linear(steps.width, d_out, generator=generator, bias=False))
