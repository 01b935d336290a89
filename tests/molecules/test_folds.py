"""Networks of an ensemble: which molecules each doesn't know, AIM's guides, and the loss of order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from hypothesis import given
from hypothesis import strategies as st
from molecule_tables import SMALL, SMILES, spelled, table
from numpy.typing import NDArray

from surrogates import MolecularNet
from surrogates.molecules import FittedMolecularNet
from surrogates.molecules.ensemble import FittedEnsemble, _guidance
from surrogates.molecules.learner import folds, molecule_groups
from surrogates.molecules.property_network import Inputs, PropertyLoss
from surrogates.networks import SquaredError
from surrogates.training.conflicts import Batch

Floats = NDArray[np.float64]


@given(groups=st.lists(st.integers(0, 30), min_size=1, max_size=60), count=st.integers(2, 6), seed=st.integers(0, 99))
def test_folds_keep_molecules_whole_and_are_of_equal_size(groups: list[int], count: int, seed: int) -> None:
    numbers = np.array(groups)
    fold = folds(numbers, count, seed)
    assert all(len(set(fold[numbers == g].tolist())) == 1 for g in set(groups))
    sizes = np.bincount([fold[numbers == g][0] for g in set(groups)], minlength=count)
    assert np.ptp(sizes) <= 1
    assert sizes[0] == sizes.max()  # the fold that methods are compared by
    np.testing.assert_array_equal(fold, folds(numbers, count, seed))


def test_rows_of_one_molecule_have_one_number() -> None:
    assert molecule_groups([("C",), ("O",), ("C",), ("C", "O"), ("O",)]).tolist() == [0, 1, 0, 2, 1]


def test_a_held_out_answer_is_of_the_network_that_doesnt_know_the_molecule() -> None:
    rows = table(40)
    twice = pd.concat([rows, rows.assign(smiles=[spelled(s, 1) for s in rows["smiles"]])], ignore_index=True)
    fitted = MolecularNet(**SMALL, sharing="shared").fit(twice)
    ensemble = fitted.parts.shared
    assert isinstance(ensemble, FittedEnsemble)
    fold = folds(molecule_groups(fitted.parts.keys), SMALL["members"], 0)
    features = fitted.parts.features(fitted.parts.keys, None)
    for member in ensemble.members:
        mean, std = member.predict(features.counts, features.descriptors, ensemble.ensemble.likelihood)
        own = fold == member.fold
        np.testing.assert_allclose(ensemble.held_out.mean[own], mean[own], rtol=1e-6)
        # members that know the labels have no say in how sure it is of them
        np.testing.assert_allclose(ensemble.held_out.total[own], std[own], rtol=1e-5)
    half = len(twice) // 2
    assert len(fold) == 2 * (len(fold) // 2) <= 2 * half
    np.testing.assert_array_equal(fold[: len(fold) // 2], fold[len(fold) // 2 :])


def test_spreads_of_answers_are_those_that_were_calibrated(net: FittedMolecularNet) -> None:
    """In size a member's spread, of which the members' disagreement is a part."""
    ensemble = net.parts.shared
    assert isinstance(ensemble, FittedEnsemble)
    features = net.parts.features([(smiles,) for smiles in SMILES], None)
    answer = ensemble.predict(features)
    said = [
        member.predict(features.counts, features.descriptors, ensemble.ensemble.likelihood)
        for member in ensemble.members
    ]
    means, spreads = (np.stack([each[k] for each in said]) for k in (0, 1))
    np.testing.assert_allclose(answer.mean, means.mean(0))
    np.testing.assert_allclose(answer.total, np.exp(np.log(spreads).mean(0)), rtol=1e-9)
    np.testing.assert_allclose(answer.std, np.minimum(means.std(0), answer.total), rtol=1e-9)


def test_networks_dont_choose_their_epoch_by_labels_that_judge_them() -> None:
    """Labels of a fold change nothing of the member that is judged by them."""
    data = table(40, keep=1.0)
    changed = data.copy()
    fold = folds(molecule_groups([(smiles,) for smiles in data["smiles"]]), SMALL["members"], 0)
    rows = np.flatnonzero(fold == 0)[:4]
    # exchanged within the fold, so that mean and spread of all labels stay
    swapped = data["logp"].to_numpy().copy()
    swapped[rows] = np.roll(swapped[rows], 1)
    changed["logp"] = swapped
    model = MolecularNet(**SMALL, sharing="shared")
    first, second = (model.fit(each).parts.shared for each in (data, changed))
    assert isinstance(first, FittedEnsemble)
    assert isinstance(second, FittedEnsemble)
    for name, value in first.members[0].trunk.state_dict().items():
        assert torch.equal(value, second.members[0].trunk.state_dict()[name]), name


def test_replicates_dont_make_errors_smaller() -> None:
    """A label that is noise can't be predicted, however often its molecule is in the table."""
    noise = np.random.default_rng(0).standard_normal(40)
    rows = pd.DataFrame({"smiles": SMILES[:40], "y": noise})
    many = pd.concat([rows] * 4, ignore_index=True)
    model = MolecularNet(**{**SMALL, "epochs": 30})
    assert model.fit(many).report.properties["y"].error > 0.6
    few = pd.concat([rows.iloc[:8].rename(columns={"y": "new"})] * 4, ignore_index=True)
    added = MolecularNet(**SMALL, sharing="shared").fit(table(40)).add_task(few)
    assert added.report.properties["new"].error > 0.4 * rows["y"].iloc[:8].std()


