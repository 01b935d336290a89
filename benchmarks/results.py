"""Results of a study in one file, a JSON object a line: what is there needn't be computed again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def records(path: Path) -> list[dict[str, Any]]:
    """What a file holds; nothing where there is none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """One line more."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
