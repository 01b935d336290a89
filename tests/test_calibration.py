from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from surrogates.calibration import ConformalIntervals, VarianceScaling
from surrogates.errors import DataError

Readings = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def readings(seed: int, counts: list[int], noise: str = "gaussian") -> Readings:
    """y, mean, std, task: predictions whose standard deviations are wrong by a factor of each task's own."""
    rng = np.random.default_rng(seed)
    task = np.repeat(np.arange(len(counts)), counts)
    x = rng.uniform(0, 1, len(task))
    mean, std = 10 * x, 0.2 + x
    e = {
        "gaussian": lambda: rng.standard_normal(len(task)),
        "skewed": lambda: rng.gamma(0.5, size=len(task)) - 0.5,
        "heteroscedastic": lambda: rng.standard_normal(len(task)) * np.exp(2 * x),  # not as std says
    }[noise]()
    return mean + (1.0 + task) * std * e, mean, std, task


def test_without_shrinkage_factors_are_the_maxima_of_each_likelihood() -> None:
    y, mean, std, task = readings(0, [5, 30, 200])
    scaling = VarianceScaling.fit(y, mean, std, task, tasks=3, strength=0.0)
    for t in range(3):
        rows = task == t

        def lost(log_s: float, rows: np.ndarray = rows) -> float:
            return -float(stats.norm(mean[rows], math.exp(log_s) * std[rows]).logpdf(y[rows]).sum())

        best = optimize.minimize_scalar(lost, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
        assert scaling.factors[t] == pytest.approx(math.exp(best.x), rel=1e-6)
    np.testing.assert_array_equal(scaling.counts, [5, 30, 200])
    np.testing.assert_allclose(scaling(std, task), std * scaling.factors[task])


def test_shrinkage_by_hand_from_one_reading_and_from_none() -> None:
    scaling = VarianceScaling.fit([3.0, 4.0, 2.0], [0.0] * 3, [1.0, 2.0, 1.0], [0, 0, 2], tasks=3, strength=2.0)
    pooled = (2 + 9 + 4 + 4) / 5
    by_hand = [(2 * pooled + 13) / 4, pooled, (2 * pooled + 4) / 3]
    np.testing.assert_allclose(scaling.factors**2, by_hand)
    assert scaling.pooled**2 == pytest.approx(pooled)
    nothing = VarianceScaling.fit([], [], [], [], tasks=2)
    assert (nothing.factors.tolist(), nothing.counts.tolist(), nothing.pooled) == ([1.0, 1.0], [0, 0], 1.0)
    assert VarianceScaling.fit([], [], [], [], tasks=2, strength=0.0).factors.tolist() == [1.0, 1.0]


def test_constant_labels_that_are_met_exactly_keep_a_positive_spread() -> None:
    scaling = VarianceScaling.fit([5.0] * 6, [5.0] * 6, [0.1] * 6, [0] * 6, tasks=1, strength=2.0)
    assert scaling.factors[0] ** 2 == pytest.approx(2 / 8 * 2 / 8)
    with pytest.raises(DataError, match="task 0 has residuals of 0 only and strength is 0; give strength > 0"):
        VarianceScaling.fit([5.0] * 6, [5.0] * 6, [0.1] * 6, [0] * 6, tasks=1, strength=0.0)


def test_shrinkage_is_better_for_few_readings_and_gone_for_many() -> None:
    errors = {0.0: 0.0, 8.0: 0.0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        s = np.exp(0.2 * rng.standard_normal(20))
        task = np.repeat(np.arange(20), 4)
        y = s[task] * rng.standard_normal(80)
        for ν in errors:
            found = VarianceScaling.fit(y, 0 * y, 1 + 0 * y, task, tasks=20, strength=ν).factors
            errors[ν] += float(np.mean(np.log(found / s) ** 2)) / 200
    assert errors[8.0] < 0.4 * errors[0.0]
    y, mean, std, task = readings(1, [100_000, 100_000])
    np.testing.assert_allclose(VarianceScaling.fit(y, mean, std, task, tasks=2).factors, [1.0, 2.0], rtol=0.02)


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(60)), st.floats(0.01, 100.0))
def test_neither_order_nor_units_matter(order: list[int], unit: float) -> None:
    y, mean, std, task = readings(3, [20, 30, 10])
    scaling = VarianceScaling.fit(y, mean, std, task, tasks=3)
    a, b, c = (unit * column[order] for column in (y, mean, std))
    other = VarianceScaling.fit(a, b, c, task[order], tasks=3)
    np.testing.assert_allclose(other.factors, scaling.factors, rtol=1e-9)
    intervals = ConformalIntervals.fit(y, mean, std, task, tasks=3)
    others = ConformalIntervals.fit(a, b, c, task[order], tasks=3)
    np.testing.assert_allclose(others.quantiles(0.9), intervals.quantiles(0.9), rtol=1e-9)


