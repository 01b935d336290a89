"""One more property from a few labels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from molecule_tables import SMALL, SMILES, assert_same, table, truths

from surrogates import MolecularNet
from surrogates.errors import DataError, FitWarning
from surrogates.molecules import FittedMolecularNet
from surrogates.molecules.adaptation import PENALTIES, best_penalty

NET: dict[str, Any] = {**SMALL, "members": 2}


def known() -> pd.DataFrame:
    return table(keep=0.9)[["smiles", "weight", "tpsa"]]


def new(n: int = 24) -> pd.DataFrame:
    return pd.DataFrame({"smiles": SMILES, "logp": truths(SMILES)["logp"]}).sample(n, random_state=0)


@pytest.fixture(scope="module")
def shared() -> FittedMolecularNet:
    return MolecularNet(**{**NET, "epochs": 40, "hidden": (32, 16), "members": 3}, sharing="shared").fit(known())


@pytest.mark.parametrize("options", [{"sharing": "shared"}, {"sharing": "auto", "conflicts": "aim"}])
def test_other_properties_stay_as_they_were_bit_for_bit(options: dict[str, Any]) -> None:
    fitted = MolecularNet(**{**NET, **options}).fit(known())
    wider = fitted.add_task(new())
    assert wider.properties == ("weight", "tpsa", "logp")
    xr.testing.assert_identical(wider.predict(SMILES).isel(property=[0, 1]), fitted.predict(SMILES))
    assert fitted.properties == ("weight", "tpsa")  # the first model is what it was
    assert wider.report.properties["weight"] == fitted.report.properties["weight"]
    twice = wider.add_task(new().rename(columns={"logp": "again"}))
    xr.testing.assert_identical(twice.predict(SMILES).isel(property=[0, 1]), fitted.predict(SMILES))


def test_16_labels_beat_the_mean(shared: FittedMolecularNet) -> None:
    y = truths(SMILES)["logp"]
    errors, naive = [], []
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(SMILES))
        train, test = rows[:16], rows[16:]
        wider = shared.add_task(pd.DataFrame({"smiles": np.array(SMILES)[train], "logp": y[train]}))
        answer = wider.predict(np.array(SMILES)[test].tolist()).sel(property="logp")["mean"].values
        errors.append(np.abs(answer - y[test]).mean())
        naive.append(np.abs(y[train].mean() - y[test]).mean())
    assert np.mean(errors) < 0.8 * np.mean(naive)


def test_from_few_draws_that_many_by_the_seed(shared: FittedMolecularNet) -> None:
    a, b, c = (shared.add_task(new(), from_few=8, seed=seed) for seed in (0, 0, 1))
    assert a.report.properties["logp"].labels == 8
    xr.testing.assert_identical(a.predict(SMILES), b.predict(SMILES))
    assert a.parts.keys[-8:] != c.parts.keys[-8:]
    everything = shared.add_task(new(8), from_few=100)
    assert everything.report.properties["logp"].labels == 8


def test_processes_are_fitted_jointly() -> None:
    data = table(30).assign(logp=table(30, keep=0.5, seed=5)["logp"])
    model = MolecularNet(model="gp", sharing="shared")
    added = model.fit(data[["smiles", "weight", "tpsa"]]).add_task(data[["smiles", "logp"]])
    joint = model.fit(data[["smiles", "weight", "tpsa", "logp"]])
    # the same labels in two rows for a molecule instead of one; the optimiser ends within its tolerance
    assert_same(added.predict(SMILES), joint.predict(SMILES), rtol=2e-3, atol=2e-3)
    xr.testing.assert_allclose(added.affinity()["both"], joint.affinity()["both"])


def test_networks_that_share_nothing_are_fitted_again() -> None:
    model = MolecularNet(**NET, sharing="single")
    added = model.fit(known()).add_task(new())
    assert set(added.report.properties) == {"weight", "tpsa", "logp"}
    assert bool(np.isfinite(added.predict(SMILES)["mean"]).all())


def test_a_constant_and_salts_are_told(shared: FittedMolecularNet) -> None:
    with pytest.warns(FitWarning, match="property 'c' is 3 in all its 24 labels"):
        constant = shared.add_task(new().rename(columns={"logp": "c"}).assign(c=3.0))
    assert set(constant.predict(SMILES).sel(property="c")["mean"].values.tolist()) == {3.0}
    assert any("'c' is 3" in text for text in constant.report.warnings)
    salted = new()
    salted.iloc[0, 0] = "[Na+].[Cl-]"
    with pytest.warns(FitWarning, match="several fragments"):
        shared.add_task(salted)


def test_overlaps_of_added_properties_count_molecules(shared: FittedMolecularNet) -> None:
    wider = shared.add_task(new())
    found = wider.affinity()
    both = known().merge(new(), on="smiles")[["weight", "logp"]].notna().all(axis=1).sum()
    assert found["both"].sel(property="weight", other="logp").item() == both
    assert np.isnan(found["gradient_cosine"].sel(property="logp", other="weight"))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (known(), {}, "add_task takes one new property, but the table has none; the fit knows 'weight', 'tpsa'"),
        (new().assign(b=1.0), {}, "add_task takes one new property, but the table has 'logp', 'b'"),
        (new().assign(logp=np.nan), {}, "property 'logp' has no labels"),
        (new(1), {}, "property 'logp' has 1 label; at least 2 are needed"),
        (new().assign(smiles="CCO"), {}, "of property 'logp' are of one molecule, 'CCO'"),
        (new().assign(logp=np.inf), {}, "property 'logp' is infinite in row 0"),
        (new().assign(smiles="xx"), {}, "the SMILES 'xx' in row 0 can't be read by RDKit, and 23 more like it"),
        (new(), {"from_few": 1}, "from_few is 1; it must be an integer >= 2"),
        (new(), {"from_few": 2.5}, "from_few is 2.5"),
    ],
)
def test_what_cant_be_added(shared: FittedMolecularNet, data: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        shared.add_task(data, **options)


def test_a_seed_that_is_none_is_named(shared: FittedMolecularNet) -> None:
    with pytest.raises(ValueError, match="seed is -1; it must be an integer >= 0"):
        shared.add_task(new(), from_few=8, seed=-1)


def test_the_penalty_is_that_of_refits() -> None:
    """Against ridge regressions by their normal equations; noise alone takes the greatest penalty or nearly so."""
    generator = np.random.default_rng(0)
    F = generator.standard_normal((24, 30))
    fold = np.arange(24) % 5
    for y in (F[:, :3].sum(1), generator.standard_normal(24)):
        errors = []
        for λ in PENALTIES:
            residuals = [
                y[fold == k] - F[fold == k] @ np.linalg.solve(A.T @ A + λ * np.eye(30), A.T @ y[fold != k])
                for k in range(5)
                for A in [F[fold != k]]
            ]
            errors.append(sum(float(r @ r) for r in residuals))
        assert best_penalty(F, y, fold) == PENALTIES[np.argmin(errors)]
    assert best_penalty(F, y, fold) > 10
