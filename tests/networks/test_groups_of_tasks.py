"""Adapters that groups of tasks share, and the groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from surrogates.errors import DataError
from surrogates.networks import (
    MLP,
    AdaptedMLP,
    Flat,
    LowRankAdapter,
    flatten,
    progressive_groups,
    task_groups,
    unflatten,
)

#: five tasks: all share the first layer's adapter, two groups the second's, each has one in the third
GROUPS = [(0, 0, 0, 0, 0), (0, 1, 0, 1, 1), (0, 1, 2, 3, 4)]
SIZES = (2, 6, 5, 4, 3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def weight(net: MLP | AdaptedMLP, layer: int) -> Tensor:
    return cast(nn.Linear, net.hidden[layer]).weight


def grouped() -> AdaptedMLP:
    net = AdaptedMLP(SIZES, tasks=5, rank=2, activation="sin", head="linear", groups=GROUPS, generator=generator())
    unflatten(net, normal(len(flatten(net)), seed=7))
    return net


def test_values_equal_private_adapters_that_are_copies_within_a_group() -> None:
    net = grouped()
    private = AdaptedMLP(SIZES, tasks=5, rank=2, activation="sin", head="linear", generator=generator())
    with torch.no_grad():
        for name, p in private.named_parameters():
            old = net.get_parameter(name)
            layer = name.split(".")[1] if name.startswith("adapters.") else None
            p.copy_(old if layer is None else old[list(GROUPS[int(layer)])])
    X, task = normal(12, 2), torch.randint(5, (12,), generator=generator(4))
    torch.testing.assert_close(net(X, task), private(X, task), rtol=1e-12, atol=1e-13)
    for t in range(5):
        torch.testing.assert_close(net.merged(t)(X), net(X, torch.full((12,), t)), rtol=1e-11, atol=1e-12)
    assert [len(cast(LowRankAdapter, part).A) for part in net.adapters] == [1, 2, 5]


def test_positions_say_which_parameters_a_task_uses() -> None:
    net = grouped()
    flat, θ, X = Flat(net), flatten(net), normal(5, 2)
    used = []
    for t in range(5):
        J = torch.func.jacrev(flat)(θ, X, torch.full((5,), t)).flatten(0, 1)
        used.append(J.any(0))
        mine = torch.cat([net.trunk_parameters(), net.adapter_parameters(t)]).sort().values
        assert torch.equal(mine, used[-1].nonzero()[:, 0])
    count = torch.stack(used).sum(0)
    assert torch.equal(net.shared_parameters(), (count > 1).nonzero()[:, 0])
    for t in range(5):
        assert torch.equal(net.private_parameters(t), ((count == 1) & used[t]).nonzero()[:, 0])
    trunk = MLP(SIZES, activation="sin", generator=generator())
    unflatten(trunk, θ[net.trunk_parameters()])  # in the order of the plain network
    assert torch.equal(weight(trunk, 1), weight(net, 1))


def test_a_new_task_joins_what_all_share_and_gets_the_rest_anew() -> None:
    net = grouped()
    wider = net.add_task(generator=generator(3))
    assert wider.groups == ((0,) * 6, (0, 1, 0, 1, 1, 2), (0, 1, 2, 3, 4, 5))
    X, task = normal(12, 2), torch.randint(5, (12,), generator=generator(4))
    assert torch.equal(wider(X, task), net(X, task))
    second = cast(LowRankAdapter, wider.adapters[1])
    assert not second.A[2].any()
    assert bool(second.B[2].all())
    joined = net.add_task(groups=(0, 1, 4), start="mean", generator=generator(3))
    merged, sibling = joined.merged(5), joined.merged(4)
    for k in range(3):
        assert torch.equal(weight(merged, k), weight(sibling, k))
    torch.testing.assert_close(joined.H[5], net.H.mean(0))


def test_a_new_group_starts_at_the_mean_over_tasks() -> None:
    net = grouped()
    wide = net.add_task(start="mean", generator=generator(3))
    A, B = cast(LowRankAdapter, net.adapters[1]).A, cast(LowRankAdapter, net.adapters[1]).B
    mean = (2 * A[0] @ B[0] + 3 * A[1] @ B[1]) / 5
    new = cast(LowRankAdapter, wide.adapters[1])
    missed = torch.linalg.matrix_norm(new.A[2] @ new.B[2] - mean)
    torch.testing.assert_close(missed, torch.linalg.svdvals(mean)[2:].square().sum().sqrt())


def test_adapted_networks_in_float32() -> None:
    single = AdaptedMLP(
        SIZES, tasks=5, rank=2, head="linear", groups=GROUPS, dtype=torch.float32, generator=generator()
    )
    double = AdaptedMLP(SIZES, tasks=5, rank=2, head="linear", groups=GROUPS, generator=generator())
    X, task = normal(12, 2), torch.randint(5, (12,), generator=generator(4))
    assert {p.dtype for p in single.add_task(generator=generator()).parameters()} == {torch.float32}
    torch.testing.assert_close(single(X.float(), task).double(), double(X, task), rtol=1e-4, atol=1e-5)
    Y = normal(12, 3, seed=8)
    single.fit_head(2, X.float(), Y.float())
    double.fit_head(2, X, Y)
    chosen = torch.full((12,), 2)
    torch.testing.assert_close(single(X.float(), chosen).double(), double(X, chosen), rtol=1e-2, atol=1e-3)
    assert torch.equal(single.merged(2)(X.float()).argmax(-1), single(X.float(), chosen).argmax(-1))


# --- groups by similarity ---


def blocks(seed: int, noise: float = 0.2) -> tuple[np.ndarray, list[int]]:
    """A noisy similarity of twelve tasks in three blocks, two of which are close to each other."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1, 2], 4))
    level = np.array([[0.9, 0.5, 0.0], [0.5, 0.9, 0.0], [0.0, 0.0, 0.9]])
    E = noise * rng.uniform(-1, 1, (12, 12))
    return level[np.ix_(labels, labels)] + (E + E.T) / 2, labels.tolist()


