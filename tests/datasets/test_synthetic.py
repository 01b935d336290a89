from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

from surrogates.datasets import sine_tasks
from surrogates.errors import DataError

#: Our choice, documented as such.
ABC = {"task 1": (0.0, 0.05, 0.3), "task 2": (1.0, 0.1, 0.4), "task 3": (-0.5, 0.0, 0.2)}


def by_hand(form: str, abc: tuple[float, float, float], x: float) -> float:
    a, b, c = abc
    if form == "printed":
        return a + b * x + math.sin(x / 5) + c * math.sin(4 * x / 5)
    if form == "higdon":
        return a + b * x + math.sin(math.pi * x / 5) + c * math.sin(4 * math.pi * x / 5)
    return a + b * x + math.sin(math.pi * x / 5) + c * math.cos(4 * math.pi * x / 5)


@pytest.mark.parametrize("form", ["printed", "higdon", "gramacy"])
def test_truth_and_readings_are_the_formula(form: str) -> None:
    study = sine_tasks(seed=1, form=form, repeatability=(0.0, 0.0))
    x = study.truth["x"].to_numpy()
    np.testing.assert_allclose(x, [k / 10 for k in range(201)], rtol=1e-14)
    for task, abc in ABC.items():
        expected = [by_hand(form, abc, float(v)) for v in x]
        np.testing.assert_allclose(study.truth["y"].sel(task=task), expected, rtol=1e-10, atol=1e-13)
    data = study.observed
    expected = [
        by_hand(form, ABC[str(t)], float(v)) for t, v in zip(data["task"].values, data["x"].values, strict=True)
    ]
    np.testing.assert_allclose(data["y"], expected, rtol=1e-10, atol=1e-13)


def test_the_default_is_the_form_as_printed_without_a_gap() -> None:
    default = sine_tasks(seed=2)
    xr.testing.assert_identical(default.observed, sine_tasks(seed=2, form="printed", gap=False).observed)
    assert default.observed["x"].where(default.observed["task"] == "task 2").min() < 5


def test_the_gramacy_form_at_quarter_periods() -> None:
    """sin(πx/5) + 0.2 cos(4πx/5), Gramacy & Lee (2008), at x = 0, 2.5, 5 by head."""
    truth = sine_tasks(seed=0, form="gramacy", coefficients=[(0.0, 0.0, 0.2)]).truth["y"].sel(task="task 1")
    np.testing.assert_allclose(truth.sel(x=[0.0, 2.5, 5.0]), [0.2, 1.2, 0.2], rtol=1e-12)


def test_the_layout() -> None:
    data = sine_tasks(seed=3).observed
    assert set(data.variables) == {"x", "task", "gauge", "y", "repeatability"}
    assert data.sizes == {"sample": 90}
    assert all(variable.attrs == {} for variable in data.variables.values())
    for task in ABC:
        part = data.isel(sample=np.flatnonzero(data["task"] == task))
        places, counts = np.unique(part["x"], return_counts=True)
        assert len(places) == 10
        assert set(counts) == {3}
        for gauge, deviation in (("precise", 0.05), ("cheap", 0.2)):
            of_gauge = part.isel(sample=np.flatnonzero(part["gauge"] == gauge))
            assert len(np.unique(of_gauge["x"])) == 5
            assert set(of_gauge["repeatability"].values) == {deviation}
        assert len(np.unique(part["y"])) == 30  # replicates differ
    assert float(data["x"].min()) >= 0
    assert float(data["x"].max()) <= 20


def test_the_gap_is_in_task_2_alone() -> None:
    data = sine_tasks(seed=4, points=(100, 100), replicates=1, gap=True).observed
    least = {task: float(data["x"].where(data["task"] == task).min()) for task in ABC}
    assert 5 <= least["task 2"] < 5.5
    assert least["task 1"] < 0.5
    assert least["task 3"] < 0.5
    without = sine_tasks(seed=4, points=(100, 100), replicates=1).observed
    for task in ("task 1", "task 3"):
        same = np.flatnonzero(data["task"] == task)
        xr.testing.assert_identical(data.isel(sample=same), without.isel(sample=same))


def residuals(data: xr.Dataset, gauge: str) -> Any:
    chosen = data.isel(sample=np.flatnonzero(data["gauge"] == gauge))
    triples = zip(chosen["task"].values, chosen["x"].values, chosen["y"].values, strict=True)
    return np.array([y - by_hand("printed", ABC[str(task)], float(x)) for task, x, y in triples])


