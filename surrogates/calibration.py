"""Error bars that hold on labels the model hasn't seen: a factor for each task, or half-widths with a guarantee.

Both are fitted to readings y held out from the model's own fit, with their predicted mean μ and standard deviation σ, in
long format: `task` is the code 0 ... T - 1 of each reading. Tasks with few held-out readings lean on all tasks together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surrogates.counts import whole
from surrogates.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class VarianceScaling:
    """A factor for each task's standard deviations: the maximum of the likelihood, drawn to that of all tasks together.

    Under y ~ N(μ, s² σ²) the likelihood of n readings is largest at s² = Σ z²/n with z = (y - μ)/σ. With ν pseudo-readings

        s² = (ν + Σ z²)/(ν + N)  of all N readings         s_t² = (ν s² + Σ_{i in t} z_i²)/(ν + n_t)  of task t

    which are the scales of scaled-inverse-χ² posteriors of ν more degrees of freedom, around 1 and around s². So a task
    without readings has the pooled factor; without any readings all factors are 1; residuals that are all 0 (a constant
    label, met exactly) make the factor small, never 0.

    Parameters
    ----------
    factors : (T,) s_t, by which standard deviations are multiplied
    counts : (T,) number of held-out readings n_t
    pooled : s

    Examples
    --------
    >>> scaling = VarianceScaling.fit([2.0, -2.0], [0.0, 0.0], [1.0, 1.0], [0, 0], tasks=2, strength=0.0)
    >>> scaling.factors, scaling.counts
    (array([2., 2.]), array([2, 0]))
    """

    factors: Floats
    counts: Integers
    pooled: float

    @staticmethod
    def fit(
        y: ArrayLike, mean: ArrayLike, std: ArrayLike, task: ArrayLike, *, tasks: int, strength: float = 8.0
    ) -> VarianceScaling:
        """Factors of T = `tasks` tasks from held-out readings, each (n,).

        `strength` is ν >= 0; 0 is plain maximum likelihood, where tasks without readings still get the pooled factor.
        """
        if not (math.isfinite(strength) and strength >= 0):
            raise DataError(f"strength is {strength!r}; it must be a number of readings >= 0")
        z, codes = _standardised(y, mean, std, task, tasks)
        counts = np.bincount(codes, minlength=tasks)
        sums = np.bincount(codes, weights=z**2, minlength=tasks)
        weight = strength + len(z)
        pooled = (strength + float(sums.sum())) / weight if weight > 0 else 1.0
        own = np.where(strength + counts > 0, strength * pooled + sums, pooled)
        squares = own / np.where(strength + counts > 0, strength + counts, 1.0)
        if not squares.min() > 0:
            k = int(squares.argmin())
            raise DataError(f"task {k} has residuals of 0 only and strength is 0; give strength > 0")
        return VarianceScaling(np.sqrt(squares), counts, math.sqrt(pooled))

    def __call__(self, std: Floats, task: Integers) -> Floats:
        """Standard deviations times their tasks' factors.  std: (...,), task: (...,) -> (...,)."""
        return np.asarray(std * self.factors[task])


@dataclass(frozen=True)
class ConformalIntervals:
    """Half-widths of intervals μ ± h that hold the truth with probability >= level, whatever the distribution of errors.

    Split conformal prediction with the normalised score r = |y - μ|/σ (Papadopoulos et al. 2002; Lei et al. 2018, section
    5.2): h = q σ, q the ⌈(n + 1) level⌉-th smallest of the n held-out scores. If readings to come are exchangeable with
    those held out, an interval holds with probability between level and level + 1/(n + 1).

    A task with n_t < level/(1 - level) readings (9 for 90 %) is too short for its own q and gets that of all tasks'
    scores; its intervals then hold on average over the tasks' readings only. Where all are too few, h is infinite: that is
    what is known. A label that is constant and met exactly has scores, and half-widths, of 0.

    Parameters
    ----------
    scores : the sorted scores (n_t,) of each task

    Examples
    --------
    >>> y = np.arange(1.0, 11.0)
    >>> intervals = ConformalIntervals.fit(y, 0 * y, 1 + 0 * y, [0] * 9 + [1], tasks=2)
    >>> intervals.quantiles(0.9), intervals.leans_on_all(0.9)
    (array([ 9., 10.]), array([False,  True]))
    """

    scores: tuple[Floats, ...]

    @staticmethod
    def fit(y: ArrayLike, mean: ArrayLike, std: ArrayLike, task: ArrayLike, *, tasks: int) -> ConformalIntervals:
        """Scores of T = `tasks` tasks from held-out readings, each (n,)."""
        z, codes = _standardised(y, mean, std, task, tasks)
        return ConformalIntervals(tuple(np.sort(np.abs(z[codes == t])) for t in range(tasks)))

    def quantiles(self, level: float) -> Floats:
        """(T,) q of each task; inf where even all tasks together have too few readings."""
        everything = np.sort(np.concatenate(self.scores))
        lean = self.leans_on_all(level)
        return np.array([_finite_sample(everything if lean[t] else own, level) for t, own in enumerate(self.scores)])

    def leans_on_all(self, level: float) -> NDArray[np.bool_]:
        """(T,) whether a task has too few readings of its own for this level."""
        return np.array([math.isinf(_finite_sample(own, level)) for own in self.scores])

    def half_width(self, std: Floats, task: Integers, *, level: float) -> Floats:
        """h of each prediction.  std: (...,), task: (...,) -> (...,)."""
        return np.asarray(std * self.quantiles(level)[task])


def _finite_sample(scores: Floats, level: float) -> float:
    """The ⌈(n + 1) level⌉-th smallest of sorted scores (n,), or inf."""
    if not 0 < level < 1:
        raise DataError(f"level is {level}; it must be between 0 and 1, such as 0.9")
    k = math.ceil((len(scores) + 1) * level - 1e-9)  # 10 * 0.9 is 9, also where it is rounded up
    return float(scores[k - 1]) if k <= len(scores) else math.inf


def _standardised(
    y: ArrayLike, mean: ArrayLike, std: ArrayLike, task: ArrayLike, tasks: int
) -> tuple[Floats, Integers]:
    """z = (y - μ)/σ and codes, each (n,), checked."""
    whole(tasks, "tasks")
    columns = {name: np.asarray(v, dtype=np.float64) for name, v in (("y", y), ("mean", mean), ("std", std))}
    codes = np.asarray(task)
    for name, column in (*columns.items(), ("task", codes)):
        if column.ndim != 1 or len(column) != len(codes):
            raise DataError(f"{name} has shape {column.shape}, task {codes.shape}; all must be (n,)")
        if bad := int((~np.isfinite(column)).sum()):
            raise DataError(f"{name} has {bad} entries that are NaN or infinite; leave out what wasn't observed")
    if codes.size and (codes.dtype.kind not in "iu" or codes.min() < 0 or codes.max() >= tasks):
        raise DataError(f"task must hold integers from 0 to {tasks - 1}, one for each reading")
    if codes.size and columns["std"].min() <= 0:
        raise DataError(f"std goes down to {columns['std'].min():g}; it must be > 0, as a standard deviation")
    return (columns["y"] - columns["mean"]) / columns["std"], codes.astype(np.int64)
