"""The border between labelled data and arrays: what is read, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from tables import parts as table

from surrogates import Schema, as_dataset
from surrogates.errors import DataError
from surrogates.schema import Table, Vocabulary

SCHEMA = Schema(inputs=("x", "y"), target="height", task="part")
FULL = Schema(inputs=("x",), target="height", task="part", fidelity="gauge")


def grid() -> xr.Dataset:
    """Two parts, each measured on a 3 x 2 grid; everything but the target is a coordinate."""
    return xr.Dataset(
        {"height": (("part", "x", "y"), np.arange(12.0).reshape(2, 3, 2))},
        coords={"part": ["left", "right"], "x": [0.0, 1.0, 2.0], "y": [10.0, 20.0]},
    )


def assert_same(one: Table, other: Table) -> None:
    for name in ("x", "y", "task", "fidelity"):
        assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.vocabulary == other.vocabulary


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_table_is_read_row_by_row() -> None:
    read = FULL.encode(table())
    assert_array_equal(read.x, [[0.0], [1.0], [2.0], [3.0]])
    assert_array_equal(read.y, [5.0, 6.0, 7.0, 8.0])
    assert read.vocabulary.tasks == ("a", "b")
    assert_array_equal(read.task, [1, 0, 1, 0])
    assert read.vocabulary.fidelities == ("coarse", "fine")
    assert_array_equal(read.fidelity, [1, 0, 0, 1])
    assert read.noise_variance is None
    assert read.notes == ()


def test_a_grid_is_broadcast_and_stacked_in_the_targets_order() -> None:
    read = SCHEMA.encode(grid())
    by_hand = [(p, x, y) for p in range(2) for x in (0.0, 1.0, 2.0) for y in (10.0, 20.0)]
    assert_array_equal(np.column_stack([read.task, read.x]), by_hand)
    assert_array_equal(read.y, np.arange(12.0))


def test_a_transposed_target_is_the_same_set_of_readings() -> None:
    plain, turned = SCHEMA.encode(grid()), SCHEMA.encode(grid().transpose("y", "part", "x"))
    first, second = (np.column_stack([t.task, t.x, t.y]) for t in (plain, turned))
    assert not np.array_equal(first, second)
    assert_array_equal(np.unique(first, axis=0), np.unique(second, axis=0))


def test_a_bundle_of_time_series_with_inputs_over_one_dim_each() -> None:
    schema = Schema(inputs=("hour", "volume"), target="power", task="name")
    data = xr.Dataset(
        {
            "power": (("unit", "time"), [[1.0, 2.0, 3.0], [4.0, np.nan, 6.0]]),
            "hour": ("time", [0.0, 0.5, 1.0]),
            "volume": ("unit", [30.0, 90.0]),
            "name": ("unit", ["kitchen", "attic"]),
        }
    )
    read = schema.encode(data)
    assert_array_equal(read.y, [1, 2, 3, 4, 6])
    assert_array_equal(read.x, [[0, 30], [0.5, 30], [1, 30], [0, 90], [1, 90]])
    assert [read.vocabulary.tasks[t] for t in read.task] == ["kitchen"] * 3 + ["attic"] * 2


def test_inputs_may_be_coordinates_variables_or_scalars() -> None:
    as_variables = table()
    assert_same(FULL.encode(as_variables), FULL.encode(as_variables.set_coords(["x", "part", "gauge"])))
    scalar = table(x=np.full(4, 2.5)).drop_vars("x").assign_coords(x=2.5)
    assert_array_equal(FULL.encode(scalar).x, np.full((4, 1), 2.5))


@pytest.mark.parametrize("role", ["inputs", "task", "fidelity", "noise"])
def test_a_dim_that_the_target_lacks_would_repeat_its_readings(role: str) -> None:
    data = xr.Dataset({"height": ("x", [1.0, 2.0]), "y": ("y", [0.0, 5.0, 9.0])}, coords={"x": [0.0, 1.0]})
    names = {"inputs": ("x", "y")} if role == "inputs" else {"inputs": ("x",), role: "y"}
    with pytest.raises(
        DataError, match=r"variable 'y' runs along 'y', which the target 'height' \(over \('x',\)\) doesn't"
    ):
        Schema(target="height", **names).encode(data)


def test_one_input_may_be_given_as_text_and_several_as_a_list() -> None:
    assert Schema(inputs="x", target="y").inputs == ("x",)
    assert Schema(inputs=["x", "z"], target="y").inputs == ("x", "z")


def test_rows_without_a_target_are_dropped_to_the_bit() -> None:
    holes = table(height=np.array([5.0, np.nan, 7.0, 8.0]))
    assert_same(FULL.encode(holes), FULL.encode(table().isel(sample=[0, 2, 3])))


def test_what_an_unobserved_row_holds_does_not_matter() -> None:
    holes = table(
        x=np.array([0.0, np.nan, np.inf, 3.0]),
        height=np.array([5.0, np.nan, np.nan, 8.0]),
        part=np.array(["b", None, "b", "a"], dtype=object),
        gauge=np.array(["fine", "broken", "coarse", "fine"]),
    )
    assert_same(FULL.encode(holes), FULL.encode(table().isel(sample=[0, 3])))


@pytest.mark.parametrize("kind", ["f4", ">f8", ">f4", "<f8", "i4", ">i2", "u1", "O"])
def test_all_kinds_of_numbers_are_read(kind: str) -> None:
    data = table(x=np.array([0, 1, 2, 3], dtype=kind), height=np.array([5, 6, 7, 8], dtype=kind))
    read = FULL.encode(data)
    assert_same(read, FULL.encode(table()))
    assert read.x.dtype == read.y.dtype == np.float64
    assert read.x.dtype.isnative


def test_float32_is_read_as_the_number_it_holds() -> None:
    assert FULL.encode(table(x=np.full(4, 0.1, dtype=np.float32))).x[0, 0] == float(np.float32(0.1)) != 0.1


def test_bools_are_zero_and_one() -> None:
    assert_array_equal(FULL.encode(table(x=np.array([True, False, True, False]))).x[:, 0], [1, 0, 1, 0])


def test_none_in_an_object_column_is_not_observed() -> None:
    data = table(height=np.array([5.0, None, 7, 8.0], dtype=object))
    assert_same(FULL.encode(data), FULL.encode(table().isel(sample=[0, 2, 3])))


def test_a_data_frame_is_a_table() -> None:
    assert_same(FULL.encode(table().to_dataframe()), FULL.encode(table()))


@pytest.mark.parametrize("labels", ["category", "string", "object"])
def test_pandas_own_column_types_are_read(labels: str) -> None:
    frame = table().to_dataframe().astype({"part": labels, "gauge": labels, "x": "Int64"})
    frame["height"] = pd.array([5.0, None, 7.0, 8.0], dtype="Float64")
    assert_same(FULL.encode(frame), FULL.encode(table().isel(sample=[0, 2, 3])))


@pytest.mark.parametrize(
    ("labels", "tasks"),
    [
        (np.array([10, 9, 10, 9]), (9, 10)),
        (np.array([True, False, True, False]), (False, True)),
        (np.array([0.5, -1.0, 0.5, -1.0]), (-1.0, 0.5)),
        (np.array(["10", "9", "10", "9"]), ("10", "9")),
        (np.array(["b", "a", "b", "a"], dtype=object), ("a", "b")),
        (np.array([2, 1, 2, 1], dtype=">i8"), (1, 2)),
    ],
    ids=["integers", "bools", "floats", "text", "objects", "big-endian"],
)
def test_labels_of_any_kind_are_sorted_and_plain(labels: NDArray[Any], tasks: tuple[Any, ...]) -> None:
    read = FULL.encode(table(part=labels))
    assert read.vocabulary.tasks == tasks
    assert [type(label) for label in read.vocabulary.tasks] == [type(label) for label in tasks]
    assert [tasks[t] for t in read.task] == list(labels)


def test_without_task_and_fidelity_there_is_one_of_each() -> None:
    read = Schema(inputs=("x",), target="height").encode(table())
    assert read.vocabulary.tasks == read.vocabulary.fidelities == (None,)
    assert_array_equal(read.task, np.zeros(4))
    assert_array_equal(read.fidelity, np.zeros(4))


def test_a_task_without_any_reading_gets_a_note() -> None:
    read = FULL.encode(table(height=np.array([np.nan, 6.0, np.nan, 8.0])))
    assert read.vocabulary.tasks == ("a",)
    assert read.notes == ("part 'b' has no observed 'height': it is not part of the model",)


def test_a_known_vocabulary_keeps_its_positions_and_takes_new_tasks() -> None:
    known = FULL.encode(table()).vocabulary
    more = FULL.encode(table(part=np.array(["a", "A", "c", "b"])), vocabulary=known)
    assert more.vocabulary.tasks == ("a", "b", "A", "c")
    assert_array_equal(more.task, [0, 2, 3, 1])


def test_reading_changes_nothing() -> None:
    data = table(height=np.array([5.0, np.nan, 7.0, 8.0]))
    data["x"].attrs["units"] = "mm"
    before = data.copy(deep=True)
    read = FULL.encode(data)
    read.x[:] = -1.0
    read.y[:] = -1.0
    FULL.encode_points(data, read.vocabulary).x[:] = -1.0
    xr.testing.assert_identical(data, before)


# --- what is refused -------------------------------------------------------------------------------------------------

BAD = {
    "missing": (table().drop_vars("x"), r"the data have no variable 'x'; they have \['gauge', 'height', 'part'\]"),
    "missing target": (table().drop_vars("height"), "the data have no variable 'height'"),
    "two missing": (table().drop_vars(["part", "gauge"]), "no variable 'part', 'gauge'.*correct the schema or rename"),
    "time": (
        table(x=pd.date_range("2026-01-01", periods=4)),
        r"variable 'x' has dtype datetime64.*numbers are wanted: convert it first \(a time, for example, to hours",
    ),
    "duration": (table(x=pd.timedelta_range("1h", periods=4)), "variable 'x' has dtype timedelta64"),
    "text input": (table(x=np.array(["1", "2", "3", "4"])), "variable 'x' has dtype .*; numbers are wanted"),
    "object text": (table(x=np.array(["p", 2, 3, 4], dtype=object)), "variable 'x' has dtype object; numbers"),
    "complex": (table(x=np.arange(4) * 1j), "variable 'x' has dtype complex128"),
    "infinite target": (
        table(height=np.array([5.0, np.nan, np.inf, 8.0])),
        r"'height' has 1 entries that are NaN or inf \(first: inf at row 1 of those used\)",
    ),
    "NaN input": (
        table(x=np.array([np.nan, 1.0, np.nan, 3.0])),
        r"'x' has 2 entries that are NaN or inf \(first: nan at row 0 of those used\); remove these rows or repair",
    ),
    "infinite input": (table(x=np.array([0.0, -np.inf, 2.0, 3.0])), "first: -inf at row 1"),
    "missing label": (
        table(part=np.array(["b", None, "b", np.nan], dtype=object)),
        "variable 'part' has 2 missing labels; every reading needs one",
    ),
    "mixed labels": (
        table(gauge=np.array(["fine", 2, "fine", 2], dtype=object)),
        "variable 'gauge' has labels that can't be sorted, of types int, str; give all the same type",
    ),
    "empty": (table().isel(sample=[]), "no observation: the target 'height' has 0 entries.*a fit needs at least one"),
    "all NaN": (table(height=np.full(4, np.nan)), "the target 'height' has 4 entries and none is a number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_refused_in_words(name: str) -> None:
    data, words = BAD[name]
    with pytest.raises(DataError, match=words):
        FULL.encode(data)


def test_other_containers_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected an xarray.Dataset or a pandas.DataFrame, got ndarray; .*as_dataset"):
        FULL.encode(np.zeros((3, 2)))  # type: ignore[arg-type]


def test_labels_that_a_model_does_not_know_are_refused() -> None:
    known = FULL.encode(table()).vocabulary
    with pytest.raises(DataError, match=r"unknown gauge 'laser'; the model knows 'coarse', 'fine'; correct the label"):
        FULL.encode(table(gauge=np.array(["fine", "laser", "fine", "fine"])), vocabulary=known)
    with pytest.raises(DataError, match=r"unknown part 'c', 'd'; the model knows 'a', 'b'; .*update for a new task"):
        FULL.encode_points(table(part=np.array(["a", "d", "c", "b"])), known)
    with pytest.raises(DataError, match=r"unknown gauge 'laser'.*fit for a new fidelity"):
        FULL.encode_points(table(gauge=np.array(["fine", "laser", "fine", "fine"])), known)


def test_a_number_is_not_the_text_that_prints_like_it() -> None:
    known = FULL.encode(table(part=np.array([1, 2, 1, 2]))).vocabulary
    with pytest.raises(DataError, match="unknown part '1'; the model knows 1, 2"):
        FULL.encode_points(table(part=np.array(["1"] * 4)), known)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"inputs": ()}, r"Schema\(inputs=\(\)\) names no input; give at least one variable name"),
        ({"inputs": ("x", "x")}, r"the schema uses \['x'\] for two purposes; every variable has one"),
        ({"inputs": "y"}, r"uses \['y'\] for two purposes"),
        ({"task": "g", "fidelity": "g"}, r"uses \['g'\] for two purposes"),
        ({"noise": "x"}, r"uses \['x'\] for two purposes"),
        ({"noise": "s", "noise_is": "sd"}, "noise_is is 'sd'; it must be 'std' or 'variance'"),
    ],
)
def test_a_wrong_schema_cannot_be_built(names: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Schema(**{"inputs": "x", "target": "y", **names})


# --- places to predict at --------------------------------------------------------------------------------------------


def vocabulary_of_grid() -> Vocabulary:
    return SCHEMA.encode(grid()).vocabulary


def test_points_of_a_grid_give_the_answer_its_labels_back() -> None:
    at = xr.Dataset(coords={"y": [10.0, 15.0], "part": ["right"], "x": [0.0, 2.0]})
    points = SCHEMA.encode_points(at, vocabulary_of_grid())
    assert points.dims == tuple(at.sizes)
    assert points.fidelity is None
    answer = points.label(np.arange(4.0), {"units": "um"})
    assert answer.attrs == {"units": "um"}
    for k, (x, y) in enumerate(points.x):
        assert float(answer.sel(part="right", x=x, y=y)) == k
    draws = points.label(np.arange(12.0).reshape(3, 4), {}, leading=("draw",))
    assert draws.dims == ("draw", *at.sizes)


def test_points_keep_coordinates_and_drop_what_does_not_belong() -> None:
    at = xr.Dataset(
        {
            "x": ("place", [0.0, 1.0]),
            "y": ("place", [0.0, 1.0]),
            "part": ("place", ["left", "right"]),
            "height": ("place", [np.nan, np.inf]),
            "photo": (("place", "pixel"), np.zeros((2, 5))),
            "calibration": ("day", [1.0, 2.0]),
        },
        coords={"place": ["p", "q"], "inspector": ("place", ["ann", "bob"]), "day": [1, 2], "pixel": range(5)},
        attrs={"title": "plan"},
    )
    points = SCHEMA.encode_points(at, vocabulary_of_grid())
    assert points.dims == ("place",)
    assert set(points.frame.coords) == {"place", "inspector", "x", "y", "part"}
    assert not points.frame.data_vars
    assert points.frame.attrs == {"title": "plan"}
    assert_array_equal(points.task, [0, 1])


def test_no_point_at_all_is_a_request_too() -> None:
    at = grid().isel(x=[])
    points = SCHEMA.encode_points(at, vocabulary_of_grid())
    assert points.x.shape == (0, 2)
    assert points.label(np.zeros(0), {}).sizes == {"part": 2, "x": 0, "y": 2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": ("x", [0.0, np.nan, 1.0])}, "variable 'x' has 4 entries that are NaN or inf"),
        ({"part": ("part", ["left", "middle"])}, "unknown part 'middle'; the model knows 'left', 'right'"),
    ],
)
def test_points_that_cannot_be_used(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        SCHEMA.encode_points(grid().assign_coords(changes), vocabulary_of_grid())
    with pytest.raises(DataError, match="the data have no variable 'part'"):
        SCHEMA.encode_points(grid().isel(part=0, drop=True), vocabulary_of_grid())


# --- as_dataset ------------------------------------------------------------------------------------------------------


def test_as_dataset_names_the_columns() -> None:
    data = as_dataset([[1, 2], [3, 4]], [5, 6], inputs=["p", "q"], target="z", task=["a", "b"], fidelity=[0, 1])
    assert set(data.data_vars) == {"p", "q", "z", "task", "fidelity"}
    assert_array_equal(data["q"], [2, 4])
    assert all(variable.dims == ("sample",) for variable in data.data_vars.values())
    assert set(as_dataset([1.0, 2.0], inputs=["x"]).data_vars) == {"x"}
    assert as_dataset(np.zeros((0, 2)), inputs=["p", "q"]).sizes == {"sample": 0}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x": [[1.0, 2.0]], "inputs": ["p"]}, r"x has shape \(1, 2\); 1 inputs \('p',\) want \(n, 1\)"),
        ({"x": np.zeros((2, 2, 2)), "inputs": ["p", "q"]}, r"x has shape \(2, 2, 2\)"),
        ({"x": [1.0, 2.0], "y": [1.0], "inputs": ["p"]}, r"'y' has shape \(1,\); x has 2 rows, so it must be \(2,\)"),
        ({"x": [1.0, 2.0], "task": [["a"], ["b"]], "inputs": ["p"]}, r"'task' has shape \(2, 1\)"),
        ({"x": [1.0, 2.0], "fidelity": "f", "inputs": ["p"]}, r"'fidelity' has shape \(\)"),
    ],
)
def test_as_dataset_wants_matching_shapes(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        as_dataset(**arguments)
