"""The benchmark of methods for conflicting tasks: both sides of a ratio do the same work, and the table is complete."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import conflicts as benchmark
from task_models import flat, sparse_batch

from surrogates.training.conflicts import CONFLICTS, Engine, conflicts_by_name


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_plain_sum_by_hand_and_through_the_engine_go_the_same_way(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [sparse_batch(40, 30, benchmark.TASKS, share, torch.Generator().manual_seed(0), torch.float32)]
    made: list[Engine] = []
    inner = benchmark.model

    def remembered(inputs: int) -> Engine:
        made.append(inner(inputs))
        return made[-1]

    monkeypatch.setattr(benchmark, "model", remembered)
    for steps in (benchmark.plain_steps(batches), benchmark.method_steps(conflicts_by_name("sum"), batches)):
        for _ in range(5):
            next(steps)
    by_hand, engines = (flat(engine.parameters) for engine in made)
    assert not torch.equal(by_hand, flat(inner(30).parameters))
    torch.testing.assert_close(by_hand, engines, rtol=1e-3, atol=1e-5)


def test_every_method_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "HIDDEN", (8, 6))
    monkeypatch.setattr(benchmark, "ROWS", 16)
    monkeypatch.setattr(benchmark, "peak", lambda run, cycle, inputs: 1.0)
    found = benchmark.costs(12, 0.5, rounds=1, cycle=2)
    lines = benchmark.table(found).splitlines()
    assert len(lines) == len(CONFLICTS) + 4
    assert lines[1].split()[:2] == ["plain", "sum"]
    assert lines[1].split()[-3:] == ["1.00", "1.0", "1.00"]
