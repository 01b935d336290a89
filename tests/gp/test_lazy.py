"""Predictions at dask arrays: lazy, block by block, and the numbers of the eager ones.

Tolerance: BLAS adds in another order in blocks of another size, so some last digits differ.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from dask.base import is_dask_collection

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema
from surrogates.errors import DataError


def observed(n: int = 24, seed: int = 0) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    u, v, code = generator.uniform(0, 1, n), generator.uniform(5, 9, n), np.arange(n) % 3
    return xr.Dataset(
        {
            "u": ("sample", u, {"units": "mm"}),
            "v": ("sample", v, {"units": "K"}),
            "y": ("sample", np.sin(5 * u) + v * code, {"units": "µm"}),
            "part": ("sample", np.array(list("abc"))[code]),
            "gauge": ("sample", np.array(["fine", "rough"])[(np.arange(n) // 3) % 2]),
        }
    )


@cache
def fit(noise: str = "fidelity", gauge: bool = True, sharing: str = "common") -> FittedHierarchicalGP:
    schema = Schema(inputs=("u", "v"), target="y", task="part", fidelity="gauge" if gauge else None)
    data = observed()
    data = data.assign(y=data["y"] + 0.1 * np.random.default_rng(1).standard_normal(24))
    data["y"].attrs["units"] = "µm"
    return HierarchicalGP(schema, noise=noise, sharing=sharing, integrate=False).fit(data)


def table() -> xr.Dataset:
    at = observed(23, seed=4).drop_vars(["y", "gauge"]).assign_attrs(plan="seven")
    return at.assign_coords(number=("sample", np.arange(23), {"long_name": "number of the place"}))


def grid() -> xr.Dataset:
    """A field over (part, row, column), with a label of each column, inputs that are coordinates of other names."""
    return xr.Dataset(
        {"mask": (("row", "column"), np.zeros((6, 5)))},
        coords={
            "u": (("row", "column"), np.linspace(0, 1, 30).reshape(6, 5), {"units": "mm"}),
            "v": ("column", np.linspace(5, 9, 5), {"units": "K", "long_name": "temperature"}),
            "part": ["c", "a"],
            "row": [10, 20, 30, 40, 50, 60],
            "name": ("column", list("vwxyz")),
        },
        attrs={"plan": "field"},
    )


def axes() -> xr.Dataset:
    """Inputs that are the axes themselves; the dask array is a field that isn't asked for."""
    other = xr.DataArray(np.zeros((6, 4)), dims=("u", "v"))
    at = xr.Dataset({"temperature": other}, coords={"u": np.linspace(0, 1, 6), "v": np.linspace(5, 9, 4)})
    at["u"].attrs["units"], at["v"].attrs["units"] = "mm", "K"
    return at.assign_coords(part="b")


REQUESTS: dict[str, tuple[xr.Dataset, dict[str, int]]] = {
    "table": (table(), {"sample": 5}),
    "table, coordinates": (table().set_coords(["u", "v", "part"]), {"sample": 10}),
    "grid, one dim": (grid(), {"row": 4}),
    "grid, two dims": (grid(), {"row": 2, "column": 3}),
    "axes": (axes(), {"u": 4, "v": 3}),
    "with gauges": (table().assign(gauge=("sample", ["fine", "rough", "fine"] * 7 + ["rough"] * 2)), {"sample": 7}),
}


def assert_same(lazy: xr.Dataset, eager: xr.Dataset) -> None:
    computed = lazy.compute()
    assert set(computed) == set(eager) == {"mean", "std", "noise_std"}
    xr.testing.assert_allclose(computed, eager, rtol=1e-10, atol=1e-12)
    assert lazy.attrs == eager.attrs
    assert set(computed.coords) == set(eager.coords)
    for name in eager.variables:
        assert computed[name].dims == eager[name].dims, name
        assert computed[name].attrs == eager[name].attrs, name
        assert computed[name].dtype == eager[name].dtype, name
    for name in eager.coords:
        xr.testing.assert_identical(computed[name].variable, eager[name].variable)


# --- the same answer -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gauge", [True, False])
@pytest.mark.parametrize("noise", ["fidelity", "task-fidelity"])
@pytest.mark.parametrize("request_", REQUESTS)
def test_the_answer_is_lazy_and_the_eager_one(request_: str, noise: str, gauge: bool) -> None:
    at, chunks = REQUESTS[request_]
    model = fit(noise, gauge)
    asked = at.chunk(chunks)
    lazy = model.predict(asked)
    for name in ("mean", "std"):
        assert is_dask_collection(lazy[name].data)
        assert lazy[name].chunks == tuple(asked.chunks.get(d, (lazy.sizes[d],)) for d in lazy[name].dims)
        assert lazy[name].data.npartitions > 1
    assert_same(lazy, model.predict(at))


@pytest.mark.parametrize("sharing", ["icm", "niw"])
def test_all_kinds_of_models(sharing: str) -> None:
    model = fit("fidelity", True, sharing)
    assert_same(model.predict(table().chunk(sample=6)), model.predict(table()))


def test_draws_of_hyper_parameters_are_mixed_in_every_block() -> None:
    schema = Schema(inputs=("u", "v"), target="y", task="part")
    model = HierarchicalGP(schema, integrate=True).fit(observed())
    assert model.report.draws > 10
    assert_same(model.predict(table().chunk(sample=6)), model.predict(table()))


