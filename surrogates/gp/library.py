"""Distinct places with counts and smooth features, numbered: what the Tanimoto kernel's places stand for.

A place's number is all that the rows, the collapse and the solvers see. Places are the same if all their numbers are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from surrogates.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: a larger count than this is no count of parts; sums of minima would get slow
MOST = 10_000
#: a feature farther from its mean counts as this far: some descriptors have tails without end
CLIP = 4.0


class Tables(NamedTuple):
    """Of all pairs of n and m places: T (n, m), and the mean squared difference of the smooth features (n, m)."""

    tanimoto: Floats
    squared: Floats


@dataclass(frozen=True, eq=False)
class Library:
    """u distinct places.

    Parameters
    ----------
    counts : (u, b) whole numbers, sparse, indices sorted
    smooth : (u, D) features in their own units
    centre, width : (D,) mean and standard deviation over the places of the fit; width 0 for a feature that didn't vary
    """

    counts: Any  # scipy.sparse.csr_array
    smooth: Floats
    centre: Floats
    width: Floats
    #: the latest answer of `between`: processes of several draws ask for the same one
    _latest: dict[bytes, Tables] = field(default_factory=dict)

    @staticmethod
    def fit(counts: Mapping[str, NDArray[Any]], smooth: Mapping[str, NDArray[Any]]) -> Library:
        """The distinct places among those given, in an order that depends on their values alone.

        Parameters
        ----------
        counts, smooth : (u, length) blocks by name

        Raises
        ------
        DataError
            If counts aren't whole numbers from 0 to 10,000.
        """
        bits, features = (sum(block.shape[1] for block in blocks.values()) for blocks in (counts, smooth))
        nothing = Library(
            sp.csr_array((0, bits), dtype=np.uint8), np.zeros((0, features)), np.zeros(features), np.zeros(features)
        )
        library, _ = nothing.extended(counts, smooth)
        z = library.smooth
        centre, width = z.mean(axis=0), z.std(axis=0)
        # a standard deviation of rounding errors isn't one
        width = np.where((np.ptp(z, axis=0) > 0) & (width > 1e-12 * np.abs(z).max(axis=0, initial=0.0)), width, 0.0)
        return replace(library, centre=centre, width=width)

    def extended(
        self, counts: Mapping[str, NDArray[Any]], smooth: Mapping[str, NDArray[Any]]
    ) -> tuple[Library, Integers]:
        """This library with further places behind its own, and the number (u,) of each place given.

        Raises
        ------
        DataError
            As in `fit`.
        """
        more = _sparse(counts)
        blocks = [np.asarray(block, dtype=np.float64) for block in smooth.values()]
        z = np.concatenate([*blocks, np.zeros((more.shape[0], 0))], axis=1) + 0.0  # no negative zeros
        keys = list(_keys(more, z))
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        new = sorted(key for key in first if key not in self._numbers)
        numbers = {**self._numbers, **{key: len(self) + k for k, key in enumerate(new)}}
        rows = [first[key] for key in new]
        library = Library(
            sp.csr_array(sp.vstack([self.counts, more[rows]])) if new else self.counts,
            np.concatenate([self.smooth, z[rows]]),
            self.centre,
            self.width,
        )
        library.__dict__["_numbers"] = numbers  # a cached property, known already
        return library, np.array([numbers[key] for key in keys], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def between(self, a: Integers, b: Integers) -> Tables:
        """Tables of places a (n,) and b (m,)."""
        key = a.tobytes() + b"|" + b.tobytes()
        found = self._latest.get(key)
        if found is None:
            found = self._compare(a, b)
            self._latest.clear()
            self._latest[key] = found
        return found

    def between_rows(self, x: Floats) -> Tables:
        """Tables of all rows; x: (n, 1) numbers of places."""
        cell = np.ix_(*[x[:, 0].astype(np.int64)] * 2)
        return Tables(self.pairs.tanimoto[cell], self.pairs.squared[cell])

    @cached_property
    def pairs(self) -> Tables:
        """Tables of all places with each other; they depend on no hyper-parameter."""
        everything = np.arange(len(self))
        return self._compare(everything, everything)

    def _compare(self, a: Integers, b: Integers) -> Tables:
        same = a[:, None] == b
        T = _tanimoto(self._levels[a], self._levels[b], self._sums[a], self._sums[b])
        square = _squared(self._standard[a], self._standard[b])
        # zero but for rounding
        square[same] = 0.0
        return Tables(T, square)

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        return {key: place for place, key in enumerate(_keys(self.counts, self.smooth))}

    @cached_property
    def _sums(self) -> Floats:
        """(u,) Σ_b c_b"""
        return np.asarray(self.counts.sum(axis=1), dtype=np.float64).reshape(-1)

    @cached_property
    def _levels(self) -> Any:
        return thermometer(self.counts)

    @cached_property
    def _standard(self) -> Floats:
        """(u, D') features that vary, standardised and clipped."""
        used = self.width > 0
        return np.clip((self.smooth[:, used] - self.centre[used]) / self.width[used], -CLIP, CLIP)


def thermometer(counts: Any) -> Any:
    """Counts as zeros and ones, one column for each level of each bit: min(c, c') is the number of common ones.

    counts: (u, b) sparse  ->  (u, b · most) sparse
    """
    c = counts.data.astype(np.int64)
    level = np.arange(c.sum()) - np.repeat(np.cumsum(c) - c, c)
    column = level * counts.shape[1] + np.repeat(counts.indices.astype(np.int64), c)
    rows = np.repeat(np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr)), c)
    shape = (counts.shape[0], counts.shape[1] * int(c.max(initial=1)))
    return sp.csr_array((np.ones(len(column)), (rows, column)), shape=shape)


