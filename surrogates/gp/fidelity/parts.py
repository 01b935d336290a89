"""One structure fitted to all fidelities: what every kind of structure offers to the model that averages them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from surrogates.posterior import Moments
from surrogates.report import Estimate
from surrogates.schema import Vocabulary

from ..core import Core
from ..noise import KnownNoise
from ..process import Process
from .levels import Levels

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Structure:
    """How fidelities hang together, with the kernel's and the trend's names."""

    kind: str
    kernel: str
    trend: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.kernel}, {self.trend} trend)"


class Fit(Protocol):
    """One fitted structure; its processes take groups τ L + l as tasks."""

    @property
    def structure(self) -> Structure: ...
    @property
    def log_evidence(self) -> float: ...
    @property
    def is_success(self) -> bool: ...
    @property
    def evaluations(self) -> int: ...
    @property
    def jitter(self) -> float: ...
    @property
    def per_task(self) -> bool: ...  # whether each task has a coefficient of its own
    @property
    def processes(self) -> tuple[Process, ...]: ...
    @property
    def weights(self) -> Floats: ...  # (k,) of the processes
    def leave_one_out(self) -> Moments: ...
    def noise_variances(self) -> Floats: ...  # (L,) scaled; of known noise the mean
    def noise_by_draw(self) -> Floats: ...  # (k, L) the same of each process, where it is learnt with the function
    def sections(self, levels: Levels, vocabulary: Vocabulary) -> Mapping[str, Mapping[str, Estimate]]: ...
    def integrated(self, *, count: int, seed: int) -> Fit: ...
    def on(self, levels: Levels) -> Fit: ...  # other readings, the same hyper-parameters
    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]: ...


#: fits a structure at the mode of its hyper-parameters
Climb = Callable[[Levels, Structure, int, Callable[[float], None]], Fit]


class Part(NamedTuple):
    """A structure's fit and its share in all answers."""

    fit: Fit
    weight: float


def thinned(parts: tuple[Part, ...], least: float) -> tuple[Part, ...]:
    """Without parts of a share below `least`, which would cost time and change nothing."""
    kept = [part for part in parts if part.weight >= least * max(p.weight for p in parts)]
    total = sum(part.weight for part in kept)
    return tuple(part._replace(weight=part.weight / total) for part in kept)


def noise_of(core: Core) -> Floats:
    """(L,) scaled noise variances of a core's groups, which are fidelities; of known noise, the mean."""
    readings = core.scaled.readings
    if readings.variance is None:
        return core.noise_variances()
    counts = np.bincount(readings.group, minlength=len(readings.groups))
    sums = np.bincount(readings.group, readings.variance, minlength=len(counts))
    return np.asarray(sums / np.maximum(counts, 1))


def noise_by_draw_of(core: Core) -> Floats:
    """(k, L) the same of each draw."""
    if core.scaled.readings.variance is None:
        return core.noise_by_draw()
    return np.tile(noise_of(core), (len(core.weights), 1))


def jitter_of(core: Core) -> float:
    """What was added to the scaled variance of a core's exact readings."""
    noise = core.problem.objective.design.noise
    return noise.exact if isinstance(noise, KnownNoise) and noise.is_exact else 0.0
