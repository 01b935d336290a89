"""What a figure for a paper must not have, found by walking its artists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import matplotlib.colors as mcolors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import Collection, PolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from surrogates.figures import COLOURS, COLUMN, PAGE

WITH_UNIT = re.compile(r"\S.* \([^()]+\)$", re.DOTALL)
MAPS = {"cividis", "viridis", "RdBu_r"}
SMALLEST = 6.0
PALETTE = np.array([mcolors.to_rgb(colour) for colour in COLOURS])


def faults(figure: Figure) -> list[str]:
    """Everything that is wrong, in words; nothing, if all is well."""
    figure.canvas.draw()
    width, height = figure.get_size_inches()
    found = [] if min(abs(width - COLUMN), abs(width - PAGE)) < 1e-9 else [f"the width is {width:g} in"]
    found += [] if height <= 9.0 else [f"the height is {height:g} in"]
    for k, ax in enumerate(figure.axes):
        found += [f"axes {k}: {text}" for text in (*_labels(ax), *_colours(ax), *_legend(ax))]
    found += _texts(figure)
    return found + ([] if _is_uncertain(figure) else ["nothing says how sure it is"])


def _labels(ax: Axes) -> Iterator[str]:
    is_bar = hasattr(ax, "_colorbar")
    if is_bar and not WITH_UNIT.match(ax.get_xlabel() + ax.get_ylabel()):
        yield f"the colour bar's label is {ax.get_xlabel() + ax.get_ylabel()!r}"
    if is_bar:
        return
    for axis in (ax.xaxis, ax.yaxis):
        text = axis.get_label_text()
        if _ticks(axis) and not _is_named(axis) and not WITH_UNIT.match(text):
            yield f"the {axis.axis_name} axis has the label {text!r}"


def _ticks(axis: Axis) -> list[str]:
    return [tick.get_text() for tick in axis.get_ticklabels() if tick.get_visible() and tick.get_text()]


def _is_named(axis: Axis) -> bool:
    """Whether the ticks are names of things, which need no unit."""
    return any(re.search(r"[a-zA-Z]{3}", re.sub(r"\\math\w+", "", text)) for text in _ticks(axis))


def _colours(ax: Axes) -> Iterator[str]:
    for artist in ax.get_children():
        if artist is ax.patch or not artist.get_visible():
            continue
        if isinstance(artist, Collection) and artist.get_array() is not None:
            name = artist.get_cmap().name
            if name not in MAPS:
                yield f"the colour map is {name}"
            continue
        drawn: list[Any] = []
        if isinstance(artist, Line2D):
            drawn = [artist.get_color()] if artist.get_linestyle() != "None" else []
            if artist.get_marker() in Line2D.filled_markers:
                drawn += [artist.get_markerfacecolor(), artist.get_markeredgecolor()]
        elif isinstance(artist, Rectangle):
            drawn = [artist.get_facecolor()]
        elif isinstance(artist, Collection):
            drawn = [*artist.get_facecolor(), *artist.get_edgecolor()]
        for colour in drawn:
            rgb = np.array(mcolors.to_rgb(colour)) if not isinstance(colour, str) or colour != "none" else np.zeros(3)
            if np.ptp(rgb) > 1e-6 and np.abs(PALETTE - rgb).max(axis=1).min() > 1e-6:
                yield f"{type(artist).__name__} has the colour {mcolors.to_hex(colour)}"
    for image in ax.images:
        if image.get_cmap().name not in MAPS:
            yield f"the colour map is {image.get_cmap().name}"


def _legend(ax: Axes) -> Iterator[str]:
    legend = ax.get_legend()
    if legend is None:
        return
    box, room = legend.get_window_extent(), ax.get_window_extent()
    centre = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    if room.contains(*centre) and (box.x0 < room.x0 - 1 or box.x1 > room.x1 + 1 or box.height > 0.7 * room.height):
        yield "the legend is larger than its panel has room for"


def _texts(figure: Figure) -> Iterator[str]:
    edge, ticks = figure.bbox, _tick_texts(figure)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if not text.get_visible() or not text.get_text().strip():
            continue
        if float(text.get_fontsize()) < SMALLEST:
            yield f"{text.get_text()!r} has {text.get_fontsize():g} pt"
        box = text.get_window_extent()
        is_outside = box.x0 < -2 or box.y0 < -2 or box.x1 > edge.x1 + 2 or box.y1 > edge.y1 + 2
        if is_outside and id(text) not in ticks:  # ticks beyond the limits have texts that aren't drawn
            yield f"{text.get_text()!r} is cut off"


def _tick_texts(figure: Figure) -> set[int]:
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    ticks = [tick for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks)]
    return {id(text) for tick in ticks for text in (tick.label1, tick.label2)}


def _is_uncertain(figure: Figure) -> bool:
    """Bands, bars, several thin lines, or words."""
    words = " ".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
    bands = any(isinstance(artist, PolyCollection) for ax in figure.axes for artist in ax.collections)
    bars = any(isinstance(each, ErrorbarContainer) for ax in figure.axes for each in ax.containers)
    return bands or bars or re.search(r"\bstd\b|standard deviation|±|certified", words) is not None
