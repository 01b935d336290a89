"""Several fidelities, few points, no noise: 18 functions of the literature, 20 seeds, our structures against peers.

    python benchmarks/multi_fidelity.py --out FILE [--seeds N] [--functions NAME ...] [--methods NAME ...] [--emukit PYTHON]
    python benchmarks/multi_fidelity.py --out FILE --table

A case is a function and a seed: nested Latin hypercubes (`multi_fidelity_cases` has their sizes) and 1,000 other places. A
method is judged there by the root mean square error over the truth's standard deviation (nRMSE), the mean negative log
density with the truth in units of that deviation (NLPD), and the share of the truth within 95 % intervals. Each result is a
line of FILE, and what FILE has isn't computed again, so that a run may be interrupted, split and gone on with. A fit that
takes longer than `--limit` seconds on the clock, or fails, is a line too; BoTorch's optimiser is stopped after a quarter of
them and answers with what it has. Reported seconds are the processor's, on one thread.

`--emukit` is a Python with emukit and GPy, which the extra `benchmarks` doesn't bring; without it emukit is left out.
"""

from __future__ import annotations

import argparse
import platform
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from multi_fidelity_cases import COUNTS, Case, case
from multi_fidelity_methods import Method, methods, versions
from multi_fidelity_tables import tables
from results import append, records

from surrogates.metrics import coverage, nlpd, rmse


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after `seconds`; where there's no such signal (Windows), nothing happens."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judged(problem: Case, method: Method, limit: float) -> dict[str, Any]:
    """Scores and seconds of a method, or why there are none."""
    began = time.process_time()
    try:
        with limited(limit):
            mean, std, own = method(problem, limit)
    except TimeoutError:
        return {"error": f"more than {limit:g} s"}
    except Exception as error:  # a peer's failure is a result
        return {"error": f"{type(error).__name__}: {error}"[:300], "seconds": time.process_time() - began}
    seconds = time.process_time() - began if own is None else own
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        return {"error": "not finite", "seconds": seconds}
    spread = float(problem.truth.std())
    least = 1e-9 * spread  # a density needs a deviation
    truth, mean, std = problem.truth / spread, mean / spread, np.maximum(std, least) / spread
    return {
        "nrmse": rmse(truth, mean),
        "nlpd": nlpd(truth, mean, std),
        "coverage": coverage(truth, mean, std),
        "seconds": seconds,
    }


def study(path: Path, chosen: dict[str, Method], functions: Sequence[str], seeds: Sequence[int], limit: float) -> None:
    """Seeds outermost, so that a part of the study says something of each function; results that are there are kept."""
    warm: set[str] = set()
    done = {(entry["function"], entry["seed"], entry["method"]) for entry in records(path)}
    for seed in seeds:
        for method in chosen:
            for name in functions:
                if (name, seed, method) in done:
                    continue
                if method not in warm:  # the first call of a process imports the peer
                    judged(case("forrester", 0, places=2), chosen[method], limit)
                    warm.add(method)
                entry = {"function": name, "seed": seed, "method": method}
                entry |= judged(case(name, seed), chosen[method], limit)
                append(path, entry)
                print(*(f"{value:.4g}" if isinstance(value, float) else value for value in entry.values()), flush=True)


def main() -> None:
    """Run the study, or print its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of results, a JSON object a line")
    parser.add_argument("--table", action="store_true", help="only print the tables of the file")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument("--functions", nargs="*", choices=list(COUNTS), default=list(COUNTS), metavar="NAME")
    parser.add_argument("--methods", nargs="*", help="all by default; see multi_fidelity_methods.py", metavar="NAME")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds for one fit")
    parser.add_argument("--emukit", metavar="PYTHON", help="interpreter of an environment that has emukit")
    options = parser.parse_args()
    if options.table:
        print(tables(records(options.out), options.functions))
        return
    known = methods(options.emukit)
    if unknown := set(options.methods or ()) - set(known):
        parser.error(f"unknown methods {sorted(unknown)}; there are {list(known)}")
    print(f"Python {platform.python_version()}, {versions()}", flush=True)
    chosen = {name: method for name, method in known.items() if not options.methods or name in options.methods}
    study(options.out, chosen, options.functions, range(options.first, options.first + options.seeds), options.limit)


if __name__ == "__main__":
    main()
