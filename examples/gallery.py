"""All examples by their default commands, two at a time, and what each of them takes.

    python examples/gallery.py                            # every example: below ten minutes on two cores
    python examples/gallery.py engine_surfaces --jobs 1   # some of them, one after the other
    python examples/gallery.py --docs                     # and their figures, made smaller, for the documentation

Figures, tables, fitted models and what was printed are in `output` beside the examples.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd

HERE = Path(__file__).parent
OUTPUT, DOCS = HERE / "output", HERE.parent / "docs"
#: those that take longest come first, so that no core waits for another at the end
EXAMPLES = (
    "virtual_battery",
    "molecular_properties",
    "molecular_fidelities",
    "multi_fidelity",
    "optimal_control",
    "design_transfer",
    "design_metrology",
    "design_sizing",
    "engine_surfaces",
)
MOST = 250_000  # bytes of a picture in the documentation


class Run(NamedTuple):
    """One example: seconds on the clock and of the processor, and how it ended."""

    example: str
    seconds: float
    processor: float
    code: int


def run(example: str) -> Run:
    """By its default command, with one thread; what it prints goes to a file."""
    began = time.perf_counter()
    with (OUTPUT / f"{example}.log").open("w", encoding="utf-8") as log:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / f"{example}.py")]
        child = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **threads})
        if hasattr(os, "wait4"):
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = code = os.waitstatus_to_exitcode(status)
            processor = used.ru_utime + used.ru_stime
        else:  # Windows doesn't tell
            code, processor = child.wait(), float("nan")
    done = Run(example, time.perf_counter() - began, processor, code)
    print(f"{example:22}{done.seconds:7.0f} s{'' if code == 0 else f', failed: see {log.name}'}", flush=True)
    return done


def shrink(picture: Path, path: Path) -> None:
    """A picture of 300 dots per inch as one of 200 with few colours, for pages that load quickly."""
    from PIL import Image  # matplotlib brings it

    full = Image.open(picture).convert("RGB")
    small = full.resize((round(full.width * 2 / 3), round(full.height * 2 / 3)), Image.Resampling.LANCZOS)
    for colours in (256, 96, 32):
        small.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size <= MOST:
            return
    raise ValueError(f"{path.name} has {path.stat().st_size} bytes with 32 colours; {MOST} are wanted: simplify it")


def keep(runs: Sequence[Run]) -> None:
    """Figures and seconds for the documentation; those of examples that weren't run stay."""
    for done in runs:
        for picture in OUTPUT.glob(f"{done.example}*.png"):
            shrink(picture, DOCS / "images" / picture.name)
    path = DOCS / "gallery_times.csv"
    seconds: dict[str, int] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            seconds = {row["example"]: int(row["processor seconds"]) for row in csv.DictReader(file)}
    seconds |= {done.example: round(done.processor) for done in runs}
    pd.Series(seconds, name="processor seconds").rename_axis("example").sort_index().to_csv(path)


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    """Run, print the table, and fail if an example did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("examples", nargs="*", default=EXAMPLES, help="names; all of them if none is given")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="how many at a time")
    parser.add_argument("--docs", action="store_true", help="figures and seconds go to docs, too")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.examples) - set(EXAMPLES))
    if unknown:
        parser.error(f"there is no example {unknown[0]!r}; there are {sorted(EXAMPLES)}")
    OUTPUT.mkdir(exist_ok=True)
    began = time.perf_counter()
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = list(pool.map(run, options.examples))
    table = pd.DataFrame(runs).set_index("example")
    print(f"\n{table.round(1).to_string()}")
    told = f"\n{time.perf_counter() - began:.0f} s on the clock, {table['processor'].sum():.0f} s of the processor"
    print(f"{told}, {options.jobs} at a time; all in {OUTPUT}")
    failed = table.index[table["code"] != 0].tolist()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")
    if options.docs:
        keep(runs)
    return table


if __name__ == "__main__":
    main()
