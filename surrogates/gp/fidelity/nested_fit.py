"""Structures whose fidelities are fitted one after the other, as one of those that are weighed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments
from surrogates.report import Estimate

from ..fitting import Settings
from ..kernels import kernel_named
from ..noise import KnownNoise
from ..process import Process
from .levels import Levels
from .nested import Nested
from .parts import Structure, estimate
from .recursive import Rho, fit_recursive
from .recursive_fit import RecursiveFit

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NestedFit:
    """A recursive structure's fit."""

    structure: Structure
    fit: RecursiveFit
    per_task: bool

    @property
    def log_evidence(self) -> float:
        return self.fit.log_evidence

    @property
    def is_success(self) -> bool:
        return True

    @property
    def evaluations(self) -> int:
        return sum(core.problem.objective.evaluations for member in self.fit.members for core in member.cores)

    @property
    def processes(self) -> tuple[Process, ...]:
        return self.fit.processes

    @property
    def weights(self) -> Floats:
        return self.fit.weights

    @property
    def jitter(self) -> float:
        """What was added to the scaled variance of exact readings."""
        return max(self.fit.jitters) if self._is_exact else 0.0

    @property
    def _is_exact(self) -> bool:
        noise = self.fit.members[0].cores[0].problem.objective.design.noise
        return isinstance(noise, KnownNoise) and noise.is_exact

    def leave_one_out(self) -> Moments:
        return self.fit.leave_one_out()

    def noise_variances(self) -> Floats:
        """(L,) scaled; of known noise, the mean over each fidelity's readings."""
        levels = self.fit.levels
        if levels.variance is not None:
            return np.array([levels.variance[levels.rows(l)].mean() for l in range(levels.L)])
        parts = [np.array([core.noise_variances()[0] for core in member.cores]) for member in self.fit.members]
        return np.asarray(self.fit.member_weights @ np.stack(parts))

    def integrated(self, *, count: int, seed: int) -> NestedFit:
        """The same with weighted draws of the hyper-parameters of every fidelity; each takes as many as it needs."""
        again = _fit(self.fit.levels, self.structure, self.per_task, integrate=True, seed=seed)
        return replace(self, fit=again)

    def on(self, levels: Levels) -> NestedFit:
        """Other readings."""
        raise NotImplementedError

    def sections(self, levels: Levels) -> Mapping[str, Mapping[str, Estimate]]:
        """Estimates in words: ρ, amplitudes and length-scales of every process."""
        labels, ratios = levels.graph.labels, levels.ratios
        scales: dict[str, Estimate] = {}
        for child, found in enumerate(self.fit.coefficients()):
            if found is None:
                continue
            parent = levels.graph.parents[child][0]
            unit = ratios[parent] / ratios[child]
            mean, deviation = float(np.mean(found.mean)), float(np.sqrt(np.diag(found.covariance).mean()))
            scales[f"ρ[{labels[parent]} -> {labels[child]}]"] = Estimate(mean * unit, deviation * abs(unit), "")
        amplitudes, widths = {}, {}
        core_of = self.fit.members[0].cores
        for l, (label, core) in enumerate(zip(labels, core_of, strict=True)):
            draws, layout = core.draws, core.layout
            amplitude = np.array([θ[layout.names.index("log s")] for θ in draws.parameters])
            amplitudes[f"standard deviation[{label}]"] = estimate(np.exp(0.5 * amplitude), draws.weights)
            shapes = np.stack([layout.split(θ).log_shapes[0] for θ in draws.parameters])
            for k in range(min(shapes.shape[1], len(levels.inputs.width))):
                values = np.exp(shapes[:, k]) * levels.inputs.width[k]
                widths[f"input {k + 1}, {label}"] = estimate(values, draws.weights)
            if shapes.shape[1] > len(levels.inputs.width):
                parent = levels.graph.parents[l][0]
                unit = levels.targets[parent].spread * self.fit.members[0].widths[l]
                widths[f"{labels[parent]}'s value, {label}"] = estimate(np.exp(shapes[:, -1]) * unit, draws.weights)
        return {
            "ρ, in the target's units": scales,
            "amplitudes, in standard deviations of each fidelity": amplitudes,
            "length-scales": widths,
        }

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        raise NotImplementedError


def climb_nested(
    levels: Levels, structure: Structure, seed: int, progress: Callable[[float], None], *, per_task: bool = False
) -> NestedFit:
    """The structure at the modes of its fidelities' hyper-parameters."""
    nested = Nested(
        levels.x,
        levels.y,
        levels.task,
        levels.level,
        levels.tasks,
        len(levels.graph.labels),
        tuple(parents[0] if parents else None for parents in levels.graph.parents),
        levels.variance,
    )
    return NestedFit(
        structure, _fit(nested, structure, per_task, integrate=False, seed=seed, progress=progress), per_task
    )


def _fit(
    nested: Nested,
    structure: Structure,
    per_task: bool,
    *,
    integrate: bool,
    seed: int,
    progress: Callable[[float], None] = lambda value: None,
) -> RecursiveFit:
    noise = "fidelity" if nested.variance is None else "known"
    return fit_recursive(
        nested,
        Settings(kernel_named(structure.kernel), structure.trend, "common", 1, noise, "dense"),
        kind=structure.kind,
        integrate=integrate,
        seed=seed,
        progress=progress,
        rho=Rho(shared=not per_task),
    )
