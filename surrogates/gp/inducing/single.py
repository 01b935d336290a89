"""`InducingGP`: one task with many readings, up to about a million."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.counts import whole
from surrogates.errors import DataError, FitWarning
from surrogates.progress import Progress, progress_bar
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Schema, Table
from surrogates.training import Minimum

from ..collapse import Readings, collapse, trend_prior
from ..fitting import Start, descend, descend_from_starts, make_layout
from ..kernels import KERNELS, Kernel, kernel_named
from ..objective import Objective
from ..preparing import Settings
from ..sharing import Exchangeable
from ..solvers.dense import Dense
from ..solvers.inducing import Inducing
from ..trends import NAMES, Trend, make_trend
from .blocks import Blocks, cut
from .fitted_single import FittedInducingGP, Large
from .places import choose_places
from .process import streamed_process
from .single_report import make_report
from .workers import Workers

Floats = NDArray[np.float64]
#: readings of a block, inside which the covariance is exact
BLOCK = 100
#: neighbouring blocks that are solved exactly, for a start and to measure the error
EXACT_BLOCKS = 8
#: rows whose likelihood the hyper-parameters maximise, a random choice of blocks
FIT_ROWS = 50_000
NO_TREND = Trend("none", ())


class Data(NamedTuple):
    """Scaled readings of one task, their trend taken off."""

    inputs: InputScaling
    target: TargetScaling
    trend: Trend
    beta: Floats  # (p,)
    readings: Readings  # its tasks are the blocks
    blocks: Blocks


@dataclass(frozen=True)
class InducingGP:
    """An approximate Gaussian process for one task with many readings: values at inducing places tie blocks together.

    Readings are cut into neighbourhoods of about 100. The covariance is exact inside a block, and goes through the
    inducing places between blocks (Snelson & Ghahramani 2007, partially independent conditional):

        y = h(x)'β + f(x) + ε,    Cov f = blkdiag(K - Q) + Q,    Q = K_xZ K_ZZ⁻¹ K_Zx

    Up to 10,000 rows `HierarchicalGP` is exact, and of thousands of tasks it keeps every one exact; this model is for
    what neither holds. Hyper-parameters maximise the likelihood of a random choice of blocks with up to 50,000 rows
    times `HierarchicalGP`'s weak priors; then all readings are conditioned on. The report says how far the approximation
    is from the exact model: left-out predictions with half of the places, and against an exact model of neighbouring
    blocks.

    Parameters
    ----------
    schema : names of inputs, target and fidelity (each has its noise); no task, no known noise
    inducing : number of inducing places, among the readings' own; cost grows with its square
    kernel : "matern52" (default), "rbf", "matern32", "matern12", each with one length-scale per input
    trend : "none", "constant", "linear" (default), "quadratic"; its coefficients are least-squares estimates, taken as
        known, since many readings leave them little freedom

    Notes
    -----
    Predictions jump a little between blocks. Work is n M² for n readings and M places for each evaluation; memory besides
    the data is that of M² numbers and one batch of blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from surrogates import as_dataset
    >>> x = np.random.default_rng(0).uniform(0, 1, 500)
    >>> data = as_dataset(x, np.sin(6 * x) + 0.1 * np.random.default_rng(1).normal(size=500), inputs=["x"])
    >>> fitted = InducingGP(Schema(inputs="x", target="y"), inducing=40).fit(data)
    >>> bool(abs(fitted.predict(data)["mean"] - np.sin(6 * data["x"])).max() < 0.1)
    True
    """

    schema: Schema
    inducing: int = 500
    kernel: str = "matern52"
    trend: str = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "inducing", whole(self.inducing, "inducing"))
        if self.kernel not in KERNELS:
            raise DataError(f"kernel is {self.kernel!r}; choose one of {sorted(KERNELS)}")
        if self.trend not in NAMES:
            raise DataError(f"trend is {self.trend!r}; choose one of {NAMES}")
        for what, name in (("task", self.schema.task), ("noise", self.schema.noise)):
            if name is not None:
                raise DataError(
                    f"the schema names {what} {name!r}; InducingGP is for one task whose noise is learnt: leave it out, "
                    f"or use HierarchicalGP"
                )

    def fit(
        self, data: xr.Dataset | pd.DataFrame, *, seed: int = 0, progress: Progress = None, workers: Any = 1
    ) -> FittedInducingGP:
        """Learn the hyper-parameters from observations, and condition on all of them.

        Parameters
        ----------
        data : with the variables that the schema names; rows with a NaN target count as not observed
        seed : of the blocks that hyper-parameters are learnt on
        progress : True for a bar, or a function of (evaluations, objective)
        workers : who works on the blocks, as in `HierarchicalGP.fit`

        Raises
        ------
        DataError
            Names that aren't there, no observation at all, NaN or inf in inputs.

        Warns
        -----
        FitWarning
            If the fit ended early, or its approximation is coarse; also in ``report.warnings``.
        """
        began = time.perf_counter()
        whole(seed, "seed", least=0)
        table = self.schema.encode(data)
        kernel = kernel_named(self.kernel)
        settings = Settings(kernel, "none", "common", 1, "fidelity", Inducing.name, inducing=self.inducing)
        scaled = prepare(table, self.trend)
        generator = np.random.default_rng(seed)
        near = neighbours(scaled, generator)
        start = descend_from_starts(exact(pilot(scaled, near, generator), settings), settings)
        Z = choose_places(
            scaled.readings.x, kernel, np.exp(start.x[: scaled.readings.x.shape[1]]), count=self.inducing, seed=seed
        )
        with Workers(workers) as team:
            some = streamed(random_blocks(scaled, generator), settings, Z, team)
            with progress_bar(progress, "fit") as step:
                best: Minimum = descend(some, Start(start.x), step)
            every = streamed(scaled.readings, settings, Z, team)
            report = make_report(table, scaled, (every, some, streamed(near, settings, Z), exact(near, settings)), best)
        state = every.state(best.x)[0]
        assert isinstance(every.solver, Inducing)
        process = streamed_process(every.solver, NO_TREND, state, 0.0)
        report = replace(report, seconds=time.perf_counter() - began)
        for warning in report.warnings:
            warnings.warn(warning, FitWarning, stacklevel=2)
        large = Large(scaled.inputs, scaled.target, scaled.trend, scaled.beta, scaled.blocks, kernel, best.x, process)
        return FittedInducingGP(self.schema, table.vocabulary, report, large)


def prepare(table: Table, trend: str) -> Data:
    """Scale, take the trend off, and cut into blocks."""
    inputs = InputScaling.fit(table.x)
    x = inputs(table.x)
    basis = make_trend(trend, x)
    columns = basis.columns(x)
    target = TargetScaling.fit(table.y, np.zeros(len(x), dtype=np.int64), columns)
    y = target(table.y)
    β = np.zeros(columns.shape[1])
    if len(β):
        β[:] = np.linalg.lstsq(columns, y, rcond=None)[0]
    blocks = cut(np.unique(x, axis=0), BLOCK)
    names = tuple(str(label) if label is not None else "all" for label in table.vocabulary.fidelities)
    readings = Readings(x, y - columns @ β, blocks.of(x), blocks.count, table.fidelity, names, None)
    return Data(inputs, target, basis, β, readings, blocks)


def streamed(readings: Readings, settings: Settings, Z: Floats, workers: Workers | None = None) -> Objective:
    """The approximate likelihood."""
    design = collapse(readings, NO_TREND, trend_prior(readings, NO_TREND)).design
    sharing = Exchangeable(1)  # one process: the blocks have nothing of their own
    assert isinstance(settings.kernel, Kernel)
    return Objective(design, make_layout(settings, sharing, design), Inducing(design, (settings.kernel,), Z, workers))


def exact(readings: Readings, settings: Settings) -> Objective:
    """The exact likelihood of a few readings."""
    one = replace(readings, task=np.zeros(len(readings.y), dtype=np.int64), tasks=1)
    design = collapse(one, NO_TREND, trend_prior(one, NO_TREND)).design
    assert isinstance(settings.kernel, Kernel)
    return Objective(design, make_layout(settings, Exchangeable(1), design), Dense.of(design, (settings.kernel,)))


def neighbours(data: Data, generator: np.random.Generator) -> Readings:
    """Readings of some blocks side by side: of one branch of the tree."""
    first = EXACT_BLOCKS * int(generator.integers(max(1, data.blocks.count // EXACT_BLOCKS)))
    return data.readings.of_tasks((data.readings.task >= first) & (data.readings.task < first + EXACT_BLOCKS))


def pilot(data: Data, near: Readings, generator: np.random.Generator) -> Readings:
    """Half of the neighbouring readings, which tell of detail, and as many from everywhere, which tell of the whole."""
    readings, count = data.readings, min(len(near.y) // 2, len(data.readings.y))
    keep = np.zeros(len(readings.y), dtype=bool)
    keep[generator.choice(len(readings.y), count, replace=False)] = True
    first = int(near.task.min())
    keep |= (readings.task >= first) & (readings.task < first + EXACT_BLOCKS // 2)
    return readings.of_tasks(keep)


def random_blocks(data: Data, generator: np.random.Generator) -> Readings:
    """Readings of as many blocks as have about `FIT_ROWS`; of all, if they have fewer."""
    readings, count = data.readings, data.blocks.count
    share = min(1.0, FIT_ROWS / len(readings.y))
    chosen = np.zeros(count, dtype=bool)
    chosen[generator.choice(count, max(1, round(share * count)), replace=False)] = True
    return readings.of_tasks(chosen[readings.task])
