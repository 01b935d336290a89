"""What the variables are called, what they are measured in, and what is said when one isn't there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from surrogates.errors import DataError


class Variable(NamedTuple):
    """A variable over time.

    dimension : what it measures, a key of the tables of units
    units : those it has inside the library, and those assumed where the data name none
    is_average : its row is a mean over the interval that ends at the stamp; otherwise the value at the stamp
    is_shared : units at one place may share it, so it may lack the dim ``unit``
    """

    dimension: str
    units: str
    is_average: bool
    is_shared: bool


DIRECT, DIFFUSE, GLOBAL = "direct_normal_irradiance", "diffuse_horizontal_irradiance", "global_horizontal_irradiance"
VARIABLES = {
    "power": Variable("power", "kW", True, False),
    "indoor_temperature": Variable("temperature", "degC", False, False),
    "outdoor_temperature": Variable("temperature", "degC", True, True),
    DIRECT: Variable("irradiance", "W/m^2", True, True),
    DIFFUSE: Variable("irradiance", "W/m^2", True, True),
    GLOBAL: Variable("irradiance", "W/m^2", True, True),
    "humidity_ratio": Variable("humidity", "g/kg", True, True),
    "set_point": Variable("temperature", "degC", False, True),
}
#: one number a unit
PLACE = ("latitude", "longitude", "utc_offset")
CONSTANTS = (*PLACE, "rated_power")


def listed(labels: Iterable[str], most: int = 5) -> str:
    """Labels for a message, the first few of them.

    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    every = list(labels)
    text = ", ".join(map(repr, every[:most]))
    return text if len(every) <= most else f"{text} and {len(every) - most} more"


def units_text(labels: Sequence[str], every: Sequence[str]) -> str:
    """Which units, for a note.

    >>> units_text(["a", "b"], ["a", "b"]), units_text(["a"], ["a", "b"])
    ('all units', "units 'a'")
    """
    return "all units" if len(labels) == len(every) else f"units {listed(labels)}"


def renamed(kind: str, name: str) -> str:
    """How a variable gets a name, for the remedy of a message; kind : "dataset", "frame" or "file".

    >>> renamed("frame", "power")
    "rename the variable: data.rename(columns={'old name': 'power'})"
    """
    if kind == "file":
        return f"name its column {name!r}"
    argument = f"{{'old name': {name!r}}}"
    return f"rename the variable: data.rename({'' if kind == 'dataset' else 'columns='}{argument})"


def dropped(kind: str) -> str:
    """How units are left out, for the remedy of a message; kind : "dataset", "frame" or "file"."""
    remedies = {"dataset": "data.drop_sel(unit=[...])", "frame": "data[~data['unit'].isin([...])]"}
    return remedies.get(kind, "leave out its rows")


def choose(there: Sequence[str], *, need_indoor: bool, kind: str) -> tuple[tuple[str, ...], list[str]]:
    """The variables to read out of those that are `there`, and what to say of others that were perhaps meant.

    kind : of the data, for remedies

    Raises
    ------
    DataError
        If a required variable isn't there: what there is, and the closest name.
    """
    required = ["outdoor_temperature", *(["power", "indoor_temperature"] if need_indoor else [])]
    missing = [name for name in required if name not in there]
    if missing:
        raise DataError(
            f"the data have no variable {listed(missing)}{_meant(missing, there)}; they have {sorted(there)}; "
            f"{renamed(kind, missing[0])}"
        )
    if DIRECT in there and DIFFUSE in there:
        solar: tuple[str, ...] = (DIRECT, DIFFUSE)
    elif GLOBAL in there:
        solar = (GLOBAL,)
    else:
        wanted = [name for name in (DIRECT, DIFFUSE, GLOBAL) if name not in there]
        raise DataError(
            f"the data have no sun: give {DIRECT!r} and {DIFFUSE!r}, or {GLOBAL!r}, which is split by the sun's "
            f"height{_meant(wanted, there)}; they have {sorted(there)}"
        )
    skipped = {DIRECT, DIFFUSE, GLOBAL} - set(solar)
    chosen = tuple(name for name in VARIABLES if name in there and name not in skipped)
    optional = [name for name in (*VARIABLES, *CONSTANTS) if name not in there and name not in skipped]
    unread = [name for name in there if name not in VARIABLES and name not in CONSTANTS]
    notes = [
        f"variable {name!r} is not read; if it is {close[0]!r}, rename it"
        for name in unread
        if (close := difflib.get_close_matches(name, optional, n=1, cutoff=0.85))
    ]
    return chosen, notes


def _meant(missing: Sequence[str], there: Sequence[str]) -> str:
    others = [name for name in there if name not in VARIABLES and name not in CONSTANTS]
    pairs = [(name, difflib.get_close_matches(name, others, n=1, cutoff=0.5)) for name in missing]
    text = ", ".join(f"{close[0]!r} for {name!r}" for name, close in pairs if close)
    return f" (perhaps {text})" if text else ""
