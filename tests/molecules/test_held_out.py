"""What was left out wasn't known: by refits, by dense formulas, by folds; and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from molecule_tables import SMALL, SMILES, table, truths

from surrogates import HierarchicalGP, MolecularNet, Schema
from surrogates.gp import Tanimoto
from surrogates.molecules.choice import compare
from surrogates.molecules.gaussian import leave_molecules_out
from surrogates.molecules.learner import Training, folds


def training(n: int, *, keep: float, seed: int = 0) -> Training:
    """Two properties of n molecules with made-up features, and one molecule that is there twice."""
    generator = np.random.default_rng(seed)
    descriptors = generator.normal(size=(n, 3))
    z = np.stack([np.sin(descriptors[:, 0]), np.sin(descriptors[:, 0]) + 0.3 * descriptors[:, 1]], 1)
    z += 0.1 * generator.normal(size=z.shape)
    z[generator.random(z.shape) > keep] = np.nan
    z[0], z[1] = (0.1, 0.2), (0.3, -0.1)
    counts = generator.integers(0, 3, size=(n, 6)).astype(np.float64)
    groups = np.arange(n)
    groups[1] = 0
    counts[1], descriptors[1] = counts[0], descriptors[0]
    from surrogates.molecules import Features

    return Training(("a", "b"), Features(counts, descriptors), z, np.zeros(z.shape, dtype=np.int8), groups)


def process_table(given: Training, rows: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {
            "fingerprint": (("molecule", "bit"), given.features.counts[rows]),
            "descriptors": (("molecule", "feature"), given.features.descriptors[rows]),
            "value": (("molecule", "property"), given.z[rows]),
        },
        coords={"property": list(given.names)},
    )


def test_leaving_molecules_out_is_what_conditioning_without_them_gives() -> None:
    given = training(30, keep=0.7)
    gp = HierarchicalGP(
        Schema(inputs=("fingerprint", "descriptors"), target="value", task="property"),
        kernel=Tanimoto(counts="fingerprint", smooth="descriptors"),
        trend="constant", sharing="icm", rank=2, noise="task-fidelity", integrate=False,
    )  # fmt: skip
    without = gp.fit(process_table(given, np.arange(2, 30)))  # molecule 0, in rows 0 and 1, was never seen
    everything = without.update(process_table(given, np.arange(2)))
    left_out = leave_molecules_out(everything, given)
    truth = without.predict(process_table(given, np.arange(2)))
    np.testing.assert_allclose(left_out.mean[:2], truth["mean"].transpose("molecule", "property"), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(left_out.std[:2], truth["std"].transpose("molecule", "property"), rtol=1e-6)
    np.testing.assert_allclose(left_out.noise[:2], truth["noise_std"].transpose("molecule", "property"), rtol=1e-9)
    assert (np.isfinite(left_out.mean) == np.isfinite(given.z)).all()


def test_members_of_an_ensemble_dont_know_their_fold() -> None:
    data = table(keep=1.0)
    net = MolecularNet(**SMALL, sharing="shared")
    fitted = net.fit(data)
    learnt = fitted.parts.shared
    assert learnt is not None
    # a label of one molecule changes neither its own held-out prediction, nor others' of its fold
    other = data.copy()
    other["logp"] = data["logp"] + 1e-3 * (np.arange(len(data)) == 10)
    again = net.fit(other).parts.shared
    assert again is not None
    scale = [fit.parts.tasks for fit in (fitted, net.fit(other))]
    ours, theirs = (
        scaling.mean[1] + scaling.std[1] * fit.held_out.mean[10, 1]
        for scaling, fit in zip(scale, (learnt, again), strict=True)
    )
    assert ours == pytest.approx(theirs, abs=2e-3)


def test_replicates_of_a_molecule_stay_in_one_fold() -> None:
    groups = np.random.default_rng(0).integers(0, 40, size=300)
    groups = np.unique(groups, return_inverse=True)[1]
    fold = folds(groups, 5, 0)
    assert all(len(set(fold[groups == g].tolist())) == 1 for g in range(groups.max() + 1))
    sizes = np.bincount([fold[groups == g][0] for g in range(groups.max() + 1)])
    assert sizes.max() - sizes.min() <= 1


def test_sharing_is_weighed_by_what_it_is_worth() -> None:
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(400, 3))
    single = noise.copy()
    shared = np.stack([0.5 * noise[:, 0], 3.0 * generator.normal(size=400), noise[:, 2]], 1)
    found = compare(shared, single)
    assert found.weights[0] == 1.0  # w = Σ d e_single / Σ d² = 2, clipped
    assert found.weights[1] == pytest.approx(0.1, abs=0.05)  # of independent errors the weights go as inverse variances
    assert found.weights[2] == 1.0  # the same answers
    assert found.change[1] > 1
    np.testing.assert_allclose(found.change[0], -0.5)


def test_stacking_has_the_least_held_out_error_where_labels_are_many() -> None:
    generator = np.random.default_rng(1)
    common = generator.normal(size=(20_000, 1))
    shared, single = (common + s * generator.normal(size=(20_000, 1)) for s in (0.5, 1.0))
    w = float(compare(shared, single).weights[0])
    errors = [float(((v * shared + (1 - v) * single) ** 2).mean()) for v in np.linspace(0, 1, 101)]
    assert w == pytest.approx(np.linspace(0, 1, 101)[int(np.argmin(errors))], abs=0.015)
    few = float(compare(shared[:3], single[:3]).weights[0])
    assert abs(few - 0.5) < 0.3  # three labels say little against a prior of 25


def test_labels_without_a_partner_say_nothing() -> None:
    shared, single = np.full((5, 2), np.nan), np.full((5, 2), np.nan)
    shared[:, 0], single[:, 0] = 1.0, 2.0
    found = compare(shared, single)
    assert np.isnan(found.change[1])
    assert found.weights[1] == 0.0


def test_sharing_helps_what_is_alike_and_leaves_alone_what_is_not() -> None:
    y = truths(SMILES)["logp"]
    generator = np.random.default_rng(3)
    first = generator.random(len(y)) < 0.5
    data = table(keep=0.0).assign(
        one=np.where(first, y, np.nan), same=np.where(first, np.nan, 10 * y + 3), noise=generator.normal(size=len(y))
    )[["smiles", "one", "same", "noise"]]
    fitted = MolecularNet(model="gp").fit(data)
    report = fitted.report.properties
    assert report["one"].weight > 0.5
    assert report["same"].change is not None
    assert report["same"].change < 0
    correlation = fitted.affinity()["process_correlation"]
    assert float(correlation.sel(property="one", other="same")) > 0.9


def test_intervals_hold_what_they_promise() -> None:
    """Coverage on molecules to come, over 30 draws of labels with noise of unequal size."""
    y = truths(SMILES)
    held, count = 0, 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(SMILES))
        noisy = {k: v + 0.2 * v.std() * generator.standard_t(5, size=len(v)) for k, v in y.items()}
        data = table(keep=1.0).assign(**noisy)
        fitted = MolecularNet(model="gp", properties=("logp", "tpsa")).fit(data.iloc[order[:42]], seed=seed)
        test = data.iloc[order[42:]]
        answer = fitted.predict(test["smiles"].tolist())
        for name in fitted.properties:
            p = answer.sel(property=name)
            held += int(((p["lower"].values <= test[name]) & (test[name] <= p["upper"].values)).sum())
            count += len(test)
    # answers of one fit are alike: a standard error of about 1.5 %
    assert 0.86 < held / count < 0.96
