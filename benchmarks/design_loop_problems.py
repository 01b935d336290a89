"""Families of functions on the unit cube, of which some members have been read and another one is to be minimised.

Related: members of one family are translated by up to a tenth of the cube's edge (Forrester's function, which is rough, by a
twentieth) and scaled by up to a tenth, as in Volpp et al. (2020), ICLR; offset by up to a standard deviation; and each has a
smooth function of its own added, of a tenth of the family's standard deviation. Unrelated: the tasks that were read are
smooth random functions that have nothing to do with the one to be minimised. All are scaled so that the base function has
unit standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from problems import random_function
from scipy.optimize import minimize
from scipy.stats import qmc

from surrogates import HierarchicalGP, Schema
from surrogates.datasets import MultiFidelityFunction
from surrogates.datasets.functions import branin, forrester, hartmann3

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]
NEW = "new"
SCALING, OFFSET, OWN = 0.1, 1.0, 0.1
ALIKE = 0.5


@dataclass(frozen=True)
class Study:
    """What a benchmark asks: which functions, how much of the old tasks is known, how long the loop is.

    base : of the family
    old, readings : number of old tasks, and readings of each
    related : whether the old tasks are of the same family
    start : readings of the new task that a loop without old tasks begins with
    evaluations : of the new task, the first ones included
    translation : most that members are moved along each input
    """

    name: str
    base: MultiFidelityFunction
    old: int
    readings: int
    related: bool
    start: int
    evaluations: int
    translation: float = 0.1


STUDIES = {
    study.name: study
    for study in (
        Study("forrester", forrester, 3, 12, True, 3, 14, 0.05),
        Study("branin", branin, 3, 20, True, 4, 24),
        Study("hartmann3", hartmann3, 3, 40, True, 5, 30),
        Study("forrester, unrelated", forrester, 3, 12, False, 3, 14, 0.05),
        Study("branin, unrelated", branin, 3, 20, False, 4, 24),
        Study("hartmann3, unrelated", hartmann3, 3, 40, False, 5, 30),
    )
}


@dataclass(frozen=True)
class Case:
    """One draw of a study.

    old : readings of the old tasks, over ``sample``
    function : the new task's, (n, d) -> (n,)
    minimum : its least value
    design : (n, d) where a loop's first readings are made, evenly spread
    """

    old: xr.Dataset
    function: Function
    minimum: float
    design: Floats

    @cached_property
    def promising(self) -> Floats | None:
        """Where the old tasks are low, on the average of their standardised means: (1, d).

        None where they aren't alike among themselves (a correlation below one half), and promise nothing for another one.
        """
        x = sobol(1024, len(self.inputs), np.random.default_rng(0))
        schema = Schema(inputs=self.inputs, target="y", task="task")
        fitted = HierarchicalGP(schema, trend="constant", noise="none", integrate=False).fit(self.old)
        if float(fitted.task_correlation()[0, 1]) < ALIKE:
            return None
        total = np.zeros(len(x))
        for label in fitted.vocabulary.tasks:
            mean = fitted.predict(table(x, np.full(len(x), np.nan), str(label)))["mean"].to_numpy()
            total += (mean - mean.mean()) / mean.std()
        return x[[int(np.argmin(total))]]

    def value(self, at: xr.Dataset) -> float:
        """The new task's value at a place, as an experiment of a loop."""
        return float(self.function(np.array([[float(at[name]) for name in self.inputs]]))[0])

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(name for name in self.old.data_vars if str(name).startswith("x"))  # type: ignore[misc]


def make_case(study: Study, seed: int) -> Case:
    """The draw of a study that belongs to a seed; the new task doesn't depend on what the old ones are."""
    d = len(study.base.inputs)
    fresh, past = (np.random.default_rng([seed, d, stream]) for stream in (0, 1 + study.related))
    new = member(study.base, fresh, study.translation)
    tables = []
    for t in range(study.old):
        function = member(study.base, past, study.translation) if study.related else _random_function(past, d)
        x = sobol(study.readings, d, past)
        tables.append(table(x, function(x), f"old {t}"))
    return Case(xr.concat(tables, "sample"), new, least(new, d), sobol(64, d, fresh))


def member(base: MultiFidelityFunction, generator: np.random.Generator, translation: float) -> Function:
    """A function of the family of `base`, from the unit cube."""
    d = len(base.inputs)
    low, high = np.array(base.bounds).T
    grid = qmc.Sobol(d, rng=0).random_base2(12)
    spread = float(base.functions[-1](low + (high - low) * grid).std())
    shift = generator.uniform(-translation, translation, d)
    scale, offset = generator.uniform(1 - SCALING, 1 + SCALING), generator.uniform(-OFFSET, OFFSET)
    own = _random_function(generator, d)
    return partial(
        _value, base=base, low=low, width=high - low, shift=shift, scale=scale / spread, offset=offset, own=own
    )


def _value(
    u: Floats, *, base: MultiFidelityFunction, low: Floats, width: Floats, shift: Floats, scale: float, offset: float,
    own: Function,
) -> Floats:  # fmt: skip
    return np.asarray(scale * base.functions[-1](low + width * (u + shift)) + offset + OWN * own(u))


def _random_function(generator: np.random.Generator, d: int) -> Function:
    return random_function(generator, d, 0.25 * np.sqrt(d))


def sobol(n: int, d: int, generator: np.random.Generator) -> Floats:
    """The first n points (n, d) of a scrambled Sobol sequence."""
    return np.asarray(qmc.Sobol(d, rng=generator).random_base2(max(n - 1, 0).bit_length())[:n])


def table(x: Floats, y: Floats, task: str) -> xr.Dataset:
    """Readings of one task.  x: (n, d), y: (n,)."""
    columns = {f"x{k + 1}": ("sample", column) for k, column in enumerate(x.T)}
    return xr.Dataset(columns | {"y": ("sample", y), "task": ("sample", np.full(len(x), task))})


def least(function: Function, d: int) -> float:
    """The least value on the unit cube: descents from the best twenty of 2^13 points."""
    x = qmc.Sobol(d, rng=0).random_base2(13)
    starts = x[np.argsort(function(x))[:20]]
    found = [minimize(lambda u: float(function(u[None])[0]), start, bounds=[(0.0, 1.0)] * d).fun for start in starts]
    return float(min(found))
