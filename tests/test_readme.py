"""The README's promises: its first lines show code, its code runs, its commands are the ones that are meant."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.DOTALL | re.MULTILINE))
BLOCKS = [
    code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if code not in SECTIONS["Your own table"]
]
COMMANDS = [line for line in README.splitlines() if line.startswith("python3 -m venv")]


def test_the_first_lines_say_what_it_is_and_show_code() -> None:
    start = README.split("```python")[0]
    assert len(start.splitlines()) <= 10
    assert README.splitlines().index("```") < 30  # the first block has ended
    assert "](docs/images/" in "\n".join(README.splitlines()[:40])  # and its picture is seen


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_its_code_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_table_of_ones_own_is_fitted_by_code_and_by_command(tmp_path: Path) -> None:
    """What the commands need is left by the code above them, and nothing else is needed."""
    (tmp_path / "page.md").write_text(SECTIONS["Your own table"])
    script = ROOT / "tests" / "support" / "run_page.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "page.md"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answer.csv").read_text().startswith("gauge,speed,machine,mean,std,noise_std\n")
    assert (tmp_path / "health.png").read_bytes()[:4] == b"\x89PNG"


def test_its_numbers_are_those_of_the_full_tables() -> None:
    """All numbers of a row stand in one section of the page that has the full tables."""
    full = re.split(r"^## ", (ROOT / "docs" / "which_model.md").read_text("utf-8"), flags=re.MULTILINE)
    rows = [row for row in SECTIONS["What it does"].splitlines() if row.startswith("| ")][2:]
    assert len(rows) == 8
    for row in rows:
        numbers = re.findall(r"(?<![\w.])-?\d*\.?\d+(?:e-\d+)?(?![\w.]*\w)", row)
        found = [{n for n in numbers if re.search(rf"(?<![\d.]){re.escape(n)}(?!\d)", part)} for part in full]
        assert numbers
        assert set(numbers) in found, (row, set(numbers) - max(found, key=len))


def test_its_two_commands_start_from_nothing_but_python() -> None:
    assert COMMANDS == [
        'python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ".[all]" '
        "&& .venv/bin/python examples/engine_surfaces.py",
        'python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ".[test]" && .venv/bin/pytest',
    ]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)]+)\)", README))))
def test_its_links_lead_somewhere(target: str) -> None:
    page, _, heading = target.partition("#")
    text = (ROOT / page).read_text("utf-8") if heading and page else README
    assert (ROOT / page).exists()
    assert heading in {"", *(line.lower().replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE))}
