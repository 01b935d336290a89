"""The health of a fit in one figure of six panels.  matplotlib is imported when it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtri

from surrogates.figures import COLOURS, GREY, MARKERS, PAGE, PALE, binomial_band, label, letters, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
BARS = 10
#: most tasks and fidelities that get a name of their own
NAMES = 15


def figure(data: xr.Dataset, title: str) -> Figure:
    """Draw a health dataset, see `HealthReport.plot`."""
    with style():
        import matplotlib.pyplot as plt

        drawing, axes = plt.subplots(2, 3, layout="constrained", figsize=(PAGE, 4.8))
        panels = (_parity, _residuals, _probabilities, _coverage, _influence, _scores)
        for ax, panel in zip(axes.ravel(), panels, strict=True):
            panel(ax, data)
        letters(axes.ravel())
        drawing.suptitle(title)
    return drawing


def _units(data: xr.Dataset) -> str:
    return str(data.attrs["units"] or "")


def _colours(data: xr.Dataset) -> list[str]:
    """Of each reading, by task; one for all where there are more tasks than colours."""
    codes = data["reading_task"].to_numpy()
    return [COLOURS[code if data.sizes["task"] <= len(COLOURS) else 0] for code in codes]


def _parity(ax: Axes, data: xr.Dataset) -> None:
    unit = _units(data)
    y, μ, σ = (data[name].to_numpy() for name in ("observed", "mean", "std"))
    ax.errorbar(y, μ, yerr=2 * σ, fmt="none", ecolor=GREY, elinewidth=0.6, zorder=1)
    _by_task(ax, data, y, μ)
    ax.axline((float(y.mean()), float(y.mean())), slope=1, color="black", linewidth=0.8)
    ax.set(
        xlabel=label(f"observed {data.attrs['target']}", unit),
        ylabel=label("left-out mean ± 2 std", unit),
        title="left-out predictions",
    )
    if 1 < data.sizes["task"] <= len(COLOURS):
        ax.legend(title=data.attrs["task_name"])


def _residuals(ax: Axes, data: xr.Dataset) -> None:
    unit = _units(data)
    ax.axhspan(-2, 2, color=PALE, linewidth=0)
    ax.axhline(0, color="black", linewidth=0.8)
    _by_task(ax, data, data["mean"].to_numpy(), data["z"].to_numpy())
    ax.set(xlabel=label("left-out mean", unit), ylabel=label("left-out residual / std", "1"))
    ax.set_title("standardised residuals")


def _by_task(ax: Axes, data: xr.Dataset, x: Floats, y: Floats) -> None:
    codes, labels = data["reading_task"].to_numpy(), data["task"].to_numpy()
    if len(labels) > len(COLOURS):
        ax.scatter(x, y, s=8, color=COLOURS[0])
        return
    for code, name in enumerate(labels):
        mine = codes == code
        ax.scatter(x[mine], y[mine], s=8, color=COLOURS[code], marker=MARKERS[code], label=str(name))


def _probabilities(ax: Axes, data: xr.Dataset) -> None:
    pit = data["pit"].to_numpy()
    pit = pit[np.isfinite(pit)]
    low, high = binomial_band(np.array([1 / BARS]), float(data["effective_readings"]))
    ax.axhspan(BARS * low[0], BARS * high[0], color=PALE, linewidth=0)
    heights, edges = np.histogram(pit, bins=BARS, range=(0, 1))
    ax.bar(
        edges[:-1],
        heights * BARS / max(len(pit), 1),
        width=1 / BARS,
        align="edge",
        color=COLOURS[0],
        edgecolor="white",
        alpha=0.8,
    )
    ax.axhline(1, color="black", linewidth=0.8)
    p = f", uniform: p = {float(data['pit_p']):.2g}" if "pit_p" in data else ""
    ax.set(xlabel=label("probability value of the reading", "1"), ylabel=label("density", "1"))
    ax.set(xlim=(0, 1), title=f"calibration{p}")


def _coverage(ax: Axes, data: xr.Dataset) -> None:
    nominal = np.linspace(0, 1, 101)
    low, high = binomial_band(nominal, float(data["effective_readings"]))
    ax.fill_between(nominal, low, high, color=PALE, linewidth=0, label="95 % if right")
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    z = np.abs(data["z"].to_numpy())
    z = z[np.isfinite(z)]
    if len(z):
        inside = (z[:, None] <= ndtri(0.5 * (1 + nominal))).mean(axis=0)
        ax.plot(nominal, inside, color=COLOURS[0], label=f"{len(z)} readings")
    ax.set(xlabel=label("nominal coverage", "1"), ylabel=label("share of readings inside", "1"))
    ax.set(xlim=(0, 1), ylim=(0, 1), title="coverage")
    ax.legend(loc="lower right")


def _influence(ax: Axes, data: xr.Dataset) -> None:
    ax.set(xlabel=label("reading", "number"), ylabel=label("largest move of a prediction", "std"))
    ax.set_title("influence of single readings")
    if "influence" not in data:
        ax.text(0.5, 0.5, "not known for this model", ha="center", transform=ax.transAxes)
        return
    moved = np.nan_to_num(data["influence"].to_numpy())
    numbers, colours = np.arange(len(moved)), _colours(data)
    ax.vlines(numbers, 0, moved, colors=colours, linewidth=1)
    ax.scatter(numbers, moved, s=8, c=colours)
    for r in np.argsort(-moved, kind="stable")[:3]:
        if moved[r] > 0:
            # the text of the report names its task, gauge and place
            ax.annotate(str(int(r)), (r, moved[r]), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=7)
    ax.set_ylim(0, 1.1 * max(float(moved.max(initial=0.0)), 1e-9))


def _scores(ax: Axes, data: xr.Dataset) -> None:
    unit = _units(data)
    rows: list[tuple[str, Any, str]] = []
    for kind, colour in (("task", COLOURS[0]), ("fidelity", COLOURS[1])):
        if data.sizes[kind] > 1 or kind == "task":
            name = data.attrs[f"{kind}_name"] or kind
            pairs = zip(data[kind].to_numpy(), data[f"{kind}_rmse"].to_numpy(), strict=True)
            rows += [(f"{name} {one}" if data.attrs[f"{kind}_name"] else str(one), e, colour) for one, e in pairs]
    if len(rows) > NAMES:  # those with the largest errors
        rows = sorted(rows, key=lambda row: -np.nan_to_num(row[1]))[:NAMES]
    at = np.arange(len(rows))[::-1]
    ax.barh(at, np.nan_to_num([row[1] for row in rows]), color=[row[2] for row in rows])
    ax.set_yticks(at, [row[0] for row in rows])
    ax.axvline(float(np.nan_to_num(data["rmse"])), color="black", linewidth=0.8, label="all readings")
    ax.set(xlabel=label("left-out RMSE", unit), title="scores of tasks and fidelities")
    ax.legend(loc="lower right")
