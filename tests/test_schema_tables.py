"""Tables that people really bring: masks, several indices, dates as labels, names used twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.errors import DataError

SCHEMA = Schema("x", "y", task="task")


def test_masked_targets_are_not_observed() -> None:
    y = np.ma.masked_array([1.0, 999.0, 3.0], mask=[False, True, False])
    data = as_dataset([0.0, 1.0, 2.0], y, inputs=["x"])
    np.testing.assert_array_equal(Schema("x", "y").encode(data).y, [1.0, 3.0])


def test_masked_inputs_are_refused() -> None:
    x = np.ma.masked_array([0.0, 5.0], mask=[False, True])
    with pytest.raises(DataError, match="'x' has 1 entries that are NaN or inf"):
        Schema("x", "y").encode(as_dataset(x, [1.0, 2.0], inputs=["x"]))


def test_masked_labels_are_missing_or_kept() -> None:
    label = np.ma.masked_array(["a", "?", "b"], mask=[False, True, False])
    data = as_dataset([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], inputs=["x"], task=label)
    with pytest.raises(DataError, match="'task' has 1 missing labels"):
        SCHEMA.encode(data)
    whole = np.ma.masked_array([3, 7, 3])
    assert SCHEMA.encode(data.assign(task=as_dataset(whole, inputs=["n"])["n"])).vocabulary.tasks == (3, 7)


def test_one_input_may_be_named_by_a_text() -> None:
    """As in `Schema`; a text taken letter by letter would name two columns "a" and "b"."""
    assert list(as_dataset([0.0, 1.0], inputs="speed").data_vars) == ["speed"]
    with pytest.raises(DataError, match=r"x has shape \(1, 2\); 1 inputs \('ab',\) want"):
        as_dataset([[0.0, 1.0]], inputs="ab")


def test_labels_without_a_reading_may_be_of_any_type() -> None:
    data = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 2.0, np.nan, np.nan], "task": ["a", "b", 3, "q"]})
    assert [note[:8] for note in SCHEMA.encode(data).notes] == ["task 3 h", "task 'q'"]


@pytest.mark.parametrize(("inputs", "target"), [(["y"], "y"), (["x"], "task")])
def test_a_name_used_twice_loses_nothing(inputs: list[str], target: str) -> None:
    with pytest.raises(DataError, match="is used twice"):
        as_dataset([0.0, 1.0], [1.0, 2.0], inputs=inputs, target=target, task=["a", "b"])


def test_several_indices_are_columns_row_by_row() -> None:
    """As a grid, they would ask for every combination; and replicates would be refused."""
    index = pd.MultiIndex.from_tuples([("a", 0.0), ("b", 0.5), ("b", 0.5)], names=["task", "x"])
    table = pd.DataFrame({"y": [1.0, 2.0, 2.5]}, index=index)
    read = SCHEMA.encode(table)
    np.testing.assert_array_equal(read.x[:, 0], [0.0, 0.5, 0.5])
    np.testing.assert_array_equal(read.task, [0, 1, 1])
    np.testing.assert_array_equal(read.y, [1.0, 2.0, 2.5])


def test_dates_as_labels_are_refused() -> None:
    data = as_dataset(
        [0.0, 1.0], [1.0, 2.0], inputs=["x"], task=np.array(["2026-01-01", "2026-01-02"], "datetime64[D]")
    )
    with pytest.raises(DataError, match=r"'task' has labels of dtype datetime64.*convert them to text"):
        SCHEMA.encode(data)


def test_a_new_label_of_another_type_is_refused() -> None:
    x = np.linspace(0, 1, 16)
    fitted = HierarchicalGP(SCHEMA, integrate=False).fit(
        as_dataset(x, np.sin(x), inputs=["x"], task=np.repeat(["1", "2"], 8))
    )
    with pytest.raises(DataError, match="task 1 is of type int, the model's are of str"):
        fitted.update(as_dataset([0.5], [0.5], inputs=["x"], task=[1]))


@pytest.mark.parametrize("name", ["mean", "std", "noise_std"])
def test_names_of_what_predictions_hold_are_taken(name: str) -> None:
    with pytest.raises(DataError, match=rf"\['{name}'\] are names of what predictions hold"):
        Schema((name, "x"), "y")


def test_a_fidelity_over_a_dim_of_its_own_would_double_the_readings() -> None:
    data = xr.Dataset({"y": ("x", [1.0, 2.0])}, coords={"x": [0.0, 1.0], "gauge": ["p", "c"]})
    with pytest.raises(DataError, match="variable 'gauge' runs along 'gauge'"):
        Schema("x", "y", fidelity="gauge").encode(data)
