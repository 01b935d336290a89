"""Models with robust sharing: outliers are found, named and left alone; the others don't suffer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brute import kriged

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, load
from surrogates.errors import DataError, FitWarning
from surrogates.gp.robust import Robust

TASKS = "abcdef"
GRID = np.linspace(0, 10, 60)


def truth(x: np.ndarray[Any, Any], task: str, outlier: str) -> np.ndarray[Any, Any]:
    """What the task called "c" does depends on the family."""
    common = np.sin(x) + 0.15 * np.cos(x + TASKS.index(task))
    if task != "c":
        return np.asarray(common)
    return np.asarray({"none": common, "scale": 3 * common, "rough": np.sin(5 * x + 1)}[outlier])


def family(outlier: str, *, n: int = 72, seed: int = 0, gauges: bool = False) -> xr.Dataset:
    generator = np.random.default_rng(seed)
    x, task = generator.uniform(0, 10, n), np.array(list(TASKS))[np.arange(n) % 6]
    y = np.array([truth(np.array(v), str(t), outlier) for v, t in zip(x, task, strict=True)])
    data = xr.Dataset({"x": ("sample", x), "y": ("sample", 5 + y + 0.03 * generator.standard_normal(n))})
    data["task"] = ("sample", task)
    if gauges:
        data["gauge"] = ("sample", np.array(["hi", "lo"])[np.arange(n) // 6 % 2])
    return data


def model(sharing: str = "robust", gauges: bool = False, **choices: Any) -> HierarchicalGP:
    fidelity = "gauge" if gauges else None
    return HierarchicalGP(Schema(inputs="x", target="y", task="task", fidelity=fidelity), sharing=sharing, **choices)


def places(task: str) -> xr.Dataset:
    return xr.Dataset({"x": ("place", GRID), "task": ("place", np.full(60, task))})


def error(fitted: FittedHierarchicalGP, task: str, outlier: str) -> float:
    mean = fitted.predict(places(task))["mean"].to_numpy()
    return float(np.sqrt(((mean - 5 - truth(GRID, task, outlier)) ** 2).mean()))


@cache
def fit(outlier: str) -> FittedHierarchicalGP:
    """Fits that several tests question; what they warn of is in their reports."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return model().fit(family(outlier))


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_a_rough_task_stands_apart_and_is_named() -> None:
    fitted = fit("rough")
    assert fitted.core.settings.apart == (2,)
    with pytest.warns(FitWarning, match="task 'c' is an outlier: shared structure hurts it"):
        model().fit(family("rough"))
    assert "stands apart, with length-scales and noise of its own" in str(fitted.report)
    assert "x (c alone)" in fitted.report.sections["length-scales"]
    correlation = fitted.task_correlation()
    assert np.abs(correlation.sel(task="c").drop_sel(task_2="c")).max() == 0
    assert correlation.sel(task="a", task_2="b") > 0.5
    common = model("common").fit(family("rough"))
    for task in "abdef":
        assert error(fitted, task, "rough") < max(0.8 * error(common, task, "rough"), 0.05)


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_a_task_apart_is_what_a_model_of_it_alone_is() -> None:
    data = family("rough")
    own = data.isel(sample=np.flatnonzero(data["task"] == "c"))
    alone = HierarchicalGP(Schema(inputs="x", target="y")).fit(own).predict(places("c")[["x"]])
    ours = fit("rough").predict(places("c"))
    assert float(np.abs(ours["mean"] - alone["mean"]).max()) < 0.3 * float(alone["std"].max())
    np.testing.assert_allclose(ours["std"].mean(), alone["std"].mean(), rtol=0.3)


def test_where_all_belong_together_none_stands_apart() -> None:
    fitted, common = fit("none"), model("common").fit(family("none"))
    assert fitted.core.settings.apart == ()
    assert not [warning for warning in fitted.report.warnings if "outlier" in warning]
    for task in TASKS:
        assert error(fitted, task, "none") < 1.3 * error(common, task, "none") + 0.01
    shares = fitted.report.sections["correlation of tasks"]
    assert shares["share of a that is common to all"].value > 0.7


