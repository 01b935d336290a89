"""Families: against solve() case by case; certificates against true errors; how cases may be given."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import spearmanr

from surrogates import OptimalControlNet
from surrogates.control import FamilyRoad, FittedFamily
from surrogates.errors import DataError, NumericalError, ProblemError
from surrogates.physics.optimal_control import Family, Problem, named_problem, solve, solve_points

Floats = NDArray[np.float64]
TIMES = np.linspace(0.0, 1.0, 101)


def problem(name: str) -> Problem:
    return named_problem(name).problem


def fit(family: Family, *, seed: int = 0, **road: Any) -> FittedFamily:
    return OptimalControlNet(family=FamilyRoad(**road)).fit(family, seed=seed)


@cache
def van_der_pol() -> FittedFamily:
    """S4 from any state in the box, as a user fits it."""
    return fit(problem("van_der_pol").over(initial_state=[(-1.5, 1.5)] * 2))


@cache
def poor() -> FittedFamily:
    """Too wide a box for so few cases."""
    return fit(problem("van_der_pol").over(initial_state=[(-3.0, 3.0)] * 2), max_cases=256)


def inside(family: Family, n: int, seed: int = 7) -> Floats:
    low, high = family.ranges.numpy()
    return np.asarray(low + (high - low) * np.random.default_rng(seed).random((n, len(low))))


def case(family: Family, inputs: Floats) -> Problem:
    """The problem at one case's inputs."""
    values = dict(zip(family.inputs, inputs.tolist(), strict=True))
    base = family.problem
    return base.with_values(
        initial_state=[values.get(n, v) for n, v in zip(base.states, base.initial_state, strict=True)],
        horizon=(values.get("initial_time", base.horizon[0]), base.horizon[1]),
        parameters={name: values[name] for name in family.parameters},
    )


def distances(answer: xr.Dataset, truth: Floats) -> Floats:
    """Relative L2 errors of u, case by case."""
    u = answer.u.values
    return np.asarray(np.sqrt(((u - truth) ** 2).sum((1, 2)) / (truth**2).sum((1, 2))))


def solved_together(family: Family, points: Floats) -> tuple[Floats, Floats]:
    """u (cases, TIMES, m) and J (cases,) by batched Newton steps on a finer mesh of its own."""
    batch = solve_points(family, torch.from_numpy(points), tolerance=1e-11)
    assert bool(batch.solved.converged.all())
    z = batch.collocation.mesh.interpolate(batch.solved.at.Z, TIMES)
    n = family.problem.state_size
    t = batch.cases.t0[:, None] + (batch.solved.at.T - batch.cases.t0)[:, None] * torch.from_numpy(TIMES)
    q = batch.cases.q[:, None].expand(*t.shape, -1)
    return batch.collocation.system.control(t, z[..., :n], z[..., n:], q).numpy(), batch.solved.J.numpy()


def solved_alone(family: Family, points: Floats) -> tuple[Floats, Floats]:
    """The same by solve(), one after the other."""
    u, J = [], []
    for inputs in points:
        it = case(family, inputs)
        start, end = it.horizon
        answer = solve(it, times=TIMES if it.free_final_time else start + (end - start) * TIMES, tolerance=1e-11)
        u.append(answer.u.values)
        J.append(float(answer.J))
    return np.stack(u), np.array(J)


# --- accuracy ---


def test_a_family_is_as_accurate_as_asked() -> None:
    fitted = van_der_pol()
    points = inside(fitted.family, 300)
    u, J = solved_together(fitted.family, points)
    np.testing.assert_allclose(u[:6], solved_alone(fitted.family, points[:6])[0], rtol=0, atol=1e-9)
    answer = fitted.predict(points, times=TIMES, certify=True)
    errors = distances(answer, u)
    assert np.median(errors) <= 1e-5
    assert np.quantile(errors, 0.99) <= 1e-3
    gaps = answer.cost_gap.values
    assert np.median(np.abs(gaps)) <= 1e-8
    assert gaps.min() > -1e-12
    np.testing.assert_allclose(answer.J, J, rtol=1e-9)
    polished = fitted.predict(points, times=TIMES, certify=True, polish=True)
    assert distances(polished, u).max() <= 1e-9
    assert distances(fitted.predict(points, times=TIMES, polish=2), u).max() <= 2e-11


