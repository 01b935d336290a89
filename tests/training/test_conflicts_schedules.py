"""Colouring, looks ahead and FAMO: recovered partitions, errors of the right order, even decreases."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from quadratic_tasks import Quadratics, QuadraticTasks, descend, gradients_seen, random_quadratics
from torch import Tensor

from surrogates.errors import DataError
from surrogates.training.conflicts import MGDA, AheadFAMO, Colouring, LookAhead, welsh_powell
from surrogates.training.conflicts.lookahead import foreseen, project

Goal = Literal["even", "minimum-norm"]


@given(st.integers(1, 9), st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_no_edge_joins_two_alike_and_colours_are_few(m: int, seed: int, density: float) -> None:
    half = (torch.rand(m, m, generator=torch.Generator().manual_seed(seed)) < density).triu(1)
    edges = half | half.T
    colours = welsh_powell(edges)
    assert not (edges & (colours[:, None] == colours[None, :])).any()
    assert int(colours.max()) + 1 <= int(edges.sum(1).max()) + 1
    assert sorted(set(colours.tolist())) == list(range(int(colours.max()) + 1))


def planted(groups: list[int], noise: float, seed: int, P: int = 400) -> Tensor:
    """Gradients along ± one direction by group, with noise: those of different signs conflict."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.nn.functional.normalize(torch.randn(P, generator=generator, dtype=torch.float64), dim=0)
    signs = torch.tensor([1.0 if g else -1.0 for g in groups]).double()
    return signs[:, None] * u + noise / P**0.5 * torch.randn(len(groups), P, generator=generator, dtype=torch.float64)


def test_a_planted_partition_is_found_from_noisy_sketches() -> None:
    groups = [0, 1, 0, 0, 1, 1, 0]
    method = Colouring(every=1, refresh=20, warm_up=0.0, schedule="constant", target=0.25, sketch=512)
    state, classes = method.init(7), []
    for step in range(26):
        c, state = method.step(state, gradients_seen(planted(groups, 1.0, step), step=step, max_steps=100))
        classes.append(c)
    expected = torch.tensor(groups).bool()
    colours = state["colours"]
    assert ((colours[:, None] == colours[None, :]) == (expected[:, None] == expected[None, :])).all()
    assert all((c == 1).all() for c in classes[:20])  # before the first colouring all step together
    for first, second in zip(classes[20:-1:2], classes[21::2], strict=True):  # then one class after the other
        assert ((first + second) == 1).all()
        assert torch.equal(first.bool(), expected) or torch.equal(second.bool(), expected)
    assert torch.equal(state["updates"], torch.stack(classes).sum(0).long())


def test_classes_whose_tasks_are_absent_are_passed_over() -> None:
    method = Colouring(refresh=1000)
    state = method.init(4)
    state["colours"] = torch.tensor([0, 1, 2, 0])
    turns = [[True, True, True, True], [True, False, True, True], [True, True, True, False], [True, True, False, True]]
    found = []
    for step, present in enumerate(turns, start=1):
        G = torch.ones(4, 3).double()
        c, state = method.step(state, gradients_seen(G, present=torch.tensor(present), step=step))
        found.append(c.tolist())
    assert found == [[1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("schedule", "middle"), [("log", 0.5), ("linear", 0.625), ("cosine", 0.625), ("constant", 0.25)]
)
def test_the_threshold_goes_from_start_to_target(schedule: str, middle: float) -> None:
    method = Colouring(schedule=schedule, warm_up=0.2)  # type: ignore[arg-type]
    assert method.threshold(19, 100) == 1.0
    assert method.threshold(60, 100) == pytest.approx(middle)
    assert method.threshold(100, 100) == pytest.approx(0.25)


@pytest.mark.parametrize("fall", [0.1, 0.01, 0.001])
def test_a_look_ahead_gives_the_matrix_times_weights_to_first_order(fall: float) -> None:
    generator = torch.Generator().manual_seed(0)
    tasks, θ = random_quadratics(5, 8, generator), torch.randn(8, generator=generator, dtype=torch.float64)
    seen, c = QuadraticTasks(tasks, θ), torch.rand(5, generator=generator, dtype=torch.float64)
    exact = seen.gram() @ c
    found = foreseen(seen, c, fall)
    assert found is not None
    error = float((found - exact).norm() / exact.norm())
    rate = fall * float(c @ tasks.losses(θ)) / seen.slope(c)
    d = c @ seen.G
    second = 0.5 * rate * torch.einsum("i,mij,j->m", d, tasks.H, d)  # all there is left of a quadratic
    torch.testing.assert_close(found, exact - second, rtol=1e-8, atol=1e-8)
    assert error < 2 * fall


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8), st.floats(0.0, 0.1))
def test_the_projection_is_the_nearest_point_of_the_simplex(values: list[float], floor: float) -> None:
    v = torch.tensor(values).double()
    x = project(v, floor)
    assert float(x.sum()) == pytest.approx(1.0)
    assert (x >= floor - 1e-12).all()
    # optimal: what is taken off is the same for all that are above the floor, and no more for the others
    taken = (v - x)[x > floor + 1e-9]
    assert float(taken.max() - taken.min()) < 1e-9
    assert ((v - x)[x <= floor + 1e-9] <= taken.min() + 1e-9).all()


