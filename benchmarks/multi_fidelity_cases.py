"""Multi-fidelity problems to compare methods on: functions of the literature, how often each level is read, and where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import qmc

from surrogates import as_dataset
from surrogates.datasets import FUNCTIONS

Floats = NDArray[np.float64]
PLACES = 1000
#: How many points each level gets, cheapest first. The first five are those of earlier comparisons; else 10 to 20 cheap and
#: 4 to 8 precise points for each of up to three inputs, fewer beyond: the precise level alone should be poor.
COUNTS: dict[str, tuple[int, ...]] = {
    "forrester": (15, 5),
    "nonlinear_sine": (40, 12),
    "currin": (30, 8),
    "park91a": (60, 12),
    "park91b": (60, 12),
    "borehole": (60, 16),
    "branin": (60, 30, 15),
    "hartmann3": (45, 20, 10),
    "hartmann6": (60, 30, 15),
    "branin_alike": (30, 8),
    "paciorek_alike": (40, 12),
    "paciorek_unlike": (40, 12),
    "hartmann3_unlike": (45, 15),
    "trid_alike": (60, 20),
    "trid_unlike": (60, 20),
    "alos": (40, 10),
    "rosenbrock": (40, 20, 8),
    "rastrigin": (60, 30, 12),
}
#: Functions whose cheap levels are uncorrelated with the precise one, or related in no linear way (|correlation| < 0.3).
MISLEADING = ("nonlinear_sine", "branin", "paciorek_unlike", "hartmann3_unlike", "trid_unlike")


class Case(NamedTuple):
    """One function read at one design, with the truth elsewhere; levels go from the cheapest to the most precise."""

    name: str
    seed: int
    levels: tuple[str, ...]
    inputs: tuple[str, ...]
    x: list[Floats]  # of each level, (n, d) in the unit cube
    y: list[Floats]  # of each level, (n,)
    data: xr.Dataset  # the same, labelled and in the inputs' own units
    at: Floats  # (m, d) in the unit cube
    places: xr.Dataset  # the same, labelled and in the inputs' own units
    truth: Floats  # (m,) of the last level


def nested_designs(counts: tuple[int, ...], d: int, generator: np.random.Generator) -> list[Floats]:
    """Latin hypercubes (n, d), of which each holds the next, costlier one.

    A cheaper design is a Latin hypercube of its own in which the points that are nearest to the costlier design's have given
    way to these (Le Gratiet & Garnier 2014, International Journal for Uncertainty Quantification 4(5), section 3.4), one
    for each of them.
    """
    designs: list[Floats] = []
    for n in reversed(counts):
        own = qmc.LatinHypercube(d, seed=generator).random(n)
        if designs:
            inner, left = designs[0], np.ones(n, dtype=bool)
            for point in inner:
                distance = np.where(left, ((own - point) ** 2).sum(axis=1), np.inf)
                left[distance.argmin()] = False
            own = np.concatenate([inner, own[left]])
        designs.insert(0, own)
    return designs


def case(name: str, seed: int, *, places: int = PLACES) -> Case:
    """The case of a function and a seed; the same for every method."""
    function = FUNCTIONS[name]
    d, (low, high) = len(function.inputs), np.array(function.bounds).T
    generator = np.random.default_rng([sorted(FUNCTIONS).index(name), seed])
    x = nested_designs(COUNTS[name], d, generator)
    at = qmc.LatinHypercube(d, seed=generator).random(places)

    def spread(unit: Floats) -> Floats:
        return np.asarray(np.clip(low + (high - low) * unit, low, high))

    y = [function(spread(part), level) for part, level in zip(x, function.levels, strict=True)]
    fidelity = np.repeat(np.array(function.levels), COUNTS[name])
    data = as_dataset(spread(np.concatenate(x)), np.concatenate(y), inputs=function.inputs, fidelity=fidelity)
    truth = function(spread(at), function.levels[-1])
    labelled = as_dataset(spread(at), inputs=function.inputs)
    return Case(name, seed, function.levels, function.inputs, x, y, data, at, labelled, truth)
