"""Intervals hold what they promise, on molecules that weren't there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from molecule_tables import SMALL, SMILES, truths

from surrogates import MolecularNet
from surrogates.calibration import ConformalIntervals, VarianceScaling
from surrogates.molecules.learner import Answer
from surrogates.molecules.parts import Calibration


@pytest.mark.parametrize("options", [{"model": "gp"}, {**SMALL, "epochs": 15, "members": 4}], ids=["gp", "net"])
def test_intervals_hold(options: dict[str, Any]) -> None:
    """Coverage over several draws of training molecules and noise, within Monte-Carlo error around 90 %."""
    y = truths(SMILES)["logp"]
    shares = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        rows = generator.permutation(len(SMILES))
        read = y + 0.3 * generator.standard_normal(len(y))
        train, test = rows[:36], rows[36:]
        fitted = MolecularNet(**options).fit(
            pd.DataFrame({"smiles": np.array(SMILES)[train], "y": read[train]}), seed=seed
        )
        answer = fitted.predict(np.array(SMILES)[test].tolist())
        low, high = answer["lower"].values[:, 0], answer["upper"].values[:, 0]
        shares.append(np.mean((low <= read[test]) & (read[test] <= high)))
    error = np.std(shares) / np.sqrt(len(shares))
    assert 0.9 - 3 * error - 0.03 < np.mean(shares) < 0.9 + 3 * error + 0.05  # 36 labels: conformal up to 1/37 more


def test_wider_levels_hold_narrower_ones() -> None:
    fitted = MolecularNet(model="gp").fit(pd.DataFrame({"smiles": SMILES, "y": truths(SMILES)["tpsa"]}))
    widths = [
        (p["upper"] - p["lower"]).values for p in (fitted.predict(SMILES, level=level) for level in (0.5, 0.8, 0.95))
    ]
    assert (widths[0] <= widths[1]).all()
    assert (widths[1] <= widths[2]).all()
    assert widths[0].mean() < widths[2].mean()


def test_half_widths_by_hand() -> None:
    scores = (np.arange(1.0, 11.0), np.zeros(0))
    variance = VarianceScaling(np.ones(2), np.array([10, 0]), 1.0)
    calibration = Calibration(variance, ConformalIntervals(scores))
    total = np.array([[0.5, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(calibration.half_widths(total, 0.5), [[3.0, 12.0], [0.0, 0.0]])
    np.testing.assert_array_equal(calibration.half_widths(total, 0.95), np.full((2, 2), np.inf))


def test_bounds_gaps_and_constants_calibrate_nothing() -> None:
    z = np.array([[1.0, 5.0], [2.0, 0.0], [np.nan, 0.0], [4.0, 0.0]])
    signs = np.zeros((4, 2), dtype=np.int8)
    signs[3, 0] = 1
    total = np.where(np.arange(2) == 0, 1.0, 0.0) * np.ones((4, 2))
    held = Answer(np.zeros((4, 2)), np.zeros((4, 2)), total)
    found = Calibration.fit(z, signs, held)
    assert found.variance.counts.tolist() == [2, 0]
    assert found.intervals.scores[0].tolist() == [1.0, 2.0]


def test_standard_deviations_are_those_of_errors() -> None:
    """std and noise_std together are the size of held-out errors, in the property's units."""
    data = pd.DataFrame({"smiles": SMILES, "y": truths(SMILES)["tpsa"]})
    fitted = MolecularNet(model="gp").fit(data)
    held = fitted.parts.held_out
    factor = fitted.parts.calibration.variance.factors[0]
    ratio = (held.mean - fitted.parts.tasks.scaled(fitted.parts.labels.values)) / (held.total * factor)
    assert 0.9 < float(np.sqrt(np.mean(ratio**2))) < 1.1
