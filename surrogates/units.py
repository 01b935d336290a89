"""Units of variables: compare them, and convert where pint is installed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import UnitsError

#: Units as they stand in ``attrs["units"]``; None where a variable has none.
Units = str | None


def convert(
    values: NDArray[np.float64], name: str, *, found: Units, wanted: Units, differences: bool = False
) -> NDArray[np.float64]:
    """Values of variable `name` expressed in `wanted` units.

    Equal units pass unchanged and need nothing. Different ones are converted by pint.

    Parameters
    ----------
    values : array of any shape
    name : the variable, for messages
    found, wanted : units as text, or None for a variable without units
    differences : the values are differences or spreads, for which scales with different zeros (K and degC) differ by
        their degrees alone

    Raises
    ------
    UnitsError
        If one side has units and the other has none, if the two aren't compatible, or if they differ and pint is not
        installed.

    Examples
    --------
    >>> convert(np.array([1.5]), "x", found="m", wanted="mm")
    array([1500.])
    >>> convert(np.array([1.5]), "std", found="K", wanted="degC", differences=True)
    array([1.5])
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
    quantity = pint.get_application_registry().Quantity  # type: ignore[no-untyped-call]
    try:
        if differences:
            scale = (quantity(1.0, wanted) - quantity(0.0, wanted)).units
            converted = (quantity(values, found) - quantity(0.0, found)).to(scale).magnitude
        else:
            converted = quantity(values, found).to(wanted).magnitude
    except Exception as error:  # pint's parser lets AssertionError, TokenError and others through
        raise UnitsError(
            f"variable {name!r} is in {found!r}, which can't be converted to {wanted!r} ({error}); "
            f"correct attrs['units'] or convert it before the call"
        ) from error
    return np.asarray(converted, dtype=np.float64)
