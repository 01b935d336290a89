"""What the explorer shows, against the model's own predictions."""

from __future__ import annotations

import csv
import io
import urllib.error
import urllib.request
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr

from surrogates import HierarchicalGP, MultiFidelityGP, Schema
from surrogates.errors import DataError, MissingExtraError
from surrogates.explore import explore
from surrogates.explore.app import View, make_app
from surrogates.explore.figure import HALF, panel_of
from surrogates.explore.slices import axes, beside, slices
from surrogates.gp import Categorical, Smooth, Tanimoto


@cache
def parts() -> Any:
    rng = np.random.default_rng(0)
    x, v = rng.uniform(0, 4, 40), rng.uniform(-1, 1, 40)
    part, gauge = np.array(["a", "b"])[np.arange(40) % 2], np.array(["fine", "rough"])[(np.arange(40) // 2) % 2]
    y = np.sin(2 * x) + v + 0.3 * (part == "b") + np.where(gauge == "fine", 0.02, 0.2) * rng.standard_normal(40)
    columns = {"x": x, "v": v, "part": part, "gauge": gauge, "y": y}
    data = xr.Dataset({name: ("n", value) for name, value in columns.items()})
    data["y"].attrs["units"], data["x"].attrs["units"] = "um", "mm"
    return HierarchicalGP(Schema(inputs=("x", "v"), target="y", task="part", fidelity="gauge")).fit(data)


@cache
def labelled() -> Any:
    rng = np.random.default_rng(1)
    x, alloy = rng.uniform(0, 1, 30), np.array(["steel", "brass", "tin"])[np.arange(30) % 3]
    y = np.sin(5 * x) + 2 * (alloy == "tin") + 0.05 * rng.standard_normal(30)
    data = xr.Dataset({"x": ("n", x), "alloy": ("n", alloy), "y": ("n", y)})
    kernel = Smooth("x") * Categorical("alloy")
    return HierarchicalGP(Schema(inputs=("x", "alloy"), target="y"), kernel=kernel).fit(data)


@cache
def fidelities() -> Any:
    x = np.concatenate([np.linspace(0, 1, 9), np.linspace(0, 1, 5)])
    code = np.repeat(["low", "high"], [9, 5])
    y = np.where(code == "low", np.sin(6 * x), 2 * np.sin(6 * x) + x)
    data = xr.Dataset({"x": ("n", x), "code": ("n", code), "y": ("n", y)})
    model = MultiFidelityGP(Schema(inputs="x", target="y", fidelity="code"), fidelities=("low", "high"), noise="none")
    return model.fit(data)


def start(view: View) -> dict[str, float]:
    return {axis.name: axis.start for axis in view.axes}


@pytest.mark.parametrize(("make", "task", "fidelity"), [(parts, "b", "fine"), (fidelities, None, "low")])
def test_curves_are_the_models_predictions(make: Any, task: Any, fidelity: Any) -> None:
    fitted = make()
    view = View(fitted)
    at = start(view)
    curves = view.curves(at, task, fidelity)
    for k, axis in enumerate(view.axes):
        place = curves["place"][k].to_numpy()
        question = xr.Dataset({name: ("p", np.full(len(place), value)) for name, value in at.items()})
        question[axis.name] = ("p", place)
        for other in view.axes:
            question[other.name].attrs["units"] = other.units or None
        for name, label in ((fitted.schema.task, task), (fitted.schema.fidelity, fidelity)):
            if name is not None:
                question[name] = ("p", [label] * len(place))
        answer = fitted.predict(question)
        for name in ("mean", "std", "noise_std"):
            np.testing.assert_allclose(curves[name][k], answer[name], rtol=1e-10)


def test_ranges_and_titles_come_from_the_readings() -> None:
    fitted = parts()
    x, v = View(fitted).axes
    readings = fitted.readings()
    spread = float(readings["x"].max() - readings["x"].min())
    assert (x.title, v.title) == ("x (mm)", "v")
    np.testing.assert_allclose(
        [x.low, x.high], [readings["x"].min() - 0.1 * spread, readings["x"].max() + 0.1 * spread]
    )
    assert View(fitted).target == "y (µm)"


def test_readings_are_the_data() -> None:
    readings = parts().readings()
    loo = parts().loo()
    np.testing.assert_allclose(readings["y"], loo["observed"])
    assert set(readings.coords) == {"x", "v", "part", "gauge"}
    assert readings["y"].attrs["units"] == "um"
    chain = fidelities()
    np.testing.assert_allclose(chain.readings()["y"], chain.loo()["observed"])
    assert sorted(np.unique(chain.readings()["code"]).tolist()) == ["high", "low"]


def test_readings_on_the_slice_are_near_and_others_are_faint() -> None:
    fitted = parts()
    readings = fitted.readings()
    along = axes(fitted, readings)
    place = {axis.name: float(readings[axis.name][7]) for axis in along}
    rows, nearness = beside(along, readings, place, 10)
    assert rows.shape == nearness.shape == (2, 10)
    assert bool((np.diff(nearness, axis=1) >= 0).all())
    assert rows[0, -1] == 7
    np.testing.assert_allclose(nearness[:, -1], 1.0)
    other = np.abs(readings["v"].to_numpy() - place["v"]) / (along[1].high - along[1].low)
    np.testing.assert_allclose(nearness[0], np.exp(-4 * other[rows[0]]))


def test_the_picture_has_all_of_it() -> None:
    view = View(parts())
    picture = view.figure(start(view), "a", "fine")
    names = ["95 % of f", "95 % of a reading", "mean", "readings (faint: far from the slice)"]
    assert [trace["name"] for trace in picture["data"]] == names * 2
    assert [trace["showlegend"] for trace in picture["data"]] == [True] * 4 + [False] * 4
    assert [panel_of(k, view.axes) for k in range(8)] == [0] * 4 + [1] * 4
    assert picture["layout"]["xaxis"]["title"]["text"] == "x (mm)"
    assert picture["layout"]["yaxis"]["title"]["text"] == "y (µm)"
    curves = view.curves(start(view), "a", "fine")
    band = np.array(picture["data"][0]["y"])
    np.testing.assert_allclose(band[:61], (curves["mean"] + HALF * curves["std"])[0])
    assert len(picture["data"][3]["x"]) == 10  # the readings of that part by that gauge


def test_labels_have_a_panel_of_marks() -> None:
    view = View(labelled())
    picture = view.figure(start(view), None, None)
    marks = picture["data"][4]
    assert (marks["mode"], marks["x"]) == ("markers", [0.0, 1.0, 2.0])
    assert picture["layout"]["xaxis2"]["ticktext"] == ["brass", "steel", "tin"]
    assert [panel_of(k, view.axes) for k in range(6)] == [0] * 4 + [1] * 2
    at = xr.Dataset({"x": ("p", [view.axes[0].start] * 3), "alloy": ("p", ["brass", "steel", "tin"])})
    np.testing.assert_allclose(marks["y"], labelled().predict(at)["mean"])


def test_values_as_csv() -> None:
    view = View(labelled())
    rows = list(csv.DictReader(io.StringIO(view.table(start(view), None, None))))
    assert len(rows) == 61 + 3
    assert [row["alloy"] for row in rows[-3:]] == ["brass", "steel", "tin"]
    curves = view.curves(start(view), None, None)
    np.testing.assert_array_equal([float(row["mean"]) for row in rows[:61]], curves["mean"][0])


def test_names_and_labels_with_commas_are_one_cell() -> None:
    x = np.linspace(0, 1, 12)
    data = xr.Dataset({"speed, m/s": ("n", x), "part": ("n", ['6" pipe', "rod, long"] * 6), "y": ("n", np.sin(5 * x))})
    view = View(HierarchicalGP(Schema(inputs="speed, m/s", target="y", task="part")).fit(data))
    rows = list(csv.DictReader(io.StringIO(view.table(start(view), '6" pipe', None))))
    assert list(rows[0]) == ["varies", "speed, m/s", "task", "fidelity", "mean", "std", "noise_std"]
    assert (rows[0]["varies"], rows[0]["task"], rows[0]["fidelity"]) == ("speed, m/s", '6" pipe', "")


def test_a_click_reads_values() -> None:
    view = View(parts())
    text = view.read(0, 1.0, 0.5, start(view), "a", "fine")
    at = xr.Dataset({"x": ("p", [1.0], {"units": "mm"}), "v": ("p", [view.axes[1].start])}).assign(
        part="a", gauge="fine"
    )
    answer = parts().predict(at)
    mean, std = float(answer["mean"][0]), float(answer["std"][0])
    assert text.startswith(f"x (mm) = 1: y (µm) = {mean:.5g}; 95 % of f: {mean - HALF * std:.5g} to")
    assert "alloy = tin" in View(labelled()).read(1, 2.0, 0.0, start(View(labelled())), None, None)


def test_a_slice_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, asked = parts(), []
    plain = type(fitted).predict

    def counted(self: Any, at: xr.Dataset) -> xr.Dataset:
        asked.append(at.sizes["place"])
        return plain(self, at)

    monkeypatch.setattr(type(fitted), "predict", counted)
    view = View(fitted)
    slices(fitted, view.axes, start(view), "a", "fine")
    assert asked == [122]


def test_vectors_have_no_slice() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (12, 6)).astype(float)
    data = xr.Dataset({"bits": (("n", "bit"), counts), "y": ("n", counts[:, 0] + 0.1 * rng.standard_normal(12))})
    fitted = HierarchicalGP(Schema(inputs="bits", target="y"), kernel=Tanimoto(counts="bits"), trend="constant").fit(
        data
    )
    with pytest.raises(DataError, match=r"inputs \['bits'\] are vectors or counts"):
        View(fitted)


def test_a_missing_toolkit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dash", None)
    with pytest.raises(MissingExtraError, match=r"multitask-surrogates\[explore\]"):
        make_app(parts())


def test_only_this_machine_is_served() -> None:
    with explore(parts(), browser=False) as server:
        assert server.url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(server.url) as page:
            assert b"surrogates" in page.read()
        elsewhere = urllib.request.Request(server.url, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(elsewhere)
        port = int(server.url.rsplit(":", 1)[1].strip("/"))
        with pytest.raises(OSError, match=rf"port {port} can't be served: .*; give another one, or 0 for any"):
            explore(parts(), port=port, browser=False)
    with explore(parts(), port=port, browser=False) as server:  # which is free again
        assert server.url == f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("port", [-1, 2**16, True, "8050"])
def test_a_port_that_is_none_is_refused(port: Any) -> None:
    with pytest.raises(DataError, match=r"port is .*; a whole number from 0 \(any that is free\) to 65535 is wanted"):
        explore(parts(), port=port, browser=False)
