"""Sobol indices of a Gaussian process whose correlations are products, without sampling of inputs.

The posterior of one task's function is a sum of products with random coefficients (`products`): correlations with all rows'
places, and the trend's columns. What the inputs S explain of it has the expected variance

    E V_S = V_S[m*] + E_S k* - E k*

of the posterior mean m*, and of the posterior covariance k* between places that agree in the inputs S, less that between
independent places (Oakley & O'Hagan 2004, sec. 3; the trend's coefficients are integrated as in `process`). Integrals of one
input are sums over Gauss-Legendre points, exact to rounding. How far V_S may be from that is told by draws of the function
(`paths`), whose V_S are closed too, as waves are products: on average over draws they are E V_S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.gp.process import Conditioned

from ..laws import Input
from .factors import Part
from .inside import Inside
from .paths import Paths, draw_paths, trend_columns
from .products import Products, stacked, tensor, tensor_variance, variance

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
#: sets of waves that draws share
SETS = 32
#: kernel functions of one posterior that closed forms take: their matrices are dense
MOST_FUNCTIONS = 3000
#: of these trends every column is a product of powers
TRENDS = ("none", "constant", "linear", "quadratic")
Subset = tuple[int, ...]


class Variances(NamedTuple):
    """V_S of several sets S, in the order asked for."""

    mean: Floats  # (sets,) of the mean function
    expected: Floats  # (sets,) E V_S
    draws: Floats  # (draws, sets)


#: of a share of the variance, what rounding may leave
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Posterior:
    """One posterior of one task, as products.  n rows, P places, J parts: the functions are (J P) and p trend columns.

    tables : of all functions; rows : (n, J P) what a row's correlations are of them
    selected : (p,) the task's trend coefficients among all
    """

    process: Conditioned
    task: int
    parts: tuple[Part, ...]
    products: Products
    points: tuple[Floats, ...]  # d arrays (M_k,), scaled
    rows: Floats
    selected: NDArray[np.int64]

    @property
    def coefficients(self) -> Floats:
        """(N,) of the posterior mean."""
        β = np.concatenate([self.process.beta.ravel(), self.process.gamma])
        return np.concatenate([self.rows.T @ self.process.alpha, β[self.selected]])

    def covariance(self) -> Floats:
        """C (N, N): k*(x, x') is the prior's part plus φ(x)'C φ(x')."""
        process, s = self.process, self.selected
        solved = process.inverse.solve(self.rows)  # (n, J P)
        A_inverse = process.root_A.T @ process.root_A
        half = process.root_A @ (process.B.T @ self.rows)
        own = half.T @ half - self.rows.T @ solved
        cross = -(self.rows.T @ process.B) @ A_inverse[:, s]
        C = np.block([[own, cross], [cross.T, A_inverse[np.ix_(s, s)]]])
        return np.asarray(0.5 * (C + C.T))

    def prior_variances(self, sets: Sequence[Subset]) -> Floats:
        """E_S k - E k of the prior, the trend left out: (sets,)."""
        total = np.zeros(len(sets))
        for part in self.parts:
            flat = np.array([w @ part.table(k, x, x) @ w for k, (x, w) in enumerate(self._points())])
            size = part.share * self.process.state.mixing.matrix[part.c][self.task, self.task]
            total += [size * (np.prod(np.delete(flat, list(S))) - np.prod(flat)) for S in sets]
        return total

    def _points(self) -> list[tuple[Floats, Floats]]:
        return list(zip(self.points, self.products.weights, strict=True))

    def draws(self, sizes: Sequence[int], sets: Sequence[Subset], generator: np.random.Generator) -> Floats:
        """V_S of draws of the function, of which so many at a time share their waves: (draws, sets).

        With f = g + Re z, g of real coefficients c and z of complex ones a: E f² = E g² + 2 Re E gz + ½ E |z|² + ½ Re E z².
        """
        several = [draw_paths(self.process, self.task, self.parts, size, generator) for size in sizes]
        waves = [self._waves(paths) for paths in several]
        own = [np.concatenate([self.rows.T @ paths.update, paths.own_beta]) for paths in several]
        amplitudes = [np.concatenate(paths.amplitudes) for paths in several]
        c, products = np.concatenate(own, axis=1), self.products
        found = np.empty((c.shape[1], len(sets)))
        mains = products.main_effects(c)
        others = [wave.main_effects(a) for wave, a in zip(waves, amplitudes, strict=True)]
        for k, w in enumerate(products.weights):
            mains[k] = mains[k] + np.concatenate([other[k].real for other in others], axis=1)
            known = [j for j, S in enumerate(sets) if (k,) == S]
            found[:, known] = variance(mains[k], w)[:, None]
        mean = products.weights[0] @ mains[0]
        for j, S in enumerate(sets):
            if len(S) > 1:
                squares = np.einsum("as,as->s", c, products.crossed(products, S) @ c)
                rest = [self._rest(*each, S) for each in zip(own, waves, amplitudes, strict=True)]
                found[:, j] = squares + np.concatenate(rest) - mean**2
        return found

    def _waves(self, paths: Paths) -> Products:
        """The waves at all points."""
        tables = []
        for waves, a in zip(paths.waves, paths.amplitudes, strict=True):
            at_points = [np.ones((len(a), len(x)), dtype=np.complex128) for x in self.points]
            for k, wave in waves:
                at_points[k] *= wave(self.points[k])
            tables.append(Products(tuple(at_points), self.products.weights))
        return stacked(tables)

    def _rest(self, c: Floats, waves: Products, a: Complex, S: Subset) -> Floats:
        """2 Re E gz + ½ E |z|² + ½ Re E z² (s,), of their means given the inputs S."""
        both = np.einsum("as,as->s", c, (self.products.crossed(waves, S) @ a).real)
        plain = np.einsum("as,as->s", a, waves.crossed(waves, S) @ a).real
        modulus = np.einsum("as,as->s", a, waves.crossed(waves, S, conjugate=True) @ a.conj()).real
        return np.asarray(2 * both + 0.5 * (plain + modulus))


def is_lost_in_rounding(posteriors: Sequence[Posterior], weights: Floats, everything: Subset) -> bool:
    """Whether coefficients of the posterior covariance are so large that rounding is a share of the mean's variance.

    Exact readings of a smooth function make Σ nearly singular: what is left of sums of C's entries, which cancel, is their
    size times the rounding of one number. Our own rule; sampling sums values of f, not their squares, and is spared.
    """
    left = sum(w * np.linalg.norm(one.covariance()) for w, one in zip(weights, posteriors, strict=True))
    return bool(np.finfo(np.float64).eps * left > TOLERANCE * _of_mean(posteriors, weights, [everything])[0])


def make_posteriors(inside: Inside, inputs: Sequence[Input]) -> list[Posterior] | None:
    """Posteriors of a task as products, all at the same points; None if one of them isn't a sum of products."""
    processes, found, scaling = inside.processes, inside.parts, inside.scaling
    if inside.spread is None or any(process.trend.name not in TRENDS for process in processes):
        return None
    if any(not part.is_product for own in found for part in own):
        return None
    if any(len(own) * len(process.design.x) > MOST_FUNCTIONS for own, process in zip(found, processes, strict=True)):
        return None
    points, weights = [], []
    for k, one in enumerate(inputs):
        factors = [factor for own in found for part in own for factor in part.factors if factor.columns == (k,)]
        length = min([factor.length for factor in factors], default=1.0) * scaling.width[k]
        rows = np.unique(np.concatenate([process.design.x[:, k] for process in processes]))
        kinks = rows * scaling.width[k] + scaling.centre[k] if any(f.has_kinks for f in factors) else np.zeros(0)
        x, w = one.nodes(float(length), kinks)
        points.append((x - scaling.centre[k]) / scaling.width[k])
        weights.append(w)
    pairs = zip(processes, found, strict=True)
    return [_make_posterior(process, inside.task, own, tuple(points), tuple(weights)) for process, own in pairs]