@pytest.mark.parametrize("which", [van_der_pol, poor])
def test_certificates_follow_the_true_error_and_are_never_much_better(which: Any) -> None:
    fitted = which()
    points = inside(fitted.family, 200, seed=3)
    u, _ = solved_together(fitted.family, points)
    answer = fitted.predict(points, times=TIMES, certify=True)
    true, stated = distances(answer, u), answer.error.values
    assert spearmanr(true, stated).statistic >= 0.95
    assert (true / stated).max() < 1.5
    assert (true / stated).min() > 0.5
    for name in ("hamiltonian_drift", "residual"):  # necessary, not sufficient
        assert spearmanr(true, answer[name].values).statistic >= 0.3
    gap = answer.cost_gap.values
    assert (gap < 1000 * true**2 + 1e-13).all()
    assert (gap > -1e-9 * true).all()


def test_a_poor_family_says_that_it_is_poor() -> None:
    report = poor().report
    assert not report.is_success
    assert report.outcome == "256 cases, the most allowed, were used"
    assert report.figures["held-out error of u, median"] > 1e-3
    points = inside(poor().family, 100)
    true = distances(poor().predict(points, times=TIMES), solved_together(poor().family, points)[0])
    assert np.median(true) == pytest.approx(report.figures["held-out error of u, median"], rel=0.5)


def test_polished_answers_are_certified_as_what_they_are() -> None:
    """One Newton step from a rough answer isn't perfect, and the certificate is of the answer that is given."""
    points = inside(poor().family, 60)
    u, _ = solved_together(poor().family, points)
    answer = poor().predict(points, times=TIMES, certify=True, polish=1)
    true, stated = distances(answer, u), answer.error.values
    assert true.max() > 1e-6
    large = true > 1e-9
    assert (true[large] / stated[large]).max() < 1.5
    assert (true[large] / stated[large]).min() > 0.5
    raw = distances(poor().predict(points, times=TIMES), u)
    assert np.median(true) < 0.05 * np.median(raw)


def test_controls_with_kinks_are_judged_fairly_before_and_after_polishing() -> None:
    """One mesh for all cases can't have its breaks at each one's switches: Newton steps end in that mesh's own error."""
    family = problem("bounded_van_der_pol").over(initial_state=[(-0.2, 0.2), (0.8, 1.2)])
    fitted = fit(family, max_cases=256)
    assert any("controls with kinks" in warning for warning in fitted.report.warnings)
    points = inside(family, 6)
    u, J = solved_alone(family, points)
    for steps in (0, 2):
        answer = fitted.predict(points, times=TIMES, certify=True, polish=steps)
        assert float(answer.u.min()) >= -0.3
        assert float(answer.u.max()) <= 1.0
        true, stated = distances(answer, u), answer.error.values
        assert np.median(true) < 5e-4
        assert (true < 3 * stated + 1e-11).all()
        assert (stated < 3 * true + 1e-11).all()
        np.testing.assert_allclose(answer.J, J, rtol=1e-6)