def test_guides_are_other_molecules_than_those_trained_on() -> None:
    groups = np.array([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    rows, guides = _guidance(np.arange(12), groups, torch.Generator().manual_seed(0))
    assert sorted([*rows, *guides]) == list(range(12))
    assert not set(groups[rows]) & set(groups[guides])
    assert len(guides) == 2  # one molecule of six


def test_networks_see_fragments_of_two_molecules_or_more() -> None:
    counts = np.array([[1.0, 0.0, 3.0], [2.0, 1.0, 0.0]])
    assert Inputs.of(counts, fingerprint=True).fragments.tolist() == [True, False, False]
    assert not Inputs.of(counts, fingerprint=False).fragments.any()
    seen = Inputs.of(counts, fingerprint=True)(counts, np.ones((2, 1)))
    np.testing.assert_allclose(seen, [[1, np.log(2)], [1, np.log(3)]], rtol=1e-6)


def test_gradients_of_the_loss_of_order_are_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    y[2, 0] = torch.nan
    outputs = 0.3 * torch.randn(7, 2, 1, generator=generator, dtype=torch.float64)
    batch = Batch.of(torch.zeros(7, 1, dtype=torch.float64), y)
    loss = PropertyLoss(SquaredError(), ranking=0.4)

    def total(x: torch.Tensor) -> torch.Tensor:
        return torch.where(batch.mask, loss(x, batch), 0.0).sum()

    assert torch.autograd.gradcheck(total, (outputs.requires_grad_(),))
    plain, ranked = PropertyLoss(SquaredError()), PropertyLoss(SquaredError(), ranking=1.0)
    mixed = 0.6 * plain(outputs, batch) + 0.4 * ranked(outputs, batch)
    torch.testing.assert_close(loss(outputs, batch), mixed)


def test_bounds_have_no_order() -> None:
    y = torch.tensor([[0.0], [1.0], [2.0]])
    signs = torch.tensor([[0.0], [0.0], [1.0]])
    outputs = torch.tensor([[[0.0]], [[1.0]], [[-5.0]]])
    bound, gap = (PropertyLoss(SquaredError(), ranking=1.0)(outputs, b)[:2] for b in (
        Batch.of(torch.zeros(3, 1), y, signs=signs),
        Batch.of(torch.zeros(3, 1), torch.tensor([[0.0], [1.0], [torch.nan]])),
    ))  # fmt: skip
    torch.testing.assert_close(bound, gap)


def ndcg(scores: Floats, y: Floats) -> float:
    """Discounted gain by the order of scores, over that by the order of the truth."""
    gain = 2 ** (4 * np.argsort(np.argsort(y)) / (len(y) - 1)) - 1
    places = np.log2(np.arange(2, len(y) + 2))
    return float((gain[np.argsort(-scores)] / places).sum() / (np.sort(gain)[::-1] / places).sum())


def test_the_loss_of_order_improves_the_order() -> None:
    """Of labels with outliers, which a squared error runs after; on molecules that weren't trained on."""
    data = table(60, keep=1.0)[["smiles", "logp"]]
    true = data["logp"].to_numpy()
    noisy = np.random.default_rng(0).standard_t(1.5, 60)
    train, test = np.arange(60) % 2 == 0, np.arange(60) % 2 == 1
    gains = {}
    for ranking in (0.0, 0.9):
        model = MolecularNet(**{**SMALL, "epochs": 40}, likelihood="squared", ranking=ranking)
        found = []
        for seed in range(4):
            fitted = model.fit(data.assign(logp=true + noisy)[train], seed=seed)
            found.append(ndcg(fitted.predict(data["smiles"][test])["mean"].values[:, 0], true[test]))
        gains[ranking] = np.mean(found)
    assert gains[0.9] > gains[0.0]
