"""``python -m surrogates.datasets.molecules --seed 0 --out FOLDER``: compute levels of theory for molecules of QM9."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from .campaign import run_campaign
from .fidelities import collect


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the generator; `arguments` as on the command line, None for those."""
    parser = argparse.ArgumentParser(
        prog="python -m surrogates.datasets.molecules",
        description="Compute QM9 molecules by xTB and Hartree-Fock at their B3LYP geometries. It resumes.",
    )
    parser.add_argument("--seed", type=int, required=True, help="of the random sample of molecules")
    parser.add_argument("--n", type=int, default=2400, help="how many molecules (default 2400)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the growing file, also of the result")
    options = parser.parse_args(arguments)
    path = run_campaign(options.out, n=options.n, seed=options.seed, progress=_tell)
    result = options.out / "fidelities.nc.gz"
    collect(path, result)
    print(f"wrote {result}, {result.stat().st_size / 1e6:.2f} MB")


def _tell(done: int, total: int) -> None:
    if done == total or done % 50 == 0:
        print(f"{done} of {total} molecules", flush=True)


if __name__ == "__main__":
    main()
