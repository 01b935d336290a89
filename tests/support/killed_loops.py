"""A small design loop, and a process that is killed in the middle of it again and again.

    python killed_loops.py FOLDER KILLS SEED

runs the loop once without disturbance, then in children that are killed after random times, and prints what it found as
JSON: how many were killed, how many outcomes they had been acknowledged, how many of these were lost, and whether both
journals are equal byte by byte.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.design import Loop, run

EVALUATIONS = 30
MODEL = HierarchicalGP(Schema(inputs=("u", "v"), target="y", task="part"), integrate=False)
START = as_dataset(
    np.random.default_rng(3).uniform(0, 1, (8, 2)), np.arange(8.0) % 3, inputs=["u", "v"], task=["a", "b"] * 4
).rename(task="part")


def lower(fitted: Any, *, count: int, seed: int, pending: xr.Dataset | None) -> xr.Dataset:
    """The lowest bounds among random places, each with its cost."""
    x = np.random.default_rng(seed).uniform(0, 1, (64, 2))
    at = as_dataset(x, inputs=["u", "v"], task=["a", "b"] * 32).rename(task="part", sample="suggestion")
    answer = fitted.predict(at)
    order = np.argsort((answer["mean"] - 2 * answer["std"]).to_numpy(), kind="stable")
    return at.assign(cost=("suggestion", np.where(at["part"] == "a", 1.0, 0.3))).isel(suggestion=order[:count])


def experiment(at: xr.Dataset) -> float:
    """A smooth function that can't be computed in a corner."""
    u, v = float(at["u"]), float(at["v"])
    if u + v > 1.6:
        raise ArithmeticError(f"no answer at {u:.3f}, {v:.3f}")
    return float(np.sin(5 * u) + (v - 0.3) ** 2 + 0.1 * (str(at["part"].values) == "b"))


def begin(path: Path) -> Loop:
    """The loop, from where its journal ends."""
    return Loop(MODEL, START, lower, path=path, seed=5)


def live(path: Path, acknowledged: Path) -> None:
    """Run to the end; note every outcome that the loop has acknowledged."""
    with begin(path) as loop, acknowledged.open("ab", buffering=0) as notes:

        def noted(loop: Loop) -> bool:
            notes.write(f"{loop.evaluations}\n".encode())
            return False

        run(loop, experiment, evaluations=EVALUATIONS, stop=noted, batch=2)


def told(path: Path) -> int:
    """Whole lines in a journal that tell of an outcome."""
    return path.read_bytes().rpartition(b"\n")[0].count(b'"kind": "tell"') if path.exists() else 0


def main(folder: Path, kills: int, seed: int) -> None:
    undisturbed, killed, notes = folder / "undisturbed.jsonl", folder / "killed.jsonl", folder / "notes"
    began = time.perf_counter()
    live(undisturbed, folder / "other notes")
    whole = time.perf_counter() - began
    generator, done, lost = random.Random(seed), 0, 0
    while True:
        child = os.fork()
        if child == 0:
            live(killed, notes)
            os._exit(0)
        if done < kills:
            time.sleep(generator.uniform(0.2, 1.8) * whole / kills)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        said = [int(line) for line in notes.read_bytes().split(b"\n")[:-1]] if notes.exists() else []
        lost = max(lost, max(said, default=0) - told(killed))
        if os.WIFSIGNALED(status):
            done += 1
        elif status or done >= kills:
            break
        else:  # it was faster than its killer: again from the start
            killed.unlink()
            notes.unlink()
    found = {
        "killed": done,
        "status": status,
        "acknowledged": max(said),
        "lost": lost,
        "equal": undisturbed.read_bytes() == killed.read_bytes(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
