"""What a fit consists of, besides its configuration: scalings, learners, which of them answers for what, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogates.calibration import ConformalIntervals, VarianceScaling

from .choice import Comparison
from .features import DescriptorScaling, Features, molecule_features
from .learner import Answer, Learnt, Training
from .table import Labels

Floats = NDArray[np.float64]
LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class TaskScaling:
    """Each property's labels to mean 0 and spread 1; a constant property has spread 0, and is 0 when scaled.

    mean, std : (m,)
    """

    mean: Floats
    std: Floats

    @staticmethod
    def fit(labels: Labels) -> TaskScaling:
        """Mean and standard deviation of the labels, whatever the size of their numbers."""
        size = np.nanmax(np.abs(labels.values), axis=0)
        size = np.where(size > 0, size, 1.0)
        mean, std = np.nanmean(labels.values / size, axis=0), np.nanstd(labels.values / size, axis=0)
        return TaskScaling(mean * size, np.where(std > 1e-12, std * size, 0.0))

    @property
    def varies(self) -> NDArray[np.bool_]:
        """(m,) which properties aren't constant."""
        return np.asarray(self.std > 0)

    def scaled(self, values: Floats) -> Floats:
        """(n, m) in the user's units -> scaled."""
        z = (values - self.mean) / np.where(self.varies, self.std, 1.0)
        return np.where(self.varies | np.isnan(z), z, 0.0)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Factors of the standard deviations, and conformal half-widths, from held-out labels."""

    variance: VarianceScaling
    intervals: ConformalIntervals

    @staticmethod
    def fit(z: Floats, signs: NDArray[np.int8], held_out: Answer) -> Calibration:
        """From labels (n, m) that aren't bounds and predictions of them that don't know them.

        Constant properties, which are met exactly, say nothing of the others.
        """
        i, k = np.nonzero(np.isfinite(z) & (signs == 0) & np.isfinite(held_out.mean) & (held_out.total > 0))
        m = z.shape[1]
        y, mean, std = z[i, k], held_out.mean[i, k], np.maximum(held_out.total[i, k], 1e-9)
        return Calibration(
            VarianceScaling.fit(y, mean, std, k, tasks=m), ConformalIntervals.fit(y, mean, std, k, tasks=m)
        )

    def half_widths(self, total: Floats, level: float) -> Floats:
        """Of intervals, from deviations (n, m) before their calibration; infinite where there are too few labels to know."""
        q = np.broadcast_to(self.intervals.quantiles(level), total.shape)
        half = np.full(total.shape, np.inf)
        np.multiply(q, total, where=np.isfinite(q), out=half)  # constants have total 0, which times inf were NaN
        return half


@dataclass(frozen=True, eq=False)
class Parts:
    """A fit.

    scaling, tasks : of descriptors and of labels
    keys, embedding, labels : the training table, which later tasks are learnt with
    shared : the learner of all properties, or None
    singles : learners of single properties
    weights : (m,) of the shared learner's answers beside those of the property's own, 0 to 1
    comparison : of held-out errors, or None where only one way was fitted
    held_out : predictions (n, m) of the training labels, scaled, without the molecule's own labels
    """

    scaling: DescriptorScaling
    tasks: TaskScaling
    keys: list[tuple[str, ...]]
    embedding: Floats | None
    labels: Labels
    shared: Learnt | None
    singles: Mapping[int, Learnt]
    weights: Floats
    comparison: Comparison | None
    held_out: Answer
    calibration: Calibration

    @staticmethod
    def of(
        training: Training,
        scaling: DescriptorScaling,
        tasks: TaskScaling,
        keys: list[tuple[str, ...]],
        embedding: Floats | None,
        labels: Labels,
        shared: Learnt | None,
        singles: Mapping[int, Learnt],
        weights: Floats,
        comparison: Comparison | None,
    ) -> Parts:
        """The parts, calibrated by what they say of labels they didn't know."""
        n, m = training.z.shape
        own = _empty(n, m)
        for k, learnt in singles.items():
            rows = np.isfinite(training.z[:, k])
            for column, values in zip(own, learnt.held_out, strict=True):
                column[rows, k] = values[:, 0]
        known = np.isfinite(training.z)
        together = _empty(n, m) if shared is None else shared.held_out
        held_out = blend(Answer(*(np.where(known, values, np.nan) for values in together)), own, weights)
        for column in held_out:
            column[known & ~tasks.varies] = 0.0
        calibration = Calibration.fit(training.z, training.signs, held_out)
        return Parts(
            scaling, tasks, keys, embedding, labels, shared, singles, weights, comparison, held_out, calibration
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all learners."""
        own = [(self.labels.properties[k], learnt) for k, learnt in self.singles.items()]
        shared = () if self.shared is None else self.shared.warnings
        return (*shared, *(f"{name}: {text}" for name, learnt in own for text in learnt.warnings))

    @property
    def errors(self) -> Floats:
        """(m,) mean absolute held-out error, in the user's units."""
        z = np.where(self.labels.signs == 0, self.tasks.scaled(self.labels.values), np.nan)
        return np.asarray(np.nanmean(np.abs(self.held_out.mean - z), axis=0) * self.tasks.std)

    @property
    def coverage(self) -> Floats:
        """(m,) share of held-out labels within the calibrated 90 % intervals."""
        z = np.where(self.labels.signs == 0, self.tasks.scaled(self.labels.values), np.nan)
        half = self.calibration.half_widths(self.held_out.total, LEVEL)
        inside = np.where(np.isfinite(z), np.abs(self.held_out.mean - z) <= half * (1 + 1e-12), np.nan)
        return np.asarray(np.nanmean(inside, axis=0))

    def features(self, keys: list[tuple[str, ...]], embedding: Floats | None) -> Features:
        """Scaled features of other molecules."""
        raw = molecule_features(keys, embedding)
        return Features(raw.counts, self.scaling(raw.descriptors))

    def predict(self, features: Features) -> Answer:
        """(n, m) scaled, before calibration; a constant property is 0 without doubt."""
        n, m = len(features.counts), len(self.labels.properties)
        together, own = _empty(n, m), _empty(n, m)
        if self.shared is not None and self.weights.any():
            for column, values in zip(together, self.shared.predict(features), strict=True):
                column[:, : values.shape[1]] = values  # properties added later come after those that it knows
        for k, learnt in self.singles.items():
            for column, values in zip(own, learnt.predict(features), strict=True):
                column[:, k] = values[:, 0]
        answer = blend(together, own, self.weights)
        for column in answer:
            column[:, ~self.tasks.varies] = 0.0
        return answer


def blend(shared: Answer, own: Answer, weights: Floats) -> Answer:
    """Means w a + (1-w) b, and variances of the mixture; what has weight 0 may be NaN.  weights: w (m,)

    The variance of the mean has the disagreement w(1-w)(a-b)² in it (law of total variance).
    """
    w, v = np.broadcast_to(weights, shared.mean.shape), np.broadcast_to(1 - weights, shared.mean.shape)
    a = Answer(*(np.where(w > 0, values, 0.0) for values in shared))
    b = Answer(*(np.where(v > 0, values, 0.0) for values in own))
    apart = np.where((w > 0) & (v > 0), a.mean - b.mean, 0.0)
    return Answer(
        w * a.mean + v * b.mean,
        np.sqrt(w * a.std**2 + v * b.std**2 + w * v * apart**2),
        np.sqrt(w * a.noise**2 + v * b.noise**2),
    )


def _empty(n: int, m: int) -> Answer:
    return Answer(*(np.full((n, m), np.nan) for _ in range(3)))
