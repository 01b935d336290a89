"""Slow references for the tests: every reading a row, every matrix inverted, nothing shared with the library's algebra."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.gp.collapse import Collapsed, Readings, collapse, trend_prior
from surrogates.gp.kernels import KERNELS
from surrogates.gp.objective import Layout, Objective, ShapeParameters
from surrogates.gp.sharing import Coregional, Exchangeable, Sharing
from surrogates.gp.solvers import SOLVERS
from surrogates.gp.trends import Trend, make_trend

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def correlation(name: str, r: float) -> float:
    """ψ(r) as the textbook prints it."""
    if name == "rbf":
        return math.exp(-(r**2) / 2)
    if name == "matern52":
        return (1 + math.sqrt(5) * r + 5 * r**2 / 3) * math.exp(-math.sqrt(5) * r)
    if name == "matern32":
        return (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r)
    return math.exp(-r)


def correlations(name: str, x: Floats, z: Floats, lengthscales: Floats) -> Floats:
    """ψ between all pairs, by a double loop."""
    return np.array([[correlation(name, float(np.linalg.norm((a - b) / lengthscales))) for b in z] for a in x])


class Derivatives(NamedTuple):
    """An objective with all its derivatives."""

    value: float
    gradient: Floats
    curvature: Floats


@dataclass(frozen=True)
class Case:
    """One problem, as the library sees it."""

    readings: Readings
    trend: Trend
    collapsed: Collapsed
    sharing: Sharing
    layout: Layout
    kernel: str

    def objective(self, solver: str) -> Objective:
        design = self.collapsed.design
        return Objective(
            design, self.layout, SOLVERS[solver](design, (KERNELS[self.kernel],) * self.sharing.components)
        )

    def derivatives(self, solver: str, θ: Floats) -> Derivatives:
        """The library's objective, with gradient and average information."""
        value, gradient, curvature = self.objective(solver)(θ, 2)
        assert gradient is not None
        assert curvature is not None
        return Derivatives(value, gradient, curvature)

    def likelihood_by(self, solver: str, θ: Floats) -> float:
        """The library's restricted log-likelihood, without the prior."""
        objective = self.objective(solver)
        return -objective(θ, 0).value - objective.log_prior(θ)

    def covariance(self, θ: Floats, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
        """Prior covariance of f."""
        parts = self.layout.split(θ)
        mixing = self.sharing.mixing(parts.sharing)
        l = np.exp(parts.log_shapes)
        total: Floats = sum(
            (B[np.ix_(task, other)] * correlations(self.kernel, x, z, l[c]) for c, B in enumerate(mixing.matrix)),
            np.zeros((len(x), len(z))),
        )
        return total

    def reading_covariance(self, θ: Floats) -> Floats:
        """Covariance of all single readings."""
        r, noise = self.readings, self.layout.split(θ).log_noise
        K = self.covariance(θ, r.x, r.task, r.x, r.task)
        if r.variance is None:
            return np.asarray(K + np.diag(np.exp(noise)[r.group]))
        same = (r.task[:, None] == r.task) & (r.x[:, None] == r.x[None]).all(axis=2)
        return np.asarray(K + np.diag(r.variance) + same * np.exp(noise[0]))

    def trend_columns(self, x: Floats, task: Integers) -> Floats:
        h = self.trend.columns(x)
        H = np.zeros((len(x), self.readings.tasks, h.shape[1]))
        H[np.arange(len(x)), task] = h
        return H.reshape(len(x), -1)

    def log_likelihood(self, θ: Floats) -> float:
        """Restricted likelihood of all single readings, trend flat."""
        S, H, y = self.reading_covariance(θ), self.trend_columns(self.readings.x, self.readings.task), self.readings.y
        Si = np.linalg.inv(S)
        A = H.T @ Si @ H
        P = Si - Si @ H @ np.linalg.solve(A, H.T @ Si)
        determinants = np.linalg.slogdet(S)[1] + np.linalg.slogdet(A)[1]
        return float(-0.5 * y @ P @ y - 0.5 * determinants - 0.5 * (len(y) - H.shape[1]) * math.log(2 * math.pi))

    def projection(self, θ: Floats) -> Floats:
        S, H = self.reading_covariance(θ), self.trend_columns(self.readings.x, self.readings.task)
        Si = np.linalg.inv(S)
        return np.asarray(Si - Si @ H @ np.linalg.solve(H.T @ Si @ H, H.T @ Si))

    def predict(self, θ: Floats, x: Floats, task: Integers) -> tuple[Floats, Floats]:
        """Mean and joint covariance of f by universal kriging: one bordered system with Lagrange multipliers."""
        r = self.readings
        S, H = self.reading_covariance(θ), self.trend_columns(r.x, r.task)
        q = H.shape[1]
        border = np.block([[S, H], [H.T, np.zeros((q, q))]])
        k = self.covariance(θ, r.x, r.task, x, task)
        right = np.concatenate([k, self.trend_columns(x, task).T])
        weights = np.linalg.solve(border, right)
        mean = weights[: len(r.y)].T @ r.y
        return mean, self.covariance(θ, x, task, x, task) - weights.T @ right


def make_case(
    *,
    n: int = 40,
    tasks: int = 3,
    inputs: int = 2,
    groups: int = 2,
    kernel: str = "matern52",
    sharing: str = "common",
    design: str = "own",
    known: bool = False,
    trend: str = "linear",
    seed: int = 0,
) -> Case:
    """A random problem.

    design : "own" places with repeats, "shared" places and gauges, "overlapping" places
    """
    generator = np.random.default_rng(seed)
    if design == "own":
        x = generator.uniform(-0.5, 0.5, (n, inputs))
        x[n // 2 : n // 2 + n // 4] = x[: n // 4]
        task = generator.permutation(np.arange(n) % tasks)
        task[n // 2 : n // 2 + n // 4] = task[: n // 4]
        group = generator.integers(0, groups, n)
    else:
        places = generator.uniform(-0.5, 0.5, (n // tasks, inputs))
        gauges = generator.integers(0, groups, len(places))
        size = len(places) if design == "shared" else max(4, 2 * len(places) // 3)
        chosen = [
            np.arange(len(places)) if design == "shared" else generator.permutation(len(places))[:size]
            for _ in range(tasks)
        ]
        x = np.concatenate([places[c] for c in chosen])
        task = np.repeat(np.arange(tasks), size)
        group = np.concatenate(
            [gauges[c] if design == "shared" else generator.integers(0, groups, size) for c in chosen]
        )
    y = np.sin(5 * x.sum(axis=1)) + 0.3 * np.cos(4 * x[:, 0] + task) + task + 0.1 * generator.standard_normal(len(x))
    variance = None
    if known:
        # equal places need equal noise in a shared design
        variance = 0.01 + 0.05 * (x[:, 0] - x[:, 0].min())
    readings = Readings(x, y, task.astype(np.int64), tasks, group.astype(np.int64), tuple("abcd"[:groups]), variance)
    basis = make_trend(trend, x)
    collapsed = collapse(readings, basis, trend_prior(readings, basis))
    structure: Sharing = Coregional(tasks, 2) if sharing == "icm" else Exchangeable(tasks, sharing == "two-kernels")
    size = structure.components * inputs
    shapes = ShapeParameters(
        tuple(f"l{k}" for k in range(size)),
        np.full(size, math.log(0.6)),
        np.full(size, 1.2),
        [(-4.0, 3.0)] * size,
        True,
        structure.components,
    )
    layout = Layout(
        shapes, structure, collapsed.design.noise.names, (math.log(0.01), 3.0), (math.log(1e-6), math.log(4.0))
    )
    return Case(readings, basis, collapsed, structure, layout, kernel)


def hyperparameters(case: Case, seed: int = 1) -> Floats:
    """A point near the prior's mean."""
    generator = np.random.default_rng(seed)
    return np.asarray(case.layout.prior[0] + 0.3 * generator.standard_normal(len(case.layout.names)))


def central_gradient(function: Callable[[Floats], float], θ: Floats, step: float = 1e-5) -> Floats:
    """Central differences."""
    return np.array([(function(θ + e) - function(θ - e)) / (2 * step) for e in step * np.eye(len(θ))])
