"""Pictures of predictions and of how far they can be trusted.

Each function draws into `ax`, or into axes of a new figure, and returns the axes. Labels carry the units found in
``attrs``. matplotlib is imported on the first call: it comes with the extra ``plots``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import binom, norm

from surrogates.errors import DataError, missing_extra
from surrogates.metrics import readings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito (2008): told apart by readers with any kind of colour vision; black is kept for data
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
_STYLES = ("-", "--", ":", "-.")
_GREY = "0.6"


def field(
    values: xr.DataArray,
    *,
    x: str,
    y: str,
    ax: Axes | None = None,
    observed: xr.Dataset | xr.DataArray | None = None,
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
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
    limits : values at the ends of a sequential map, to compare fields; None: those of `values`

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
    if centre is not None:
        reach = float(np.nanmax(np.abs(values.values - centre), initial=0.0))
        low, high = centre - reach, centre + reach
    colours = "cividis" if centre is None else "RdBu_r"
    mesh = ax.pcolormesh(
        _edges(across.values), _edges(up.values), ordered.values, shading="flat", cmap=colours, vmin=low, vmax=high
    )
    ax.figure.colorbar(mesh, ax=ax, label=_label(values))
    if observed is not None:
        horizontal, vertical = _columns(observed, x, y)
        ax.scatter(horizontal, vertical, s=12, c="white", edgecolors="black")
    ax.set(xlabel=_label(values[x]), ylabel=_label(values[y]))
    return ax


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
        first, second = _new_figure(2).axes
        axes = (first, second)
    for ax, name, title in zip(axes, ("mean", "std"), ("mean", "standard deviation"), strict=True):
        field(prediction[name], x=x, y=y, ax=ax, observed=observed)
        ax.set_title(title)
    return axes


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
    for look, label, curve in _each(prediction, task):
        curve = curve.sortby(x)
        at, μ, σ = (curve[name].values for name in (x, "mean", "std"))
        ax.plot(at, μ, label=label, **look)
        ax.fill_between(at, μ - 2 * σ, μ + 2 * σ, color=look["color"], alpha=0.2, linewidth=0)
        if truth is not None:
            ax.plot(*_of_task(truth, x, task, label), color="black", linewidth=0.8)
        if observed is not None:
            at, seen = _of_task(observed, x, task, label)
            ax.scatter(at, seen, s=12, color=look["color"], edgecolors="black", zorder=3)
    ax.set(xlabel=_label(mean[x]), ylabel=_label(mean))
    if task is not None:
        ax.legend(title=task)
    return ax


def parity(truth: xr.DataArray, prediction: xr.Dataset, *, ax: Axes | None = None, noise: bool = True) -> Axes:
    """Predicted against observed, with bars of ± 2 standard deviations; a perfect prediction lies on the diagonal.

    `truth`, `prediction`, `noise` and errors as in `surrogates.metrics.score`.
    """
    y, μ, σ = readings(truth, prediction, noise=noise).observed()
    ax = _axes(ax)
    ax.errorbar(y, μ, yerr=2 * σ, fmt="o", markersize=3, color=COLOURS[0], ecolor=_GREY, elinewidth=0.8)
    ax.axline((float(y.mean()), float(y.mean())), slope=1, color="black", linewidth=0.8)
    name, unit = _name(truth), _unit(truth) or _unit(prediction["mean"])
    ax.set(xlabel=f"observed {name}{unit}", ylabel=f"predicted {name}{unit}")
    return ax


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
    low, high = (binom.ppf(q, len(y), nominal) / len(y) for q in (0.025, 0.975))
    ax.fill_between(nominal, np.maximum(low, 0), high, color=_GREY, alpha=0.4, linewidth=0, label="95 % if calibrated")
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    ax.plot(nominal, empirical, color=COLOURS[0], label=f"{len(y)} readings")
    ax.set(xlabel="nominal coverage [1]", ylabel="empirical coverage [1]", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend()
    return ax


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
    for k, label in enumerate([None] if task is None else dict.fromkeys(labels.tolist())):
        chosen = slice(None) if task is None else labels == label
        ax.scatter(number[chosen], heights[chosen], s=12, color=COLOURS[k % len(COLOURS)], label=label)
    for height in (-2, 0, 2):
        ax.axhline(height, color="black", linewidth=0.8, linestyle="-" if height == 0 else "--")
    ax.set(xlabel="number of the reading", ylabel="leave-one-out residual / std [1]")
    if task is not None:
        ax.legend(title=task)
    return ax


def _new_figure(columns: int) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise missing_extra("matplotlib", "plots") from None
    figure, _ = plt.subplots(1, columns, layout="constrained", figsize=(5 * columns, 4))
    return figure


def _axes(ax: Axes | None) -> Axes:
    chosen: Axes = _new_figure(1).axes[0] if ax is None else ax
    return chosen


def _name(array: xr.DataArray) -> str:
    return str(array.attrs.get("long_name", array.name if array.name is not None else "value"))


def _unit(array: xr.DataArray) -> str:
    return f" [{array.attrs['units']}]" if "units" in array.attrs else ""


def _label(array: xr.DataArray) -> str:
    return _name(array) + _unit(array)


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


def _each(prediction: xr.Dataset, task: str | None) -> Iterator[tuple[dict[str, Any], Any, xr.Dataset]]:
    """Look, label and data of each task's curve; colours repeat with another line style."""
    if task is None:
        yield {"color": COLOURS[0]}, None, prediction
        return
    (dim,) = prediction[task].dims
    for k, label in enumerate(prediction[task].values.tolist()):
        style = _STYLES[k // len(COLOURS) % len(_STYLES)]
        yield {"color": COLOURS[k % len(COLOURS)], "linestyle": style}, label, prediction.isel({dim: k})


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