FAMILIES: dict[str, Any] = {
    "parameters": lambda: problem("van_der_pol").over(parameters={"damping": (0.7, 1.3), "control_weight": (0.5, 2.0)}),
    "initial time": lambda: problem("scalar_lq").over(initial_state=[(-2.0, 2.0)], initial_time=(0.0, 0.9)),
    "terminal cost": lambda: problem("stirred_tank").over(initial_state=[(0.02, 0.06), (-0.02, 0.02)]),
    "no running cost": lambda: problem("scalar_mayer").over(
        initial_state=[(0.5, 1.5)], parameters={"rate": (1.5, 3.0)}
    ),
    "one input": lambda: problem("scalar_mayer").over(initial_state=[(0.5, 1.5)]),
    "fixed end": lambda: problem("hyper_sensitive").over(initial_state=[(0.5, 1.5)]),
    "state and parameter": lambda: problem("double_integrator").over(
        initial_state=[(-1.0, 1.0), 0.0], parameters={"end_weight": (5.0, 20.0)}
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_all_kinds_of_families(name: str) -> None:
    family = FAMILIES[name]()
    fitted = fit(family, max_cases=1024)
    assert fitted.report.is_success
    points = inside(family, 6)
    u, J = solved_alone(family, points)
    answer = fitted.predict(points, times=TIMES, certify=True)
    errors = distances(answer, u)
    assert np.median(errors) < 2e-5
    assert errors.max() < 1e-3
    stated = answer.error.values
    assert (errors < 3 * stated + 1e-11).all()
    np.testing.assert_allclose(answer.J, J, rtol=1e-8)
    polished = fitted.predict(points, times=TIMES, polish=2)
    assert distances(polished, u).max() < 1e-9
    for i, inputs in enumerate(points):
        start, end = case(family, inputs).horizon
        np.testing.assert_allclose(answer.t.values[i], start + (end - start) * TIMES, rtol=1e-14, atol=1e-15)
        for k, column in enumerate(family.inputs):
            assert answer[column].values[i] == inputs[k]


def test_a_family_against_its_closed_form() -> None:
    """S3 for every rate k and start x0: x = 4 x0 / (x0 + (4 - x0) E), E = e^{kt}, u = x/2; S3's own at x0 = 1."""
    fitted = fit(FAMILIES["no running cost"](), max_cases=1024)
    points = inside(fitted.family, 50)
    answer = fitted.predict(points, times=TIMES)
    x0, k = points[:, :1], points[:, 1:]
    x = 4 * x0 / (x0 + (4 - x0) * np.exp(2 * k * TIMES))
    np.testing.assert_allclose(answer.x.values[..., 0], x, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(answer.u.values[..., 0], x / 2, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_a_free_final_time() -> None:
    """The brachistochrone's time goes with 1/√g, its slide not at all: few modes, and none of rounding's."""
    family = problem("brachistochrone").over(parameters={"gravity": (5.0, 15.0)})
    fitted = fit(family, max_cases=512)
    assert fitted.report.figures["modes"] < 10
    points = inside(family, 5)
    answer = fitted.predict(points, times=TIMES, certify=True)
    reference = named_problem("brachistochrone")
    assert reference.final_time is not None
    T = reference.final_time * np.sqrt(9.80665 / points[:, 0])
    np.testing.assert_allclose(answer.t.values[:, -1], T, rtol=1e-8)
    np.testing.assert_allclose(answer.J, T, rtol=1e-8)
    np.testing.assert_allclose(answer.x.values[:, -1, :2], [[10.0, 5.0]] * 5, rtol=1e-14)
    u, _ = solved_alone(family, points)
    assert distances(answer, u).max() < 1e-6


@pytest.mark.parametrize("name", ["van_der_pol", "terminal cost", "fixed end"])
def test_end_conditions_are_exact(name: str) -> None:
    family = van_der_pol().family if name == "van_der_pol" else FAMILIES[name]()
    fitted = van_der_pol() if name == "van_der_pol" else fit(family, max_cases=256)
    points = inside(family, 40)
    answer = fitted.predict(points, times=[0.0, 1.0])
    np.testing.assert_allclose(answer.x.values[:, 0, : len(family.initial_state)], points, rtol=0, atol=4e-16)
    x, p = answer.x.values[:, 1], answer.p.values[:, 1]
    if name == "fixed end":
        np.testing.assert_allclose(x, 1.5, rtol=3e-16)
    else:
        slope = 2 * x if name == "terminal cost" else 0 * x  # Φ = |x|², or none
        np.testing.assert_allclose(p, slope, rtol=1e-13, atol=1e-15)


# --- how it is asked ---


def test_cases_may_be_given_in_any_form() -> None:
    fitted = van_der_pol()
    points = inside(fitted.family, 5)
    wanted = fitted.predict(points)
    x1, x2 = points.T
    for given in (
        points.tolist(),
        torch.from_numpy(points),
        {"x2": x2, "x1": x1},
        pd.DataFrame({"other": 1.0, "x2": x2, "x1": x1}),
        xr.Dataset({"x1": ("case", x1), "x2": ("case", x2)}),
    ):
        assert fitted.predict(given).identical(wanted)
    xr.testing.assert_allclose(fitted.predict(points[0]), wanted.isel(case=[0]), rtol=1e-12, atol=1e-13)
    assert fitted.predict({"x1": 0.5, "x2": x2}).x1.values.tolist() == [0.5] * 5
    assert dict(wanted.sizes) == {"case": 5, "time": 33, "state": 2, "control": 1}
    assert fitted.inputs == ("x1", "x2")


def test_the_order_of_cases_is_irrelevant() -> None:
    fitted = van_der_pol()
    points = inside(fitted.family, 300)
    order = np.random.default_rng(0).permutation(300)
    for polish in (False, True):
        straight = fitted.predict(points, certify=True, polish=polish).isel(case=order)
        shuffled = fitted.predict(points[order], certify=True, polish=polish)
        for key in ("x", "u", "p"):
            np.testing.assert_allclose(shuffled[key], straight[key], rtol=0, atol=1e-12)
        alone = fitted.predict(points[order[:2]], polish=polish)
        np.testing.assert_allclose(alone.u, straight.u[:2], rtol=0, atol=1e-12)


def test_an_input_array_is_not_changed() -> None:
    points = inside(van_der_pol().family, 5)
    before = points.copy()
    answer = van_der_pol().predict(points, certify=True, polish=True)
    assert np.array_equal(points, before)
    assert set(answer.data_vars) == {
        "x", "u", "p", "t", "error", "residual", "hamiltonian_drift", "cost_gap", "J"
    }  # fmt: skip
    assert set(van_der_pol().predict(points).data_vars) == {"x", "u", "p", "t"}


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ([[0.0, 1.6]], "input 'x2' is 1.6 in case 0; this family was fitted for [-1.5, 1.5]"),
        ([[0.0, 0.0], [-2.0, 0.0]], "input 'x1' is -2.0 in case 1"),
        ([[np.nan, 0.0]], "input 'x1' is nan in case 0"),
        ([[0.0, np.inf]], "input 'x2' is inf in case 0"),
        ({"x1": [0.0]}, "input 'x2' is missing; this family varies ('x1', 'x2')"),
        (pd.DataFrame({"x2": [0.0]}), "input 'x1' is missing"),
        ([[0.0, 0.0, 0.0]], "cases have shape (1, 3); (cases, 2) is expected"),
        (np.zeros((2, 2, 2)), "cases have shape (2, 2, 2)"),
    ],
)
def test_bad_cases_are_refused_by_name(at: Any, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        van_der_pol().predict(at)


def test_the_ends_of_the_ranges_belong_to_them() -> None:
    answer = van_der_pol().predict([[1.5, -1.5], [-1.5, 1.5]], certify=True)
    assert float(answer.error.max()) < 1e-2


@pytest.mark.parametrize("times", [[], [0.5, 0.5], [-0.1, 0.5], [0.0, 1.1], [0.0, np.nan], [[0.0, 1.0]]])
def test_bad_times_are_refused(times: Any) -> None:
    with pytest.raises(DataError, match="shares of the horizon between 0 and 1"):
        van_der_pol().predict([[0.0, 1.0]], times=times)


# --- how it is fitted ---


def test_random_features_serve_too() -> None:
    fitted = fit(van_der_pol().family, trunk="random", max_cases=1024)
    points = inside(fitted.family, 60)
    u, _ = solved_together(fitted.family, points)
    answer = fitted.predict(points, times=TIMES, certify=True)
    errors = distances(answer, u)
    assert np.median(errors) < 1e-4
    assert (np.abs(np.log(errors / answer.error.values)) < np.log(2)).all()


def four_inputs() -> Family:
    return problem("scalar_lq").over(
        initial_state=[(0.5, 2.0)],
        initial_time=(0.0, 0.8),
        parameters={"decay": (0.2, 4.0), "control_weight": (0.2, 4.0)},
    )


def test_more_cases_are_solved_until_it_is_accurate_enough() -> None:
    family = four_inputs()
    few, many = fit(family, accuracy=0.1), fit(family, accuracy=1e-4)
    assert few.report.figures["cases"] == 256
    assert many.report.figures["cases"] > 256
    assert few.report.is_success
    assert many.report.is_success
    assert many.report.trace[-1] <= 1e-4 < many.report.trace[-2] <= many.report.trace[0]
    points = inside(family, 60)
    u, _ = solved_together(family, points)
    medians = [np.median(distances(it.predict(points, times=TIMES), u)) for it in (few, many)]
    assert medians[1] < 0.2 * medians[0]
    assert medians[1] == pytest.approx(many.report.trace[-1], rel=0.5)


def test_max_cases_is_kept() -> None:
    seen: list[int] = []
    net = OptimalControlNet(family=FamilyRoad(accuracy=1e-12, max_cases=700))
    report = net.fit(four_inputs(), progress=lambda done, value: seen.append(done)).report
    assert report.figures["cases"] == 700
    assert len(report.trace) == len(seen) == 3
    assert not report.is_success
    assert report.outcome == "700 cases, the most allowed, were used"


def test_the_same_seed_gives_the_same_network() -> None:
    family = problem("scalar_lq").over(initial_state=[(-2.0, 2.0)], parameters={"decay": (0.5, 2.0)})
    points = inside(family, 7)
    first, second, other = (fit(family, seed=seed).predict(points, certify=True) for seed in (4, 4, 5))
    assert first.identical(second)
    assert not np.array_equal(first.u, other.u)
    np.testing.assert_allclose(first.u, other.u, rtol=0, atol=1e-4)


def test_a_linear_quadratic_family_is_linear() -> None:
    """u = -K(t) x with x in two directions: two modes, met to rounding."""
    fitted = fit(problem("double_integrator").over(initial_state=[(-1.0, 1.0)] * 2))
    assert fitted.report.figures["modes"] == 2
    reference = named_problem("double_integrator")
    assert reference.exact is not None
    answer = fitted.predict([[1.0, 0.0], [-0.5, 0.0]], times=TIMES)
    u = reference.exact(torch.from_numpy(2 * TIMES))[1].numpy()
    np.testing.assert_allclose(answer.u.values, [u, -0.5 * u], rtol=0, atol=1e-13)


def test_ranges_without_extremals_are_reported() -> None:
    """x' = x² + u over a long horizon: from large states the motion explodes whatever u costs."""
    explosive = Problem(
        dynamics=lambda t, x, u, θ: x**2 + u,
        running_cost=lambda t, x, u, θ: 1e4 * u[..., 0] ** 2 - x[..., 0] ** 2,
        horizon=(0.0, 40.0),
        initial_state=(3.0,),
        control_size=1,
    )
    with pytest.raises(NumericalError):
        fit(explosive.over(initial_state=[(2.0, 4.0)]), max_cases=256)


def test_names_of_states_are_those_of_the_problem() -> None:
    base = problem("scalar_lq")
    named = Problem(
        dynamics=base.dynamics,
        running_cost=base.running_cost,
        horizon=base.horizon,
        initial_state=base.initial_state,
        control_size=1,
        parameters=base.parameters,
        state_names=("level",),
        control_names=("valve",),
    )
    fitted = fit(named.over(initial_state=[(-1.0, 1.0)]))
    answer = fitted.predict({"level": [0.5]})
    assert (answer.state.values.tolist(), answer.control.values.tolist()) == (["level"], ["valve"])


@pytest.mark.parametrize(
    ("road", "message"),
    [
        ({"trunk": "fourier"}, "trunk is 'fourier'; it must be one of ('chebyshev', 'random')"),
        ({"max_cases": 100}, "max_cases is 100; every fit starts with 256"),
        ({"accuracy": -1.0}, "accuracy is -1.0; it must be a number >= 0"),
        ({"accuracy": np.nan}, "accuracy is nan"),
    ],
)
def test_roads_that_lead_nowhere_are_refused(road: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=re.escape(message)):
        FamilyRoad(**road)
