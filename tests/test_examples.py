"""Every example runs as a user would run it, and leaves what it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surrogates import load

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, folder: Path, *options: str) -> tuple[str, Path]:
    """What an example prints, and the folder it writes to; run from a copy, which leaves the checkout alone."""
    script = shutil.copy(EXAMPLES / name, folder)
    done = subprocess.run([sys.executable, script, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder / "output"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return run("engine_surfaces.py", tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return run("optimal_control.py", tmp_path_factory.mktemp("control"), "--steps", "200")


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


def test_optimal_control_compares_its_roads(control: tuple[str, Path]) -> None:
    table = pd.read_csv(control[1] / "optimal_control.csv", index_col="road")
    assert set(table["problem"]) == {"van_der_pol"}
    assert str(control[1]) in control[0]
    assert table["error of u"].drop("paper mode, 200 steps").max() < 1e-7
    assert table["error of u"]["paper mode, 200 steps"] > 1e-3
    judged = table.dropna(subset=["certified error of u"])
    assert (judged["certified error of u"] > 0.1 * judged["error of u"]).all()  # no answer is called better than it is


def test_optimal_control_leaves_its_figures(control: tuple[str, Path]) -> None:
    for name in ("optimal_control.png", "optimal_control_family.png"):
        assert (control[1] / name).stat().st_size > 20_000


def test_optimal_control_families_pay_after_few_queries(control: tuple[str, Path]) -> None:
    table = pd.read_csv(control[1] / "optimal_control_family.csv", index_col="cases")
    assert table["error of u, median"].is_monotonic_decreasing
    assert table["polished, largest"].max() < 1e-8


@pytest.mark.slow
def test_virtual_battery_meets_newcomers_and_keeps_its_promises(tmp_path: Path) -> None:
    printed, output = run("virtual_battery.py", tmp_path)
    table = pd.read_csv(output / "virtual_battery.csv", index_col=0, header=[0, 1])
    ours, alone = (table["K"].T[name].to_numpy(dtype=np.float64) for name in ("VirtualBatteryNet", "ARX(8), own data"))
    assert (ours < alone).all()
    assert "the fleet's promises at midnight" in printed
    assert (output / "virtual_battery.png").stat().st_size > 50_000
    net = load(output / "virtual_battery.surrogate")
    assert len(net.population.units) == 12
    assert net.report.is_success == ("all fits converged" in printed)


@pytest.mark.slow
def test_molecular_properties_shares_what_helps(tmp_path: Path) -> None:
    printed, output = run("molecular_properties.py", tmp_path, "--quick")
    table = pd.read_csv(output / "molecular_properties.csv")
    error = table.pivot_table(index=["labels", "property"], columns="sharing", values="error")
    change = (error["auto"] / error["single"] - 1).groupby("labels").mean()
    assert (change < 0.02).all()
    assert change.min() < 0
    assert "one more property from 32 labels" in printed
    for name in ("molecular_properties.png", "molecular_properties_affinity.png"):
        assert (output / name).stat().st_size > 30_000
    net = load(output / "molecular_properties.surrogate")
    assert net.predict(["CCO"]).sel(property="boiling_point")["mean"].item() == pytest.approx(351.4, abs=60)


@pytest.mark.slow
def test_molecular_fidelities_make_few_expensive_labels_do(tmp_path: Path) -> None:
    printed, output = run("molecular_fidelities.py", tmp_path, "--quick")
    assert (output / "molecular_fidelities.png").stat().st_size > 20_000
    row = next(line.split() for line in printed.splitlines() if line.startswith("gap"))
    alone, _, _, together = map(float, row[2:])
    assert together < 0.8 * alone


@pytest.mark.slow
def test_multi_fidelity_gains_where_cheap_values_are_good(tmp_path: Path) -> None:
    printed, output = run("multi_fidelity.py", tmp_path, "--quick")
    assert (output / "multi_fidelity.png").stat().st_size > 50_000
    table = pd.read_csv(output / "multi_fidelity.csv")
    mean = table.groupby(["measured", "method"])["error"].mean().unstack()
    assert mean["both"][10] < 0.8 * mean["measured alone"][10]
    assert mean["Joback's estimate"][10] == pytest.approx(mean["Joback's estimate"][40])  # needs no measurement
    ratio = {line.split(":")[0]: float(line.split()[-1]) for line in printed.splitlines() if "error without" in line}
    assert ratio["Forrester"] < 0.1
    assert ratio["nonlinear sine"] < 1.1


@pytest.mark.slow
def test_old_tasks_save_evaluations_of_a_new_one(tmp_path: Path) -> None:
    """Run by the example of all design loops, which finds its parts beside it."""
    for name in ("design_metrology.py", "design_transfer.py", "design_sizing.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    printed, output = run("design_loop.py", tmp_path, "--parts", "transfer")
    assert "=== transfer ===" in printed
    rows = (line.split("[") for line in printed.splitlines() if "median " in line and "[" in line)
    counts = {name.strip(): np.fromstring(rest.split("]")[0], sep=",") for name, rest in rows}
    assert counts["HierarchicalGP"].sum() <= 0.6 * counts["SingleTaskGP"].sum()
    assert (counts["random search"] > counts["HierarchicalGP"]).all()
    assert (output / "design_transfer.png").stat().st_size > 50_000
