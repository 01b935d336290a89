"""The loop: how runs end, what is recorded of them, and what is refused."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError, NumericalError
from surrogates.training import (
    LBFGS,
    Adam,
    Balance,
    Ending,
    Fixed,
    LevenbergMarquardt,
    Optimiser,
    ReLoBRaLo,
    SSBroyden,
    Stopping,
    SumOfLogs,
    Uncertainty,
    minimize,
)
from surrogates.training.trace import Trace

START = torch.tensor([2.0, -1.0], dtype=torch.float64)
ADAM, LM = Adam(0.1), LevenbergMarquardt()
OPTIMISERS: list[Optimiser] = [ADAM, LBFGS(), SSBroyden(), LM]


def losses(θ: Tensor) -> dict[str, Tensor]:
    """Residuals that can't all vanish: the weighted minimum depends on the weights."""
    return {"to one": θ - 1, "to two": θ[:1] - 2}


# --- endings ---


def test_only_goals_are_successes() -> None:
    assert {ending for ending in Ending if ending.is_success} == {
        Ending.LOSS_REACHED,
        Ending.STATIONARY,
        Ending.VALIDATED,
    }
    assert all(len(ending.value) > 20 for ending in Ending)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: type(o).__name__)
def test_each_ending(optimiser: Optimiser) -> None:
    def run(stopping: Stopping, validation: Callable[[Tensor], float] | None = None) -> Any:
        return minimize(losses, START, optimiser=optimiser, stopping=stopping, validation=validation)

    goal = run(Stopping(max_steps=500, loss=1.0))
    assert (goal.ending, goal.is_success, goal.outcome) == (Ending.LOSS_REACHED, True, Ending.LOSS_REACHED)
    assert goal.total <= 1.0 < goal.trace[-2]
    limit = run(Stopping(max_steps=1))
    assert (limit.ending, limit.is_success, limit.steps) == (Ending.STEP_LIMIT, False, 1)
    flat = run(Stopping(max_steps=2000, gradient=1e-6))
    assert flat.ending is Ending.STATIONARY
    # minimum of ((x-1)² + (y-1)²)/2 + (x-2)²: 3x = 5, y = 1
    torch.testing.assert_close(flat.θ, torch.tensor([5 / 3, 1.0]).double(), rtol=0, atol=1e-5)
    late = run(Stopping(max_steps=2000, max_seconds=0.0))
    assert (late.ending, late.is_success, late.steps) == (Ending.TIME_LIMIT, False, 0)
    stalled = run(Stopping(max_steps=2000, window=1 if optimiser is LM else 50, improvement=0.01))
    assert stalled.ending in (Ending.STALLED, Ending.NO_DESCENT)
    assert not stalled.is_success
    assert stalled.steps < 600
    start = run(Stopping(max_steps=0))
    assert torch.equal(start.θ, START)
    assert start.steps == 0


def test_a_stall_is_a_window_without_enough_descent() -> None:
    # Adam with a tiny rate: the total falls by a known share per step
    slow = minimize(losses, START, optimiser=Adam(1e-6), stopping=Stopping(max_steps=500, window=20, improvement=1e-3))
    assert (slow.ending, slow.steps) == (Ending.STALLED, 20)
    fast = minimize(losses, START, optimiser=Adam(1e-3), stopping=Stopping(max_steps=500, window=20, improvement=1e-3))
    assert fast.steps > 20


def test_a_stall_is_measured_by_the_least_total_so_far() -> None:
    trace = Trace()
    for total in (10.0, 1.0, 8.0, 4.0):
        trace.add(total, torch.ones(1), torch.ones(1))
    assert trace.stalled(1, 0.1)
    assert not trace.stalled(3, 0.1)
    assert not trace.stalled(4, 0.1)


def test_losses_below_zero_are_no_goal_unless_asked_for() -> None:
    found = minimize(
        lambda θ: {"nll": θ.square().sum() - 50}, START, optimiser=LBFGS(), stopping=Stopping(gradient=1e-9)
    )
    assert found.ending is Ending.STATIONARY
    assert found.total == pytest.approx(-50.0)
    falls = minimize(
        lambda θ: {"nll": θ.square().sum() - 50},
        START,
        optimiser=Adam(1e-2),
        stopping=Stopping(max_steps=4000, window=100, improvement=1e-6),
    )
    assert falls.ending is Ending.STALLED


