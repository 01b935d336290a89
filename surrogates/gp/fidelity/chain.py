"""The posterior of all levels at one value of the hyper-parameters, from posteriors of each level given its parent.

    f_l(x) = g_l(x, f_p(x)),   g_l | data a Gaussian process,   f_p | data independent of it

Where parents are known at the rows of their children, the likelihood factorises by levels, and so does the posterior
(Kennedy & O'Hagan 2000; Le Gratiet & Garnier 2014, prop. 1). The parent's uncertainty enters by Gauss-Hermite nodes over
its marginal; mean and variance are those of the mixture. For an autoregression g_l is linear in f_p and its variance
quadratic, so that two nodes are exact.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import JitterWarning
from surrogates.posterior import Moments, Slopes, mix, mix_slopes

from ..process import Conditioned

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: Gauss-Hermite nodes over the parent's marginal, for functions that aren't linear in it
NODES = 9
#: parents whose deviation, in scaled units, is below this count as known
KNOWN = 1e-8


class Nodes(NamedTuple):
    """Places (k, d) and tasks (k,) of one level at which joint answers need its values.

    asked : (k,) which question each answers, or -1
    parent : (k,) position among the parent's nodes; empty for a root
    """

    x: Floats
    task: Integers
    asked: Integers
    parent: Integers


class Side(NamedTuple):
    """A level with a parent at k nodes."""

    at: Floats  # (k, d + 1) the parent's mean as last input
    slope: Floats  # (k,) Cov(f_l, f_p)/Var f_p
    share: Floats  # (k,) of the deviation of the level's own process
    variance: Floats  # (k,) of the level; not used where it is linear


class Coefficients(NamedTuple):
    """Mean (T,) and covariance (T, T) of the tasks' ρ."""

    mean: Floats
    covariance: Floats


