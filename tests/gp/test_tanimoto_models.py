"""Models with vectors as inputs: answers against dense algebra, invariances, storage, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from counted import SCHEMA, Reference, model, table

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema, load
from surrogates.errors import DataError, UnitsError
from surrogates.gp import Tanimoto
from surrogates.gp.crossed import crossed_moments
from surrogates.gp.process import Conditioned

SETTINGS: dict[str, dict[str, Any]] = {
    "icm": {},
    "common": {"sharing": "common"},
    "two kernels": {"sharing": "two-kernels"},
    "counts alone": {"smooth": False},
    "one noise": {"noise": "fidelity"},
}


def requested(things: int = 7, **choices: Any) -> xr.Dataset:
    """Places to predict at, one of which is in the table."""
    at = table(things, seed=9, **choices).drop_vars("value")
    for name in ("parts", "traits"):
        at[name][0] = table(**choices)[name][0]
    return at


def largest_difference(one: xr.Dataset, other: xr.Dataset) -> float:
    return max(float(np.abs(one[n] - other[n]).max()) for n in ("mean", "std", "noise_std"))


@pytest.mark.parametrize("name", SETTINGS)
def test_predictions_are_the_dense_posterior(name: str) -> None:
    data, at = table(), requested()
    fitted = model(**SETTINGS[name]).fit(data)
    θ = fitted.core.mode
    mean, covariance = Reference(fitted, data).posterior(θ, at)
    answer = fitted.predict(at)
    assert answer["mean"].dims == ("thing", "property")
    assert answer["mean"].attrs["units"] == "eV"
    np.testing.assert_allclose(answer["mean"].values.ravel(), mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(answer["std"].values.ravel(), np.sqrt(np.diag(covariance)), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(fitted.covariance(at), covariance, rtol=1e-7, atol=1e-8)
    noise = fitted.core.scaled.target.spread * np.exp(0.5 * fitted.core.layout.split(θ).log_noise)
    np.testing.assert_allclose(answer["noise_std"], np.broadcast_to(noise, (7, 3)))


def test_a_single_property_needs_no_task() -> None:
    data = table(tasks=1)
    plain = data.isel(property=0, drop=True)
    schema = Schema(inputs=("parts", "traits"), target="value")
    fitted = HierarchicalGP(schema, kernel=Tanimoto("parts", "traits"), trend="constant", integrate=False).fit(plain)
    at = requested(tasks=1)
    mean, covariance = model("common").fit(data).predict(at), fitted.predict(at.drop_vars("property"))
    np.testing.assert_allclose(mean["mean"][:, 0], covariance["mean"], rtol=1e-9)
    np.testing.assert_allclose(mean["std"][:, 0], covariance["std"], rtol=1e-9)


def test_a_place_asked_for_many_tasks_is_worked_out_once() -> None:
    """The shared road gives what each (place, task) gives by itself."""
    fitted = model().fit(table())
    question = fitted.core.asked(fitted.schema.encode_points(requested(), fitted.vocabulary))
    (process,) = question.processes
    assert isinstance(process, Conditioned)
    one, other = crossed_moments(process, *question[:2]), process.moments(*question[:2])
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(one.variance, other.variance, rtol=1e-9, atol=1e-12)


def test_order_of_things_properties_and_bits_is_of_no_account() -> None:
    data, at = table(), requested()
    turned = data.isel(thing=slice(None, None, -1), property=[2, 0, 1], bit=[3, 1, 0, 6, 5, 2, 4])
    one = model().fit(data).predict(at)
    other = model().fit(turned).predict(at.isel(bit=[3, 1, 0, 6, 5, 2, 4]))
    assert largest_difference(one, other) < 1e-6


def test_missing_values_are_rows_that_are_not_there() -> None:
    """A grid with NaN, and a long table of the values that are there."""
    data, at = table(), requested()
    long = data.stack(reading=("thing", "property")).dropna("reading", subset=["value"]).reset_index("reading")
    one, other = model().fit(data), model().fit(long.transpose("reading", ...))
    assert largest_difference(one.predict(at), other.predict(at)) < 1e-9
    # a thing without any value says nothing, not even of how much traits vary
    more = xr.concat([data, requested(4).assign(value=(("thing", "property"), np.full((4, 3), np.nan)))], "thing")
    assert largest_difference(one.predict(at), model().fit(more).predict(at)) < 1e-9


def test_units_and_scales_are_of_no_account() -> None:
    data, at = table(), requested()
    scaled = data.assign(value=1000 * data["value"] + 7, traits=data["traits"] * [1e3, 1e-3, 1] - 40)
    one = model().fit(data).predict(at)
    other = model().fit(scaled).predict(at.assign(traits=at["traits"] * [1e3, 1e-3, 1] - 40))
    np.testing.assert_allclose(other["mean"], 1000 * one["mean"] + 7, rtol=1e-5)
    np.testing.assert_allclose(other["std"], 1000 * one["std"], rtol=1e-4)


def test_draws_have_the_posterior_s_moments() -> None:
    data, at = table(), requested(3)
    fitted = model().fit(data)
    draws = fitted.sample(at, 4000, seed=1)
    assert draws.dims == ("draw", "thing", "property")
    flat, covariance = draws.values.reshape(4000, -1), fitted.covariance(at).values
    spread = np.sqrt(np.diag(covariance))
    error = (flat.mean(axis=0) - fitted.predict(at)["mean"].values.ravel()) / (spread / np.sqrt(4000))
    assert np.abs(error).max() < 5
    correlation = np.corrcoef(flat.T) - covariance / np.outer(spread, spread)
    assert np.abs(correlation).max() < 5 / np.sqrt(4000)


def test_left_out_predictions_are_those_without_the_reading() -> None:
    data = table(10)
    fitted = model().fit(data)
    left, reference, θ = fitted.loo(), Reference(fitted, data), fitted.core.mode
    assert set(left.coords) == {"property"}
    rows = np.argwhere(np.isfinite(data["value"].values))
    for reading in (0, 7, len(rows) - 1):
        thing, task = rows[reading]
        without = data.copy(deep=True)
        without["value"][thing, task] = np.nan
        rest = Reference(fitted, without, fitted_on=reference.fitted_on)
        mean, covariance = rest.posterior(θ, data.isel(thing=[thing]))
        noise = fitted.core.scaled.target.spread**2 * np.exp(fitted.core.layout.split(θ).log_noise[task])
        assert float(left["mean"][reading]) == pytest.approx(mean[task], rel=1e-7)
        assert float(left["std"][reading]) == pytest.approx(np.sqrt(covariance[task, task] + noise), rel=1e-7)


def test_an_update_is_joint_conditioning() -> None:
    """With new things, and with more values of known ones; the traits' statistics stay those of the fit."""
    data, at = table(), requested()
    fitted = model().fit(data)
    more = xr.concat([table(5, seed=4), table(missing=0.0).isel(thing=[2, 3])], "thing")
    updated = fitted.update(more)
    things = data.isel(thing=data["value"].notnull().any("property").to_numpy())
    union = Reference(fitted, xr.concat([data, more], "thing"), fitted_on=things)
    # a property read again has two readings of one value: the reference has them as rows of their own
    mean, covariance = union.posterior(fitted.core.mode, at)
    answer = updated.predict(at)
    np.testing.assert_allclose(answer["mean"].values.ravel(), mean, rtol=1e-7)
    np.testing.assert_allclose(answer["std"].values.ravel(), np.sqrt(np.diag(covariance)), rtol=1e-6)
    assert updated.report.readings == fitted.report.readings + int(np.isfinite(more["value"]).sum())


