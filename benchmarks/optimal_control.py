"""Optimal control: networks and solvers of the library against CasADi/IPOPT, DeepXDE and Chebyshev tables.

    python benchmarks/optimal_control.py [--quick] [--seeds 5] [--deepxde [SEEDS]] [--only single|family|six]

One thread; everything runs in turn in one process, and times are the processor's, so that ratios hold on a machine that
other jobs share. Errors are against solve(tolerance=1e-12), of families against cases solved to 1e-11; IPOPT checks both
by another road. Needs the extra `benchmarks`. The whole takes about twenty minutes, DeepXDE ten more a seed.
"""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version

import pandas as pd
import torch
from control_families import Sizes, Study, break_even, initial_states, six_inputs, study_family
from control_single import against_deepxde, print_scores, single_problems
from threadpoolctl import threadpool_limits

from surrogates.physics.optimal_control import problem_names

PACKAGES = ("torch", "numpy", "scipy", "casadi", "deepxde", "onnxruntime")


def print_versions() -> None:
    """What all figures depend on."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"Python {platform.python_version()}, {', '.join(found)}; one thread of {os.cpu_count()}, load {load}\n")


def single(names: list[str], seeds: int) -> None:
    """The tables of single problems."""
    print(f"# Single problems; networks: medians of {seeds} seeds, of one on problems without a label\n")
    print_scores(single_problems(names, seeds), baseline="solve 1e-10")


def physics_informed(seeds: int, steps: int, second_steps: int) -> None:
    """The tables against DeepXDE."""
    print(f"# DeepXDE: {steps:,} steps of Adam, then L-BFGS up to {second_steps:,}; paper mode: {steps:,} steps")
    print(f"# Medians of {seeds} seeds\n")
    print_scores(against_deepxde(seeds, steps, second_steps), baseline="net")


def family(study: Study, sizes: Sizes, seeds: int) -> None:
    """The tables of one family."""
    table, fits, scores = study_family(study, sizes, seeds)
    print(f"# Family: {study.name}; {sizes.judged} random cases\n")
    print("fits", fits.round(2).to_string(), sep="\n", end="\n\n")
    print(f"u over 33 times (curve) or at the start (first); microseconds a query in batches of {sizes.quick:,}, where")
    print(
        f"Newton steps are taken of {sizes.batch}, and alone; solve() and IPOPT (built once) one case after the other"
    )
    times = table.columns[table.columns.str.contains("µs")]
    shown = table.assign(**{name: table[name].map("{:,.1f}".format) for name in times})
    print(shown.to_string(), end="\n\n")
    print("break-even with predict, curves in batches", break_even(table).round(0).to_string(), sep="\n", end="\n\n")
    print("certificates: rank correlation with the true error of u, and worst ratios")
    print(scores.to_string(), end="\n\n")
    print_table_size(len(study.family.inputs), float(table["curve µs"].astype(float)["solve_points"]))


def print_table_size(inputs: int, microseconds: float) -> None:
    """What tensor tables would take at a case's time in a batch."""
    points = pd.Index([9, 15], name="points an input")
    solves = points.to_numpy().astype(float) ** inputs
    table = pd.DataFrame({"solves": solves, "hours": solves * microseconds / 3.6e9}, index=points)
    print(f"a tensor Chebyshev table of {inputs} inputs", table.map("{:,.4g}".format).to_string(), sep="\n", end="\n\n")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute: two problems, one seed, few cases")
    parser.add_argument("--seeds", type=int, default=5, help="of networks")
    parser.add_argument("--deepxde", type=int, nargs="?", const=1, default=0, help="seeds of DeepXDE; none without")
    parser.add_argument("--only", choices=("single", "family", "six"), help="one part")
    arguments = parser.parse_args()
    quick, seeds = arguments.quick, 1 if arguments.quick else arguments.seeds
    sizes = Sizes(100, 1000, 100, 10, 10) if quick else Sizes()
    torch.set_num_threads(1)
    print_versions()
    with threadpool_limits(1):
        if arguments.only in (None, "single"):
            single(["scalar_lq", "van_der_pol"] if quick else list(problem_names()), seeds)
        if arguments.only in (None, "single") and arguments.deepxde:
            physics_informed(arguments.deepxde, *((500, 0) if quick else (20_000, 15_000)))
        if arguments.only in (None, "family"):
            family(initial_states(), sizes, seeds)
        if arguments.only in (None, "six"):
            family(six_inputs(max_cases=1024 if quick else 8192), sizes, seeds)


if __name__ == "__main__":
    main()
