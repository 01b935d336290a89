"""Student's t noise: its weights against quadrature and fixed points, its predictions on data with outliers."""

from __future__ import annotations

import math
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import integrate, stats

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset, load
from surrogates.errors import DataError, FitWarning
from surrogates.gp.outputs import mixture_quantile, with_tails
from surrogates.gp.shaped_noise import evidence_bound
from surrogates.gp.student_t import expected_weights
from surrogates.posterior import Moments

Floats = NDArray[np.float64]
SCHEMA = Schema("x", "y", task="task")


def truth(x: Floats, t: NDArray[Any]) -> Floats:
    return np.asarray(np.sin(2 * x) + 0.5 * t * x)


def observed(share: float, *, n: int = 80, seed: int = 10) -> tuple[xr.Dataset, NDArray[np.bool_]]:
    """Two tasks with noise of 0.1; a share of the readings are wrong by 2 to 6."""
    generator = np.random.default_rng(seed)
    x, t = generator.uniform(0, 4, n), np.arange(n) % 2
    y, bad = truth(x, t) + 0.1 * generator.standard_normal(n), generator.uniform(size=n) < share
    y[bad] += generator.choice([-1, 1], bad.sum()) * generator.uniform(2, 6, bad.sum())
    return as_dataset(x, y, inputs=["x"], task=np.array(["a", "b"])[t]), bad


X, T = np.tile(np.linspace(0, 4, 50), 2), np.repeat([0, 1], 50)
AT = as_dataset(X, inputs=["x"], task=np.array(["a", "b"])[T])


def fit(data: xr.Dataset, **choices: Any) -> FittedHierarchicalGP:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # the Gaussian model says, rightly, that the data are odd
        return HierarchicalGP(SCHEMA, **choices).fit(data)


@cache
def fitted() -> FittedHierarchicalGP:
    return fit(observed(0.1)[0], likelihood="student-t")


def rmse(model: FittedHierarchicalGP) -> float:
    return float(np.sqrt(((model.predict(AT)["mean"] - truth(X, T)) ** 2).mean()))


@pytest.mark.parametrize("seed", [10, 11])
def test_outliers_cost_little_and_are_named(seed: int) -> None:
    data, bad = observed(0.1, seed=seed)
    robust, gaussian = fit(data, likelihood="student-t"), fit(data)
    without = fit(data.isel(sample=~bad))
    assert rmse(robust) < 1.3 * rmse(without)
    assert rmse(gaussian) > 4 * rmse(robust)
    inside = np.abs(robust.predict(AT)["mean"] - truth(X, T)) < 1.96 * robust.predict(AT)["std"]
    assert inside.mean() > 0.9
    named = robust.report.sections["outliers (weight; an ordinary reading has about one)"]
    assert {int(name.split(":")[0].removeprefix("reading ")) for name in named} == set(np.flatnonzero(bad).tolist())
    first = int(np.flatnonzero(bad)[0])
    x, y, task = (data[name].values[first] for name in ("x", "y", "task"))
    assert named[f"reading {first}: {task}, x={x:.4g}, y={y:.4g}"].value < 0.3
    assert list(named) == sorted(named, key=lambda name: named[name].value)
    assert robust.report.log_evidence > gaussian.report.log_evidence + 20


def test_nearly_nothing_is_lost_on_clean_data() -> None:
    data, _ = observed(0.0)
    robust, gaussian = fit(data, likelihood="student-t"), fit(data)
    assert rmse(robust) < 1.1 * rmse(gaussian)
    assert robust.report.log_evidence > gaussian.report.log_evidence - 2
    assert robust.report.sections["output"]["degrees of freedom of the noise"].value == 30
    assert "outliers (weight; an ordinary reading has about one)" not in robust.report.sections
    np.testing.assert_allclose(robust.predict(AT)["std"], gaussian.predict(AT)["std"], rtol=0.2)
    np.testing.assert_allclose(robust.predict(AT)["noise_std"], 0.1, rtol=0.25)


def test_the_weights_are_a_fixed_point() -> None:
    """E w = (ν+1)/(ν + E(y - f)²/σ²), with mean and variance of f from the public prediction."""
    model, (data, _) = fit(observed(0.1)[0], likelihood="student-t", integrate=False), observed(0.1)
    core = model.core
    ν, weight = core.scaled.degrees, core.scaled.readings.weight
    assert ν is not None
    assert weight is not None
    got = model.predict(data)
    σ2 = got["noise_std"].to_numpy() ** 2 * (ν - 2) / ν
    e = ((data["y"] - got["mean"]) ** 2 + got["std"] ** 2).to_numpy() / σ2
    np.testing.assert_allclose(weight, (ν + 1) / (ν + e), atol=0.01)
    again = expected_weights(core.problem, core.mode, core.scaled.readings.y, weight, ν)
    np.testing.assert_allclose(again, (ν + 1) / (ν + e), rtol=1e-6)


@pytest.mark.parametrize("ν", [3.0, 10.0])
def test_the_bound_is_the_students_density_where_f_is_known(ν: float) -> None:
    """With f known, q(w) is exact: log N(y | f, σ²/E w) plus the rest is log t_ν((y - f)/σ)."""
    z = np.array([0.0, 0.5, 4.0])
    w = (ν + 1) / (ν + z**2)
    for k in range(3):
        gaussian = stats.norm.logpdf(z[k], 0, 1 / math.sqrt(w[k]))
        assert gaussian + evidence_bound(w[k : k + 1], ν) == pytest.approx(stats.t.logpdf(z[k], ν), abs=1e-10)
    assert evidence_bound(w, ν) == pytest.approx(sum(evidence_bound(w[k : k + 1], ν) for k in range(3)))


