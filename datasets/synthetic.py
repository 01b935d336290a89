"""The one-dimensional multi-task family of H-MT-MF: sines that differ in level, slope and ripple."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .engine import GAUGES
from .study import Study, is_count

Floats = NDArray[np.float64]
#: (a, b, c) of each task, our choice: the paper's are not public.
COEFFICIENTS = ((0.0, 0.05, 0.3), (1.0, 0.1, 0.4), (-0.5, 0.0, 0.2))
FORMS = ("printed", "higdon", "gramacy")
END, GAP, PLACES = 20.0, 5.0, 201


def sine_tasks(
    *,
    seed: int = 0,
    coefficients: Sequence[tuple[float, float, float]] = COEFFICIENTS,
    points: tuple[int, int] = (5, 5),
    replicates: int = 3,
    repeatability: tuple[float, float] = (0.05, 0.2),
    gap: bool = False,
    form: str = "printed",
) -> Study:
    """Related functions of x in [0, 20], read several times at random places by a precise or a cheap gauge.

        printed   y = a + b x + sin(x/5) + c sin(4x/5)
        higdon    y = a + b x + sin(πx/5) + c sin(4πx/5)
        gramacy   y = a + b x + sin(πx/5) + c cos(4πx/5)

    "printed" is H-MT-MF's synthetic example (arXiv 2603.09842) as summaries of it have it. It may have lost two π from
    the sine of Higdon (2002), which Gramacy & Lee (2008) write with a cosine: hence the other two forms.

    Parameters
    ----------
    seed : of everything; each task has streams of its own for places and for noise, so that other noise levels, or
        more tasks, change no place
    coefficients : (a, b, c) of each task; the default three are our choice
    points : places per task that the (precise, cheap) gauge reads; which place got which gauge in the paper is not
        public
    replicates : readings at each place
    repeatability : standard deviation of a reading by the (precise, cheap) gauge
    gap : leave task 2 without places in [0, 5], as summaries of the paper have it
    form : one of the three above

    Returns
    -------
    Study with
        observed : over ``sample``: x, task, gauge, y, repeatability; no units
        truth : y over (task, x), at 201 places

    Raises
    ------
    DataError
        If an argument is out of its range.

    References
    ----------
    Higdon, D. (2002). Space and space-time modeling using process convolutions. In Quantitative Methods for Current
    Environmental Issues, Springer, 37-56.
    Gramacy, R. B., & Lee, H. K. H. (2008). Bayesian treed Gaussian process models with an application to computer
    modeling. JASA 103(483), 1119-1130.

    Examples
    --------
    >>> study = sine_tasks(seed=0)
    >>> dict(study.observed.sizes), dict(study.truth.sizes)
    ({'sample': 90}, {'task': 3, 'x': 201})
    """
    _check(coefficients, points, replicates, repeatability, gap, form)
    names = [f"task {k + 1}" for k in range(len(coefficients))]
    grid = np.linspace(0, END, PLACES)
    truth = xr.Dataset(
        {"y": (("task", "x"), np.stack([_value(grid, abc, form) for abc in coefficients]))},
        coords={"task": names, "x": grid},
    )
    x = _places(seed, len(names), sum(points), 1 if gap else None)  # (tasks, places)
    exact = np.stack([_value(row, abc, form) for row, abc in zip(x, coefficients, strict=True)])
    gauge = np.repeat([0, 1], points)  # (places,)
    deviation = np.asarray(repeatability, dtype=np.float64)[gauge]
    y = exact[:, :, None] + deviation[:, None] * _noise(seed, len(names), sum(points), replicates)
    observed = xr.Dataset(
        {
            "y": ("sample", y.ravel()),
            "x": ("sample", np.repeat(x, replicates)),
            "task": ("sample", np.repeat(names, sum(points) * replicates)),
            "gauge": ("sample", np.tile(np.repeat(np.array(GAUGES)[gauge], replicates), len(names))),
            "repeatability": ("sample", np.tile(np.repeat(deviation, replicates), len(names))),
        }
    )
    parameters = {
        "seed": seed,
        "coefficients": [list(map(float, abc)) for abc in coefficients],
        "points": list(points),
        "replicates": replicates,
        "repeatability": list(repeatability),
        "gap": gap,
        "form": form,
    }
    return Study(observed, truth, parameters)


def _value(x: Floats, coefficients: tuple[float, float, float], form: str) -> Floats:
    a, b, c = coefficients
    u = x / 5 if form == "printed" else np.pi * x / 5
    ripple = np.cos(4 * u) if form == "gramacy" else np.sin(4 * u)
    return np.asarray(a + b * x + np.sin(u) + c * ripple)


def _streams(seed: int, kind: int, tasks: int) -> list[np.random.Generator]:
    """One generator per task for places (kind 0) or noise (kind 1); those of a task don't depend on how many follow."""
    return [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2)[kind].spawn(tasks)]


def _places(seed: int, tasks: int, count: int, with_gap: int | None) -> Floats:
    """Uniformly random places (tasks, count); those of task number `with_gap` lie beyond the gap."""
    starts = [GAP if task == with_gap else 0.0 for task in range(tasks)]
    return np.stack(
        [stream.uniform(start, END, count) for stream, start in zip(_streams(seed, 0, tasks), starts, strict=True)]
    )


def _noise(seed: int, tasks: int, count: int, replicates: int) -> Floats:
    """Standard normal numbers (tasks, count, replicates)."""
    return np.stack([stream.standard_normal((count, replicates)) for stream in _streams(seed, 1, tasks)])


def _check(
    coefficients: Sequence[tuple[float, float, float]],
    points: tuple[int, int],
    replicates: int,
    repeatability: tuple[float, float],
    gap: bool,
    form: str,
) -> None:
    if not len(coefficients) or not all(len(abc) == 3 and all(np.isfinite(v) for v in abc) for abc in coefficients):
        raise DataError(
            f"coefficients is {coefficients}; three numbers (a, b, c) for each of one or more tasks are wanted"
        )
    if len(points) != 2 or not all(map(is_count, points)) or sum(points) < 1:
        raise DataError(f"points is {points}; (precise, cheap) counts >= 0 with at least one place are wanted")
    if not is_count(replicates, 1):
        raise DataError(f"replicates is {replicates}; at least one reading at each place is wanted")
    if not (len(repeatability) == 2 and all(np.isfinite(v) and v >= 0 for v in repeatability)):
        raise DataError(f"repeatability is {repeatability}; two numbers >= 0 (precise, cheap) are wanted")
    if gap and len(coefficients) < 2:
        raise DataError("gap is True, but there is one task; the gap is in task 2: give two or more coefficients")
    if form not in FORMS:
        raise DataError(f"form is {form!r}; choose one of {FORMS}")
