"""Units of variables: compare them, and convert where pint is installed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import UnitsError

#: Units as they stand in ``attrs["units"]``; None where a variable has none.
Units = str | None


def convert(values: NDArray[np.float64], name: str, *, found: Units, wanted: Units) -> NDArray[np.float64]:
    """Values of variable `name` expressed in `wanted` units.

    Equal units pass unchanged and need nothing. Different ones are converted by pint.

    Parameters
    ----------
    values : array of any shape
    name : the variable, for messages
    found, wanted : units as text, or None for a variable without units

    Raises
    ------
    UnitsError
        If one side has units and the other has none, if the two aren't compatible, or if they differ and pint is not
        installed.

    Examples
    --------
    >>> convert(np.array([1.5]), "x", found="m", wanted="mm")
    array([1500.])
    """
    if found == wanted:
        return values
    if wanted is None:
        raise UnitsError(
            f"variable {name!r} is in {found!r}, but the model was fitted on data without units; "
            f"drop attrs['units'] from {name!r}, or fit again on data with units"
        )
    if found is None:
        raise UnitsError(
            f"variable {name!r} has no units, but the model knows it in {wanted!r}; "
            f"set data[{name!r}].attrs['units'] = {wanted!r} (or the units it really is in)"
        )
    try:
        import pint
    except ImportError:
        raise UnitsError(
            f"variable {name!r} is in {found!r}, wanted {wanted!r}; convert it before the call, "
            f'or install pint to have it converted: pip install "multitask-surrogates[units]"'
        ) from None
    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        quantity = registry.Quantity(values, found)
        converted = quantity.to(wanted).magnitude
    except (pint.errors.PintError, AttributeError, ValueError, TypeError) as error:
        raise UnitsError(
            f"variable {name!r} is in {found!r}, which can't be converted to {wanted!r} ({error}); "
            f"correct attrs['units'] or convert it before the call"
        ) from error
    return np.asarray(converted, dtype=np.float64)
