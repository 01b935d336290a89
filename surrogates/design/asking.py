"""One task and fidelity of a fitted process as functions of plain arrays, without labels: what optimisers call thousands of times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.core import Core
from surrogates.gp.fidelity.fitted import FittedMultiFidelityGP
from surrogates.gp.fitted import FittedHierarchicalGP
from surrogates.gp.labelling import in_blocks
from surrogates.gp.outputs import Output
from surrogates.gp.process import Process
from surrogates.gp.reading_noise import noise_table
from surrogates.posterior import Moments, Slopes
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Label

Floats = NDArray[np.float64]
FittedGP = FittedHierarchicalGP | FittedMultiFidelityGP
#: for derivatives of polynomials and exponentials that are exact to rounding
COMPLEX_STEP = 1e-30


class Noise(Protocol):
    """Variance of a reading's noise in scaled units."""

    def at(self, x: Floats) -> Slopes:
        """Variance (m,) as `mean`, and its derivatives (m, d) as `variance`, at scaled places x (m, d)."""


@dataclass(frozen=True)
class SameNoise:
    """The same at every place."""

    variance: float

    def at(self, x: Floats) -> Slopes:
        return Slopes(np.full(len(x), self.variance), np.zeros(x.shape))


@dataclass(frozen=True)
class ShapedNoise:
    """Noise that was learnt as a function of the place."""

    core: Core
    level: int

    def at(self, x: Floats) -> Slopes:
        value = self.core.noise_variances_at(x)[self.level]
        slopes = np.empty(x.shape)
        for k in range(x.shape[1]):
            shifted = x.astype(np.complex128)
            shifted[:, k] += 1j * COMPLEX_STEP
            # the model takes floats; what it does with them, sums and exponentials, is analytic
            slopes[:, k] = np.imag(self.core.noise_variances_at(shifted)[self.level]) / COMPLEX_STEP  # type: ignore[arg-type]
        return Slopes(value, slopes)


@dataclass(frozen=True, eq=False)
class Asked:
    """A mixture of k Gaussians at every place, in the target's units before its warp, if it has one.

    code : of the task, or of task and fidelity, as the processes count them
    degrees : ν of Student's t, if readings have such noise
    low, high : (d,) the box of all readings
    width : numbers that a prediction holds per place
    """

    inputs: InputScaling
    processes: tuple[Process, ...]
    weights: Floats  # (k,)
    code: int
    output: Output
    noise: Noise | None
    degrees: float | None
    low: Floats
    high: Floats
    width: int

    def moments(self, x: Floats) -> Moments:
        """Means and variances (m, k) at x (m, d) in the user's units; beside the places that were read, where f may jump."""
        return self._gathered(x, with_slopes=False)[0]

    def moments_and_slopes(self, x: Floats) -> tuple[Moments, Slopes]:
        """The same, and their derivatives (m, k, d) per unit of each input."""
        moments, slopes = self._gathered(x, with_slopes=True)
        assert slopes is not None
        return moments, slopes

    def noise_at(self, x: Floats) -> Slopes:
        """Variance (m,) of a reading's noise, and its derivatives (m, d)."""
        assert self.noise is not None
        found = self.noise.at(self.inputs(x))
        target = self.output.target
        return Slopes(target.variance(found.mean), target.variance(found.variance) / self.inputs.width)

    def _gathered(self, x: Floats, *, with_slopes: bool) -> tuple[Moments, Slopes | None]:
        z, (m, d), k = self.inputs(x), x.shape, len(self.processes)
        moments, slopes = Moments(np.empty((m, k)), np.empty((m, k))), None
        if with_slopes:
            slopes = Slopes(np.empty((m, k, d)), np.empty((m, k, d)))
        for rows in in_blocks(m, self.width):
            codes = np.full(len(z[rows]), self.code)
            for j, process in enumerate(self.processes):
                moments.mean[rows, j], moments.variance[rows, j] = process.moments(z[rows], codes, beside=True)
                if slopes is not None:
                    slopes.mean[rows, j], slopes.variance[rows, j] = process.slopes(z[rows], codes)
        target = self.output.target
        if slopes is not None:
            width = self.inputs.width
            slopes = Slopes(target.deviation(slopes.mean) / width, target.variance(slopes.variance) / width)
        return Moments(target.mean(moments.mean), target.variance(moments.variance)), slopes


