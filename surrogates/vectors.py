"""Vector inputs: variables with one dim of their own, such as the bits of a molecule's fingerprint.

Many readings share a place (a molecule has many properties), and a vector may be thousands of numbers long; so vectors
are kept once for every place, and a reading holds its place's position.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.units import Units, convert
from surrogates.variables import flat, require_numbers, units_of

Floats = NDArray[np.float64]


class OwnDim(NamedTuple):
    """The dim that a vector input has for itself; None for a plain number, a vector of length one."""

    name: str | None
    size: int


@dataclass(frozen=True, eq=False)
class Vectors:
    """Vector inputs at u places.  values: name -> (u, length), in the variable's own dtype."""

    values: Mapping[str, NDArray[Any]]


def own_dims(dataset: xr.Dataset, names: Collection[str], *, target: str) -> dict[str, OwnDim]:
    """The own dim of every named input: the one that the target doesn't have.

    Raises
    ------
    DataError
        If an input has several such dims, or one of length zero.
    """
    found = {}
    for name in names:
        own = [str(dim) for dim in dataset[name].dims if dim not in dataset[target].dims]
        if len(own) > 1:
            raise DataError(
                f"variable {name!r} has {len(own)} dims that the target {target!r} lacks ({', '.join(map(repr, own))}); "
                f"a vector input may have one: stack them"
            )
        if own and dataset.sizes[own[0]] == 0:
            raise DataError(f"variable {name!r} has no entry along {own[0]!r}; at least one is wanted")
        found[name] = OwnDim(own[0], int(dataset.sizes[own[0]])) if own else OwnDim(None, 1)
    return found


def require_own_dims(dataset: xr.Dataset, known: Mapping[str, OwnDim], others: Collection[str | None]) -> None:
    """Refuse vectors that aren't those of the fit.

    Parameters
    ----------
    dataset : the request
    known : own dims at the fit
    others : names of variables that mustn't have these dims

    Raises
    ------
    DataError
        If such a dim is missing or of another length, or one of `others` runs along it.
    """
    for name, (dim, size) in known.items():
        if dim is None:
            continue
        if dim not in dataset[name].dims:
            raise DataError(
                f"variable {name!r} has the dims {tuple(map(str, dataset[name].dims))}; at the fit it had one of its own, "
                f"{dim!r} of length {size}: rename the dim, or give the whole vector"
            )
        if dataset.sizes[dim] != size:
            raise DataError(
                f"variable {name!r} has length {dataset.sizes[dim]} along {dim!r}, and had {size} at the fit; "
                f"make it in the same way as the fit's"
            )
        along = [other for other in others if other in dataset.variables and dim in dataset[other].dims]
        if along:
            raise DataError(f"variable {along[0]!r} runs along {dim!r}, which is the vector input {name!r}'s own")


def gather(
    dataset: xr.Dataset,
    own: Mapping[str, OwnDim],
    sizes: Mapping[str, int],
    units: Mapping[str, Units],
    keep: NDArray[np.bool_],
) -> tuple[Vectors, Floats]:
    """The vectors of all places in use, and each kept row's place.

    Parameters
    ----------
    dataset : with the vector inputs
    own : their own dims
    sizes : of the dims that rows are stacked from
    units : wanted ones, by name
    keep : (rows,) those that are used

    Returns
    -------
    vectors of u places, and their positions (n, 1), as numbers: the only column that a row needs

    Raises
    ------
    DataError
        If an entry in use isn't a finite number.
    UnitsError
        If units can't be converted.
    """
    dims = {str(dim) for name in own for dim in dataset[name].dims} - {dim for dim, _ in own.values()}
    base = {dim: size for dim, size in sizes.items() if dim in dims}
    count = int(np.prod(list(base.values()), dtype=np.int64))
    everywhere = xr.DataArray(np.arange(count).reshape(tuple(base.values())), dims=[*base])
    used, position = np.unique(flat(everywhere, sizes)[keep], return_inverse=True)
    values = {}
    for name, (dim, size) in own.items():
        variable = dataset[name]
        require_numbers(variable)
        block = flat(variable, base if dim is None else {**base, dim: size}).reshape(-1, size)[used]
        if block.dtype.kind not in "fiub":
            block = block.astype(np.float64)
        _require_finite(block, name, dim)
        wanted, found = units[name], units_of(variable)
        values[name] = block if wanted == found else convert(block.astype(np.float64), name, found=found, wanted=wanted)
    return Vectors(values), position.reshape(-1, 1).astype(np.float64)


def _require_finite(block: NDArray[Any], name: str, dim: str | None) -> None:
    bad = ~np.isfinite(block)
    if bad.any():
        place, entry = np.argwhere(bad)[0]
        where = f"place {place}" if dim is None else f"place {place}, {dim} {entry}"
        raise DataError(
            f"variable {name!r} has {int(bad.sum())} entries that are NaN or inf (first: {block[place, entry]} at {where} "
            f"of those used); remove these places, or repair the values"
        )
