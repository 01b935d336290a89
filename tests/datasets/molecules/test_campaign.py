"""The run that computes molecules: a random sample, resumed where it stopped, failures kept in their place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from packages import hide_package, put_package

from surrogates.datasets.molecules import read_fidelities
from surrogates.datasets.molecules.__main__ import main
from surrogates.datasets.molecules.campaign import geometries, read_campaign, run_campaign, sample_geometries
from surrogates.datasets.molecules.fidelities import collect
from surrogates.datasets.molecules.levels import COMPUTED
from surrogates.errors import DataError, FileFormatError, MissingExtraError

HEADER = (
    "Index,SMILES,InChi,Stoichiometry,Elements,XYZ_Ang,Dipole_debye,Polarizability_bohr3,HOMO_au,LUMO_au,HOMO_LUMO_gap_au,"
    "R2_bohr2,ZPVE_au,InternalEnergy_0K_au,InternalEnergy_298K_au,Enthalphy_298K_au,GibbsFreeEnergy_298K_au,"
    "Heatcapacity_Cv_cal_mol_K\n"
)
TAIL = ",1.8,6.3,-0.29,0.07,0.36,19.0,0.02,-76.4,-76.39,-76.39,-76.42,6.0\n"
WATER = (
    f"""3,O,InChI=1S/H2O/h1H2,"[2,0,0,1,0]","['O','H','H']","[[0,0,0.117],[0,0.757,-0.469],[0,-0.757,-0.469]]"{TAIL}"""
)
AMMONIA = (
    f"""2,N,InChI=1S/H3N/h1H3,"[3,0,1,0,0]","['N','H','H','H']","""
    f""""[[0,0,0.11],[0,0.94,-0.26],[0.81,-0.47,-0.26],[-0.81,-0.47,-0.26]]"{TAIL}"""
)
CRASHED = f"""9,[H][H],InChI=1S/H2/h1H,"[2,0,0,0,0]","['H','H']","[[0,0,0],[0,0,1e-12]]"{TAIL}"""


@pytest.fixture
def three_molecules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A qm9pack with three molecules, in one of which two atoms lie on each other; water is in it twice."""
    rows = [WATER + AMMONIA, CRASHED, WATER.replace("3,O", "4,[H]O[H]", 1)]
    parts = {f"data/qm9_part{k}.csv": HEADER + text for k, text in enumerate(rows, start=1)}
    put_package(tmp_path / "packages", monkeypatch, "qm9pack", parts)


pytestmark = pytest.mark.filterwarnings("ignore:.*not strictly positive definite")


@pytest.mark.usefixtures("three_molecules")
def test_failures_stay_in_their_place_and_are_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = run_campaign(tmp_path / "run", n=3, seed=0, progress=lambda done, total: told.append((done, total)))
    header, lines = read_campaign(path)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {line["number"] for line in lines} == {2, 3, 9}
    assert header["seed"] == 0
    (failed,) = [line for line in lines if line["number"] == 9]
    assert failed["levels"] == dict.fromkeys(COMPUTED)
    assert set(failed["failures"]) == set(COMPUTED)
    collect(path, tmp_path / "set.nc.gz")
    data = read_fidelities(tmp_path / "set.nc.gz").set_index(molecule="number")
    assert data.attrs["failures"] == 3
    assert data["gap"].sel(molecule=9).isnull().values.tolist() == [True, True, True, False]
    assert data["gap"].sel(molecule=[2, 3]).notnull().all()
    assert data["energy"].sel(molecule=3).values[-1] == pytest.approx(-76.4 - 0.02)  # without zero-point energy


@pytest.mark.usefixtures("three_molecules")
def test_a_run_goes_on_where_it_was_cut_and_ends_the_same(tmp_path: Path) -> None:
    whole = run_campaign(tmp_path / "whole", n=3, seed=1)
    path = run_campaign(tmp_path / "cut", n=1, seed=1)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"number": 3, "smi')  # as after a crash
    assert run_campaign(tmp_path / "cut", n=3, seed=1) == path
    one, other = (read_campaign(where) for where in (whole, path))
    assert one[0] == other[0]
    for mine, yours in zip(one[1], other[1], strict=True):
        assert mine["number"] == yours["number"]
        for level in COMPUTED:
            a, b = mine["levels"][level], yours["levels"][level]
            assert (a is None) == (b is None)
            if a is not None:
                np.testing.assert_allclose(
                    [a[k] for k in ("gap", "energy")], [b[k] for k in ("gap", "energy")], atol=1e-6
                )


