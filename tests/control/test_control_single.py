"""One problem by random features and by Levenberg-Marquardt: against closed forms and solve()."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import xarray as xr

from surrogates import OptimalControlNet
from surrogates.control import ControlReport, FeatureRoad, FittedControl, LevenbergMarquardtRoad
from surrogates.errors import DataError, NumericalError, ProblemError
from surrogates.physics.optimal_control import Problem, named_problem, solve
from surrogates.training import Checkpoint

SMOOTH = ("scalar_lq", "double_integrator", "scalar_mayer", "van_der_pol", "stirred_tank")
#: what the issue asks of u
ASKED = dict.fromkeys(SMOOTH[:4], 1e-8) | {
    "stirred_tank": 1e-6,
    "rayleigh": 1e-6,
    "hyper_sensitive": 1e-6,
    "bounded_van_der_pol": 1e-4,
}
#: medians of three seeds are asked for; of the problems that take wide layers, all three in the slow run
SEEDS = (0, 1, 2)
CASES = [
    *[pytest.param(name, SEEDS if name in SMOOTH else (0,), id=name) for name in ASKED],
    *[
        pytest.param(name, SEEDS, id=f"{name}, three seeds", marks=pytest.mark.slow)
        for name in ASKED
        if name not in SMOOTH
    ],
]


@cache
def truth(name: str) -> xr.Dataset:
    """The classical solution at 201 equal steps; the formula where there is one."""
    reference = named_problem(name)
    answer = solve(reference.problem, tolerance=1e-11)
    if reference.exact is not None:
        for key, value in zip(("x", "u", "p"), reference.exact(torch.tensor(answer.time.values)), strict=True):
            answer[key].values[:] = value.numpy()
    return answer


@cache
def fitted(name: str, seed: int = 0) -> FittedControl:
    return OptimalControlNet().fit(named_problem(name).problem, seed=seed)


def distance(answer: xr.Dataset, name: str, key: str = "u") -> float:
    """Relative L2 error over the 201 times."""
    wanted = truth(name)[key].values
    return float(np.linalg.norm(answer[key].values - wanted) / np.linalg.norm(wanted))


# --- random features ---


@pytest.mark.parametrize(("name", "seeds"), CASES)
def test_random_features_are_as_accurate_as_asked(name: str, seeds: tuple[int, ...]) -> None:
    answers = [fitted(name, seed).predict(certify=False) for seed in seeds]
    assert np.median([distance(answer, name) for answer in answers]) <= ASKED[name]
    for key in "xp":
        assert np.median([distance(answer, name, key) for answer in answers]) <= ASKED[name]
    if name in SMOOTH:
        assert np.median([distance(answer, name) for answer in answers]) <= 1e-11
        assert all(fitted(name, seed).report.is_success for seed in seeds)


@pytest.mark.parametrize(("name", "seeds"), CASES)
def test_the_certificate_is_the_true_error(name: str, seeds: tuple[int, ...]) -> None:
    """Also where the control has kinks and the state has layers, which the first judging mesh doesn't resolve."""
    for seed in seeds:
        answer = fitted(name, seed).predict()
        true, stated = distance(answer, name), float(answer.error)
        if true > 1e-13:
            assert 0.5 * true <= stated <= 2 * true
        assert stated < max(2e-13, 2 * true)
        reference = named_problem(name)
        assert float(answer.J) == pytest.approx(reference.J, rel=1e-11)
        if named_problem(name).problem.final_state == (None,) * reference.problem.state_size:
            # a cost above the least one, of second order; fixed ends aren't met by an integrated motion
            assert -1e-14 <= float(answer.cost_gap) <= 100 * true**2 + 1e-14
        if not reference.problem.is_bounded:  # of first order
            assert float(answer.hamiltonian_drift) <= 1e4 * max(true, 1e-14)


@pytest.mark.parametrize("name", ["hyper_sensitive", "bounded_van_der_pol", "rayleigh"])
def test_polishing_helps_and_is_judged_fairly(name: str) -> None:
    """On one mesh for both, a polished answer would be called perfect while it has the mesh's own error."""
    raw, polished = fitted(name).predict(), fitted(name).predict(polish=True)
    assert distance(polished, name) < 0.2 * distance(raw, name)
    assert distance(polished, name) < 1e-8
    true, stated = distance(polished, name), float(polished.error)
    assert stated > 0.1 * true or true < 1e-11
    again = fitted(name).predict(polish=3)
    assert distance(again, name) < 1e-8
    assert float(again.error) > 0.1 * distance(again, name) or distance(again, name) < 1e-11


