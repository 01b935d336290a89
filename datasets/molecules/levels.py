"""Levels of electronic-structure theory, one molecule at a time: xTB by tblite, Hartree-Fock by pyscf."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, NumericalError, missing_extra

Floats = NDArray[np.float64]
#: one bohr in angstrom and one atomic unit of the dipole moment in debye (CODATA 2018)
BOHR, DEBYE = 0.529177210903, 2.541746473
NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
#: unpaired electrons of the free atoms in their ground states
UNPAIRED = {"H": 1, "C": 2, "N": 3, "O": 2, "F": 1}
#: cheapest first; the last one is QM9's and isn't computed here
LEVELS = ("GFN1-xTB", "GFN2-xTB", "HF/STO-3G", "B3LYP/6-31G(2df,p)")
COMPUTED = LEVELS[:-1]
QUANTITIES = ("gap", "homo", "lumo", "dipole", "energy")


@dataclass(frozen=True)
class Electronic:
    """One molecule at one level: orbital energies and total electronic energy in Hartree, dipole moment in debye.

    seconds : the time that the calculation took, one thread
    """

    gap: float
    homo: float
    lumo: float
    dipole: float
    energy: float
    seconds: float


def electronic(level: str, elements: Sequence[str], positions: Floats) -> Electronic:
    """Run `level` on a neutral closed-shell molecule.

    Parameters
    ----------
    level : one of `COMPUTED`
    elements : symbols, out of H, C, N, O, F; length n
    positions : (n, 3), in angstrom

    Raises
    ------
    MissingExtraError
        If tblite or pyscf isn't installed.
    NumericalError
        If the calculation doesn't converge, or can't be begun since atoms lie on each other.
    DataError
        If the level, an element, or a shape is none of those above, or the number of electrons is odd.
    """
    positions = _checked(level, elements, positions)
    if sum(NUMBERS[name] for name in elements) % 2:
        raise DataError(f"{'-'.join(elements)} has an odd number of electrons; closed-shell molecules are expected")
    start = time.perf_counter()
    if level.startswith("GFN"):
        homo, lumo, dipole, energy = _xtb(level, elements, positions)
    else:
        homo, lumo, dipole, energy = _hartree_fock(level, elements, positions)
    return Electronic(lumo - homo, homo, lumo, dipole, energy, time.perf_counter() - start)


def atomic_energies(level: str) -> Mapping[str, float]:
    """Total energies of the free atoms in their ground states at `level`, Hartree: what atomisation energies subtract.

    Hartree-Fock is unrestricted here; xTB gets the number of unpaired electrons.
    """
    energies = {}
    for element, unpaired in UNPAIRED.items():
        positions = _checked(level, [element], np.zeros((1, 3)))
        if level.startswith("GFN"):
            energies[element] = float(_tblite(level, [element], positions, unpaired).get("energy"))
        else:
            energies[element] = float(_converged(level, [element], positions, unpaired).e_tot)
    return energies


def _checked(level: str, elements: Sequence[str], positions: Floats) -> Floats:
    if level not in COMPUTED:
        raise DataError(f"the level {level!r} is unknown; computed here are {', '.join(COMPUTED)}")
    unknown = sorted(set(elements) - NUMBERS.keys())
    if unknown:
        raise DataError(f"elements {', '.join(unknown)} are unknown here; expected are {', '.join(NUMBERS)}")
    positions = np.asarray(positions, dtype=np.float64)
    if positions.shape != (len(elements), 3) or not np.isfinite(positions).all():
        raise DataError(
            f"positions have the shape {positions.shape}; finite numbers of shape ({len(elements)}, 3) are expected, "
            "one row of x, y, z in angstrom per element"
        )
    return positions


def _tblite(level: str, elements: Sequence[str], positions: Floats, unpaired: int) -> Any:
    try:
        from tblite.interface import Calculator
    except ImportError as error:
        raise missing_extra("tblite", "quantum") from error
    numbers = np.array([NUMBERS[name] for name in elements])
    try:
        calculator = Calculator(level, numbers, positions / BOHR, uhf=unpaired)
        calculator.set("verbosity", 0)
        return calculator.singlepoint()
    except RuntimeError as error:  # tblite's own is one
        raise NumericalError(f"{level} of {'-'.join(elements)} failed: {error}") from error


def _xtb(level: str, elements: Sequence[str], positions: Floats) -> tuple[float, float, float, float]:
    result = _tblite(level, elements, positions, 0)
    energies = result.get("orbital-energies")  # ascending
    pairs = round(float(result.get("orbital-occupations").sum()) / 2)  # occupations are smeared by 300 K
    dipole = float(np.linalg.norm(result.get("dipole"))) * DEBYE
    return float(energies[pairs - 1]), float(energies[pairs]), dipole, float(result.get("energy"))


def _converged(level: str, elements: Sequence[str], positions: Floats, unpaired: int) -> Any:
    try:
        from pyscf import gto, scf
    except ImportError as error:
        raise missing_extra("pyscf", "quantum") from error
    atoms = list(zip(elements, positions.tolist(), strict=True))
    molecule = gto.M(atom=atoms, basis=level.partition("/")[2].lower(), spin=unpaired, verbose=0)
    try:
        found = (scf.UHF if unpaired else scf.RHF)(molecule).run()
    except np.linalg.LinAlgError as error:
        raise NumericalError(f"{level} of {'-'.join(elements)} failed: {error}") from error
    if not found.converged:
        raise NumericalError(f"{level} of {'-'.join(elements)} didn't converge in {found.max_cycle} iterations")
    return found


def _hartree_fock(level: str, elements: Sequence[str], positions: Floats) -> tuple[float, float, float, float]:
    found = _converged(level, elements, positions, 0)
    pairs = found.mol.nelectron // 2
    dipole = float(np.linalg.norm(found.dip_moment(unit="Debye", verbose=0)))
    return float(found.mo_energy[pairs - 1]), float(found.mo_energy[pairs]), dipole, float(found.e_tot)
