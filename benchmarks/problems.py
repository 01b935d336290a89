"""Simulated problems of many related tasks, with the truth to score against."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates import Schema, as_dataset

Floats = NDArray[np.float64]
INPUTS = ("a", "b", "c")
SCHEMA = Schema(inputs=INPUTS, target="y", task="task", fidelity="fidelity")
NOISE = (0.05, 0.25)


class Problem(NamedTuple):
    """Readings and places to predict at, as labelled data and as plain arrays, and the truth there."""

    data: xr.Dataset
    at: xr.Dataset
    x: Floats  # (n, d)
    y: Floats  # (n,)
    task: NDArray[np.int64]  # (n,)
    variance: Floats  # (n,) noise variance of each reading
    places: Floats  # (m, d)
    place_task: NDArray[np.int64]  # (m,)
    truth: Floats  # (m,)


class Field(NamedTuple):
    """A random smooth function: cosines with normal frequencies, whose covariance is a squared exponential."""

    frequencies: Floats  # (M, d)
    phases: Floats  # (M,)
    amplitudes: Floats  # (M,)

    @staticmethod
    def draw(generator: np.random.Generator, lengthscale: float, terms: int = 200) -> Field:
        frequencies = generator.standard_normal((terms, len(INPUTS))) / lengthscale
        amplitudes = generator.standard_normal(terms) * np.sqrt(2 / terms)
        return Field(frequencies, generator.uniform(0, 2 * np.pi, terms), amplitudes)

    def __call__(self, x: Floats) -> Floats:
        """At x (n, d): (n,)."""
        return np.asarray(np.cos(x @ self.frequencies.T + self.phases) @ self.amplitudes)


def random_function(generator: np.random.Generator, inputs: int, length: float) -> Callable[[Floats], Floats]:
    """A draw of about unit variance from a Gaussian process with a squared-exponential kernel: 300 random features."""
    w = generator.standard_normal((300, inputs)) / length
    phase, amplitude = generator.uniform(0, 2 * np.pi, 300), generator.standard_normal(300) * np.sqrt(2 / 300)
    return lambda x: np.asarray(np.cos(x @ w.T + phase) @ amplitude)


def random_fields(n: int, *, seed: int, tasks: int = 5, shared: bool = False, places: int = 400) -> Problem:
    """A common field, half as much of an own field per task, and own planes, on the unit cube; two noise levels.

    n : readings in all
    shared : whether all tasks are read at the same places, by the same instruments
    places : per task, to predict at
    """
    generator = np.random.default_rng(seed)
    common, own = Field.draw(generator, 0.4), [Field.draw(generator, 0.4) for _ in range(tasks)]
    planes = 0.5 * generator.standard_normal((tasks, 1 + len(INPUTS)))

    def function(x: Floats, task: NDArray[np.int64]) -> Floats:
        total = common(x) + planes[task, 0] + (planes[task, 1:] * x).sum(axis=1)
        for t in range(tasks):
            total[task == t] += 0.5 * own[t](x[task == t])
        return np.asarray(total)

    x = generator.uniform(size=(n, len(INPUTS)))
    fidelity = generator.integers(0, 2, n)
    task = np.arange(n) % tasks
    if shared:
        each = n // tasks
        x, fidelity, task = (
            np.tile(x[:each], (tasks, 1)),
            np.tile(fidelity[:each], tasks),
            np.repeat(range(tasks), each),
        )
    deviation = np.array(NOISE)[fidelity]
    y = function(x, task) + deviation * generator.standard_normal(n)
    where = np.tile(generator.uniform(size=(places, len(INPUTS))), (tasks, 1))
    where_task = np.repeat(np.arange(tasks), places)
    data = as_dataset(x, y, inputs=INPUTS, task=task, fidelity=fidelity)
    at = as_dataset(where, inputs=INPUTS, task=where_task)
    return Problem(data, at, x, y, task, deviation**2, where, where_task, function(where, where_task))
