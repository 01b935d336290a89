"""The engine's gradients, Gram matrices, looks ahead and guidance against their definitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from task_models import Opaque, StackedHeads, flat, perceptron, sparse_batch, task_gradients, task_losses
from torch import Tensor, nn

from surrogates.errors import DataError
from surrogates.networks import MLP
from surrogates.training.conflicts import Batch, Engine, SquaredError
from surrogates.training.conflicts.chain import Rows, chain_gram, layers_of, run

M = 5
NAMES = tuple("abcde")


def engine_of(trunk: nn.Module, width: int, seed: int = 0, **more: str) -> Engine:
    generator = torch.Generator().manual_seed(seed)
    dtype = next(trunk.parameters()).dtype
    return Engine(trunk, StackedHeads(M, (width, 4, 2), generator, dtype), SquaredError(), NAMES, **more)  # type: ignore[arg-type]


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frozen(trunk: nn.Module, *names: str) -> nn.Module:
    for name, p in trunk.named_parameters():
        p.requires_grad_(name not in names)
    return trunk


TRUNKS: dict[str, Callable[[], tuple[nn.Module, int]]] = {
    "sequential": lambda: (perceptron((9, 12, 7, 6), generator_of(1), torch.float64), 6),
    "MLP": lambda: (MLP((9, 12, 6), activation="gelu", generator=generator_of(2)), 6),
    "one layer": lambda: (MLP((9, 6), generator=generator_of(3)), 6),
    "no biases": lambda: (
        nn.Sequential(nn.Linear(9, 8, bias=False), nn.Tanh(), nn.Linear(8, 6, bias=False)).double(),
        6,
    ),
    "frozen below": lambda: (frozen(perceptron((9, 8, 7, 6), generator_of(4), torch.float64), "0.weight", "0.bias"), 6),
    "frozen inside": lambda: (
        frozen(perceptron((9, 8, 7, 6), generator_of(4), torch.float64), "2.weight", "2.bias"),
        6,
    ),
    "weights frozen": lambda: (frozen(perceptron((9, 8, 6), generator_of(5), torch.float64), "0.weight"), 6),
    "with norm": lambda: (nn.Sequential(nn.Linear(9, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 6)).double(), 6),
    "opaque": lambda: (Opaque(perceptron((9, 8, 6), generator_of(6), torch.float64)), 6),
}


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("B", [3, 40])
@pytest.mark.parametrize("name", TRUNKS)
def test_the_gram_matrix_is_that_of_the_explicit_gradients(name: str, B: int, share: float) -> None:
    trunk, width = TRUNKS[name]()
    engine, batch = engine_of(trunk, width), sparse_batch(B, 9, M, share, generator_of(B), torch.float64)
    look, G = engine.look(batch), task_gradients(engine, batch)
    torch.testing.assert_close(look.gram(), G @ G.T, rtol=1e-10, atol=1e-12)
    assert engine.is_chain == (name not in ("with norm", "opaque"))
    assert torch.equal(look.present, batch.mask.any(0))
    expected = torch.where(look.present, task_losses(engine, batch).detach(), torch.nan)
    torch.testing.assert_close(look.losses, expected, equal_nan=True)


@pytest.mark.parametrize(("B", "share"), [(6, 1.0), (64, 1.0), (64, 0.05), (64, 0.6)])
def test_every_road_to_a_layers_part_is_the_same(B: int, share: float) -> None:
    """Whichever is cheapest is taken; here the sizes make each of them so, and pieces smaller than a layer."""
    trunk = perceptron((30, 40, 20), generator_of(0), torch.float64)
    engine, batch = engine_of(trunk, 20), sparse_batch(B, 30, M, share, generator_of(B), torch.float64)
    from surrogates.training.conflicts import chain

    look, G = engine.look(batch), task_gradients(engine, batch)
    layers = layers_of(trunk, batch.X)
    assert layers is not None
    present, δ = look.present, look._δ[look.present]
    rows, record = Rows.of(batch.mask[:, present].T), run(layers, batch.X)
    for road in (chain._explicit, chain._kernel, chain._pairs):
        total = torch.zeros(int(present.sum()), int(present.sum()), dtype=torch.float64)

        def add(C: Tensor, a: Tensor, linear: nn.Linear, start: int) -> None:
            total.add_(road(C, a, linear, rows))  # noqa: B023

        with torch.no_grad():
            chain.visit(record, δ, rows, add)
        torch.testing.assert_close(total, (G @ G.T)[present][:, present], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(chain_gram(record, δ, rows), total, rtol=1e-10, atol=1e-12)


def test_single_precision_works_to_its_rounding() -> None:
    engine = engine_of(perceptron((9, 12, 6), generator_of(1), torch.float32), 6)
    batch = sparse_batch(40, 9, M, 0.7, generator_of(1), torch.float32)
    look, G = engine.look(batch), task_gradients(engine, batch)
    assert look.gram().dtype == look.losses.dtype == torch.float64
    torch.testing.assert_close(look.gram(), (G @ G.T).double(), rtol=1e-4, atol=1e-6)
    look.backward(torch.ones(M).double())
    torch.testing.assert_close(flat([p.grad for _, p in engine.shared if p.grad is not None]), G.sum(0))


@pytest.mark.parametrize("name", ["sequential", "MLP", "frozen below", "opaque"])
def test_the_trunk_gets_weighted_and_the_heads_their_own_gradients(name: str) -> None:
    trunk, width = TRUNKS[name]()
    engine, batch = engine_of(trunk, width), sparse_batch(20, 9, M, 0.4, generator_of(0), torch.float64)
    G, c = task_gradients(engine, batch), torch.randn(M, generator=generator_of(1), dtype=torch.float64)
    own = torch.autograd.grad(task_losses(engine, batch).sum(), engine.private)
    look = engine.look(batch)
    assert look.slope(c) == pytest.approx(float((c @ G).square().sum()), rel=1e-12)
    look.backward(c)
    torch.testing.assert_close(flat([p.grad for _, p in engine.shared if p.grad is not None]), c @ G)
    for p, g in zip(engine.private, own, strict=True):
        torch.testing.assert_close(p.grad, g)


def moved(engine: Engine, step: Tensor) -> None:
    """Add a flat step to the shared parameters."""
    with torch.no_grad():
        for (_, p), part in zip(engine.shared, step.split([p.numel() for _, p in engine.shared]), strict=True):
            p.add_(part.view_as(p))


@pytest.mark.parametrize("name", ["sequential", "opaque", "with norm"])
def test_looks_ahead_and_guidance_follow_their_definitions(name: str) -> None:
    trunk, width = TRUNKS[name]()
    engine = engine_of(trunk, width)
    batch, held_out = (sparse_batch(20, 9, M, 0.6, generator_of(s), torch.float64) for s in (0, 1))
    c, rate = torch.rand(M, generator=generator_of(2), dtype=torch.float64), 0.05
    look, G = engine.look(batch, guidance=lambda: held_out), task_gradients(engine, batch)
    ahead, guidance = look.ahead(c, rate), look.guidance(c, rate)
    moved(engine, -rate * c @ G)
    torch.testing.assert_close(ahead, task_losses(engine, batch).detach())
    torch.testing.assert_close(guidance, G @ task_gradients(engine, held_out).sum(0))


def test_a_look_ahead_draws_the_same_dropout_and_leaves_running_means_alone() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(9, 30), nn.Tanh(), nn.Dropout(0.5), nn.Linear(30, 6)).double()
    batch = sparse_batch(20, 9, M, 1.0, generator_of(0), torch.float64)
    engine = engine_of(trunk, 6)
    look = engine.look(batch)
    assert engine.is_chain
    ones = torch.ones(M).double()
    torch.testing.assert_close(look.ahead(ones, 0.0), look.losses, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(look.again().losses, look.losses, rtol=0.0, atol=0.0)
    J = torch.stack([flat(look._pull(δ)) for δ in look._δ])  # through the mask that was drawn
    torch.testing.assert_close(look.gram(), J @ J.T, rtol=1e-10, atol=1e-12)
    assert not torch.equal(engine.look(batch).losses, look.losses)

    normed = engine_of(nn.Sequential(nn.Linear(9, 6), nn.BatchNorm1d(6)).double(), 6)
    look = normed.look(batch, guidance=lambda: batch)
    before = {name: b.clone() for name, b in normed.trunk.named_buffers()}
    look.ahead(ones, 0.1)
    look.guidance(ones, 0.1)
    assert all(torch.equal(b, before[name]) for name, b in normed.trunk.named_buffers())


def test_the_sketchs_gram_matrix_is_right_on_average() -> None:
    """Error of a cosine about 1/√r, and the same projection for a chain at every step."""
    engine = engine_of(perceptron((40, 60, 50), generator_of(0), torch.float64), 50)
    batch = sparse_batch(30, 40, M, 1.0, generator_of(0), torch.float64)
    look = engine.look(batch)
    d, T = look.gram().diagonal().sqrt(), look.gram()
    for r in (256, 1024):
        S = look.sketch(r)
        assert S.shape == (M, r)
        assert torch.equal(S, engine.look(batch).sketch(r))
        error = ((S @ S.T - T) / d[:, None] / d[None, :]).abs().max()
        assert 1e-6 < error < 4 / r**0.5
    opaque = Engine(Opaque(engine.trunk), engine.heads, SquaredError(), NAMES).look(batch).sketch(1024)
    assert ((opaque @ opaque.T - T) / d[:, None] / d[None, :]).abs().max() < 4 / 1024**0.5


def test_at_the_representation_the_matrix_is_that_of_its_cotangents_and_bounds_the_exact_one() -> None:
    trunk = perceptron((9, 12, 6), generator_of(1), torch.float64)
    engine, exact = engine_of(trunk, 6, level="representation"), engine_of(trunk, 6)
    batch = sparse_batch(8, 9, M, 1.0, generator_of(0), torch.float64)
    z = trunk(batch.X).detach().requires_grad_()
    L = batch.means(SquaredError()(engine.heads(z), batch))
    δ = torch.stack([torch.autograd.grad(value, z, retain_graph=True)[0].flatten() for value in L])
    cheap = engine.look(batch).gram()
    torch.testing.assert_close(cheap, δ @ δ.T)
    rows = [torch.autograd.grad(v, list(trunk.parameters()), retain_graph=True) for v in trunk(batch.X).flatten()]
    bound = torch.linalg.matrix_norm(torch.stack([flat(row) for row in rows]), 2) ** 2
    assert torch.linalg.eigvalsh(bound * cheap - exact.look(batch).gram()).min() >= -1e-9


def test_labels_may_have_weights() -> None:
    engine = engine_of(MLP((9, 6), generator=generator_of(0)), 6)
    plain = sparse_batch(10, 9, M, 0.7, generator_of(0), torch.float64)
    w = torch.rand(10, M, generator=generator_of(1), dtype=torch.float64)
    outputs = engine.heads(engine.trunk(plain.X))[..., 0]
    for i in range(M):
        keep = plain.mask[:, i]
        error = (outputs[keep, i] - plain.Y[keep, i]) ** 2
        expected = (w[keep, i] * error).sum() / w[keep, i].sum()
        got = engine.look(Batch(plain.X, plain.Y, plain.mask, w)).losses[i]
        assert float(got) == pytest.approx(float(expected.detach()), rel=1e-12)


@pytest.mark.parametrize(
    "trunk",
    [
        nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)),  # not elementwise
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True)),  # the sums are gone
        nn.Sequential(nn.Tanh(), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(4, 3), nn.PReLU()),  # parameters outside of the linear layers
        nn.Sequential(layer := nn.Linear(4, 4), layer),  # the same layer twice
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
    ],
)
def test_what_is_no_chain_is_not_taken_for_one(trunk: nn.Module) -> None:
    assert layers_of(trunk.double(), torch.randn(3, 4, generator=generator_of(0), dtype=torch.float64)) is None


def test_bad_input_is_named() -> None:
    trunk = perceptron((9, 6), generator_of(0), torch.float64)
    engine = engine_of(trunk, 6)
    batch = sparse_batch(4, 9, M, 1.0, generator_of(0), torch.float64)
    with pytest.raises(DataError, match=r"labels are \(4, 3\) with a mask \(4, 3\); both must be \(rows, 5\)"):
        engine.look(Batch.of(batch.X, batch.Y[:, :3]))
    with pytest.raises(DataError, match="asks for a guidance batch, but there is none; give the loop guidance data"):
        engine.look(batch).guidance(torch.ones(M).double(), 0.1)
    with pytest.raises(DataError, match="heads gave outputs"):
        Engine(trunk, nn.Linear(6, 4).double(), SquaredError(), NAMES).look(Batch.of(batch.X, batch.Y))
    with pytest.raises(DataError, match="trunk and heads share parameters"):
        Engine(trunk, trunk, SquaredError(), NAMES)
    with pytest.raises(DataError, match="no trainable parameters, so nothing is shared"):
        Engine(nn.Identity(), engine.heads, SquaredError(), NAMES)
    with pytest.raises(DataError, match="there are no tasks"):
        Engine(trunk, engine.heads, SquaredError(), ())
    with pytest.raises(DataError, match="level is 'layers'; it must be one of 'parameters', 'representation'"):
        engine_of(trunk, 6, level="layers")
