"""Virtual batteries: what a new air conditioner can do for the grid, from its first days of readings.

The claims: a room met for two and a half days is foretold over 24 h better than by any linear black box with the same help,
and by half and less of the error of one that knows this room alone; extra power never warms a room; and a fleet of a hundred
rooms delivers on a demand-response day what it promised the midnight before. The rooms were simulated by EnergyPlus and ship
with the library; newcomers are seen by no model before, a quarter of them in a climate that no model has seen.

Run it as it is (some minutes on two cores), with --quick for a few rooms, or with --full for all training windows.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

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

matplotlib.use("Agg")  # no window: the figures go to files
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "output"
SHARES = (0.01, 0.02, 0.06, 0.20, 0.70)
OURS = "VirtualBatteryNet"
BAND = 5.0  # K from empty to full
COLOURS = {OURS: "#0072B2", "hierarchical ARX": "#D55E00"}


def rivals(quick: bool) -> dict[str, Baseline]:
    """What has to be beaten; all see the same readings, weather and sun on the facades."""
    linear: dict[str, Baseline] = {
        "persistence": Persistence(),
        "1R1C output error": OutputError(stores=1),
        "2R2C output error": OutputError(stores=2),
        "ARX(8), own data": ARX(),
        "hierarchical ARX": HierarchicalARX(),
    }
    return linear if quick else linear | {"LSTM": LSTM()}


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
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    means = errors.pivot_table(index="share", columns="method", values="K", sort=False)
    ax = axes[0, 0]
    for name in means:
        width = 2.5 if name == OURS else 1.2
        ax.plot(100 * means.index, means[name], "o-", label=name, color=COLOURS.get(str(name)), lw=width)
    ax.set(xscale="log", yscale="log", ylim=(None, 9), xlabel="history of the new unit [% of four months]")
    ax.set(title="cold start of new units", xticks=[1, 2, 6, 20, 70], xticklabels=["1", "2", "6", "20", "70"])
    ax.set(ylabel="error over 24 h [K]", yticks=[0.3, 0.5, 1, 2], yticklabels=["0.3", "0.5", "1", "2"])
    ax.minorticks_off()
    ax.legend(loc="upper right", ncols=2)
    ax = axes[0, 1]
    ax.fill_between(
        forecast["time"], forecast["lower"], forecast["upper"], color=COLOURS[OURS], alpha=0.25, label="90 %"
    )
    ax.plot(forecast["time"], forecast["temperature"], color=COLOURS[OURS], label="forecast")
    ax.plot(truth["time"], truth, "k.", ms=3, label="measured afterwards")
    ax.set(title=f"{forecast['unit'].item()}, met for 2.4 days: the next 24 h", ylabel="indoor temperature [degC]")
    ax.tick_params(axis="x", rotation=30)
    ax.legend()
    ax = axes[1, 0]
    promised, low, high = (days[f"fleet_promised{end}"] for end in ("", "_lower", "_upper"))
    place = np.arange(days.sizes["event"])
    ax.bar(
        place - 0.2,
        promised,
        0.4,
        yerr=[promised - low, high - promised],
        label="promised at midnight, 90 %",
        color=COLOURS[OURS],
    )
    ax.bar(place + 0.2, days["fleet_delivered"], 0.4, label="delivered", color="0.4")
    ax.set(
        xticks=place, xticklabels=[str(day)[5:10] for day in days["event"].values], ylabel="energy of the fleet [kWh]"
    )
    ax.set(title="demand response: 24 to 26 degC from 14 to 17 h")
    ax.legend()
    ax = axes[1, 1]
    for k, name in enumerate(("loss [kW/K]", "sun, mean [kW]", "capacity [kWh/K]")):
        short = name.split(" ")[0].rstrip(",")
        true = numbers[f"true {short}"]
        rank = spearmanr(true, numbers[name]).statistic
        told = f"{short}, rank correlation {rank:.2f}"
        ax.loglog(true / true.median(), numbers[name] / true.median(), ".", label=told, color=f"C{k}")
    ends = ax.get_xlim()
    ax.plot(ends, ends, "k-", lw=0.7)
    ax.set(title="what rooms are, electric", xlabel="true / median", ylabel="fitted / median of the true")
    ax.legend()
    figure.savefig(path, dpi=130)


def main() -> None:
    """Fit, meet newcomers, compare, promise, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="twelve rooms and eight newcomers, no LSTM")
    parser.add_argument("--full", action="store_true", help="all training windows")
    options = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)

    rooms = air_conditioned_rooms()
    known, new = (slice(0, None, 4), slice(0, None, 7)) if options.quick else (slice(None), slice(None))
    population = population_rows(read(rooms.population.isel(unit=known)))
    newcomers = read(rooms.newcomers.isel(unit=new))
    climates = rooms.newcomers["climate"].isel(unit=new).values.tolist()

    began = time.perf_counter()
    net = VirtualBatteryNet().fit(population)
    print(net.report, f"\n  with reading and rehearsals: {time.perf_counter() - began:.0f} s\n")
    net.save(OUTPUT / "virtual_battery.surrogate")
    methods = {name: rival.fit(population) for name, rival in rivals(options.quick).items()}
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
    draw(errors, forecast, truth, days, numbers, OUTPUT / "virtual_battery.png")
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
