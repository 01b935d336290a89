"""Every word and number of a health report of six readings, whose scores are sums that can be done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from surrogates import Schema
from surrogates.health import Dependence, HealthReport, Smoothing, review
from surrogates.schema import Vocabulary

# with std 2: z² sums to 8.75, so RMSE = 2 √(8.75/6), NLPD = ln(2 √(2π)) + 8.75/12; 3 of 6 are inside ± 0.674
Z = np.array([1.0, -1.0, 0.5, -0.5, 2.5, 0.0])
WORDS = """\
health of the model of 'y': 2 warnings
  left out: 6 of 6 readings, worth 6 independent ones
    RMSE 2.415 K, NLPD 2.341, CRPS 1.347 K
    inside 50/90/95 % intervals: 50/83.3/83.3 % (probability of so few or fewer 0.66/0.47/0.26)
    standardised residuals: mean +0.42, mean square 1.46 (probability of a larger one 0.19, of a smaller one 0.81)
    probability values uniform: p = 0.84 (Cramér-von Mises, dependence allowed for)
  by task        n    p_eff     RMSE     NLPD     CRPS   mean z  in 50 %  in 90 %  in 95 %
    a            3     0.75     1.73     1.99     1.02    0.167     33.3      100      100
    b            3     0.75     2.94      2.7     1.67    0.667     66.7     66.7     66.7
  by fidelity        n    p_eff     RMSE     NLPD     CRPS   mean z  in 50 %  in 90 %  in 95 %
    lo               4        1     2.74     2.55     1.55        1       50       75       75
    hi               2      0.5     1.58     1.92    0.934    -0.75       50      100      100
  by task and fidelity        n    p_eff     RMSE     NLPD     CRPS   mean z  in 50 %  in 90 %  in 95 %
    a, lo                     2      0.5     1.58     1.92    0.934     0.75       50      100      100
    a, hi                     1     0.25        2     2.11      1.2       -1        0      100      100
    b, lo                     2      0.5     3.54     3.17     2.17     1.25       50       50       50
    b, hi                     1     0.25        1     1.74    0.663     -0.5      100      100      100
  effective number of parameters 1.5 of 6 readings; condition number 1.2e+03
  at their bounds: log l[x], log s
  most influential readings (largest move of a prediction by leaving it out, in standard deviations)
    3      reading 4 (part b, gauge lo, x = 0.4 mm): fitted values by 0.1 K (rms)
    0.4    reading 5 (part b, gauge lo, x = 0.5 mm): fitted values by 0.1 K (rms)
    0.2    reading 1 (part a, gauge hi, x = 0.1 mm): fitted values by 0.1 K (rms)
    0.1    reading 0 (part a, gauge lo, x = 0 mm): fitted values by 0.1 K (rms)
  warning: at their bounds: log l[x], log s; the best values may lie beyond
  warning: a note"""

NAMES = {
    "rmse": ("root mean square of left-out residuals", "K"),
    "nlpd": ("mean negative log predictive density (nats)", "1"),
    "crps": ("continuous ranked probability score", "K"),
    "mean_z": ("mean standardised left-out residual", "1"),
    "mean_square": ("mean square of standardised left-out residuals", "1"),
    "coverage": ("share inside the central intervals", "1"),
    "count": ("readings scored", "1"),
    "effective_parameters": ("effective number of parameters", "1"),
}
OF_READINGS = {
    "observed": (None, "K"),
    "mean": (None, "K"),
    "std": (None, "K"),
    "residual": (None, "K"),
    "z": ("standardised left-out residual", "1"),
    "pit": ("probability integral transform", "1"),
    "leverage": ("derivative of the fitted value by its reading", "1"),
    "influence": ("largest change of a prediction, in standard deviations, by leaving the reading out", "1"),
    "shift": ("root mean square change of the fitted values by leaving the reading out", "K"),
    "largest": ("largest change of a fitted value by leaving the reading out", "K"),
}


@pytest.fixture(scope="module")
def loo() -> xr.Dataset:
    mean, std = np.arange(6.0), np.full(6, 2.0)
    columns = {"observed": mean + Z * std, "mean": mean, "std": std, "residual": Z * std}
    coords = {
        "part": ("reading", ["a", "a", "a", "b", "b", "b"]),
        "gauge": ("reading", ["lo", "hi", "lo", "hi", "lo", "lo"]),
        "x": ("reading", np.arange(6) / 10, {"units": "mm"}),
    }
    return xr.Dataset({name: ("reading", v, {"units": "K"}) for name, v in columns.items()}, coords)


@pytest.fixture(scope="module")
def health(loo: xr.Dataset) -> HealthReport:
    one = np.ones(6)
    influence = np.array([0.1, 0.2, np.nan, 0.0, 3.0, 0.4])  # unknown and none at all aren't listed
    smoothing = Smoothing(0.25 * one, influence, 0.1 * one, 0.2 * one, 1234.0, Dependence(one, one, one / 6))
    vocabulary = Vocabulary(("a", "b"), ("lo", "hi"), {"x": "mm", "y": "K"}, {})
    schema = Schema(inputs="x", target="y", task="part", fidelity="gauge")
    return review(loo, schema, vocabulary, smoothing=smoothing, bounds=["log l[x]", "log s"], notes=["a note"])


def test_the_words(health: HealthReport) -> None:
    assert str(health) == WORDS
    assert health.warnings == ("at their bounds: log l[x], log s; the best values may lie beyond", "a note")
    assert health.bounds == ("log l[x]", "log s")
    assert repr(health) == "<HealthReport of 'y': 2 warnings>"


def test_every_variable_has_its_dims_name_and_units(health: HealthReport) -> None:
    data = health.to_dataset()
    wanted: dict[str, Any] = {name: (("reading",), *told) for name, told in OF_READINGS.items()}
    for prefix, dims in (("", ()), ("task_", ("task",)), ("fidelity_", ("fidelity",)), ("cell_", ("task", "fidelity"))):
        for name, told in NAMES.items():
            wanted[prefix + name] = ((*dims, "level") if name == "coverage" else dims, *told)
    wanted["condition"] = ((), "condition number of the covariance matrix (1-norm)", "1")
    wanted["place"] = (("reading", "input"), None, None)
    for name in ("effective_readings", "too_large_p", "too_small_p", "pit_statistic", "pit_p"):
        wanted[name] = ((), None, "1")
    wanted |= {f"task_{name}": (("task",), None, "1") for name in ("effective_readings", "too_large_p")}
    wanted["coverage_p"] = (("level",), None, "1")
    found = {
        str(name): (variable.dims, variable.attrs.get("long_name"), variable.attrs.get("units"))
        for name, variable in data.data_vars.items()
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert data.coords["level"].to_numpy().tolist() == [0.5, 0.9, 0.95]
    assert [str(v) for v in data["task"].to_numpy()] == ["a", "b"]
    assert [str(v) for v in data["fidelity"].to_numpy()] == ["lo", "hi"]
    assert data["reading_task"].to_numpy().tolist() == [0, 0, 0, 1, 1, 1]
    assert data["reading_fidelity"].to_numpy().tolist() == [0, 1, 0, 1, 0, 0]
    assert data["reading_task"].dims == data["reading_fidelity"].dims == ("reading",)
    assert data["input"].to_numpy().tolist() == ["x"]
    assert data["input_units"].to_numpy().tolist() == ["mm"]
    np.testing.assert_array_equal(data["place"], np.arange(6)[:, None] / 10)
    attrs = {name: data.attrs[name] for name in ("target", "units", "task_name", "fidelity_name", "bounds")}
    assert attrs == {
        "target": "y",
        "units": "K",
        "task_name": "part",
        "fidelity_name": "gauge",
        "bounds": "log l[x]\nlog s",
    }


def test_tests_of_each_task_and_of_all(health: HealthReport) -> None:
    data = health.to_dataset()
    np.testing.assert_allclose(data["task_effective_readings"], [3, 3])
    np.testing.assert_allclose(data["task_too_large_p"], stats.chi2.sf([2.25, 6.5], 3))
    assert float(data["too_large_p"]) == pytest.approx(stats.chi2.sf(8.75, 6))
    assert float(data["too_small_p"]) == pytest.approx(stats.chi2.cdf(8.75, 6))
    np.testing.assert_allclose(data["coverage_p"], stats.binom.cdf([3, 5, 5], 6, [0.5, 0.9, 0.95]))
    assert float(data["pit_statistic"]) == pytest.approx(stats.cramervonmises(stats.norm.cdf(Z), "uniform").statistic)


def test_one_task_and_fidelity_without_units_or_smoothing(loo: xr.Dataset) -> None:
    vocabulary = Vocabulary((None,), (None,), {"x": None, "y": None}, {})
    bare = loo.drop_vars(["part", "gauge"])
    bare["x"].attrs = {}
    health = review(bare, Schema(inputs="x", target="y"), vocabulary)
    lines = str(health).splitlines()
    assert lines[0] == "health of the model of 'y': no warnings"
    assert lines[2] == "    RMSE 2.415, NLPD 2.341, CRPS 1.347"
    assert lines[-2:] == ["  at their bounds: none", "  no warnings"]
    assert len(lines) == 8  # no tables of one row, no algebra
    data = health.to_dataset()
    assert [str(v) for v in data["task"].to_numpy()] == ["all"]
    assert (data.attrs["units"], data.attrs["task_name"], data.attrs["fidelity_name"]) == ("", "", "")
    assert data["input_units"].to_numpy().tolist() == [""]
    assert "units" not in data["rmse"].attrs
    assert "condition" not in data


def test_labels_among_the_inputs_are_told_as_text(loo: xr.Dataset) -> None:
    both = loo.assign_coords(steel=("reading", list("pqpqpq")))
    vocabulary = Vocabulary(("a", "b"), ("lo", "hi"), {"x": "mm", "y": "K", "steel": None}, {})
    data = review(both, Schema(inputs=("x", "steel"), target="y", task="part", fidelity="gauge"), vocabulary).data
    assert data["place"].to_numpy().tolist()[:3] == [["0", "p"], ["0.1", "q"], ["0.2", "p"]]