@pytest.mark.usefixtures("three_molecules")
def test_another_campaign_is_not_mixed_in(tmp_path: Path) -> None:
    path = run_campaign(tmp_path, n=1, seed=0)
    with pytest.raises(DataError, match="was begun with seed 0, this is 1; choose another folder"):
        run_campaign(tmp_path, n=1, seed=1)
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    changed = json.loads(header)
    changed["versions"]["pyscf"] = "0.1"
    path.write_text("\n".join([json.dumps(changed), *lines, ""]), encoding="utf-8")
    with pytest.raises(DataError, match="was begun with versions"):
        run_campaign(tmp_path, n=1, seed=0)


@pytest.mark.usefixtures("three_molecules")
def test_lines_that_are_not_the_samples_are_refused(tmp_path: Path) -> None:
    path = run_campaign(tmp_path, n=2, seed=0)
    header, first, second = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, second, first, ""]), encoding="utf-8")
    with pytest.raises(FileFormatError, match="lists molecule"):
        run_campaign(tmp_path, n=3, seed=0)
    path.write_text("no json\n", encoding="utf-8")
    with pytest.raises(FileFormatError, match="is no file of computed levels"):
        run_campaign(tmp_path, n=3, seed=0)
    path.write_text('{"format": "another"}\n', encoding="utf-8")
    with pytest.raises(FileFormatError, match="isn't of the format 'surrogates levels 1'"):
        read_campaign(path)


@pytest.mark.usefixtures("three_molecules")
def test_the_command_line_writes_the_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seed", "0", "--n", "2", "--out", str(tmp_path)])
    assert "2 of 2 molecules" in capsys.readouterr().out
    assert read_fidelities(tmp_path / "fidelities.nc.gz").sizes["molecule"] == 2


@pytest.mark.usefixtures("three_molecules")
def test_a_set_of_nothing_or_of_strangers_is_refused(tmp_path: Path) -> None:
    path = run_campaign(tmp_path, n=1, seed=0)
    header, line = path.read_text(encoding="utf-8").splitlines()
    path.write_text(header + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no molecule yet"):
        collect(path, tmp_path / "set.nc.gz")
    path.write_text(header + "\n" + json.dumps(json.loads(line) | {"number": 77}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"lists molecules that QM9 lacks: \[77\]"):
        collect(path, tmp_path / "set.nc.gz")


@pytest.mark.usefixtures("three_molecules")
def test_one_row_per_inchi_is_drawn() -> None:
    assert sorted(geometry.number for geometry in sample_geometries(3, 0)) == [2, 3, 9]
    with pytest.raises(DataError, match="n is 4; between 1 and 3 molecules"):
        sample_geometries(4, 0)
    with pytest.raises(DataError, match=r"QM9 has no molecules with the numbers \[5\]"):
        geometries([3, 5])


def test_damaged_geometries_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {f"data/qm9_part{k}.csv": HEADER + (WATER.replace("0.117]", "]") if k == 2 else "") for k in (1, 2, 3)}
    put_package(tmp_path, monkeypatch, "qm9pack", parts)
    with pytest.raises(FileFormatError, match="QM9's molecule 3 has no readable geometry"):
        sample_geometries(1, 0)


def test_the_sample_of_qm9_is_random_and_its_beginning_a_smaller_one() -> None:
    sample = sample_geometries(300, 0)
    numbers = np.array([geometry.number for geometry in sample])
    assert numbers[:20].tolist() == [geometry.number for geometry in sample_geometries(20, 0)]
    assert len(set(numbers.tolist())) == 300
    assert abs(numbers.mean() / 133885 - 0.5) < 5 / np.sqrt(12 * 300)  # rows are ordered by size: no first n
    assert sample[0].positions.shape == (len(sample[0].elements), 3)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "qm9pack")
    with pytest.raises(MissingExtraError, match=r"qm9pack is not installed.*\[molecule-data\]"):
        sample_geometries(1, 0)
