"""Features of molecules, their scaling, and that of labels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from molecule_tables import SMILES, spelled

from surrogates.errors import DataError
from surrogates.molecules.features import BITS, DescriptorScaling, molecule_features
from surrogates.molecules.parts import TaskScaling
from surrogates.molecules.table import Labels
from surrogates.structures import checked_structures, read_structures


def test_missing_infinite_and_constant_descriptors() -> None:
    x = np.array(
        [[1.0, np.nan, 5.0, np.nan], [3.0, 2.0, 5.0, np.nan], [2.0, np.inf, 5.0, np.inf], [7.0, 4.0, 5.0, -np.inf]]
    )
    scaling = DescriptorScaling.fit(x)
    assert scaling.kept.tolist() == [True, True, False, False]
    scaled = scaling(x)
    assert scaled.shape == (4, 2)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(0), 1)
    logs = np.log1p(x[:, 0])
    np.testing.assert_allclose(scaled[:, 0], (logs - logs.mean()) / logs.std())
    missing = scaling(np.array([[np.nan] * 4]))
    filled = np.median(logs)
    np.testing.assert_allclose(missing[0, 0], (filled - logs.mean()) / logs.std())
    far = scaling(np.array([[1e300, -1e300, 0.0, 0.0]]))
    assert far.tolist() == [[4.0, -4.0]]


def test_descriptors_of_another_width_are_refused() -> None:
    scaling = DescriptorScaling.fit(np.random.default_rng(0).standard_normal((5, 3)))
    with pytest.raises(DataError, match=re.escape("the molecules have 2 descriptors, the fitted model's 3")):
        scaling(np.ones((1, 2)))


@given(st.integers(0, len(SMILES) - 1), st.integers(0, 9))
def test_one_molecule_has_one_structure(row: int, seed: int) -> None:
    a, b = read_structures([SMILES[row], spelled(SMILES[row], seed)])
    assert a == b


def test_structures_say_what_a_molecule_is() -> None:
    found = checked_structures(["C[C@H](N)C(=O)O", "c1ccccc1CCO", "[Na+].[Cl-]", "[2H]C", "[CH3]", "O", "[NH4+]"])
    assert found[0].connectivity == "CC(N)C(=O)O"
    assert "@" in found[0].smiles
    assert found[1].scaffold == "c1ccccc1"
    assert [s.is_ordinary for s in found] == [True, True, False, False, False, False, False]
    assert read_structures(["C1CC", "", "C"])[:2] == [None, None]
    with pytest.raises(DataError, match="the SMILES 'x' in row 1 can't be read by RDKit, one of 1 such rows"):
        checked_structures(["C", "x"])


def test_components_stand_side_by_side() -> None:
    pair = molecule_features([("CCO", "O"), ("O", "CCO")])
    alone = molecule_features([("CCO",), ("O",)])
    assert pair.counts.shape == (2, 2 * BITS)
    np.testing.assert_array_equal(pair.counts[0], alone.counts.reshape(-1))
    np.testing.assert_array_equal(pair.descriptors[1], alone.descriptors[::-1].reshape(-1))
    assert (
        alone.counts[0].sum() == 6
    )  # three atoms, each with radius 0; the end atoms' and the middle one's with radius 1


def labels(*columns: list[float]) -> Labels:
    values = np.array(columns).T
    n = tuple("abcdefgh"[: len(columns)])
    return Labels(n, ("",) * len(columns), values, np.zeros(values.shape, dtype=np.int8))


@given(power=st.integers(-300, 300), shift=st.sampled_from([0.0, 3.0]))
def test_scaled_labels_know_no_units(power: int, shift: float) -> None:
    plain = labels([1.0, 2.0, np.nan, 4.0])
    other = labels([10.0**power * (v + shift) for v in (1.0, 2.0, np.nan, 4.0)])
    a, b = TaskScaling.fit(plain), TaskScaling.fit(other)
    np.testing.assert_allclose(b.scaled(other.values), a.scaled(plain.values), rtol=1e-9)


def test_constants_are_scaled_to_zero() -> None:
    given_ = labels([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], [np.nan, -7.0, -7.0], [0.0, 0.0, 0.0])
    scaling = TaskScaling.fit(given_)
    assert scaling.varies.tolist() == [False, True, False, False]
    assert scaling.mean.tolist() == [0.1, 2.0, -7.0, 0.0]
    np.testing.assert_array_equal(scaling.scaled(given_.values)[:, [0, 2, 3]], [[0, np.nan, 0], [0, 0, 0], [0, 0, 0]])
