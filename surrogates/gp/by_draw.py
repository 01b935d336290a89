"""What every draw of a fitted model's hyper-parameters says, in the target's units: for loops that choose experiments.

Given its hyper-parameters each draw is a Gaussian process, so that what a further reading would teach has a closed form;
the mixture of all draws has none. Here labels, scales and units are dealt with, once for both families.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from surrogates.errors import DataError
from surrogates.posterior import Moments
from surrogates.schema import Label, Points, Schema, Vocabulary

from .fidelity.fitted import FittedMultiFidelityGP
from .fitted import FittedHierarchicalGP
from .process import Process
from .reading_noise import noise_by_draw

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Fitted = FittedHierarchicalGP | FittedMultiFidelityGP
#: places closer than this share of the inputs' box are the same
SAME = 1e-9


class Places(NamedTuple):
    """m places of one table.  d inputs, k draws."""

    x: Floats  # (m, d) scaled
    task: Integers  # (m,) position in the vocabulary
    code: Integers  # (m,) of the function: of the task; with functions of their own, of task and fidelity
    centre: Floats  # (m,) of the function's scale
    spread: Floats  # (m,)
    noise: Floats  # (k, m) variance of a reading there, in the target's squared units
    exact: NDArray[np.bool_]  # (m,) whether a reading there has no noise

    def take(self, rows: Integers) -> Places:
        """Some of the places."""
        x, task, code, centre, spread, noise, exact = self
        return Places(x[rows], task[rows], code[rows], centre[rows], spread[rows], noise[:, rows], exact[rows])

    def followed_by(self, other: Places) -> Places:
        """Both, one after the other."""
        noise = np.concatenate([self.noise, other.noise], axis=1)
        pairs = [(mine, its) for mine, its in zip(self, other, strict=True) if mine is not self.noise]
        x, task, code, centre, spread, exact = (np.concatenate(pair) for pair in pairs)
        return Places(x, task, code, centre, spread, noise, exact)

    def met_by(self, other: Places) -> NDArray[np.bool_]:
        """Which of the other places (j,) are among these, for the same function."""
        found = np.zeros(len(other.x), dtype=bool)
        for code in np.unique(other.code[np.isin(other.code, self.code)]):
            theirs = np.flatnonzero(other.code == code)
            distance, _ = cKDTree(self.x[self.code == code]).query(other.x[theirs], distance_upper_bound=SAME)
            found[theirs] = np.isfinite(distance)
        return found


@dataclass(frozen=True, eq=False)
class ByDraw:
    """A fitted model, draw by draw.  Made by `by_draw`.

    weights : (k,) of the draws
    """

    fitted: Fitted
    processes: tuple[Process, ...]
    weights: Floats

    @property
    def schema(self) -> Schema:
        return self.fitted.schema

    @property
    def vocabulary(self) -> Vocabulary:
        return self.fitted.vocabulary

    def places(self, at: xr.Dataset) -> Places:
        """The rows of a table.

        Raises
        ------
        DataError, UnitsError
            As `Schema.encode_points`.
        """
        points = self.schema.encode_points(at, self.vocabulary)
        if isinstance(self.fitted, FittedHierarchicalGP):
            core, m = self.fitted.core, len(points.x)
            target, question = core.scaled.target, core.asked(points)
            noise = target.variance(noise_by_draw(core, self.vocabulary, points))
            exact = _is_exact(
                core.scaled.readings.variance, noise, points, core.scaled.readings.exact * target.spread**2
            )
            centre, spread = np.full(m, target.centre), np.full(m, target.spread)
            return Places(question.x, points.task, question.task, centre, spread, noise, exact)
        asked = self.fitted.asked(points)
        by_level, zero = self.fitted.noise_by_draw(), self.fitted.jitter_by_draw()[:, None]
        noise = np.where(by_level == 0, zero, by_level)[:, asked.level] * asked.spread**2
        given, levels = points.noise_variance, self.fitted.levels
        if given is not None and levels.variance is not None:  # where noise is learnt, a reading gets the learnt one
            noise = np.where(np.isnan(given) | (levels.is_exact & (given == 0)), noise, given)
        exact = _is_exact(self.fitted.levels.variance, noise, points, zero.max() * asked.spread**2)
        return Places(asked.x, points.task, asked.group, asked.centre, asked.spread, noise, exact)

    def moments(self, draw: int, at: Places) -> Moments:
        """Mean and variance (m,) of f."""
        mean, variance = self.processes[draw].moments(at.x, at.code)
        return Moments(at.centre + at.spread * mean, at.spread**2 * variance)

    def cross_covariance(self, draw: int, at: Places, other: Places) -> Floats:
        """Covariance of f between two sets of places: (m, j)."""
        scaled = self.processes[draw].cross_covariance(at.x, at.code, other.x, other.code)
        return np.asarray(scaled * at.spread[:, None] * other.spread)

    @property
    def last_fidelity(self) -> Label | None:
        """The fidelity whose function is meant where none is named."""
        if isinstance(self.fitted, FittedMultiFidelityGP):
            return self.fitted.levels.graph.labels[-1]
        return self.vocabulary.fidelities[-1]

    @property
    def readings(self) -> Floats:
        """Inputs of all readings (N, d), in the units of the fit; labels as their positions."""
        fitted = self.fitted
        inputs = fitted.core.scaled.inputs if isinstance(fitted, FittedHierarchicalGP) else fitted.levels.inputs
        return np.asarray(self._read()[0] * inputs.width + inputs.centre)

    @property
    def exact_readings(self) -> Places:
        """Where f is known already."""
        x, code, variance = self._read()
        exact = np.zeros(len(x), dtype=bool) if variance is None else variance == 0
        x, code, m = x[exact], code[exact], int(exact.sum())
        none, one = np.zeros(m), np.ones(m)
        return Places(x, code, code, none, one, np.zeros((len(self.weights), m)), one > 0)

    def _read(self) -> tuple[Floats, Integers, Floats | None]:
        """Scaled inputs, functions' codes and known variances of all readings."""
        if isinstance(self.fitted, FittedHierarchicalGP):
            readings = self.fitted.core.scaled.readings
            return readings.x, readings.task, readings.variance
        levels = self.fitted.levels
        return levels.x, levels.group, levels.variance


