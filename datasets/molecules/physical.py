"""Physical properties of organic molecules out of the package `chemicals`, each value with its provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from surrogates.errors import DataError, FileFormatError
from surrogates.structures import Structure, read_structures

from .physical_sources import PROPERTIES, PROVENANCES, Property
from .sources import package_folder, package_version, read_columns
from .splits import FRACTIONS
from .table import Molecules, of_structures, split_rows

#: the most usual chemicals are in "example user db" only
IDENTIFIERS = tuple(
    f"{name}.tsv"
    for name in (
        "chemical identifiers pubchem small",
        "chemical identifiers example user db",
        "Inorganic db",
        "chemical identifiers pubchem large",
    )
)


def physical_properties(
    *,
    provenance: str | Sequence[str] = "experimental",
    properties: Sequence[str] | None = None,
    only_ordinary: bool = True,
    split: str = "scaffold",
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
) -> Molecules:
    """Boiling points, critical data and more, sparse: most molecules have one or two of eleven properties.

    Values are measured ones unless others are asked for, and each says where it is from. A value is taken from the best
    kind of source that has it, of those asked for, "experimental" before "mixed" before "estimated": the median of three
    or more sources of that kind, the preferred one of two (`physical_sources` has kinds and order of all tables). How far
    these sources are apart stays beside it; 1 % of the boiling points and 3 % of the melting points with
    two sources or more differ by 30 K.

    CAS numbers become molecules by the package's table of SMILES. Two numbers with one SMILES are merged, as if one source
    had read several samples (their median), and widen the spread; SMILES that differ in stereo are different molecules.

    Parameters
    ----------
    provenance : which kind or kinds, out of "experimental", "mixed", "estimated"
    properties : names out of `physical_sources.PROPERTIES`; None for all eleven
    only_ordinary : only molecules with carbon, of one fragment, neutral, no radicals or isotope labels; else all
    split, fractions, seed : as in `Molecules.split`

    Returns
    -------
    Molecules, SI units (dipole moments in debye). Coordinates for each property: ``<property>_provenance`` (the kind, ""
    where there is no value), ``<property>_source`` (labels of the tables that were used, joined by "+") and
    ``<property>_spread`` (largest minus smallest of their values, NaN where there was one).

    Raises
    ------
    MissingExtraError
        If chemicals or RDKit isn't installed.
    DataError
        If an argument can't be used.
    FileFormatError
        If a file is damaged.
    """
    provenance = (provenance,) if isinstance(provenance, str) else tuple(provenance)
    chosen = tuple(PROPERTIES) if properties is None else tuple(properties)
    for name, given, known in (
        ("properties", chosen, tuple(PROPERTIES)),
        ("provenance", provenance, PROVENANCES),
    ):
        wrong = [entry for entry in given if entry not in known]
        if wrong or not given:
            raise DataError(f"{name} are {given}; one or more of {', '.join(known)} are expected")
    folder = package_folder("chemicals")
    tables = {name: _readings(folder, PROPERTIES[name], provenance) for name in chosen}
    structures = _structures(folder, sorted({cas for table in tables.values() for cas in table.index}), only_ordinary)
    merged = {name: _merged(table, structures, PROPERTIES[name], provenance) for name, table in tables.items()}
    rows = sorted(set().union(*(table.index for table in merged.values())))
    scaffolds = {structure.smiles: structure for structure in structures.values()}
    data = of_structures([scaffolds[smiles] for smiles in rows])
    data.attrs = {
        "source": f"chemicals {package_version('chemicals')} (Caleb Bell and contributors), tables named per value",
        "provenance": ", ".join(provenance),
    }
    for name in chosen:
        table = merged[name].reindex(rows)
        units = {"units": PROPERTIES[name].units}
        data[name] = ("molecule", table["value"].to_numpy(np.float64), {**units, "long_name": PROPERTIES[name].meaning})
        for kind in ("provenance", "source"):
            data.coords[f"{name}_{kind}"] = ("molecule", table[kind].fillna("").to_numpy(dtype=str))
        data.coords[f"{name}_spread"] = ("molecule", table["spread"].to_numpy(np.float64), units)
    return Molecules(data, split_rows(data, split, fractions, seed))


def plain_cas(cas: str) -> str:
    """A CAS number without hyphens and leading zeros: some tables write "50-00-0", others 50000."""
    return cas.strip().replace("-", "").lstrip("0")


def _readings(folder: Path, entry: Property, provenance: Sequence[str]) -> pd.DataFrame:
    """CAS numbers by sources (in order of preference), NaN where a source says nothing."""
    columns = {}
    for source in entry.sources:
        if source.provenance not in provenance:
            continue
        path = folder / source.file
        table = read_columns(path, ["CAS", entry.column], separator="\t", numbers=[entry.column]).dropna()
        lowest, highest = entry.limits(source.provenance)
        table = table[(table[entry.column] > lowest) & (table[entry.column] < highest)]
        columns[source.label] = table.groupby(table["CAS"].map(plain_cas))[entry.column].median()
    return pd.DataFrame(columns)


def _structures(folder: Path, numbers: Sequence[str], only_ordinary: bool) -> dict[str, Structure]:
    """CAS number -> structure, of those numbers that have one."""
    spelt: dict[str, str] = {}
    wanted = set(numbers)
    for name in IDENTIFIERS:
        path = folder / "Identifiers" / name
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:  # rows differ in length: synonyms follow
                    _, cas, _, _, smiles, _ = line.split("\t", 5)
                    if (key := plain_cas(cas)) in wanted:
                        spelt.setdefault(key, smiles)
        except (OSError, ValueError) as error:
            raise FileFormatError(
                f"{path} can't be read ({error}); lines of PubChem number, CAS number, formula, mass, SMILES and names are "
                "expected: install chemicals again"
            ) from error
    found = zip(spelt, read_structures(list(spelt.values())), strict=True)
    return {cas: item for cas, item in found if item is not None and (item.is_ordinary or not only_ordinary)}


def _merged(
    table: pd.DataFrame, structures: dict[str, Structure], entry: Property, provenance: Sequence[str]
) -> pd.DataFrame:
    """Canonical SMILES by value, provenance, source and spread."""
    known = table[[cas in structures for cas in table.index]]
    smiles = pd.Index([structures[cas].smiles for cas in known.index])
    by_molecule = known.groupby(smiles).median()
    lowest, highest = known.groupby(smiles).min(), known.groupby(smiles).max()  # of isomers
    result = pd.DataFrame(
        {"value": np.nan, "provenance": "", "source": "", "spread": np.nan}, index=by_molecule.index
    ).astype({"provenance": object, "source": object})
    for kind in reversed([kind for kind in PROVENANCES if kind in provenance]):  # the best is written last
        labels = [source.label for source in entry.sources if source.provenance == kind]
        part = by_molecule[labels]
        part = part[part.notna().any(axis=1)]
        if part.empty:
            continue
        count = part.notna().sum(axis=1)
        preferred = part.bfill(axis=1).iloc[:, 0]
        used = part.notna().to_numpy()
        spread = (highest.loc[part.index, labels].max(axis=1) - lowest.loc[part.index, labels].min(axis=1)).to_numpy()
        several = (known[labels].notna().groupby(smiles).sum().sum(axis=1).loc[part.index] > 1).to_numpy()
        result.loc[part.index, "value"] = np.where(count >= 3, part.median(axis=1), preferred)
        result.loc[part.index, "provenance"] = kind
        result.loc[part.index, "source"] = ["+".join(np.array(labels)[row]) for row in used]
        result.loc[part.index, "spread"] = np.where(several, spread, np.nan)
    return result[result["value"].notna()]
