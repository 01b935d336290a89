from __future__ import annotations

import copy
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from surrogates.errors import DataError
from surrogates.networks import MLP, AdaptedMLP, Flat, Trunk, flatten, unflatten

TRUNKS = [
    Trunk(hidden=(7, 5)),
    Trunk("fourier", hidden=(6,), features=5),
    Trunk("modified", hidden=(6, 6)),
    Trunk("random", features=11),
]
each_trunk = pytest.mark.parametrize("trunk", TRUNKS, ids=lambda trunk: trunk.kind)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=60)
@given(
    trunk=st.sampled_from(TRUNKS),
    d_in=st.integers(1, 9),
    d_out=st.integers(1, 9),
    rows=st.integers(0, 70),
    seed=st.integers(0, 99),
)
def test_values_are_the_modules_own_bit_for_bit(trunk: Trunk, d_in: int, d_out: int, rows: int, seed: int) -> None:
    net = trunk.build(d_in, d_out, generator(seed))
    X = normal(rows, d_in, seed=seed)
    flat, θ = Flat(net), flatten(net)
    assert θ.shape == (flat.size,)
    assert torch.equal(flat(θ, X), net(X))


def test_memory_that_is_not_aligned_changes_no_bit() -> None:
    """MKL sums in another order where a matrix doesn't start at a multiple of 16 bytes."""
    for width in range(10, 30):
        net, X = MLP((2, width, width, 5), generator=generator()), normal(33, 2)
        assert torch.equal(Flat(net)(flatten(net), X), net(X))


@each_trunk
def test_another_vector_is_another_module_and_the_first_stays_as_it_was(trunk: Trunk) -> None:
    net, other = trunk.build(2, 3, generator()), trunk.build(2, 3, generator())
    θ, X = normal(len(flatten(net))), normal(8, 2)
    before = copy.deepcopy(net.state_dict())
    values = Flat(net)(θ, X)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    unflatten(other, θ)
    assert torch.equal(flatten(other), θ)
    assert torch.equal(other(X), values)
    assert all(p.requires_grad for p in other.parameters())
    assert not flatten(other).requires_grad


@each_trunk
def test_vmap_of_jacrev_equals_finite_differences(trunk: Trunk) -> None:
    net = trunk.build(2, 2, generator())
    flat, θ, X = Flat(net), normal(len(flatten(net))) / 3, normal(3, 2)
    J = torch.vmap(torch.func.jacrev(flat), (None, 0))(θ, X)  # (3, 2, P)
    h = 1e-3
    for k, s in enumerate(h * torch.eye(len(θ), dtype=torch.float64)):
        four = (flat(θ - 2 * s, X) - 8 * flat(θ - s, X) + 8 * flat(θ + s, X) - flat(θ + 2 * s, X)) / (12 * h)
        torch.testing.assert_close(J[..., k], four, rtol=1e-9, atol=1e-10)
    v = normal(len(θ), seed=2)
    Jv = torch.func.jvp(lambda θ: flat(θ, X), (θ,), (v,))[1]
    torch.testing.assert_close(Jv, J @ v, rtol=1e-11, atol=1e-12)
    leaf = θ.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(flat(leaf, X).square().sum(), leaf)
    torch.testing.assert_close(gradient, 2 * torch.einsum("nop,no->p", J, flat(θ, X)), rtol=1e-11, atol=1e-12)


def test_many_vectors_at_once_are_an_ensemble() -> None:
    nets = [MLP((2, 5, 1), generator=generator(seed)) for seed in range(4)]
    θ, X = torch.stack([flatten(net) for net in nets]), normal(6, 2)
    together = torch.vmap(Flat(nets[0]), (0, None))(θ, X)
    torch.testing.assert_close(together, torch.stack([net(X) for net in nets]), rtol=1e-12, atol=1e-13)


def test_a_module_of_several_inputs() -> None:
    net = AdaptedMLP((2, 5, 1), tasks=3, rank=1, generator=generator())
    X, task = normal(6, 2), torch.tensor([0, 1, 2, 2, 1, 0])
    assert torch.equal(Flat(net)(flatten(net), X, task), net(X, task))


def test_a_module_without_parameters() -> None:
    flat = Flat(nn.Tanh())
    assert torch.equal(flatten(nn.Tanh()), torch.zeros(0, dtype=torch.float64))
    X = normal(3)
    assert torch.equal(flat(torch.zeros(0, dtype=torch.float64), X), X.tanh())


def test_tied_parameters_count_once() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    net[1].weight = cast(nn.Linear, net[0]).weight
    X, θ = normal(4, 3), flatten(net)
    assert len(θ) == 9 + 3 + 3
    assert torch.equal(Flat(net)(θ, X), net(X))


def test_a_vector_of_wrong_length_or_precision_is_named() -> None:
    net = MLP((2, 3, 1), generator=generator())
    with pytest.raises(
        DataError, match=r"θ is torch.float64 of shape \(12,\); .* torch.float64 vector of shape \(13,\)"
    ):
        Flat(net)(normal(12), normal(4, 2))
    with pytest.raises(DataError, match=r"θ is torch.float32 of shape \(13,\)"):
        unflatten(net, normal(13).float())
    with pytest.raises(
        DataError, match=r"parameter 'weight' is torch.float32; it must be torch.float64: use module.dou"
    ):
        Flat(nn.Linear(2, 2))
    with pytest.raises(DataError, match=r"parameter 'weight' is torch.float32"):
        flatten(nn.Linear(2, 2))