def test_a_task_of_another_scale_shares_its_shape() -> None:
    fitted, common = fit("scale"), model("common").fit(family("scale"))
    sizes = {name: size.value for name, size in fitted.report.sections["amplitude of the processes"].items()}
    others = np.mean([sizes[f"of {task}"] for task in "abdef"])
    assert 1.8 < sizes["of c"] / others < 4.5
    assert fitted.core.settings.apart == ()
    for task in TASKS:
        assert error(fitted, task, "scale") < error(common, task, "scale") + 0.03


def test_hyper_parameters_are_integrated_though_there_are_many() -> None:
    assert len(fit("rough").core.mode) > 15
    assert fit("rough").report.effective_draws > 8
    assert len(fit("rough").core.weights) == 32


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
@pytest.mark.parametrize("outlier", ["scale", "rough"])
def test_neither_order_nor_labels_matter(outlier: str) -> None:
    data = family(outlier)
    order = np.random.default_rng(1).permutation(72)
    names = dict(zip(TASKS, "zxwvut", strict=True))
    renamed = data.isel(sample=order)
    renamed["task"] = ("sample", np.array([names[t] for t in renamed["task"].to_numpy().tolist()]))
    one, other = fit(outlier), model().fit(renamed)
    for task in "abc":
        ours, theirs = one.predict(places(task)), other.predict(places(names[task]))
        np.testing.assert_allclose(ours["mean"], theirs["mean"], atol=1e-6)
        np.testing.assert_allclose(ours["std"], theirs["std"], atol=1e-6)


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_units_commute_with_the_fit() -> None:
    data = family("rough")
    other = model().fit(data.assign(y=1000 * data["y"] - 7, x=data["x"] / 10))
    assert other.core.settings.apart == (2,)
    moved = xr.Dataset({"x": ("place", GRID / 10), "task": ("place", np.full(60, "c"))})
    np.testing.assert_allclose(
        other.predict(moved)["mean"], 1000 * fit("rough").predict(places("c"))["mean"] - 7, rtol=1e-5
    )


def test_predictions_are_universal_kriging_at_every_draw() -> None:
    fitted = fit("scale")
    for task in "ac":
        mean, std = kriged(fitted, family("scale"), places(task))
        answer = fitted.predict(places(task))
        np.testing.assert_allclose(answer["mean"], mean, rtol=1e-7)
        np.testing.assert_allclose(answer["std"], std, rtol=1e-6)


def test_update_is_conditioning_on_all_readings() -> None:
    more = family("scale", n=12, seed=5)
    updated = fit("scale").update(more)
    mean, std = kriged(fit("scale"), xr.concat([family("scale"), more], "sample"), places("b"))
    np.testing.assert_allclose(updated.predict(places("b"))["mean"], mean, rtol=1e-7)
    np.testing.assert_allclose(updated.predict(places("b"))["std"], std, rtol=1e-6)


def test_readings_of_a_task_apart_tell_of_it_alone() -> None:
    fitted = fit("rough")
    more = family("rough", n=120, seed=5)
    updated = fitted.update(more.isel(sample=np.flatnonzero(more["task"] == "c")))
    for task in "abdef":
        np.testing.assert_allclose(
            updated.predict(places(task))["mean"], fitted.predict(places(task))["mean"], rtol=1e-9
        )
    assert float(updated.predict(places("c"))["std"].mean()) < float(fitted.predict(places("c"))["std"].mean())


def test_a_new_task_is_refused() -> None:
    with pytest.raises(DataError, match="new task 'g': sharing='robust' learns each task's correlations; fit again"):
        fit("none").update(family("none", n=1).assign(task=("sample", ["g"])))


