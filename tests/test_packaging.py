"""What is built, installed and run in CI is what the tree and the README say."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEW_ENVIRONMENT = "python3 -m venv .venv && "


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, so that building leaves nothing behind in the real one."""
    copy = tmp_path_factory.mktemp("checkout") / "copy"
    unwanted = shutil.ignore_patterns(
        ".venv*", ".git", "*.egg-info", "build", "dist", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, copy, symlinks=True, ignore=unwanted)
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", checkout.parent / "dist", ".", cwd=checkout)
    return checkout.parent / "dist"


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    target = built.parent / "installed"
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=built)
    return target


def modules_of(root: Path) -> set[str]:
    """Files of the three folders under their installed names; rglob doesn't follow the two links."""
    files = {
        f"surrogates/{path.relative_to(root / 'surrogates').as_posix()}" for path in (root / "surrogates").rglob("*.py")
    }
    for folder in ("physics", "datasets"):
        files |= {f"surrogates/{path.relative_to(root).as_posix()}" for path in (root / folder).rglob("*.py")}
    return files | {f"surrogates/examples/{path.name}" for path in (root / "examples").glob("*.py")}


def test_only_surrogates_is_installed(installed: Path) -> None:
    names = sorted(path.name for path in installed.iterdir())
    assert len(names) == 3, names
    assert (names[0], names[2]) == ("bin", "surrogates")
    assert re.fullmatch(r"multitask_surrogates-[\w.]+\.dist-info", names[1])
    assert [path.name for path in (installed / "bin").iterdir()] == ["surrogates"]  # the command line


def test_every_module_is_installed_as_a_real_file_and_nothing_else(checkout: Path, installed: Path) -> None:
    files = {path.relative_to(installed).as_posix() for path in (installed / "surrogates").rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    data = {f"surrogates/{path.relative_to(checkout).as_posix()}" for path in (checkout / "datasets").rglob("*.nc.gz")}
    assert files == modules_of(checkout) | data | {"surrogates/py.typed"}
    assert "surrogates/datasets/rooms/data/rooms_0.nc.gz" in data
    assert not any(path.is_symlink() for path in installed.rglob("*"))
    assert {"surrogates/physics/__init__.py", "surrogates/datasets/__init__.py"} <= files


def test_the_installed_packages_import(installed: Path, tmp_path: Path) -> None:
    packages = ("surrogates", "surrogates.physics", "surrogates.datasets")
    code = f"import importlib as i\nfor name in {packages}: print(i.import_module(name).__file__)"
    done = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert [Path(name).relative_to(installed).as_posix() for name in done.stdout.split()] == [
        f"surrogates/{middle}__init__.py" for middle in ("", "physics/", "datasets/")
    ]


def test_the_installed_examples_are_run_as_copies(installed: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "surrogates", "examples")
    listed = run(*command, "list", cwd=tmp_path, PYTHONPATH=str(installed)).stdout
    assert {line.split()[0] for line in listed.splitlines()} == {path.stem for path in (ROOT / "examples").glob("*.py")}
    done = run(*command, "run", "engine_surfaces", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    copy = tmp_path / "surrogates-examples" / "engine_surfaces.py"
    assert "usage: engine_surfaces.py" in done.stdout  # the script's own help
    assert done.stderr == f"running {copy}\n"
    assert copy.read_bytes() == (ROOT / "examples" / "engine_surfaces.py").read_bytes()
    assert (copy.parent / "design_metrology.py").is_file()  # scripts that run others find them


def test_the_wheel_is_small(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 25e6


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_tree(checkout: Path, built: Path) -> None:
    direct = built.parent / "direct"
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", direct, ".", cwd=checkout)
    (one,), (other,) = built.glob("*.whl"), direct.glob("*.whl")
    assert one.name == other.name
    contents = [{entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist()} for wheel in (one, other)]
    record = next(name for name in contents[0] if name.endswith("/RECORD"))
    assert contents[0].pop(record) is not None
    assert contents[1].pop(record) is not None
    assert contents[0] == contents[1]


def test_the_sdist_holds_no_links_and_nothing_outside_its_folder(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    assert {member.name.split("/")[0] for member in members} == {sdist.name.removesuffix(".tar.gz")}
    assert {"LICENSE", "README.md", "pyproject.toml"} <= {member.name.split("/")[-1] for member in members}


# --- continuous integration ---


def readme_test_command() -> str:
    """The README's one-line test command, without the making of the environment."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text("utf-8").splitlines()]
    (command,) = {line.strip("`") for line in lines if NEW_ENVIRONMENT in line and line.endswith("pytest")}
    assert command.startswith(NEW_ENVIRONMENT)
    return command.removeprefix(NEW_ENVIRONMENT)


def test_ci_runs_exactly_the_readme_test_command() -> None:
    command = readme_test_command()
    assert command == '.venv/bin/pip install -c constraints.txt -e ".[test]" && .venv/bin/pytest'
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines()]
    assert lines.count(command) == 1
    assert lines.index("python3 -m venv --clear .venv") < lines.index(command)


STEPS = ("pip install", "pytest", "pytest -m slow tests/docs", "ruff check", "ruff format", "mypy")


@pytest.mark.parametrize("failing", [None, *STEPS])
def test_ci_stops_at_the_first_failure(tmp_path: Path, failing: str | None) -> None:
    """.ci/run with stand-ins for its programs, which write down that they were called."""
    stand_in = f"""#!/usr/bin/env bash
echo "$(basename "$0") $*" >> '{tmp_path}/calls'
case "$(basename "$0") $*" in "{failing}"*) exit 1;; esac
"""
    programs = "pip pytest ruff mypy"
    makes_others = f"mkdir -p .venv/bin; for name in {programs}; do cp '{tmp_path}/stand_in' .venv/bin/$name; done\n"
    for folder in ("copy/.ci", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in (("stand_in", stand_in), ("bin/python3", stand_in + makes_others)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    shutil.copy(ROOT / ".ci" / "run", tmp_path / "copy" / ".ci" / "run")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [tmp_path / "copy" / ".ci" / "run"], env=os.environ | {"PATH": path}, cwd=tmp_path, check=False
    )
    calls = (tmp_path / "calls").read_text().splitlines()
    wanted = STEPS if failing is None else STEPS[: STEPS.index(failing) + 1]
    assert calls[0] == "python3 -m venv --clear .venv"
    assert [max((step for step in STEPS if call.startswith(step)), key=len) for call in calls[1:]] == list(wanted)
    assert (done.returncode == 0) == (failing is None)


def test_ci_is_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & stat.S_IXUSR


def test_constraints_pin_plain_public_versions() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert len(pins) == len(lines)
    assert list(pins) == sorted(pins)
    for name, version in pins.items():
        assert re.fullmatch(r"[a-z0-9-]+", name), name
        assert re.fullmatch(r"[0-9]+(\.[0-9]+)*(\.?(post|rc)[0-9]+)?", version), f"{name}=={version}"  # no +local
    assert {"torch", "gpytorch", "xarray", "numpy", "pytest", "botorch", "distributed"} <= pins.keys()
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
