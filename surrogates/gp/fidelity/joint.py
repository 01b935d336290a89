"""Linear structures, fitted to all fidelities at once by the machinery of hierarchical processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments
from surrogates.report import Estimate
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Vocabulary

from ..collapse import Readings, trend_prior
from ..core import Core
from ..diagnostics import readable
from ..evidence import log_evidence
from ..fitting import Posterior, climb, integrated
from ..kernels import kernel_named
from ..laplace import Draws
from ..noise import EXACT
from ..preparing import Scaled, Settings
from ..process import Process
from .level import JITTERS, with_least_jitter
from .levels import Levels
from .linear import LENGTHSCALES, WIDEST, LinearFidelities
from .parts import Structure, jitter_of, noise_by_draw_of, noise_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LinearFit:
    """A linear structure's fit.

    posterior : how the fit went; None in a fit that was read from a file or updated
    """

    structure: Structure
    core: Core
    log_evidence: float
    is_success: bool
    evaluations: int
    posterior: Posterior | None = None

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.core.processes

    @property
    def weights(self) -> Floats:
        return self.core.weights

    @property
    def sharing(self) -> LinearFidelities:
        """The covariance of groups."""
        found = self.core.layout.sharing
        assert isinstance(found, LinearFidelities)
        return found

    @property
    def per_task(self) -> bool:
        return self.sharing.per_task and self.sharing.slots > 0

    @property
    def jitter(self) -> float:
        return jitter_of(self.core)

    def leave_one_out(self) -> Moments:
        return self.core.leave_one_out_at_mode()

    def noise_variances(self) -> Floats:
        return noise_of(self.core)

    def noise_by_draw(self) -> Floats:
        return noise_by_draw_of(self.core)

    def integrated(self, *, count: int, seed: int) -> LinearFit:
        """The same with weighted draws of the hyper-parameters."""
        assert self.posterior is not None
        posterior = integrated(self.posterior, self.core.problem, count=count, seed=seed)
        core = Core.of_fit(self.core.scaled, self.core.settings, posterior, self.core.problem)
        evidence = log_evidence(core.problem.objective, posterior.layout, posterior.mode, posterior.draws)
        return replace(self, core=core, log_evidence=evidence, evaluations=posterior.evaluations, posterior=posterior)

    def on(self, levels: Levels) -> LinearFit:
        """The same hyper-parameters on other readings; new tasks are like the others, where ρ is common to all."""
        core = self.core.with_readings(readings_of(levels, self.core.scaled.readings.exact), None)
        if levels.tasks != self.sharing.tasks:
            sharing = replace(self.sharing, tasks=levels.tasks)
            core = replace(core, settings=replace(core.settings, sharing=sharing))
        return replace(self, core=core, posterior=None)

    def sections(self, levels: Levels, vocabulary: Vocabulary) -> Mapping[str, Mapping[str, Estimate]]:
        """Estimates in words: ρ, amplitudes and length-scales of every process."""
        layout, draws = self.core.layout, self.core.draws
        parts = [layout.split(θ) for θ in draws.parameters]
        sharing = np.stack([part.sharing for part in parts])
        named = dict(zip(self.sharing.names, sharing.T, strict=True))
        ratios = levels.ratios
        found: dict[str, Estimate] = {}
        for (parent, child), edge in ((e, self.sharing.graph.name(e)) for e in self.sharing.graph.edges):
            for name, values in named.items():
                if name.startswith(f"ρ[{edge}"):
                    found[readable(name, vocabulary)] = Estimate.of_draws(
                        values * ratios[parent] / ratios[child], draws.weights
                    )
        amplitudes = {
            name.replace("log s", "standard deviation"): Estimate.of_draws(np.exp(0.5 * values), draws.weights)
            for name, values in named.items()
            if name.startswith("log s")
        }
        between = (
            {"between any two": Estimate.of_draws(1 / (1 + np.exp(-named["logit r"])), draws.weights)}
            if "logit r" in named
            else {}
        )
        shapes = np.stack([part.log_shapes for part in parts])  # (k, C, d)
        widths = {
            f"{name}{f', {label}' if label else ''}": Estimate.of_draws(
                np.exp(shapes[:, c, k]) * levels.inputs.width[k], draws.weights, units
            )
            for c, label in enumerate(self.sharing.component_names)
            for k, (name, units) in enumerate(list(vocabulary.units.items())[:-1])
        }
        return {
            "ρ, in the target's units": found,
            "amplitudes, in standard deviations of each fidelity": amplitudes,
            "correlation of tasks": between,
            "length-scales": widths,
        }

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Header and arrays; the readings are the model's."""
        draws = self.core.draws
        header = {
            "structure": vars(self.structure),
            "log_evidence": self.log_evidence,
            "is_success": self.is_success,
            "evaluations": self.evaluations,
            "effective": draws.effective,
            "log_integral": draws.log_integral if math.isfinite(draws.log_integral) else None,
            "per_task": self.sharing.per_task,
            "exact": self.core.scaled.readings.exact,
        }
        return header, {"parameters": draws.parameters, "weights": draws.weights, "mode": self.core.mode}


