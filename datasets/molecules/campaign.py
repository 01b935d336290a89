"""A random sample of QM9's molecules, computed at cheap levels of theory: resumable, one line per molecule in a file."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from surrogates.errors import DataError, FileFormatError, NumericalError

from .levels import COMPUTED, Floats, atomic_energies, electronic
from .qm9_table import read_qm9_columns
from .sources import package_version

Progress = Callable[[int, int], None]
FORMAT = "surrogates levels 1"
GEOMETRY = {"number": "Index", "smiles": "SMILES", "inchi": "InChi", "elements": "Elements", "positions": "XYZ_Ang"}


@dataclass(frozen=True, eq=False)
class Geometry:
    """One molecule of QM9: number there, SMILES, elements (n), positions (n, 3) in angstrom as B3LYP relaxed them."""

    number: int
    smiles: str
    elements: tuple[str, ...]
    positions: Floats


def sample_geometries(n: int, seed: int) -> list[Geometry]:
    """`n` molecules drawn at random out of QM9, of those with one InChI the first row only.

    The order is random too, and the draw of n + k molecules begins with that of n: any prefix is a random sample.

    Raises
    ------
    MissingExtraError
        If qm9pack isn't installed.
    DataError
        If `n` is below 1 or above the number of molecules.
    FileFormatError
        If the table is damaged.
    """
    table = read_qm9_columns(GEOMETRY, numbers=("number",)).drop_duplicates("inchi")
    if not 1 <= n <= len(table):
        raise DataError(f"n is {n}; between 1 and {len(table)} molecules of QM9 are expected")
    rows = np.random.default_rng(seed).permutation(len(table))[:n]
    return _geometries(table.iloc[rows])


def geometries(numbers: Sequence[int]) -> list[Geometry]:
    """The molecules with these numbers in QM9, in this order."""
    table = read_qm9_columns(GEOMETRY, numbers=("number",)).set_index("number", drop=False)
    unknown = sorted(set(numbers) - set(table.index.astype(int)))
    if unknown:
        raise DataError(f"QM9 has no molecules with the numbers {unknown[:5]}; they run from 1 to 133885, with gaps")
    return _geometries(table.loc[list(numbers)])


def _geometries(table: pd.DataFrame) -> list[Geometry]:
    found = []
    columns = (table[name].tolist() for name in ("number", "smiles", "elements", "positions"))
    for number, smiles, listed, coordinates in zip(*columns, strict=True):
        try:
            elements = tuple(ast.literal_eval(listed))
            positions = np.array(json.loads(coordinates), dtype=np.float64).reshape(len(elements), 3)
        except (ValueError, SyntaxError, TypeError) as error:
            raise FileFormatError(f"QM9's molecule {number:g} has no readable geometry: {error}") from error
        found.append(Geometry(int(number), str(smiles), elements, positions))
    return found


def run_campaign(folder: Path | str, *, n: int, seed: int, progress: Progress | None = None) -> Path:
    """Compute `n` molecules at all of `COMPUTED`, and go on from what `folder` holds already.

    The file ``levels.jsonl`` there begins with a line on the campaign (seed, versions, energies of free atoms); each
    further line is one molecule. What doesn't converge is null, with the reason under "failures"; it stays in its place.

    Parameters
    ----------
    folder : made if need be
    n : how many molecules in all
    seed : of the sample
    progress : called after each molecule with (done, n)

    Returns
    -------
    Path of the file.

    Raises
    ------
    MissingExtraError
        If qm9pack, tblite or pyscf isn't installed.
    DataError
        If the folder holds a campaign with another seed or other versions.
    FileFormatError
        If the file there is damaged.
    """
    path = Path(folder) / "levels.jsonl"
    sample = sample_geometries(n, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _begin(path, seed)
    for line, geometry in zip(done, sample, strict=False):
        if line["number"] != geometry.number:
            raise FileFormatError(f"{path} lists molecule {line['number']} where the seed draws {geometry.number}")
    with path.open("a", encoding="utf-8") as file:
        for count, geometry in enumerate(sample[len(done) :], start=len(done) + 1):
            file.write(json.dumps(_computed(geometry)) + "\n")
            file.flush()
            if progress is not None:
                progress(count, n)
    return path


def _begin(path: Path, seed: int) -> list[dict[str, Any]]:
    """Lines of molecules that are there; a new file gets its first line, a line cut short by a crash is removed."""
    versions = {name: package_version(name) for name in ("qm9pack", "tblite", "pyscf", "numpy")}
    if not path.exists():
        atoms = {level: dict(atomic_energies(level)) for level in COMPUTED}
        header = {"format": FORMAT, "seed": seed, "versions": versions, "atomic_energies": atoms}
        path.write_text(json.dumps(header) + "\n", encoding="utf-8")
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    header, lines = read_campaign(path)
    for name, value in (("seed", seed), ("versions", versions)):
        if header[name] != value:
            raise DataError(f"{path} was begun with {name} {header[name]}, this is {value}; choose another folder")
    return lines


def read_campaign(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """First line and molecules of a campaign's file.

    Raises
    ------
    FileFormatError
        If it isn't one.
    """
    try:
        header, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        right = header["format"] == FORMAT and all(set(line["levels"]) == set(COMPUTED) for line in lines)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path} is no file of computed levels, or it is damaged: {error}") from error
    if not right:
        raise FileFormatError(f"{path} isn't of the format {FORMAT!r} with the levels {', '.join(COMPUTED)}")
    return header, lines


def _computed(geometry: Geometry) -> dict[str, Any]:
    values: dict[str, dict[str, float] | None] = {}
    failures: dict[str, str] = {}
    for level in COMPUTED:
        try:
            values[level] = asdict(electronic(level, geometry.elements, geometry.positions))
        except NumericalError as error:
            values[level], failures[level] = None, str(error)
    return {
        "number": geometry.number,
        "smiles": geometry.smiles,
        "elements": list(geometry.elements),
        "levels": values,
        "failures": failures,
    }
