"""Parameters and initial states from noisy measurements: unbiased, with honest standard errors, and refusals in words."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates import OptimalControlNet
from surrogates.control import FittedControl, inverse
from surrogates.errors import DataError, ProblemError
from surrogates.physics.optimal_control import Family, Problem, named_problem, solve

Floats = NDArray[np.float64]
TRUE = {"x1": 1.1, "decay": 1.2}
TIMES = np.linspace(0.0, 1.0, 21)


def lq() -> Problem:
    return named_problem("scalar_lq").problem


def family(*, state: bool = False, decay: bool = True) -> Family:
    """S1 with its rate of decay unknown, or the state it starts from, or both."""
    return (
        lq()
        .with_values(initial_state=[TRUE["x1"]], parameters={} if decay else {"decay": TRUE["decay"]})
        .over(
            initial_state=[(0.5, 2.0)] if state else None,
            parameters={"decay": (0.2, 3.0)} if decay else None,
        )
    )


@cache
def exact(name: str) -> Floats:
    answer = solve(lq().with_values(initial_state=[TRUE["x1"]], parameters={"decay": TRUE["decay"]}), times=TIMES)
    return np.asarray(answer[name].values[:, 0])


def readings(seed: int, noise: dict[str, float], *, is_stated: bool = True) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    data = {}
    for name, size in noise.items():
        values = exact("x" if name == "x1" else "u") + size * rng.standard_normal(len(TIMES))
        data[name] = xr.DataArray(values, dims="time", attrs={"noise": size} if is_stated else {})
    return xr.Dataset(data, coords={"time": TIMES})


def estimate(it: Family, data: xr.Dataset) -> FittedControl:
    return OptimalControlNet().fit(it, measurements=data)


# --- what estimates are worth ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "is_stated", "state", "decay"),
    [
        ({"x1": 0.02, "u": 0.05}, True, False, True),
        ({"u": 0.05}, False, False, True),
        ({"x1": 0.03}, True, True, False),
        ({"x1": 0.02, "u": 0.02}, True, True, True),
        ({"x1": 0.05, "u": 0.01}, False, True, True),
    ],
    ids=["both, noise known", "only u, noise unknown", "initial state from x", "two unknowns", "two, noise unknown"],
)
def test_estimates_are_unbiased_and_their_standard_errors_honest(
    noise: dict[str, float], is_stated: bool, state: bool, decay: bool
) -> None:
    """Over 100 draws of the noise; standard errors of bias, spread and coverage allowed for."""
    seeds, it = 100, family(state=state, decay=decay)
    found = [estimate(it, readings(seed, noise, is_stated=is_stated)).report.estimates for seed in range(seeds)]
    for name in it.inputs:
        errors = np.array([each[name][0] - TRUE[name] for each in found])
        stated = np.array([each[name][1] for each in found])
        assert abs(errors.mean()) < 3.5 * errors.std() / math.sqrt(seeds)
        assert 0.7 < np.sqrt((errors**2).mean()) / np.median(stated) < 1.35
        covered = np.mean(np.abs(errors) <= 1.96 * stated)
        assert 0.88 <= covered <= 0.99


def test_standard_errors_are_those_of_the_sensitivities() -> None:
    """se = σ / √Σ (dy/dη)², with dy/dη by differences of solve()."""
    h = 1e-4
    ends = [
        solve(lq().with_values(initial_state=[TRUE["x1"]], parameters={"decay": TRUE["decay"] + k * h}), times=TIMES)
        for k in (-1, 1)
    ]
    slopes = {key: (ends[1][key].values[:, 0] - ends[0][key].values[:, 0]) / (2 * h) for key in ("x", "u")}
    information = (slopes["x"] ** 2).sum() / 0.02**2 + (slopes["u"] ** 2).sum() / 0.05**2
    _, stated = estimate(family(), readings(0, {"x1": 0.02, "u": 0.05})).report.estimates["decay"]
    assert stated == pytest.approx(1 / math.sqrt(information), rel=0.05)  # at the estimate, not the truth


def test_unknown_noise_is_taken_from_the_misfit() -> None:
    """The estimate is the same; its standard error that of the noise stated, times the root of χ² per degree of freedom."""
    known, unknown = (estimate(family(), readings(3, {"u": 0.05}, is_stated=k)).report for k in (True, False))
    value, error = known.estimates["decay"]
    level = known.figures["misfit per reading"] * 21 / 20  # of one variable; of two, each has its own
    assert unknown.estimates["decay"] == pytest.approx((value, error * math.sqrt(level)), rel=1e-5)


@pytest.mark.parametrize("noise", [{"x1": 0.3, "u": 0.003}, {"x1": 0.003, "u": 0.3}])
def test_every_variables_unknown_noise_is_its_own(noise: dict[str, float]) -> None:
    """One a hundred times the other: errors as if the noise were known, but for its draw; weighed alike, 5-60 times."""
    it = family(state=True)
    known, unknown = (estimate(it, readings(3, noise, is_stated=k)).report.estimates for k in (True, False))
    for name in it.inputs:
        assert unknown[name][0] == pytest.approx(known[name][0], abs=known[name][1])
        assert unknown[name][1] == pytest.approx(known[name][1], rel=0.5)


def test_exact_readings_give_back_the_truth_and_its_trajectory() -> None:
    fitted = estimate(family(state=True), readings(0, {"x1": 1e-9, "u": 1e-9}))
    estimates = fitted.report.estimates
    for name, value in TRUE.items():
        assert estimates[name][0] == pytest.approx(value, rel=1e-7)
        assert estimates[name][1] < 1e-7
    assert fitted.problem.initial_state == (estimates["x1"][0],)
    assert fitted.problem.parameters["decay"] == estimates["decay"][0]
    answer = fitted.predict(TIMES)
    np.testing.assert_allclose(answer.x.values[:, 0], exact("x"), rtol=0, atol=1e-7)
    np.testing.assert_allclose(answer.u.values[:, 0], exact("u"), rtol=0, atol=1e-7)
    assert float(answer.error) < 1e-9
    assert fitted.report.is_success
    assert fitted.report.outcome == "the estimates converged"
    assert len(fitted.report.trace) == fitted.report.figures["steps"]
    assert "±" in str(fitted.report)


def test_the_estimate_is_the_least_misfit() -> None:
    """By brute force: solve() on a grid of the parameter, and a parabola through the lowest three."""
    data = readings(5, {"x1": 0.02, "u": 0.05})
    value, error = estimate(family(), data).report.estimates["decay"]
    grid = value + error * np.array([-0.5, 0.0, 0.5])
    misfits = []
    for decay in grid:
        model = solve(lq().with_values(initial_state=[TRUE["x1"]], parameters={"decay": decay}), times=TIMES)
        misfits.append(
            (((model.x.values[:, 0] - data.x1.values) / 0.02) ** 2).sum()
            + (((model.u.values[:, 0] - data.u.values) / 0.05) ** 2).sum()
        )
    a, b, c = misfits
    assert (
        abs(0.25 * (a - c) / (a - 2 * b + c)) < 5e-3
    )  # the parabola's lowest point, in standard errors from the middle
    assert a - 2 * b + c == pytest.approx(2 * 0.25, rel=0.1)  # χ² rises by 1 at one standard error
    assert b == pytest.approx(estimate(family(), data).report.figures["misfit per reading"] * 42, rel=1e-8)


def test_times_without_a_reading_are_left_out() -> None:
    data = readings(1, {"x1": 0.02, "u": 0.05})
    data["x1"].values[5:] = np.nan
    data["u"].values[::2] = np.nan
    fitted = estimate(family(), data)
    assert fitted.report.figures["readings"] == 5 + 10
    value, error = fitted.report.estimates["decay"]
    assert abs(value - TRUE["decay"]) < 4 * error
    whole = estimate(family(), readings(1, {"x1": 0.02, "u": 0.05})).report.estimates["decay"][1]
    assert error > 1.3 * whole
    # rows of nothing but NaN can as well be left out
    shorter = estimate(family(), data.isel(time=[k for k in range(21) if k < 5 or k % 2]))
    assert shorter.report.estimates["decay"] == pytest.approx((value, error), rel=1e-6)


def test_a_column_of_nothing_but_nan_says_nothing() -> None:
    data = readings(1, {"u": 0.05})
    with_x = data.assign(x1=("time", np.full(21, np.nan), {"noise": 0.02}))
    for is_stated in (True, False):
        pair = [it.copy() for it in (data, with_x)]
        for it in pair:
            for name in it.data_vars:
                it[name].attrs = it[name].attrs if is_stated else {}
        alone, both = (estimate(family(), it).report.estimates["decay"] for it in pair)
        assert both == pytest.approx(alone, rel=1e-6)


def test_a_single_reading_of_a_variable_of_unknown_noise() -> None:
    data = readings(1, {"x1": 0.02, "u": 0.05}, is_stated=False)
    data["x1"].values[1:] = np.nan
    value, error = estimate(family(), data).report.estimates["decay"]
    assert abs(value - TRUE["decay"]) < 4 * error < 1.0


def test_the_order_of_times_and_variables_is_irrelevant() -> None:
    data = readings(2, {"x1": 0.02, "u": 0.05})
    wanted = estimate(family(), data).report.estimates["decay"]
    mixed = data[["u", "x1"]].isel(time=np.random.default_rng(0).permutation(21))
    assert estimate(family(), mixed).report.estimates["decay"] == pytest.approx(wanted, rel=1e-6)


def test_a_nonlinear_problem_with_several_states() -> None:
    """S4's damping from its position and control."""
    it = named_problem("van_der_pol").problem
    truth = solve(it.with_values(parameters={"damping": 1.2}), times=np.linspace(0, 5, 21))
    rng = np.random.default_rng(0)
    data = xr.Dataset(
        {
            "x2": ("time", truth.x.values[:, 1] + 0.02 * rng.standard_normal(21), {"noise": 0.02}),
            "u": ("time", truth.u.values[:, 0] + 0.02 * rng.standard_normal(21), {"noise": 0.02}),
        },
        coords={"time": truth.time.values},
    )
    value, error = estimate(it.over(parameters={"damping": (0.5, 2.0)}), data).report.estimates["damping"]
    assert error < 0.05
    assert abs(value - 1.2) < 3.5 * error


