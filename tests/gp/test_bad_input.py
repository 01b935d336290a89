"""What a user may hand in by mistake or by necessity, through the public names only."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gpytorch
import numpy as np
import pytest
import xarray as xr
from tables import AT, DATA, GAUGED, MODEL, NOISY, SCHEMA, assert_close, observed, with_units

from surrogates import FittedHierarchicalGP, HierarchicalGP, InducingGP, MultiFidelityGP, Schema, as_dataset, load
from surrogates.errors import DataError, FileFormatError, FitWarning, UnitsError

TWO = Schema(inputs=("x", "z"), target="y", task="task")


@pytest.fixture(scope="module")
def fitted() -> FittedHierarchicalGP:
    return MODEL.fit(DATA)


def assert_sensible(prediction: xr.Dataset) -> None:
    assert set(prediction) == {"mean", "std", "noise_std"}
    for name in prediction:
        assert np.isfinite(prediction[name]).all()
    assert (prediction["std"] >= 0).all()
    assert (prediction["noise_std"] >= 0).all()


def test_answers_whose_names_the_data_have_already(fitted: FittedHierarchicalGP) -> None:
    """xarray's own words are of data_vars and merging; these name the variable and what to do."""
    with pytest.raises(DataError, match=r"\['std'\] are names of what predict gives, and of coordinates here; rename"):
        fitted.predict(AT.assign_coords(std=1.0))
    odd = HierarchicalGP(Schema("residual", "y", task="task"), integrate=False).fit(DATA.rename(x="residual"))
    assert_sensible(odd.predict(AT.rename(x="residual")))
    with pytest.raises(DataError, match=r"\['residual'\] are names of what loo gives"):
        odd.loo()
    with pytest.raises(DataError, match=r"\['d_std'\] are names of what gradient gives"):
        fitted.gradient(AT.assign_coords(d_std=1.0))


@pytest.mark.parametrize("seed", [-1, None, 0.5])
def test_seeds_are_natural_numbers(fitted: FittedHierarchicalGP, seed: Any) -> None:
    models = MODEL, InducingGP(Schema("x", "y")), MultiFidelityGP(SCHEMA)
    calls = [*(partial(model.fit, DATA) for model in models), partial(fitted.sample, AT, 1)]
    for call in calls:
        with pytest.raises(DataError, match=f"seed is {seed}; it must be an integer >= 0"):
            call(seed=seed)


def test_numpy_numbers_are_numbers() -> None:
    numbers: dict[str, Any] = {"rank": np.int64(1), "inducing": np.int64(3)}
    model = HierarchicalGP(SCHEMA, sharing="icm", **numbers)
    assert (type(model.rank), type(model.inducing)) == (int, int)
    with pytest.raises(DataError, match="rank is True; it must be an integer >= 1"):
        HierarchicalGP(SCHEMA, rank=True)


# --- numbers and labels that aren't there ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_must_be_finite(fitted: FittedHierarchicalGP, value: float) -> None:
    x = DATA["x"].copy()
    x[3] = value
    with pytest.raises(DataError, match=rf"'x' has 1 entries that are NaN or inf \(first: {value} at row 3"):
        MODEL.fit(DATA.assign(x=x))
    for ask in (fitted.predict, fitted.gradient, fitted.covariance, fitted.update):
        with pytest.raises(DataError, match="'x' has 1 entries that are NaN or inf"):
            ask(DATA.assign(x=x))
    with pytest.raises(DataError, match="'x' has 1 entries that are NaN or inf"):
        fitted.sample(DATA.assign(x=x), 2, seed=0)


def test_an_infinite_target_is_refused() -> None:
    y = DATA["y"].copy()
    y[0] = np.inf
    with pytest.raises(DataError, match="'y' has 1 entries that are NaN or inf"):
        MODEL.fit(DATA.assign(y=y))


