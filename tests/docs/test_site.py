"""The documentation builds without a warning, needs no network to be read, and tells of all that is public."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import surrogates

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, from a copy of what it is made of."""
    copy = tmp_path_factory.mktemp("site")
    for folder in ("docs", "examples"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("_build", "generated", "output"))
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "html"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return copy / "html"


def test_the_site_takes_nothing_from_elsewhere(site: Path) -> None:
    """Links may lead anywhere; scripts, styles, fonts and pictures are the site's own."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe|source|link)\b[^>]*?(?:src|href)="(https?:[^"]*|//[^"]*)"', text)
        assert loaded == [], page.name
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)]*", style.read_text("utf-8")), style.name


def test_formulas_are_in_the_pages_themselves(site: Path) -> None:
    text = (site / "mathematics" / "tasks.html").read_text("utf-8")
    assert text.count("<math ") > 10
    assert "<msub>" in text
    assert "MathJax" not in text


def test_every_public_name_is_told_of(site: Path) -> None:
    """All that a package's `__all__` names, but for packages, and for the command line's one function."""
    text = "".join(page.read_text("utf-8") for page in (site / "generated").glob("*.html"))
    told = {entry.rpartition(".")[2] for entry in re.findall(r'id="(surrogates\.[\w.]+)"', text)}
    packages = ["surrogates", *(m.name for m in pkgutil.walk_packages(surrogates.__path__, "surrogates.") if m.ispkg)]
    assert len(packages) > 20
    for package in packages:
        loaded = importlib.import_module(package)
        for public in getattr(loaded, "__all__", ()):
            is_package = isinstance(getattr(loaded, public), ModuleType)
            assert public in told or is_package or package == "surrogates.cli", f"{package}.{public}"
    assert {f"surrogates.{public}" for public in surrogates.__all__} <= set(re.findall(r'id="(surrogates\.\w+)"', text))


def test_the_gallery_has_every_example(site: Path) -> None:
    text = (site / "gallery.html").read_text("utf-8")
    for script in (ROOT / "examples").glob("*.py"):
        assert f"surrogates examples run {script.stem}" in re.sub(r"<[^>]+>", "", text)
