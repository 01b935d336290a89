"""Entries of several components, embeddings of the user's own, and odd molecules."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from molecule_tables import SMALL, SMILES, assert_same, spelled, table, truths

from surrogates import MolecularNet
from surrogates.errors import DataError, MissingExtraError
from surrogates.molecules import FittedMolecularNet

KINDS = pytest.mark.parametrize("options", [{"model": "gp"}, {**SMALL, "sharing": "single"}], ids=["gp", "net"])
ODD = {
    "one atom": "[He]",
    "hydrogen": "[H][H]",
    "proton": "[H+]",
    "metal": "[U]",
    "ion": "[NH4+]",
    "salt": "[Na+].[Cl-]",
    "isotopes": "[2H]C([2H])([2H])O",
    "stereo": "C[C@H](N)C(=O)O",
    "cis": "C/C=C\\C",
    "complex": "N[Pt](N)(Cl)Cl",
    "ferrocene": "C1=CC=C[CH-]1.C1=CC=C[CH-]1.[Fe+2]",
    "any atom": "*CC",
    "atom map": "[CH3:1]O",
    "200 atoms": "C" * 200,
    "sugar chain": "OCC1OC(O)C(O)C(O)C1" + "OCC1OC(O)C(O)C(O)C1" * 20,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_molecules_are_answered(fitted: FittedMolecularNet, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    asked = [ODD[name], spelled(ODD[name], 1)]
    capfd.readouterr()
    answer = fitted.predict(asked)
    assert all(bool(np.isfinite(answer[variable]).all()) for variable in ("mean", "std", "lower", "upper"))
    assert_same(answer.isel(molecule=[0]), answer.isel(molecule=[1]), rtol=1e-6)
    assert capfd.readouterr().err == ""  # RDKit's chatter isn't the user's business


@KINDS
def test_odd_molecules_are_learnt(options: dict[str, Any]) -> None:
    extra = pd.DataFrame({"smiles": list(ODD.values()), "logp": np.linspace(0.0, 3.0, len(ODD))})
    with pytest.warns(UserWarning, match="several fragments"):
        fitted = MolecularNet(**options, properties="logp").fit(pd.concat([table(20), extra], ignore_index=True))
    assert bool(np.isfinite(fitted.predict(SMILES)["mean"]).all())


def solutions() -> pd.DataFrame:
    """Dyes in two solvents; the property is a function of both."""
    dyes = SMILES[20:50]
    y = truths(dyes)["logp"]
    solvent = np.array(["O", "CCCCCC"])[np.arange(len(dyes)) % 2]
    return pd.DataFrame({"dye": dyes, "solvent": solvent, "y": y + 5.0 * (solvent == "O")})


@KINDS
def test_two_components(options: dict[str, Any]) -> None:
    fitted = MolecularNet(**options, smiles=("dye", "solvent")).fit(solutions())
    answer = fitted.predict([("CCc1ccccc1", "O"), ("CCc1ccccc1", "CCCCCC"), ("c1ccccc1CC", "O")])
    assert answer["dye"].values.tolist() == ["CCc1ccccc1", "CCc1ccccc1", "c1ccccc1CC"]
    wet, dry, again = answer["mean"].values[:, 0].tolist()
    assert wet > dry + 1  # the truth is 5 apart
    assert wet == pytest.approx(again, rel=1e-6)
    by_table = fitted.predict(pd.DataFrame({"dye": ["CCc1ccccc1"], "solvent": ["O"]}))
    assert by_table["mean"].item() == pytest.approx(wet, rel=1e-5)
    for asked in (["C"], [("C", "O", "O")], [("C", 1)]):
        with pytest.raises(DataError, match="2 SMILES are expected: dye, solvent"):
            fitted.predict(asked)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="the SMILES 'xx' in row 0 can't be read"):
        fitted.predict([("C", "xx")])


def embedded(width: int = 3, **changes: Any) -> xr.Dataset:
    """A property that is the embedding's first number."""
    e = np.random.default_rng(0).standard_normal((30, width))
    data = xr.Dataset({"smiles": ("m", SMILES[:30]), "y": ("m", e[:, 0]), "e": (("m", "f"), e)})
    return data.assign(changes)


def test_an_embedding_takes_the_descriptors_place() -> None:
    fitted = MolecularNet(embedding="e", model="gp").fit(embedded())
    at = xr.Dataset({"smiles": ("m", ["CCCCCCC"] * 3), "e": (("m", "f"), np.diag([1.0, 1.0, 1.0]))})
    mean = fitted.predict(at)["mean"].values[:, 0]
    assert mean[0] > 0.5
    assert np.abs(mean[1:]).max() < 0.5


@KINDS
def test_embeddings_are_checked(options: dict[str, Any]) -> None:
    model = MolecularNet(**options, embedding="e")
    fitted = model.fit(embedded())
    with pytest.raises(DataError, match="the model was fitted with the embedding 'e'; give a table that has it"):
        fitted.predict(["C"])
    with pytest.raises(DataError, match="the table has no variable 'e'"):
        fitted.predict(embedded().drop_vars("e"))
    with pytest.raises(DataError, match="the molecules have 4 descriptors, the fitted model's 3"):
        fitted.predict(embedded(4))
    holed = embedded()
    holed["e"][2, 1] = np.nan
    for call in (model.fit, fitted.predict):
        with pytest.raises(DataError, match="the embedding 'e' has NaN or infinite entries in row 2"):
            call(holed)
    with pytest.raises(DataError, match=re.escape("has shape (30,); it must be (molecules, features) = (30, ...)")):
        model.fit(embedded(e=("m", np.ones(30))))
    with pytest.raises(DataError, match="no feature of the embedding differs among the 30 molecules"):
        model.fit(embedded(e=(("m", "f"), np.ones((30, 2)))))


def test_rdkit_that_is_missing(gp: FittedMolecularNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    words = re.escape('rdkit is not installed; install it with: pip install "multitask-surrogates[molecules]"')
    with pytest.raises(MissingExtraError, match=words):
        gp.predict(["CCO"])
    with pytest.raises(MissingExtraError, match=words):
        MolecularNet().fit(pd.DataFrame({"smiles": ["C", "CC"], "y": [0.0, 1.0]}))


def test_smiles_that_are_called_as_a_part_of_the_answer_are_in_it_too() -> None:
    for name in ("mean", "units"):
        data = table(20)[["smiles", "weight"]].rename(columns={"smiles": name})
        answer = MolecularNet(smiles=name, model="gp").fit(data).predict(["CCO"])
        assert answer[f"input_{name}"].values.tolist() == ["CCO"]
        assert answer["units"].dims == ("property",)
        assert bool(np.isfinite(answer["mean"]).all())


def test_columns_may_have_numbers_for_names() -> None:
    data = table(20)[["smiles", "weight"]]
    named = MolecularNet(model="gp").fit(data.rename(columns={"weight": "7"}))
    numbered = MolecularNet(model="gp").fit(data.rename(columns={"weight": 7}))
    assert numbered.properties == ("7",)
    assert numbered.predict(SMILES[:3]).identical(named.predict(SMILES[:3]))


def test_a_configuration_does_not_change_with_the_users_dictionary() -> None:
    bounds = {"weight": "sign"}
    model = MolecularNet(bounds=bounds)
    bounds["logp"] = "sign"
    assert dict(model.bounds) == {"weight": "sign"}
