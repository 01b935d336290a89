"""Virtual batteries: what a new air conditioner can do for the grid, from its first days of readings.

The claims: a room met for two and a half days is foretold over 24 h better than by any linear black box with the same help,
and by half and less of the error of one that knows this room alone; extra power never warms a room; and a fleet delivers on
a demand-response day what it promised the midnight before. The rooms were simulated by EnergyPlus and ship with the library;
newcomers are seen by no model before, a quarter of them in a climate that no model has seen.

Run it as it is (twelve known rooms and eight newcomers, some minutes), or with --full for a hundred rooms, an LSTM among the
rivals and all training windows (about half an hour).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import spearmanr

from surrogates import AdaptedUnits, FittedVirtualBattery, VirtualBatteryNet
from surrogates.battery import Records, read
from surrogates.battery.baselines import ARX, LSTM, Baseline, Fitted, HierarchicalARX, OutputError, Persistence
from surrogates.battery.protocol import deliveries, judge, population_rows, splits
from surrogates.datasets import Rooms, air_conditioned_rooms
from surrogates.plots import COLOURS, LINES, MARKERS, PAGE, letters, save, style

matplotlib.use("Agg")  # no window: the figures go to files
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OUTPUT = Path(__file__).parent / "output"
SHARES = (0.01, 0.02, 0.06, 0.20, 0.70)
OURS = "VirtualBatteryNet"
BAND = 5.0  # K from empty to full


def rivals(full: bool) -> dict[str, Baseline]:
    """What has to be beaten; all see the same readings, weather and sun on the facades."""
    linear: dict[str, Baseline] = {
        "persistence": Persistence(),
        "1R1C output error": OutputError(stores=1),
        "2R2C output error": OutputError(stores=2),
        "ARX(8), own data": ARX(),
        "hierarchical ARX": HierarchicalARX(),
    }
    return linear | {"LSTM": LSTM()} if full else linear


def cold_starts(
    methods: dict[str, Fitted], newcomers: Records, climates: list[str], every_window: bool
) -> pd.DataFrame:
    """One row per method, share of the history, window and newcomer: error over 24 h [K]."""
    rows = []
    chosen = splits(newcomers.steps, shares=SHARES)
    if not every_window:
        chosen = tuple({split.share: split for split in reversed(chosen)}.values())  # the latest of each share
    for split in sorted(chosen):
        past = newcomers.during(split.first, split.last)
        for name, method in methods.items():
            forecaster = method.adapt(past)
            rmse = judge(forecaster.forecast(newcomers, split.starts, split.horizon), newcomers, split.starts)
            rows += [
                {"method": name, "share": split.share, "unit": unit, "climate": climate, "K": error}
                for unit, climate, error in zip(newcomers.unit, climates, rmse, strict=True)
            ]
    return pd.DataFrame(rows)


def scores(errors: pd.DataFrame) -> pd.DataFrame:
    """Means over newcomers [K], SOC (a band of 5 K) beside them; the unseen climate by itself."""
    means = errors.pivot_table(index="method", columns="share", values="K", sort=False)
    unseen = errors[errors["climate"] == "Golden"].pivot_table(index="method", columns="share", values="K", sort=False)
    parts = {"K": means, "SOC": means / BAND, "K, unseen climate": unseen}
    table = pd.concat(parts, axis=1)
    return table.rename(columns=lambda x: f"{x:.0%}" if isinstance(x, float) else x)


def recovered(units: AdaptedUnits, records: Records, rooms: Rooms) -> pd.DataFrame:
    """What can be known of rooms, fitted and true, in electric power and energy.

    Capacities and efficiencies by themselves can't be told from temperature and power; their ratios can.
    """
    found, truth = units.parameters, rooms.parameters.sel(unit=list(units.units))
    facades = list(truth["facade"].values)
    rate = {name: found["rate_of_exchange"].sel(rate=name, drop=True).to_numpy() for name in found["rate"].values}
    per_power = found["cooling"].to_numpy() / units.memory.rated_power  # K/h per kW
    into_air = rate["air to mass"] / (rate["mass to air"] + rate["mass to outdoor"])  # what heat in the mass is worth
    loss = rate["air to outdoor"] + into_air * rate["mass to outdoor"]
    gains = found["sun_on_air"].to_numpy() + into_air[:, None] * found["sun_on_mass"].to_numpy()  # (unit, 5 surfaces)
    mean_sun = records.irradiance.mean(axis=1) / 1000  # kW/m², the same surfaces, the horizontal one first
    true_sun = (truth["solar_aperture"].sel(facade=facades).to_numpy() * mean_sun[:, 1:]).sum(axis=1)
    cop = truth["cop"].to_numpy()
    columns = {
        "loss [kW/K]": loss / per_power,
        "true loss": truth["heat_loss_coefficient"].to_numpy() / 1000 / cop,
        "sun, mean [kW]": (gains * mean_sun).sum(axis=1) / per_power,
        "true sun": true_sun / cop,
        "capacity [kWh/K]": (1 + rate["air to mass"] / rate["mass to air"]) / per_power,
        "true capacity": truth["thermal_capacity_inside"].to_numpy() / cop,
    }
    return pd.DataFrame(columns, index=list(units.units))


def draw(
    errors: pd.DataFrame, forecast: xr.Dataset, truth: xr.DataArray, days: xr.Dataset, numbers: pd.DataFrame, path: Path
) -> None:
    """Cold starts, one forecast, the demand-response days, and numbers against the truth."""
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(PAGE, 5.6))
        draw_cold_starts(axes[0, 0], errors)
        draw_forecast(axes[0, 1], forecast, truth)
        draw_days(axes[1, 0], days)
        draw_numbers(axes[1, 1], numbers)
        letters(axes.ravel())
        save(figure, path)


def draw_cold_starts(ax: Axes, errors: pd.DataFrame) -> None:
    """Means over newcomers, with twice their standard errors."""
    grouped = errors.groupby(["share", "method"], sort=False)["K"]
    means, reach = grouped.mean().unstack(), 2 * grouped.sem().unstack()
    others = [name for name in means if name != OURS]
    for k, name in enumerate([OURS, *others]):
        look: dict[str, Any] = {"fmt": MARKERS[k] + LINES[k % len(LINES)], "color": COLOURS[k], "lw": 0.9 if k else 1.8}
        places = 100 * means.index.to_numpy() * 1.03 ** (k - 3)
        ax.errorbar(places, means[name], reach[name], elinewidth=0.6, label=name, **look)
    ax.set(xscale="log", yscale="log", ylim=(None, 20))
    for axis, ticks in ((ax.xaxis, (1, 2, 6, 20, 70)), (ax.yaxis, (0.3, 0.5, 1, 2, 4))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set(xlabel="history of the new room (% of four months)", ylabel="error over 24 h (K)")
    ax.set(title="cold start; mean ± 2 standard errors")
    ax.minorticks_off()
    ax.legend(loc="upper right", ncols=2, fontsize=6.5)


def draw_forecast(ax: Axes, forecast: xr.Dataset, truth: xr.DataArray) -> None:
    """A day ahead, and what was measured."""
    hours = (forecast["time"] - forecast["time"][0]).to_numpy() / np.timedelta64(1, "h") + 0.25
    low, high = (forecast[name].to_numpy() for name in ("lower", "upper"))
    ax.fill_between(hours, low, high, color=COLOURS[0], alpha=0.25, lw=0, label="90 % interval")
    ax.plot(hours, forecast["temperature"], color=COLOURS[0], label="forecast")
    ax.plot(hours, truth, "k.", ms=2.5, label="measured afterwards")
    ax.set(title=f"{forecast['unit'].item()}, met for 2.5 days", xticks=range(0, 25, 6))
    ax.set(xlabel="hours ahead (h)", ylabel="indoor temperature (°C)")
    ax.margins(y=0.25)
    ax.legend()


def draw_days(ax: Axes, days: xr.Dataset) -> None:
    """What a fleet promised and delivered."""
    promised, low, high = (days[f"fleet_promised{end}"].to_numpy() for end in ("", "_lower", "_upper"))
    place, reach = np.arange(days.sizes["event"]), [promised - low, high - promised]
    ax.bar(place - 0.2, promised, 0.4, yerr=reach, color=COLOURS[0], label="promised at midnight, 90 %")
    ax.bar(place + 0.2, days["fleet_delivered"], 0.4, color="0.6", hatch="//", edgecolor="white", label="delivered")
    ax.set(xticks=place, xticklabels=[str(day)[5:10] for day in days["event"].values], ylim=(0, 1.35 * high.max()))
    ax.set(xlabel="event (month-day)", ylabel="energy of the fleet (kWh)", title="24 to 26 °C from 14 to 17 h")
    ax.legend()


def draw_numbers(ax: Axes, numbers: pd.DataFrame) -> None:
    """What rooms are, with rank correlations and their 90 % intervals over resampled rooms."""
    ends = [np.inf, -np.inf]
    for k, name in enumerate(("loss [kW/K]", "sun, mean [kW]", "capacity [kWh/K]")):
        short = name.split(" ")[0].rstrip(",")
        true, fitted = numbers[f"true {short}"].to_numpy(), numbers[name].to_numpy()
        rank = spearmanr(true, fitted).statistic
        again = np.random.default_rng(k).integers(len(true), size=(200, len(true)))
        low, high = np.nanquantile([spearmanr(true[i], fitted[i]).statistic for i in again], (0.05, 0.95))
        told = f"{short}, rank correlation {rank:.2f} [{low:.2f}, {high:.2f}]"
        x, y = true / np.median(true), fitted / np.median(true)
        ax.loglog(x, y, ls="none", marker=MARKERS[k], ms=2.5, label=told, color=COLOURS[k])
        ends = [min(ends[0], x.min(), y.min()), max(ends[1], x.max(), y.max())]
    ax.plot(ends, ends, "k-", lw=0.7)
    ax.set(xlabel="true / median (1)", ylabel="fitted / median of the true (1)", title="what rooms are, electric")
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_tick_params(which="minor", labelleft=False, labelbottom=False)
    ax.set(xlim=(0.8 * ends[0], 1.25 * ends[1]), ylim=(0.8 * ends[0], 6 * ends[1]))
    ax.legend(loc="upper left")


def main() -> None:
    """Fit, meet newcomers, compare, promise, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="a hundred rooms, an LSTM, all training windows")
    options = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)

    rooms = air_conditioned_rooms()
    known, new = (slice(None), slice(None)) if options.full else (slice(0, None, 4), slice(0, None, 7))
    population = population_rows(read(rooms.population.isel(unit=known)))
    newcomers = read(rooms.newcomers.isel(unit=new))
    climates = rooms.newcomers["climate"].isel(unit=new).values.tolist()

    began = time.perf_counter()
    net = VirtualBatteryNet().fit(population)
    print(net.report, f"\n  with reading and rehearsals: {time.perf_counter() - began:.0f} s\n")
    net.save(OUTPUT / "virtual_battery.surrogate")
    methods = {name: rival.fit(population) for name, rival in rivals(options.full).items()}
    errors = cold_starts(methods | {OURS: net}, newcomers, climates, options.full)
    table = scores(errors)
    print("24-h error of newcomers by share of the history, mean [K]; SOC of a band of 5 K:\n")
    print(table.round(3).to_string(), "\n")
    table.to_csv(OUTPUT / "virtual_battery.csv")

    forecast, truth, battery = one_newcomer(net, rooms)
    print(battery, "\n")
    met = net.adapt(newcomers.during(round(0.68 * newcomers.steps), round(0.70 * newcomers.steps)))
    days = fleet_days(net, met, rooms)
    print("the fleet's promises at midnight, and what it delivered [kWh]:\n")
    print(days.to_dataframe().round(3).to_string(), "\n")
    numbers = recovered(net.population, population, rooms)
    draw(errors, forecast, truth, days, numbers, OUTPUT / "virtual_battery")
    print(
        "figure, table and fitted model:", *sorted(path.name for path in OUTPUT.glob("virtual_battery.*")), "in", OUTPUT
    )
    means = errors.groupby(["share", "method"])["K"].mean().unstack()
    assert (means[OURS] < means["ARX(8), own data"]).all(), "sharing should beat each unit by itself"