def test_the_best_parameters_of_the_validation_are_kept() -> None:
    def validation(θ: Tensor) -> float:
        return float((θ[0] - 1.8) ** 2 + 0 * θ[1])  # passed on the way from 2 to 5/3

    found = minimize(
        losses,
        START,
        optimiser=Adam(1e-3),
        stopping=Stopping(max_steps=5000, patience=7, validate_every=5),
        validation=validation,
    )
    assert (found.ending, found.is_success) == (Ending.VALIDATED, True)
    assert abs(float(found.θ[0]) - 1.8) < 0.01
    assert found.validation == pytest.approx(validation(found.θ), abs=1e-15)
    assert found.losses["to two"] == pytest.approx(float((found.θ[0] - 2) ** 2))
    assert found.steps % 5 == 0
    # the best value was 7 values ago
    rerun = minimize(losses, START, optimiser=Adam(1e-3), stopping=Stopping(max_steps=found.steps - 35))
    torch.testing.assert_close(rerun.θ, found.θ, rtol=0, atol=0)


def test_a_validation_that_never_improves_keeps_the_start() -> None:
    stopping = Stopping(max_steps=100, patience=2, validate_every=3)
    for value in (1.0, math.inf):
        found = minimize(losses, START, optimiser=ADAM, stopping=stopping, validation=lambda θ, value=value: value)  # type: ignore[misc]
        assert torch.equal(found.θ, START)
        assert (found.ending, found.steps) == (Ending.VALIDATED, 6)
        assert found.total == found.trace[0]


def test_the_last_parameters_are_validated_too() -> None:
    found = minimize(
        losses,
        START,
        optimiser=ADAM,
        stopping=Stopping(max_steps=13, validate_every=5),
        validation=lambda θ: -float(θ[1]),
    )
    plain = minimize(losses, START, optimiser=ADAM, stopping=Stopping(max_steps=13))
    assert torch.equal(found.θ, plain.θ)
    with pytest.raises(NumericalError, match="validation value is NaN at the start"):
        minimize(losses, START, optimiser=ADAM, validation=lambda θ: math.nan)


# --- what is not finite ---


@pytest.mark.parametrize("optimiser", [Adam(0.5)], ids=["Adam"])
def test_the_last_finite_parameters_are_kept(optimiser: Optimiser) -> None:
    visited: list[float] = []

    def objective(θ: Tensor) -> dict[str, Tensor]:
        visited.append(float(θ.detach()))
        return {"fine": θ.square().sum(), "log": torch.log(θ).sum()}

    found = minimize(objective, torch.tensor([1.1]).double(), optimiser=optimiser)
    assert (found.ending, found.is_success) == (Ending.NOT_FINITE, False)
    assert visited[-1] < 0 < visited[-2]
    assert found.θ.tolist() == [visited[-2]]
    assert found.steps == len(visited) - 2
    assert f"loss 'log' is nan after step {found.steps}" in found.warnings[0]
    assert np.isfinite(found.trace).all()
    assert found.losses["log"] == pytest.approx(math.log(visited[-2]))


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: type(o).__name__)
def test_a_gradient_that_is_not_finite_ends_the_run(optimiser: Optimiser) -> None:
    found = minimize(lambda θ: {"r": (θ - 2).abs().sqrt()}, torch.tensor([2.0, 3.0]).double(), optimiser=optimiser)
    assert found.ending is Ending.NOT_FINITE
    assert found.steps == 0
    assert "gradient became NaN or infinite" in found.warnings[0]


def test_what_is_not_finite_at_the_start_is_an_error() -> None:
    with pytest.raises(NumericalError, match=r"loss 'b' is inf at the start"):
        minimize(lambda θ: {"a": θ, "b": θ / 0}, START, optimiser=ADAM)


def test_weights_that_are_not_finite_end_the_run() -> None:
    def objective(θ: Tensor) -> dict[str, Tensor]:
        return {"up": 1 - θ[0], "down": 5 + 0.1 * θ.square().sum()}

    found = minimize(objective, torch.zeros(1).double(), optimiser=Adam(0.3), weighting=SumOfLogs())
    assert found.ending is Ending.NOT_FINITE
    assert "SumOfLogs gave loss 'up', which is -" in found.warnings[-1]
    assert found.losses["up"] > 0
    assert len(found.trace) == found.steps + 1
    assert found.trace_steps[-1] == found.steps


# --- what is recorded ---