def test_looks_ahead_lead_to_the_shortest_combination() -> None:
    """At a place that doesn't move, λ tends to MGDA's; the step of a projected gradient oscillates by `rate`."""
    G = torch.tensor([[1.0, 0.0, 0.2], [-0.5, 1.0, 0.0], [0.3, 0.3, 2.0]]).double()
    method = LookAhead(goal="minimum-norm", rate=0.003, fall=1e-5, floor=0.0, every=1)
    state = method.init(3)
    for step in range(800):
        c, state = method.step(state, gradients_seen(G, step=step))
    exact, _ = MGDA().step(MGDA().init(3), gradients_seen(G))
    torch.testing.assert_close(c / 3, exact, rtol=0.0, atol=0.02)


def uneven() -> Quadratics:
    """Three tasks in units of 1, 100 and 0.01 that share one of two directions each."""
    H = torch.stack([torch.diag(torch.tensor(d).double()) for d in ([1.0, 0.1, 0.1], [0.1, 1.0, 0.1], [0.1, 0.1, 1.0])])
    a = torch.tensor([[2.0, -1.0, 0.0], [-1.0, 2.0, 0.5], [0.0, 0.5, 2.0]]).double()
    return Quadratics(a, H * torch.tensor([1.0, 100.0, 0.01]).double()[:, None, None], level=0.0)


@pytest.mark.parametrize("method", [LookAhead(every=1, floor=0.0), AheadFAMO(every=1)])
def test_relative_decreases_are_evened_out_whatever_the_units(method: LookAhead | AheadFAMO) -> None:
    tasks, G = uneven(), uneven().gradients(torch.zeros(3).double())
    state = method.init(3)
    for step in range(1500):
        c, state = method.step(state, QuadraticTasks(tasks, torch.zeros(3).double(), step=step))
    relative = G @ (c @ G) / tasks.losses(torch.zeros(3).double())
    plain = G @ G.sum(0) / tasks.losses(torch.zeros(3).double())
    assert relative.min() > 0
    assert relative.max() / relative.min() < 1.5
    assert plain.min() < 0 < plain.max()  # by itself the second task takes all


@pytest.mark.parametrize("method", [LookAhead(every=1), AheadFAMO(every=1)])
def test_weights_follow_the_losses_units(method: LookAhead | AheadFAMO) -> None:
    """A loss in a unit 1000 times as small gets 1/1000 of the relative weight: G'c keeps its direction."""
    tasks = random_quadratics(3, 5, torch.Generator().manual_seed(0))
    scale = torch.tensor([1.0, 1000.0, 0.1]).double()
    other = Quadratics(tasks.a, tasks.H * scale[:, None, None], tasks.held_out)
    θ, states = torch.ones(5).double(), [method.init(3), method.init(3)]
    for step in range(5):
        directions = []
        for k, one in enumerate((tasks, other)):
            seen = QuadraticTasks(one, θ, step=step)
            c, states[k] = method.step(states[k], seen)
            directions.append(torch.nn.functional.normalize(c @ seen.G, dim=0))
        if step == 0:
            torch.testing.assert_close(directions[0], directions[1])


def test_looks_are_taken_every_so_many_steps_only() -> None:
    for method in (LookAhead(every=3), AheadFAMO(every=3)):
        state, counts = method.init(2), []
        for step in range(4):
            seen = QuadraticTasks(
                random_quadratics(2, 3, torch.Generator().manual_seed(0)), torch.ones(3).double(), step=step
            )
            _, state = method.step(state, seen)
            counts.append(len(seen.looks))
        assert counts == [1, 0, 0, 1]


@pytest.mark.parametrize("goal", ["even", "minimum-norm"])
def test_tasks_that_have_no_share_left_are_weighed_evenly_where_they_are_alone(goal: Goal) -> None:
    seen = gradients_seen(torch.eye(3).double(), present=torch.tensor([False, True, True]))
    shares = torch.tensor([1.0, 0.0, 0.0]).double()
    c, _ = LookAhead(goal, floor=0.0).step({"shares": shares}, seen)
    torch.testing.assert_close(c, torch.tensor([0.0, 1.0, 1.0]).double())


def test_a_loss_of_zero_leaves_the_weights_to_the_others() -> None:
    seen = gradients_seen(torch.eye(3).double())
    method, without = LookAhead(), gradients_seen(torch.eye(3).double(), present=torch.tensor([False, True, True]))
    seen.losses[0] = 0.0
    for one, other in zip(method.step(method.init(3), seen), method.step(method.init(3), without), strict=True):
        torch.testing.assert_close(one, other)


def test_look_ahead_descends_to_the_front() -> None:
    tasks = random_quadratics(4, 6, torch.Generator().manual_seed(0))
    start = torch.full((6,), 3.0).double()
    for method in (LookAhead(), LookAhead(goal="minimum-norm"), AheadFAMO()):
        θ, _ = descend(method, tasks, start, steps=600, rate=0.05)
        G = tasks.gradients(θ)
        λ, _ = MGDA().step(MGDA().init(4), gradients_seen(G))
        assert (λ @ G).norm() < 0.05 * tasks.gradients(start).norm()


def test_bad_settings_are_named() -> None:
    with pytest.raises(DataError, match="goal is 'fast'; it must be one of 'even', 'minimum-norm'"):
        LookAhead(goal="fast")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"fall is 0\.0"):
        LookAhead(fall=0.0)
    with pytest.raises(DataError, match="schedule is 'step'"):
        Colouring(schedule="step")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="rate is -1"):
        AheadFAMO(rate=-1.0)
