"""Runs that are interrupted and resumed end bit for bit like runs that weren't."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates import persistence
from surrogates.errors import DataError, FileFormatError
from surrogates.training import (
    LBFGS,
    LDCMTL,
    Adam,
    Checkpoint,
    DynamicWeightAverage,
    Ending,
    Fixed,
    GradNorm,
    LearningRateAnnealing,
    LevenbergMarquardt,
    Minimised,
    NeuralTangentKernel,
    Optimiser,
    ReLoBRaLo,
    ResidualAttention,
    SoftAdapt,
    SSBroyden,
    Stopping,
    TorchJD,
    Uncertainty,
    Weighting,
    minimize,
)

STEPS = 23
OPTIMISERS: list[Optimiser] = [
    Adam(0.01, 1e-3, weight_decay=0.1),
    LBFGS(history=4),
    SSBroyden(),
    LevenbergMarquardt(damping=1e5),
]
WEIGHTINGS: list[Weighting] = [
    Fixed((1.0, 2.0)),
    Uncertainty(rate=0.05, final_rate=0.01),
    GradNorm(),
    ReLoBRaLo(0.9, 0.5, 0.5),
    SoftAdapt(),
    LearningRateAnnealing(every=3),
    NeuralTangentKernel(every=4, probes=2),
    ResidualAttention(),
    DynamicWeightAverage(every=3),
    LDCMTL(),
    TorchJD("Random"),
    TorchJD("UW", rate=0.01),
    TorchJD("GradVac"),
    TorchJD("ExcessMTL", {"n_warmup_steps": 3}),
    TorchJD("PCD"),
    TorchJD("GradDrop"),
]


class Interrupted(KeyboardInterrupt):
    """What stops a run in these tests."""


class Objective:
    """Rosenbrock's residuals in six dimensions; stops the run at a given call."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.calls, self.stop_at = 0, stop_at

    def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
        self.calls += 1
        if self.calls == self.stop_at:
            raise Interrupted
        return {"valley": 10 * (θ[1:] - θ[:-1] ** 2), "floor": 1 - θ[:-1]}


def run(path: Path | None, *, stop_at: int | None = None, at_step: int | None = None, **more: Any) -> Minimised:
    def progress(step: int, total: float) -> None:
        if step == at_step:
            raise Interrupted

    arguments: dict[str, Any] = {"optimiser": OPTIMISERS[0], "stopping": Stopping(STEPS)} | more
    return minimize(
        Objective(stop_at),
        torch.linspace(-1.2, 0.5, 6, dtype=torch.float64),
        checkpoint=None if path is None else Checkpoint(path, every=5),
        progress=progress,
        **arguments,
    )


