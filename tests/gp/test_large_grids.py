"""Ten million places of a dask-backed grid, and a hundred thousand readings, within bounds of memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

GRID = """
import resource, sys
import dask, dask.array
import numpy as np, xarray as xr
from surrogates import HierarchicalGP, InducingGP, Schema, as_dataset
g = np.random.default_rng(0)
x = g.uniform(0, 1, (80, 2))
y = np.sin(6 * x[:, 0]) + x[:, 1] ** 2
single = sys.argv[1] == "InducingGP"
data = as_dataset(x, y, inputs=["u", "v"], task=np.array(["a", "b"])[np.arange(80) % 2])
if single:
    model = InducingGP(Schema(inputs=("u", "v"), target="y"), inducing=40).fit(data)
else:
    model = HierarchicalGP(Schema(inputs=("u", "v"), target="y", task="task"), integrate=False).fit(data)
R, C = 5000, 2000
shape, chunks = (R, C), (1000, 1000)
u = dask.array.linspace(0, 1, R, chunks=1000)[:, None] + dask.array.zeros(shape, chunks=chunks)
v = dask.array.linspace(0, 1, C, chunks=1000)[None] + dask.array.zeros(shape, chunks=chunks)
at = xr.Dataset({"u": (("row", "column"), u), "v": (("row", "column"), v)}, coords={"task": "a"})
with dask.config.set(scheduler="threads", num_workers=2):
    prediction = model.predict(at)
    assert prediction["mean"].shape == shape
    error = abs(prediction["mean"] - np.sin(6 * prediction["u"]) - prediction["v"] ** 2)
    assert float(error.max()) < 0.3
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["HierarchicalGP", "InducingGP"])
def test_ten_million_places_take_less_than_two_gibibytes(model: str) -> None:
    """The whole process, imports included."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GRID, model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2 * 1024**2  # KiB


TASKS = """
import resource, sys
import numpy as np
from surrogates import HierarchicalGP, Schema, as_dataset
shared, g, T, n = sys.argv[1] == "shared", np.random.default_rng(0), 2000, 50
x = g.uniform(0, 1, (1 if shared else T, n, 2)) * np.ones((T, 1, 1))
waves = [np.cos(x @ g.normal(size=2) * 4 + g.uniform(0, 6)) for _ in range(12)]
y = sum(wave * (g.normal() + 0.4 * g.normal(size=(T, 1))) for wave in waves) + 0.1 * g.normal(size=(T, n))
data = as_dataset(x.reshape(-1, 2), y.ravel(), inputs=["u", "v"], task=np.repeat(np.arange(T), n))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = HierarchicalGP(Schema(inputs=("u", "v"), target="y", task="task")).fit(data)
assert model.report.is_success and model.report.solver == ("rotation" if shared else "inducing"), model.report
assert 0.93 < model.report.loo["coverage of 95 % intervals"] < 0.97
noise = float(model.predict(data.isel(sample=slice(0, 5)))["noise_std"][0])
assert abs(noise - 0.1) < 0.01
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("design", ["own", "shared"])
def test_two_thousand_tasks_of_fifty_places(design: str) -> None:
    """100,000 rows: the trend's columns alone would take 4.8 GB, as a dense array; the fit adds less than 300 MB."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TASKS, design], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300 * 1024  # KiB
