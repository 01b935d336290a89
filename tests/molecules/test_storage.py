"""Files of molecular models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from molecule_tables import SMALL, SMILES, table

import surrogates
from surrogates import MolecularNet, persistence
from surrogates.errors import DataError, FileFormatError
from surrogates.molecules import FittedMolecularNet
from surrogates.molecules.fitted import KIND
from surrogates.training.conflicts import AIM

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "gp": {"model": "gp"},
    "gp alone": {"model": "gp", "sharing": "single"},
    "net": SMALL,
    "net together": {**SMALL, "sharing": "shared", "hidden": (16, 8), "fingerprint": None},
    "net alone": {**SMALL, "sharing": "single", "likelihood": "gaussian"},
    "aim by name": {**SMALL, "conflicts": "aim", "ranking": 0.2},
    "aim with defaults": {**SMALL, "conflicts": AIM()},
}


def assert_equal_after_reading(fitted: FittedMolecularNet, path: Path) -> None:
    fitted.save(path)
    again = surrogates.load(path)
    assert isinstance(again, FittedMolecularNet)
    xr.testing.assert_identical(again.predict(SMILES), fitted.predict(SMILES))
    xr.testing.assert_identical(again.affinity(), fitted.affinity())
    assert again.report == fitted.report
    assert repr(again) == repr(fitted)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_file_holds_the_model_bit_for_bit(name: str, tmp_path: Path) -> None:
    fitted = MolecularNet(**CONFIGURATIONS[name]).fit(table(30))
    assert_equal_after_reading(fitted, tmp_path / "model")
    if name not in ("gp", "net together"):
        return
    again = surrogates.load(tmp_path / "model")
    more = table(30)[["smiles", "logp"]].rename(columns={"logp": "more"})
    wider = again.add_task(more, from_few=8)
    xr.testing.assert_identical(wider.predict(SMILES), fitted.add_task(more, from_few=8).predict(SMILES))
    assert_equal_after_reading(wider, tmp_path / "wider")


def test_a_file_holds_bounds_constants_and_embeddings(tmp_path: Path) -> None:
    data = xr.Dataset({name: ("m", column.to_numpy()) for name, column in table(30).items()})
    data["sign"] = ("m", np.where(np.arange(30) % 3 == 0, ">", ""))
    data["e"] = (("m", "f"), np.random.default_rng(0).standard_normal((30, 4)))
    data["c"] = ("m", np.full(30, 2.5))
    with pytest.warns(UserWarning, match="nothing can be learnt"):
        fitted = MolecularNet(**SMALL, bounds={"logp": "sign"}, embedding="e").fit(data)
    fitted.save(tmp_path / "model")
    xr.testing.assert_identical(surrogates.load(tmp_path / "model").predict(data), fitted.predict(data))


def test_a_property_that_couldnt_be_compared_is_stored(tmp_path: Path) -> None:
    data = table(30)[["smiles", "weight", "logp"]].assign(c=1.0)
    with pytest.warns(UserWarning, match="nothing can be learnt"):
        fitted = MolecularNet(model="gp").fit(data)
    assert fitted.report.properties["c"].change is None
    assert_equal_after_reading(fitted, tmp_path / "model")


def test_options_of_a_method_arent_lost_in_silence(tmp_path: Path) -> None:
    fitted = MolecularNet(**SMALL, conflicts=AIM(rate=0.1)).fit(table(20))
    with pytest.raises(DataError, match=re.escape("has options of its own, which a data file doesn't hold")):
        fitted.save(tmp_path / "model")


def test_files_that_are_damaged(gp: FittedMolecularNet, tmp_path: Path) -> None:
    gp.save(tmp_path / "model")
    data = bytearray((tmp_path / "model").read_bytes())
    data[-7] ^= 1
    (tmp_path / "flipped").write_bytes(data)
    (tmp_path / "short").write_bytes(data[:500])
    with pytest.raises(FileFormatError, match="is damaged: its content doesn't match its SHA-256 digest"):
        surrogates.load(tmp_path / "flipped")
    with pytest.raises(FileFormatError, match="is damaged: it is cut off"):
        surrogates.load(tmp_path / "short")
    archive = persistence.read(tmp_path / "model")
    arrays = {name: array for name, array in archive.arrays.items() if name != "tasks.std"}
    persistence.write(tmp_path / "lacking", KIND, archive.header, arrays)
    with pytest.raises(FileFormatError, match=r"lacks what a 'molecular-net' needs \('tasks.std'\)"):
        surrogates.load(tmp_path / "lacking")