def same(one: Minimised, other: Minimised) -> None:
    assert torch.equal(one.θ, other.θ)
    for name in ("losses", "total", "ending", "steps", "evaluations", "names", "validation", "warnings"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("trace", "trace_steps", "losses_trace", "weights_trace"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: type(o).__name__)
@pytest.mark.parametrize("weighting", WEIGHTINGS[:4], ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("where", [{"at_step": 13}, {"stop_at": 17}, {"at_step": STEPS}, {"at_step": 3}])
def test_each_optimiser_goes_on_exactly(
    optimiser: Optimiser, weighting: Weighting, where: dict[str, int], tmp_path: Path
) -> None:
    whole = run(None, optimiser=optimiser, weighting=weighting)
    with pytest.raises(Interrupted):
        run(tmp_path / "state", optimiser=optimiser, weighting=weighting, **where)
    same(run(tmp_path / "state", optimiser=optimiser, weighting=weighting), whole)


@pytest.mark.parametrize("weighting", WEIGHTINGS[4:], ids=str)
def test_each_weighting_goes_on_exactly(weighting: Weighting, tmp_path: Path) -> None:
    if isinstance(weighting, TorchJD):
        pytest.importorskip("torchjd")
    optimiser = Adam(0.01)
    whole = run(None, optimiser=optimiser, weighting=weighting)
    with pytest.raises(Interrupted):
        run(tmp_path / "state", optimiser=optimiser, weighting=weighting, at_step=13)
    same(run(tmp_path / "state", optimiser=optimiser, weighting=weighting), whole)


def test_interruptions_may_come_again_and_again(tmp_path: Path) -> None:
    for stop in (4, 9, 9, 12, 21, STEPS):
        with pytest.raises(Interrupted):
            run(tmp_path / "state", at_step=stop, weighting="relobralo")
    same(run(tmp_path / "state", weighting="relobralo"), run(None, weighting="relobralo"))


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: type(o).__name__)
def test_a_run_that_is_over_ends_the_same_again(optimiser: Optimiser, tmp_path: Path) -> None:
    first = run(tmp_path / "state", optimiser=optimiser)
    again = run(tmp_path / "state", optimiser=optimiser)
    same(again, first)
    same(run(None, optimiser=optimiser), first)
    assert again.seconds >= first.seconds * 0.5


def test_runs_that_ended_by_validation_or_by_nan_end_the_same_again(tmp_path: Path) -> None:
    more: dict[str, Any] = {
        "stopping": Stopping(200, patience=3, validate_every=3),
        "validation": lambda θ: abs(float(θ[0]) + 1.15),
        "optimiser": Adam(0.01),
    }
    whole = run(None, **more)
    assert whole.ending is Ending.VALIDATED
    with pytest.raises(Interrupted):
        run(tmp_path / "a", at_step=whole.steps - 1, **more)
    same(run(tmp_path / "a", **more), whole)
    same(run(tmp_path / "a", **more), whole)

    def falling(θ: Tensor) -> dict[str, Tensor]:
        return {"f": torch.log(θ).sum()}

    ends = [
        minimize(falling, torch.ones(1).double(), optimiser=Adam(0.3), checkpoint=Checkpoint(tmp_path / "b", every=1))
        for _ in range(2)
    ]
    assert ends[0].ending is Ending.NOT_FINITE
    same(*ends)


def test_a_finished_run_can_be_continued(tmp_path: Path) -> None:
    optimiser = Adam(0.01)
    run(tmp_path / "state", optimiser=optimiser, stopping=Stopping(10))
    longer = run(tmp_path / "state", optimiser=optimiser, stopping=Stopping(30))
    same(longer, run(None, optimiser=optimiser, stopping=Stopping(30)))


def test_steps_are_counted_on(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "state", at_step=13)
    seen: list[int] = []
    minimize(
        Objective(),
        torch.linspace(-1.2, 0.5, 6, dtype=torch.float64),
        optimiser=OPTIMISERS[0],
        stopping=Stopping(STEPS),
        checkpoint=Checkpoint(tmp_path / "state", every=5),
        progress=lambda n, v: seen.append(n),
    )
    assert seen == list(range(11, STEPS + 1))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"optimiser": Adam(0.02, 1e-3)}, "its optimiser is Adam"),
        ({"optimiser": LBFGS()}, "its optimiser is Adam"),
        ({"weighting": Fixed((1.0, 2.0))}, r"its weighting is Fixed\(\{\}\), this run's is Fixed\(\(1.0, 2.0\)\)"),
        ({"seed": 1}, "its seed is 0, this run's is 1"),
        ({"stopping": Stopping(99)}, "its max_steps is 23, this run's is 99"),
        ({"validation": lambda θ: 0.0}, "its validation is None"),
    ],
)
def test_checkpoints_of_other_runs_are_refused(other: dict[str, Any], words: str, tmp_path: Path) -> None:
    run(tmp_path / "state")
    with pytest.raises(DataError, match=f"belongs to another run: {words}"):
        run(tmp_path / "state", **other)


def test_checkpoints_of_other_problems_are_refused(tmp_path: Path) -> None:
    path, start = tmp_path / "state", torch.ones(2).double()

    def keep(losses: Any, start: Tensor) -> Minimised:
        return minimize(losses, start, optimiser=Adam(), stopping=Stopping(5), checkpoint=Checkpoint(path))

    keep(lambda θ: {"a": θ}, start)
    for losses, other, words in (
        (lambda θ: {"b": θ}, start, r"its names is \['a'\], this run's is \['b'\]"),
        (lambda θ: {"a": θ}, torch.ones(3).double(), "its parameters is 2, this run's is 3"),
        (lambda θ: {"a": θ}, start + 1, "its start is"),
        (lambda θ: {"a": 2 * θ}, start, "at its parameters the losses were"),
    ):
        with pytest.raises(DataError, match=words):
            keep(losses, other)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    run(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="is damaged"):
        run(path)
    path.write_bytes(b"PK\x03\x04....")
    with pytest.raises(FileFormatError, match="zip archive"):
        run(path)
    persistence.write(path, "gp", {}, {})
    with pytest.raises(FileFormatError, match="holds a 'gp', not a checkpoint"):
        run(path)
    with pytest.raises(FileNotFoundError, match="doesn't exist"):
        run(tmp_path / "no" / "state")
    with pytest.raises(DataError, match="every is 0"):
        Checkpoint(path, every=0)


def test_nothing_but_the_checkpoint_is_left_behind(tmp_path: Path) -> None:
    run(tmp_path / "state")
    assert [found.name for found in tmp_path.iterdir()] == ["state"]
