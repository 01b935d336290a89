"""A subspace that most tasks' linear readouts lie in, found though many tasks may lie elsewhere, and readouts drawn to it.

After robust and adaptive spectral multi-task learning, RAS (Huang, Feng & Ying 2025, arXiv:2509.06575), of which only the
abstract is known to us, and its predecessor (Tian, Gu & Feng 2023, arXiv:2303.17765). Model: y = x'β_t + c_t + ε with β_t =
A θ_t for most tasks, A (p, r) orthonormal, r unknown; the other tasks' β_t are arbitrary. Use it on the features h of a
trained trunk in place of heads that were each fitted to few labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: constants T1, T2 of the threshold in Tian, Gu & Feng's code, as read there
T1, T2 = 0.5, 0.25
#: of the unsquared penalty
C2 = 0.5
#: penalties to choose from, relative to the mean eigenvalue of a task's X'X; inf is the subspace itself
PENALTIES = np.array([*10.0 ** np.arange(-4.0, 2.51, 0.5), np.inf])
FOLDS = 5


class Subspace(NamedTuple):
    """What `robust_subspace` found.

    basis : (p, r) orthonormal columns
    singular : all singular values of the shortened B̂/√T, falling
    cut : those above it count, or NaN where the rank was given
    radius : R, to which longer columns were shortened
    """

    basis: Floats
    singular: Floats
    cut: float
    radius: float


@dataclass(frozen=True)
class Sharing:
    """Readouts x'β_t + c_t of all tasks.

    Parameters
    ----------
    weights, intercepts : β (p, T), c (T,)
    alone : (p, T) the single-task ridge estimates that they started from
    subspace : of the last stage, from all rows; its basis has the largest rank that a task uses
    ranks : (T,) k of each task, by cross-validation or the threshold; 0: it shares nothing
    penalties : (T,) λ of each task, relative to the mean eigenvalue of its X'X; inf: it lies in the subspace
    """

    weights: Floats
    intercepts: Floats
    alone: Floats
    subspace: Subspace
    ranks: Integers
    penalties: Floats


def robust_subspace(
    B: ArrayLike, n: float, *, rank: int | None = None, noise: float = 1.0, quantile: float = 0.25
) -> Subspace:
    """The span of the first left singular vectors of B̂/√T, its columns shortened to length R at most.

    R is a quantile of the columns' lengths, so that no task counts for more than its direction. Unless it is given,

        r = #{ k : σ_k > T1 s √((p + log T)/n) + T2 R p^(-3/4) },    T1 = ½, T2 = ¼

    the rule in Tian, Gu & Feng's code, where R is twice the median length and s, the noise's standard deviation, is 1. Lower
    quantiles hold against more tasks of huge coefficients; we found ¼ to do so up to half of the tasks.

    Parameters
    ----------
    B : (p, T) single-task estimates of coefficients
    n : number of rows behind each estimate (the harmonic mean where they differ)
    rank : r, if it is known
    noise : s, in the units of B times those of the features
    quantile : which of the lengths R is, > 0 and <= 1

    Examples
    --------
    >>> found = robust_subspace([[1.0, -2.0, 1e9], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], n=1e6, noise=1e-3)
    >>> np.abs(found.basis[:, 0]).round(6).tolist()
    [1.0, 0.0, 0.0]
    """
    B̂ = np.asarray(B, dtype=np.float64)
    if B̂.ndim != 2 or 0 in B̂.shape or not np.isfinite(B̂).all():
        raise DataError(f"B has shape {B̂.shape}; wanted are finite coefficients (features, tasks)")
    if not 0 < quantile <= 1:
        raise DataError(f"quantile is {quantile!r}; it must be > 0 and <= 1")
    if not (n > 0 and noise >= 0):
        raise DataError(f"n is {n!r} and noise {noise!r}; rows must be > 0, the noise >= 0")
    p, T = B̂.shape
    U, σ, R = _directions(B̂, quantile)
    cut = math.nan
    if rank is None:
        cut = T1 * noise * math.sqrt((p + math.log(T)) / n) + T2 * R * p**-0.75
        rank = int((σ > cut).sum())
    elif isinstance(rank, bool) or not 0 <= rank <= len(σ):
        raise DataError(f"rank is {rank!r}; it must be an integer from 0 to {len(σ)}")
    return Subspace(U[:, :rank], σ, cut, R)


def spectral_sharing(
    X: Sequence[Floats],
    y: Sequence[Floats],
    *,
    method: Literal["cross-validation", "threshold"] = "cross-validation",
    quantile: float = 0.25,
    caution: float = 1.0,
) -> Sharing:
    """Linear readouts of all tasks, each drawn to what the tasks share as far as its own rows want it.

        (1) ridge estimates of each task alone, λ by generalised cross-validation                          -> B̂
        (2) `robust_subspace` of B̂                                                                        -> A_k
        (3) θ̂_t: least squares of y_t on X_t A_k;   min_β |y_t - X_t β|² + λ_t |β - A_k θ̂_t|²              -> β_t

    Features are divided by their root mean square over all tasks, means of X_t and y_t are taken off first.

    "cross-validation" chooses k and λ_t of each task by 5 folds in which steps (1) to (3) are all repeated, so the
    subspace hasn't seen the rows that judge it. Ridge alone is k = 0; a task leaves it only where the folds' error is
    smaller by more than `caution` standard errors of the paired difference: that is what guards tasks that lie elsewhere.
    The squared penalty and this choice are ours. "threshold" takes k by the rule of `robust_subspace` for all tasks, and
    the predecessor's penalty,

        min_β |y - Xβ|²/(2n) + (γ/√n) |β - A θ̂|,     γ = ½ s √(p + log T),

    s the tasks' mean residual deviation (the ½ is ours); β is A θ̂ exactly where the rows don't speak against it. Tasks that
    lie elsewhere are not protected by it: it is there to compare with.

    Measured for cross-validation with T = 100, p = 50, n = 100, r = 5, noise 1, 4 seeds: mean error |β̂ - β| over that of
    ridge alone, of tasks in the subspace at 0, 50 and 80 % of others: .37, .56, .88 where these are dense and of the same
    length; .52 (50 %), .67 (80 %) where they have a plane of their own; .59, 1.03 where they are huge. The others pay 2 % at
    most in the mean.

    Parameters
    ----------
    X, y : for each task features (n_t, p), at least 5 rows, and targets (n_t,)
    quantile : see `robust_subspace`
    caution : standard errors, >= 0; for cross-validation

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((16, 10)) for _ in range(40)]
    >>> β = np.outer(np.ones(10), rng.standard_normal(40))  # all tasks on one line
    >>> y = [x @ b + 2 * rng.standard_normal(16) for x, b in zip(X, β.T)]
    >>> shared = spectral_sharing(X, y)
    >>> bool(np.linalg.norm(shared.weights - β) < 0.6 * np.linalg.norm(shared.alone - β))
    True
    """
    tasks = _checked(X, y)
    if not caution >= 0:
        raise DataError(f"caution is {caution!r}; it must be a number of standard errors >= 0")
    if method not in ("cross-validation", "threshold"):
        raise DataError(f"method {method!r} is unknown; known are cross-validation, threshold")
    squares = sum((x**2).sum(0) for x, _ in tasks) / sum(len(x) for x, _ in tasks)
    scale = np.where(squares > 0, np.sqrt(squares), 1.0)
    tasks = [(x / scale, t) for x, t in tasks]
    fits = [_Task(x, t) for x, t in tasks]
    B = np.stack([fit.alone for fit in fits], 1)  # (p, T)
    if method == "threshold":
        weights, ranks, penalties, subspace = _by_threshold(fits, B, quantile)
    else:
        ranks, penalties = _by_cross_validation(tasks, quantile, caution)
        most = int(ranks.max())
        subspace = robust_subspace(B, _rows(fits), rank=most, quantile=quantile)
        weights = np.stack(
            [
                fit.drawn_to(subspace.basis[:, :k], np.array([λ]))[0] if k else fit.alone
                for fit, k, λ in zip(fits, ranks, penalties, strict=True)
            ],
            1,
        )
    weights = weights / scale[:, None]
    intercepts = np.array([fit.y_mean - fit.x_mean @ (w * scale) for fit, w in zip(fits, weights.T, strict=True)])
    return Sharing(weights, intercepts, B / scale[:, None], subspace, ranks, penalties)


class _Task:
    """One task's rows, centred, in the eigenvectors V of X'X = V diag(e) V'."""

    def __init__(self, X: Floats, y: Floats) -> None:
        self.x_mean, self.y_mean = X.mean(0), float(y.mean())
        self.X, self.y = X - self.x_mean, y - self.y_mean
        U, σ, Vt = np.linalg.svd(self.X, full_matrices=False)
        kept = σ > 1e-10 * max(float(σ[0]), 1e-300)
        self.e, self.V, self.c = σ[kept] ** 2, Vt[kept].T, U[:, kept].T @ self.y
        self.unit = float(self.e.mean()) if kept.any() else 1.0
        self.alone, self.penalty, self.noise = self._ridge()

    def _ridge(self) -> tuple[Floats, float, float]:
        """Estimate, relative penalty and residual deviation by generalised cross-validation."""
        if not len(self.e):
            return np.zeros(self.X.shape[1]), math.inf, float(self.y.std())
        λ = PENALTIES[:-1, None] * self.unit
        lost = λ / (self.e + λ)  # (g, q)
        outside = float(self.y @ self.y - self.c @ self.c)
        left = len(self.y) - 1 - len(self.e) + lost.sum(1)  # the mean took one
        errors = (max(outside, 0.0) + ((lost * self.c) ** 2).sum(1)) / np.maximum(left, 1e-9) ** 2
        best = len(errors) - 1 - int(errors[::-1].argmin())
        β = self.V @ ((1 - lost[best]) / np.sqrt(self.e) * self.c)
        return β, float(PENALTIES[best]), math.sqrt(errors[best] * max(left[best], 1e-9))

    def drawn_to(self, A: Floats, penalties: Floats) -> Floats:
        """(g, p) minimisers of |y - Xβ|² + λ |β - A θ̂|² for relative penalties (g,)."""
        w = self.inside(A)
        pull = np.sqrt(self.e) * self.c - self.e * (self.V.T @ w)  # V'X'(y - X w)
        steps = pull / (self.e + np.where(np.isinf(penalties), 1.0, penalties * self.unit)[:, None])
        return np.asarray(w + np.where(np.isinf(penalties)[:, None], 0.0, steps) @ self.V.T)

    def inside(self, A: Floats) -> Floats:
        """A θ̂, the least-squares estimate in the span of A."""
        return np.asarray(A @ np.linalg.lstsq(self.X @ A, self.y, rcond=1e-10)[0])

    def near(self, A: Floats, γ: float) -> Floats:
        """The minimiser of |y - Xβ|²/(2n) + (γ/√n) |β - A θ̂|: its distance ρ from A θ̂ solves |(S + l/ρ)⁻¹ g| = ρ."""
        n = len(self.y)
        w, S, level = self.inside(A), self.e / n, γ / math.sqrt(n)
        g = (np.sqrt(self.e) * self.c - self.e * (self.V.T @ w)) / n
        if not np.linalg.norm(g) > level:
            return w
        low, high = 0.0, float(np.linalg.norm(g / S))
        for _ in range(60):  # the length of ρ g/(ρ S + l) over ρ falls in ρ
            ρ = 0.5 * (low + high)
            low, high = (ρ, high) if np.linalg.norm(g / (ρ * S + level)) > 1 else (low, ρ)
        return np.asarray(w + self.V @ (high * g / (high * S + level)))


