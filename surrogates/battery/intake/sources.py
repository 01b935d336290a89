"""Datasets, DataFrames and CSV files as rows of each unit, before anything is judged or converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .names import CONSTANTS, VARIABLES, choose, listed
from .stamps import Stamps, as_stamps, parse_text

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
#: label of a single unit that has none
ALONE = "unit"


@dataclass(frozen=True, eq=False)
class Source:
    """Rows of U units as they were given; n_u of unit u.

    unit : U labels
    time : of each unit (n_u,), ns since 1970, in UTC or in the data's own clock as `stamps` says
    values : of each variable, for each unit (n_u,)
    constants : (U,) of every name in CONSTANTS, NaN where it isn't given
    units, fill : of each variable, as stated; None where nothing is
    kind : "dataset", "frame" or "file", for remedies
    """

    unit: tuple[str, ...]
    time: tuple[Integers, ...]
    stamps: Stamps
    values: Mapping[str, tuple[Floats, ...]]
    constants: Mapping[str, Floats]
    units: Mapping[str, str | None]
    fill: Mapping[str, float | None]
    kind: str
    notes: tuple[str, ...]

    def state_units(self, name: str, units: str) -> str:
        """The line of code that states units."""
        if self.kind == "dataset":
            return f"set data[{name!r}].attrs['units'] = {units!r}"
        if self.kind == "file":
            return f"name the column '{name} [{units}]'"
        return f"set data.attrs['units'] = {{{name!r}: {units!r}}}"


def open_source(data: xr.Dataset | pd.DataFrame | str | Path, *, need_indoor: bool) -> Source:
    """Rows of each unit; see `read` for what is understood."""
    if isinstance(data, xr.Dataset):
        return _from_dataset(data, need_indoor)
    if isinstance(data, pd.DataFrame):
        return _from_frame(data, need_indoor, "frame")
    if isinstance(data, str | Path):
        return _from_frame(_read_csv(Path(data)), need_indoor, "file")
    raise DataError(
        f"the data are a {type(data).__name__}; an xarray.Dataset over (unit, time), a pandas.DataFrame or the path of "
        f"a CSV file is expected"
    )


def has_unit_dim(data: xr.Dataset | pd.DataFrame | str | Path) -> bool:
    """Whether units come along a dim or a column of their own."""
    if isinstance(data, xr.Dataset):
        return "unit" in data.dims
    if isinstance(data, pd.DataFrame):
        return "unit" in data.columns or "unit" in data.index.names
    return "unit" in pd.read_csv(data, nrows=0, sep=_separator(Path(data))).columns


def _from_dataset(data: xr.Dataset, need_indoor: bool) -> Source:
    names, notes = choose([str(name) for name in data.variables], need_indoor=need_indoor, kind="dataset")
    if "time" not in data.dims or "time" not in data.coords:
        raise DataError(
            f"the data have no coordinate 'time' with a dim of its own (dims: {dict(data.sizes)}); "
            f"rename the dim: data.rename(...), or give its stamps: data.assign_coords(time=...)"
        )
    raw = data["unit"].values if "unit" in data.coords else np.arange(data.sizes.get("unit", 1))
    has_labels = "unit" in data.coords or "unit" in data.dims
    unit = _labels(np.atleast_1d(raw).tolist()) if has_labels else (ALONE,)
    stamps, time = as_stamps(data.indexes["time"])
    values = {name: _rows(data, name, len(unit)) for name in names}
    attrs = {name: data[name].attrs for name in (*names, *(n for n in CONSTANTS if n in data.variables))}
    return Source(
        unit,
        (time,) * len(unit),
        stamps,
        values,
        {name: _constant(data, name, unit) for name in CONSTANTS},
        {name: None if "units" not in own else str(own["units"]) for name, own in attrs.items()},
        {name: _fill_value(own) for name, own in attrs.items()},
        "dataset",
        tuple(notes),
    )


def _rows(data: xr.Dataset, name: str, units: int) -> tuple[Floats, ...]:
    """A variable over (unit, time) or (time,), for each unit."""
    variable = data[name]
    if not {"time"} <= set(variable.dims) <= {"unit", "time"}:
        sizes = {str(dim): data.sizes[dim] for dim in variable.dims}
        raise DataError(
            f"variable {name!r} runs along {sizes}; (unit, time) or (time,) of size {data.sizes['time']} is expected; "
            f"bring it to the common time axis first, for example: data[{name!r}].rename(...).interp(time=data.time)"
        )
    array = _floats(variable.values, name)
    if "unit" in variable.dims:
        return tuple(array if variable.dims == ("unit", "time") else np.ascontiguousarray(array.T))
    if units > 1 and not VARIABLES[name].is_shared:
        raise DataError(f"variable {name!r} has no dim 'unit', but there are {units} units; give each unit its own")
    return (array,) * units


def _constant(data: xr.Dataset, name: str, unit: tuple[str, ...]) -> Floats:
    if name not in data.variables:
        return np.full(len(unit), _number(data.attrs.get(name, np.nan), name))
    variable = data[name]
    if not set(variable.dims) <= {"unit", "time"}:
        raise DataError(f"{name!r} runs along {tuple(map(str, variable.dims))}; give one number, or one for each unit")
    array = _floats(variable.transpose(..., "time").values if "time" in variable.dims else variable.values, name)
    rows = array.reshape(-1, data.sizes["time"] if "time" in variable.dims else 1)
    return np.broadcast_to(_single(list(rows), name, unit), (len(unit),)).copy()


def _single(rows: list[Floats], name: str, unit: tuple[str, ...]) -> Floats:
    """The one number that each row repeats."""
    found = np.full(len(rows), np.nan)
    for u, row in enumerate(rows):
        known = row[~np.isnan(row)]
        if known.size and known.min() != known.max():
            raise DataError(
                f"{name!r} of unit {unit[u]!r} changes with time ({known.min():g} to {known.max():g}); "
                f"give one number for each unit"
            )
        found[u] = known[0] if known.size else np.nan
    return found


def _from_frame(frame: pd.DataFrame, need_indoor: bool, kind: str) -> Source:
    frame, units = _flat_columns(frame)
    names, notes = choose([str(name) for name in frame.columns], need_indoor=need_indoor, kind=kind)
    if frame.empty:
        raise DataError("the data have no row")
    if "unit" in frame.columns:
        if frame["unit"].isna().any():
            raise DataError(f"column 'unit' lacks {int(frame['unit'].isna().sum())} labels; every row needs one")
        code, labels = pd.factorize(frame["unit"])
        unit = _labels(list(labels))
    else:
        code, unit = np.zeros(len(frame), dtype=np.int64), (ALONE,)
    stamps, time = as_stamps(pd.Index(frame["time"]))
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(unit)))[:-1]

    def split(column: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        return tuple(np.split(column[order], ends))

    constants = {}
    for name in CONSTANTS:
        if name in frame.columns:
            constants[name] = _single(list(split(_column(frame, name))), name, unit)
        else:
            constants[name] = np.full(len(unit), _number(frame.attrs.get(name, np.nan), name))
    values = {name: split(_column(frame, name)) for name in names}
    known = {name: units.get(name) for name in (*names, *CONSTANTS)}
    fill = dict.fromkeys(known)
    return Source(unit, split(time), stamps, values, constants, known, fill, kind, tuple(notes))


def _flat_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Columns with ``time`` among them; units out of ``attrs["units"]`` and out of names such as 'power [W]'."""
    attrs = dict(frame.attrs)
    if isinstance(frame.index, pd.DatetimeIndex) and "time" not in frame.columns:
        frame = frame.rename_axis("time").reset_index()
    elif isinstance(frame.index, pd.MultiIndex) or frame.index.name in {"unit", "time"} - set(frame.columns):
        frame = frame.reset_index()
    stated = attrs.get("units", {})
    if not isinstance(stated, Mapping):
        raise DataError(f"data.attrs['units'] is {stated!r}; a mapping from columns to units is expected")
    units = {str(name): str(text) for name, text in stated.items()}
    renamed = {}
    for column in map(str, frame.columns):
        name, bracket, rest = column.partition("[")
        if bracket and rest.rstrip().endswith("]") and name.strip() in (*VARIABLES, *CONSTANTS):
            renamed[column] = name.strip()
            units[name.strip()] = rest.rstrip()[:-1].strip()
    frame = frame.rename(columns=renamed)
    frame.attrs = attrs
    if "time" not in frame.columns:
        raise DataError(
            f"the table has no column 'time' and no DatetimeIndex; its columns are {sorted(map(str, frame.columns))}; "
            f"rename the column of the stamps to 'time'"
        )
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"the table has the columns {listed(map(str, twice))} twice; drop one of each")
    return frame, units


