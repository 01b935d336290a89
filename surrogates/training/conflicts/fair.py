"""FairGrad and Nash-MTL: gains of the tasks in a fair proportion, by Newton's method on the Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.counts import whole

from ._base import Prepared, SeenTasks, State, by_gram, positive

#: What is added to M's diagonal, as a share of its mean, so that opposite gradients leave a finite answer.
_RIDGE = 1e-6


@dataclass(frozen=True)
class FairGrad:
    """α-fair gains: the step d = G'c, |d| <= 1, that maximises Σ u(g_i·d), u(x) = x^{1-α}/(1-α), solves

        M c = c^{-1/α},     the minimum of  ½ c'Mc - Σ φ(c_i),  φ' = c^{-1/α}                      (strictly convex)

    Ban & Ji, arXiv:2402.15638, equation 4: α -> 0 the sum's direction, 1 proportional fairness (every c_i g·g_i = 1, Nash),
    -> ∞ max-min. The paper solves the equation by least squares; we minimise the convex function by a damped Newton method.

    Where we differ: M's diagonal is made larger by 1e-6 of itself. A positive combination of the gradients that vanishes
    (Pareto stationary) would otherwise send c to infinity. c is then scaled to sum to the number of tasks, so that the
    optimiser's rate means the same as for the plain sum; a gradient that is zero leaves its task the weight 0.

    Parameters
    ----------
    alpha : α; the paper takes 2 for QM9
    every : steps between two Gram matrices; the weights follow from the last one, see `Prepared`
    """

    alpha: float = 2.0
    every: int = 4

    def __post_init__(self) -> None:
        positive(self.alpha, "alpha")
        whole(self.every, "every")

    def init(self, m: int) -> State:
        return Prepared.init(m)

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        return fair_step(self.alpha, self.every, state, seen)


@dataclass(frozen=True)
class NashMTL:
    """The Nash bargaining solution of the tasks: M c = 1/c, i.e. `FairGrad` with α = 1.

    Navon et al., arXiv:2202.01017, section 3.2. The paper solves a sequence of convex approximations; the equation is the
    stationarity of ½ c'Mc - Σ log c_i, which is convex itself, so we minimise that. Scaling and ridge: see `FairGrad`.

    Parameters
    ----------
    every : steps between two Gram matrices; the weights follow from the last one, see `Prepared`
    """

    every: int = 4

    def __post_init__(self) -> None:
        whole(self.every, "every")

    def init(self, m: int) -> State:
        return Prepared.init(m)

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        return fair_step(1.0, self.every, state, seen)


def fair_step(α: float, every: int, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
    """The step of both."""

    def rule(M: Tensor) -> Tensor:
        c = fair_weights(M, α)
        return c * (len(c) / c.sum()) if len(c) else c

    return by_gram(state, seen, every, rule, moving=True)


def fair_weights(M: Tensor, α: float, *, ridge: float = _RIDGE, max_steps: int = 60) -> Tensor:
    """c (p,) > 0 with (M + ridge diag M) c = c^{-1/α}.

    Newton's method for the convex f = ½ c'Mc - Σ φ(c) with steps that stay positive; M's common scale is taken out first.

    >>> fair_weights(torch.eye(2).double() * 4, 1.0, ridge=0.0)
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    if len(M) == 0:
        return M.new_zeros(0)
    G, scale = M.numpy(), float(M.diagonal().mean())
    A, q = (G + ridge * np.diag(G.diagonal())) / scale, 1.0 / α
    c = A.diagonal() ** (-1 / (1 + q))  # exact for orthogonal gradients
    value = _value(A, c, q)
    for _ in range(max_steps):
        slope, curvature = A @ c - c**-q, q * c ** (-q - 1)
        if np.abs(slope * c**q).max() <= 1e-9:
            break
        step = -np.linalg.solve(A + np.diag(curvature), slope)
        shrinks = step < 0
        noise = 1e-14 * abs(value)  # below it, the value can't tell a good step
        t = min(1.0, float((-0.9 * c[shrinks] / step[shrinks]).min())) if shrinks.any() else 1.0
        while (new := _value(A, c + t * step, q)) > value + 1e-4 * t * (slope @ step) + noise and t > 1e-9:
            t /= 2
        if t <= 1e-9:
            break
        c, value = c + t * step, new
    # (M/s) c' = c'^-q  <=>  M c = c^-q with c = c' s^(-1/(1+q))
    return torch.from_numpy(c * scale ** (-1.0 / (1.0 + q)))


def _value(A: NDArray[np.float64], c: NDArray[np.float64], q: float) -> float:
    """½ c'Ac - Σ φ(c)."""
    φ = np.log(c) if q == 1.0 else c ** (1 - q) / (1 - q)
    return float(0.5 * c @ A @ c - φ.sum())
