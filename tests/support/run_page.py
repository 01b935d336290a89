"""Runs the blocks of a page of the documentation, one after the other, as a reader would: ``python run_page.py PAGE``.

Python blocks share one namespace; blocks of ``sh`` are run by the shell; those of ``console`` are shown only.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

#: the command line of the Python that runs this, installed or not
COMMAND = f'surrogates() {{ "{sys.executable}" -m surrogates "$@"; }}\n'


class Block(NamedTuple):
    """Language, code, and the line of the page that its code begins at."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    """All blocks of a page that are run."""
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)
        for found in re.finditer(r"^```(python|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def main(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "sh":
            subprocess.run(["bash", "-euc", COMMAND + block.code], check=True)
        else:  # with the page's own line numbers, should it fail
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
