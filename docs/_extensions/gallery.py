"""The gallery: what each example says of itself, and the figures that it left in ``examples/output``, if it was run."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from sphinx.application import Sphinx

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
MARK = "<!-- the examples -->"


def entry(script: Path, page: Path) -> str:
    """Heading, docstring, figures and command of one example, in Markdown."""
    text = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    title, _, rest = text.partition("\n\n")
    parts = [f"## {script.stem.replace('_', ' ').capitalize()}", f"**{title}**".replace("\n", " "), rest]
    for figure in sorted((EXAMPLES / "output").glob(f"{script.stem}*.png")):
        parts.append(f"![{figure.stem}]({os.path.relpath(figure, page.parent)})")
    parts.append(f"```console\n$ surrogates examples run {script.stem}\n```")
    return "\n\n".join(parts)


def fill(app: Sphinx, docname: str, source: list[str]) -> None:
    if MARK in source[0]:
        page = Path(app.srcdir) / docname
        scripts = [path for path in sorted(EXAMPLES.glob("*.py")) if path.stem != "__init__"]
        source[0] = source[0].replace(MARK, "\n\n".join(entry(script, page) for script in scripts))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
