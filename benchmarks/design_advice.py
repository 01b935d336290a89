"""What advice costs: seconds of one `advise` call, by model, readings and goal, on one core.

    python benchmarks/design_advice.py [--full] [--repeats 5]

Three engine blocks under two gauges. Rows of 300 readings have 50 of every part and gauge; with --full there are 300 of
each, 1,800 in all, whose fit by `MultiFidelityGP` alone takes a minute or two. Each row is the median over calls on one
fitted model; the first call, which factors the covariance of all readings, stands apart, since a loop that updates pays
it every time. Beside it: what one update and one prediction cost, which brute force would need for every candidate.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from surrogates import HierarchicalGP, MultiFidelityGP, Schema
from surrogates.datasets import engine_surfaces
from surrogates.design import LevelSet, Map, Optimum, advise
from surrogates.design.goals import Goal

SCHEMA = Schema(inputs=("x", "y"), target="height", task="part", fidelity="gauge")
COSTS = {"cheap": 1.0, "precise": 5.0}
MODELS: dict[str, Callable[[], Any]] = {
    "HierarchicalGP": lambda: HierarchicalGP(SCHEMA),
    "HierarchicalGP, draws": lambda: HierarchicalGP(SCHEMA, integrate=True),
    "MultiFidelityGP": lambda: MultiFidelityGP(
        SCHEMA, fidelities=("cheap", "precise"), structure="autoregressive", kernel="matern52"
    ),
}
GOALS: dict[str, Goal] = {
    "map": Map(),
    "level set": LevelSet(0.0),
    "optimum": Optimum("maximise", task="block A"),
}


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes, on this process's own clock: others on the machine don't count."""
    began = time.process_time()
    call()
    return time.process_time() - began


def rows(each: int, name: str, repeats: int) -> list[dict[str, object]]:
    """Medians of one model with `each` readings of every part and gauge, one row per goal."""
    study = engine_surfaces(seed=0, points=(each, each))
    model = MODELS[name]().fit(study.observed)
    one = study.observed.isel(sample=[0])
    at = study.truth.isel(x=slice(None, None, 8), y=slice(None, None, 5))
    brute = seconds(lambda: model.update(one).predict(at))
    found: list[dict[str, object]] = []
    for goal, what in GOALS.items():
        fresh = model.update(one)
        first = seconds(lambda fresh=fresh, what=what: advise(fresh, costs=COSTS, goal=what))  # type: ignore[misc]
        rest = [seconds(lambda what=what: advise(model, costs=COSTS, goal=what)) for _ in range(repeats)]  # type: ignore[misc]
        batch = seconds(lambda what=what: advise(model, costs=COSTS, goal=what, count=10))  # type: ignore[misc]
        draws = len(model.processes if name == "MultiFidelityGP" else model.core.weights)
        found.append(
            {
                "model": name,
                "readings": 6 * each,
                "draws": draws,
                "goal": goal,
                "first call [s]": first,
                "call [s]": float(np.median(rest)),
                "batch of 10 [s]": batch,
                "update and predict, one candidate [s]": brute,
            }
        )
    return found


def table(sizes: tuple[int, ...], repeats: int, models: tuple[str, ...] = tuple(MODELS)) -> pd.DataFrame:
    """All models and goals.  sizes: readings of each part and gauge."""
    found = [
        row
        for each in sizes
        for name in models
        if not (name == "HierarchicalGP, draws" and each > 50)
        for row in rows(each, name, repeats)
    ]
    return pd.DataFrame(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,800 readings too")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with threadpool_limits(1):
        found = table((8, 50, 300) if options.full else (8, 50), options.repeats)
    print(found.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
