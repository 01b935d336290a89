"""Tables of the study of few labels, from its records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from surrogates.metrics import mean_rank, relative_change

Record = Mapping[str, Any]
OURS = "ours"
RIVALS = (
    "ours, single",
    "ours, shared",
    "random forest",
    "chemprop",
    "processes, single",
    "network, single",
    "network, shared",
)
SETTING = ["split", "data", "labels"]


def tables(records: Iterable[Record]) -> str:
    """All tables as text: changes of the error, ranks, errors, coverage, seconds."""
    frame = long(records)
    if frame.empty:
        return "no records"
    parts = [
        (
            "mean change of the error against ... [%], mean over properties ± standard error over seeds (seeds)",
            _changes(frame),
        ),
        ("mean rank among the methods that all seeds have (seeds)", _ranks(frame)),
        ("error in standard deviations of the test labels, mean over properties and seeds", _means(frame, "relative")),
        ("share of test labels within 90 % intervals, mean over properties and seeds", _means(frame, "coverage")),
        ("the same, properties between 85 and 95 % (mean over seeds), of all", _within(frame)),
        ("coverage of ours by property", _by_property(frame)),
        ("seconds of a run, median over seeds", _seconds(frame)),
    ]
    return "\n\n".join(f"{title}\n\n{table.to_string(na_rep='')}" for title, table in parts if not table.empty)


def long(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each record and property."""
    keys = [*SETTING, "seed", "method", "seconds"]
    rows = [
        {**{key: record[key] for key in keys}, "property": name, **entry}
        for record in records
        for name, entry in record["properties"].items()
    ]
    return pd.DataFrame(rows).astype({"coverage": float}) if rows else pd.DataFrame()


def paired(frame: pd.DataFrame, method: str, reference: str) -> NDArray[np.float64]:
    """relative_change of a method against another, of each seed that both have, by the properties that both have."""
    changes = []
    for _, group in frame.groupby("seed"):
        wide = group.pivot(index="property", columns="method", values="mae")
        if {method, reference} <= set(wide):
            both = wide[[method, reference]].dropna()
            changes.append(float(relative_change(both[method], both[reference])))
    return np.array(changes)


def standard_error(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Of a mean; NaN of fewer than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def ranks(frame: pd.DataFrame) -> pd.Series:
    """Mean rank of each method over properties and seeds, of one setting; methods that lack a seed are left out."""
    wide = frame.pivot_table(index="method", columns=["seed", "property"], values="mae").dropna()
    return pd.Series(mean_rank(wide.to_numpy()), wide.index)


def _changes(frame: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for setting, group in frame.groupby(SETTING):
        cells = {}
        for rival in RIVALS:
            values = 100 * paired(group, OURS, rival)
            if len(values):
                cells[rival] = f"{values.mean():+.1f} ± {standard_error(values):.1f} ({len(values)})"
        rows[setting] = cells
    return _framed(rows)


def _ranks(frame: pd.DataFrame) -> pd.DataFrame:
    rows = {}
    for setting, group in frame.groupby(SETTING):
        rows[setting] = ranks(group).round(2).to_dict() | {"seeds": group["seed"].nunique()}
    return _framed(rows)


def _means(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.groupby([*SETTING, "method"])[column].mean().unstack().dropna(axis=1, how="all").round(3)


def _within(frame: pd.DataFrame) -> pd.DataFrame:
    mean = frame.groupby([*SETTING, "method", "property"])["coverage"].mean().dropna()
    inside = ((mean >= 0.85) & (mean <= 0.95)).groupby([*SETTING, "method"]).agg(["sum", "size"])
    texts = inside.apply(lambda row: f"{row['sum']} of {row['size']}", axis=1)
    return texts.unstack() if len(texts) else pd.DataFrame()


def _by_property(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame[frame["method"] == OURS]
    return own.groupby(["split", "data", "property", "labels"])["coverage"].mean().unstack().round(3)


def _seconds(frame: pd.DataFrame) -> pd.DataFrame:
    each = frame.drop_duplicates([*SETTING, "seed", "method"])
    return each.groupby([*SETTING, "method"])["seconds"].median().unstack().round(1)


def _framed(rows: Mapping[Any, Mapping[Any, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.values()), pd.MultiIndex.from_tuples(rows, names=SETTING))
