"""Minimisers on problems whose minimum is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.errors import NumericalError
from surrogates.training import Minimum, Outcome, lbfgs, newton

Floats = NDArray[np.float64]
WIDE = np.array([[-50.0, 50.0]] * 2)
Minimiser = Callable[..., Minimum]


class Value(NamedTuple):
    value: float
    gradient: Floats | None
    curvature: Floats | None


class Counted:
    """An objective from value, gradient and curvature, which counts its calls and never gives more than asked for."""

    def __init__(
        self,
        value: Callable[[Floats], float],
        gradient: Callable[[Floats], Floats],
        curvature: Callable[[Floats], Floats],
    ) -> None:
        self.value, self.gradient, self.curvature = value, gradient, curvature
        self.calls = 0

    def __call__(self, x: Floats, order: int) -> Value:
        self.calls += 1
        return Value(self.value(x), self.gradient(x) if order > 0 else None, self.curvature(x) if order > 1 else None)


def quadratic(centre: Floats, C: Floats) -> Counted:
    """7 + ½ (x - c)'C(x - c)."""
    return Counted(
        lambda x: 7.0 + 0.5 * float((x - centre) @ C @ (x - centre)), lambda x: C @ (x - centre), lambda x: C
    )


def rosenbrock() -> Counted:
    """½|r|² with r = (10 (y - x²), 1 - x), and Gauss-Newton's curvature J'J; minimum 0 at (1, 1)."""

    def residual(x: Floats) -> Floats:
        return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])

    def jacobian(x: Floats) -> Floats:
        return np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])

    return Counted(
        lambda x: 0.5 * float(residual(x) @ residual(x)),
        lambda x: jacobian(x).T @ residual(x),
        lambda x: jacobian(x).T @ jacobian(x),
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), p=st.integers(1, 6))
def test_a_quadratic_takes_one_step_and_a_look(seed: int, p: int) -> None:
    generator = np.random.default_rng(seed)
    R = generator.normal(size=(p, p + 2))
    C, centre = R @ R.T + 0.1 * np.eye(p), generator.uniform(-0.7, 0.7, p)
    objective = quadratic(centre, C)
    found = newton(objective, np.zeros(p), np.array([[-9.0, 9.0]] * p), tolerance=1e-9)
    assert found.outcome is Outcome.CONVERGED
    # Levenberg's damping of 1e-3 leaves a thousandth of the way, so a look or two more
    assert found.evaluations == objective.calls <= 4
    # a gain of ε is a distance of √(2ε) in the metric of the curvature
    assert 0.5 * (found.x - centre) @ C @ (found.x - centre) <= 1e-9
    assert found.value == pytest.approx(7.0, abs=1e-8)
    np.testing.assert_array_equal(found.gradient, C @ (found.x - centre))
    assert found.curvature is not None
    np.testing.assert_array_equal(found.curvature, C)


def test_a_start_at_the_minimum_takes_one_look() -> None:
    found = newton(quadratic(np.ones(2), np.eye(2)), np.ones(2), WIDE)
    assert (found.evaluations, found.trace, found.outcome) == (1, (7.0,), Outcome.CONVERGED)


def test_steps_are_at_most_one_and_a_half_long() -> None:
    seen = []
    objective = quadratic(np.array([9.0, 0.0]), np.eye(2))
    newton(lambda x, order: seen.append(x.copy()) or objective(x, order), np.zeros(2), WIDE)  # type: ignore[func-returns-value]
    assert np.abs(np.diff(np.array(seen), axis=0)).max() <= 1.5 + 1e-12
    assert len(seen) > 6


@pytest.mark.parametrize("start", [[-1.2, 1.0], [3.0, -3.0], [0.0, 0.0], [-2.0, 5.0]])
def test_a_curved_valley_with_gauss_newton_curvature(start: list[float]) -> None:
    found = newton(rosenbrock(), np.array(start), WIDE, tolerance=1e-12)
    assert found.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(found.x, 1.0, atol=1e-5)
    assert found.value < 1e-12


@pytest.mark.parametrize("minimise", [newton, lbfgs])
def test_the_trace_descends_to_the_value(minimise: Minimiser) -> None:
    objective = rosenbrock()
    start = np.array([-1.2, 1.0])
    found = minimise(objective, start, WIDE)
    assert found.trace[0] == rosenbrock().value(start)
    assert (np.diff(found.trace) <= 0).all()
    assert found.trace[-1] == found.value
    assert found.evaluations == objective.calls


BOXES = {
    "inside": (np.array([0.3, -0.2]), [[-1, 1], [-1, 1]]),
    "one bound": (np.array([3.0, 0.0]), [[-1, 1], [-1, 1]]),
    "a corner": (np.array([3.0, -4.0]), [[-1, 1], [-1, 1]]),
    "a bound that is left again": (np.array([-2.0, 3.0]), [[-1, 5], [-1, 1]]),
}


