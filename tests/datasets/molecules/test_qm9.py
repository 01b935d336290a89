"""QM9: its 12 targets against laws and published values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from packages import hide_package, put_package

from surrogates.datasets.molecules import Molecules, qm9
from surrogates.datasets.molecules.qm9 import ATOMS, TARGETS
from surrogates.errors import DataError, FileFormatError, MissingExtraError

#: CODATA 2018, and kilocalories per mole in one hartree
KT = 8.31446261815324 * 298.15 / 2625499.639  # kT at 298.15 K in hartree
KCAL = 627.509474
MASSES = {"H": 1.00783, "C": 12.0, "N": 14.00307, "O": 15.99491, "F": 18.99840}
STATES = {"H": 2, "C": 3, "N": 4, "O": 3, "F": 2}  # spin states of the ground terms; orbital ones aren't counted


@pytest.fixture(scope="module")
def sample() -> Molecules:
    return qm9(800, seed=5)


@pytest.fixture(scope="module")
def total() -> Molecules:
    return qm9(800, seed=5, energies="total")


def test_all_twelve_targets_are_there(sample: Molecules) -> None:
    assert sample.properties == tuple(TARGETS)
    assert len(TARGETS) == 12
    assert all(sample.data[name].attrs["units"] and sample.data[name].attrs["long_name"] for name in TARGETS)
    assert all(np.isfinite(sample.data[name]).all() for name in TARGETS)
    assert all(sample.data[name].dtype == np.float64 for name in TARGETS)


def test_the_gap_is_lumo_minus_homo(sample: Molecules) -> None:
    data = sample.data
    np.testing.assert_allclose(data["gap"], data["lumo"] - data["homo"], atol=1.01e-4)  # each is rounded to 1e-4


def test_enthalpy_is_internal_energy_and_kt(total: Molecules) -> None:
    data = total.data
    np.testing.assert_allclose(data["enthalpy"] - data["internal_energy"], KT, atol=2e-6)
    assert (data["gibbs_energy"] < data["enthalpy"]).all()  # entropy is positive
    assert (data["internal_energy"] > data["internal_energy_0K"]).all()


@pytest.mark.parametrize("element", ["H", "C", "N", "O", "F"])
def test_energies_of_atoms_follow_from_the_ideal_gas(element: str) -> None:
    """U = U0 + 3/2 kT, H = U + kT, G = H - TS with Sackur and Tetrode's S at 1 atm."""
    at_zero, internal, enthalpy, gibbs = (ATOMS[name][element] for name in ATOMS)
    assert internal - at_zero == pytest.approx(1.5 * KT, abs=2e-6)
    assert enthalpy - internal == pytest.approx(KT, abs=2e-6)
    planck, boltzmann, mass = 6.62607015e-34, 1.380649e-23, MASSES[element] * 1.66053906660e-27
    wave_number = (2 * np.pi * mass * boltzmann * 298.15) ** 1.5 / planck**3
    entropy = np.log(wave_number * boltzmann * 298.15 / 101325) + 2.5 + np.log(STATES[element])
    assert enthalpy - gibbs == pytest.approx(KT * entropy, abs=3e-6)


def test_the_hydrogen_atom_at_the_level_of_qm9() -> None:
    from pyscf import dft, gto

    atom = dft.UKS(gto.M(atom=[["H", (0.0, 0.0, 0.0)]], basis="6-31g(2df,p)", spin=1, verbose=0))
    atom.xc = "b3lypg"
    assert atom.kernel() == pytest.approx(ATOMS["internal_energy_0K"]["H"], abs=1e-5)


def test_atomisation_is_total_minus_atoms(sample: Molecules, total: Molecules) -> None:
    from rdkit import Chem

    for name in TARGETS:
        if name not in ATOMS:
            np.testing.assert_array_equal(sample.data[name], total.data[name])
    for row in (0, 17, 444):
        molecule = Chem.AddHs(Chem.MolFromSmiles(str(sample.data["smiles"].values[row])))
        for name, of_atom in ATOMS.items():
            atoms = sum(of_atom[atom.GetSymbol()] for atom in molecule.GetAtoms())
            assert float(sample.data[name][row]) == pytest.approx(float(total.data[name][row]) - atoms, abs=1e-9)
    assert (sample.data["internal_energy_0K"] < 0).all()
    assert "free atoms" in sample.data["enthalpy"].attrs["long_name"]
    assert "free atoms" not in total.data["enthalpy"].attrs["long_name"]


def test_methane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row of QM9; the atomisation energy as in MoleculeNet's copy, -395.99959 kcal/mol."""
    columns = ["Index", "SMILES", "InChi", "Stoichiometry", *(column for column, _, _ in TARGETS.values())]
    row = '1,C,InChI=1S/CH4/h1H4,"[4,1,0,0,0]",0,13.21,-0.3877,0.1171,0.5048,35.3641,0.044749,-40.47893,-40.476062,'
    row += "-40.475117,-40.498597,6.469"
    texts = [",".join(columns) + "\n" + (row + "\n" if k == 2 else "") for k in range(3)]
    put_package(tmp_path, monkeypatch, "qm9pack", {f"data/qm9_part{k + 1}.csv": text for k, text in enumerate(texts)})
    data = qm9(fractions=(1.0, 0.0, 0.0)).data
    assert data["smiles"].values.tolist() == ["C"]
    assert float(data["internal_energy_0K"][0]) * KCAL == pytest.approx(-395.99959, abs=1e-3)
    assert float(data["heat_capacity"][0]) == 6.469


@pytest.mark.slow
def test_the_whole_table() -> None:
    whole = qm9()
    assert whole.data.sizes["molecule"] == 126_940
    assert qm9(one_per_inchi=False).data.sizes["molecule"] == 130_831
    assert (np.diff(whole.data["number"].values) > 0).all()  # in the order of the files


def test_fewer_are_among_the_more_and_the_draw_is_random(sample: Molecules) -> None:
    few, other = qm9(50, seed=5), qm9(50, seed=6)
    numbers = sample.data["number"].values
    assert few.data["number"].values.tolist() == numbers[:50].tolist()
    assert other.data["number"].values.tolist() != numbers[:50].tolist()
    xr.testing.assert_identical(few.data, qm9(50, seed=5).data)
    assert abs(numbers.mean() / 133885 - 0.5) < 5 / np.sqrt(12 * 800)  # the files are ordered by size


def test_the_parts_share_no_molecule(sample: Molecules) -> None:
    for by, key in (("random", "connectivity"), ("scaffold", "connectivity")):
        split = sample.split(by, seed=1)
        parts = [set(part[key].values.tolist()) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, parts)) == len(set(sample.data[key].values.tolist()))
        assert split.test.sizes["molecule"] == 80


def test_bad_arguments_are_told() -> None:
    with pytest.raises(DataError, match="energies is 'free'; 'atomisation' or 'total'"):
        qm9(10, energies="free")
    with pytest.raises(DataError, match="n is 0; between 1 and 126940 molecules, or None"):
        qm9(0)


def test_damaged_files_and_a_missing_package_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "qm9pack")
    with pytest.raises(MissingExtraError, match=r"qm9pack is not installed.*multitask-surrogates\[molecule-data\]"):
        qm9(10)
    monkeypatch.undo()
    put_package(tmp_path, monkeypatch, "qm9pack", {"data/qm9_part1.csv": "Index,SMILES\n1,C\n"})
    with pytest.raises(FileFormatError, match=r"qm9_part1\.csv can't be read.*install it again"):
        qm9(10)
