from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from surrogates.errors import DataError
from surrogates.networks import (
    ACTIVATIONS,
    MLP,
    Activation,
    FourierFeatures,
    ModifiedMLP,
    RandomFeatures,
    Trunk,
    flatten,
)
from surrogates.networks.linear import linear
from surrogates.networks.trunk import Kind

#: σ(x) from its definition, one number at a time.
BY_HAND: dict[str, Callable[[float], float]] = {
    "tanh": math.tanh,
    "sin": math.sin,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "relu": lambda x: max(x, 0.0),
}
TRUNKS = [
    Trunk(),
    Trunk(hidden=()),
    Trunk(hidden=(5, 3, 4), activation="gelu"),
    Trunk("fourier", hidden=(6,), features=7, scale=0.5),
    Trunk("modified", hidden=(6, 6), activation="silu"),
    Trunk("random", features=20),
]
KINDS_WITH_ACTIVATION: tuple[Kind, ...] = ("mlp", "fourier", "modified")
ACTIVATIONS_TRIED: tuple[Activation, ...] = ("silu", "relu")
each_trunk = pytest.mark.parametrize("trunk", TRUNKS, ids=lambda trunk: f"{trunk.kind}{trunk.hidden}")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def with_biases(net: nn.Module) -> nn.Module:
    """Biases are zero at first, where a forgotten one would not be seen."""
    with torch.no_grad():
        for k, (name, p) in enumerate(net.named_parameters()):
            if name.endswith("bias"):
                p.copy_(normal(*p.shape, seed=50 + k))
    return net


def affine(layer: nn.Linear, h: list[float]) -> list[float]:
    W, b = layer.weight.tolist(), layer.bias.tolist()
    return [b[j] + sum(W[j][i] * h[i] for i in range(len(h))) for j in range(len(b))]


@pytest.mark.parametrize("activation", list(BY_HAND))
def test_mlp_and_modified_mlp_equal_loops_by_hand(activation: Activation) -> None:
    σ = BY_HAND[activation]
    plain = cast(MLP, with_biases(MLP((2, 4, 4, 3), activation=activation, generator=generator())))
    mixed = cast(ModifiedMLP, with_biases(ModifiedMLP((2, 4, 4, 3), activation=activation, generator=generator())))
    for x in normal(5, 2).tolist():
        h = x
        for layer in plain.hidden:
            h = [σ(z) for z in affine(cast(nn.Linear, layer), h)]
        X = torch.tensor([x], dtype=torch.float64)
        torch.testing.assert_close(plain(X)[0].tolist(), affine(plain.last, h), rtol=1e-12, atol=1e-14)
        U, V = [σ(z) for z in affine(mixed.U, x)], [σ(z) for z in affine(mixed.V, x)]
        h = x
        for layer in mixed.hidden:
            Z = [σ(z) for z in affine(cast(nn.Linear, layer), h)]
            h = [(1 - z) * u + z * v for z, u, v in zip(Z, U, V, strict=True)]
        torch.testing.assert_close(mixed(X)[0].tolist(), affine(mixed.last, h), rtol=1e-12, atol=1e-14)


def test_every_activation_is_tried() -> None:
    assert list(BY_HAND) == list(ACTIVATIONS)


@pytest.mark.parametrize("activation", ["tanh", "sin", "silu", "gelu"])
@pytest.mark.parametrize("kind", [MLP, ModifiedMLP])
def test_second_derivatives_equal_finite_differences(
    kind: type[MLP] | type[ModifiedMLP], activation: Activation
) -> None:
    net = with_biases(kind((2, 6, 6, 1), activation=activation, generator=generator()))
    x, h = normal(2), 1e-4

    def value(x: Tensor) -> Tensor:
        return cast(Tensor, net(x)[0])

    def gradient(x: Tensor) -> Tensor:
        steps = h * torch.eye(2, dtype=torch.float64)
        f = [(value(x - 2 * s) - 8 * value(x - s) + 8 * value(x + s) - value(x + 2 * s)) / (12 * h) for s in steps]
        return torch.stack(f)

    exact = torch.func.jacrev(value)(x)
    torch.testing.assert_close(exact, gradient(x), rtol=1e-9, atol=1e-10)
    hessian = torch.func.jacfwd(torch.func.jacfwd(value))(x)  # forward over forward, as for a residual
    slope = torch.func.jacrev(value)
    columns = [(slope(x + s) - slope(x - s)) / (2 * h) for s in h * torch.eye(2, dtype=torch.float64)]
    torch.testing.assert_close(hessian, torch.stack(columns), rtol=1e-6, atol=1e-7)


def test_fourier_features_are_cosines_and_sines_of_whole_periods() -> None:
    features = FourierFeatures(2, 3, 0.7, generator())
    X = normal(4, 2)
    values = features(X)
    for n in range(4):
        for m in range(3):
            phase = 2 * math.pi * sum(float(features.Ω[m, i] * X[n, i]) for i in range(2))
            assert float(values[n, m]) == pytest.approx(math.cos(phase), abs=1e-13)
            assert float(values[n, 3 + m]) == pytest.approx(math.sin(phase), abs=1e-13)
    assert not list(features.parameters())
    assert features.width == values.shape[-1]


def test_the_scale_is_the_standard_deviation_of_the_frequencies() -> None:
    Ω = FourierFeatures(4, 10_000, 3.0, generator()).Ω
    assert abs(float(Ω.std()) / 3.0 - 1) < 5 / math.sqrt(2 * Ω.numel())
    assert abs(float(Ω.mean())) < 5 * 3.0 / math.sqrt(Ω.numel())


