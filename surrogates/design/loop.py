"""Ask and tell: what to measure next and what came out, saved at every step.

All that a loop knows is its first data and its journal. What it fits and suggests is a function of these two and of the
seed, never of how often the process was started: a loop that is killed goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self, cast

import numpy as np
import pandas as pd
import xarray as xr

from surrogates.counts import whole
from surrogates.errors import DataError, FileFormatError
from surrogates.schema import Schema

from .history import History, Suggestion, observed_row
from .journal import Journal
from .rows import Columns, Nearness, Row, digest

#: how often `suggest` is asked again, with another seed, where it repeats itself
ATTEMPTS = 5
#: an identity that a text has by chance: the address of an object
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class FittedModel(Protocol):
    """What a loop needs of a fitted model."""

    def update(self, data: xr.Dataset) -> Self: ...


class Model(Protocol):
    """What a loop needs of a model's configuration."""

    @property
    def schema(self) -> Schema: ...
    def fit(self, data: xr.Dataset, *, seed: int = 0) -> Any: ...


class Suggest(Protocol):
    """Where to measure next, such as ``functools.partial(surrogates.design.advise, costs=..., goal=...)``.

    fitted : the model given all readings
    count : how many suggestions are wanted; fewer may come, none if there is nothing more to be learnt
    seed : of all randomness; torch's global generator, which BoTorch draws from, has it, too
    pending : places that are under way or have failed, over ``suggestion``; None if there are none

    Returns a Dataset over ``suggestion`` with the schema's inputs, task and fidelity; ``cost`` (else 1) and ``gain`` are
    kept if they are there.
    """

    def __call__(self, fitted: Any, /, *, count: int, seed: int, pending: xr.Dataset | None) -> xr.Dataset: ...


