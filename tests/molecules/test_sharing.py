"""When properties are learnt together, and what the report says of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from molecule_tables import SMALL, SMILES, table, truths

from surrogates import MolecularNet
from surrogates.molecules import FittedMolecularNet
from surrogates.molecules.model import MOST_FOR_GP
from surrogates.molecules.report import MolecularReport, PropertyReport


def measured_apart(copies: int, *, noise: float = 0.0) -> pd.DataFrame:
    """One property under several names, each known of another part of the molecules."""
    generator = np.random.default_rng(0)
    y, part = truths(SMILES)["logp"], generator.permutation(len(SMILES)) % copies
    y = y + noise * generator.standard_normal(len(y))
    columns = {f"y{k}": np.where(part == k, y, np.nan) for k in range(copies)}
    return pd.DataFrame({"smiles": SMILES, **columns})


def test_processes_share_what_is_the_same() -> None:
    fitted = MolecularNet(model="gp").fit(measured_apart(3))
    assert min(entry.weight for entry in fitted.report.properties.values()) > 0.5
    changes = [entry.change for entry in fitted.report.properties.values()]
    assert max(change for change in changes if change is not None) < 0
    alone = MolecularNet(model="gp", sharing="single").fit(measured_apart(3))
    y = truths(SMILES)["logp"]
    left_out = np.isnan(measured_apart(3)["y0"].to_numpy())
    errors = [
        float(np.abs(model.predict(SMILES)["mean"].sel(property="y0").values - y)[left_out].mean())
        for model in (fitted, alone)
    ]
    assert errors[0] < 0.8 * errors[1]  # what the others know of the rest of the molecules


def test_networks_share_or_stay_alone_as_held_out_errors_say() -> None:
    fitted = MolecularNet(**{**SMALL, "epochs": 20}).fit(measured_apart(2))
    comparison = fitted.parts.comparison
    assert comparison is not None
    np.testing.assert_array_equal(fitted.parts.weights, comparison.expected < 0)
    assert sorted(fitted.parts.singles) == np.flatnonzero(comparison.expected >= 0).tolist()


def test_contradictory_properties_stay_alone_in_networks() -> None:
    """A trunk of one unit can't serve two functions that have nothing in common."""
    y = truths(SMILES)
    data = pd.DataFrame({"smiles": SMILES, "a": y["tpsa"], "b": y["weight"]})
    model = MolecularNet(**{**SMALL, "hidden": (1,), "epochs": 80, "members": 2, "likelihood": "squared"})
    fitted = model.fit(data)
    assert not all(entry.weight for entry in fitted.report.properties.values())


def test_processes_lose_nothing_by_noise_beside_them() -> None:
    """Pure noise as a second property: sharing is refused, or costs at most 2 %, which is what "auto" promises."""
    data = pd.DataFrame({"smiles": SMILES, "y": truths(SMILES)["logp"]})
    losses = []
    for seed in range(3):
        noisy = data.assign(noise=np.random.default_rng(seed).standard_normal(len(SMILES)))
        auto, alone = (
            MolecularNet(model="gp", sharing=way).fit(noisy).report.properties["y"] for way in ("auto", "single")
        )
        losses.append(auto.error / alone.error - 1)
    assert np.mean(losses) < 0.02


def test_auto_takes_processes_for_few_labels_and_networks_for_many() -> None:
    few = table(20)
    assert "Gaussian processes" in MolecularNet().fit(few).report.model
    rows = MOST_FOR_GP // 10 + 1
    chains = ["C" * (k % 20 + 1) + "N" * (k // 20 + 1) for k in range(rows)]
    many = pd.DataFrame({"smiles": chains, **{f"y{j}": np.arange(rows) % (j + 2) * 1.0 for j in range(10)}})
    model = MolecularNet(**{**SMALL, "model": "auto", "epochs": 1, "batch": 512}, sharing="shared")
    assert "network" in model.fit(many).report.model


@pytest.mark.parametrize("sharing", ["shared", "single"])
def test_what_is_asked_for_is_done(sharing: str) -> None:
    fitted = MolecularNet(model="gp", sharing=sharing).fit(table(30))
    assert {entry.weight for entry in fitted.report.properties.values()} == {float(sharing == "shared")}
    assert all(entry.change is None for entry in fitted.report.properties.values())
    assert "change" not in fitted.affinity()


def test_reports_read_as_tables_and_go_round(gp: FittedMolecularNet) -> None:
    report = gp.report
    assert MolecularReport.from_dict(report.to_dict()) == report
    assert report.is_success
    text = str(report)
    assert text.startswith("MolecularNet (Gaussian processes), sharing 'auto': 58 molecules, ")
    assert "property  labels  held-out error      by sharing     shared  within 90 %" in text
    assert text.endswith("no warnings")
    assert repr(gp) == f"FittedMolecularNet(weight, logp, tpsa)\n{text}"


def test_reports_tell_what_cant_be_told() -> None:
    entry = PropertyReport("K", 5, 2, 1.0, 1.25, None, None, 0.8)
    bad = PropertyReport("", 5, 0, 0.0, float("nan"), 0.25, 0.1, 0.8)
    report = MolecularReport("M", "auto", 7, 0.5, {"melting": entry, "x": bad}, ("look here",))
    assert not report.is_success
    lines = str(report).splitlines()
    assert lines[2].split() == ["melting", "5", "1.25", "K", "100", "%", "80", "%"]
    assert lines[3].split() == ["x", "5", "nan", "+25.0", "±", "10.0", "%", "0", "%", "80", "%"]
    assert lines[4] == "  warning: look here"


def test_held_out_errors_are_those_of_the_report(fitted: FittedMolecularNet) -> None:
    parts = fitted.parts
    held = parts.held_out.mean * parts.tasks.std + parts.tasks.mean
    errors = np.nanmean(np.abs(held - parts.labels.values), axis=0)
    np.testing.assert_allclose([p.error for p in fitted.report.properties.values()], errors)
