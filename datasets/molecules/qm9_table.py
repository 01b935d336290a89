"""QM9's table as qm9pack ships it: three text files, read by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from .sources import package_folder, read_columns

PARTS = (1, 2, 3)


def read_qm9_columns(columns: Mapping[str, str], *, numbers: Sequence[str] = ()) -> pd.DataFrame:
    """All rows of QM9, in the order of the files.

    Parameters
    ----------
    columns : new name -> name in the files
    numbers : those of the new names that are numbers (float64); all others are text

    Raises
    ------
    MissingExtraError
        If qm9pack isn't installed.
    FileFormatError
        If a file is missing or damaged.
    """
    folder = package_folder("qm9pack") / "data"
    parts = [
        read_columns(folder / f"qm9_part{k}.csv", list(columns.values()), numbers=[columns[name] for name in numbers])
        for k in PARTS
    ]
    return pd.concat(parts, ignore_index=True).rename(columns={old: new for new, old in columns.items()})
