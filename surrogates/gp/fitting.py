"""From a table of observations to hyper-parameters: scale, collapse, choose a solver, minimise, draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import NumericalError
from surrogates.training import Minimum, lbfgs, newton

from .collapse import Collapsed, Readings, collapse, rows_of_tasks, trend_prior
from .composite import Composite, CompositeCorrelations, CompositeGram
from .custom import CustomKernel, CustomSolver
from .design import Design
from .evidence import difference_curvature
from .gram import Gram
from .inducing.places import choose_places
from .inducing.process import streamed_process
from .inducing.workers import Workers
from .kernels import NARROWEST, Kernel, log_lengthscale
from .laplace import Draws, laplace_draws
from .library import Library
from .mixtures import MixtureGram
from .noise import KnownNoise
from .objective import Layout, Objective, ShapeParameters, Value
from .preparing import Scaled, Settings, log_units
from .process import Correlations, Process, StationaryCorrelations, condition
from .robust import Robust
from .rotated import rotated_process
from .shaped_noise import ShapedNoise, evidence_bound
from .sharing import AMPLITUDE_PRIOR, Coregional, Exchangeable, Sharing
from .solvers import SOLVERS, applicable_solvers, choose_solver
from .solvers._base import Solver
from .solvers.dense import Dense
from .solvers.inducing import Inducing
from .solvers.rotation import Rotation
from .tanimoto import Tanimoto, TanimotoCorrelations
from .trends import Trend

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


def make_sharing(settings: Settings, tasks: int) -> Sharing:
    """The task covariance that the settings ask for."""
    if not isinstance(settings.sharing, str):
        return settings.sharing
    if settings.sharing == "icm":
        return Coregional(tasks, min(settings.rank, tasks))
    if settings.sharing == "robust" and tasks > 1:
        return Robust(tasks, settings.apart)
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
    if isinstance(settings.kernel, Tanimoto | Composite):
        return ("dense",)
    design = collapse(scaled.readings, scaled.trend, scaled.prior).design
    return applicable_solvers(design, make_sharing(settings, design.tasks))


def make_layout(settings: Settings, sharing: Sharing, design: Design) -> Layout:
    """Names, bounds and priors of the hyper-parameters, in scaled units."""
    known = isinstance(design.noise, KnownNoise)
    noise_bounds = (math.log(1e-10 if known else 1e-6), math.log(4.0))
    slopes = design.noise.slopes if isinstance(design.noise, ShapedNoise) else 0
    return Layout(_shapes(settings, sharing, design), sharing, design.noise.names, NOISE_PRIOR, noise_bounds, slopes)


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
    if isinstance(settings.kernel, Composite):
        return Dense(design, CompositeGram(design.x, design.task, design.tasks, settings.kernel))
    kernels = (settings.kernel,) * sharing.components
    if settings.blind:
        return Dense(design, Gram(design.x[:, : -settings.blind], design.task, design.tasks, kernels))
    name = choose_solver(design, sharing) if settings.solver == "auto" else settings.solver
    if name == Inducing.name:
        Z = scaled.common_places
        if Z is None:  # readings that came later made them many
            Z = choose_places(
                design.x, settings.kernel, np.exp(_shape_means(design.x)), count=settings.inducing, seed=0
            )
        return Inducing(design, kernels, Z, workers)
    return SOLVERS[name](design, kernels)


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
        elif isinstance(settings.kernel, Composite):
            correlations = CompositeCorrelations(settings.kernel, state.shapes)
        elif isinstance(settings.kernel, Tanimoto):
            assert library is not None
            correlations = TanimotoCorrelations(library, state.shapes)
        else:
            kernels = (settings.kernel,) * state.mixing.components
            unseen = np.full((len(state.shapes), settings.blind), np.inf)
            correlations = StationaryCorrelations(kernels, np.concatenate([state.shapes, unseen], axis=1))
        inverse = objective.inverse(state)
        return condition(objective.design, trend, correlations, state, inverse, nugget, settings.blind)

    return at


def fit_posterior(
    scaled: Scaled,
    settings: Settings,
    *,
    integrate: bool | None,
    seed: int,
    progress: Callable[[float], None],
    near: Sequence[Floats] = (),
    workers: Workers | None = None,
) -> tuple[Posterior, Problem]:
    """Minimise the objective, then draw around the minimum; from starts `near` it (p,), if there are any."""
    posterior, problem = climb(scaled, settings, seed=seed, progress=progress, near=near, workers=workers)
    rows = len(problem.objective.design.x)
    if rows <= INTEGRATE_UP_TO if integrate is None else integrate:
        posterior = integrated(posterior, problem, count=points_tried(rows), seed=seed)
    return posterior, problem


def climb(
    scaled: Scaled,
    settings: Settings,
    *,
    seed: int,
    progress: Callable[[float], None],
    near: Sequence[Floats] = (),
    workers: Workers | None = None,
) -> tuple[Posterior, Problem]:
    """The objective's minimum, from several starts or from those `near` it; its only draw is the mode."""
    problem = make_problem(scaled, settings, workers=workers)
    objective, layout = problem.objective, problem.objective.layout
    rows = len(objective.design.x)
    starts = [Start(x) for x in near] or _starts(settings, layout)
    evaluations = 0
    if (
        not near
        and rows > SUBSET_ABOVE
        and not isinstance(settings.kernel, CustomKernel)
        and objective.solver.name == "dense"
    ):
        first, evaluations = _start_on_subsets(scaled, settings, starts, rows, seed)
        starts = [first]
    rough = _rough(objective, starts, progress)
    best = _descend(objective, rough, progress, tolerance=TOLERANCE if rows <= LARGE else 10 * TOLERANCE)
    likelihood = -best.value - objective.log_prior(best.x) + log_units(scaled, objective.design)
    if scaled.degrees is not None and scaled.readings.weight is not None:
        likelihood += evidence_bound(scaled.readings.weight, scaled.degrees)
    draws = Draws(best.x[None], np.ones(1), 1.0)
    return Posterior(layout, best.x, draws, best, evaluations + objective.evaluations, likelihood), problem


