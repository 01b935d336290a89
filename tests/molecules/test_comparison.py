"""Whether a property gains by sharing: known answers, limits, gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surrogates.molecules.choice import compare


def errors(
    changes: list[float], counts: list[int], *, seed: int = 0, noise: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """Absolute errors of single models around 1, and of shared ones (1 + change) as large with noise of their own."""
    generator = np.random.default_rng(seed)
    single = 1 + 0.2 * generator.random((max(counts), len(changes)))
    shared = single * (1 + np.array(changes)) + noise * generator.standard_normal(single.shape)
    there = np.arange(max(counts))[:, None] < np.array(counts)
    return np.where(there, shared, np.nan), np.where(there, single, np.nan)


def test_change_and_deviation_by_hand() -> None:
    single, shared = np.array([1.0, 2.0, 3.0, np.nan]), np.array([0.5, 2.0, 2.0, 7.0])
    found = compare(np.tile(shared[:, None], 2), np.tile(single[:, None], 2))
    pairs = np.array([-0.5, 0.0, -1.0]) / 2.0
    assert found.change == pytest.approx([pairs.mean()] * 2)
    assert found.deviation == pytest.approx([pairs.std(ddof=1) / np.sqrt(3)] * 2)
    assert found.expected == pytest.approx(found.change)  # two equal properties: nothing to draw them to
    assert found.shares.tolist() == [True, True]


def test_moments_by_dersimonian_and_laird() -> None:
    shared, single = errors([-0.3, 0.0, 0.4], [40, 30, 50])
    found = compare(shared, single)
    d, s = found.change, found.deviation
    w = s**-2.0
    fixed = (w * d).sum() / w.sum()
    variance = max(((w * (d - fixed) ** 2).sum() - 2) / (w.sum() - (w**2).sum() / w.sum()), 0.0)
    assert variance > 0
    v = 1 / (s**2 + variance)
    mean = (v * d).sum() / v.sum()
    assert found.expected == pytest.approx((mean * s**2 + d * variance) / (s**2 + variance))  # normal posterior mean


def test_properties_that_are_alike_are_drawn_together() -> None:
    found = [compare(*errors([-0.1] * 6, [20] * 6, seed=seed, noise=0.5)) for seed in range(20)]
    spread, drawn = (
        np.mean([np.ptp(values) for values in column])
        for column in ([f.change for f in found], [f.expected for f in found])
    )
    assert drawn < 0.5 * spread
    wrong_alone, wrong = (
        np.mean([values > 0 for values in column])
        for column in ([f.change for f in found], [f.expected for f in found])
    )
    assert wrong < wrong_alone  # luck decides less often


def test_one_that_is_hurt_beyond_doubt_stays_alone() -> None:
    found = compare(*errors([-0.2, -0.2, -0.2, 0.8], [100] * 4))
    assert found.shares.tolist() == [True, True, True, False]
    assert found.expected[3] == pytest.approx(found.change[3], abs=0.05)


def test_few_labels_go_with_the_others_many_with_themselves() -> None:
    few, many = (compare(*errors([-0.3, -0.25, -0.35, 0.3], [200, 200, 200, n], noise=0.5)) for n in (3, 400))
    assert few.expected[3] < many.expected[3]
    assert not many.shares[3]


def test_a_property_without_a_pair_goes_with_the_others() -> None:
    for change in (-0.5, 0.5):
        shared, single = errors([change, change, 0.0], [20, 20, 20])
        single[:, 2] = np.nan
        found = compare(shared, single)
        assert np.isnan(found.change[2])
        assert np.isfinite(found.expected).all()
        assert found.shares.tolist() == [change < 0] * 3  # the gap poisons nobody
        rest = compare(shared[:, :2], single[:, :2])
        assert found.expected[:2] == pytest.approx(rest.expected)


def test_nothing_compared_is_nothing_shared() -> None:
    found = compare(np.full((3, 2), np.nan), np.ones((3, 2)))
    assert np.isnan(found.expected).all()
    assert not found.shares.any()


def test_one_property_decides_by_itself() -> None:
    shared, single = errors([-0.4], [30])
    found = compare(shared, single)
    assert found.expected == pytest.approx(found.change)
    assert found.shares.tolist() == [True]


def test_one_label_each() -> None:
    found = compare(np.array([[1.1, 0.5]]), np.array([[1.0, 1.0]]))
    assert found.deviation == pytest.approx([1.0, 1.0])  # of the order of the errors themselves
    assert found.expected == pytest.approx([-0.2, -0.2])


def test_errors_of_zero_change_nothing() -> None:
    found = compare(np.zeros((5, 2)), np.zeros((5, 2)))
    assert found.change.tolist() == [0.0, 0.0]
    assert not found.shares.any()


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 1000))
def test_units_and_order_of_properties_change_nothing(scale: float, seed: int) -> None:
    shared, single = errors([-0.2, 0.1, 0.3], [10, 20, 5], seed=seed)
    found = compare(shared, single)
    units = np.array([scale, 1.0, 1.0])
    np.testing.assert_allclose(compare(shared * units, single * units).expected, found.expected, rtol=1e-7, atol=1e-9)
    turned = compare(shared[:, ::-1], single[:, ::-1])
    np.testing.assert_allclose(turned.expected[::-1], found.expected, rtol=1e-7, atol=1e-9)
