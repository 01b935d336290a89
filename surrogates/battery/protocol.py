"""How forecasters of room temperature are judged: cold starts of new units, 24 h open loop, and counterfactual twins.

Population units give the first 70 % of the time and nothing of the test period, the last 20 %, in which newcomers are
judged; these give 1, 2, 6, 20 or 70 % of the time to train on, in windows that end at several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError

from .baselines import Forecaster
from .records import Floats, Records

Integers = NDArray[np.int64]
#: shares of the time that a newcomer trains on, and the shares at which these windows end
ENDS = {0.01: (0.70, 0.55, 0.40), 0.02: (0.70, 0.55, 0.40), 0.06: (0.70, 0.55, 0.40), 0.20: (0.70, 0.50), 0.70: (0.70,)}
POPULATION_SHARE, TEST_SHARE = 0.7, 0.2
#: steps between starts; odd, so that all hours of the day occur
STRIDE = 37


class Split(NamedTuple):
    """One training window of the newcomers, and the starts they are judged from.

    share : of the time, nominal
    first, last : training rows first .. last - 1
    starts : (S,) rows of the test period
    horizon : H, steps
    """

    share: float
    first: int
    last: int
    starts: Integers
    horizon: int


def splits(steps: int, *, horizon: int = 96, shares: tuple[float, ...] = (0.02, 0.06, 0.20, 0.70)) -> tuple[Split, ...]:
    """All training windows of the given shares over a period of `steps` rows.

    Raises
    ------
    DataError
        If the test period is shorter than the horizon, or a share has no windows.
    """
    first_test = round((1 - TEST_SHARE) * steps)
    starts = np.arange(first_test, steps - horizon, STRIDE)
    if not len(starts):
        raise DataError(f"the last {TEST_SHARE:.0%} of {steps} steps are too short for a horizon of {horizon} steps")
    found = []
    for share in shares:
        if share not in ENDS:
            raise DataError(f"share {share} has no windows; known are {', '.join(map(str, ENDS))}")
        for end in ENDS[share]:
            last = round(end * steps)
            found.append(Split(share, max(last - round(share * steps), 0), last, starts, horizon))
    return tuple(found)


def population_rows(records: Records) -> Records:
    """What a population may show: the first 70 % of the time."""
    return records.during(0, round(POPULATION_SHARE * records.steps))


def judge(forecast: Floats, records: Records, starts: Integers) -> Floats:
    """Root mean square error of each unit, pooled over starts and horizon [K].

    Rows without a measured temperature don't count, nor do those after a row of unknown power or weather in the same window.
    (U, S, H) -> (U,), NaN for units without a row that counts
    """
    ahead = starts[:, None] + np.arange(1, forecast.shape[2] + 1)
    truth = records.indoor[:, ahead]
    counts = np.isfinite(truth) & np.logical_and.accumulate(records.is_known[:, ahead], axis=2)
    square = np.where(counts, (forecast - np.where(counts, truth, 0.0)) ** 2, 0.0).sum(axis=(1, 2))
    n = counts.sum(axis=(1, 2))
    return np.where(n > 0, np.sqrt(square / np.maximum(n, 1)), np.nan)


class Paired(NamedTuple):
    """Mean of a - b over units, its standard error, and the share of units in which b is lower."""

    difference: float
    standard_error: float
    share_lower: float


def paired(a: Floats, b: Floats) -> Paired:
    """What b saves against a, unit by unit.  (U,) each; units that either lacks are left out."""
    gap = (a - b)[np.isfinite(a - b)]
    if len(gap) < 2:
        raise DataError(f"{len(gap)} units have both figures; a standard error needs at least two")
    return Paired(float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap))), float((gap > 0).mean()))


def table(scores: Mapping[str, Mapping[float, Floats]]) -> pd.DataFrame:
    """Mean and median over units by method and data size; `scores[method][share]` is (U,) [K]."""
    rows = {
        method: {
            (f"{share:.0%}", figure): getattr(np, f"nan{figure}")(values)
            for share, values in by_share.items()
            for figure in ("mean", "median")
        }
        for method, by_share in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


class Response(NamedTuple):
    """Predicted against true response to a change of power.

    error : (U,) root mean square error of the response [K]
    share : (U,) Σ predicted / Σ true; 1 is right, below 1 the effect of power is underrated
    """

    error: Floats
    share: Floats


def response_share(
    forecaster: Forecaster, base: Records, twin: Records, events: Integers, horizon: int = 16
) -> Response:
    """How well a forecaster foretells what changed power does.

    Both runs share the past up to each event's start (the forecaster sees that of `base`); the response is the
    forecast under the twin's power less that under the base's, the truth T_twin - T_base, over `horizon` steps.

    Parameters
    ----------
    forecaster : adapted to the same units
    base, twin : records of the same units and times that differ by power and what follows from it
    events : (S,) last rows before each event
    horizon : steps after each event's start (16: 4 h of 15 min)
    """
    if base.units != twin.units or base.steps != twin.steps:
        raise DataError(
            f"base has {base.units} units over {base.steps} steps, twin {twin.units} over {twin.steps}; they must be "
            "runs of the same units over the same time"
        )
    ahead = events[:, None] + np.arange(1, horizon + 1)
    truth = (twin.indoor - base.indoor)[:, ahead]
    predicted = np.empty(truth.shape)
    calm = forecaster.forecast(base, events, horizon)
    for k, event in enumerate(events):  # each event alone: earlier events mustn't show in its past
        rows = np.arange(base.steps) > event
        mixed = replace(base, power=np.where(rows, twin.power, base.power))
        predicted[:, k] = forecaster.forecast(mixed, events[k : k + 1], horizon)[:, 0] - calm[:, k]
    fine = np.isfinite(truth)
    n = np.maximum(fine.sum(axis=(1, 2)), 1)
    error = np.sqrt(np.where(fine, (predicted - truth) ** 2, 0.0).sum(axis=(1, 2)) / n)
    total = np.where(fine, truth, 0.0).sum(axis=(1, 2))
    return Response(error, np.where(fine, predicted, 0.0).sum(axis=(1, 2)) / np.where(total == 0, np.nan, total))


class Promises(Protocol):
    """What promises energy, as `AdaptedUnits` does."""

    @property
    def units(self) -> tuple[str, ...]:
        """Labels."""
        ...

    def promise(
        self, data: xr.Dataset, set_point: xr.DataArray, *, instead_of: xr.DataArray, start: np.datetime64
    ) -> xr.Dataset:
        """Energy of an event; see `AdaptedUnits.promise`."""
        ...


def deliveries(units: Promises, usual: xr.Dataset, event: xr.Dataset, *, past_days: int = 8) -> xr.Dataset:
    """What units promised at midnight before each demand-response day, and what they then delivered.

    Parameters
    ----------
    units : adapted, or a population's
    usual, event : twins, runs of the same units (and perhaps of others) under the usual set-points and under those of the
        events, with weather; `event` has is_event over time. Set-points are those of the first unit
    past_days : readings of the usual run that come before each midnight, if there are so many

    Returns
    -------
    xr.Dataset
        promised [kWh], with `_lower` and `_upper` (90 % interval), and delivered, over (event, unit), and fleet_promised
        (with both) and fleet_delivered over event, whose coordinate is the day
    """
    usual, event = (run.sel(unit=list(units.units)) for run in (usual, event))
    step = usual["time"][1] - usual["time"][0]
    days = np.unique((event["time"] - step)[event["is_event"]].to_numpy().astype("datetime64[D]"))
    found = []
    for day in days:
        midnight = day.astype("datetime64[ns]")
        first = midnight - np.timedelta64(past_days, "D")
        if first < (usual["time"][0] - step).to_numpy():
            first = (usual["time"][0] - step).to_numpy()
        around = usual.sel(time=slice(first + step.to_numpy(), midnight + np.timedelta64(1, "D")))
        wanted, normal = (run["set_point"].isel(unit=0, drop=True) for run in (event, usual))
        told = units.promise(around, wanted, instead_of=normal, start=midnight)
        rows = (usual["time"] > midnight) & (usual["time"] <= midnight + np.timedelta64(1, "D")) & event["is_event"]
        hours = float(step / np.timedelta64(1, "h"))
        delivered = (usual["power"] - event["power"]).where(rows, 0.0).sum("time") * hours
        ends = ("", "_lower", "_upper")
        values = {f"{head}promised{end}": told[f"{head}energy{end}"] for head in ("", "fleet_") for end in ends}
        values |= {"delivered": delivered, "fleet_delivered": delivered.sum("unit")}
        found.append(xr.Dataset(values))
    return xr.concat(found, dim=pd.Index(days.astype("datetime64[ns]"), name="event"))
