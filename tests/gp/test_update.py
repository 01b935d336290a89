"""`update` is conditioning on the union of old and new readings: against universal kriging of every single reading."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brute import correlations, kriged

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema
from surrogates.errors import DataError
from surrogates.gp.core import Core

SHARINGS = ("common", "two-kernels", "icm")
NOISES = ("auto", "known", "task-fidelity")
SETTINGS = [(sharing, noise) for sharing in SHARINGS for noise in NOISES]
WITH_NEW_TASKS = [(sharing, noise) for sharing, noise in SETTINGS if sharing != "icm" and noise != "task-fidelity"]


def readings(n: int, *, seed: int, tasks: str = "abc") -> xr.Dataset:
    """A table of n readings of as many tasks, by two gauges, with a known noise that differs from reading to reading."""
    generator = np.random.default_rng(seed)
    u, v, code = generator.uniform(0, 10, n), generator.uniform(-3, 5, n), np.arange(n) % len(tasks)
    y = 40 + 6 * np.sin(u / 2) + v * (code + 1) + generator.standard_normal(n)
    return xr.Dataset(
        {
            "u": ("sample", u),
            "v": ("sample", v),
            "y": ("sample", y),
            "s": ("sample", 0.3 + 0.1 * u),
            "task": ("sample", np.array(list(tasks))[code]),
            "gauge": ("sample", np.array(["hi", "lo"])[(np.arange(n) // 2) % 2]),
        }
    )


def joined(*tables: xr.Dataset) -> xr.Dataset:
    return xr.concat(tables, "sample")


FIRST = readings(18, seed=0)
MORE = {
    "known tasks": readings(7, seed=1),
    "one task": readings(3, seed=2, tasks="b"),
    "replicates": FIRST.isel(sample=slice(2, 9)).assign(y=FIRST["y"][2:9] + 0.5),
    "a single reading": readings(1, seed=3),
}
NEW = {
    "a new task": readings(5, seed=4, tasks="d"),
    "two new tasks, out of order": readings(10, seed=5, tasks="0z"),
    "a mix": joined(readings(6, seed=6, tasks="bd"), readings(2, seed=7, tasks="d"), MORE["replicates"]),
}


def places(tasks: str = "abc") -> xr.Dataset:
    at = readings(8, seed=9, tasks=tasks)[["u", "v", "task"]]
    # an observed place, one far away
    at["u"][:2], at["v"][:2] = [float(FIRST["u"][2]), 40.0], [float(FIRST["v"][2]), 9.0]
    return at


def model(sharing: str = "common", noise: str = "auto", **choices: Any) -> HierarchicalGP:
    known = "s" if noise == "known" else None
    schema = Schema(inputs=("u", "v"), target="y", task="task", fidelity="gauge", noise=known)
    return HierarchicalGP(schema, sharing=sharing, noise=noise, **choices)


@cache
def fit(sharing: str = "common", noise: str = "auto", integrate: bool = True) -> FittedHierarchicalGP:
    return model(sharing, noise, integrate=integrate).fit(FIRST)


def assert_kriged(updated: FittedHierarchicalGP, data: xr.Dataset, at: xr.Dataset) -> None:
    """Predictions are those of all readings in `data`."""
    mean, std = kriged(updated, data, at)
    prediction = updated.predict(at)
    np.testing.assert_allclose(prediction["mean"], mean, rtol=1e-8)
    np.testing.assert_allclose(prediction["std"], std, rtol=1e-7)


def assert_equal(one: FittedHierarchicalGP, other: FittedHierarchicalGP, at: xr.Dataset) -> None:
    first, second = one.predict(at), other.predict(at)
    for name in ("mean", "std", "noise_std"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-10, err_msg=name)


# --- the union -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize(("sharing", "noise"), SETTINGS)
def test_readings_of_known_tasks(sharing: str, noise: str, more: str) -> None:
    fitted = fit(sharing, noise)
    assert fitted.report.draws > 10
    assert_kriged(fitted.update(MORE[more]), joined(FIRST, MORE[more]), places())


@pytest.mark.parametrize("more", NEW)
@pytest.mark.parametrize(("sharing", "noise"), WITH_NEW_TASKS)
def test_readings_of_new_tasks(sharing: str, noise: str, more: str) -> None:
    data = joined(FIRST, NEW[more])
    tasks = "".join(np.unique(data["task"]))
    assert_kriged(fit(sharing, noise).update(NEW[more]), data, places(tasks))


@pytest.mark.parametrize("trend", ["none", "constant", "quadratic"])
def test_trends(trend: str) -> None:
    first = readings(30, seed=0)
    more = joined(MORE["known tasks"], readings(9, seed=4, tasks="d"))
    fitted = model(trend=trend, integrate=False).fit(first)
    assert_kriged(fitted.update(more), joined(first, more), places("abcd"))


def test_a_single_task_without_labels() -> None:
    schema = Schema(inputs=("u", "v"), target="y", noise="s", noise_is="variance")
    fitted = HierarchicalGP(schema).fit(FIRST.drop_vars(["task", "gauge"]))
    more = MORE["known tasks"]
    assert_kriged(fitted.update(more), joined(FIRST, more), places())


@pytest.mark.parametrize(("sharing", "noise"), SETTINGS)
def test_a_model_that_had_all_readings_from_the_start(sharing: str, noise: str) -> None:
    """The same draws, conditioned on the union as `fit` conditions on its data."""
    fitted, more = fit(sharing, noise), MORE["known tasks"]
    whole = model(sharing, noise, integrate=False).fit(joined(FIRST, more))
    # readings and their trends' priors in the scaling of the first fit
    table = whole.schema.encode(joined(FIRST, more))
    scaled = fitted.core.scaled
    union = whole.core.scaled.readings
    x, y = scaled.inputs(table.x), scaled.target(table.y)
    variance = None if table.noise_variance is None else table.noise_variance / scaled.target.spread**2
    same = type(union)(x, y, union.task, union.tasks, union.group, union.groups, variance)
    core = Core(
        type(scaled)(scaled.inputs, scaled.target, scaled.trend, whole.core.scaled.prior, same),
        fitted.core.settings,
        fitted.core.draws,
        fitted.core.mode,
    )
    assert_equal(
        fitted.update(more), FittedHierarchicalGP(whole.schema, whole.vocabulary, whole.report, core), places()
    )


def test_a_new_task_with_one_reading_gets_its_trend_from_the_others() -> None:
    """Its coefficients are normal around the other tasks' mean: a further part of its covariance, by hand."""
    fitted, one = fit(integrate=False), readings(1, seed=4, tasks="d")
    core, data = fitted.core, joined(FIRST, one)
    l, (s, ρ), φ = _parameters(core)
    x = np.stack([data["u"], data["v"]], axis=1)
    x = (x - core.scaled.inputs.centre) / core.scaled.inputs.width
    y = (data["y"].values - core.scaled.target.centre) / core.scaled.target.spread
    task = np.array(["abcd".index(t) for t in data["task"].values])
    h = np.column_stack([np.ones(len(x)), x])
    fits = np.stack([np.linalg.lstsq(h[task == t], y[task == t], rcond=None)[0] for t in range(3)])
    centre, spread = fits.mean(axis=0), 1 + fits.var(axis=0, ddof=1) * 4 / 3
    at = places("d")
    z = (np.stack([at["u"], at["v"]], axis=1) - core.scaled.inputs.centre) / core.scaled.inputs.width
    g, new = np.column_stack([np.ones(len(z)), z]), (task == 3)[:, None] * h
    noise = np.exp(φ)[(data["gauge"].values == "lo").astype(int)]
    S = s * correlations("matern52", x, x, l) * np.where(task[:, None] == task, 1.0, ρ) + np.diag(noise)
    S += new @ np.diag(spread) @ new.T
    k = s * correlations("matern52", x, z, l) * np.where(task == 3, 1.0, ρ)[:, None] + new @ np.diag(spread) @ g.T
    H = np.zeros((len(x), 9))
    for t in range(3):
        H[task == t, 3 * t : 3 * t + 3] = h[task == t]
    border = np.block([[S, H], [H.T, np.zeros((9, 9))]])
    right = np.concatenate([k, np.zeros((9, len(z)))])
    weights = np.linalg.solve(border, right)
    mean = g @ centre + weights[: len(y)].T @ (y - new @ centre)
    variance = s + np.einsum("mp,p,mp->m", g, spread, g) - (weights * right).sum(axis=0)
    prediction = fitted.update(one).predict(at)
    target = core.scaled.target
    np.testing.assert_allclose(prediction["mean"], target.centre + target.spread * mean, rtol=1e-8)
    np.testing.assert_allclose(prediction["std"], target.spread * np.sqrt(variance), rtol=1e-8)


