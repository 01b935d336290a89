"""Sobol indices against analytic ones, and what is said of unusable input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import qmc

from surrogates import HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.design import sobol_indices
from surrogates.errors import DataError, FitWarning
from surrogates.gp.inducing.single import InducingGP
from surrogates.gp.tanimoto import Tanimoto

Floats = NDArray[np.float64]
ABC = ("a", "b", "c")


def ishigami(x: Floats) -> Floats:
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


#: Ishigami & Homma (1990) with 7 and 0.1: V_1 = ½(1 + b π⁴/5)², V_2 = a²/8, V_13 = b² π⁸ (1/18 - 1/50)
ALONE = np.array([0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2, 49 / 8, 0.0])
PAIR = 0.01 * np.pi**8 * (1 / 18 - 1 / 50)
VARIANCE = ALONE.sum() + PAIR
FIRST, TOTAL = ALONE / VARIANCE, (ALONE + np.array([PAIR, 0, PAIR])) / VARIANCE
BOUNDS = dict.fromkeys(ABC, (-np.pi, np.pi))


def readings(n: int, *, noise: float = 0.0) -> xr.Dataset:
    x = (qmc.Sobol(3, seed=1).random(n) - 0.5) * 2 * np.pi
    return as_dataset(x, ishigami(x) + noise * np.random.default_rng(0).standard_normal(n), inputs=ABC)


def test_ishigami_in_closed_form() -> None:
    fitted = HierarchicalGP(Schema(inputs=ABC, target="y"), kernel="rbf", noise="none").fit(readings(256))
    found = sobol_indices(fitted, distributions=BOUNDS, second_order=True, draws=64)
    np.testing.assert_allclose(found["first_order"], FIRST, atol=0.01)
    np.testing.assert_allclose(found["total"], TOTAL, atol=0.01)
    np.testing.assert_allclose(found["second_order"].values[0, 2], PAIR / VARIANCE, atol=0.01)
    np.testing.assert_allclose(found["variance"], VARIANCE, rtol=0.01)
    assert found["second_order"].sel(input="a", input_2="a") == 0
    assert (found["first_order_error"] == 0).all()


def test_ishigami_by_sampling_agrees_with_the_closed_form() -> None:
    fitted = HierarchicalGP(Schema(inputs=ABC, target="y"), kernel="rbf", integrate=False).fit(readings(64, noise=0.3))
    closed = sobol_indices(fitted, distributions=BOUNDS, draws=256)
    sampled = sobol_indices(fitted, distributions=BOUNDS, draws=48, samples=1024, method="sampling", second_order=True)
    assert (closed.attrs["method"], sampled.attrs["method"]) == ("closed form", "sampling")
    for name in ("first_order", "total"):
        error = sampled[f"{name}_error"]
        assert (abs(sampled[name] - closed[name]) < 3.5 * error).all()
        assert (abs(sampled[f"{name}_of_mean"] - closed[f"{name}_of_mean"]) < 3.5 * error).all()
        assert (error < 0.05).all()
        # the designs' own noise is in the spread of draws, which therefore isn't below that of the closed form
        assert (sampled[f"{name}_std"] > 0.6 * closed[f"{name}_std"]).all()
        assert (sampled[f"{name}_std"] < closed[f"{name}_std"] + 0.02).all()
    np.testing.assert_allclose(sampled["variance"], closed["variance"], rtol=0.05)


def test_g_function_by_sampling() -> None:
    """Sobol' g: Π (|4x-2| + a)/(1 + a); V_i = 1/(3 (1 + a_i)²), and products of them."""
    a = np.array([0.0, 1.0, 9.0])
    x = qmc.Sobol(3, seed=2).random(256)
    y = np.prod((abs(4 * x - 2) + a) / (1 + a), axis=1)
    own = 1 / (3 * (1 + a) ** 2)
    variance = np.prod(1 + own) - 1
    total = np.array([own[k] * np.prod(np.delete(1 + own, k)) for k in range(3)]) / variance
    fitted = HierarchicalGP(Schema(inputs=ABC, target="y"), noise="none", integrate=False).fit(
        as_dataset(x, y, inputs=ABC)
    )
    found = sobol_indices(fitted, distributions=dict.fromkeys(ABC, (0, 1)), draws=16, samples=2048)
    assert found.attrs["method"] == "sampling"  # a Matérn kernel of the scaled distance is no product
    np.testing.assert_allclose(found["first_order"], own / variance, atol=0.05)
    np.testing.assert_allclose(found["total"], total, atol=0.05)


