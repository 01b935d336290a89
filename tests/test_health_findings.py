"""The words of each warning, and the borders at which they begin."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from surrogates import Schema
from surrogates.health import Dependence, HealthReport, Smoothing, review
from surrogates.schema import Vocabulary

Floats = NDArray[np.float64]


def health(
    z: Floats, *, tasks: int = 1, influence: Floats | None = None, condition: float = 10.0, leverage: float = 0.2
) -> HealthReport:
    """Of left-out residuals of size z where 1 was promised; tasks take turns."""
    n, labels = len(z), tuple(f"t{k}" for k in range(tasks))
    columns = {"observed": z, "mean": 0 * z, "std": 1 + 0 * z}
    coords = {"part": ("reading", np.array(labels)[np.arange(n) % tasks])}
    loo = xr.Dataset({name: ("reading", v) for name, v in columns.items()}, coords)
    one = np.ones(n)
    moved = 0.1 * one if influence is None else influence
    smoothing = Smoothing(leverage * one, moved, one, one, condition, Dependence(one, one, one / 6))
    vocabulary = Vocabulary(labels, (None,), {"y": None}, {})
    return review(loo, Schema(inputs="x", target="y", task="part"), vocabulary, smoothing=smoothing)


def normal(n: int, size: float = 1.0) -> Floats:
    """Quantiles of a normal distribution, which no test finds odd."""
    return np.asarray(size * stats.norm.ppf((np.arange(n) + 0.5) / n))


def test_too_narrow() -> None:
    (words, *_) = health(normal(40, 2.0)).warnings
    inside = 100 * (np.abs(normal(40, 2.0)) < stats.norm.ppf(0.975)).mean()
    p = min(stats.binom.cdf(round(0.4 * inside), 40, 0.95), stats.chi2.sf((normal(40, 2.0) ** 2).sum(), 40))
    size = np.sqrt((normal(40, 2.0) ** 2).mean())
    assert words == (
        f"over-confident: 95 % intervals hold {inside:.3g} % of 40 left-out readings, which count as 40 independent ones "
        f"(p = {2 * p:.1g}); standard deviations should be about {size:.2g} times as large"
    )


def test_too_wide() -> None:
    size = np.sqrt((normal(40, 0.5) ** 2).mean())
    assert health(normal(40, 0.5)).warnings == (
        f"intervals are wider than need be: left-out residuals of 40 left-out readings, which count as 40 independent ones "
        f"are {size:.2g} times as large as promised (p = {stats.chi2.cdf((normal(40, 0.5) ** 2).sum(), 40):.1g})",
    )


def test_not_normal() -> None:
    z = np.where(np.arange(60) % 3 == 0, 1.3, -0.7)
    (words,) = health(z).warnings
    assert words.startswith("left-out residuals aren't normal: their probability values aren't uniform (p = ")
    assert words.endswith(", mean standardised residual -0.033); quantiles are less sure than standard deviations")


@pytest.mark.parametrize(("wrong", "told"), [(1, "task t0 ("), (5, "tasks t0 ("), (7, "tasks t0 (")])
def test_the_worst_five_tasks_are_named(wrong: int, told: str) -> None:
    """The first is the worst; a size is the root mean square of z."""
    tasks, each = 12, 20
    sizes = np.where(np.arange(tasks) < wrong, 3.0 - 0.1 * np.arange(tasks), 0.8)
    z = (normal(each)[:, None] * sizes).ravel()
    found = [w for w in health(z, tasks=tasks).warnings if w.startswith("over-confident for the task")]
    rms = np.sqrt((normal(each) ** 2).mean())
    named = ", ".join(f"t{k} ({rms * sizes[k]:.2g})" for k in range(min(wrong, 5)))
    more = " ..." if wrong > 5 else ""
    assert found == [
        f"over-confident for the task{'s' * (wrong > 1)} {named}{more} (size of left-out residuals as a multiple of what "
        "was promised)"
    ]
    assert told in found[0]


@pytest.mark.parametrize(("wrong", "told"), [(1, "one reading lies"), (3, "3 readings lie"), (4, "4 readings lie")])
def test_the_furthest_three_readings_are_named(wrong: int, told: str) -> None:
    z = normal(60)
    z[:wrong] = -6.0 - np.arange(wrong)
    (words,) = [w for w in health(z).warnings if "far from" in w]
    worst = [f"reading {r} (part t0): {z[r]:+.1f}" for r in range(wrong)[::-1]][:3]
    more = " ..." if wrong > 3 else ""
    assert words == f"{told} far from what the others say, in standard deviations: {'; '.join(worst)}{more}"


def test_the_border_of_a_single_reading_is_that_of_all_of_them_together() -> None:
    """|z| beyond which one of n right readings lies with probability 1 %: two of them suffice for a border."""
    limit = -stats.norm.ppf(0.005 / 2)
    for far, is_told in ((limit - 0.01, False), (limit + 0.01, True)):
        words = health(np.array([far, 0.0])).warnings
        assert any("far from what the others say" in w for w in words) == is_told


@pytest.mark.parametrize("wrong", [1, 4])
def test_readings_that_move_everything(wrong: int) -> None:
    moved = np.full(60, 0.1)
    moved[:wrong] = 5.0 + np.arange(wrong)
    (words,) = health(normal(60), influence=moved).warnings
    limit = -stats.norm.ppf(0.005 / 60)
    worst = [f"reading {r} (part t0): {moved[r]:.1f}" for r in range(wrong)[::-1]][:3]
    count, more = ("one reading is", "") if wrong == 1 else (f"{wrong} readings are", " ...")
    assert words == (
        f"{count} too influential: leaving one out moves predictions by more than {limit:.1f} standard deviations: "
        f"{'; '.join(worst)}{more}"
    )


def test_the_algebra() -> None:
    assert health(normal(60), condition=1e12, leverage=0.9).warnings == ()
    assert health(normal(60), condition=1.1e12, leverage=0.91).warnings == (
        "the covariance is nearly singular: about 12 of 16 digits are lost to rounding",
        "the fit spends 54.6 effective parameters on 60 readings: it interpolates; between them all rests on the kernel",
    )
