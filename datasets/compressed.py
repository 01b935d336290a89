"""Data sets that come with the library: gzipped NetCDF of a format that the file names."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from pathlib import Path

import xarray as xr

from surrogates.errors import DataError, FileFormatError


def write_compressed(path: Path | str, data: xr.Dataset) -> None:
    """Write `data`, whose attribute ``format`` names its layout; the same data give the same bytes."""
    Path(path).write_bytes(gzip.compress(bytes(data.to_netcdf(engine="scipy")), 9, mtime=0))


def read_compressed(path: Path | str, *, kind: str, layout: str, remedy: str) -> xr.Dataset:
    """A file of `write_compressed`.

    Parameters
    ----------
    kind : what the file holds, in words, for messages
    layout : the ``format`` that is expected
    remedy : what to do about a bad file, in words

    Raises
    ------
    DataError
        If there is no such file.
    FileFormatError
        If it is damaged or something else.
    """
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; {remedy}") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileFormatError(f"{path} is damaged or no {kind} ({error}); {remedy}") from error
    try:
        with xr.open_dataset(BytesIO(content), engine="scipy") as opened:
            data = opened.load()
    except (ValueError, TypeError, OSError, KeyError, IndexError) as error:
        raise FileFormatError(f"{path} holds no readable NetCDF ({error}); {remedy}") from error
    if data.attrs.get("format") != layout:
        raise FileFormatError(f"{path} has the format {data.attrs.get('format')!r}, not {layout!r}; {remedy}")
    return data
