"""Models whose kernel is made of terms: labels, periods, sums; against dense algebra and against what was drawn."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brute import central_gradient
from numpy.typing import NDArray

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset, load
from surrogates.errors import DataError
from surrogates.gp import Categorical, Periodic, Smooth, additive
from surrogates.gp.fitting import make_problem

Floats = NDArray[np.float64]
SCHEMA = Schema(("x", "hour", "material"), "y", task="task")
OFFSET = {"brass": 0.4, "steel": 0.0, "wood": -1.0}
KERNEL = Smooth() * Categorical("material") + Periodic("hour", 24)


def truth(at: xr.Dataset) -> Floats:
    x, hour = at["x"].to_numpy(), at["hour"].to_numpy()
    offset = np.array([OFFSET[m] for m in at["material"].to_numpy()])
    task = (at["task"].to_numpy() == "b").astype(float)
    return np.asarray(np.sin(x + 0.3 * task) + 0.8 * np.sin(2 * np.pi * hour / 24) + offset * (1 + 0.3 * x))


def places(n: int, *, seed: int = 1, hours: float = 72.0) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    return xr.Dataset(
        {
            "x": ("sample", generator.uniform(0, 4, n), {"units": "mm"}),
            "hour": ("sample", generator.uniform(0, hours, n)),
            "material": ("sample", np.array(sorted(OFFSET))[generator.integers(0, 3, n)]),
            "task": ("sample", np.array(["a", "b"])[np.arange(n) % 2]),
        }
    )


def observed(n: int = 70, *, seed: int = 0) -> xr.Dataset:
    data = places(n, seed=seed)
    return data.assign(y=("sample", truth(data) + 0.05 * np.random.default_rng(seed + 9).standard_normal(n)))


DATA, AT = observed(), places(60, hours=120.0)


@cache
def fitted() -> FittedHierarchicalGP:
    return HierarchicalGP(SCHEMA, kernel=KERNEL).fit(DATA)


def rmse(model: FittedHierarchicalGP, at: xr.Dataset = AT) -> float:
    return float(np.sqrt(((model.predict(at)["mean"] - truth(at)) ** 2).mean()))


def test_labels_and_hours_are_learnt_and_intervals_hold() -> None:
    model = fitted()
    assert rmse(model) < 0.06
    inside = np.abs(model.predict(AT)["mean"] - truth(AT)) < 1.96 * model.predict(AT)["std"]
    assert inside.mean() > 0.85
    kernel = model.report.sections["kernel"]
    assert 0.3 < kernel["correlation of any two of material"].value < 1
    assert kernel["length-scale of x in matern52(x)"].units == "mm"
    assert model.report.model.startswith("HierarchicalGP (matern52(x)*categorical(material) + periodic(hour, 24)")


def test_the_period_carries_on() -> None:
    """Where x and material are the same, so is the prediction a day later: no trend runs along the hour."""
    later = AT.assign(hour=AT["hour"] + 240)
    for name in ("mean", "std"):
        np.testing.assert_allclose(fitted().predict(later)[name], fitted().predict(AT)[name], rtol=1e-8)


def test_a_period_is_found() -> None:
    model = HierarchicalGP(SCHEMA, kernel=Smooth() * Categorical("material") + Periodic("hour"), integrate=False).fit(
        DATA
    )
    assert model.report.sections["kernel"]["period of hour"].value == pytest.approx(24, rel=0.01)
    assert rmse(model) < 0.1


def test_one_smooth_term_is_the_named_kernel() -> None:
    data = as_dataset(np.stack([DATA["x"], DATA["hour"]], axis=1), DATA["y"], inputs=["x", "hour"], task=DATA["task"])
    schema = Schema(("x", "hour"), "y", task="task")
    one, other = (HierarchicalGP(schema, kernel=k).fit(data) for k in (Smooth(kind="matern32"), "matern32"))
    at = data.drop_vars("y").isel(sample=slice(0, 9)).assign(x=data["x"][:9] + 0.1)
    for name in ("mean", "std", "noise_std"):
        np.testing.assert_allclose(one.predict(at)[name], other.predict(at)[name], rtol=1e-5)
    np.testing.assert_allclose(one.gradient(at)["d_mean"], other.gradient(at)["d_mean"], rtol=1e-4, atol=1e-6)
    assert one.report.log_evidence == pytest.approx(other.report.log_evidence, abs=1e-6)


@pytest.mark.parametrize("sharing", ["common", "two-kernels", "icm"])
def test_gradients_of_the_objective_are_differences(sharing: str) -> None:
    core = HierarchicalGP(SCHEMA, kernel=KERNEL, sharing=sharing, integrate=False).fit(DATA).core
    objective = make_problem(core.scaled, core.settings).objective
    θ = core.mode + 0.2
    got = objective(θ, 2)
    assert got.gradient is not None
    assert got.curvature is not None
    wanted = central_gradient(lambda θ: objective(θ, 0).value, θ)
    np.testing.assert_allclose(got.gradient, wanted, rtol=1e-5, atol=1e-5)
    assert np.linalg.eigvalsh(got.curvature).min() > 0


def test_predictions_are_those_of_dense_algebra() -> None:
    """Universal kriging with the kernel written out once more."""
    model = HierarchicalGP(SCHEMA, kernel=KERNEL, integrate=False).fit(DATA)
    core, spread = model.core, model.core.scaled.target.spread
    v1, v2, log_l, logit_ρ, log_p, log_s, logit_c, log_σ2 = core.mode
    share, width = 1 / (1 + math.exp(v2 - v1)), np.ptp(DATA["x"].to_numpy())

    def K(a: xr.Dataset, b: xr.Dataset) -> Floats:
        def pairs(name: str) -> tuple[Any, Any]:
            return a[name].to_numpy()[:, None], b[name].to_numpy()[None]

        (x, z), (g, h), (m, o), (t, u) = (pairs(name) for name in ("x", "hour", "material", "task"))
        r = math.sqrt(5) * np.abs(x - z) / (width * math.exp(log_l))
        smooth = (1 + r + r**2 / 3) * np.exp(-r) * np.where(m == o, 1.0, 1 / (1 + math.exp(-logit_ρ)))
        periodic = np.exp(-2 * np.sin(np.pi * (g - h) / 24) ** 2 / math.exp(2 * log_p))
        tasks = np.where(t == u, 1.0, 1 / (1 + math.exp(-logit_c)))
        return np.asarray(spread**2 * math.exp(log_s) * tasks * (share * smooth + (1 - share) * periodic))

    def H(a: xr.Dataset) -> Floats:
        h = np.column_stack([np.ones(a.sizes["sample"]), a["x"].to_numpy()])
        return np.concatenate([h * (a["task"].to_numpy() == task)[:, None] for task in "ab"], axis=1)

    S = K(DATA, DATA) + spread**2 * math.exp(log_σ2) * np.eye(70)
    right = np.concatenate([K(DATA, AT), H(AT).T])
    weights = np.linalg.solve(np.block([[S, H(DATA)], [H(DATA).T, np.zeros((4, 4))]]), right)
    got = model.predict(AT)
    np.testing.assert_allclose(got["mean"], weights[:70].T @ DATA["y"].to_numpy(), rtol=1e-6, atol=1e-7)
    variance = np.diag(K(AT, AT)) - (weights * right).sum(axis=0)
    np.testing.assert_allclose(got["std"], np.sqrt(variance), rtol=1e-5)


def test_names_order_and_units_change_nothing() -> None:
    at, model = AT.isel(sample=slice(0, 8)), HierarchicalGP(SCHEMA, kernel=KERNEL, integrate=False)
    wanted = model.fit(DATA).predict(at)["mean"]
    new = {"brass": 7, "steel": 1, "wood": 3}
    renamed, asked = (d.assign(material=("sample", [new[m] for m in d["material"].to_numpy()])) for d in (DATA, at))
    np.testing.assert_allclose(model.fit(renamed).predict(asked)["mean"], wanted, rtol=1e-6)
    kernel = Smooth() * Categorical("material") + Periodic("hour", 24 * 60)
    minutes, then = (d.assign(hour=60 * d["hour"], x=5 + 2 * d["x"].drop_attrs()) for d in (DATA, at))
    got = HierarchicalGP(SCHEMA, kernel=kernel, integrate=False).fit(minutes).predict(then)["mean"]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    shuffled = DATA.isel(sample=np.random.default_rng(0).permutation(70))
    np.testing.assert_allclose(model.fit(shuffled).predict(at)["mean"], wanted, rtol=1e-6)


def test_gradients_leave_out_labels() -> None:
    at, step = AT.isel(sample=slice(0, 8)), 1e-5
    got = fitted().gradient(at)
    assert list(got["input"].to_numpy()) == ["x", "hour"]
    for name in ("x", "hour"):
        up, down = (fitted().predict(at.assign({name: at[name] + h})) for h in (step, -step))
        for slope, value in (("d_mean", "mean"), ("d_std", "std")):
            wanted = (up[value] - down[value]) / (2 * step)
            np.testing.assert_allclose(got[slope].sel(input=name), wanted, rtol=1e-4, atol=1e-6)


def test_saved_left_out_and_sampled(tmp_path: Path) -> None:
    model = fitted()
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    xr.testing.assert_identical(back.predict(AT), model.predict(AT))
    assert back.vocabulary == model.vocabulary
    loo = back.loo()
    assert list(loo["material"].to_numpy()) == list(DATA["material"].to_numpy())
    samples = back.sample(AT.isel(sample=slice(0, 5)), 4000, seed=0)
    got = model.predict(AT.isel(sample=slice(0, 5)))
    assert (np.abs(samples.mean("draw") - got["mean"]) < 5 * got["std"] / math.sqrt(4000)).all()


def test_health_names_readings_by_their_labels() -> None:
    text = str(fitted().health())
    assert "material = " in text
    assert "hour = " in text
    assert set(fitted().health().to_dataset()["place"].to_numpy()[:, 2]) == set(OFFSET)


def test_a_label_that_is_new() -> None:
    new = AT.isel(sample=[0]).assign(material=("sample", ["gold"]))
    with pytest.raises(DataError, match="unknown material 'gold'; the model knows 'brass', 'steel', 'wood'; correct"):
        fitted().predict(new)
    reading = AT.isel(sample=[0, 1]).assign(material=("sample", ["gold"] * 2), y=("sample", [3.0, 3.1]))
    updated = fitted().update(reading)
    assert updated.vocabulary.categories == {"material": ("brass", "steel", "wood", "gold")}
    assert float(updated.predict(new)["mean"][0]) == pytest.approx(3.0, abs=0.2)
    # the others hardly change, and the unknown one is less sure than they are
    assert np.abs(updated.predict(AT)["mean"] - fitted().predict(AT)["mean"]).max() < 0.3
    away = new.assign(x=new["x"] + 2.0)
    away["x"].attrs["units"] = "mm"
    known = away.assign(material=("sample", ["wood"]))
    assert float(updated.predict(away)["std"][0]) > 2 * float(updated.predict(known)["std"][0])


def test_noise_and_outliers_go_with_labels() -> None:
    """Noise varies with x and hour, not along labels' numbers; outliers are named with their label."""
    y = DATA["y"].to_numpy().copy()
    y[7] += 5.0
    model = HierarchicalGP(SCHEMA, kernel=KERNEL, noise="varying", likelihood="student-t", integrate=False)
    fit = model.fit(DATA.assign(y=("sample", y)))
    named = fit.report.sections["outliers (weight; an ordinary reading has about one)"]
    assert any(name.startswith("reading 7: ") and f"material={DATA['material'].values[7]}" in name for name in named)
    assert list(fit.report.sections["noise across an input's range (factor of its standard deviation)"]) == [
        "x",
        "hour",
    ]
    assert rmse(fit) < 0.1


