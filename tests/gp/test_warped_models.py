"""Models of a warped target: against models of the warped readings, samples, and what the data were drawn with."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset, load
from surrogates.errors import DataError

SCHEMA = Schema("x", "y", task="task")
CHOICES: dict[str, dict[str, Any]] = {
    "log": {"warp": "log"},
    "box-cox": {"warp": "box-cox"},
    "logit": {"warp": "logit", "bounds": (0, 30)},
    "below": {"warp": "log", "bounds": (-math.inf, 30)},
}


def observed(n: int = 40, *, seed: int = 0, noise: float = 0.1) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, t = generator.uniform(0, 1, n), np.arange(n) % 2
    y = np.exp(1.2 * np.sin(6 * x + 0.4 * t) + noise * generator.standard_normal(n))
    return as_dataset(x, y, inputs=["x"], task=np.array(["a", "b"])[t])


DATA = observed()
AT = as_dataset(np.linspace(-0.1, 1.1, 7), inputs=["x"], task=list("abababa"))


@cache
def fitted(name: str) -> FittedHierarchicalGP:
    return HierarchicalGP(SCHEMA, **CHOICES[name]).fit(DATA)


@cache
def of_logarithms(*, integrate: bool | None = None) -> FittedHierarchicalGP:
    return HierarchicalGP(SCHEMA, integrate=integrate).fit(DATA.assign(y=np.log(DATA["y"])))


def test_the_logarithm_is_the_model_of_the_logarithms() -> None:
    model, plain = fitted("log"), of_logarithms()
    q = [0.025, 0.5, 0.9]
    np.testing.assert_allclose(model.quantile(AT, q), np.exp(plain.quantile(AT, q)), rtol=1e-9)
    np.testing.assert_allclose(model.quantile(AT, q, noise=True), np.exp(plain.quantile(AT, q, noise=True)), rtol=1e-9)
    np.testing.assert_allclose(model.sample(AT, 3, seed=1), np.exp(plain.sample(AT, 3, seed=1)), rtol=1e-9)
    np.testing.assert_allclose(model.loo()["observed"], DATA["y"], rtol=1e-12)
    # its evidence is a density of y, not of log y: a share of the Jacobian for each of the 40 - 4 contrasts
    share = 36 / 40 * float(np.log(DATA["y"]).sum())
    assert model.report.log_evidence == pytest.approx(plain.report.log_evidence - share, abs=1e-8)
    scores, others = model.report.loo, plain.report.loo
    assert scores["NLPD"] == pytest.approx(others["NLPD"] + float(np.log(DATA["y"]).mean()), rel=1e-9)
    assert scores["coverage of 95 % intervals"] == others["coverage of 95 % intervals"]


def test_mean_and_noise_at_the_mode_are_those_of_a_lognormal() -> None:
    model = HierarchicalGP(SCHEMA, warp="log", integrate=False).fit(DATA)
    of_f = of_logarithms(integrate=False).predict(AT)
    m, s, e = (of_f[name].to_numpy() for name in ("mean", "std", "noise_std"))
    got = model.predict(AT)
    np.testing.assert_allclose(got["mean"], stats.lognorm(s, scale=np.exp(m)).mean(), rtol=1e-9)
    np.testing.assert_allclose(got["std"], stats.lognorm(s, scale=np.exp(m)).std(), rtol=1e-8)
    total = np.hypot(got["std"], got["noise_std"])
    np.testing.assert_allclose(total, stats.lognorm(np.hypot(s, e), scale=np.exp(m)).std(), rtol=1e-8)
    loo, of_logs = model.loo(), of_logarithms(integrate=False).loo()
    left_out = stats.lognorm(of_logs["std"].to_numpy(), scale=np.exp(of_logs["mean"].to_numpy()))
    np.testing.assert_allclose(loo["mean"], left_out.mean(), rtol=1e-9)
    np.testing.assert_allclose(loo["std"], left_out.std(), rtol=1e-8)
    np.testing.assert_allclose(loo["residual"], DATA["y"].to_numpy() - loo["mean"].to_numpy(), atol=1e-9)
    assert model.report.loo["RMSE"] == pytest.approx(float(np.sqrt((loo["residual"] ** 2).mean())), rel=1e-9)


@pytest.mark.parametrize("name", CHOICES)
def test_answers_agree_with_samples(name: str) -> None:
    model = fitted(name)
    samples, got = model.sample(AT, 8000, seed=1).to_numpy(), model.predict(AT)
    std = samples.std(axis=0)
    assert (np.abs(samples.mean(axis=0) - got["mean"]) < 5 * std / math.sqrt(8000)).all()
    np.testing.assert_allclose(std, got["std"], rtol=0.15)
    covariance = model.covariance(AT).to_numpy()
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), got["std"], rtol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > -1e-10
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    # the mixture over length-scales has heavy tails outside of the data, at the ends
    np.testing.assert_allclose(np.corrcoef(samples.T)[1:-1, 1:-1], correlation[1:-1, 1:-1], atol=0.08)
    below = (samples[:, None] < model.quantile(AT, [0.1, 0.5, 0.9]).to_numpy()).mean(axis=0)
    np.testing.assert_allclose(below, np.repeat([[0.1], [0.5], [0.9]], 7, axis=1), atol=0.025)


@pytest.mark.parametrize("name", CHOICES)
def test_gradients_are_differences(name: str) -> None:
    model, step = fitted(name), 1e-5
    got = model.gradient(AT)
    up, down = (model.predict(AT.assign(x=AT["x"] + h)) for h in (step, -step))
    for slope, value in (("d_mean", "mean"), ("d_std", "std")):
        np.testing.assert_allclose(got[slope][0], (up[value] - down[value]) / (2 * step), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CHOICES)
def test_answers_keep_to_the_bounds(name: str) -> None:
    model = fitted(name)
    far = as_dataset(np.array([-30.0, 40.0]), inputs=["x"], task=["a", "b"])
    low, high = CHOICES[name].get("bounds", (0.0, math.inf))
    ends = model.quantile(far, [0.001, 0.999], noise=True)
    assert (ends >= low).all()
    assert (ends <= high).all()


@pytest.mark.parametrize("name", CHOICES)
def test_saved_updated_and_lazy(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    xr.testing.assert_identical(back.predict(AT), model.predict(AT))
    xr.testing.assert_identical(back.quantile(AT, 0.3), model.quantile(AT, 0.3))
    assert back.report == model.report
    first, second = DATA.isel(sample=slice(0, 25)), DATA.isel(sample=slice(25, None))
    whole = HierarchicalGP(SCHEMA, **CHOICES[name]).fit(first).update(second)
    more = whole.update(AT.assign(y=("sample", np.full(7, 2.0))))
    assert more.report.readings == 47
    np.testing.assert_allclose(whole.loo()["observed"], DATA["y"], rtol=1e-10)
    lazy = model.predict(AT.chunk(sample=3)).compute()
    xr.testing.assert_allclose(lazy, model.predict(AT), rtol=1e-10)


def test_health_is_that_of_the_warped_readings() -> None:
    """Scores compare distributions with Gaussians, and say on which scale; shifts are on the same."""
    got, wanted = fitted("log").health(), of_logarithms().health()
    assert "RMSE" in str(got)
    assert "on the log scale of y" in str(got)
    assert "the target is warped: scores and shifts are on the log scale of y" in got.warnings
    for name in ("std", "residual", "influence", "shift"):
        np.testing.assert_allclose(got.to_dataset()[name], wanted.to_dataset()[name], rtol=1e-7, atol=1e-9)


# --- the power -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_power_is_found_again(power: float) -> None:
    """Against scipy's maximum likelihood, for readings around one mean."""
    generator = np.random.default_rng(3)
    z = 8.0 + 1.5 * generator.standard_normal(250)
    y = np.exp(z / 8) if power == 0 else (1 + power * z) ** (1 / power)
    data = as_dataset(generator.uniform(0, 1, 250), y, inputs=["x"])
    model = HierarchicalGP(Schema("x", "y"), trend="constant", warp="box-cox", integrate=False).fit(data)
    found = model.report.sections["output"]["Box-Cox power"]
    assert abs(found.value - power) < 3 * found.spread + 0.05
    wanted = float(np.clip(stats.boxcox_normmax(y, method="mle"), 0, 2))
    # the prior, of deviation 0.75, draws it a little
    assert abs(found.value - wanted) < found.spread


