"""Known and learnt noise, by fidelity, by task and by place: against dense algebra, and what the data were drawn with."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brute import correlations, kriged

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset

SIGMA = {"hi": 0.05, "lo": 0.2, "mid": 0.1}


def observed(n: int = 30, *, seed: int = 0, levels: tuple[str, ...] = ("hi", "lo"), repeats: int = 0) -> xr.Dataset:
    """Two tasks over [0, 4], read by instruments of known noise; the first places once more, by any of them."""
    generator = np.random.default_rng(seed)
    x, task = generator.uniform(0, 4, n), np.arange(n) % 2
    x[n - repeats :], task[n - repeats :] = x[:repeats], task[:repeats]
    fidelity = np.array(levels)[generator.integers(0, len(levels), n)]
    s = np.array([SIGMA[level] for level in fidelity])
    y = 2 + np.sin(2 * x) + 0.5 * task * x + s * generator.standard_normal(n)
    data = as_dataset(x, y, inputs=["x"], task=np.array(["a", "b"])[task], fidelity=fidelity)
    return data.assign(s=("sample", s))


def places() -> xr.Dataset:
    return as_dataset(np.linspace(-0.5, 4.5, 12), inputs=["x"], task=list("ab" * 6))


def schema(noise: str | None = None, *, noise_is: str = "std") -> Schema:
    return Schema("x", "y", task="task", fidelity="fidelity", noise=noise, noise_is=noise_is)


def assert_kriged(model: FittedHierarchicalGP, data: xr.Dataset) -> None:
    mean, std = kriged(model, data, places())
    prediction = model.predict(places())
    np.testing.assert_allclose(prediction["mean"], mean, rtol=1e-8)
    np.testing.assert_allclose(prediction["std"], std, rtol=1e-7)


def assert_close(one: FittedHierarchicalGP, other: FittedHierarchicalGP, rtol: float = 1e-9) -> None:
    first, second = one.predict(places()), other.predict(places())
    for name in ("mean", "std"):
        np.testing.assert_allclose(first[name], second[name], rtol=rtol, err_msg=name)


def noise_of(model: FittedHierarchicalGP) -> dict[str, float]:
    return {
        name: e.value
        for name, e in model.report.sections["noise (standard deviation, unresolved detail included)"].items()
    }


# --- known noise -----------------------------------------------------------------------------------------------------


def test_standard_deviations_or_variances() -> None:
    data = observed()
    by_std = HierarchicalGP(schema("s")).fit(data)
    by_variance = HierarchicalGP(schema("s2", noise_is="variance")).fit(data.assign(s2=data["s"] ** 2))
    assert_close(by_std, by_variance)
    assert by_std.report.log_evidence == pytest.approx(by_variance.report.log_evidence, rel=1e-10)
    assert_kriged(by_std, data)
    assert_kriged(by_variance, data.assign(s2=data["s"] ** 2))
    # taken for the other one, it's another model
    confused = HierarchicalGP(schema("s2")).fit(data.assign(s2=data["s"] ** 2))
    assert not np.allclose(confused.predict(places())["std"], by_std.predict(places())["std"], rtol=1e-3)


def test_units_of_known_noise() -> None:
    def with_units(data: xr.Dataset, y: str, s: str) -> xr.Dataset:
        return data.assign(y=data["y"].assign_attrs(units=y), s=data["s"].assign_attrs(units=s))

    data = observed()
    plain = HierarchicalGP(schema("s"), integrate=False).fit(data)
    converted = HierarchicalGP(schema("s"), integrate=False).fit(
        with_units(data.assign(s=data["s"] * 1000), y="mm", s="um")
    )
    assert_close(plain, converted)
    squared = data.assign(s=data["s"] ** 2 * 1e6)
    variance = HierarchicalGP(schema("s", noise_is="variance"), integrate=False)
    assert_close(plain, variance.fit(with_units(squared, y="mm", s="um**2")))


@pytest.mark.parametrize("integrate", [True, False])
def test_a_nugget_is_learnt_and_reported(integrate: bool) -> None:
    """Detail that the kernel can't resolve, of a size that readings of one place share."""
    generator = np.random.default_rng(1)
    x, task = np.repeat(generator.uniform(0, 4, 150), 2), np.repeat(np.arange(150) % 2, 2)
    detail = np.repeat(0.15 * generator.standard_normal(150), 2)
    y = 2 + np.sin(2 * x) + 0.5 * task * x + detail + 0.05 * generator.standard_normal(300)
    data = as_dataset(x, y, inputs=["x"], task=np.array(["a", "b"])[task]).assign(s=("sample", np.full(300, 0.05)))
    model = HierarchicalGP(Schema("x", "y", task="task", noise="s"), integrate=integrate).fit(data)
    assert model.report.rows == 150
    noise = noise_of(model)
    assert set(noise) == {"nugget (detail that the kernel doesn't resolve)"}
    assert noise["nugget (detail that the kernel doesn't resolve)"] == pytest.approx(0.15, rel=0.15)
    # it's part of f: the trend's far smaller uncertainty isn't all that is said
    prediction = model.predict(as_dataset(np.linspace(0.5, 3.5, 7), inputs=["x"], task=list("abababa")))
    assert (prediction["std"] > 0.13).all()
    np.testing.assert_allclose(prediction["noise_std"], 0.05, rtol=1e-9)