def _by_threshold(fits: list[_Task], B: Floats, quantile: float) -> tuple[Floats, Integers, Floats, Subspace]:
    """Weights, ranks, penalties (0 or inf: whether a task left the subspace) and the subspace."""
    p, T = B.shape
    noise = float(np.mean([fit.noise for fit in fits]))
    subspace = robust_subspace(B, _rows(fits), noise=noise, quantile=quantile)
    rank = subspace.basis.shape[1]
    if not rank:
        return B, np.zeros(T, dtype=np.int64), np.array([fit.penalty for fit in fits]), subspace
    γ = C2 * noise * math.sqrt(p + math.log(T))
    weights = np.stack([fit.near(subspace.basis, γ) for fit in fits], 1)
    stayed = [np.array_equal(w, fit.inside(subspace.basis)) for w, fit in zip(weights.T, fits, strict=True)]
    return weights, np.full(T, rank), np.where(stayed, math.inf, 0.0), subspace


def _by_cross_validation(
    tasks: list[tuple[Floats, Floats]], quantile: float, caution: float
) -> tuple[Integers, Floats]:
    """k and relative λ of each task; steps (1) to (3) are repeated without the rows that judge them."""
    p, T = tasks[0][0].shape[1], len(tasks)
    ranks = _ranks_to_try(p, T, min(len(y) for _, y in tasks))
    alone: list[list[Floats]] = [[] for _ in tasks]  # squared errors (rows,) of ridge, fold by fold
    drawn: list[list[Floats]] = [[] for _ in tasks]  # (ranks, penalties, rows)
    for fold in range(FOLDS):
        parts = [(np.arange(len(y)) % FOLDS == fold) for _, y in tasks]
        fits = [_Task(X[~out], y[~out]) for (X, y), out in zip(tasks, parts, strict=True)]
        U, _, _ = _directions(np.stack([fit.alone for fit in fits], 1), quantile)
        for t, (fit, out) in enumerate(zip(fits, parts, strict=True)):
            X, y = tasks[t][0][out] - fit.x_mean, tasks[t][1][out] - fit.y_mean
            β = np.stack([fit.drawn_to(U[:, :k], PENALTIES) for k in ranks])  # (ranks, penalties, p)
            alone[t].append((y - X @ fit.alone) ** 2)
            drawn[t].append((y - β @ X.T) ** 2)
    chosen, penalties = np.zeros(T, dtype=np.int64), np.zeros(T)
    for t in range(T):
        mine, others = np.concatenate(alone[t]), np.concatenate(drawn[t], -1)
        k, g = np.unravel_index(int(others.mean(-1).argmin()), others.shape[:2])
        gain = mine - others[k, g]
        if gain.mean() > caution * gain.std() / math.sqrt(len(gain)):
            chosen[t], penalties[t] = ranks[k], PENALTIES[g]
        else:
            penalties[t] = _Task(*tasks[t]).penalty
    return chosen, penalties


