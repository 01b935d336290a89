"""From a table of observations to hyper-parameters: scale, collapse, choose a solver, minimise, draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, NumericalError
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Points, Table
from surrogates.training import Minimum, lbfgs, newton

from .collapse import Collapsed, Readings, TrendPrior, collapse, rows_of_tasks, trend_prior
from .custom import CustomKernel, CustomSolver
from .design import Design
from .inducing.places import choose_places
from .inducing.process import streamed_process
from .inducing.workers import Workers
from .kernels import Kernel
from .laplace import Draws, laplace_draws
from .library import Library
from .mixtures import MixtureGram
from .noise import KnownNoise
from .objective import Layout, Objective, ShapeParameters, Value
from .process import Correlations, Process, StationaryCorrelations, condition
from .rotated import rotated_process
from .sharing import Coregional, Exchangeable, Sharing
from .solvers import SOLVERS, applicable_solvers, choose_solver
from .solvers._base import Solver
from .solvers.dense import Dense
from .solvers.inducing import Inducing
from .solvers.rotation import Rotation
from .tanimoto import Tanimoto, TanimotoCorrelations
from .trends import Basis, Trend, make_trend

Floats = NDArray[np.float64]
#: more rows than this start on a subset of them
SUBSET_ABOVE = 200
#: up to so many rows the hyper-parameters are integrated by default: at 200 it adds 2 % coverage, at 300 nothing
INTEGRATE_UP_TO = 250
#: normal prior of log noise variances; it keeps the precise fidelity's from running to its lower bound
NOISE_PRIOR = (math.log(0.02), 2.5)
#: (length-scale, correlation, noise variance) of the starts: detail explained by the processes, or by the noise
STARTS = ((0.2, 0.9, 0.01), (0.7, 0.5, 0.2))
#: more rows than this start on two subsets, and end at a looser tolerance
LARGE = 1000
#: nats that the descent may leave, far below what the data can tell; ten times as many for large fits
TOLERANCE = 1e-3
#: nats that a rough descent may leave, when starts are compared
ROUGH = 0.3
#: points tried and draws kept; fewer points as rows grow, since each costs more and the posterior gets narrower
MOST_POINTS, LEAST_POINTS, POINTS_TIMES_ROWS, DRAWS = 240, 24, 6000, 32


@dataclass(frozen=True)
class Settings:
    """The choices of a `HierarchicalGP` that shape its likelihood.

    inducing : how many places the solver of that name has; None: as many as it needs
    """

    kernel: Kernel | CustomKernel | Tanimoto
    trend: str | Basis
    sharing: str
    rank: int
    noise: str
    solver: str
    inducing: int | None = None


@dataclass(frozen=True)
class Scaled:
    """Observations in scaled units, with the way back.

    library : of a Tanimoto kernel, the places that stand for vectors; their numbers are the only column of x
    common_places : (M, d) where the solver "inducing" knows the common process
    """

    inputs: InputScaling
    target: TargetScaling
    trend: Trend
    prior: TrendPrior
    readings: Readings
    library: Library | None = None
    common_places: Floats | None = None


@dataclass(frozen=True)
class Posterior:
    """Hyper-parameters, as weighted draws, of one layout."""

    layout: Layout
    mode: Floats  # (p,)
    draws: Draws
    minimum: Minimum
    evaluations: int
    log_likelihood: float  # at the mode, in the target's units


class Start(NamedTuple):
    """Where a descent starts: hyper-parameters (p,), and what is known of the curvature's correction (p, p)."""

    x: Floats
    correction: Floats | None = None


class Problem(NamedTuple):
    """A collapsed design with its objective."""

    collapsed: Collapsed
    objective: Objective


def scale(table: Table, settings: Settings) -> Scaled:
    """Scale inputs and target, and prepare the trend."""
    inputs, x, library = _scale_inputs(table, settings.kernel)
    trend = make_trend(settings.trend, x)
    target = TargetScaling.fit(table.y, table.task, trend.columns(x))
    readings = make_readings(table, x, target, settings.noise)
    return Scaled(inputs, target, trend, trend_prior(readings, trend), readings, library)


def _scale_inputs(
    table: Table, kernel: Kernel | CustomKernel | Tanimoto
) -> tuple[InputScaling, Floats, Library | None]:
    """Inputs in the unit cube; or vectors' places as numbers, which aren't scaled."""
    if isinstance(kernel, Tanimoto):
        library, x = kernel.number(table)
        return InputScaling(np.zeros(1), np.ones(1)), x, library
    inputs = InputScaling.fit(table.x)
    return inputs, inputs(table.x), None


