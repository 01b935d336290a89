"""Batches of tasks as a bag of independent statistics: who works on them, and how their sums come together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, missing_extra

from .batches import Batch
from .statistics import Partial

Floats = NDArray[np.float64]
#: (batch, its data, what is the same for all, further such) -> sums and rows
Function = Callable[[Batch, Any, Any, Any], Partial]
#: pieces of work per worker: a late one then delays the sum by less than its whole share
PIECES = 3


class Reduced(NamedTuple):
    """Sums over all batches, and each batch's rows in the batches' order."""

    sums: tuple[Floats, ...]
    rows: list[tuple[Floats, ...]]


class Workers:
    """Where batches are worked on: this thread, so many threads, or the workers of a dask client.

    Parameters
    ----------
    workers : 1 for this thread, more for dask's threads on this machine, or a `dask.distributed.Client`, whose workers
        get their batches once and then, for every sum, a few numbers

    A context: when it ends, the cluster may forget the batches, and all further work is done in this thread.

    Raises
    ------
    DataError
        If `workers` is neither.
    MissingExtraError
        If more than one worker is wanted and dask isn't installed.
    """

    def __init__(self, workers: Any = 1) -> None:
        self._count, self._client = 1, None
        if isinstance(workers, int | np.integer) and not isinstance(workers, bool) and workers >= 1:
            self._count = int(workers)
        elif hasattr(workers, "scatter") and hasattr(workers, "submit"):
            self._client = workers
            self._count = max(1, sum(workers.nthreads().values()))
        else:
            raise DataError(
                f"workers is {workers!r}; give a number of threads (at least 1) or a dask.distributed.Client"
            )
        if self._count > 1 and self._client is None:
            _require_dask()
        self._placed: list[tuple[Sequence[Batch], list[Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client, self._count, self._placed = None, 1, []

    def reduce(
        self, function: Function, batches: Sequence[Batch], data: Sequence[Any], shared: Any, further: Any = None
    ) -> Reduced:
        """Call `function` on every batch and add its sums up; in the same order each time.

        data : of each batch;  shared, further : the same for all
        """
        if self._count == 1 and self._client is None:
            return _piece(function, batches, data, shared, further)
        pieces = _pieces(batches, self._count * PIECES)
        if self._client is None:
            parts = self._threads(function, batches, data, (shared, further), pieces)
        else:
            parts = self._cluster(function, batches, data, (shared, further), pieces)
        rows: list[tuple[Floats, ...]] = [()] * len(batches)
        for piece, part in zip(pieces, parts, strict=True):
            for position, values in zip(piece, part.rows, strict=True):
                rows[position] = values
        return Reduced(_add([part.sums for part in parts]), rows)

    def _threads(
        self, function: Function, batches: Sequence[Batch], data: Sequence[Any], same: Any, pieces: list[list[int]]
    ) -> list[Reduced]:
        from dask.base import compute
        from dask.delayed import delayed

        run: Any = delayed(_piece, pure=False, traverse=False)
        calls = [run(function, [batches[i] for i in piece], [data[i] for i in piece], *same) for piece in pieces]
        found: Any = compute(*calls, scheduler="threads", num_workers=self._count)  # type: ignore[no-untyped-call]
        return list(found)

    def _cluster(
        self, function: Function, batches: Sequence[Batch], data: Sequence[Any], same: Any, pieces: list[list[int]]
    ) -> list[Reduced]:
        client: Any = self._client
        held = next((held for known, held in self._placed if known is batches), None)
        if held is None:
            addresses = list(client.nthreads())
            held = [
                client.scatter([[batches[i] for i in piece]], workers=[addresses[k % len(addresses)]], hash=False)[0]
                for k, piece in enumerate(pieces)
            ]
            self._placed.append((batches, held))
        shared = client.scatter([same], hash=False)[0]
        calls = [
            client.submit(_remote, function, where, [data[i] for i in piece], shared, pure=False)
            for where, piece in zip(held, pieces, strict=True)
        ]
        return list(client.gather(calls))


def _remote(function: Function, batches: Sequence[Batch], data: Sequence[Any], same: tuple[Any, Any]) -> Reduced:
    return _piece(function, batches, data, *same)


def _piece(function: Function, batches: Sequence[Batch], data: Sequence[Any], shared: Any, further: Any) -> Reduced:
    """The sums of some batches, without holding more than one batch's arrays at a time."""
    sums: tuple[Floats, ...] = ()
    rows = []
    for batch, own in zip(batches, data, strict=True):
        part = function(batch, own, shared, further)
        sums = part.sums if not sums else tuple(a + b for a, b in zip(sums, part.sums, strict=True))
        rows.append(part.rows)
    return Reduced(sums, rows)


def _add(parts: list[tuple[Floats, ...]]) -> tuple[Floats, ...]:
    return tuple(np.sum(np.stack(group), axis=0) for group in zip(*parts, strict=True))


def _pieces(batches: Sequence[Batch], count: int) -> list[list[int]]:
    """Positions of the batches in up to `count` pieces with nearly as many rows each."""
    pieces: list[list[int]] = [[] for _ in range(min(count, len(batches)))]
    load = np.zeros(len(pieces))
    for position in sorted(range(len(batches)), key=lambda i: -batches[i].rows.size):
        lightest = int(load.argmin())
        pieces[lightest].append(position)
        load[lightest] += batches[position].rows.size
    return pieces


def _require_dask() -> None:
    try:
        import dask  # noqa: F401
    except ImportError as error:
        raise missing_extra("dask", "distributed") from error
