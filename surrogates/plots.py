"""Pictures of predictions and of how far they can be trusted.

Each function draws into `ax`, or into axes of a new figure, and returns the axes. Labels carry the units found in
``attrs``. New figures have the `style` of papers and the width of a column; axes that are given keep their own.
matplotlib is imported on the first call: it comes with the extra ``plots``.

    with style():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5))
        slices(prediction, x="speed", task="machine", ax=axes[0])
    save(figure, "wear")  # wear.pdf and wear.png
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from surrogates.errors import DataError
from surrogates.figures import (
    COLOURS,
    COLUMN,
    DIFFERENCES,
    GREY,
    LINES,
    MARKERS,
    PAGE,
    PALE,
    SPREADS,
    VALUES,
    binomial_band,
    label,
    letters,
    new_figure,
    save,
    style,
)
from surrogates.metrics import readings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLOURS",
    "COLUMN",
    "LINES",
    "MARKERS",
    "PAGE",
    "calibration",
    "field",
    "field_with_uncertainty",
    "label",
    "letters",
    "parity",
    "residuals",
    "save",
    "slices",
    "style",
]

_P = ParamSpec("_P")
_A = TypeVar("_A")


def _styled(draw: Callable[_P, _A]) -> Callable[_P, _A]:
    """`draw`, whose new figures have our style; it leaves axes that it is given in theirs."""

    @functools.wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> _A:
        if kwargs.get("ax") is not None or kwargs.get("axes") is not None:
            return draw(*args, **kwargs)
        with style():
            return draw(*args, **kwargs)

    return drawn


@_styled
def field(
    values: xr.DataArray,
    *,
    x: str,
    y: str,
    ax: Axes | None = None,
    observed: xr.Dataset | xr.DataArray | None = None,
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
    colours: str | None = None,
    bar: bool = True,
) -> Axes:
    """A two-dimensional field as coloured cells around its points.

    Parameters
    ----------
    values : over two dims
    x, y : the coordinates, one along each dim, that make the horizontal and the vertical axis
    ax : axes to draw into; None makes a figure
    observed : has `x` and `y` as variables or coordinates; a dot is drawn at each place. Of a DataArray only those
        places where it isn't NaN
    centre : value that a diverging colour map has in its middle (zero, for a difference); None: a sequential map
    limits : values at the ends of the map, to compare fields; None: those of `values`
    colours : name of another colour map of matplotlib; None: cividis, or RdBu_r around a centre
    bar : whether there is a colour bar

    Raises
    ------
    DataError
        If `values` is not two-dimensional, or `x` or `y` isn't there or isn't numeric.
    MissingExtraError
        If matplotlib isn't installed.
    """
    if values.ndim != 2:
        raise DataError(
            f"{_name(values)} has the dims {values.dims}; a field has two: choose with .sel(...) or .isel(...)"
        )
    across, up = _axis(values, x), _axis(values, y)
    if across.dims == up.dims:
        raise DataError(
            f"{x!r} and {y!r} both run along {across.dims[0]!r}; a field needs one coordinate along each dim"
        )
    across, up = across.sortby(across), up.sortby(up)
    ordered = values.transpose(up.dims[0], across.dims[0]).sortby([values[x], values[y]])
    ax = _axes(ax)
    low, high = limits if limits is not None else (None, None)
    if limits is None and centre is not None:
        reach = float(np.nanmax(np.abs(values.values - centre), initial=0.0))
        low, high = centre - reach, centre + reach
    colours = colours or (VALUES if centre is None else DIFFERENCES)
    mesh = ax.pcolormesh(
        _edges(across.values),
        _edges(up.values),
        ordered.values,
        shading="flat",
        cmap=colours,
        vmin=low,
        vmax=high,
        rasterized=True,  # cells of a vector picture show hairlines between them
    )
    if bar:
        ax.figure.colorbar(mesh, ax=ax, label=_label(values))
    if observed is not None:
        horizontal, vertical = _columns(observed, x, y)
        ax.scatter(horizontal, vertical, s=10, c="white", edgecolors="black", linewidths=0.6)
    ax.set(xlabel=_label(values[x]), ylabel=_label(values[y]))
    return ax


@_styled
def field_with_uncertainty(
    prediction: xr.Dataset,
    *,
    x: str,
    y: str,
    axes: tuple[Axes, Axes] | None = None,
    observed: xr.Dataset | xr.DataArray | None = None,
) -> tuple[Axes, Axes]:
    """The predicted mean and its standard deviation side by side; parameters and errors as in `field`."""
    _require(prediction, "mean", "std")
    if axes is None:
        first, second = new_figure(2, width=PAGE).axes
        axes = (first, second)
    titles, maps = ("mean", "standard deviation"), (VALUES, SPREADS)
    for ax, name, title, colours in zip(axes, ("mean", "std"), titles, maps, strict=True):
        field(prediction[name], x=x, y=y, ax=ax, observed=observed, colours=colours)
        ax.set_title(title)
    return axes


@_styled
def slices(
    prediction: xr.Dataset,
    *,
    x: str,
    task: str | None = None,
    ax: Axes | None = None,
    observed: xr.DataArray | None = None,
    truth: xr.DataArray | None = None,
) -> Axes:
    """The predicted mean along one input with a band of ± 2 std (of the function, without noise), for each task.

    Parameters
    ----------
    prediction : `mean` and `std` over the dim of `x` and, if `task` is given, over that of `task`
    x : the input on the horizontal axis
    task : the coordinate with one label for each curve
    ax : axes to draw into; None makes a figure
    observed : readings with `x` (and `task`) among their coordinates, drawn as dots; NaN is not drawn
    truth : the true function with the same coordinates, on any grid, drawn in black

    Raises
    ------
    DataError
        If something named isn't there, or the prediction has further dims.
    MissingExtraError
        If matplotlib isn't installed.
    """
    _require(prediction, "mean", "std")
    mean = prediction["mean"]
    along = _axis(mean, x)
    wanted = {*along.dims, *(_axis(mean, task, numeric=False).dims if task is not None else ())}
    if set(mean.dims) != wanted:
        raise DataError(
            f"the mean has the dims {mean.dims}, a slice has {sorted(map(str, wanted))}; choose with .sel(...)"
        )
    ax = _axes(ax)
    handles: dict[str, tuple[Any, ...]] = {}
    for look, marker, name, curve in _each(prediction, task):
        curve = curve.sortby(x)
        at, μ, σ = (curve[part].values for part in (x, "mean", "std"))
        band = ax.fill_between(at, μ - 2 * σ, μ + 2 * σ, color=look["color"], alpha=0.2, linewidth=0)
        handles[str(name)] = (band, *ax.plot(at, μ, **look))
        if truth is not None:
            ax.plot(*_of_task(truth, x, task, name), color="black", linewidth=0.8)
        if observed is not None:
            at, seen = _of_task(observed, x, task, name)
            dots = ax.scatter(at, seen, s=12, color=look["color"], marker=marker, ec="black", linewidths=0.5, zorder=3)
            handles[str(name)] += (dots,)
    ax.set(xlabel=_label(mean[x]), ylabel=_label(mean))
    if task is not None:
        ax.legend(handles.values(), handles.keys(), title=task)
    return ax


@_styled
def parity(truth: xr.DataArray, prediction: xr.Dataset, *, ax: Axes | None = None, noise: bool = True) -> Axes:
    """Predicted against observed, with bars of ± 2 standard deviations; a perfect prediction lies on the diagonal.

    `truth`, `prediction`, `noise` and errors as in `surrogates.metrics.score`.
    """
    y, μ, σ = readings(truth, prediction, noise=noise).observed()
    ax = _axes(ax)
    ax.errorbar(y, μ, yerr=2 * σ, fmt="o", markersize=3, color=COLOURS[0], ecolor=GREY, elinewidth=0.6)
    ax.axline((float(y.mean()), float(y.mean())), slope=1, color="black", linewidth=0.8)
    name, unit = _name(truth), _unit(truth) or _unit(prediction["mean"])
    ax.set(xlabel=label(f"observed {name}", unit), ylabel=label(f"predicted {name}", unit))
    return ax


@_styled
def calibration(truth: xr.DataArray, prediction: xr.Dataset, *, ax: Axes | None = None, noise: bool = True) -> Axes:
    """Share of readings inside the central intervals against the share promised, for all levels.

    Below the diagonal the error bars are too small, above it too large. The grey band holds 95 % of the values that
    calibrated predictions give at each level, if the readings are independent (binomial).

    `truth`, `prediction`, `noise` and errors as in `surrogates.metrics.score`.
    """
    y, μ, σ = readings(truth, prediction, noise=noise).observed()
    ax = _axes(ax)
    nominal = np.linspace(0, 1, 101)
    inside = 2 * norm.cdf(np.abs(y - μ) / σ) - 1  # (n,) level of the narrowest central interval that holds the reading
    empirical = np.searchsorted(np.sort(inside), nominal, side="right") / len(y)
    low, high = binomial_band(nominal, len(y))
    ax.fill_between(nominal, low, high, color=PALE, linewidth=0, label="95 % if calibrated")
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    ax.plot(nominal, empirical, color=COLOURS[0], label=f"{len(y)} readings")
    ax.set(xlabel=label("nominal coverage", "1"), ylabel=label("empirical coverage", "1"))
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend()
    return ax


@_styled
def residuals(loo: xr.Dataset, *, task: str | None = None, ax: Axes | None = None) -> Axes:
    """Leave-one-out residuals over their standard deviations, reading by reading; 95 % should lie within ± 2.

    Parameters
    ----------
    loo : `residual` and `std`; NaN is not drawn
    task : variable or coordinate that gives the colours; None takes one called ``task``, if there is one
    ax : axes to draw into; None makes a figure

    Raises
    ------
    DataError
        If a variable isn't there, or a `std` isn't positive.
    MissingExtraError
        If matplotlib isn't installed.
    """
    task = "task" if task is None and "task" in loo.variables else task
    _require(loo, "residual", "std", *([] if task is None else [task]))
    if (loo["std"] <= 0).any():
        raise DataError(f"std has entries <= 0 (smallest {float(loo['std'].min()):g}); a standard deviation is > 0")
    ax = _axes(ax)
    z = (loo["residual"] / loo["std"]).rename("z")
    flat = xr.broadcast(z, z if task is None else loo[task])
    heights, labels = flat[0].values.ravel(), flat[1].values.ravel()
    number = np.arange(1, heights.size + 1)
    for k, name in enumerate([None] if task is None else dict.fromkeys(labels.tolist())):
        chosen = slice(None) if task is None else labels == name
        look: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}
        ax.scatter(number[chosen], heights[chosen], s=12, label=name, **look)
    for height in (-2, 0, 2):
        ax.axhline(height, color="black", linewidth=0.8, linestyle="-" if height == 0 else "--")
    ax.set(xlabel=label("reading", "number"), ylabel=label("leave-one-out residual / std", "1"))
    if task is not None:
        ax.legend(title=task)
    return ax


def _axes(ax: Axes | None) -> Axes:
    chosen: Axes = new_figure().axes[0] if ax is None else ax
    return chosen


def _name(array: xr.DataArray) -> str:
    return str(array.attrs.get("long_name", array.name if array.name is not None else "value"))


def _unit(array: xr.DataArray) -> str | None:
    return str(array.attrs["units"]) if "units" in array.attrs else None


def _label(array: xr.DataArray) -> str:
    return label(_name(array), _unit(array))


def _require(data: xr.Dataset | xr.DataArray, *names: str) -> None:
    known = {*data.dims, *data.coords, *(data.data_vars if isinstance(data, xr.Dataset) else ())}
    for name in names:
        if name not in known:
            raise DataError(f"there is no variable or coordinate {name!r}; there are {sorted(map(str, known))}")


def _axis(values: xr.DataArray, name: str, *, numeric: bool = True) -> xr.DataArray:
    """The coordinate `name`, one-dimensional."""
    if name not in values.coords and name not in values.dims:
        known = sorted({str(known) for known in (*values.dims, *values.coords)})
        raise DataError(f"{_name(values)} has no dim or coordinate {name!r}; it has {known}")
    axis = values[name]
    if axis.ndim != 1:
        raise DataError(f"the coordinate {name!r} has the dims {axis.dims}; one is wanted: choose with .sel(...)")
    if numeric and axis.dtype.kind not in "fiuM":
        raise DataError(f"the coordinate {name!r} has dtype {axis.dtype}; numbers or times are wanted")
    return axis


def _edges(centres: NDArray[Any]) -> NDArray[Any]:
    """Borders (n + 1,) of cells around n increasing points: the middles between them; a single one gets width 1."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    half = np.diff(centres) / 2
    return np.concatenate([centres[:1] - half[:1], centres[:-1] + half, centres[-1:] + half[-1:]])


