"""How figures look: widths of a journal's columns, type, colours with a second cue, labels, files.

`style` is a context, so that nobody's own settings are changed. matplotlib is imported on the first call: it comes with the
extra ``plots``.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from surrogates.errors import missing_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
#: widths of figures [in]: one column (89 mm) and a page (183 mm)
COLUMN, PAGE = 3.5, 7.2
# Okabe & Ito (2008): told apart by readers with any kind of colour vision; black is kept for data and truth
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
#: greys of what is looked past: bars, bands, thresholds
GREY, PALE = "0.5", "0.85"
#: the second cue, for prints without colours; as many as don't repeat together with the colours
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")
#: colour maps of equal perceived steps: of values, of standard deviations, of differences from a centre
VALUES, SPREADS, DIFFERENCES = "cividis", "viridis", "RdBu_r"
#: units as they are printed
SYMBOLS = {"um": "µm", "degC": "°C", "us": "µs"}
#: dots per inch of pictures in pixels
DPI = 300
_TICKS = {"labelsize": 7, "major.width": 0.6, "minor.width": 0.4}


def style() -> Any:
    """A context in which new figures are made for a paper: type of 7 to 9 pt, thin lines, these colours.

    Settings made before come back at its end; within it they don't count, so that figures are the same everywhere.

    Raises
    ------
    MissingExtraError
        If matplotlib isn't installed.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> with style():
    ...     figure, ax = plt.subplots(figsize=(COLUMN, 2.4))
    >>> ax.xaxis.label.get_fontsize()
    8.0
    >>> plt.close(figure)
    """
    try:
        import matplotlib.style
        from cycler import cycler
    except ImportError:
        raise missing_extra("matplotlib", "plots") from None
    settings: dict[str, Any] = {
        "axes.prop_cycle": cycler(color=list(COLOURS)),
        "image.cmap": VALUES,
        "figure.figsize": (COLUMN, 2.5),
        "figure.constrained_layout.use": True,
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "figure.titlesize": 9,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "legend.handlelength": 1.8,
        "legend.borderpad": 0.3,
        "legend.labelspacing": 0.3,
        "legend.columnspacing": 1.2,
        "legend.framealpha": 0.85,
        "legend.edgecolor": "none",
        "lines.linewidth": 1.2,
        "lines.markersize": 3.5,
        "patch.linewidth": 0.6,
        "axes.linewidth": 0.6,
        "errorbar.capsize": 1.5,
        **{f"{axis}tick.{part}": size for axis in "xy" for part, size in _TICKS.items()},
    }
    return matplotlib.style.context(["default", settings])


def new_figure(columns: int = 1, *, width: float = COLUMN, height: float = 2.5) -> Figure:
    """An empty figure with axes side by side, in the current style."""
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise missing_extra("matplotlib", "plots") from None
    figure, _ = plt.subplots(1, columns, layout="constrained", figsize=(width, height))
    return figure


def binomial_band(p: Floats, size: float) -> tuple[Floats, Floats]:
    """Lowest and highest share (m,) of `size` readings, between which 95 % of binomials of probabilities p (m,) lie.

    A number of readings that isn't whole, as effective ones are, counts as the whole one below, at least 1.

    >>> low, high = binomial_band(np.array([0.0, 0.1, 1.0]), 10.9)
    >>> low.tolist(), high.tolist()
    ([0.0, 0.0, 1.0], [0.0, 0.3, 1.0])
    """
    n = max(int(size), 1)
    low, high = (np.asarray(binom.ppf(q, n, p)).clip(0, n) / n for q in (0.025, 0.975))
    return low, high


def label(quantity: str, unit: str | None = None) -> str:
    """The text of an axis: a quantity, and its unit in parentheses; "1" is the unit of shares and ratios.

    >>> label("height", "um"), label("height")
    ('height (µm)', 'height')
    """
    return f"{quantity} ({SYMBOLS.get(unit, unit)})" if unit else quantity


def letters(axes: Iterable[Axes]) -> None:
    """a, b, c ... in bold before the titles of panels, which move to the left."""
    for letter, ax in zip(string.ascii_lowercase, axes, strict=False):
        title = ax.get_title()
        ax.set_title("")
        ax.set_title(rf"$\bf{{{letter}}}$  {title}".rstrip(), loc="left")


def save(figure: Figure, path: str | Path) -> tuple[Path, Path]:
    """Write a figure as PDF, whose text stays text, and as PNG of 300 dots per inch; the paths of both.

    Parameters
    ----------
    figure : any figure of matplotlib
    path : without ending, or with one of the two
    """
    import matplotlib

    stem = Path(path)
    stem = stem.with_suffix("") if stem.suffix in (".pdf", ".png") else stem
    files = (stem.with_name(f"{stem.name}.pdf"), stem.with_name(f"{stem.name}.png"))
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(files[0], dpi=DPI, metadata={"CreationDate": None})
        figure.savefig(files[1], dpi=DPI)
    return files
