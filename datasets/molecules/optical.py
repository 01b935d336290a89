"""Deep4Chem: how organic dyes absorb and emit light, in many solvents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from surrogates.structures import Structure, read_structures

from .sources import package_folder, package_version, read_columns
from .splits import FRACTIONS
from .table import Molecules, of_structures, split_rows

REMEDY = "pip install --no-deps D4CMPP (its dependency dgl isn't needed: only the table inside is read)"
#: our name -> column, units, what it is
PROPERTIES = {
    "absorption_maximum": ("Absorption max (nm)", "nm", "wavelength of the absorption maximum"),
    "emission_maximum": ("Emission max (nm)", "nm", "wavelength of the emission maximum"),
    "log_lifetime": ("Lifetime (ns)", "1", "log10 of the fluorescence lifetime in ns"),
    "quantum_yield": ("Quantum yield", "1", "photoluminescence quantum yield"),
    "log_extinction": ("log(e/mol-1 dm3 cm-1)", "1", "log10 of the molar extinction coefficient in dm3/(mol cm)"),
    "absorption_width": ("abs FWHM (nm)", "nm", "full width at half maximum of absorption, as given in nm"),
    "emission_width": ("emi FWHM (nm)", "nm", "full width at half maximum of emission, as given in nm"),
    "absorption_width_cm": ("abs FWHM (cm-1)", "1/cm", "full width at half maximum of absorption, as given in 1/cm"),
    "emission_width_cm": ("emi FWHM (cm-1)", "1/cm", "full width at half maximum of emission, as given in 1/cm"),
}


def optical(*, split: str = "scaffold", fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0) -> Molecules:
    """Deep4Chem (Joung, Han, Jeong & Park, Sci. Data 7, 295, 2020) out of the package D4CMPP.

    One row per pair of chromophore and solvent, along ``molecule``. Repeated pairs are averaged; a coordinate
    ``<property>_spread`` keeps the standard deviation of their readings (n - 1; NaN where there was one), and
    ``replicate_noise`` in the attributes of a property is the pooled one: what a single reading is worth. Pairs of which
    RDKit can't read a SMILES are left out; their number is in the attributes. Widths were reported in nm or in 1/cm and
    stay apart. Both splits below keep a chromophore, in whatever solvents, on one side.

    Parameters
    ----------
    split : "scaffold", "random" (by chromophore) or a coordinate; see `Molecules.split`
    fractions, seed : as there

    Returns
    -------
    Molecules. ``smiles`` is the chromophore. Coordinates of its own: ``solvent`` (SMILES), ``is_neat`` (solvent =
    chromophore: solid or neat), ``readings`` (how many rows were averaged), and the spreads.

    Raises
    ------
    MissingExtraError
        If D4CMPP or RDKit isn't installed.
    FileFormatError
        If the file is damaged.
    DataError
        If the split can't be made.
    """
    path = package_folder("D4CMPP", REMEDY) / "_Data" / "optical.csv"
    columns = [column for column, _, _ in PROPERTIES.values()]
    table = read_columns(path, ["Chromophore", "Solvent", *columns], numbers=columns)
    known: dict[str, Structure] = {}
    for name in ("Chromophore", "Solvent"):
        spelt = dict(zip(table[name], read_structures(table[name].tolist()), strict=True))
        known |= {structure.smiles: structure for structure in spelt.values() if structure is not None}
        table[name] = table[name].map(lambda text, spelt=spelt: s.smiles if (s := spelt[text]) else None)
    unreadable = table["Chromophore"].isna() | table["Solvent"].isna()
    table = table[~unreadable].rename(columns={column: name for name, (column, _, _) in PROPERTIES.items()})
    with np.errstate(divide="ignore"):
        lifetime = np.log10(table["log_lifetime"].to_numpy())
    table["log_lifetime"] = np.where(np.isfinite(lifetime), lifetime, np.nan)
    data = _averaged(table, known)
    data.attrs = {
        "source": f"Deep4Chem, doi 10.1038/s41597-020-00634-8, out of D4CMPP {package_version('D4CMPP')}",
        "rows_left_out": int(unreadable.sum()),
    }
    return Molecules(data, split_rows(data, split, fractions, seed))


def _averaged(table: pd.DataFrame, known: Mapping[str, Structure]) -> xr.Dataset:
    """One row per pair of chromophore and solvent."""
    pairs = table.groupby(["Chromophore", "Solvent"], sort=True)[list(PROPERTIES)]
    mean, deviation, count, rows = pairs.mean(), pairs.std(ddof=1), pairs.count(), pairs.size()
    chromophore, solvent = (mean.index.get_level_values(k).to_numpy(dtype=str) for k in (0, 1))
    data = of_structures([known[smiles] for smiles in chromophore.tolist()])
    data.coords["solvent"] = ("molecule", solvent)
    data.coords["is_neat"] = ("molecule", chromophore == solvent)
    data.coords["readings"] = ("molecule", rows.to_numpy(dtype=np.int64))
    for name, (_, units, meaning) in PROPERTIES.items():
        freedom = np.maximum(count[name].to_numpy() - 1, 0)
        noise = float(np.sqrt(np.nansum(deviation[name].to_numpy() ** 2 * freedom) / max(int(freedom.sum()), 1)))
        notes: dict[str, str | float] = {"units": units, "long_name": meaning}
        if freedom.any():
            notes |= {"replicate_noise": noise, "replicates": int((freedom > 0).sum())}
        data[name] = ("molecule", mean[name].to_numpy(), notes)
        data.coords[f"{name}_spread"] = ("molecule", deviation[name].to_numpy(), {"units": units})
    return data
