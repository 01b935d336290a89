"""Levels fitted one after the other, each given its parent's values: recursive co-kriging, and its nonlinear kin.

    autoregressive   f_l(x) = ρ f_p(x) + h(x)'β_t + δ_l(x)          (Kennedy & O'Hagan 2000; Le Gratiet & Garnier 2014)
    nonlinear        f_l(x) = ρ f_p(x) + h(x)'β_t + w_l(x, f_p(x))  (after Perdikaris et al. 2017)

ρ is integrated in closed form with β; δ and w are Gaussian processes, shared between tasks as in `HierarchicalGP`. The
linear term beside w is ours. With exact readings of the parent wherever a level was read, p(y) = Π_l p(y_l | y_p): no
approximation. Elsewhere the parent's values are drawn (see `imputation`), for nonlinear levels only.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, JitterWarning
from surrogates.posterior import mix

from ..fitting import DRAWS
from ..process import distinct_places
from .imputation import Pins
from .level import KINDS, Level, Recipe, Rho, fit_level
from .levels import Levels
from .nested import is_nested_exact, parent_values, rows_of, single_parents
from .parts import Structure
from .recursive_fit import Member, RecursiveFit

Floats = NDArray[np.float64]
#: how often values of a parent that aren't known are drawn; and the share of its range below which its mean will do
IMPUTATIONS, NEGLIGIBLE = 8, 1e-3
#: makes a level's fit: (level, its parent's values (n,), levels before it)
Maker = Callable[[int, Floats, tuple[Level, ...]], Level]


def climb_recursive(
    levels: Levels, structure: Structure, seed: int, progress: Callable[[float], None], *, per_task: bool = False
) -> RecursiveFit:
    """The structure at the modes of its levels' hyper-parameters; see `fit_recursive`."""
    rho = Rho(shared=not per_task)
    return fit_recursive(levels, structure, integrate=False, seed=seed, progress=progress, rho=rho)


def fit_recursive(
    levels: Levels,
    structure: Structure,
    *,
    integrate: bool | None = None,
    seed: int = 0,
    progress: Callable[[float], None] = lambda value: None,
    rho: Rho | None = None,
) -> RecursiveFit:
    """Fit each level given its parent's values.

    Parameters
    ----------
    levels : scaled readings, whose graph is a tree
    structure : of kind "autoregressive", for nested exact readings; or "nonlinear"
    integrate : average over draws of each level's hyper-parameters; None: where a level has few rows
    seed : of subsets and draws
    progress : called with the objective at every evaluation
    rho : prior of the coefficients; None: the usual one, shared by all tasks

    Raises
    ------
    DataError
        Another kind; a fidelity with several parents; readings that aren't nested and exact where that is needed.
    """
    if structure.kind not in KINDS:
        raise DataError(f"structure is {structure.kind!r}; levels can be fitted one after the other for {KINDS}")
    single_parents(levels.graph)
    require_nested(levels, structure)
    recipe = Recipe(structure, rho or Rho(), integrate, seed, progress)
    roots: dict[int, Level] = {}  # which no draw of parents' values changes

    def make(level: int, values: Floats, before: tuple[Level, ...]) -> Level:
        p = single_parents(levels.graph)[level]
        if p is not None:
            return fit_level(levels, level, values, before[p].core, recipe)
        if level not in roots:
            roots[level] = fit_level(levels, level, values, None, recipe)
        return roots[level]

    return RecursiveFit(levels, recipe, build_members(levels, recipe, (make,) * IMPUTATIONS))


def build_members(levels: Levels, recipe: Recipe, makers: tuple[Maker, ...]) -> tuple[Member, ...]:
    """One member where parents are known well enough at their children's rows; else one per maker, with draws."""
    first = _build(levels, recipe, makers[0], None)
    if first is not None:
        return (first,)
    members = (_build(levels, recipe, make, np.random.default_rng([recipe.seed, m])) for m, make in enumerate(makers))
    return tuple(member for member in members if member is not None)