def _make_posterior(
    process: Conditioned, task: int, parts: tuple[Part, ...], points: tuple[Floats, ...], weights: tuple[Floats, ...]
) -> Posterior:
    design = process.design
    places, which = np.unique(design.x, axis=0, return_inverse=True)
    which = which.reshape(-1)
    rows = np.zeros((len(design.x), len(parts) * len(places)))
    for j, part in enumerate(parts):
        amplitude = part.share * process.state.mixing.matrix[part.c][task, design.task]
        rows[np.arange(len(which)), j * len(places) + which] = amplitude
    tables = []
    for k, x in enumerate(points):
        correlations = [part.table(k, places[:, k], x) for part in parts]
        tables.append(np.concatenate([*correlations, *(x[None] ** power[k] for power in _powers(process))]))
    return Posterior(process, task, parts, Products(tuple(tables), weights), points, rows, trend_columns(process, task))


def _powers(process: Conditioned) -> list[list[int]]:
    """Of each of the task's trend columns, the power of every input."""
    trend, d = process.trend, process.design.x.shape[1]
    units = np.eye(d, dtype=np.int64)
    found = [] if trend.name == "none" else [np.zeros(d, dtype=np.int64)]
    if trend.name in ("linear", "quadratic"):
        found += [units[k] for k in trend.active]
    if trend.name == "quadratic":
        active = trend.active
        found += [units[i] + units[j] for a, i in enumerate(active) for j in active[a:]]
    found += [units[covariate.input] for covariate in (*trend.own, *trend.shared)]
    return [power.tolist() for power in found]


