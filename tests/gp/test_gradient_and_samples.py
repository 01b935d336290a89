"""Derivatives, joint covariances and draws: of the one f that `predict` describes, in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brute import correlations
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset
from surrogates.errors import DataError

Floats = NDArray[np.float64]


def waves(x: Floats) -> Floats:
    return np.stack([np.ones(len(x)), np.sin(2 * x[:, 0]) * x[:, 1]], axis=1)


MODELS: dict[str, dict[str, Any]] = {
    "mode": {"integrate": False},
    "mixture": {"integrate": True},
    "mixture, known noise": {"integrate": True, "noise": "known"},
    "two kernels": {"sharing": "two-kernels"},
    "two kernels, mode": {"sharing": "two-kernels", "integrate": False, "kernel": "rbf"},
    "icm": {"sharing": "icm", "rank": 2},
    "icm, known noise": {"sharing": "icm", "integrate": False, "noise": "known"},
    "paper mode": {"sharing": "niw"},
    "paper mode, known noise": {"sharing": "niw", "noise": "known", "trend": "constant"},
    "quadratic trend": {"trend": "quadratic"},
    "no trend": {"trend": "none", "kernel": "matern32"},
    "own trend": {"trend": waves, "integrate": False},
    "task noise": {"noise": "task-fidelity", "integrate": False},
}


def observed(n: int = 36) -> xr.Dataset:
    """Inputs of very different sizes; a target far from zero."""
    generator = np.random.default_rng(0)
    u, v, code = generator.uniform(0, 2e-3, n), generator.uniform(300, 500, n), np.arange(n) % 3
    y = 5000 + 40 * np.sin(2500 * u) + 0.2 * (v - 400) * (code + 1) + 3 * generator.standard_normal(n)
    return xr.Dataset(
        {
            "u": ("sample", u, {"units": "m"}),
            "v": ("sample", v, {"units": "K"}),
            "y": ("sample", y, {"units": "Pa"}),
            "s": ("sample", 2 + 500 * u, {"units": "Pa"}),
            "task": ("sample", np.array(list("abc"))[code]),
        }
    )


def places() -> xr.Dataset:
    """Inside, outside, at one observed place, two tasks at one place."""
    u = np.array([2e-4, 1.1e-3, 1.1e-3, 2.6e-3, float(observed()["u"][3]), 7e-4])
    v = np.array([310.0, 420.0, 420.0, 380.0, float(observed()["v"][3]), 540.0])
    columns = {"u": u, "v": v, "task": np.array(list("acbbac"))}
    at = xr.Dataset({name: ("sample", column) for name, column in columns.items()})
    at["u"].attrs["units"], at["v"].attrs["units"] = "m", "K"
    return at


@cache
def fit(name: str) -> FittedHierarchicalGP:
    choices = MODELS[name]
    schema = Schema(("u", "v"), "y", task="task", noise="s" if choices.get("noise") == "known" else None)
    return HierarchicalGP(schema, **choices).fit(observed())


def row_of_places(u: Floats, v: float = 400.0) -> xr.Dataset:
    """Places of task b in a row."""
    at = as_dataset(np.column_stack([u, np.full(len(u), v)]), inputs=["u", "v"], task=np.full(len(u), "b"))
    at["u"].attrs["units"], at["v"].attrs["units"] = "m", "K"
    return at


def differences(model: FittedHierarchicalGP, at: xr.Dataset, name: str, of: str, step: float) -> Floats:
    """Central differences of the public prediction, with a fourth-order formula."""

    def value(shift: float) -> Floats:
        return np.asarray(model.predict(at.assign({name: (at[name] + shift).assign_attrs(at[name].attrs)}))[of])

    return (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)


# --- derivatives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_differences(name: str) -> None:
    model, at = fit(name), places()
    slopes = model.gradient(at)
    # sizes of a derivative: some 50 Pa over the width of each input
    for input_, step, size in (("u", 4e-7, 50 / 2e-3), ("v", 4e-2, 50 / 200)):
        for of in ("mean", "std"):
            got = slopes[f"d_{of}"].sel(input=input_)
            # at an observed place the kernels are less smooth, and differences less exact
            np.testing.assert_allclose(got, differences(model, at, input_, of, step), rtol=1e-4, atol=1e-5 * size)


def test_the_answer_has_inputs_first_and_the_requests_labels() -> None:
    model = fit("mixture")
    grid = xr.Dataset(
        coords={"u": ("row", [0.2e-3, 1e-3, 1.7e-3], {"units": "m"}), "v": ("column", [350.0, 450.0], {"units": "K"})}
    ).assign_coords(task=["a", "b"], row=[3, 5, 7])
    slopes = model.gradient(grid)
    assert set(slopes) == {"d_mean", "d_std"}
    for name in slopes:
        assert slopes[name].dims[0] == "input"
        assert slopes[name].sizes == {"input": 2, "row": 3, "column": 2, "task": 2}
        assert slopes[name].attrs["long_name"].startswith("derivative of the")
        # the two inputs have different units, so there is no unit of the whole
        assert "units" not in slopes[name].attrs
    np.testing.assert_array_equal(slopes["input"], ["u", "v"])
    np.testing.assert_array_equal(slopes["units"], ["(Pa)/(m)", "(Pa)/(K)"])
    np.testing.assert_array_equal(slopes["row"], [3, 5, 7])
    one = row_of_places(np.array([1e-3]), v=450.0)
    np.testing.assert_allclose(
        slopes["d_mean"].sel(row=5, task="b").isel(column=1), model.gradient(one)["d_mean"][:, 0], rtol=1e-9
    )


def test_derivatives_are_per_unit_of_the_fits_inputs() -> None:
    """Asked in millimetres, answered per metre: the model's own unit."""
    model, at = fit("mode"), places()
    other = at.assign(u=(at["u"] * 1000).assign_attrs(units="mm"))
    np.testing.assert_allclose(model.gradient(other)["d_mean"], model.gradient(at)["d_mean"], rtol=1e-9)


