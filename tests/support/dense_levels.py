"""Autoregressive fidelities from their definition: one dense covariance over all readings of all levels.

    f_l(x, t) = Σ over l and its ancestors m of R_lm,t [a_mt + b_mt'x + δ_m(x, t)],   R_lm,t the product of ρ from m to l
    Cov(δ_m(x, t), δ_m(x', t')) = s_m [c_m + (1 - c_m) 1{t = t'}] ψ_m(x, x') + j 1{(x, t) = (x', t')}

a is flat, b ~ N(0, slope_m²), j the variance that stands for zero.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from brute import correlations
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Points(NamedTuple):
    """Places (n, d), tasks (n,), levels (n,)."""

    x: Floats
    task: Integers
    level: Integers


class Answer(NamedTuple):
    """Mean (m,) and covariance (m, m)."""

    mean: Floats
    covariance: Floats


@dataclass(frozen=True)
class DenseLevels:
    """Hyper-parameters of every level: length-scales (L, d), amplitude s, common share c, deviation of slopes (L,) each."""

    kernel: str
    parents: tuple[int | None, ...]
    tasks: int
    lengthscales: Floats
    amplitude: Floats
    common: Floats
    slope: Floats
    jitter: float

    def covariance(self, a: Points, b: Points, ρ: Floats) -> Floats:
        total = np.zeros((len(a.x), len(b.x)))
        same_task = a.task[:, None] == b.task
        same = same_task & (a.x[:, None] == b.x[None]).all(axis=2)
        for m in range(len(self.parents)):
            share = self.common[m] + (1 - self.common[m]) * same_task
            k = self.amplitude[m] * share * correlations(self.kernel, a.x, b.x, self.lengthscales[m])
            slopes = self.slope[m] ** 2 * same_task * (a.x @ b.x.T)
            total += np.outer(self.products(a, m, ρ), self.products(b, m, ρ)) * (k + slopes + self.jitter * same)
        return total

    def products(self, points: Points, ancestor: int, ρ: Floats) -> Floats:
        """R (n,), zero where `ancestor` is none."""
        result = np.zeros(len(points.x))
        for i, (t, l) in enumerate(zip(points.task, points.level, strict=True)):
            product, here = 1.0, int(l)
            while here != ancestor and (parent := self.parents[here]) is not None:
                product, here = product * ρ[here, t], parent
            result[i] = product if here == ancestor else 0.0
        return result

    def trend(self, points: Points, ρ: Floats) -> Floats:
        """A constant of every (level, task): (n, L T)."""
        pairs = itertools.product(range(len(self.parents)), range(self.tasks))
        return np.stack([self.products(points, m, ρ) * (points.task == t) for m, t in pairs], axis=1)

    def log_likelihood(self, points: Points, y: Floats, ρ: Floats) -> float:
        """Restricted likelihood, constants flat."""
        S, H = self.covariance(points, points, ρ), self.trend(points, ρ)
        Si = np.linalg.inv(S)
        A = H.T @ Si @ H
        P = Si - Si @ H @ np.linalg.solve(A, H.T @ Si)
        determinants = np.linalg.slogdet(S)[1] + np.linalg.slogdet(A)[1]
        return float(-0.5 * (y @ P @ y + determinants + (len(y) - H.shape[1]) * math.log(2 * math.pi)))

    def predict(self, points: Points, y: Floats, at: Points, ρ: Floats) -> Answer:
        """Universal kriging by one bordered system."""
        S, H = self.covariance(points, points, ρ), self.trend(points, ρ)
        border = np.block([[S, H], [H.T, np.zeros((H.shape[1], H.shape[1]))]])
        right = np.concatenate([self.covariance(points, at, ρ), self.trend(at, ρ).T])
        weights = np.linalg.solve(border, right)
        return Answer(weights[: len(y)].T @ y, self.covariance(at, at, ρ) - weights.T @ right)


def over_rho(
    dense: DenseLevels, points: Points, y: Floats, at: Points, prior: tuple[Floats, Floats], shared: bool
) -> tuple[float, Answer]:
    """Likelihood and prediction with every ρ integrated by Gauss-Hermite quadrature around its least-squares value.

    prior : mean (L,) and deviation (L,) of the normal priors; of roots they aren't read
    """
    L, T = len(dense.parents), dense.tasks
    free = [(l, t) for l in range(L) if dense.parents[l] is not None for t in range(1 if shared else T)]

    def spread(values: Floats) -> Floats:
        ρ = np.zeros((L, T))
        for (l, t), v in zip(free, values, strict=True):
            ρ[l, slice(None) if shared else t] = v
        return ρ

    def log_joint(values: Floats) -> float:
        m, d = (np.array([part[l] for l, _ in free]) for part in prior)
        normal = -0.5 * (((values - m) / d) ** 2).sum() - np.log(d * math.sqrt(2 * math.pi)).sum()
        return dense.log_likelihood(points, y, spread(values)) + float(normal)

    centre = np.array([prior[0][l] for l, _ in free])
    for _ in range(3):  # the log posterior is quadratic in each ρ, all others given; a few Newton steps for all
        g, C = _derivatives(log_joint, centre)
        centre = centre - np.linalg.solve(C, g)
    root = np.linalg.cholesky(np.linalg.inv(-_derivatives(log_joint, centre)[1]))
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    logs, parts = [], []
    for combination in itertools.product(range(len(nodes)), repeat=len(free)):
        z, w = nodes[list(combination)], weights[list(combination)]
        values = centre + root @ z
        logs.append(log_joint(values) + 0.5 * z @ z + np.log(w).sum() + np.linalg.slogdet(root)[1])
        parts.append(dense.predict(points, y, at, spread(values)))
    top = max(logs)
    w = np.exp(np.array(logs) - top)
    total = top + math.log(w.sum())
    w /= w.sum()
    mean = sum(wi * part.mean for wi, part in zip(w, parts, strict=True))
    covariance = sum(
        wi * (part.covariance + np.outer(part.mean - mean, part.mean - mean)) for wi, part in zip(w, parts, strict=True)
    )
    return total, Answer(np.asarray(mean), np.asarray(covariance))


def _derivatives(f: object, x: Floats, step: float = 1e-3) -> tuple[Floats, Floats]:
    """Gradient and Hessian by central differences, exact for quadratic functions but for rounding."""
    assert callable(f)
    n, e = len(x), step * np.eye(len(x))
    gradient = np.array([(f(x + e[i]) - f(x - e[i])) / (2 * step) for i in range(n)])
    hessian = np.array(
        [
            [(f(x + e[i] + e[j]) - f(x + e[i] - e[j]) - f(x - e[i] + e[j]) + f(x - e[i] - e[j])) for j in range(n)]
            for i in range(n)
        ]
    )
    return gradient, hessian / (4 * step**2)