def test_the_unit_changes_nothing() -> None:
    data, more = DATA, DATA.assign(y=1e4 * DATA["y"])
    one, other = (HierarchicalGP(SCHEMA, warp="box-cox", integrate=False).fit(d) for d in (data, more))
    powers = [model.report.sections["output"]["Box-Cox power"].value for model in (one, other)]
    assert powers[0] == pytest.approx(powers[1], abs=0.02)
    np.testing.assert_allclose(other.predict(AT)["mean"] / 1e4, one.predict(AT)["mean"], rtol=2e-3)
    assert other.report.log_evidence == pytest.approx(one.report.log_evidence - 36 * math.log(1e4), abs=0.01)


def test_the_evidence_tells_which_scale_fits() -> None:
    """The data are lognormal: the logarithm explains them better by many nats, and covers what it promises."""
    plain = HierarchicalGP(SCHEMA).fit(DATA)
    assert fitted("log").report.log_evidence > plain.report.log_evidence + 5
    x = np.tile(np.linspace(0.02, 0.98, 50), 2)
    at = as_dataset(x, inputs=["x"], task=list("a" * 50 + "b" * 50))
    truth = np.exp(1.2 * np.sin(6 * x + 0.4 * (at["task"].to_numpy() == "b")))
    low, high = fitted("log").quantile(at, [0.025, 0.975]).to_numpy()
    assert 0.85 <= ((low < truth) & (truth < high)).mean() <= 1.0
    error, others = (float(np.abs(m.predict(at)["mean"] - truth).mean()) for m in (fitted("log"), plain))
    assert error < 0.7 * others