def _parameters(core: Core) -> tuple[Any, tuple[float, float], Any]:
    """Length-scales, (s, ρ), log noise at the mode, read off the vector of hyper-parameters."""
    θ = core.mode
    assert core.layout.names[:4] == ("log l[0]", "log l[1]", "log s", "logit ρ")
    return np.exp(θ[:2]), (float(np.exp(θ[2])), float(1 / (1 + np.exp(-θ[3])))), θ[4:]


# --- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sharing", "noise"), WITH_NEW_TASKS)
def test_updates_one_after_another_are_one_update(sharing: str, noise: str) -> None:
    fitted = fit(sharing, noise)
    parts = [MORE["replicates"], NEW["a new task"], MORE["one task"]]
    at, once = places("abcd"), fitted.update(joined(*parts))
    assert_equal(fitted.update(parts[0]).update(parts[1]).update(parts[2]), once, at)
    assert_equal(fitted.update(parts[2]).update(parts[0]).update(parts[1]), once, at)
    pieces = fitted
    for k in range(5):  # at first too few readings for a trend of its own
        pieces = pieces.update(parts[1].isel(sample=[4 - k]))
    assert_equal(pieces, fitted.update(parts[1]), at)


@pytest.mark.parametrize(("sharing", "noise"), WITH_NEW_TASKS)
def test_new_tasks_may_come_in_any_order(sharing: str, noise: str) -> None:
    fitted = fit(sharing, noise)
    first, second = readings(5, seed=4, tasks="d"), readings(5, seed=5, tasks="B")
    one, other = fitted.update(first).update(second), fitted.update(second).update(first)
    assert one.vocabulary.tasks == ("a", "b", "c", "d", "B")
    assert other.vocabulary.tasks == ("a", "b", "c", "B", "d")
    assert_equal(one, other, places("abcdB"))
    turned = other.task_correlation().sel(task=list("abcdB"), task_2=list("abcdB"))
    np.testing.assert_allclose(one.task_correlation(), turned, rtol=1e-12)