# --- warnings ---


def test_an_estimate_at_the_end_of_its_range_is_warned_of() -> None:
    narrow = (
        lq().with_values(initial_state=[TRUE["x1"]], parameters={"decay": 0.6}).over(parameters={"decay": (0.3, 0.9)})
    )
    report = estimate(narrow, readings(0, {"x1": 0.01, "u": 0.01})).report
    assert report.estimates["decay"][0] == pytest.approx(0.9)
    assert any("the estimate of 'decay' lies at the end of its range; widen it" in text for text in report.warnings)


def test_noise_that_was_stated_wrongly_is_warned_of() -> None:
    data = readings(0, {"x1": 0.02, "u": 0.05})
    assert estimate(family(), data).report.warnings == ()
    for name in data.data_vars:
        data[name].attrs["noise"] /= 5
    (warning,) = estimate(family(), data).report.warnings
    assert re.match(r"the misfit is \d+ times what the noise given explains", warning)


@pytest.mark.parametrize("is_stated", [True, False])
def test_a_search_that_is_cut_short_is_no_success(is_stated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it reports is the misfit where it stopped, not one step before."""
    data = readings(0, {"u": 0.05}, is_stated=is_stated)
    assert estimate(family(), data).report.is_success
    monkeypatch.setattr(inverse, "MOST_STEPS", 1)
    cut = estimate(family(), data)
    assert (cut.report.is_success, cut.report.outcome) == (False, "stopped at the step limit")
    if is_stated:
        apart = (cut.predict(times=TIMES)["u"].values[:, 0] - data["u"].values) / 0.05
        assert cut.report.figures["misfit per reading"] == pytest.approx(np.mean(apart**2), rel=1e-6)


def test_as_many_readings_as_unknowns_leave_no_freedom() -> None:
    data = readings(0, {"x1": 0.02}).isel(time=[10])
    (warning,) = estimate(family(), data).report.warnings
    assert warning.startswith("1 readings for 1 unknowns leave nothing")


# --- bad input ---


def data_with(**change: Any) -> xr.Dataset:
    return readings(0, {"x1": 0.02, "u": 0.05}).assign(**change)


def noise_of_one_only() -> xr.Dataset:
    data = readings(0, {"x1": 0.02, "u": 0.05})
    del data["u"].attrs["noise"]
    return data


def negative_noise() -> xr.Dataset:
    data = readings(0, {"x1": 0.02, "u": 0.05})
    data["u"].attrs["noise"] = -0.05
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda: data_with().assign_coords(time=TIMES + 0.5), "they must lie in the horizon [0.0, 1.0]"),
        (lambda: data_with().assign_coords(time=TIMES - 0.1), "they must lie in the horizon [0.0, 1.0]"),
        (lambda: data_with().assign_coords(time=np.where(TIMES == 0, np.nan, TIMES)), "they must lie in the horizon"),
        (lambda: data_with().to_dataframe(), "measurements are a DataFrame; an xarray Dataset over 'time' is expected"),
        (lambda: data_with().drop_vars("time"), "measurements lack the coordinate 'time'"),
        (lambda: data_with(p1=("time", TIMES)), "measurements hold 'p1'; they may hold the states ('x1',)"),
        (lambda: data_with().drop_vars(["x1", "u"]), "measurements hold 'nothing'"),
        (noise_of_one_only, "attrs['noise'] is given for some variables only"),
        (negative_noise, "standard deviations above 0 are expected"),
        (lambda: data_with() * np.nan, "nothing but NaN"),
        (lambda: data_with().where(TIMES < 0.9, np.inf), "infinite values"),
        (lambda: data_with(x1=(("run", "time"), np.ones((2, 21)))), "'x1' have the dimensions ('run', 'time')"),
        (lambda: data_with().isel(time=[]), "measurements hold no times"),
    ],
    ids=[
        "late", "early", "time is NaN", "a table", "no time", "unknown", "empty", "some noise", "negative noise", "all NaN",
        "inf", "two dimensions", "no rows",
    ],
)  # fmt: skip
def test_bad_measurements_are_refused_in_words(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        estimate(family(), data())


def test_a_problem_has_nothing_to_estimate() -> None:
    with pytest.raises(DataError, match="measurements need something to estimate: give a family"):
        OptimalControlNet().fit(lq(), measurements=readings(0, {"u": 0.05}))  # type: ignore[call-overload]


def test_horizons_that_vary_are_refused() -> None:
    with pytest.raises(DataError, match="measurements need a fixed horizon"):
        estimate(lq().over(initial_time=(0.0, 0.5)), readings(0, {"u": 0.05}))
    slide = named_problem("brachistochrone").problem.over(parameters={"gravity": (9.0, 11.0)})
    with pytest.raises(DataError, match="measurements need a fixed horizon"):
        estimate(slide, readings(0, {"u": 0.05}))


def test_measurements_are_not_changed() -> None:
    data = readings(0, {"x1": 0.02, "u": 0.05})
    before = data.copy(deep=True)
    estimate(family(), data)
    assert data.identical(before)
    assert torch.get_default_dtype() == torch.float32


def test_a_checkpoint_makes_no_sense_here() -> None:
    from surrogates.training import Checkpoint

    with pytest.raises(ProblemError, match="checkpoint goes with"):
        OptimalControlNet().fit(  # type: ignore[call-overload]
            family(), measurements=readings(0, {"u": 0.05}), checkpoint=Checkpoint("run")
        )