# --- noise -----------------------------------------------------------------------------------------------------------


def test_each_fidelity_has_its_noise_at_each_place() -> None:
    data = DATA.assign(fidelity=("sample", np.where(np.arange(40) % 4 < 2, "lo", "hi")))
    model = HierarchicalGP(Schema("x", "y", task="task", fidelity="fidelity"), warp="log").fit(data)
    both = model.predict(AT)["noise_std"]
    assert both.dims == ("fidelity", "sample")
    asked = model.predict(AT.assign(fidelity=("sample", ["lo"] * 7)))["noise_std"]
    np.testing.assert_allclose(asked, both.sel(fidelity="lo"), rtol=1e-12)
    quantile = model.quantile(AT, [0.2, 0.8], noise=True)
    assert quantile.dims == ("quantile", "fidelity", "sample")
    assert model.quantile(AT, 0.2).dims == ("sample",)
    np.testing.assert_allclose(quantile.sel(quantile=0.2), model.quantile(AT, 0.2, noise=True), rtol=1e-12)


def test_known_noise_goes_along() -> None:
    """2 % of the reading is 0.02 on the logarithm's scale."""
    data = DATA.assign(s=0.02 * DATA["y"])
    schema = Schema("x", "y", task="task", noise="s")
    model = HierarchicalGP(schema, warp="log", integrate=False).fit(data)
    logs = DATA.assign(y=np.log(DATA["y"]), s=xr.full_like(DATA["y"], 0.02))
    plain = HierarchicalGP(schema, integrate=False).fit(logs)
    np.testing.assert_allclose(model.quantile(AT, 0.8), np.exp(plain.quantile(AT, 0.8)), rtol=1e-8)
    given = AT.assign(s=("sample", np.full(7, 0.05)))
    np.testing.assert_allclose(model.predict(given)["noise_std"], 0.05)
    median = model.quantile(AT, 0.5)
    wanted = np.hypot(plain.predict(AT)["std"], 0.05 / median)
    got = np.log(model.quantile(given, 0.9, noise=True) / median) / stats.norm.ppf(0.9)
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_quantiles_without_a_warp() -> None:
    model = HierarchicalGP(SCHEMA, integrate=False).fit(DATA)
    of_f = model.predict(AT)
    np.testing.assert_allclose(model.quantile(AT, 0.9), of_f["mean"] + stats.norm.ppf(0.9) * of_f["std"], rtol=1e-10)
    total = np.hypot(of_f["std"], of_f["noise_std"])
    wanted = of_f["mean"] + stats.norm.ppf(0.1) * total
    np.testing.assert_allclose(model.quantile(AT, 0.1, noise=True), wanted, rtol=1e-9, atol=1e-9)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"bounds": (0, 1)}, r"bounds=\(0, 1\) say how to warp the target; give warp='logit' or 'log' with them"),
        ({"warp": "log", "sharing": "niw"}, "sharing='niw' is a baseline for the target itself; leave out warp"),
        ({"warp": "exp"}, "warp is 'exp'; choose one of"),
    ],
)
def test_choices_that_make_no_sense(choices: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, **choices)


def test_readings_beyond_the_bounds() -> None:
    words = r"target 'y' has 2 readings at or beyond the bounds of warp='log', \(0, inf\) \(first: 0\); give wider"
    spoilt = DATA["y"].to_numpy().copy()
    spoilt[[3, 5]] = 0.0, -1.0
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, warp="log").fit(DATA.assign(y=("sample", spoilt)))
    with pytest.raises(DataError, match="beyond the bounds"):
        fitted("log").update(DATA.assign(y=("sample", spoilt)))


@pytest.mark.parametrize("q", [0.0, 1.0, [0.5, 1.2], [], [[0.5]]])
def test_quantiles_lie_between_zero_and_one(q: Any) -> None:
    with pytest.raises(DataError, match="give a number, or a list of numbers, between 0 and 1"):
        fitted("log").quantile(AT, q)
