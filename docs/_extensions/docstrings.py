"""Docstrings as they are written here, for napoleon.

Entries of sections are ``name : what it is``, with no type, since the signature has it. Formulas stand indented, as they
are, without a mark; bars and stars in sentences are those of mathematics.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

SECTIONS = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "Notes", "Examples"}
ENTRY = re.compile(r"(?P<names>[*\w`][*\w`, ]*?) : (?P<text>.+)")
NEXT = re.compile(r"; +(?=[^\W\d]\w*(?:, \w+)* : )")
#: code, emphasis: what is left as it is; or one character that would mean something to docutils
MARKED = re.compile(r"``.+?``|`[^`]+`|(?<![\w*])\*{1,2}\w[^*\n]*\*{1,2}(?!\w)|(?P<bare>[|*])")


def sections(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Title, with an empty one first, and lines below its underline."""
    parts: list[tuple[str, list[str]]] = [("", [])]
    for number, line in enumerate(lines):
        under = lines[number + 1] if number + 1 < len(lines) else ""
        if line in SECTIONS and under and set(under) == {"-"}:
            parts.append((line, []))
        elif not (line and set(line) == {"-"} and number and lines[number - 1] in SECTIONS):
            parts[-1][1].append(line)
    return parts


def entries(lines: list[str]) -> list[str]:
    """``name : text`` as a name and, below it, its description; outside of sections too, at the start of a paragraph."""
    new: list[str] = []
    inside = False  # a paragraph of entries
    for number, line in enumerate(lines):
        inside = bool(line.strip()) and (inside or number == 0 or not lines[number - 1].strip())
        found = ENTRY.fullmatch(line) if inside else None
        inside = found is not None or (inside and line.startswith("    "))
        if found:  # there may be several on one line
            for part in NEXT.split(line):
                names, _, text = part.partition(" : ")
                new += [names, f"    {text}"]
        else:
            new.append(line)
    return new


def indent_of(line: str) -> int:
    return len(line) - len(line.lstrip())


def prose(lines: list[str]) -> list[str]:
    """Indented blocks after a blank line as literal blocks, unless they belong to a list; the rest with its bars escaped."""
    new: list[str] = []
    literal = -1  # indent of the literal block that we are in
    above = ""  # the last line of text outside of it
    for number, line in enumerate(lines):
        fresh = bool(line.strip()) and (number == 0 or not lines[number - 1].strip())
        if line.strip() and literal >= 0 and indent_of(line) < literal:
            literal = -1
        if literal < 0 and fresh and indent_of(line) > indent_of(above) and above and not is_item(above):
            literal = indent_of(line)
            if not above.rstrip().endswith("::"):
                new += [" " * indent_of(above) + "::", ""]
        if literal < 0 and line.strip():
            above = line
        new.append(line if literal >= 0 or line.lstrip().startswith((">>>", "..")) else escaped(line))
    return new


def is_item(line: str) -> bool:
    return bool(re.match(r"\s*(?:[*+-]|\d+\.|\.\.) ", line))


def escaped(line: str) -> str:
    start = re.match(r"\s*(?:[*+-] )?", line)
    assert start
    return start[0] + MARKED.sub(lambda found: f"\\{found[0]}" if found["bare"] else found[0], line[start.end() :])


def rewrite(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what == "data" and not type(obj).__module__.startswith("surrogates"):
        lines.clear()  # what any dict or tuple says of itself
    new: list[str] = []
    for title, body in sections(lines):
        if title:
            new += [title, "-" * len(title)]
        new += prose(entries(body))
    lines[:] = new


def link(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.reference | None:
    """`HierarchicalGP` in any docstring, whose module doesn't have it, leads to the public class."""
    if node.get("reftype") != "obj" or node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    known = env.domains.python_domain.objects
    named = sorted((name for name in known if name.endswith(f".{target}")), key=lambda name: (name.count("."), name))
    if not named or not target[0].isupper():
        return None
    entry = known[named[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, named[0])


def plain(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Aliases of types by their names, which Sphinx wraps where they stand in a union."""
    wrapped = re.compile(r"~?[\w.]*TypeAliasForwardRef\('(\w+)'\)")
    return signature and wrapped.sub(r"\1", signature), returned and wrapped.sub(r"\1", returned)


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """Fields of named tuples, of which there is nothing to say but what the class says."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", plain)
    app.connect("missing-reference", link)
    app.connect("autodoc-process-docstring", rewrite, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
