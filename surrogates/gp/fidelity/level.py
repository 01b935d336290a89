"""One level's Gaussian process, with its parent's values as a further input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from surrogates.errors import NumericalError
from surrogates.scaling import InputScaling, TargetScaling

from ..collapse import Readings, trend_prior
from ..core import Core
from ..evidence import log_evidence
from ..fitting import fit_posterior
from ..kernels import kernel_named
from ..noise import EXACT
from ..preparing import Scaled, Settings
from ..sharing import AMPLITUDE_PRIOR, Exchangeable
from ..trends import Covariate
from .levels import Levels
from .linear import DISCREPANCY, LENGTHSCALES, RHO, WIDEST
from .nested import rows_of, single_parents
from .parts import Structure

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
KINDS = ("autoregressive", "nonlinear", "ignore")
#: variances that stand for zero where levels build on each other: errors of cheap levels are amplified by dear ones
JITTERS = (1e-12, 1e-10, 1e-8)
#: deviation of the normal prior of a discrepancy's log length-scales around its parent's: it varies where the parent does
INHERITED = 0.8
#: what the deviations of ρ and of slopes are multiplied by, with prior probabilities: a level with few readings may be
#: larger than its readings' spread, by which it is scaled. The most probable one is taken, the evidence averaged.
FACTORS = {1.0: 0.6, 4.0: 0.3, 16.0: 0.1}


class _Fit(Protocol):
    @property
    def is_success(self) -> bool: ...
    @property
    def log_evidence(self) -> float: ...


Settled = TypeVar("Settled", bound=_Fit)


class Rho(NamedTuple):
    """Normal prior of the coefficient of the parent's values, in scaled units.

    shared : one coefficient for all tasks, else one per task
    """

    mean: float = RHO[0]
    deviation: float = RHO[1]
    shared: bool = True


@dataclass(frozen=True)
class Recipe:
    """How all levels are fitted.

    integrate : average over draws of each level's hyper-parameters; None: where a level has few rows
    """

    structure: Structure
    rho: Rho
    integrate: bool | None
    seed: int
    progress: Callable[[float], None]

    @property
    def is_linear(self) -> bool:
        """Levels are linear in their parents."""
        return self.structure.kind != "nonlinear"


class Level(NamedTuple):
    """A level's fit, given `values` (n,) of its parent at its rows.

    width : what the parent's values are divided by as an input, so that it is one wide as all others; one for trends
    factor : one of `FACTORS`
    """

    core: Core
    values: Floats
    width: float
    factor: float
    log_evidence: float
    is_success: bool
    evaluations: int


def fit_level(levels: Levels, level: int, values: Floats, parent: Core | None, recipe: Recipe) -> Level:
    """Hyper-parameters of one level, with the least jitter whose descent settles; a single level has the usual one.

    values : (n,) of the parent at the level's rows; of a root they aren't read
    parent : its fit, or None
    """
    width = _width(levels, level, recipe)
    settings = settings_of(levels, level, recipe, parent)
    jitters = JITTERS if len(levels.targets) > 1 else (EXACT,)
    factors = FACTORS if parent is not None else {1.0: 1.0}
    found = []
    for factor in factors:

        def attempt(jitter: float, factor: float = factor) -> Level:
            scaled = scaled_level(levels, level, values, (width, factor), recipe, jitter)
            posterior, problem = fit_posterior(
                scaled, settings, integrate=recipe.integrate, seed=recipe.seed, progress=recipe.progress
            )
            core = Core.of_fit(scaled, settings, posterior, problem)
            evidence = log_evidence(problem.objective, posterior.layout, posterior.mode, posterior.draws)
            success = posterior.minimum.outcome.is_success
            return Level(core, values, width, factor, evidence, success, posterior.evaluations)

        found.append(with_least_jitter(attempt, jitters))
    weighed = [level.log_evidence + math.log(factors[level.factor]) for level in found]
    best = found[int(np.argmax(weighed))]
    total = sum(level.evaluations for level in found)
    return best._replace(log_evidence=float(logsumexp(weighed)), evaluations=total)


def with_least_jitter(attempt: Callable[[float], Settled], jitters: Sequence[float]) -> Settled:
    """The first fit that settles as the variance for exact readings grows; else the last one that could be made.

    At the edge of what can be factored a mode may be found, whose curvature can't: then the next variance is tried, too.

    Raises
    ------
    NumericalError
        If no fit could be made.
    """
    fit: Settled | None = None
    failure: NumericalError | None = None
    for jitter in jitters:
        try:
            fit = attempt(jitter)
        except NumericalError as error:
            failure = error
            continue
        if fit.is_success and math.isfinite(fit.log_evidence):
            return fit
    if fit is None:
        raise failure or NumericalError("no variance for exact readings was given to try")
    return fit


def settings_of(levels: Levels, level: int, recipe: Recipe, parent: Core | None) -> Settings:
    """Kernel, priors and noise of one level."""
    noise = "fidelity" if levels.variance is None else "known"
    amplitude = AMPLITUDE_PRIOR if parent is None else DISCREPANCY
    sharing = Exchangeable(levels.tasks, amplitude=amplitude)
    structure = recipe.structure
    settings = Settings(kernel_named(structure.kernel), structure.trend, sharing, 1, noise, "dense")
    if len(levels.targets) > 1:  # a single level is what HierarchicalGP makes of it
        settings = replace(settings, spread=LENGTHSCALES, widest=WIDEST)
    if parent is None or not recipe.is_linear:
        return settings
    mean = parent.layout.split(parent.mode).log_shapes.ravel()
    return replace(settings, blind=1, lengthscales=(tuple(mean.tolist()), (INHERITED,) * len(mean)))


def scaled_level(
    levels: Levels, level: int, values: Floats, scales: tuple[float, float], recipe: Recipe, jitter: float
) -> Scaled:
    """One level's readings, with the parent's values (n,) there as last input.  scales : width and factor of `Level`"""
    width, factor = scales
    rows, trend = rows_of(levels, level), levels.trend(recipe.structure.trend)
    x = levels.x[rows]
    if single_parents(levels.graph)[level] is not None:
        rho, slope = recipe.rho, None if trend.slope is None else factor * trend.slope
        covariate = Covariate(x.shape[1], rho.mean * width, factor * rho.deviation * width, rho.shared)
        trend = replace(trend, slope=slope, covariates=(covariate,))
        x = np.concatenate([x, values[:, None] / width], axis=1)
    variance = None if levels.variance is None else levels.variance[rows]
    label, group = str(levels.graph.labels[level]), np.zeros(len(rows), dtype=np.int64)
    readings = Readings(x, levels.y[rows], levels.task[rows], levels.tasks, group, (label,), variance, jitter)
    d = x.shape[1]
    # readings are scaled already; the inner machinery is to leave them alone
    inputs, target = InputScaling(np.zeros(d), np.ones(d)), TargetScaling(0.0, 1.0)
    return Scaled(inputs, target, trend, trend_prior(readings, trend), readings)


def _width(levels: Levels, level: int, recipe: Recipe) -> float:
    p = single_parents(levels.graph)[level]
    if p is None or recipe.is_linear:
        return 1.0
    width = float(np.ptp(levels.y[rows_of(levels, p)]))
    return width if width > 0 else 1.0
