"""The way from Gaussians in scaled units back to the target's own: an affine map, after a warp where there is one.

For y = g(f), f ~ N(m, v), what is wanted of a warped output are integrals over a standard normal u:

    mean E g(m + √v u)      variance Var g(m + √v u)      covariance Σ_{k≥1} a_k a'_k r^k,   a_k = E g(m + √v u) He_k(u)/√k!

with r the correlation of the two f (the Hermite series of a function of Gaussians; Mehler's formula). The logarithm's are
closed: mean e^{m+v/2}, variance (e^v - 1) e^{2m+v}, a_k = e^{m+v/2} v^{k/2}/√k!. Others are taken by 64 Gauss-Legendre
points within 8.3 standard deviations, from where y leaves its bound: to 1e-10 of y's spread for deviations of f up to 3.
Derivatives by m and v need no second derivative of g, by Stein's lemma: ∂E g/∂m = E g', ∂E g/∂v = E g' u/(2√v).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr, ndtri

from surrogates.posterior import Moments, Slopes, mix
from surrogates.scaling import TargetScaling

from .warping import Warp

Floats = NDArray[np.float64]
#: where the integrals over a standard normal end, and their points; terms of the Hermite series
END, POINTS, TERMS = 8.3, 64, 40
#: halvings of an interval of a mixture's quantile, which make it as exact as double precision
HALVINGS = 60


@dataclass(frozen=True)
class Output:
    """From scaled f to the target's units; each method takes one Gaussian, and mixtures are mixed afterwards."""

    target: TargetScaling
    warp: Warp | None = None

    def value(self, f: Floats) -> Floats:
        """y = g(f), of samples and medians."""
        z = np.asarray(self.target.mean(f))
        return z if self.warp is None else self.warp.inverse(z)

    def moments(self, part: Moments) -> Moments:
        """Mean and variance of g(f)."""
        if self.warp is None:
            return Moments(self.target.mean(part.mean), self.target.variance(part.variance))
        m, s = self._in_warped_units(part)
        if self._is_log:
            sign, centre = self._exponential()
            size = np.exp(sign * m + 0.5 * s**2)
            return Moments(centre + sign * size, np.expm1(s**2) * size**2)
        u, weights = self._points(m, s)
        y = self.warp.inverse(m[:, None] + s[:, None] * u)
        mean = (weights * y).sum(axis=1)
        return Moments(mean, (weights * (y - mean[:, None]) ** 2).sum(axis=1))

    def mixed(self, parts: Sequence[Moments], weights: Floats) -> Moments:
        """Mean and variance of g(f) for a mixture of Gaussians."""
        if self.warp is None:
            return self.moments(mix(parts, weights))
        with np.errstate(over="ignore", invalid="ignore"):  # far from all data a mean may exceed the largest float
            return mix([self.moments(part) for part in parts], weights)

    def slopes(self, slopes: Slopes, part: Moments) -> Slopes:
        """Derivatives of `moments` by d inputs, from those of f's: (m, d)."""
        if self.warp is None:
            return Slopes(self.target.deviation(slopes.mean), self.target.variance(slopes.variance))
        m, s = self._in_warped_units(part)
        u, weights = self._points(m, s)
        z = m[:, None] + s[:, None] * u
        y, slope = self.warp.inverse(z), self.warp.slope(z)
        slope[:, 0] = 0.0  # of the atom: y is held at its bound there, or nothing is
        above = 2 * (y - (weights * y).sum(axis=1)[:, None])  # the mean's own change doesn't count
        found = []
        for steep in (slope, above * slope):
            by_mean, by_variance = (weights * steep).sum(axis=1), (weights * steep * u).sum(axis=1)
            by_variance = np.divide(by_variance, 2 * s, out=np.zeros_like(s), where=s > 0)
            found.append(
                by_mean[:, None] * self.target.deviation(slopes.mean)
                + by_variance[:, None] * self.target.variance(slopes.variance)
            )
        return Slopes(*found)

    def covariance(self, covariance: Floats, part: Moments) -> Floats:
        """Joint covariance (m, m) of g(f) from that of f."""
        if self.warp is None:
            return self.target.variance(covariance)
        m, s = self._in_warped_units(part)
        scale = np.where(s > 0, s, 1.0)
        r = np.clip(self.target.variance(covariance) / np.outer(scale, scale), -1.0, 1.0)
        if self._is_log:
            sign, _ = self._exponential()
            size = np.exp(sign * m + 0.5 * s**2)
            return np.asarray(np.expm1(r * np.outer(s, s)) * np.outer(size, size))
        a = self._series(m, s)  # (m, TERMS)
        total = np.zeros_like(r)
        for k in reversed(range(TERMS)):
            total = r * (total + np.outer(a[:, k], a[:, k]))
        # the terms left out have no negative part: the diagonal gets its whole variance
        np.fill_diagonal(total, self.moments(part).variance)
        return np.asarray(total)

    def quantile(self, parts: Sequence[Moments], weights: Floats, q: float) -> Floats:
        """Quantile q of g(f) (m,) for a mixture of Gaussians: that of f by bisection, through the increasing g."""
        return self.value(mixture_quantile(parts, weights, q))

    @property
    def _is_log(self) -> bool:
        return self.warp is not None and (
            self.warp.name == "log" or (self.warp.name, self.warp.power) == ("box-cox", 0)
        )

    def _exponential(self) -> tuple[float, float]:
        """(sign, centre) of y = centre + sign e^(sign z)."""
        assert self.warp is not None
        return (-1.0, self.warp.high) if math.isinf(self.warp.low) else (1.0, self.warp.low)

    def _in_warped_units(self, part: Moments) -> tuple[Floats, Floats]:
        """Mean and standard deviation of z."""
        return self.target.mean(part.mean), self.target.deviation(np.sqrt(part.variance))

    def _points(self, m: Floats, s: Floats) -> tuple[Floats, Floats]:
        """Points u (m, K) and weights of integrals over a standard normal; those left of y's bound are one atom there."""
        assert self.warp is not None
        nodes, lengths = _legendre()
        start, held = np.full_like(m, -END), (s > 0) & (m - END * s < self.warp.floor)
        np.divide(self.warp.floor - m, s, out=start, where=held)
        start, t = np.clip(start, -END, END), 0.5 * (1 + nodes)
        # at its bound y may leave like a root: squares of the points make a polynomial of it
        step, pace = (np.where(held[:, None], a, b) for a, b in ((t**2, t), (t * lengths, 0.5 * lengths)))
        length = (END - start)[:, None]
        u = start[:, None] + length * step
        weights = length * pace * np.exp(-0.5 * u**2) / math.sqrt(2 * math.pi)
        atom = 1.0 - weights.sum(axis=1)
        return np.concatenate([start[:, None], u], axis=1), np.concatenate([atom[:, None], weights], axis=1)

    def _series(self, m: Floats, s: Floats) -> Floats:
        """a_k = E g(m + s u) He_k(u)/√k! for k = 1, 2, ...: (m, TERMS)."""
        assert self.warp is not None
        u, weights = self._points(m, s)
        # any constant may be taken off; with the bound itself, the atom there has no part in any term
        constant = self.warp.inverse(m) if math.isinf(self.warp.floor) else np.full_like(m, self.warp.low)
        left = weights * (self.warp.inverse(m[:, None] + s[:, None] * u) - constant[:, None])
        before, current, found = np.zeros_like(u), np.ones_like(u), []
        for k in range(TERMS):
            # normalised: h_{k+1} = (u h_k - √k h_{k-1})/√(k+1)
            before, current = current, (u * current - math.sqrt(k) * before) / math.sqrt(k + 1)
            found.append((left * current).sum(axis=1))
        return np.stack(found, axis=1)