@pytest.mark.parametrize("name", BOXES)
@pytest.mark.parametrize("minimise", [newton, lbfgs])
@pytest.mark.parametrize("start", [[0.0, 0.0], [1.0, -1.0], [-7.0, 7.0]])
def test_bounds_are_active_where_they_should_be(minimise: Minimiser, name: str, start: list[float]) -> None:
    """A bounded least-squares problem, solved by scipy's active-set method on ½|R(x - c)|²."""
    centre, box = BOXES[name]
    bounds = np.array(box, dtype=np.float64)
    R = np.array([[2.0, 0.0], [1.2, 1.0]])
    truth = scipy.optimize.lsq_linear(R, R @ centre, bounds=(bounds[:, 0], bounds[:, 1]), method="bvls").x
    found = minimise(quadratic(centre, R.T @ R), np.array(start), bounds, tolerance=1e-13)
    assert found.outcome is Outcome.CONVERGED
    np.testing.assert_allclose(found.x, truth, atol=2e-5)
    assert (found.x >= bounds[:, 0]).all()
    assert (found.x <= bounds[:, 1]).all()


def logarithm() -> Counted:
    """x - log x, defined for x > 0 only; minimum 1 at 1."""

    def value(x: Floats) -> float:
        if x[0] <= 0:
            raise NumericalError("log of a negative number")
        return float(x[0] - np.log(x[0]))

    return Counted(value, lambda x: 1 - 1 / x, lambda x: np.array([[0.2]]))


def test_newton_steps_back_from_where_nothing_is_defined() -> None:
    found = newton(logarithm(), np.array([3.0]), np.array([[-9.0, 9.0]]), tolerance=1e-10)
    assert found.outcome is Outcome.CONVERGED
    assert found.x[0] == pytest.approx(1.0, abs=1e-4)


def test_not_finite_is_not_defined() -> None:
    objective = Counted(lambda x: float(x @ x) if x[0] > -0.5 else np.nan, lambda x: 2 * x, lambda x: np.array([[0.3]]))
    found = newton(objective, np.array([1.0]), np.array([[-9.0, 9.0]]))
    assert found.outcome is Outcome.CONVERGED
    assert abs(found.x[0]) < 0.05
    with pytest.raises(NumericalError, match="not finite"):
        newton(objective, np.array([-1.0]), np.array([[-9.0, 9.0]]))


def test_an_undefined_start_is_an_error_or_a_stall_but_never_a_success() -> None:
    with pytest.raises(NumericalError, match="log of a negative number"):
        newton(logarithm(), np.array([-1.0]), np.array([[-9.0, 9.0]]))
    found = lbfgs(logarithm(), np.array([-1.0]), np.array([[-9.0, 9.0]]))
    assert found.outcome is Outcome.STALLED
    assert found.value == np.inf


@pytest.mark.parametrize("minimise", [newton, lbfgs])
def test_the_step_limit_is_no_success(minimise: Minimiser) -> None:
    found = minimise(rosenbrock(), np.array([-1.2, 1.0]), WIDE, max_evaluations=5)
    assert found.outcome is Outcome.STEP_LIMIT
    assert not found.outcome.is_success
    assert found.value < rosenbrock().value(np.array([-1.2, 1.0]))
    assert found.value > 0.1


def test_no_descent_is_no_success() -> None:
    """A gradient that lies about the value: nothing along it gets lower."""
    liar = Counted(lambda x: float(x @ x), lambda x: -np.ones(2), lambda x: np.eye(2))
    found = newton(liar, np.zeros(2), WIDE)
    assert found.outcome is Outcome.STALLED
    assert not found.outcome.is_success
    np.testing.assert_array_equal(found.x, np.zeros(2))


def test_lbfgs_finds_scipys_minimum() -> None:
    start, bounds = np.array([-1.2, 1.0, -1.2, 1.0]), np.array([[-5.0, 0.8], [-5, 5], [-5, 5], [-5, 5]])
    objective = Counted(
        scipy.optimize.rosen, scipy.optimize.rosen_der, lambda x: np.asarray(scipy.optimize.rosen_hess(x))
    )
    peer = scipy.optimize.minimize(
        scipy.optimize.rosen,
        start,
        jac=scipy.optimize.rosen_der,
        method="SLSQP",
        bounds=bounds,
        options={"ftol": 1e-14},
    )
    found = lbfgs(objective, start, bounds, tolerance=1e-14)
    assert found.outcome is Outcome.CONVERGED
    assert found.curvature is None
    np.testing.assert_allclose(found.x, peer.x, atol=1e-4)
    assert found.value == pytest.approx(peer.fun, abs=1e-7)


def test_outcomes_explain_themselves() -> None:
    assert [outcome.is_success for outcome in Outcome] == [True, False, False]
    assert Outcome.CONVERGED.value == "converged"
    assert Outcome.STEP_LIMIT.value == "stopped at the step limit before convergence"
    assert Outcome.STALLED.value == "no further descent was found before convergence"
