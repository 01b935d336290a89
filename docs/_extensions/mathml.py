"""Formulas as MathML, made by docutils when the site is built: pages need no script and no fonts from elsewhere."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
#: a letter with its accent, which docutils would tear apart at an index: with something beside it, it stays a group
ACCENTED = re.compile(r"\\(?:hat|bar|tilde|dot|ddot)(?:\{[^{}]*\}|\s*\\[a-zA-Z]+|\s+\w)")


def mathml(node: nodes.Element, *, as_block: bool) -> str:
    """MathML of a formula; one that can't be read is a warning, which ends the build in CI."""
    tex = node.astext()
    try:
        return str(tex2mathml(ACCENTED.sub(r"{\g<0>{}}", tex), as_block=as_block))
    except MathError as error:
        logger.warning("formula %r: %s", tex, error, location=node, type="mathml")
        return f"<code>{escape(tex)}</code>"


def inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node, as_block=False))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{mathml(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
