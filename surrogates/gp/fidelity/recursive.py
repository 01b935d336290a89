"""Nested fitted one after the other, each given its parent's values: recursive co-kriging, and its nonlinear kin.

    autoregressive   f_l(x) = ρ f_p(x) + h(x)'β_t + δ_l(x)          (Kennedy & O'Hagan 2000; Le Gratiet & Garnier 2014)
    nonlinear        f_l(x) = ρ f_p(x) + h(x)'β_t + w_l(x, f_p(x))  (after Perdikaris et al. 2017)

β flat, ρ ~ N(0.5, 1) in scaled units and integrated in closed form with β; δ and w are Gaussian processes, shared between
tasks as in `HierarchicalGP`. The linear term beside w is ours. With exact readings of the parent wherever a level was
read, p(y) = Π_l p(y_l | y_p): no approximation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, JitterWarning
from surrogates.posterior import mix
from surrogates.scaling import InputScaling, TargetScaling

from ..collapse import Readings, trend_prior
from ..core import Core
from ..evidence import log_evidence
from ..fitting import DRAWS, Scaled, Settings, fit_posterior
from ..kernels import KERNELS, Kernel
from ..noise import EXACT
from ..process import distinct_places
from ..trends import Covariate
from .imputation import Pins
from .levels import named_trend
from .nested import DISCREPANCY_PRIOR, INHERITED_DEVIATION, RHO_DEVIATION, RHO_MEAN, Nested
from .recursive_fit import Member, RecursiveFit

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
KINDS = ("autoregressive", "nonlinear")
#: variances that stand for zero where levels build on each other: errors of cheap levels are amplified by dear ones
JITTERS = (1e-12, 1e-10)
#: how often values of a parent that aren't known are drawn; and the share of its range below which its mean will do
IMPUTATIONS, NEGLIGIBLE = 8, 1e-3


class Rho(NamedTuple):
    """Normal prior of the coefficient of the parent's values, in scaled units.

    shared : one coefficient for all tasks, else one per task
    """

    mean: float = RHO_MEAN
    deviation: float = RHO_DEVIATION
    shared: bool = True


def fit_recursive(
    levels: Nested,
    settings: Settings,
    *,
    kind: str,
    integrate: bool | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda value: None,
    rho: Rho | None = None,
) -> RecursiveFit:
    """Fit each level given its parent's values.

    Parameters
    ----------
    levels : scaled readings
    settings : kernel, trend and sharing of every level; noise follows from `levels`
    kind : "autoregressive", for nested exact readings; or "nonlinear"
    integrate : average over draws of each level's hyper-parameters; None: where a level has few rows
    seed : of subsets and draws
    progress : called with the objective at every evaluation
    rho : prior of the coefficients; None: N(0.5, 1), shared

    Raises
    ------
    DataError
        If the kind is unknown, or the readings are not nested and exact where that is needed.
    """
    if kind not in KINDS:
        raise DataError(f"kind is {kind!r}; choose one of {KINDS}")
    if not isinstance(settings.kernel, Kernel):
        raise DataError(f"kernel is {settings.kernel!r}; levels that build on each other need one of {sorted(KERNELS)}")
    if kind == "autoregressive" and not levels.is_nested_exact():
        raise DataError(
            "kind='autoregressive' needs exact readings (known noise of zero), and one of the parent wherever a level was "
            "read; use a joint structure, or kind='nonlinear'"
        )
    settings = replace(settings, noise="fidelity" if levels.variance is None else "known")
    context = _Context(levels, settings, kind, rho or Rho(), integrate, seed, progress)
    shared: dict[int, tuple[Core, float]] = {}
    first = _fit_member(context, None, shared)
    if first is not None:
        return RecursiveFit(levels, kind, (first,))
    members = [_fit_member(context, np.random.default_rng([seed, m]), shared) for m in range(IMPUTATIONS)]
    return RecursiveFit(levels, kind, tuple(member for member in members if member is not None))


class _Context(NamedTuple):
    """What all levels' fits have in common."""

    levels: Nested
    settings: Settings
    kind: str
    rho: Rho
    integrate: bool | None
    seed: int
    progress: Callable[[float], None]


def _fit_member(
    context: _Context, generator: np.random.Generator | None, known: dict[int, tuple[Core, float]]
) -> Member | None:
    """Fits of all levels, parents' unknown values drawn by `generator`; without one, they are their means.

    None, if means were asked for and the parents are too uncertain.  known : fits of roots, which no draw changes
    """
    levels = context.levels
    cores: list[Core] = []
    evidences: list[float] = []
    pins: list[Pins | None] = [None] * levels.L
    widths = [_width(levels, l, context.kind) for l in range(levels.L)]
    for l, p in enumerate(levels.parents):
        values = np.zeros(0)
        if p is not None:
            imputed = _parent_values(context, l, (cores, widths, pins), generator)
            if imputed is None:
                return None
            values = imputed
        if p is not None or l not in known:
            known[l] = _fit_level(context, l, values, widths[l], cores)
        core, evidence = known[l]
        cores.append(core)
        evidences.append(evidence)
    return Member(tuple(cores), tuple(widths), tuple(evidences), tuple(pins))