def test_traces_agree_with_the_run() -> None:
    seen: list[tuple[int, float]] = []
    found = minimize(
        losses,
        START,
        optimiser=ADAM,
        weighting=Fixed({"to two": 3.0}),
        stopping=Stopping(max_steps=7),
        progress=lambda n, v: seen.append((n, v)),
    )
    assert found.names == ("to one", "to two")
    assert found.evaluations == 8
    assert found.trace_steps.tolist() == list(range(8))
    np.testing.assert_array_equal(found.weights_trace, np.tile([1.0, 3.0], (8, 1)))
    np.testing.assert_allclose(found.trace, found.losses_trace @ [1.0, 3.0], rtol=1e-15)
    assert seen == list(zip(range(1, 8), found.trace[1:].tolist(), strict=True))
    assert found.total == found.trace[-1]
    assert list(found.losses.values()) == found.losses_trace[-1].tolist()
    assert found.losses["to two"] == pytest.approx((float(found.θ[0]) - 2) ** 2)
    assert found.weights == {"to one": 1.0, "to two": 3.0}


def test_adaptive_weightings_are_followed_by_the_plain_sum() -> None:
    found = minimize(losses, START, optimiser=ADAM, weighting=Uncertainty(rate=0.1), stopping=Stopping(max_steps=20))
    np.testing.assert_allclose(found.trace, found.losses_trace.sum(1), rtol=1e-15)
    assert found.weights_trace[0].tolist() == [0.5, 0.5]
    assert found.weights_trace[-1].min() != found.weights_trace[-1].max()


def test_long_traces_are_thinned_evenly() -> None:
    found = minimize(losses, START, optimiser=Adam(1e-5), stopping=Stopping(max_steps=4101))
    assert len(found.trace) == 4102
    assert found.trace_steps.tolist() == [*range(0, 4101, 4), 4101]
    np.testing.assert_array_equal(found.losses_trace.sum(1), found.trace[found.trace_steps])


def test_lopsided_weights_are_told_of_once() -> None:
    found = minimize(losses, START, optimiser=ADAM, weighting=Fixed((2000.0, 1.0)), stopping=Stopping(max_steps=3))
    assert len(found.warnings) == 1
    assert "at step 0 loss 'to one' had more than 1000 times the weight of 'to two'" in found.warnings[0]
    assert not minimize(
        losses, START, optimiser=ADAM, weighting=Fixed((900.0, 1.0)), stopping=Stopping(max_steps=3)
    ).warnings


def test_a_weight_of_zero_is_no_way_to_success() -> None:
    class Dropping:
        def init(self, seen: object) -> dict[str, Tensor]:
            return {}

        def step(self, state: dict[str, Tensor], seen: object) -> tuple[Tensor, dict[str, Tensor]]:
            return torch.tensor([0.0, 1.0]).double(), state

    for stopping in (Stopping(max_steps=100), Stopping(max_steps=100, gradient=1e-12)):
        found = minimize(losses, START, optimiser=LBFGS(), weighting=Dropping(), stopping=stopping)
        assert found.ending is Ending.NO_DESCENT
    chosen = minimize(losses, START, optimiser=LBFGS(), weighting=Fixed((0.0, 1.0)), stopping=Stopping(max_steps=100))
    assert chosen.ending is Ending.STATIONARY


def test_directions_are_for_optimisers_without_a_line_search() -> None:
    class Downhill:
        def init(self, seen: object) -> dict[str, Tensor]:
            return {}

        def step(self, state: dict[str, Tensor], seen: Any) -> tuple[Balance, dict[str, Tensor]]:
            none = torch.full((2,), torch.nan).double()
            return Balance(none, direction=seen.gradients().sum(0)), state

    plain = minimize(losses, START, optimiser=ADAM, stopping=Stopping(max_steps=30))
    other = minimize(losses, START, optimiser=ADAM, weighting=Downhill(), stopping=Stopping(max_steps=30))
    torch.testing.assert_close(plain.θ, other.θ, rtol=1e-12, atol=1e-14)
    assert np.isnan(other.weights_trace).all()
    for optimiser in OPTIMISERS[1:]:
        with pytest.raises(DataError, match="Downhill gives a direction instead of weights"):
            minimize(losses, START, optimiser=optimiser, weighting=Downhill())


def test_the_start_is_left_alone_and_the_global_generator_too() -> None:
    start, state = START.clone(), torch.get_rng_state()
    found = minimize(losses, start, optimiser=ADAM, weighting="relobralo", stopping=Stopping(max_steps=5))
    assert torch.equal(start, START)
    assert not found.θ.requires_grad
    assert torch.equal(state, torch.get_rng_state())


