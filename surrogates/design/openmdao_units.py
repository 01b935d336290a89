"""Units as OpenMDAO spells them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from surrogates.errors import UnitsError
from surrogates.units import Units

#: spellings of what has no unit
NONE = {"", "1", "-", "dimensionless", "unitless", "none"}
#: names that are common in data, and OpenMDAO's; all others are taken as they are, if OpenMDAO knows them
SPELLINGS = {
    "°C": "degC",
    "celsius": "degC",
    "degree_Celsius": "degC",
    "°F": "degF",
    "fahrenheit": "degF",
    "kelvin": "degK",
    "K": "degK",
    "%": "percent",
    "°": "deg",
    "degree": "deg",
    "degrees": "deg",
    "radian": "rad",
    "hour": "h",
    "hours": "h",
    "hr": "h",
    "minute": "min",
    "second": "s",
    "sec": "s",
    "day": "d",
    "kWh": "kW*h",
    "Wh": "W*h",
    "MWh": "MW*h",
    "l": "L",
    "liter": "L",
    "litre": "L",
    "meter": "m",
    "metre": "m",
    "millimeter": "mm",
    "micrometer": "um",
    "micron": "um",
    "µm": "um",  # micro sign
    "μm": "um",  # Greek letter
    "µs": "us",
    "μs": "us",
    "Ω": "ohm",
    "Ohm": "ohm",
}
#: units of differences, where those of values have a zero of their own
DIFFERENCES = {"degC": "degK", "degF": "degR"}
WORD = re.compile(r"[^\W\d_][\w]*|[°%][A-Z]?|°")


def openmdao_units(
    units: Units, name: str, *, given: Mapping[str, str | None], differences: bool = False
) -> str | None:
    """What OpenMDAO calls the units of variable `name`; None for none.

    Parameters
    ----------
    given : how OpenMDAO calls the very same units, by variable; it takes precedence
    differences : whether values are differences or spreads, to which a scale's zero doesn't belong (degC and degF)

    Raises
    ------
    UnitsError
        If OpenMDAO doesn't know them.

    Examples
    --------
    >>> openmdao_units("W/m^2", "flux", given={}), openmdao_units("degC", "std", given={}, differences=True)
    ('W/m**2', 'degK')
    """
    from openmdao.utils.units import valid_units

    if name in given:
        found = given[name]
        if found is not None and not _is_known(valid_units, found):
            raise UnitsError(
                f"units[{name!r}] is {found!r}, which OpenMDAO doesn't know; give one of its own, such as 'mm'"
            )
    elif units is None or units.strip().lower() in NONE:
        found = None
    else:
        found = _spelt(units)
        if not _is_known(valid_units, found):
            raise UnitsError(
                f"variable {name!r} is in {units!r}, which OpenMDAO doesn't know; say how OpenMDAO calls it by "
                f"units={{{name!r}: ...}} (None for no units), or fit on data in units that it knows"
            )
    return DIFFERENCES.get(found, found) if differences and found is not None else found


def _spelt(units: str) -> str:
    """Powers as ``**``, products as ``*``, and names as OpenMDAO has them."""
    if units.strip() in SPELLINGS:
        return SPELLINGS[units.strip()]
    text = units.replace("^", "**").replace("·", "*").replace("²", "**2").replace("³", "**3")
    text = re.sub(r"(?<=[\w)])\s+(?=[A-Za-z(])", "*", text.strip()).replace(" ", "")
    return WORD.sub(_in_product, text)


def _in_product(word: re.Match[str]) -> str:
    """A name inside a product or quotient, in brackets where OpenMDAO spells it as a product."""
    spelt = SPELLINGS.get(word[0], word[0])
    return f"({spelt})" if "*" in spelt else spelt


def _is_known(valid_units: object, text: str) -> bool:
    assert callable(valid_units)
    try:
        return bool(valid_units(text))
    except (SyntaxError, TypeError, ValueError):  # from its parser
        return False
