"""From a table to scaled readings: the choices of a fit, and data in the units that its hyper-parameters are meant in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Label, Points, Table

from .collapse import Readings, TrendPrior, trend_prior
from .composite import Composite
from .custom import CustomKernel
from .design import Design
from .kernels import LENGTHSCALE_DEVIATION, WIDEST, Kernel
from .library import Library
from .shaped_noise import NoiseBasis
from .sharing import Sharing
from .tanimoto import Tanimoto
from .trends import Basis, Trend, make_trend
from .warping import Warp

Floats = NDArray[np.float64]
AnyKernel = Kernel | CustomKernel | Tanimoto | Composite
#: choices of noise that varies with the place, and whether it does so with squares and products too
VARYING = MappingProxyType({"varying": False, "varying-quadratic": True})


@dataclass(frozen=True)
class Settings:
    """The choices of a `HierarchicalGP` that shape its likelihood.

    blind : how many of the last inputs stationary kernels don't see; these enter by the trend alone
    lengthscales : means and deviations of the normal priors of log l, one kernel's after the other; None: the usual ones
    spread, widest : deviation of the usual ones, and the upper bound of l
    """

    kernel: AnyKernel
    trend: str | Basis
    sharing: str | Sharing
    rank: int
    noise: str
    solver: str
    blind: int = 0
    lengthscales: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    spread: float = LENGTHSCALE_DEVIATION
    widest: float = WIDEST
    apart: tuple[int, ...] = ()  # of "robust" sharing: the tasks (codes) that share nothing
    inducing: int | None = None  # how many places the solver of that name has; None: as many as it needs

    @property
    def has_noise_by_task(self) -> bool:
        """Whether tasks may differ in their noise."""
        return self.noise == "task-fidelity" or (self.noise == "fidelity" and bool(self.apart))


@dataclass(frozen=True)
class Scaled:
    """Observations in scaled units, with the way back.

    library : of a Tanimoto kernel, the places that stand for vectors; their numbers are the only column of x
    warp : under which the readings were taken, before they were scaled
    degrees : of freedom of Student's t noise; then the readings have weights
    common_places : (M, d) where the solver "inducing" knows the common process
    """

    inputs: InputScaling
    target: TargetScaling
    trend: Trend
    prior: TrendPrior
    readings: Readings
    library: Library | None = None
    warp: Warp | None = None
    degrees: float | None = None
    common_places: Floats | None = None


def scale(table: Table, settings: Settings, warp: Warp | None = None) -> Scaled:
    """Scale inputs and target, and prepare the trend; the table's target is warped already."""
    inputs, x, library = _scale_inputs(table, settings.kernel)
    trend = make_trend(settings.trend, x)
    if isinstance(settings.kernel, Composite):  # along labels and around a circle there is no trend
        trend = replace(trend, active=tuple(k for k in trend.active if k in settings.kernel.trending))
    target = TargetScaling.fit(table.y, table.task, trend.columns(x))
    readings = make_readings(table, x, target, settings.noise)
    return Scaled(inputs, target, trend, trend_prior(readings, trend), readings, library, warp)


def _scale_inputs(table: Table, kernel: AnyKernel) -> tuple[InputScaling, Floats, Library | None]:
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
    if noise == "none":
        variance = np.zeros(len(table.y))
    elif noise == "known":
        if table.noise_variance is None:
            raise DataError("noise='known', but the schema names no noise variable; give Schema(noise=...) one")
        variance = table.noise_variance / target.spread**2
    names = [str(label) if label is not None else "all" for label in vocabulary.fidelities]
    group = table.fidelity
    if noise == "task-fidelity":
        group = table.task * F + table.fidelity
        names = [name if t is None else f"{t}, {name}" for t in vocabulary.tasks for name in names]
    basis = None
    if noise in VARYING:
        labels = [k for k, name in enumerate(vocabulary.units) if name in vocabulary.categories]
        columns = tuple(k for k in range(x.shape[1]) if np.ptp(x[:, k]) > 0 and k not in labels)
        basis = NoiseBasis(columns, VARYING[noise])
    return Readings(x, target(table.y), table.task, T, group, tuple(names), variance, basis=basis)


def own_noise(readings: Readings, settings: Settings, labels: Sequence[Label | None]) -> Readings:
    """Noise groups of their own for the tasks that share nothing: F more for each, where noise is learnt by fidelity."""
    if not settings.apart or settings.noise != "fidelity":
        return readings
    block = np.zeros(readings.tasks, dtype=np.int64)
    block[list(settings.apart)] = 1 + np.arange(len(settings.apart))
    names = readings.groups
    more = [f"{name} ({labels[t]} alone)" for t in settings.apart for name in names]
    group = readings.group + len(names) * block[readings.task]
    return replace(readings, group=group, groups=(*names, *more))


def log_units(scaled: Scaled, design: Design) -> float:
    """What brings a restricted log-likelihood from scaled readings to the target's own units.

    It sees the contrasts of the data that the flat trend leaves. Each carries one factor of the unit, and its share of
    the warp's Jacobian, the geometric mean of dz/dy: with the power ν/N of the Jacobian, N readings and ν contrasts, the
    choice of a warp doesn't depend on the unit, as in the Bayesian analysis of Box & Cox (1964; recalled, not looked up).
    """
    y = scaled.readings.y
    contrasts = len(y) - int((design.prior_precision == 0).sum())
    total = -contrasts * math.log(scaled.target.spread)
    if scaled.warp is not None:
        z = scaled.target.mean(y)
        total += contrasts * float(scaled.warp.log_slope(scaled.warp.inverse(z)).mean())
    return total
