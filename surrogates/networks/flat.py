"""All parameters of a module as one vector, which is what training moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from surrogates.errors import DataError


def flatten(module: nn.Module) -> Tensor:
    """The parameters of `module` in one vector (P,), a copy without history, in the order of `named_parameters`."""
    parts = [_checked(name, p).detach().reshape(-1) for name, p in module.named_parameters()]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def unflatten(module: nn.Module, θ: Tensor) -> None:
    """Copy θ (P,) into the parameters of `module`, in place."""
    with torch.no_grad():
        for name, value in Flat(module).split(θ).items():
            module.get_parameter(name).copy_(value)


class Flat:
    """`module` as a function of its parameters: flat(θ, X) is module(X) with the parameters θ (P,).

    Works under torch.func's transforms and under ordinary autograd. At θ = flatten(module) the values are the module's
    own, bit for bit. Buffers are the module's; the module itself isn't changed.

    Parameters
    ----------
    module : any module of float64 parameters that returns a tensor

    Examples
    --------
    >>> from surrogates.networks import MLP
    >>> net = MLP((2, 8, 1), generator=torch.Generator().manual_seed(0))
    >>> flat, θ, X = Flat(net), flatten(net), torch.ones(5, 2).double()
    >>> torch.equal(flat(θ, X), net(X))
    True
    >>> torch.func.jacrev(flat)(θ, X).shape  # outputs by parameters
    torch.Size([5, 1, 33])
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.shapes = {name: _checked(name, p).shape for name, p in module.named_parameters()}
        self._sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.size = sum(self._sizes)

    def __call__(self, θ: Tensor, *inputs: Tensor) -> Tensor:
        """Outputs of the module at its `inputs`, with the parameters θ (P,)."""
        outputs: Tensor = torch.func.functional_call(self.module, self.split(θ), inputs)
        return outputs

    def split(self, θ: Tensor) -> dict[str, Tensor]:
        """θ (P,) taken apart: a tensor of the parameter's shape for each name."""
        if θ.shape != (self.size,) or θ.dtype != torch.float64:
            raise DataError(
                f"θ is {θ.dtype} of shape {tuple(θ.shape)}; this module's parameters make a torch.float64 vector "
                f"of shape ({self.size},)"
            )
        # cloned, since BLAS rounds otherwise where memory isn't aligned to 16 bytes, as it is in the module
        parts = [part.clone() for part in torch.split(θ, self._sizes)]
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


def _checked(name: str, parameter: Tensor) -> Tensor:
    if parameter.dtype != torch.float64:
        raise DataError(f"parameter {name!r} is {parameter.dtype}; it must be torch.float64: use module.double()")
    return parameter