def test_a_smooth_function_has_hardly_any_nugget() -> None:
    data = observed(120)
    assert noise_of(HierarchicalGP(schema("s")).fit(data))["nugget (detail that the kernel doesn't resolve)"] < 0.04


def test_noise_of_each_fidelity_is_the_mean_of_its_readings() -> None:
    data = observed().assign(s=("sample", np.linspace(0.05, 0.2, 30)))
    prediction = HierarchicalGP(schema("s"), integrate=False).fit(data).predict(places())
    for level in ("hi", "lo"):
        mine = data["fidelity"].values == level
        wanted = math.sqrt(float((data["s"].values[mine] ** 2).mean()))
        assert float(prediction["noise_std"].sel(fidelity=level)) == pytest.approx(wanted, rel=1e-12)


def test_precise_readings_weigh_more() -> None:
    """Two places with two readings each that contradict each other: the mean is that of their precisions."""
    x = np.array([0.0, 0.0, 1.0, 1.0, 2.0, 3.0])
    y = np.array([1.0, 2.0, 1.0, 2.0, 1.5, 1.5])
    s = np.array([0.01, 0.3, 0.3, 0.01, 0.05, 0.05])
    data = as_dataset(x, y, inputs=["x"]).assign(s=("sample", s))
    model = HierarchicalGP(Schema("x", "y", noise="s"), kernel="rbf", integrate=False).fit(data)
    at = model.predict(as_dataset(np.array([0.0, 1.0]), inputs=["x"]))["mean"]
    np.testing.assert_allclose(at, [1.0, 2.0], atol=0.1)


# --- learnt noise ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [("hi",), ("hi", "lo"), ("hi", "lo", "mid")])
def test_the_noise_of_each_fidelity_is_found_again(levels: tuple[str, ...]) -> None:
    """Some 200 readings each determine a standard deviation to 5 %."""
    noise = noise_of(HierarchicalGP(schema()).fit(observed(200 * len(levels), levels=levels)))
    assert set(noise) == set(levels)
    for level in levels:
        assert noise[level] == pytest.approx(SIGMA[level], rel=0.2)


