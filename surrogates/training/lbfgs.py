"""L-BFGS: quasi-Newton steps from the last few changes of the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from surrogates.counts import whole

from .objective import JacobianMode, Point
from .optimiser import Ending, Move, Turn
from .weighting._base import Balance, State
from .wolfe import Line, strong_wolfe


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS with a strong-Wolfe line search.

    The direction is -H g, H from the last `history` pairs s = θ₊ - θ, y = g₊ - g by the two-loop recursion on γI,
    γ = s'y / y'y of the newest. Nocedal & Wright (2006), algorithms 7.4 and 7.5.

    It is written out instead of calling torch.optim.LBFGS, whose pairs mix gradients under different weights when the
    weights change between steps (here both gradients of a pair belong to the same weights), and which evaluates the
    accepted point twice. Where the search fails, the pairs are dropped and the steepest descent is tried once.

    Parameters
    ----------
    history : pairs that are kept
    attempts : evaluations per line search

    Examples
    --------
    >>> from surrogates.training import Stopping, minimize
    >>> def rosenbrock(θ):
    ...     return {"f": 100 * (θ[1] - θ[0] ** 2) ** 2 + (1 - θ[0]) ** 2}
    >>> found = minimize(
    ...     rosenbrock, torch.tensor([-1.2, 1.0]).double(), optimiser=LBFGS(), stopping=Stopping(gradient=1e-8)
    ... )
    >>> found.ending.name, [round(value, 8) for value in found.θ.tolist()]
    ('STATIONARY', [1.0, 1.0])
    """

    history: int = 20
    attempts: int = 30

    by_jacobian: ClassVar[JacobianMode | None] = None
    takes_directions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole(self.history, "history")
        whole(self.attempts, "attempts")

    def init(self, θ: Tensor) -> State:
        return {"s": θ.new_zeros((0, len(θ))), "y": θ.new_zeros((0, len(θ)))}

    def step(self, at: Point, balance: Balance, state: State, turn: Turn) -> Move:
        g = at.gradient(balance)
        if not torch.isfinite(g).all():
            return Move(at.θ, state, at, Ending.NOT_FINITE)
        if not g.any():
            return Move(at.θ, state, at, Ending.STATIONARY)
        S, Y = state["s"], state["y"]
        trial = None
        if len(S):
            line = Line(at, balance, -two_loops(g, S, Y), turn)
            trial = strong_wolfe(line, 1.0, attempts=self.attempts) if line.start.slope < 0 else None
        if trial is None:
            S, Y = S[:0], Y[:0]
            trial = strong_wolfe(Line(at, balance, -g, turn), min(1.0, 1.0 / float(g.norm())), attempts=self.attempts)
        if trial is None:
            return Move(at.θ, state, at, Ending.NO_DESCENT)
        s, y = trial.point.θ - at.θ, trial.gradient - g
        if float(s @ y) > 1e-16 * float(s.norm() * y.norm()):
            S, Y = torch.cat([S, s[None]])[-self.history :], torch.cat([Y, y[None]])[-self.history :]
        return Move(trial.point.θ, {"s": S, "y": Y}, trial.point)


def two_loops(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    """H g (P,) from pairs S, Y (m, P), oldest first."""
    q, shares = g.clone(), []
    ρ = 1.0 / (S * Y).sum(1)
    for i in reversed(range(len(S))):
        shares.append(ρ[i] * (S[i] @ q))
        q = q - shares[-1] * Y[i]
    q = q * ((S[-1] @ Y[-1]) / (Y[-1] @ Y[-1]))
    for i in range(len(S)):
        q = q + (shares[len(S) - 1 - i] - ρ[i] * (Y[i] @ q)) * S[i]
    return q