def test_a_task_without_any_observation_is_no_part_of_the_model() -> None:
    data = observed(15, tasks="abc")
    data["y"] = data["y"].where(data["task"] != "b")
    with pytest.warns(FitWarning, match="task 'b' has no observed 'y': it is not part of the model"):
        model = MODEL.fit(data)
    assert model.report.warnings == ("task 'b' has no observed 'y': it is not part of the model",)
    assert model.report.tasks == 2
    others = data.isel(sample=data["task"].values != "b")
    assert_sensible(model.predict(others))
    xr.testing.assert_identical(model.predict(others), MODEL.fit(others).predict(others))
    with pytest.raises(DataError, match=r"unknown task 'b'; the model knows 'a', 'c'; .*update for a new task"):
        model.predict(data)


def test_unknown_labels_are_refused() -> None:
    model = HierarchicalGP(GAUGED, integrate=False).fit(DATA)
    with pytest.raises(DataError, match="unknown task 'z'; the model knows 'a', 'b'"):
        model.predict(AT.assign(task=("sample", list("azabab"))))
    with pytest.raises(DataError, match=r"unknown fidelity 'top'; the model knows 'hi', 'lo'.*fit for a new fidelity"):
        model.predict(AT.assign(fidelity=("sample", ["top"] * 6)))
    with pytest.raises(DataError, match="unknown fidelity 'top'"):
        model.update(DATA.assign(fidelity=("sample", ["top"] * 14)))


@pytest.mark.parametrize("name", ["x", "task"])
def test_a_variable_that_is_missing(fitted: FittedHierarchicalGP, name: str) -> None:
    with pytest.raises(DataError, match=f"the data have no variable '{name}'; they have"):
        MODEL.fit(DATA.drop_vars(name))
    with pytest.raises(DataError, match=f"the data have no variable '{name}'; they have"):
        fitted.predict(AT.drop_vars(name))


def test_no_data_at_all(fitted: FittedHierarchicalGP) -> None:
    for nothing in (DATA.isel(sample=[]), DATA.assign(y=DATA["y"] * np.nan)):
        with pytest.raises(DataError, match=r"no observation: the target 'y' has .* a fit needs at least one"):
            MODEL.fit(nothing)
        with pytest.raises(DataError, match="no observation"):
            fitted.update(nothing)


# --- hardly any data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trend", ["none", "constant", "linear", "quadratic"])
@pytest.mark.parametrize("sharing", ["common", "two-kernels", "icm", "niw"])
def test_a_single_observation(sharing: str, trend: str) -> None:
    with pytest.warns(FitWarning, match="there is a single observation: all but the value there rests on priors"):
        model = HierarchicalGP(SCHEMA, sharing=sharing, trend=trend).fit(
            as_dataset([0.3], [2.0], inputs=["x"], task=["a"])
        )
    prediction = model.predict(as_dataset([0.3, 0.5, 99.0], inputs=["x"], task=["a"] * 3))
    assert_sensible(prediction)
    assert float(prediction["mean"][0]) == pytest.approx(2.0, abs=1e-9)
    assert float(prediction["std"][0]) < float(prediction["std"][2])
    left_out = model.loo()
    assert left_out.sizes["reading"] == 1
    assert "leave-one-out" in str(model.report)


def test_a_single_observation_without_any_task() -> None:
    with pytest.warns(FitWarning, match="single observation"):
        model = HierarchicalGP(Schema(inputs=("x",), target="y")).fit(as_dataset([0.3], [2.0], inputs=["x"]))
    assert_sensible(model.predict(as_dataset([0.3, 0.5], inputs=["x"])))