def rescale(table: Table | Points, scaled: Scaled, settings: Settings) -> tuple[Floats, Library | None]:
    """Further inputs in the scaling of the fit; vectors' new places get numbers behind the known ones."""
    if isinstance(settings.kernel, Tanimoto):
        library, x = settings.kernel.number(table, scaled.library)
        return x, library
    return scaled.inputs(table.x), None


def make_readings(table: Table, x: Floats, target: TargetScaling, noise: str) -> Readings:
    """Scaled readings with their noise groups.  x: (N, d) scaled inputs."""
    vocabulary = table.vocabulary
    T, F = len(vocabulary.tasks), len(vocabulary.fidelities)
    variance = None
    if noise == "known":
        if table.noise_variance is None:
            raise DataError("noise='known', but the schema names no noise variable; give Schema(noise=...) one")
        variance = table.noise_variance / target.spread**2
    names = [str(label) if label is not None else "all" for label in vocabulary.fidelities]
    group = table.fidelity
    if noise == "task-fidelity":
        group = table.task * F + table.fidelity
        names = [f"{t}, {name}" for t in vocabulary.tasks for name in names]
    return Readings(x, target(table.y), table.task, T, group, tuple(names), variance)


def make_sharing(settings: Settings, tasks: int) -> Sharing:
    """The task covariance that the settings ask for."""
    if settings.sharing == "icm":
        return Coregional(tasks, min(settings.rank, tasks))
    return Exchangeable(tasks, settings.sharing == "two-kernels" and tasks > 1)


def make_problem(
    scaled: Scaled, settings: Settings, readings: Readings | None = None, workers: Workers | None = None
) -> Problem:
    """Collapse the readings and set up their objective."""
    collapsed = collapse(scaled.readings if readings is None else readings, scaled.trend, scaled.prior)
    design = collapsed.design
    sharing = make_sharing(settings, design.tasks)
    layout = make_layout(settings, sharing, design)
    solver = make_solver(settings, design, sharing, scaled, workers)
    return Problem(collapsed, Objective(design, layout, solver))


def usable_solvers(scaled: Scaled, settings: Settings) -> tuple[str, ...]:
    """Names of the solvers that are exact for these readings."""
    if isinstance(settings.kernel, Tanimoto):
        return ("dense",)
    design = collapse(scaled.readings, scaled.trend, scaled.prior).design
    return applicable_solvers(design, make_sharing(settings, design.tasks))


def make_layout(settings: Settings, sharing: Sharing, design: Design) -> Layout:
    """Names, bounds and priors of the hyper-parameters, in scaled units."""
    known = isinstance(design.noise, KnownNoise)
    noise_bounds = (math.log(1e-10 if known else 1e-6), math.log(4.0))
    return Layout(_shapes(settings, sharing, design), sharing, design.noise.names, NOISE_PRIOR, noise_bounds)


def make_solver(
    settings: Settings, design: Design, sharing: Sharing, scaled: Scaled, workers: Workers | None = None
) -> Solver:
    """The solver asked for, or the quickest one for the design's pattern."""
    if isinstance(settings.kernel, Tanimoto):
        library = scaled.library
        assert library is not None
        tables = library.between_rows(design.x)
        gram = MixtureGram(tables, design.task, design.tasks, sharing.components, settings.kernel.parameters)
        return Dense(design, gram)
    if isinstance(settings.kernel, CustomKernel):
        return CustomSolver(design, settings.kernel)
    name = choose_solver(design, sharing) if settings.solver == "auto" else settings.solver
    if name == Inducing.name:
        Z = scaled.common_places
        if Z is None:  # readings that came later made them many
            Z = choose_places(design.x, settings.kernel, np.exp(_shape_means(design)), count=settings.inducing, seed=0)
        return Inducing(design, (settings.kernel,) * sharing.components, Z, workers)
    return SOLVERS[name](design, (settings.kernel,) * sharing.components)


