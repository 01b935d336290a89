"""Mutants of the library's own functions, and which tests run the lines that they change.

The changes are mutmut's (operators, numbers, arguments, conditions, texts); here they're drawn at random with a seed,
since all of them together would take days. A change of a function is put in the place of its code while the process
runs, so that nothing is imported anew.
"""

from __future__ import annotations

import ast
import gc
import importlib
import inspect
import itertools
import random
from collections.abc import Collection, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import NamedTuple

import coverage
import libcst as cst
from mutmut.mutation.file_mutation import Mutation, create_mutations

ROOMS = {
    "base": ("surrogates/*.py", "surrogates/health/*.py"),
    "gp": ("surrogates/gp/**/*.py",),
    "training": ("surrogates/training/**/*.py",),
}


class Mutant(NamedTuple):
    """One change of one function: `before` and `after` are the changed lines, `source` the whole module as changed.

    `of_text`: only a constant text changed, which for the most part a person reads and no program does.
    """

    path: str
    line: int
    function: str
    before: str
    after: str
    source: str
    of_text: bool


def modules(root: Path, room: str) -> list[str]:
    found = {path.relative_to(root).as_posix() for pattern in ROOMS[room] for path in root.glob(pattern)}
    return sorted(path for path in found if not path.endswith("__main__.py"))


def load(root: Path, room: str) -> None:
    """Import all modules of a room, so that their functions are there to be changed, also those that are imported late."""
    for path in modules(root, room):
        importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))


def draw(root: Path, room: str, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of a room, all changes of all its functions equally likely.

    Raises
    ------
    ValueError
        The room has fewer than `count`.
    """
    changes = {path: _changes(root, path) for path in modules(root, room)}
    everything = [(path, index) for path, (_, found) in changes.items() for index in range(len(found))]
    random.Random(seed).shuffle(everything)
    made = (_mutant(root, path, changes[path][0], changes[path][1][index]) for path, index in everything)
    drawn = list(itertools.islice((mutant for mutant in made if mutant is not None), count))
    if len(drawn) < count:
        raise ValueError(f"the room {room!r} has {len(drawn)} mutants, {count} were asked for; ask for at most those")
    return drawn


def _changes(root: Path, path: str) -> tuple[cst.Module, list[Mutation]]:
    module, mutations, _, _ = create_mutations(path, (root / path).read_text())
    return module, [
        mutation for mutation in mutations if isinstance(mutation.contained_by_top_level_function, cst.FunctionDef)
    ]


def _mutant(root: Path, path: str, module: cst.Module, change: Mutation) -> Mutant | None:
    """The mutated module; None if it doesn't compile or is the same."""
    source = module.deep_replace(change.original_node, change.mutated_node).code
    old, new = (root / path).read_text().splitlines(), source.splitlines()
    first = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
    if first is None or not _compiles(source) or not _changed(root / path, source):
        return None
    tail = next(i for i, (a, b) in enumerate(zip(reversed(old), reversed(new), strict=False)) if a != b)
    tail = min(tail, len(old) - first - 1, len(new) - first - 1)
    before, after = ("\n".join(lines[first : len(lines) - tail]) for lines in (old, new))
    function = change.contained_by_top_level_function
    of_text = isinstance(change.original_node, cst.BaseString)
    return Mutant(path, first + 1, function.name.value if function else "", before, after, source, of_text)


def put_in(root: Path, mutant: Mutant) -> bool:
    """Give every function that the mutant changes its new code; False if none is there, as where it was made and dropped."""
    path = (root / mutant.path).resolve()
    changed = _changed(path, mutant.source)
    found = False
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_qualname in changed:
            new = changed[thing.__code__.co_qualname]
            if Path(thing.__code__.co_filename).resolve() == path and thing.__code__.co_freevars == new.co_freevars:
                thing.__code__ = new
                found = True
    return found


class Coverage:
    """Which tests run which lines, from a run of pytest with ``--cov --cov-context=test``."""

    def __init__(self, file: Path, seconds: dict[str, float]) -> None:
        self._data = coverage.CoverageData(str(file))
        self._data.read()
        self.seconds = seconds
        self._lines: dict[str, dict[int, list[str]]] = {}
        self.files = {name.partition("::")[0] for name in self._data.measured_contexts() if name}

    def tests(self, root: Path, mutant: Mutant, collected: Collection[str]) -> list[str]:
        """The collected tests that run the mutated statement: first of files named after the module; quick ones first."""
        if mutant.path not in self._lines:
            self._lines[mutant.path] = self._data.contexts_by_lineno(mutant.path)
        lines = _statement(ast.parse((root / mutant.path).read_text()), mutant.line)
        contexts = {name for line in lines for name in self._lines[mutant.path].get(line, ())}
        names = {name.rpartition("|")[0] for name in contexts if name}
        # what a fixture runs, it may run for all tests of its file
        files = {name.partition("::")[0] for name in contexts if name.endswith("|setup")}
        names |= {test for test in collected if test.partition("::")[0] in files}
        stem = Path(mutant.path).stem

        def rank(name: str) -> tuple[bool, float, str]:
            return stem not in Path(name.partition("::")[0]).stem, self.seconds.get(name, 0.0), name

        return sorted(names.intersection(collected), key=rank)


def _changed(path: Path, source: str) -> dict[str, CodeType]:
    """New code of the functions that differ, by their qualified names."""
    before = {code.co_qualname: code for code in _codes(compile(path.read_text(), str(path), "exec"))}
    after = {code.co_qualname: code for code in _codes(compile(source, str(path), "exec"))}
    return {name: code for name, code in after.items() if before.get(name, code) != code}


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of all functions inside, not that of the bodies of classes, which has run."""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & inspect.CO_OPTIMIZED:
                yield inner
            yield from _codes(inner)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _statement(tree: ast.Module, line: int) -> range:
    """The lines of the smallest statement around a line; of a compound one those of its head."""
    best = range(line, line + 1)
    size = 10**9
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.ExceptHandler) and node.lineno <= line <= (node.end_lineno or node.lineno):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else (node.end_lineno or node.lineno)
            if line <= max(end, node.lineno) and end - node.lineno < size:
                best, size = range(node.lineno, max(end, node.lineno) + 1), end - node.lineno
    return best
