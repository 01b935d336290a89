"""What a reading is expected to be worth, in closed form, for each goal; averaged over the draws of the hyper-parameters.

With q² = C(r, c)²/(v(c) + s²), by how much a reading at c lowers the variance v(r) whatever it is, and Z standard normal:

    map        Σ_r ω_r q²                                           (Cohn, Ghahramani & Jordan 1996, sec. 4)
    level set  Σ_r ω_r {E p(1-p) before - after},   E p(1-p) = 2 T(a, √((1-ρ)/(1+ρ))),   a = (m - limit)/√v,   ρ = q²/v
    optimum    E max_r {m(r) + q(r) Z} - max_r m(r)                 (Frazier, Powell & Dayanik 2009, sec. 2-3)

with T Owen's function. The level set's is the criterion of Bect et al. (2012, sec. 3.3) and Chevalier et al. (2014): two
further draws of f(r), independent given what will be read, have correlation ρ, and p(1-p) is the probability that only the
first exceeds the limit; by Owen's T that is our own writing. ω sums to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, owens_t

from .beliefs import Asked, Beliefs

Floats = NDArray[np.float64]
#: numbers in the largest temporary array
CHUNK = 1_000_000


class Measure(Protocol):
    """How good a state of knowledge is, and by how much a reading is expected to change that."""

    @property
    def text(self) -> str: ...  # what is expected
    @property
    def power(self) -> int: ...  # of the target's units
    @property
    def direction(self) -> int: ...  # what a gain does to it: -1 where less is better

    def expected(self, beliefs: Beliefs) -> float: ...
    def gains(self, beliefs: Beliefs, asked: Asked) -> Floats: ...


@dataclass(frozen=True)
class MeanVariance:
    """Goal "map".  weights ω (R,)."""

    weights: Floats
    text = "mean variance"
    power = 2
    direction = -1

    def expected(self, beliefs: Beliefs) -> float:
        """Σ_r ω_r v(r)."""
        return float(beliefs.model.weights @ (beliefs.variance @ self.weights))

    def gains(self, beliefs: Beliefs, asked: Asked) -> Floats:
        """(m,)"""
        total = np.zeros(len(asked.place))
        for draw, share in enumerate(beliefs.model.weights):
            scale, _ = asked.scaled(draw, beliefs.floor)
            C = asked.cross[draw]
            total += share * np.einsum("ru,ru,r->u", C, C, self.weights)[asked.place] * scale**2
        return total


@dataclass(frozen=True)
class MeanAmbiguity:
    """Goal "level set".  weights ω (R,)."""

    limit: float
    weights: Floats
    text = "mean p(1 - p), p the probability of exceeding the limit"
    power = 0
    direction = -1

    def expected(self, beliefs: Beliefs) -> float:
        """Σ_r ω_r E p(1-p)."""
        shares = beliefs.model.weights
        return float(sum(share * (self.weights @ self._before(beliefs, k)) for k, share in enumerate(shares)))

    def gains(self, beliefs: Beliefs, asked: Asked) -> Floats:
        """(m,)"""
        total = np.zeros(len(asked.place))
        for draw, share in enumerate(beliefs.model.weights):
            a, learnt, prior = self._standing(beliefs, draw)
            before = float(self.weights @ self._before(beliefs, draw))
            for rows, slopes in _slopes(beliefs, asked, draw):
                after = _ambiguity(a[:, None], _share(learnt[:, None] + slopes**2, prior[:, None]))
                total[rows] += share * (before - self.weights @ after)
        return np.maximum(total, 0.0)

    def _before(self, beliefs: Beliefs, draw: int) -> Floats:
        a, learnt, prior = self._standing(beliefs, draw)
        return _ambiguity(a, _share(learnt, prior))

    def _standing(self, beliefs: Beliefs, draw: int) -> tuple[Floats, Floats, Floats]:
        """a, what the places asked for are going to explain of the variance, and the variance: (R,) each."""
        mean, prior = beliefs.mean[draw], beliefs.prior[draw]
        above = mean - self.limit
        far = np.where(above >= 0, np.inf, -np.inf)
        a = np.divide(above, np.sqrt(prior), out=far, where=prior > 0)
        return a, prior - beliefs.variance[draw], prior


@dataclass(frozen=True)
class BestMean:
    """Goal "optimum".  sign: 1 to maximise, -1 to minimise; among the reference places."""

    sign: int
    text = "best mean"
    power = 1

    @property
    def direction(self) -> int:
        return self.sign

    def expected(self, beliefs: Beliefs) -> float:
        """The best mean, as it is known now."""
        return self.sign * float(beliefs.model.weights @ (self.sign * beliefs.mean).max(axis=1))

    def gains(self, beliefs: Beliefs, asked: Asked) -> Floats:
        """(m,); the means are held while readings are pending."""
        total = np.zeros(len(asked.place))
        for draw, share in enumerate(beliefs.model.weights):
            for rows, slopes in _slopes(beliefs, asked, draw):
                total[rows] += share * knowledge_gradient(self.sign * beliefs.mean[draw], slopes)
        return total


def knowledge_gradient(intercepts: Floats, slopes: Floats) -> Floats:
    """E max_r {a_r + b_r Z} - max_r a_r for Z ~ N(0, 1), exactly.  a: (R,), b: (R, m)  ->  (m,)

    The largest line is followed from z = -∞ upwards: where it changes, at c_i, the slope rises by Δ_i, and the answer is
    Σ_i Δ_i f(-|c_i|), f(z) = φ(z) + z Φ(z) (Frazier, Powell & Dayanik 2009, eq. 14). All m at once.

    >>> bool(np.isclose(knowledge_gradient(np.zeros(2), np.array([[0.0], [1.0]]))[0], 1 / np.sqrt(2 * np.pi)))
    True
    """
    m = slopes.shape[1]
    total, columns = np.zeros(m), np.arange(m)
    order = np.argsort(-intercepts, kind="stable")  # of equal slopes the first, highest, line counts
    a, b = intercepts[order], slopes[order]
    line = b.argmin(axis=0)
    height, slope = a[line], b[line, columns]
    while len(columns):
        rise = b - slope
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = np.where(rise > 0, (height - a[:, None]) / rise, np.inf)
        at = crossing.min(axis=0)
        going = np.isfinite(at)
        if not going.all():
            columns, b, crossing, slope, height, at, rise = (
                columns[going],
                b[:, going],
                crossing[:, going],
                slope[going],
                height[going],
                at[going],
                rise[:, going],
            )
            if not len(columns):
                break
        # of lines that cross at one point the steepest goes on
        line = np.where(crossing <= at, rise, -np.inf).argmax(axis=0)
        here = np.arange(len(columns))
        total[columns] += rise[line, here] * _unit_gain(-np.abs(at))
        height, slope = a[line], b[line, here]
    return total


def _unit_gain(z: Floats) -> Floats:
    """φ(z) + z Φ(z), for z <= 0."""
    return np.asarray(np.maximum(np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) + z * ndtr(z), 0.0))


def _slopes(beliefs: Beliefs, asked: Asked, draw: int) -> Iterator[tuple[slice, Floats]]:
    """q (R, some of the m candidates), block by block."""
    scale, _ = asked.scaled(draw, beliefs.floor)
    size = max(1, CHUNK // max(len(beliefs.reference.x), 1))
    for start in range(0, len(scale), size):
        rows = slice(start, start + size)
        yield rows, asked.cross[draw][:, asked.place[rows]] * scale[rows]


def _share(explained: Floats, variance: Floats) -> Floats:
    """ρ, between zero and one; one where nothing is left to learn."""
    ρ = np.divide(explained, variance, out=np.ones(np.broadcast(explained, variance).shape), where=variance > 0)
    return np.asarray(np.clip(ρ, 0.0, 1.0))


def _ambiguity(a: Floats, ρ: Floats) -> Floats:
    """E p(1 - p) = 2 T(a, √((1-ρ)/(1+ρ)))."""
    return np.asarray(2 * owens_t(a, np.sqrt((1 - ρ) / (1 + ρ))))