def _tanimoto(A: Any, B: Any, a: Floats, b: Floats) -> Floats:
    """Σ min / Σ max from levels A (n, k), B (m, k) and sums a (n,), b (m,), as Σ max = a + b - Σ min.

    Two places without any count are the same: 1.
    """
    common = np.asarray((A @ B.T).toarray())
    most = a[:, None] + b - common
    return np.asarray(np.divide(common, most, out=np.ones_like(common), where=most > 0))


def _squared(x: Floats, z: Floats) -> Floats:
    """|x_i - z_j|²/D.  x: (n, D), z: (m, D)  ->  (n, m); zeros if D is 0."""
    D = x.shape[1]
    if D == 0:
        return np.zeros((len(x), len(z)))
    total = x @ z.T
    total *= -2.0
    total += (x * x).sum(axis=1)[:, None]
    total += (z * z).sum(axis=1)
    return np.asarray(np.maximum(total, 0.0) / D)


def _keys(counts: Any, smooth: Floats) -> Iterable[bytes]:
    """All numbers of each place as bytes."""
    indices, data = counts.indices.astype(np.int64), counts.data.astype(np.int64)
    for place, (start, stop) in enumerate(zip(counts.indptr[:-1], counts.indptr[1:], strict=True)):
        yield indices[start:stop].tobytes() + b"|" + data[start:stop].tobytes() + b"|" + smooth[place].tobytes()


def _sparse(blocks: Mapping[str, NDArray[Any]]) -> Any:
    """Blocks of counts side by side: (u, b) sparse, with sorted indices and no stored zeros."""
    for name, block in blocks.items():
        for is_bad, wanted in (
            (block < 0, "negative"),
            (block != np.floor(block), "not whole numbers"),
            (block > MOST, f"above {MOST:,}"),
        ):
            if is_bad.any():
                raise DataError(
                    f"variable {name!r} has {int(is_bad.sum())} entries that are {wanted} (first: {block[is_bad][0]}); "
                    f"the Tanimoto kernel counts parts: give counts from 0 to {MOST:,}, other features as `smooth`"
                )
    joint = np.concatenate([np.asarray(block) for block in blocks.values()], axis=1)
    return sp.csr_array(joint.astype(np.int64) if joint.dtype.kind in "fb" else joint)
