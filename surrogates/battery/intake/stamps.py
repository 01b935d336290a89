"""Time stamps of every kind as nanoseconds, and what their clock is."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from surrogates.errors import DataError

HOUR = 3_600_000_000_000


class Stamps(NamedTuple):
    """The clock of the stamps.

    is_utc : they had a time zone and are now in UTC
    standard_offset : of that zone's standard time [h]; None without a zone, and for UTC, which is no place's own
    """

    is_utc: bool
    standard_offset: float | None


def as_stamps(index: pd.Index[Any]) -> tuple[Stamps, NDArray[np.int64]]:
    """Stamps (n,) in ns since 1970, of datetime64 or of stamps with a time zone.

    Raises
    ------
    DataError
        If they are something else (text, numbers, other calendars), or if some are missing.
    """
    if index.dtype == object and len(index) and all(isinstance(stamp, pd.Timestamp) for stamp in index):
        index = pd.DatetimeIndex(pd.to_datetime(index, utc=index[0].tz is not None)).tz_convert(index[0].tz)
    if not isinstance(index, pd.DatetimeIndex):
        first = repr(index[0]) if len(index) else "nothing"
        raise DataError(
            f"'time' has dtype {index.dtype} (first entry: {first}); datetime64 is expected: convert it by "
            f"pandas.to_datetime, stamps of another calendar by data.convert_calendar('standard', use_cftime=False)"
        )
    if index.hasnans:
        raise DataError(f"'time' has {int(np.sum(index.isna()))} missing stamps; drop these rows")
    if index.tz is None:
        return Stamps(False, None), _nanoseconds(index)
    return Stamps(True, _standard_offset(index.tz, index)), _nanoseconds(index.tz_convert("UTC").tz_localize(None))


def parse_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Stamps of a text file in ISO 8601, with or without an offset from UTC.

    Raises
    ------
    DataError
        For any other way to write a time: 03/04 is March in one country and April in another.
    """
    has_offset = bool(column.astype(str).str.contains(r"(?:Z|[+-]\d{2}:?\d{2})\s*$", regex=True).iloc[:1].any())
    try:
        return pd.to_datetime(column, format="ISO8601", utc=has_offset)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"column 'time' holds {column.iloc[0]!r} in its first row; stamps like '2024-07-01 00:15' (ISO 8601) are "
            f"expected; read the file by pandas.read_csv, convert the column by pandas.to_datetime(..., format=...) "
            f"and give the DataFrame ({error})"
        ) from error


def text_of(stamp: int) -> str:
    """A stamp for a message.

    >>> text_of(0)
    '1970-01-01 00:00'
    """
    seconds = np.datetime64(int(stamp), "ns").astype("datetime64[s]")
    return str(seconds).replace("T", " ").removesuffix(":00")


def _nanoseconds(index: pd.DatetimeIndex) -> NDArray[np.int64]:
    return index.to_numpy().astype("datetime64[ns]").astype(np.int64)


def _standard_offset(zone: tzinfo, index: pd.DatetimeIndex) -> float | None:
    """Of the half of the year whose clocks are behind the other half's."""
    if str(zone) in ("UTC", "UTC+00:00", "Etc/UTC") or not len(index):
        return None
    year = index[0].year
    offsets = [pd.Timestamp(year, month, 1, tz=zone).utcoffset() for month in (1, 7)]
    return min(offset.total_seconds() / 3600 for offset in offsets if offset is not None)
