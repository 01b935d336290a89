"""Adapted units: forecasts, plans, batteries and promises, all in labelled datasets."""

from __future__ import annotations

import os
from dataclasses import dataclass
from numbers import Real
from typing import Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.persistence import Archive, write
from surrogates.physics.virtual_battery import Battery, Fleet, Stores, aggregate, soc_of

from .calibration import NINETY
from .continuing import Ahead, continued
from .fingerprints import Fingerprints
from .forecasting import with_residual
from .intake import Data
from .labels import described, over_units, parameters_of
from .planning import Plan, marginal_factor, plans
from .records import Floats, Records
from .report import BatteryReport
from .settings import Settings

Integers = NDArray[np.int64]
#: temperatures of a thermostat: one number, or over time, or over (unit, time); NaN leaves a unit off [degC]
SetPoint = float | xr.DataArray
Stamp = str | np.datetime64


@dataclass(frozen=True, eq=False)
class AdaptedUnits:
    """Rooms that a `FittedVirtualBattery` has met; made by its `adapt`.

    All methods take `data` as `FittedVirtualBattery.adapt` does, of all units or some, with rows that lie ahead: those after
    `start`, by default after the last row with an indoor temperature, those that were adapted to included. They must follow
    these readings without a gap, or bring 8 h of readings or more of their own (24 h if yesterday's habits are to count).
    Weather without a label of a unit is shared by all units. Stamps of `start`, set-points and answers are local standard
    time.

    Answers are over (unit, time), or over (time,) where a single unit without a dim ``unit`` was adapted.

    settings : what the model was told; prints : what was learnt; memory : the last readings; report : how it went
    has_unit_dim : whether the units came along a dim ``unit``
    """

    settings: Settings
    prints: Fingerprints
    memory: Records
    report: BatteryReport
    has_unit_dim: bool

    @property
    def units(self) -> tuple[str, ...]:
        """Labels."""
        return self.memory.unit

    @property
    def parameters(self) -> xr.Dataset:
        """What was learnt of each unit, with `_std` (Laplace approximation, widened by what rehearsals showed).

        rate_of_exchange (unit, rate) [1/h]; cooling (unit) [K/h at rated power]; variation (unit, cause), relative change
        of cooling per 10 K, 5 g/kg and rated load; sun_on_air, sun_on_mass (unit, facade) [K/h per kW/m²]; heat_gain
        (unit, term) [K/h].
        Capacities, resistances and the coefficient of performance are not among them: temperature and power can't tell
        them apart (`surrogates.physics.virtual_battery.identifiability`).
        """
        return self._squeezed(parameters_of(self.prints, self.settings.layout, self.units))

    def predict(self, data: Data, *, start: Stamp | None = None) -> xr.Dataset:
        """Open-loop forecast of the indoor temperature under known power and weather.

        Parameters
        ----------
        data : with power in the rows ahead
        start : stamp of the last row of readings

        Returns
        -------
        xr.Dataset
            temperature, std, lower, upper [degC; the 90 % interval] at the ends of the intervals; state_of_charge [1] of
            the air and its `_std`: 0 at the warm edge of the comfort band, 1 at the cold one, not clipped. Beyond the
            recipe's horizon (24 h) the standard deviation stays that of its end, and attrs["note"] says so.

        Raises
        ------
        DataError
            If power or weather is missing ahead, rows are missing between readings and forecast, or a unit isn't known.
        UnitsError
            If units are wrong; see `adapt`.
        """
        ahead = continued(self.memory, data, start)
        _check_power(ahead)
        prints = self.prints.of(ahead.chosen)
        s = self.settings
        features = s.features_of(ahead.records)
        at = np.array([ahead.start])
        air = with_residual(prints.θ, s.layout, ahead.records, at, ahead.horizon, prints.residual, features)[:, 0]
        known = prints.deviation.shape[1]
        step = np.minimum(np.arange(ahead.horizon) + ahead.stale[:, None], known - 1)
        std = np.take_along_axis(prints.deviation, step, axis=1)
        low, high = s.comfort
        soc = soc_of(torch.from_numpy(air), torch.tensor(low), torch.tensor(high)).numpy()
        values = {
            "temperature": air,
            "std": std,
            "lower": air - NINETY * std,
            "upper": air + NINETY * std,
            "state_of_charge": soc,
            "state_of_charge_std": std / (high - low),
        }
        answer = over_units(values, ahead.records.unit, ahead.time)
        notes = list(ahead.records.notes)
        if ahead.horizon + int(ahead.stale.max()) > known:
            longest = f"{s.recipe.horizon:g} h"
            notes.append(
                f"beyond {longest} the standard deviation stays that of {longest}: no longer forecast was rehearsed"
            )
        if notes:
            answer.attrs["note"] = "; ".join(notes)
        return self._squeezed(answer)

    def forecast(self, records: Records, starts: Integers, horizon: int) -> Floats:
        """Open-loop forecasts from many starts at once, as plain arrays: for scores over whole records.

        Parameters
        ----------
        records : of all units in the order of `units`; see `surrogates.battery.read`
        starts : (S,) rows, each the last one whose temperature is known; readings of the 8 days
            before are used
        horizon : H steps

        Returns
        -------
        (U, S, H) temperatures at the ends of rows start + 1 .. start + H [degC]

        Raises
        ------
        DataError
            If the records have other units, a start or its horizon lies outside of them, or the horizon is beyond 24 h:
            later habits would know of readings after the start. `predict` goes further, from one start.
        """
        if records.unit != self.units:
            raise DataError(
                f"the records' units {records.unit[:5]} aren't those that were adapted, {self.units[:5]}; order them so"
            )
        if horizon > records.steps_per_day:
            raise DataError(
                f"the horizon is {horizon} steps, beyond the {records.steps_per_day} of 24 h; predict() goes further, one "
                f"start at a time"
            )
        if horizon < 1 or not len(starts) or starts.min() < 0 or starts.max() + horizon >= records.steps:
            raise DataError(
                f"starts and horizon of {horizon} steps must lie within the {records.steps} rows of the records, each start "
                f"with horizon rows after it"
            )
        s = self.settings
        features = s.features_of(records)
        return with_residual(self.prints.θ, s.layout, records, starts, horizon, self.prints.residual, features)

    def plan(
        self,
        data: Data,
        set_point: SetPoint | None = None,
        *,
        start: Stamp | None = None,
        draws: int = 64,
        seed: int = 0,
    ) -> xr.Dataset:
        """Power that holds a set-point, and the temperature that follows; closed loop, over many draws.

        Parameters
        ----------
        data : weather of the rows ahead; power there is not used
        set_point : the middle of the comfort band by default
        draws, seed : of numbers and disturbances

        Returns
        -------
        xr.Dataset
            power [kW] and temperature [degC], mean over the draws, each with `_std`, `_lower` and `_upper` (5 and 95 %)
        """
        ahead = continued(self.memory, data, start)
        (plan,) = self._plans(ahead, (set_point,), draws, seed)
        values: dict[str, Floats] = {}
        for name, x in (("power", plan.power), ("temperature", plan.indoor)):
            values |= {name: x.mean(1), f"{name}_std": x.std(1, ddof=1)}
            values |= {f"{name}_lower": np.quantile(x, 0.05, axis=1), f"{name}_upper": np.quantile(x, 0.95, axis=1)}
        return self._squeezed(over_units(values, ahead.records.unit, ahead.time))

    def promise(
        self,
        data: Data,
        set_point: SetPoint,
        *,
        instead_of: SetPoint | None = None,
        start: Stamp | None = None,
        draws: int = 64,
        seed: int = 0,
    ) -> xr.Dataset:
        """Energy that a demand-response event delivers: what units draw less under `set_point` than under the usual one.

        Energy is summed over the rows in which the two set-points differ for a unit; what is drawn later to recover is told
        apart as `rebound`, over the rows ahead after the event.

        Returns
        -------
        xr.Dataset
            energy, rebound [kWh] of each unit, fleet_energy and fleet_rebound of all together, each the mean over the draws
            with `_std`, `_lower` and `_upper` (5 and 95 %: of 100 such fleets 95 deliver at least `fleet_energy_lower`).
            Units' errors are independent, but for the error, relative to the power that they usually draw, which all of them
            shared in rehearsals.
        """
        ahead = continued(self.memory, data, start)
        event, usual = self._plans(ahead, (set_point, instead_of), draws, seed)
        wanted, normal = (self._set_point(x, ahead) for x in (set_point, instead_of))
        differs = (wanted != normal) & ~(np.isnan(wanted) & np.isnan(normal))
        if not differs.any():
            raise DataError("the event's set-point is the usual one in every row ahead; there is nothing to promise")
        saved = (usual.power - event.power) * ahead.records.step_hours  # (U, D, H)
        last = np.where(differs, np.arange(ahead.horizon), -1).max(axis=1)
        after = (np.arange(ahead.horizon) > last[:, None]) & differs.any(axis=1, keepdims=True)
        # one error for all units: by how much the model is wrong of what they would usually draw, as rehearsals showed
        common = np.random.default_rng([seed, 2]).standard_normal(draws)
        error = (
            (self.prints.shared[ahead.chosen][:, None] * common)[:, :, None] * usual.power * ahead.records.step_hours
        )
        sums = [[(x * rows[:, None]).sum(-1) for x in (saved, error)] for rows in (differs, after)]
        (energy, energy_error), (rebound, rebound_error) = sums
        told = _promised("energy", energy, energy_error) | _promised("rebound", -rebound, rebound_error)
        return self._squeezed(xr.Dataset(told, coords={"unit": list(ahead.records.unit)}))

    def battery(
        self,
        data: Data,
        set_point: SetPoint | None = None,
        *,
        start: Stamp | None = None,
        draws: int = 64,
        seed: int = 0,
    ) -> Battery:
        """The one unit as a battery around its baseline; see `surrogates.physics.virtual_battery.Battery`.

        Parameters
        ----------
        data : weather of the rows ahead; power there is not used
        set_point : what the baseline holds; the middle of the comfort band by default
        draws, seed : of numbers and disturbances, over which standard deviations and quantiles are taken

        Raises
        ------
        DataError
            If there are several units: `aggregate` gives them as a fleet, whose `batteries` they are.
        """
        fleet = self.aggregate(data, set_point, start=start, draws=draws, seed=seed)
        if len(fleet.batteries) > 1:
            raise DataError(
                f"there are {len(fleet.batteries)} units; aggregate() gives a fleet, with a battery of each"
            )
        return fleet.batteries[0]

    def aggregate(
        self,
        data: Data,
        set_point: SetPoint | None = None,
        *,
        start: Stamp | None = None,
        draws: int = 64,
        seed: int = 0,
    ) -> Fleet:
        """All units of `data` as one resource, a `surrogates.physics.virtual_battery.Fleet`; parameters as in `battery`."""
        ahead = continued(self.memory, data, start)
        (plan,) = self._plans(ahead, (set_point,), draws, seed)
        return aggregate([self._battery(u, plan, ahead, set_point) for u in range(ahead.records.units)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file; `surrogates.load` reads it."""
        from .storage import units_archive

        write(path, "adapted-rooms", *units_archive(self))

    @classmethod
    def from_archive(cls, archive: Archive) -> Self:
        """The inverse of `save`, for `surrogates.load`."""
        from .storage import units_of

        return cls(**units_of(archive))

    def _plans(self, ahead: Ahead, set_points: tuple[SetPoint | None, ...], draws: int, seed: int) -> tuple[Plan, ...]:
        if draws < 2:
            raise DataError(f"draws is {draws}; a spread needs two or more")
        s = self.settings
        wanted = tuple(self._set_point(x, ahead) for x in set_points)
        features = s.features_of(ahead.records)
        prints = self.prints.of(ahead.chosen)
        return plans(prints, s.layout, ahead, wanted, draws=draws, seed=seed, features=features)

    def _set_point(self, given: SetPoint | None, ahead: Ahead) -> Floats:
        """(U, H) [degC]"""
        shape = (ahead.records.units, ahead.horizon)
        if given is None:
            return np.full(shape, sum(self.settings.comfort) / 2)
        if not isinstance(given, xr.DataArray):
            if not isinstance(given, Real):
                raise DataError(
                    f"set_point is a {type(given).__name__}; give a number [degC], or a DataArray over unit and time"
                )
            return _plausible(np.full(shape, float(given)))
        wanted = xr.Dataset(coords={"unit": list(ahead.records.unit), "time": ahead.time})
        units = given.attrs.get("units", "degC")
        if units != "degC" or not set(given.dims) <= {"unit", "time"}:
            raise DataError(
                f"set_point is in {units!r} over {given.dims}; it must be in 'degC' over unit and time, or less"
            )
        bare = [dim for dim in given.dims if dim not in given.coords]
        if bare:
            raise DataError(f"set_point has no coordinate along {bare}; give it the labels of the rows ahead")
        try:
            picked = given.sel({dim: wanted[dim] for dim in given.dims})
        except KeyError as error:
            raise DataError(
                f"set_point lacks a unit or a time of the rows ahead ({error}); give one for each"
            ) from error
        plain = picked.drop_vars([name for name in picked.coords if name not in picked.dims])
        values = plain.broadcast_like(wanted).transpose("unit", "time").to_numpy()
        return _plausible(np.asarray(values, dtype=np.float64))

    def _battery(self, u: int, plan: Plan, ahead: Ahead, set_point: SetPoint | None) -> Battery:
        s, records = self.settings, ahead.records
        rows, rated = slice(ahead.start + 1, None), float(records.rated_power[u])
        θ = plan.θ[u]
        ko, km, kr, kmo, k2, kr2, _ = torch.from_numpy(np.exp(θ[:, s.layout.rates])).unbind(1)
        gain = torch.from_numpy(np.exp(θ[:, s.layout.cooling]) / rated)
        outdoor, humidity = records.outdoor[u : u + 1, rows], records.humidity[u : u + 1, rows]
        factor = marginal_factor(θ[None], s.layout, plan.power[u : u + 1] / rated, outdoor, humidity)[0]
        wanted = self._set_point(set_point, ahead)[u]
        low, high = s.comfort
        return Battery.from_draws(
            Stores(ko, km, kr, kmo, k2, kr2, gain),
            rated_power=rated,
            baseline=plan.power[u],
            time=ahead.time,
            lowest=low,
            highest=high,
            set_point=np.where(np.isnan(wanted), high, wanted),
            power_limit=self.prints.most_load[ahead.chosen[u]] * rated * np.ones(ahead.horizon),
            gain_factor=factor,
            indoor=plan.indoor[u],
            unit=records.unit[u],
        )

    def _squeezed(self, answer: xr.Dataset) -> xr.Dataset:
        return answer if self.has_unit_dim else answer.squeeze("unit")


def _plausible(set_point: Floats) -> Floats:
    """The same, unless a value can't be an indoor temperature in degC; NaN means off."""
    odd = set_point[~np.isnan(set_point) & ~((set_point > -30) & (set_point < 60))]
    if len(odd):
        raise DataError(
            f"set_point is {odd[0]:g}; it must be in degC, between -30 and 60, or NaN for a unit that is off"
        )
    return set_point


def _check_power(ahead: Ahead) -> None:
    lost = np.isnan(ahead.records.power[:, ahead.start + 1 :])
    if lost.any():
        u, k = np.argwhere(lost)[0]
        raise DataError(
            f"power of unit {ahead.records.unit[u]!r} isn't known at {ahead.time[k]}, which lies ahead; a forecast is made "
            f"under known power: give it, or let plan() find the power that holds a set-point"
        )


def _promised(name: str, x: Floats, error: Floats) -> dict[str, xr.Variable]:
    """Draws (U, D) of energies -> means, and intervals that hold an error (U, D) besides."""
    data = {}
    for prefix, values, told, dims in (("", x, x + error, ("unit",)), ("fleet_", x.sum(0), (x + error).sum(0), ())):
        found = {
            "": values.mean(-1),
            "_std": told.std(-1, ddof=1),
            "_lower": np.quantile(told, 0.05, axis=-1),
            "_upper": np.quantile(told, 0.95, axis=-1),
        }
        for end, value in found.items():
            data[f"{prefix}{name}{end}"] = xr.Variable(dims, value, described(name + end))
    return data
