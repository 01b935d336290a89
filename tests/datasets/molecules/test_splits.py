"""Splits: groups stay whole, parts are as large as asked for, and spelling doesn't matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import hide_package

from surrogates.datasets.molecules import Split, group_split, random_split, scaffold_split
from surrogates.errors import DataError, MissingExtraError
from surrogates.structures import checked_structures, read_structures

FRACTIONS = [(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.7, 0.0, 0.3), (1.0, 0.0, 0.0)]
TAILS = ["", "C", "CC", "O", "N", "Cl", "C(=O)O", "N#C", "CCO"]
RINGS = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccc2ccccc2c1", "C1CCOC1"]
SMILES = [f"{tail}{ring}" for ring in RINGS for tail in TAILS] + ["C" * n for n in range(1, 12)]


@given(
    groups=st.lists(st.integers(0, 30), min_size=40, max_size=120),
    fractions=st.sampled_from(FRACTIONS),
    seed=st.integers(0),
)
def test_parts_are_disjoint_complete_and_keep_groups_whole(
    groups: list[int], fractions: tuple[float, float, float], seed: int
) -> None:
    try:
        split = group_split(groups, fractions, seed=seed)
    except DataError as error:  # possible where one group is larger than a part
        assert "gets none of" in str(error)  # noqa: PT017
        return
    assert sorted(np.concatenate(split).tolist()) == list(range(len(groups)))
    owners = [{groups[row] for row in part} for part in split]
    assert sum(len(owner) for owner in owners) == len(set(groups))
    assert len(split.test) <= round(fractions[2] * len(groups))
    assert len(split.validation) <= round(fractions[1] * len(groups))
    for part in split:
        assert (np.diff(part) > 0).all()


@given(n=st.integers(20, 200), seed=st.integers(0, 1000))
def test_groups_of_one_row_give_exactly_the_sizes_that_were_asked_for(n: int, seed: int) -> None:
    split = group_split(range(n), (0.7, 0.1, 0.2), seed=seed)
    assert [len(part) for part in split] == [n - round(0.1 * n) - round(0.2 * n), round(0.1 * n), round(0.2 * n)]


def test_each_row_is_tested_as_often_as_any_other() -> None:
    times = np.zeros(20)
    for seed in range(2000):
        times[group_split(range(20), (0.7, 0.1, 0.2), seed=seed).test] += 1
    np.testing.assert_allclose(times / 2000, 0.2, atol=5 * np.sqrt(0.2 * 0.8 / 2000))


def test_one_seed_gives_one_split() -> None:
    one, same, other = (scaffold_split(SMILES, (0.6, 0.2, 0.2), seed=seed) for seed in (3, 3, 4))
    assert [part.tolist() for part in one] == [part.tolist() for part in same]
    assert one.test.tolist() != other.test.tolist()


@given(st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_scaffolds_stay_whole_and_acyclic_molecules_are_groups_of_their_own(seed: int) -> None:
    split = scaffold_split(SMILES, (0.5, 0.2, 0.3), seed=seed)
    part_of = {row: name for name, rows in zip(Split._fields, split, strict=True) for row in rows.tolist()}
    for k in range(len(RINGS)):
        rows = range(k * len(TAILS), (k + 1) * len(TAILS))
        assert len({part_of[row] for row in rows}) == 1
    assert len({part_of[row] for row in range(len(RINGS) * len(TAILS), len(SMILES))}) > 1


def test_known_scaffolds() -> None:
    aspirin, biphenyl, hexane = checked_structures(["CC(=O)Oc1ccccc1C(=O)O", "Cc1ccc(cc1)-c1ccccc1", "CCCCCC"])
    assert (aspirin.scaffold, biphenyl.scaffold, hexane.scaffold) == ("c1ccccc1", "c1ccc(-c2ccccc2)cc1", "")


def test_spellings_and_stereoisomers_stay_together() -> None:
    lactic = ["CC(O)C(=O)O", "OC(=O)C(C)O", "C[C@H](O)C(=O)O", "C[C@@H](O)C(=O)O"]
    butene = ["C/C=C/C", "C/C=C\\C", "CC=CC"]
    rest = ["C" * n for n in range(1, 20)]
    for seed in range(20):
        for split in (random_split, scaffold_split):
            parts = split(lactic + butene + rest, (0.4, 0.3, 0.3), seed=seed)
            for rows in (range(4), range(4, 7)):
                assert sum(bool(set(rows) & set(part.tolist())) for part in parts) == 1


def test_a_random_split_ignores_rings() -> None:
    parts = random_split(SMILES, (0.5, 0.0, 0.5), seed=0)
    of_benzene = set(range(len(TAILS)))
    assert of_benzene & set(parts.train.tolist())
    assert of_benzene & set(parts.test.tolist())


@pytest.mark.parametrize(
    ("fractions", "found"),
    [((0.8, 0.1, 0.2), "(0.8, 0.1, 0.2)"), ((1.2, -0.1, -0.1), "(1.2, -0.1, -0.1)"), ((0.5, 0.5), "(0.5, 0.5)")],
)
def test_fractions_must_add_up(fractions: tuple[float, float, float], found: str) -> None:
    with pytest.raises(DataError, match=r"three numbers in \[0, 1\] that add up to 1") as caught:
        group_split(range(10), fractions)
    assert found in str(caught.value)


def test_what_cannot_be_split_is_told() -> None:
    with pytest.raises(DataError, match=r"the validation part gets none of 10 rows, though its fraction is 0\.1"):
        group_split([0] * 9 + [1], (0.8, 0.1, 0.1), seed=0)
    with pytest.raises(DataError, match="no label"):
        group_split(["a", None, "b"])
    with pytest.raises(DataError, match="the train part gets none of 0 rows"):
        group_split([])
    with pytest.raises(DataError, match=r"'C1CC' in row 2 can't be read by RDKit, one of 2 such rows"):
        scaffold_split(["C", "CC", "C1CC", "", "CCC"])


def test_unreadable_smiles_are_none_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert [found is None for found in read_structures(["C", "C1CC", "", "c1cccc1"])] == [False, True, True, True]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("smiles", "ordinary"),
    [
        ("CCO", True),
        ("C[N+](=O)[O-]", True),  # charges that cancel within the molecule
        ("[Na+].CC(=O)[O-]", False),
        ("CC(=O)[O-]", False),
        ("O", False),
        ("[2H]C", False),
        ("[CH3]", False),
    ],
)
def test_ordinary_molecules(smiles: str, ordinary: bool) -> None:
    assert checked_structures([smiles])[0].is_ordinary is ordinary


def test_without_rdkit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "rdkit")
    with pytest.raises(MissingExtraError, match=r"rdkit is not installed.*\[molecules\]"):
        scaffold_split(["C", "CC"])