def conditioner(
    problem: Problem, settings: Settings, trend: Trend, library: Library | None = None
) -> Callable[[Floats], Process]:
    """A function from hyper-parameters θ (p,) to the posterior of the tasks' functions; `library` holds vectors' places."""
    objective = problem.objective

    def at(θ: Floats) -> Process:
        state, _ = objective.state(θ)
        noise = objective.design.noise
        nugget = noise.nugget(objective.layout.split(θ).log_noise) if isinstance(noise, KnownNoise) else 0.0
        if isinstance(objective.solver, Inducing):
            return streamed_process(objective.solver, trend, state, nugget)
        if isinstance(objective.solver, Rotation):
            assert isinstance(settings.kernel, Kernel)
            pairs = StationaryCorrelations((settings.kernel,) * state.mixing.components, state.shapes)
            return rotated_process(objective.design, trend, pairs, state, nugget)
        correlations: Correlations
        if isinstance(settings.kernel, CustomKernel):
            correlations = settings.kernel.correlations(state.shapes)
        elif isinstance(settings.kernel, Tanimoto):
            assert library is not None
            correlations = TanimotoCorrelations(library, state.shapes)
        else:
            kernels = (settings.kernel,) * state.mixing.components
            correlations = StationaryCorrelations(kernels, state.shapes)
        return condition(objective.design, trend, correlations, state, objective.inverse(state), nugget)

    return at


def fit_posterior(
    scaled: Scaled,
    settings: Settings,
    *,
    integrate: bool | None,
    seed: int,
    progress: Callable[[float], None],
    start: Start | None = None,
    workers: Workers | None = None,
) -> tuple[Posterior, Problem]:
    """Minimise the objective, from `start` where it is known, then draw around the minimum."""
    problem = make_problem(scaled, settings, workers=workers)
    objective, layout = problem.objective, problem.objective.layout
    rows = len(objective.design.x)
    starts = _starts(settings, layout) if start is None else [start]
    evaluations = 0
    if rows > SUBSET_ABOVE and not isinstance(settings.kernel, CustomKernel) and objective.solver.name == "dense":
        start, evaluations = _start_on_subsets(scaled, settings, starts, rows, seed)
        starts = [start]
    rough = _rough(objective, starts, progress)
    best = _descend(objective, rough, progress, tolerance=TOLERANCE if rows <= LARGE else 10 * TOLERANCE)
    wanted = rows <= INTEGRATE_UP_TO if integrate is None else integrate
    draws = Draws(best.x[None], np.ones(1), 1.0)
    if wanted:
        curvature = best.curvature if best.curvature is not None else _difference_curvature(objective, best.x)
        draws = laplace_draws(
            lambda θ: objective(θ, 0).value,
            best.x,
            curvature,
            layout.bounds,
            count=_points(rows),
            keep=DRAWS,
            seed=seed,
        )
    # REML sees the contrasts of the data that the flat trend leaves; each carries one factor of the target's unit
    contrasts = len(scaled.readings.y) - int((objective.design.prior_precision == 0).sum())
    likelihood = -best.value - objective.log_prior(best.x) - contrasts * math.log(scaled.target.spread)
    return Posterior(layout, best.x, draws, best, evaluations + objective.evaluations, likelihood), problem


