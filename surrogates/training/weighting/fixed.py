"""Weights that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from surrogates.errors import DataError

from ._base import Seen, State, index_of, positive


@dataclass(frozen=True)
class Fixed:
    """Constant weights: F = Σ w_i L_i.

    The default, and for least squares of a consistent system (all residuals zero at the solution) usually the best:
    weights can't move that solution, only the road to it.

    Parameters
    ----------
    weights : by name, or in the order of the losses; names that are left out have weight 1. Empty: all 1.

    Examples
    --------
    >>> Fixed({"data": 10.0}).vector(("data", "physics"))
    tensor([10.,  1.], dtype=torch.float64)
    """

    weights: Mapping[str, float] | tuple[float, ...] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        values = self.weights.items() if isinstance(self.weights, Mapping) else enumerate(self.weights)
        for which, weight in values:
            positive(weight, f"the weight of loss {which!r}", zero=True)
        frozen = MappingProxyType(dict(self.weights)) if isinstance(self.weights, Mapping) else tuple(self.weights)
        object.__setattr__(self, "weights", frozen)

    def __repr__(self) -> str:
        plain = dict(self.weights) if isinstance(self.weights, Mapping) else self.weights
        return f"Fixed({plain!r})"

    def vector(self, names: tuple[str, ...]) -> Tensor:
        """(k,) in the order of the losses."""
        if isinstance(self.weights, Mapping):
            for name in self.weights:
                index_of(name, names, "a weight in Fixed")
            values = [float(self.weights.get(name, 1.0)) for name in names]
        elif len(self.weights) in (0, len(names)):
            values = [float(w) for w in self.weights] or [1.0] * len(names)
        else:
            raise DataError(
                f"Fixed has {len(self.weights)} weights, but there are {len(names)} losses: "
                f"{', '.join(map(repr, names))}; give one weight for each, or a mapping by name"
            )
        return torch.tensor(values, dtype=torch.float64)

    def init(self, seen: Seen) -> State:
        return {"weights": self.vector(seen.names)}

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        return state["weights"], state
