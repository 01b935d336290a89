"""Tables in and out of files: CSV, TSV, Excel's, Parquet and NetCDF, by the ending of their names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from surrogates.errors import DataError

READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    # else pandas takes the first of too many cells for names of rows, without a word
    ".csv": lambda path: pd.read_csv(path, index_col=False),
    ".tsv": lambda path: pd.read_table(path, index_col=False),
    ".xlsx": pd.read_excel,
    ".parquet": pd.read_parquet,
}
SEPARATORS = "columns of a .csv are separated by commas, those of a .tsv by tabs: save it so"
NETCDF = (".nc", ".nc4", ".h5")


def read_table(path: Path, units: Mapping[str, str] | None = None) -> xr.Dataset:
    """The table in a file, with units of its columns.

    Raises
    ------
    DataError
        If there is no such file, its ending says nothing, it can't be read, is empty, or units name no column.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the name")
    ending = path.suffix.lower()
    if ending not in READERS and ending not in NETCDF:
        raise DataError(f"{path.name} ends in {ending!r}; tables end in one of {[*READERS, *NETCDF]}")
    try:
        if ending in NETCDF:
            with xr.open_dataset(path) as opened:
                data = opened.load()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                data = _without_index(READERS[ending](path))
    except ImportError as error:
        raise DataError(f"{path.name} needs a further package to be read: {error}") from error
    except pd.errors.ParserWarning as error:
        raise DataError(f"{path.name} has rows of more cells than its header; {SEPARATORS}") from error
    except (ValueError, OSError, pd.errors.ParserError) as error:
        raise DataError(f"{path.name} can't be read as a table: {error}") from error
    if not data.data_vars or not all(data.sizes.values()):
        raise DataError(f"{path.name} has no rows; a table with a header and at least one row is wanted")
    for name, unit in (units or {}).items():
        if name not in data.variables:
            raise DataError(f"units name {name!r}, which isn't a column of {path.name}: {_shown(data)}")
        data[name].attrs["units"] = unit
    return data


def require_columns(data: xr.Dataset, names: Sequence[str], path: Path) -> None:
    """Refuse a table that lacks columns.

    Raises
    ------
    DataError
        If one isn't there.
    """
    for name in names:
        if name not in data.variables:
            alone = len(data.variables) == 1 and any(mark in str(next(iter(data.variables))) for mark in ";\t")
            hint = f"; {SEPARATORS}" if alone else ""
            raise DataError(f"{path.name} has no column {name!r}; it has {_shown(data)}{hint}")


def write_table(answer: xr.Dataset, path: Path | None) -> None:
    """Predictions as CSV into a file, or onto the screen; as NetCDF, with units, where the file's name says so.

    Numbers of rows, along dims without a coordinate, say nothing and are left out of a CSV.
    """
    if path is not None and path.suffix.lower() in NETCDF:
        answer.to_netcdf(path)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of coordinates without a dim, which become columns like the others
        frame = answer.to_dataframe().reset_index()
    text = frame.drop(columns=[dim for dim in answer.dims if dim not in answer.variables]).to_csv(None, index=False)
    if path is None:
        print(text, end="")
    else:
        path.write_text(text, encoding="utf-8")


def require_folder(path: Path | None) -> None:
    """Refuse a file that couldn't be written in the end, before the work that it is for is done.

    Raises
    ------
    DataError
        If its folder doesn't exist, or it is one itself.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        what = "it is a folder" if path.is_dir() else f"there is no folder {path.absolute().parent}; make it first"
        raise DataError(f"{path} can't be written: {what}")


def _without_index(frame: pd.DataFrame) -> xr.Dataset:
    """The columns of a table along ``row``, or another name where a column is called that."""
    dim = "row"
    while dim in frame.columns:
        dim += "_"
    return xr.Dataset.from_dataframe(frame.rename_axis(index=dim)).drop_vars(dim)


def _shown(data: xr.Dataset) -> str:
    names = [str(name) for name in data.variables]
    return ", ".join(map(repr, names[:20])) + (" ..." if len(names) > 20 else "")
