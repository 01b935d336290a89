from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from surrogates import metrics
from surrogates.errors import DataError, UnitsError
from surrogates.metrics import coverage, crps, interval_score, mean_rank, nlpd, pit, relative_change, rmse, score
from surrogates.variables import unmasked

FINITE = st.floats(-50, 50)
SPREAD = st.floats(0.01, 50)
NAN = float("nan")


def draws(n: int, *, seed: int) -> tuple[Any, Any, Any]:
    """Readings drawn from their own predictive distributions."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(size=n), rng.uniform(0.1, 3.0, size=n)
    return mean + std * rng.normal(size=n), mean, std


def test_masked_readings_are_not_observed() -> None:
    truth = np.ma.masked_array([1.0, 99.0], mask=[False, True])
    assert rmse(truth, [3.0, 3.0]) == 2.0
    with pytest.raises(DataError, match="mean has 1 entries that are NaN"):
        rmse([1.0, 2.0], truth)
    with pytest.raises(DataError, match="errors has 1 entries that are NaN"):
        relative_change(truth, [1.0, 1.0])


@settings(deadline=None)
@given(y=FINITE, mean=FINITE, std=SPREAD)
def test_against_scipy_and_scoringrules(y: float, mean: float, std: float) -> None:
    alpha = 1 - 0.8
    low, high = scipy.stats.norm(mean, std).interval(0.8)
    np.testing.assert_allclose(nlpd([y], [mean], [std]), -scipy.stats.norm(mean, std).logpdf(y), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(crps([y], [mean], [std]), scoringrules.crps_normal(y, mean, std), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        interval_score([y], [mean], [std], level=0.8), scoringrules.interval_score(y, low, high, alpha), rtol=1e-9
    )
    np.testing.assert_allclose(pit([y], [mean], [std]), scipy.stats.norm(mean, std).cdf(y), rtol=1e-10, atol=1e-300)


@pytest.mark.parametrize(("y", "mean", "std"), [(0.3, 0.0, 1.0), (-2.0, 1.0, 0.5), (4.0, 1.0, 2.0)])
def test_crps_is_its_integral(y: float, mean: float, std: float) -> None:
    cdf = scipy.stats.norm(mean, std).cdf
    below, _ = quad(lambda t: cdf(t) ** 2, mean - 12 * std, y, epsabs=1e-12)
    above, _ = quad(lambda t: (1 - cdf(t)) ** 2, y, mean + 12 * std, epsabs=1e-12)
    np.testing.assert_allclose(crps([y], [mean], [std]), below + above, rtol=1e-9)


def test_crps_of_a_certain_prediction_is_the_absolute_error() -> None:
    np.testing.assert_allclose(crps([1.0, 5.0], [2.0, 2.0], [1e-12, 1e-12]), 2.0, rtol=1e-10)


def test_rmse_by_hand() -> None:
    assert rmse([1.0, 2.0, NAN], [1.0, 5.0, NAN]) == math.sqrt(4.5)


@settings(deadline=None)
@given(factor=st.floats(1e-3, 1e3), shift=FINITE, seed=st.integers(0, 99))
def test_a_change_of_units_scales_the_scores(factor: float, shift: float, seed: int) -> None:
    y, mean, std = draws(20, seed=seed)
    # the shift costs digits, hence the tolerances
    other = (factor * y + shift, factor * mean + shift, factor * std)
    np.testing.assert_allclose(nlpd(*other), nlpd(y, mean, std) + math.log(factor), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(crps(*other), factor * crps(y, mean, std), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(interval_score(*other), factor * interval_score(y, mean, std), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(rmse(*other[:2]), factor * rmse(y, mean), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(pit(*other), pit(y, mean, std), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_simulated_readings_are_covered_as_promised(level: float) -> None:
    n = 20_000
    standard_error = math.sqrt(level * (1 - level) / n)
    assert abs(coverage(*draws(n, seed=1), level=level) - level) < 4 * standard_error


def test_pit_of_simulated_readings_is_uniform_and_of_overconfident_ones_is_not() -> None:
    y, mean, std = draws(5000, seed=2)
    assert scipy.stats.kstest(pit(y, mean, std), "uniform").pvalue > 0.001
    assert scipy.stats.kstest(pit(y, mean, 0.8 * std), "uniform").pvalue < 1e-6


@pytest.mark.parametrize("metric", [nlpd, crps, interval_score])
def test_the_scores_are_proper(metric: Any) -> None:
    """The truthful prediction is the best one on average."""
    y, mean, std = draws(20_000, seed=3)
    best = metric(y, mean, std)
    assert all(metric(y, mean, factor * std) > best for factor in (0.7, 1.4))
    assert all(metric(y, mean + shift * std, std) > best for shift in (-0.3, 0.3))


def test_missing_readings_are_left_out_whatever_is_predicted_there() -> None:
    y, mean, std = draws(9, seed=4)
    more = (np.append(y, [NAN, NAN]), np.append(mean, [NAN, 1.0]), np.append(std, [0.0, 1.0]))
    for metric in (nlpd, crps, coverage, interval_score):
        assert metric(*more) == metric(y, mean, std)
    np.testing.assert_array_equal(pit(*more), pit(y, mean, std))


BAD = {
    "mean is NaN": (([1.0, 2.0], [1.0, NAN], [1.0, 1.0]), "mean has 1 entries that are NaN or infinite where truth is"),
    "std is NaN": (([1.0, 2.0], [1.0, 1.0], [NAN, NAN]), "std has 2 entries that are NaN or infinite"),
    "truth is infinite": (([np.inf], [1.0], [1.0]), "truth has 1 entries that are NaN or infinite"),
    "std is zero": (([1.0, 2.0], [1.0, 1.0], [1.0, 0.0]), r"std has entries <= 0 \(smallest 0\)"),
    "std is negative": (([1.0], [1.0], [-2.0]), r"std has entries <= 0 \(smallest -2\)"),
    "shapes": (([1.0, 2.0], [1.0], [1.0, 1.0]), r"mean has shape \(1,\), truth has \(2,\)"),
    "no broadcasting": (([1.0, 2.0], [1.0, 1.0], 1.0), r"std has shape \(\), truth has \(2,\)"),
    "nothing observed": (([NAN, NAN], [1.0, 1.0], [1.0, 1.0]), "truth has 2 entries and none is a number"),
    "empty": (([], [], []), "truth has 0 entries"),
    "text": ((["a"], [1.0], [1.0]), "truth has dtype <U1; numbers are wanted"),
    "mixed": ((xr.DataArray([1.0]), [1.0], [1.0]), r"\['truth'\] are DataArrays, \['mean', 'std'\] not"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("metric", [nlpd, crps, coverage, interval_score, pit])
def test_unusable_arguments_are_named(metric: Any, name: str) -> None:
    arguments, message = BAD[name]
    with pytest.raises(DataError, match=message):
        metric(*arguments)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, NAN])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(DataError, match=r"level is .*; it must be between 0 and 1"):
        coverage([1.0], [1.0], [1.0], level=level)


@pytest.fixture
def truth() -> xr.DataArray:
    y, _, _ = draws(12, seed=5)
    coords = {"part": ["a", "b", "c"], "x": [0.0, 1.0, 2.0, 3.0], "half": ("x", [1, 1, 2, 2])}
    coords["zone"] = (("x", "part"), np.arange(12).reshape(4, 3) % 5 // 2)
    values = xr.DataArray(y.reshape(3, 4), dims=("part", "x"), coords=coords, attrs={"units": "mm"}, name="height")
    values[0, 1] = values[2, :] = NAN
    return values


@pytest.fixture
def prediction(truth: xr.DataArray) -> xr.Dataset:
    _, mean, std = draws(12, seed=6)
    columns = {"mean": mean, "std": std, "noise_std": 0.5 * std}
    return xr.Dataset({k: truth.copy(data=v.reshape(3, 4)) for k, v in columns.items()})


def test_score_is_the_metrics_with_the_noise_added(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    got = score(truth, prediction, level=0.8)
    total = prediction["std"] * math.sqrt(1.25)
    triple = (truth.values, prediction["mean"].values, total.values)
    assert (int(got["count"]), int(got["missing"])) == (7, 5)
    np.testing.assert_allclose(got["rmse"], rmse(*triple[:2]))
    np.testing.assert_allclose(got["nlpd"], nlpd(*triple))
    np.testing.assert_allclose(got["crps"], crps(*triple))
    np.testing.assert_allclose(got["coverage"], coverage(*triple, level=0.8))
    np.testing.assert_allclose(got["interval_score"], interval_score(*triple, level=0.8))
    assert {name: got[name].attrs["units"] for name in ("rmse", "crps", "nlpd")} == {
        "rmse": "mm",
        "crps": "mm",
        "nlpd": "1",
    }


def test_score_of_the_true_function_leaves_the_noise_out(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    xr.testing.assert_identical(score(truth, prediction, noise=False), score(truth, prediction.drop_vars("noise_std")))
    assert score(truth, prediction, noise=False)["nlpd"] != score(truth, prediction)["nlpd"]


@pytest.mark.parametrize("per", ["part", "half", "zone"])
def test_score_per_group_is_the_score_of_each_group(truth: xr.DataArray, prediction: xr.Dataset, per: str) -> None:
    got = score(truth, prediction, per=per)
    labels = np.unique(truth[per])
    assert got[per].values.tolist() == labels.tolist()
    for label in labels[: 2 if per == "part" else None]:
        chosen = truth.where(truth[per] == label)
        alone = score(chosen, prediction)
        for name in ("count", "rmse", "nlpd", "crps", "coverage", "interval_score"):
            np.testing.assert_allclose(got[name].sel({per: label}), alone[name], rtol=1e-12)


def test_a_group_without_readings_has_no_score(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    empty = score(truth, prediction, per="part").sel(part="c")
    assert (int(empty["count"]), int(empty["missing"])) == (0, 4)
    assert all(np.isnan(empty[name]) for name in ("rmse", "nlpd", "crps", "coverage", "interval_score"))


def test_order_of_dims_and_labels_does_not_matter(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    shuffled = prediction.transpose("x", "part").isel(part=[2, 0, 1], x=[3, 1, 0, 2])
    xr.testing.assert_identical(score(truth, shuffled, per="part"), score(truth, prediction, per="part"))
    triple = (truth, shuffled["mean"], shuffled["std"])
    np.testing.assert_array_equal(pit(*triple), pit(truth, prediction["mean"], prediction["std"]))


def test_neither_argument_is_changed(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    before = truth.copy(deep=True), prediction.copy(deep=True)
    score(truth, prediction, per="part")
    xr.testing.assert_identical(truth, before[0])
    xr.testing.assert_identical(prediction, before[1])


def test_an_exact_model_of_noisy_readings_is_fine(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    certain = prediction.assign(std=0 * prediction["std"])
    assert score(truth, certain)["count"] == 7
    with pytest.raises(DataError, match=r"std has entries <= 0 \(smallest 0\)"):
        score(truth, certain, noise=False)


def test_score_names_what_does_not_match(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    cases = {
        r"no variable 'std'; it has \['mean', 'noise_std'\]": (truth, prediction.drop_vars("std")),
        r"mean has the dims \('part',\), truth has \('part', 'x'\)": (truth, prediction.isel(x=0)),
        r"different labels along 'x' \(\[0.0, 1.0, 3.0\]... and": (truth, prediction.isel(x=[0, 1, 3])),
        r"different labels along 'part' \(\['a', 'b', 'd'\]": (truth, prediction.assign_coords(part=["a", "b", "d"])),
        r"different labels along 'part'": (truth, prediction.assign_coords(part=["a", "b", "b"])),
        r"different labels along 'part' \(\['b', 'a', 'b'\]": (
            truth.assign_coords(part=["a", "b", "b"]),
            prediction.assign_coords(part=["b", "a", "b"]),
        ),
        r"mean has shape \(3, 3\), truth has \(3, 4\)": (
            truth.drop_vars(["x", "half", "zone"]),
            prediction.isel(x=slice(3)),
        ),
        r"noise_std has entries < 0": (truth, prediction.assign(noise_std=-prediction["noise_std"])),
        r"noise_std has 7 entries that are NaN": (truth, prediction.assign(noise_std=NAN * prediction["std"])),
    }
    for message, arguments in cases.items():
        with pytest.raises(DataError, match=message):
            score(*arguments)


def test_score_checks_units_and_groups(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    with pytest.raises(UnitsError, match="'mean' is in 'mm', truth in 'm'; convert"):
        score(truth.assign_attrs(units="m"), prediction)
    with pytest.raises(DataError, match=r"no dim or coordinate 'machine'; it has \['half', 'part', 'x', 'zone'\]"):
        score(truth, prediction, per="machine")
    with pytest.raises(DataError, match="coordinate 'half' has 3 missing labels"):
        score(truth.assign_coords(half=("x", [NAN, 1, 1, 1])), prediction, per="half")


def test_a_dim_without_labels_is_counted(truth: xr.DataArray, prediction: xr.Dataset) -> None:
    got = score(truth.drop_vars("part"), prediction.drop_vars("part"), per="part")
    assert got["part"].values.tolist() == [0, 1, 2]
    assert metrics.readings(truth, prediction).observed().y.size == 7


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=6), st.floats(0.1, 10))
def test_relative_change_doesnt_depend_on_units(errors: list[float], factor: float) -> None:
    reference = np.linspace(1.0, 2.0, len(errors))
    units = factor ** np.arange(len(errors))
    change = relative_change(errors, reference)
    np.testing.assert_allclose(change, relative_change(errors * units, reference * units), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(relative_change(factor * reference, reference), factor - 1, rtol=1e-12, atol=1e-12)
    both = np.stack([np.asarray(errors), 2 * reference])
    np.testing.assert_allclose(relative_change(both, reference), np.array([change, 1.0]), rtol=1e-12, atol=1e-12)


def test_relative_change_by_hand() -> None:
    assert float(relative_change([0.9, 2.4], [1.0, 2.0])) == pytest.approx((-0.1 + 0.2) / 2)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10))
def test_mean_ranks_are_shared_out(methods: int, tasks: int, seed: int) -> None:
    errors = np.random.default_rng(seed).integers(0, 4, size=(methods, tasks)).astype(float)
    ranks = mean_rank(errors)
    np.testing.assert_allclose(ranks.sum(), methods * (methods + 1) / 2)
    np.testing.assert_allclose(mean_rank(errors[::-1]), ranks[::-1])
    np.testing.assert_allclose(mean_rank(3 * errors + 1), ranks)  # orders are all that counts
    for k in range(methods):  # the definition: one more than those that are better, ties half
        better = (errors < errors[k]).sum(0) + ((errors == errors[k]).sum(0) - 1) / 2
        np.testing.assert_allclose(ranks[k], (better + 1).mean())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: relative_change([1.0, NAN], [1.0, 1.0]), "errors has 1 entries that are NaN, infinite or negative"),
        (lambda: relative_change([1.0, 1.0], [1.0, -1.0]), "reference has 1 entries"),
        (lambda: relative_change([1.0], [0.0]), "reference has an error of 0"),
        (lambda: relative_change([1.0, 2.0], [1.0, 2.0, 3.0]), r"errors have shape \(2,\), reference \(3,\)"),
        (lambda: relative_change(1.0, 1.0), r"errors has shape \(\)"),
        (lambda: mean_rank([1.0, 2.0]), r"errors have shape \(2,\); \(methods, tasks\) is expected"),
        (lambda: mean_rank([[1.0], [math.inf]]), "errors has 1 entries"),
    ],
)
def test_errors_that_cant_be_compared(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()


def test_scores_have_names_and_units() -> None:
    truth = xr.DataArray([1.0, 2.0, np.nan], dims="n", name="y", attrs={"units": "mm"})
    prediction = xr.Dataset({"mean": truth.fillna(0.0), "std": 0 * truth.fillna(0.0) + 1.0})
    got = score(truth, prediction, level=0.8)
    assert {str(name): (v.attrs["long_name"], v.attrs["units"]) for name, v in got.data_vars.items()} == {
        "count": ("readings used", "1"),
        "missing": ("readings left out", "1"),
        "rmse": ("root mean square error", "mm"),
        "nlpd": ("mean negative log predictive density (nats)", "1"),
        "crps": ("continuous ranked probability score", "mm"),
        "coverage": ("share inside the central 80 % interval", "1"),
        "interval_score": ("score of the central 80 % interval", "mm"),
    }
    assert (int(got["count"]), int(got["missing"]), got.attrs) == (2, 1, {"level": 0.8})


def test_masked_booleans_and_texts_are_missing() -> None:
    flags = unmasked(np.ma.MaskedArray([True, False], mask=[False, True]))
    assert flags[0] == 1.0
    assert np.isnan(flags[1])
    assert unmasked(np.ma.MaskedArray(["a", "b"], mask=[False, True])).tolist() == ["a", None]
    assert unmasked(np.ma.MaskedArray([1, 2])).dtype.kind == "i"
