"""What the labelled answers of all fitted processes have in common: names, units, limits, blocks of places."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.posterior import Moments
from surrogates.schema import Points, Schema, Vocabulary

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: numbers in the largest temporary array of a prediction: it bounds the memory, and this size stays in cache
CHUNK = 300_000
#: places of a joint answer (covariance, sample): its matrix has the square of it
JOINT_LIMIT = 12_000


@dataclass(frozen=True)
class Labelling:
    """Names and units of one model's answers."""

    schema: Schema
    vocabulary: Vocabulary

    def attrs(self, text: str) -> dict[str, str]:
        """Attributes of an answer in the target's units."""
        units = self.vocabulary.units[self.schema.target]
        return {"long_name": f"{text} of {self.schema.target}", **({"units": units} if units else {})}

    def squared_attrs(self) -> dict[str, str]:
        """Attributes of a covariance."""
        units = self.vocabulary.units[self.schema.target]
        return {"long_name": f"covariance of {self.schema.target}", **({"units": f"({units})**2"} if units else {})}

    def slope_units(self, names: Sequence[str]) -> list[str]:
        """Units of derivatives by each of these inputs; empty where one of both has none."""
        above = self.vocabulary.units[self.schema.target]
        below = [self.vocabulary.units[name] for name in names]
        return [f"({above})/({unit})" if above and unit else "" for unit in below]

    def joint_points(self, at: xr.Dataset | pd.DataFrame) -> Points:
        """Places of a joint answer.

        Raises
        ------
        DataError
            As `Schema.encode_points`; and if there are more places than the square matrix has room for.
        """
        points = self.schema.encode_points(at, self.vocabulary)
        if len(points.x) > JOINT_LIMIT:
            raise DataError(
                f"a joint answer at {len(points.x)} places needs a matrix of its square; at most {JOINT_LIMIT} are "
                f"taken: ask for fewer places, or for predict, which needs no such matrix"
            )
        return points

    def prediction(self, points: Points, mean: Floats, deviation: Floats, noise_std: xr.DataArray) -> xr.Dataset:
        """Mean and standard deviation (m,) at the points, and the noise there.

        Raises
        ------
        DataError
            If the request has a coordinate of one of these names.
        """
        values = {
            "mean": points.label(mean, self.attrs("mean")),
            "std": points.label(deviation, self.attrs("standard deviation")),
            "noise_std": noise_std,
        }
        _refuse_coordinates(values, points.frame.coords, "predict")
        return xr.Dataset(values, attrs=points.frame.attrs)

    def slopes(self, points: Points, d_mean: Floats, d_std: Floats, names: Sequence[str]) -> xr.Dataset:
        """Derivatives (m, k) of mean and standard deviation by the k inputs of these names."""
        values = {
            name: points.label(slopes.T, {"long_name": f"derivative of the {text}"}, leading=("input",))
            for name, slopes, text in (("d_mean", d_mean, "mean"), ("d_std", d_std, "standard deviation"))
        }
        _refuse_coordinates(values, points.frame.coords, "gradient")
        inputs = xr.DataArray(list(names), dims="input")
        return xr.Dataset(values).assign_coords(input=inputs, units=("input", self.slope_units(names)))

    def readings(self, y: Floats, coords: Mapping[str, Any]) -> xr.Dataset:
        """Readings (N,) over ``reading``."""
        return xr.Dataset({self.schema.target: ("reading", y, self.attrs("observation"))}, coords=coords)

    def left_out(self, observed: Floats, moments: Moments, coords: Mapping[str, Any]) -> xr.Dataset:
        """Readings (N,) beside their left-out predictions, over ``reading``.

        Raises
        ------
        DataError
            If an input, the task or the fidelity has the name of one of them.
        """
        values = {
            "observed": (observed, "observation"),
            "mean": (moments.mean, "left-out mean"),
            "std": (np.sqrt(moments.variance), "left-out standard deviation (noise included)"),
            "residual": (observed - moments.mean, "left-out residual"),
        }
        _refuse_coordinates(values, coords, "loo")
        return xr.Dataset({name: ("reading", v, self.attrs(text)) for name, (v, text) in values.items()}, coords=coords)

    def reading_coords(self, x: Floats, task: Integers, fidelity: NDArray[Any]) -> dict[str, Any]:
        """Coordinates of N readings over ``reading``.

        Parameters
        ----------
        x : (N, d) inputs in units of the fit, labels as their positions; or (N, 0), where they are vectors, which would
            need a dim of their own
        task : (N,) positions in the vocabulary
        fidelity : (N,) labels
        """
        coords: dict[str, Any] = {}
        for name, column in zip(self.schema.inputs, x.T, strict=False):
            labels, units = self.vocabulary.categories.get(name), self.vocabulary.units[name]
            if labels is not None:
                coords[name] = ("reading", np.array(labels)[np.rint(column).astype(np.int64)])
            else:
                coords[name] = ("reading", column, {"units": units} if units else {})
        if self.schema.task is not None:
            coords[self.schema.task] = ("reading", np.array(self.vocabulary.tasks)[task])
        if self.schema.fidelity is not None:
            coords[self.schema.fidelity] = ("reading", fidelity)
        return coords

    def require_several_tasks(self, new: list[str]) -> None:
        """Refuse new tasks where there was a single one.

        Raises
        ------
        DataError
            If there was.
        """
        if new and (self.schema.task is None or len(self.vocabulary.tasks) < 2):
            names = ", ".join(map(repr, new))
            raise DataError(
                f"new task {names}: one task alone says nothing about how tasks correlate; fit again on all"
            )


def _refuse_coordinates(values: Collection[str], coords: Mapping[Any, Any], answer: str) -> None:
    """xarray holds no coordinate and variable of one name."""
    taken = sorted({str(name) for name in coords} & set(values))
    if taken:
        raise DataError(
            f"{taken} are names of what {answer} gives, and of coordinates here; rename these, or drop those of a request"
        )


def in_blocks(m: int, width: int, numbers: int = CHUNK) -> Iterator[slice]:
    """Slices of m places, in temporary arrays of up to `numbers` entries with `width` for each place."""
    size = max(64, numbers // width)
    return (slice(start, min(start + size, m)) for start in range(0, m, size))
