"""What the pages of the documentation show runs, page by page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from run_page import blocks

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.relative_to(DOCS).parts))
RUN = [page for page in PAGES if blocks(page)]
#: pages that take longest; continuous integration runs them too, in a step of their own
SLOW = {f"tutorials/{name}.md" for name in ("batteries", "control", "fidelities", "molecules")}
SLOW |= {"ten_minutes.md", "howto/design_loops.md"}


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


def rooms() -> list[tuple[Path, str]]:
    """Folders of the package that the page on architecture has a table of modules for, and the table."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    found = []
    for title, section in re.findall(r"^## The rooms of (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        first = "\n".join(re.findall(r"^\| (`.+?) \|", section, re.MULTILINE))
        found += [(ROOT / "surrogates" / room.replace(".", "/"), first) for room in re.findall(r"`([\w.]+)`", title)]
    return found


def test_the_page_on_architecture_names_every_module_of_its_rooms_and_no_other() -> None:
    assert len(rooms()) > 8
    known = {path.stem for path in (ROOT / "surrogates").rglob("*") if path.suffix in ("", ".py")}
    known |= {path.stem for path in (ROOT / "surrogates" / "physics").rglob("*.py")}
    known |= {path.stem for path in (ROOT / "surrogates" / "datasets").rglob("*.py")}
    for folder, first in rooms():
        named = {name.rstrip("/").rpartition(".")[2] for name in re.findall(r"`([\w./]+)`", first)}
        there = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
        assert there <= named, f"docs/architecture.md has no line on {sorted(there - named)} of {folder.name}"
        assert named <= known, f"docs/architecture.md names {sorted(named - known)}, which isn't there"


def test_the_extras_are_those_that_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    table = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \|", (DOCS / "install.md").read_text("utf-8"), re.MULTILINE))
    assert set(table) == set(project["optional-dependencies"])
    (everything,) = project["optional-dependencies"]["all"]
    assert table["all"].split(", ") == re.findall(r"[\w-]+", everything.partition("[")[2])
