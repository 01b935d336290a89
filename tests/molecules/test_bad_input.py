"""Input that can't be used, or only in part, and what the user is told of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from molecule_tables import SMALL, SMILES, assert_same, table

from surrogates import MolecularNet
from surrogates.errors import DataError, FitWarning
from surrogates.molecules import FittedMolecularNet

GP: dict[str, Any] = {"model": "gp"}
KINDS = pytest.mark.parametrize("options", [GP, {**SMALL, "sharing": "single"}], ids=["gp", "net"])


def small(**changes: Any) -> pd.DataFrame:
    return table(20)[["smiles", "weight"]].assign(**changes)


def with_errors() -> pd.DataFrame:
    data = small()
    data.loc[3, "smiles"], data.loc[7, "smiles"] = "C1CC", ""
    return data


def test_smiles_that_cant_be_read_are_named_with_their_row() -> None:
    with pytest.raises(DataError, match=re.escape("the SMILES 'C1CC' in row 3 can't be read by RDKit, and 1 more")):
        MolecularNet(model="gp").fit(with_errors())


@KINDS
def test_they_can_be_dropped(options: dict[str, Any]) -> None:
    model = MolecularNet(**options, invalid="drop")
    with pytest.warns(FitWarning, match="2 rows were left out: the SMILES 'C1CC' in row 3"):
        dropped = model.fit(with_errors())
    rest = model.fit(with_errors().drop(index=[3, 7]))
    assert_same(dropped.predict(SMILES), rest.predict(SMILES))


def test_the_rest_is_predicted_when_asked(fitted: FittedMolecularNet) -> None:
    with pytest.raises(DataError, match="the SMILES 'xx' in row 1 can't be read by RDKit; correct or leave out"):
        fitted.predict(["CCO", "xx"])
    answer = fitted.predict(["CCO", "xx", "", None, float("nan"), "CCN"], invalid="nan")  # type: ignore[arg-type]
    assert bool(answer["mean"].isel(molecule=slice(1, 5)).isnull().all())
    assert_same(answer.isel(molecule=[0, 5]), fitted.predict(["CCO", "CCN"]))
    assert bool(fitted.predict(["xx"], invalid="nan")["upper"].isnull().all())


def test_missing_and_empty_smiles(fitted: FittedMolecularNet) -> None:
    for given in ([""], [" "], [None], [np.nan]):
        with pytest.raises(DataError, match="in row 0 is empty"):
            fitted.predict(given)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="in row 1 is empty"):
        fitted.predict(pd.DataFrame({"smiles": ["C", None]}))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("CCO", "'CCO' is one text; give a list of SMILES, such as ['CCO']"),
        ([("C", "O")], "entry 0 is ('C', 'O'); 1 SMILES are expected: smiles"),
        (["C", 3], "entry 1 is 3; 1 SMILES are expected"),
        (pd.DataFrame({"SMILES": ["C"]}), "the table has no variable 'smiles' of SMILES; it has SMILES"),
    ],
)
def test_what_cant_be_asked(gp: FittedMolecularNet, asked: Any, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        gp.predict(asked)


def test_answers_options_are_checked(gp: FittedMolecularNet) -> None:
    with pytest.raises(DataError, match="invalid is 'drop'; it must be 'raise' or 'nan'"):
        gp.predict(["C"], invalid="drop")
    with pytest.raises(DataError, match="level is 2; it must be between 0 and 1"):
        gp.predict(["C"], level=2)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (small(weight=np.nan), "property 'weight' has no labels; at least 2 are needed"),
        (small(weight=[1.0, *[np.nan] * 19]), "property 'weight' has 1 label; at least 2 are needed"),
        (small().iloc[:0], "property 'weight' has no labels"),
        (small(weight=[1.0, np.inf] * 10), "property 'weight' is infinite in row 1; use NaN"),
        (small()[["smiles"]], "the table has no property: no variable of numbers"),
        (small()[["weight"]], "the table has no variable 'smiles' of SMILES; it has weight"),
        (small(smiles="CCO"), "of property 'weight' are of one molecule, 'CCO'"),
        ([1.0, 2.0], "the table is a list; give an xarray Dataset or a pandas DataFrame"),
    ],
)
def test_tables_that_cant_be_learnt(data: Any, words: str) -> None:
    for options in (GP, SMALL):
        with pytest.raises(DataError, match=re.escape(words)):
            MolecularNet(**options).fit(data)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"properties": ("wieght",)}, "the table has no property 'wieght'; it has weight"),
        ({"properties": ("weight", "weight")}, "property 'weight' is named twice"),
        ({"properties": ("smiles",)}, "variable 'smiles' has dtype"),
        ({"smiles": ("smiles", "solvent")}, "the table has no variable 'solvent' of SMILES"),
        ({"embedding": "e"}, "the table has no variable 'e', which MolecularNet(embedding=...) names"),
    ],
)
def test_names_that_arent_there(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        MolecularNet(**options).fit(small())


def test_one_property_is_named_by_its_text() -> None:
    assert MolecularNet(properties="logp").fit(table(20)).properties == ("logp",)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"members": 0}, "members is 0; it must be an integer >= 2"),
        ({"members": -1}, "members is -1"),
        ({"members": 2.0}, "members is 2.0"),
        ({"epochs": 0}, "epochs is 0; it must be an integer >= 1"),
        ({"epochs": -5}, "epochs is -5"),
        ({"batch": 0}, "batch is 0; it must be an integer >= 1"),
        ({"rate": 0.0}, "rate is 0.0; it must be a finite number > 0"),
        ({"rate": -1.0}, "rate is -1.0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"decay": -1.0}, "decay is -1.0; it must be a finite number >= 0"),
        ({"hidden": ()}, "hidden is (); give the width of one layer or more"),
        ({"hidden": (8, 0)}, "hidden[1] is 0; it must be an integer >= 1"),
        ({"hidden": 8}, "hidden is 8"),
        ({"ranking": 1.0}, "ranking is 1.0; it must be a share in [0, 1)"),
        ({"ranking": -0.1}, "ranking is -0.1"),
        ({"fingerprint": "yes"}, "fingerprint is 'yes'; it must be True, False, or None"),
        ({"model": "forest"}, "model is 'forest'; choose one of ('auto', 'gp', 'net')"),
        ({"sharing": "no"}, "sharing is 'no'; choose one of ('auto', 'shared', 'single')"),
        ({"likelihood": "cauchy"}, "likelihood is 'cauchy'"),
        ({"invalid": "nan"}, "invalid is 'nan'; choose one of ('raise', 'drop')"),
        ({"conflicts": "x"}, "the method 'x' for conflicting tasks is unknown"),
        ({"conflicts": 3}, "conflicts is 3; give a method of surrogates.training.conflicts or its name"),
        ({"smiles": ()}, "smiles is (); give the name"),
        ({"model": "gp", "bounds": {"a": "b"}}, "bounds are taken by networks only"),
    ],
)
def test_settings_are_checked_by_the_users_names(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        MolecularNet(**options)


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(ValueError, match=f"seed is {seed}; it must be an integer >= 0"):
        MolecularNet(model="gp").fit(table(20), seed=seed)


@KINDS
def test_two_labels_are_enough_and_known_to_be_few(options: dict[str, Any]) -> None:
    fitted = MolecularNet(**options).fit(pd.DataFrame({"smiles": ["CCO", "CC"], "y": [1.0, 2.0]}))
    answer = fitted.predict(["CCO", "c1ccccc1"])
    assert bool(np.isfinite(answer["mean"]).all())
    assert bool(np.isinf(answer["upper"]).all() and np.isinf(answer["lower"]).all())  # 2 labels promise no interval


@KINDS
@pytest.mark.parametrize("sharing", ["single", "auto"])
def test_a_constant_property_is_that_constant(options: dict[str, Any], sharing: str) -> None:
    model = MolecularNet(**{**options, "sharing": sharing})
    with pytest.warns(FitWarning, match=r"property 'c' is 0\.1 in all its 20 labels; nothing can be learnt of it"):
        fitted = model.fit(table(20)[["smiles", "logp"]].assign(c=0.1))
    answer = fitted.predict(SMILES).sel(property="c")
    assert set(answer["mean"].values.tolist()) == {0.1}
    assert bool((answer["std"] == 0).all() and (answer["upper"] == 0.1).all())
    assert (fitted.report.properties["c"].error, fitted.report.properties["c"].coverage) == (0.0, 1.0)


@KINDS
def test_salts_are_taken_as_a_whole_and_told(options: dict[str, Any]) -> None:
    data = small()
    data.loc[0, "smiles"], data.loc[0, "weight"] = "CC(=O)[O-].[Na+]", 82.0
    with pytest.warns(FitWarning, match=r"1 molecules have several fragments, such as 'CC\(=O\)\[O-\]\.\[Na\+\]'"):
        fitted = MolecularNet(**options).fit(data)
    assert any("several fragments" in text for text in fitted.report.warnings)
    assert np.isfinite(fitted.predict(["[Na+].CC(=O)[O-]"])["mean"].item())


@KINDS
def test_huge_and_tiny_numbers(options: dict[str, Any]) -> None:
    plain = MolecularNet(**options).fit(small()).predict(SMILES)["mean"]
    for size in (1e-300, 1e300):
        data = small(weight=small()["weight"] * size)
        answer = MolecularNet(**options).fit(data).predict(SMILES)["mean"]
        np.testing.assert_allclose(answer / size, plain, rtol=1e-3)
