"""QM9: 12 properties of small organic molecules by B3LYP/6-31G(2df,p)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, FileFormatError
from surrogates.structures import checked_structures

from .qm9_table import read_qm9_columns
from .sources import package_version
from .splits import FRACTIONS
from .table import Molecules, of_structures, split_rows

#: our name -> column, units, what it is
TARGETS: Mapping[str, tuple[str, str, str]] = {
    "dipole_moment": ("Dipole_debye", "debye", "dipole moment"),
    "polarizability": ("Polarizability_bohr3", "bohr**3", "isotropic polarizability"),
    "homo": ("HOMO_au", "hartree", "energy of the highest occupied orbital"),
    "lumo": ("LUMO_au", "hartree", "energy of the lowest unoccupied orbital"),
    "gap": ("HOMO_LUMO_gap_au", "hartree", "LUMO - HOMO"),
    "spatial_extent": ("R2_bohr2", "bohr**2", "electronic spatial extent"),
    "zero_point_energy": ("ZPVE_au", "hartree", "zero-point vibrational energy"),
    "internal_energy_0K": ("InternalEnergy_0K_au", "hartree", "internal energy at 0 K"),
    "internal_energy": ("InternalEnergy_298K_au", "hartree", "internal energy at 298.15 K"),
    "enthalpy": ("Enthalphy_298K_au", "hartree", "enthalpy at 298.15 K"),  # so spelt in the files
    "gibbs_energy": ("GibbsFreeEnergy_298K_au", "hartree", "Gibbs energy at 298.15 K"),
    "heat_capacity": ("Heatcapacity_Cv_cal_mol_K", "cal/mol/K", "heat capacity at constant volume, 298.15 K"),
}
#: Energies of the free atoms at QM9's level, hartree, as published with QM9 (Ramakrishnan et al., Sci. Data 1, 140022, 2014,
#: file atomref.txt). Written down from memory, then checked: U, H and G follow from U0 by the ideal gas (3/2 RT, 5/2 RT,
#: Sackur-Tetrode and spin degeneracy), and methane's comes out as -396.000 kcal/mol, as in MoleculeNet's copy of QM9.
ATOMS: Mapping[str, Mapping[str, float]] = {
    "internal_energy_0K": {"H": -0.500273, "C": -37.846772, "N": -54.583861, "O": -75.064579, "F": -99.718730},
    "internal_energy": {"H": -0.498857, "C": -37.845355, "N": -54.582445, "O": -75.063163, "F": -99.717314},
    "enthalpy": {"H": -0.497912, "C": -37.844411, "N": -54.581501, "O": -75.062219, "F": -99.716370},
    "gibbs_energy": {"H": -0.510927, "C": -37.861317, "N": -54.598897, "O": -75.079532, "F": -99.733544},
}
ELEMENTS = ("H", "C", "N", "O", "F")  # the order of the column Stoichiometry


def qm9(
    n: int | None = None,
    *,
    seed: int = 0,
    energies: str = "atomisation",
    one_per_inchi: bool = True,
    split: str = "random",
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Molecules:
    """QM9 (Ramakrishnan, Dral, Rupp & von Lilienfeld 2014) out of the package qm9pack, or a random subset.

    Twelve properties, all known for every molecule, in the units of the source (hartree, debye, bohr, cal/mol/K). The gap
    is LUMO - HOMO, and the four energies are nearly one: who compares methods may want to leave some of them out.

    Parameters
    ----------
    n : how many molecules, drawn at random; with one seed, fewer are among the more. None for all, in the files' order
    seed : of the draw and of the split
    energies : "atomisation": U0, U, H and G minus those of the free atoms, negative where the molecule is bound.
        "total": as in the files; they are the sum over atoms but for one part in a thousand
    one_per_inchi : keep only the first of several rows with one InChI; of 130,831 rows 126,940 stay
    split, fractions : as in `Molecules.split`

    Returns
    -------
    Molecules. Coordinate of its own: ``number`` in QM9.

    Raises
    ------
    MissingExtraError
        If qm9pack or RDKit isn't installed.
    DataError
        If `n`, `energies` or the split can't be used.
    FileFormatError
        If the files are damaged.
    """
    if energies not in ("atomisation", "total"):
        raise DataError(f"energies is {energies!r}; 'atomisation' or 'total' is expected")
    columns = {name: column for name, (column, _, _) in TARGETS.items()}
    wanted = {"number": "Index", "smiles": "SMILES", "inchi": "InChi", "composition": "Stoichiometry", **columns}
    table = read_qm9_columns(wanted, numbers=("number", *columns))
    if one_per_inchi:
        table = table.drop_duplicates("inchi", ignore_index=True)
    if n is not None:
        if not 1 <= n <= len(table):
            raise DataError(f"n is {n}; between 1 and {len(table)} molecules, or None for all, are expected")
        table = table.iloc[np.random.default_rng(seed).permutation(len(table))[:n]]
    data = of_structures(checked_structures(table["smiles"].tolist()))
    data.coords["number"] = ("molecule", table["number"].to_numpy(dtype=np.int64))
    data.attrs = {
        "source": f"QM9, Ramakrishnan et al., Sci. Data 1, 140022 (2014), out of qm9pack {package_version('qm9pack')}",
        "level": "B3LYP/6-31G(2df,p)",
        "energies": energies,
    }
    counts = _composition(table["composition"].tolist())
    for name, (_, units, meaning) in TARGETS.items():
        values = table[name].to_numpy(dtype=np.float64)
        if energies == "atomisation" and name in ATOMS:
            values = values - counts @ np.array([ATOMS[name][element] for element in ELEMENTS])
            meaning += ", minus that of the free atoms"
        data[name] = ("molecule", values, {"units": units, "long_name": meaning})
    return Molecules(data, split_rows(data, split, fractions, seed))


def _composition(texts: list[str]) -> NDArray[np.float64]:
    """(n, 5) numbers of atoms, in the order of `ELEMENTS`, from texts such as '[2,1,0,1,0]'."""
    counts = [[float(part) for part in re.findall(r"\d+", text)] for text in texts]
    if any(len(row) != len(ELEMENTS) for row in counts):
        raise FileFormatError(
            "QM9's column 'Stoichiometry' doesn't hold five numbers in each row: install qm9pack again"
        )
    return np.array(counts, dtype=np.float64).reshape(len(texts), len(ELEMENTS))
