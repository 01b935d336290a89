"""What can't be used is named, with what was expected and the remedy; what can be answered is answered."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from molecule_tables import SMALL, table

from surrogates import MolecularNet
from surrogates.errors import DataError, FitWarning, MissingExtraError
from surrogates.molecules import FittedMolecularNet, molecule_features

GP = MolecularNet(model="gp")


def changed(row: int, smiles: str) -> pd.DataFrame:
    found = table()
    found.loc[row, "smiles"] = smiles
    return found


@pytest.mark.parametrize(
    ("smiles", "words"),
    [("C1CC", r"the SMILES 'C1CC' in row 3 can't be read by RDKit"), ("", r"the SMILES '' in row 3 is empty")],
)
def test_smiles_that_cant_be_read_are_named_with_their_row(smiles: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        GP.fit(changed(3, smiles))
    with pytest.warns(FitWarning, match=f"1 rows were left out: {words}"):
        fitted = MolecularNet(model="gp", invalid="drop").fit(changed(3, smiles))
    assert (
        fitted.report.molecules == table().drop(index=3).dropna(how="all", subset=["weight", "logp", "tpsa"]).shape[0]
    )


def test_the_rest_is_predicted_when_asked(gp: FittedMolecularNet) -> None:
    asked = ["CCO", "not a molecule", "c1ccccc1", ""]
    with pytest.raises(DataError, match=r"'not a molecule' in row 1 can't be read by RDKit, and 1 more like it"):
        gp.predict(asked)
    found = gp.predict(asked, invalid="nan")
    good = gp.predict(["CCO", "c1ccccc1"])
    np.testing.assert_array_equal(found["mean"].isel(molecule=[0, 2]), good["mean"])
    assert np.isnan(found["mean"].isel(molecule=[1, 3])).all()
    assert gp.predict(["?"], invalid="nan").sizes == {"molecule": 1, "property": 3}
    assert gp.predict([]).sizes == {"molecule": 0, "property": 3}


def test_salts_are_taken_whole_and_told() -> None:
    with pytest.warns(FitWarning, match=r"1 molecules have several fragments, such as 'C\[NH3\+\]\.\[Cl-\]'"):
        fitted = GP.fit(changed(0, "C[NH3+].[Cl-]"))
    assert np.isfinite(fitted.predict(["C[NH3+].[Cl-]", "[Na+].[Cl-]"])["mean"]).all()


@pytest.mark.parametrize(("count", "words"), [(0, "property 'tpsa' has no labels"), (1, "property 'tpsa' has 1 label")])
def test_a_property_needs_two_labels(count: int, words: str) -> None:
    few = table()
    few.loc[few.index[count:], "tpsa"] = np.nan
    few.loc[few.index[:count], "tpsa"] = 1.0
    with pytest.raises(DataError, match=f"{words}; at least 2 are needed.*leave it out"):
        GP.fit(few)


def test_a_constant_property_is_told_and_predicted() -> None:
    with pytest.warns(FitWarning, match="property 'charge' is 7 in all its 62 labels; nothing can be learnt of it"):
        fitted = GP.fit(table(62, keep=1.0).assign(charge=7.0))
    found = fitted.predict(["CCO", "OCCN"]).sel(property="charge")
    np.testing.assert_allclose(found["mean"], 7.0, rtol=1e-12)
    np.testing.assert_allclose(found["upper"] - found["lower"], 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (table().assign(weight=np.inf), "property 'weight' is infinite in row 0; use NaN where nothing is known"),
        (table().rename(columns={"smiles": "molecule"}), "the table has no variable 'smiles' of SMILES"),
        (table()[["smiles"]], "the table has no property: no variable of numbers over its molecules"),
        ("CCO", "the table is a str; give an xarray Dataset or a pandas DataFrame"),
    ],
)
def test_tables_that_cant_be_used(data: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        GP.fit(data)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            MolecularNet(properties=("weight", "boiling")),
            "the table has no property 'boiling'; it has weight, logp, tpsa",
        ),
        (MolecularNet(properties=("weight", "name")), "variable 'name' has dtype object; numbers are wanted"),
        (MolecularNet(embedding="vectors"), r"no variable 'vectors', which MolecularNet\(embedding=...\) names"),
        (MolecularNet(bounds={"weight": "sign"}), r"no variable 'sign', which bounds\['weight'\] names"),
        (MolecularNet(bounds={"weight": "name"}), "'name' has 'x' in row 0; it may have '<', '>', '=' and ''"),
    ],
)
def test_variables_that_arent_there(model: MolecularNet, words: str) -> None:
    with pytest.raises(DataError, match=words):
        model.fit(table().assign(name="x"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MolecularNet(model="forest"), r"model is 'forest'; choose one of \('auto', 'gp', 'net'\)"),
        (lambda: MolecularNet(sharing="none"), "sharing is 'none'; choose one of"),
        (lambda: MolecularNet(likelihood="poisson"), "likelihood is 'poisson'; choose one of"),
        (lambda: MolecularNet(invalid="skip"), "invalid is 'skip'; choose one of"),
        (lambda: MolecularNet(conflicts="peace"), "'peace'"),
        (lambda: MolecularNet(members=1), "members is 1; it must be an integer >= 2"),
        (lambda: MolecularNet(epochs=-1), "epochs is -1"),
        (lambda: MolecularNet(rate=0.0), "rate is 0.0"),
        (lambda: MolecularNet(batch=0), "batch is 0"),
        (lambda: MolecularNet(hidden=()), "hidden is"),
        (lambda: MolecularNet(ranking=1.0), "ranking is 1.0; it must be a share"),
        (lambda: MolecularNet(model="gp", bounds={"a": "b"}), "bounds are taken by networks only"),
    ],
)
def test_settings_that_cant_be_used(make: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()


def test_questions_that_cant_be_answered(gp: FittedMolecularNet) -> None:
    with pytest.raises(DataError, match=r"'CCO' is one text; give a list of SMILES"):
        gp.predict("CCO")
    with pytest.raises(DataError, match=r"entry 1 is \('C', 'O'\); 1 SMILES are expected: smiles"):
        gp.predict(["C", ("C", "O")])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="invalid is 'drop'; it must be 'raise' or 'nan'"):
        gp.predict(["C"], invalid="drop")
    with pytest.raises(DataError, match=r"level is 1\.5"):
        gp.predict(["C"], level=1.5)


def test_embeddings_are_checked() -> None:
    data = xr.Dataset.from_dataframe(table().rename_axis("molecule"))
    vectors = np.random.default_rng(0).normal(size=(data.sizes["molecule"], 4))
    net = MolecularNet(model="gp", embedding="vectors")
    fitted = net.fit(data.assign(vectors=(("molecule", "feature"), vectors)))
    assert fitted.properties == ("weight", "logp", "tpsa")
    with pytest.raises(DataError, match="the model was fitted with the embedding 'vectors'; give a table that has it"):
        fitted.predict(["CCO"])
    with pytest.raises(DataError, match="have 3 descriptors, the fitted model's 4"):
        fitted.predict(data.assign(vectors=(("molecule", "feature"), vectors[:, :3])))
    vectors[5, 1] = np.nan
    with pytest.raises(DataError, match="the embedding 'vectors' has NaN or infinite entries in row 5"):
        net.fit(data.assign(vectors=(("molecule", "feature"), vectors)))


def test_a_missing_rdkit_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = table()
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(MissingExtraError, match=r"rdkit is not installed.*\[molecules\]"):
        MolecularNet(**SMALL).fit(data)
    with pytest.raises(MissingExtraError, match=r"\[molecules\]"):
        molecule_features([("CCCCCCCCCCCCCCCCC",)])
