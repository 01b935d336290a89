"""Methods for conflicting tasks on QM9: 10,000 molecules, 11 targets (all but the gap), all labels known.

    python benchmarks/molecules_methods.py --out FILE [--seeds N] [--methods NAME ...] [--epochs N] [--cost]
    python benchmarks/molecules_methods.py --out FILE --table

For each seed a new split: 8,000 molecules to train, 1,000 to choose the epoch by (mean absolute error, each target in its
spread), 1,000 to judge. One network each (RDKit's descriptors, 512 and 256 hidden units, a head for each target), the same
quantile loss, initial weights, order of rows, AdamW and number of epochs. "single-task" is a network of the same kind for
each target. AIM judges its policy by 800 of the training molecules, on which it isn't trained.

"colouring" trains as many steps as the others, in which each target moves the trunk less often; "colouring, equal updates"
trains so many epochs more that the mean target has as many updates of the trunk as with the sum.

`--cost` measures seconds per step on one thread: all methods take 40 steps in turn, again and again, so that whatever else
the machine does meets them alike; told is the median over the turns, relative to that of the sum.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from molecules import loaded
from molecules_peers import keys_of
from molecules_tables import standard_error
from numpy.typing import NDArray
from results import append, records
from threadpoolctl import threadpool_limits
from torch import Tensor

from surrogates.datasets.molecules import Molecules
from surrogates.metrics import mean_rank, relative_change
from surrogates.molecules.features import DescriptorScaling, molecule_features
from surrogates.molecules.property_network import PropertyLoss, build
from surrogates.networks import Quantiles
from surrogates.training import AdamW, Batches, Trained, train
from surrogates.training.conflicts import AIM, CONFLICTS, Batch, Engine, conflicts_by_name

SINGLE, EQUAL = "single-task", "colouring, equal updates"
METHODS = (SINGLE, *CONFLICTS, EQUAL)
HIDDEN, SIZE, EPOCHS, TURN = (512, 256), 128, 50, 40
GUIDANCE = 0.1
LIKELIHOOD = Quantiles()


class Tables(NamedTuple):
    """Features and scaled labels of the three parts; std (m,) brings errors back to the targets' units."""

    names: tuple[str, ...]
    train: Batch
    validation: Batch
    test: Batch
    std: NDArray[np.float64]

    def only(self, k: int) -> Tables:
        """One target."""

        def of(batch: Batch) -> Batch:
            return Batch.of(batch.X, batch.Y[:, k : k + 1])

        return Tables((self.names[k],), of(self.train), of(self.validation), of(self.test), self.std[k : k + 1])