def test_two_newton_steps_polish_more_than_one() -> None:
    """From a rough answer of few features: each step about squares the error."""
    road = FeatureRoad(layers=((10, 3.0),))
    rough = OptimalControlNet(features=road).fit(named_problem("van_der_pol").problem)
    assert not rough.report.is_success
    errors = [distance(rough.predict(polish=k), "van_der_pol") for k in (0, 1, 2)]
    assert 1e-6 < errors[0] < 0.2
    assert errors[1] < 10 * errors[0] ** 2
    assert errors[2] < max(1e-12, 10 * errors[1] ** 2)
    for k, error in enumerate(errors[:2]):
        assert float(rough.predict(polish=k).error) == pytest.approx(error, rel=0.3)


def test_times_are_those_asked_for() -> None:
    times = [0.0, 0.1234, 3.0, 5.0]
    answer = fitted("van_der_pol").predict(times)
    wanted = solve(named_problem("van_der_pol").problem, times=times)
    for key in ("x", "u", "p"):
        assert answer[key].dims == wanted[key].dims
        np.testing.assert_allclose(answer[key], wanted[key], rtol=0, atol=1e-11)
    assert answer.time.values.tolist() == times
    assert (list(answer.state.values), list(answer.control.values)) == (["x1", "x2"], ["u"])
    polished = fitted("van_der_pol").predict(times, polish=True, certify=False)
    np.testing.assert_allclose(polished.u, wanted.u, rtol=0, atol=1e-11)
    assert set(polished.data_vars) == {"x", "u", "p"}


@pytest.mark.parametrize("times", [[], [[0.0, 1.0]], [1.0, 0.5], [1.0, 1.0], [-0.1, 1.0], [0.0, 5.1], [0.0, math.nan]])
def test_times_outside_the_horizon_or_out_of_order_are_refused(times: list[float]) -> None:
    with pytest.raises(DataError, match=re.escape("within the horizon [0.0, 5.0]")):
        fitted("van_der_pol").predict(times)


@pytest.mark.parametrize("polish", [-1, 1.5])
def test_a_polish_that_is_no_number_of_steps_is_refused(polish: Any) -> None:
    with pytest.raises(DataError, match=re.escape(f"polish is {polish}; it must be True, False or a number of Newton")):
        fitted("van_der_pol").predict(polish=polish)


def test_given_ends_are_met_exactly() -> None:
    answer = fitted("hyper_sensitive").predict([0.0, 10.0], certify=False)
    np.testing.assert_allclose(answer.x.values[:, 0], [1.0, 1.5], rtol=4e-16)


def test_the_same_seed_gives_the_same_network() -> None:
    problem = named_problem("van_der_pol").problem
    first, second, other = (OptimalControlNet().fit(problem, seed=seed).predict() for seed in (3, 3, 4))
    assert first.identical(second)
    assert not np.array_equal(first.u, other.u)
    assert np.allclose(first.u, other.u, rtol=0, atol=1e-10)


def test_units_of_the_variables_do_not_matter() -> None:
    """S4 with x in thousandths, u in thousands and the cost in millionths is the same problem once scaled: the same fit."""
    problem = named_problem("van_der_pol").problem
    other = Problem(
        dynamics=lambda t, x, u, θ: 1e3 * problem.dynamics(t, x / 1e3, 1e3 * u, θ),
        running_cost=lambda t, x, u, θ: 1e6 * ((x / 1e3) ** 2).sum(-1) + 1e6 * (1e3 * u[..., 0]) ** 2,
        horizon=problem.horizon,
        initial_state=(0.0, 1e3),
        control_size=1,
        parameters=problem.parameters,
    )
    in_other_units = OptimalControlNet().fit(other)
    for name, value in fitted("van_der_pol").report.figures.items():
        assert in_other_units.report.figures[name] == pytest.approx(value, rel=0.01)
    answer = in_other_units.predict()
    np.testing.assert_allclose(1e3 * answer.u, truth("van_der_pol").u, rtol=0, atol=1e-11)
    np.testing.assert_allclose(answer.x, 1e3 * truth("van_der_pol").x, rtol=0, atol=1e-8)
    np.testing.assert_allclose(answer.p, 1e3 * truth("van_der_pol").p, rtol=0, atol=1e-8)


def test_a_tolerance_out_of_reach_is_reported() -> None:
    road = FeatureRoad(layers=((10, 3.0), (14, 3.0)))
    report = OptimalControlNet(features=road).fit(named_problem("van_der_pol").problem).report
    assert not report.is_success
    assert "the widest layer leaves a larger residual" in str(report)
    assert report.figures["rms residual"] > 1e-10


def test_the_report_says_how_it_went() -> None:
    report = fitted("van_der_pol").report
    assert "random features" in report.method
    assert report.outcome == "the residual asked for was reached"
    assert report.figures["width"] in (60, 100, 200, 300)
    assert report.figures["steps"] == len(report.trace) > 0
    assert report.figures["rms residual"] <= 1e-10
    assert 0 < report.seconds < 60
    assert (report.warnings, report.weights, report.estimates) == ((), {}, {})
    assert ControlReport.from_dict(report.to_dict()) == report
    assert "no warnings" in str(report)
    assert fitted("van_der_pol").predict().attrs["outcome"] == report.outcome


