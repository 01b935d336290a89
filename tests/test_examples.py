"""Every example runs as a user would run it, and leaves what it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from surrogates import load

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the engine study prints, and the folder it writes to; run from a copy, which leaves the checkout alone."""
    folder = tmp_path_factory.mktemp("examples")
    script = shutil.copy(EXAMPLES / "engine_surfaces.py", folder)
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder / "output"


def test_engine_surfaces_prints_its_report_and_where_its_files_are(engine: tuple[str, Path]) -> None:
    printed, output = engine
    assert "noise (standard deviation, unresolved detail included)" in printed
    assert str(output) in printed


def test_engine_surfaces_beats_models_that_ignore_parts_or_gauges(engine: tuple[str, Path]) -> None:
    table = pd.read_csv(engine[1] / "engine_surfaces.csv", index_col="model")
    assert table["gain of ours [%]"].drop(["hierarchical (ours)", "paper mode (NIW-EM)"]).min() > 5
    assert table["NLPD"].idxmin() == "hierarchical (ours)"


def test_engine_surfaces_leaves_a_figure_and_a_model(engine: tuple[str, Path]) -> None:
    assert (engine[1] / "engine_surfaces.png").stat().st_size > 50_000
    assert load(engine[1] / "engine_surfaces.surrogate").report.is_success
