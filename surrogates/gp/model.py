"""`HierarchicalGP`: the configuration, and its fit."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from surrogates.errors import DataError, FitWarning
from surrogates.progress import Progress, progress_bar
from surrogates.schema import Schema

from .core import Core
from .custom import CustomKernel, resolve_kernel
from .fitted import FittedHierarchicalGP
from .fitting import Scaled, Settings, fit_posterior, scale, usable_solvers
from .inducing.approximation import approximation
from .inducing.preparing import prepare
from .inducing.workers import Workers
from .kernels import Kernel
from .niw import base_covariance, expectation_maximisation
from .reporting import make_report
from .solvers import SOLVERS
from .solvers.inducing import Inducing
from .solvers.woodbury import union_of_places
from .tanimoto import Tanimoto
from .trends import NAMES as TRENDS
from .trends import Basis

SHARINGS = ("common", "two-kernels", "icm", "niw")
NOISES = ("auto", "fidelity", "task-fidelity", "known")


@dataclass(frozen=True)
class HierarchicalGP:
    """Gaussian processes of related tasks that share a common mean process, with one noise level per fidelity.

    For task τ, place x and fidelity f:

        y = h(x)'β_τ + μ0(x) + r_τ(x) + ε,   ε ~ N(0, σ²_f)
        μ0 ~ GP(0, s ρ ψ) common to all tasks,   r_τ ~ GP(0, s (1-ρ) ψ) own,   β_τ flat

    Trend coefficients and processes are integrated; s, ρ, length-scales and noise maximise the restricted likelihood
    times weak priors, or are averaged over weighted draws around that maximum.

    Parameters
    ----------
    schema : names of inputs, target, task, fidelity, known noise. Fidelities may differ in noise only; a biased
        instrument or a coarse code is a task
    kernel : "matern52" (default), "rbf", "matern32", "matern12", each with one length-scale per input; or a
        gpytorch.kernels.Kernel over the inputs scaled to [-1/2, 1/2]; or a `Tanimoto` for counts, such as molecular
        fingerprints, and "tanimoto" if all inputs are counts
    trend : each task's own trend h: "none", "constant", "linear" (default), "quadratic", or a function from scaled
        inputs (n, d) to columns (n, p)
    sharing : "common" (default) as above; "two-kernels", where μ0 and r_τ have their own length-scales; "icm", an
        intrinsic coregionalisation of `rank`; "niw", the paper's plug-in normal-inverse-Wishart hierarchy, a baseline
    rank : of "icm"
    noise : "auto" (known if the schema names a noise variable, else by fidelity), "fidelity", "task-fidelity", or "known".
        To known noise a nugget is learnt, for detail that the kernel can't resolve; unless all readings are exact: they
        are interpolated, with 1e-10 of the residual variance on the diagonal (``report.jitter``)
    solver : "auto", or one of "dense", "woodbury", "rotation", "kronecker"; all give the same answers. Or "inducing", for
        thousands of tasks: each task stays exact, and what tasks share is known by its values at some places, with an
        error that the report estimates. "auto" takes it above 10,000 rows, where tasks have places of their own
    inducing : number of those places; None: as leave 3e-5 of the common variance unexplained, up to 400
    integrate : average over hyper-parameter draws; None: if there are at most 250 rows

    Notes
    -----
    Priors, normal, in scaled units (the d inputs that vary fill the unit cube, the target's residual deviation from each
    task's own trend is one): log l ~ N(log(0.4 √d), 1.2²), log s ~ N(1.5, 2²), logit ρ ~ N(0.5, 1.75²), log σ² ~
    N(log 0.02, 2.5²). Chosen so that 95 % intervals hold what they promise for three tasks of ten points.

    Sources: H-MT-MF (arXiv 2603.09842) for the hierarchy with noise per fidelity; Patterson & Thompson (1971) for the
    restricted likelihood; Gilmour, Thompson & Cullis (1995) for average-information steps. Where we differ from the
    paper: processes and trends are integrated, not plugged in, and the hyper-parameters are learnt.

    Examples
    --------
    >>> import numpy as np
    >>> from surrogates import as_dataset
    >>> x = np.linspace(0, 1, 12)
    >>> data = as_dataset(x, np.sin(6 * x), inputs=["x"], task=["a", "b"] * 6)
    >>> fitted = HierarchicalGP(Schema(inputs="x", target="y", task="task")).fit(data)
    >>> bool(abs(fitted.predict(data)["mean"] - data["y"]).max() < 0.05)
    True
    """

    schema: Schema
    kernel: Any = "matern52"
    trend: str | Basis = "linear"
    sharing: str = "common"
    rank: int = 1
    noise: str = "auto"
    solver: str = "auto"
    integrate: bool | None = None
    inducing: int | None = None

    def __post_init__(self) -> None:
        resolved = self._resolved()
        for name, value, choices in (
            ("sharing", self.sharing, SHARINGS),
            ("noise", self.noise, NOISES),
            ("solver", self.solver, ("auto", *SOLVERS, Inducing.name)),
        ):
            if value not in choices:
                raise DataError(f"{name} is {value!r}; choose one of {choices}")
        if not callable(self.trend) and self.trend not in TRENDS:
            raise DataError(f"trend is {self.trend!r}; choose one of {TRENDS} or pass a function (n, d) -> (n, p)")
        if not isinstance(self.rank, int) or self.rank < 1:
            raise DataError(f"rank is {self.rank}; it must be a whole number, at least 1")
        if self.inducing is not None and (not isinstance(self.inducing, int) or self.inducing < 1):
            raise DataError(f"inducing is {self.inducing!r}; it is a number of places, at least 1, or None")
        if self.inducing is not None and self.solver not in ("auto", Inducing.name):
            raise DataError(f"inducing is {self.inducing}, but solver={self.solver!r} is exact; use solver='inducing'")
        if self.integrate not in (None, True, False):
            raise DataError(f"integrate is {self.integrate!r}; it must be True, False or None")
        if self.sharing == "niw" and self.integrate:
            raise DataError("sharing='niw' plugs its hyper-parameters in; leave out integrate=True")
        if self.noise == "known" and self.schema.noise is None:
            raise DataError("noise='known', but the schema names no noise variable; give Schema(noise=...) one")
        if isinstance(resolved, Tanimoto):
            self._check_vectors(resolved)
        if isinstance(resolved, CustomKernel) and self.sharing in ("two-kernels", "niw"):
            raise DataError(f"sharing={self.sharing!r} works with the named kernels only; use 'common' or 'icm'")

    def fit(
        self, data: xr.Dataset | pd.DataFrame, *, seed: int = 0, progress: Progress = None, workers: Any = 1
    ) -> FittedHierarchicalGP:
        """Learn the hyper-parameters from observations.

        Parameters
        ----------
        data : with the variables that the schema names; rows with a NaN target count as not observed
        seed : of the subset that large fits start on, and of the hyper-parameter draws
        progress : True for a bar, or a function of (evaluations, objective), called during the descent on all rows
        workers : who adds up the tasks' shares of the likelihood with solver "inducing": a number of threads, by dask, or
            a `dask.distributed.Client`. Let each have one BLAS thread (OMP_NUM_THREADS=1). The other solvers don't need it

        Raises
        ------
        DataError
            Names that aren't there, no observation at all, NaN or inf in inputs, contradictory noise-free readings, a
            solver that isn't exact for this pattern of data.
        UnitsError
            If units of target and known noise don't fit together.

        Warns
        -----
        FitWarning
            If the fit ended in a way its user should know of; also in ``report.warnings``.
        """
        began = time.perf_counter()
        settings = self._settings()
        vectors = settings.kernel.names if isinstance(settings.kernel, Tanimoto) else ()
        table = self.schema.encode(data, vectors=vectors)
        scaled = scale(table, settings)
        self._check_solver(scaled, settings)
        with Workers(workers) as team:
            scaled, start = prepare(scaled, settings, seed=seed)
            with progress_bar(progress, "fit") as step:
                posterior, problem = fit_posterior(
                    scaled, settings, integrate=self._integrate(), seed=seed, progress=step, start=start, workers=team
                )
            core = Core(scaled, settings, posterior.draws, posterior.mode)
            core.__dict__["problem"] = problem  # a cached property, whose value the fit has made already
            if self.sharing == "niw":
                core = _paper_mode(core)
            error = approximation(core, seed, team)
            report = make_report(table, core, posterior, began, error)
        for warning in report.warnings:
            warnings.warn(warning, FitWarning, stacklevel=2)
        return FittedHierarchicalGP(self.schema, table.vocabulary, report, core)

    def _settings(self) -> Settings:
        noise = self.noise
        if noise == "auto":
            noise = "known" if self.schema.noise is not None else "fidelity"
        return Settings(self._resolved(), self.trend, self.sharing, self.rank, noise, self.solver, self.inducing)

    def _resolved(self) -> Kernel | CustomKernel | Tanimoto:
        """The kernel that `kernel` stands for."""
        kernel = Tanimoto(self.schema.inputs) if self.kernel == "tanimoto" else self.kernel
        if isinstance(kernel, Tanimoto):
            kernel.require_inputs(self.schema.inputs)
            return kernel
        return resolve_kernel(kernel, len(self.schema.inputs))

    def _check_vectors(self, kernel: Tanimoto) -> None:
        """Refuse what vectors have no meaning for."""
        if self.trend not in ("none", "constant"):
            raise DataError(
                f"trend is {self.trend!r}, which has no meaning over counts {', '.join(map(repr, kernel.counts))}; "
                f"use trend='constant'"
            )
        if self.sharing == "niw":
            raise DataError("sharing='niw' works with stationary kernels only; use 'icm' or 'common'")
        if self.solver not in ("auto", "dense"):
            raise DataError(f"solver is {self.solver!r}; a Tanimoto kernel has 'dense' only: leave it out")

    def _integrate(self) -> bool | None:
        return False if self.sharing == "niw" else self.integrate

    def _check_solver(self, scaled: Scaled, settings: Settings) -> None:
        if self.solver == "auto":
            return
        names = usable_solvers(scaled, settings)
        if self.solver == Inducing.name:
            if "woodbury" not in names or not isinstance(settings.kernel, Kernel):
                raise DataError(
                    "solver='inducing' is for two tasks or more that share one common process (sharing='common' or "
                    "'two-kernels') with a kernel known by name; leave it out"
                )
            return
        if self.solver not in names:
            raise DataError(f"solver {self.solver!r} isn't exact for this pattern of data; here one can use {names}")


def _paper_mode(core: Core) -> Core:
    """Expectation-maximisation from the restricted-likelihood fit."""
    correlations, amplitude = core.niw_base()
    design = core.problem.objective.design
    κ = base_covariance(correlations, amplitude, union_of_places(design.x)[0])
    noise = core.layout.split(core.mode).log_noise
    hyper = expectation_maximisation(design, κ, core.niw_precision, noise)
    return Core(core.scaled, core.settings, core.draws, core.mode, hyper)
