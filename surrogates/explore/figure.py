"""One picture of all slices: the mean, what f may be, what a reading may be, and the readings nearby.

Pictures are plotly's JSON as plain dicts, which the browser's plotly checks: its Python classes take a hundred times as
long to make as the predictions that are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.plots import COLOURS

from .slices import Axis

Floats = NDArray[np.float64]
Picture = dict[str, Any]
#: half-width of a 95 % interval in standard deviations; columns of panels; pixels of a panel's height, and around all
HALF, COLUMNS, HEIGHT, AROUND = 1.959964, 3, 280, 110
#: shares of the picture's width and of a row's height that are between panels
GAP, BELOW = 0.05, 0.27
BLUE, ORANGE = COLOURS[0], COLOURS[1]
#: what is drawn in a panel, in this order
_PLAIN, _LABELLED = ("band", "limits", "mean", "readings"), ("mean", "readings")


def figure(
    along: tuple[Axis, ...],
    curves: xr.Dataset,
    readings: xr.Dataset,
    near: tuple[NDArray[np.int64], Floats],
    at: Mapping[str, float],
    target: str,
) -> Picture:
    """A picture with a panel for each input.

    curves : of `slices`; near : of `beside`, numbers into `readings`; target : title of the vertical axes
    """
    rows = math.ceil(len(along) / COLUMNS)
    name = next(iter(readings.data_vars))
    observed = readings[name].to_numpy()
    traces: list[Picture] = []
    lines: list[Picture] = []
    layout: Picture = {
        "height": HEIGHT * rows + AROUND,
        "margin": {"l": 75, "r": 15, "t": 60, "b": 50},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        "uirevision": "same",  # zooming stays when sliders are moved
        "hovermode": "closest",
        "font": {"size": 13},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "shapes": lines,
    }
    for k, axis in enumerate(along):
        number = str(k + 1) if k else ""
        panel = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        new = [*_curve(axis, curves.isel(input=k)), _dots(axis, readings, observed, near[0][k], near[1][k])]
        # panels share one legend, which the first of each kind stands in
        traces += [{**trace, **panel, "showlegend": trace["name"] not in {t["name"] for t in traces}} for trace in new]
        layout[f"xaxis{number}"], layout[f"yaxis{number}"] = _axes(axis, k, min(COLUMNS, len(along)), rows, target)
        held = {"type": "line", "x0": at[axis.name], "x1": at[axis.name], "y0": 0, "y1": 1}
        line = {"color": "rgba(0,0,0,0.4)", "width": 1, "dash": "dot"}
        lines.append({**held, "xref": f"x{number}", "yref": f"y{number} domain", "line": line})
    return {"data": traces, "layout": layout}


def panel_of(trace: int, along: tuple[Axis, ...]) -> int:
    """Number of the panel that a trace of `figure` is in."""
    counts = [len(_LABELLED) if axis.labels else len(_PLAIN) for axis in along]
    return int(np.searchsorted(np.cumsum(counts), trace, side="right"))


def _axes(axis: Axis, k: int, columns: int, rows: int, target: str) -> tuple[Picture, Picture]:
    """Horizontal and vertical axis of panel k; vertical ones have the same range."""
    row, column = divmod(k, columns)
    width = (1 - GAP * (columns - 1)) / columns
    left, top = column * (width + GAP), 1 - row / rows
    drawn = {"showline": True, "linecolor": "#222", "ticks": "outside", "zeroline": False, "gridcolor": "#eee"}
    horizontal = {**drawn, "domain": [left, left + width], "anchor": f"y{k + 1 if k else ''}"}
    horizontal["title"] = {"text": axis.title, "standoff": 4}
    if axis.labels:
        horizontal |= {"tickvals": list(range(len(axis.labels))), "ticktext": [str(label) for label in axis.labels]}
    vertical = {**drawn, "domain": [top - (1 - BELOW) / rows, top], "anchor": f"x{k + 1 if k else ''}"}
    if column == 0:
        vertical["title"] = {"text": target}
    if k:
        vertical["matches"] = "y"
    return horizontal, vertical


def _curve(axis: Axis, curve: xr.Dataset) -> list[Picture]:
    """Mean, band of f, and the limits of a reading."""
    asked = ~np.isnan(curve["place"].to_numpy())
    x, mean, std, noise = (curve[name].to_numpy()[asked] for name in ("place", "mean", "std", "noise_std"))
    reading = np.sqrt(std**2 + np.nan_to_num(noise) ** 2)
    if axis.labels:
        bars = {"type": "data", "array": _list(HALF * std), "color": BLUE, "thickness": 2, "width": 8}
        marks = _trace("mean, 95 % of f", x, mean, mode="markers", marker={"color": BLUE, "size": 9})
        return [{**marks, "error_y": bars}]
    back = x[::-1]
    band = np.concatenate([mean + HALF * std, (mean - HALF * std)[::-1]])
    limits = np.concatenate([mean + HALF * reading, [np.nan], (mean - HALF * reading)[::-1]])
    silent = {"mode": "lines", "hoverinfo": "skip"}
    hint = "%{x:.5g}: %{y:.5g} ± %{customdata:.3g}<extra></extra>"
    return [
        _trace(
            "95 % of f",
            np.concatenate([x, back]),
            band,
            fill="toself",
            fillcolor="rgba(0,114,178,0.2)",
            line={"width": 0},
        )
        | silent,
        _trace(
            "95 % of a reading",
            np.concatenate([x, [np.nan], back]),
            limits,
            line={"color": BLUE, "width": 1, "dash": "dash"},
        )
        | silent,
        _trace("mean", x, mean, mode="lines", line={"color": BLUE, "width": 2.5, "shape": "spline"}, hovertemplate=hint)
        | {"customdata": _list(std)},
    ]


def _dots(axis: Axis, readings: xr.Dataset, observed: Floats, rows: NDArray[np.int64], nearness: Floats) -> Picture:
    """Readings, the fainter the further away their other inputs are."""
    x = readings[axis.name].to_numpy()[rows]
    if axis.labels:
        numbers = {label: k for k, label in enumerate(axis.labels)}
        x = np.array([numbers[label] for label in x.tolist()], dtype=np.float64)
    marker = {"color": ORANGE, "size": 6, "opacity": _list(np.round(0.08 + 0.92 * nearness, 3))}
    hint = "reading %{y:.5g} at %{x:.5g}<extra></extra>"
    name = "readings (faint: far from the slice)"
    return _trace(name, x, observed[rows], mode="markers", marker=marker, hovertemplate=hint) | {"type": "scattergl"}


def _trace(name: str, x: Floats, y: Floats, **looks: object) -> Picture:
    return {"type": "scatter", "name": name, "legendgroup": name, "x": _list(x), "y": _list(y), **looks}


def _list(values: Floats) -> list[float | None]:
    """Numbers as JSON has them, which knows no NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]
