from __future__ import annotations

import numpy as np
import pytest

from surrogates.errors import DataError
from surrogates.networks import Router
from surrogates.posterior import Moments, decompose, mix

#: |x|, of which each expert knows one side: -x for x < 0, and x for x > 0
LEFT, RIGHT = np.linspace(-2, -0.1, 40)[:, None], np.linspace(0.1, 2, 40)[:, None]


def experts(x: np.ndarray) -> list[Moments]:
    return [Moments(s * x[:, 0], np.full(len(x), 0.01)) for s in (-1.0, 1.0)]


def test_the_right_expert_answers_on_a_piecewise_problem() -> None:
    x = np.random.default_rng(0).uniform(0.3, 2.0, (200, 1)) * np.random.default_rng(1).choice([-1, 1], (200, 1))
    routing = Router.fit([LEFT, RIGHT])(x)
    answer = mix(experts(x), routing.weights)
    np.testing.assert_allclose(routing.weights.sum(0), 1.0)
    assert routing.inside.min() == 1.0
    np.testing.assert_allclose(answer.mean, np.abs(x[:, 0]), atol=1e-3)
    np.testing.assert_allclose(answer.variance, 0.01, atol=1e-3)
    ensemble = mix(experts(x), np.array([0.5, 0.5]))
    assert np.abs(ensemble.mean - np.abs(x[:, 0])).max() > 1


def test_far_away_the_answer_is_the_ensemble_with_all_its_spread() -> None:
    x = np.array([[-40.0], [7.0], [1e9]])
    routing = Router.fit([LEFT, RIGHT])(x)
    assert routing.inside.tolist() == [0.0, 0.0, 0.0]
    mean, within, between = decompose(experts(x), routing.weights)
    np.testing.assert_allclose(mean, 0.0, atol=1e-6)
    np.testing.assert_allclose(within, 0.01)
    np.testing.assert_allclose(between, x[:, 0] ** 2)  # the experts say -x and x


def test_weights_go_over_without_a_jump() -> None:
    x = np.linspace(-3, 3, 20_001)[:, None]
    weights = Router.fit([LEFT, RIGHT], temperature=2.0)(x).weights
    assert np.abs(np.diff(weights, axis=1)).max() < 0.02


def test_points_may_be_lists() -> None:
    router = Router.fit([LEFT, RIGHT])
    x = np.concatenate([LEFT[:2], RIGHT[:2]])
    np.testing.assert_array_equal(router(x.tolist()).weights, router(x).weights)


def test_a_warmer_router_mixes_more_and_experts_may_be_renamed() -> None:
    x = np.array([[0.3]])
    cold, warm = (Router.fit([LEFT, RIGHT], temperature=t)(x).weights for t in (1.0, 100.0))
    assert 0 < cold[0, 0] < warm[0, 0] < 0.5
    swapped = Router.fit([RIGHT, LEFT])(x).weights
    np.testing.assert_allclose(swapped[::-1], cold)
    scaled = Router.fit([1e4 * LEFT, 1e4 * RIGHT])(1e4 * x).weights
    np.testing.assert_allclose(scaled, cold, rtol=1e-9)


def test_repeated_training_points_do_not_shrink_the_domain() -> None:
    once, thrice = Router.fit([LEFT, RIGHT]), Router.fit([np.repeat(LEFT, 3, 0), RIGHT])
    assert thrice.scale == pytest.approx(once.scale)
    assert thrice.limit == pytest.approx(once.limit)


@pytest.mark.parametrize(
    ("references", "options", "words"),
    [
        ([], {}, "references is empty; give the training points of one expert or more"),
        ([LEFT, RIGHT[:1]], {}, r"references\[1\] has shape \(1, 1\); wanted are two points or more, all of one width"),
        ([LEFT, np.ones((3, 2))], {}, r"references\[1\] has shape \(3, 2\)"),
        ([np.full((3, 1), np.nan)], {}, r"references\[0\] holds NaN or inf"),
        ([np.ones((3, 1))], {}, "all training points of each expert are the same"),
        ([LEFT], {"temperature": 0.0}, "temperature is 0.0; it must be > 0"),
        ([LEFT], {"quantile": 1.5}, "quantile is 1.5; it must be > 0 and <= 1"),
    ],
)
def test_what_is_wrong_is_named(references: list[np.ndarray], options: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Router.fit(references, **options)


def test_points_of_another_width_are_refused() -> None:
    with pytest.raises(DataError, match=r"x has shape \(3, 2\); wanted are finite numbers \(n, 1\)"):
        Router.fit([LEFT, RIGHT])(np.ones((3, 2)))
