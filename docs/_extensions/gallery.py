"""The gallery: what each example says of itself, its figures from ``docs/images``, its data and what it takes."""

from __future__ import annotations

import ast
import csv
import os
import tomllib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parent.parent
EXAMPLES = DOCS.parent / "examples"
MARK = "<!-- the examples -->"
#: of examples without figures of their own
WHOLES = {"gallery", "design_loop"}


def told() -> dict[str, Any]:
    """Data and captions by example."""
    found: dict[str, Any] = tomllib.loads((DOCS / "gallery.toml").read_text("utf-8"))
    return found


def seconds() -> dict[str, int]:
    """What each example took of one core when the figures were made."""
    with (DOCS / "gallery_times.csv").open(encoding="utf-8", newline="") as file:
        return {row["example"]: int(row["processor seconds"]) for row in csv.DictReader(file)}


def entry(script: Path, page: Path) -> str:
    """Heading, docstring, figures with captions, data and command of one example, in Markdown."""
    text = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    title, _, rest = text.partition("\n\n")
    parts = [f"## {script.stem.replace('_', ' ').capitalize()}", f"**{title}**".replace("\n", " ")]
    about = told().get(script.stem, {"figures": {}})
    for figure, caption in about["figures"].items():
        picture = DOCS / "images" / f"{figure}.png"
        if not picture.is_file():
            continue  # a test asks for all of them; a page without one is better than none
        path = os.path.relpath(picture, page.parent)
        parts += [f"![{' '.join(caption.split())}]({path})", f"*{' '.join(caption.split())}*"]
    parts.append(rest)
    if "data" in about:
        taken = seconds().get(script.stem)
        clock = "" if taken is None else f" Time: {taken} s of one core."
        parts.append(f"Data: {' '.join(about['data'].split())}.{clock}")
    parts.append(f"```console\n$ surrogates examples run {script.stem}\n```")
    return "\n\n".join(parts)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    if MARK in source[0]:
        page = Path(app.srcdir) / docname
        scripts = [path for path in sorted(EXAMPLES.glob("*.py")) if path.stem != "gallery"]
        scripts.sort(key=lambda path: path.stem in WHOLES)
        source[0] = source[0].replace(MARK, "\n\n".join(entry(script, page) for script in scripts))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
