"""A function that comes in several fidelities: its domain, its levels, and designs to try models on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .study import is_count

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MultiFidelityFunction:
    """A test function y = f_level(x) on a box, without noise; called as ``function(x, level)``.

    name : as in the literature
    inputs : their names, in the order of the columns of x
    bounds : (low, high) of each input; the ends belong to the domain
    levels : the fidelities' labels, cheapest first
    functions : of each level, (n, d) -> (n,)
    source : the publications of function and levels
    minimum : published least value of the last level, None if none is known
    minimisers : published places of it
    units : of each input and then of y; empty where there are none

    Raises
    ------
    DataError
        If the parts don't fit together.

    Examples
    --------
    >>> square = MultiFidelityFunction(
    ...     "square", ("x",), ((0.0, 2.0),), ("low", "high"), (lambda x: x[:, 0], lambda x: x[:, 0] ** 2), "made up"
    ... )
    >>> square(np.array([[1.5]]), "high")
    array([2.25])
    >>> dict(square.dataset((6, 3), seed=0).sizes)
    {'sample': 9}
    """

    name: str
    inputs: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    levels: tuple[str, ...]
    functions: tuple[Callable[[Floats], Floats], ...]
    source: str
    minimum: float | None = None
    minimisers: tuple[tuple[float, ...], ...] = ()
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.bounds) != len(self.inputs):
            raise DataError(f"{self.name} has {len(self.bounds)} bounds; one for each of {self.inputs} is wanted")
        if not self.levels or len(self.functions) != len(self.levels):
            raise DataError(f"{self.name} has {len(self.functions)} functions; one for each of {self.levels} is wanted")
        if self.units and len(self.units) != len(self.inputs) + 1:
            raise DataError(f"{self.name} has {len(self.units)} units; one for each of {self.inputs} and y is wanted")
        if taken := {"fidelity", "y"} & set(self.inputs):
            raise DataError(f"{self.name} has an input called {sorted(taken)[0]!r}; its datasets need that name")
        for names in (self.inputs, self.levels):
            if len(set(names)) != len(names):
                raise DataError(f"{self.name} has the names {names}; each of them once is wanted")
        for name, (low, high) in zip(self.inputs, self.bounds, strict=True):
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise DataError(f"{self.name}'s input {name!r} has bounds {(low, high)}; finite low < high are wanted")

    def __call__(self, x: Floats, level: str) -> Floats:
        """Values at the rows of x by one level.

        Parameters
        ----------
        x : (n, d) points of the domain
        level : one of `levels`

        Returns
        -------
        (n,) values

        Raises
        ------
        DataError
            If x has another shape or leaves the domain, or the level is unknown.
        """
        if level not in self.levels:
            raise DataError(f"fidelity {level!r} is unknown; {self.name} has {self.levels}, cheapest first")
        points = np.asarray(x, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != len(self.inputs):
            raise DataError(
                f"x has shape {points.shape}; {self.name} wants (n, {len(self.inputs)}): "
                f"a row for each point, with columns {self.inputs}"
            )
        for name, (low, high), column in zip(self.inputs, self.bounds, points.T, strict=True):
            outside = ~((column >= low) & (column <= high))  # NaN is outside too
            if outside.any():
                raise DataError(
                    f"{self.name}'s input {name!r} is {column[outside][0]} in row {np.argmax(outside)}; "
                    f"values in [{low}, {high}] are wanted"
                )
        return self.functions[self.levels.index(level)](points)

    def dataset(self, points: Sequence[int], *, seed: int, nested: bool = False) -> xr.Dataset:
        """Noise-free values on Sobol designs, scrambled by random matrices and a digital shift (Matoušek 1998).

        Parameters
        ----------
        points : how many for each level, cheapest first; more of them leave the first ones where they were
        seed : of the scrambling; each level has a stream of its own
        nested : take all designs from the start of the cheapest level's, so that each level's points are among those
            of the levels below it

        Returns
        -------
        xr.Dataset over ``sample``: the inputs, ``fidelity`` (label) and ``y``, cheapest level first

        Raises
        ------
        DataError
            If the counts don't fit the levels, or a nested design would grow with the level.

        References
        ----------
        Matoušek, J. (1998). On the L2-discrepancy for anchored boxes. Journal of Complexity 14(4), 527-556.
        """
        counts = self._counts(points, nested)
        streams = np.random.SeedSequence(seed).spawn(len(self.levels))
        if nested:
            longest = self._design(counts[0], streams[0])
            designs = [longest[:n] for n in counts]
        else:
            designs = [self._design(n, stream) for n, stream in zip(counts, streams, strict=True)]
        values = [self(x, level) for x, level in zip(designs, self.levels, strict=True)]
        units = [{"units": text} for text in self.units] or [{} for _ in (*self.inputs, "y")]
        columns = np.concatenate(designs).T  # (d, n)
        return xr.Dataset(
            {name: ("sample", x, attrs) for name, x, attrs in zip(self.inputs, columns, units[:-1], strict=True)}
            | {
                "fidelity": ("sample", np.repeat(np.array(self.levels), counts)),
                "y": ("sample", np.concatenate(values), units[-1]),
            },
            attrs={"function": self.name, "source": self.source},
        )

    def _design(self, n: int, stream: np.random.SeedSequence) -> Floats:
        """The first n points (n, d) of a scrambled Sobol sequence; scipy wants powers of two to be drawn."""
        from scipy.stats import qmc  # half a second, which other users of this package needn't wait for

        sequence = qmc.Sobol(len(self.inputs), seed=np.random.default_rng(stream))
        unit = sequence.random_base2(max(n - 1, 0).bit_length())[:n]
        low, high = np.array(self.bounds).T
        return np.asarray(low + (high - low) * unit)

    def _counts(self, points: Sequence[int], nested: bool) -> list[int]:
        counts = list(points)
        if len(counts) != len(self.levels) or not all(map(is_count, counts)) or sum(counts) < 1:
            raise DataError(
                f"points is {points}; {self.name} wants a count >= 0 for each of {self.levels}, not all of them 0"
            )
        if nested and counts != sorted(counts, reverse=True):
            raise DataError(
                f"points is {points}; a nested design wants counts that don't grow along {self.levels}; "
                f"give fewer points to the costlier levels, or nested=False"
            )
        return counts
