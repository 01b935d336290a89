"""Physical properties: known values, where each is from, and that estimates come only when asked for."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from packages import hide_package, put_package

from surrogates.datasets.molecules import Molecules, physical_properties
from surrogates.datasets.molecules.physical import plain_cas
from surrogates.datasets.molecules.physical_sources import PROPERTIES, PROVENANCES
from surrogates.errors import DataError, FileFormatError, MissingExtraError
from surrogates.structures import checked_structures

IDENTIFIERS = "Identifiers/chemical identifiers {}.tsv"


@pytest.fixture(scope="module")
def measured() -> Molecules:
    return physical_properties()


@pytest.fixture(scope="module")
def table(measured: Molecules) -> xr.Dataset:
    return measured.data.set_index(molecule="smiles")


@pytest.fixture(scope="module")
def everything() -> xr.Dataset:
    return physical_properties(
        provenance=PROVENANCES, properties=["critical_temperature"], split="random"
    ).data.set_index(molecule="smiles")


@pytest.mark.parametrize(
    ("smiles", "name", "value", "tolerance"),
    [  # textbook values, CRC Handbook and NIST WebBook
        ("CCO", "boiling_point", 351.4, 0.3),
        ("CCO", "melting_point", 159.0, 0.5),
        ("CCO", "enthalpy_of_formation", -235e3, 1e3),
        ("CCO", "dipole_moment", 1.69, 0.05),
        ("CCO", "entropy", 282, 2),
        ("c1ccccc1", "critical_temperature", 562.0, 0.5),
        ("c1ccccc1", "critical_pressure", 4.9e6, 2e4),
        ("c1ccccc1", "critical_volume", 2.56e-4, 3e-6),
        ("c1ccccc1", "acentric_factor", 0.21, 0.003),
        ("c1ccccc1", "boiling_point", 353.2, 0.2),
        ("c1ccccc1", "enthalpy_of_fusion", 9.87e3, 50),
        ("c1ccccc1", "flash_point", 262, 1),
        ("CCCCCC", "boiling_point", 341.9, 0.3),
        ("C", "critical_temperature", 190.6, 0.2),
        ("c1ccc2ccccc2c1", "melting_point", 353.4, 0.6),
    ],
)
def test_known_values(table: xr.Dataset, smiles: str, name: str, value: float, tolerance: float) -> None:
    assert float(table[name].sel(molecule=smiles)) == pytest.approx(value, abs=tolerance)


def test_units_and_names(measured: Molecules) -> None:
    assert measured.properties == tuple(PROPERTIES)
    for name, entry in PROPERTIES.items():
        assert measured.data[name].attrs == {"units": entry.units, "long_name": entry.meaning}
        assert measured.data[f"{name}_spread"].attrs["units"] == entry.units
        assert measured.data[name].dtype == np.float64
        assert not np.isinf(measured.data[name]).any()


def test_no_value_is_an_estimate_unless_asked_for(measured: Molecules) -> None:
    for name, entry in PROPERTIES.items():
        known = measured.data[name].notnull().values
        kinds, labels = (measured.data[f"{name}_{what}"].values for what in ("provenance", "source"))
        assert set(kinds[known].tolist()) == {"experimental"}
        assert set(kinds[~known].tolist()) <= {""}
        used = {label for joined in labels[known].tolist() for label in joined.split("+")}
        assert used <= {source.label for source in entry.sources if source.provenance == "experimental"}
        assert not used & {"YAWS", "JOBACK", "WILSON_JASPERSON", "FEDORS", "PSRK", "COMMON_CHEMISTRY"}


def test_estimates_fill_in_only_where_nothing_better_is(table: xr.Dataset, everything: xr.Dataset) -> None:
    for name in everything.data_vars:
        kinds = pd.Series(everything[f"{name}_provenance"].values)
        assert set(kinds) <= {"", *PROVENANCES}
        assert all((kinds == kind).sum() > 100 for kind in PROVENANCES)
        shared = table[name].dropna("molecule")["molecule"].values
        np.testing.assert_array_equal(everything[name].sel(molecule=shared), table[name].sel(molecule=shared))
    estimated = everything["critical_temperature"].values[
        everything["critical_temperature_provenance"].values == "estimated"
    ]
    assert 50 < estimated.min() < estimated.max() < 1500  # poles reach to 10,746 K


def test_a_value_follows_from_its_tables_by_the_rule(table: xr.Dataset) -> None:
    """Read again with pandas: the median of three sources, the preferred one of two, and how far they are apart."""
    spec = find_spec("chemicals")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    column, chosen = "Tb", {"CCO": "64-17-5", "CC(C)=O": "67-64-1", "Cc1ccccc1O": "95-48-7", "CCCCCCCCCCC": "1120-21-4"}
    sources = {
        source.label: source.file
        for source in PROPERTIES["boiling_point"].sources
        if source.provenance == PROVENANCES[0]
    }
    assert list(sources) == ["HEOS", "CRC", "WEBBOOK"]
    read = {label: pd.read_csv(folder / file, sep="\t", dtype={"CAS": str}) for label, file in sources.items()}
    counts = set()
    for smiles, cas in chosen.items():
        values: dict[str, float] = {}
        for label, data in read.items():
            rows = data[data["CAS"].str.replace("-", "") == cas.replace("-", "")][column].dropna()
            values |= {label: float(rows.iloc[0])} if len(rows) else {}
        wanted = np.median(list(values.values())) if len(values) > 2 else next(iter(values.values()))
        found = table.sel(molecule=smiles)
        counts.add(len(values))
        assert float(found["boiling_point"]) == wanted
        assert str(found["boiling_point_source"].values) == "+".join(values)
        assert float(found["boiling_point_spread"]) == pytest.approx(max(values.values()) - min(values.values()))
    assert counts == {2, 3}


def test_errors_of_the_tables_are_left_out(measured: Molecules, table: xr.Dataset) -> None:
    assert float(table["critical_temperature"].sel(molecule="c1ccc2c(c1)ccc1ccccc12")) == pytest.approx(869, abs=1)
    for name in ("boiling_point", "melting_point", "critical_temperature", "critical_pressure", "critical_volume"):
        assert float(measured.data[name].min()) > 0


def test_only_ordinary_molecules_by_default(measured: Molecules) -> None:
    smiles = measured.data["smiles"].values.tolist()
    assert all(structure.is_ordinary for structure in checked_structures(smiles[::10]))
    assert len(set(smiles)) == len(smiles)
    whole = physical_properties(properties=["boiling_point"], only_ordinary=False, split="random").data
    water = whole.set_index(molecule="smiles")["boiling_point"].sel(molecule="O")
    assert float(water) == pytest.approx(373.1, abs=0.2)


def test_the_parts_share_no_scaffold(measured: Molecules) -> None:
    parts = (measured.train, measured.validation, measured.test)
    assert [round(part.sizes["molecule"] / measured.data.sizes["molecule"], 2) for part in parts] == [0.8, 0.1, 0.1]
    for key in ("scaffold", "connectivity"):
        seen = [set(part[key].values.tolist()) - {""} for part in parts]
        assert sum(map(len, seen)) == len(set(measured.data[key].values.tolist()) - {""})
    again = physical_properties(properties=["boiling_point"], seed=1)
    assert again.rows.test.tolist() == again.split("scaffold", seed=1).rows.test.tolist()


def test_cas_numbers_are_read_in_both_spellings() -> None:
    assert plain_cas("50-00-0") == plain_cas("50000") == plain_cas("0050-00-0 ") == "50000"


def _small(folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: str) -> None:
    """A package `chemicals` with three molecules that have boiling points."""
    lines = {
        "small": "1\t50-00-0\tCH2O\t30\tC=O\tx\n",
        "large": "2\t64-17-5\tC2H6O\t46\tCCO\tx\ty\n3\t64175-1\tC2H6O\t46\tOCC\tx\n",
    }
    files = {
        **{IDENTIFIERS.format(f"pubchem {name}"): text for name, text in lines.items()},
        IDENTIFIERS.format("example user db"): "",
        "Identifiers/Inorganic db.tsv": "4\t7732-18-5\tH2O\t18\tO\tx\n",
        "Misc/heos_constants.tsv": "CAS\tTb\n64-17-5\t351.0\n",
        "Misc/Physical Constants of Organic Compounds.csv": "CAS\tTb\n64-17-5\t352.0\n50-00-0\t254.0\n",
        "Misc/webbook_constants.tsv": "CAS\tTb\n64175\t\n641751\t361.0\n50000\t0\n",
        **changed,
    }
    put_package(folder, monkeypatch, "chemicals", files)


def test_two_numbers_of_one_molecule_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small(tmp_path, monkeypatch)
    data = physical_properties(properties=["boiling_point"], fractions=(1, 0, 0)).data
    assert data["smiles"].values.tolist() == ["C=O", "CCO"]
    assert data["boiling_point"].values.tolist() == [
        254.0,
        352.0,
    ]  # 0 K isn't a boiling point; the median of 351, 352, 361
    assert data["boiling_point_source"].values.tolist() == ["CRC", "HEOS+CRC+WEBBOOK"]
    np.testing.assert_array_equal(data["boiling_point_spread"].values, [np.nan, 10.0])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"Misc/heos_constants.tsv": "CAS\tTc\n64-17-5\t351.0\n"}, "with the columns CAS, Tb is"),
        (
            {"Misc/heos_constants.tsv": "CAS\tTb\n64-17-5\t351,0\n"},
            "column 'Tb', row 0: found '351,0', expected a number",
        ),
        ({IDENTIFIERS.format("pubchem large"): "no tabs\n"}, "pubchem large.tsv can't be read"),
    ],
)
def test_damaged_files_are_told(
    changed: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _small(tmp_path, monkeypatch, **changed)
    with pytest.raises(FileFormatError, match=told):
        physical_properties(properties=["boiling_point"], fractions=(1, 0, 0))


def test_bad_arguments_and_a_missing_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        DataError, match=r"provenance are \('guessed',\); one or more of experimental, mixed, estimated"
    ):
        physical_properties(provenance=("guessed",))
    with pytest.raises(DataError, match=r"provenance are \('guess',\)"):
        physical_properties(provenance="guess")
    with pytest.raises(DataError, match=r"properties are \('colour',\); one or more of boiling_point"):
        physical_properties(properties=("colour",))
    with pytest.raises(DataError, match=r"properties are \(\); one or more"):
        physical_properties(properties=())
    hide_package(monkeypatch, "chemicals")
    with pytest.raises(MissingExtraError, match=r"chemicals is not installed.*\[molecule-data\]"):
        physical_properties()
