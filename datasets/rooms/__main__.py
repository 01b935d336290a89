"""``python -m surrogates.datasets.rooms --seed 0 --out FILE``: simulate rooms and write them to a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .archive import write_rooms
from .simulate import simulate_rooms


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the generator; `arguments` as on the command line, None for those."""
    parser = argparse.ArgumentParser(
        prog="python -m surrogates.datasets.rooms", description="Simulate air-conditioned rooms by EnergyPlus."
    )
    parser.add_argument("--seed", type=int, required=True, help="of everything that is drawn")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.nc.gz)")
    parser.add_argument("--population", type=int, default=48, help="units of the population (default 48)")
    parser.add_argument("--newcomers", type=int, default=52, help="units beyond it (default 52)")
    parser.add_argument("--units", type=int, help="instead of both: so many in all, half of them newcomers")
    parser.add_argument("--processes", type=int, default=2, help="runs of the simulator at once (default 2)")
    parser.add_argument("--no-twins", action="store_true", help="leave the twins out")
    options = parser.parse_args(arguments)
    if options.units is not None:
        if options.units < 2:
            parser.error(f"--units is {options.units}; at least 2 are wanted, one of each group")
        options.population, options.newcomers = options.units // 2, options.units - options.units // 2
    rooms = simulate_rooms(
        options.seed,
        population=options.population,
        newcomers=options.newcomers,
        twins=not options.no_twins,
        processes=options.processes,
        progress=_tell,
    )
    write_rooms(rooms, options.out)
    print(f"wrote {options.out}, {options.out.stat().st_size / 1e6:.2f} MB")


def _tell(done: int, total: int) -> None:
    if done == total or done % 10 == 0:
        print(f"{done} of {total} runs", flush=True)


if __name__ == "__main__":
    main()
