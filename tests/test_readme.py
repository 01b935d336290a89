"""The README's promises: its first lines show code, its code runs, its commands are the ones that are meant."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for line in README.splitlines() if line.startswith("python3 -m venv")]


def test_the_first_lines_say_what_it_is_and_show_code() -> None:
    start = README.split("```python")[0]
    assert len(start.splitlines()) <= 10
    assert README.splitlines().index("```") < 30  # the first block has ended


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_its_code_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_its_two_commands_start_from_nothing_but_python() -> None:
    assert COMMANDS == [
        'python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ".[all]" '
        "&& .venv/bin/python examples/engine_surfaces.py",
        'python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ".[test]" && .venv/bin/pytest',
    ]


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?:)([^)]+)\)", README))
def test_its_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
