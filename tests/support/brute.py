"""Slow references for the tests: every reading a row, every matrix inverted, nothing shared with the library's algebra."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, Schema
from surrogates.gp.collapse import Collapsed, Readings, collapse, trend_prior
from surrogates.gp.kernels import KERNELS, Kernel
from surrogates.gp.objective import Layout, Objective, ShapeParameters
from surrogates.gp.sharing import Coregional, Exchangeable, Sharing
from surrogates.gp.solvers import SOLVERS
from surrogates.gp.trends import Trend, make_trend
from surrogates.schema import Label

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
        """Prior covariance of f; with known noise, f includes a nugget of its own at every (task, place)."""
        parts = self.layout.split(θ)
        mixing = self.sharing.mixing(parts.sharing)
        l = np.exp(parts.log_shapes)
        total: Floats = sum(
            (B[np.ix_(task, other)] * correlations(self.kernel, x, z, l[c]) for c, B in enumerate(mixing.matrix)),
            np.zeros((len(x), len(z))),
        )
        if self.readings.variance is None or not len(parts.log_noise):
            return total
        same = (task[:, None] == other) & (x[:, None] == z[None]).all(axis=2)
        return np.asarray(total + same * np.exp(parts.log_noise[0]))

    def reading_covariance(self, θ: Floats) -> Floats:
        """Covariance of all single readings."""
        r, noise = self.readings, self.layout.split(θ).log_noise
        K = self.covariance(θ, r.x, r.task, r.x, r.task)
        if r.variance is None:
            return np.asarray(K + np.diag(np.exp(noise)[r.group]))
        return np.asarray(K + np.diag(r.variance))

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
        """Mean and joint covariance of f by universal kriging: one bordered system with Lagrange multipliers.

        Tasks with few places have a normal prior of their trend instead of a flat one.
        """
        r = self.readings
        prior = trend_prior(r, self.trend)
        S, H = self.reading_covariance(θ), self.trend_columns(r.x, r.task)
        border = np.block([[S, H], [H.T, -np.diag(prior.precision.ravel())]])
        k, h = self.covariance(θ, r.x, r.task, x, task), self.trend_columns(x, task)
        right = np.concatenate([k, h.T])
        weights = np.linalg.solve(border, right)
        centre = np.where(prior.precision > 0, prior.mean, 0.0).ravel()
        mean = h @ centre + weights[: len(r.y)].T @ (r.y - H @ centre)
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


def kriged(model: FittedHierarchicalGP, data: xr.Dataset, at: xr.Dataset) -> tuple[Floats, Floats]:
    """Mean and standard deviation of f at `at`, in the data's units, from single readings and the fit's draws alone.

    Universal kriging at every draw of the hyper-parameters, mixed by weight.
    """
    schema, core = model.schema, model.core
    labels = [*model.vocabulary.tasks]
    labels += sorted({label for label in _labels(data, schema.task) if label not in labels}, key=str)
    readings = _readings(model, data, labels)
    sharing = core.layout.sharing
    if isinstance(sharing, Exchangeable):
        sharing = replace(sharing, tasks=len(labels))
    assert isinstance(core.settings.kernel, Kernel)
    case = Case(readings, core.scaled.trend, core.problem.collapsed, sharing, core.layout, core.settings.kernel.name)
    x, task = core.scaled.inputs(_places(at, schema)), _positions(at, schema.task, labels)
    first, second = np.zeros(len(x)), np.zeros(len(x))
    for w, θ in zip(core.draws.weights, core.draws.parameters, strict=True):
        mean, covariance = case.predict(θ, x, task)
        first += w * mean
        second += w * (np.diag(covariance) + mean**2)
    target = core.scaled.target
    return target.centre + target.spread * first, target.spread * np.sqrt(second - first**2)


def _readings(model: FittedHierarchicalGP, data: xr.Dataset, labels: list[Label | None]) -> Readings:
    """Scaled single readings of a table over one dim; tasks are numbered as in `labels`."""
    schema, core = model.schema, model.core
    levels, target = list(model.vocabulary.fidelities), core.scaled.target
    task, group = _positions(data, schema.task, labels), _positions(data, schema.fidelity, levels)
    if core.settings.noise == "task-fidelity":
        group = task * len(levels) + group
    variance = None
    if schema.noise is not None:
        known = data[schema.noise].to_numpy() / target.spread
        variance = known**2 if schema.noise_is == "std" else known / target.spread
    y = (data[schema.target].to_numpy() - target.centre) / target.spread
    x = core.scaled.inputs(_places(data, schema))
    return Readings(x, y, task, len(labels), group, core.scaled.readings.groups, variance)


def _labels(data: xr.Dataset, name: str | None) -> list[Label | None]:
    return [None] * data.sizes["sample"] if name is None else list(data[name].to_numpy().tolist())


def _positions(data: xr.Dataset, name: str | None, labels: list[Label | None]) -> Integers:
    return np.array([labels.index(label) for label in _labels(data, name)], dtype=np.int64)


def _places(data: xr.Dataset, schema: Schema) -> Floats:
    return np.stack([data[name].to_numpy() for name in schema.inputs], axis=1)
