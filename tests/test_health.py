"""The health of any model's left-out predictions: scores, tests that know of dependence, words, table and figure."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from surrogates import Schema, metrics
from surrogates.health import Dependence, HealthReport, Smoothing, review
from surrogates.health.linear import overlap
from surrogates.health.tests_of_fit import cramer_von_mises, not_uniform, too_few_inside, too_large, too_small
from surrogates.schema import Vocabulary

Floats = NDArray[np.float64]
SCHEMA = Schema(inputs="x", target="y", task="part", fidelity="gauge")
VOCABULARY = Vocabulary(("a", "b"), ("lo", "hi"), {"x": "mm", "y": "K"}, {})


def left_out(n: int = 40, *, spread: float = 1.0, seed: int = 0) -> xr.Dataset:
    """Left-out predictions whose residuals are `spread` times as large as promised."""
    generator = np.random.default_rng(seed)
    std = generator.uniform(0.5, 2.0, n)
    mean = generator.normal(size=n)
    observed = mean + spread * std * generator.standard_normal(n)
    columns = {"observed": observed, "mean": mean, "std": std, "residual": observed - mean}
    part, gauge = np.array(["a", "b"])[np.arange(n) % 2], np.array(["lo", "hi"])[np.arange(n) // 2 % 2]
    coords = {
        "part": ("reading", part),
        "gauge": ("reading", gauge),
        "x": ("reading", np.arange(n) / 10, {"units": "mm"}),
    }
    return xr.Dataset({name: ("reading", v, {"units": "K"}) for name, v in columns.items()}, coords)


def smoothing(n: int, *, influence: Floats | None = None, condition: float = 10.0, leverage: float = 0.25) -> Smoothing:
    """Independent readings."""
    one = np.ones(n)
    moved = 0.5 * one if influence is None else influence
    return Smoothing(leverage * one, moved, 0.1 * one, 0.2 * one, condition, Dependence(one, one, one / 6))


def test_scores_are_those_of_metrics() -> None:
    loo = left_out()
    data = review(loo, SCHEMA, VOCABULARY).to_dataset()
    y, mean, std = (loo[name].to_numpy() for name in ("observed", "mean", "std"))
    groups = {
        "": np.ones(40, dtype=bool),
        "task_": loo["part"].to_numpy() == "b",
        "fidelity_": loo["gauge"].to_numpy() == "hi",
    }
    groups["cell_"] = groups["task_"] & groups["fidelity_"]
    at = {"": {}, "task_": {"task": "b"}, "fidelity_": {"fidelity": "hi"}, "cell_": {"task": "b", "fidelity": "hi"}}
    for prefix, rows in groups.items():
        found = {
            name: data[prefix + name].sel(at[prefix])
            for name in ("count", "rmse", "nlpd", "crps", "mean_z", "coverage")
        }
        assert int(found["count"]) == rows.sum()
        assert float(found["rmse"]) == pytest.approx(metrics.rmse(y[rows], mean[rows]))
        assert float(found["nlpd"]) == pytest.approx(metrics.nlpd(y[rows], mean[rows], std[rows]))
        assert float(found["crps"]) == pytest.approx(metrics.crps(y[rows], mean[rows], std[rows]))
        assert float(found["mean_z"]) == pytest.approx(float(((y - mean) / std)[rows].mean()))
        for level in (0.5, 0.9, 0.95):
            truth = metrics.coverage(y[rows], mean[rows], std[rows], level=level)
            assert float(found["coverage"].sel(level=level)) == pytest.approx(truth)
    np.testing.assert_allclose(data["pit"], metrics.pit(y, mean, std))
    assert data["rmse"].attrs["units"] == "K"
    assert data["nlpd"].attrs["units"] == "1"


def test_effective_parameters_are_sums_of_leverages() -> None:
    data = review(left_out(), SCHEMA, VOCABULARY, smoothing=smoothing(40)).to_dataset()
    assert float(data["effective_parameters"]) == pytest.approx(10.0)
    np.testing.assert_allclose(data["task_effective_parameters"], 5.0)
    np.testing.assert_allclose(data["cell_effective_parameters"], 2.5)


@given(n=st.integers(1, 60), level=st.floats(0.1, 0.95), share=st.floats(0, 1))
def test_too_few_inside_is_the_binomial_between_whole_numbers(n: int, level: float, share: float) -> None:
    k = round(share * n)
    assert too_few_inside(k / n, level, n) == pytest.approx(stats.binom.cdf(k, n, level), abs=1e-9)
    assert too_few_inside(share, level, n) <= too_few_inside(min(share + 0.01, 1.0), level, n) + 1e-12


@given(size=st.floats(1, 200), square=st.floats(0, 5))
def test_sizes_of_squares_are_chi_squared(size: float, square: float) -> None:
    assert too_large(square, size) == pytest.approx(stats.chi2.sf(size * square, size), abs=1e-9)
    assert too_small(square, size) == pytest.approx(1 - too_large(square, size), abs=1e-9)


@pytest.mark.parametrize(("statistic", "p"), [(0.34730, 0.1), (0.46136, 0.05), (0.74346, 0.01), (0.11888, 0.5)])
def test_the_limit_of_cramer_von_mises(statistic: float, p: float) -> None:
    """Anderson & Darling's table."""
    assert not_uniform(statistic) == pytest.approx(p, rel=1e-3)
    assert not_uniform(2 * statistic, 2 / 6) == pytest.approx(p, rel=1e-3)