def test_a_sum_of_single_inputs_needs_fewer_readings() -> None:
    generator = np.random.default_rng(0)
    x, z = generator.uniform(0, 1, (60, 5)), generator.uniform(0, 1, (300, 5))

    def f(x: Floats) -> Floats:
        return np.asarray(
            np.sin(6 * x[:, 0]) + (2 * x[:, 1] - 1) ** 2 + np.exp(x[:, 2]) + np.cos(5 * x[:, 3]) + x[:, 4]
        )

    inputs = tuple("abcde")
    data, at = as_dataset(x, f(x) + 0.05 * generator.standard_normal(60), inputs=inputs), as_dataset(z, inputs=inputs)
    errors = {}
    for name, kernel in (("sum", additive(*inputs)), ("joint", "matern52")):
        model = HierarchicalGP(Schema(inputs, "y"), kernel=kernel, integrate=False).fit(data)
        errors[name] = float(np.sqrt(((model.predict(at)["mean"] - f(z)) ** 2).mean()))
    assert errors["sum"] < 0.6 * errors["joint"]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"sharing": "niw"}, "sharing='niw' works with the named kernels only; use 'common', 'two-kernels' or 'icm'"),
        ({"solver": "rotation"}, "solver is 'rotation'; a kernel of several terms has 'dense' only"),
    ],
)
def test_choices_that_make_no_sense(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, kernel=KERNEL, **choices)


def test_labels_where_numbers_are_wanted() -> None:
    with pytest.raises(DataError, match=r"variable 'material' has dtype .*; numbers are wanted"):
        HierarchicalGP(SCHEMA).fit(DATA)