def ask(fitted: FittedGP, task: Label | None, fidelity: Label | None, *, noise: bool) -> Asked:
    """The fitted model's side of a `Response`.

    Raises
    ------
    DataError
        If the model is of another family or has vectors as inputs, a label isn't known, or several are and none is named.
    """
    if not isinstance(fitted, FittedHierarchicalGP | FittedMultiFidelityGP):
        raise DataError(
            f"a {type(fitted).__name__} has no gradient to optimise with; give a fitted HierarchicalGP or MultiFidelityGP"
        )
    if fitted.vocabulary.own_dims:
        names = ", ".join(map(repr, fitted.vocabulary.own_dims))
        raise DataError(f"input {names} is a vector of counts, which has no derivative; optimise over plain numbers")
    t = _position(task, fitted.vocabulary.tasks, "task", fitted.schema.task)
    if isinstance(fitted, FittedHierarchicalGP):
        return _of_hierarchy(fitted, t, fidelity, noise=noise)
    return _of_fidelities(fitted, t, fidelity)


def _of_hierarchy(fitted: FittedHierarchicalGP, task: int, fidelity: Label | None, *, noise: bool) -> Asked:
    """The fidelity says which gauge reads; f is the same for all."""
    core, known = fitted.core, fitted.vocabulary.fidelities
    level = 0
    if fidelity is not None or noise:
        level = _position(fidelity, known, "fidelity", fitted.schema.fidelity)
    found: Noise = (
        SameNoise(float(noise_table(core, fitted.vocabulary)[task, level]))
        if core.scaled.readings.basis is None
        else ShapedNoise(core, level)
    )
    low, high = _box(core.scaled.readings.x, core.scaled.inputs)
    scaled = core.scaled
    return Asked(
        scaled.inputs, core.processes, core.weights, task, core.output, found, scaled.degrees, low, high, core.width
    )


def _of_fidelities(fitted: FittedMultiFidelityGP, task: int, fidelity: Label | None) -> Asked:
    """Every fidelity has a function of its own; without a name, the last is meant, as in `predict`."""
    labels = fitted.levels.graph.labels
    level = len(labels) - 1
    if fidelity is not None:
        level = _position(fidelity, tuple(labels), "fidelity", fitted.schema.fidelity)
    levels = fitted.levels
    low, high = _box(levels.x, levels.inputs)
    target: TargetScaling = levels.targets[level]
    noise = SameNoise(float(fitted._noise_variances()[level]))
    code = task * len(labels) + level
    return Asked(
        levels.inputs, fitted.processes, fitted.weights, code, Output(target), noise, None, low, high, len(levels.y)
    )


def _box(x: Floats, scaling: InputScaling) -> tuple[Floats, Floats]:
    """Ends of all readings' inputs, in the user's units."""
    inputs = x * scaling.width + scaling.centre
    return inputs.min(axis=0), inputs.max(axis=0)


def _position(label: Label | None, known: Sequence[Label | None], what: str, name: str | None) -> int:
    """Where a label stands among those known; a single one needs no name."""
    if label is None:
        if len(known) == 1:
            return 0
        raise DataError(f"{what} isn't given, but the model knows {_listed(known)}; say which {what} is meant")
    if label not in known:
        if known == (None,) or name is None:
            raise DataError(f"{what}={label!r} is given, but the model was fitted without one; leave it out")
        raise DataError(f"unknown {what} {label!r}; the model knows {_listed(known)}: give one of these")
    return list(known).index(label)


def _listed(labels: Sequence[Label | None]) -> str:
    shown = ", ".join(map(repr, labels[:8]))
    return shown + (" ..." if len(labels) > 8 else "")
