"""AIM: its gradients on explicit vectors, its policy's slope by finite differences, its limits, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from quadratic_tasks import Quadratics, QuadraticTasks, descend, gradients_seen, random_quadratics
from torch import Tensor

from surrogates.errors import DataError
from surrogates.training.conflicts import AIM

m, P = 4, 6
ALL = torch.ones(m, dtype=torch.bool)


def tasks_and_place(seed: int) -> tuple[Quadratics, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return random_quadratics(m, P, generator), torch.randn(P, generator=generator, dtype=torch.float64)


def thresholds(seed: int) -> Tensor:
    return 0.3 * torch.randn(m, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def intervened(τ: Tensor, G: Tensor, k: float) -> Tensor:
    """Equations 1 and 2 vector by vector."""
    found = torch.zeros(G.shape[1], dtype=G.dtype)
    for i in range(len(G)):
        found = found + G[i]
        for j in range(len(G)):
            if j != i:
                w = torch.sigmoid(k * (τ[i, j] - torch.cosine_similarity(G[i], G[j], dim=0)))
                found = found - w * (G[i] @ G[j]) / (G[j] @ G[j]) * G[j]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_those_of_explicit_vectors(seed: int) -> None:
    tasks, θ = tasks_and_place(seed)
    G, τ, method = tasks.gradients(θ), thresholds(seed), AIM()
    torch.testing.assert_close(method.weights(τ, G @ G.T, ALL) @ G, intervened(τ, G, 10.0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("guide", "magnitude", "progress"), [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.7, 0.2, 1.3)])
@pytest.mark.parametrize("policy", ["matrix", "scalar"])
def test_the_policys_slope_is_the_finite_difference_of_its_loss(
    policy: str, guide: float, magnitude: float, progress: float
) -> None:
    """All terms, with the gradients g_i held: L(τ) is evaluated from its definition."""
    tasks, θ = tasks_and_place(1)
    method = AIM(policy=policy, guide=guide, magnitude=magnitude, progress=progress, sharpness=3.0)  # type: ignore[arg-type]
    G, L = tasks.gradients(θ), tasks.losses(θ)
    α, norms = L / L.sum(), G.norm(dim=1)
    η = method.ahead * L.sum() / norms.sum() ** 2

    def loss(τ: Tensor) -> Tensor:
        g = intervened(τ, G, method.sharpness)
        mag = (g.norm() - norms.sum()) ** 2 / norms.sum() ** 2
        prog = -(α * (G @ g)).sum() / (g.norm() * (α * norms).sum())
        return guide * tasks.losses(θ - η * g, tasks.held_out).sum() / L.sum() + magnitude * mag + progress * prog

    τ = thresholds(2) if policy == "matrix" else torch.full((m, m), 0.1, dtype=torch.float64)
    seen, M = QuadraticTasks(tasks, θ), G @ G.T
    v = method.slope(method.weights(τ, M, ALL), M, seen)
    slope, h = method.through(v, τ, M), 1e-5
    if policy == "scalar":
        difference = (loss(τ + h) - loss(τ - h)) / (2 * h)
        torch.testing.assert_close(slope.sum(), difference, rtol=1e-6, atol=1e-9)
        return
    for i in range(m):
        for j in range(m):
            step = torch.zeros(m, m, dtype=torch.float64)
            step[i, j] = h
            difference = (loss(τ + step) - loss(τ - step)) / (2 * h)
            torch.testing.assert_close(slope[i, j], difference, rtol=1e-6, atol=1e-9)


def test_a_sharp_threshold_at_zero_is_pcgrad_for_two_tasks() -> None:
    method = AIM(sharpness=1e8)
    for seed in range(20):
        G = torch.randn(2, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        expected = G.sum(0)
        if (inner := G[0] @ G[1]) < 0:
            expected = expected - inner / G[1].square().sum() * G[1] - inner / G[0].square().sum() * G[0]
        c, _ = method.step(method.init(2), gradients_seen(G, step=1))
        torch.testing.assert_close(c @ G, expected, rtol=1e-12, atol=1e-12)


def test_the_policys_terms_have_no_dimension() -> None:
    """Losses in other units, and gradients with them, leave the slope of each term as it was."""
    tasks, θ = tasks_and_place(3)
    large = replace(tasks, H=1000.0 * tasks.H)
    for terms in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        method = AIM(guide=terms[0], magnitude=terms[1], progress=terms[2])
        slopes = []
        for one in (tasks, large):
            M = one.gradients(θ) @ one.gradients(θ).T
            v = method.slope(method.weights(thresholds(0), M, ALL), M, QuadraticTasks(one, θ))
            slopes.append(method.through(v, thresholds(0), M))
        torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-10, atol=0.0)


def test_the_matrix_is_taken_and_the_policy_moved_every_so_many_steps() -> None:
    tasks, θ = tasks_and_place(0)
    method, looks = AIM(every=3), []
    state = method.init(m)
    for step in range(7):
        seen = QuadraticTasks(tasks, θ, step=step)
        before = state["thresholds"]
        _, state = method.step(state, seen)
        assert torch.equal(before, state["thresholds"]) == (step % 3 != 0)
        looks.append(seen.looks)
    assert looks == [["gram", "guidance"], [], [], ["gram", "guidance"], [], [], ["gram", "guidance"]]
    # a task that was never measured makes it look anew; without guide nothing is asked of the guidance data
    method = AIM(every=100, guide=0.0)
    state = method.init(m)
    for step, present in enumerate(([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0])):
        seen = QuadraticTasks(tasks, θ, torch.tensor(present).bool(), step)
        _, state = method.step(state, seen)
        assert seen.looks == (["gram"] if step in (0, 2) else [])


def test_memory_mixes_old_and_new_matrices_of_pairs_that_are_there() -> None:
    tasks, θ = tasks_and_place(0)
    method = AIM(every=1, memory=0.75, guide=0.0)
    first, second = QuadraticTasks(tasks, θ), QuadraticTasks(tasks, θ + 1, torch.tensor([1, 1, 0, 1]).bool(), 1)
    _, state = method.step(method.init(m), first)
    torch.testing.assert_close(state["gram"], first.G @ first.G.T)
    _, state = method.step(state, second)
    mixed = 0.75 * first.G @ first.G.T + 0.25 * second.G @ second.G.T
    torch.testing.assert_close(state["gram"][[0, 1, 3]][:, [0, 1, 3]], mixed[[0, 1, 3]][:, [0, 1, 3]])
    torch.testing.assert_close(state["gram"][2], (first.G @ first.G.T)[2])


def test_the_policy_learns_whose_gradient_to_clear() -> None:
    """Task 3 pulls to a place that is wrong for the guidance data: it is cleared for the others' sake, not they for its."""
    a = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.3, 0.0], [1.0, -0.3, 0.0], [-2.0, 0.0, 0.5]]).double()
    held_out = a.clone()
    held_out[3] = torch.tensor([1.0, 0.0, 0.5])  # its training labels are biased, its guidance labels are not
    tasks = Quadratics(a, torch.eye(3).double().expand(4, 3, 3), held_out, level=0.1)
    method = AIM(every=1, magnitude=0.0, progress=0.0, rate=0.02)
    θ, state = descend(method, tasks, torch.zeros(3).double(), steps=300, rate=0.02)
    policy = state["thresholds"]
    assert policy[3, :3].min() > 0.1
    assert policy[:3, 3].max() < -0.1
    assert torch.equal(policy.diagonal(), torch.zeros(4).double())
    plain, _ = descend(
        AIM(every=1, guide=0.0, magnitude=0.0, progress=0.0), tasks, torch.zeros(3).double(), steps=300, rate=0.02
    )
    assert tasks.losses(θ, held_out).sum() < tasks.losses(plain, held_out).sum()
    map = method.map(state)
    assert map.shape == (4, 4)
    assert ((map >= 0) & (map <= 1)).all()
    assert (map.diagonal() == 0).all()


def test_bad_settings_are_named() -> None:
    for setting, words in (
        ({"policy": "vector"}, "policy is 'vector'; it must be one of 'scalar', 'matrix'"),
        ({"sharpness": 0.0}, r"sharpness is 0\.0; it must be a finite number > 0"),
        ({"guide": -1.0}, "guide is -1.0; it must be a finite number >= 0"),
        ({"memory": 1.5}, "memory is 1.5; it must lie between 0 and 1"),
        ({"every": 0}, "every is 0; it must be an integer >= 1"),
    ):
        with pytest.raises(DataError, match=words):
            AIM(**setting)  # type: ignore[arg-type]