def _parent_values(
    context: _Context,
    level: int,
    so_far: tuple[list[Core], list[float], list[Pins | None]],
    generator: np.random.Generator | None,
) -> Floats | None:
    """The parent's values (n,) at a level's rows: read, or else their means, or a draw, which `pins` then hold."""
    levels, (cores, widths, pins) = context.levels, so_far
    rows = levels.rows(level)
    values = levels.parent_values[rows]
    unknown = rows[np.isnan(values)]
    if not len(unknown):
        return values
    ancestors, p = [], levels.parents[level]
    while p is not None:
        ancestors.append(p)
        p = levels.parents[p]
    below = Member(tuple(cores), tuple(widths[:level]), (0.0,) * level, tuple(pins[:level]))
    parents = levels.parents[:level]
    x, task = levels.x[unknown], levels.task[unknown]
    if generator is None:
        chains = below.chains(parents, len(cores[ancestors[0]].weights), linear=False)
        moments = mix(
            [c.moments(x, task * level + ancestors[0]) for c in chains], np.full(len(chains), 1 / len(chains))
        )
        if float(np.sqrt(moments.variance.max())) > NEGLIGIBLE * widths[level]:
            return None
        values[np.isnan(values)] = moments.mean
        return values
    chains = below.chains(parents, DRAWS, linear=False)
    chain = chains[int(generator.integers(len(chains)))]
    first, place = distinct_places(x, task)
    code = np.concatenate([task[first] * level + a for a in ancestors])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JitterWarning)  # of the draws' prior covariance, at most 1e-8 of its size
        draw = chain.sample(np.tile(x[first], (len(ancestors), 1)), code, 1, generator)[0]
    drawn = dict(zip(ancestors, draw.reshape(len(ancestors), -1), strict=True))
    for a in ancestors:
        own, q = x[first], levels.parents[a]
        if q is not None:
            own = np.concatenate([own, drawn[q][:, None] / widths[a]], axis=1)
        pins[a] = Pins(own, task[first], drawn[a]).beside(pins[a], x.shape[1])
    values[np.isnan(values)] = drawn[ancestors[0]][place]
    return values


def _fit_level(context: _Context, level: int, parent: Floats, width: float, cores: list[Core]) -> tuple[Core, float]:
    """One level's fit and its evidence, with the least jitter whose descent settles."""
    levels, own, p = context.levels, context.settings, context.levels.parents[level]
    if p is not None:
        own = replace(own, amplitude=DISCREPANCY_PRIOR)
    if p is not None and context.kind == "autoregressive":
        own = replace(own, blind=1, lengthscales=_inherited(cores[p]))
    plain = _scaled(levels, level, parent, width, own, context.rho)
    for jitter in JITTERS if levels.L > 1 else (EXACT,):  # a single level is what HierarchicalGP makes of it
        scaled = replace(plain, readings=replace(plain.readings, exact=jitter))
        posterior, problem = fit_posterior(
            scaled, own, integrate=context.integrate, seed=context.seed, progress=context.progress
        )
        if posterior.minimum.outcome.is_success:
            break
    core = Core(scaled, own, posterior.draws, posterior.mode)
    core.__dict__["problem"] = problem  # a cached property, whose value the fit has made already
    return core, log_evidence(problem.objective, posterior.layout, posterior.mode, posterior.draws)


def _inherited(parent: Core) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Prior means and deviations of a discrepancy's log l: around the parent's posterior means."""
    mean = parent.layout.split(parent.draws.weights @ parent.draws.parameters).log_shapes.ravel()
    return tuple(mean.tolist()), (INHERITED_DEVIATION,) * len(mean)


def rho_unit(parent: Floats, task: Integers, columns: Floats) -> float:
    """Residual spread of the parent's values at the rows of a level: the size of values that ρ's prior is meant for.

    A few rows may lie where the parent hardly differs from its trend. Then the level hardly does either, which its own
    scaling blows up; so the covariate is scaled like the target, at the same rows.

    parent: (n,) values, task: (n,), columns: (n, p) of the flat trend
    """
    return TargetScaling.fit(parent, task, columns).spread


def _width(levels: Nested, level: int, kind: str) -> float:
    """What the parent's values are divided by, so that as inputs they have width one as all others; one for trends."""
    p = levels.parents[level]
    if kind == "autoregressive" or p is None:
        return 1.0
    width = float(np.ptp(levels.y[levels.rows(p)]))
    return width if width > 0 else 1.0


def _scaled(levels: Nested, level: int, parent: Floats, width: float, settings: Settings, rho: Rho) -> Scaled:
    """One level's readings, with the parent's values (n,) there as last input."""
    rows, x = levels.rows(level), levels.x
    trend = named_trend(settings.trend, x)
    x = x[rows]
    if levels.parents[level] is not None:
        unit = width / rho_unit(parent, levels.task[rows], trend.columns(x))
        trend = replace(trend, covariates=(Covariate(x.shape[1], rho.mean * unit, rho.deviation * unit, rho.shared),))
        x = np.concatenate([x, parent[:, None] / width], axis=1)
    variance = None if levels.variance is None else levels.variance[rows]
    group = np.zeros(len(rows), dtype=np.int64)
    readings = Readings(x, levels.y[rows], levels.task[rows], levels.T, group, (f"level {level}",), variance)
    d = x.shape[1]
    inputs = InputScaling(np.zeros(d), np.ones(d))
    return Scaled(inputs, TargetScaling(0.0, 1.0), trend, trend_prior(readings, trend), readings)
