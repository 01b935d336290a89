"""Single precision and dropout of the multilayer perceptron."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from surrogates.errors import DataError
from surrogates.networks import MLP


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(**options: object) -> MLP:
    return MLP((3, 50, 40, 2), activation="silu", generator=generator(), **options)  # type: ignore[arg-type]


X = torch.randn(20, 3, generator=generator(1), dtype=torch.float64)


def test_single_precision_is_double_precision_rounded() -> None:
    single, double = net(dtype=torch.float32), net()
    for a, b in zip(single.parameters(), double.parameters(), strict=True):
        assert torch.equal(a, b.float())
    Y = single(X.float())
    assert Y.dtype == torch.float32
    torch.testing.assert_close(Y.double(), double(X), rtol=1e-5, atol=1e-5)
    with pytest.raises(DataError, match=r"inputs are torch.float64; this MLP takes torch.float32: .* with .float\(\)"):
        single(X)


def test_without_a_generator_nothing_is_dropped() -> None:
    assert torch.equal(net(dropout=0.5)(X), net()(X))
    assert torch.equal(net()(X, generator(3)), net()(X))
    assert torch.equal(net(dropout=0.5).train()(X), net()(X))  # there is no mode


def test_the_same_seed_drops_the_same_entries() -> None:
    dropping = net(dropout=0.5)
    assert torch.equal(dropping(X, generator(3)), dropping(X, generator(3)))
    assert not torch.equal(dropping(X, generator(3)), dropping(X, generator(4)))


def test_dropped_entries_by_hand() -> None:
    dropping = net(dropout=0.3)
    masks = generator(3)
    h: Tensor = X
    for layer in dropping.hidden:
        h = nn.functional.silu(cast(nn.Linear, layer)(h))
        kept = torch.empty_like(h).bernoulli_(0.7, generator=masks)
        assert 0.6 < kept.mean().item() < 0.8
        h = torch.where(kept == 1, h / 0.7, 0.0)
    torch.testing.assert_close(dropping(X, generator(3)), dropping.last(h), rtol=1e-12, atol=1e-13)


def test_the_mean_over_draws_of_a_linear_output_is_the_network_itself() -> None:
    """With one hidden layer outputs are linear in what is dropped."""
    one = MLP((3, 30, 2), dropout=0.4, generator=generator())
    draws = generator(5)
    Y = torch.stack([one(X, draws) for _ in range(4000)])
    error = Y.std(0) / 4000**0.5
    assert bool(((Y.mean(0) - one(X)).abs() < 5 * error).all())


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_is_a_share(dropout: float) -> None:
    with pytest.raises(DataError, match=r"dropout is .*; it must be a number >= 0 and < 1"):
        net(dropout=dropout)
