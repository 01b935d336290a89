"""One more property from a few labels, and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from molecule_tables import SMALL, SMILES, assert_same, table, truths

from surrogates import MolecularNet, load
from surrogates.errors import DataError, FileFormatError
from surrogates.molecules import FittedMolecularNet

ASKED = ["CCO", "c1ccccc1O", "CCCCCCCC"]


def few(n: int, *, seed: int = 0) -> pd.DataFrame:
    """A property that the fits don't have: log P + weight/100, for n molecules."""
    y = truths(SMILES)
    rows = np.random.default_rng(seed).permutation(len(SMILES))[:n]
    return pd.DataFrame({"smiles": np.array(SMILES)[rows], "mixed": (y["logp"] + y["weight"] / 100)[rows]})


def test_networks_keep_what_they_know(net: FittedMolecularNet) -> None:
    wider = net.add_task(few(16))
    assert wider.properties == (*net.properties, "mixed")
    np.testing.assert_array_equal(wider.predict(ASKED)["mean"][:, :3], net.predict(ASKED)["mean"])
    assert net.properties == ("weight", "logp", "tpsa")
    assert wider.report.properties["mixed"].labels == 16


def test_a_few_labels_are_better_than_none(net: FittedMolecularNet) -> None:
    wider, y = net.add_task(few(16)), truths(SMILES)
    truth = y["logp"] + y["weight"] / 100
    found = wider.predict(SMILES).sel(property="mixed")["mean"].to_numpy()
    assert np.abs(found - truth).mean() < 0.7 * np.abs(truth - few(16)["mixed"].mean()).mean()


def test_no_more_labels_than_asked_are_used(net: FittedMolecularNet) -> None:
    some = net.add_task(few(40), from_few=12, seed=1)
    assert some.report.properties["mixed"].labels == 12
    assert_same(some.predict(ASKED), net.add_task(few(40), from_few=12, seed=1).predict(ASKED))
    other = net.add_task(few(40), from_few=12, seed=2)
    assert not np.array_equal(some.predict(ASKED)["mean"], other.predict(ASKED)["mean"])


def test_processes_are_fitted_with_the_new_labels(gp: FittedMolecularNet) -> None:
    wider = gp.add_task(few(20))
    both = pd.concat([table(), few(20)], ignore_index=True)
    assert_same(wider.predict(ASKED), MolecularNet(model="gp").fit(both).predict(ASKED), rtol=1e-9)


def test_what_isnt_one_new_property_is_refused(net: FittedMolecularNet) -> None:
    with pytest.raises(
        DataError, match="add_task takes one new property, but the table has none; the fit knows 'weight'"
    ):
        net.add_task(table())
    with pytest.raises(DataError, match="the table has 'mixed', 'twice'"):
        net.add_task(few(9).assign(twice=1.0))
    with pytest.raises(DataError, match="from_few is 1; it must be an integer >= 2"):
        net.add_task(few(9), from_few=1)
    with pytest.raises(DataError, match="property 'mixed' has 1 label"):
        net.add_task(few(1))


@pytest.mark.parametrize("kind", ["gp", "net", "aim", "added", "compared"])
def test_files_give_the_same_model(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if kind in ("gp", "net"):
        fitted: FittedMolecularNet = request.getfixturevalue(kind)
    elif kind == "added":
        fitted = request.getfixturevalue("net").add_task(few(16))
    else:
        ways = {"aim": {"sharing": "shared", "conflicts": "aim"}, "compared": {"sharing": "auto"}}
        fitted = MolecularNet(**SMALL, **ways[kind]).fit(table())  # type: ignore[arg-type]
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(again.predict(ASKED), fitted.predict(ASKED))
    assert again.affinity().identical(fitted.affinity())
    assert str(again.report) == str(fitted.report)
    assert again.model == fitted.model
    data = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(data[:-7])
    with pytest.raises(FileFormatError, match="damaged"):
        load(tmp_path / "model")


def test_affinity_tells_overlap_and_correlation() -> None:
    data = table(40, keep=1.0)
    data.loc[data.index[10:], "logp"] = np.nan
    data.loc[data.index[:9], "tpsa"] = np.nan
    found = MolecularNet(**SMALL, sharing="shared", conflicts="aim").fit(data).affinity()
    assert float(found["both"].sel(property="logp", other="tpsa")) == 1
    assert float(found["overlap"].sel(property="logp", other="tpsa")) == pytest.approx(0.1)
    expected = np.corrcoef(data["weight"][:10], data["logp"][:10])[0, 1]
    assert float(found["label_correlation"].sel(property="weight", other="logp")) == pytest.approx(expected)
    np.testing.assert_allclose(np.diagonal(found["gradient_cosine"]), 1.0, atol=1e-9)
    np.testing.assert_array_equal(np.diagonal(found["policy"]), 0.0)
    assert ((found["policy"] >= 0) & (found["policy"] <= 1)).all()
    assert any("'logp' and 'tpsa' mean nothing" in text for text in found.attrs["warnings"])


def test_bounds_tell_where_the_truth_lies() -> None:
    """Of two thirds of the heavy it is known only that they are heavier than a limit: heard as bounds, they are."""
    y = truths(SMILES)["weight"]
    limit = float(np.quantile(y, 0.6))
    cut = (y > limit) & (np.arange(len(y)) % 3 > 0)
    data = pd.DataFrame({"smiles": SMILES, "weight": np.where(cut, limit, y), "sign": np.where(cut, ">", "=")})
    net = {**SMALL, "epochs": 60, "likelihood": "gaussian", "properties": ("weight",)}
    heard = MolecularNet(**net, bounds={"weight": "sign"}).fit(data)
    taken = MolecularNet(**net).fit(data)
    assert heard.report.properties["weight"].bounds == cut.sum()
    above, beside = ((fit.predict(SMILES)["mean"].to_numpy()[:, 0] > limit)[cut].mean() for fit in (heard, taken))
    assert above > 0.8
    assert above > beside + 0.2


def test_a_rank_loss_orders_molecules() -> None:
    y = truths(SMILES)["logp"]
    data = pd.DataFrame({"smiles": SMILES, "logp": y})
    fitted = MolecularNet(**{**SMALL, "epochs": 40}, ranking=0.5).fit(data)
    found = fitted.parts.held_out.mean[:, 0]
    assert np.corrcoef(found.argsort().argsort(), y.argsort().argsort())[0, 1] > 0.7