def test_an_input_that_does_nothing_has_none() -> None:
    x = np.random.default_rng(0).random((60, 2))
    y = np.sin(5 * x[:, 0]) + 0.05 * np.random.default_rng(1).standard_normal(60)
    data = as_dataset(x, y, inputs=("a", "b"))
    for kernel, bound in (("rbf", 2e-3), ("matern52", 0.03)):
        fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel=kernel).fit(data)
        found = sobol_indices(fitted, draws=32, samples=1024)
        assert found["total"].sel(input="b") < bound
        assert abs(found["first_order"].sel(input="a") - 1) < bound


def test_units_don_t_matter() -> None:
    data = readings(64, noise=0.2)
    other = data.assign(a=data["a"] * 1000 + 5, b=data["b"], c=-data["c"], y=3 - 7 * data["y"])
    other["a"].attrs["units"], other["y"].attrs["units"] = "mm", "K"
    model = HierarchicalGP(Schema(inputs=ABC, target="y"), kernel="rbf", integrate=False)
    one, two = (sobol_indices(model.fit(each), draws=32) for each in (data, other))
    for name in ("first_order", "total", "first_order_std", "total_of_mean"):
        np.testing.assert_allclose(one[name], two[name], atol=0.01 if name.endswith("std") else 1e-4)
    np.testing.assert_allclose(two["variance"], 49 * one["variance"], rtol=1e-3)
    assert two["variance"].attrs["units"] == "(K)**2"


def test_a_seed_gives_the_same_answer() -> None:
    fitted = HierarchicalGP(Schema(inputs=ABC, target="y"), kernel="rbf").fit(readings(32, noise=0.2))
    for method in ("closed form", "sampling"):
        one, same, other = (sobol_indices(fitted, method=method, draws=8, samples=256, seed=seed) for seed in (0, 0, 1))
        xr.testing.assert_identical(one, same)
        assert not np.array_equal(one["total_std"], other["total_std"])


@pytest.mark.parametrize(("structure", "method"), [("coregional", "closed form"), ("nonlinear", "sampling")])
def test_each_fidelity_has_its_own(structure: str, method: str) -> None:
    x = np.random.default_rng(0).random((28, 2))
    level = np.array(["low", "high"])[np.arange(28) % 2]
    y = np.where(level == "low", 0.5, 1.0) * np.sin(4 * x[:, 0]) + x[:, 1]
    data = as_dataset(x, y, inputs=("a", "b"), fidelity=level)
    schema = Schema(inputs=("a", "b"), target="y", fidelity="fidelity")
    model = MultiFidelityGP(
        schema, fidelities=("low", "high"), structure=structure, kernel="rbf", trend="linear", integrate=False
    )
    fitted, t = model.fit(data), np.linspace(0, 1, 20001)
    for label, size in (("low", 0.5), ("high", 1.0), (None, 1.0)):
        laws = {"a": (0, 1), "b": (0, 1)}
        found = sobol_indices(fitted, fidelity=label, distributions=laws, draws=4, samples=1024)
        assert found.attrs["method"] == method
        share = size**2 * np.var(np.sin(4 * t))
        np.testing.assert_allclose(found["first_order_of_mean"].values[0], share / (share + 1 / 12), atol=0.06)


def test_warps_and_plug_ins_and_many_readings() -> None:
    grid = np.random.default_rng(0).random((28, 2))
    y = np.sin(4 * grid[:, 0]) + grid[:, 1] + 0.1 * np.random.default_rng(1).standard_normal(28)
    positive = as_dataset(grid, np.exp(y), inputs=("a", "b"))
    plain = Schema(inputs=("a", "b"), target="y")
    for model in (HierarchicalGP(plain, warp="log", kernel="rbf"), HierarchicalGP(plain, sharing="niw", kernel="rbf")):
        found = sobol_indices(model.fit(positive), draws=8, samples=512)
        assert found.attrs["method"] == "sampling"
        assert 0.3 < float(found["first_order"].sel(input="a")) < 1.0
    x = np.linspace(0, 1, 14)
    one = as_dataset(x, np.sin(3 * x), inputs="a")
    large = InducingGP(Schema(inputs="a", target="y")).fit(one)
    with pytest.raises(DataError, match=r"no joint draws.*draws=0"):
        sobol_indices(large)
    alone = sobol_indices(large, draws=0, samples=512)
    np.testing.assert_allclose(alone["first_order"], 1.0, atol=0.05)
    assert "first_order_std" not in alone


