"""Every number and word that a method, an optimiser or a limit is told is checked when it is made, and named if wrong."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from surrogates import training
from surrogates.errors import DataError
from surrogates.training import conflicts, weighting

#: what is made by a run and not by a user
RESULTS = {"Balance", "Batch", "Minimised", "Minimum", "Sharing", "Trained"}
#: where an argument must be given
GIVEN: dict[str, dict[str, Any]] = {
    "Aggregated": {"method": "UPGrad", "options": {}},
    "Checkpoint": {"path": Path("checkpoint")},
    "Fixed": {"weights": (1.0, 2.0)},
    "LossWeights": {"weighting": "SoftAdapt"},
    "TorchJD": {"method": "UPGrad", "options": {}},
}
#: numbers of any sign
SIGNED = {("AlphaFair", "alpha")}
#: what has words of its own
OTHERWISE = {
    ("GCond", "critical"): "thresholds are nan, -0.5, 0.0; they must rise: -1 <= critical < main < weak <= 1",
    ("GCond", "main"): "thresholds are -0.8, nan, 0.0; they must rise",
    ("GCond", "weak"): "thresholds are -0.8, -0.5, nan; they must rise",
    ("SoftAdapt", "beta"): "the size of beta is nan; it must be a finite number >= 0",
    ("Stopping", "loss"): "loss is NaN; it must be a number, or None",
}


def configurations() -> dict[str, type]:
    found = {}
    for module in (training, conflicts, weighting):
        for name in module.__all__:
            entry = getattr(module, name)
            if isinstance(entry, type) and dataclasses.is_dataclass(entry) and name not in RESULTS:
                found[name] = entry
    return found


def wrong() -> Iterator[Any]:
    for name, kind in sorted(configurations().items()):
        for field in dataclasses.fields(kind):
            told = str(field.type)
            bad: tuple[Any, ...] = ()
            if (name, field.name) in OTHERWISE:
                continue
            if told.startswith("int"):
                bad = (-1, 2.5, True, "many")
            elif told.startswith("float"):
                bad = (math.nan,) if (name, field.name) in SIGNED else (math.nan, -0.5)
            elif told.startswith(("Literal", "Schedule", "JacobianMode")):
                bad = ("nonsense",)
            for value in bad:
                yield pytest.param(name, field.name, value, id=f"{name}-{field.name}-{value}")


@pytest.mark.parametrize(("name", "field", "value"), list(wrong()))
def test_a_wrong_entry_is_named(name: str, field: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"^{field} is {re.escape(repr(value))}; it must "):
        configurations()[name](**GIVEN.get(name, {}), **{field: value})


@pytest.mark.parametrize(("where", "words"), OTHERWISE.items())
def test_a_number_with_words_of_its_own(where: tuple[str, str], words: str) -> None:
    name, field = where
    with pytest.raises(DataError, match=rf"^{re.escape(words)}"):
        configurations()[name](**GIVEN.get(name, {}), **{field: math.nan})


@pytest.mark.parametrize("thresholds", [(-1.1, -0.5, 0.0), (-0.5, -0.5, 0.0), (-0.8, 0.0, 0.0), (-0.8, -0.5, 1.1)])
def test_thresholds_rise_within_the_range_of_cosines(thresholds: tuple[float, float, float]) -> None:
    critical, main, weak = thresholds
    with pytest.raises(DataError, match="they must rise"):
        conflicts.GCond(critical=critical, main=main, weak=weak)
