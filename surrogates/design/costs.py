"""What experiments cost, and which of them have a price at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError
from surrogates.schema import Schema, Vocabulary

from .candidates import Option
from .numbers import positive

Floats = NDArray[np.float64]
#: by fidelity, task, or both as a tuple
Prices = Mapping[Any, float]
Costs = float | Prices | Callable[[xr.Dataset], ArrayLike]


def options_with_price(costs: Costs, schema: Schema, vocabulary: Vocabulary) -> dict[Option, float | None]:
    """Every (task, fidelity) that can be asked, with its price; None where a function of the table tells it.

    Raises
    ------
    DataError
        Costs of tasks or fidelities that the model doesn't know, or that are no positive number; no costs at all.
    """
    every = [Option(task, level) for task in vocabulary.tasks for level in vocabulary.fidelities]
    if callable(costs):
        return dict.fromkeys(every)
    if not isinstance(costs, Mapping):
        return dict.fromkeys(every, positive(costs, "costs"))
    found: dict[Option, float | None] = {}
    # prices of a task and fidelity together count more than those of a fidelity alone, whatever their order
    for key in sorted(costs, key=lambda key: isinstance(key, tuple)):
        price = positive(costs[key], f"the cost of {key!r}")
        found.update(dict.fromkeys(_meant(key, schema, vocabulary, every), price))
    if not found:
        raise DataError(
            "costs are empty; give the cost of at least one fidelity, task and fidelity, or one number for all"
        )
    return {option: found[option] for option in every if option in found}


def prices(costs: Costs, options: Mapping[Option, float | None], rows: list[Option], table: xr.Dataset) -> Floats:
    """The cost of every candidate (m,); `rows` says which option each of them is.

    Raises
    ------
    DataError
        If the user's function doesn't give one positive number for each candidate.
    """
    if not callable(costs):
        return np.array([options[row] for row in rows], dtype=np.float64)
    answer: Any = costs(table)
    try:
        values = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"costs gave a {type(answer).__name__}; one number for each candidate is wanted") from error
    if values.shape != (len(rows),):
        raise DataError(
            f"costs gave numbers of shape {values.shape} for {len(rows)} candidates; one for each is wanted"
        )
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"costs gave {values[first]:g} for {_words(rows[first])} ({int(wrong.sum())} of {len(rows)} candidates are "
            f"like it); every cost must be a finite number above zero"
        )
    return values


def _meant(key: Any, schema: Schema, vocabulary: Vocabulary, every: list[Option]) -> list[Option]:
    """The options that one key of a mapping of costs stands for."""
    tasks, levels = vocabulary.tasks, vocabulary.fidelities
    if isinstance(key, tuple):
        if len(key) != 2 or key[0] not in tasks or key[1] not in levels:
            raise DataError(f"costs name {key!r}; {_known(schema, vocabulary)}, as (task, fidelity)")
        return [Option(*key)]
    if schema.fidelity is not None and key in levels:
        return [option for option in every if option.fidelity == key]
    if schema.fidelity is None and schema.task is not None and key in tasks:
        return [option for option in every if option.task == key]
    raise DataError(f"costs name {key!r}; {_known(schema, vocabulary)}")


def _known(schema: Schema, vocabulary: Vocabulary) -> str:
    parts = [
        f"the {kind} {name!r} may be {', '.join(map(repr, labels))}"
        for kind, name, labels in (
            ("task", schema.task, vocabulary.tasks),
            ("fidelity", schema.fidelity, vocabulary.fidelities),
        )
        if name is not None
    ]
    return " and ".join(parts) or "the model has neither tasks nor fidelities: give one number"


def _words(option: Option) -> str:
    return " and ".join(repr(label) for label in option if label is not None) or "a candidate"
