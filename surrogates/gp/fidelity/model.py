"""`MultiFidelityGP`: the configuration, and its fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
import xarray as xr

from surrogates.counts import whole
from surrogates.errors import DataError, FitWarning
from surrogates.progress import Progress, progress_bar
from surrogates.schema import Label, Schema, Table

from ..kernels import KERNELS
from ..model import HierarchicalGP
from .choice import Tried, choose
from .fitted import FittedMultiFidelityGP
from .graph import Graph, make_graph
from .joint import climb_linear
from .levels import Levels, make_levels
from .nested import is_nested_exact
from .parts import Climb, Part, Structure
from .recursive import climb_recursive
from .reporting import make_report
from .single import SingleFit, levels_of

#: all structures
KINDS = ("ignore", "offset", "autoregressive", "coregional", "nonlinear")
NOISES = ("auto", "fidelity", "known", "none")
TRENDS = ("constant", "linear", "quadratic")


@dataclass(frozen=True)
class MultiFidelityGP:
    """Gaussian processes of related tasks in several fidelities, which may differ by more than noise.

    For task τ, fidelity l with the fidelities p that it builds on, and place x:

        f_τl(x) = Σ_p ρ_lp f_τp(x) + δ_τl(x) + h(x)'β_τl,      y = f + ε,   ε ~ N(0, σ²_l)

    Discrepancies δ, like the sources' own processes, are shared among tasks as in `HierarchicalGP`.

    Parameters
    ----------
    schema : names of inputs, target, task, fidelity, known noise
    fidelities : labels, cheapest first: a chain; or a mapping from each label to what it builds on (None, a label, or
        several). None: there is a single fidelity
    structure : "auto" (default) tries those below and averages them by evidence; or one of, or several of
        "ignore" (fidelities share nothing), "offset" (they differ by their trends), "autoregressive" (ρ and a
        discrepancy per edge, each process with length-scales of its own), "coregional" (the same with common
        length-scales), "nonlinear" (a process over inputs and the parent's value)
    kernel : "auto" ("rbf" and "matern52" are tried), or the name of one
    trend : "auto" (all are tried), or "constant", "linear", "quadratic". Constants are flat, slopes
        have the prior N(0, 3²) in standard deviations of a fidelity over the inputs' box
    noise : "auto" (known if the schema names a noise variable, else learnt for each fidelity), "fidelity", "known", or
        "none" for deterministic codes, which are interpolated
    average : whether answers average the structures by their evidence; False: the best one answers
    per_task : whether every task has ρ of its own
    integrate : average over hyper-parameter draws; None: if there are at most 250 readings

    Notes
    -----
    Each fidelity is scaled by its own spread. Priors in these units: ρ ~ N(0.5, 1), wider where the child's places show
    little of the parent's spread; log s ~ N(1.5, 2²) of sources, N(-1, 3.5²) of discrepancies, which may vanish; log l ~
    N(log(0.4 √d), 2²), and N(log l of the parent, 0.8²) of a discrepancy that is fitted after its parent; the others as in
    `HierarchicalGP`.

    Sources: Kennedy & O'Hagan (2000), Le Gratiet & Garnier (2014) for the autoregressive structure, Perdikaris et al.
    (2017) for the nonlinear one. Choice and average by evidence are ours.

    Examples
    --------
    >>> from surrogates import Schema
    >>> from surrogates.datasets.functions import forrester
    >>> schema = Schema(inputs="x", target="y", fidelity="fidelity")
    >>> model = MultiFidelityGP(schema, fidelities=["low", "high"], structure="autoregressive", noise="none")
    >>> fitted = model.fit(forrester.dataset((12, 5), seed=0))
    >>> at = forrester.dataset((0, 20), seed=1)  # precise values, to compare with
    >>> bool(abs(fitted.predict(at)["mean"] - at["y"]).max() < 0.05)
    True
    """

    schema: Schema
    fidelities: Sequence[Label] | Mapping[Label, Label | Sequence[Label] | None] | None = None
    structure: str | Sequence[str] = "auto"
    kernel: str = "auto"
    trend: str = "auto"
    noise: str = "auto"
    average: bool = True
    per_task: bool = False
    integrate: bool | None = None

    def __post_init__(self) -> None:
        self._graph(None)
        if not isinstance(self.structure, str | Sequence) or not self.structure:
            raise DataError(f"structure is {self.structure!r}; choose 'auto', or one or several of {KINDS}")
        for kind in self._kinds():
            if kind not in KINDS:
                raise DataError(f"structure is {kind!r}; choose 'auto' or among {KINDS}")
        if self.integrate not in (None, True, False):
            raise DataError(f"integrate is {self.integrate!r}; it must be True, False or None")
        for name, value, choices in (
            ("kernel", self.kernel, ("auto", *sorted(KERNELS))),
            ("trend", self.trend, ("auto", *TRENDS)),
            ("noise", self.noise, NOISES),
        ):
            if value not in choices:
                raise DataError(f"{name} is {value!r}; choose one of {choices}")
        if self.noise == "known" and self.schema.noise is None:
            raise DataError("noise='known', but the schema names no noise variable; give Schema(noise=...) one")
        if self.fidelities is not None and self.schema.fidelity is None:
            raise DataError("fidelities are given, but the schema names no fidelity; give Schema(fidelity=...) one")

    def fit(
        self, data: xr.Dataset | pd.DataFrame, *, seed: int = 0, progress: Progress = None
    ) -> FittedMultiFidelityGP:
        """Try the structures, weigh them, learn their hyper-parameters.

        Parameters
        ----------
        data : with the variables that the schema names; rows with a NaN target count as not observed
        seed : of the hyper-parameter draws, and of the subset that large fits start on
        progress : True for a bar, or a function of (evaluations, objective)

        Raises
        ------
        DataError
            Names that aren't there, no observation at all, NaN or inf in inputs, contradictory noise-free readings, a
            fidelity that isn't declared or has no reading.
        UnitsError
            If units of target and known noise don't fit together.

        Warns
        -----
        FitWarning
            If the fit ended in a way its user should know of; also in ``report.warnings``.
        """
        began = time.perf_counter()
        whole(seed, "seed", least=0)
        table = self.schema.encode(data)
        noise, graph = self._noise(), self._graph(table)
        if len(graph.labels) == 1:
            return self._fit_single(data, table, graph, seed, progress)
        levels = make_levels(table, graph, noise)
        with progress_bar(progress, "fit") as step:
            parts, tried, failed = choose(
                levels,
                self._structures(levels),
                partial(self._climb, levels),
                average=self.average,
                integrate=self.integrate,
                seed=seed,
                progress=step,
            )
        report = make_report(table, levels, parts, tried, time.perf_counter() - began, failed)
        for warning in report.warnings:
            warnings.warn(warning, FitWarning, stacklevel=2)
        return FittedMultiFidelityGP(self.schema, table.vocabulary, report, tried, levels, parts, noise)

    def _fit_single(
        self, data: xr.Dataset | pd.DataFrame, table: Table, graph: Graph, seed: int, progress: Progress
    ) -> FittedMultiFidelityGP:
        """A single fidelity is `HierarchicalGP`'s, which warns by itself."""
        began = time.perf_counter()
        if graph.labels != table.vocabulary.fidelities:
            raise DataError(
                f"the data have the fidelity {table.vocabulary.fidelities[0]!r}; fidelities names {graph.labels[0]!r}"
            )
        kernel = "matern52" if self.kernel == "auto" else self.kernel
        trend = "linear" if self.trend == "auto" else self.trend
        model = HierarchicalGP(self.schema, kernel=kernel, trend=trend, noise=self.noise, integrate=self.integrate)
        inner = model.fit(data, seed=seed, progress=progress)
        fit = SingleFit(Structure("ignore", kernel, trend), inner)
        levels, parts = levels_of(inner, graph), (Part(fit, 1.0),)
        tried = (Tried(fit.structure, fit.log_evidence, 1.0),)
        report = make_report(table, levels, parts, tried, time.perf_counter() - began)
        report = replace(report, warnings=inner.report.warnings)
        return FittedMultiFidelityGP(self.schema, table.vocabulary, report, tried, levels, parts, self._noise())

    def _climb(self, levels: Levels, structure: Structure) -> Climb:
        """Fidelities one after the other, where that is exact or the structure needs it; else all at once."""
        nested = {"autoregressive": is_nested_exact(levels), "ignore": levels.is_exact, "nonlinear": True}
        # what all at once takes for exact is a little less so, which would count against a structure
        if nested.get(structure.kind, False) and (len(levels.targets) > 1 or structure.kind == "nonlinear"):
            return partial(climb_recursive, per_task=self.per_task)
        return partial(climb_linear, per_task=self.per_task)

    def _noise(self) -> str:
        if self.noise == "auto":
            return "known" if self.schema.noise is not None else "fidelity"
        return self.noise

    def _kinds(self) -> tuple[str, ...]:
        if isinstance(self.structure, str):
            return KINDS if self.structure == "auto" else (self.structure,)
        return tuple(self.structure)

    def _structures(self, levels: Levels) -> list[Structure]:
        """All combinations that are tried."""
        kinds = self._kinds()
        if self.structure == "auto":
            # exact readings leave nothing that an offset could not explain, and several parents have no one value
            unfit = (("offset",) if levels.is_exact else ()) + (() if levels.graph.is_tree else ("nonlinear",))
            kinds = tuple(kind for kind in kinds if kind not in unfit)
        kernels = ("rbf", "matern52") if self.kernel == "auto" else (self.kernel,)
        trends = TRENDS if self.trend == "auto" else (self.trend,)
        return [Structure(kind, kernel, trend) for kind in kinds for kernel in kernels for trend in trends]

    def _graph(self, table: Table | None) -> Graph:
        """The declared graph; without one, the data's single fidelity."""
        if self.fidelities is not None:
            return make_graph(self.fidelities)
        labels: tuple[Label | None, ...] = (None,) if table is None else table.vocabulary.fidelities
        if len(labels) > 1:
            raise DataError(
                f"the data have the fidelities {list(labels)}; say how they hang together: "
                f"fidelities=[...], cheapest first"
            )
        return Graph(labels, ((),))