def _each(prediction: xr.Dataset, task: str | None) -> Iterator[tuple[dict[str, Any], str, Any, xr.Dataset]]:
    """Colour and line, marker, label and data of each task's curve; each cue by itself tells neighbours apart."""
    if task is None:
        yield {"color": COLOURS[0]}, MARKERS[0], None, prediction
        return
    (dim,) = prediction[task].dims
    for k, name in enumerate(prediction[task].values.tolist()):
        look = {"color": COLOURS[k % len(COLOURS)], "linestyle": LINES[k % len(LINES)]}
        yield look, MARKERS[k % len(MARKERS)], name, prediction.isel({dim: k})


def _of_task(values: xr.DataArray, x: str, task: str | None, label: object) -> list[NDArray[Any]]:
    """Places, in order, and values of one task, whatever the layout."""
    _require(values, *([x] if task is None else [x, task]))
    mine = values if task is None else values.where(values[task] == label)
    places, heights = _columns(mine, x, None)
    order = np.argsort(places, kind="stable")
    return [places[order], heights[order]]


def _columns(data: xr.Dataset | xr.DataArray, x: str, y: str | None) -> list[NDArray[Any]]:
    """Two columns: `x`, and `y` or the data themselves; without the rows whose data are NaN."""
    _require(data, *([x] if y is None else [x, y]))
    wanted = [data[x], *([] if y is None else [data[y]]), *([data] if isinstance(data, xr.DataArray) else [])]
    columns = [column.values.ravel() for column in xr.broadcast(*wanted)]
    there = ~np.isnan(columns[-1]) if isinstance(data, xr.DataArray) else slice(None)
    return [column[there] for column in columns[:2]]