@pytest.mark.parametrize("outlier", ["scale", "rough"])
def test_a_file_holds_it(outlier: str, tmp_path: Path) -> None:
    fitted = fit(outlier)
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, FittedHierarchicalGP)
    assert again.core.settings == fitted.core.settings
    xr.testing.assert_identical(again.predict(places("c")), fitted.predict(places("c")))
    more = family(outlier, n=6, seed=3)
    xr.testing.assert_identical(again.update(more).predict(places("c")), fitted.update(more).predict(places("c")))


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_noise_of_a_task_apart_is_its_own_by_fidelity() -> None:
    data = family("rough", n=96, gauges=True)
    fitted = model(gauges=True).fit(data)
    assert fitted.core.settings.apart == (2,)
    at = xr.concat([places("a")[{"place": [0]}], places("c")[{"place": [0]}]], "place")
    by_level = fitted.predict(at)["noise_std"]
    assert by_level.dims == ("gauge", "place")
    assert (by_level.sel(place=0) != by_level.sel(place=1)).all()
    noise = fitted.report.sections["noise (standard deviation, unresolved detail included)"]
    for level in ("hi", "lo"):
        assert float(by_level.sel(gauge=level)[0]) == pytest.approx(noise[level].value, rel=0.05)
        assert float(by_level.sel(gauge=level)[1]) == pytest.approx(noise[f"{level} (c alone)"].value, rel=0.3)
    assert fitted.loo()["gauge"].to_numpy().tolist() == data["gauge"].to_numpy().tolist()


def test_health_of_robust_sharing() -> None:
    assert any("task 'c' is an outlier" in warning for warning in fit("rough").health().warnings)
    health = fit("rough").health().to_dataset()
    readings = fit("rough").core.scaled.readings
    core = fit("rough").core.with_readings(readings.of_tasks(np.arange(72) != 2), None)
    without = FittedHierarchicalGP(fit("rough").schema, fit("rough").vocabulary, fit("rough").report, core)
    at = family("rough")[["x", "task"]]
    moved = np.abs(without.predict(at)["mean"] - fit("rough").predict(at)["mean"])
    assert float(health["largest"][2]) == pytest.approx(float(moved.max()), rel=1e-6)
    assert float(moved[at["task"].to_numpy() != "c"].max()) == pytest.approx(0, abs=1e-9)  # it is a reading of "c"


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
@pytest.mark.parametrize("noise", ["task-fidelity", "known"])
def test_other_kinds_of_noise(noise: str) -> None:
    data = family("rough").assign(s=("sample", np.full(72, 0.03)))
    schema = Schema(inputs="x", target="y", task="task", noise="s" if noise == "known" else None)
    fitted = HierarchicalGP(schema, sharing="robust", noise=noise).fit(data)
    assert fitted.core.settings.apart == (2,)
    assert fitted.report.effective_draws > 5
    assert error(fitted, "a", "rough") < 0.1


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_any_solver_that_fits_the_pattern_can_be_asked_for() -> None:
    shared = xr.concat([places(task).isel(place=slice(0, 60, 5)) for task in "abc"], "place")
    y = np.concatenate([truth(GRID[::5], task, "rough") for task in "abc"])
    data = shared.assign(y=("place", y + 0.03 * np.random.default_rng(0).standard_normal(len(y))))
    one, other = (model(solver=solver).fit(data) for solver in ("kronecker", "dense"))
    assert one.core.settings.apart == other.core.settings.apart == (2,)
    np.testing.assert_allclose(one.predict(places("a"))["mean"], other.predict(places("a"))["mean"], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_one_task_and_tasks_with_few_places() -> None:
    data = family("none")
    one = data.isel(sample=np.flatnonzero(data["task"] == "a"))
    xr.testing.assert_allclose(model().fit(one).predict(places("a")), model("common").fit(one).predict(places("a")))
    few = data.isel(sample=np.concatenate([np.flatnonzero(data["task"] != "c"), [2]]))
    fitted = model().fit(few)
    assert fitted.core.settings.apart == ()
    assert error(fitted, "c", "none") < 1.0


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_kernels_of_ones_own_share_robustly_too() -> None:
    import gpytorch

    fitted = model(kernel=gpytorch.kernels.MaternKernel(nu=2.5), integrate=True).fit(family("scale", n=48))
    assert isinstance(fitted.core.layout.sharing, Robust)
    sizes = fitted.report.sections["amplitude of the processes"]
    assert sizes["of c"].value > 1.5 * sizes["of a"].value
