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
from surrogates.networks import MLP, AdaptedMLP, Flat, LowRankAdapter, TaskEmbedding, flatten, unflatten
from surrogates.networks.adapters import Head

HEADS: tuple[Head, ...] = ("bias", "linear")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def adapted(*, tasks: int = 3, rank: int = 2, head: Head = "linear", trained: bool = True) -> AdaptedMLP:
    """With all parameters drawn, as after training; else as at the start."""
    net = AdaptedMLP((2, 6, 5, 3), tasks=tasks, rank=rank, activation="sin", head=head, generator=generator())
    if trained:
        unflatten(net, normal(len(flatten(net)), seed=7))
    return net


def tasks_of(*shape: int, tasks: int = 3, seed: int = 4) -> Tensor:
    return torch.randint(tasks, shape, generator=generator(seed))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", [0, 1, 2, 9])
def test_values_equal_a_loop_over_observations(rank: int, head: Head) -> None:
    net = adapted(rank=rank, head=head)
    X, task = normal(12, 2), tasks_of(12)
    Y = net(X, task)
    for x, t, y in zip(X, task.tolist(), Y, strict=True):
        h = x
        for k, layer in enumerate(net.hidden):
            W = cast(nn.Linear, layer).weight
            if rank:
                adapter = cast(LowRankAdapter, net.adapters[k])
                assert adapter.A.shape[-1] == min(rank, *W.shape)
                W = W + adapter.A[t] @ adapter.B[t]
            h = torch.sin(W @ h + cast(nn.Linear, layer).bias)
        W = net.last.weight + (net.H[t] if head == "linear" else 0.0)
        torch.testing.assert_close(y, W @ h + net.last.bias + net.β[t], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
def test_without_training_each_task_is_the_shared_mlp_bit_for_bit(head: Head) -> None:
    net = adapted(head=head, trained=False)
    trunk = MLP((2, 6, 5, 3), activation="sin", generator=generator())
    X = normal(12, 2)
    assert torch.equal(net(X, tasks_of(12)), trunk(X))
    assert any(bool(cast(LowRankAdapter, part).B.all()) for part in net.adapters)  # else A would never learn


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(12)), names=st.permutations(range(3)))
def test_rows_and_tasks_may_be_renamed(order: list[int], names: list[int]) -> None:
    net, other = adapted(), adapted()
    X, task = normal(12, 2), tasks_of(12)
    torch.testing.assert_close(net(X[order], task[order]), net(X, task)[order], rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        for name, p in other.named_parameters():
            if name in ("H", "β") or "adapters" in name:
                p[names] = p.clone()
    torch.testing.assert_close(other(X, torch.tensor(names)[task]), net(X, task), rtol=1e-12, atol=1e-13)


def test_leading_dims_are_broadcast() -> None:
    net = adapted()
    X, task = normal(4, 3, 2), tasks_of(4)
    Y = net(X, task[:, None])
    assert Y.shape == (4, 3, 3)
    for k in range(4):
        torch.testing.assert_close(Y[k], net(X[k], task[k]), rtol=1e-12, atol=1e-13)
    assert net(X[0], task[:, None]).shape == (4, 3, 3)
    assert net(X[:0], task[:0, None]).shape == (0, 3, 3)


def test_derivatives_under_vmap_equal_finite_differences() -> None:
    net = adapted()
    flat, θ, X, task = Flat(net), flatten(net) / 3, normal(4, 2), tasks_of(4)
    J = torch.vmap(torch.func.jacrev(flat), (None, 0, 0))(θ, X, task)  # tasks of no dims inside
    h = 1e-3
    for k, s in enumerate(h * torch.eye(len(θ), dtype=torch.float64)):
        f = [flat(θ + m * s, X, task) for m in (-2, -1, 1, 2)]
        torch.testing.assert_close(J[..., k], (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h), rtol=1e-8, atol=1e-9)
    v = normal(len(θ), seed=3)
    Jv = torch.func.jvp(lambda θ: flat(θ, X, task), (θ,), (v,))[1]
    torch.testing.assert_close(Jv, J @ v, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rank", [0, 2])
def test_private_parameters_move_their_task_and_no_other(rank: int, head: Head) -> None:
    net = adapted(rank=rank, head=head)
    flat, θ, X = Flat(net), flatten(net), normal(5, 2)
    parts = [net.shared_parameters(), *(net.private_parameters(t) for t in range(3))]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(θ)))  # a partition
    for t in range(3):
        for other in range(3):
            J = torch.func.jacrev(flat)(θ, X, torch.full((5,), other))
            used = bool(J[..., parts[1 + t]].any(0).any(0).all())
            assert used == (t == other)
            assert t == other or not J[..., parts[1 + t]].any()
    assert len(parts[0]) == len(flatten(MLP((2, 6, 5, 3), activation="sin", generator=generator())))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("start", ["shared", "mean"])
def test_one_task_more_leaves_the_others_as_they_were(start: Any, head: Head) -> None:
    net = adapted(head=head)
    before = flatten(net)
    wider = net.add_task(start=start, generator=generator(3))
    X, task = normal(12, 2), tasks_of(12)
    assert (wider.tasks, net.tasks) == (4, 3)
    assert torch.equal(wider(X, task), net(X, task))
    unflatten(wider, torch.zeros_like(flatten(wider)))
    assert torch.equal(flatten(net), before)  # no memory in common


