"""Gradients at the worst place nearby, with radii of their own for shared and private parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ._base import positive
from .engine import Look


@dataclass(frozen=True)
class Sharpness:
    """Sharpness-aware gradients: taken at θ + ε instead of θ, with

        ε_shared = ρ_s g_s / |g_s|,  g_s = G'c          ε_private = ρ_p g_p / |g_p|

    and the weights c of the ordinary point. Foret et al., arXiv:2010.01412, equation 2 (one radius); two radii after
    FedRecGEL (arXiv:2603.11503, ρ = 0.02 each, read second-hand). One forward and backward pass more. Private parameters
    are taken together. A radius of 0, or a gradient of 0, moves nothing.

    Parameters
    ----------
    shared, private : ρ_s, ρ_p
    """

    shared: float = 0.02
    private: float = 0.02

    def __post_init__(self) -> None:
        positive(self.shared, "shared", zero=True)
        positive(self.private, "private", zero=True)

    def backward(self, look: Look, weights: Tensor) -> None:
        """As `look.backward(weights)`, but at θ + ε; parameters are what they were afterwards, bit for bit."""
        look.backward(weights)
        engine = look.engine
        groups = ([p for _, p in engine.shared], self.shared), (engine.private, self.private)
        kept = [[p.detach().clone() for p in parameters] for parameters, _ in groups]
        try:
            with torch.no_grad():
                for parameters, radius in groups:
                    climb(parameters, radius)
            look.again().backward(weights)
        finally:
            with torch.no_grad():
                for (parameters, _), old in zip(groups, kept, strict=True):
                    for p, value in zip(parameters, old, strict=True):
                        p.copy_(value)


def climb(parameters: list[torch.nn.Parameter], radius: float) -> None:
    """θ <- θ + radius g/|g| for the parameters' `grad`."""
    slopes = [p.grad for p in parameters if p.grad is not None]
    length = float(torch.stack([g.norm() for g in slopes]).norm()) if slopes else 0.0
    if radius and 0.0 < length < float("inf"):
        for p in parameters:
            if p.grad is not None:
                p.add_(p.grad, alpha=radius / length)