# --- what stays, what grows ------------------------------------------------------------------------------------------


def test_the_model_that_is_updated_stays() -> None:
    fitted = model().fit(FIRST)
    at, before = places(), fitted.predict(places())
    draws, seen = fitted.sample(at, 2, seed=0), fitted.loo()
    vocabulary, report = fitted.vocabulary, fitted.report
    fitted.update(NEW["a mix"]).predict(places("abcd"))
    xr.testing.assert_identical(fitted.predict(at), before)
    xr.testing.assert_identical(fitted.sample(at, 2, seed=0), draws)
    xr.testing.assert_identical(fitted.loo(), seen)
    assert fitted.vocabulary == vocabulary
    assert fitted.report == report
    with pytest.raises(DataError, match="unknown task 'd'; the model knows 'a', 'b', 'c'"):
        fitted.predict(places("d"))


def test_the_report_says_so() -> None:
    fitted, more = fit(), NEW["a mix"]
    updated = fitted.update(more)
    report = updated.report
    assert (report.readings, report.tasks) == (18 + 15, 4)
    assert report.rows == 18 + 8  # seven of the fifteen are replicates
    assert report.warnings == (
        "updated with 15 readings, with the new task d; hyper-parameters and scores are the first fit's",
    )
    assert "33 readings at 26 places in 4 tasks" in str(report)
    assert "updated with 15 readings" in str(report)
    for name in ("sections", "loo", "log_evidence", "draws", "outcome"):
        assert getattr(report, name) == getattr(fitted.report, name)
    assert len(updated.update(MORE["one task"]).report.warnings) == 2


def test_the_vocabulary_grows_at_its_end() -> None:
    updated = fit().update(NEW["two new tasks, out of order"])
    assert updated.vocabulary.tasks == ("a", "b", "c", "0", "z")
    assert updated.vocabulary.fidelities == ("hi", "lo")
    assert updated.loo().sizes["reading"] == 28
    np.testing.assert_array_equal(updated.loo()["task"], joined(FIRST, NEW["two new tasks, out of order"])["task"])
    correlation = updated.task_correlation()
    np.testing.assert_array_equal(correlation["task"], list("abc0z"))
    np.testing.assert_allclose(correlation.sel(task="a", task_2="z"), correlation.sel(task="a", task_2="b"))


def test_units_are_converted() -> None:
    def labelled(data: xr.Dataset, **units: str) -> xr.Dataset:
        return data.assign({name: data[name].assign_attrs(units=unit) for name, unit in units.items()})

    fitted = model(integrate=False).fit(labelled(FIRST, u="mm", v="mm", y="um"))
    more = MORE["known tasks"]
    wanted = fitted.update(labelled(more, u="mm", v="mm", y="um"))
    other = labelled(more.assign(u=more["u"] / 1000, y=more["y"] / 1000), u="m", v="mm", y="mm")
    assert_equal(fitted.update(other), wanted, labelled(places(), u="mm", v="mm"))
    with pytest.raises(DataError, match="'y'"):
        fitted.update(labelled(more, u="mm", v="mm", y="s"))


