"""Many batteries as one resource for the grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError, UnitsError

from .battery import Battery
from .bounds import InnerBound, inner_bound, sets_of
from .offsets import Offsets, offsets_of

Floats = NDArray[np.float64]
SUMS = ("baseline", "charge_power", "discharge_power", "capacity", "capacity_with_masses", "rated_power")


@dataclass(frozen=True, eq=False)
class Fleet:
    """Batteries on a common time axis; made by `aggregate`.

    Standard deviations of sums take the units' errors as *independent*. Errors that the units share, such as those of a
    weather forecast, add up instead, and aren't in them.

    Raises
    ------
    DataError
        If there is no battery, two have the same label, or their time axes differ.
    """

    batteries: tuple[Battery, ...]

    def __post_init__(self) -> None:
        if not self.batteries:
            raise DataError("a fleet needs one battery or more; none came")
        labels = self.units
        if len(set(labels)) < len(labels):
            twice = sorted({u for u in labels if labels.count(u) > 1})
            raise DataError(f"units {twice} came more than once; give each battery its own label (unit=)")
        time = self.time
        for battery in self.batteries[1:]:
            other = battery["time"].to_numpy()
            if other.shape != time.shape or not (other == time).all():
                raise DataError(
                    f"unit {battery.unit!r} runs from {other[0]} to {other[-1]} in {len(other)} steps, {labels[0]!r} from "
                    f"{time[0]} to {time[-1]} in {len(time)}; bring all to one time axis first"
                )

    @property
    def units(self) -> tuple[str, ...]:
        """Labels."""
        return tuple(battery.unit for battery in self.batteries)

    @property
    def time(self) -> NDArray[np.datetime64]:
        """(T,) ends of the intervals."""
        return np.asarray(self.batteries[0]["time"].to_numpy())

    @property
    def baseline(self) -> xr.DataArray:
        """Power of all baselines (time,) [kW]."""
        return self._sum("baseline")

    @property
    def charge_power(self) -> xr.DataArray:
        """Extra power that all can take, for a moment (time,) [kW]."""
        return self._sum("charge_power")

    @property
    def discharge_power(self) -> xr.DataArray:
        """Power that all can drop, for a moment (time,) [kW]."""
        return self._sum("discharge_power")

    @property
    def capacity(self) -> xr.DataArray:
        """Electric energy that takes the air of all units across their bands [kWh]."""
        return self._sum("capacity")

    def to_dataset(self) -> xr.Dataset:
        """Sums over the units with `_std` (independent units), and their number."""
        found = {name: self._sum(name) for name in SUMS}
        for name in SUMS:
            parts = [
                battery[f"{name}_std"].drop_vars(("unit", "quantile"), errors="ignore") for battery in self.batteries
            ]
            std = parts[0].copy(data=np.sqrt(sum(x.to_numpy() ** 2 for x in parts)))
            std.attrs["long_name"] = f"standard deviation of: {name}, units independent"
            found[f"{name}_std"] = std
        return xr.Dataset(found, attrs={"units_in_fleet": len(self.batteries)})

    def energy_bounds(
        self, lengths: Sequence[int], initial_soc: Mapping[str, float] | float | None = None
    ) -> xr.Dataset:
        """Outer bound: most and least energy of each window that the fleet can take above its baseline.

        The bounds are exact for each window by itself: there is a profile of the fleet that reaches it. Profiles that
        respect all of them need not exist. Cost: two linear programmes per unit and window.

        Parameters
        ----------
        lengths : of the windows, in steps
        initial_soc : of each unit's air at the start, one number for all, or where the baselines are

        Returns
        -------
        xr.Dataset
            most, least [kWh] over (length, start), start being the first interval's position; NaN where a window doesn't
            fit into the time axis.

        Raises
        ------
        DataError
            If a length doesn't fit, or a unit can't stay inside its band at all.
        """
        offsets, start = self._offsets(initial_soc)
        T, Δt = offsets.steps, offsets.step_hours
        for length in lengths:
            if not 1 <= length <= T:
                raise DataError(f"a window of {length} steps doesn't fit into {T}")
        sets = sets_of(offsets, start)
        found = np.full((2, len(lengths), T), np.nan)
        for i, length in enumerate(lengths):
            for k in range(T - length + 1):
                d = np.zeros(T)
                d[k : k + length] = Δt
                found[0, i, k] = sum(d @ s.support(d) for s in sets)
                found[1, i, k] = sum(d @ s.support(-d) for s in sets)
        coords = {"length": list(lengths), "start": np.arange(T)}
        about = {"units": "kWh"}
        return xr.Dataset(
            {name: (("length", "start"), x, about) for name, x in zip(("most", "least"), found, strict=True)}, coords
        )

    def inner(self, initial_soc: Mapping[str, float] | float | None = None) -> InnerBound:
        """Inner bound: powers of the fleet that can certainly be split among the units.

        Cost: some four linear programmes per unit and step.

        Raises
        ------
        DataError
            If a unit can't stay inside its band at all.
        """
        offsets, start = self._offsets(initial_soc)
        return inner_bound(offsets, sets_of(offsets, start), self.baseline.to_numpy())

    def dispatch(
        self,
        target: xr.DataArray | ArrayLike,
        *,
        initial_soc: Mapping[str, float] | float | None = None,
        inner: InnerBound | None = None,
    ) -> xr.Dataset:
        """Share a power among the units.

        A target inside of `inner`, if that is given, is split by it and met exactly. Any other goes by a priority stack,
        step by step: to take more than the baselines, the units with the lowest SOC come first, to take less, those with
        the highest, each as far as its power and the edge of its band at the step's end allow. The stack doesn't look
        ahead: it may miss a target that could have been met.

        Power limits always hold. The band holds too while band and baseline temperature are constant; if they move towards
        the air faster than the unit can follow, it does its most and the breach is in `soc`.

        Parameters
        ----------
        target : (time,) power of the fleet [kW]
        initial_soc : of each unit's air at the start, one number for all, or where the baselines are
        inner : from `self.inner` with the same initial_soc

        Returns
        -------
        xr.Dataset
            power [kW] and soc over (unit, time), target and error = Σ power - target [kW] over (time)

        Raises
        ------
        DataError, UnitsError
            If target isn't finite, of the fleet's length and in kW.
        """
        offsets, start = self._offsets(initial_soc)
        wanted = self._target(target)
        own, total = self._stack("baseline"), self.baseline.to_numpy()
        if inner is not None and inner.contains(wanted):
            v = inner.split(wanted)
        else:
            v = _priority_stack(offsets, offsets.start(start), wanted - total)
        soc = offsets.soc_of(offsets.run(offsets.start(start), v))
        power = own + v
        kW = {"units": "kW"}
        return xr.Dataset(
            {
                "power": (("unit", "time"), power, kW),
                "soc": (("unit", "time"), soc, {"units": "1"}),
                "target": ("time", wanted, kW),
                "error": ("time", power.sum(axis=0) - wanted, kW),
            },
            {"unit": list(self.units), "time": self.time},
        )

    def __repr__(self) -> str:
        """Sums with their standard deviations."""
        data, (first, *_, last) = self.to_dataset(), np.datetime_as_string(self.time, unit="m")
        rows = [f"Fleet of {len(self.batteries)} batteries, {first} to {last}"]
        for name in SUMS:
            x, std, place = data[name], data[f"{name}_std"], "mean over time" if data[name].ndim else ""
            unit = x.attrs["units"]
            rows.append(f"  {name:<21}{float(x.mean()):>10.4g} ± {float(std.mean()):<9.3g} {unit:<6} {place}".rstrip())
        return "\n".join(rows)

    def _stack(self, name: str) -> Floats:
        return np.stack([battery[name].to_numpy() for battery in self.batteries])

    def _sum(self, name: str) -> xr.DataArray:
        first = self.batteries[0][name].drop_vars(("unit", "quantile"), errors="ignore")
        return first.copy(data=self._stack(name).sum(axis=0))

    def _offsets(self, initial_soc: Mapping[str, float] | float | None) -> tuple[Offsets, Floats]:
        if isinstance(initial_soc, Mapping):
            if set(initial_soc) != set(self.units):
                odd = sorted(set(initial_soc) ^ set(self.units))
                raise DataError(f"initial_soc and the fleet differ in units {odd}; give each unit of the fleet its SOC")
            start = np.array([initial_soc[u] for u in self.units], dtype=np.float64)
        else:
            start = np.full(len(self.batteries), np.nan if initial_soc is None else initial_soc, dtype=np.float64)
        if initial_soc is not None and not np.isfinite(start).all():
            raise DataError(
                "initial_soc holds values that aren't finite; leave it out to start where the baselines are"
            )
        return offsets_of(self.batteries), start

    def _target(self, target: xr.DataArray | ArrayLike) -> Floats:
        if isinstance(target, xr.DataArray) and target.attrs.get("units", "kW") != "kW":
            raise UnitsError(f"target is in {target.attrs['units']!r}, wanted 'kW'; convert it before the call")
        values = np.asarray(target, dtype=np.float64)
        is_same = not isinstance(target, xr.DataArray) or (
            target.shape == self.time.shape
            and "time" in target.coords
            and (target["time"].to_numpy() == self.time).all()
        )
        if values.shape != self.time.shape or not is_same:
            raise DataError(
                f"target has the shape {values.shape} or another time axis; it must be over the fleet's time"
            )
        if not np.isfinite(values).all():
            raise DataError("target holds values that aren't finite; fill or cut the gaps first")
        return values


def aggregate(batteries: Sequence[Battery]) -> Fleet:
    """One resource out of many batteries on a common time axis; see `Fleet`."""
    return Fleet(tuple(batteries))


def _priority_stack(offsets: Offsets, x: Floats, wanted: Floats) -> Floats:
    """Offsets (U, T) that follow the fleet's offset `wanted` (T,) as far as the units can.  x : (U, 3) at the start"""
    v = np.empty((offsets.units, offsets.steps))
    soc = offsets.soc[:, 0] + x[:, 0] / offsets.width[:, 0]
    for k in range(offsets.steps):
        free = np.einsum("uij,uj->ui", offsets.Φ, x)
        per_kW = offsets.Γ[:, 0] * offsets.f[:, k]
        # the band first, then the power: what can't be met is missed by the least
        low = np.clip((-offsets.below[:, k] - free[:, 0]) / per_kW, offsets.least[:, k], offsets.most[:, k])
        high = np.clip((offsets.above[:, k] - free[:, 0]) / per_kW, offsets.least[:, k], offsets.most[:, k])
        at_rest = np.clip(0.0, low, high)
        missing = wanted[k] - at_rest.sum()
        order = np.argsort(soc if missing > 0 else -soc, kind="stable")
        room = (high - at_rest if missing > 0 else at_rest - low)[order]
        before = np.cumsum(room) - room
        taken = np.empty(offsets.units)
        taken[order] = np.clip(abs(missing) - before, 0.0, room)
        v[:, k] = at_rest + np.sign(missing) * taken
        x = free + offsets.Γ * (offsets.f[:, k] * v[:, k])[:, None]
        soc = offsets.soc[:, k] + x[:, 0] / offsets.width[:, k]
    return v