def _ranks_to_try(p: int, T: int, rows: int) -> list[int]:
    """1, 2, 3, ... growing by a third, up to half of what the smallest of p, T and a fold's rows allows."""
    most = max(1, min(p, T, rows * (FOLDS - 1) // FOLDS) // 2)
    found = [1]
    while (k := max(found[-1] + 1, round(found[-1] * 4 / 3))) <= most:
        found.append(k)
    return found


def _directions(B: Floats, quantile: float) -> tuple[Floats, Floats, float]:
    """Left singular vectors and singular values of the shortened B/√T, and R."""
    lengths = np.linalg.norm(B, axis=0)
    R = float(np.quantile(lengths, quantile))
    short = B * np.minimum(1.0, R / np.where(lengths > 0, lengths, 1.0))
    U, σ, _ = np.linalg.svd(short / math.sqrt(B.shape[1]), full_matrices=False)
    return U, σ, R


def _rows(fits: list[_Task]) -> float:
    """Harmonic mean of the numbers of rows: variances of estimates average."""
    return float(1 / np.mean([1 / len(fit.y) for fit in fits]))


def _checked(X: Sequence[Floats], y: Sequence[Floats]) -> list[tuple[Floats, Floats]]:
    if len(X) != len(y) or len(X) < 2:
        raise DataError(f"X has {len(X)} tasks, y {len(y)}; wanted are two tasks or more, as many of both")
    tasks = [(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)) for a, b in zip(X, y, strict=True)]
    width = tasks[0][0].shape[-1] if tasks[0][0].ndim == 2 else None
    for t, (a, b) in enumerate(tasks):
        if a.ndim != 2 or b.shape != a.shape[:1] or a.shape[1] != width or not width:
            raise DataError(f"X[{t}] has shape {a.shape}, y[{t}] {b.shape}; wanted are (n, {width}) and (n,)")
        if len(b) < FOLDS:
            raise DataError(f"task {t} has {len(b)} rows; {FOLDS} or more are needed: leave it out")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise DataError(f"X[{t}] or y[{t}] holds NaN or inf; leave out those rows")
    return tasks
