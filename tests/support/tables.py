"""Small tables that several tests read, and what they compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from surrogates import HierarchicalGP, Schema, as_dataset

SCHEMA = Schema(inputs=("x",), target="y", task="task")
NOISY = Schema(inputs=("x",), target="y", task="task", noise="s")
GAUGED = Schema(inputs=("x",), target="y", task="task", fidelity="fidelity")
MODEL = HierarchicalGP(SCHEMA)


def observed(n: int = 14, *, seed: int = 0, tasks: str = "ab") -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, code = generator.uniform(0, 1, n), np.arange(n) % len(tasks)
    y = np.sin(5 * x) + code + 0.05 * generator.standard_normal(n)
    return as_dataset(x, y, inputs=["x"], task=np.array(list(tasks))[code], fidelity=np.where(x < 0.5, "lo", "hi"))


DATA = observed()
AT = observed(6, seed=3)[["x", "task"]]


def parts(**changes: Any) -> xr.Dataset:
    """Four readings of two parts by two gauges."""
    columns: dict[str, Any] = {
        "x": np.array([0.0, 1.0, 2.0, 3.0]),
        "height": np.array([5.0, 6.0, 7.0, 8.0]),
        "part": np.array(["b", "a", "b", "a"]),
        "gauge": np.array(["fine", "coarse", "coarse", "fine"]),
    }
    return xr.Dataset({name: ("sample", column) for name, column in {**columns, **changes}.items()})


def assert_close(got: xr.Dataset, wanted: xr.Dataset, *, scale: float = 1.0, rtol: float = 1e-9) -> None:
    """Predictions equal after division by `scale`, relative to the target's spread, which is about one."""
    for name in ("mean", "std", "noise_std"):
        np.testing.assert_allclose(got[name] / scale, wanted[name], rtol=0, atol=rtol, err_msg=name)


def with_units(data: xr.Dataset, **units: str) -> xr.Dataset:
    return data.assign({name: data[name].assign_attrs(units=unit) for name, unit in units.items()})
