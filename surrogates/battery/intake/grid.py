"""Rows of a unit's own stamps -> the common regular axis: means over intervals, and values at their ends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError

from .clock import MINUTE, Rows, own_step
from .names import VARIABLES, units_text
from .stamps import text_of

Floats = NDArray[np.float64]
#: rows of the axis for every row of the data, beyond which a stamp must be wrong
TOO_EMPTY = 50


class Grid(NamedTuple):
    """first : end of the first interval [ns]; step [ns]; size : number of intervals."""

    first: int
    step: int
    size: int

    @property
    def time(self) -> NDArray[np.datetime64]:
        """(T,) ends of the intervals."""
        return (self.first + self.step * np.arange(self.size, dtype=np.int64)).astype("datetime64[ns]")


class Gridded(NamedTuple):
    """The common axis, and every variable on it: (U, T), NaN where nothing was measured."""

    grid: Grid
    values: dict[str, Floats]


def on_grid(every: list[Rows], unit: tuple[str, ...], clock: str, step: int, notes: list[str]) -> Gridded:
    """All units on one axis, from the first to the last reading of the variable `clock`.

    A row belongs to the interval that holds the middle of what it averages, so that stamps a few seconds or minutes off
    the axis stay in order; those of a unit that are off by the same amount are all moved by it. A mean needs readings
    over half of its interval, a value at the end of an interval a reading in the second half of it.
    """
    phases = [_phase(rows, clock, step) for rows in every]
    measured = [rows.time[np.isfinite(rows.values[clock])] - phase for rows, phase in zip(every, phases, strict=True)]
    covered = [_covered(own_step(rows, clock), step) for rows in every]
    ends = [-(-(time[[0, -1]] - h // 2) // step) for time, h in zip(measured, covered, strict=True)]  # steps since 1970
    low, high = min(int(end[0]) for end in ends), max(int(end[1]) for end in ends)
    size = high - low + 1
    if size > TOO_EMPTY * max(map(len, measured)):
        u = int(np.argmin([time[0] for time in measured]))
        raise DataError(
            f"the readings run from {text_of(low * step)} (unit {unit[u]!r}) to {text_of(high * step)}, {size} steps, "
            f"but no unit has more than {max(map(len, measured))}; correct the wrong stamps, or give the periods "
            f"one by one"
        )
    grid = Grid(low * step, step, size)
    values = {name: np.full((len(every), size), np.nan) for name in every[0].values}
    for u, rows in enumerate(every):
        for name, row in rows.values.items():
            values[name][u] = _placed(
                rows.time - phases[u], row, grid, own_step(rows, name), VARIABLES[name].is_average
            )
    moved = [(abs(phase) / MINUTE, unit[u]) for u, phase in enumerate(phases) if abs(phase) > MINUTE]
    if moved:
        notes.append(
            f"stamps were moved to the axis of full {step // MINUTE} min by up to {max(moved)[0]:.1f} min "
            f"({units_text([label for _, label in moved], unit)})"
        )
    return Gridded(grid, values)


def _phase(rows: Rows, clock: str, step: int) -> int:
    """By how much a unit's stamps are late on the axis [ns], if all by about the same."""
    time = rows.time[np.isfinite(rows.values[clock])]
    rest = time % step
    if not rest.any() or abs(own_step(rows, clock) - step) > 0.05 * step:
        return 0  # on the axis, or finer than it
    arrow = np.exp(2j * np.pi * rest / step).mean()
    return 0 if abs(arrow) < 0.7 else round(float(np.angle(arrow)) / (2 * np.pi) * step)


def _covered(own: float, step: int) -> int:
    """Time that one reading stands for [ns]: the distance of the readings, a step at most."""
    return step if np.isnan(own) else min(int(own), step)


def _placed(time: NDArray[np.int64], row: Floats, grid: Grid, own: float, is_average: bool) -> Floats:
    """One variable of one unit on the axis, (T,)."""
    known = np.isfinite(row)
    time, row = time[known], row[known]
    covered = _covered(own, grid.step)
    position = -(-(time - covered // 2 - grid.first) // grid.step)
    inside = (position >= 0) & (position < grid.size)
    time, row, position = time[inside], row[inside], position[inside]
    done = np.full(grid.size, np.nan)
    if not is_average:
        late_enough = grid.first + grid.step * position - time <= grid.step // 2
        done[position[late_enough]] = row[late_enough]  # in order of time: the last reading stays
        return done
    count = np.bincount(position, minlength=grid.size)
    enough = count * covered >= 0.5 * grid.step
    done[enough] = np.bincount(position, row, minlength=grid.size)[enough] / count[enough]
    return done
