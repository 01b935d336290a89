"""What a step costs with each method for conflicting tasks, as a multiple of the plain sum's step.

Trunk 400-256-256-128, and 2048-256-256-128 as for fingerprints, 11 linear heads, batches of 256 rows, float32, one thread,
AdamW included. The plain sum is what one would write by hand: one forward pass, one backward pass of the summed losses, one
fused step; nothing of this library in it. Time is the median over rounds in which all methods take their turns, so that a
busy machine is unfair to none. Memory is the peak of what torch allocates during a step on top of parameters and moments,
which are added.

    python benchmarks/conflicts.py            all labels there, and one in ten
    python benchmarks/conflicts.py --quick    a few steps only
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from surrogates.training.conflicts import (
    AIM,
    CONFLICTS,
    Batch,
    Conflicts,
    Engine,
    PCGrad,
    SquaredError,
    conflicts_by_name,
)

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from task_models import StackedHeads, perceptron, sparse_batch

HIDDEN, TASKS, ROWS = (256, 256, 128), 11, 256
NAMES = tuple(f"task {i}" for i in range(TASKS))


class Cost(NamedTuple):
    milliseconds: float  # a step, mean over whole cycles of the method
    megabytes: float  # peak


def model(inputs: int) -> Engine:
    """The same network each time."""
    generator = torch.Generator().manual_seed(0)
    trunk = perceptron((inputs, *HIDDEN), generator, torch.float32)
    return Engine(trunk, StackedHeads(TASKS, (HIDDEN[-1], 1), generator, torch.float32), SquaredError(), NAMES)


def plain_steps(batches: list[Batch]) -> Iterator[None]:
    """The plain sum by hand."""
    engine = model(batches[0].X.shape[1])
    adam = torch.optim.AdamW(engine.parameters, lr=1e-3, fused=True)
    while True:
        for batch in batches:
            outputs = engine.heads(engine.trunk(batch.X))[..., 0]
            error = torch.where(batch.mask, (outputs - batch.Y) ** 2, 0.0)
            loss = (error.sum(0) / batch.mask.sum(0).clamp_min(1)).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            adam.zero_grad()
            yield


def method_steps(method: Conflicts, batches: list[Batch]) -> Iterator[None]:
    """The same through the engine."""
    engine, step, generator = model(batches[0].X.shape[1]), 0, torch.Generator().manual_seed(0)
    adam, state = torch.optim.AdamW(engine.parameters, lr=1e-3, fused=True), method.init(TASKS)
    while True:
        for batch in batches:
            look = engine.look(batch, guidance=lambda: batches[-1], step=step, max_steps=10_000, generator=generator)
            weights, state = method.step(state, look)
            look.backward(weights)
            del look
            adam.step()
            adam.zero_grad()
            step += 1
            yield


def methods() -> dict[str, Callable[[list[Batch]], Iterator[None]]]:
    """All that are compared, by the names in the table."""

    def steps(method: Conflicts) -> Callable[[list[Batch]], Iterator[None]]:
        return lambda batches: method_steps(method, batches)

    found: dict[str, Callable[[list[Batch]], Iterator[None]]] = {"plain sum": plain_steps}
    found |= {name: steps(conflicts_by_name(name)) for name in CONFLICTS}
    return found | {"aim, every=1": steps(AIM(every=1)), "pcgrad, every=10": steps(PCGrad(every=10))}


def peak(run: Iterator[None], cycle: int, inputs: int) -> float:
    """Megabytes that torch holds at most in a step, parameters and moments included; gradients are let go after it."""
    next(run)
    with torch.profiler.profile(profile_memory=True) as profile:
        for _ in range(cycle):
            next(run)
    results: Any = profile.profiler
    assert results is not None
    changes = [
        (event.start_ns(), event.nbytes()) for event in results.kineto_results.events() if event.name() == "[memory]"
    ]
    held = most = 0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    numbers = sum(p.numel() for p in model(inputs).parameters)
    return (most + 3 * 4 * numbers) / 1e6


def costs(inputs: int, share: float, *, rounds: int, cycle: int) -> dict[str, Cost]:
    """Cost of each method where so many of the labels are there."""
    generator = torch.Generator().manual_seed(1)
    batches = [sparse_batch(ROWS, inputs, TASKS, share, generator, torch.float32) for _ in range(8)]
    runs = {name: make(batches) for name, make in methods().items()}
    for run in runs.values():
        for _ in range(3):
            next(run)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            for _ in range(cycle):
                next(run)
            times[name].append((time.process_time() - began) / cycle)
    return {
        name: Cost(1e3 * statistics.median(times[name]), peak(make(batches), cycle, inputs))
        for name, make in methods().items()
    }


def table(found: dict[str, Cost]) -> str:
    """Lines of name, milliseconds, and both ratios."""
    base = found["plain sum"]
    lines = [f"{'':20}{'ms/step':>10}{'time':>8}{'MB':>8}{'memory':>8}"]
    for name, cost in found.items():
        time_ratio, memory_ratio = cost.milliseconds / base.milliseconds, cost.megabytes / base.megabytes
        lines.append(f"{name:20}{cost.milliseconds:10.2f}{time_ratio:8.2f}{cost.megabytes:8.1f}{memory_ratio:8.2f}")
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="a few steps only")
    quick = arguments.parse_args().quick
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, one thread, {platform.machine()}")
    for inputs, share in ((400, 1.0), (400, 0.1), (2048, 1.0), (2048, 0.1)):
        print(f"\n{inputs} inputs, {share:.0%} of the labels")
        print(table(costs(inputs, share, rounds=1 if quick else 15, cycle=20)))


if __name__ == "__main__":
    main()