def _read_csv(path: Path) -> pd.DataFrame:
    if path.suffix.lower() not in (".csv", ".txt", ".tsv", ".gz"):
        raise DataError(f"{path.name!r} isn't a CSV file; open it yourself, for example by xarray.open_dataset")
    frame = pd.read_csv(path, sep=_separator(path))
    if "time" in frame.columns:
        frame["time"] = parse_text(frame["time"])
    return frame


def _separator(path: Path) -> str:
    head = "".join(map(str, pd.read_csv(path, nrows=0, sep="\t").columns))
    return "\t" if path.suffix.lower() == ".tsv" else ";" if head.count(";") > head.count(",") else ","


def _column(frame: pd.DataFrame, name: str) -> Floats:
    column = frame[name]
    if isinstance(column.dtype, pd.api.extensions.ExtensionDtype) and pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return _floats(column.to_numpy(), name)


def _floats(values: NDArray[Any], name: str) -> Floats:
    try:
        if values.dtype.kind in "mMUS":
            raise TypeError
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"variable {name!r} has dtype {values.dtype}; numbers are wanted: convert it first "
            f"(decimal commas: pandas.read_csv(..., decimal=','); other text: pandas.to_numeric)"
        ) from error


def _number(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"attrs[{name!r}] is {value!r}; a number is expected") from error


def _fill_value(attrs: Mapping[Any, Any]) -> float | None:
    for key in ("_FillValue", "missing_value"):
        if key in attrs:
            mark = _number(attrs[key], key)
            return None if np.isnan(mark) else mark  # NaN is missing anyhow, and marks no number
    return None


def _labels(raw: list[Any]) -> tuple[str, ...]:
    """Labels as text, each once."""
    labels = tuple(map(str, raw))
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise DataError(f"unit labels {listed(twice)} stand twice; every unit needs a label of its own")
    return labels
