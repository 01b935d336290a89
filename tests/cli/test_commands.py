"""The command line, as processes: from a CSV to predictions, and errors in one line."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from surrogates import FittedMultiFidelityGP, HierarchicalGP, Schema, load
from surrogates.cli import main
from surrogates.cli.tables import read_table
from surrogates.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two parts and two gauges, places to ask at, and the model that the command line makes of it."""
    path = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 10, 40), rng.uniform(0, 5, 40)
    part, gauge = np.array(["A", "B"])[np.arange(40) % 2], np.array(["probe", "laser"])[(np.arange(40) // 2) % 2]
    height = np.sin(x) + 0.2 * y + np.where(gauge == "probe", 0.01, 0.1) * rng.standard_normal(40)
    frame = pd.DataFrame({"x": x, "y": y, "part": part, "gauge": gauge, "height": height})
    frame.to_csv(path / "table.csv", index=False)
    pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1.0, 1.0, 2.0], "part": ["A", "B", "B"]}).to_csv(
        path / "places.csv", index=False
    )
    command = (
        "fit table.csv --inputs x y --target height --task part --fidelity gauge --units height=um x=mm -o m.surrogate"
    )
    done = call(path, *command.split())
    assert done.returncode == 0, done.stderr
    assert "converged" in done.stdout
    return path


