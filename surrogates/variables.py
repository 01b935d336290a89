"""One variable of a dataset as a plain array over given dims, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError
from surrogates.units import Units

Floats = NDArray[np.float64]


def units_of(variable: xr.DataArray) -> Units:
    """``attrs["units"]`` as text, or None."""
    units = variable.attrs.get("units")
    return None if units is None else str(units)


def unmasked(values: ArrayLike) -> NDArray[Any]:
    """As an array; masked entries, which NumPy would unmask, become NaN, or None among labels."""
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    mask = np.ma.getmaskarray(values)
    if not mask.any():
        return np.asarray(values.data)
    if values.dtype.kind in "fiub":
        return np.asarray(np.where(mask, np.nan, values.data.astype(np.float64)))
    labels = np.array(values.data, dtype=object)
    labels[mask] = None
    return labels


def flat(variable: xr.DataArray, sizes: Mapping[str, int]) -> NDArray[Any]:
    """Values over all of `sizes`, raveled."""
    missing = [dim for dim in sizes if dim not in variable.dims]
    values = variable.reset_coords(drop=True).expand_dims({dim: sizes[dim] for dim in missing})
    return np.asarray(values.transpose(*sizes).values).reshape(-1)


def numbers(variable: xr.DataArray, sizes: Mapping[str, int]) -> Floats:
    """`flat`, in double precision.

    Raises
    ------
    DataError
        If the variable doesn't hold numbers.
    """
    require_numbers(variable)
    return flat(variable, sizes).astype(np.float64)


def require_numbers(variable: xr.DataArray) -> None:
    """Refuse texts, times and the like.

    Raises
    ------
    DataError
        If the variable doesn't hold numbers.
    """
    kind = variable.dtype.kind
    if kind not in "fiub" and not (kind == "O" and _is_numeric(variable)):
        raise DataError(
            f"variable {variable.name!r} has dtype {variable.dtype}; numbers are wanted: "
            f"convert it first (a time, for example, to hours since the start)"
        )


def finite(values: Floats, name: str) -> Floats:
    """The same values.

    Raises
    ------
    DataError
        If one of them is NaN or inf.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        first = int(np.argmax(bad))
        raise DataError(
            f"variable {name!r} has {int(bad.sum())} entries that are NaN or inf (first: {values[first]} at row {first} "
            f"of those used); remove these rows or repair the values"
        )
    return values


def _is_numeric(variable: xr.DataArray) -> bool:
    try:
        np.asarray(variable.values, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return True