def one_newcomer(net: FittedVirtualBattery, rooms: Rooms) -> tuple[xr.Dataset, xr.DataArray, object]:
    """A new unit: two and a half days of readings, a forecast, a battery."""
    unit = net.adapt(rooms.newcomers.isel(unit=0, time=slice(0, 240)))
    tomorrow = rooms.newcomers.isel(unit=0, time=slice(240, 336))
    ahead = tomorrow.drop_vars("indoor_temperature")
    return unit.predict(ahead), tomorrow["indoor_temperature"], unit.battery(ahead)


def fleet_days(net: FittedVirtualBattery, met: AdaptedUnits, rooms: Rooms) -> xr.Dataset:
    """Promises and deliveries of all units together, one row per demand-response day."""
    steady, shed = rooms.twin("steady"), rooms.twin("shed")
    parts = [deliveries(units, steady, shed) for units in (net.population, met)]
    total = {name: parts[0][name] + parts[1][name] for name in ("fleet_promised", "fleet_delivered")}
    for end in ("_lower", "_upper"):  # most of the error is shared by both parts, so that distances from the middle add
        total[f"fleet_promised{end}"] = parts[0][f"fleet_promised{end}"] + parts[1][f"fleet_promised{end}"]
    answer = xr.Dataset(total)
    return answer.assign(delivered_over_promised=answer["fleet_delivered"] / answer["fleet_promised"])


if __name__ == "__main__":
    main()