class Done(NamedTuple):
    """How a command ended and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def call(folder: Path, *arguments: str) -> Done:
    """Run a command in this process, as if in that folder."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def test_the_command_is_a_process(folder: Path) -> None:
    command = [sys.executable, "-m", "surrogates", "predict", "m.surrogate", "places.csv"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == call(folder, "predict", "m.surrogate", "places.csv").stdout


def test_a_fit_is_the_one_that_python_makes(folder: Path) -> None:
    fitted = load(folder / "m.surrogate")
    data = xr.Dataset.from_dataframe(pd.read_csv(folder / "table.csv"))
    data["height"].attrs["units"], data["x"].attrs["units"] = "um", "mm"
    schema = Schema(inputs=("x", "y"), target="height", task="part", fidelity="gauge")
    expected = HierarchicalGP(schema).fit(data)
    at = xr.Dataset({"x": ("n", [1.0], {"units": "mm"}), "y": ("n", [2.0]), "part": ("n", ["B"])})
    xr.testing.assert_identical(fitted.predict(at), expected.predict(at))


def test_predictions_go_to_the_screen_or_a_file(folder: Path) -> None:
    shown = call(folder, "predict", "m.surrogate", "places.csv")
    assert (shown.returncode, shown.stderr) == (0, "")
    frame = pd.read_csv(io.StringIO(shown.stdout))
    assert {"x", "y", "part", "mean", "std"} <= set(frame.columns)
    places = xr.Dataset.from_dataframe(pd.read_csv(folder / "places.csv"))
    places["x"].attrs["units"] = "mm"
    fitted = load(folder / "m.surrogate").predict(places)
    means = frame.groupby(["x", "part"], sort=False)["mean"].first()
    np.testing.assert_allclose(means, fitted["mean"])
    for name in ("out.csv", "out.nc"):
        done = call(folder, "predict", "m.surrogate", "places.csv", "-o", name)
        assert (done.returncode, done.stdout) == (0, "")
    np.testing.assert_allclose(xr.open_dataset(folder / "out.nc")["mean"], fitted["mean"])
    assert xr.open_dataset(folder / "out.nc")["mean"].attrs["units"] == "um"


def test_report_and_its_picture(folder: Path) -> None:
    done = call(folder, "report", "m.surrogate", "--picture", "health.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "height" in done.stdout
    assert (folder / "health.png").read_bytes()[:4] == b"\x89PNG"


def test_fidelities_with_functions_of_their_own(tmp_path: Path) -> None:
    x = np.concatenate([np.linspace(0, 1, 9), np.linspace(0, 1, 5)])
    code = np.repeat([1, 2], [9, 5])
    pd.DataFrame({"x": x, "code": code, "f": np.where(code == 1, np.sin(6 * x), 2 * np.sin(6 * x) + x)}).to_csv(
        tmp_path / "t.csv", index=False
    )
    command = "fit t.csv --inputs x --target f --fidelity code --fidelities 1 2 -o m.surrogate"
    done = call(tmp_path, *command.split())
    assert done.returncode == 0, done.stderr
    fitted = load(tmp_path / "m.surrogate")
    assert isinstance(fitted, FittedMultiFidelityGP)
    assert fitted.schema == Schema(inputs="x", target="f", fidelity="code")
    assert fitted.vocabulary.fidelities == (1, 2)
    at = xr.Dataset({"x": ("n", [0.3, 0.6])})
    np.testing.assert_allclose(fitted.predict(at)["mean"], 2 * np.sin(6 * at["x"]) + at["x"], atol=0.3)


def test_the_explorer_is_served(folder: Path) -> None:
    command = [sys.executable, "-m", "surrogates", "explore", "m.surrogate", "--no-browser"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[0]
            with urllib.request.urlopen(url) as page:
                assert b"surrogates" in page.read()
        finally:
            process.terminate()
            time.sleep(0.1)


def test_examples_are_listed_from_anywhere_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "foreign.py").write_text("print(1)")
    done = call(tmp_path, "examples", "list")
    assert done.returncode == 0
    assert "engine_surfaces" in done.stdout
    assert "foreign" not in done.stdout


def test_copies_of_installed_examples_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "surrogates"
    (package / "examples").mkdir(parents=True)
    (package / "examples" / "one.py").write_text("from two import said\nprint(said)")
    (package / "examples" / "two.py").write_text("said = 'as installed'")
    monkeypatch.setattr("surrogates.cli.app._PACKAGE", package)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "argv", sys.argv)
    first = call(tmp_path, "examples", "run", "one")
    assert (first.returncode, first.stdout) == (0, "as installed\n")
    copy = tmp_path / "surrogates-examples" / "one.py"
    assert first.stderr == f"running {copy}\n"
    copy.write_text("import nowhere.at_all")
    lacking = call(tmp_path, "examples", "run", "one")
    assert lacking.returncode == 2
    assert "error: the example 'one' needs nowhere, which isn't installed" in lacking.stderr
    copy.write_text("print('mine')")
    assert call(tmp_path, "examples", "run", "one", "--help").stdout == "mine\n"  # its own, which it doesn't have
    second = call(tmp_path, "examples", "run", "one")
    assert (second.returncode, second.stdout) == (0, "mine\n")
    assert second.stderr == f"running {copy}, which differs from the one installed\n"


def test_a_column_may_be_called_row(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 12)
    pd.DataFrame({"row": x, "y": np.sin(5 * x)}).to_csv(tmp_path / "t.csv", index=False)
    command = "fit t.csv --inputs row --target y -o m"
    assert call(tmp_path, *command.split()).returncode == 0
    frame = pd.read_csv(io.StringIO(call(tmp_path, "predict", "m", "t.csv").stdout))
    assert list(frame.columns) == ["row", "mean", "std", "noise_std"]
    np.testing.assert_array_equal(frame["row"], x)


def test_commas_at_the_ends_of_rows_move_no_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2,\n3,4,\n")
    data = read_table(tmp_path / "t.csv")
    assert (data["x"].values.tolist(), data["y"].values.tolist()) == ([1, 3], [2, 4])


def test_numbers_of_rows_are_no_columns_of_a_netcdf_either(folder: Path) -> None:
    places = xr.Dataset.from_dataframe(pd.read_csv(folder / "places.csv")).drop_vars("index")
    places.to_netcdf(folder / "places.nc")
    assert call(folder, "predict", "m.surrogate", "places.nc") == call(folder, "predict", "m.surrogate", "places.csv")


#: command, words of the error
WRONG = [
    ("fit nothing.csv --inputs x --target y -o m", "there is no file nothing.csv"),
    ("fit table.txt --inputs x --target y -o m", "table.txt ends in '.txt'; tables end in one of"),
    ("fit empty.csv --inputs x --target y -o m", "empty.csv can't be read as a table"),
    ("fit header.csv --inputs x --target y -o m", "header.csv has no rows"),
    ("fit table.csv --inputs z --target height -o m", "table.csv has no column 'z'; it has 'x', 'y'"),
    ("fit german.csv --inputs x --target y -o m", "it has 'x;y'; columns of a .csv are separated by commas"),
    ("fit comma.csv --inputs x --target y -o m", "comma.csv has rows of more cells than its header; columns of a .csv"),
    ("fit long.csv --inputs x --target y -o m", "long.csv has rows of more cells than its header"),
    ("fit table.csv --inputs x --target height --units x -o m", "units are given as 'x'; COLUMN=UNIT is wanted"),
    ("fit table.csv --inputs x --target height --units q=mm -o m", "units name 'q', which isn't a column"),
    ("fit table.csv --inputs x --target height --fidelities a b -o m", "no column is named by --fidelity"),
    ("fit table.csv --inputs x --target height --fidelity gauge --fidelities a b -o m", "fidelities name 'a'"),
    ("fit table.csv --inputs part --target height -o m", "part"),
    ("predict missing.surrogate places.csv", "there is no file missing.surrogate"),
    ("predict table.csv places.csv", "table.csv"),
    ("predict m.surrogate table.txt", "ends in '.txt'"),
    ("fit table.csv --inputs x --target height -o nowhere/m", "nowhere/m can't be written: there is no folder"),
    ("fit table.csv --inputs x --target height -o .", ". can't be written: it is a folder"),
    ("predict m.surrogate places.csv -o nowhere/a.csv", "nowhere/a.csv can't be written: there is no folder"),
    ("report m.surrogate --picture nowhere/a.png", "nowhere/a.png can't be written: there is no folder"),
    ("report m.surrogate --picture a.xyz", "a.xyz can't be drawn: Format 'xyz' is not supported"),
    ("examples run nothing", "there is no example 'nothing'; there are"),
]


@pytest.mark.parametrize(("command", "words"), WRONG)
def test_errors_are_one_line(
    command: str, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "table.txt").write_text("x y\n1 2\n")
    (folder / "empty.csv").write_text("")
    (folder / "german.csv").write_text("x;y\n1.5;2.5\n")
    (folder / "comma.csv").write_text("x;y\n1,5;2,5\n")
    (folder / "long.csv").write_text("x,y\n1,2,3\n4,5,6\n")  # the first cells aren't names of rows
    (folder / "header.csv").write_text("x,y\n")
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert said.count("\n") == 1
    assert not (folder / "m").exists()


def test_a_missing_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "table.csv", "--inputs", "x"])
    assert ended.value.code == 2
    assert "--target" in capsys.readouterr().err


def test_without_typer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "surrogates.cli.app", raising=False)
    with pytest.raises(SystemExit, match=r"typer is not installed.*multitask-surrogates\[cli\]"):
        main(["report", "m"])


def test_an_unknown_place_says_which_columns_are_missing(folder: Path) -> None:
    (folder / "few.csv").write_text("x\n1\n")
    done = call(folder, "predict", "m.surrogate", "few.csv")
    assert done.returncode == 2
    assert "'y'" in done.stderr
    assert DataError.__name__ not in done.stderr
