"""Quantiles of a mixture of Gaussians, through the warp, at labelled places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.schema import Points, Vocabulary

from .core import Core
from .outputs import mixture_quantile, with_tails
from .reading_noise import label_levels, noise_at

Floats = NDArray[np.float64]


class Asked(NamedTuple):
    """A fitted model, the places it's asked at, and the rows of each piece of work."""

    core: Core
    vocabulary: Vocabulary
    fidelity: str | None  # name of the variable
    points: Points
    chunks: list[slice]


def quantiles(asked: Asked, q: float | Sequence[float], attrs: dict[str, str], *, noise: bool) -> xr.DataArray:
    """See `FittedHierarchicalGP.quantile`.

    Raises
    ------
    DataError
        If q isn't between zero and one.
    """
    levels = np.atleast_1d(np.asarray(q, dtype=np.float64))
    if levels.ndim > 1 or not len(levels) or not ((levels > 0) & (levels < 1)).all():
        raise DataError(f"q is {q!r}; give a number, or a list of numbers, between 0 and 1")
    core, m = asked.core, len(asked.points.x)
    question, output, weights = core.asked(asked.points), core.output, core.weights
    variance = _variance(asked) if noise else np.zeros((1, m))
    values = np.empty((len(levels), len(variance), m))
    for rows in asked.chunks:
        parts = question.parts(rows)
        for l, extra in enumerate(variance[:, rows]):
            noisy, shares = with_tails(parts, weights, extra, core.scaled.degrees if noise else None)
            for k, level in enumerate(levels):
                values[k, l, rows] = output.quantile(noisy, shares, float(level))
    each = [
        label_levels(asked.vocabulary, asked.fidelity, asked.points, value, attrs).assign_coords(quantile=level)
        for value, level in zip(values, levels, strict=True)
    ]
    return each[0] if np.ndim(q) == 0 else xr.concat(each, "quantile", combine_attrs="override")


def _variance(asked: Asked) -> Floats:
    """(L, m) scaled noise; known noise of a warped target is carried through by the slope at the median."""
    core, points = asked.core, asked.points
    variance = noise_at(core, asked.vocabulary, points)
    warp = core.scaled.warp
    if warp is not None and points.noise_variance is not None:
        question = core.asked(points)
        for rows in asked.chunks:
            median = mixture_quantile(question.parts(rows), core.weights, 0.5)
            variance[:, rows] /= warp.slope(core.scaled.target.mean(median)) ** 2
    return variance