def climb_linear(
    levels: Levels, structure: Structure, seed: int, progress: Callable[[float], None], *, per_task: bool = False
) -> LinearFit:
    """The structure at the mode of its hyper-parameters."""

    def attempt(exact: float) -> LinearFit:
        scaled, settings = _prepared(levels, structure, per_task, exact)
        posterior, problem = climb(scaled, settings, seed=seed, progress=progress)
        core = Core.of_fit(scaled, settings, posterior, problem)
        evidence = log_evidence(problem.objective, posterior.layout, posterior.mode, posterior.draws)
        success = posterior.minimum.outcome.is_success
        return LinearFit(structure, core, evidence, success, posterior.evaluations, posterior)

    return with_least_jitter(attempt, JITTERS if levels.is_exact and len(levels.targets) > 1 else (EXACT,))


def unpack_linear(levels: Levels, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LinearFit:
    """What `pack` gave, on the model's readings."""
    structure = Structure(**header["structure"])
    scaled, settings = _prepared(levels, structure, header["per_task"], header["exact"])
    integral = math.nan if header["log_integral"] is None else header["log_integral"]
    draws = Draws(arrays["parameters"], arrays["weights"], header["effective"], integral)
    core = Core(scaled, settings, draws, arrays["mode"])
    return LinearFit(structure, core, header["log_evidence"], header["is_success"], header["evaluations"])


def _prepared(levels: Levels, structure: Structure, per_task: bool, exact: float) -> tuple[Scaled, Settings]:
    trend = levels.trend(structure.trend)
    readings = readings_of(levels, exact)
    # readings are scaled already, by fidelity; the inner machinery is to leave them alone
    scaled = Scaled(
        InputScaling(np.zeros(levels.x.shape[1]), np.ones(levels.x.shape[1])),
        TargetScaling(0.0, 1.0),
        trend,
        trend_prior(readings, trend),
        readings,
    )
    sharing = LinearFidelities(levels.graph, levels.tasks, structure.kind, levels.ratios, per_task, levels.spans)
    noise = "fidelity" if levels.variance is None else "known"
    return scaled, Settings(
        kernel_named(structure.kernel), structure.trend, sharing, 1, noise, "dense", spread=LENGTHSCALES, widest=WIDEST
    )


def readings_of(levels: Levels, exact: float) -> Readings:
    """Scaled readings with groups of task and fidelity as their tasks; `exact` stands for zero variance."""
    labels = tuple(str(label) for label in levels.graph.labels)
    groups = levels.tasks * len(labels)
    return Readings(levels.x, levels.y, levels.group, groups, levels.level, labels, levels.variance, exact)