def test_cramer_von_mises_is_that_of_scipy() -> None:
    u = np.random.default_rng(0).uniform(size=3000) ** 1.05
    truth = stats.cramervonmises(u, "uniform")
    assert cramer_von_mises(u) == pytest.approx(truth.statistic)
    assert not_uniform(truth.statistic) == pytest.approx(truth.pvalue, abs=2e-3)
    assert not_uniform(0.0) == 1.0


@pytest.mark.parametrize("ρ", [-0.9, -0.3, 0.2, 0.7])
def test_overlap_is_the_covariance_of_two_distribution_functions(ρ: float) -> None:
    """∫ [Φ₂(q, q; ρ) - p²] dp by quadrature."""
    p = (np.arange(400) + 0.5) / 400
    q = stats.norm.ppf(p)
    joint = stats.multivariate_normal([0, 0], [[1, ρ], [ρ, 1]]).cdf(np.stack([q, q], axis=1))
    assert float(overlap(np.array(ρ))) == pytest.approx(float((joint - p**2).mean()), abs=2e-5)


def test_tests_keep_their_promise_where_residuals_depend_on_each_other() -> None:
    """Of 2,000 right models with strongly dependent left-out residuals, few are called wrong."""
    generator, n = np.random.default_rng(1), 40
    x = np.linspace(0, 1, n)
    S = np.exp(-(((x[:, None] - x) / 0.1) ** 2) / 2) + 0.05 * np.eye(n)
    P = np.linalg.inv(S)
    R = P / np.sqrt(np.outer(np.diag(P), np.diag(P)))
    size, mean = n**2 / (R**2).sum(), overlap(R).sum() / n
    assert size < 0.8 * n  # they do depend on each other
    z = (P @ np.linalg.cholesky(S) @ generator.standard_normal((n, 2000))).T / np.sqrt(np.diag(P))
    p = {
        "too large": [too_large(float(v), size) for v in (z**2).mean(axis=1)],
        "too small": [too_small(float(v), size) for v in (z**2).mean(axis=1)],
        "not uniform": [not_uniform(cramer_von_mises(stats.norm.cdf(v)), mean) for v in z],
        "too few": [too_few_inside(float((np.abs(v) < stats.norm.ppf(0.75)).mean()), 0.5, size) for v in z],
    }
    for name, values in p.items():
        rejected = [float((np.array(values) < level).mean()) for level in (0.01, 0.05, 0.2)]
        assert rejected[0] < 0.02, name
        assert rejected[1] < 0.07, name
        assert 0.07 < rejected[2] < 0.25, name  # nor are the tests blind


def test_narrow_intervals_are_called_over_confident() -> None:
    health = review(left_out(60, spread=2.0), SCHEMA, VOCABULARY, smoothing=smoothing(60))
    assert re.match(
        r"over-confident: 95 % intervals hold .* as 60 independent ones .* about 2 times", health.warnings[0]
    )
    assert any(w.startswith("over-confident for the task") for w in health.warnings)


def test_dependent_residuals_say_less() -> None:
    """The same residuals, worth a tenth of their number, are no reason for a warning."""
    loo, one = left_out(60, spread=1.4), np.ones(60)
    dependent = smoothing(60)._replace(dependence=Dependence(10 * one, 10 * one, 10 * one / 6))
    assert review(loo, SCHEMA, VOCABULARY, smoothing=smoothing(60)).warnings[0].startswith("over-confident")
    assert review(loo, SCHEMA, VOCABULARY, smoothing=dependent).warnings == ()


def test_wide_intervals_are_called_wide() -> None:
    assert (
        review(left_out(60, spread=0.5), SCHEMA, VOCABULARY).warnings[0].startswith("intervals are wider than need be")
    )


def test_a_right_model_gets_no_warning() -> None:
    health = review(left_out(60), SCHEMA, VOCABULARY, smoothing=smoothing(60))
    assert health.warnings == ()
    assert "no warnings" in str(health)
    assert repr(health) == "<HealthReport of 'y': no warnings>"


