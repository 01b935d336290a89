"""Packages that are nothing but a folder of tables, put where Python looks for packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest


def put_package(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: Mapping[str, str]) -> Path:
    """Make the package `name` below `folder`, found before an installed one of that name; `files` by their paths in it."""
    package = folder / name
    for path, text in {"__init__.py": "raise ImportError('only to be read')", **files}.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    return package


def hide_package(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As if `name` weren't installed."""
    monkeypatch.setitem(sys.modules, name, None)