def test_the_noise_has_the_gauges_standard_deviations_and_is_white() -> None:
    data = sine_tasks(seed=5, points=(1000, 500), replicates=2, repeatability=(0.05, 0.2)).observed
    for gauge, deviation, n in (("precise", 0.05, 6000), ("cheap", 0.2, 3000)):
        noise = residuals(data, gauge) / deviation
        assert len(noise) == n
        assert abs(noise.mean()) < 4 / math.sqrt(n)
        assert abs((noise**2).mean() - 1) < 4 * math.sqrt(2 / n)
        replicates = noise.reshape(-1, 2)
        assert abs((replicates[:, 0] * replicates[:, 1]).mean()) < 4 / math.sqrt(n / 2)
        first, second, third = noise.reshape(3, -1)  # the tasks
        assert all(abs((p * q).mean()) < 4 / math.sqrt(n / 3) for p, q in ((first, second), (second, third)))


def test_places_and_noise_share_no_random_bits() -> None:
    """A normal number uses the lower bits of a word, a uniform one the higher: hence the shifts. And now and then it
    takes a second word: hence the first places of many tasks."""
    data = sine_tasks(seed=6, points=(2, 0), replicates=1, coefficients=[(0.0, 0.0, 0.3)] * 2000).observed
    x = data["x"].to_numpy()
    noise = data["y"].to_numpy() - [by_hand("printed", (0.0, 0.0, 0.3), float(v)) for v in x]
    for shift in range(8):
        bits = (x / 20 * 2**shift) % 1
        assert abs(np.corrcoef(bits, noise)[0, 1]) < 4.5 / math.sqrt(4000)
        assert abs(np.corrcoef(bits, np.abs(noise))[0, 1]) < 4.5 / math.sqrt(4000)


def test_places_are_uniform() -> None:
    data = sine_tasks(seed=7, points=(4000, 0), replicates=1).observed
    x = data["x"].to_numpy() / 20
    n = len(x)
    assert abs(x.mean() - 1 / 2) < 4 / math.sqrt(12 * n)
    assert abs((x < 0.25).mean() - 1 / 4) < 4 * math.sqrt(3 / 16 / n)


def test_the_seed_decides_everything_and_other_choices_change_no_place() -> None:
    study = sine_tasks(seed=8)
    xr.testing.assert_identical(study.observed, sine_tasks(seed=8).observed)
    xr.testing.assert_identical(study.truth, sine_tasks(seed=9).truth)
    assert not np.isin(study.observed["x"], sine_tasks(seed=9).observed["x"]).any()
    noisier = sine_tasks(seed=8, repeatability=(1.0, 2.0)).observed
    xr.testing.assert_identical(study.observed["x"], noisier["x"])
    fewer = sine_tasks(seed=8, coefficients=[ABC["task 1"], ABC["task 2"]]).observed
    xr.testing.assert_identical(study.observed.isel(sample=slice(60)), fewer)


def test_the_parameters_make_the_study_again() -> None:
    study = sine_tasks(seed=10, points=(2, 3), replicates=1, repeatability=(0.1, 0.3), gap=True, form="higdon")
    xr.testing.assert_identical(sine_tasks(**study.parameters).observed, study.observed)
    of_array = sine_tasks(coefficients=np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.2]]))  # type: ignore[arg-type]
    assert json.loads(json.dumps(of_array.parameters)) == of_array.parameters
    xr.testing.assert_identical(sine_tasks(**of_array.parameters).observed, of_array.observed)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no task": ({"coefficients": []}, r"coefficients is \[\]; three numbers \(a, b, c\) for each of one or more tasks"),
    "two numbers": ({"coefficients": [(1.0, 2.0)]}, r"coefficients is \[\(1.0, 2.0\)\]; three numbers"),
    "nan": ({"coefficients": [(1.0, 2.0, float("nan"))]}, "coefficients is .*nan.*; three numbers"),
    "negative": ({"points": (-1, 5)}, r"points is \(-1, 5\); \(precise, cheap\) counts >= 0"),
    "nothing": ({"points": (0, 0)}, r"points is \(0, 0\); .* at least one place"),
    "half a place": ({"points": (2.5, 1)}, r"points is \(2.5, 1\); \(precise, cheap\) counts"),
    "half a reading": ({"replicates": 1.5}, "replicates is 1.5; at least one reading"),
    "one count": ({"points": (5,)}, r"points is \(5,\); \(precise, cheap\) counts"),
    "replicates": ({"replicates": 0}, "replicates is 0; at least one reading at each place"),
    "noise": ({"repeatability": (0.1, -0.2)}, r"repeatability is \(0.1, -0.2\); two numbers >= 0"),
    "noise is nan": ({"repeatability": (0.1, float("nan"))}, r"repeatability is \(0.1, nan\); two numbers >= 0"),
    "one noise": ({"repeatability": (0.1,)}, r"repeatability is \(0.1,\); two numbers >= 0"),
    "gap": ({"coefficients": [(0.0, 0.0, 0.0)], "gap": True}, "gap is True, but there is one task; .* two or more"),
    "form": ({"form": "pi"}, r"form is 'pi'; choose one of \('printed', 'higdon', 'gramacy'\)"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_arguments_are_named(what: str) -> None:
    arguments, message = BAD[what]
    with pytest.raises(DataError, match=message):
        sine_tasks(**arguments)