def closed_variances(
    posteriors: Sequence[Posterior], weights: Floats, sets: Sequence[Subset], *, draws: int, seed: int
) -> Variances:
    """V_S in scaled units squared, of posteriors mixed with weights (k,)."""
    expected = sum((w * _expected(one, sets) for w, one in zip(weights, posteriors, strict=True)), np.zeros(len(sets)))
    generator = np.random.default_rng(seed)
    sizes: dict[int, list[int]] = {}
    for k, size in shared_out(weights, draws, generator):
        sizes.setdefault(k, []).append(size)
    found = [posteriors[k].draws(own, sets, generator) for k, own in sizes.items()]
    return Variances(_of_mean(posteriors, weights, sets), expected, np.concatenate([np.zeros((0, len(sets))), *found]))


def shared_out(weights: Floats, draws: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Sets of draws: of each set the posterior, systematically by weight, and how many draws."""
    sets = min(SETS, -(-draws // 4))
    steps = (generator.random() + np.arange(sets)) / max(sets, 1)
    chosen = np.minimum(np.searchsorted(np.cumsum(weights) / weights.sum(), steps), len(weights) - 1)
    return [(int(k), draws // sets + (j < draws % sets)) for j, k in enumerate(chosen)]


def _expected(posterior: Posterior, sets: Sequence[Subset]) -> Floats:
    """E V_S of one posterior."""
    c, products = posterior.coefficients, posterior.products
    C, nothing = posterior.covariance(), products.crossed(products, ())
    unsure = [float(np.vdot(C, products.crossed(products, S) - nothing)) for S in sets]
    mean = _mean_variances(products, c, sets)
    return np.asarray(mean + np.maximum(posterior.prior_variances(sets) + np.array(unsure), 0.0))


def _of_mean(posteriors: Sequence[Posterior], weights: Floats, sets: Sequence[Subset]) -> Floats:
    """V_S of the mean over all posteriors."""
    c = np.concatenate([w * one.coefficients for w, one in zip(weights, posteriors, strict=True)])
    return _mean_variances(stacked([one.products for one in posteriors]), c, sets)


def _mean_variances(products: Products, c: Floats, sets: Sequence[Subset]) -> Floats:
    """V_S of one function with coefficients c (N,): (sets,)."""
    as_tensor = tensor(products, c)
    if as_tensor is not None:
        return np.array([tensor_variance(*as_tensor, S) for S in sets])
    mains = products.main_variances(c[:, None])[:, 0]
    means = products.means
    mean = float(np.prod(means, axis=0) @ c)
    total = np.array([mains[S[0]] if len(S) == 1 else -(mean**2) for S in sets])
    for start in range(0, len(c), 500):  # blocks: mixtures have thousands of functions
        block = slice(start, start + 500)
        some = Products(tuple(table[block] for table in products.tables), products.weights)
        for j, S in enumerate(sets):
            if len(S) != 1:
                total[j] += c[block] @ some.crossed(products, S) @ c
    return total
