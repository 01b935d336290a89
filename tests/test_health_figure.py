"""Each panel of a health figure draws the numbers of the report, at their places, in their colours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from scipy import stats

from surrogates import Schema
from surrogates.errors import MissingExtraError
from surrogates.figures import COLOURS, PALE
from surrogates.health import Dependence, HealthReport, Smoothing, review
from surrogates.schema import Vocabulary

N = 24
Z = np.asarray(stats.norm.ppf((np.arange(N) + 0.5) / N))
MEAN = np.linspace(0.0, 5.0, N)[::-1]
MOVED = np.where(np.arange(N) == 3, 2.0, np.where(np.arange(N) == 7, 1.5, 0.0))
MOVED[11] = np.nan


def report(tasks: int = 2, *, units: str | None = "K", moved: bool = True) -> HealthReport:
    names, gauges = [f"t{k:02d}" for k in range(tasks)], ["lo", "hi"]
    columns = {"observed": MEAN + 2 * Z, "mean": MEAN, "std": np.full(N, 2.0)}
    coords = {
        "part": ("reading", np.array(names)[np.arange(N) % tasks]),
        "gauge": ("reading", np.array(gauges)[np.arange(N) // 2 % 2]),
    }
    one = np.ones(N)
    smoothing = Smoothing(0.1 * one, MOVED, one, one, 10.0, Dependence(one, one, one / 6)) if moved else None
    return review(
        xr.Dataset({name: ("reading", values) for name, values in columns.items()}, coords),
        Schema(inputs="x", target="y", task="part", fidelity="gauge"),
        Vocabulary(tuple(names), tuple(gauges), {"y": units}, {}),
        smoothing=smoothing,
    )


@pytest.fixture(scope="module")
def figure() -> Iterator[Any]:
    import matplotlib.pyplot as plt

    drawn: Any = report().plot()
    yield drawn
    plt.close(drawn)


def faces(collection: Any) -> list[str]:
    return [to_hex(colour) for colour in collection.get_facecolor()]


def points(ax: Any) -> list[tuple[str, np.ndarray[Any, Any], str]]:
    """Label, places and colour of each scatter."""
    return [
        (str(c.get_label()), np.asarray(c.get_offsets()), faces(c)[0])
        for c in ax.collections
        if isinstance(c, PathCollection)
    ]


def test_the_title_counts_warnings(figure: Any) -> None:
    assert figure.get_suptitle() == "health of the model of y: no warnings"
    titles = [ax.get_title() or ax.get_title(loc="left") for ax in figure.axes]
    wanted = ["left-out predictions", "standardised residuals", "calibration, uniform: p = 1", "coverage"]
    wanted += ["influence of single readings", "scores of tasks and fidelities"]
    for title, words in zip(titles, wanted, strict=True):
        assert title.endswith(words)


@pytest.mark.parametrize(
    ("panel", "x", "y", "labels"),
    [
        (0, MEAN + 2 * Z, MEAN, ("observed y (K)", "left-out mean ± 2 std (K)")),
        (1, MEAN, Z, ("left-out mean (K)", "left-out residual / std (1)")),
    ],
)
def test_readings_are_drawn_by_task(
    figure: Any, panel: int, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], labels: tuple[str, str]
) -> None:
    ax = figure.axes[panel]
    assert (ax.get_xlabel(), ax.get_ylabel()) == labels
    for k, (name, places, colour) in enumerate(points(ax)):
        assert name == f"t{k:02d}"
        assert colour == to_hex(COLOURS[k])
        np.testing.assert_allclose(places, np.stack([x, y], axis=1)[k::2])
    assert len(points(ax)) == 2


def test_bars_reach_two_deviations(figure: Any) -> None:
    (bars,) = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.stack([MEAN - 4, MEAN + 4], axis=1))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "part"
    assert [t.get_text() for t in legend.get_texts()] == ["t00", "t01"]


def test_probability_values_are_counted(figure: Any) -> None:
    """Quantiles at (k + 1/2)/24: two or three of each tenth; a right model stays in the band in 95 of 100 bars."""
    ax = figure.axes[2]
    band, *bars = ax.patches
    counts = np.histogram((np.arange(N) + 0.5) / N, bins=10, range=(0, 1))[0]
    np.testing.assert_allclose([bar.get_height() for bar in bars], counts * 10 / N)
    np.testing.assert_allclose([bar.get_x() for bar in bars], np.arange(10) / 10, atol=1e-12)
    assert {round(bar.get_width(), 12) for bar in bars} == {0.1}
    low, high = stats.binom.ppf([0.025, 0.975], N, 0.1) / N * 10
    bottom, height = band.get_y(), band.get_height()
    assert (bottom, bottom + height) == pytest.approx((low, high))
    assert ax.get_xlim() == (0, 1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("probability value of the reading (1)", "density (1)")


def test_coverage_is_the_share_inside_each_interval(figure: Any) -> None:
    ax = figure.axes[3]
    inside = ax.lines[1]
    level, share = np.asarray(inside.get_xdata()), np.asarray(inside.get_ydata())
    np.testing.assert_allclose(level, np.linspace(0, 1, 101))
    for k in (0, 10, 50, 90, 100):
        assert share[k] == pytest.approx((np.abs(Z) <= stats.norm.ppf(0.5 + level[k] / 2)).mean())
    (band,) = ax.collections
    assert to_hex(band.get_facecolor()[0]) == to_hex(PALE)
    edge = band.get_paths()[0].vertices
    for nominal in (0.05, 0.3, 0.8):
        at = edge[np.isclose(edge[:, 0], nominal), 1]
        wanted = stats.binom.ppf([0.025, 0.975], N, nominal) / N
        assert (at.min(), at.max()) == pytest.approx(tuple(wanted))
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["95 % if right", "24 readings"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("nominal coverage (1)", "share of readings inside (1)")
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 1), (0, 1))


def test_readings_that_move_most_are_numbered(figure: Any) -> None:
    ax = figure.axes[4]
    assert [(t.get_text(), t.xy) for t in ax.texts] == [("3", (3, 2.0)), ("7", (7, 1.5))]
    (scatter,) = [c for c in ax.collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(np.asarray(scatter.get_offsets())[:, 1], np.nan_to_num(MOVED))
    assert faces(scatter)[:2] == [to_hex(COLOURS[0]), to_hex(COLOURS[1])]
    assert ax.get_ylim() == pytest.approx((0, 2.2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("reading (number)", "largest move of a prediction (std)")


def test_errors_of_tasks_and_fidelities(figure: Any) -> None:
    ax = figure.axes[5]
    residual, task, gauge = 2 * Z, np.arange(N) % 2, np.arange(N) // 2 % 2
    groups = [task == 0, task == 1, gauge == 0, gauge == 1]
    widths = [np.sqrt((residual[rows] ** 2).mean()) for rows in groups]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], widths)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["part t00", "part t01", "gauge lo", "gauge hi"]
    heights = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
    np.testing.assert_allclose(heights, [3, 2, 1, 0])  # read from the top
    np.testing.assert_allclose(ax.get_yticks(), [3, 2, 1, 0])
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [to_hex(COLOURS[k]) for k in (0, 0, 1, 1)]
    assert np.asarray(ax.lines[0].get_xdata())[0] == pytest.approx(np.sqrt((residual**2).mean()))
    assert ax.get_xlabel() == "left-out RMSE (K)"


def test_more_tasks_than_colours_have_one_colour_and_no_legend() -> None:
    import matplotlib.pyplot as plt

    many = len(COLOURS) + 1
    drawn: Any = report(many, units=None).plot()
    assert [(len(places), colour) for _, places, colour in points(drawn.axes[0])] == [(N, to_hex(COLOURS[0]))]
    assert drawn.axes[0].get_legend() is None
    assert drawn.axes[5].get_xlabel() == "left-out RMSE"
    (scatter,) = [c for c in drawn.axes[4].collections if isinstance(c, PathCollection)]
    assert set(faces(scatter)) == {to_hex(COLOURS[0])}
    plt.close(drawn)


def test_the_worst_fifteen_are_drawn() -> None:
    import matplotlib.pyplot as plt

    drawn: Any = report(20).plot()
    widths = [bar.get_width() for bar in drawn.axes[5].patches]
    assert len(widths) == 15
    assert widths == sorted(widths, reverse=True)
    plt.close(drawn)


def test_where_influence_is_not_known_the_panel_says_so() -> None:
    import matplotlib.pyplot as plt

    drawn: Any = report(moved=False).plot()
    assert [t.get_text() for t in drawn.axes[4].texts] == ["not known for this model"]
    plt.close(drawn)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    health = report()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib is not installed; .*\[plots\]"):
        health.plot()
