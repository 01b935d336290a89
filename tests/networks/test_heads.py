from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.networks import Heads, StackedHeads

SIZES = {"logS": 2, "gap.S1": 1, "type": 3}  # names that a ModuleDict would refuse


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_each_name_has_the_outputs_of_its_own_rows() -> None:
    heads = Heads(4, SIZES, generator())
    with torch.no_grad():
        heads.bias.copy_(normal(6, seed=2))
    h = normal(5, 7, 4)
    outputs = heads(h)
    assert list(outputs) == list(SIZES)
    first = 0
    for name, size in SIZES.items():
        W, b = heads.weight[first : first + size], heads.bias[first : first + size]
        torch.testing.assert_close(outputs[name], torch.einsum("oi,abi->abo", W, h) + b, rtol=1e-12, atol=1e-13)
        first += size
    assert first == len(heads.weight)


def test_a_head_is_drawn_by_its_own_size_whatever_the_others() -> None:
    together = Heads(100, {"a": 300, "b": 2000}, generator())
    assert torch.equal(together.weight[:300], Heads(100, {"a": 300}, generator()).weight)
    for W, size in ((together.weight[:300], 300), (together.weight[300:], 2000)):
        assert abs(W.var().item() * (100 + size) / 2 - 1) < 5 * math.sqrt(2 / W.numel())
    assert not together.bias.any()
    assert not torch.equal(together.weight, Heads(100, {"a": 300, "b": 2000}, generator(1)).weight)


def test_the_loss_of_one_name_leaves_the_other_heads_alone() -> None:
    heads = Heads(4, SIZES, generator())
    heads(normal(5, 4))["gap.S1"].square().sum().backward()
    assert heads.weight.grad is not None
    assert heads.weight.grad.any(1).tolist() == [False, False, True, False, False, False]


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(DataError, match="sizes is empty; name one output or more"):
        Heads(4, {}, generator())
    with pytest.raises(DataError, match=r"sizes\['gap'\] is 0; it must be an integer >= 1"):
        Heads(4, {"gap": 0}, generator())
    with pytest.raises(DataError, match=r"inputs have shape \(5, 3\); this Heads module takes \(\.\.\., 4\)"):
        Heads(4, SIZES, generator())(normal(5, 3))


def test_stacked_heads_are_heads_of_equal_sizes_as_one_tensor() -> None:
    named = Heads(4, {"a": 2, "b": 2, "c": 2}, generator())
    stacked = StackedHeads(4, tasks=3, outputs=2, generator=generator())
    with torch.no_grad():
        named.bias.copy_(normal(6, seed=2))
        stacked.bias.copy_(named.bias.view(3, 2))
    h = normal(5, 7, 4)
    outputs = stacked(h)
    assert outputs.shape == (5, 7, 3, 2)
    assert torch.equal(outputs, torch.stack(list(named(h).values()), -2))
    by_hand = torch.einsum("mkh,abh->abmk", stacked.weight, h) + stacked.bias
    torch.testing.assert_close(outputs, by_hand, rtol=1e-12, atol=1e-13)
    outputs[..., 1, :].sum().backward()
    assert stacked.weight.grad is not None
    assert stacked.weight.grad.flatten(1).any(1).tolist() == [False, True, False]


def test_heads_in_float32_are_those_in_float64_rounded() -> None:
    h = normal(5, 4)
    for kind in (
        lambda dtype: StackedHeads(4, tasks=3, outputs=2, generator=generator(), dtype=dtype),
        lambda dtype: Heads(4, {"a": 2}, generator(), dtype=dtype),
    ):
        single, double = kind(torch.float32), kind(torch.float64)
        assert torch.equal(single.weight, double.weight.float())
        with pytest.raises(
            DataError, match=r"inputs are torch.float64; this \w+ module takes torch.float32: .*\.float\(\)"
        ):
            single(h)
        with pytest.raises(
            DataError, match=r"inputs are torch.float32; this \w+ module takes torch.float64: .*double\(\)"
        ):
            double(h.float())
    assert (
        StackedHeads(4, tasks=3, outputs=2, generator=generator(), dtype=torch.float32)(h.float()).dtype
        == torch.float32
    )


def test_wrong_sizes_of_stacked_heads_are_named() -> None:
    with pytest.raises(DataError, match="tasks is 0; it must be an integer >= 1"):
        StackedHeads(4, tasks=0, outputs=1, generator=generator())
    with pytest.raises(DataError, match="outputs is -1; it must be an integer >= 1"):
        StackedHeads(4, tasks=1, outputs=-1, generator=generator())
    with pytest.raises(DataError, match=r"dtype is torch.float16; known are torch.float32, torch.float64"):
        StackedHeads(4, tasks=1, outputs=1, generator=generator(), dtype=torch.float16)