@pytest.mark.parametrize("sharing", ["common", "icm", "niw"])
def test_the_noise_of_each_task_and_fidelity_is_found_again(sharing: str) -> None:
    wanted = {("a", "hi"): 0.05, ("a", "lo"): 0.3, ("b", "hi"): 0.15, ("b", "lo"): 0.1}
    generator = np.random.default_rng(2)
    n = 240
    x, task, fidelity = generator.uniform(0, 4, n), np.arange(n) % 2, (np.arange(n) // 2) % 2
    s = np.array([[0.05, 0.3], [0.15, 0.1]])[task, fidelity]
    y = np.sin(2 * x) + 0.5 * task * x + s * generator.standard_normal(n)
    labels = np.array(["a", "b"])[task], np.array(["hi", "lo"])[fidelity]
    data = as_dataset(x, y, inputs=["x"], task=labels[0], fidelity=labels[1])
    model = HierarchicalGP(schema(), noise="task-fidelity", sharing=sharing).fit(data)
    noise = noise_of(model)
    prediction = model.predict(places())["noise_std"]
    assert prediction.dims == ("fidelity", "sample")
    for (t, level), σ in wanted.items():
        # 60 readings each: 9 % of standard error
        assert noise[f"{t}, {level}"] == pytest.approx(σ, rel=0.35)
        of_task = prediction.sel(fidelity=level)[places()["task"].values == t]
        np.testing.assert_allclose(of_task, noise[f"{t}, {level}"], rtol=0.02)
    asked = places().assign(fidelity=("sample", ["hi"] * 6 + ["lo"] * 6))
    each = model.predict(asked)["noise_std"]
    assert each.dims == ("sample",)
    np.testing.assert_allclose(each[:6], prediction.sel(fidelity="hi")[:6])
    np.testing.assert_allclose(each[6:], prediction.sel(fidelity="lo")[6:])
    pooled = noise_of(HierarchicalGP(schema(), sharing=sharing).fit(data))
    assert set(pooled) == {"hi", "lo"}
    assert 0.05 < pooled["hi"] < 0.15


@pytest.mark.parametrize("noise", ["fidelity", "task-fidelity"])
def test_three_fidelities_and_one_that_a_task_lacks(noise: str) -> None:
    data = observed(45, levels=("hi", "lo", "mid"))
    data = data.isel(sample=~((data["task"] == "b") & (data["fidelity"] == "mid")).values)
    model = HierarchicalGP(schema(), noise=noise).fit(data)
    assert_kriged(model, data)
    assert model.vocabulary.fidelities == ("hi", "lo", "mid")
    table = model.predict(places())["noise_std"]
    assert table.sizes["fidelity"] == 3
    assert np.isfinite(table).all()
    assert (table > 0).all()
    if noise == "task-fidelity":
        # of what was never read there is nothing to report
        assert set(noise_of(model)) == {"a, hi", "a, lo", "a, mid", "b, hi", "b, lo"}


@pytest.mark.parametrize("trend", ["none", "constant", "linear"])
def test_where_the_target_starts_does_not_matter(trend: str) -> None:
    """A temperature in °C or in K has the same noise."""
    data = observed()
    near, far = (
        HierarchicalGP(schema(), trend=trend, integrate=False).fit(data.assign(y=data["y"] + shift))
        for shift in (0.0, 500.0)
    )
    np.testing.assert_allclose(far.predict(places())["mean"] - 500, near.predict(places())["mean"], atol=1e-8)
    for name in ("std", "noise_std"):
        np.testing.assert_allclose(far.predict(places())[name], near.predict(places())[name], rtol=1e-8)


# --- replicates ------------------------------------------------------------------------------------------------------

NOISES: dict[str, dict[str, Any]] = {
    "fidelity": {},
    "task-fidelity": {"noise": "task-fidelity"},
    "known": {"noise": "known"},
    "icm": {"sharing": "icm"},
    "two kernels": {"sharing": "two-kernels"},
}


@cache
def replicated(name: str) -> tuple[FittedHierarchicalGP, xr.Dataset]:
    data = observed(30, repeats=12)
    known = "s" if NOISES[name].get("noise") == "known" else None
    return HierarchicalGP(schema(known), **NOISES[name]).fit(data), data


@pytest.mark.parametrize("name", NOISES)
def test_replicates_are_single_readings(name: str) -> None:
    model, data = replicated(name)
    assert (model.report.readings, model.report.rows) == (30, 18)
    assert_kriged(model, data)


@pytest.mark.parametrize("name", ["fidelity", "task-fidelity", "icm", "two kernels"])
def test_replicates_at_places_a_hair_apart_change_nothing(name: str) -> None:
    """Moved by a thousand-millionth, they stay 30 rows; without collapse, the model is the same."""
    data = replicated(name)[1]
    moved = data.assign(x=data["x"] + 1e-9 * np.random.default_rng(0).standard_normal(30))
    model, other = (HierarchicalGP(schema(), **NOISES[name], integrate=False).fit(d) for d in (data, moved))
    assert (other.report.readings, other.report.rows) == (30, 30)
    # fits that stop at a tolerance of their own, by roads that rounding parts
    spread = float(data["y"].std())
    first, second = model.predict(places()), other.predict(places())
    np.testing.assert_allclose(first["mean"], second["mean"], atol=1e-3 * spread)
    np.testing.assert_allclose(first["std"], second["std"], rtol=1e-2)
    assert other.report.log_evidence == pytest.approx(model.report.log_evidence, abs=1e-4)


def test_the_evidence_is_that_of_the_single_readings() -> None:
    """What the collapse takes out of the likelihood is kept: checked in the target's own units."""
    data = observed(30, repeats=12)
    model = HierarchicalGP(schema(), integrate=False).fit(data)
    core = model.core
    spread, width = core.scaled.target.spread, core.scaled.inputs.width
    l, s, ρ = np.exp(core.mode[0]), math.exp(core.mode[1]), 1 / (1 + math.exp(-core.mode[2]))
    x, y, task = data["x"].values[:, None], data["y"].values, data["task"].values
    B = np.where(task[:, None] == task, 1.0, ρ)
    σ2 = np.exp(core.mode[3:])[(data["fidelity"].values == "lo").astype(int)]
    S = spread**2 * (s * B * correlations("matern52", x, x, l * width) + np.diag(σ2))
    # the trend in scaled inputs, as a restricted likelihood depends on its basis
    h = np.column_stack([np.ones(30), core.scaled.inputs(x)])
    H = np.concatenate([(task == t)[:, None] * h for t in "ab"], axis=1)
    Si = np.linalg.inv(S)
    A = H.T @ Si @ H
    P = Si - Si @ H @ np.linalg.solve(A, H.T @ Si)
    # of contrasts: |A| counts the coefficients in scaled units
    nats = -0.5 * (y @ P @ y + np.linalg.slogdet(S)[1] + np.linalg.slogdet(A * spread**2)[1])
    nats -= 0.5 * 26 * math.log(2 * math.pi)
    assert model.report.log_evidence == pytest.approx(nats + 4 * math.log(spread), abs=1e-6)