def test_a_derivative_is_the_slope_of_a_line() -> None:
    """A trend and nothing else: 3 Pa per m, -2 Pa per K."""
    data = observed()
    line = data.assign(y=(3e4 * data["u"] - 2 * data["v"]).assign_attrs(units="Pa"))
    noise = 1e-3 * np.random.default_rng(0).standard_normal(36)
    line["y"].values[:] += noise
    model = HierarchicalGP(Schema(("u", "v"), "y", task="task"), integrate=False).fit(line)
    slopes = model.gradient(places())["d_mean"]
    np.testing.assert_allclose(slopes.sel(input="u"), 3e4, rtol=1e-3)
    np.testing.assert_allclose(slopes.sel(input="v"), -2, rtol=1e-3)


def test_many_places_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit("mixture")
    at = xr.concat([places()] * 50, "sample")
    whole = model.gradient(at), model.predict(at)
    monkeypatch.setattr("surrogates.gp.fitted.CHUNK", 1)
    pieces = model.gradient(at), model.predict(at)
    for one, other in zip(whole, pieces, strict=True):
        xr.testing.assert_allclose(one, other, rtol=1e-9)


# --- joint covariance ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_covariance_is_symmetric_and_positive_and_has_the_variances(name: str) -> None:
    model, at = fit(name), places()
    covariance, variance = model.covariance(at), fit(name).predict(at)["std"].values ** 2
    assert covariance.dims == ("place", "place_2")
    assert covariance.attrs == {"long_name": "covariance of y", "units": "(Pa)**2"}
    matrix = covariance.values
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), variance, rtol=1e-8)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * variance.max()


def test_the_covariance_of_a_mixture_by_hand() -> None:
    """Law of total covariance over the draws; each of them by universal kriging."""
    model, data, at = fit("mixture"), observed(), places()
    core = model.core
    x, z = (core.scaled.inputs(np.stack([d["u"], d["v"]], axis=1)) for d in (data, at))
    t, u = data["task"].values, at["task"].values
    y = core.scaled.target(data["y"].values)
    H = np.concatenate([(t == k)[:, None] * np.column_stack([np.ones(len(x)), x]) for k in "abc"], axis=1)
    h = np.concatenate([(u == k)[:, None] * np.column_stack([np.ones(len(z)), z]) for k in "abc"], axis=1)
    means, total = [], np.zeros((6, 6))
    for w, θ in zip(core.draws.weights, core.draws.parameters, strict=True):
        l, s, ρ, σ2 = np.exp(θ[:2]), math.exp(θ[2]), 1 / (1 + math.exp(-θ[3])), math.exp(θ[4])

        def K(a: Floats, i: Any, b: Floats, j: Any, l: Floats = l, s: float = s, ρ: float = ρ) -> Floats:
            return s * correlations("matern52", a, b, l) * np.where(i[:, None] == j, 1.0, ρ)

        border = np.block([[K(x, t, x, t) + σ2 * np.eye(len(x)), H], [H.T, np.zeros((9, 9))]])
        right = np.concatenate([K(x, t, z, u), h.T])
        weights = np.linalg.solve(border, right)
        means.append(weights[: len(x)].T @ y)
        total += w * (K(z, u, z, u) - weights.T @ right)
    spread = np.cov(np.array(means).T, aweights=core.draws.weights, ddof=0)
    wanted = core.scaled.target.spread**2 * (total + spread)
    np.testing.assert_allclose(model.covariance(at), wanted, rtol=1e-6, atol=1e-8 * np.abs(wanted).max())


