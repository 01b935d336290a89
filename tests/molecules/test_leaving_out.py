"""Molecules left out by processes: closed form against the dense definition, and against a fit that never knew them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from counted import Reference
from counted import table as counted_table
from numpy.typing import NDArray

from surrogates import HierarchicalGP, Schema
from surrogates.gp import Tanimoto
from surrogates.molecules.features import Features
from surrogates.molecules.gaussian import GaussianProcesses, leave_molecules_out
from surrogates.molecules.learner import Training

Floats = NDArray[np.float64]


def training(data: xr.Dataset, groups: list[int] | None = None) -> Training:
    """Things with counted parts as molecules with fragments."""
    z = data["value"].to_numpy()
    features = Features(data["parts"].to_numpy().astype(np.float64), data["traits"].to_numpy())
    numbers = np.arange(len(z)) if groups is None else np.array(groups)
    return Training(tuple(data["property"].values.tolist()), features, z, np.zeros(z.shape, dtype=np.int8), numbers)


def test_it_is_the_dense_prediction_without_all_labels_of_the_molecule() -> None:
    """Universal kriging with the flat constant of each property; the last two things are one molecule's two rows."""
    data = counted_table(14)
    data["parts"][13], data["traits"][13] = data["parts"][12], data["traits"][12]
    things = training(data, [*range(13), 12])
    fitted = GaussianProcesses().fit(things, seed=0)
    whole, θ = Reference(fitted.process, data), fitted.process.core.mode
    noise = fitted.process.core.scaled.target.spread * np.exp(0.5 * fitted.process.core.layout.split(θ).log_noise)
    checked = 0
    for group in (0, 5, 12):
        rows = np.flatnonzero(things.groups == group)
        without = data.copy(deep=True)
        without["value"][rows] = np.nan
        rest = Reference(fitted.process, without, fitted_on=whole.fitted_on)
        for row in rows.tolist():
            mean, covariance = rest.posterior(θ, data.isel(thing=[row]))
            for k in np.flatnonzero(np.isfinite(things.z[row])).tolist():
                assert fitted.held_out.mean[row, k] == pytest.approx(mean[k], rel=1e-7)
                assert fitted.held_out.std[row, k] == pytest.approx(np.sqrt(covariance[k, k]), rel=1e-6)
                assert fitted.held_out.noise[row, k] == pytest.approx(noise[k])
                checked += 1
    assert checked >= 6
    np.testing.assert_array_equal(np.isfinite(fitted.held_out.mean), np.isfinite(things.z))


def test_it_is_what_was_said_before_the_molecule_came() -> None:
    """Hyper-parameters of a fit that doesn't know molecule b; then b is told, and left out again."""
    data = counted_table(16, missing=0.2)
    b = 7
    without = data.isel(thing=[k for k in range(16) if k != b])
    names = {"parts": "fingerprint", "traits": "descriptors", "trait": "feature"}
    model = HierarchicalGP(
        Schema(inputs=("fingerprint", "descriptors"), target="value", task="property"),
        kernel=Tanimoto("fingerprint", "descriptors"),
        trend="constant",
        sharing="icm",
        noise="task-fidelity",
        integrate=False,
    )
    before = model.fit(without.rename(names))
    told = data.isel(thing=[b]).rename(names)
    after = leave_molecules_out(before.update(told), training(data))
    wanted = before.predict(told.drop_vars("value"))
    known = np.isfinite(data["value"].values[b])
    for column, name in zip(after, ("mean", "std", "noise_std"), strict=True):
        np.testing.assert_allclose(column[b, known], wanted[name].values[0, known], rtol=1e-6, err_msg=name)


def test_no_property_of_a_molecule_tells_of_another() -> None:
    """Two equal properties: with single readings left out, the twin would give the answer away."""
    data = counted_table(20, tasks=2, missing=0.0)
    value = data["value"].to_numpy()
    value[:, 1] = value[:, 0] = np.random.default_rng(0).standard_normal(20)  # nothing can be learnt of it
    held = GaussianProcesses().fit(training(data), seed=0).held_out
    error = np.sqrt(np.mean((held.mean - value) ** 2))
    assert error > 0.8  # the labels' own deviation is about 1
