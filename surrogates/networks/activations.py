"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from surrogates.errors import DataError

Activation = Literal["tanh", "sin", "silu", "gelu", "relu"]

#: All but relu are smooth; relu has no second derivatives, so it is of no use where a residual differentiates the network.
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"tanh": torch.tanh, "sin": torch.sin, "silu": F.silu, "gelu": F.gelu, "relu": F.relu}
)


def activation_by_name(name: str) -> Callable[[Tensor], Tensor]:
    """The activation function called `name`.

    >>> activation_by_name("swish")
    Traceback (most recent call last):
        ...
    surrogates.errors.DataError: activation 'swish' is unknown; known are tanh, sin, silu, gelu, relu
    """
    if name not in ACTIVATIONS:
        raise DataError(f"activation {name!r} is unknown; known are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
