"""Levels fitted one after the other, each given its parent's values: recursive co-kriging, and its nonlinear kin.

    autoregressive   f_l(x) = ρ f_p(x) + h(x)'β_t + δ_l(x)          (Kennedy & O'Hagan 2000; Le Gratiet & Garnier 2014)
    nonlinear        f_l(x) = ρ f_p(x) + h(x)'β_t + w_l(x, f_p(x))  (after Perdikaris et al. 2017)

β flat, ρ ~ N(0.5, 1) in scaled units and integrated in closed form with β; δ and w are Gaussian processes, shared between
tasks as in `HierarchicalGP`. The linear term beside w is ours. With exact readings of the parent wherever a level was
read, p(y) = Π_l p(y_l | y_p): no approximation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.posterior import Moments
from surrogates.scaling import InputScaling, TargetScaling

from ..collapse import Readings, trend_prior
from ..core import Core
from ..evidence import log_evidence
from ..fitting import DRAWS, Scaled, Settings, fit_posterior
from ..noise import EXACT
from ..process import Conditioned, Process
from ..trends import Covariate, make_trend
from .chain import Chain, Coefficients
from .levels import DISCREPANCY_PRIOR, INHERITED_DEVIATION, RHO_DEVIATION, RHO_MEAN, Levels

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
KINDS = ("autoregressive", "nonlinear")
#: variances that stand for zero where levels build on each other: errors of cheap levels are amplified by dear ones
JITTERS = (1e-12, 1e-10)


class Rho(NamedTuple):
    """Normal prior of the coefficient of the parent's values, in scaled units.

    shared : one coefficient for all tasks, else one per task
    """

    mean: float = RHO_MEAN
    deviation: float = RHO_DEVIATION
    shared: bool = True


@dataclass(frozen=True, eq=False)
class RecursiveFit:
    """Posterior of all levels.

    kind : one of `KINDS`
    cores : (L,) each level's fit given its parent
    widths : (L,) what parents' values are divided by as an input
    evidences : (L,) log p(y_l | y_p), hyper-parameters integrated
    """

    levels: Levels
    kind: str
    cores: tuple[Core, ...]
    widths: tuple[float, ...]
    evidences: tuple[float, ...]

    @property
    def jitters(self) -> tuple[float, ...]:
        """(L,) scaled variance that stood for zero in each level's exact readings; above `JITTERS[0]` it was needed."""
        return tuple(core.scaled.readings.exact for core in self.cores)

    @property
    def log_evidence(self) -> float:
        """log p(y) in scaled units."""
        return float(sum(self.evidences))

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """One posterior of all levels per joint draw of the levels' hyper-parameters; its tasks are task · L + level."""
        return self.chains

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The same, with what a chain knows of its levels."""
        of_level = []
        for core, draw in zip(self.cores, self._draws, strict=True):
            made: dict[int, Conditioned] = {}
            for k in sorted(set(draw.tolist())):
                process = core.processes[k]
                assert isinstance(process, Conditioned)
                made[k] = process
            of_level.append([made[k] for k in draw.tolist()])
        linear = self.kind == "autoregressive"
        return tuple(Chain(self.levels.parents, levels, self.widths, linear) for levels in zip(*of_level, strict=True))

    @cached_property
    def weights(self) -> Floats:
        """(k,) of the processes."""
        if len(self.cores) == 1:
            return self.cores[0].weights
        k = len(self._draws[0])
        return np.full(k, 1.0 / k)

    @cached_property
    def _draws(self) -> tuple[Integers, ...]:
        """(L,) which of its draws each level has in every joint draw; levels are independent of each other."""
        if len(self.cores) == 1:
            return (np.arange(len(self.cores[0].weights)),)
        most = max(len(core.weights) for core in self.cores)
        count = 1 if most == 1 else DRAWS
        return tuple(_paired(core.weights, count, l) for l, core in enumerate(self.cores))

    def leave_one_out(self) -> Moments:
        """Mean and variance (N,) of every reading given the others of its level, and all of its parent's."""
        mean, variance = np.empty(len(self.levels.y)), np.empty(len(self.levels.y))
        for l, core in enumerate(self.cores):
            rows = self.levels.rows(l)
            mean[rows], variance[rows] = core.leave_one_out()
        return Moments(mean, variance)

    def coefficients(self) -> tuple[Coefficients | None, ...]:
        """(L,) posterior mean and covariance of the tasks' ρ, in units of the levels' scaled values; None for roots."""
        found: list[Coefficients | None] = []
        for l, p in enumerate(self.levels.parents):
            parts = [chain.coefficients[l] for chain in self.chains]
            if p is None:
                found.append(None)
                continue
            means = np.stack([part.mean for part in parts if part is not None])
            centre = self.weights @ means
            spread = (self.weights[:, None] * (means - centre)).T @ (means - centre)
            within = sum(w * part.covariance for w, part in zip(self.weights, parts, strict=True) if part is not None)
            found.append(Coefficients(centre, spread + within))
        return tuple(found)


