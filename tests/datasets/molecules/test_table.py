"""The table of molecules: parts, other splits, and exactly so many labels."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates.datasets.molecules import Molecules
from surrogates.datasets.molecules.table import of_structures, split_rows
from surrogates.errors import DataError
from surrogates.structures import checked_structures


def small(n: int = 60, seed: int = 0) -> Molecules:
    """n alkanes; "dense" is always known, "sparse" by a half, "rare" in three training rows."""
    rng = np.random.default_rng(seed)
    data = of_structures(checked_structures(["C" * (k + 1) for k in range(n)]))
    dense, sparse, rare = rng.normal(size=(3, n))
    sparse[rng.permutation(n)[: n // 2]] = np.nan
    data.coords["series"] = ("molecule", np.arange(n) // 5)
    rows = split_rows(data, "random", (0.8, 0.1, 0.1), seed)
    known = np.zeros(n, dtype=bool)
    known[rows.train[:3]] = True
    for name, values in (("dense", dense), ("sparse", sparse), ("rare", np.where(known, rare, np.nan))):
        data[name] = ("molecule", values, {"units": "K"})
    return Molecules(data, rows)


def test_the_parts_are_the_table() -> None:
    molecules = small()
    parts = [molecules.train, molecules.validation, molecules.test]
    assert [part.sizes["molecule"] for part in parts] == [48, 6, 6]
    names = np.concatenate([part["smiles"].values for part in parts])
    assert sorted(names) == sorted(molecules.data["smiles"].values)
    for part in parts:
        for name in molecules.properties:
            values = dict(zip(molecules.data["smiles"].values, molecules.data[name].values, strict=True))
            np.testing.assert_array_equal(part[name].values, [values[s] for s in part["smiles"].values])


@given(labels=st.integers(1, 20), seed=st.integers(0, 2**40))
@settings(deadline=None, max_examples=30)
def test_scarce_tables_have_exactly_so_many_labels(labels: int, seed: int) -> None:
    molecules = small().select(["dense", "sparse"])
    scarce = molecules.scarce(labels, seed=seed)
    truth = molecules.train.set_index(molecule="smiles")
    for name in molecules.properties:
        kept = scarce[name].dropna("molecule")
        assert kept.sizes["molecule"] == labels
        np.testing.assert_array_equal(kept.values, truth[name].sel(molecule=kept["smiles"].values).values)
        assert kept.attrs == {"units": "K"}
    assert np.isfinite(scarce.to_dataarray().values).any(axis=0).all()  # no empty rows


def test_draws_of_properties_differ_and_are_nested() -> None:
    molecules = small().select(["dense", "sparse"])

    def drawn(table: xr.Dataset, name: str) -> set[str]:
        return set(table[name].dropna("molecule")["smiles"].values.tolist())

    few, more, other = molecules.scarce(5, seed=1), molecules.scarce(15, seed=1), molecules.scarce(5, seed=2)
    for name in molecules.properties:
        assert drawn(few, name) < drawn(more, name)
        assert drawn(few, name) != drawn(other, name)
    assert drawn(few, "dense") != drawn(few, "sparse")
    alone = molecules.select(["sparse"]).scarce(5, seed=1)
    assert drawn(alone, "sparse") == drawn(few, "sparse")


def test_properties_known_of_the_same_molecules_keep_different_ones() -> None:
    molecules = small().select(["dense"])
    twins = Molecules(molecules.data.assign(twin=molecules.data["dense"]), molecules.rows)
    scarce = twins.scarce(10, seed=0)
    assert scarce["dense"].notnull().values.tolist() != scarce["twin"].notnull().values.tolist()


def test_the_draw_is_uniform() -> None:
    molecules = small().select(["dense"])
    times = dict.fromkeys(molecules.train["smiles"].values.tolist(), 0)
    for seed in range(1500):
        for name in molecules.scarce(12, seed=seed)["smiles"].values.tolist():
            times[name] += 1
    np.testing.assert_allclose(np.array(list(times.values())) / 1500, 0.25, atol=5 * np.sqrt(0.25 * 0.75 / 1500))


def test_the_table_itself_is_not_changed() -> None:
    molecules = small()
    before = molecules.data.copy(deep=True)
    molecules.scarce(2, seed=0)
    xr.testing.assert_identical(molecules.data, before)


def test_properties_with_too_few_labels() -> None:
    molecules = small()
    with pytest.raises(DataError, match=r"fewer than 10 training labels: rare \(3\).*fewer='drop'"):
        molecules.scarce(10)
    assert list(molecules.scarce(10, fewer="drop").data_vars) == ["dense", "sparse"]
    kept = molecules.scarce(10, fewer="keep")
    assert {name: int(kept[name].notnull().sum()) for name in molecules.properties} == {
        "dense": 10,
        "sparse": 10,
        "rare": 3,
    }
    with pytest.raises(DataError, match="no property has 1000 training labels"):
        molecules.scarce(1000, fewer="drop")
    with pytest.raises(DataError, match=r"labels is 0; an integer >= 1"):
        molecules.scarce(0)
    with pytest.raises(DataError, match="fewer is 'none'"):
        molecules.scarce(5, fewer="none")


def test_another_split_of_the_same_table() -> None:
    molecules = small()
    other = molecules.split("series", (0.5, 0.25, 0.25), seed=1)
    assert other.data is molecules.data
    series = [set(part["series"].values.tolist()) for part in (other.train, other.validation, other.test)]
    assert sum(len(part) for part in series) == 12
    assert molecules.split("random", (0.8, 0.1, 0.1), seed=0).rows.test.tolist() == molecules.rows.test.tolist()
    with pytest.raises(
        DataError, match="a split by 'colour' is unknown; expected is 'scaffold', 'random' or one of smiles"
    ):
        molecules.split("colour")


def test_selected_properties_keep_the_split() -> None:
    molecules = small()
    chosen = molecules.select(["rare", "dense"])
    assert chosen.properties == ("rare", "dense")
    assert chosen.rows is molecules.rows
    with pytest.raises(DataError, match=r"\['nothing'\] aren't there; known are dense, sparse, rare"):
        molecules.select(["nothing"])
    with pytest.raises(DataError, match="known are dense"):
        molecules.select([])
