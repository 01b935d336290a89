"""Slices through a fitted surrogate: one curve along every input, the others held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates import figures
from surrogates.errors import DataError
from surrogates.schema import Label, Schema, Vocabulary

Floats = NDArray[np.float64]
#: places along a slice; fewer for models of many readings, which take the longer per place; and how many are many
POINTS, FEWER, MANY = 61, 21, 2000
#: what is shown beyond the readings' range on either side, as a share of it
MARGIN = 0.1


class Explorable(Protocol):
    """What the explorer needs of a fitted surrogate."""

    @property
    def schema(self) -> Schema: ...
    @property
    def vocabulary(self) -> Vocabulary: ...
    def predict(self, at: xr.Dataset) -> xr.Dataset: ...
    def readings(self) -> xr.Dataset: ...
    def health(self) -> Any: ...


@dataclass(frozen=True)
class Axis:
    """One input: the range shown, or its labels.

    low, high, start : ends, and the value it is held at first
    labels : of a categorical input, whose places are their numbers; empty for plain numbers
    """

    name: str
    units: str
    low: float
    high: float
    start: float
    labels: tuple[Label | None, ...] = ()

    @property
    def title(self) -> str:
        """Name with units."""
        return figures.label(self.name, self.units)

    def value(self, number: float) -> Any:
        """What the model is asked for at a place: the number, or the label of that number."""
        return self.labels[round(number)] if self.labels else number


def axes(fitted: Explorable, readings: xr.Dataset) -> tuple[Axis, ...]:
    """The inputs of a model with the ranges of its readings.

    Raises
    ------
    DataError
        If inputs are vectors, which have no slice.
    """
    vocabulary, found = fitted.vocabulary, []
    missing = [name for name in fitted.schema.inputs if name not in readings.coords]
    if vocabulary.own_dims or missing:
        raise DataError(
            f"inputs {missing or list(vocabulary.own_dims)} are vectors or counts; a slice needs inputs that are single "
            f"numbers or labels: compare predictions instead"
        )
    for name in fitted.schema.inputs:
        if name in vocabulary.categories:
            labels = tuple(vocabulary.categories[name])
            found.append(Axis(name, "", 0.0, float(len(labels) - 1), 0.0, labels))
            continue
        values = readings[name].to_numpy()
        low, high = float(values.min()), float(values.max())
        margin = MARGIN * (high - low) or MARGIN * abs(low) or 1.0
        units = vocabulary.units[name] or ""
        found.append(Axis(name, units, low - margin, high + margin, float(np.median(values))))
    return tuple(found)


def slices(
    fitted: Explorable,
    along: tuple[Axis, ...],
    at: Mapping[str, float],
    task: Label | None,
    fidelity: Label | None,
    points: int = POINTS,
) -> xr.Dataset:
    """Predictions along every input through the place `at`, `points` of each, all asked at once.

    Returns
    -------
    xr.Dataset over ("input", "point"):
        place : of the input that varies, NaN beyond a categorical input's labels; mean, std, noise_std : as predicted
    """
    count = max([points, *(len(axis.labels) for axis in along)])
    place = np.full((len(along), count), np.nan)
    for k, axis in enumerate(along):
        if axis.labels:
            place[k, : len(axis.labels)] = np.arange(len(axis.labels))
        else:
            place[k] = np.linspace(axis.low, axis.high, count)
    asked = ~np.isnan(place)
    columns: dict[str, Any] = {}
    for k, axis in enumerate(along):
        numbers = np.full(place.shape, float(at[axis.name]))
        numbers[k] = place[k]
        values = numbers[asked]
        columns[axis.name] = ("place", np.array([axis.value(v) for v in values]) if axis.labels else values)
        if axis.units:
            columns[axis.name] = (*columns[axis.name], {"units": axis.units})
    answer = fitted.predict(xr.Dataset(columns).assign(_labels(fitted, task, fidelity, int(asked.sum()))))
    found = {"place": (("input", "point"), place)}
    for name in ("mean", "std", "noise_std"):
        grid = np.full(place.shape, np.nan)
        if answer[name].dims == ("place",):
            grid[asked] = answer[name].to_numpy()
        elif answer[name].ndim == 0 or fidelity is None:
            grid[asked] = float(answer[name].mean())
        found[name] = (("input", "point"), grid)
    return xr.Dataset(found, coords={"input": [axis.name for axis in along]})


def beside(
    along: tuple[Axis, ...], readings: xr.Dataset, at: Mapping[str, float], most: int
) -> tuple[NDArray[np.int64], Floats]:
    """Readings near each slice: their numbers (d, m) and nearness (d, m) in [0, 1], nearest last.

    A reading is near a slice if its other inputs are close to where they are held, by their ranges.
    """
    n = readings.sizes["reading"]
    away = np.zeros((len(along), n))
    for k, axis in enumerate(along):
        if axis.labels:
            held = readings[axis.name].to_numpy() == axis.value(at[axis.name])
            away[k] = np.where(held, 0.0, 1.0)
        else:
            away[k] = (readings[axis.name].to_numpy() - at[axis.name]) / (axis.high - axis.low)
    squares = away**2
    others = np.sqrt(np.maximum(squares.sum(axis=0) - squares, 0.0))
    rows = np.argsort(-others, axis=1, kind="stable")[:, -most:]
    nearness = np.exp(-4 * np.take_along_axis(others, rows, axis=1))
    return rows, nearness


def mine(fitted: Explorable, readings: xr.Dataset, task: Label | None, fidelity: Label | None) -> xr.Dataset:
    """The readings of one task and, if one is named, one fidelity."""
    keep = np.ones(readings.sizes["reading"], dtype=bool)
    for name, label in ((fitted.schema.task, task), (fitted.schema.fidelity, fidelity)):
        if name is not None and label is not None:
            keep &= readings[name].to_numpy() == label
    return readings.isel(reading=np.flatnonzero(keep))


def _labels(fitted: Explorable, task: Label | None, fidelity: Label | None, m: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, label in ((fitted.schema.task, task), (fitted.schema.fidelity, fidelity)):
        if name is not None and label is not None:
            found[name] = ("place", np.full(m, label))
    return found
