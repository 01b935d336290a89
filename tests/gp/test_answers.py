"""Answers of odd shapes and sizes, and promises that all answers keep.  Through the public names only."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from tables import AT, DATA, GAUGED, MODEL, NOISY, SCHEMA, assert_close, with_units

from surrogates import FittedHierarchicalGP, HierarchicalGP, as_dataset
from surrogates.errors import DataError


@pytest.fixture(scope="module")
def fitted() -> FittedHierarchicalGP:
    return MODEL.fit(DATA)


# --- questions of odd shapes -----------------------------------------------------------------------------------------


def test_no_place_at_all(fitted: FittedHierarchicalGP) -> None:
    nothing = AT.isel(sample=[])
    prediction = fitted.predict(nothing)
    assert set(prediction) == {"mean", "std", "noise_std"}
    assert all(prediction[name].sizes == {"sample": 0} for name in prediction)
    assert fitted.gradient(nothing).sizes == {"input": 1, "sample": 0}
    assert fitted.covariance(nothing).shape == (0, 0)
    assert fitted.sample(nothing, 3, seed=0).sizes == {"draw": 3, "sample": 0}
    empty = xr.Dataset(coords={"x": np.zeros(0), "task": ["a", "b"]})
    assert fitted.predict(empty)["mean"].sizes == {"x": 0, "task": 2}


def test_more_dims_than_the_data_had(fitted: FittedHierarchicalGP) -> None:
    plain = fitted.predict(AT)
    more = AT.assign(x=AT["x"].expand_dims(repeat=3)).assign_coords(repeat=[10, 20, 30])
    prediction = fitted.predict(more)
    assert prediction["mean"].sizes == {"sample": 6, "repeat": 3} or prediction["mean"].sizes == {
        "repeat": 3,
        "sample": 6,
    }
    for r in more["repeat"]:
        assert_close(prediction.sel(repeat=r), plain, rtol=1e-13)
    unused = fitted.predict(AT.assign(photo=(("sample", "pixel"), np.zeros((6, 4))), day=("day", [1, 2])))
    assert_close(unused, plain, rtol=0.0)
    assert set(unused.dims) == {"sample"}


def test_a_joint_answer_that_is_too_large(fitted: FittedHierarchicalGP) -> None:
    many = as_dataset(np.linspace(0, 1, 12_001), inputs=["x"], task=np.full(12_001, "a"))
    with pytest.raises(DataError, match="12001 places needs a matrix of its square; at most 12000 are taken"):
        fitted.covariance(many)
    with pytest.raises(DataError, match="n is 0; it must be an integer >= 1"):
        fitted.sample(AT, 0, seed=0)


MILLION = """
import resource
import numpy as np
from surrogates import HierarchicalGP, Schema, as_dataset
x = np.linspace(0, 1, 80)
data = as_dataset(x, np.sin(6 * x), inputs=["x"], task=np.array(["a", "b"])[np.arange(80) % 2])
model = HierarchicalGP(Schema(inputs=("x",), target="y", task="task"), integrate=False).fit(data)
at = as_dataset(np.linspace(0, 1, 10**6), inputs=["x"], task=np.full(10**6, "a"))
model.predict(at.isel(sample=slice(0, 1000)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prediction = model.predict(at)
assert abs(prediction["mean"] - np.sin(6 * at["x"])).max() < 0.05
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_million_places_need_little_memory() -> None:
    """The cross-covariance alone would take 640 MB; labels, inputs and the answer's own columns take some 90 MB."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MILLION], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 * 1024  # KiB


# --- promises --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["auto", "known"])
def test_data_are_not_changed(noise: str) -> None:
    data = with_units(DATA.assign(s=("sample", np.full(14, 0.05))), x="mm", y="um", s="um").assign_attrs(title="t")
    at = with_units(AT, x="m").assign_attrs(plan="p")
    before, asked = data.copy(deep=True), at.copy(deep=True)
    model = HierarchicalGP(NOISY if noise == "known" else SCHEMA).fit(data)
    model.predict(at)
    model.gradient(at)
    model.sample(at, 2, seed=0)
    model.covariance(at)
    model.loo()
    model.update(data)
    xr.testing.assert_identical(data, before)
    xr.testing.assert_identical(at, asked)


@pytest.mark.parametrize("sharing", ["common", "two-kernels", "icm", "niw"])
def test_the_same_seed_gives_the_same_answers(sharing: str) -> None:
    model = HierarchicalGP(GAUGED, sharing=sharing)
    first, again = model.fit(DATA, seed=7), model.fit(DATA, seed=7)
    xr.testing.assert_identical(first.predict(AT), again.predict(AT))
    xr.testing.assert_identical(first.sample(AT, 3, seed=1), again.sample(AT, 3, seed=1))
    assert not first.sample(AT, 3, seed=2).identical(first.sample(AT, 3, seed=1))
    if sharing != "niw":
        assert not model.fit(DATA, seed=8).predict(AT).identical(first.predict(AT))


@pytest.mark.parametrize("noise", ["auto", "known"])
@pytest.mark.parametrize("sharing", ["common", "niw"])
def test_all_answers_agree_with_predict(sharing: str, noise: str) -> None:
    """Joint covariance, draws and derivatives are those of the one f that `predict` describes."""
    data = DATA.assign(s=0.05 + 0.2 * DATA["x"])
    model = HierarchicalGP(NOISY if noise == "known" else SCHEMA, sharing=sharing).fit(data)
    # one place twice, one of two tasks, one that was observed
    at = as_dataset(np.array([0.1, 0.5, 0.83, 0.5, 0.1, float(DATA["x"][0])]), inputs=["x"], task=list("abbaaa"))
    prediction, step = model.predict(at), 1e-5
    np.testing.assert_allclose(np.diag(model.covariance(at)), prediction["std"] ** 2, rtol=1e-9)
    draws = model.sample(at, 20_000, seed=0)
    error = np.abs(draws.mean("draw") - prediction["mean"])
    assert (error < 5 * prediction["std"] / np.sqrt(20_000)).all()
    np.testing.assert_allclose(draws.std("draw"), prediction["std"], rtol=0.05)
    up, down = (model.predict(at.assign(x=at["x"] + s)) for s in (step, -step))
    slopes = model.gradient(at).sel(input="x")
    np.testing.assert_allclose(slopes["d_mean"], (up["mean"] - down["mean"]) / (2 * step), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(slopes["d_std"], (up["std"] - down["std"]) / (2 * step), rtol=1e-4, atol=1e-5)


def test_one_place_asked_twice_is_one_value() -> None:
    data = DATA.assign(s=("sample", np.full(14, 0.3)))
    model = HierarchicalGP(NOISY, integrate=False).fit(data)
    at = as_dataset(np.array([0.5, 0.5, 0.5]), inputs=["x"], task=list("aab"))
    draws = model.sample(at, 50, seed=0)
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    assert float(np.abs(draws[:, 0] - draws[:, 2]).max()) > 0.01
    covariance = model.covariance(at).values
    np.testing.assert_allclose(covariance[0, 1], covariance[0, 0], rtol=1e-10)


def test_left_out_readings_carry_their_labels() -> None:
    model = HierarchicalGP(GAUGED, noise="task-fidelity", integrate=False).fit(DATA)
    left_out = model.loo()
    for name in ("task", "fidelity"):
        np.testing.assert_array_equal(left_out[name], DATA[name])
    np.testing.assert_allclose(left_out["x"], DATA["x"], rtol=1e-14)
    np.testing.assert_allclose(left_out["observed"], DATA["y"], atol=1e-14)
    residual = DATA["y"].values - left_out["mean"].values
    np.testing.assert_allclose(left_out["residual"], residual, atol=1e-14)
