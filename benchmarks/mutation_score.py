"""Do the tests notice when a function is changed? The share of changes, drawn at random, that make a test fail.

Two steps, the first of which tells which tests run which lines, and how long they take:

    pytest --cov=surrogates --cov-context=test --cov-report= --durations=0 -vv \\
        tests/test_*.py tests/gp tests/training > seconds.txt
    python benchmarks/mutation_score.py --sample 200 --durations seconds.txt --output mutants.json

The tests are collected once. Each change is made in a fork of that process, where the tests that run the changed
statement go, first those of a file that is named after the module and the quickest first, until one fails. Tests beyond
`--budget` seconds aren't run, so that the share is a lower bound; changes of default values aren't drawn. Every tenth
time it is tried whether the tests pass without the change. What survives is listed: among it are changes that make no
difference, which a person must tell apart.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mutants
import pytest
from mutants import Coverage, Mutant

ROOT = Path(__file__).resolve().parent.parent


def durations(text: str) -> dict[str, float]:
    """Seconds of each test from what ``pytest --durations=0 -vv`` prints, its fixtures included."""
    found: dict[str, float] = {}
    for seconds, test in re.findall(r"^([0-9.]+)s (?:call|setup|teardown) +(.+)$", text, re.MULTILINE):
        found[test] = found.get(test, 0.0) + float(seconds)
    return found


def within(tests: list[str], seconds: Mapping[str, float], budget: float) -> list[str]:
    """The first tests that together take no longer than `budget` seconds, at least one."""
    chosen: list[str] = []
    left = budget
    for test in tests:
        left -= seconds.get(test, 0.0)
        if left < 0 and chosen:
            break
        chosen.append(test)
    return chosen


class Scoring:
    """The pytest plugin that takes the place of the loop over the tests."""

    def __init__(self, args: argparse.Namespace, covered: Coverage) -> None:
        self.args = args
        self.covered = covered
        self.fates: list[dict[str, Any]] = []
        self.in_child = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.in_child and report.failed:
            os._exit(1)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        say = Progress(self.args.output, self.fates)
        jobs = Jobs(self.args.processes)
        for room in self.args.rooms:
            mutants.load(ROOT, room)
            for number, mutant in enumerate(mutants.draw(ROOT, room, self.args.sample, self.args.seed)):
                known = self.covered.tests(ROOT, mutant, items)
                chosen = within(known, self.covered.seconds, self.args.budget)
                fate = {"room": room, **mutant._asdict(), "tests": len(known), "tried": len(chosen)}
                del fate["source"]
                # fixtures of a module are counted with the first of its tests only, and the machine may be busy
                limit = 60 + 10 * sum(self.covered.seconds.get(test, 0.0) for test in chosen)
                run = [items[test] for test in chosen]
                if number % 10 == 0:
                    jobs.start(partial(self._child, run, None), limit, partial(_control, mutant))
                jobs.start(partial(self._child, run, mutant), limit, partial(say, fate))
        jobs.finish()
        return True

    def _child(self, items: list[pytest.Item], mutant: Mutant | None) -> int:
        """0 if all tests pass; a failed one ends the process before (`pytest_runtest_logreport`)."""
        self.in_child = True
        if not items or (mutant is not None and not mutants.put_in(ROOT, mutant)):
            return 0
        items[0].config.pluginmanager.unregister(name="terminalreporter")
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return 0


class Jobs:
    """At most so many forks at a time; what became of each is told to a function as "did it fail?"."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._running: dict[int, tuple[float, Callable[[bool], None]]] = {}

    def start(self, work: Callable[[], int], limit: float, tell: Callable[[bool], None]) -> None:
        self._wait(self._processes - 1)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                os._exit(work())
            except BaseException:
                traceback.print_exc()
                os._exit(99)
        self._running[child] = (time.monotonic() + limit, tell)

    def finish(self) -> None:
        self._wait(0)

    def _wait(self, most: int) -> None:
        while len(self._running) > most:
            for child, (deadline, tell) in list(self._running.items()):
                done, status = os.waitpid(child, os.WNOHANG)
                if not done and time.monotonic() > deadline:
                    os.killpg(child, signal.SIGKILL)
                    done, status = os.waitpid(child, 0)
                if done:
                    del self._running[child]
                    tell(os.waitstatus_to_exitcode(status) != 0)
            time.sleep(0.005)


class Progress:
    """Keeps what became of each mutant, prints the survivors, writes all of them after each."""

    def __init__(self, output: Path | None, fates: list[dict[str, Any]]) -> None:
        self._output = output
        self._fates = fates

    def __call__(self, fate: dict[str, Any], noticed: bool) -> None:
        self._fates.append({**fate, "noticed": noticed})
        if not noticed:
            print(
                f"\n{fate['path']}:{fate['line']} {fate['function']}\n  - {fate['before']}\n  + {fate['after']}",
                flush=True,
            )
        if self._output is not None:
            self._output.write_text(json.dumps(self._fates, indent=1))


def _control(mutant: Mutant, noticed: bool) -> None:
    if noticed:
        print(
            f"\ntests of {mutant.path} line {mutant.line} fail without any change: run the first step anew", flush=True
        )


def table(fates: list[dict[str, Any]]) -> str:
    lines = ["room      of            mutants  noticed  score ± standard error"]
    for room in dict.fromkeys(fate["room"] for fate in fates):
        for name, wanted in (("all", (False, True)), ("no texts", (False,)), ("texts", (True,))):
            mine = [fate["noticed"] for fate in fates if fate["room"] == room and fate["of_text"] in wanted]
            if mine:
                share = sum(mine) / len(mine)
                error = math.sqrt(share * (1 - share) / len(mine))
                lines.append(f"{room:9} {name:12} {len(mine):8d} {sum(mine):8d}  {share:.3f} ± {error:.3f}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", choices=mutants.ROOMS, default=list(mutants.ROOMS))
    parser.add_argument("--sample", type=int, default=200, help="mutants of each room")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", type=Path, default=Path(".coverage"), help="file of the first step")
    parser.add_argument("--durations", type=Path, required=True, help="what the first step printed")
    parser.add_argument("--budget", type=float, default=30, help="seconds of tests for each mutant")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON of what became of each mutant")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    os.chdir(ROOT)  # where the paths of the tests and of the coverage start
    covered = Coverage(args.coverage, durations(args.durations.read_text()))
    scoring = Scoring(args, covered)
    code = pytest.main(["-n", "0", "-q", "-p", "no:cacheprovider", *sorted(covered.files)], plugins=[scoring])
    if not scoring.fates:
        raise SystemExit(f"no test could be collected (pytest ended with {code})")
    print(table(scoring.fates))


if __name__ == "__main__":
    main()