def test_a_seed_makes_runs_equal() -> None:
    runs = [
        minimize(
            losses, START, optimiser=ADAM, weighting=ReLoBRaLo(0.5, 0.1, 0.5), stopping=Stopping(max_steps=9), seed=seed
        )
        for seed in (1, 1, 2)
    ]
    assert torch.equal(runs[0].θ, runs[1].θ)
    assert not torch.equal(runs[0].θ, runs[2].θ)


def test_the_time_limit_holds() -> None:
    def slow(θ: Tensor) -> dict[str, Tensor]:
        time.sleep(0.01)
        return losses(θ)

    found = minimize(slow, START, optimiser=ADAM, stopping=Stopping(max_steps=10_000, max_seconds=0.15))
    assert found.ending is Ending.TIME_LIMIT
    assert 0.15 <= found.seconds < 2.0


# --- what is refused ---


STARTS: list[tuple[Any, str]] = [
    ([1.0, 2.0], "start is a list; it must be a torch tensor"),
    (torch.zeros(2), r"start has dtype torch.float32; it must be float64: start.double\(\)"),
    (torch.zeros(2, 2).double(), r"start has shape \(2, 2\); it must be one flat vector"),
    (torch.zeros(0).double(), r"start has shape \(0,\)"),
    (torch.tensor([1.0, math.nan]).double(), "start has 1 entries that are NaN or infinite"),
]


@pytest.mark.parametrize(("start", "words"), STARTS)
def test_bad_starts_are_refused(start: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        minimize(losses, start, optimiser=ADAM)


BAD_LOSSES: list[tuple[Callable[[Tensor], Any], str]] = [
    (lambda θ: θ.sum(), "the objective returned a Tensor; it must return a mapping from names to tensors"),
    (lambda θ: {}, "the objective returned nothing"),
    (lambda θ: {"a": 1.0}, "loss 'a' is a float; it must be a torch tensor that depends on θ"),
    (lambda θ: {1: θ}, "names a loss 1; names must be text"),
    (lambda θ: {"a": θ[:, None]}, r"loss 'a' has shape \(2, 1\); it must be a number"),
    (lambda θ: {"a": θ.float()}, "loss 'a' has dtype torch.float32"),
    (lambda θ: {"a": θ[:0]}, "the residuals 'a' are empty"),
    (
        lambda θ: {"a": θ, "b": θ.detach() + 1},
        "loss 'b' doesn't depend on θ; leave it out, or see where its graph is cut",
    ),
    (lambda θ: {"a": θ, "b": torch.ones(1, requires_grad=True).double()}, "loss 'b' doesn't depend on θ"),
]


@pytest.mark.parametrize("optimiser", [ADAM, LM], ids=["Adam", "LevenbergMarquardt"])
@pytest.mark.parametrize(("objective", "words"), BAD_LOSSES)
def test_bad_objectives_are_refused(objective: Callable[[Tensor], Any], words: str, optimiser: Optimiser) -> None:
    with pytest.raises(DataError, match=words):
        minimize(objective, START, optimiser=optimiser)


def test_an_objective_that_is_no_function_is_refused() -> None:
    with pytest.raises(DataError, match="losses is a dict; it must be a function"):
        minimize({"a": 1}, START, optimiser=ADAM)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("later", "words"),
    [
        (lambda θ: {"a": θ}, r"returned the losses \['a'\], but \['a', 'b'\] at its first call"),
        (lambda θ: {"a": θ, "c": θ}, r"returned the losses \['a', 'c'\]"),
        (lambda θ: {"a": θ.sum(), "b": θ}, "loss 'a' has 0 dimensions, but had 1 at the first call"),
    ],
)
def test_losses_that_change_are_refused(later: Callable[[Tensor], Mapping[str, Tensor]], words: str) -> None:
    calls: list[int] = []

    def objective(θ: Tensor) -> Mapping[str, Tensor]:
        calls.append(1)
        return {"a": θ, "b": θ} if len(calls) < 4 else later(θ)

    with pytest.raises(DataError, match=words):
        minimize(objective, START, optimiser=ADAM)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_steps": -1}, "max_steps is -1"),
        ({"window": 0}, "window is 0"),
        ({"max_steps": None}, "max_steps is None; it must be an integer >= 0"),
        ({"patience": 0}, "patience is 0"),
        ({"validate_every": True}, "validate_every is True"),
        ({"gradient": -1.0}, "gradient is -1.0"),
        ({"max_seconds": math.nan}, "max_seconds is nan"),
        ({"loss": math.nan}, "loss is NaN"),
        ({"improvement": 0.0}, "improvement is 0.0"),
    ],
)
def test_bad_limits_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Stopping(**arguments)
