"""Leverage, influence, dependence and condition of a Gaussian process's readings, in closed form.

At one value of the hyper-parameters, the fitted values of the rows are ŷ = S y with S = I - D P (plus what the trend's prior
says). For a reading r in row i, with E_r its noise, u_r = V_i/E_r its weight among the readings there (V the row's noise
without a nugget), e_r its left-out residual and p_r the precision of its left-out prediction:

    leverage    ∂ŷ_i/∂y_r = S_ii u_r                        (so that their sum is tr S = tr K Σ⁻¹, trend included)
    shift       ŷ without r - ŷ = -S_·i u_r e_r             (left out is the same as replaced by its left-out prediction)
    influence   p_r |e_r| (1-κ) √v,   v = 1/(1/c_i + 1/(V'+η²)),   c_i = 1/P_ii - D_i,   κ = η²/(V'+η²)

c_i is the variance of f at the row given all other rows, V' the noise of the row's other readings, η² the nugget; without
these v = c_i and the influence is √(z_r² S_ii), z_r the standardised left-out residual. It is the Mahalanobis length, in the
posterior without r, of the change of the function that r causes: no prediction anywhere, of any task, moves by more of its
standard deviations, and the one at i moves by as many. Cook's distance takes the covariance with r, which makes
e_r² S_ii/D_i of e_r² S_ii P_ii: infinite for exact readings.  (Cook 1977; Rasmussen & Williams 2006, eq. 5.12; own
derivation.)

Left-out residuals e = diag(P)⁻¹ P y of all readings correlate by P scaled to unit diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.health import Dependence, Smoothing
from surrogates.health.linear import overlap

from .collapse import Collapsed
from .leave_one_out import Solved, indispensable, leave_one_out
from .noise import KnownNoise
from .process import Conditioned

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: numbers in one block of columns
BLOCK = 4_000_000
#: most readings whose dependence on all others is worked out; of more, as many are taken, evenly by rows
PAIRS = 3_000


class Draw(NamedTuple):
    """A posterior, its weight, and the noise variance of every reading (N,), at one draw of the hyper-parameters."""

    process: Conditioned
    weight: float
    reading_variance: Floats


class _Columns(NamedTuple):
    """Columns `rows` of Σ, Σ⁻¹ and P: (n, k) each."""

    rows: slice
    covariance: Floats
    inverse: Floats
    projection: Floats


def smoothing(
    draws: Sequence[Draw], collapsed: Collapsed, y: Floats, *, unit: float = 1.0, task: Integers | None = None
) -> Smoothing:
    """What is said of every reading: averages over the draws, shifts of the draws' mean prediction.

    Parameters
    ----------
    draws : the posteriors; weights sum to one
    collapsed : the design that they share, and each reading's row
    y : (N,) scaled readings
    unit : size of one scaled unit, in which shifts are told
    task : (N,) codes of the tasks that the readings count for; None: the design's, which may be finer

    Notes
    -----
    Costs about three Cholesky factors and n² memory in blocks, for each draw; shifts of many draws take N n numbers.
    """
    N = len(y)
    leverage, influence = np.zeros(N), np.zeros(N)
    squares, own, covered = np.zeros(N), np.zeros(N), np.zeros(N)
    moved = _Moved(N, len(collapsed.design.x), several=len(draws) > 1)
    condition = 0.0
    for draw in draws:
        facts = _facts(draw, collapsed, y)
        leverage += draw.weight * facts.leverage
        influence += draw.weight * facts.influence
        counted = _Counted(facts, collapsed.row, task if task is not None else collapsed.design.task[collapsed.row])
        norms = np.zeros(2)
        for block in _columns(draw.process, N):
            norms = np.maximum(norms, [np.abs(m).sum(axis=0).max() for m in (block.covariance, block.inverse)])
            moved.add(block, facts, collapsed.row, draw)
            counted.add(block)
        condition = max(condition, float(norms.prod()))
        for total, part in zip((squares, own, covered), counted.sums(), strict=True):
            total += draw.weight * part
    shift, largest = moved.sizes()
    return Smoothing(leverage, influence, unit * shift, unit * largest, condition, Dependence(squares, own, covered))


class _Facts(NamedTuple):
    """Of every reading at one draw (N,)."""

    leverage: Floats
    influence: Floats
    step: Floats  # u_r e_r
    scale: Floats  # u_r/√p_r: times P_ij, it makes the correlation of readings in different rows
    within: Floats  # 1/(E_r √p_r): times -spread_i, that of readings in one row
    scored: NDArray[np.bool_]
    spread: Floats  # (n,) V - V² P_ii


def _facts(draw: Draw, collapsed: Collapsed, y: Floats) -> _Facts:
    process, E, row = draw.process, draw.reading_variance, collapsed.row
    design, D, η2 = process.design, process.state.D, process.nugget
    P = np.where(indispensable(design), 0.0, _diagonal(process))
    data = process.state.y + design.offset
    moments = leave_one_out(collapsed, y, Solved(process.alpha, P, data, D, E))
    known = np.isfinite(moments.mean)
    scored = known & (moments.variance > 0)
    p = np.divide(1.0, moments.variance, out=np.zeros(len(y)), where=scored)
    e = np.where(known, y - moments.mean, np.nan)
    alone = np.bincount(row)[row] == 1
    V = design.noise.variance if isinstance(design.noise, KnownNoise) else D
    u, S = _weights(row, E, V), 1.0 - D * P
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing else in the row, or nothing else at all
        rest = np.where(alone, 0.0, 1.0 / V[row] - 1.0 / E)
        others = np.where(rest > 0, 1.0 / rest, np.inf) + η2
        v = 1.0 / (1.0 / np.maximum(1.0 / P - D, 0.0)[row] + 1.0 / others)
        within = np.where(scored & ~alone & (E > 0), 1.0 / (E * np.sqrt(p)), 0.0)
        scale = np.where(scored, u / np.sqrt(p), 0.0)
    influence = np.where(scored, p * np.abs(e) * (1.0 - η2 / others) * np.sqrt(np.where(scored, v, 0.0)), np.nan)
    influence[known & ~scored] = 0.0  # a repeat of an exact reading
    return _Facts(S[row] * u, influence, u * e, scale, within, scored, V - V**2 * P)


def _weights(row: Integers, E: Floats, V: Floats) -> Floats:
    """Derivative of each row's datum by its readings: V/E; of exact readings, which outweigh all others, equal shares."""
    exact, alone = E == 0, np.bincount(row)[row] == 1
    shares = np.bincount(row, exact, minlength=len(V))[row]
    noisy = np.divide(V[row], E, out=np.zeros(len(E)), where=~exact)
    return np.where(alone, 1.0, np.where(exact, 1.0 / np.maximum(shares, 1.0), noisy))