def test_biased_predictions_are_not_uniform() -> None:
    loo = left_out(60)
    loo["observed"] += 0.5 * loo["std"]
    data = review(loo, SCHEMA, VOCABULARY).to_dataset()
    assert float(data["pit_p"]) < 0.01


def test_outliers_and_influential_readings_are_named() -> None:
    loo = left_out(60)
    loo["observed"][7] = loo["mean"][7] + 6 * loo["std"][7]
    moved = np.full(60, 0.1)
    moved[7] = 5.5
    health = review(loo, SCHEMA, VOCABULARY, smoothing=smoothing(60, influence=moved))
    name = "reading 7 (part b, gauge hi, x = 0.7 mm)"
    assert any(f"far from what the others say, in standard deviations: {name}: +6.0" in w for w in health.warnings)
    assert any(w.startswith("one reading is too influential") and f"{name}: 5.5" in w for w in health.warnings)
    assert f"5.5    {name}: fitted values by 0.1 K (rms)" in str(health)


def test_the_algebra_warns() -> None:
    loo = left_out(60)
    found = review(loo, SCHEMA, VOCABULARY, smoothing=smoothing(60, condition=1e14, leverage=0.95), bounds=["log l[x]"])
    text = "\n".join(found.warnings)
    assert "at their bounds: log l[x]; the best values may lie beyond" in text
    assert "about 14 of 16 digits are lost" in text
    assert "spends 57 effective parameters on 60 readings: it interpolates" in text
    assert found.bounds == ("log l[x]",)


def test_readings_that_nothing_predicts_are_counted() -> None:
    loo = left_out(6)
    loo["mean"][0], loo["std"][0] = np.nan, np.nan
    loo["std"][1] = 0.0  # a repeat of an exact reading
    health = review(loo, SCHEMA, VOCABULARY)
    assert int(health.data["count"]) == 4
    assert health.warnings[0] == "1 of 6 readings can't be predicted from the others: no score counts them"
    loo["std"][:] = np.nan
    nothing = review(loo, SCHEMA, VOCABULARY, smoothing=smoothing(6))
    assert "no reading can be predicted from the others" in str(nothing)
    assert math.isnan(float(nothing.data["rmse"]))
    nothing.plot()


def test_a_report_can_be_kept_as_netcdf(tmp_path: Path) -> None:
    health = review(left_out(60, spread=2.0), SCHEMA, VOCABULARY, smoothing=smoothing(60))
    health.to_dataset().to_netcdf(tmp_path / "health.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "health.nc", engine="scipy") as kept:
        again = HealthReport(kept.load())
    assert again.warnings == health.warnings
    assert str(again) == str(health)


def test_a_table_handed_out_is_a_copy() -> None:
    health = review(left_out(), SCHEMA, VOCABULARY)
    health.to_dataset()["rmse"][...] = -1.0
    assert float(health.data["rmse"]) > 0


def test_the_figure_has_six_panels_with_units() -> None:
    import matplotlib.pyplot as plt

    figure = review(left_out(60, spread=2.0), SCHEMA, VOCABULARY, smoothing=smoothing(60)).plot()
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
    assert labels[0] == ("observed y (K)", "left-out mean ± 2 std (K)")
    assert labels[1] == ("left-out mean (K)", "left-out residual / std (1)")
    assert labels[5][0] == "left-out RMSE (K)"
    assert len(labels) == 6
    inside = np.asarray(figure.axes[3].lines[1].get_ydata())  # the share inside the 50 % interval
    z = (left_out(60, spread=2.0)["residual"] / left_out(60)["std"]).to_numpy()
    assert inside[50] == pytest.approx((np.abs(z) <= stats.norm.ppf(0.75)).mean())
    tops = figure.axes[5].patches
    assert [tick.get_text() for tick in figure.axes[5].get_yticklabels()] == [
        "part a",
        "part b",
        "gauge lo",
        "gauge hi",
    ]
    assert len(tops) == 4
    plt.close(figure)


def test_many_tasks_are_cut_short_in_text_and_figure() -> None:
    import matplotlib.pyplot as plt

    loo, labels = left_out(60), tuple(f"t{k:02d}" for k in range(30))
    loo = loo.assign_coords(part=("reading", np.array(labels)[np.arange(60) % 30]))
    health = review(loo, SCHEMA, Vocabulary(labels, ("lo", "hi"), VOCABULARY.units, {}), smoothing=smoothing(60))
    assert "... the worst of 30 by NLPD" in str(health)
    worst = health.data["task"].to_numpy()[np.argsort(-health.data["task_nlpd"].to_numpy(), kind="stable")][:12]
    assert re.findall(r"^    (t\d\d) ", str(health).split("  effective number")[0], re.MULTILINE) == worst.tolist()
    figure = health.plot()
    assert len(figure.axes[5].patches) == 15
    plt.close(figure)
