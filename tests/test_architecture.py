"""The layers, read from the source: imports point downwards only, and the tree is what pyproject says.

Each check takes the root of a checkout and returns what is wrong there, so that it can be tried on a small bad tree.
"""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

GROUND = {"errors", "counts", "random", "progress", "structures"}
BASE = GROUND | {"schema", "units", "posterior", "scaling", "linalg", "metrics", "report", "persistence", "plots"}
BASE |= {"figures", "labels", "variables", "vectors", "calibration", "health", "explore"}
FAMILIES = {"gp", "control", "battery", "molecules"}
BELOW_DESIGN = BASE | {"training", "networks"} | FAMILIES
TOP = {"loading", "__init__", "__main__", "cli"}
#: Which rooms each room may import, besides itself. A room that isn't here has no place yet: give it one.
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    **dict.fromkeys(BASE - GROUND, BASE),
    "physics": {"errors"},
    "datasets": {"errors", "physics", "structures"},
    "training": BASE,
    "networks": BASE | {"training"},
    **dict.fromkeys(FAMILIES, BASE | {"training", "networks", "physics"}),
    # few labels are learnt by Gaussian processes, with one more kernel instead of one more model
    "molecules": BASE | {"training", "networks", "gp"},
    "design": BELOW_DESIGN,
    **dict.fromkeys(TOP, BELOW_DESIGN | TOP | {"design", "datasets"}),
}
#: Heavy or optional packages, imported where they are used.
NEVER_AT_MODULE_LEVEL = {
    "botorch",
    "rdkit",
    "torchjd",
    "dask",
    "matplotlib",
    "openmdao",
    "pint",
    "pymoo",
    "emcee",
    "SALib",
}
ONLY_IN = {"gpytorch": "gp"}
#: Modules that subclass what an optional package offers; they are imported only where that package is wanted.
WRAPPERS = {
    "surrogates.design.botorch_wrapper": {"botorch", "gpytorch"},  # whose distributions BoTorch's posteriors hold
    "surrogates.design.openmdao_wrapper": {"openmdao"},
    "surrogates.design.pymoo_wrapper": {"pymoo"},
}
LINKS = {"physics": "../physics", "datasets": "../datasets"}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 450, 60
TOO_LONG_ALL_THE_SAME: set[str] = set()
SOURCES = ("surrogates", "physics", "datasets", "tests", "examples", "benchmarks")
TEXTS = {".py", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".json", ".rst", ""}
NOT_PORTABLE = re.compile(
    r"(?<![\w.])/(?:home|Users|root|tmp|work|opt|mnt)/\w|[A-Z]:\\Users"  # somebody's disk
    r"|pypi\.org/simple|pythonhosted\.|download\.pytorch\.|index[-]url|find[-]links|file[:]//"  # somebody's registry
)


class Import(NamedTuple):
    name: str  # absolute, with the imported attribute: "surrogates.gp.kernels.Matern"
    line: int
    at_module_level: bool
    for_types_only: bool


class Module(NamedTuple):
    name: str  # "surrogates.gp.kernels"; a package's __init__ has the package's name
    path: Path
    room: str
    imports: list[Import]