@pytest.mark.parametrize("noise", ["gaussian", "skewed", "heteroscedastic"])
def test_conformal_intervals_hold_as_often_as_theory_says(noise: str) -> None:
    """Over calibration sets and fresh readings coverage is exactly ⌈(n + 1) level⌉/(n + 1), task by task."""
    counts, seeds, level = [12, 30, 99], 400, 0.9
    covered = np.zeros((seeds, 3))
    for seed in range(seeds):
        intervals = ConformalIntervals.fit(*readings(seed, counts, noise), tasks=3)
        y, mean, std, task = readings(10_000 + seed, [200] * 3, noise)
        inside = np.abs(y - mean) <= intervals.half_width(std, task, level=level)
        covered[seed] = [inside[task == t].mean() for t in range(3)]
    wanted = np.array([math.ceil((n + 1) * level) / (n + 1) for n in counts])
    error = covered.std(0) / math.sqrt(seeds)
    assert (np.abs(covered.mean(0) - wanted) < 4 * error).all()
    assert (covered.mean(0) > level - 4 * error).all()
    assert (error < 0.006).all()


def test_short_tasks_lean_on_all_and_are_covered_on_average() -> None:
    """Four tasks of eight readings, too few for 90 %; the errors of one are three times those of the others."""
    seeds, covered = 400, np.zeros((400, 4))
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        task, size = np.repeat(np.arange(4), 8), np.array([1.0, 1.0, 1.0, 3.0])
        y = size[task] * rng.standard_normal(32)
        intervals = ConformalIntervals.fit(y, 0 * y, 1 + 0 * y, task, tasks=4)
        assert intervals.leans_on_all(0.9).all()
        assert not intervals.leans_on_all(0.8).any()
        q = intervals.quantiles(0.9)
        assert np.ptp(q) == 0
        covered[seed] = (np.abs(size * rng.standard_normal((100, 4))) <= q).mean(0)
    mean, error = covered.mean(0), covered.std(0).max() / math.sqrt(seeds)
    assert abs(mean.mean() - math.ceil(33 * 0.9) / 33) < 4 * error
    assert mean[3] < 0.8 < 0.9 < mean[0]  # that's what "on average" means


def test_quantiles_by_hand() -> None:
    y = np.array([3.0, -1.0, 2.0, 9.0, -4.0])
    intervals = ConformalIntervals.fit(y, 0 * y, 0 * y + 0.5, [1, 1, 1, 1, 0], tasks=3)
    assert [s.tolist() for s in intervals.scores] == [[8.0], [2.0, 4.0, 6.0, 18.0], []]
    assert intervals.quantiles(0.5).tolist() == [8.0, 6.0, 6.0]  # 1st of one, 3rd of four, 3rd of all five
    assert intervals.quantiles(0.8).tolist() == [18.0, 18.0, 18.0]
    assert intervals.leans_on_all(0.8).tolist() == [True, False, True]
    assert intervals.quantiles(0.9).tolist() == [math.inf] * 3  # five readings can't tell
    np.testing.assert_allclose(
        intervals.half_width(np.array([[1.0], [2.0]]), np.array([0, 1]), level=0.5), [[8, 6], [16, 12]]
    )


def test_conformal_intervals_from_constant_labels_and_from_none() -> None:
    exact = ConformalIntervals.fit([5.0] * 9, [5.0] * 9, [0.1] * 9, [0] * 9, tasks=1)
    assert exact.quantiles(0.9).tolist() == [0.0]
    nothing = ConformalIntervals.fit([], [], [], [], tasks=2)
    assert nothing.quantiles(0.5).tolist() == [math.inf] * 2


def fit(**changes: object) -> None:
    given = {"y": [1.0, 2.0], "mean": [0.0, 0.0], "std": [1.0, 1.0], "task": [0, 1], "tasks": 2} | changes
    VarianceScaling.fit(**given)  # type: ignore[arg-type]
    ConformalIntervals.fit(**{k: v for k, v in given.items() if k != "strength"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit(y=[1.0, np.nan]), "y has 1 entries that are NaN or infinite; leave out what wasn't observed"),
        (lambda: fit(std=[1.0, 0.0]), "std goes down to 0; it must be > 0"),
        (lambda: fit(mean=[1.0]), r"mean has shape \(1,\), task \(2,\); all must be \(n,\)"),
        (lambda: fit(task=[0, 2]), "task must hold integers from 0 to 1, one for each reading"),
        (lambda: fit(task=[0.0, 1.0]), "task must hold integers from 0 to 1"),
        (lambda: fit(tasks=0), "tasks is 0; it must be an integer >= 1"),
        (lambda: fit(strength=-1.0), "strength is -1.0; it must be a number of readings >= 0"),
        (
            lambda: ConformalIntervals.fit([1.0], [0.0], [1.0], [0], tasks=1).quantiles(1.0),
            "level is 1.0; it must be between 0 and 1",
        ),
    ],
)
def test_what_is_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
