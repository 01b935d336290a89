"""`health()` of fitted models: against models that are conditioned again without a reading, and in every corner."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, as_dataset, load
from surrogates.gp import Tanimoto
from surrogates.health import HealthReport


def table(n: int = 36, *, seed: int = 0, noise: float = 0.1) -> xr.Dataset:
    """Three tasks, two gauges, some replicates."""
    generator = np.random.default_rng(seed)
    x, task = generator.uniform(0, 10, n), np.arange(n) % 3
    x[18:24], task[18:24] = x[:6], task[:6]
    gauge = generator.integers(0, 2, n)
    y = 20 + 3 * np.sin(x) + task * x / 5 + noise * (1 + 2 * gauge) * generator.standard_normal(n)
    return xr.Dataset(
        {
            "x": ("sample", x, {"units": "mm"}),
            "y": ("sample", y, {"units": "K"}),
            "s": ("sample", noise * (1.0 + 2 * gauge), {"units": "K"}),
            "part": ("sample", np.array(["a", "b", "c"])[task]),
            "gauge": ("sample", np.array(["hi", "lo"])[gauge]),
        }
    )


def model(**choices: Any) -> HierarchicalGP:
    known = {"noise": "s"} if choices.pop("known", False) else {}
    return HierarchicalGP(Schema(inputs="x", target="y", task="part", fidelity="gauge", **known), **choices)


def without(fitted: FittedHierarchicalGP, reading: int) -> FittedHierarchicalGP:
    """The same model, conditioned on all readings but one; hyper-parameters and scaling are kept."""
    readings = fitted.core.scaled.readings
    kept = readings.of_tasks(np.arange(len(readings.y)) != reading)
    return FittedHierarchicalGP(fitted.schema, fitted.vocabulary, fitted.report, fitted.core.with_readings(kept, None))


@pytest.mark.parametrize(
    "choices", [{}, {"sharing": "two-kernels"}, {"sharing": "icm"}, {"trend": "constant", "integrate": False}]
)
def test_shifts_are_changes_of_predictions(choices: dict[str, Any]) -> None:
    """Of the public mean, averaged over the draws of the hyper-parameters, at all distinct places that were read."""
    data = table()
    fitted = model(**choices).fit(data)
    health = fitted.health().to_dataset()
    places = data[["x", "part"]].isel(sample=np.unique(fitted.core.problem.collapsed.row, return_index=True)[1])
    full = fitted.predict(places)["mean"]
    for r in (0, 7, 20, 35):
        moved = (without(fitted, r).predict(places)["mean"] - full).to_numpy()
        assert float(health["shift"][r]) == pytest.approx(np.sqrt((moved**2).mean()), rel=1e-6)
        assert float(health["largest"][r]) == pytest.approx(np.abs(moved).max(), rel=1e-6)
        left_out = without(fitted, r).predict(data[["x", "part"]].isel(sample=[r]))["mean"]
        if not choices.get("integrate", True):
            assert float(health["mean"][r]) == pytest.approx(float(left_out[0]), rel=1e-9)


def test_influence_is_a_move_in_standard_deviations() -> None:
    data = table()
    fitted = model(integrate=False).fit(data)
    influence = fitted.health().to_dataset()["influence"]
    everywhere = xr.Dataset({"x": ("x", np.linspace(-2, 12, 60), {"units": "mm"})}).assign_coords(
        part=("part", ["a", "b", "c"])
    )
    for r in (0, 7, 20, 35):
        left = without(fitted, r)
        for at in (data[["x", "part"]].isel(sample=[r]), everywhere):
            before, after = left.predict(at), fitted.predict(at)
            moved = float((np.abs(after["mean"] - before["mean"]) / before["std"]).max())
            assert moved <= float(influence[r]) * (1 + 1e-6)
            if at is not everywhere:
                assert moved == pytest.approx(float(influence[r]), rel=1e-6)


def test_effective_parameters_lie_between_those_of_the_trends_and_of_an_interpolator() -> None:
    exact = table(noise=0.0).isel(sample=[k for k in range(36) if not 18 <= k < 24])
    interpolator = model(known=True).fit(exact).health()
    assert float(interpolator.data["effective_parameters"]) == pytest.approx(30, abs=1e-3)
    assert any("it interpolates" in warning for warning in interpolator.warnings)
    data = model().fit(table()).health().data
    assert 6 < float(data["effective_parameters"]) < 24
    total = float(data["effective_parameters"])
    for kind in ("task", "fidelity", "cell"):
        assert float(data[f"{kind}_effective_parameters"].sum()) == pytest.approx(total)


def test_exact_readings_influence_others_though_no_fitted_value_moves() -> None:
    exact = table(noise=0.0).isel(sample=[k for k in range(36) if not 18 <= k < 24])
    fitted = model(known=True, integrate=False, kernel="matern32").fit(exact)
    data = fitted.health().data
    for r in (3, 11, 29):
        at = exact[["x", "part"]].isel(sample=[r])
        before = without(fitted, r).predict(at)
        moved = float(np.abs(exact["y"][r] - before["mean"][0]) / before["std"][0])
        assert float(data["influence"][r]) == pytest.approx(moved, rel=1e-4)
        assert float(data["largest"][r]) == pytest.approx(float(np.abs(exact["y"][r] - before["mean"][0])), rel=1e-4)


def test_a_repeat_of_an_exact_reading_moves_nothing() -> None:
    exact = table(noise=0.0)
    health = model(known=True).fit(exact).health()
    assert int(health.data["count"]) == 24
    assert float(health.data["influence"][18]) == 0.0
    assert float(health.data["effective_parameters"]) == pytest.approx(30, abs=1e-3)


@pytest.mark.parametrize("known", [False, True])
def test_health_after_update_is_that_of_all_readings(known: bool) -> None:
    data, more = table(), table(36, seed=1).isel(sample=slice(9))
    updated = model(known=known).fit(data).update(more)
    health = updated.health().to_dataset()
    assert health.sizes["reading"] == 45
    both = xr.concat([data, more], "sample")
    places = both[["x", "part"]].isel(sample=np.unique(updated.core.problem.collapsed.row, return_index=True)[1])
    if not known:  # with a nugget, predictions at a place include it
        moved = (without(updated, 40).predict(places)["mean"] - updated.predict(places)["mean"]).to_numpy()
        assert float(health["shift"][40]) == pytest.approx(np.sqrt((moved**2).mean()), rel=1e-6)


def test_health_survives_a_file(tmp_path: Path) -> None:
    fitted = model().fit(table())
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert isinstance(again, FittedHierarchicalGP)
    xr.testing.assert_identical(again.health().to_dataset(), fitted.health().to_dataset())


def test_health_does_not_depend_on_the_order_of_readings() -> None:
    data = table()
    order = np.random.default_rng(3).permutation(36)
    one, other = (model().fit(d).health().to_dataset() for d in (data, data.isel(sample=order)))
    for name in ("influence", "leverage", "shift", "std"):
        np.testing.assert_allclose(one[name].to_numpy()[order], other[name], rtol=1e-6, atol=1e-9)
    for name in ("pit_p", "too_large_p", "effective_readings", "effective_parameters", "condition"):
        assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-6)


def test_units_commute_with_health() -> None:
    data = table()
    thousand = data.assign(y=1000 * data["y"], x=data["x"] / 10)
    one, other = (model().fit(d).health().to_dataset() for d in (data, thousand))
    np.testing.assert_allclose(1000 * one["shift"], other["shift"], rtol=1e-6)
    np.testing.assert_allclose(one["influence"], other["influence"], rtol=1e-6)
    assert 1000 * float(one["crps"]) == pytest.approx(float(other["crps"]), rel=1e-6)


def complete(health: HealthReport) -> None:
    """All three forms can be made."""
    import matplotlib.pyplot as plt

    assert str(health).startswith("health of the model of 'y'")
    assert set(health.to_dataset().dims) >= {"reading", "level", "task", "fidelity"}
    plt.close(health.plot())


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
@pytest.mark.parametrize(
    "data",
    [
        table().isel(sample=[0]),
        table().isel(sample=[0, 4]),
        table(36).assign(y=("sample", np.full(36, 3.0))),
        table(36).isel(sample=slice(0, 36, 3)),
    ],
    ids=["one reading", "two readings", "constant", "one task"],
)
def test_little_or_dull_data_have_a_health_too(data: xr.Dataset) -> None:
    complete(model().fit(data).health())


@pytest.mark.filterwarnings("ignore::surrogates.errors.FitWarning")
def test_tasks_without_enough_places_for_a_trend() -> None:
    data = table()
    poor = data.isel(sample=[k for k in range(36) if data["part"].to_numpy()[k] != "c" or k < 3])
    fitted = model(integrate=False).fit(poor)
    health = fitted.health().data
    assert np.isfinite(health["influence"]).all()
    complete(fitted.health())


def test_paper_mode_has_scores_but_no_influence() -> None:
    health = model(sharing="niw").fit(table()).health()
    assert "influence" not in health.data
    assert float(health.data["effective_readings"]) == 36
    complete(health)


def test_kernels_of_ones_own_and_counts_have_a_health() -> None:
    import gpytorch

    complete(model(kernel=gpytorch.kernels.RBFKernel()).fit(table(24)).health())
    generator = np.random.default_rng(0)
    counts = generator.poisson(1.0, (24, 12)).astype(np.float64)
    data = xr.Dataset({"c": (("sample", "bit"), counts), "y": ("sample", counts @ generator.normal(size=12))})
    fitted = HierarchicalGP(Schema(inputs="c", target="y"), kernel=Tanimoto(("c",)), trend="constant").fit(data)
    complete(fitted.health())


def test_a_gross_error_is_found_and_named() -> None:
    data = table(120)
    data["y"][5] += 4.0
    health = model().fit(data).health()
    assert "reading 5 (part c" in "\n".join(health.warnings)


def test_health_costs_little() -> None:
    """About three evaluations with gradient for every draw: well below the fit, which makes none of it."""
    data = table(150)
    begin = time.process_time()
    fitted = model().fit(data)
    fit = time.process_time() - begin
    fitted.health()
    begin = time.process_time()
    fitted.core.smoothing()
    assert time.process_time() - begin < 3 * fit


def test_tasks_with_shared_places_have_influences_too() -> None:
    x = np.tile(np.linspace(0, 1, 9), 3)
    noise = np.random.default_rng(0).normal(0, 0.1, 27)
    data = as_dataset(x, np.sin(5 * x) + noise, inputs=["x"], task=np.repeat(["a", "b", "c"], 9))
    schema = Schema(inputs="x", target="y", task="task")
    quick, dense = (HierarchicalGP(schema, solver=solver).fit(data) for solver in ("rotation", "dense"))
    assert quick.report.solver == "rotation"
    found, wanted = quick.health().to_dataset(), dense.health().to_dataset()
    for name in ("influence", "effective_parameters"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3)
