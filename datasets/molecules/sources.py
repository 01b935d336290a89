"""Tables that come inside Python packages: found without importing the package, read with clear errors."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from surrogates.errors import FileFormatError, MissingExtraError

EXTRA = 'pip install "multitask-surrogates[molecule-data]"'


def package_folder(package: str, remedy: str = EXTRA) -> Path:
    """Folder of an installed top-level package, which isn't imported: some of them import much that isn't needed here.

    Raises
    ------
    MissingExtraError
        If the package isn't installed; the message tells the `remedy`.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"{package} is not installed, whose tables are read here; install it with: {remedy}")
    return Path(spec.submodule_search_locations[0])


def package_version(package: str) -> str:
    """The version of an installed package, 'unknown' where it has no metadata."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def read_columns(
    path: Path, columns: Sequence[str], *, separator: str = ",", numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Columns of a text table; those in `numbers` as float64, all others as text (empty where nothing stands).

    Raises
    ------
    FileFormatError
        If the file is missing, unreadable, without one of the columns, or holds text where numbers are expected.
    """
    try:
        table = pd.read_csv(path, sep=separator, usecols=list(columns), dtype=str, keep_default_na=False)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise FileFormatError(
            f"{path} can't be read: {' '.join(str(error).split())}; a text table with the columns {', '.join(columns)} is "
            "expected, so the package is damaged or of another version than this library knows: install it again"
        ) from error
    for name in numbers:
        numeric = pd.to_numeric(table[name].replace("", "nan"), errors="coerce")
        wrong = numeric.isna() & ~table[name].str.strip().str.lower().isin(["", "nan", "none"])
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise FileFormatError(
                f"{path}, column {name!r}, row {row}: found {table[name].iloc[row]!r}, expected a number; the file is "
                "damaged: install its package again"
            )
        table[name] = numeric.astype("float64")
    return table[list(columns)]