@pytest.mark.slow
def test_stated_uncertainty_holds_what_it_says() -> None:
    """Random functions, known exactly, from few noisy readings: 90 % intervals hold about nine of ten true indices."""
    grid = (np.arange(200) + 0.5) / 200
    held = []
    for seed in range(40):
        generator = np.random.default_rng(seed)
        ω, phase = generator.standard_normal((30, 2)) * [4.0, 2.0], generator.uniform(0, 2 * np.pi, 30)

        def f(x: Floats, ω: Floats = ω, phase: Floats = phase) -> Floats:
            return np.asarray(np.cos(x @ ω.T + phase).sum(axis=-1) / 15**0.5)

        values = f(np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1))
        variance, mains = values.var(), [values.mean(axis=1).var(), values.mean(axis=0).var()]
        x = generator.random((25, 2))
        data = as_dataset(x, f(x) + 0.2 * generator.standard_normal(25), inputs=("a", "b"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # of some functions one length-scale is at its bound
            fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel="rbf", trend="constant").fit(data)
        found = sobol_indices(fitted, distributions={"a": (0, 1), "b": (0, 1)}, draws=128, seed=seed)
        for name, wanted in (("first_order", mains), ("total", [variance - mains[1], variance - mains[0]])):
            low, high = found[f"{name}_quantile"].values
            held.append((low <= np.array(wanted) / variance) & (np.array(wanted) / variance <= high))
    assert 0.8 < np.mean(held) <= 0.99


@pytest.fixture(scope="module")
def fitted() -> object:
    x = np.random.default_rng(0).random((20, 2))
    y = x.sum(axis=1) + 0.01 * np.sin(40 * x[:, 0])
    data = as_dataset(x, y, inputs=("a", "b"), task=["s", "t"] * 10)
    return HierarchicalGP(Schema(inputs=("a", "b"), target="y", task="task"), kernel="rbf").fit(data)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "task isn't given, and the model knows 's', 't'"),
        ({"task": "u"}, "unknown task 'u'; the model knows 's', 't'"),
        ({"task": "s", "fidelity": "low"}, "fidelity is 'low', but the model's schema names no fidelity"),
        ({"task": "s", "distributions": {"z": (0, 1)}}, "distributions names \\['z'\\]; inputs that have one are"),
        ({"task": "s", "distributions": {"a": (1, 0)}}, "the bounds of 'a' are \\(1, 0\\).*the lower one first"),
        ({"task": "s", "distributions": {"a": (0, np.nan)}}, "the bounds of 'a' are \\(0, nan\\)"),
        ({"task": "s", "distributions": {"a": (0, np.inf)}}, "must be finite"),
        ({"task": "s", "distributions": {"a": "wide"}}, "the distribution of 'a' is 'wide'; give \\(low, high\\)"),
        ({"task": "s", "distributions": {"a": stats.norm(0, -1)}}, "the distribution of 'a' has quantiles"),
        ({"task": "s", "method": "guess"}, "method is 'guess'; choose one of"),
        ({"task": "s", "draws": 1}, "draws is 1; give a whole number, at least two, or zero"),
        ({"task": "s", "draws": False}, "draws is False; it must be an integer"),
        ({"task": "s", "seed": -1}, "seed is -1; it must be an integer >= 0"),
        ({"task": "s", "samples": 1000}, "samples is 1000; a Sobol sequence wants a power of two"),
        ({"task": "s", "quantiles": (0.0, 0.5)}, "quantiles are \\(0.0, 0.5\\); they must be between"),
    ],
)
def test_bad_input(fitted: object, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        sobol_indices(fitted, **arguments)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_what_has_no_indices() -> None:
    x = np.random.default_rng(0).random((12, 2))
    schema = Schema(inputs=("a", "b"), target="y")
    flat = HierarchicalGP(schema, kernel="rbf").fit(as_dataset(x, np.full(12, 3.0), inputs=("a", "b")))
    with pytest.raises(DataError, match="'y' is constant in all data: there is no variance to share"):
        sobol_indices(flat)
    matern = HierarchicalGP(schema).fit(as_dataset(x, x.sum(axis=1), inputs=("a", "b")))
    with pytest.raises(DataError, match=r"isn't a sum of products.*use method='auto'"):
        sobol_indices(matern, method="closed form")
    counts = as_dataset(np.round(9 * x), x.sum(axis=1), inputs=("a", "b"))
    with pytest.raises(DataError, match=r"needs inputs that are single numbers or labels; .* are vectors or counts"):
        sobol_indices(HierarchicalGP(schema, kernel=Tanimoto(counts=("a", "b")), trend="constant").fit(counts))