def test_a_new_task_starts_as_the_shared_trunk() -> None:
    net = adapted()
    wider = net.add_task(generator=generator(3))
    X = normal(12, 2)
    trunk = MLP((2, 6, 5, 3), activation="sin", generator=generator())
    unflatten(trunk, flatten(net)[net.shared_parameters()])
    assert torch.equal(wider(X, torch.full((12,), 3)), trunk(X))
    adapter = cast(LowRankAdapter, wider.adapters[0])
    assert torch.equal(adapter.B[3], cast(LowRankAdapter, net.add_task(generator=generator(3)).adapters[0]).B[3])
    assert not torch.equal(adapter.B[3], cast(LowRankAdapter, net.add_task(generator=generator(4)).adapters[0]).B[3])


def test_a_new_task_starts_at_the_mean_of_the_others() -> None:
    """At full rank the mean of the products is met exactly; the mean of the factors would be another matrix."""
    net = adapted(rank=9)
    wider = net.add_task(start="mean", generator=generator(3))
    for old, new in zip(net.adapters, wider.adapters, strict=True):
        a, b = cast(LowRankAdapter, old), cast(LowRankAdapter, new)
        mean = sum(a.A[t] @ a.B[t] for t in range(3)) / 3
        torch.testing.assert_close(b.A[3] @ b.B[3], mean, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(wider.H[3], (net.H[0] + net.H[1] + net.H[2]) / 3)
    torch.testing.assert_close(wider.β[3], (net.β[0] + net.β[1] + net.β[2]) / 3)


def test_the_mean_of_low_rank_products_is_met_as_well_as_the_rank_allows() -> None:
    net = adapted(rank=2)
    wider = net.add_task(start="mean", generator=generator(3))
    a, b = cast(LowRankAdapter, net.adapters[1]), cast(LowRankAdapter, wider.adapters[1])
    mean = (a.A @ a.B).mean(0)
    missed = torch.linalg.matrix_norm(b.A[3] @ b.B[3] - mean)
    torch.testing.assert_close(missed, torch.linalg.svdvals(mean)[2:].square().sum().sqrt())  # Eckart & Young
    untrained = adapted(trained=False).add_task(start="mean", generator=generator(3))
    part = cast(LowRankAdapter, untrained.adapters[0])
    assert not part.A[3].any()
    assert bool((part.B[3].norm(dim=-1) > 0.5).all())  # A can learn


def test_equal_tasks_have_themselves_as_mean() -> None:
    net = adapted(rank=2)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name in ("H", "β") or "adapters" in name:
                p[:] = p[0].clone()
    wider, X = net.add_task(start="mean", generator=generator(3)), normal(6, 2)
    torch.testing.assert_close(wider(X, torch.full((6,), 3)), net(X, torch.zeros(6).long()), rtol=1e-11, atol=1e-12)


def test_low_rank_adapter_draws_b_and_starts_at_zero() -> None:
    adapter = LowRankAdapter(50, 40, tasks=30, rank=8, generator=generator())
    assert abs(adapter.B.var().item() * 50 - 1) < 5 * math.sqrt(2 / adapter.B.numel())
    assert not adapter.A.any()
    with torch.no_grad():
        adapter.A.copy_(normal(30, 40, 8))
    X, task = normal(9, 50), tasks_of(9, tasks=30)
    by_hand = torch.stack([adapter.A[t] @ (adapter.B[t] @ x) for x, t in zip(X, task.tolist(), strict=True)])
    torch.testing.assert_close(adapter(X, task), by_hand, rtol=1e-11, atol=1e-12)


def test_task_embedding_looks_vectors_up() -> None:
    embedding = TaskEmbedding(4, 3, generator())
    task = torch.tensor([[0, 3], [1, 1]])
    assert torch.equal(
        embedding(task), torch.stack([torch.stack([embedding.vectors[t] for t in row]) for row in task.tolist()])
    )
    assert torch.equal(embedding(torch.tensor(2)), embedding.vectors[2])
    embedding(task).sum().backward()
    assert cast(Tensor, embedding.vectors.grad).tolist() == [[1.0] * 3, [2.0] * 3, [0.0] * 3, [1.0] * 3]
    many = TaskEmbedding(500, 20, generator()).vectors
    assert abs(many.var().item() * 20 - 1) < 5 * math.sqrt(2 / many.numel())
    assert torch.equal(many, TaskEmbedding(500, 20, generator()).vectors)
    assert not torch.equal(many, TaskEmbedding(500, 20, generator(1)).vectors)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: adapted()(normal(5, 3), tasks_of(5)),
            r"inputs have shape \(5, 3\); this AdaptedMLP takes \(\.\.\., 2\)",
        ),
        (lambda: adapted()(normal(5, 2), tasks_of(5).int()), "task indices are torch.int32; they must be torch.long"),
        (
            lambda: adapted()(normal(5, 2), tasks_of(5) + 3),
            r"task index lies outside 0 \.\.\. 2; the module has 3 tasks",
        ),
        (
            lambda: adapted()(normal(5, 2), tasks_of(5) - 3),
            r"task index lies outside 0 \.\.\. 2; the module has 3 tasks",
        ),
        (lambda: adapted().private_parameters(3), "task is 3; the module has 3 tasks, counted from 0"),
        (lambda: adapted().private_parameters(-1), "task is -1; it must be an integer >= 0"),
        (
            lambda: adapted().add_task(start=cast(Any, "best"), generator=generator()),
            "start 'best' is unknown; known are s",
        ),
        (lambda: adapted(head=cast(Any, "mlp")), "head 'mlp' is unknown; known are bias, linear"),
        (lambda: adapted(rank=-1), "rank is -1; it must be an integer >= 0"),
        (lambda: adapted(tasks=0), "tasks is 0; it must be an integer >= 1"),
        (
            lambda: LowRankAdapter(3, 2, tasks=2, rank=3, generator=generator()),
            "rank is 3; a layer from 3 to 2 has at",
        ),
        (lambda: TaskEmbedding(2, 0, generator()), "width is 0; it must be an integer >= 1"),
    ],
)
def test_what_is_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