class Loop:
    """A design loop that can be interrupted at any moment: ask what to measure, tell what came out.

    Parameters
    ----------
    model : an unfitted configuration, such as `HierarchicalGP` or `MultiFidelityGP`
    data : the first readings, which aren't kept in the journal: give the same ones when the loop goes on
    suggest : where to measure next; see `Suggest`
    path : of the journal; if it exists, the loop goes on from there. None: the loop is kept in memory only
    seed : of fits and suggestions
    refit : after how many readings the hyper-parameters are learnt anew; in between, and up to the next multiple of this
        number, readings are conditioned on. A reading of a new task or fidelity always leads to a new fit
    repeat : whether a place that has been read may be suggested again, as noisy readings may want. Places that are under
        way are not, and those that failed never are

    Raises
    ------
    DataError, UnitsError
        If the data can't be used.
    FileFormatError
        If the file isn't a journal, is damaged, belongs to another loop, or is open elsewhere.

    Notes
    -----
    A crash between an experiment and `tell` leaves its suggestion in `pending`; `run` then makes that experiment again.
    A model or `refit` that differs from the one the journal was begun with is allowed, with a warning. Equal
    continuation needs a `suggest` that depends on its arguments only, and the same versions of all libraries.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from pathlib import Path
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> def widest(fitted, *, count, seed, pending):
    ...     at = as_dataset(np.linspace(0, 1, 21), inputs=["x"]).rename(sample="suggestion")
    ...     order = np.argsort(-fitted.predict(at)["std"].values, kind="stable")
    ...     return at.isel(suggestion=order[:count])
    >>> model = HierarchicalGP(Schema(inputs="x", target="y"))
    >>> first = as_dataset([0.0, 0.2, 0.4, 0.5], [0.0, 0.2, 0.4, 0.5], inputs=["x"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Loop(model, first, widest, path=Path(folder) / "loop.jsonl") as loop:
    ...         asked = loop.ask()
    ...         loop.tell(asked["id"], 0.98)
    ...     with Loop(model, first, widest, path=Path(folder) / "loop.jsonl") as again:
    ...         again.data["y"].values[-1]
    np.float64(0.98)
    """

    def __init__(
        self,
        model: Model,
        data: xr.Dataset | pd.DataFrame,
        suggest: Suggest,
        *,
        path: str | os.PathLike[str] | None = None,
        seed: int = 0,
        refit: int = 1,
        repeat: bool = False,
    ) -> None:
        if not isinstance(getattr(model, "schema", None), Schema) or not hasattr(model, "fit"):
            raise DataError(f"model is a {type(model).__name__}; an unfitted configuration with a schema is wanted")
        if not callable(suggest):
            raise DataError(f"suggest is {suggest!r}; a function (fitted, *, count, seed, pending) is wanted")
        self._model, self._suggest, self._repeat = model, suggest, repeat
        self._seed = whole(seed, "seed", least=0)
        self._refit = whole(refit, "refit", least=1)
        self._columns = Columns.of(model.schema, data)
        rows = [row for row in self._columns.rows(data, "the first data", readings=True) if _is_finite(row, model)]
        if not rows:
            raise DataError(f"the first data hold no observed {model.schema.target!r}; a loop starts from at least one")
        header = self._header(rows)
        self._journal = Journal(path, header)
        try:
            self._require_same(header)
        except BaseException:
            self._journal.close()
            raise
        self._history = History(rows, model.schema)
        for record in self._journal.records:
            self._history.apply(record)
        self._base: tuple[int, Any] | None = None
        self._now: tuple[int, Any] | None = None

    def __repr__(self) -> str:
        where = "in memory" if self._journal.path is None else f"in {os.fspath(self._journal.path)}"
        return f"<Loop {where}: {self.evaluations} evaluations, {len(self._history.pending)} pending>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes have the journal."""
        self._journal.close()

    def ask(self, count: int = 1) -> xr.Dataset:
        """Where to measure next; on the disk as pending before it is returned.

        Parameters
        ----------
        count : how many suggestions, made together

        Returns
        -------
        xr.Dataset over ``suggestion``, with the coordinate ``id``: inputs, task, fidelity, cost, gain (NaN where `suggest`
        gives none). Fewer than `count`, or none, if `suggest` has no more to offer.

        Raises
        ------
        DataError
            If `suggest` gives what can't be used.

        Warns
        -----
        UserWarning
            If nothing is asked, since `suggest` gives over and over again places that failed, are under way, or (without
            ``repeat=True``) have been read.
        """
        wanted = whole(count, "count", least=1)
        chosen = self._chosen(wanted)
        if chosen:
            first = self._history.next_id
            self._record({"kind": "ask", "first": first, "rows": chosen})
        return self._asked(list(self._history.pending.items())[len(self._history.pending) - len(chosen) :])

    def tell(
        self,
        id: Any,
        value: Any = None,
        *,
        cost: float | None = None,
        noise: float | None = None,
        failed: str | None = None,
    ) -> None:
        """What came out of a suggestion, or of several; on the disk when this returns.

        Parameters
        ----------
        id : of the suggestion, or a sequence of them
        value : the target, one for each, in the units of the first data (a DataArray with units of its own is converted);
            NaN or inf count as failed
        cost : what each really cost; None: what was expected
        noise : known noise of the reading, if the schema names any
        failed : why there is no value, in words

        Raises
        ------
        DataError
            If an id is unknown or was told before, or there isn't one value for each. Nothing is recorded then.
        UnitsError
            If units of the values can't be converted.
        """
        ids = [whole(entry, "id", least=0) for entry in np.atleast_1d(np.asarray(id)).tolist()]
        value = self.plain(value)
        values = [None] * len(ids) if value is None else list(np.atleast_1d(np.asarray(value, dtype=object)).ravel())
        if len(values) != len(ids):
            raise DataError(f"{len(values)} values for the {len(ids)} ids {ids}; give one for each")
        if (value is None) == (failed is None):
            raise DataError(f"ids {ids} need either a value or, in failed=, why there is none")
        if len(set(ids)) != len(ids):
            raise DataError(f"ids {ids} name a suggestion twice; tell each once")
        records = []
        for entry, number in zip(ids, values, strict=True):
            suggestion = self._history.suggestion(entry)
            row = observed_row(number, failed, suggestion.cost if cost is None else cost, noise, self.schema)
            records.append({"kind": "tell", "id": entry, **row})
        for record in records:
            self._record(record)

    def plain(self, value: Any) -> Any:
        """A value of the target, or several, as plain numbers: of a DataArray with units, in those of the first data."""
        return self._columns.plain(value)

    def add(self, data: xr.Dataset | pd.DataFrame) -> None:
        """Readings that nobody asked for: places of the user's own, with their target.

        Parameters
        ----------
        data : as for a fit; NaN or inf in the target is a failed experiment. A variable ``cost`` counts, else each is free

        Raises
        ------
        DataError, UnitsError
            If the data can't be used. Nothing is recorded then.
        """
        records, schema = [], self.schema
        for k, row in enumerate(self._columns.rows(data, "add", readings=True)):
            noise = None if schema.noise is None else cast(float, row[schema.noise])
            outcome = observed_row(row[schema.target], None, row.get("cost", 0.0), noise, schema)
            place = {name: row[name] for name in self._columns.place}
            records.append({"kind": "add", "id": self._history.next_id + k, "place": place, **outcome})
        for record in records:
            self._record(record)

    @property
    def schema(self) -> Schema:
        """The model's names."""
        return self._model.schema

    @property
    def pending(self) -> xr.Dataset:
        """Suggestions whose outcome hasn't been told, as `ask` gave them."""
        return self._asked(list(self._history.pending.items()))

    @property
    def data(self) -> xr.Dataset:
        """All readings, the first data included, over ``observation``, in the order they were told."""
        return self._columns.dataset(self._history.readings, self._columns.reading, "observation")

    @property
    def fitted(self) -> Any:
        """The model given all readings; fitted when it is asked for."""
        n = len(self._history.readings)
        if self._now is None or self._now[0] != n:
            self._now = (n, self._fit(n))
        return self._now[1]

    @property
    def spent(self) -> float:
        """Cost of all experiments so far, failed ones included; the first data are free."""
        return math.fsum(outcome.cost for outcome in self._history.outcomes)

    @property
    def evaluations(self) -> int:
        """How many experiments were told, failed ones included."""
        return len(self._history.outcomes)

    def to_dataset(self, *, maximise: bool = False) -> xr.Dataset:
        """What happened, over ``observation``: places, target (NaN: failed), and what follows from them.

        Parameters
        ----------
        maximise : whether the best value is the highest

        Returns
        -------
        xr.Dataset with the coordinate ``id`` (-1 of the first data), the reading, its ``cost``, ``spent`` so far, ``best``
        value so far of the same task and fidelity, and ``failed``, why there is no value (else empty).
        """
        rows = self._history.table(maximise=maximise)
        target = self.schema.target
        answer = self._columns.dataset(rows, [*self._columns.reading, "cost", "spent", "best"], "observation")
        answer["best"].attrs |= {**answer[target].attrs, "long_name": f"best {target} so far"}
        answer["failed"] = ("observation", np.array([row["failed"] for row in rows], dtype=str))
        return answer.assign_coords(id=("observation", np.array([row["id"] for row in rows], dtype=np.int64)))

    def _asked(self, entries: Sequence[tuple[int, Suggestion]]) -> xr.Dataset:
        names = [*self._columns.place, "cost", "gain"]
        rows = [{**s.place, "cost": s.cost, "gain": s.gain} for _, s in entries]
        answer = self._columns.dataset(rows, names, "suggestion")
        return answer.assign_coords(id=("suggestion", np.array([number for number, _ in entries], dtype=np.int64)))

    def _record(self, record: dict[str, Any]) -> None:
        self._journal.append(record)
        self._history.apply(record)

    def _chosen(self, count: int) -> list[Row]:
        """Up to `count` new suggestions."""
        history, names = self._history, self._columns.place
        read = [{name: row[name] for name in names} for row in history.readings]
        barred = [suggestion.place for suggestion in history.pending.values()] + history.failures
        chosen: list[Row] = []
        for attempt in range(ATTEMPTS):
            offered = self._offers(count - len(chosen), attempt, [*barred, *chosen])
            for row in offered:
                place = {name: row[name] for name in names}
                known = [*barred, *chosen, *([] if self._repeat else read)]
                if not Nearness(names, [*read, place]).among(place, known):
                    chosen.append(row)
            if len(chosen) >= count or not offered:
                return chosen
        if not chosen:
            warnings.warn(
                f"suggest gave, {ATTEMPTS} times with different seeds, only places that failed, are under way, or have been "
                f"read, the last {place}: nothing is asked. Let it heed `pending`, or, if readings of one place differ, "
                f"allow them with repeat=True",
                UserWarning,
                stacklevel=3,
            )
        return chosen

    def _offers(self, count: int, attempt: int, barred: Sequence[Mapping[str, Any]]) -> list[Row]:
        """What `suggest` says, checked."""
        seed = int(np.random.SeedSequence([self._seed, len(self._journal.records), attempt]).generate_state(1)[0])
        pending = self._columns.dataset(barred, self._columns.place, "suggestion") if barred else None
        with _torch_seed(seed):
            offered = self._suggest(self.fitted, count=count, seed=seed, pending=pending)
        rows = self._columns.rows(offered, "suggest", readings=False)
        if len(rows) > count:
            raise DataError(f"suggest gave {len(rows)} places where {count} were wanted; let it keep to `count`")
        for row in rows:
            if not float(cost := row.setdefault("cost", 1.0)) >= 0:
                raise DataError(f"suggest gave the cost {cost}; costs are numbers >= 0")
            if not math.isfinite(float(row.setdefault("gain", math.nan))):
                row.pop("gain")  # JSON has no NaN
        return rows

    def _fit(self, n: int) -> Any:
        """Fitted to the readings up to the last multiple of `refit`, or to the last new label; given all n."""
        first, readings = len(self._history.initial), self._history.readings
        begin = first + (n - first) // self._refit * self._refit
        for name in (self.schema.task, self.schema.fidelity):
            if name is not None:
                labels = [row[name] for row in readings]
                begin = max(begin, *(labels.index(label) + 1 for label in set(labels)))
        data = self.data
        if self._base is None or self._base[0] != begin:
            self._base = (begin, self._model.fit(data.isel(observation=slice(0, begin)), seed=self._seed))
        fitted = self._base[1]
        return fitted if begin == n else fitted.update(data.isel(observation=slice(begin, n)))

    def _header(self, rows: Sequence[Row]) -> dict[str, Any]:
        schema = self.schema
        names = {"inputs": list(schema.inputs)} | {
            name: getattr(schema, name) for name in ("target", "task", "fidelity", "noise", "noise_is")
        }
        return {
            "schema": names,
            "units": dict(self._columns.units),
            "seed": self._seed,
            "first data": {"rows": len(rows), "sha256": digest(rows)},
            "made by": {"model": _ADDRESS.sub("", repr(self._model)), "refit": self._refit},
        }

    def _require_same(self, mine: Mapping[str, Any]) -> None:
        """A journal of another loop has readings of something else."""
        found, path = self._journal.header, self._journal.path
        for name, wanted in mine.items():
            there = found.get(name)
            if there == wanted:
                continue
            if name != "made by":
                raise FileFormatError(
                    f"{path} belongs to another loop: its {name} is {there}, this loop's is {wanted}; "
                    f"give another path, or what the loop was begun with"
                )
            warnings.warn(
                f"{path} was begun with {there}; it goes on with {wanted}. All readings are kept, but what is suggested "
                f"from here on isn't what the loop would have suggested without the change",
                UserWarning,
                stacklevel=3,
            )


def _is_finite(row: Row, model: Model) -> bool:
    """Whether the row was observed; NaN says it wasn't.

    Raises
    ------
    DataError
        If its target is inf.
    """
    value = float(row[model.schema.target])
    if math.isinf(value):
        raise DataError(f"the first data hold {model.schema.target!r} = {value}; finite numbers are wanted")
    return not math.isnan(value)


@contextlib.contextmanager
def _torch_seed(seed: int) -> Iterator[None]:
    """Torch's global generator for a while; what it was is put back."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
