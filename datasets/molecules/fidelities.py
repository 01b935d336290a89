"""Molecules of QM9 at four levels of theory: the computed set that comes with the library, and its file."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import xarray as xr

from surrogates.errors import DataError, FileFormatError
from surrogates.structures import checked_structures

from ..compressed import read_compressed, write_compressed
from .campaign import read_campaign
from .levels import COMPUTED, LEVELS, NUMBERS, QUANTITIES, Floats
from .qm9 import ATOMS
from .qm9_table import read_qm9_columns

FORMAT = "surrogates fidelities 1"
SHIPPED = "fidelities_0.nc.gz"
AGAIN = "make it again: python -m surrogates.datasets.molecules --seed SEED --out FOLDER"
NOTES = {
    "gap": ("hartree", "LUMO - HOMO"),
    "homo": ("hartree", "energy of the highest occupied orbital"),
    "lumo": ("hartree", "energy of the lowest unoccupied orbital"),
    "dipole": ("debye", "dipole moment"),
    "atomisation_energy": (
        "hartree",
        "electronic energy minus the free atoms', negative where the molecule is bound",
    ),
    "energy": ("hartree", "total electronic energy, without zero-point energy"),
}
QM9_COLUMNS = {
    "number": "Index",
    "homo": "HOMO_au",
    "lumo": "LUMO_au",
    "gap": "HOMO_LUMO_gap_au",
    "dipole": "Dipole_debye",
    "total": "InternalEnergy_0K_au",
    "zero_point": "ZPVE_au",
}


def fidelities() -> xr.Dataset:
    """Random molecules of QM9 at four levels of theory, cheapest first; it comes with the library.

    GFN1-xTB and GFN2-xTB (tblite), HF/STO-3G (pyscf), B3LYP/6-31G(2df,p) (QM9's own values). All levels use QM9's B3LYP
    geometries: in practice a cheap level would relax a molecule itself, and be further off. Levels differ by scale and
    offset: gaps of Hartree-Fock are twice those of B3LYP. The order is random, so that the first n are a random sample.

    Returns
    -------
    Dataset over (molecule, level): ``gap``, ``homo``, ``lumo``, ``energy``, ``atomisation_energy`` [hartree] and ``dipole``
    [debye], NaN where a level didn't converge, which stays in its place. Coordinates: ``smiles`` (molecule, canonical),
    ``connectivity`` and ``scaffold`` as in `Molecules`, ``number`` in QM9 (molecule), ``level``, ``seconds`` (level: median
    time of a molecule on one thread; NaN for B3LYP, which wasn't run here). Attributes: versions, seed, units of origin.

    `data.isel(level=-1)` is a table of the precise level. As ``Schema(..., fidelity="level")`` over (molecule, level) it is
    what `HierarchicalGP` reads. QM9's orbital energies and dipoles are rounded to 1e-4.

    Raises
    ------
    DataError
        If the file isn't there.
    FileFormatError
        If it is damaged.
    MissingExtraError
        If RDKit isn't installed.

    Examples
    --------
    >>> fidelities().level.values.tolist()
    ['GFN1-xTB', 'GFN2-xTB', 'HF/STO-3G', 'B3LYP/6-31G(2df,p)']
    """
    with resources.as_file(resources.files(__package__) / "data" / SHIPPED) as path:
        return read_fidelities(path)


def collect(campaign: Path | str, path: Path | str) -> None:
    """Write what a campaign has computed so far, with QM9's own values beside it, for `read_fidelities`.

    The same campaign always gives the same bytes.

    Raises
    ------
    FileFormatError
        If the campaign's file is damaged.
    DataError
        If it has no molecule yet, or one that QM9 lacks.
    MissingExtraError
        If qm9pack isn't installed.
    """
    header, lines = read_campaign(Path(campaign))
    if not lines:
        raise DataError(f"{campaign} has no molecule yet; let the campaign run")
    numbers = [line["number"] for line in lines]
    qm9 = read_qm9_columns(QM9_COLUMNS, numbers=list(QM9_COLUMNS)).set_index("number")
    if not set(numbers) <= set(qm9.index):
        raise DataError(f"{campaign} lists molecules that QM9 lacks: {sorted(set(numbers) - set(qm9.index))[:5]}")
    qm9 = qm9.loc[numbers]
    last = {name: qm9[name].to_numpy() for name in ("gap", "homo", "lumo", "dipole")}
    last["energy"] = (qm9["total"] - qm9["zero_point"]).to_numpy()
    data = xr.Dataset(
        attrs={
            "format": FORMAT,
            "seed": header["seed"],
            "versions": ", ".join(f"{name} {value}" for name, value in header["versions"].items()),
            "geometry": "B3LYP/6-31G(2df,p), as in QM9, for all levels",
            "source": "GFN1-xTB and GFN2-xTB by tblite, HF/STO-3G by pyscf, B3LYP/6-31G(2df,p) from QM9 by qm9pack",
            "failures": sum(len(line["failures"]) for line in lines),
        }
    )
    data["level"] = ("level", list(LEVELS))
    data["number"] = ("molecule", np.array(numbers, dtype=np.int32))
    data["spelt"] = ("molecule", [line["smiles"] for line in lines])
    for name in QUANTITIES:
        computed = [[_value(line["levels"][level], name) for level in COMPUTED] for line in lines]
        data[name] = (("molecule", "level"), np.column_stack([np.array(computed, dtype=np.float64), last[name]]))
    seconds = np.array([[_value(line["levels"][level], "seconds") for level in COMPUTED] for line in lines])
    data["seconds"] = ("level", [*np.nanmedian(seconds, axis=0).tolist(), np.nan])
    data["element"] = ("element", list(NUMBERS))
    data["atoms"] = (
        ("molecule", "element"),
        np.array([[line["elements"].count(element) for element in NUMBERS] for line in lines], dtype=np.int8),
    )
    free = [*(header["atomic_energies"][level] for level in COMPUTED), ATOMS["internal_energy_0K"]]
    data["atomic_energy"] = (("level", "element"), [[energies[element] for element in NUMBERS] for energies in free])
    write_compressed(path, data)


def _value(found: dict[str, float] | None, name: str) -> float:
    return float("nan") if found is None else found[name]


def read_fidelities(path: Path | str) -> xr.Dataset:
    """The Dataset that `fidelities` describes, from a file of ``python -m surrogates.datasets.molecules``.

    Raises
    ------
    DataError
        If there is no such file.
    FileFormatError
        If it is damaged or something else.
    MissingExtraError
        If RDKit isn't installed.
    """
    stored = read_compressed(path, kind="file of fidelities", layout=FORMAT, remedy=AGAIN)
    wanted = {"number", "spelt", "level", "seconds", "atoms", "atomic_energy", *QUANTITIES}
    lacking = sorted(wanted - set(map(str, stored.variables)))
    if lacking:
        raise FileFormatError(f"{path} is damaged: it lacks {', '.join(lacking)}; {AGAIN}")
    return _labelled(stored)


def _labelled(stored: xr.Dataset) -> xr.Dataset:
    structures = checked_structures(stored["spelt"].values.astype(str).tolist())
    data = xr.Dataset(
        coords={
            "level": ("level", stored["level"].values.astype(str)),
            **{
                name: ("molecule", np.array([getattr(each, name) for each in structures], dtype=str))
                for name in ("smiles", "connectivity", "scaffold")
            },
            "number": ("molecule", stored["number"].to_numpy().astype(np.int64)),
            "seconds": ("level", stored["seconds"].to_numpy().astype(np.float64), {"units": "s"}),
        },
        attrs={
            name: int(value) if name in ("seed", "failures") else str(value) for name, value in stored.attrs.items()
        },
    )
    free = stored["atoms"].to_numpy().astype(np.float64) @ stored["atomic_energy"].to_numpy().T
    values: dict[str, Floats] = {name: stored[name].to_numpy().astype(np.float64) for name in QUANTITIES}
    values["atomisation_energy"] = values["energy"] - free
    for name, (units, meaning) in NOTES.items():
        data[name] = (("molecule", "level"), values[name], {"units": units, "long_name": meaning})
    return data