@pytest.mark.parametrize("chunked", ["u", "v", "name", "part"])
def test_a_single_chunked_coordinate_is_enough(chunked: str) -> None:
    at = grid()
    if chunked == "part":
        at = at.rename_dims(part="piece").reset_index("part").reset_coords("part").set_coords("part")
    dims = at[chunked].dims
    asked = at.assign_coords({chunked: at[chunked].variable.chunk({dims[-1]: 1 if chunked == "part" else 2})})
    assert sum(v.chunks is not None for v in asked.variables.values()) == 1
    lazy = fit().predict(asked)
    assert is_dask_collection(lazy["mean"].data)
    assert_same(lazy, fit().predict(at))


def test_one_block_and_blocks_of_one() -> None:
    at = table().isel(sample=slice(0, 4))
    for size in (1, 4):
        assert_same(fit().predict(at.chunk(sample=size)), fit().predict(at))


def test_no_place_at_all() -> None:
    at = table().isel(sample=[])
    lazy = fit().predict(at.chunk())
    assert lazy["mean"].sizes == {"sample": 0}
    assert lazy.compute()["mean"].sizes == {"sample": 0}


def test_units_are_converted_in_every_block() -> None:
    at = table()
    other = at.assign(u=at["u"] / 1000)
    other["u"].attrs["units"] = "m"
    lazy = fit().predict(other.chunk(sample=6))
    np.testing.assert_allclose(lazy["mean"], fit().predict(at)["mean"], rtol=1e-10)
    np.testing.assert_allclose(lazy["u"], other["u"], rtol=0)
    assert (lazy["u"].attrs["units"], lazy["mean"].attrs["units"]) == ("m", "µm")


def test_the_request_stays_as_it_was() -> None:
    asked = table().chunk(sample=6)
    before = asked.copy(deep=True)
    fit().predict(asked).compute()
    xr.testing.assert_identical(asked, before)
    assert asked["u"].chunks == ((6, 6, 6, 5),)


# --- lazy indeed -----------------------------------------------------------------------------------------------------


def counted(at: xr.Dataset, calls: list[int]) -> xr.Dataset:
    """The request with an input that notes when a block of it is computed."""

    def block(values: Any) -> Any:
        if values.size:
            calls.append(values.size)
        return values

    data: Any = at["u"].variable.chunk(sample=5).data
    return at.assign(u=("sample", data.map_blocks(block, dtype=float, meta=np.empty(0)), at["u"].attrs))


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    calls: list[int] = []
    lazy = fit().predict(counted(table(), calls))
    # the template reads one place
    assert sum(calls) <= 5
    calls.clear()
    with dask.config.set(scheduler="synchronous"):
        part = lazy["mean"].isel(sample=slice(0, 3)).compute()
    assert set(calls) == {5}
    assert len(calls) <= 2  # once for the answer's numbers, once for its coordinate
    np.testing.assert_allclose(part, fit().predict(table())["mean"][:3], rtol=1e-10)


MEMORY = """
import resource
import dask, dask.array
import numpy as np, xarray as xr
from surrogates import HierarchicalGP, Schema, as_dataset
dask.config.set(scheduler="synchronous")
x = np.linspace(0, 1, 80)
data = as_dataset(np.stack([x, x**2], 1), np.sin(6 * x), inputs=["u", "v"], task=np.array(["a", "b"])[np.arange(80) % 2])
model = HierarchicalGP(Schema(inputs=("u", "v"), target="y", task="task"), integrate=False).fit(data)
def at(n):
    u = dask.array.linspace(0, 1, n, chunks=10_000)
    return xr.Dataset({"u": ("p", u), "v": ("p", u**2)}, coords={"task": "a"})
truth = lambda p: abs(p["mean"] - np.sin(6 * p["u"])).max()
float(truth(model.predict(at(20_000))))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
prediction = model.predict(at(1_000_000))
assert len(prediction["mean"].chunks[0]) == 100
assert float(truth(prediction)) < 0.05
print(peak() - before)
"""


def test_memory_is_bounded_by_the_block() -> None:
    """Eagerly a million places take some 100 MB for inputs, labels and answer, and more than that while they are made."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 30 * 1024  # KiB


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_inside_a_block_surface() -> None:
    at = table()
    wrong = at.assign(part=at["part"].where(np.arange(23) < 22, "z")).chunk(sample=6)
    lazy = fit().predict(wrong)
    with pytest.raises(DataError, match="unknown part 'z'; the model knows 'a', 'b', 'c'"):
        lazy.compute()
    np.testing.assert_allclose(lazy["mean"][:18], fit().predict(at)["mean"][:18], rtol=1e-10)
    holes = at.assign(u=at["u"].where(np.arange(23) != 9)).chunk(sample=6)
    with pytest.raises(DataError, match="variable 'u' has 1 entries that are NaN or inf"):
        fit().predict(holes).compute()


def test_what_the_whole_request_lacks_is_said_at_once() -> None:
    with pytest.raises(DataError, match="no variable 'v'"):
        fit().predict(table().drop_vars("v").chunk(sample=6))
    other = table()
    other["u"].attrs["units"] = "s"
    with pytest.raises(DataError, match="'u'"):
        fit().predict(other.chunk(sample=6))
