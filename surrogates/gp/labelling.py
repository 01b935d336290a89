"""What the labelled answers of all fitted processes have in common: names, units, limits, blocks of places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from surrogates.errors import DataError
from surrogates.schema import Points, Schema, Vocabulary

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


def require_draws(n: int) -> None:
    """Refuse numbers of draws that are none.

    Raises
    ------
    DataError
        If n isn't a whole number, at least 1.
    """
    if not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"n is {n!r}; at least one draw is wanted, a whole number")


def in_blocks(m: int, width: int, numbers: int = CHUNK) -> Iterator[slice]:
    """Slices of m places, in temporary arrays of up to `numbers` entries with `width` for each place."""
    size = max(64, numbers // width)
    return (slice(start, min(start + size, m)) for start in range(0, m, size))