def by_draw(fitted: Fitted) -> ByDraw:
    """The model, draw by draw.

    Raises
    ------
    DataError
        If it isn't a fitted `HierarchicalGP` or `MultiFidelityGP`, its target is warped (f then isn't Gaussian), or its
        inputs are vectors.
    """
    if isinstance(fitted, FittedMultiFidelityGP):
        return ByDraw(fitted, fitted.processes, fitted.weights)
    if not isinstance(fitted, FittedHierarchicalGP):
        raise DataError(
            f"a fitted HierarchicalGP or MultiFidelityGP is wanted, not a {type(fitted).__name__}: what a reading teaches "
            f"follows from the covariance of its answers"
        )
    if fitted.core.scaled.warp is not None:
        raise DataError(
            f"the target {fitted.schema.target!r} is warped, so that what a reading teaches depends on what is read; "
            f"fit the warped target (say its logarithm) with warp=None"
        )
    if fitted.core.scaled.library is not None:
        raise DataError(
            "inputs are vectors (a Tanimoto kernel); experiments can be chosen among numbers and labels only"
        )
    return ByDraw(fitted, fitted.core.processes, fitted.core.weights)


def _is_exact(known: Floats | None, noise: Floats, points: Points, jitter: float | Floats) -> NDArray[np.bool_]:
    """Whether a reading at each place has no noise, but what stands for zero."""
    if known is None:
        return np.zeros(len(points.x), dtype=bool)
    return np.asarray((noise <= jitter).all(axis=0))