@pytest.mark.parametrize("sharing", ["common", "two-kernels", "icm", "niw"])
def test_a_task_with_fewer_points_than_trend_columns(sharing: str) -> None:
    """It gets its trend from the others: within their range and wider than theirs."""
    poor = as_dataset([0.4], [2.5], inputs=["x"], task=["c"]).assign(fidelity=("sample", ["lo"]))
    with pytest.warns(FitWarning, match=r"too few places to determine the trend of 1 task \(c\): it gets a prior from"):
        model = HierarchicalGP(SCHEMA, sharing=sharing).fit(xr.concat([DATA, poor], "sample"))
    at = as_dataset(np.linspace(0, 1, 11), inputs=["x"])
    of = {task: model.predict(at.assign(task=("sample", [task] * 11))) for task in "ac"}
    assert_sensible(of["c"])
    assert abs(float(of["c"]["mean"][4]) - 2.5) < 0.3
    assert np.abs(of["c"]["mean"] - of["c"]["mean"][4]).max() < 4
    assert (of["c"]["std"] > of["a"]["std"]).mean() > 0.5


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_task_with_as_many_points_as_trend_columns() -> None:
    """Two close places would give a wild slope: the trend gets a prior from the others, so that either can be left out."""
    close = as_dataset([0.5, 0.52], [3.0, 3.2], inputs=["x"], task=["c", "c"]).assign(fidelity=("sample", ["lo"] * 2))
    with pytest.warns(FitWarning, match=r"too few places to determine the trend of 1 task \(c\)"):
        model = MODEL.fit(xr.concat([DATA, close], "sample"))
    assert_sensible(model.predict(close))
    assert np.isfinite(model.loo()["mean"].values).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_readings_without_which_a_trend_is_undetermined() -> None:
    """Left out, such a reading can't be predicted: NaN, and no score."""
    data = as_dataset([0.1, 0.9, 0.2, 0.5, 0.8], [3.0, 4.0, 1.0, 1.5, 1.7], inputs=["x"], task=list("aabbb"))
    model = HierarchicalGP(Schema("x", "y", task="task"), integrate=False).fit(data)
    left_out = model.loo()
    assert np.isnan(left_out["mean"].values).tolist() == [True, True, False, False, False]
    assert np.isnan(left_out["std"].values).tolist() == [True, True, False, False, False]
    assert np.isfinite(list(model.report.loo.values())).all()


def test_a_trend_that_takes_up_every_observation_is_no_certainty() -> None:
    data = as_dataset([0.3, 0.6, 0.2, 0.9], [2.0, 3.0, 5.0, 4.0], inputs=["x"], task=list("aabb"))
    with pytest.warns(FitWarning, match="the trend takes up every observation: amplitude and noise rest on priors"):
        model = MODEL.fit(data)
    prediction = model.predict(data)
    assert_sensible(prediction)
    assert float(prediction["std"].min()) > 0.02
    assert model.report.loo == {}
    assert np.isnan(model.loo()["mean"]).all()


# --- repeated and constant data --------------------------------------------------------------------------------------


def doubled() -> xr.Dataset:
    """Every reading twice, one apart."""
    return xr.concat([DATA, DATA.assign(y=DATA["y"] + 1)], "sample").assign(s=("sample", np.zeros(28)))


def test_noise_free_readings_that_contradict_each_other() -> None:
    words = "14 places hold different readings with zero known noise, which contradict each other; give them a noise"
    with pytest.raises(DataError, match=words):
        HierarchicalGP(NOISY).fit(doubled())


def test_repeats_with_learnt_noise_are_averaged() -> None:
    prediction = MODEL.fit(doubled()).predict(DATA)
    assert_sensible(prediction)
    assert float(np.abs(prediction["mean"] - DATA["y"] - 0.5).max()) < 0.5
    assert float(prediction["noise_std"][0]) == pytest.approx(np.sqrt(0.5), rel=0.3)


def test_noise_free_readings_that_agree_are_one_reading() -> None:
    """But for the target's scale, whose degrees of freedom count readings, and with it the weak priors."""
    once = DATA.assign(s=("sample", np.zeros(14)))
    model = HierarchicalGP(NOISY, integrate=False)
    twice = model.fit(xr.concat([once, once], "sample"))
    assert (twice.report.readings, twice.report.rows) == (28, 14)
    assert_close(twice.predict(AT), model.fit(once).predict(AT), rtol=0.02)
    assert float(twice.loo()["std"].max()) < 1e-12


@pytest.mark.parametrize("value", [5.0, 0.0, -3e12])
def test_a_constant_target(value: float) -> None:
    with pytest.warns(FitWarning, match="the target never varies: amplitude and noise rest on priors alone"):
        prediction = MODEL.fit(DATA.assign(y=DATA["y"] * 0 + value)).predict(AT)
    assert_sensible(prediction)
    np.testing.assert_allclose(prediction["mean"], value, rtol=1e-9, atol=1e-9)
    assert float(prediction["std"].max()) <= max(abs(value), 1.0)


