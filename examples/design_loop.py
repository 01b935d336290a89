"""Design loops, part by part: what to measure next, what to try next, and sizes and set-points by gradients.

Each part is an example of its own, which says what it claims, and asserts it:

(a) `design_metrology.py`: the flatness of three parts at least cost, with two gauges
(b) `design_transfer.py`: the minimum of a new function, whose relatives are known
(c) `design_sizing.py`: a beam sized by OpenMDAO on a fitted surrogate
(d) the same file: set-points of a room, tuned on its virtual battery

    python examples/design_loop.py                     # a minute or two
    python examples/design_loop.py --parts transfer    # one of them
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def metrology() -> Mapping[str, Any]:
    """(a)"""
    found: Mapping[str, Any] = example("design_metrology").main([])
    return found


def transfer() -> Mapping[str, Any]:
    """(b)"""
    found: Mapping[str, Any] = example("design_transfer").main(seeds=3)
    return found


def sizing() -> Mapping[str, Any]:
    """(c) and (d)"""
    found: Mapping[str, Any] = example("design_sizing").main()
    return found


PARTS: dict[str, Callable[[], Mapping[str, Any]]] = {"metrology": metrology, "transfer": transfer, "sizing": sizing}


def example(name: str) -> Any:
    """The module beside this one."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def main(arguments: Sequence[str] | None = None) -> dict[str, Mapping[str, Any]]:
    """Run the parts that are asked for; what each of them returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    found = {}
    for name in parser.parse_args(arguments).parts:
        print(f"\n=== {name} ===", flush=True)
        found[name] = PARTS[name]()
    return found


if __name__ == "__main__":
    main()