def test_a_row_without_a_target_adds_nothing() -> None:
    more = MORE["known tasks"]
    holes = more.assign(y=more["y"].where(np.arange(7) % 2 == 0))
    assert_equal(fit().update(holes), fit().update(more.isel(sample=[0, 2, 4, 6])), places())
    assert fit().update(holes).report.readings == 22


def test_a_solver_whose_pattern_the_update_breaks() -> None:
    """One reading more, and the tasks no longer look alike: another exact solver, named in the report."""
    one = readings(6, seed=0, tasks="a")
    data = joined(*(one.assign(task=("sample", [t] * 6), y=one["y"] + k) for k, t in enumerate("abc")))
    for solver in ("rotation", "kronecker"):
        fitted = model(solver=solver, integrate=False).fit(data)
        assert fitted.report.solver == solver
        updated = fitted.update(MORE["one task"])
        assert updated.report.solver == updated.core.problem.objective.solver.name == "dense"
        assert_kriged(updated, joined(data, MORE["one task"]), places())


def test_noisy_readings_after_exact_ones() -> None:
    """A model of exact readings has no nugget, and gets none from an update."""
    exact = FIRST.assign(y=FIRST["u"] / 5 + np.cos(FIRST["v"]), s=0 * FIRST["s"])
    fitted = model(noise="known", integrate=False).fit(exact)
    more = MORE["known tasks"].assign(y=MORE["known tasks"]["u"] / 5 + 2, s=("sample", np.full(7, 0.5)))
    updated = fitted.update(more)
    core, data = fitted.core, joined(exact, more)
    l, (s, ρ), φ = _parameters(core)
    assert len(φ) == 0
    inputs, target = core.scaled.inputs, core.scaled.target
    x = inputs(np.stack([data["u"], data["v"]], axis=1))
    task = data["task"].values
    noise = (data["s"].values / target.spread) ** 2 + 1e-10
    S = s * correlations("matern52", x, x, l) * np.where(task[:, None] == task, 1.0, ρ) + np.diag(noise)
    H = np.concatenate([(task == t)[:, None] * np.column_stack([np.ones(len(x)), x]) for t in "abc"], axis=1)
    weights = np.linalg.solve(np.block([[S, H], [H.T, np.zeros((9, 9))]]), np.concatenate([S - np.diag(noise), H.T]))
    mean = weights[: len(x)].T @ target(data["y"].values)
    np.testing.assert_allclose(updated.predict(data)["mean"], target.mean(mean), rtol=1e-6)
    np.testing.assert_allclose(updated.predict(exact)["mean"], exact["y"], atol=1e-6)
    assert (updated.predict(more)["std"] > 0.01).all()


# --- refusals --------------------------------------------------------------------------------------------------------


def test_an_update_without_any_target() -> None:
    with pytest.raises(DataError, match="no observation: the target 'y' has 7 entries and none is a number"):
        fit().update(MORE["known tasks"].assign(y=np.nan * MORE["known tasks"]["y"]))


def test_a_new_fidelity() -> None:
    more = MORE["one task"].assign(gauge=("sample", ["lo", "laser", "hi"]))
    with pytest.raises(
        DataError, match=r"unknown gauge 'laser'; the model knows 'hi', 'lo'.*\(update for a new task, fit for a new f"
    ):
        fit().update(more)


def test_new_tasks_that_no_hyper_parameter_is_known_for() -> None:
    new = NEW["a new task"]
    with pytest.raises(DataError, match="new task 'd': sharing='icm' learns each task's correlations; fit again on al"):
        fit("icm").update(new)
    with pytest.raises(DataError, match="new task 'd': noise is learnt for each task; fit again on all data"):
        fit(noise="task-fidelity").update(new)
    alone = model().fit(readings(12, seed=0, tasks="a"))
    with pytest.raises(DataError, match="new task 'd': one task alone says nothing about how tasks correlate"):
        alone.update(new)
    with pytest.raises(DataError, match="new task '0', 'z': sharing='icm'"):
        fit("icm").update(NEW["two new tasks, out of order"])


def test_paper_mode_is_not_updated() -> None:
    with pytest.raises(DataError, match="sharing='niw' learns its covariance at the observed places only; fit again"):
        model("niw").fit(FIRST).update(MORE["known tasks"])


def test_an_update_needs_what_a_fit_needs() -> None:
    more = MORE["known tasks"]
    with pytest.raises(DataError, match="no variable 's'"):
        fit(noise="known").update(more.drop_vars("s"))
    with pytest.raises(DataError, match="variable 'u' has 1 entries that are NaN or inf"):
        fit().update(more.assign(u=more["u"].where(np.arange(7) != 3)))