def test_weights_are_drawn_after_glorot_and_biases_are_zero() -> None:
    layer = linear(100, 300, generator=generator())
    count = layer.weight.numel()
    assert abs(layer.weight.var().item() * 200 - 1) < 5 * math.sqrt(2 / count)
    assert abs(layer.weight.mean().item()) < 5 * math.sqrt(1 / 200 / count)
    assert not layer.bias.any()


@each_trunk
def test_the_same_seed_draws_the_same_and_leaves_the_global_generator_alone(trunk: Trunk) -> None:
    before = torch.random.get_rng_state()
    a, b, c = (trunk.build(2, 3, generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name])
        assert value.dtype == torch.float64
        assert name.endswith("bias") or not torch.equal(value, c.state_dict()[name])
    assert not torch.equal(flatten(a), flatten(c))


@each_trunk
def test_a_batch_is_its_points_one_by_one_in_any_order_and_shape(trunk: Trunk) -> None:
    net = with_biases(trunk.build(2, 3, generator()))
    X = normal(4, 5, 2)
    Y = net(X)
    assert Y.shape == (4, 5, 3)
    one_by_one = torch.stack([net(x) for x in X.reshape(20, 2)]).reshape(4, 5, 3)
    torch.testing.assert_close(Y, one_by_one, rtol=1e-12, atol=1e-13)
    order = torch.randperm(20, generator=generator(3))
    shuffled = net(X.reshape(20, 2)[order])
    torch.testing.assert_close(shuffled, Y.reshape(20, 3)[order], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(torch.vmap(net)(X), Y, rtol=1e-12, atol=1e-13)
    assert net(X[:0]).shape == (0, 5, 3)


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(6)), layer=st.integers(0, 1))
def test_the_order_of_hidden_units_does_not_matter(order: list[int], layer: int) -> None:
    net = cast(MLP, with_biases(MLP((3, 6, 6, 2), generator=generator())))
    X = normal(7, 3)
    before = net(X)
    here = cast(nn.Linear, net.hidden[layer])
    above = net.last if layer == 1 else cast(nn.Linear, net.hidden[1])
    with torch.no_grad():
        here.weight.copy_(here.weight[order])
        here.bias.copy_(here.bias[order])
        above.weight.copy_(above.weight[:, order])
    torch.testing.assert_close(net(X), before, rtol=1e-12, atol=1e-13)


def test_equal_encoders_make_the_mixing_idle() -> None:
    net = cast(ModifiedMLP, with_biases(ModifiedMLP((2, 4, 4, 1), generator=generator())))
    X = normal(5, 2)
    with torch.no_grad():
        net.V.load_state_dict(net.U.state_dict())
    torch.testing.assert_close(net(X), net.last(torch.tanh(net.U(X))), rtol=1e-13, atol=1e-14)


def test_a_trunk_of_each_kind_is_what_it_says() -> None:
    assert isinstance(Trunk().build(2, 1, generator()), MLP)
    assert isinstance(Trunk("modified").build(2, 1, generator()), ModifiedMLP)
    for kind in KINDS_WITH_ACTIVATION:
        smooth, kinked = (Trunk(kind, activation=name).build(2, 1, generator()) for name in ACTIVATIONS_TRIED)
        assert not torch.equal(smooth(normal(5, 2)), kinked(normal(5, 2)))
    fourier = cast(nn.Sequential, Trunk("fourier", features=9, scale=2.0).build(2, 1, generator()))
    assert torch.equal(cast(FourierFeatures, fourier[0]).Ω, FourierFeatures(2, 9, 2.0, generator()).Ω)
    assert cast(MLP, fourier[1]).sizes == (18, 32, 32, 1)
    steps, last = cast(nn.Sequential, Trunk("random", features=9).build(2, 3, generator()))
    assert torch.equal(cast(RandomFeatures, steps).W, RandomFeatures(2, 9, scale=2.5, generator=generator()).W)
    assert [p.shape for p in steps.parameters()] == []
    assert [p.shape for p in last.parameters()] == [(3, 12)]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Trunk(cast(Any, "lstm")), "trunk 'lstm' is unknown; known are mlp, fourier, modified, random"),
        (lambda: Trunk(activation=cast(Any, "swish")), "activation 'swish' is unknown; known are tanh, sin, silu, gel"),
        (lambda: Trunk(hidden=(8, 0)), r"sizes\[1\] is 0; it must be an integer >= 1"),
        (lambda: Trunk(scale=-1.0), "scale is -1.0; it must be a finite number > 0"),
        (lambda: Trunk(features=0), "features is 0; it must be an integer >= 1"),
        (lambda: MLP((3,), generator=generator()), r"sizes is \(3,\); it needs 2 widths or more"),
        (lambda: MLP((3, True), generator=generator()), r"sizes\[1\] is True; it must be an integer"),
        (lambda: ModifiedMLP((3, 1), generator=generator()), r"sizes is \(3, 1\); it needs 3 widths or more"),
        (lambda: ModifiedMLP((3, 4, 5, 1), generator=generator()), r"hidden layers are \(4, 5\) wide; .* same width"),
        (lambda: FourierFeatures(2, 3, math.nan, generator()), "scale is nan; it must be a finite number > 0"),
    ],
)
def test_what_cannot_be_built_is_named(build: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        build()


@each_trunk
def test_inputs_of_wrong_width_or_precision_are_named(trunk: Trunk) -> None:
    net = trunk.build(2, 1, generator())
    with pytest.raises(DataError, match=r"inputs have shape \(5, 3\); this \w+ takes \(\.\.\., 2\)"):
        net(normal(5, 3))
    with pytest.raises(DataError, match=r"inputs have shape \(\); this \w+ takes \(\.\.\., 2\)"):
        net(torch.tensor(1.0).double())
    with pytest.raises(DataError, match=r"inputs are torch.float32; this \w+ takes torch.float64: convert them"):
        net(normal(5, 2).float())