@dataclass(frozen=True, eq=False)
class Chain:
    """A `Process` whose tasks are the codes task · L + level.

    parents : (L,) parent of each level, or None
    levels : posterior of each level; those with a parent have its value, divided by `widths`, as last input
    widths : (L,) what parents' values are divided by
    linear : levels are linear in their parents
    """

    parents: tuple[int | None, ...]
    levels: tuple[Conditioned, ...]
    widths: tuple[float, ...]
    linear: bool

    def moments(self, x: Floats, task: Integers, *, beside: bool = False) -> Moments:
        """Mean and variance at x (m, d) of codes (m,)."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        for l, rows in self._by_level(task):
            mean[rows], variance[rows] = self._moments(l, x[rows], task[rows] // len(self.levels), beside)
        return Moments(mean, variance)

    def slopes(self, x: Floats, task: Integers) -> Slopes:
        """Derivatives by x (m, d)."""
        mean, variance = np.empty(x.shape), np.empty(x.shape)
        for l, rows in self._by_level(task):
            mean[rows], variance[rows] = self._slopes(l, x[rows], task[rows] // len(self.levels))[1]
        return Slopes(mean, variance)

    def covariance(self, x: Floats, task: Integers) -> Floats:
        """Joint covariance (m, m) at x (m, d) of codes (m,).

        Cov(f_l, f_l') = ρ̂ρ̂' Cov(f_p, f_p') + Cov(ρ, ρ') E(f_p f_p') + Cov(g_l, g_l' | f_p, ρ) by levels, of which the last
        two are the level's own covariance at the parent's mean, and Cov(ρ, ρ') Cov(f_p, f_p'). Where levels aren't linear,
        b = Cov(f_l, f_p)/Var f_p has ρ's place (by Stein's lemma the covariance with the parent is then exact), and what
        is left of the variance is correlated as the level's own process is at the parent's mean, which is our own rule.
        """
        total = np.zeros((0, 0))  # of all nodes so far
        start: list[int] = []
        asked: list[Integers] = []
        for l, nodes in enumerate(self._nodes(x, task)):
            start.append(len(total))
            asked.append(nodes.asked)
            p, k = self.parents[l], len(nodes.x)
            if p is None:
                cross, own = np.zeros((k, len(total))), self.levels[l].covariance(nodes.x, nodes.task)
            else:
                at = start[p] + nodes.parent
                slope, own = self._joint_level(l, nodes, total[np.ix_(at, at)])
                cross = slope[:, None] * total[at]
            total = np.block([[total, cross.T], [cross, own]])
        flat = np.concatenate(asked)
        answer = np.empty((len(x), len(x)))
        wanted = np.flatnonzero(flat >= 0)
        answer[np.ix_(flat[wanted], flat[wanted])] = total[np.ix_(wanted, wanted)]
        return answer

    def cross_covariance(self, x: Floats, task: Integers, z: Floats, other: Integers) -> Floats:
        """Covariance (m, k) between x (m, d) of codes (m,) and z (k, d) of codes (k,), by the rule of `covariance`."""
        nodes, nodes_z = self._nodes(x, task), self._nodes(z, other)
        sides = [None if p is None else (self._side(l, nodes[l]), self._side(l, nodes_z[l])) for l, p in self._edges]
        found: dict[tuple[int, int], Floats] = {}
        for l, p in self._edges:
            for j, q in self._edges:
                one, two = sides[l], sides[j]
                a, b = nodes[l], nodes_z[j]
                if (
                    l > j and p is not None and one is not None
                ):  # what comes before a level hangs on it by its parent only
                    found[l, j] = one[0].slope[:, None] * found[p, j][a.parent]
                elif j > l and q is not None and two is not None:
                    found[l, j] = found[l, q][:, b.parent] * two[1].slope
                elif l != j:
                    found[l, j] = np.zeros((len(a.x), len(b.x)))
                elif p is None or one is None:
                    found[l, l] = self.levels[l].cross_covariance(a.x, a.task, b.x, b.task)
                else:
                    own = self.levels[l].cross_covariance(one[0].at, a.task, one[1].at, b.task)
                    parents = found[p, p][np.ix_(a.parent, b.parent)]
                    found[l, l] = self._given_parents(l, (a, one[0]), (b, one[1]), parents, own)
        answer = np.empty((len(x), len(z)))
        for (l, j), block in found.items():
            rows, columns = nodes[l].asked, nodes_z[j].asked
            answer[np.ix_(rows[rows >= 0], columns[columns >= 0])] = block[np.ix_(rows >= 0, columns >= 0)]
        return answer

    def sample(self, x: Floats, task: Integers, count: int, generator: np.random.Generator) -> Floats:
        """Joint draws (count, m): of the roots, then of each level given its parent's draw."""
        answer = np.empty((count, len(x)))
        values: list[Floats] = []
        for l, nodes in enumerate(self._nodes(x, task)):
            p = self.parents[l]
            if p is None:
                values.append(self.levels[l].sample(nodes.x, nodes.task, count, generator))
            else:
                values.append(self._sample_given(l, nodes, values[p][:, nodes.parent], generator))
            wanted = nodes.asked >= 0
            answer[:, nodes.asked[wanted]] = values[l][:, wanted]
        return answer

    @cached_property
    def coefficients(self) -> tuple[Coefficients | None, ...]:
        """(L,) ρ of every level's parent, in units of the levels' scaled values; None for roots."""
        return tuple(
            None if p is None else _coefficients(process, width)
            for p, process, width in zip(self.parents, self.levels, self.widths, strict=True)
        )

    @property
    def _quadrature(self) -> tuple[Floats, Floats]:
        """Nodes and weights for a standard normal variable."""
        return gauss_hermite(linear=self.linear)

    @property
    def _edges(self) -> list[tuple[int, int | None]]:
        """Levels with their parents, which come first."""
        return list(enumerate(self.parents))

    def _by_level(self, task: Integers) -> Iterator[tuple[int, Integers]]:
        """Levels that are asked for, and the questions."""
        L = len(self.levels)
        for l in np.unique(task % L).tolist():
            yield l, np.flatnonzero(task % L == l).astype(np.int64)

    def _moments(self, l: int, x: Floats, task: Integers, beside: bool = False) -> Moments:
        p = self.parents[l]
        if p is None:
            return self.levels[l].moments(x, task, beside=beside)
        parent = self._moments(p, x, task, beside)
        parts = [self.levels[l].moments(z, task, beside=beside) for z in self._at_nodes(l, x, parent)]
        return mix(parts, self._quadrature[1])

    def _at_nodes(self, l: int, x: Floats, parent: Moments) -> list[Floats]:
        """Inputs (m, d + 1) at each node of the parent's marginal."""
        deviation = np.sqrt(parent.variance)
        return [self._with_parent(l, x, parent.mean + ξ * deviation) for ξ in self._quadrature[0]]

    def _with_parent(self, l: int, x: Floats, values: Floats) -> Floats:
        return np.concatenate([x, values[:, None] / self.widths[l]], axis=1)

    def _slopes(self, l: int, x: Floats, task: Integers) -> tuple[Moments, Slopes]:
        """Moments and their derivatives: through x, and through the nodes, which move with the parent."""
        p = self.parents[l]
        if p is None:
            return self.levels[l].moments(x, task, beside=True), self.levels[l].slopes(x, task)
        parent, by_x = self._slopes(p, x, task)
        deviation = np.sqrt(parent.variance)[:, None]
        # where the parent is known, its deviation has a kink; there it counts as flat
        change = np.divide(by_x.variance, 2 * deviation, out=np.zeros(x.shape), where=deviation > KNOWN)
        moments, slopes = [], []
        for ξ, z in zip(self._quadrature[0], self._at_nodes(l, x, parent), strict=True):
            by_z = self.levels[l].slopes(z, task)
            by_node = (by_x.mean + ξ * change) / self.widths[l]
            moments.append(self.levels[l].moments(z, task, beside=True))
            slopes.append(Slopes(*(s[:, :-1] + s[:, -1:] * by_node for s in by_z)))
        weights = self._quadrature[1]
        return mix(moments, weights), mix_slopes(slopes, moments, weights)

    def _nodes(self, x: Floats, task: Integers) -> list[Nodes]:
        """All that joint answers need of each level: what is asked of it, and its children's places."""
        L = len(self.levels)
        level, task = task % L, task // L
        asked = [np.flatnonzero(level == l) for l in range(L)]
        # a descendant's question needs a node of every ancestor; children follow their parents
        needed = list(asked)
        position = [np.full(len(x), -1) for _ in range(L)]
        for l in reversed(range(L)):
            p = self.parents[l]
            if p is not None:
                needed[p] = np.union1d(needed[p], needed[l])
        result = []
        for l, rows in enumerate(needed):
            position[l][rows] = np.arange(len(rows))
            p = self.parents[l]
            parent = np.zeros(0, dtype=np.int64) if p is None else position[p][rows]
            result.append(Nodes(x[rows], task[rows], np.where(level[rows] == l, rows, -1), parent))
        return result

    def _sample_given(self, l: int, nodes: Nodes, parent: Floats, generator: np.random.Generator) -> Floats:
        """Draws (count, k) of a level, one for each draw (count, k) of its parent at the nodes."""
        process, count = self.levels[l], len(parent)
        if self.linear:
            blank = self._with_parent(l, nodes.x, np.zeros(len(nodes.x)))
            draws, β = process.sample_with_coefficients(blank, nodes.task, count, generator)
            return draws + _own_coefficients(process, β)[nodes.task].T * parent / self.widths[l]
        draws = np.empty(parent.shape)
        with warnings.catch_warnings():
            # the prior covariance of each draw's own places is factored; its jitter is 1e-14 to 1e-8 of the amplitude
            warnings.simplefilter("ignore", JitterWarning)
            for i in range(count):
                z = self._with_parent(l, nodes.x, parent[i])
                draws[i] = process.sample(z, nodes.task, 1, generator)[0]
        return draws

    def _side(self, l: int, nodes: Nodes) -> Side:
        """What a level with a parent has of its parent, and of its own, at nodes (k)."""
        p, process = self.parents[l], self.levels[l]
        assert p is not None
        moments = self._moments(p, nodes.x, nodes.task)
        at = self._with_parent(l, nodes.x, moments.mean)
        if self.linear:
            coefficients = self.coefficients[l]
            assert coefficients is not None
            return Side(at, coefficients.mean[nodes.task], np.ones(len(at)), np.full(len(at), np.nan))
        ξ, weights = self._quadrature
        parts = [process.moments(z, nodes.task) for z in self._at_nodes(l, nodes.x, moments)]
        deviation, total = np.sqrt(moments.variance), mix(parts, weights).variance
        together = np.asarray(sum(w * node * part.mean for node, w, part in zip(ξ, weights, parts, strict=True)))
        b = np.divide(together, deviation, out=np.zeros_like(deviation), where=deviation > KNOWN)
        spread = np.sqrt(process.moments(at, nodes.task).variance)
        rest = np.sqrt(np.maximum(total - b**2 * moments.variance, 0.0))
        share = np.divide(rest, spread, out=np.zeros_like(spread), where=spread > 0)
        return Side(at, b, share, total)

    def _joint_level(self, l: int, nodes: Nodes, parent: Floats) -> tuple[Floats, Floats]:
        """Cov(f_l, f_p)/Var f_p (k,) at the nodes, and their covariance (k, k), from the parent's (k, k) there."""
        side = self._side(l, nodes)
        own = self.levels[l].covariance(side.at, nodes.task)
        covariance = self._given_parents(l, (nodes, side), (nodes, side), parent, own)
        if not self.linear:
            np.fill_diagonal(covariance, side.variance)
        return side.slope, covariance

    def _given_parents(
        self, l: int, one: tuple[Nodes, Side], other: tuple[Nodes, Side], parents: Floats, own: Floats
    ) -> Floats:
        """Covariance (k, j) of a level between two sets of nodes, from its parent's and that of its own process there."""
        (nodes, side), (nodes_z, side_z) = one, other
        spread = np.outer(side.slope, side_z.slope)
        coefficients = self.coefficients[l] if self.linear else None
        if coefficients is not None:
            spread += coefficients.covariance[np.ix_(nodes.task, nodes_z.task)]
        return np.asarray(spread * parents + np.outer(side.share, side_z.share) * own)


@cache
def gauss_hermite(*, linear: bool) -> tuple[Floats, Floats]:
    """Nodes and weights of integrals over a standard normal variable: of functions that are linear in it, or not."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(2 if linear else NODES)
    return nodes, weights / weights.sum()


def _coefficients(process: Conditioned, width: float) -> Coefficients:
    """ρ of every task from the trend coefficients, of which the parent's column is the last."""
    flat = np.concatenate([process.beta.ravel(), process.gamma])
    mean = _own_coefficients(process, flat[:, None])[:, 0]
    root = _own_coefficients(process, process.root_A.T)  # (T, q): Cov(β) = L_A⁻ᵀ L_A⁻¹
    return Coefficients(mean / width, root @ root.T / width**2)


def _own_coefficients(process: Conditioned, β: Floats) -> Floats:
    """Rows (T, k) of the parent's coefficient of each task among all coefficients (q, k)."""
    T, p = process.beta.shape
    if len(process.gamma):
        return np.repeat(β[-1:], T, axis=0)
    return np.asarray(β[: T * p].reshape(T, p, -1)[:, -1])
