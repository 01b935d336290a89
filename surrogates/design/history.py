"""What the records of a journal add up to: suggestions under way, outcomes, readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from surrogates.errors import DataError
from surrogates.schema import Schema

from .rows import Row


class Suggestion(NamedTuple):
    """A place that was asked for, what it is expected to cost, and what `suggest` said of its gain."""

    place: Row
    cost: float
    gain: float | None


class Told(NamedTuple):
    """The outcome of an experiment; value None: it failed."""

    id: int
    place: Row
    value: float | None
    cost: float
    noise: float | None
    failed: str


@dataclass
class History:
    """The state of a loop: a pure function of its first rows and of its records, applied in their order.

    Attributes
    ----------
    initial : readings that the loop began with
    pending : suggestions by id whose outcome isn't known
    outcomes : in the order they were told
    next_id : of the next suggestion or added reading
    """

    initial: list[Row]
    schema: Schema
    pending: dict[int, Suggestion] = field(default_factory=dict)
    outcomes: list[Told] = field(default_factory=list)
    next_id: int = 0

    def apply(self, record: Mapping[str, Any]) -> None:
        """Take a record in."""
        if record["kind"] == "ask":
            for row in record["rows"]:
                place = {name: row[name] for name in self._place}
                self.pending[self.next_id] = Suggestion(place, row["cost"], row.get("gain"))
                self.next_id += 1
            return
        number = record["id"]
        if record["kind"] == "tell":
            place = self.pending.pop(number).place
        else:
            place, self.next_id = record["place"], self.next_id + 1
        told = Told(number, place, record["value"], record["cost"], record["noise"], record["failed"])
        self.outcomes.append(told)

    def suggestion(self, number: int) -> Suggestion:
        """The pending suggestion of an id.

        Raises
        ------
        DataError
            If there is none.
        """
        if number in self.pending:
            return self.pending[number]
        for told in self.outcomes:
            if told.id == number:
                what = f"failed: {told.failed}" if told.value is None else f"is {told.value:g}"
                raise DataError(
                    f"id {number} was told before: its {self.schema.target!r} {what}; one outcome for each "
                    f"suggestion; give further readings of the place to add()"
                )
        raise DataError(f"id {number} is unknown; pending are {list(self.pending)}")

    @property
    def readings(self) -> list[Row]:
        """Rows of all observed values, the first ones included."""
        return self.initial + [self._row(told) for told in self.outcomes if told.value is not None]

    @property
    def failures(self) -> list[Row]:
        """Places of failed experiments."""
        return [told.place for told in self.outcomes if told.value is None]

    def table(self, *, maximise: bool) -> list[dict[str, Any]]:
        """All readings and failures with running cost, and the best value of the same task and fidelity so far."""
        best: dict[tuple[Any, ...], float] = {}
        better = max if maximise else min
        labels = [name for name in (self.schema.task, self.schema.fidelity) if name is not None]
        first: Sequence[tuple[Row, int, float, str]] = [(row, -1, 0.0, "") for row in self.initial]
        later = [(self._row(told), told.id, told.cost, told.failed) for told in self.outcomes]
        table, spent = [], 0.0
        for row, number, cost, failed in (*first, *later):
            group, value = tuple(row[name] for name in labels), row.get(self.schema.target)
            if value is not None:
                best[group] = better(best.get(group, float(value)), float(value))
            spent += cost
            extra = {"id": number, "cost": cost, "spent": spent, "best": best.get(group), "failed": failed}
            table.append({**row, **extra})
        return table

    @property
    def _place(self) -> list[str]:
        names = (*self.schema.inputs, self.schema.task, self.schema.fidelity)
        return [name for name in names if name is not None]

    def _row(self, told: Told) -> Row:
        row = dict(told.place)
        if told.value is not None:
            row[self.schema.target] = told.value
        if self.schema.noise is not None and told.noise is not None:
            row[self.schema.noise] = told.noise
        return row


def observed_row(
    value: Any, failed: str | None, cost: Any, noise: Any, schema: Schema
) -> dict[str, float | str | None]:
    """An outcome as a journal keeps it.

    Raises
    ------
    DataError
        If value, cost or noise aren't numbers, or cost or noise are negative; if known noise is missing.
    """
    spent = _number(cost, "cost", least=0.0)
    if failed is None:
        number = _number(value, f"value of {schema.target!r}")
        if math.isfinite(number):
            if schema.noise is not None and noise is None:
                raise DataError(f"the schema names the known noise {schema.noise!r}; give it with the value, noise=...")
            deviation = None if schema.noise is None else _number(noise, "noise", least=0.0)
            return {"value": number, "cost": spent, "noise": deviation, "failed": ""}
        failed = f"the value is {number}"
    return {"value": None, "cost": spent, "noise": None, "failed": str(failed) or "no reason given"}


def _number(value: Any, name: str, *, least: float | None = None) -> float:
    """One number as a float; finite and not too small where there is a least one."""
    try:
        if isinstance(value, complex | np.complexfloating):  # of NumPy's, float() drops a part
            raise TypeError("complex")
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} is {value!r}, a {type(value).__name__}; one number is wanted") from error
    if least is not None and not (math.isfinite(number) and number >= least):
        raise DataError(f"{name} is {number}; a finite number >= {least:g} is wanted")
    return number