def test_progress_is_told_of_every_layer() -> None:
    seen: list[tuple[int, float | None]] = []
    road = FeatureRoad(layers=((10, 3.0), (40, 5.0)), tolerance=1e-300)
    OptimalControlNet(features=road).fit(
        named_problem("scalar_lq").problem, progress=lambda done, value: seen.append((done, value))
    )
    assert [done for done, _ in seen] == [1, 2]


def test_a_free_final_time_is_refused() -> None:
    problem = named_problem("brachistochrone").problem
    methods: tuple[Literal["features", "levenberg-marquardt"], ...] = ("features", "levenberg-marquardt")
    for method in methods:
        with pytest.raises(ProblemError, match="a network of one problem needs a fixed final time"):
            OptimalControlNet(method=method).fit(problem)


def test_a_problem_without_minimum_is_not_answered_silently() -> None:
    """x' = x² + u with a cost that rewards x: the motion explodes within the horizon."""
    problem = Problem(
        dynamics=lambda t, x, u, θ: x**2 + u,
        running_cost=lambda t, x, u, θ: u[..., 0] ** 2 - x[..., 0] ** 4,
        horizon=(0.0, 20.0),
        initial_state=(2.0,),
        control_size=1,
    )
    try:
        fitted = OptimalControlNet(features=FeatureRoad(layers=((12, 4.0),))).fit(problem)
    except NumericalError:
        return
    assert not fitted.report.is_success
    assert float(fitted.predict().error) == math.inf


@pytest.mark.parametrize("name", [None, "newton", "Features"])
def test_unknown_methods_are_refused(name: str) -> None:
    with pytest.raises(ProblemError, match="it must be one of"):
        OptimalControlNet(method=name)  # type: ignore[arg-type]


def test_checkpoints_go_with_the_long_roads_only(tmp_path: Path) -> None:
    problem = named_problem("scalar_lq").problem
    with pytest.raises(ProblemError, match="checkpoint goes with"):
        OptimalControlNet().fit(problem, checkpoint=Checkpoint(tmp_path / "run"))
    family = problem.over(initial_state=[(0.5, 1.5)])
    with pytest.raises(ProblemError, match="checkpoint goes with"):
        OptimalControlNet().fit(family, checkpoint=Checkpoint(tmp_path / "run"))  # type: ignore[call-overload]


# --- Levenberg-Marquardt ---


def by_levenberg_marquardt(steps: int, **more: Any) -> FittedControl:
    road = LevenbergMarquardtRoad(max_steps=steps, width=24)
    net = OptimalControlNet(method="levenberg-marquardt", levenberg_marquardt=road)
    fitted: FittedControl = net.fit(named_problem("van_der_pol").problem, **more)
    return fitted


def test_levenberg_marquardt_reaches_its_accuracy_in_few_steps() -> None:
    few = by_levenberg_marquardt(60)
    answer = few.predict()
    assert distance(answer, "van_der_pol") <= 1e-6
    assert float(answer.error) == pytest.approx(distance(answer, "van_der_pol"), rel=0.5, abs=1e-13)
    assert few.report.is_success
    assert few.report.figures["steps"] <= 60
    trace = few.report.trace
    assert all(b <= a for a, b in pairwise(trace))
    assert trace[-1] < 1e-3 * trace[0]


def test_hidden_weights_are_trained_too() -> None:
    """Else the residual after Gauss-Newton steps on the outer weights would be that of the first layer."""
    none, many = by_levenberg_marquardt(1).report, by_levenberg_marquardt(60).report
    assert many.figures["rms residual before Gauss-Newton"] < 0.05 * none.figures["rms residual before Gauss-Newton"]
    assert many.figures["rms residual"] < none.figures["rms residual"]


def interrupting_at(step: int) -> Callable[[int, float | None], None]:
    def progress(done: int, value: float | None) -> None:
        if done >= step:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(tmp_path: Path) -> None:
    whole = by_levenberg_marquardt(30)
    checkpoint = Checkpoint(tmp_path / "run", every=5)
    with pytest.raises(KeyboardInterrupt):
        by_levenberg_marquardt(30, checkpoint=checkpoint, progress=interrupting_at(13))
    assert (tmp_path / "run").exists()
    steps: list[int] = []
    resumed = by_levenberg_marquardt(30, checkpoint=checkpoint, progress=lambda done, value: steps.append(done))
    assert min(steps) > 5  # it didn't start anew
    assert resumed.predict().identical(whole.predict())
    assert resumed.report.trace == whole.report.trace
    assert resumed.report.figures == whole.report.figures
