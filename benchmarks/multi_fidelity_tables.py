"""Tables of results for several fidelities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from multi_fidelity_cases import COUNTS, MISLEADING

AUTO, IGNORE = "ours:auto", "ours:ignore"


def scores(entries: Sequence[dict[str, Any]], functions: Sequence[str]) -> pd.DataFrame:
    """One row a result, the last one where two runs did the same; failures have NaN scores."""
    table = pd.DataFrame(
        entries, columns=["function", "seed", "method", "nrmse", "nlpd", "coverage", "seconds", "error"]
    )
    return table[table["function"].isin(functions)].drop_duplicates(["function", "seed", "method"], keep="last")


def medians(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Functions by methods: the median over seeds; a failure counts as infinitely bad."""
    filled = table.assign(**{column: table[column].fillna(np.inf)})
    wide = filled.pivot_table(index="function", columns="method", values=column, aggfunc="median", sort=False)
    wide = wide.replace(np.inf, np.nan)
    return wide.reindex([name for name in COUNTS if name in wide.index])


def regrets(table: pd.DataFrame) -> pd.DataFrame:
    """What choosing costs: `auto` against the best of all methods' medians, against "ignore", and seed by seed.

    best : method of the least median; auto/best : ratio of the medians
    auto/ignore : the same against our model without cheap data
    regret 95 % : 95th percentile over seeds of auto's error over the least of our structures' on that seed
    """
    middle = medians(table, "nrmse")
    rows = {}
    for name in middle.index:
        mine = table[table["function"] == name].pivot_table(index="seed", columns="method", values="nrmse")
        structures = [m for m in mine.columns if m.startswith("ours:") and m != AUTO]
        auto = middle.loc[name, AUTO]
        row: dict[str, Any] = {
            "misleads": name in MISLEADING,
            "best": middle.loc[name].idxmin(),
            "auto/best": auto / middle.loc[name].min(),
            "auto/ignore": auto / middle.loc[name, IGNORE] if IGNORE in middle else np.nan,
        }
        if structures:
            both = mine.dropna(subset=[AUTO])
            ratio = both[AUTO] / both[structures].min(axis=1)
            row["regret 95 %"] = float(np.nanpercentile(ratio, 95))
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def tables(entries: Sequence[dict[str, Any]], functions: Sequence[str]) -> str:
    """All tables as text."""
    table = scores(entries, functions)
    if table.empty:
        return "no results"
    seeds = table.groupby("method", sort=False)["seed"].nunique()
    parts = [f"seeds: {', '.join(f'{name} {n}' for name, n in seeds.items())}"]
    titles = {
        "nrmse": "median nRMSE",
        "nlpd": "median NLPD [nats, truth in its standard deviations]",
        "coverage": "median coverage of 95 % intervals",
        "seconds": "median seconds",
    }
    for column, title in titles.items():
        parts.append(f"{title}\n{medians(table, column).to_string(float_format=lambda v: f'{v:.3g}')}")
    covered = table.groupby("method", sort=False)["coverage"].mean()
    parts.append(f"mean coverage over all cases\n{covered.to_string(float_format=lambda v: f'{v:.3f}')}")
    failed = table["error"].notna().groupby(table["method"], sort=False).sum()
    parts.append(f"failures\n{failed.to_string()}")
    if AUTO in set(table["method"]):
        parts.append(f"choosing\n{regrets(table).to_string(float_format=lambda v: f'{v:.3g}')}")
    return "\n\n".join(parts)
