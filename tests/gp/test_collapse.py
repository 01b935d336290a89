"""Merging readings of one place, and the trend prior of poor tasks, against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.gp.collapse import Readings, TrendPrior, collapse, trend_prior
from surrogates.gp.noise import KnownNoise, LearntNoise
from surrogates.gp.trends import Trend

Floats = NDArray[np.float64]
LINEAR = Trend("linear", (0, 1))
QUICK = settings(deadline=None, max_examples=40)


def readings(seed: int = 0, n: int = 40, *, known: bool = False) -> Readings:
    """Readings of three tasks by two gauges at few places, so that many repeat."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 3, (n, 2)) / 2.0 - 0.5
    task, group = generator.integers(0, 3, n), generator.integers(0, 2, n)
    variance = generator.uniform(0.1, 2.0, n) if known else None
    return Readings(x, generator.normal(size=n), task, 3, group, ("fine", "coarse"), variance)


def flat() -> TrendPrior:
    return TrendPrior(np.zeros((3, 3)), np.zeros((3, 3)), ())


def places(r: Readings) -> list[tuple[float, ...]]:
    """Task and place of every reading."""
    return [(float(t), *x) for t, x in zip(r.task, r.x.tolist(), strict=True)]


@QUICK
@given(seed=st.integers(0, 10**6))
def test_rows_are_the_distinct_places_sorted(seed: int) -> None:
    r = readings(seed)
    collapsed = collapse(r, LINEAR, flat())
    design = collapsed.design
    rows = [(float(t), *x) for t, x in zip(design.task, design.x.tolist(), strict=True)]
    assert rows == sorted(set(places(r)))
    assert [rows[i] for i in collapsed.row] == places(r)
    np.testing.assert_array_equal(design.basis, LINEAR.columns(design.x))


