from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import RandomFeatures, fit_last_layer


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(1, 40), width=st.integers(1, 12), outputs=st.integers(1, 3), seed=st.integers(0, 99))
def test_equals_numpy_where_rows_are_many(n: int, width: int, outputs: int, seed: int) -> None:
    F, Y = normal(n + width, width, seed=seed), normal(n + width, outputs, seed=seed + 1)
    units = 10.0 ** torch.linspace(-6, 6, width, dtype=torch.float64)
    by_numpy = np.linalg.lstsq(F.numpy(), Y.numpy(), rcond=None)[0]
    last = fit_last_layer(F * units, Y)
    np.testing.assert_allclose((last.weights * units[:, None]).numpy(), by_numpy, rtol=1e-8, atol=1e-9)
    rms = np.sqrt(np.mean((Y.numpy() - F.numpy() @ by_numpy) ** 2, axis=0))
    np.testing.assert_allclose(last.residual.numpy(), rms, rtol=1e-9)
    assert last.rank == width
    assert last.freedom.tolist() == [width] * outputs
    assert last.ridge.tolist() == [0.0] * outputs


@pytest.mark.parametrize(("n", "rank"), [(30, 3), (4, 4)])
def test_the_rank_is_found_and_the_answer_is_the_shortest(n: int, rank: int) -> None:
    """Ten columns of rank three, and four rows of ten columns; a column of zeros takes no weight."""
    F = normal(n, 3) @ normal(3, 10, seed=2) if n == 30 else normal(n, 10)
    F[:, 4] = 0.0
    F /= F.square().mean(0).sqrt().where(F.any(0), torch.ones(10).double())  # so that S = I, as numpy has it
    Y = normal(n, 2, seed=3)
    last = fit_last_layer(F, Y)
    assert last.rank == rank
    np.testing.assert_allclose(
        last.weights, np.linalg.lstsq(F.numpy(), Y.numpy(), rcond=1e-12)[0], rtol=1e-9, atol=1e-12
    )
    assert not last.weights[4].any()
    assert 1 <= last.condition < 1e4


def test_nothing_but_zeros() -> None:
    last = fit_last_layer(torch.zeros(5, 3).double(), torch.ones(5, 1).double())
    assert (last.rank, last.condition, last.residual.tolist()) == (0, math.inf, [1.0])
    assert not last.weights.any()
    for choice in (0.3, "gcv"):
        assert not fit_last_layer(torch.zeros(5, 3).double(), normal(5, 1), ridge=cast(Any, choice)).weights.any()


def test_a_nearly_singular_basis_is_cut_where_rcond_says() -> None:
    X = torch.linspace(-1, 1, 200).double()[:, None]
    features = RandomFeatures(1, 100, scale=1.0, generator=torch.Generator().manual_seed(0))  # very smooth
    F, Y = features.values(X), torch.exp(X)
    ranks = [fit_last_layer(F, Y, rcond=rcond) for rcond in (1e-13, 1e-8, 1e-3)]
    assert [r.rank for r in ranks] == sorted((r.rank for r in ranks), reverse=True)
    assert ranks[0].rank < 102
    assert all(r.condition <= 1 / rcond for r, rcond in zip(ranks, (1e-13, 1e-8, 1e-3), strict=True))
    assert float(ranks[0].residual) < 1e-11
    assert bool(torch.isfinite(ranks[0].weights).all())


def test_a_ridge_solves_the_penalised_normal_equations() -> None:
    F, Y, λ = normal(20, 6), normal(20, 2, seed=2), 0.7
    S2 = torch.diag(F.square().mean(0))
    by_hand = torch.linalg.solve(F.T @ F + λ * S2, F.T @ Y)
    last = fit_last_layer(F, Y, ridge=λ)
    torch.testing.assert_close(last.weights, by_hand, rtol=1e-11, atol=1e-13)
    hat = F @ torch.linalg.solve(F.T @ F + λ * S2, F.T)
    assert last.freedom.tolist() == pytest.approx([float(hat.trace())] * 2)
    assert last.ridge.tolist() == [λ, λ]


def noisy(n: int = 60) -> tuple[Tensor, Tensor]:
    """Thirty features, of which the truth needs two; a second, much noisier output in a larger unit."""
    F = normal(n, 30)
    clean = F[:, :2] @ torch.tensor([[1.0, 2.0], [-1.0, 1.0]], dtype=torch.float64)
    return F, (clean + normal(n, 2, seed=5) * torch.tensor([0.5, 5.0], dtype=torch.float64)) * torch.tensor([1.0, 1e3])


def test_gcv_is_least_at_the_chosen_ridge() -> None:
    F, Y = noisy()
    last = fit_last_layer(F, Y, ridge="gcv")

    def gcv(λ: float, k: int) -> float:  # from the definition, with the hat matrix
        hat = F @ torch.linalg.solve(F.T @ F + λ * torch.diag(F.square().mean(0)), F.T)
        return float(len(F) * (Y[:, k] - hat @ Y[:, k]).square().sum() / (len(F) - hat.trace()) ** 2)

    for k in range(2):
        chosen = float(last.ridge[k])
        best = gcv(chosen, k)
        assert best <= min(gcv(chosen * 10.0**e, k) for e in (-6, -3, -2, -1, -0.5, 0.5, 1, 2, 3))
        assert 0 < float(last.freedom[k]) < 30
    assert float(last.ridge[1]) > float(last.ridge[0])  # the noisier output is damped more


