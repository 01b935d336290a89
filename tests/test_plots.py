from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from numpy.typing import NDArray

from surrogates import plots
from surrogates.errors import DataError, MissingExtraError

matplotlib.use("Agg")

NAN = float("nan")


@pytest.fixture(autouse=True)
def no_figure_left() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def grid() -> xr.Dataset:
    """Prediction over (part, x, y)."""
    coords = {
        "part": ["a", "b"],
        "x": ("x", [0.0, 1.0, 3.0], {"units": "mm", "long_name": "feed"}),
        "y": ("y", [10.0, 20.0, 30.0, 40.0], {"units": "mm"}),
    }
    rng = np.random.default_rng(0)
    attrs = {"units": "um", "long_name": "height"}
    mean = xr.DataArray(rng.normal(size=(2, 3, 4)), dims=("part", "x", "y"), coords=coords, attrs=attrs)
    std = mean.copy(data=rng.uniform(0.1, 1.0, size=(2, 3, 4)))
    return xr.Dataset({"mean": mean, "std": std, "noise_std": 0 * std + 0.2})


def mesh(ax: Axes) -> QuadMesh:
    (found,) = [artist for artist in ax.collections if isinstance(artist, QuadMesh)]
    return found


def dots(ax: Axes) -> list[NDArray[Any]]:
    return [np.asarray(a.get_offsets()) for a in ax.collections if isinstance(a, PathCollection)]


def bands(ax: Axes) -> list[NDArray[Any]]:
    return [
        np.asarray(a.get_paths()[0].vertices) for a in ax.collections if type(a).__name__ == "FillBetweenPolyCollection"
    ]


def shown(mesh: QuadMesh) -> NDArray[Any]:
    return np.ma.filled(np.ma.asarray(mesh.get_array()), NAN)


# --- fields ---


