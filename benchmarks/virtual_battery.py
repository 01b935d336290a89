"""What a virtual battery is worth on rooms that no model saw: accuracy, honesty, promises, seconds.

    python benchmarks/virtual_battery.py [--rooms FILE ...] [--peers none|linear|all] [--parts accuracy fleet ...]

Every set of rooms (files of `python -m surrogates.datasets.rooms --seed N --out FILE`; the shipped one, if none is given) is
a population of 48, which gives the first 70 % of the time, and 52 newcomers, who are judged in the last 20 % by what they
gave before: open loop over 24 h, with true power and weather. Rivals see the same. Errors are means over newcomers and
training windows, differences are paired by newcomer. One BLAS thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

from surrogates import FittedVirtualBattery, VirtualBatteryNet
from surrogates.battery import Records, read
from surrogates.battery.baselines import ARX, LSTM, Baseline, Fitted, HierarchicalARX, OutputError, Persistence
from surrogates.battery.calibration import NINETY
from surrogates.battery.protocol import deliveries, judge, paired, population_rows, response_share, splits
from surrogates.battery.records import Floats
from surrogates.datasets import Rooms, air_conditioned_rooms
from surrogates.datasets.rooms import read_rooms
from surrogates.physics.virtual_battery import linear_recurrence

OURS, PLAIN, BEST = "VirtualBatteryNet", "ours without encoder", "hierarchical ARX"
LINEAR: dict[str, Baseline] = {
    PLAIN: VirtualBatteryNet(encoder=None),
    BEST: HierarchicalARX(),
    "ARX(8), own data": ARX(),
}
OTHERS: dict[str, Baseline] = {
    "persistence": Persistence(),
    "1R1C": OutputError(stores=1),
    "2R2C": OutputError(stores=2),
    "LSTM": LSTM(),
}
SHARES = (0.02, 0.06, 0.20, 0.70)
HORIZONS = (1, 3, 6, 12, 24)  # h


def accuracy(methods: Mapping[str, Fitted], rooms: Rooms) -> pd.DataFrame:
    """Errors [K] by method, share and newcomer, and whether 90 % intervals of ours hold by horizon."""
    newcomers = read(rooms.newcomers)
    climates = rooms.newcomers["climate"].values
    rows = []
    for split in splits(newcomers.steps, shares=SHARES):
        past = newcomers.during(split.first, split.last)
        for name, method in methods.items():
            forecaster = method.adapt(past)
            forecast = forecaster.forecast(newcomers, split.starts, split.horizon)
            values: dict[str, Floats] = {"K": judge(forecast, newcomers, split.starts)}
            if name == OURS:
                values |= _covered(forecast, forecaster.prints.deviation, newcomers, split.starts)  # type: ignore[attr-defined]
            about = {"method": name, "share": split.share, "unit": newcomers.unit, "climate": climates}
            rows.append(pd.DataFrame(about | values))
    return pd.concat(rows)


def _covered(forecast: Floats, deviation: Floats, records: Records, starts: np.ndarray) -> dict[str, Floats]:
    """Share of starts whose truth lies in the 90 % interval, by horizon, and the width of that after 24 h."""
    per_hour = round(1 / records.step_hours)
    truth = records.indoor[:, starts[:, None] + np.arange(1, forecast.shape[2] + 1)]
    inside = np.abs(forecast - truth) <= NINETY * deviation[:, None, : forecast.shape[2]]
    found = {f"{h} h": inside[:, :, h * per_hour - 1].mean(1) for h in HORIZONS}
    return {**found, "std 24 h": deviation[:, -1]}


def told(errors: pd.DataFrame) -> None:
    """Tables of errors, of differences to the best rival, and of coverage."""
    by_unit = errors.groupby(["method", "share", "unit"])["K"].mean()
    print("\nerror over 24 h, mean over newcomers [K]\n")
    print(by_unit.groupby(["method", "share"]).mean().unstack().round(3).to_string())
    unseen = errors[errors["climate"] == "Golden"]
    print("\nthe same in the climate that no population unit saw [K]\n")
    print(unseen.groupby(["method", "share"])["K"].mean().unstack().round(3).to_string())
    for name in [name for name in (BEST, "ARX(8), own data", PLAIN) if name in by_unit.index.get_level_values(0)]:
        print(f"\nsaved against {name}, paired by newcomer")
        for share in SHARES:
            theirs, ours = by_unit[name, share], by_unit[OURS, share]
            gap = paired(theirs.to_numpy(), ours.loc[theirs.index].to_numpy())
            less, lower = 100 * gap.difference / theirs.mean(), gap.share_lower
            print(
                f"  {share:4.0%}  {gap.difference:.3f} ± {gap.standard_error:.3f} K, {less:.1f} % of its error; "
                f"lower in {lower:.0%} of the newcomers"
            )
    own = errors[errors["method"] == OURS]
    names = [f"{h} h" for h in HORIZONS]
    print("\nshare of truths inside of 90 % intervals, by horizon\n")
    print(own.groupby("share")[[*names, "std 24 h"]].mean().round(3).to_string())


def responses(methods: Mapping[str, Fitted], rooms: Rooms) -> None:
    """Counterfactual days: what 0.7 K less for four hours, re-simulated by EnergyPlus, does to the room."""
    twin = rooms.twin("precool")
    base = rooms.newcomers.sel(time=twin["time"])
    first, second = read(base), read(twin.drop_vars("is_event"))
    is_event = twin["is_event"].to_numpy()
    events = np.nonzero(is_event[1:] & ~is_event[:-1])[0]
    newcomers = read(rooms.newcomers)
    print(
        "\nresponse to changed power over 4 h: share of the true cooling [mean ± s.e. over newcomers], error [K]; warming\n"
    )
    for split in (s for s in splits(newcomers.steps, shares=SHARES) if s.last == round(0.7 * newcomers.steps)):
        for name, method in methods.items():
            forecaster = method.adapt(newcomers.during(split.first, split.last))
            found = response_share(forecaster, first, second, events)
            day = response_share(forecaster, first, second, events, horizon=first.steps_per_day)
            warms = _warms(forecaster, first, events[:1])
            spread = found.share.std(ddof=1) / np.sqrt(len(found.share))
            print(
                f"  {split.share:4.0%} {name:20s} {found.share.mean():.3f} ± {spread:.3f}   {found.error.mean():.3f} K, "
                f"over a day {day.error.mean():.3f} K   warms in {warms:.0%} of fits"
            )


def _warms(forecaster: object, records: Records, starts: np.ndarray) -> float:
    """Share of units in which a tenth of the rated power for 4 h ever warms the room by more than 0.01 K."""
    more = records.power.copy()
    more[:, starts[0] + 1 : starts[0] + 17] += 0.1 * records.rated_power[:, None]
    horizon = 96
    calm = forecaster.forecast(records, starts, horizon)  # type: ignore[attr-defined]
    pushed = forecaster.forecast(replace(records, power=more), starts, horizon)  # type: ignore[attr-defined]
    return float(((pushed - calm).max(axis=(1, 2)) > 0.01).mean())


def fleet(net: FittedVirtualBattery, rooms: Rooms) -> None:
    """Demand-response days of a hundred units, newcomers met for 2.4 days and for 70 % of the time."""
    steady, shed = rooms.twin("steady"), rooms.twin("shed")
    newcomers = read(rooms.newcomers)
    parts = {"population": net.population}
    for share in (0.02, 0.70):
        last = round(0.7 * newcomers.steps)
        past = newcomers.during(last - round(share * newcomers.steps), last)
        parts[f"newcomers, {share:.0%}"] = net.adapt(past)
    days = {name: deliveries(units, steady, shed) for name, units in parts.items()}
    print(
        "\ndemand response, 24 to 26 degC from 14 to 17 h: delivered over promised, and whether within the 90 % interval\n"
    )
    for name, told_ in days.items():
        ratio = told_["fleet_delivered"] / told_["fleet_promised"]
        inside = _inside(told_, "fleet_delivered", "fleet_promised")
        units = _inside(told_, "delivered", "promised")
        print(
            f"  {name:16s} {_listed(ratio)}   mean {float(ratio.mean()):.3f}; fleet inside on {int(inside.sum())} of "
            f"{inside.size} days, units in {float(units.mean()):.0%}"
        )
    for late in [name for name in days if name != "population"]:
        promised = days["population"]["fleet_promised"] + days[late]["fleet_promised"]
        delivered = days["population"]["fleet_delivered"] + days[late]["fleet_delivered"]
        ratio = delivered / promised
        within = int((np.abs(ratio - 1) <= 0.05).sum())
        print(
            f"  100 units ({late}): {_listed(ratio)}; mean {float(ratio.mean()):.3f}, within 5 % on {within} of "
            f"{ratio.size} days"
        )


def _listed(values: xr.DataArray) -> str:
    return " ".join(f"{x:.3f}" for x in values.values)


def _inside(told_: xr.Dataset, truth: str, promise: str) -> xr.DataArray:
    return (told_[truth] >= told_[f"{promise}_lower"]) & (told_[truth] <= told_[f"{promise}_upper"])


def speed(net: FittedVirtualBattery, rooms: Rooms) -> None:
    """Adaptation of one unit, and a rollout against step-by-step autograd and against an LSTM."""
    newcomers = read(rooms.newcomers)
    for share in (0.02, 0.06, 0.20):
        last = round(0.7 * newcomers.steps)
        past = newcomers.during(last - round(share * newcomers.steps), last)
        alone = [_seconds(lambda u=u, past=past: net.adapt(past.of(np.array([u]))), 1) for u in range(8)]
        together = _seconds(lambda past=past: net.adapt(past), 1)
        print(
            f"  adapt from {share:.0%}: one unit {np.median(alone):.3f} s (largest {max(alone):.3f}), "
            f"52 together {together:.2f} s"
        )
    U, W, H, n = 16, 16, 96, 4
    g = torch.Generator().manual_seed(0)
    A = (0.2 * torch.rand(U, n, n, generator=g, dtype=torch.float64)).requires_grad_()
    x = torch.rand(U, n, W, generator=g, dtype=torch.float64)
    f = torch.rand(H, U, n, W, generator=g, dtype=torch.float64).requires_grad_()
    network = torch.nn.LSTM(14, 48, batch_first=True, dtype=torch.float64)
    inputs = torch.rand(U * W, H, 14, generator=g, dtype=torch.float64)
    roads = {
        "hand adjoint": lambda: torch.autograd.backward(linear_recurrence(A, x, f).square().sum()),
        "loop of einsum": lambda: torch.autograd.backward(_loop(A, x, f, einsum=True).square().sum()),
        "loop of baddbmm": lambda: torch.autograd.backward(_loop(A, x, f, einsum=False).square().sum()),
        "LSTM, 48 cells": lambda: torch.autograd.backward(network(inputs)[0].square().sum()),
    }
    seconds = {name: min(_seconds(road, 20) for _ in range(5)) for name, road in roads.items()}
    print(f"\n  96 steps x {U} units x {W} windows, forward and backward:")
    for name, took in seconds.items():
        rate = U * W / took
        print(f"    {name:16s} {1e3 * took:7.2f} ms, {rate:9.0f} rollouts/s, {took / seconds['hand adjoint']:.1f} x")


def _loop(A: torch.Tensor, x: torch.Tensor, f: torch.Tensor, *, einsum: bool) -> torch.Tensor:
    states = []
    for h in range(len(f)):
        x = torch.einsum("uij,ujw->uiw", A, x) + f[h] if einsum else torch.baddbmm(f[h], A, x)
        states.append(x)
    return torch.stack(states)


def _seconds(work: object, repeats: int) -> float:
    assert callable(work)
    work()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


def main() -> None:
    """All parts, for each set of rooms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rooms", nargs="*", type=Path, default=[], help="files of rooms; the shipped ones, if none is given"
    )
    parser.add_argument("--peers", choices=["none", "linear", "all"], default="linear")
    parts = ["accuracy", "responses", "fleet", "speed"]
    parser.add_argument("--parts", nargs="*", default=parts, choices=parts)
    options = parser.parse_args()
    chosen = {"none": {}, "linear": LINEAR, "all": LINEAR | OTHERS}[options.peers]
    for path in options.rooms or [None]:
        rooms = air_conditioned_rooms() if path is None else read_rooms(path)
        print(
            f"=== {'the shipped rooms' if path is None else path.name}, seed {rooms.population.attrs['seed']}",
            flush=True,
        )
        with threadpool_limits(1):
            _one_set(rooms, chosen, options.parts)


def _one_set(rooms: Rooms, rivals: Mapping[str, Baseline], parts: list[str]) -> None:
    population = population_rows(read(rooms.population))
    began = time.perf_counter()
    net = VirtualBatteryNet().fit(population)
    print(f"population fit and rehearsals: {time.perf_counter() - began:.0f} s\n{net.report}", flush=True)
    methods: dict[str, Fitted] = {OURS: net}
    if {"accuracy", "responses"} & set(parts):
        for name, rival in rivals.items():
            began = time.perf_counter()
            methods[name] = rival.fit(population)
            print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    if "accuracy" in parts:
        told(accuracy(methods, rooms))
    if "responses" in parts:
        responses(methods, rooms)
    if "fleet" in parts:
        fleet(net, rooms)
    if "speed" in parts:
        speed(net, rooms)


if __name__ == "__main__":
    main()