def mixture_quantile(parts: Sequence[Moments], weights: Floats, q: float) -> Floats:
    """x (m,) with Σ_k w_k Φ((x - m_k)/s_k) = q; a part without variance is a step.

    >>> float(mixture_quantile([Moments(np.array([1.0]), np.array([4.0]))], np.ones(1), 0.5)[0])
    1.0
    """
    mean = np.stack([part.mean for part in parts])  # (k, m)
    s = np.sqrt(np.stack([part.variance for part in parts]))
    each = mean + s * ndtri(q)
    low, high = each.min(axis=0), each.max(axis=0)
    if len(parts) == 1:
        return np.asarray(low)
    tiny = np.where(s > 0, s, np.finfo(np.float64).tiny)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = weights @ ndtr((middle - mean) / tiny) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(0.5 * (low + high))


def with_noise(parts: Sequence[Moments], variance: Floats) -> list[Moments]:
    """The same Gaussians with independent noise of variance (m,) added."""
    return [Moments(part.mean, part.variance + variance) for part in parts]


def with_tails(
    parts: Sequence[Moments], weights: Floats, variance: Floats, degrees: float | None
) -> tuple[list[Moments], Floats]:
    """The Gaussians with noise of variance (m,) added, Gaussian or Student's t, and their weights.

    Student's t is a mixture of Gaussians with variances σ²/w, w ~ Gamma(ν/2, ν/2): here of 24, at Gauss-Legendre points of
    the cube root of the probability of w. Points of the probability itself would lack the small w, of which the tails are
    made: beyond one reading in a thousand they would end too early.
    """
    if degrees is None:
        return with_noise(parts, variance), weights
    nodes, lengths = np.polynomial.legendre.leggauss(24)
    root = 0.5 * (1 + nodes)
    w = gammaincinv(0.5 * degrees, root**3) / (0.5 * degrees)
    scale = variance * (degrees - 2) / degrees
    noisy = [part for each in w for part in with_noise(parts, scale / each)]
    return noisy, np.outer(1.5 * root**2 * lengths, weights).ravel()


@lru_cache(maxsize=1)
def _legendre() -> tuple[Floats, Floats]:
    """Gauss-Legendre points and weights on [-1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    return nodes, weights