def same(groups: tuple[int, ...] | list[int]) -> np.ndarray:
    return np.equal.outer(groups, groups)


@pytest.mark.parametrize("seed", range(5))
def test_blocks_of_alike_tasks_are_found_and_nested(seed: int) -> None:
    S, labels = blocks(seed)
    one, two, three, all_ = progressive_groups(S, [1, 2, 3, 12])
    assert np.array_equal(same(three), same(labels))
    assert np.array_equal(same(two), same([min(k, 1) if k != 2 else 2 for k in [1 if k < 2 else 2 for k in labels]]))
    assert set(one) == {0}
    assert all_ == tuple(range(12))
    assert task_groups(S, 3) == three
    assert list(dict.fromkeys(three)) == [0, 1, 2]  # in the order of their first tasks


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_groups_do_not_depend_on_the_order_of_tasks_or_on_the_diagonal(order: list[int], count: int) -> None:
    S, _ = blocks(0)
    found = task_groups(S, count)
    assert len(set(found)) == count
    other = S[np.ix_(order, order)] - 3 * np.eye(12)
    assert np.array_equal(same(task_groups(other, count)), same(found)[np.ix_(order, order)])
    assert np.array_equal(same(task_groups(5 * S - 2, count)), same(found))


def test_ties_and_one_task() -> None:
    assert len(set(task_groups(np.ones((6, 6)), 3))) == 3
    assert progressive_groups([[1.0]], [1, 1]) == [(0,), (0,)]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: task_groups([[1.0, 0.0]], 1), r"similarity has shape \(1, 2\); wanted is \(tasks, tasks\)"),
        (
            lambda: task_groups([[1.0, float("nan")], [float("nan"), 1.0]], 1),
            "similarity has 2 entries that are NaN or infinite; set them to 0 where nothing is known",
        ),
        (lambda: task_groups([[1.0, 0.2], [0.1, 1.0]], 1), "isn't symmetric; take its mean with its transpose"),
        (lambda: task_groups(np.eye(3), 4), "count is 4; 3 tasks make at most 3 groups"),
        (lambda: task_groups(np.eye(3), 0), "count is 0; it must be an integer >= 1"),
        (
            lambda: LowRankAdapter(3, 3, tasks=3, rank=1, groups=(0, 1), generator=generator()),
            "groups has 2 entries for 3 tasks; give the group of each task",
        ),
        (
            lambda: LowRankAdapter(3, 3, tasks=3, rank=1, groups=(0, 2, 2), generator=generator()),
            r"groups is \(0, 2, 2\); they must be counted from 0 without a gap",
        ),
        (
            lambda: AdaptedMLP(SIZES, tasks=5, rank=2, groups=GROUPS[:2], generator=generator()),
            "groups is given for 2 layers; the network has 3 hidden ones",
        ),
        (
            lambda: grouped().add_task(groups=(0, 3, 0), generator=generator()),
            r"groups is \[0, 3, 0\]; wanted is one for each hidden layer, from 0 to \[1, 2, 5\]",
        ),
        (
            lambda: AdaptedMLP(SIZES, tasks=5, rank=2, generator=generator()).add_task(
                groups=(0, 0, 0), generator=generator()
            ),
            "groups is given, but this module has none",
        ),
        (
            lambda: grouped()(normal(3, 2), torch.full((3,), 5)),
            "task index lies outside 0 ... 4; the module has 5 tasks",
        ),
        (lambda: grouped().adapter_parameters(5), "task is 5; the module has 5 tasks, counted from 0"),
    ],
)
def test_what_is_wrong_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        call()
