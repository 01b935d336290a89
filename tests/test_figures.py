"""The one style of all figures: its texts, its letters, its files, and that the user's own settings stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from surrogates import plots
from surrogates.figures import binomial_band


@pytest.fixture
def axes() -> Iterator[Any]:
    import matplotlib.pyplot as plt

    with plots.style():
        figure, axes = plt.subplots(1, 3, figsize=(plots.PAGE, 2))
    yield axes
    plt.close(figure)


@given(n=st.integers(1, 60), more=st.floats(0, 0.99), p=st.floats(1e-6, 1 - 1e-6))
def test_the_band_holds_95_percent_and_mirrors_itself(n: int, more: float, p: float) -> None:
    (low,), (high,) = binomial_band(np.array([p]), n + more)
    k = np.arange(n + 1)
    held = stats.binom.pmf(k[(k >= n * low - 1e-9) & (k <= n * high + 1e-9)], n, p).sum()
    assert held > 0.95 - 1e-9
    # no reading more than is needed at either end
    assert stats.binom.cdf(round(n * low) - 1, n, p) < 0.025
    assert stats.binom.sf(round(n * high) - 1, n, p) > 0.025 - 1e-12
    (mirrored,), _ = binomial_band(np.array([1 - p]), n)
    assert mirrored == pytest.approx(1 - high, abs=1 / n + 1e-12)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (None, "height"),
        ("", "height"),
        ("1", "height (1)"),
        ("um", "height (µm)"),
        ("degC", "height (°C)"),
        ("us", "height (µs)"),
        ("W/m**2", "height (W/m**2)"),
    ],
)
def test_a_label_is_a_quantity_with_its_unit(unit: str | None, text: str) -> None:
    assert plots.label("height", unit) == text


def test_letters_stand_before_the_titles_at_the_left(axes: Any) -> None:
    axes[0].set_title("one")
    axes[2].set_title("three")
    plots.letters(axes)
    assert [ax.get_title() for ax in axes] == ["", "", ""]
    assert [ax.get_title(loc="left") for ax in axes] == [r"$\bf{a}$  one", r"$\bf{b}$", r"$\bf{c}$  three"]


@pytest.mark.parametrize(
    ("given", "stem"), [("a", "a"), ("a.png", "a"), ("a.pdf", "a"), ("v1.2", "v1.2"), ("v1.2.png", "v1.2")]
)
def test_both_files_are_written(axes: Any, tmp_path: Path, given: str, stem: str) -> None:
    files = plots.save(axes[0].figure, tmp_path / given)
    assert files == (tmp_path / f"{stem}.pdf", tmp_path / f"{stem}.png")
    assert files[0].read_bytes()[:5] == b"%PDF-"
    assert b"/Type3" not in files[0].read_bytes()  # TrueType: text stays text
    from PIL import Image  # matplotlib brings it

    with Image.open(files[1]) as picture:
        assert picture.width == pytest.approx(300 * plots.PAGE, abs=1)


def test_the_users_settings_come_back_and_do_not_count_within() -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 31, "lines.linewidth": 9}):
        with plots.style():
            assert mpl.rcParams["font.size"] == 8
            assert mpl.rcParams["lines.linewidth"] < 2
            assert [entry["color"] for entry in mpl.rcParams["axes.prop_cycle"]] == list(plots.COLOURS)
            told: Any = dict(mpl.rcParams)
            sizes = [told[f"{name}size"] for name in ("axes.label", "axes.title", "xtick.label", "ytick.label")]
            sizes += [told["legend.fontsize"], told["figure.titlesize"]]
            assert all(7 <= size <= 9 for size in sizes)
            assert mpl.rcParams["legend.edgecolor"] == "none"
        assert mpl.rcParams["font.size"] == 31
        assert mpl.rcParams["lines.linewidth"] == 9


def test_colours_are_those_of_okabe_and_ito() -> None:
    """Okabe & Ito (2008), "Color Universal Design": told apart with any form of colour blindness."""
    known = {"#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#000000"}
    assert {colour.lower() for colour in plots.COLOURS} <= known
    assert len(set(plots.COLOURS)) == len(plots.COLOURS) <= len(plots.MARKERS)
    assert len(set(plots.MARKERS)) == len(plots.MARKERS)