def test_a_field_shows_the_values_in_cells_around_their_points(grid: xr.Dataset) -> None:
    values = grid["mean"].sel(part="b")
    ax = plots.field(values, x="x", y="y")
    np.testing.assert_array_equal(shown(mesh(ax)), values.transpose("y", "x").values)
    corners = np.asarray(mesh(ax).get_coordinates())
    np.testing.assert_array_equal(corners[0, :, 0], [-0.5, 0.5, 2.0, 4.0])
    np.testing.assert_array_equal(corners[:, 0, 1], [5.0, 15.0, 25.0, 35.0, 45.0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feed (mm)", "y (mm)")
    assert [other.get_ylabel() for other in ax.figure.axes if other is not ax] == ["height (µm)"]


def test_a_field_can_be_turned_and_in_any_order(grid: xr.Dataset) -> None:
    values = grid["mean"].isel(part=0)
    ax = plots.field(values.isel(x=[2, 0, 1], y=slice(None, None, -1)), x="y", y="x")
    np.testing.assert_array_equal(shown(mesh(ax)), values.transpose("x", "y").values)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("y (mm)", "feed (mm)")


def test_a_field_may_have_coordinates_other_than_its_dims_one_row_and_gaps(grid: xr.Dataset) -> None:
    values = grid["mean"].isel(part=0, y=[2]).assign_coords(depth=("x", [3.0, 2.0, 1.0])).copy()
    values[1] = NAN
    ax = plots.field(values, x="depth", y="y")
    np.testing.assert_array_equal(shown(mesh(ax)), values.values.T[:, ::-1])
    np.testing.assert_array_equal(np.asarray(mesh(ax).get_coordinates())[:, 0, 1], [29.5, 30.5])


def test_a_centred_field_has_symmetric_limits(grid: xr.Dataset) -> None:
    values = grid["mean"].isel(part=0)
    reach = float(np.abs(values - 1.0).max())
    drawn = mesh(plots.field(values, x="x", y="y", centre=1.0))
    np.testing.assert_allclose(drawn.get_clim(), (1.0 - reach, 1.0 + reach))
    assert drawn.get_cmap().name == "RdBu_r"
    assert mesh(plots.field(values, x="x", y="y")).get_cmap().name == "cividis"


def test_observed_places_are_drawn_and_missing_readings_not(grid: xr.Dataset) -> None:
    table = xr.Dataset({"x": ("n", [0.0, 1.0, 3.0]), "y": ("n", [10.0, 20.0, 30.0]), "height": ("n", [1.0, NAN, 2.0])})
    values = grid["mean"].isel(part=0)
    np.testing.assert_array_equal(
        dots(plots.field(values, x="x", y="y", observed=table))[0], [[0, 10], [1, 20], [3, 30]]
    )
    readings = table.set_coords(["x", "y"])["height"]
    np.testing.assert_array_equal(dots(plots.field(values, x="x", y="y", observed=readings))[0], [[0, 10], [3, 30]])
    (cross,) = dots(plots.field(values, x="x", y="y", observed=values.where(values["x"] == 1)))
    np.testing.assert_array_equal(cross, [[1, 10], [1, 20], [1, 30], [1, 40]])


def test_mean_and_uncertainty_stand_side_by_side(grid: xr.Dataset) -> None:
    one = grid.isel(part=0)
    left, right = plots.field_with_uncertainty(one, x="x", y="y")
    np.testing.assert_array_equal(shown(mesh(left)), one["mean"].values.T)
    np.testing.assert_array_equal(shown(mesh(right)), one["std"].values.T)
    assert left.figure is right.figure
    assert (left.get_title(), right.get_title()) == ("mean", "standard deviation")
    _, (first, second) = plt.subplots(1, 2)
    assert plots.field_with_uncertainty(one, x="x", y="y", axes=(first, second)) == (first, second)
    assert mesh(second)


def test_fields_can_have_the_same_limits(grid: xr.Dataset) -> None:
    drawn = mesh(plots.field(grid["mean"].sel(part="a"), x="x", y="y", limits=(-3.0, 5.0)))
    assert drawn.get_clim() == (-3.0, 5.0)


def test_a_field_says_what_is_wrong(grid: xr.Dataset) -> None:
    one = grid["mean"].isel(part=0)
    cases: dict[str, tuple[xr.DataArray, str, str]] = {
        r"height has the dims \('part', 'x', 'y'\); a field has two": (grid["mean"], "x", "y"),
        r"height has no dim or coordinate 'z'; it has \['part', 'x', 'y'\]": (one, "z", "y"),
        r"'x' and 'x' both run along 'x'": (one, "x", "x"),
        r"coordinate 'part' has dtype <U1; numbers or times are wanted": (grid["mean"].isel(y=0), "x", "part"),
        r"coordinate 'r' has the dims \('x', 'y'\); one is wanted": (one.assign_coords(r=one), "r", "y"),
    }
    for message, (values, x, y) in cases.items():
        with pytest.raises(DataError, match=message):
            plots.field(values, x=x, y=y)
    with pytest.raises(DataError, match=r"no variable or coordinate 'y'; there are \['x'\]"):
        plots.field(one, x="x", y="y", observed=xr.Dataset({"x": ("x", [1.0])}))
    with pytest.raises(DataError, match=r"no variable or coordinate 'std'"):
        plots.field_with_uncertainty(grid[["mean"]].isel(part=0), x="x", y="y")


# --- slices ---


def test_slices_draw_a_curve_and_a_band_of_two_std_for_each_task(grid: xr.Dataset) -> None:
    cut = grid.isel(y=1)
    ax = plots.slices(cut.isel(x=[1, 0, 2]), x="x", task="part")
    assert len(ax.lines) == len(bands(ax)) == 2
    for k, (line, outline) in enumerate(zip(ax.lines, bands(ax), strict=True)):
        mean, std = cut["mean"].isel(part=k).values, cut["std"].isel(part=k).values
        np.testing.assert_array_equal(line.get_xdata(), cut["x"])
        np.testing.assert_array_equal(line.get_ydata(), mean)
        for at, low, high in zip(cut["x"].values, mean - 2 * std, mean + 2 * std, strict=True):
            heights = outline[outline[:, 0] == at, 1]
            np.testing.assert_allclose([heights.min(), heights.max()], [low, high])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("feed (mm)", "height (µm)")
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "part"
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


@pytest.mark.parametrize("layout", ["grid", "table"])
def test_slices_show_observations_and_truth_of_their_own_task(grid: xr.Dataset, layout: str) -> None:
    cut = grid.isel(y=1).drop_vars("y")
    observed = cut["mean"].where(cut["x"] != 1.0) + 0.1
    if layout == "table":
        observed = observed.stack(n=("part", "x")).reset_index("n")
    ax = plots.slices(cut, x="x", task="part", observed=observed, truth=(cut["mean"] - 0.3).isel(x=[2, 0, 1]))
    assert len(ax.lines) == 4
    np.testing.assert_allclose(
        np.asarray(ax.lines[3].get_xydata()), np.stack([cut["x"], cut["mean"].sel(part="b") - 0.3], axis=1)
    )
    for part, cloud in zip("ab", dots(ax), strict=True):
        kept = cut["mean"].sel(part=part, x=[0.0, 3.0])
        np.testing.assert_allclose(cloud, np.stack([kept["x"], kept + 0.1], axis=1))


def test_a_slice_of_a_single_task_needs_no_task(grid: xr.Dataset) -> None:
    ax = plots.slices(grid.isel(part=0, y=0), x="x", truth=grid["mean"].isel(part=0, y=0))
    assert len(ax.lines) == 2
    assert ax.get_legend() is None


def test_more_tasks_than_colours_can_be_told_apart() -> None:
    mean = xr.DataArray(np.zeros((9, 2)), dims=("part", "x"))
    ax = plots.slices(xr.Dataset({"mean": mean, "std": mean + 1}), x="x", task="part")
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 9


def test_slices_say_what_is_wrong(grid: xr.Dataset) -> None:
    with pytest.raises(DataError, match=r"mean has the dims \('part', 'x', 'y'\), a slice has \['part', 'x'\]; choose"):
        plots.slices(grid, x="x", task="part")
    with pytest.raises(DataError, match="no dim or coordinate 'machine'"):
        plots.slices(grid.isel(y=0), x="x", task="machine")
    with pytest.raises(DataError, match="no variable or coordinate 'part'"):
        plots.slices(grid.isel(y=0), x="x", task="part", observed=grid["mean"].isel(y=0, part=0, drop=True))


# --- checks of a prediction ---


def test_parity_puts_predictions_over_readings(grid: xr.Dataset) -> None:
    truth = (grid["mean"] + 0.5).assign_attrs(grid["mean"].attrs)
    truth[0, 0, 0] = NAN
    ax = plots.parity(truth.transpose("y", "part", "x"), grid)
    order = grid.transpose("y", "part", "x")
    seen = ~np.isnan(truth.transpose("y", "part", "x").values.ravel())
    container = ax.containers[0]
    np.testing.assert_allclose(container[0].get_xdata(), order["mean"].values.ravel()[seen] + 0.5)
    np.testing.assert_allclose(container[0].get_ydata(), order["mean"].values.ravel()[seen])
    lengths = [segment[1, 1] - segment[0, 1] for segment in container[2][0].get_segments()]
    np.testing.assert_allclose(lengths, 4 * np.hypot(order["std"].values, 0.2).ravel()[seen])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("observed height (µm)", "predicted height (µm)")
    diagonal = ax.lines[-1]
    assert diagonal.get_slope() == 1  # type: ignore[attr-defined]
    x, y = diagonal.get_xy1()  # type: ignore[attr-defined]
    assert x == y


def test_calibration_counts_the_readings_in_the_central_intervals() -> None:
    prediction = xr.Dataset({"mean": ("n", np.zeros(4)), "std": ("n", np.ones(4))})
    z = [0.0, 0.6744897, -1.6448536, 3.0]  # at the borders of the central 0, 50 and 90 % intervals, and far out
    ax = plots.calibration(xr.DataArray(z, dims="n"), prediction)
    nominal, empirical = ax.lines[1].get_data()
    wanted = {0.49: 0.25, 0.51: 0.5, 0.89: 0.5, 0.91: 0.75, 0.99: 0.75, 1.0: 1.0}
    got = {level: float(np.interp(level, np.asarray(nominal), np.asarray(empirical))) for level in wanted}
    assert got == pytest.approx(wanted)
    assert np.asarray(empirical)[0] == 0.25  # the reading at the mean itself: bounds are included
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nominal coverage (1)", "empirical coverage (1)")


def test_the_band_holds_what_calibrated_predictions_give() -> None:
    """Its borders are the 2.5 % and 97.5 % quantiles of the binomial distribution, summed here by hand."""
    n, level = 30, 0.6
    ax = plots.calibration(
        xr.DataArray(np.ones(n), dims="n"), xr.Dataset({k: ("n", np.ones(n)) for k in ("mean", "std")})
    )
    (outline,) = bands(ax)
    heights = n * outline[np.isclose(outline[:, 0], level), 1]
    at_most = np.cumsum([math.comb(n, k) * level**k * (1 - level) ** (n - k) for k in range(n + 1)])
    for border, share in ((heights.min(), 0.025), (heights.max(), 0.975)):
        k = round(float(border))
        assert border == pytest.approx(k)
        assert at_most[k - 1] < share <= at_most[k]


def test_residuals_are_standardised_and_coloured_by_task() -> None:
    loo = xr.Dataset(
        {"residual": ("n", [1.0, -2.0, NAN]), "std": ("n", [2.0, 0.5, 1.0])}, coords={"task": ("n", ["a", "b", "a"])}
    )
    ax = plots.residuals(loo)
    first, second = dots(ax)
    np.testing.assert_array_equal(np.ma.filled(first[0], NAN), [1, 0.5])
    np.testing.assert_array_equal(second, [[2, -4.0]])
    assert [line.get_ydata()[0] for line in ax.lines] == [-2, 0, 2]  # type: ignore[index]
    assert ax.get_ylabel() == "leave-one-out residual / std (1)"
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    plain = plots.residuals(loo.drop_vars("task"))
    assert len(dots(plain)) == 1
    assert plain.get_legend() is None
    renamed = plots.residuals(loo.rename(task="part"), task="part")
    assert len(dots(renamed)) == 2


def test_residuals_say_what_is_wrong() -> None:
    loo = xr.Dataset({"residual": ("n", [1.0]), "std": ("n", [0.0])})
    with pytest.raises(DataError, match=r"std has entries <= 0 \(smallest 0\)"):
        plots.residuals(loo)
    with pytest.raises(DataError, match="no variable or coordinate 'residual'"):
        plots.residuals(loo[["std"]])
    with pytest.raises(DataError, match="no variable or coordinate 'part'"):
        plots.residuals(loo, task="part")


# --- matplotlib ---


def test_given_axes_are_used_and_returned_and_no_figure_is_made(grid: xr.Dataset) -> None:
    one, truth = grid.isel(part=0), grid["mean"] + 0.1
    loo = xr.Dataset({"residual": ("n", [1.0]), "std": ("n", [1.0])})
    ax = plt.figure().add_subplot()
    assert plots.field(one["mean"], x="x", y="y", ax=ax) is ax
    assert plots.slices(one.isel(y=0), x="x", ax=ax) is ax
    assert plots.parity(truth, grid, ax=ax) is ax
    assert plots.calibration(truth, grid, ax=ax) is ax
    assert plots.residuals(loo, ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_without_matplotlib_the_extra_is_named(grid: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r'pip install "multitask-surrogates\[plots\]"'):
        plots.field(grid["mean"].isel(part=0), x="x", y="y")


def test_matplotlib_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, surrogates.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=False).returncode == 0