def _columns(process: Conditioned, width: int) -> Iterator[_Columns]:
    """Σ, Σ⁻¹ and P, some columns at a time."""
    design, n = process.design, len(process.design.x)
    half = process.root_A @ process.B.T  # (q, n)
    step = max(1, BLOCK // width)
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        unit = np.zeros((n, rows.stop - start))
        unit[rows] = np.eye(rows.stop - start)
        root = process.inverse.root
        inverse = process.inverse.solve(unit) if root is None else root.T @ root[:, rows]
        covariance = process.cross(design.x[rows], design.task[rows]) + process.state.D[:, None] * unit
        yield _Columns(rows, covariance, inverse, inverse - half.T @ half[:, rows])


def _diagonal(process: Conditioned) -> Floats:
    """diag P (n,)."""
    if process.inverse.root is None:
        return np.concatenate([np.diagonal(b.projection[b.rows]) for b in _columns(process, len(process.design.x))])
    half = process.root_A @ process.B.T
    return np.asarray((process.inverse.root**2).sum(axis=0) - (half**2).sum(axis=0))


class _Moved:
    """Changes of the fitted values of n rows when each of N readings is left out."""

    def __init__(self, readings: int, rows: int, *, several: bool) -> None:
        self._all = np.zeros((rows, readings)) if several else None
        self._square, self._largest, self._rows = np.zeros(readings), np.zeros(readings), rows

    def add(self, block: _Columns, facts: _Facts, row: Integers, draw: Draw) -> None:
        """Those of the readings in the block's rows, at one draw."""
        S = -draw.process.state.D[:, None] * block.projection
        S[block.rows] += np.eye(S.shape[1])
        mine = np.flatnonzero((row >= block.rows.start) & (row < block.rows.stop))
        at = row[mine] - block.rows.start
        if self._all is not None:
            self._all[:, mine] -= draw.weight * facts.step[mine] * S[:, at]
            return
        self._square[mine] = facts.step[mine] ** 2 * (S * S).sum(axis=0)[at]
        self._largest[mine] = np.abs(facts.step[mine]) * np.abs(S).max(axis=0)[at]

    def sizes(self) -> tuple[Floats, Floats]:
        """Root mean square and maximum over the rows: (N,) each."""
        if self._all is not None:
            self._square, self._largest = (self._all**2).sum(axis=0), np.abs(self._all).max(axis=0)
        return np.sqrt(self._square / self._rows), self._largest


class _Counted:
    """Sums of `Dependence`, block by block."""

    def __init__(self, facts: _Facts, row: Integers, task: Integers) -> None:
        self._facts, self._row, self._task = facts, row, task
        N = len(self._row)
        order = np.argsort(self._row, kind="stable")
        self._chosen = order if N <= PAIRS else order[np.linspace(0, N - 1, PAIRS).astype(np.int64)]
        self._sums = np.zeros((3, N))

    def add(self, block: _Columns) -> None:
        """Pairs of all readings with those in the block's rows."""
        facts, row = self._facts, self._row
        at = row[self._chosen]
        mine = self._chosen[(at >= block.rows.start) & (at < block.rows.stop)]
        ρ = facts.scale[:, None] * facts.scale[mine] * block.projection[row][:, row[mine] - block.rows.start]
        shared = row[:, None] == row[mine]
        ρ = np.where(shared, -facts.spread[row[mine]] * facts.within[:, None] * facts.within[mine], ρ)
        ρ[mine, np.arange(len(mine))] = 0.0  # with itself: added in the end, exactly
        same = self._task[:, None] == self._task[mine]
        self._sums += [(ρ**2).sum(axis=1), (ρ**2 * same).sum(axis=1), overlap(ρ).sum(axis=1)]

    def sums(self) -> Floats:
        """(3, N)."""
        scored = self._facts.scored
        found = self._sums * (len(self._row) / len(self._chosen)) * scored
        return np.asarray(found + np.array([1.0, 1.0, 1 / 6])[:, None] * scored)
