"""Adam, and AdamW where weights decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from surrogates.errors import DataError

from .objective import JacobianMode, Point
from .optimiser import Ending, Move, Turn
from .weighting._base import Balance, State, geometric, positive


@dataclass(frozen=True)
class Adam:
    """Adam with a geometric schedule of its rate; AdamW (decoupled decay) where `weight_decay` > 0.

        m <- β1 m + (1-β1) g      v <- β2 v + (1-β2) g²      θ <- (1 - rate·decay) θ - rate m̂ / (√v̂ + ε)

    with m̂ = m/(1-β1^t), v̂ = v/(1-β2^t). Kingma & Ba, arXiv:1412.6980, algorithm 1; Loshchilov & Hutter,
    arXiv:1711.05101, algorithm 2. The steps are torch.optim's to rounding; they are written out, so that the state is
    plain tensors, which a checkpoint holds exactly.

    Parameters
    ----------
    rate : at the first step
    final_rate : at the last step that `Stopping` allows, reached by a constant factor; None: the rate is constant
    weight_decay : share of θ that is taken off per unit of rate
    betas, epsilon : memory of the two moments; what keeps the division safe
    clip : longest gradient (Euclidean) that is used unshortened; None: no bound

    Examples
    --------
    >>> from surrogates.training import Stopping, minimize
    >>> target = torch.tensor([1.0, -2.0], dtype=torch.float64)
    >>> found = minimize(
    ...     lambda θ: {"distance": θ - target}, torch.zeros(2).double(), optimiser=Adam(rate=0.1, final_rate=1e-3),
    ...     stopping=Stopping(max_steps=500),
    ... )
    >>> bool((found.θ - target).abs().max() < 1e-3), found.ending.name
    (True, 'STEP_LIMIT')
    """

    rate: float = 1e-3
    final_rate: float | None = None
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    clip: float | None = None

    by_jacobian: ClassVar[JacobianMode | None] = None
    takes_directions: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive(self.rate, "rate")
        positive(self.epsilon, "epsilon")
        positive(self.weight_decay, "weight_decay", zero=True)
        for name, value in (("final_rate", self.final_rate), ("clip", self.clip)):
            if value is not None:
                positive(value, name)
        if len(self.betas) != 2 or not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise DataError(f"betas are {self.betas!r}; they must be two numbers in [0, 1)")

    def init(self, θ: Tensor) -> State:
        return {"mean": torch.zeros_like(θ), "square": torch.zeros_like(θ)}

    def step(self, at: Point, balance: Balance, state: State, turn: Turn) -> Move:
        g = at.gradient(balance)
        if not torch.isfinite(g).all():
            return Move(at.θ, state, at, Ending.NOT_FINITE)
        if self.clip is not None:
            g = g * min(1.0, self.clip / max(float(g.norm()), 1e-300))
        (β1, β2), t = self.betas, turn.step + 1
        rate = geometric(self.rate, self.final_rate, turn.step, turn.max_steps)
        m = torch.lerp(state["mean"], g, 1 - β1)
        v = (β2 * state["square"]).addcmul_(g, g, value=1 - β2)
        size = (v / (1 - β2**t)).sqrt_().add_(self.epsilon)
        θ = torch.addcdiv(at.θ * (1 - rate * self.weight_decay), m, size, value=-rate / (1 - β1**t))
        return Move(θ, {"mean": m, "square": v})
