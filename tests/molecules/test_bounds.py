"""Labels that are bounds only."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from molecule_tables import SMALL, SMILES, truths

from surrogates import MolecularNet
from surrogates.errors import DataError

LEARNS: dict[str, Any] = {**SMALL, "epochs": 40, "properties": "y", "bounds": {"y": "sign"}}


def cut(sign: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Log P that can be measured on one side of its median only; ">" beyond it, and the truth."""
    y = truths(SMILES)["logp"]
    limit = np.median(y)
    beyond = y > limit if sign == ">" else y < limit
    return pd.DataFrame({"smiles": SMILES, "y": np.where(beyond, limit, y), "sign": np.where(beyond, sign, "")}), y


def bias(answer: np.ndarray, y: np.ndarray, sign: str) -> float:
    """Mean error of molecules beyond the limit, positive towards it."""
    beyond = y > np.median(y) if sign == ">" else y < np.median(y)
    return float(((y - answer)[beyond] * (1 if sign == ">" else -1)).mean())


@pytest.mark.parametrize("likelihood", ["quantile", "gaussian", "squared"])
@pytest.mark.parametrize("sign", [">", "<"])
def test_bounds_beat_taking_them_as_values_or_leaving_them_out(likelihood: str, sign: str) -> None:
    data, y = cut(sign)
    found = {}
    for name, rows in (
        ("bound", data),
        ("exact", data.assign(sign="=")),
        ("dropped", data[data["sign"] == ""]),
    ):
        fitted = MolecularNet(**LEARNS, likelihood=likelihood).fit(rows)
        found[name] = bias(fitted.predict(SMILES)["mean"].values[:, 0], y, sign)
    assert found["bound"] < found["exact"]
    if likelihood != "squared":  # which asks no more of a molecule than to be beyond its bound
        assert found["bound"] < found["dropped"]


def test_reports_tell_bounds_and_errors_leave_them_out() -> None:
    data, _ = cut(">")
    fitted = MolecularNet(**{**LEARNS, "epochs": 8}).fit(data)
    entry = fitted.report.properties["y"]
    assert (entry.labels, entry.bounds) == (64, int((data["sign"] == ">").sum()))
    exact = (data["sign"] == "").to_numpy()
    held = fitted.parts.held_out.mean[:, 0] * fitted.parts.tasks.std[0] + fitted.parts.tasks.mean[0]
    assert entry.error == pytest.approx(np.abs(held - data["y"])[exact].mean())
    assert fitted.parts.calibration.variance.counts.tolist() == [exact.sum()]


def test_signs_have_several_spellings() -> None:
    data, _ = cut(">")
    model = MolecularNet(**{**LEARNS, "epochs": 2})
    wanted = model.fit(data).predict(SMILES)["mean"]
    for more, none in ((">=", "="), (" > ", None), (">", np.nan)):
        marks: list[Any] = [more if text == ">" else none for text in data["sign"]]
        other = data.assign(sign=marks)
        np.testing.assert_array_equal(model.fit(other).predict(SMILES)["mean"], wanted)


def test_auto_takes_networks_where_there_are_bounds() -> None:
    data, _ = cut(">")
    model = MolecularNet(**{**LEARNS, "epochs": 2, "model": "auto"})
    assert "network" in model.fit(data).report.model
    assert "Gaussian processes" in model.fit(data.assign(sign="")).report.model


@pytest.mark.parametrize(
    ("changes", "bounds", "words"),
    [
        ({"sign": "~"}, {"y": "sign"}, "'sign' has '~' in row 0; it may have '<', '>', '=' and ''"),
        ({}, {"z": "sign"}, "the table has no property 'z'; it has y"),
        ({}, {"y": "marks"}, "the table has no variable 'marks', which bounds['y'] names"),
        ({"sign": ">"}, {"y": "sign"}, "property 'y' has no labels besides 64 bounds; at least 2 are needed"),
    ],
)
def test_marks_that_cant_be_read(changes: dict[str, Any], bounds: dict[str, str], words: str) -> None:
    data, _ = cut(">")
    with pytest.raises(DataError, match=re.escape(words)):
        MolecularNet(**{**LEARNS, "bounds": bounds}).fit(data.assign(**changes))