def prepared(data: Molecules, seed: int, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> Tables:
    """A split by the seed, scaled by its training molecules."""
    divided = data.split("random", fractions, seed=seed)
    names = divided.properties
    parts = (divided.train, divided.validation, divided.test)
    raw = [molecule_features(keys_of(part, ("smiles",))).descriptors for part in parts]
    labels = [np.stack([part[name].to_numpy() for name in names], axis=1) for part in parts]
    scaling, mean, std = DescriptorScaling.fit(raw[0]), np.nanmean(labels[0], axis=0), np.nanstd(labels[0], axis=0)
    pairs = zip(raw, labels, strict=True)
    train_, validation, test = (Batch.of(_float(scaling(x)), _float((y - mean) / std)) for x, y in pairs)
    return Tables(names, train_, validation, test, std)


def engine_of(tables: Tables, seed: int) -> Engine:
    """A new network, the same for one seed and number of targets."""
    generator = torch.Generator().manual_seed(seed)
    trunk, heads = build(
        tables.train.X.shape[1], HIDDEN, tasks=len(tables.names), outputs=LIKELIHOOD.size, generator=generator
    )
    return Engine(trunk, heads, PropertyLoss(LIKELIHOOD), tables.names)


def errors(engine: Engine, batch: Batch) -> Tensor:
    """(m,) mean absolute errors in scaled units."""
    with torch.no_grad():
        mean = LIKELIHOOD.mean(engine.heads(engine.trunk(batch.X)))
        return batch.means((mean - batch.Y).abs())


def trained(tables: Tables, method: str, seed: int, epochs: int) -> tuple[Engine, Trained]:
    """One network by one method."""
    engine, conflicts = engine_of(tables, seed), conflicts_by_name(method)
    rows, guidance = tables.train, None
    if isinstance(conflicts, AIM):
        order = torch.randperm(len(rows.X), generator=torch.Generator().manual_seed(seed))
        count = round(GUIDANCE * len(order))
        rows, guidance = tables.train.take(order[count:]), tables.train.take(order[:count])
    run = train(
        engine,
        rows,
        conflicts=conflicts,
        optimiser=AdamW(rate=1e-3, weight_decay=1e-2, warm_up=0.1),
        batches=Batches(size=SIZE, epochs=epochs, patience=epochs + 1),
        guidance=guidance,
        validation=lambda: float(errors(engine, tables.validation).mean()),
        seed=seed,
    )
    return engine, run


def one(tables: Tables, method: str, seed: int, epochs: int) -> dict[str, Any]:
    """The record of a method and seed."""
    began = time.perf_counter()
    notes: dict[str, Any] = {}
    if method == SINGLE:
        found, seconds = [], []
        for k in range(len(tables.names)):
            engine, run = trained(tables.only(k), "sum", seed, epochs)
            found.append(float(errors(engine, tables.only(k).test)[0]))
            seconds.append(run.seconds)
        updates = run.updates.tolist() * len(tables.names)
    else:
        if method == EQUAL:
            epochs = equal_updates(tables, seed, epochs)
        engine, run = trained(tables, "colouring" if method == EQUAL else method, seed, epochs)
        found, seconds = errors(engine, tables.test).tolist(), [run.seconds]
        updates = run.updates.tolist()
        notes |= {"warnings": run.warnings, "ending": run.ending.name, "best_step": run.best_step}
        if isinstance(conflicts := conflicts_by_name("colouring" if method == EQUAL else method), AIM):
            notes["map"] = conflicts.map(dict(run.state)).tolist()
    mae = dict(zip(tables.names, (np.array(found) * tables.std).tolist(), strict=True))
    return {
        "kind": "accuracy",
        "seed": seed,
        "method": method,
        "epochs": epochs,
        "steps": run.steps,
        "updates": updates,
        "training_seconds": sum(seconds),
        "seconds": time.perf_counter() - began,
        "mae": mae,
        "relative": dict(zip(tables.names, found, strict=True)),
        "notes": notes,
    }


def equal_updates(tables: Tables, seed: int, epochs: int) -> int:
    """Epochs after which colouring has updated the mean target about as often as `epochs` of the sum would.

    The number of classes follows from the run, so it is found by runs: more epochs by the share of updates that the last
    one lacked, twice.
    """
    goal = epochs * Batches(size=SIZE).count(len(tables.train.X))
    tried = epochs
    for _ in range(2):
        _, run = trained(tables, "colouring", seed, tried)
        tried = max(epochs, round(tried * goal / float(run.updates.mean())))
    return tried


def cost(tables: Tables, turns: int, methods: Sequence[str] = CONFLICTS) -> dict[str, Any]:
    """The record of seconds per step."""
    steppers = {name: _stepper(tables, name) for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(turns + 1):
        for name, step in steppers.items():
            began = time.perf_counter()
            for _ in range(TURN):
                step()
            if turn:  # the first warms up
                seconds[name].append((time.perf_counter() - began) / TURN)
    return {
        "kind": "cost",
        "turns": turns,
        "batch": SIZE,
        "seconds": {k: float(np.median(v)) for k, v in seconds.items()},
    }


def _stepper(tables: Tables, method: str) -> Callable[[], None]:
    """A function that takes one training step."""
    engine, conflicts = engine_of(tables, 0), conflicts_by_name(method)
    optimiser = torch.optim.AdamW(engine.parameters, lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    state, count = conflicts.init(len(tables.names)), 0

    def batch() -> Batch:
        return tables.train.take(torch.randint(len(tables.train.X), (SIZE,), generator=generator))

    def step() -> None:
        nonlocal state, count
        look = engine.look(batch(), guidance=batch, step=count, max_steps=3_000, generator=generator)
        weights, state = conflicts.step(state, look)
        look.backward(weights)
        optimiser.step()
        count += 1

    return step


def told(found: Sequence[Mapping[str, Any]]) -> str:
    """Tables of the records."""
    runs = [record for record in found if record["kind"] == "accuracy"]
    costs = [record for record in found if record["kind"] == "cost"]
    parts = []
    if runs:
        frame = pd.DataFrame({(r["method"], r["seed"]): r["mae"] for r in runs}).T.rename_axis(["method", "seed"])
        parts += [
            summary(frame).round(2).to_string(),
            frame.groupby("method").mean().T.map("{:.4g}".format).to_string(),
        ]
        extra = pd.DataFrame([{k: r[k] for k in ("method", "epochs", "steps", "training_seconds")} for r in runs])
        extra["updates"] = [float(np.mean(r["updates"])) for r in runs]
        parts.append(extra.groupby("method").mean().round(1).to_string())
    for record in costs:
        relative = {name: value / record["seconds"]["sum"] for name, value in record["seconds"].items()}
        texts = (f"{name} {value:.2f}" for name, value in sorted(relative.items(), key=lambda item: item[1]))
        parts.append(
            f"seconds per step relative to the sum's {1e3 * record['seconds']['sum']:.2f} ms: {', '.join(texts)}"
        )
    return "\n\n".join(parts)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Changes against single-task and against the sum [%], standard errors over seeds, mean rank among complete methods.

    frame : mean absolute errors of (method, seed) by target; a method is complete if it has all seeds
    """
    errors = dict(zip(frame.index.tolist(), frame.to_numpy(dtype=np.float64), strict=True))
    methods = list(dict.fromkeys(method for method, _ in errors))
    seeds = sorted({seed for _, seed in errors})
    complete = [method for method in methods if all((method, seed) in errors for seed in seeds)]
    by_seed = [mean_rank(np.stack([errors[method, seed] for method in complete])) for seed in seeds if complete]
    position = dict(zip(complete, np.mean(by_seed, axis=0).tolist(), strict=True)) if complete else {}
    rows: dict[str, dict[str, float]] = {}
    for method in methods:
        rows[method] = {}
        for name, reference in (("single", SINGLE), ("sum", "sum")):
            both = [seed for seed in seeds if {(method, seed), (reference, seed)} <= set(errors)]
            change = [100 * float(relative_change(errors[method, s], errors[reference, s])) for s in both]
            rows[method][f"against {name} [%]"] = float(np.mean(change)) if change else np.nan
            rows[method][f"± ({name})"] = standard_error(change)
        rows[method]["mean rank"] = position.get(method, np.nan)
        rows[method]["seeds"] = sum((method, seed) in errors for seed in seeds)
    return pd.DataFrame(rows).T


def _float(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def main() -> None:
    """Run the study, or print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of records, a JSON object a line")
    parser.add_argument("--table", action="store_true", help="only print the tables of the file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--cost", action="store_true", help="only measure seconds per step")
    options = parser.parse_args()
    if options.table:
        print(told(records(options.out)))
        return
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if options.cost:
            append(options.out, cost(prepared(loaded("qm9"), 0), turns=15))
            return
        done = {(r["seed"], r["method"]) for r in records(options.out) if r["kind"] == "accuracy"}
        for seed in range(options.seeds):
            missing = [method for method in options.methods if (seed, method) not in done]
            tables = prepared(loaded("qm9"), seed) if missing else None
            for method in missing:
                assert tables is not None
                record = one(tables, method, seed, options.epochs)
                append(options.out, record)
                mean = float(np.mean(list(record["relative"].values())))
                print(f"seed {seed} {method}: {mean:.4f} of the spread, {record['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
