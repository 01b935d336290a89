"""One unit as a battery: what a grid operator asks of it, with standard deviations, and what it does when asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, final

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.errors import DataError, UnitsError

from .discretise import rollout
from .draws import OVER_TIME, SCALARS, numbers_of, over_draws, summary, unit_of
from .equivalence import soc_of, temperature_of
from .stores import RATES, Mode, Stores

Floats = NDArray[np.float64]
Values = xr.DataArray | ArrayLike


@final
class Battery:
    """An air-conditioned room as a battery around its baseline.

    Over time: baseline, charge_power (extra power it can take), discharge_power (power it can drop), the band lowest ..
    highest, set_point, indoor_temperature of the baseline, gain_factor (efficiency relative to the stores'). Scalars:
    capacity (air) and capacity_with_masses [kWh electric], self_discharge, fastest_rate, leak [1/h], gain [K/kWh],
    rated_power [kW], and the rates of the stores. Each has a `_std` beside it, and most have `_quantiles`. Where the band
    or the efficiency varies, capacity and gain belong to their means over time.

    SOC is that of the air, 0 at the warm edge of the band and 1 at the cold one (the other way round in heating). It isn't
    clipped: outside of [0, 1] the room is outside of its band.

    Parameters
    ----------
    data : as `to_dataset` gives it, with dims time and quantile, a scalar coordinate `unit` and attrs["mode"]

    Raises
    ------
    DataError
        If variables are missing or not finite, time isn't regular, or the band is empty.
    UnitsError
        If a variable's units aren't the ones above.
    """

    _data: xr.Dataset
    _stores: Stores

    def __init__(self, data: xr.Dataset) -> None:
        _check(data)
        object.__setattr__(self, "_data", data.copy(deep=True))
        ko, *others = (
            torch.tensor(float(data[name]), dtype=torch.float64) if name in data else None
            for name in (*RATES, "stores_gain")
        )
        assert ko is not None  # _check has looked
        object.__setattr__(self, "_stores", Stores(ko, *others, mode=data.attrs["mode"]))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Battery is frozen; make a new one")

    @classmethod
    def from_draws(
        cls,
        stores: Stores,
        *,
        rated_power: float,
        baseline: ArrayLike,
        time: NDArray[np.datetime64],
        lowest: ArrayLike,
        highest: ArrayLike,
        set_point: ArrayLike,
        power_limit: ArrayLike | None = None,
        gain_factor: ArrayLike = 1.0,
        indoor: ArrayLike | None = None,
        unit: str = "unit",
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    ) -> Self:
        """From D draws of a room's parameters and of its baseline.

        Parameters
        ----------
        stores : with a leading draw dimension (D,), or none
        rated_power : electric nameplate power [kW]
        baseline : (D, T) power that holds the set point [kW]
        time : (T,) ends of the intervals, regular
        lowest, highest : band of comfort [degC], numbers or (T,)
        set_point : [degC], number or (T,)
        power_limit : (D, T) largest power the unit can draw [kW]; the rated power if not given
        gain_factor : (D, T) efficiency relative to the stores' gain, > 0
        indoor : (D, T) temperature of the air in the baseline [degC]; the set point if not given
        unit : label
        quantiles : which to keep

        Raises
        ------
        DataError
            If a shape doesn't fit, a value isn't finite, the band is empty, or powers, gains and factors aren't positive.
        """
        if not rated_power > 0:
            raise DataError(f"rated_power of unit {unit!r} is {rated_power}; it must be > 0 kW")
        draws = stores.batch[0] if len(stores.batch) == 1 else len(np.atleast_2d(np.asarray(baseline)))
        if len(stores.batch) > 1:
            raise DataError(f"stores have batch dimensions {tuple(stores.batch)}; give one dimension of draws, or none")
        if not bool((stores.plug > 0).all()):
            raise DataError(f"the gain of unit {unit!r} is 0 K/h per kW: power that moves nothing makes no battery")
        power = over_draws(baseline, draws, len(time), "baseline")
        limit = over_draws(rated_power if power_limit is None else power_limit, draws, len(time), "power_limit")
        over_time = {
            "baseline": power,
            "charge_power": np.maximum(limit - np.maximum(power, 0), 0.0),
            "discharge_power": np.maximum(power, 0.0),
            "gain_factor": over_draws(gain_factor, draws, len(time), "gain_factor"),
            "indoor_temperature": over_draws(set_point if indoor is None else indoor, draws, len(time), "indoor"),
        }
        given = {"lowest": lowest, "highest": highest, "set_point": set_point}
        over_time |= {name: over_draws(x, draws, len(time), name) for name, x in given.items()}
        if not (over_time["gain_factor"] > 0).all():
            raise DataError(f"gain_factor is {over_time['gain_factor'].min():g} at its smallest; it must be > 0")
        _check_band(over_time["lowest"], over_time["highest"], unit)
        scalars = numbers_of(stores, over_time, rated_power)
        data = summary(scalars, over_time, np.asarray(time, dtype="datetime64[ns]"), quantiles)
        data = data.assign_coords(unit=unit)
        data.attrs = {"mode": stores.mode, "draws": draws}
        return cls(data)

    # --- what it is ---

    def __getitem__(self, name: str) -> xr.DataArray:
        """A variable of `to_dataset` by name, such as "baseline_std" or "capacity_quantiles"."""
        if name not in self._data.variables:
            raise KeyError(
                f"{name!r} is not a variable of this battery; it has {sorted(map(str, self._data.data_vars))}"
            )
        return self._data[name]

    @property
    def unit(self) -> str:
        """Label."""
        return str(self._data["unit"].item())

    @property
    def mode(self) -> Mode:
        """Whether power cools or heats."""
        return self._stores.mode

    @property
    def stores(self) -> Stores:
        """The room of mean rates and gain, of which `simulate` and `durations` speak."""
        return self._stores

    @property
    def step_hours(self) -> float:
        """Length of an interval [h]."""
        return _step_hours(self._data["time"].to_numpy())

    @property
    def baseline(self) -> xr.DataArray:
        """Power that holds the set point (time,) [kW]."""
        return self["baseline"]

    @property
    def charge_power(self) -> xr.DataArray:
        """Extra power that can be taken (time,) [kW]."""
        return self["charge_power"]

    @property
    def discharge_power(self) -> xr.DataArray:
        """Power that can be dropped (time,) [kW]."""
        return self["discharge_power"]

    @property
    def indoor_temperature(self) -> xr.DataArray:
        """Temperature of the air in the baseline, at the ends of the intervals (time,) [degC]."""
        return self["indoor_temperature"]

    @property
    def capacity(self) -> xr.DataArray:
        """Electric energy that takes the air alone across its band [kWh]."""
        return self["capacity"]

    @property
    def capacity_with_masses(self) -> xr.DataArray:
        """Electric energy that takes air and masses across the band [kWh]; reached only by slow charging."""
        return self["capacity_with_masses"]

    @property
    def self_discharge(self) -> xr.DataArray:
        """Slowest rate at which charge is lost [1/h]."""
        return self["self_discharge"]

    @property
    def gain(self) -> xr.DataArray:
        """Temperature change of the air per electric energy [K/kWh]."""
        return self["gain"]

    @property
    def rated_power(self) -> xr.DataArray:
        """Electric nameplate power [kW]."""
        return self["rated_power"]

    def to_dataset(self) -> xr.Dataset:
        """Everything, with units; `Battery(data)` makes the same battery again."""
        return self._data.copy(deep=True)

    # --- what it does ---

    def soc(self, temperature: Values) -> xr.DataArray:
        """SOC of the air at temperatures [degC], a number or over time (and further dims); not clipped."""
        return self._map(temperature, "degC", "1", "state of charge of the air", is_soc=True)

    def temperature(self, soc: Values) -> xr.DataArray:
        """Temperature of the air [degC] at states of charge; the inverse of `soc`."""
        return self._map(soc, "1", "degC", "temperature of the air", is_soc=False)

    def simulate(self, power: Values, initial_soc: float | None = None) -> xr.Dataset:
        """What happens if the unit draws this power instead of its baseline; exact for the mean stores.

        Parameters
        ----------
        power : electric power [kW] over time, and further dims
        initial_soc : of the air at the start; where the baseline has it, if not given. The masses start as in the baseline.

        Returns
        -------
        xr.Dataset
            soc and indoor_temperature of the air at the ends of the intervals, energy [kWh] stored above the baseline by
            air and masses (referred to the mean efficiency), is_within_band and is_within_power.

        Raises
        ------
        DataError, UnitsError
            If power isn't finite, over another time axis, or not in kW.
        """
        P = self._labelled(power, "kW")
        P = P.broadcast_like(self.baseline).transpose(..., "time")
        v = ((P - self.baseline) * self["gain_factor"]).transpose(..., "time")
        room, n = self._stores, self._stores.count
        x = torch.zeros(n, dtype=torch.float64)
        width = self["highest"] - self["lowest"]
        own = self.soc(self.indoor_temperature)
        if initial_soc is not None:
            x[0] = (initial_soc - float(own[0])) * float(width[0])
        offset = torch.from_numpy(np.array(v.to_numpy(), dtype=np.float64))[..., None]
        Φ, γ = room.charging(self.step_hours)
        charge = rollout(Φ, γ[:, None], x, offset).numpy()
        energy = charge @ room.capacities().numpy() / float(self.gain)
        soc = (own + v.copy(data=charge[..., 0]) / width).transpose(..., "time").assign_attrs(units="1")
        within = (soc >= -1e-9) & (soc <= 1 + 1e-9)
        most, least = self.baseline + self.charge_power, self.baseline - self.discharge_power
        return xr.Dataset(
            {
                "soc": soc,
                "indoor_temperature": self.temperature(soc),
                "energy": v.copy(data=energy).assign_attrs(units="kWh"),
                "is_within_band": within,
                "is_within_power": (most + 1e-9 >= P) & (least - 1e-9 <= P),
            }
        )

    def durations(self, offset: float) -> xr.DataArray:
        """How long power above (+) or below (-) the baseline can be held until the air meets the edge of its band.

        From each moment of the time axis, with the air where the baseline has it and the masses at rest with it, as if
        that moment's baseline, band and efficiency went on. The charge of the air rises as

            x_a(t) = b f |v| Σ_j w_j (1 - e^{-λ_j t})/λ_j

        monotone and concave, so that Newton's method from t = 0 meets the edge from below.

        Parameters
        ----------
        offset : v [kW]

        Returns
        -------
        (time,) [h]: inf where the edge is never met, NaN where the unit can't give that offset, 0 outside of the band

        Raises
        ------
        DataError
            If offset isn't finite.
        """
        if not np.isfinite(offset):
            raise DataError(f"offset is {offset}; it must be a finite power in kW")
        s, width = self.soc(self.indoor_temperature), self["highest"] - self["lowest"]
        room = ((1 - s) if offset > 0 else s) * width  # K that the baseline leaves
        rate = float(self._stores.plug) * self["gain_factor"] * abs(offset)  # K/h
        possible = offset <= self.charge_power + 1e-9 if offset > 0 else -offset <= self.discharge_power + 1e-9
        λ, w = (x.numpy() for x in self._stores.modes())
        if offset == 0:
            t = np.where(room.to_numpy() >= 0, np.inf, 0.0)
        else:
            t = _time_to_reach(np.maximum((room / rate).to_numpy(), 0.0), λ, w)
        t = np.where(possible.to_numpy(), t, np.nan)
        return self.baseline.copy(data=t).rename("duration").assign_attrs(units="h", long_name="until the band's edge")

    # --- how it looks ---

    def __repr__(self) -> str:
        """A table of the main numbers with their standard deviations and units."""
        first, *_, last = np.datetime_as_string(self._data["time"].to_numpy(), unit="m")
        head = f"Battery {self.unit!r} ({self.mode}, {self.stores.count} stores): {first} to {last}"
        rows = [f"{head}, every {self.step_hours * 60:g} min"]
        for name in (*SCALARS, *OVER_TIME):
            x, std = self[name], self[f"{name}_std"]
            place = "mean over time" if x.ndim else ""
            rows.append(
                f"  {name:<21}{float(x.mean()):>10.4g} ± {float(std.mean()):<9.3g} {unit_of(name):<6} {place}".rstrip()
            )
        return "\n".join(rows)

    def _labelled(self, values: Values, unit: str) -> xr.DataArray:
        """As an array on this battery's time axis, checked."""
        time = self._data["time"]
        if isinstance(values, xr.DataArray):
            got = values.attrs.get("units", unit)
            if got != unit:
                raise UnitsError(
                    f"{values.name or 'the array'} is in {got!r}, wanted {unit!r}; convert it before the call"
                )
            if "time" in values.dims and not (
                values.sizes["time"] == len(time) and bool((values["time"].to_numpy() == time.to_numpy()).all())
            ):
                raise DataError(
                    f"the array's time axis isn't that of battery {self.unit!r}, {len(time)} steps of {self.step_hours:g} h "
                    f"from {time.to_numpy()[0]}; select or resample it first"
                )
            found = values.drop_vars("unit", errors="ignore")
        else:
            x = np.asarray(values, dtype=np.float64)
            if x.shape not in {(), (len(time),)}:
                raise DataError(
                    f"an array without labels has the shape {x.shape}; it must be a number or (time,) = {len(time)}"
                )
            found = xr.DataArray(x) if x.ndim == 0 else xr.DataArray(x, dims="time", coords={"time": time})
        if not bool(np.isfinite(found).all()):
            raise DataError("the array holds values that aren't finite; fill or cut the gaps first")
        return found

    def _map(self, values: Values, unit: str, result: str, long_name: str, *, is_soc: bool) -> xr.DataArray:
        x, low, high = xr.broadcast(self._labelled(values, unit), self["lowest"], self["highest"])
        value, lowest, highest = (torch.from_numpy(np.array(a.to_numpy())) for a in (x, low, high))
        found = (soc_of if is_soc else temperature_of)(value, lowest, highest, self.mode)
        answer = x.copy(data=found.numpy()).transpose(..., "time").rename("soc" if is_soc else "temperature")
        answer.attrs = {"units": result, "long_name": long_name}
        return answer


def _time_to_reach(wanted: Floats, λ: Floats, w: Floats) -> Floats:
    """t with Σ_j w_j (1 - e^{-λ_j t})/λ_j = wanted (T,); inf where it is never reached."""

    def reached(t: Floats) -> Floats:
        z = λ * t[:, None]
        small = z < 1e-12
        return np.asarray((w * t[:, None] * np.where(small, 1.0, -np.expm1(-z) / np.where(small, 1.0, z))).sum(-1))

    limit = np.inf if (w[λ <= 1e-14] > 0).any() else float((w / np.where(λ > 0, λ, np.inf)).sum())
    is_met = wanted < limit
    t, goal = np.zeros(int(is_met.sum())), wanted[is_met]
    for _ in range(200):  # from below, quadratic near the end; ends when all stand still
        slope = (w * np.exp(-λ * t[:, None])).sum(-1)
        step = np.divide(goal - reached(t), slope, out=np.zeros_like(t), where=slope > 0)
        t = t + np.maximum(step, 0.0)
        if (step <= 1e-14 * t).all():
            break
    answer = np.full(len(wanted), np.inf)
    answer[is_met] = t
    return answer


def _step_hours(time: NDArray[np.datetime64]) -> float:
    return float((time[1] - time[0]) / np.timedelta64(3_600_000_000_000, "ns"))


def _check_band(lowest: Floats, highest: Floats, unit: str) -> None:
    if not (highest > lowest).all():
        raise DataError(
            f"the band of unit {unit!r} has a width of {float((highest - lowest).min()):g} K at its narrowest; highest must "
            f"be above lowest"
        )


def _check(data: xr.Dataset) -> None:
    wanted = [name + end for name in (*OVER_TIME, *SCALARS, "ko", "stores_gain") for end in ("", "_std")]
    missing = [name for name in (*wanted, "unit", "time") if name not in data.variables]
    if missing:
        raise DataError(
            f"the dataset lacks {missing}; a battery is made by Battery.from_draws or read from to_dataset()"
        )
    if data.attrs.get("mode") not in ("cooling", "heating"):
        raise DataError(f"attrs['mode'] is {data.attrs.get('mode')!r}; it must be 'cooling' or 'heating'")
    time = data["time"].to_numpy()
    steps = np.diff(time)
    if len(time) < 2 or not (steps == steps[0]).all() or not steps[0] > np.timedelta64(0, "ns"):
        raise DataError(
            "time must have two stamps or more, rising and equally spaced; they are the ends of the intervals"
        )
    for name in wanted:
        unit = unit_of(name.removesuffix("_std"))
        if data[name].attrs.get("units") != unit:
            raise UnitsError(f"{name} is in {data[name].attrs.get('units')!r}, wanted {unit!r}; convert it first")
        if not bool(np.isfinite(data[name]).all()):
            raise DataError(f"{name} holds values that aren't finite; a battery needs all of them")
    _check_band(data["lowest"].to_numpy(), data["highest"].to_numpy(), str(data["unit"].item()))
