"""Residual-based attention: weights of single points, from the history of their residuals."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from surrogates.errors import DataError

from ._base import Balance, Seen, State, fraction, index_of, positive


@dataclass(frozen=True)
class ResidualAttention:
    """Point-wise weights that remember where residuals were large (RBA).

        λ_ij <- γ λ_ij + η |r_ij| / max_j |r_ij|           L_i = mean_j (λ_ij r_ij)²

    Anagnostopoulos et al., arXiv:2307.00379. λ stays within [0, η / (1-γ)] if it starts there,
    and doesn't depend on the residuals' units. The losses themselves keep weight 1, and losses that are numbers are
    left alone. The points must stay the same during a run.

    Parameters
    ----------
    decay : γ
    rate : η
    start : λ before the first step; with the paper's 0, the first λ is η |r| / max|r|
    only : names of the losses that get weights; None: all that are residuals
    """

    decay: float = 0.999
    rate: float = 0.01
    start: float = 0.0
    only: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        fraction(self.decay, "decay")
        positive(self.rate, "rate")
        positive(self.start, "start", zero=True)

    def init(self, seen: Seen) -> State:
        residuals = seen.residuals()
        for name in self.only or ():
            index_of(name, seen.names, "a name in only")
            if name not in residuals:
                raise DataError(f"loss {name!r} is a number; ResidualAttention needs its residuals as a 1-d tensor")
        chosen = residuals if self.only is None else self.only
        return {name: torch.full_like(residuals[name], self.start) for name in chosen}

    def step(self, state: State, seen: Seen) -> tuple[Balance, State]:
        residuals, λ = seen.residuals(), {}
        for name, old in state.items():
            size = residuals[name].abs()
            if size.shape != old.shape:
                raise DataError(
                    f"residuals {name!r} have {len(size)} points, but had {len(old)} at the start; ResidualAttention "
                    f"needs the same points in each step"
                )
            largest = size.max()
            λ[name] = self.decay * old + self.rate * size / torch.where(largest == 0, 1.0, largest)
        points = {name: value**2 for name, value in λ.items()}
        return Balance(torch.ones_like(seen.losses), points or None), dict(λ)
