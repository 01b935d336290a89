"""`MultiFidelityGP` by its public name: structures, limits, the choice, what it says, labels, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import surrogates
from surrogates import HierarchicalGP, MultiFidelityGP, Schema
from surrogates.datasets.functions import forrester, nonlinear_sine
from surrogates.errors import DataError, FitWarning
from surrogates.gp.evidence import log_evidence

SCHEMA = Schema(inputs="x", target="y", task="part", fidelity="code")
FLAT = Schema(inputs="x", target="y", fidelity="fidelity")


def pairs(*, tasks: int = 2, counts: tuple[int, int] = (12, 5), noise: float = 0.0, seed: int = 0) -> xr.Dataset:
    """A cheap code 0.8 f - x + 0.3 and f, of some tasks, at places of their own; units in their attributes."""
    generator = np.random.default_rng(seed)
    rows: list[tuple[float, float, str, str]] = []
    for t in range(tasks):
        for label, n in zip(("coarse", "fine"), counts, strict=True):
            for x in np.linspace(0.03 * t, 1 - 0.02 * t, n) + (0.01 if label == "fine" else 0.0):
                f = np.sin(7 * x + 0.4 * t) + 0.5 * x
                y = (0.8 * f - x + 0.3 if label == "coarse" else f) + noise * generator.normal()
                rows.append((float(x), float(y), f"p{t}", label))
    x, y, part, code = (np.array(column) for column in zip(*rows, strict=True))
    return xr.Dataset(
        {
            "x": ("sample", x, {"units": "m"}),
            "y": ("sample", y, {"units": "K"}),
            "part": ("sample", part),
            "code": ("sample", code),
        }
    )


def places(part: str = "p0", count: int = 41, **more: Any) -> xr.Dataset:
    return xr.Dataset({"x": ("place", np.linspace(0.05, 0.95, count), {"units": "m"})}, coords={"part": part, **more})


def truth(at: xr.Dataset) -> np.ndarray[Any, Any]:
    return np.asarray(np.sin(7 * at["x"]) + 0.5 * at["x"])


def model(structure: Any = "auto", **more: Any) -> MultiFidelityGP:
    settings: dict[str, Any] = {"noise": "none", "kernel": "rbf", **more}
    return MultiFidelityGP(SCHEMA, ["coarse", "fine"], structure, **settings)


@pytest.fixture(scope="module")
def fitted() -> Any:
    return model(trend="linear").fit(pairs())


def test_cheap_data_help_where_they_tell(fitted: Any) -> None:
    at = places()
    alone = model("ignore", trend="linear").fit(pairs()).predict(at)
    error = np.abs(fitted.predict(at)["mean"] - truth(at)).max()
    assert error < 0.1 * np.abs(alone["mean"] - truth(at)).max()
    assert "cheap data do not help" not in str(fitted.report)


def test_answers_are_labelled_and_of_the_fidelity_asked_for(fitted: Any) -> None:
    at = places().expand_dims(code=["coarse", "fine"])
    answer = fitted.predict(at)
    assert answer["mean"].dims == ("code", "place")
    assert answer["mean"].attrs["units"] == "K"
    np.testing.assert_allclose(answer["mean"].sel(code="fine"), fitted.predict(places())["mean"], rtol=1e-7)
    np.testing.assert_allclose(
        answer["mean"].sel(code="coarse"), 0.8 * truth(places()) - places()["x"] + 0.3, atol=0.02
    )
    assert (answer["noise_std"] == 0).all()


def test_exact_readings_are_interpolated(fitted: Any) -> None:
    data = pairs()
    answer = fitted.predict(data)
    np.testing.assert_allclose(answer["mean"], data["y"], atol=1e-4)
    assert float(answer["std"].max()) < 1e-3


@pytest.mark.filterwarnings("ignore::surrogates.errors.JitterWarning")  # of draws at close places
def test_covariance_draws_and_slopes_agree_with_predictions(fitted: Any) -> None:
    at = places(count=7)
    answer = fitted.predict(at)
    covariance = fitted.covariance(at)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), answer["std"], rtol=1e-3, atol=1e-5)
    draws = fitted.sample(at, 400, seed=1)
    assert draws.dims == ("draw", "place")
    distance = np.abs(draws.mean("draw") - answer["mean"]) / (answer["std"] / 20 + 1e-4)
    assert float(distance.max()) < 6
    step = 1e-5
    up, down = fitted.predict(at.assign(x=at["x"] + step)), fitted.predict(at.assign(x=at["x"] - step))
    slopes = fitted.gradient(at).sel(input="x")
    np.testing.assert_allclose(slopes["d_mean"], (up["mean"] - down["mean"]) / (2 * step), atol=1e-3)
    assert fitted.gradient(at)["units"].item() == "(K)/(m)"


@pytest.mark.parametrize("structure", ["ignore", "offset", "autoregressive", "coregional", "nonlinear"])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_every_structure_fits_nested_or_not_with_noise_or_without(structure: str, noise: float) -> None:
    if structure == "offset" and noise == 0:
        pytest.skip("the codes differ by more than a trend, which exact readings contradict")
    data = pairs(noise=noise)
    settings = model(structure, trend="constant", noise="fidelity" if noise else "none", kernel="matern52")
    answer = settings.fit(data).predict(places())
    assert float(np.sqrt(((answer["mean"] - truth(places())) ** 2).mean())) < 0.5
    assert bool((answer["std"] > 0).any())


def test_a_single_fidelity_is_a_hierarchical_process() -> None:
    data = pairs(noise=0.05)
    data = data.isel(sample=np.flatnonzero(data["code"] == "coarse"))
    other = HierarchicalGP(SCHEMA).fit(data)
    for fidelities in (None, ["coarse"]):
        single = MultiFidelityGP(SCHEMA, fidelities).fit(data)
        for name in ("mean", "std"):
            np.testing.assert_allclose(single.predict(places())[name], other.predict(places())[name], rtol=1e-12)
        np.testing.assert_allclose(single.loo()["mean"], other.loo()["mean"], rtol=1e-12)


def test_a_newcomer_to_a_single_fidelity_goes_into_the_file(tmp_path: Path) -> None:
    data = pairs(noise=0.05, counts=(8, 1))
    data = data.isel(sample=np.flatnonzero(data["code"] == "coarse"))
    new = data.isel(sample=slice(0, 5, 2)).assign(part=("sample", ["p9"] * 3))
    updated = MultiFidelityGP(SCHEMA, ["coarse"]).fit(data).update(new)
    updated.save(tmp_path / "three")
    again = surrogates.load(tmp_path / "three")
    xr.testing.assert_identical(again.predict(places("p9")), updated.predict(places("p9")))


def test_a_wrong_single_fidelity_is_refused_before_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HierarchicalGP, "fit", None)
    data = pairs(counts=(8, 1))
    with pytest.raises(DataError, match="the data have the fidelity 'coarse'; fidelities names 'fine'"):
        MultiFidelityGP(SCHEMA, ["fine"]).fit(data.isel(sample=np.flatnonzero(data["code"] == "coarse")))


@pytest.mark.parametrize("structure", ["coregional", "nonlinear"])
def test_the_report_has_the_users_names_and_units(structure: str) -> None:
    report = model(structure, trend="constant", integrate=False).fit(pairs(counts=(8, 5))).report
    widths = report.sections["length-scales"]
    assert all(name.split(",")[0] in ("x", "coarse") for name in widths)
    assert {name: e.units for name, e in widths.items() if name[0] == "x"} == dict.fromkeys(
        [name for name in widths if name[0] == "x"], "m"
    )
    own = model("autoregressive", per_task=True, trend="constant", integrate=False).fit(pairs(counts=(8, 5))).report
    assert list(own.sections["ρ, in the target's units"]) == [
        "ρ[coarse -> fine, task p0]",
        "ρ[coarse -> fine, task p1]",
    ]


def test_the_reports_evidence_is_that_of_the_contrasts() -> None:
    """In units c times smaller the density is c times smaller for each of 34 readings, less one constant for each group."""
    data = pairs(noise=0.05)
    settings = model("coregional", trend="constant", noise="fidelity", integrate=False)
    first = settings.fit(data).report
    other = settings.fit(data.assign(y=1000 * data["y"])).report
    assert first.log_evidence - other.log_evidence == pytest.approx((34 - 4) * np.log(1000), abs=1e-3)
    single = data.isel(sample=np.flatnonzero(data["code"] == "coarse"))
    plain = HierarchicalGP(SCHEMA, integrate=False).fit(single)
    one = MultiFidelityGP(SCHEMA, ["coarse"], integrate=False).fit(single)
    objective, mode = plain.core.problem.objective, plain.core.mode
    evidence = log_evidence(objective, objective.layout, mode, plain.core.draws)
    gained = evidence + objective(mode, 0).value + objective.log_prior(mode)
    assert one.report.log_evidence == pytest.approx(plain.report.log_evidence + gained, abs=1e-6)


def test_where_codes_are_unrelated_the_choice_says_so() -> None:
    generator = np.random.default_rng(0)
    x = np.concatenate([np.linspace(0, 1, 14), np.linspace(0.04, 0.96, 9)])
    y = np.concatenate([generator.normal(size=14), np.sin(6 * x[14:])])
    data = xr.Dataset({"x": ("s", x), "y": ("s", y), "fidelity": ("s", ["low"] * 14 + ["high"] * 9)})
    auto = MultiFidelityGP(FLAT, ["low", "high"], noise="none").fit(data)
    ignoring = MultiFidelityGP(FLAT, ["low", "high"], "ignore", noise="none").fit(data)
    at = xr.Dataset({"x": ("s", np.linspace(0.05, 0.95, 50))})
    error, alone = (
        float(np.sqrt(((fit.predict(at)["mean"] - np.sin(6 * at["x"])) ** 2).mean())) for fit in (auto, ignoring)
    )
    assert "cheap data do not help here" in str(auto.report)
    assert error < max(1.5 * alone, 0.01)


def test_a_nonlinear_relation_is_found() -> None:
    fitted = MultiFidelityGP(FLAT, ["low", "high"], kernel="rbf", trend="constant", noise="none").fit(
        nonlinear_sine.dataset((40, 12), seed=0, nested=True)
    )
    assert fitted.structures()["kind"].values[0] == "nonlinear"
    assert float(fitted.structures()["probability"].sum()) == pytest.approx(1.0)
    x = np.linspace(0, 1, 200)
    error = fitted.predict(xr.Dataset({"x": ("s", x)}))["mean"] - nonlinear_sine(x[:, None], "high")
    assert float(np.sqrt((error**2).mean())) < 0.4 * nonlinear_sine(x[:, None], "high").std()


def test_forrester_is_nearly_exact() -> None:
    fitted = MultiFidelityGP(FLAT, ["low", "high"], "autoregressive", kernel="rbf", trend="linear", noise="none").fit(
        forrester.dataset((15, 5), seed=1)
    )
    x = np.linspace(0, 1, 300)
    high = forrester(x[:, None], "high")
    error = fitted.predict(xr.Dataset({"x": ("s", x)}))["mean"] - high
    assert float(np.sqrt((error**2).mean())) < 0.003 * high.std()
    ρ = fitted.report.sections["ρ, in the target's units"]["ρ[low -> high]"]
    assert ρ.value == pytest.approx(2.0, abs=0.02)


def test_two_cheap_codes_for_one_precise() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(size=36)
    code = np.array(["a"] * 14 + ["b"] * 14 + ["best"] * 8)
    a, b = np.sin(8 * x), x**2
    y = np.where(code == "a", a, np.where(code == "b", b, a + 2 * b))
    data = xr.Dataset({"x": ("s", x), "y": ("s", y), "fidelity": ("s", code)})
    graph: dict[Any, Any] = {"a": None, "b": None, "best": ["a", "b"]}
    fitted = MultiFidelityGP(FLAT, graph, kernel="rbf", trend="constant", noise="none").fit(data)
    at = xr.Dataset({"x": ("s", np.linspace(0.1, 0.9, 50))})
    assert float(np.abs(fitted.predict(at)["mean"] - (np.sin(8 * at["x"]) + 2 * at["x"] ** 2)).max()) < 0.1
    assert "nonlinear" not in fitted.structures()["kind"].values
    with pytest.raises(DataError, match="builds on"):
        MultiFidelityGP(FLAT, graph, "nonlinear", noise="none").fit(data)


def test_a_file_holds_it(fitted: Any, tmp_path: Path) -> None:
    path = tmp_path / "codes.surrogate"
    fitted.save(path)
    again = surrogates.load(path)
    xr.testing.assert_identical(again.predict(places()), fitted.predict(places()))
    xr.testing.assert_identical(again.structures(), fitted.structures())
    assert str(again.report) == str(fitted.report)


def test_readings_may_follow(fitted: Any) -> None:
    more = pairs(counts=(1, 4)).isel(sample=[2, 3])
    updated = fitted.update(more)
    np.testing.assert_allclose(updated.predict(more)["mean"], more["y"], atol=1e-3)
    assert (updated.report.readings, updated.report.rows) == (fitted.report.readings + 2, fitted.report.rows + 2)
    assert fitted.update(pairs().isel(sample=[0, 1])).report.rows == fitted.report.rows  # places that were read before
    new = pairs(tasks=3).isel(sample=[-3, -1]).assign(part=("sample", ["p9", "p9"]))
    answer = fitted.update(new).predict(places("p9"))
    assert np.isfinite(answer["mean"]).all()
    with pytest.raises(DataError, match="fidelity"):
        fitted.update(more.assign(code=("sample", ["new", "new"])))


def test_left_out_readings(fitted: Any) -> None:
    loo = fitted.loo()
    np.testing.assert_allclose(loo["observed"], pairs()["y"], rtol=1e-12)
    assert list(loo["code"].values[:2]) == ["coarse", "coarse"]
    np.testing.assert_allclose(loo["residual"], loo["observed"] - loo["mean"])


def test_its_health(fitted: Any) -> None:
    health = fitted.health()
    assert set(fitted.report.findings) <= set(health.warnings)
    table = health.to_dataset()
    assert table.sizes["reading"] == fitted.report.readings
    assert list(table["fidelity"].values) == ["coarse", "fine"]


def test_dask_grids_are_answered_block_by_block(fitted: Any) -> None:
    at = places()
    lazy = fitted.predict(at.chunk(place=10))
    assert lazy["mean"].chunks is not None
    np.testing.assert_allclose(lazy["mean"], fitted.predict(at)["mean"], rtol=1e-6)


def test_units_and_the_order_of_rows_don_t_matter() -> None:
    data, at = pairs(), places()
    settings = model("autoregressive", trend="linear")
    first = settings.fit(data).predict(at)
    order = np.random.default_rng(0).permutation(data.sizes["sample"])
    shifted = data.isel(sample=order).assign(
        x=data["x"].isel(sample=order) * 1000, y=data["y"].isel(sample=order) * 7 - 3
    )
    shifted["x"].attrs["units"], shifted["y"].attrs["units"] = "mm", "K"
    second = settings.fit(shifted).predict(at.assign(x=at["x"].assign_attrs(units="mm") * 1000))
    np.testing.assert_allclose(7 * first["mean"] - 3, second["mean"], atol=1e-3)
    np.testing.assert_allclose(7 * first["std"], second["std"], atol=2e-3)


def test_the_same_seed_gives_the_same() -> None:
    first, second = (model("coregional").fit(pairs(), seed=4).predict(places()) for _ in range(2))
    xr.testing.assert_identical(first, second)


def test_the_best_structure_alone_may_answer() -> None:
    fitted = model(average=False).fit(pairs())
    assert len(fitted.parts) == 1
    assert len(fitted.tried) > 1


@pytest.mark.parametrize("shift", [0.0, 1.0, 100.0])
def test_one_precise_reading_is_scaled_like_the_cheap_ones(shift: float) -> None:
    data = pairs(tasks=1, counts=(14, 1))
    data = data.assign(y=data["y"] + shift)
    with pytest.warns(FitWarning, match="'fine' has too few readings that differ to tell its spread"):
        fitted = model("autoregressive", trend="constant").fit(data)
    std = fitted.predict(places())["std"]
    assert 0.1 < float(std.median()) < 3


def test_tasks_without_precise_readings_are_named() -> None:
    data = pairs(tasks=3)
    data = data.isel(sample=np.flatnonzero(~((data["part"] == "p1") & (data["code"] == "fine"))))
    with pytest.warns(FitWarning, match="without a reading of 'fine': 'p1'"):
        model("autoregressive", trend="constant").fit(data)


def test_the_order_of_rows_doesn_t_matter_to_exact_readings() -> None:
    data = forrester.dataset((14, 5), seed=0)
    other = data.isel(sample=np.random.default_rng(1).permutation(19))
    settings = MultiFidelityGP(FLAT, ["low", "high"], "autoregressive", kernel="rbf", trend="constant", noise="none")
    at = xr.Dataset({"x": ("s", np.linspace(0.1, 0.9, 9))})
    first, second = (settings.fit(one).predict(at)["mean"] for one in (data, other))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_tasks_with_ρ_of_their_own_take_no_newcomer() -> None:
    fitted = model("coregional", per_task=True, trend="constant").fit(pairs())
    new = pairs(tasks=3).isel(sample=[-1]).assign(part=("sample", ["p9"]))
    with pytest.raises(DataError, match="new task 'p9': every task has ρ of its own"):
        fitted.update(new)


def test_numpy_s_labels_are_labels(tmp_path: Path) -> None:
    data = pairs()
    data = data.assign(code=("sample", (data["code"].values == "fine").astype(int)))
    labels: Any = np.array([0, 1])
    settings = MultiFidelityGP(SCHEMA, labels, "coregional", kernel="rbf", trend="constant", noise="none")
    answer = settings.fit(data)
    answer.save(tmp_path / "m")
    xr.testing.assert_identical(surrogates.load(tmp_path / "m").predict(places()), answer.predict(places()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"structure": ()}, "structure is"),
        ({"structure": None}, "structure is None"),
        ({"integrate": "yes"}, "integrate is 'yes'"),
        ({"structure": "linear"}, "structure is 'linear'; choose 'auto'"),
        ({"kernel": "cubic"}, "kernel is 'cubic'"),
        ({"trend": "cubic"}, "trend is 'cubic'"),
        ({"noise": "much"}, "noise is 'much'"),
        ({"noise": "known"}, "the schema names no noise"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        model(**settings)


def test_fidelities_and_data_must_fit_together(fitted: Any) -> None:
    data = pairs()
    with pytest.raises(DataError, match="say how they hang together"):
        MultiFidelityGP(SCHEMA).fit(data)
    with pytest.raises(DataError, match="'coarse', which fidelities="):
        MultiFidelityGP(SCHEMA, ["fine", "finest"]).fit(data)
    with pytest.raises(DataError, match="'finest' has no reading"):
        MultiFidelityGP(SCHEMA, ["coarse", "fine", "finest"]).fit(data)
    with pytest.raises(DataError, match="the schema names no fidelity"):
        MultiFidelityGP(Schema(inputs="x", target="y"), ["coarse", "fine"])
    with pytest.raises(DataError, match="n is 0; it must be an integer >= 1"):
        fitted.sample(places(), 0, seed=0)
    with pytest.raises(DataError, match="part"):
        fitted.predict(places("unknown"))
    with pytest.raises(DataError, match="y"):
        model().fit(data.assign(y=data["y"] * np.nan))
    with pytest.raises(DataError, match="x"):
        model().fit(data.assign(x=data["x"] * np.inf))
