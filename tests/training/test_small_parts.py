"""Small parts of the training room against their definitions: stalls, rates, memories of sketches, signs, ranks, lines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from quadratic_tasks import gradients_seen
from torch import Tensor

from surrogates.training import LBFGS, Ending, LevenbergMarquardt, SSBroyden, Stopping, minimize
from surrogates.training.conflicts import Colouring, GCond, robust_subspace
from surrogates.training.conflicts.spectral import _directions, _ranks_to_try
from surrogates.training.trace import Trace
from surrogates.training.weighting import LearningRateAnnealing
from surrogates.training.weighting._base import geometric


def traced(totals: list[float]) -> Trace:
    trace, nothing = Trace(), torch.zeros(0)
    for total in totals:
        trace.add(total, nothing, nothing)
    return trace


@pytest.mark.parametrize(
    ("totals", "window", "is_stalled"),
    [
        ([10.0, 9.0], 2, False),  # too early to say
        ([10.0, 9.0, 8.0], 2, False),
        ([10.0, 9.0, 8.0, 7.99, 7.98], 2, True),
        ([10.0, 9.99, 9.98, 8.0], 2, False),  # the last step was a large one
        ([10.0, 5.0, 50.0, 4.0], 2, False),  # only the least counts
        ([-10.0, -10.05, -10.2], 2, False),
        ([-10.0, -10.05, -10.09], 2, True),
        ([10.0, 9.9], 1, False),  # exactly the improvement that is asked for
    ],
)
def test_a_stall_is_less_than_a_share_within_a_window(totals: list[float], window: int, is_stalled: bool) -> None:
    assert traced(totals).stalled(window, 0.01 * (1 - 1e-9)) == is_stalled


def test_a_trace_goes_on_from_its_arrays() -> None:
    trace = traced([3.0, 1.0, 2.0])
    again = Trace.of(trace.arrays())
    assert (again.totals, again.least, again.steps, again.stride) == ([3.0, 1.0, 2.0], [3.0, 1.0, 1.0], [0, 1, 2], 1)


def test_a_rate_of_two_steps_ends_at_its_end() -> None:
    assert [geometric(1.0, 0.01, step, 2) for step in range(3)] == [1.0, 0.01, 0.01]
    assert geometric(1.0, 0.01, 0, 1) == 1.0
    assert geometric(1.0, None, 5, 9) == 1.0


def test_sketches_are_remembered_from_their_first_on() -> None:
    """s = g at a task's first step, 0.9 s + 0.1 g at every fourth one, and as it was while the task is absent."""
    method = Colouring(every=4, memory=0.9, sketch=64)
    G = torch.randn(13, 2, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    state = method.init(2)
    sketches: list[Tensor] = []
    for step in range(13):
        seen = gradients_seen(G[step], present=torch.tensor([True, step not in (0, 8)]), step=step)
        sketches.append(seen.sketch(64))
        _, state = method.step(state, seen)
        if step < 4:
            torch.testing.assert_close(state["sketches"][0], sketches[0][0])
            assert not state["sketches"][1].any()
    first = sketches[0][0]
    for step in (4, 8, 12):
        first = 0.9 * first + 0.1 * sketches[step][0]
    second = 0.9 * sketches[4][1] + 0.1 * sketches[12][1]
    torch.testing.assert_close(state["sketches"], torch.stack([first, second]))


@pytest.mark.parametrize("schedule", ["constant", "linear", "log", "cosine"])
def test_the_threshold_leaves_its_start_where_the_warm_up_ends(schedule: str) -> None:
    method = Colouring(schedule=schedule, warm_up=0.2)  # type: ignore[arg-type]
    assert method.threshold(20, 100) == (0.25 if schedule == "constant" else 1.0)
    assert method.threshold(21, 100) < 1.0


def test_without_stability_gcond_keeps_no_sketches() -> None:
    assert GCond(stability=0.0).init(3)["previous"].shape == (3, 0)
    assert GCond(stability=0.5, sketch=16).init(3)["previous"].shape == (3, 16)


@pytest.mark.parametrize(
    ("p", "tasks", "rows", "most"),
    [(100, 100, 100, 40), (8, 100, 100, 4), (100, 12, 100, 6), (100, 100, 10, 4), (1, 1, 2, 1)],
)
def test_ranks_that_are_tried(p: int, tasks: int, rows: int, most: int) -> None:
    """Up to half of the features, of the tasks, and of the rows outside of one fold of five."""
    found = _ranks_to_try(p, tasks, rows)
    assert found[0] == 1
    assert found == sorted(set(found))
    assert found[-1] <= most < max(found[-1] + 1, round(found[-1] * 4 / 3))


def test_directions_are_those_of_the_shortened_columns() -> None:
    B = np.array([[3.0, 0.0, 0.4, 0.0], [0.0, 1.0, 0.3, 0.0]])  # lengths 3, 1, .5 and 0
    U, σ, R = _directions(B, 0.75)
    assert pytest.approx(1.5) == R
    short = B * np.array([0.5, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(U @ np.diag(σ**2) @ U.T, short @ short.T / 4)
    assert _directions(B.T, 0.75)[0].shape == (4, 2)  # no more than there are tasks


def test_exact_coefficients_have_a_subspace() -> None:
    found = robust_subspace(np.outer([1.0, 1.0, 0.0], [1.0, 2.0, 3.0, 4.0]), n=10, noise=0.0)
    assert found.basis.shape[1] == 1
    assert math.isclose(abs(float(found.basis[0, 0])), math.sqrt(0.5))


def test_an_annealed_weight_stays_where_a_loss_has_no_gradient() -> None:
    """Wang, Teng & Perdikaris (2021): max |∂L_r| / mean |∂L_i|, remembered; the reference has 1."""

    class Seen:
        losses = torch.ones(3, dtype=torch.float64)
        names, step, max_steps = ("r", "a", "b"), 0, 10

        def gradients(self) -> Tensor:
            return torch.tensor([[2.0, -4.0], [1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)

    method = LearningRateAnnealing(memory=0.5, every=1)
    w, _ = method.step({"weights": torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)}, Seen())  # type: ignore[arg-type]
    assert w.tolist() == [1.0, 0.5 * 1.0 + 0.5 * 4.0, 3.0]


@pytest.mark.parametrize("optimiser", [SSBroyden(), LBFGS(), LevenbergMarquardt()], ids=["SSBroyden", "L-BFGS", "LM"])
def test_a_start_at_the_minimum_is_stationary(optimiser: SSBroyden | LBFGS | LevenbergMarquardt) -> None:
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = minimize(lambda θ: {"distance": θ - start}, start, optimiser=optimiser, stopping=Stopping(max_steps=5))
    assert found.ending is Ending.STATIONARY
    assert torch.equal(found.θ, start)
    assert (found.steps, found.total) == (0, 0.0)
