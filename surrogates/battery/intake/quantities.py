"""Numbers in the library's units: what stands for "missing", what is converted, and what can't be true."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, UnitsError
from surrogates.units import convert

from .names import VARIABLES, units_text
from .sources import Source
from .stamps import text_of

Floats = NDArray[np.float64]
#: at and below it a value is a logger's mark for "missing"
SENTINEL = -999.0
#: by dimension: units as they are written (without blanks, ^ and *), and value in ours = factor * value + offset
KNOWN: dict[str, dict[str, tuple[float, float]]] = {
    "power": {"W": (1e-3, 0.0), "kW": (1.0, 0.0), "MW": (1e3, 0.0)},
    "energy": {  # in kWh: of an interval, which its length turns into a mean power
        "Wh": (1e-3, 0.0), "kWh": (1.0, 0.0), "MWh": (1e3, 0.0),
        "J": (1 / 3.6e6, 0.0), "kJ": (1 / 3.6e3, 0.0), "MJ": (1 / 3.6, 0.0),
    },
    "temperature": {
        **dict.fromkeys(("degC", "°C", "C", "celsius", "Celsius", "deg_C", "degree_Celsius"), (1.0, 0.0)),
        **dict.fromkeys(("degF", "°F", "F", "fahrenheit", "Fahrenheit", "deg_F"), (5 / 9, -160 / 9)),
        **dict.fromkeys(("K", "kelvin", "Kelvin"), (1.0, -273.15)),
    },
    "irradiance": {
        **dict.fromkeys(("W/m2", "Wm-2", "W/m²"), (1.0, 0.0)), **dict.fromkeys(("kW/m2", "kWm-2", "kW/m²"), (1e3, 0.0)),
    },
    "humidity": {
        **dict.fromkeys(("g/kg", "gkg-1"), (1.0, 0.0)), **dict.fromkeys(("kg/kg", "kgkg-1", "1", "g/g"), (1e3, 0.0)),
    },
}  # fmt: skip


class Limits(NamedTuple):
    """Smallest and largest value that can be true, in the library's units; below 0 down to `rounding` counts as 0."""

    low: float
    high: float
    rounding: float = 0.0


LIMITS = {
    "temperature": Limits(-60.0, 80.0, -np.inf),
    "irradiance": Limits(-20.0, 2000.0, -20.0),  # pyranometers read a little below zero at night
    "humidity": Limits(0.0, 60.0),
}


class Clean(NamedTuple):
    """values : of each variable, for each unit (n_u,), in the library's units, NaN where missing
    is_energy : whether `power` still holds kWh per interval
    """

    values: dict[str, tuple[Floats, ...]]
    is_energy: bool
    rated_power: Floats  # (U,) [kW], NaN where it isn't given


def clean(source: Source, notes: list[str]) -> Clean:
    """Values in the library's units; what was taken as missing goes to `notes`.

    Raises
    ------
    UnitsError
        Units of another dimension, or none where the numbers look like other units than the documented ones.
    DataError
        inf, temperatures outside -60 .. 80 degC, negative power and the like, with the first stamp.
    """
    values: dict[str, tuple[Floats, ...]] = {}
    is_energy = False
    for name, rows in source.values.items():
        present = _without_marks(source, name, rows, notes)
        units = source.units[name]
        if units is None:
            _check_plausible(source, name, present)
            converted = present
        else:
            converted, energy = zip(*(_converted(row, name, units) for row in present), strict=True)
            is_energy = is_energy or any(energy)
        values[name] = tuple(
            _within_limits(source, name, row, source.time[u], source.unit[u]) for u, row in enumerate(converted)
        )
    return Clean(values, is_energy, _rated_power(source))


def power_scale(rows: Floats) -> float:
    """The 99.5 % quantile of the known rows, which an outlier doesn't move; NaN without any."""
    known = rows[np.isfinite(rows)]
    return float(np.quantile(known, 0.995)) if known.size else np.nan


def _without_marks(source: Source, name: str, rows: tuple[Floats, ...], notes: list[str]) -> tuple[Floats, ...]:
    """Marks for "missing" as NaN: the stated fill value, or everything from -999 downwards where none is stated."""
    fill = source.fill[name]
    done, marked, count = [], [], 0
    for u, row in enumerate(rows):
        mark = row <= SENTINEL if fill is None else row == fill
        mark &= np.isfinite(row)
        if mark.any():
            marked.append(source.unit[u])
            count += int(mark.sum())
            row = np.where(mark, np.nan, row)
        done.append(row)
    if marked:
        what = f"from {SENTINEL:g} downwards" if fill is None else f"equal to the fill value {fill:g}"
        notes.append(f"{name!r}: {count} values {what} were taken as missing ({units_text(marked, source.unit)})")
    return tuple(done)