def test_an_input_that_never_varies_changes_nothing(fitted: FittedHierarchicalGP) -> None:
    """Beside one that does: predictions there are those without it, but for the draws of one more length-scale."""
    with pytest.warns(FitWarning, match="input 'z' never varies: its influence can't be learnt"):
        model = HierarchicalGP(TWO, integrate=False).fit(DATA.assign(z=7.0))
    plain = HierarchicalGP(SCHEMA, integrate=False).fit(DATA)
    assert_close(model.predict(AT.assign(z=7.0)), plain.predict(AT), rtol=1e-6)
    away = model.predict(AT.assign(z=9.0))
    assert_sensible(away)
    assert (away["std"] > plain.predict(AT)["std"]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_only_one_place_for_everything() -> None:
    with pytest.warns(FitWarning, match="input 'x' never varies"):
        model = MODEL.fit(DATA.assign(x=DATA["x"] * 0 + 0.5))
    prediction = model.predict(AT.assign(x=AT["x"] * 0 + 0.5))
    assert_sensible(prediction)
    for task in "ab":
        mean = float(DATA["y"].values[DATA["task"].values == task].mean())
        got = prediction["mean"].values[AT["task"].values == task]
        np.testing.assert_allclose(got, mean, atol=0.6 / np.sqrt(7))


# --- sizes and kinds of numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("integrate", [True, False])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_targets_size_does_not_matter(factor: float, integrate: bool) -> None:
    model = HierarchicalGP(SCHEMA, integrate=integrate)
    plain, scaled = model.fit(DATA), model.fit(DATA.assign(y=factor * DATA["y"]))
    assert_close(scaled.predict(AT), plain.predict(AT), scale=factor)


@pytest.mark.parametrize("integrate", [True, False])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_inputs_size_does_not_matter(factor: float, integrate: bool) -> None:
    model = HierarchicalGP(SCHEMA, integrate=integrate)
    plain, scaled = model.fit(DATA), model.fit(DATA.assign(x=factor * DATA["x"]))
    assert_close(scaled.predict(AT.assign(x=factor * AT["x"])), plain.predict(AT))


@pytest.mark.parametrize("kind", [">f8", "f4", ">f4", "O"])
def test_other_kinds_of_floats_are_the_numbers_they_hold(kind: str) -> None:
    given = DATA.assign(x=DATA["x"].astype(kind), y=DATA["y"].astype(kind))
    same = DATA.assign(x=given["x"].astype("f8"), y=given["y"].astype("f8"))
    xr.testing.assert_identical(MODEL.fit(given).predict(AT), MODEL.fit(same).predict(AT))


@pytest.mark.parametrize("kind", ["i2", ">i8", "u1"])
def test_whole_numbers(kind: str) -> None:
    whole = DATA.assign(x=(100 * DATA["x"]).round(), y=(20 * DATA["y"] + 40).round())
    given = whole.assign(x=whole["x"].astype(kind), y=whole["y"].astype(kind))
    at = AT.assign(x=(100 * AT["x"]).round())
    asked = at.assign(x=at["x"].astype(kind))
    xr.testing.assert_equal(MODEL.fit(given).predict(asked), MODEL.fit(whole).predict(at))


# --- units -----------------------------------------------------------------------------------------------------------


def test_units_are_converted_or_refused() -> None:
    model = MODEL.fit(with_units(DATA, x="mm", y="degC"))
    at = with_units(AT, x="mm")
    prediction = model.predict(at)
    assert prediction["mean"].attrs["units"] == prediction["noise_std"].attrs["units"] == "degC"
    metres = with_units(AT.assign(x=AT["x"] / 1000), x="m")
    assert_close(model.predict(metres), prediction, rtol=1e-12)
    with pytest.raises(UnitsError, match="'x' is in 's', which can't be converted to 'mm'"):
        model.predict(with_units(AT, x="s"))
    with pytest.raises(UnitsError, match="'x' has no units, but the model knows it in 'mm'"):
        model.predict(AT)
    with pytest.raises(UnitsError, match="'y' has no units, but the model knows it in 'degC'"):
        model.update(with_units(DATA, x="mm"))


def test_units_of_known_noise_must_fit_the_target() -> None:
    data = DATA.assign(s=("sample", np.full(14, 0.05)))
    model = HierarchicalGP(NOISY, integrate=False)
    plain = model.fit(with_units(data, y="degC", s="degC")).predict(AT)
    assert_close(model.fit(with_units(data, y="degC", s="K")).predict(AT), plain)
    assert_close(model.fit(with_units(data.assign(s=data["s"] * 1.8), y="degC", s="degF")).predict(AT), plain)
    with pytest.raises(UnitsError, match="'s' is in 'mm', which can't be converted to 'degC'"):
        model.fit(with_units(data, y="degC", s="mm"))


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_that_hold_no_model(fitted: FittedHierarchicalGP, tmp_path: Path) -> None:
    path = tmp_path / "model"
    fitted.save(path)
    whole = path.read_bytes()
    for cut in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError, match=r"is damaged: .*save the model again|is not a saved surrogate"):
            load(path)
    flipped = bytearray(whole)
    flipped[-9] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(FileFormatError, match="is damaged: its content doesn't match its SHA-256 digest"):
        load(path)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(FileFormatError, match=r"is not a saved surrogate; it looks like a zip archive"):
        load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")


