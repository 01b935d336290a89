"""Every answer of the fitted processes has its dims, names and units, and keeps what the request brought."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

from surrogates import HierarchicalGP, InducingGP, MultiFidelityGP, Schema, as_dataset
from surrogates.errors import FitWarning

BOTH = ["hierarchical", "fidelities"]
KELVIN = {"units": "K"}


@cache
def data() -> xr.Dataset:
    generator = np.random.default_rng(0)
    n = np.arange(24)
    x = generator.uniform(0, 4, (24, 2))
    y = np.sin(2 * x[:, 0]) + 0.3 * (n % 2) + 0.1 * (n // 2 % 2) * x[:, 0] + 0.05 * generator.normal(size=24)
    made = as_dataset(
        x, y, inputs=["x", "z"], task=np.array(["a", "b"])[n % 2], fidelity=np.array(["lo", "hi"])[n // 2 % 2]
    )
    made["x"].attrs["units"], made["y"].attrs["units"] = "mm", "K"
    return made


@cache
def fitted(kind: str) -> Any:
    schema = Schema(("x", "z"), "y", task="task", fidelity="fidelity")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        if kind == "hierarchical":
            return HierarchicalGP(schema).fit(data())
        if kind == "fidelities":
            return MultiFidelityGP(schema, fidelities=("lo", "hi"), structure="autoregressive").fit(data())
        return InducingGP(Schema(("x", "z"), "y"), inducing=8).fit(data().drop_vars(["task", "fidelity"]))


@cache
def places() -> xr.Dataset:
    at = data().drop_vars("y").isel(sample=slice(0, 3)).assign_attrs(made="by hand")
    return at.assign_coords(station=("sample", ["p", "q", "r"]))


def told(answer: xr.Dataset) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    return {str(name): (variable.dims, variable.attrs) for name, variable in answer.data_vars.items()}


@pytest.mark.parametrize("kind", [*BOTH, "inducing"])
def test_predictions(kind: str) -> None:
    at = places() if kind != "inducing" else places().drop_vars(["task", "fidelity"])
    answer = fitted(kind).predict(at)
    assert told(answer) == {
        "mean": (("sample",), {"long_name": "mean of y", **KELVIN}),
        "std": (("sample",), {"long_name": "standard deviation of y", **KELVIN}),
        "noise_std": (("sample",), {"long_name": "standard deviation of a reading's noise of y", **KELVIN}),
    }
    assert answer.attrs == {"made": "by hand"}
    assert answer["station"].to_numpy().tolist() == ["p", "q", "r"]
    np.testing.assert_array_equal(answer["x"], at["x"])
    assert answer["x"].attrs == {"units": "mm"}


@pytest.mark.parametrize("kind", BOTH)
def test_left_out_readings(kind: str) -> None:
    answer = fitted(kind).loo()
    assert told(answer) == {
        "observed": (("reading",), {"long_name": "observation of y", **KELVIN}),
        "mean": (("reading",), {"long_name": "left-out mean of y", **KELVIN}),
        "std": (("reading",), {"long_name": "left-out standard deviation (noise included) of y", **KELVIN}),
        "residual": (("reading",), {"long_name": "left-out residual of y", **KELVIN}),
    }
    assert {str(name) for name in answer.coords} == {"x", "z", "task", "fidelity"}
    assert answer["x"].attrs["units"] == "mm"
    np.testing.assert_allclose(answer["observed"], data()["y"])
    np.testing.assert_allclose(answer["residual"], answer["observed"] - answer["mean"])


@pytest.mark.parametrize("kind", BOTH)
def test_slopes(kind: str) -> None:
    answer = fitted(kind).gradient(places())
    assert told(answer) == {
        "d_mean": (("input", "sample"), {"long_name": "derivative of the mean"}),
        "d_std": (("input", "sample"), {"long_name": "derivative of the standard deviation"}),
    }
    assert answer["input"].to_numpy().tolist() == ["x", "z"]
    assert [str(unit) for unit in answer["units"].to_numpy()] == ["(K)/(mm)", ""]  # z has none that are known


@pytest.mark.parametrize("kind", BOTH)
def test_covariances_and_samples(kind: str) -> None:
    covariance = fitted(kind).covariance(places())
    assert (covariance.dims, covariance.attrs) == (
        ("place", "place_2"),
        {"long_name": "covariance of y", "units": "(K)**2"},
    )
    samples = fitted(kind).sample(places(), 4, seed=0)
    assert (samples.dims, samples.sizes["draw"]) == (("draw", "sample"), 4)
    assert samples.attrs == {"long_name": "draw of y", **KELVIN}


def test_quantiles_and_correlations() -> None:
    one, two = (fitted("hierarchical").quantile(places(), q) for q in (0.5, [0.1, 0.9]))
    assert (one.dims, two.dims) == (("sample",), ("quantile", "sample"))
    assert one.attrs == two.attrs == {"long_name": "quantile of y", **KELVIN}
    assert two["quantile"].to_numpy().tolist() == [0.1, 0.9]
    between = fitted("hierarchical").task_correlation()
    assert between.dims == ("task", "task_2")
    assert between["task_2"].to_numpy().tolist() == ["a", "b"]


def test_components_are_told_apart_in_the_report() -> None:
    """Two kernels: the common process has length-scales of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        report = HierarchicalGP(Schema(("x", "z"), "y", task="task"), sharing="two-kernels").fit(data()).report
    names = set(report.sections["length-scales"])
    assert names == {f"{name} ({process})" for name in "xz" for process in ("common process", "own processes")}


def test_noise_of_fidelities_is_reported_as_it_is_predicted() -> None:
    told = fitted("fidelities").report.sections["noise (standard deviation)"]
    at = places().assign_coords(fidelity=("sample", ["lo", "hi", "hi"]))
    predicted = fitted("fidelities").predict(at)["noise_std"].to_numpy()
    assert {(estimate.spread, estimate.units) for estimate in told.values()} == {(0.0, "K")}
    np.testing.assert_allclose(predicted, [told["lo"].value, told["hi"].value, told["hi"].value], rtol=1e-6)
