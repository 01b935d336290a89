"""The one way in: data of rooms as users have them -> `Records`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.battery.records import Records
from surrogates.errors import DataError, UnitsError

from .alignment import check_alignment
from .clock import Rows, choose_step, in_order, own_step
from .gaps import bridge, stand_in
from .grid import Gridded, on_grid
from .names import DIFFUSE, DIRECT, GLOBAL, dropped, listed, units_text
from .quantities import clean, power_scale
from .sensors import refuse_empty, refuse_still, without_stuck
from .sources import Source, open_source
from .stamps import HOUR
from .sun import check_night, on_facades, places

Floats = NDArray[np.float64]
Data = xr.Dataset | pd.DataFrame | str | Path | Records
Flags = NDArray[np.bool_]
#: longest gaps that are bridged [h]
POWER_GAP, WEATHER_GAP = 1.0, 3.0
#: humidity ratio where none is given [g/kg]
USUAL_HUMIDITY = 10.0
#: usable hours: below the first a unit can't be fitted, below the second mostly the population speaks
FEWEST_HOURS, FEW_HOURS = 12.0, 48.0


def read(data: Data, *, step: str | None = None, need_indoor: bool = True) -> Records:
    """Data of air-conditioned rooms, checked and brought to one regular time axis.

    Parameters
    ----------
    data : a Dataset over (unit, time) or (time,); a DataFrame with columns ``unit``, ``time`` and the variables, or with a
        DatetimeIndex (one unit, unless there is a column ``unit``); or the path of such a CSV file with ISO 8601 stamps.

        Required: ``power`` [kW, or energy per interval in kWh if its units say so], ``indoor_temperature`` [degC, at the
        end of the interval], ``outdoor_temperature`` [degC]; ``direct_normal_irradiance`` and
        ``diffuse_horizontal_irradiance``, or ``global_horizontal_irradiance`` [W/m^2]; ``latitude``, ``longitude``
        [degrees, north and east positive] and ``utc_offset`` [h], for each unit or one for all, as variables, coordinates
        or attrs. Weather may be over (time,) alone. Optional: ``humidity_ratio`` [g/kg], ``set_point`` [degC],
        ``rated_power`` [kW].

        A row holds the mean over the interval that *ends* at its stamp. Stamps are local standard time, or have a time
        zone: they are then converted to standard time by ``utc_offset``, or by the zone's winter time.

        Units are read from ``attrs["units"]`` (DataFrame: ``attrs["units"] = {column: units}`` or columns such as
        ``power [W]``). `Records` have been read before and stay as they are.
    step : of the answer, from 5 to 60 min, such as "15min". None: the data's own, if it is from 5 to 60 min and divides a
        day, and of the unit with the coarsest ones; otherwise 15 min, or 60 min for data coarser than that.
    need_indoor : False for rows that lie ahead (weather forecasts, plans): neither the indoor temperature nor ``power`` is
        required, nothing is asked of the amount of data, ``power`` stays NaN where it isn't known, and `is_known` tells
        of the weather alone

    Returns
    -------
    Records : its `notes` tell everything that was done to the data

    Raises
    ------
    DataError
        Names that aren't there; repeated stamps that contradict each other; local clock time with daylight saving;
        impossible values; sunlight at night; units without a reading, whose power never changes or whose temperature
        never does; less than 12 h of usable rows; stamps that are the starts of the intervals. The message says what to
        do.
    UnitsError
        Units of the wrong dimension, or none where the numbers look like others than the documented ones.

    Notes
    -----
    * Finer readings are averaged; of indoor temperature and set-point the last one stays.
    * Values from -999 downwards are missing (unless attrs["_FillValue"] names another mark). An indoor or outdoor
      temperature that is the same to the last digit for more than 24 h is missing.
    * Gaps of power up to 1 h and of weather up to 3 h are interpolated. In longer ones `is_known` is False, and the same
      hour of the last day that has it stands in (or of the next one, or the unit's mean). Indoor temperatures stay NaN.
    * Without a humidity ratio, 10 g/kg; without a rated power, the 99.5 % quantile of the unit's own power.
    """
    if isinstance(data, Records):
        _check_step(data, step)
        return data
    notes: list[str] = []
    source = open_source(data, need_indoor=need_indoor)
    notes += source.notes
    place = places(source)
    cleaned = clean(source, notes)
    refuse_empty(source, cleaned.values, need_indoor=need_indoor)
    if need_indoor:
        refuse_still(source, cleaned.values)
    clock = "power" if need_indoor else "outdoor_temperature"
    every = in_order(source, cleaned.values, notes)
    own = np.array([own_step(rows, clock) for rows in every])
    if cleaned.is_energy:
        _to_power(every, source.unit)
    gridded = on_grid(every, source.unit, clock, choose_step(own, source.unit, step, notes), notes)
    records = _assemble(source, gridded, place, cleaned.rated_power, need_indoor, notes)
    if need_indoor:
        _check_enough(records, source.kind, notes)
        notes += check_alignment(records, source.kind)
    return Records(**{**vars(records), "notes": tuple(notes)})


def _check_step(records: Records, step: str | None) -> None:
    """Refuse records of another step than the one that is wanted."""
    if step is not None and pd.Timedelta(step) != pd.Timedelta(hours=records.step_hours):
        raise DataError(
            f"the records have steps of {records.step_hours * 60:g} min, wanted {step}; read the data with step={step!r}"
        )


def _to_power(every: list[Rows], unit: tuple[str, ...]) -> None:
    """Energy per interval [kWh] -> mean power [kW], in place; the interval is the usual distance of the readings."""
    for rows, label in zip(every, unit, strict=True):
        h = own_step(rows, "power")
        if np.isnan(h) and np.isfinite(rows.values["power"]).any():
            raise DataError(
                f"power of unit {label!r} is an energy, but it has one reading only, so that its interval isn't known; "
                f"give power in kW"
            )
        rows.values["power"] = rows.values["power"] * (HOUR / h)


def _assemble(
    source: Source, gridded: Gridded, place: Floats, rated: Floats, need_indoor: bool, notes: list[str]
) -> Records:
    """Records out of gridded readings: gaps bridged or filled, the sun on the facades."""
    unit, grid = source.unit, gridded.grid
    step_hours = grid.step / HOUR
    shape = (len(unit), grid.size)
    values = {
        name: without_stuck(name, rows, step_hours, unit, notes)
        if need_indoor and name.endswith("door_temperature")
        else rows
        for name, rows in gridded.values.items()
    }
    power = values.get("power", np.full(shape, np.nan))
    rated = _rated(unit, rated, power, source, notes)
    if "humidity_ratio" not in values:
        notes.append(f"no humidity_ratio: {USUAL_HUMIDITY:g} g/kg everywhere")
    humidity = _humidity(values.get("humidity_ratio"), shape, unit, notes)
    solar = {name: values[name] for name in (DIRECT, DIFFUSE, GLOBAL) if name in values}
    check_night(unit, grid.time, solar, place, step_hours)
    inputs = {"power": power, "outdoor": values["outdoor_temperature"], "humidity": humidity, **solar}
    known = np.ones(shape, dtype=np.bool_)
    for name, rows in inputs.items():
        bridged = bridge(rows, int((POWER_GAP if name == "power" else WEATHER_GAP) / step_hours + 1e-9))
        if name == "power" and not need_indoor:
            inputs[name] = bridged
            continue
        known &= np.isfinite(bridged)
        inputs[name] = stand_in(bridged, round(24 / step_hours))
    _note_unknown(unit, known, notes)
    if GLOBAL in solar:
        notes.append(f"{GLOBAL!r} was split into direct and diffuse parts by the sun's height (Erbs)")
    missing = np.full(shape, np.nan)
    return Records(
        unit=unit,
        time=grid.time,
        step_hours=step_hours,
        power=inputs["power"],
        indoor=values.get("indoor_temperature", missing),
        outdoor=inputs["outdoor"],
        irradiance=on_facades(grid.time, {name: inputs[name] for name in solar}, place, step_hours),
        humidity=inputs["humidity"],
        set_point=values.get("set_point", missing),
        rated_power=rated,
        is_known=known,
    )


def _humidity(given: Floats | None, shape: tuple[int, int], unit: tuple[str, ...], notes: list[str]) -> Floats:
    """(U, T) as measured, a constant for units without any."""
    if given is None:
        return np.full(shape, USUAL_HUMIDITY)
    dry = np.asarray(~np.isfinite(given).any(axis=1))
    if dry.any():
        labels = [label for label, is_dry in zip(unit, dry, strict=True) if is_dry]
        notes.append(f"no humidity_ratio in {units_text(labels, unit)}: {USUAL_HUMIDITY:g} g/kg")
    return np.where(dry[:, None], USUAL_HUMIDITY, given)


def _rated(unit: tuple[str, ...], given: Floats, power: Floats, source: Source, notes: list[str]) -> Floats:
    """(U,) as given; otherwise from the unit's own power."""
    scale = np.array([power_scale(row) for row in power])
    guessed = np.isnan(given)
    if guessed.any():
        labels = [label for label, is_guess in zip(unit, guessed, strict=True) if is_guess]
        notes.append(f"no rated_power of {units_text(labels, unit)}: the 99.5 % quantile of their power was taken")
    too_much = (given > 200 * scale) & (scale > 0)
    if too_much.any() and source.units.get("rated_power") is None:
        u = int(np.argmax(too_much))
        raise UnitsError(
            f"rated_power of unit {unit[u]!r} is {given[u]:g}, but its power reaches {scale[u]:.3g} kW; without units "
            f"'kW' is assumed, and that looks like 'W'; {source.state_units('rated_power', 'W')}"
        )
    beyond = [label for label, p, r in zip(unit, scale, given, strict=True) if p > 1.5 * r]
    if beyond:
        notes.append(f"power is more than 1.5 times rated_power in {units_text(beyond, unit)}: check both")
    return np.where(guessed, np.where(scale > 0, scale, np.nan), given)


def _note_unknown(unit: tuple[str, ...], known: Flags, notes: list[str]) -> None:
    share = np.asarray(1 - known.mean(axis=1), dtype=np.float64)
    labels = [label for label, lost in zip(unit, share, strict=True) if lost > 0]
    if labels:
        worst = int(np.argmax(share))
        notes.append(
            f"power or weather is missing for longer than {POWER_GAP:g} h or {WEATHER_GAP:g} h in "
            f"{units_text(labels, unit)}; stand-ins fill these rows, and nothing is fitted to or judged on them (most in "
            f"unit {unit[worst]!r}: {100 * share[worst]:.1f} %)"
        )


def _check_enough(records: Records, kind: str, notes: list[str]) -> None:
    hours = (records.is_known & np.isfinite(records.indoor)).sum(axis=1) * records.step_hours
    few = [label for label, h in zip(records.unit, hours, strict=True) if h < FEWEST_HOURS]
    if few:
        shortest = int(np.argmin(hours))
        raise DataError(
            f"unit {listed(few)} has less than {FEWEST_HOURS:g} h of rows with power, weather and indoor temperature "
            f"(unit {records.unit[shortest]!r}: {hours[shortest]:.3g} h); give a day or more, or drop the unit: "
            f"{dropped(kind)}"
        )
    short = [label for label, h in zip(records.unit, hours, strict=True) if h < FEW_HOURS]
    if short:
        notes.append(
            f"{units_text(short, records.unit)} have less than {FEW_HOURS:g} h of usable rows: a fit follows the other "
            f"rooms (the prior) more than their own data"
        )
