"""Self-scaled Broyden: a dense quasi-Newton method whose update chooses its own scale and member of the family."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from surrogates.counts import whole

from .objective import JacobianMode, Point
from .optimiser import Ending, Move, Turn
from .weighting._base import Balance, State
from .wolfe import Line, strong_wolfe


@dataclass(frozen=True)
class SSBroyden:
    """Self-scaled Broyden of Al-Baali, with the inverse Hessian H (P, P) kept as it is and a strong-Wolfe line search.

        H₊ = (H - Hyy'H / y'Hy + φ vv') / τ + ss' / y's,       v = √(y'Hy) (s / y's - Hy / y'Hy)

    with τ and φ from the step, see `scale_and_share`; τ = φ = 1 is BFGS. Al-Baali & Khalfan (2005), as given by Urbán,
    Stefanou & Pons, arXiv:2405.04230 (eqs. 13-23: τ and φ), and measured for physics-informed networks there and in
    Kiyani et al., arXiv:2501.16371. Memory and time of a step grow as P²: up to a few thousand parameters.

    We start from H = I and, before the first update, scale it by s'y / y'y (Nocedal & Wright, eq. 6.20). Where the line
    search fails, H is set back to I and the steepest descent is tried once.

    Parameters
    ----------
    attempts : evaluations per line search

    Examples
    --------
    >>> from surrogates.training import Stopping, minimize
    >>> def rosenbrock(θ):
    ...     return {"f": 100 * (θ[1] - θ[0] ** 2) ** 2 + (1 - θ[0]) ** 2}
    >>> found = minimize(
    ...     rosenbrock, torch.tensor([-1.2, 1.0]).double(), optimiser=SSBroyden(), stopping=Stopping(gradient=1e-8)
    ... )
    >>> found.ending.name, [round(value, 8) for value in found.θ.tolist()]
    ('STATIONARY', [1.0, 1.0])
    """

    attempts: int = 30

    by_jacobian: ClassVar[JacobianMode | None] = None
    takes_directions: ClassVar[bool] = False

    def __post_init__(self) -> None:
        whole(self.attempts, "attempts")

    def init(self, θ: Tensor) -> State:
        return {"H": torch.eye(len(θ), dtype=θ.dtype), "updates": torch.tensor(0)}

    def step(self, at: Point, balance: Balance, state: State, turn: Turn) -> Move:
        g = at.gradient(balance)
        if not torch.isfinite(g).all():
            return Move(at.θ, state, at, Ending.NOT_FINITE)
        if not g.any():
            return Move(at.θ, state, at, Ending.STATIONARY)
        trial = None
        if int(state["updates"]):
            line = Line(at, balance, -(state["H"] @ g), turn)
            trial = strong_wolfe(line, 1.0, attempts=self.attempts) if line.start.slope < 0 else None
        if trial is None:
            state = self.init(at.θ)
            trial = strong_wolfe(Line(at, balance, -g, turn), min(1.0, 1.0 / float(g.norm())), attempts=self.attempts)
        if trial is None:
            return Move(at.θ, state, at, Ending.NO_DESCENT)
        s, y = trial.point.θ - at.θ, trial.gradient - g
        sy = float(s @ y)
        if sy <= 1e-16 * float(s.norm() * y.norm()):
            return Move(trial.point.θ, state, trial.point)
        H, first = state["H"], not int(state["updates"])
        if first:
            H = H * (sy / float(y @ y))
        sBs = float(s @ s) * float(y @ y) / sy if first else -trial.α * float(g @ s)  # B s = -α g
        return Move(trial.point.θ, {"H": updated(H, s, y, sBs), "updates": state["updates"] + 1}, trial.point)


class Parameters(NamedTuple):
    """What an update is made of: scale τ, share φ in the inverse family, share θ in the direct family."""

    τ: float
    φ: float
    θ: float


def scale_and_share(b: float, h: float, n: int) -> Parameters:
    """τ and φ of Al-Baali & Khalfan from b = s'Bs / y's and h = y'Hy / y's; n is the number of parameters.

        a = bh - 1      c = √(a / (1+a))      ρ = min(1, h (1-c))
        θ = max((ρ-1)/a, min(1/ρ, (1-b)/b))   σ = 1 + aθ     φ = (1-θ) / (1+aθ)
        τ1 = min(1, 1/b)
        τ = τ1 min(σ^(-1/(n-1)), 1/θ)   if θ > 0,      else   min(τ1 σ^(-1/(n-1)), σ)

    θ = 0 is BFGS, θ = 1 DFP. Where b = h = 1 the step agrees with the model, and nothing is scaled:

    >>> scale_and_share(1.0, 1.0, 5)
    Parameters(τ=1.0, φ=1.0, θ=0.0)
    """
    a = max(b * h - 1.0, 0.0)
    ρ = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
    lowest = (ρ - 1) / a if a > 1e-12 else 0.0
    θ = max(lowest, min(1 / ρ, (1 - b) / b))
    σ = 1 + a * θ
    shrunk = σ ** (-1.0 / max(n - 1, 1))
    τ1 = min(1.0, 1 / b)
    τ = τ1 * min(shrunk, 1 / θ) if θ > 0 else min(τ1 * shrunk, σ)
    return Parameters(τ, (1 - θ) / σ, θ)


def updated(H: Tensor, s: Tensor, y: Tensor, sBs: float) -> Tensor:
    """H₊ (P, P) after the step s (P,) that changed the gradient by y (P,); sBs = s'H⁻¹s."""
    Hy, sy = H @ y, float(s @ y)
    yHy = float(y @ Hy)
    τ, φ, _ = scale_and_share(sBs / sy, yHy / sy, len(s))
    v = math.sqrt(yHy) * (s / sy - Hy / yHy)
    return (H - torch.outer(Hy, Hy / yHy) + φ * torch.outer(v, v)) / τ + torch.outer(s, s / sy)