def test_task_correlation_is_that_of_the_coregionalisation() -> None:
    fitted = model().fit(table())
    A = fitted.core.mode[2:8].reshape(3, 2)
    B = A @ A.T + np.diag(np.exp(fitted.core.mode[8:11]))
    expected = B / np.sqrt(np.outer(np.diag(B), np.diag(B)))
    np.testing.assert_allclose(fitted.task_correlation(), expected)
    assert list(fitted.task_correlation()["property"].values) == ["a", "b", "c"]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_saved_model_gives_every_answer(name: str, tmp_path: Path) -> None:
    fitted, at = model(**SETTINGS[name]).fit(table()), requested()
    fitted.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert isinstance(back, FittedHierarchicalGP)
    xr.testing.assert_identical(back.predict(at), fitted.predict(at))
    xr.testing.assert_identical(back.sample(at, 2, seed=3), fitted.sample(at, 2, seed=3))
    xr.testing.assert_identical(back.loo(), fitted.loo())
    more = table(4, seed=6)
    xr.testing.assert_identical(back.update(more).predict(at), fitted.update(more).predict(at))
    assert back.core.settings == fitted.core.settings


def test_hyperparameters_are_integrated_where_readings_are_few() -> None:
    fitted, at = model(integrate=None).fit(table()), requested()
    assert fitted.report.draws > 1
    core = fitted.core
    parts = [Reference(fitted, table()).posterior(θ, at) for θ in core.draws.parameters]
    mean = sum(w * m for w, (m, _) in zip(core.draws.weights, parts, strict=True))
    second = sum(w * (np.diag(v) + m**2) for w, (m, v) in zip(core.draws.weights, parts, strict=True))
    answer = fitted.predict(at)
    np.testing.assert_allclose(answer["mean"].values.ravel(), mean, rtol=1e-7)
    np.testing.assert_allclose(answer["std"].values.ravel(), np.sqrt(second - mean**2), rtol=1e-5)


