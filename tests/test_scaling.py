"""Scaling: the exact way back, and what a change of units does to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.scaling import InputScaling, TargetScaling

Floats = NDArray[np.float64]
FACTORS = st.floats(1e-12, 1e12)
SHIFTS = st.floats(-100, 100)
SEEDS = st.integers(0, 10**6)
QUICK = settings(deadline=None, max_examples=60)


def case(seed: int, *, n: int = 20, tasks: int = 3) -> tuple[Floats, Floats, NDArray[np.int64], Floats]:
    """Inputs, target, tasks and a linear basis."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-0.5, 0.5, (n, 2))
    task = (np.arange(n) % tasks).astype(np.int64)
    y = 3 * x[:, 0] + 10 * task + generator.standard_normal(n)
    return x, y, task, np.column_stack([np.ones(n), x])


def residual_spread(y: Floats, task: NDArray[np.int64], basis: Floats) -> float:
    """√(Σ residuals² / degrees of freedom) of one least-squares trend per task, by one block-diagonal regression."""
    H = np.concatenate([basis * (task == t)[:, None] for t in np.unique(task)], axis=1)
    residual = y - H @ np.linalg.pinv(H) @ y
    return float(np.sqrt(residual @ residual / (len(y) - np.linalg.matrix_rank(H))))


@QUICK
@given(seed=SEEDS, factor=FACTORS, shift=SHIFTS)
def test_inputs_fill_the_cube_and_come_back(seed: int, factor: float, shift: float) -> None:
    x = (case(seed)[0] + shift) * factor
    scaling = InputScaling.fit(x)
    scaled = scaling(x)
    np.testing.assert_allclose(scaled.min(axis=0), -0.5, atol=1e-12)
    np.testing.assert_allclose(scaled.max(axis=0), 0.5, atol=1e-12)
    np.testing.assert_allclose(scaled * scaling.width + scaling.centre, x, rtol=1e-13, atol=1e-13 * np.abs(x).max())


@QUICK
@given(seed=SEEDS, factor=FACTORS, shift=SHIFTS, sign=st.sampled_from([1.0, -1.0]))
def test_scaled_inputs_do_not_know_their_units(seed: int, factor: float, shift: float, sign: float) -> None:
    x = case(seed)[0]
    other = sign * factor * (x + shift)
    # numbers near 100 hold the cube's coordinates to 100 epsilon
    np.testing.assert_allclose(InputScaling.fit(other)(other), sign * InputScaling.fit(x)(x), atol=1e-13)


def test_an_input_that_never_varies_is_zero() -> None:
    scaling = InputScaling.fit(np.array([[1.0, 7.0], [3.0, 7.0]]))
    np.testing.assert_array_equal(scaling.width, [2.0, 1.0])
    np.testing.assert_array_equal(scaling(np.array([[1.0, 7.0]])), [[-0.5, 0.0]])
    single = InputScaling.fit(np.array([[1e300, -1e300]]))
    np.testing.assert_array_equal(single(np.array([[1e300, -1e300]])), [[0.0, 0.0]])


@QUICK
@given(seed=SEEDS)
def test_the_spread_is_that_of_the_trends_residuals(seed: int) -> None:
    _, y, task, basis = case(seed)
    scaling = TargetScaling.fit(y, task, basis)
    assert scaling.spread == pytest.approx(residual_spread(y, task, basis), rel=1e-9)
    assert scaling.centre == pytest.approx(np.mean([y[task == t].mean() for t in range(3)]), rel=1e-12)
    assert not scaling.constant


@QUICK
@given(seed=SEEDS, factor=FACTORS, shift=SHIFTS)
def test_scaled_targets_do_not_know_their_units(seed: int, factor: float, shift: float) -> None:
    _, y, task, basis = case(seed)
    plain, other = TargetScaling.fit(y, task, basis), TargetScaling.fit(factor * (y + shift), task, basis)
    assert other.spread == pytest.approx(factor * plain.spread, rel=1e-11)
    np.testing.assert_allclose(other(factor * (y + shift)), plain(y), rtol=1e-10, atol=1e-11)


@QUICK
@given(seed=SEEDS)
def test_the_spread_does_not_know_the_tasks_levels_and_trends(seed: int) -> None:
    x, y, task, basis = case(seed)
    moved = y + 1e3 * task + (task - 1) * 50 * x[:, 1]
    assert TargetScaling.fit(moved, task, basis).spread == pytest.approx(
        TargetScaling.fit(y, task, basis).spread, rel=1e-9
    )


def test_values_deviations_and_variances_come_back() -> None:
    scaling = TargetScaling(3.0, 0.5)
    y = np.array([-1e12, 3.0, 3.0 + 1e-9, 1e12])
    np.testing.assert_allclose(scaling.mean(scaling(y)), y, rtol=1e-15)
    np.testing.assert_array_equal(scaling.deviation(np.array([2.0])), [1.0])
    np.testing.assert_array_equal(scaling.variance(np.array([2.0])), [0.5])


@pytest.mark.parametrize("value", [5.0, -2e12, 3e-12])
def test_a_constant_target_is_said_to_be_constant(value: float) -> None:
    _, _, task, basis = case(0)
    scaling = TargetScaling.fit(np.full(20, value), task, basis)
    assert scaling.constant
    assert scaling.spread == abs(value)
    np.testing.assert_allclose(scaling(np.full(20, value)), 0.0, atol=1e-15)
    zero = TargetScaling.fit(np.zeros(20), task, basis)
    assert (zero.constant, zero.spread) == (True, 1.0)


@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_a_perfect_trend_leaves_a_small_spread_of_its_own_size(factor: float) -> None:
    """Residuals of rounding size can't be the scale; a thousandth of the spread within tasks is."""
    x, _, task, basis = case(1)
    y = factor * (3 * x[:, 0] + task)
    within = np.concatenate([y[task == t] - y[task == t].mean() for t in range(3)])
    scaling = TargetScaling.fit(y, task, basis)
    assert scaling.spread == pytest.approx(1e-3 * np.sqrt(within @ within / 17), rel=1e-9)
    assert not scaling.constant


def test_constant_tasks_at_different_levels_are_scaled_by_the_levels() -> None:
    _, _, task, basis = case(2)
    scaling = TargetScaling.fit(task.astype(np.float64), task, basis)
    assert scaling.spread == 2.0
    assert not scaling.constant


def test_a_trend_without_any_freedom_left_is_no_perfect_trend() -> None:
    """As many readings as coefficients: the residual is zero whatever the noise, and says nothing about the scale."""
    basis = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.2], [1.0, 0.9]])
    y, task = np.array([2.0, 3.0, 5.0, 4.0]), np.array([0, 0, 1, 1])
    assert TargetScaling.fit(y, task, basis).spread == pytest.approx(np.sqrt(0.5), rel=1e-12)
    assert TargetScaling.fit(y[:1], task[:1], basis[:1]) == TargetScaling(2.0, 2.0, constant=True)