def require_nested(levels: Levels, structure: Structure) -> None:
    if structure.kind == "autoregressive" and levels.graph.edges and not is_nested_exact(levels):
        raise DataError(
            "autoregressive levels can be fitted one after the other if readings are exact, and the parent was read "
            "wherever a level was; fit all at once, or use structure='nonlinear'"
        )


def _build(levels: Levels, recipe: Recipe, make: Maker, generator: np.random.Generator | None) -> Member | None:
    """All levels, parents' unknown values drawn by `generator`; without one, they are their means.

    None, if means were asked for and the parents are too uncertain.
    """
    made: list[Level] = []
    pins: list[Pins | None] = [None] * len(levels.targets)
    for l, p in enumerate(single_parents(levels.graph)):
        values = np.zeros(len(rows_of(levels, l)))
        if p is not None:
            values = parent_values(levels, l)
            unknown = _Unknown(levels, recipe, l, np.isnan(values))
            if unknown.where.any():
                found = _means(unknown, made) if generator is None else _draw(unknown, made, pins, generator)
                if found is None:
                    return None
                values[unknown.where] = found
        made.append(make(l, values, tuple(made)))
    return Member(tuple(made), tuple(pins))


class _Unknown(NamedTuple):
    """Rows of a level (n,) at which its parent isn't known."""

    levels: Levels
    recipe: Recipe
    level: int
    where: NDArray[np.bool_]

    @property
    def x(self) -> Floats:
        return self.levels.x[rows_of(self.levels, self.level)[self.where]]

    @property
    def task(self) -> NDArray[np.int64]:
        return self.levels.task[rows_of(self.levels, self.level)[self.where]]

    @property
    def ancestors(self) -> list[int]:
        """From the parent to the root."""
        found, parents = [], single_parents(self.levels.graph)
        p = parents[self.level]
        while p is not None:
            found.append(p)
            p = parents[p]
        return found


def _means(unknown: _Unknown, made: list[Level]) -> Floats | None:
    """The parent's means (k,), unless its deviations matter."""
    parents, l = single_parents(unknown.levels.graph), unknown.level
    chains = Member(tuple(made), (None,) * l).chains(parents[:l], DRAWS, linear=unknown.recipe.is_linear)
    p = unknown.ancestors[0]
    moments = mix(
        [chain.moments(unknown.x, unknown.task * l + p) for chain in chains], np.full(len(chains), 1 / len(chains))
    )
    range_ = np.ptp(unknown.levels.y[rows_of(unknown.levels, p)])
    return None if np.sqrt(moments.variance.max()) > NEGLIGIBLE * range_ else moments.mean


def _draw(unknown: _Unknown, made: list[Level], pins: list[Pins | None], generator: np.random.Generator) -> Floats:
    """A joint draw (k,) of the parent, which `pins` then hold, like its ancestors there."""
    parents, l, ancestors = single_parents(unknown.levels.graph), unknown.level, unknown.ancestors
    chains = Member(tuple(made), tuple(pins[:l])).chains(parents[:l], DRAWS, linear=unknown.recipe.is_linear)
    chain = chains[int(generator.integers(len(chains)))]
    first, place = distinct_places(unknown.x, unknown.task)
    x, task = unknown.x[first], unknown.task[first]
    code = np.concatenate([task * l + a for a in ancestors])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", JitterWarning)  # of the draws' prior covariance, at most 1e-8 of its size
        values = chain.sample(np.tile(x, (len(ancestors), 1)), code, 1, generator)[0]
    drawn = dict(zip(ancestors, values.reshape(len(ancestors), -1), strict=True))
    for a in ancestors:
        own, q = x, parents[a]
        if q is not None:
            own = np.concatenate([x, drawn[q][:, None] / made[a].width], axis=1)
        pins[a] = Pins(own, task, drawn[a]).beside(pins[a], x.shape[1])
    return np.asarray(drawn[ancestors[0]][place])
