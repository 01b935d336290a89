"""What the pages of the documentation show runs, page by page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_page import blocks

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.relative_to(DOCS).parts))
RUN = [page for page in PAGES if blocks(page)]
#: pages that take longer than some ten seconds
SLOW = {"tutorials/batteries.md", "tutorials/molecules.md", "tutorials/fidelities.md"}


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=name(page), marks=[pytest.mark.slow] * (name(page) in SLOW)) for page in RUN]
)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    environment = os.environ | {"MPLBACKEND": "Agg"}  # no window
    script = ROOT / "tests" / "support" / "run_page.py"
    done = subprocess.run(
        [sys.executable, script, page], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for figure in tmp_path.glob("*.png"):  # what the page shows is what its code draws
        assert (DOCS / "images" / figure.name).is_file(), f"docs/images lacks {figure.name}"


def test_every_block_has_a_language_that_says_whether_it_runs() -> None:
    known = {"python", "sh", "console", "text", "{toctree}", "{eval-rst}"}
    for page in PAGES:
        fences = re.findall(r"^```(\S*)", page.read_text("utf-8"), re.MULTILINE)
        assert set(fences[::2]) <= known, name(page)