def _converted(row: Floats, name: str, units: str) -> tuple[Floats, bool]:
    """In the library's units (kWh for energies), and whether it is an energy."""
    plain = units.replace(" ", "").replace("^", "").replace("*", "")
    variable = VARIABLES.get(name, VARIABLES["power"])
    allowed = ("power", "energy") if name == "power" else (variable.dimension,)
    for dimension in allowed:
        if plain in KNOWN[dimension]:
            factor, offset = KNOWN[dimension][plain]
            same = factor == 1.0 and offset == 0.0
            return (row if same else factor * row + offset), dimension == "energy"
    other = [dimension for dimension, table in KNOWN.items() if plain in table]
    if other:
        raise UnitsError(
            f"variable {name!r} is in {units!r}, which measures {other[0]}; {variable.units!r} or the like is expected; "
            f"correct attrs['units'], or convert the variable before the call"
        )
    return convert(row, name, found=units, wanted=variable.units), False


def _check_plausible(source: Source, name: str, rows: tuple[Floats, ...]) -> None:
    """Without stated units the documented ones are assumed, unless the numbers speak against it."""
    judge = _JUDGES["indoor_temperature" if name == "set_point" else name]
    suspects = [(u, found) for u, row in enumerate(rows) if (found := judge(row[np.isfinite(row)])) is not None]
    if not suspects:
        return
    u, (what, likely) = suspects[0]
    assumed = VARIABLES[name].units
    remedy = (
        f"{source.state_units(name, likely)}, or {assumed!r} if that is right"
        if likely != "%"
        else "give the humidity ratio (mass of water per mass of dry air), or leave the variable out"
    )
    raise UnitsError(
        f"variable {name!r} has no units, so {assumed!r} is assumed, but unit {source.unit[u]!r} has {what}: "
        f"that looks like {likely!r} ({len(suspects)} of {len(rows)} units do); {remedy}"
    )


Verdict = tuple[str, str] | None


def _judge_power(x: Floats) -> Verdict:
    running = x[x > 0]
    middle = float(np.median(running)) if running.size else 1.0
    likely = "W" if middle > 100 else "MW" if middle < 0.002 else None
    return None if likely is None else (f"a median of {middle:g} while running", likely)


def _judge_indoor(x: Floats) -> Verdict:
    middle = float(np.median(x)) if x.size else 20.0
    likely = "K" if middle > 200 else "degF" if middle > 50 else None
    return None if likely is None else (f"a median of {middle:g}", likely)


def _judge_outdoor(x: Floats) -> Verdict:
    middle, top = (float(np.median(x)), float(np.quantile(x, 0.99))) if x.size else (20.0, 20.0)
    likely = "K" if middle > 200 else "degF" if middle > 50 or top > 60 else None
    return None if likely is None else (f"a median of {middle:g} and a 99 % quantile of {top:g}", likely)


def _judge_irradiance(x: Floats) -> Verdict:
    top = float(x.max()) if x.size else 0.0
    return (f"a maximum of {top:g}", "kW/m^2") if 0 < top < 2 else None


def _judge_humidity(x: Floats) -> Verdict:
    top, middle = (float(x.max()), float(np.median(x))) if x.size else (10.0, 10.0)
    if 0 < top < 0.05:
        return f"a maximum of {top:g}", "kg/kg"
    return (f"a median of {middle:g}", "%") if middle > 35 else None


_JUDGES: dict[str, Callable[[Floats], Verdict]] = {
    "power": _judge_power,
    "indoor_temperature": _judge_indoor,
    "outdoor_temperature": _judge_outdoor,
    "direct_normal_irradiance": _judge_irradiance,
    "diffuse_horizontal_irradiance": _judge_irradiance,
    "global_horizontal_irradiance": _judge_irradiance,
    "humidity_ratio": _judge_humidity,
}


def _within_limits(source: Source, name: str, row: Floats, time: NDArray[np.int64], label: str) -> Floats:
    variable = VARIABLES[name]
    if variable.dimension == "power":
        scale = power_scale(row)
        limits = Limits(-0.01 * scale if scale > 0 else 0.0, np.inf, -np.inf)
    else:
        limits = LIMITS[variable.dimension]
    bad = (row < limits.low) | (row > limits.high) | np.isinf(row)
    if bad.any():
        first = int(np.argmax(bad))
        bounds = "0 or more" if variable.dimension == "power" else f"{limits.low:g} to {limits.high:g}"
        cause = "units may be wrong (attrs['units']), or the sensor failed" if name != "power" else "the meter's sign?"
        raise DataError(
            f"variable {name!r} of unit {label!r} holds impossible values, {int(bad.sum())} in all, the first "
            f"{row[first]:g} {variable.units} at {text_of(time[first])}; {bounds} is possible: {cause} "
            f"Set what isn't a reading to NaN"
        )
    return row if variable.dimension == "temperature" or not (row < 0).any() else np.where(row < 0, 0.0, row)


def _rated_power(source: Source) -> Floats:
    """(U,) [kW] as given."""
    found = source.constants["rated_power"]
    units = source.units.get("rated_power")
    rated = found if units is None else _converted(found, "rated_power", units)[0]
    bad = (rated <= 0) | np.isinf(rated)
    if bad.any():
        u = int(np.argmax(bad))
        raise DataError(
            f"rated_power of unit {source.unit[u]!r} is {rated[u]:g} kW; it must be positive: correct it, or leave it "
            f"NaN to have it estimated from the unit's own power"
        )
    return rated
