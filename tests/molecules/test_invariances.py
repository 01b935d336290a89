"""What must not change an answer: spelling, batches, order, units, rows that say nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from molecule_tables import SMALL, SMILES, assert_same, spelled, table

from surrogates import MolecularNet
from surrogates.molecules import FittedMolecularNet

GP: dict[str, Any] = {"model": "gp"}
KINDS = pytest.mark.parametrize("options", [GP, {**SMALL, "sharing": "shared"}], ids=["gp", "net"])


@settings(max_examples=15, deadline=None)
@given(row=st.integers(0, len(SMILES) - 1), seed=st.integers(0, 2**32 - 1))
def test_the_order_of_atoms_changes_nothing(fitted: FittedMolecularNet, row: int, seed: int) -> None:
    answer, wanted = fitted.predict([spelled(SMILES[row], seed)]), fitted.predict([SMILES[row]])
    assert_same(answer, wanted)


@KINDS
def test_a_fit_knows_molecules_not_spellings(options: dict[str, Any]) -> None:
    data = table(30)
    other = data.assign(smiles=[spelled(text, k) for k, text in enumerate(data["smiles"])])
    a, b = (MolecularNet(**options).fit(rows) for rows in (data, other))
    assert_same(a.predict(SMILES), b.predict(SMILES))


def test_a_batch_is_one_by_one(fitted: FittedMolecularNet) -> None:
    asked = SMILES[::4]
    alone = xr.concat([fitted.predict([text]) for text in asked], "molecule")
    exact = fitted.report.model.endswith("(Gaussian processes)")
    # networks compute in float32, whose rounding depends on the size of the batch
    assert_same(fitted.predict(asked), alone, rtol=1e-9 if exact else 1e-5, atol=1e-9 if exact else 1e-3)


def test_one_molecule_twice_has_one_answer(fitted: FittedMolecularNet) -> None:
    answer = fitted.predict(["CCO", "c1ccccc1", "OCC"])
    assert_same(answer.isel(molecule=[0]), answer.isel(molecule=[2]), rtol=1e-6)


@KINDS
def test_the_seed_makes_the_model(options: dict[str, Any]) -> None:
    a, b = (MolecularNet(**options).fit(table(30), seed=3) for _ in range(2))
    xr.testing.assert_identical(a.predict(SMILES), b.predict(SMILES))


def test_another_seed_makes_other_networks() -> None:
    a, b = (MolecularNet(**SMALL).fit(table(30), seed=seed).predict(SMILES) for seed in (3, 4))
    assert float(abs(a["mean"] - b["mean"]).max()) > 0.1


def test_processes_know_no_order_of_rows_and_properties() -> None:
    data = table(40)
    model = MolecularNet(model="gp", sharing="shared")
    shuffled = data.sample(frac=1, random_state=1)[["tpsa", "smiles", "weight", "logp"]]
    a, b = (model.fit(rows).predict(SMILES) for rows in (data, shuffled))
    # the optimiser meets the same function with parameters in another order, and ends within its tolerance
    assert_same(b.sel(property=a["property"].values), a, rtol=2e-3, atol=2e-3)


def test_networks_know_no_order_of_columns_but_by_their_first_weights() -> None:
    """Weights and folds are drawn by position, so that a permutation is another draw: as far as two seeds are apart."""
    data = table(40)
    model = MolecularNet(**SMALL, sharing="shared")
    first, other = (model.fit(data, seed=seed).predict(SMILES)["mean"] for seed in (0, 1))
    turned = (
        model.fit(data[["smiles", "tpsa", "logp", "weight"]]).predict(SMILES)["mean"].sel(property=first["property"])
    )
    spread = abs(first - other).mean("molecule")
    assert bool((abs(first - turned).mean("molecule") < 3 * spread).all())


@settings(max_examples=5, deadline=None)
@given(power=st.integers(-30, 30), shift=st.sampled_from([0.0, -2.0, 300.0]))
@KINDS
def test_a_change_of_units_commutes(options: dict[str, Any], power: int, shift: float) -> None:
    a = 10.0**power
    data = table(30)
    changed = data.assign(weight=a * (data["weight"] + shift))
    if options is GP:  # a network's first weights know a sign
        changed["logp"] = -data["logp"]
    model = MolecularNet(**{**options, "sharing": "single", "likelihood": "squared"})
    plain, other = model.fit(data).predict(SMILES[30:]), model.fit(changed).predict(SMILES[30:])
    weight, wanted = other.sel(property="weight") / a, plain.sel(property="weight")
    # scaled labels agree to rounding; float32 and the optimiser's tolerance pass it on
    rtol, atol = (1e-4, 1e-2) if options is GP else (1e-3, 5e-2)
    for name, by in (("mean", shift), ("lower", shift), ("upper", shift), ("std", 0.0), ("noise_std", 0.0)):
        np.testing.assert_allclose(weight[name] - by, wanted[name], rtol=rtol, atol=atol, err_msg=name)
    if options is GP:
        a_, b_ = (p.sel(property="logp") for p in (plain, other))
        np.testing.assert_allclose(-b_["mean"], a_["mean"], atol=1e-4)
        np.testing.assert_allclose(-b_["upper"], a_["lower"], atol=1e-3)


@KINDS
def test_rows_without_labels_are_no_rows(options: dict[str, Any]) -> None:
    data = table(30)
    assert data[["weight", "logp", "tpsa"]].isna().all(axis=1).any()
    a = MolecularNet(**options).fit(data)
    b = MolecularNet(**options).fit(data.dropna(how="all", subset=["weight", "logp", "tpsa"]))
    xr.testing.assert_identical(a.predict(SMILES), b.predict(SMILES))


def test_a_data_frame_is_a_dataset_and_stays_as_it_was() -> None:
    frame = table(30)
    data = xr.Dataset({name: ("mol", frame[name].to_numpy()) for name in frame})
    kept_frame, kept = frame.copy(), data.copy(deep=True)
    model = MolecularNet(model="gp")
    xr.testing.assert_identical(model.fit(frame).predict(SMILES), model.fit(data).predict(SMILES))
    xr.testing.assert_identical(data, kept)
    pd.testing.assert_frame_equal(frame, kept_frame)


def test_tables_are_asked_as_lists_are(fitted: FittedMolecularNet) -> None:
    by_list = fitted.predict(SMILES[:5])
    xr.testing.assert_identical(fitted.predict(pd.DataFrame({"smiles": SMILES[:5]}, index=list("edcba"))), by_list)
    xr.testing.assert_identical(fitted.predict(xr.Dataset({"smiles": ("x", SMILES[:5])})), by_list)


def test_units_are_kept() -> None:
    frame = table(30)
    data = xr.Dataset({name: ("molecule", frame[name].to_numpy()) for name in frame})
    data["weight"].attrs["units"] = "g/mol"
    fitted = MolecularNet(model="gp", sharing="single").fit(data)
    assert fitted.predict(["CCO"])["units"].sel(property="weight").item() == "g/mol"
    assert fitted.predict(["CCO"])["units"].sel(property="logp").item() == ""
    assert fitted.report.properties["weight"].units == "g/mol"


def test_the_answer_has_dims_and_the_asked_texts(fitted: FittedMolecularNet) -> None:
    answer = fitted.predict(["OCC", "CCO"])
    assert dict(answer.sizes) == {"molecule": 2, "property": 3}
    assert answer["smiles"].values.tolist() == ["OCC", "CCO"]
    assert bool((answer["lower"] < answer["mean"]).all() and (answer["mean"] < answer["upper"]).all())
    wide = fitted.predict(["OCC"], level=0.95)
    assert bool((wide["upper"] >= answer["upper"].isel(molecule=0)).all())


def test_no_molecules_have_no_answers(fitted: FittedMolecularNet) -> None:
    answer = fitted.predict([])
    assert dict(answer.sizes) == {"molecule": 0, "property": 3}
    assert answer["smiles"].dtype.kind == "U"


def test_a_column_called_molecule_holds_smiles() -> None:
    data = table(20)[["smiles", "logp"]].rename(columns={"smiles": "molecule"})
    answer = MolecularNet(smiles="molecule", model="gp").fit(data).predict(["CCO"])
    assert answer["molecule"].item() == "CCO"
