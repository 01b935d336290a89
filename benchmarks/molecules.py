"""What sharing is worth when labels are few: MolecularNet against single models, random forests and chemprop.

    python benchmarks/molecules.py --out FILE [--split random|scaffold] [--data NAME ...] [--labels N ...] [--seeds N]
        [--methods NAME ...] [--phase NAME ...]
    python benchmarks/molecules.py --out FILE --table

For each data set, number of labels per property and seed: a new split of the molecules (20 % to test; dyes are kept apart in
whatever solvent), labels drawn for each property apart from the others, the same for all methods. Test molecules are 1,000
drawn by the seed, and more where a property would have fewer than 100 labels. Properties with fewer training labels than
asked for are left out. Seconds are without RDKit's features, which all methods but chemprop share. Each run is appended to
FILE (a JSON object a line) when it is done; what is there isn't run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from molecules_peers import METHODS, keys_of
from molecules_tables import tables
from numpy.typing import NDArray
from results import append, records
from threadpoolctl import threadpool_limits

from surrogates.datasets import molecules
from surrogates.molecules.features import molecule_features

FRACTIONS = (0.8, 0.0, 0.2)
TESTS, FEWEST = 1_000, 100


def _qm9() -> molecules.Molecules:
    """10,000 molecules, all targets but the gap, which is the difference of two others."""
    data = molecules.qm9(10_000, seed=0)
    return data.select([name for name in data.properties if name != "gap"])


#: name -> loader, variables of SMILES
DATA: dict[str, tuple[Callable[[], molecules.Molecules], tuple[str, ...]]] = {
    "solvation": (molecules.solvation, ("smiles",)),
    "qm9": (_qm9, ("smiles",)),
    "physical": (molecules.physical_properties, ("smiles",)),
    "optical": (molecules.optical, ("smiles", "solvent")),
}
FAST = ("ours", "ours, single", "ours, shared", "random forest")
#: name -> labels, methods; in this order
PHASES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "few": ((50, 100, 200), FAST),
    "chemprop": ((50, 100, 200, 500), ("chemprop",)),
    "more": ((500,), (*FAST, "processes, single")),
    "network": ((100,), ("network, single", "network, shared")),
    "many": ((2000,), (*FAST, "processes, single")),
}


class Run(NamedTuple):
    """What identifies a record."""

    data: str
    split: str
    labels: int
    seed: int
    method: str


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """All runs that are asked for, phases first, then seeds, so that a part of them says something."""
    for phase in options.phase:
        sizes, methods = PHASES[phase]
        for seed in range(options.seeds):
            for labels in sizes:
                for data in options.data:
                    for method in methods:
                        if (not options.labels or labels in options.labels) and method in options.methods:
                            yield Run(data, options.split, labels, seed, method)


@lru_cache
def loaded(name: str) -> molecules.Molecules:
    """A data set, read once."""
    return DATA[name][0]()


def tests_of(table: xr.Dataset, properties: Iterable[str], seed: int) -> xr.Dataset:
    """Test molecules drawn by the seed: the first 1,000, and those that a property with fewer than 100 labels lacks."""
    order = np.random.default_rng(seed).permutation(table.sizes["molecule"])
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:TESTS]] = True
    for name in properties:
        known = np.isfinite(table[name].to_numpy())
        chosen[order[known[order]][:FEWEST]] = True
    return table.isel(molecule=np.flatnonzero(chosen))


def one(run: Run, data: molecules.Molecules, smiles: tuple[str, ...]) -> dict[str, Any] | None:
    """The record of a run; None if no property has so many labels."""
    divided = data.split(run.split, FRACTIONS, seed=run.seed)
    if not any(int(np.isfinite(divided.train[name]).sum()) >= run.labels for name in divided.properties):
        return None
    train = divided.scarce(run.labels, seed=run.seed, fewer="drop")
    names = list(map(str, train.data_vars))
    test = tests_of(divided.test, names, run.seed)[names]
    for table in (train, test):
        molecule_features(keys_of(table, smiles))  # which remembers them
    began = time.perf_counter()
    guess = METHODS[run.method](train, test, smiles, run.seed)
    seconds = time.perf_counter() - began
    truth = np.stack([test[name].to_numpy() for name in names], axis=1)
    return {
        **run._asdict(),
        "seconds": seconds,
        "molecules": train.sizes["molecule"],
        "properties": {name: judged(truth[:, k], *(part[:, k] for part in guess[:3])) for k, name in enumerate(names)},
        "notes": guess.notes,
    }


def judged(
    truth: NDArray[np.float64], mean: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]
) -> dict[str, float | int | None]:
    """Scores of a property: mean absolute error, the same in standard deviations of the truth, coverage, labels."""
    known = np.isfinite(truth)
    y = truth[known]
    error = float(np.abs(mean[known] - y).mean())
    inside = (lower[known] <= y) & (y <= upper[known])
    coverage = float(inside.mean()) if np.isfinite(lower[known]).all() else None
    return {"mae": error, "relative": error / float(y.std()), "coverage": coverage, "tests": len(y)}


def study(options: argparse.Namespace) -> None:
    """All runs that the file doesn't hold yet."""
    done = {Run(*(record[key] for key in Run._fields)) for record in records(options.out)}
    for run in runs(options):
        if run in done:
            continue
        record = one(run, loaded(run.data), DATA[run.data][1])
        if record is None:
            continue
        append(options.out, record)
        mean = float(np.mean([entry["relative"] for entry in record["properties"].values()]))
        print(f"{' '.join(map(str, run))}: {mean:.3f} of the spread, {record['seconds']:.1f} s", flush=True)


def main() -> None:
    """Run the study, or print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of records, a JSON object a line")
    parser.add_argument("--table", action="store_true", help="only print the tables of the file")
    parser.add_argument("--split", choices=["random", "scaffold"], default="random")
    parser.add_argument("--data", nargs="*", choices=list(DATA), default=list(DATA))
    parser.add_argument("--labels", nargs="*", type=int, default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--phase", nargs="*", choices=list(PHASES), default=list(PHASES))
    options = parser.parse_args()
    if options.table:
        print(tables(records(options.out)))
        return
    torch.set_num_threads(1)
    with threadpool_limits(1):
        study(options)


if __name__ == "__main__":
    main()
