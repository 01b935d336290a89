"""Figures of the examples are fit for a paper, as drawn here from small fits; and each example has its entry in the docs."""

from __future__ import annotations

import csv
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from figure_checks import faults
from matplotlib.figure import Figure

from surrogates import plots

matplotlib.use("Agg")

ROOT = Path(__file__).parent.parent
EXAMPLES, DOCS = ROOT / "examples", ROOT / "docs"
TOLD = tomllib.loads((DOCS / "gallery.toml").read_text("utf-8"))
#: scripts that run other examples
WHOLES = {"gallery", "design_loop"}
NOWHERE = Path("nowhere")


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """Figures that examples would save."""
    found: list[Figure] = []
    monkeypatch.setattr(plots, "save", lambda figure, path: found.append(figure))
    yield found
    plt.close("all")


def checked(saved: list[Figure]) -> None:
    assert len(saved) == 1
    assert faults(saved[0]) == []


def scores(**keys: list[Any]) -> pd.DataFrame:
    """A table with a row for each combination, and errors that vary a little."""
    index = pd.MultiIndex.from_product(list(keys.values()), names=list(keys))
    values = 0.5 + 0.1 * np.random.default_rng(0).random(len(index))
    return pd.DataFrame({"error": values, "coverage": values + 0.3}, index=index).reset_index()


# --- figures ---


def test_engine_surfaces(saved: list[Figure]) -> None:
    engine = example("engine_surfaces")
    study = engine.engine_surfaces(seed=0, grid=(18, 9))
    fitted = engine.HierarchicalGP(engine.SCHEMA, integrate=False).fit(study.observed)
    engine.draw(study, fitted.predict(study.truth), NOWHERE)
    checked(saved)


def test_multi_fidelity(saved: list[Figure]) -> None:
    fidelities = example("multi_fidelity")
    data, alone = fidelities.by_function(fidelities.forrester, (12, 5), "ignore")
    methods = ["measured alone", "Joback's estimate", "line through the estimate", "both"]
    table = scores(measured=[10, 20, 40, 80], draw=[0, 1], method=methods)
    truth = np.linspace(200, 650, 30)
    shown = pd.DataFrame({"truth": truth, "alone": truth - 20, "both": truth + 5, "std": 9.0})
    fidelities.draw([("cheap and precise", data, alone, alone)] * 2, table, shown, NOWHERE)
    checked(saved)


def test_one_problem_of_optimal_control(saved: list[Figure]) -> None:
    control = example("optimal_control")
    problem = control.named_problem("van_der_pol").problem
    ours = control.OptimalControlNet().fit(problem)
    roads = list(control.roads(4000))
    errors = np.logspace(-12, -2, len(roads))
    table = pd.DataFrame({"error of u": errors, "certified error of u": 1.1 * errors}, index=roads)
    control.draw_single(ours, ours, control.solve(problem, tolerance=1e-6), table, NOWHERE)
    checked(saved)


def test_a_family_of_optimal_control(saved: list[Figure]) -> None:
    errors = {"median": 1e-6, "largest": 5e-6}
    columns = {f"error of u, {name}": value * np.array([1.0, 0.01, 1e-4]) for name, value in errors.items()}
    more = {"certified, median": [2e-6, 1e-8, 1e-10], "polished, largest": 1e-14, "offline [s]": [1.6, 1.9, 2.5]}
    table = pd.DataFrame(columns | more, index=[256, 512, 1024])
    example("optimal_control").draw_family(table, NOWHERE)
    checked(saved)


def test_virtual_battery(saved: list[Figure]) -> None:
    battery = example("virtual_battery")
    rng = np.random.default_rng(0)
    table = scores(method=[*battery.rivals(True), battery.OURS], share=list(battery.SHARES), unit=["a", "b", "c"])
    time = xr.date_range("2025-06-04T00:15", periods=96, freq="15min", use_cftime=False)
    middle = xr.DataArray(25 + np.sin(np.arange(96) / 15), coords={"time": time}, dims="time")
    forecast = xr.Dataset({"temperature": middle, "lower": middle - 0.5, "upper": middle + 0.5})
    days = xr.Dataset(
        {f"fleet_{name}": ("event", value * np.ones(4)) for name, value in
         {"promised": 20.0, "promised_lower": 18.0, "promised_upper": 22.5, "delivered": 21.0}.items()},
        coords={"event": pd.date_range("2025-09-03", periods=4, freq="7D")},
    )  # fmt: skip
    columns = {"loss [kW/K]": "loss", "sun, mean [kW]": "sun", "capacity [kWh/K]": "capacity"}
    numbers = pd.DataFrame({name: rng.lognormal(0, 0.5, 12) for short in columns.items() for name in short})
    numbers = numbers.rename(columns={short: f"true {short}" for short in columns.values()})
    battery.draw(
        table.rename(columns={"error": "K"}),
        forecast.assign_coords(unit="newcomer 01"),
        middle + 0.1,
        days,
        numbers,
        NOWHERE,
    )
    checked(saved)


PROPERTIES = [f"a property {k}" for k in range(11)]


def test_what_sharing_is_worth_to_molecules(saved: list[Figure]) -> None:
    table = scores(property=PROPERTIES, labels=[50, 100, 200], seed=[0, 1, 2], sharing=["auto", "single"])
    example("molecular_properties").draw_study(table, NOWHERE)
    checked(saved)