# --- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"kernel": "cubic"}, r"kernel 'cubic' is unknown; choose one of \['matern12', .*\] or pass a gpytorch kernel"),
        ({"kernel": 3}, "kernel is 3; give one of .* or a gpytorch.kernels.Kernel"),
        ({"sharing": "all"}, r"sharing is 'all'; choose one of \('common', 'two-kernels', 'icm', 'niw', 'robust'\)"),
        ({"noise": "white"}, r"noise is 'white'; choose one of \('auto', .*\)"),
        ({"noise": "known"}, r"noise='known', but the schema names no noise variable; give Schema\(noise=...\) one"),
        (
            {"solver": "cg"},
            r"solver is 'cg'; choose one of \('auto', 'dense', 'woodbury', 'rotation', 'kronecker', 'inducing'\)",
        ),
        ({"trend": "cubic"}, r"trend is 'cubic'; choose one of \('none', .*\) or pass a function \(n, d\) -> \(n, p\)"),
        ({"trend": 3}, "trend is 3; choose one of"),
        ({"rank": 0}, "rank is 0; it must be an integer >= 1"),
        ({"rank": 1.5}, "rank is 1.5; it must be an integer >= 1"),
        ({"integrate": "yes"}, "integrate is 'yes'; it must be True, False or None"),
        ({"sharing": "niw", "integrate": True}, "sharing='niw' plugs its hyper-parameters in"),
        (
            {"kernel": gpytorch.kernels.PeriodicKernel(), "sharing": "niw"},
            "sharing='niw' works with the named kernels only; use 'common' or 'icm'",
        ),
    ],
    ids=str,
)
def test_wrong_configurations_cannot_be_built(choice: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        HierarchicalGP(SCHEMA, **choice)


@pytest.mark.parametrize(
    ("solver", "changes", "usable"),
    [
        ("rotation", {}, r"\('woodbury', 'dense'\)"),
        ("kronecker", {}, r"\('woodbury', 'dense'\)"),
        ("woodbury", {"sharing": "icm"}, r"\('dense',\)"),
        ("rotation", {"schema": Schema(inputs=("x",), target="y")}, r"\('dense',\)"),
    ],
)
def test_a_solver_that_is_not_exact_for_the_data(solver: str, changes: dict[str, Any], usable: str) -> None:
    """Every task has places of its own here."""
    model = HierarchicalGP(**{"schema": SCHEMA, "solver": solver, **changes})
    with pytest.raises(DataError, match=f"solver '{solver}' isn't exact for this pattern of data; .* use {usable}"):
        model.fit(DATA)


def test_a_trend_function_of_the_wrong_shape() -> None:
    with pytest.raises(DataError, match=r"the trend function gave shape \(14,\) for 14 points; wanted finite columns"):
        HierarchicalGP(SCHEMA, trend=lambda x: x[:, 0]).fit(DATA)