def test_lazy_requests_are_answered_block_by_block() -> None:
    fitted, at = model().fit(table()), requested(12)
    lazy = fitted.predict(at.chunk({"thing": 5, "bit": 3}))
    assert lazy["mean"].chunks is not None
    assert largest_difference(lazy.compute(), fitted.predict(at)) < 1e-10


def test_a_name_stands_for_counts_alone() -> None:
    schema = Schema(inputs="parts", target="value", task="property")
    named = HierarchicalGP(
        schema, kernel="tanimoto", trend="constant", sharing="icm", rank=2, noise="task-fidelity", integrate=False
    )
    at = requested()
    xr.testing.assert_identical(named.fit(table()).predict(at), model(smooth=False).fit(table()).predict(at))


def test_the_report_tells_of_the_kernel() -> None:
    report = model().fit(table()).report
    found = report.sections["kernel"]
    assert 0 < found["share of parts"].value < 1
    assert found["length-scale of traits"].units == "standard deviations"
    assert "length-scales" not in report.sections
    assert "kernel" not in model(smooth=False).fit(table()).report.sections
    flat = table().assign(traits=table()["traits"] * 0)
    with pytest.warns(match="input 'traits' never varies"):
        model().fit(flat)


def refused(words: str, data: xr.Dataset, at: xr.Dataset | None = None) -> None:
    with pytest.raises(DataError, match=words):
        model().fit(data) if at is None else model().fit(data).predict(at)


def test_bad_counts_and_vectors_are_named() -> None:
    data, at = table(), requested()
    one = xr.zeros_like(data["parts"], dtype=float)
    one[0, 0] = 1.0
    refused(
        r"'parts' has 1 entries that are NaN or inf \(first: nan at place 0, bit 0",
        data.assign(parts=one / one.max() * one.where(one == 0, np.nan)),
    )
    refused(
        r"'traits' has .* NaN or inf",
        data.assign(traits=data["traits"].where(data["traits"] != data["traits"][1, 1], np.inf)),
    )
    refused(r"'parts' has 1 entries that are negative \(first: -1", data.assign(parts=-one))
    refused(
        r"'parts' has 1 entries that are not whole numbers \(first: 0.5\); .* other features as `smooth`",
        data.assign(parts=one / 2),
    )
    refused(r"'parts' has 1 entries that are above 10,000", data.assign(parts=one * 10_001))
    refused(r"'parts' has length 5 along 'bit', and had 7 at the fit", data, at.isel(bit=slice(5)))
    refused(
        r"'parts' has the dims \('thing', 'chip'\); at the fit it had one of its own, 'bit' of length 7",
        data,
        at.rename(bit="chip"),
    )
    refused(
        r"'property' runs along 'bit', which is the vector input 'parts'",
        data,
        at.drop_vars("property").assign(property=("bit", list("abcabca"))),
    )
    refused(
        r"'parts' has 2 dims that the target 'value' lacks \('level', 'bit'\)",
        data.assign(parts=data["parts"].expand_dims(level=2)),
    )
    refused(r"unknown property 'z'", data, at.assign_coords(property=["a", "b", "z"]))
    refused(r"'parts' has dtype <U", data.assign(parts=data["parts"].astype(str)))
    refused(r"'parts' has no entry along 'bit'", data.isel(bit=slice(0)))
    with pytest.raises(UnitsError, match="'traits' has no units, but the model knows it in 'K'"):
        model().fit(data.assign(traits=data["traits"].assign_attrs(units="K"))).predict(at)


def test_what_has_no_meaning_over_counts_is_refused() -> None:
    fitted = model().fit(table())
    with pytest.raises(DataError, match="counts have no derivative: gradient isn't offered"):
        fitted.gradient(requested())
    (process,) = fitted.core.processes
    with pytest.raises(DataError, match="counts have no derivative"):
        process.slopes(np.zeros((1, 1)), np.zeros(1, dtype=np.int64))
    for words, choice in (
        (r"trend is 'linear', which has no meaning over counts 'parts'; use trend='constant'", {"trend": "linear"}),
        (r"trend is <function", {"trend": np.ones_like}),
        (r"sharing='niw' works with stationary kernels only", {"sharing": "niw"}),
        (r"solver is 'woodbury'; a Tanimoto kernel has 'dense' only", {"solver": "woodbury"}),
    ):
        with pytest.raises(DataError, match=words):
            model(**choice)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="'parts' runs along 'bit', which the target"):
        HierarchicalGP(SCHEMA).fit(table())
    with pytest.raises(DataError, match="new task 'z': sharing='icm' learns each task's correlations"):
        fitted.update(table().assign_coords(property=["a", "b", "z"]))
