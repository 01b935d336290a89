"""Small fitted surrogates for the tests of design loops."""

from __future__ import annotations

from functools import cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, FittedMultiFidelityGP, HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.gp import Categorical, Smooth

Floats = NDArray[np.float64]


def surface(x: Floats, z: Floats, task: NDArray[np.str_]) -> Floats:
    """Two related functions of two inputs."""
    return np.asarray(np.sin(3 * x) * np.cos(2 * z) + x**2 + 0.3 * (task == "a") * x)


def readings(n: int, seed: int, *, noise: float = 0.05) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    X, task = rng.uniform(-1, 1, (n, 2)), np.where(np.arange(n) % 2, "a", "b")
    y = surface(X[:, 0], X[:, 1], task) + noise * rng.standard_normal(n)
    return as_dataset(X, y, inputs=["x", "z"], target="height", task=task)


@cache
def plate() -> FittedHierarchicalGP:
    """Two tasks, units, many draws of the hyper-parameters."""
    data = readings(60, 0)
    for name, units in (("x", "mm"), ("z", "mm"), ("height", "um")):
        data[name].attrs["units"] = units
    return HierarchicalGP(Schema(inputs=("x", "z"), target="height", task="task")).fit(data)


@cache
def positive() -> FittedHierarchicalGP:
    """A target that is positive: warped by its logarithm."""
    data = readings(40, 1)
    data["height"] = np.exp(data["height"])
    return HierarchicalGP(Schema(inputs=("x", "z"), target="height", task="task"), warp="log").fit(data)


@cache
def gauges() -> FittedHierarchicalGP:
    """Two gauges, one of which is worse."""
    data = readings(60, 2, noise=0.0)
    rng, worse = np.random.default_rng(3), np.arange(60) % 3 == 0
    data["height"] += np.where(worse, 0.2, 0.02) * rng.standard_normal(60)
    data["gauge"] = ("sample", np.where(worse, "probe", "scanner"))
    return HierarchicalGP(Schema(inputs=("x", "z"), target="height", task="task", fidelity="gauge")).fit(data)


@cache
def levels() -> FittedMultiFidelityGP:
    """A cheap and a dear version of one function."""
    rng = np.random.default_rng(4)
    low, high = rng.uniform(-1, 1, (30, 2)), rng.uniform(-1, 1, (10, 2))
    X = np.concatenate([low, high])
    y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    y[:30] = 0.8 * y[:30] + 0.3 * X[:30, 0] + 0.2
    data = as_dataset(X, y + 0.01 * rng.standard_normal(40), inputs=["x", "z"], fidelity=["low"] * 30 + ["high"] * 10)
    schema = Schema(inputs=("x", "z"), target="y", fidelity="fidelity")
    structures = ("autoregressive", "offset")
    return MultiFidelityGP(
        schema, ("low", "high"), structure=structures, kernel="rbf", trend="linear", integrate=False
    ).fit(data)


@cache
def materials() -> FittedHierarchicalGP:
    """An input that holds labels."""
    data = readings(40, 5).rename(task="material")
    kernel = Smooth() * Categorical("material")
    return HierarchicalGP(Schema(inputs=("x", "material", "z"), target="height"), kernel=kernel).fit(data)


def slopes(of: object, x: Floats, step: float = 1e-5) -> Floats:
    """Central differences of a function of x (d,)."""
    assert callable(of)
    return np.array([(of(x + step * e) - of(x - step * e)) / (2 * step) for e in np.eye(len(x))])
