"""Vector inputs and single variables as arrays."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from surrogates import Schema
from surrogates.errors import DataError
from surrogates.variables import finite, flat, numbers, require_numbers, units_of
from surrogates.vectors import OwnDim, gather, own_dims, require_own_dims


def table() -> xr.Dataset:
    return xr.Dataset(
        {
            "bits": (("thing", "bit"), np.arange(12, dtype=np.uint8).reshape(4, 3)),
            "warmth": ("day", [10.0, 20.0], {"units": "K"}),
            "y": (("thing", "day"), [[1.0, np.nan], [np.nan, 2.0], [np.nan, np.nan], [3.0, 4.0]]),
        }
    )


def test_own_dims_are_those_that_the_target_lacks() -> None:
    assert own_dims(table(), ("bits", "warmth"), target="y") == {"bits": OwnDim("bit", 3), "warmth": OwnDim(None, 1)}
    with pytest.raises(DataError, match=r"'bits' has 2 dims that the target 'y' lacks"):
        own_dims(table().expand_dims(extra=2).assign(y=table()["y"]), ("bits",), target="y")


def test_vectors_are_kept_once_for_each_place_in_use() -> None:
    data, sizes = table(), {"thing": 4, "day": 2}
    own = own_dims(data, ("bits", "warmth"), target="y")
    keep = np.isfinite(flat(data["y"], sizes))
    vectors, x = gather(data, own, sizes, {"bits": None, "warmth": "K"}, keep)
    assert x.shape == (4, 1)
    place = x[:, 0].astype(int)
    assert vectors.values["bits"].dtype == np.uint8
    np.testing.assert_array_equal(vectors.values["bits"][place], data["bits"].values[[0, 1, 3, 3]])
    np.testing.assert_array_equal(vectors.values["warmth"][place, 0], [10, 20, 10, 20])
    # without the days, things are the places: one for both of the last readings
    vectors, x = gather(data, {"bits": own["bits"]}, sizes, {"bits": None}, keep)
    assert vectors.values["bits"].shape == (3, 3)
    np.testing.assert_array_equal(x[:, 0], [0, 1, 2, 2])


def test_a_request_s_vectors_are_as_long_as_the_fit_s() -> None:
    known = {"bits": OwnDim("bit", 3)}
    require_own_dims(table(), known, ("y", None))
    with pytest.raises(DataError, match=r"length 2 along 'bit', and had 3 at the fit; make it in the same way"):
        require_own_dims(table().isel(bit=[0, 1]), known, ())
    with pytest.raises(DataError, match=r"dims \('thing', 'b'\); at the fit it had one of its own, 'bit'"):
        require_own_dims(table().rename(bit="b"), known, ())
    with pytest.raises(DataError, match=r"'z' runs along 'bit', which is the vector input 'bits''s own"):
        require_own_dims(table().assign(z=("bit", [1, 2, 3])), known, ("z",))


def test_a_schema_encodes_vectors_and_remembers_their_dims() -> None:
    schema = Schema(inputs=("bits", "warmth"), target="y")
    encoded = schema.encode(table(), vectors=("bits", "warmth"))
    assert encoded.vectors is not None
    np.testing.assert_array_equal(encoded.y, [1, 2, 3, 4])
    assert encoded.vocabulary.own_dims["bits"] == OwnDim("bit", 3)
    at = table().drop_vars("y").isel(thing=[2]).assign_coords(bit=list("pqr"))
    points = schema.encode_points(at, encoded.vocabulary)
    assert points.dims == ("thing", "day")
    assert set(points.frame.variables) == {"warmth"}
    assert points.vectors is not None
    np.testing.assert_array_equal(points.vectors.values["bits"], [[6, 7, 8]] * 2)


def test_one_variable_as_an_array() -> None:
    data = table()
    assert units_of(data["warmth"]) == "K"
    assert units_of(data["y"]) is None
    np.testing.assert_array_equal(flat(data["warmth"], {"thing": 2, "day": 2}), [10, 20, 10, 20])
    assert numbers(data["bits"], {"bit": 3, "thing": 4}).dtype == np.float64
    assert finite(np.ones(2), "x").sum() == 2
    require_numbers(data["bits"])
    with pytest.raises(DataError, match="numbers are wanted"):
        require_numbers(xr.DataArray(["a"], name="t"))
    with pytest.raises(DataError, match="'x' has 1 entries that are NaN or inf"):
        finite(np.array([1.0, np.nan]), "x")