def imports_of(tree: ast.Module, package: str) -> Iterator[Import]:
    """All imports, also relative ones and those inside functions."""

    def walk(node: ast.AST, at_module_level: bool, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, at_module_level, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            yield from (
                Import(f"{origin}.{alias.name}", node.lineno, at_module_level, for_types) for alias in node.names
            )
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.iter_child_nodes(node):
            only = for_types or (types and child in node.body)  # type: ignore[attr-defined]
            yield from walk(child, at_module_level and not inside, only)

    yield from walk(tree, True, False)


def modules(root: Path) -> dict[str, Module]:
    found = {}
    for top, prefix in (("surrogates", ()), ("physics", ("surrogates",)), ("datasets", ("surrogates",))):
        for path in sorted((root / top).rglob("*.py")):  # rglob doesn't follow the links
            parts = [*prefix, *path.relative_to(root).with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            room = parts[1]
            parts = parts[:-1] if is_package else parts
            name = ".".join(parts)
            package = name if is_package else ".".join(parts[:-1])
            found[name] = Module(name, path, room, list(imports_of(ast.parse(path.read_text("utf-8")), package)))
    return found


def target(name: str, known: dict[str, Module]) -> str | None:
    """The module of ours that an import names, if any."""
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return name if name in known else None


def upward_imports(root: Path) -> list[str]:
    known, wrong = modules(root), []
    for module in known.values():
        if module.room not in MAY_IMPORT:
            wrong.append(f"{module.name}: the room {module.room!r} has no place in MAY_IMPORT")
            continue
        for entry in module.imports:
            other = target(entry.name, known)
            room = (
                known[other].room
                if other
                else entry.name.split(".")[1]
                if entry.name.startswith("surrogates.")
                else None
            )
            if room is not None and room != module.room and room not in MAY_IMPORT[module.room]:
                wrong.append(f"{module.name}:{entry.line} imports {entry.name}")
    return wrong


def import_cycles(root: Path) -> list[str]:
    known = modules(root)
    graph = {
        module.name: {
            other
            for entry in module.imports
            if entry.at_module_level
            and not entry.for_types_only
            and (other := target(entry.name, known))
            and other != module.name
        }
        for module in known.values()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def misplaced_packages(root: Path) -> list[str]:
    wrong = []
    for module in modules(root).values():
        for entry in module.imports:
            package = entry.name.split(".")[0]
            never = NEVER_AT_MODULE_LEVEL - WRAPPERS.get(module.name, set())
            if package in never and entry.at_module_level and not entry.for_types_only:
                wrong.append(f"{module.name}:{entry.line} imports {package} at module level")
            is_wrapper = package in WRAPPERS.get(module.name, set())
            if module.room != ONLY_IN.get(package, module.room) and not is_wrapper:
                wrong.append(f"{module.name}:{entry.line} imports {package}, which belongs to {ONLY_IN[package]}")
    return wrong


def packages_not_as_declared(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    declared = project["packages"]
    tree = [module.name for module in modules(root).values() if module.path.name == "__init__.py"]
    tree += ["surrogates.examples"] if (root / "examples").is_dir() else []  # scripts, which are installed to be run
    wrong = [f"pyproject's packages lack {name}" for name in tree if name not in declared]
    wrong += [f"pyproject's packages name {name}, which isn't there" for name in declared if name not in tree]
    wrong += [f"pyproject's packages name {name} twice" for name in set(declared) if declared.count(name) > 1]
    lacking = {path.parent for path in (module.path for module in modules(root).values())}
    return wrong + [
        f"{folder.relative_to(root)} has no __init__.py" for folder in lacking if not (folder / "__init__.py").exists()
    ]


def links_not_relative(root: Path) -> list[str]:
    links = {name: root / "surrogates" / name for name in LINKS}
    got = {name: os.readlink(link) if link.is_symlink() else None for name, link in links.items()}
    return [
        f"surrogates/{name} leads to {got[name]}, not to {LINKS[name]}" for name in LINKS if got[name] != LINKS[name]
    ]


def source_files(root: Path) -> Iterator[Path]:
    for folder in SOURCES:
        yield from sorted((root / folder).rglob("*.py"))


def too_long(root: Path) -> list[str]:
    """Lines of a file, and of a function without its docstring."""
    wrong = []
    for path in source_files(root):
        text, where = path.read_text("utf-8"), path.relative_to(root).as_posix()
        if len(text.splitlines()) > MOST_LINES:
            wrong.append(f"{where} has {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = node.body[0] if ast.get_docstring(node, clean=False) is not None else None
                saved = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - saved
                if lines > MOST_LINES_OF_A_FUNCTION:
                    wrong.append(f"{where}:{node.lineno} {node.name} has {lines} lines")
    return [entry for entry in wrong if entry.split()[0] not in TOO_LONG_ALL_THE_SAME]


def machine_names(root: Path) -> list[str]:
    wrong = []
    folders = [root / name for name in (*SOURCES, "docs", ".ci")]
    paths = [path for folder in folders for path in folder.rglob("*")] + list(root.iterdir())
    for path in paths:
        inside = path.relative_to(root).parts
        if (
            not path.is_file()
            or path.is_symlink()
            or path.suffix not in TEXTS
            or {"output", "__pycache__"} & set(inside)
        ):
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            if found := NOT_PORTABLE.search(line):
                wrong.append(f"{'/'.join(inside)}:{number} has {found[0]!r}")
    return wrong


CHECKS: list[Callable[[Path], list[str]]] = [
    upward_imports,
    import_cycles,
    misplaced_packages,
    packages_not_as_declared,
    links_not_relative,
    too_long,
    machine_names,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_checkout_keeps_the_rules(check: Callable[[Path], list[str]]) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("folder", ["physics", "datasets"])
def test_a_folder_is_not_importable_under_its_bare_name(folder: str) -> None:
    done = run(f"import {folder}")
    assert done.returncode == 1
    assert re.search(rf"ImportError: .*surrogates\.{folder}", done.stderr)
    assert run(f"import surrogates.{folder}").returncode == 0


def test_importing_the_library_imports_nothing_heavy() -> None:
    heavy = {"torch", "gpytorch", "scipy", "sklearn", *NEVER_AT_MODULE_LEVEL}
    done = run(f"import sys, surrogates; print(sorted({heavy!r} & set(sys.modules)))")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


# --- the checks find what they are there to find ---

#: check, file of the small tree, what is put into it, what is reported
PLANTED: list[tuple[Callable[[Path], list[str]], str, str, str]] = [
    (
        upward_imports,
        "surrogates/schema.py",
        "from surrogates.gp import kernels",
        "surrogates.schema:1 imports surrogates.gp.k",
    ),
    (upward_imports, "surrogates/schema.py", "from surrogates import gp", "surrogates.schema:1 imports surrogates.gp"),
    (
        upward_imports,
        "surrogates/schema.py",
        "import surrogates.gp.kernels as k",
        "surrogates.schema:1 imports surrogates.gp.ker",
    ),
    (
        upward_imports,
        "surrogates/schema.py",
        "from surrogates import Schema",
        "surrogates.schema:1 imports surrogates.Schema",
    ),
    (
        upward_imports,
        "surrogates/schema.py",
        "def f():\n    from . import gp",
        "surrogates.schema:2 imports surrogates.gp",
    ),
    (
        upward_imports,
        "surrogates/errors.py",
        "from .schema import x",
        "surrogates.errors:1 imports surrogates.schema.x",
    ),
    (
        upward_imports,
        "surrogates/gp/kernels.py",
        "from ..control import x",
        "surrogates.gp.kernels:1 imports surrogates.control",
    ),
    (
        upward_imports,
        "surrogates/gp/__init__.py",
        "from ..design import x",
        "surrogates.gp:1 imports surrogates.design.x",
    ),
    (
        upward_imports,
        "surrogates/training/a.py",
        "import surrogates.physics",
        "surrogates.training.a:1 imports surrogates.ph",
    ),
    (
        upward_imports,
        "physics/laws.py",
        "from surrogates.linalg import x",
        "surrogates.physics.laws:1 imports surrogates.lin",
    ),
    (upward_imports, "datasets/a.py", "from surrogates.gp import x", "surrogates.datasets.a:1 imports surrogates.gp.x"),
    (upward_imports, "surrogates/attic.py", "", "surrogates.attic: the room 'attic' has no place in MAY_IMPORT"),
    (import_cycles, "surrogates/gp/__init__.py", "from .kernels import x", "surrogates.gp"),
    (import_cycles, "surrogates/gp/other.py", "from surrogates.gp.kernels import x", "surrogates.gp.kernels -> "),
    (
        misplaced_packages,
        "surrogates/plots.py",
        "import matplotlib.pyplot as plt",
        "surrogates.plots:1 imports matplotlib at",
    ),
    (
        misplaced_packages,
        "surrogates/plots.py",
        "try:\n    import pint\nexcept: pass",
        "surrogates.plots:2 imports pint at",
    ),
    (misplaced_packages, "surrogates/plots.py", "class A:\n    import dask", "surrogates.plots:2 imports dask at"),
    (
        misplaced_packages,
        "surrogates/training/a.py",
        "def f(): import gpytorch",
        "surrogates.training.a:1 imports gpytorch, which",
    ),
    (packages_not_as_declared, "surrogates/gp/deep/__init__.py", "", "pyproject's packages lack surrogates.gp.deep"),
    (packages_not_as_declared, "physics/deep/__init__.py", "", "pyproject's packages lack surrogates.physics.deep"),
    (packages_not_as_declared, "surrogates/gp/deep/a.py", "", "surrogates/gp/deep has no __init__.py"),
    (too_long, "tests/test_a.py", "#\n" * 451, "tests/test_a.py has 451 lines"),
    (too_long, "examples/a.py", "class A:\n  def f():" + "\n    1" * 60, "examples/a.py:2 f has 61 lines"),
    (machine_names, "docs/a.md", "see /" + "home/me/notes", "docs/a.md:1 has '/" + "home/m'"),
    (machine_names, ".ci/run", "pip --index" + "-url x", ".ci/run:1 has 'index" + "-url'"),
    (machine_names, "constraints.txt", "a\nb @ file" + "://b", "constraints.txt:2 has 'file" + "://'"),
]
#: What is allowed: must not be reported.
FINE = {
    "surrogates/plots.py": "if TYPE_CHECKING:\n    import matplotlib\ndef f():\n    import matplotlib, pint",
    "surrogates/schema.py": "from surrogates.errors import x\ndef f():\n    from . import linalg",
    "surrogates/linalg.py": "from surrogates.schema import x",
    "surrogates/gp/kernels.py": "import gpytorch, surrogates.linalg\nfrom ..physics import laws\nfrom . import other",
    "surrogates/__init__.py": "def __getattr__(name):\n    from surrogates import gp, design, loading",
    "datasets/a.py": "from surrogates.physics.laws import x",
    "tests/test_a.py": "import matplotlib, surrogates\n" + "#\n" * 449,
    "examples/a.py": 'def f():\n    """\n' + "\n" * 80 + '    """' + "\n    1" * 59,
    "docs/a.md": "either/work/or ../tmp/x https://example.org/work/x",
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    for package in (
        "surrogates",
        "surrogates/gp",
        "surrogates/training",
        "physics",
        "datasets",
        "docs",
        "tests",
        "examples",
    ):
        (tmp_path / package).mkdir()
    for package in ("surrogates", "surrogates/gp", "surrogates/training", "physics", "datasets"):
        (tmp_path / package / "__init__.py").touch()
    for name in (
        "surrogates/gp/other.py",
        "physics/laws.py",
        *(f"surrogates/{room}.py" for room in ("errors", "linalg")),
    ):
        (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.setuptools]\npackages = ["surrogates", "surrogates.gp", "surrogates.training", "surrogates.physics",'
        ' "surrogates.datasets", "surrogates.examples"]\n'
    )
    for name, link in LINKS.items():
        (tmp_path / "surrogates" / name).symlink_to(link)
    for name, text in FINE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("check", CHECKS)
def test_what_is_allowed_is_not_reported(check: Callable[[Path], list[str]], small: Path) -> None:
    assert check(small) == []


@pytest.mark.parametrize(("check", "file", "text", "report"), PLANTED)
def test_what_is_planted_is_found(
    check: Callable[[Path], list[str]], file: str, text: str, report: str, small: Path
) -> None:
    (small / file).parent.mkdir(parents=True, exist_ok=True)
    (small / file).write_text(text)
    if check is import_cycles:  # kernels imports the package's __init__ and other
        (small / "surrogates/gp/kernels.py").write_text("from surrogates.gp import x\nfrom . import other")
    assert any(entry.startswith(report) for entry in check(small)), check(small)


def test_a_missing_package_and_a_wrong_link_are_found(small: Path) -> None:
    (small / "datasets" / "__init__.py").unlink()
    assert "pyproject's packages name surrogates.datasets, which isn't there" in packages_not_as_declared(small)
    (small / "surrogates" / "physics").unlink()
    (small / "surrogates" / "physics").symlink_to(small / "physics")
    assert links_not_relative(small) == [f"surrogates/physics leads to {small / 'physics'}, not to ../physics"]
