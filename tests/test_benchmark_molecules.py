"""The benchmarks of molecules: their numbers from records made by hand, and small runs of what they do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import molecules as benchmark
import molecules_methods as methods
import molecules_peers as peers
import molecules_tables as tables
from results import append, records

from surrogates.datasets.molecules import Molecules, qm9, solvation


def record(method: str, seed: int, errors: dict[str, float], coverage: float | None = None) -> dict[str, Any]:
    properties = {name: {"mae": e, "relative": e, "coverage": coverage, "tests": 9} for name, e in errors.items()}
    about = {"data": "qm9", "split": "random", "labels": 50, "seed": seed, "method": method, "seconds": 1.0}
    return {**about, "molecules": 90, "properties": properties, "notes": {}}


BY_HAND = [
    record("ours", 0, {"a": 0.9, "b": 1.8}, 0.9),
    record("ours", 1, {"a": 0.8, "b": 1.6}, 0.8),
    record("ours, single", 0, {"a": 1.0, "b": 2.0}),
    record("ours, single", 1, {"a": 1.0, "b": 2.0}),
    record("random forest", 0, {"a": 0.6, "b": 3.6}),
    record("random forest", 1, {"a": 1.6, "b": 0.8}),
    record("chemprop", 0, {"a": 1.8, "b": 3.6}),  # not run for the second seed
]


def test_changes_and_their_standard_errors_by_hand() -> None:
    frame = tables.long(BY_HAND)
    np.testing.assert_allclose(tables.paired(frame, "ours", "ours, single"), [-0.1, -0.2])
    np.testing.assert_allclose(tables.paired(frame, "ours", "random forest"), [(0.5 - 0.5) / 2, (-0.5 + 1.0) / 2])
    np.testing.assert_allclose(tables.paired(frame, "ours", "chemprop"), [-0.5])
    np.testing.assert_allclose(tables.standard_error([-0.1, -0.2]), 0.05)  # 0.1/√2, over √2
    assert np.isnan(tables.standard_error([1.0]))
    text = tables.tables(BY_HAND)
    assert "-15.0 ± 5.0 (2)" in text
    assert "-50.0 ± nan (1)" in text


def test_ranks_by_hand_leave_out_methods_without_all_seeds() -> None:
    # a: 2 3 1, b: 1 2 3, then a: 1 2 3, b: 2 3 1 for ours, single, forest
    ranks = tables.ranks(tables.long(BY_HAND))
    assert ranks.to_dict() == {"ours": 1.5, "ours, single": 2.5, "random forest": 2.0}


def test_coverage_is_counted_by_property() -> None:
    text = tables.tables(BY_HAND)
    (row,) = [line for line in text.split("properties between 85 and 95 %")[1].splitlines() if "random" in line][:1]
    assert row.split()[-3:] == ["2", "of", "2"]  # 0.85 on average
    assert tables.tables([]) == "no records"


def test_scores_by_hand() -> None:
    truth, mean = np.array([0.0, 2.0, np.nan]), np.array([1.0, 2.0, 5.0])
    found = benchmark.judged(truth, mean, mean - 0.5, mean + 0.5)
    assert found == {"mae": 0.5, "relative": 0.5, "coverage": 0.5, "tests": 2}
    assert benchmark.judged(truth, mean, np.full(3, np.nan), np.full(3, np.nan))["coverage"] is None


@pytest.mark.parametrize("method", ["ours", "random forest"])
def test_a_run_on_thirty_labels(method: str, tmp_path: Path) -> None:
    data = solvation()
    run = benchmark.Run("solvation", "random", 30, 1, method)
    found = benchmark.one(run, data, ("smiles",))
    assert found is not None
    assert found["molecules"] <= 60
    for entry in found["properties"].values():
        assert entry["tests"] == 128  # a fifth of 642
        assert 0.02 < entry["relative"] < 0.7  # a guess without molecules gets about 0.8
        assert 0.6 < entry["coverage"] <= 1
    append(tmp_path / "records", found)
    assert records(tmp_path / "records") == [found]
    assert benchmark.one(run._replace(labels=5000), data, ("smiles",)) is None


def test_forests_intervals_are_told_by_the_trees_that_dont_know_a_label() -> None:
    data = solvation().split("random", benchmark.FRACTIONS, seed=0)
    train = data.scarce(60, seed=0)
    guess = peers.random_forest(train, train, ("smiles",), 0)
    width = (guess.upper - guess.lower)[0, 0]
    known = np.isfinite(train["experiment"].to_numpy())
    inside = np.abs(train["experiment"].to_numpy() - guess.mean[:, 0])[known]
    assert width / 2 > np.quantile(inside, 0.9)  # trees fit what they know far better


def test_test_molecules_are_enough_for_each_property() -> None:
    n = 3_000
    rare = np.where(np.arange(n) % 20 == 0, 1.0, np.nan)  # 150 labels, of which the first 1,000 have about 50
    table = xr.Dataset({"common": ("molecule", np.ones(n)), "rare": ("molecule", rare)})
    few, more = (benchmark.tests_of(table, names, 3) for names in (["common"], ["common", "rare"]))
    assert few.sizes["molecule"] == 1000
    assert int(np.isfinite(more["rare"]).sum()) == 100
    assert more.sizes["molecule"] == 1000 + 100 - int(np.isfinite(few["rare"]).sum())


@pytest.fixture(scope="module")
def small() -> methods.Tables:
    data = qm9(300, seed=0)
    return methods.prepared(data.select(["homo", "lumo", "heat_capacity"]), 0)


def test_methods_train_on_scaled_targets_and_answer_in_their_units(small: methods.Tables) -> None:
    assert [len(part.X) for part in (small.train, small.validation, small.test)] == [240, 30, 30]
    torch.testing.assert_close(small.train.Y.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    found = [methods.one(small, method, 0, 4) for method in (methods.SINGLE, "sum", "aim", methods.EQUAL)]
    for entry in found:
        for name, std in zip(small.names, small.std, strict=True):
            np.testing.assert_allclose(entry["mae"][name], entry["relative"][name] * std, rtol=1e-6)
    assert np.array(found[2]["notes"]["map"]).shape == (3, 3)
    assert min(found[3]["updates"]) >= 0.8 * found[1]["steps"]
    text = methods.told([*found, methods.cost(small, 1, ("sum", "aim"))])
    assert "against single" in text
    assert "sum 1.00" in text


def test_summary_of_methods_by_hand() -> None:
    errors = {
        ("single-task", 0): [1.0, 2.0],
        ("sum", 0): [1.1, 2.4],
        ("single-task", 1): [1.0, 2.0],
        ("sum", 1): [0.9, 1.6],
    }
    frame = pd.DataFrame(errors, index=["a", "b"]).T
    found = methods.summary(frame)
    wanted = {"against single [%]": 0.0, "± (single)": 15.0}  # of +15 and -15
    assert found.loc["sum", list(wanted)].to_dict() == pytest.approx(wanted, abs=1e-9)
    assert found["mean rank"].to_dict() == {"single-task": 1.5, "sum": 1.5}


def test_equal_updates_of_a_split_data_set_are_the_sums(small: methods.Tables) -> None:
    assert methods.equal_updates(small, 0, 4) >= 4


def test_all_data_sets_have_their_smiles() -> None:
    assert set(benchmark.DATA) == {"solvation", "qm9", "physical", "optical"}
    assert isinstance(benchmark.loaded("solvation"), Molecules)