# --- draws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_draws_have_the_moments_of_the_prediction(name: str) -> None:
    model, at, count = fit(name), places(), 20_000
    draws = model.sample(at, count, seed=3)
    assert draws.dims == ("draw", "sample")
    assert draws.attrs["units"] == "Pa"
    prediction, covariance = model.predict(at), model.covariance(at).values
    std = prediction["std"].values
    assert (np.abs(draws.mean("draw").values - prediction["mean"].values) < 5 * std / math.sqrt(count)).all()
    z = (draws.values - prediction["mean"].values) / std
    products = z[:, :, None] * z[:, None, :]
    error = products.std(axis=0, ddof=1) / math.sqrt(count)  # mixtures have heavier tails than normal draws
    assert (np.abs(products.mean(axis=0) - covariance / np.outer(std, std)) < 5 * error).all()


@pytest.mark.parametrize("sharing", ["common", "icm", "niw"])
def test_draws_of_an_exact_observed_place_are_the_reading(sharing: str) -> None:
    data = observed()
    ripples = np.cos(data["v"] / 40) + np.sin(3e3 * data["u"] + (data["task"] == "b"))
    exact = data.assign(y=0 * data["y"] + ripples, s=0 * data["s"])
    exact["y"].attrs["units"] = "Pa"
    exact["s"].attrs["units"] = "Pa"
    model = HierarchicalGP(Schema(("u", "v"), "y", task="task", noise="s"), sharing=sharing, integrate=False).fit(exact)
    draws = model.sample(exact, 20, seed=0)
    spread = float(exact["y"].std())
    np.testing.assert_allclose(draws, exact["y"].values[None] + np.zeros((20, 1)), atol=1e-3 * spread)
    elsewhere = model.sample(places(), 20, seed=0)
    assert (elsewhere.std("draw")[:4] > 1e-3 * spread).all()


def test_seeds() -> None:
    model, at = fit("mixture"), places()
    xr.testing.assert_identical(model.sample(at, 5, seed=1), model.sample(at, 5, seed=1))
    first, second = model.sample(at, 5, seed=1).values, model.sample(at, 5, seed=2).values
    assert (first != second).all()
    assert len(np.unique(first[:, 0])) == 5
    for n in (0, -3):
        with pytest.raises(DataError, match=f"n is {n}; it must be an integer >= 1"):
            model.sample(at, n, seed=0)


def test_each_draw_is_a_smooth_function_with_hyper_parameters_of_its_own() -> None:
    """Neighbours move together; and draws of all weights come, about as often as they weigh."""
    model = fit("mixture")
    at = row_of_places(np.linspace(0, 2e-3, 40))
    draws = model.sample(at, 300, seed=0).values
    prediction = model.predict(at)
    steps = np.diff(draws - prediction["mean"].values, axis=1)
    assert np.abs(steps).mean() < 0.5 * float(prediction["std"].mean())
    # far from the data every draw has the spread of its own amplitude: a mixture's kurtosis exceeds a normal one's
    far = row_of_places(np.array([4e-3]))
    ends = model.sample(far, 20_000, seed=1).values[:, 0]
    z = (ends - ends.mean()) / ends.std()
    assert (z**4).mean() > 3.3


def test_grids_are_drawn_with_their_dims() -> None:
    grid = xr.Dataset(coords={"u": [1e-4, 1e-3], "v": [350.0, 400.0, 450.0], "task": ["b", "a"]})
    grid["u"].attrs["units"], grid["v"].attrs["units"] = "m", "K"
    model = fit("mode")
    draws = model.sample(grid, 4, seed=0)
    assert draws.sizes == {"draw": 4, "u": 2, "v": 3, "task": 2}
    stacked = grid.stack(place=("u", "v", "task")).reset_index("place")
    np.testing.assert_allclose(model.sample(stacked, 4, seed=0), draws.values.reshape(4, -1), rtol=1e-10)
    covariance = model.covariance(grid)
    assert covariance.shape == (12, 12)
    np.testing.assert_allclose(np.diag(covariance), model.predict(grid)["std"].values.ravel() ** 2, rtol=1e-9)


CHECKS: dict[str, Callable[[FittedHierarchicalGP, xr.Dataset], object]] = {
    "gradient": lambda model, at: model.gradient(at),
    "covariance": lambda model, at: model.covariance(at),
    "sample": lambda model, at: model.sample(at, 2, seed=0),
}


@pytest.mark.parametrize("answer", CHECKS)
def test_bad_places(answer: str) -> None:
    model, at = fit("mode"), places()
    with pytest.raises(DataError, match="unknown task 'z'; the model knows 'a', 'b', 'c'"):
        CHECKS[answer](model, at.assign(task=("sample", list("abcabz"))))
    with pytest.raises(DataError, match="variable 'v' has 1 entries that are NaN or inf"):
        CHECKS[answer](model, at.assign(v=at["v"].where(np.arange(6) != 2).assign_attrs(units="K")))
