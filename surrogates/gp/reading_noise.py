"""How far a reading lies from the function: noise of readings that are still to be made, in scaled units."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.schema import Points, Vocabulary

from .core import Core

Floats = NDArray[np.float64]


def noise_table(core: Core, vocabulary: Vocabulary, draw: int | None = None) -> Floats:
    """Noise variance by task and fidelity (T, F), scaled; of known noise, the mean over each fidelity's readings.

    draw : of one draw of the hyper-parameters; None: the mean over all
    """
    T, F = len(vocabulary.tasks), len(vocabulary.fidelities)
    readings = core.scaled.readings
    if readings.variance is not None:
        totals = np.bincount(readings.group, readings.variance, minlength=F)
        return np.tile(totals / np.maximum(np.bincount(readings.group, minlength=F), 1), (T, 1))
    variances = core.noise_variances() if draw is None else core.noise_by_draw()[draw]
    blocks = variances.reshape(-1, F)
    if core.settings.noise == "task-fidelity":
        return blocks
    table = np.tile(blocks[0], (T, 1))
    table[list(core.settings.apart)] = blocks[1:]
    return table


def noise_by_draw(core: Core, vocabulary: Vocabulary, points: Points) -> Floats:
    """Scaled noise variance (k, m) of a reading at each place, as each draw of the hyper-parameters has it.

    Known noise is that of the points, where they hold it, else the mean over the readings of their fidelity; without a
    fidelity, the first is meant. Where readings are exact it is what stands for zero on the diagonal.
    """
    readings, m, k = core.scaled.readings, len(points.x), len(core.weights)
    level = np.zeros(m, dtype=np.int64) if points.fidelity is None else points.fidelity
    if readings.variance is not None:
        variance = noise_table(core, vocabulary)[points.task, level]
        if points.noise_variance is not None:
            given = points.noise_variance / core.scaled.target.spread**2
            variance = np.where(np.isnan(given), variance, given)
        if not readings.variance.any():
            variance = np.where(variance == 0, readings.exact, variance)
        return np.tile(variance, (k, 1))
    if readings.basis is not None:
        return core.noise_by_draw_at(core.scaled.inputs(points.x))[:, level, np.arange(m)]
    return np.stack([noise_table(core, vocabulary, draw)[points.task, level] for draw in range(k)])


def noise_at(core: Core, vocabulary: Vocabulary, points: Points) -> Floats:
    """Scaled noise variance of a reading at each of m places: (1, m), or by fidelity (F, m) where `points` name none."""
    if points.noise_variance is not None:
        variance = points.noise_variance / core.scaled.target.spread**2
        return np.asarray(variance[None])
    if core.scaled.readings.basis is not None:
        of_levels = core.noise_variances_at(core.scaled.inputs(points.x))
        return of_levels if points.fidelity is None else of_levels[points.fidelity, np.arange(len(points.x))][None]
    table = noise_table(core, vocabulary)
    if points.fidelity is not None:
        return np.asarray(table[points.task, points.fidelity][None])
    return np.asarray(table[points.task].T)


def label_levels(
    vocabulary: Vocabulary, fidelity: str | None, points: Points, values: Floats, attrs: dict[str, Any]
) -> xr.DataArray:
    """Values (L, m) as `noise_at` orders them; they run along the fidelities if there are several."""
    if len(values) == 1:
        return points.label(values[0], attrs)
    name = str(fidelity)
    return points.label(values, attrs, leading=(name,)).assign_coords({name: list(vocabulary.fidelities)})


def noise_std(
    core: Core, vocabulary: Vocabulary, fidelity: str | None, points: Points, attrs: dict[str, Any]
) -> xr.DataArray:
    """Standard deviation of a reading given f, without a warp; by fidelity alone where nothing else matters."""
    if points.noise_variance is not None:
        return points.label(np.sqrt(points.noise_variance), attrs)
    levels = vocabulary.fidelities
    if points.fidelity is None and len(levels) > 1:
        name = str(fidelity)
        alike = not core.settings.has_noise_by_task or len(vocabulary.tasks) == 1
        if alike and core.scaled.readings.basis is None:
            table = core.scaled.target.deviation(np.sqrt(noise_table(core, vocabulary)))
            return xr.DataArray(table[0], dims=name, coords={name: list(levels)}, attrs=attrs)
    values = core.scaled.target.deviation(np.sqrt(noise_at(core, vocabulary, points)))
    return label_levels(vocabulary, fidelity, points, values, attrs)
