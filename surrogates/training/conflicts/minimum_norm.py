"""MGDA and CAGrad: the direction along which the worst task gains most, all of it or near the mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize as scipy_minimize
from scipy.optimize import nnls
from torch import Tensor

from surrogates.counts import whole

from ._base import Prepared, SeenTasks, State, by_gram, positive


@dataclass(frozen=True)
class MGDA:
    """The shortest convex combination of the gradients: c = argmin |G'λ|², λ on the simplex.

    Désidéri (2012); Sener & Koltun, arXiv:1810.04650, equation 3. Along -G'c no loss rises (to first order). Solved exactly
    (see `minimum_norm`); the weights sum to 1. One gradient of zero takes all the weight: then nothing moves.

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
        return by_gram(state, seen, self.every, minimum_norm)


@dataclass(frozen=True)
class CAGrad:
    """Conflict-averse descent: near the mean gradient g₀, the direction whose worst task gains most.

        max_d min_i g_i·d,  |d - g₀| <= κ|g₀|        =>    d = g₀ + (κ|g₀| / |g_w|) g_w,   g_w = G'w
        w = argmin over the simplex of  w'M1/m + κ|g₀| sqrt(w'Mw)

    Liu et al., arXiv:2110.14048, algorithm 1. κ = 0 is the mean, κ large MGDA's direction. Solved by SLSQP, as by the
    authors. c is divided by 1 + κ² (theirs) and multiplied by the number of tasks, so that κ = 0 is the plain sum.

    Parameters
    ----------
    pull : κ
    every : steps between two Gram matrices; the weights follow from the last one, see `Prepared`
    """

    pull: float = 0.4
    every: int = 4

    def __post_init__(self) -> None:
        positive(self.pull, "pull", zero=True)
        whole(self.every, "every")

    def init(self, m: int) -> State:
        return Prepared.init(m)

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        return by_gram(state, seen, self.every, lambda M: conflict_averse(M, self.pull))


def minimum_norm(M: Tensor) -> Tensor:
    """λ (p,) >= 0 with sum 1 that minimises λ'Mλ.

    With μ = tλ and M = R'R, min over t of |Rμ|² + (1'μ - 1)² is q/(1 + q), q = λ'Mλ, which rises with q: so the
    non-negative least squares problem in μ has the direction that is looked for, exactly.

    >>> minimum_norm(torch.tensor([[1.0, 0.0], [0.0, 4.0]]).double())
    tensor([0.8000, 0.2000], dtype=torch.float64)
    """
    if len(M) == 0:
        return M.new_zeros(0)
    scale = float(M.diagonal().max())
    if scale <= 0.0:
        return torch.full((len(M),), 1.0 / len(M), dtype=M.dtype)
    values, vectors = np.linalg.eigh(M.numpy() / scale)
    R = np.sqrt(values.clip(0.0))[:, None] * vectors.T
    μ: NDArray[np.float64] = nnls(np.vstack([R, np.ones(len(M))]), np.append(np.zeros(len(M)), 1.0))[0]
    return torch.from_numpy(μ / μ.sum())


def conflict_averse(M: Tensor, κ: float) -> Tensor:
    """c (p,) of CAGrad."""
    p = len(M)
    even = np.full(p, 1.0 / max(p, 1))
    scale = float(M.diagonal().max()) if p else 0.0
    if p < 2 or scale <= 0.0 or κ == 0.0:
        return torch.ones(p, dtype=M.dtype)  # nothing to be averse to
    A = M.numpy() / scale
    linear, radius = A @ even, κ * math.sqrt(max(float(even @ A @ even), 0.0))

    def value(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        Aw = A @ w
        length = math.sqrt(max(float(w @ Aw), 1e-16))
        return float(w @ linear) + radius * length, linear + radius * Aw / length

    sum_to_1 = {"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like}
    found = scipy_minimize(
        value, even, jac=True, bounds=[(0.0, 1.0)] * p, constraints=sum_to_1, method="SLSQP", options={"ftol": 1e-12}
    )
    w = found.x.clip(0.0) / found.x.clip(0.0).sum()
    length = math.sqrt(max(float(w @ A @ w), 0.0))
    c = even + (radius / length if length > 1e-8 else 0.0) * w
    return torch.from_numpy(c * p / (1 + κ**2))