def _points(rows: int) -> int:
    """How many hyper-parameter points to try."""
    return int(np.clip(POINTS_TIMES_ROWS // rows, LEAST_POINTS, MOST_POINTS))


def _shapes(settings: Settings, sharing: Sharing, design: Design) -> ShapeParameters:
    if isinstance(settings.kernel, CustomKernel):
        return settings.kernel.shape_parameters()
    if isinstance(settings.kernel, Tanimoto):
        return settings.kernel.shape_parameters(sharing.components)
    d = design.x.shape[1]
    suffix = [""] if sharing.components == 1 else [", common", ", own"]
    names = tuple(f"log l[{k}{s}]" for s in suffix for k in range(d))
    size = len(names)
    bounds = [(math.log(0.02), math.log(20.0))] * size
    mean = np.tile(_shape_means(design), sharing.components)
    return ShapeParameters(names, mean, np.full(size, 1.2), bounds, True, sharing.components)


def _shape_means(design: Design) -> Floats:
    """(d,) prior means of log length-scales."""
    # distances grow with the root of the number of inputs (Hvarfner, Hellsten & Nardi 2024)
    varying = max(1, int((np.ptp(design.x, axis=0) > 0).sum()))
    return np.full(design.x.shape[1], math.log(0.4) + 0.5 * math.log(varying))


def _starts(settings: Settings, layout: Layout) -> list[Start]:
    F = len(layout.noise_names)
    if isinstance(settings.kernel, CustomKernel):
        return [Start(layout.join(layout.shapes.mean, layout.sharing.start(0.8), np.full(F, layout.noise_prior[0])))]
    is_stationary = layout.shapes.logarithmic
    return [
        Start(layout.join(shapes, layout.sharing.start(ρ), np.full(F, math.log(σ2))))
        for l, ρ, σ2 in STARTS
        for shapes in [np.full(len(layout.shapes.names), math.log(l)) if is_stationary else layout.shapes.mean]
    ]


def descend_from_starts(objective: Objective, settings: Settings) -> Minimum:
    """The minimum for a few readings, from all starts."""
    rough = _rough(objective, _starts(settings, objective.layout), lambda value: None)
    return _descend(objective, rough, lambda value: None, tolerance=10 * TOLERANCE)


def descend(objective: Objective, start: Start, progress: Callable[[float], None]) -> Minimum:
    """The minimum for many rows, from a good start."""
    return _descend(objective, start, progress, tolerance=10 * TOLERANCE)


def _rough(objective: Objective, starts: list[Start], progress: Callable[[float], None]) -> Start:
    """The lowest end of rough descents from all starts; a single start as it is."""
    if len(starts) == 1:
        return starts[0]
    best = _best([_descend(objective, start, progress, tolerance=ROUGH) for start in starts])
    return Start(best.x, best.correction)


def _descend(objective: Objective, start: Start, progress: Callable[[float], None], *, tolerance: float) -> Minimum:
    """Newton where the solver offers curvature; L-BFGS-B for custom kernels and where Newton doesn't settle."""

    def counted(θ: Floats, order: int) -> Value:
        point = objective(θ, order)
        progress(point.value)
        return point

    bounds = objective.layout.bounds
    if not objective.solver.has_curvature:
        return lbfgs(counted, start.x, bounds)
    try:
        result = newton(counted, start.x, bounds, correction=start.correction, tolerance=tolerance)
    except NumericalError:
        return lbfgs(counted, start.x, bounds)
    if result.outcome.is_success:
        return result
    second = lbfgs(counted, result.x, bounds)
    if second.value > result.value:
        return result
    curvature = objective(second.x, 2).curvature
    return replace(second, curvature=curvature, evaluations=second.evaluations + result.evaluations)


def _best(minima: list[Minimum]) -> Minimum:
    return min(minima, key=lambda minimum: minimum.value)


def _start_on_subsets(
    scaled: Scaled, settings: Settings, starts: list[Start], rows: int, seed: int
) -> tuple[Start, int]:
    """Climb from all starts on an eighth of the readings, then on a third: few steps are left on all of them.

    On the third, where it is cheap, the exact curvature is taken by differences. What it is more than the average
    information stays nearly the same per reading; known from the start, it makes the last climb quadratic.
    """
    sizes = (max(100, rows // 8), *((rows // 3,) if rows > LARGE else ()), rows)
    evaluations = 0
    for size, following in itertools.pairwise(sizes):
        subset = _subset(scaled, size / rows, seed)
        problem = make_problem(replace(scaled, prior=trend_prior(subset, scaled.trend)), settings, subset)
        rough = _rough(problem.objective, starts, lambda value: None)
        tolerance = TOLERANCE if following == rows > LARGE else 10 * TOLERANCE  # where its curvature will be taken
        best = _descend(problem.objective, rough, lambda value: None, tolerance=tolerance)
        correction = None
        if rows > LARGE and following == rows and best.curvature is not None:
            correction = (_difference_curvature(problem.objective, best.x) - best.curvature) * (rows / size)
        starts = [Start(best.x, correction)]
        evaluations += problem.objective.evaluations
    return starts[0], evaluations


def _subset(scaled: Scaled, share: float, seed: int) -> Readings:
    """A random share of each task's readings, but no fewer than its trend needs.

    Chosen by the readings' ranks within their task, so that the order of rows and the names of tasks don't matter.
    """
    readings = scaled.readings
    keep = np.zeros(len(readings.y), dtype=bool)
    minimum = scaled.trend.columns(readings.x[:1]).shape[1] + 2
    for mine in rows_of_tasks(readings.task, readings.tasks):
        mine = mine[np.lexsort((*readings.x[mine].T, readings.y[mine]))]
        size = min(len(mine), max(minimum, math.ceil(share * len(mine))))
        keep[np.random.default_rng(seed).choice(mine, size, replace=False)] = True
    return readings.of_tasks(keep)


def _difference_curvature(objective: Objective, θ: Floats) -> Floats:
    """Hessian (p, p) by central differences of the gradient, made positive definite."""
    step = 1e-4
    columns = []
    for e in step * np.eye(len(θ)):
        up, down = objective(θ + e, 1).gradient, objective(θ - e, 1).gradient
        assert up is not None
        assert down is not None
        columns.append((up - down) / (2 * step))
    values, vectors = np.linalg.eigh(0.5 * (np.array(columns) + np.array(columns).T))
    return np.asarray((vectors * np.maximum(values, 1e-2)) @ vectors.T)
