"""Which property helps which: counts and correlations by hand, AIM's policy, and when nothing can be said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from molecule_tables import SMALL, SMILES, spelled, table, truths

from surrogates import MolecularNet
from surrogates.molecules import FittedMolecularNet
from surrogates.molecules.ensemble import FittedEnsemble


def overlapping(a: slice, b: slice) -> pd.DataFrame:
    """Two properties of parts of forty molecules."""
    y = truths(SMILES[:40])
    data = pd.DataFrame({"smiles": SMILES[:40], "a": np.nan, "b": np.nan})
    data.loc[data.index[a], "a"], data.loc[data.index[b], "b"] = y["weight"][a], y["logp"][b]
    return data


def test_overlap_and_correlation_by_hand() -> None:
    data = overlapping(slice(0, 30), slice(20, 40))
    found = MolecularNet(model="gp").fit(data).affinity()
    assert found["both"].values.tolist() == [[30, 10], [10, 20]]
    np.testing.assert_allclose(found["overlap"], [[1, 0.5], [0.5, 1]])  # 10 of the 20 molecules of the rarer one
    r = np.corrcoef(data["a"][20:30], data["b"][20:30])[0, 1]
    np.testing.assert_allclose(found["label_correlation"], [[1, r], [r, 1]])
    correlation = found["process_correlation"].values
    np.testing.assert_allclose(correlation, correlation.T)
    np.testing.assert_allclose(np.diag(correlation), 1)
    assert np.abs(correlation).max() <= 1 + 1e-12
    assert "change" in found
    assert "gradient_cosine" not in found


def test_molecules_are_counted_not_rows() -> None:
    data = overlapping(slice(0, 30), slice(20, 40))
    apart = pd.concat([data.assign(b=np.nan), data.assign(a=np.nan, smiles=[spelled(s, 2) for s in data["smiles"]])])
    one, two = (MolecularNet(model="gp", sharing="shared").fit(rows).affinity() for rows in (data, apart))
    for name in ("both", "overlap", "label_correlation"):
        np.testing.assert_allclose(two[name], one[name], err_msg=name)


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        (4, "gradient angles of 'a' and 'b' mean nothing: 22 % of the smaller task's rows have both labels"),
        (8, "gradient angles of 'a' and 'b' are of little use: 36 % of the smaller task's rows have both labels"),
        (24, None),
    ],
)
def test_too_little_in_common_is_told(shared: int, words: str | None) -> None:
    data = overlapping(slice(0, 26), slice(26 - shared, 40))
    found = MolecularNet(model="gp", sharing="shared").fit(data)
    warnings = found.affinity().attrs["warnings"]
    if words is None:
        assert warnings == []
    else:
        (text,) = warnings
        assert pd.Series([text]).str.contains(words, regex=True).all()


def test_aims_policy() -> None:
    fitted = MolecularNet(**{**SMALL, "conflicts": "aim"}, sharing="shared").fit(table(40))
    found = fitted.affinity()
    policy = found["policy"].values
    assert policy.shape == (3, 3)
    np.testing.assert_array_equal(np.diag(policy), 0)  # nothing conflicts with itself
    off = policy[~np.eye(3, dtype=bool)]
    assert ((off > 0) & (off < 1)).all()
    assert found["policy"].dims == ("property", "other")
    cosine = found["gradient_cosine"].values
    np.testing.assert_allclose(cosine, cosine.T, rtol=1e-5)
    np.testing.assert_allclose(np.diag(cosine), 1, rtol=1e-5)


def test_cosines_are_of_folds_that_have_both_properties() -> None:
    """A property in three folds' one or two leaves the others' cosines alone, and isn't thinned by its absence."""
    data = table(40, keep=1.0).assign(rare=np.nan)
    data.loc[:2, "rare"] = data["weight"][:3]
    fitted = MolecularNet(**{**SMALL, "members": 5, "epochs": 2}, sharing="shared").fit(data)
    ensemble = fitted.parts.shared
    assert isinstance(ensemble, FittedEnsemble)
    members = [member.cosines for member in ensemble.members]
    there = [cosine for cosine in members if cosine[3, 3] > 0]
    assert 0 < len(there) < 5
    found = fitted.affinity()["gradient_cosine"]
    np.testing.assert_allclose(found[3, 0], np.mean([cosine[3, 0] for cosine in there]))
    np.testing.assert_allclose(found[0, 1], np.mean([cosine[0, 1] for cosine in members]))


def test_bounds_are_no_values_of_a_correlation() -> None:
    data = overlapping(slice(0, 40), slice(0, 40)).assign(sign="")
    data.loc[:9, "a"], data.loc[:9, "sign"] = 1e4, "<"
    fitted = MolecularNet(**SMALL, bounds={"a": "sign"}, sharing="single").fit(data)
    r = np.corrcoef(data["a"][10:], data["b"][10:])[0, 1]
    np.testing.assert_allclose(fitted.affinity()["label_correlation"].values[0, 1], r)


@pytest.mark.parametrize("options", [{"model": "gp"}, SMALL], ids=["gp", "net"])
def test_weights_of_the_shared_model_are_told(options: dict[str, Any]) -> None:
    fitted: FittedMolecularNet = MolecularNet(**options).fit(table(40))
    weights = fitted.affinity()["weight"].values.tolist()
    assert weights == [entry.weight for entry in fitted.report.properties.values()]
    changes = fitted.affinity()["change"].values.tolist()
    assert changes == [entry.change for entry in fitted.report.properties.values()]
