"""`HierarchicalGP`: the configuration, and its fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.counts import whole
from surrogates.errors import DataError, FitWarning
from surrogates.progress import Progress, progress_bar
from surrogates.scaling import InputScaling
from surrogates.schema import Schema, Table

from .blocks import fit_robust
from .composite import Composite, make_composite
from .core import Core
from .custom import CustomKernel, resolve_kernel
from .fitted import FittedHierarchicalGP
from .fitting import fit_posterior, usable_solvers
from .inducing.approximation import approximation
from .inducing.preparing import prepare
from .inducing.workers import Workers
from .kernels import Kernel
from .niw import base_covariance, expectation_maximisation
from .outliers import stand_apart
from .preparing import VARYING, AnyKernel, Scaled, Settings, scale
from .reporting import make_report
from .solvers import SOLVERS
from .solvers.inducing import Inducing
from .solvers.woodbury import union_of_places
from .student_t import student_t
from .tanimoto import Tanimoto
from .terms import Term
from .trends import NAMES as TRENDS
from .trends import Basis
from .warp_learning import learn_power
from .warping import Warp, make_warp

SHARINGS = ("common", "two-kernels", "icm", "niw", "robust")
NOISES = ("auto", "fidelity", "task-fidelity", "known", "none", *VARYING)
LIKELIHOODS = ("gaussian", "student-t")


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
        fingerprints, and "tanimoto" if all inputs are counts; or sums and products of `Smooth`, `Periodic` and
        `Categorical` terms, such as ``Smooth("x") * Categorical("material") + Periodic("hour", 24)``. A named trend then
        runs along inputs of smooth terms only
    trend : each task's own trend h: "none", "constant", "linear" (default), "quadratic", or a function from scaled
        inputs (n, d) to columns (n, p)
    sharing : "common" (default) as above; "two-kernels", where μ0 and r_τ have their own length-scales; "icm", an
        intrinsic coregionalisation of `rank`; "robust", where tasks have correlations and amplitudes of their own and
        outliers stand apart (see Notes); "niw", the paper's plug-in normal-inverse-Wishart hierarchy, a baseline
    rank : of "icm"
    noise : "auto" (known if the schema names a noise variable, else by fidelity), "fidelity", "task-fidelity", "known",
        "none" for deterministic codes, or
        "varying", where log σ²_f(x) is a_f plus a function of the inputs that fidelities share, linear, or with squares and
        products, "varying-quadratic".
        To known noise a nugget is learnt, for detail that the kernel can't resolve; unless all readings are exact: they
        are interpolated, with 1e-10 of the residual variance on the diagonal (``report.jitter``)
    solver : "auto", or one of "dense", "woodbury", "rotation", "kronecker"; all give the same answers. Or "inducing", for
        thousands of tasks: each task stays exact, and what tasks share is known by its values at some places, with an
        error that the report estimates. "auto" takes it above 10,000 rows, where tasks have places of their own
    inducing : number of those places; None: as leave 3e-5 of the common variance unexplained, up to 400
    integrate : average over hyper-parameter draws; None: if there are at most 250 rows
    warp : "log", "box-cox" or "logit": the process describes an increasing function of the target, and answers are carried
        back. The power of "box-cox" is learnt. None: the target itself
    bounds : (low, high) that a warped target keeps to, in its units: (0, inf), or for "logit" (0, 1), unless given;
        "log" also takes (-inf, high)
    likelihood : "gaussian", or "student-t" for data with outliers: readings far from all others count little, by weights
        that the report names; noise_std then is that of the fitted t, which gross outliers exceed

    Notes
    -----
    Priors, normal, in scaled units (the d inputs that vary fill the unit cube, the target's residual deviation from each
    task's own trend is one): log l ~ N(log(0.4 √d), 1.2²), log s ~ N(1.5, 2²), logit ρ ~ N(0.5, 1.75²), log σ² ~
    N(log 0.02, 2.5²), its slopes across the cube N(0, 2²). Chosen so that 95 % intervals hold what they promise for three
    tasks of ten points.

    With a warp g, an answer's mean and std are those of g(f), the function whose readings are as often above as below it;
    std² + noise_std² is the variance of a reading, and `quantile` is exact. Noise, amplitude and correlations in the report
    are on the warped scale: that of "log" is relative. Known noise is carried there by the slope at its reading.

    With ``sharing="robust"`` the processes of tasks τ and υ correlate by c_τ c_υ and have amplitudes a_τ, all drawn to
    common values by heavy-tailed priors. A task of another function, scale or roughness then leaves the others alone. One
    that is better off without them, by the evidence (with 1:4 prior odds), stands apart, with length-scales and learnt
    noise of its own, and the report says so. A new task needs a new fit. It takes some three to ten times as long as
    "common" (one fit for each task that is tried, one matrix for each that stands apart) and is meant for up to 50 tasks.
    With gpytorch's kernels and counts, correlations and amplitudes are learnt, but no task stands apart.

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
    warp: str | None = None
    bounds: tuple[float, float] | None = None
    likelihood: str = "gaussian"
    inducing: int | None = None

    def __post_init__(self) -> None:
        resolved = self._resolved()
        for name, value, choices in (
            ("sharing", self.sharing, SHARINGS),
            ("noise", self.noise, NOISES),
            ("likelihood", self.likelihood, LIKELIHOODS),
            ("solver", self.solver, ("auto", *SOLVERS, Inducing.name)),
        ):
            if value not in choices:
                raise DataError(f"{name} is {value!r}; choose one of {choices}")
        if not callable(self.trend) and self.trend not in TRENDS:
            raise DataError(f"trend is {self.trend!r}; choose one of {TRENDS} or pass a function (n, d) -> (n, p)")
        object.__setattr__(self, "rank", whole(self.rank, "rank"))
        if self.inducing is not None:
            object.__setattr__(self, "inducing", whole(self.inducing, "inducing"))
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
        self._check_warp()
        self._check_noise()
        if isinstance(resolved, Composite):
            self._check_composite()
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
        whole(seed, "seed", least=0)
        settings = self._settings()
        vectors = settings.kernel.names if isinstance(settings.kernel, Tanimoto) else ()
        categorical = settings.kernel.categorical if isinstance(settings.kernel, Composite) else ()
        table = self.schema.encode(data, vectors=vectors, categorical=categorical)
        if isinstance(settings.kernel, Composite):
            settings = replace(settings, kernel=settings.kernel.bound(InputScaling.fit(table.x).width))
        warp = self._warp(table, settings, seed)
        if warp is not None:
            table = warp.table(table, self.schema.target)
        scaled = scale(table, settings, warp)
        if self.likelihood == "student-t":
            scaled = student_t(scaled, replace(settings, solver="auto"), seed=seed)
        self._check_solver(scaled, settings)
        near: Sequence[NDArray[np.float64]] = ()
        searched = 0
        if self.sharing == "robust":
            scaled, settings, near, searched = stand_apart(scaled, settings, table.vocabulary.tasks, seed=seed)
        with Workers(workers) as team:
            if self.sharing != "robust":
                scaled, start = prepare(scaled, settings, seed=seed)
                near = () if start is None else (start.x,)
            with progress_bar(progress, "fit") as step:
                integrate = self._integrate()
                if self.sharing == "robust" and scaled.readings.tasks > 1:
                    posterior, problem = fit_robust(
                        scaled, settings, integrate=integrate, seed=seed, progress=step, near=near
                    )
                else:
                    posterior, problem = fit_posterior(
                        scaled, settings, integrate=integrate, seed=seed, progress=step, near=near, workers=team
                    )
            posterior = replace(posterior, evaluations=posterior.evaluations + searched)
            core = Core.of_fit(scaled, settings, posterior, problem)
            if self.sharing == "niw":
                core = _paper_mode(core)
            error = approximation(core, seed, team)
            report = make_report(table, core, posterior, began, error)
        for warning in report.warnings:
            warnings.warn(warning, FitWarning, stacklevel=2)
        return FittedHierarchicalGP(self.schema, table.vocabulary, report, core)

    def _check_composite(self) -> None:
        if self.sharing == "niw":
            raise DataError("sharing='niw' works with the named kernels only; use 'common', 'two-kernels' or 'icm'")
        if self.solver not in ("auto", "dense"):
            raise DataError(f"solver is {self.solver!r}; a kernel of several terms has 'dense' only: leave it out")

    def _check_noise(self) -> None:
        """Refuse combinations of noise and likelihood that have no meaning."""
        varies, robust_one = self.noise in VARYING, self.likelihood == "student-t"
        if (varies or robust_one) and self.sharing == "niw":
            raise DataError("sharing='niw' is a baseline with one noise per fidelity; use sharing='common'")
        if varies and isinstance(self._resolved(), Tanimoto):
            raise DataError(
                f"noise={self.noise!r} is a function of inputs that are numbers, not of counts; use 'fidelity'"
            )
        if robust_one and (self.noise in ("known", "none") or (self.noise == "auto" and self.schema.noise is not None)):
            raise DataError(
                "likelihood='student-t' learns its noise; name no known noise, or use likelihood='gaussian'"
            )
        if robust_one and self.warp is not None:
            raise DataError(
                "likelihood='student-t' with a warp has readings without a mean; warp the target yourself, or leave one out"
            )

    def _check_warp(self) -> None:
        if self.warp is None:
            if self.bounds is not None:
                raise DataError(
                    f"bounds={self.bounds!r} say how to warp the target; give warp='logit' or 'log' with them"
                )
            return
        make_warp(self.warp, self.bounds)
        if self.sharing == "niw":
            raise DataError(
                "sharing='niw' is a baseline for the target itself; leave out warp, or use sharing='common'"
            )

    def _warp(self, table: Table, settings: Settings, seed: int) -> Warp | None:
        """The warp that the target is seen through, its power learnt."""
        if self.warp is None:
            return None
        warp = make_warp(self.warp, self.bounds)
        if warp.name != "box-cox":
            return warp
        return learn_power(table, settings, warp, target=self.schema.target, seed=seed)

    def _settings(self) -> Settings:
        noise = self.noise
        if noise == "auto":
            noise = "known" if self.schema.noise is not None else "fidelity"
        return Settings(
            self._resolved(), self.trend, self.sharing, self.rank, noise, self.solver, inducing=self.inducing
        )

    def _resolved(self) -> AnyKernel:
        """The kernel that `kernel` stands for."""
        if isinstance(self.kernel, Term):
            return make_composite(self.kernel, self.schema.inputs)
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
