from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from sklearn.metrics import ndcg_score
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import approx_ndcg_loss, relevance_by_rank


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem() -> tuple[Tensor, Tensor]:
    """Scores and relevances (12, 4) of which a third are missing."""
    y = normal(12, 4, seed=2)
    y[normal(12, 4, seed=3) > 0.5] = torch.nan
    return normal(12, 4), relevance_by_rank(y)


def test_cold_ranks_give_the_exact_ndcg_of_each_task() -> None:
    scores, relevance = problem()
    found = approx_ndcg_loss(scores, relevance, temperature=1e-6)
    for t in range(4):
        there = ~torch.isnan(relevance[:, t])
        exact = ndcg_score(2.0 ** relevance[there, t].numpy()[None] - 1, scores[there, t].numpy()[None])
        assert found[t].item() == pytest.approx(1 - exact, abs=1e-9)


def test_warm_ranks_by_a_double_loop() -> None:
    scores, relevance = problem()
    found = approx_ndcg_loss(scores, relevance, temperature=0.7)
    for t in range(4):
        rows = [i for i in range(12) if not torch.isnan(relevance[i, t])]
        s, rel = scores[:, t].tolist(), relevance[:, t].tolist()
        rank = {i: 1 + sum(1 / (1 + np.exp((s[i] - s[j]) / 0.7)) for j in rows if j != i) for i in rows}
        reached = sum((2 ** rel[i] - 1) / np.log2(1 + rank[i]) for i in rows)
        best = sum((2**r - 1) / np.log2(2 + k) for k, r in enumerate(sorted((rel[i] for i in rows), reverse=True)))
        assert found[t].item() == pytest.approx(1 - reached / best, rel=1e-10)


def test_gradients_equal_finite_differences_and_missing_labels_have_none() -> None:
    scores, relevance = problem()
    assert torch.autograd.gradcheck(lambda s: approx_ndcg_loss(s, relevance, temperature=0.3), scores.requires_grad_())
    (g,) = torch.autograd.grad(approx_ndcg_loss(scores, relevance, temperature=0.3).sum(), scores)
    there = ~torch.isnan(relevance)
    assert not g[~there].any()
    assert bool(g[there].any())


def test_a_task_without_an_order_asks_for_nothing() -> None:
    nan = float("nan")
    relevance = torch.tensor([[nan, 2.0, nan, 0.0], [nan, 2.0, 1.0, 0.0], [nan, 2.0, nan, 0.0]]).double()
    scores = normal(3, 4).requires_grad_()
    loss = approx_ndcg_loss(scores, relevance)
    loss.sum().backward()
    assert loss.tolist() == [0.0] * 4
    assert scores.grad is not None
    assert not scores.grad.any()


def test_descent_brings_the_best_to_the_top() -> None:
    relevance = relevance_by_rank(normal(20, 1, seed=5))
    scores = 0.1 * normal(20, 1, seed=6)
    scores.requires_grad_()
    for _ in range(200):
        (g,) = torch.autograd.grad(approx_ndcg_loss(scores, relevance, temperature=0.5).sum(), scores)
        scores = (scores - 2 * g).detach().requires_grad_()
    assert approx_ndcg_loss(scores, relevance, temperature=1e-6).item() < 0.01
    assert scores.argmax() == relevance.argmax()


def test_relevance_is_the_rank_in_each_task_whatever_the_units() -> None:
    y = torch.tensor([[3.0, 5.0], [1.0, float("nan")], [3.0, float("nan")], [7.0, float("nan")]])
    found = relevance_by_rank(y, top=2.0)
    np.testing.assert_allclose(found[:, 0], (rankdata(y[:, 0]) - 1) / 3 * 2, rtol=1e-6)
    assert found[0, 1] == 0.0
    assert torch.isnan(found[1:, 1]).all()
    torch.testing.assert_close(relevance_by_rank(1e5 * y - 4, top=2.0), found, equal_nan=True)


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(DataError, match=r"scores has shape \(3, 2\), relevance \(3, 1\); both must be \(B, m\)"):
        approx_ndcg_loss(normal(3, 2), normal(3, 1))
    with pytest.raises(DataError, match=r"temperature is 0.0; it must be a finite number > 0"):
        approx_ndcg_loss(normal(3, 2), normal(3, 2) ** 2, temperature=0.0)
    with pytest.raises(DataError, match=r"relevance goes down to -1; it must be >= 0: see relevance_by_rank"):
        approx_ndcg_loss(normal(2, 1), torch.tensor([[-1.0], [2.0]]).double())
    with pytest.raises(DataError, match=r"y has shape \(3,\); wanted is \(n, m\)"):
        relevance_by_rank(normal(3))