@pytest.mark.parametrize("choice", ["gcv", "held-out"])
def test_each_output_is_fitted_as_if_alone_and_in_any_unit(choice: Any) -> None:
    F, Y = noisy()
    held_out = (torch.arange(60) % 3 == 0) if choice == "held-out" else None
    both = fit_last_layer(F, Y, ridge=choice, held_out=held_out)
    for k in range(2):
        alone = fit_last_layer(F, Y[:, k : k + 1] * 1e-3, ridge=choice, held_out=held_out)
        torch.testing.assert_close(alone.weights * 1e3, both.weights[:, k : k + 1], rtol=1e-9, atol=1e-9)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    shuffled = fit_last_layer(F[order], Y[order], ridge=choice, held_out=None if held_out is None else held_out[order])
    torch.testing.assert_close(shuffled.weights, both.weights, rtol=1e-9, atol=1e-9)


def test_the_held_out_rows_choose_and_then_all_rows_are_fitted() -> None:
    F, Y = noisy()
    held_out = torch.arange(60) >= 40
    last = fit_last_layer(F, Y, ridge="held-out", held_out=held_out)

    def error(λ: float, k: int) -> float:
        part = fit_last_layer(F[~held_out], Y[~held_out], ridge=λ)
        return float((Y[held_out, k] - F[held_out] @ part.weights[:, k]).square().sum())

    for k in range(2):
        chosen = float(last.ridge[k])
        assert error(chosen, k) <= min(error(chosen * 10.0**e, k) for e in (-4, -2, -1, -0.5, 0.5, 1, 2, 4))
        torch.testing.assert_close(last.weights[:, k], fit_last_layer(F, Y, ridge=chosen).weights[:, k])


@pytest.mark.parametrize("choice", ["gcv", "held-out"])
def test_a_chosen_ridge_predicts_better_than_none_where_noise_is_large(choice: Any) -> None:
    F, Y = noisy()
    held_out = (torch.arange(60) % 3 == 0) if choice == "held-out" else None
    new = normal(2000, 30, seed=9)
    truth = new[:, :2] @ torch.tensor([2e3, 1e3], dtype=torch.float64)
    errors = [
        float((new @ fit_last_layer(F, Y, ridge=ridge, held_out=held).weights[:, 1] - truth).square().mean())
        for ridge, held in ((choice, held_out), (0.0, None))
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("n", [5, 30])
def test_gcv_stays_finite_where_columns_reach_every_row(n: int) -> None:
    last = fit_last_layer(normal(n, 30), normal(n, 1, seed=2), ridge="gcv")
    assert bool(torch.isfinite(last.weights).all())
    assert float(last.ridge) > 0


@pytest.mark.parametrize(
    ("F", "Y", "options", "words"),
    [
        (
            normal(4, 2),
            normal(5, 1),
            {},
            r"F has shape \(4, 2\) and Y \(5, 1\); wanted are \(n, features\) and \(n, out",
        ),
        (normal(4, 2), normal(4), {}, r"F has shape \(4, 2\) and Y \(4,\)"),
        (normal(0, 2), normal(0, 1), {}, r"F has shape \(0, 2\) and Y \(0, 1\)"),
        (normal(4, 2).float(), normal(4, 1), {}, "F is torch.float32; it must be torch.float64"),
        (normal(4, 2), normal(4, 1) * math.nan, {}, "Y holds NaN or inf; leave out those rows"),
        (normal(4, 2), normal(4, 1), {"rcond": 1.0}, "rcond is 1.0; it must be a number >= 0 and < 1"),
        (normal(4, 2), normal(4, 1), {"ridge": -1.0}, "ridge is -1.0; it must be a number >= 0, 'gcv' or 'held-out'"),
        (normal(4, 2), normal(4, 1), {"ridge": "loo"}, "ridge is 'loo'; it must be a number >= 0, 'gcv' or 'held-out'"),
        (normal(4, 2), normal(4, 1), {"ridge": "held-out"}, 'held_out goes with ridge="held-out", and only with it'),
        (normal(4, 2), normal(4, 1), {"held_out": torch.ones(4).bool()}, "give both or neither"),
        (
            normal(4, 2),
            normal(4, 1),
            {"ridge": "held-out", "held_out": torch.ones(3).bool()},
            r"held_out is torch.bool of shape \(3,\); it must be torch.bool of shape \(4,\)",
        ),
        (
            normal(4, 2),
            normal(4, 1),
            {"ridge": "held-out", "held_out": torch.ones(4).bool()},
            "held_out names 4 of 4 rows; some must be held out, and some not",
        ),
    ],
)
def test_what_is_wrong_is_named(F: Tensor, Y: Tensor, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit_last_layer(F, Y, **options)