def integrated(posterior: Posterior, problem: Problem, *, count: int, seed: int) -> Posterior:
    """The same posterior, with weighted draws out of `count` points tried."""
    objective, best = problem.objective, posterior.minimum
    before = objective.evaluations
    curvature = best.curvature if best.curvature is not None else difference_curvature(objective, best.x)
    draws = laplace_draws(
        lambda θ: objective(θ, 0).value,
        best.x,
        curvature,
        posterior.layout.bounds,
        count=count,
        keep=DRAWS,
        seed=seed,
    )
    return replace(posterior, draws=draws, evaluations=posterior.evaluations + objective.evaluations - before)


def quick_minimum(scaled: Scaled, settings: Settings, start: Start | None = None) -> tuple[Minimum, Problem]:
    """A descent to a hundredth of a nat from `start`, or from the better one of the usual starts."""
    problem = make_problem(scaled, settings)
    starts = _starts(settings, problem.objective.layout) if start is None else [start]
    rough = _rough(problem.objective, starts, lambda value: None)
    return _descend(problem.objective, rough, lambda value: None, tolerance=10 * TOLERANCE), problem


def thinned(scaled: Scaled, rows: int, seed: int) -> Scaled:
    """About so many of the readings, in the same scaling; all of them, if they are no more."""
    share = rows / len(scaled.readings.y)
    if share >= 1:
        return scaled
    subset = _subset(scaled, share, seed)
    return replace(scaled, readings=subset, prior=trend_prior(subset, scaled.trend))


def points_tried(rows: int) -> int:
    """How many hyper-parameter points to try."""
    return int(np.clip(POINTS_TIMES_ROWS // rows, LEAST_POINTS, MOST_POINTS))


def _shapes(settings: Settings, sharing: Sharing, design: Design) -> ShapeParameters:
    if isinstance(settings.kernel, CustomKernel):
        return settings.kernel.shape_parameters()
    if isinstance(settings.kernel, Tanimoto | Composite):
        return settings.kernel.shape_parameters(sharing.components)
    d = design.x.shape[1] - settings.blind
    suffixes = [f", {name}" if name else "" for name in sharing.component_names]
    names = tuple(f"log l[{k}{suffix}]" for suffix in suffixes for k in range(d))
    size = len(names)
    bounds = [(math.log(NARROWEST), math.log(settings.widest))] * size
    mean, deviation = np.tile(_shape_means(design.x[:, :d]), sharing.components), np.full(size, settings.spread)
    if settings.lengthscales is not None:
        mean, deviation = (np.array(part) for part in settings.lengthscales)
    return ShapeParameters(names, mean, deviation, bounds, True, sharing.components)


def _shape_means(x: Floats) -> Floats:
    """(d,) prior means of log length-scales of inputs x (n, d)."""
    return np.full(x.shape[1], log_lengthscale(max(1, int((np.ptp(x, axis=0) > 0).sum()))))


def _starts(settings: Settings, layout: Layout) -> list[Start]:
    if isinstance(settings.kernel, CustomKernel):
        noise = layout.noise_start(layout.noise_prior[0])
        return [Start(layout.join(layout.shapes.mean, layout.sharing.start(0.8), noise))]
    if isinstance(settings.kernel, Composite):
        return [
            Start(layout.join(shapes, layout.sharing.start(ρ), layout.noise_start(math.log(σ2))))
            for l, ρ, σ2 in STARTS
            for shapes in settings.kernel.starts(l, layout.shapes.components)
        ]
    is_stationary = layout.shapes.logarithmic
    starts = [
        Start(layout.join(shapes, layout.sharing.start(ρ), layout.noise_start(math.log(σ2))))
        for l, ρ, σ2 in STARTS
        for shapes in [np.full(len(layout.shapes.names), math.log(l)) if is_stationary else layout.shapes.mean]
    ]
    if isinstance(layout.sharing, Exchangeable) and layout.sharing.amplitude != AMPLITUDE_PRIOR:
        # processes that may well be next to nothing: one start says that they are
        small, (mean, deviation) = starts[1].x.copy(), layout.sharing.amplitude
        small[layout.names.index("log s")] = mean - 2 * deviation
        starts.append(Start(small))
    return starts


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
            correction = (difference_curvature(problem.objective, best.x) - best.curvature) * (rows / size)
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