@QUICK
@given(seed=st.integers(0, 10**6))
def test_sums_over_replicates_are_those_of_a_loop(seed: int) -> None:
    r = readings(seed)
    collapsed = collapse(r, LINEAR, flat())
    noise = collapsed.design.noise
    assert isinstance(noise, LearntNoise)
    squares = np.zeros(2)
    for f in range(2):
        for i in range(len(collapsed.design.x)):
            mine = r.y[(r.group == f) & (collapsed.row == i)]
            assert noise.counts[f, i] == len(mine)
            assert noise.means[f, i] == pytest.approx(mine.mean() if len(mine) else 0.0, abs=1e-14)
            squares[f] += ((mine - mine.mean()) ** 2).sum() if len(mine) else 0.0
    np.testing.assert_allclose(noise.squares, squares, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(noise.totals, [(r.group == f).sum() for f in range(2)])
    # the collapsed row is the precision-weighted mean
    rows = noise.rows(np.log([0.5, 2.0]))
    for i in range(len(collapsed.design.x)):
        w = 1 / np.array([0.5, 2.0])[r.group[collapsed.row == i]]
        assert rows.y[i] == pytest.approx(w @ r.y[collapsed.row == i] / w.sum(), abs=1e-13)
        assert rows.D[i] == pytest.approx(1 / w.sum(), rel=1e-13)


def test_exact_repeats_have_no_spread_whatever_their_size() -> None:
    r = readings()
    value = np.array([0.1, 1e9 / 3, -7e-9])[r.task]
    noise = collapse(replace(r, y=value), LINEAR, flat()).design.noise
    assert isinstance(noise, LearntNoise)
    np.testing.assert_array_equal(noise.squares, np.zeros(2))


@pytest.mark.parametrize("known", [False, True])
@QUICK
@given(seed=st.integers(0, 10**6))
def test_the_order_of_readings_does_not_matter(known: bool, seed: int) -> None:
    r = readings(seed, known=known)
    order = np.random.default_rng(seed + 1).permutation(len(r.y))
    variance = None if r.variance is None else r.variance[order]
    turned = Readings(r.x[order], r.y[order], r.task[order], 3, r.group[order], r.groups, variance)
    plain, other = collapse(r, LINEAR, flat()), collapse(turned, LINEAR, flat())
    np.testing.assert_array_equal(plain.design.x, other.design.x)
    np.testing.assert_array_equal(plain.row[order], other.row)
    φ = np.array([-1.0]) if known else np.array([-1.0, 0.3])
    first, second = plain.design.noise.rows(φ), other.design.noise.rows(φ)
    np.testing.assert_allclose(first.y, second.y, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(first.D, second.D, rtol=1e-13)
    assert first.constant == pytest.approx(second.constant, rel=1e-12)


@QUICK
@given(seed=st.integers(0, 10**6))
def test_known_noise_weighs_readings_by_their_precision(seed: int) -> None:
    r = readings(seed, known=True)
    collapsed = collapse(r, LINEAR, flat())
    noise = collapsed.design.noise
    assert isinstance(noise, KnownNoise)
    assert r.variance is not None
    for i in range(len(collapsed.design.x)):
        w = 1 / r.variance[collapsed.row == i]
        assert noise.mean[i] == pytest.approx(w @ r.y[collapsed.row == i] / w.sum(), abs=1e-13)
        assert noise.variance[i] == pytest.approx(1 / w.sum(), rel=1e-13)
    np.testing.assert_array_equal(noise.reading_variance(np.array([0.0])), r.variance)


def pair(values: list[float], variances: list[float]) -> Readings:
    """Readings of one place, and one of another."""
    n = len(values)
    x = np.concatenate([np.zeros((n, 2)), np.full((1, 2), 0.5)])
    zeros = np.zeros(n + 1, dtype=np.int64)
    return Readings(x, np.array([*values, 1.0]), zeros, 1, zeros, ("all",), np.array([*variances, 0.1]))


def test_an_exact_reading_outweighs_all_others() -> None:
    noise = collapse(pair([3.0, -8.0, 9.0], [0.0, 0.1, 1e-9]), LINEAR, flat()).design.noise
    assert isinstance(noise, KnownNoise)
    np.testing.assert_array_equal(noise.mean, [3.0, 1.0])
    np.testing.assert_array_equal(noise.variance, [0.0, 0.1])
    repeated = collapse(pair([3.0, 3.0], [0.0, 0.0]), LINEAR, flat()).design.noise.rows(np.array([-9.0]))
    assert repeated.y[0] == 3.0


def test_exact_readings_that_differ_contradict_each_other() -> None:
    words = (
        "1 places hold different readings with zero known noise, which contradict each other; "
        "give them a noise > 0, or drop all readings but one"
    )
    with pytest.raises(DataError, match=words):
        collapse(pair([3.0, 3.0 + 1e-6], [0.0, 0.0]), LINEAR, flat())
    # as far apart as rounding leaves them
    collapse(pair([3.0, 3.0 * (1 + 1e-15)], [0.0, 0.0]), LINEAR, flat())


def poor_case(counts: tuple[int, int, int]) -> Readings:
    """Tasks with so many places each, on planes y = t + (1 + t) x1 - x2."""
    generator = np.random.default_rng(4)
    task = np.repeat([0, 1, 2], counts)
    x = generator.uniform(-0.5, 0.5, (len(task), 2))
    y = task + (1.0 + task) * x[:, 0] - x[:, 1]
    return Readings(x, y, task, 3, np.zeros_like(task), ("all",), None)


def test_rich_tasks_have_flat_trends() -> None:
    prior = trend_prior(poor_case((3, 4, 5)), LINEAR)
    assert prior.poor == ()
    assert (prior.precision == 0).all()
    assert trend_prior(poor_case((1, 1, 1)), Trend("none", ())).poor == ()


def test_a_poor_tasks_prior_is_what_the_others_show() -> None:
    prior = trend_prior(poor_case((5, 6, 2)), LINEAR)
    assert prior.poor == (2,)
    np.testing.assert_allclose(prior.mean[2], [0.5, 1.5, -1.0], atol=1e-12)
    # variance between two tasks (1, 1, 0)/2, of a third one's coefficient 1.5 times that, and one scaled unit squared
    np.testing.assert_allclose(1 / prior.precision[2], [1.75, 1.75, 1.0], rtol=1e-12)
    assert (prior.precision[:2] == 0).all()


def test_one_rich_task_gives_the_mean_and_no_spread() -> None:
    prior = trend_prior(poor_case((5, 2, 1)), LINEAR)
    assert prior.poor == (1, 2)
    np.testing.assert_allclose(prior.mean[1:], [[0.0, 1.0, -1.0]] * 2, atol=1e-12)
    np.testing.assert_allclose(1 / prior.precision[1:], 201.0)


def test_without_any_rich_task_the_prior_is_wide() -> None:
    prior = trend_prior(poor_case((2, 1, 0)), LINEAR)
    assert prior.poor == (0, 1, 2)
    np.testing.assert_array_equal(prior.mean, np.zeros((3, 3)))
    np.testing.assert_allclose(prior.precision, 1e-2)


def test_many_repeats_of_two_places_are_still_two_places() -> None:
    r = poor_case((6, 6, 6))
    x = r.x.copy()
    x[12:] = x[[12, 13] * 3]
    assert trend_prior(replace(r, x=x), LINEAR).poor == (2,)