def test_relations_of_molecular_properties(saved: list[Figure]) -> None:
    draws = np.random.default_rng(0).uniform(-0.5, 1.0, (3, 11, 11))
    pairs = xr.DataArray(draws, dims=("draw", "property", "other"), coords={"property": PROPERTIES})
    example("molecular_properties").draw_pairs({"correlation": pairs, "policy": abs(pairs)}, NOWHERE)
    checked(saved)


def test_molecular_fidelities(saved: list[Figure]) -> None:
    methods = ["B3LYP alone", "line from xTB", "network, three levels", "process, three levels"]
    table = scores(property=["gap", "homo", "lumo", "dipole"], labels=[25, 50, 100, 200], seed=[0, 1], method=methods)
    example("molecular_fidelities").draw(table, NOWHERE)
    checked(saved)


def test_design_metrology(saved: list[Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    metrology = example("design_metrology")
    plans = {key: sizes[:1] for key, sizes in metrology.PLANS.items() if key in (("grid", 0.0), ("random", 1.0))}
    monkeypatch.setattr(metrology, "PLANS", plans)
    monkeypatch.setattr(metrology, "MOST", 48.0)
    monkeypatch.setattr(metrology, "DRAWS", 8)
    faces = metrology.blocks(0)
    states, readings = zip(*metrology.adaptive(0, faces), strict=True)
    metrology.draw(pd.DataFrame([*states, *metrology.planned(0, faces)]), readings[-1], faces, NOWHERE)
    checked(saved)


def test_design_transfer(saved: list[Figure]) -> None:
    transfer = example("design_transfer")
    rng = np.random.default_rng(0)
    new, tables = transfer.variant(rng), []
    for label, variant in (("old 0", transfer.variant(rng)), ("new", new)):
        x = rng.random((8, 2))
        tables.append(transfer.as_dataset(x, variant(x), inputs=["u", "v"], task=[label] * 8))
    data = xr.concat(tables, "sample").rename(task="variant", sample="observation")
    curves = {name: [np.geomspace(1, 0.01, n) for n in (8, 24)] for name in transfer.LOOKS}
    transfer.draw(curves, new, data, NOWHERE)
    checked(saved)


def test_design_sizing(saved: list[Figure]) -> None:
    sizing = example("design_sizing")
    time = xr.date_range("2025-06-04T00:15", periods=96, freq="15min", use_cftime=False)
    at = xr.DataArray(25 + np.sin(np.arange(96) / 15), coords={"time": time}, dims="time")
    price = ("time", sizing.tariff(at["time"]))
    day = xr.Dataset({"temperature": at, "set_point": at.round(), "price": price})
    sizing.draw(sizing.beams(range(2)), day, xr.Dataset({"lower": at - 1, "upper": at + 1}), 25.0, NOWHERE)
    checked(saved)


# --- the gallery ---


def scripts() -> list[str]:
    return sorted({path.stem for path in EXAMPLES.glob("*.py")} - WHOLES)


def test_every_example_is_run_by_the_gallery_and_has_an_entry_with_figures() -> None:
    assert sorted(example("gallery").EXAMPLES) == sorted(TOLD) == scripts()
    with (DOCS / "gallery_times.csv").open(encoding="utf-8", newline="") as file:
        seconds = {row["example"]: float(row["processor seconds"]) for row in csv.DictReader(file)}
    assert sorted(seconds) == scripts()
    assert sum(seconds.values()) / 2 < 600  # two at a time
    for name in scripts():
        assert TOLD[name]["data"]
        assert TOLD[name]["figures"], name
        for figure, caption in TOLD[name]["figures"].items():
            assert figure.startswith(name)
            assert len(caption) > 80, f"the caption of {figure} says little"
            assert f'"{figure}' in (EXAMPLES / f"{name}.py").read_text("utf-8"), f"{name} doesn't save {figure}"


def test_pictures_of_the_docs_are_there_and_small() -> None:
    pictures = {path.stem: path.stat().st_size for path in (DOCS / "images").glob("*.png")}
    figures = {figure for told in TOLD.values() for figure in told["figures"]}
    assert figures <= set(pictures)
    assert max(pictures.values()) <= 250_000


def test_the_gallery_runs_what_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = example("gallery")
    for folder in ("output", "docs/images"):
        (tmp_path / folder).mkdir(parents=True)
    for name, value in {"HERE": tmp_path, "OUTPUT": tmp_path / "output", "DOCS": tmp_path / "docs"}.items():
        monkeypatch.setattr(gallery, name, value)
    draw = "from PIL import Image; Image.new('RGB', (30, 60)).save('output/design_sizing.png')"
    (tmp_path / "design_sizing.py").write_text(f"import os; os.chdir({str(tmp_path)!r}); {draw}")
    (tmp_path / "engine_surfaces.py").write_text("raise SystemExit('broken')")
    table = gallery.main(["design_sizing", "--docs"])
    assert table.loc["design_sizing", "code"] == 0
    assert plt.imread(tmp_path / "docs" / "images" / "design_sizing.png").shape[:2] == (40, 20)
    assert (tmp_path / "docs" / "gallery_times.csv").read_text().startswith("example,processor seconds\ndesign_sizing,")
    with pytest.raises(SystemExit, match="failed: engine_surfaces"):
        gallery.main(["engine_surfaces"])
    assert "broken" in (tmp_path / "output" / "engine_surfaces.log").read_text()
