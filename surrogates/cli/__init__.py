"""The command line: fit a table, predict, report, explore, run the examples."""

from __future__ import annotations

import sys

from surrogates.errors import missing_extra

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run a command; `arguments` are those of the process if none are given.

    Raises
    ------
    SystemExit
        When the command is done: with 0, or with 2 after an error.
    """
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit(f"error: {missing_extra('typer', 'cli')}")
    run(sys.argv[1:] if arguments is None else arguments)