def fit_recursive(
    levels: Levels,
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
    if not levels.is_nested_exact():
        raise DataError(
            f"kind={kind!r} needs exact readings (known noise of zero), and one of the parent wherever a level was read; "
            f"use a joint structure"
        )
    cores: list[Core] = []
    widths: list[float] = []
    evidences: list[float] = []
    settings = replace(settings, noise="fidelity" if levels.variance is None else "known")
    for l in range(levels.L):
        width = _width(levels, l, kind)
        scaled = _scaled(levels, l, levels.parent_values, width, settings, rho or Rho())
        own, p = settings, levels.parents[l]
        if p is not None:
            own = replace(settings, amplitude=DISCREPANCY_PRIOR)
        if p is not None and kind == "autoregressive":
            own = replace(own, blind=1, lengthscales=_inherited(cores[p]))
        # a single level is what HierarchicalGP makes of it
        core, evidence = _fit_level(scaled, own, JITTERS if levels.L > 1 else (EXACT,), integrate, seed, progress)
        cores.append(core)
        widths.append(width)
        evidences.append(evidence)
    return RecursiveFit(levels, kind, tuple(cores), tuple(widths), tuple(evidences))


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


def _fit_level(
    scaled: Scaled,
    settings: Settings,
    jitters: tuple[float, ...],
    integrate: bool | None,
    seed: int,
    progress: Callable[[float], None],
) -> tuple[Core, float]:
    """One level's fit and its evidence, with the least jitter whose descent settles."""
    for jitter in jitters:
        own = replace(scaled, readings=replace(scaled.readings, exact=jitter))
        posterior, problem = fit_posterior(own, settings, integrate=integrate, seed=seed, progress=progress)
        if posterior.minimum.outcome.is_success:
            break
    core = Core(own, settings, posterior.draws, posterior.mode)
    core.__dict__["problem"] = problem  # a cached property, whose value the fit has made already
    return core, log_evidence(problem.objective, posterior.layout, posterior.mode, posterior.draws)


def _width(levels: Levels, level: int, kind: str) -> float:
    """What the parent's values are divided by, so that as inputs they have width one as all others; one for trends."""
    p = levels.parents[level]
    if kind == "autoregressive" or p is None:
        return 1.0
    width = float(np.ptp(levels.y[levels.rows(p)]))
    return width if width > 0 else 1.0


def _scaled(levels: Levels, level: int, parent: Floats, width: float, settings: Settings, rho: Rho) -> Scaled:
    """One level's readings, with the parent's values as last input."""
    rows, x = levels.rows(level), levels.x
    trend = make_trend(settings.trend, x)
    x = x[rows]
    if levels.parents[level] is not None:
        column = parent[rows]
        unit = width / rho_unit(column, levels.task[rows], trend.columns(x))
        trend = replace(trend, covariates=(Covariate(x.shape[1], rho.mean * unit, rho.deviation * unit, rho.shared),))
        x = np.concatenate([x, column[:, None] / width], axis=1)
    variance = None if levels.variance is None else levels.variance[rows]
    group = np.zeros(len(rows), dtype=np.int64)
    readings = Readings(x, levels.y[rows], levels.task[rows], levels.T, group, (f"level {level}",), variance)
    d = x.shape[1]
    inputs = InputScaling(np.zeros(d), np.ones(d))
    return Scaled(inputs, TargetScaling(0.0, 1.0), trend, trend_prior(readings, trend), readings)


def _paired(weights: Floats, count: int, stream: int) -> Integers:
    """`count` draws, each as often as its weight says, in an order of the level's own (the root keeps its own)."""
    ticks = (np.arange(count) + 0.5) / count
    drawn = np.minimum(np.searchsorted(np.cumsum(weights), ticks), len(weights) - 1)
    return np.asarray(np.random.default_rng(stream).permutation(drawn) if stream else drawn, dtype=np.int64)