@pytest.mark.parametrize("ν", [2.5, 4.0, 30.0])
@pytest.mark.parametrize("q", [1e-5, 0.01, 0.2, 0.975, 0.9999])
def test_quantiles_of_readings_have_the_students_tails(q: float, ν: float) -> None:
    """Of f + t noise: the distribution function by adaptive quadrature over f."""
    σ, s = 0.5, 0.3
    parts, shares = with_tails([Moments(np.zeros(1), np.full(1, s**2))], np.ones(1), np.full(1, σ**2 * ν / (ν - 2)), ν)
    x = float(mixture_quantile(parts, shares, q)[0])
    # ∫ N(f; 0, s²) P(noise < x - f) df
    below = integrate.quad(lambda f: stats.norm.pdf(f / s) / s * stats.t.cdf((x - f) / σ, ν), -9 * s, 9 * s, points=[0])
    assert below[0] == pytest.approx(q, rel=2e-3)
    assert 1 - below[0] == pytest.approx(1 - q, rel=2e-3)
    assert sum(shares) == pytest.approx(1.0)


def test_readings_quantiles_are_wider_than_the_functions() -> None:
    model = fitted()
    inner, outer = (model.quantile(AT, [0.05, 0.95], noise=noise).to_numpy() for noise in (False, True))
    assert (outer[1] - outer[0] > inner[1] - inner[0]).all()


def test_the_far_tails_of_readings_are_the_students() -> None:
    """f is known to a third of the noise, so that far out the readings' quantile is that of the noise alone, nearly."""
    model = fitted()
    ν = model.core.scaled.degrees
    assert ν is not None
    at = AT.isel(sample=slice(20, 30))
    found, told = model.quantile(at, 0.9999, noise=True), model.predict(at)
    assert float((told["std"] / told["noise_std"]).max()) < 0.6
    σ = told["noise_std"] * math.sqrt((ν - 2) / ν)
    students, gaussian = told["mean"] + σ * stats.t.ppf(0.9999, ν), told["mean"] + told["noise_std"] * 3.719
    np.testing.assert_allclose(found, students, rtol=0.1)
    assert (found > gaussian + 0.5 * (students - gaussian)).all()


def test_saved_and_updated(tmp_path: Path) -> None:
    data, _ = observed(0.1)
    model = fitted()
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    xr.testing.assert_identical(back.predict(AT), model.predict(AT))
    xr.testing.assert_identical(back.loo(), model.loo())
    # one more outlier, where another reading contradicts it
    wrong = AT.isel(sample=[20]).assign(y=("sample", [9.0]))
    before, after = model.predict(AT), back.update(wrong).predict(AT)
    assert float(np.abs(after["mean"] - before["mean"]).max()) < 0.05
    right = AT.isel(sample=[20]).assign(y=("sample", [float(truth(X, T)[20])]))
    assert float(model.update(right).predict(AT)["std"][20]) < float(before["std"][20])
    assert data.sizes["sample"] == 80


def test_left_out_readings_are_of_students_t() -> None:
    """Their variance is f's, plus ν/(ν-2) times the squared scale, whatever weight they have."""
    model = fit(observed(0.1)[0], likelihood="student-t", integrate=False)
    loo, noise = model.loo(), model.predict(AT)["noise_std"].to_numpy()[0]
    assert (loo["std"] > noise).all()
    assert (loo["std"] < 3 * noise).all()


def test_large_fits_choose_their_tails_on_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are those of all readings all the same: nearly those of the fit that takes no part."""
    data, bad = observed(0.1)
    whole = fit(data, likelihood="student-t", integrate=False)
    monkeypatch.setattr("surrogates.gp.student_t.MOST", 50)
    part = fit(data, likelihood="student-t", integrate=False)
    weights = [model.core.scaled.readings.weight for model in (whole, part)]
    assert weights[0] is not None
    assert weights[1] is not None
    assert (weights[1][bad] < 0.3).all()
    np.testing.assert_allclose(weights[1], weights[0], atol=0.03)


def test_with_noise_that_varies() -> None:
    data, bad = observed(0.1, n=120)
    model = fit(data, likelihood="student-t", noise="varying")
    assert rmse(model) < 0.15
    named = model.report.sections["outliers (weight; an ordinary reading has about one)"]
    assert len(named) >= 0.8 * bad.sum()


@pytest.mark.parametrize(
    ("schema", "choices", "words"),
    [
        (SCHEMA, {"sharing": "niw"}, "sharing='niw' is a baseline with one noise per fidelity"),
        (SCHEMA, {"warp": "log"}, "likelihood='student-t' with a warp has readings without a mean"),
        (Schema("x", "y", noise="s"), {}, "likelihood='student-t' learns its noise; name no known noise"),
    ],
)
def test_choices_that_make_no_sense(schema: Schema, choices: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(schema, likelihood="student-t", **choices)


def test_an_unknown_likelihood() -> None:
    with pytest.raises(DataError, match="likelihood is 'cauchy'; choose one of"):
        HierarchicalGP(SCHEMA, likelihood="cauchy")
