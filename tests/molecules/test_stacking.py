"""Weights of shared and own models, and the answers that are made with them, against what they ought to be."""

from __future__ import annotations

import numpy as np
import pytest

from surrogates.molecules.choice import PRIOR_LABELS, compare
from surrogates.molecules.learner import Answer
from surrogates.molecules.parts import blend


def test_sharing_is_weighed_by_what_it_is_worth() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(400, 3))
    single = noise.copy()
    shared = np.stack([0.5 * noise[:, 0], 3.0 * generator.normal(size=400), noise[:, 2]], 1)
    found = compare(shared, single)
    assert found.weights[0] == 1.0  # Σ d e_single / Σ d² = 2, clipped
    assert found.weights[1] == pytest.approx(0.1, abs=0.05)  # of independent errors weights go as inverse variances
    assert found.weights[2] == 1.0  # the same answers
    np.testing.assert_allclose(found.change[0], -0.5)
    assert found.change[1] > 1


def test_many_labels_get_the_weight_of_the_least_error() -> None:
    generator = np.random.default_rng(1)
    common = generator.normal(size=(20_000, 1))
    shared, single = (common + s * generator.normal(size=(20_000, 1)) for s in (0.5, 1.0))
    grid = np.linspace(0, 1, 101)
    errors = [float(((v * shared + (1 - v) * single) ** 2).mean()) for v in grid]
    assert float(compare(shared, single).weights[0]) == pytest.approx(grid[int(np.argmin(errors))], abs=0.015)


def test_few_labels_stay_near_a_half() -> None:
    """One label that asks for w = 0 or w = 1 moves the weight by ½/(1 + ν) only."""
    moved = 0.5 / (1 + PRIOR_LABELS)
    np.testing.assert_allclose(compare(np.array([[2.0]]), np.array([[0.0]])).weights, 0.5 - moved)
    np.testing.assert_allclose(compare(np.array([[0.0]]), np.array([[2.0]])).weights, 0.5 + moved)


def test_labels_without_a_partner_say_nothing() -> None:
    shared, single = np.full((5, 2), np.nan), np.full((5, 2), np.nan)
    shared[:, 0], single[:, 0] = 1.0, 2.0
    assert compare(shared, single).weights[1] == 0.0


def test_answers_are_those_of_a_mixture() -> None:
    """Mean and variance of labels drawn from the mixture itself, within five standard errors."""
    shared = Answer(np.array([[1.0]]), np.array([[0.3]]), np.array([[0.5]]))
    own = Answer(np.array([[-0.5]]), np.array([[0.8]]), np.array([[0.2]]))
    found = blend(shared, own, np.array([0.7]))
    generator, n = np.random.default_rng(0), 400_000
    pick = generator.random(n) < 0.7
    parts = [a.mean.item() + a.total.item() * generator.normal(size=n) for a in (shared, own)]
    drawn = np.where(pick, *parts)
    assert found.mean.item() == pytest.approx(drawn.mean(), abs=5 * drawn.std() / np.sqrt(n))
    assert found.total.item() ** 2 == pytest.approx(
        drawn.var(), abs=5 * np.sqrt(((drawn - drawn.mean()) ** 2).var() / n)
    )


def test_what_has_no_weight_may_be_unknown() -> None:
    nothing, something = (
        Answer(*(np.full((2, 2), np.nan) for _ in range(3))),
        Answer(*(np.ones((2, 2)) for _ in range(3))),
    )
    for found in (blend(something, nothing, np.ones(2)), blend(nothing, something, np.zeros(2))):
        assert all((column == 1).all() for column in found)
