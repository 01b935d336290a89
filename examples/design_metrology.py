"""How flat are three engine blocks? Measured plan by plan, or by asking after every few readings where to measure next.

Flatness is the peak-to-valley deviation of a face from its least-squares plane, here over a raster of places that a gauge
can reach. It hangs on a few places only, which nobody knows beforehand. Two gauges can read any of them: a cheap one with
2 um of noise, at cost 1, and a precise one with 0.3 um, at cost 5. All strategies use one model of the three faces, which
are sisters, and one estimate of their flatness.

The claim: asked after every six readings what to read next, `surrogates.design.advise` brings the error of the flatness
(root mean square over the three blocks) below 1 um, for good, for at most 60 % of the cost of the best plan, where "best"
is the cheapest of 58 fixed and random plans whose median error over all campaigns is at most 1.05 um: known in hindsight.
In 20 campaigns it took 220 instead of 576. What is saved shrinks with the demands: 27 % for 1.25 um, and nothing for 1.5
um or more, where a coarse grid of cheap readings does as well; no plan came below 0.98 um, at up to four times the cost.
Of few campaigns, the best of so many plans is the luckiest one, and less is seen to be saved.

    python examples/design_metrology.py             # three campaigns, under a minute on an idle core
    python examples/design_metrology.py --seeds 20  # what the claim is about: five minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import qmc

from surrogates import FittedHierarchicalGP, HierarchicalGP, Schema
from surrogates.datasets import engine_surfaces
from surrogates.design import Map, advise
from surrogates.plots import COLOURS, PAGE, save, style

matplotlib.use("Agg")  # no window: the figure goes to a file
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OUTPUT = Path(__file__).parent / "output"
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
SCHEMA = Schema(inputs=("x", "y"), target="height", task="part", fidelity="gauge", noise="repeatability")
COSTS, REPEATABILITY = {"cheap": 1.0, "precise": 5.0}, {"cheap": 2.0, "precise": 0.3}  # noise in um
RASTER = (24, 12)  # places along and across the face
TARGET, SHARE = 1.0, 0.6  # um, and what the claim promises of the best fixed plan's cost
TOLERANCE = 1.05  # by how much a fixed plan may miss the target and still count
START, BATCH, MOST, DRAWS = 8, 6, 240.0, 64
#: fixed plans: how places are spread, share of precise readings, places per block
PLANS = {
    ("grid", 0.0): (16, 24, 32, 44, 60, 80, 110, 150, 200),
    ("grid", 0.25): (12, 24, 36, 52, 70, 100),
    ("grid", 0.5): (12, 20, 30, 44, 60),
    ("grid", 1.0): (12, 20, 28, 36, 48, 60),
    ("spread", 0.0): (16, 24, 32, 44, 60, 80, 110, 150, 200),
    ("spread", 0.25): (24, 36, 52, 70, 100),
    ("spread", 0.5): (20, 30, 44, 60),
    ("spread", 1.0): (20, 28, 36, 60),
    ("random", 0.0): (24, 44, 80, 150),
    ("random", 0.5): (20, 44, 60),
    ("random", 1.0): (20, 36, 60),
}


@dataclass(frozen=True)
class Blocks:
    """Three faces on the raster, bores left out.  P blocks, m places."""

    names: list[str]
    places: xr.Dataset  # x, y over "place"
    height: Floats  # (P, m) the truth [um]

    def table(self, block: Integers, place: Integers, gauge: Sequence[str]) -> xr.Dataset:
        """Readings that are still to be made."""
        rows = self.places.isel(place=place).rename(place="sample")
        rows["part"] = ("sample", np.array(self.names)[block])
        rows["gauge"] = ("sample", np.array(gauge))
        noise = [REPEATABILITY[name] for name in gauge]
        return rows.assign(repeatability=("sample", noise, {"units": "um"}))

    def read(
        self, block: Integers, place: Integers, gauge: Sequence[str], generator: np.random.Generator
    ) -> xr.Dataset:
        """The same with what the gauges say."""
        rows = self.table(block, place, gauge)
        noise = rows["repeatability"].to_numpy() * generator.standard_normal(len(block))
        return rows.assign(height=("sample", self.height[block, place] + noise, {"units": "um"}))

    def deviation(self, height: Floats) -> Floats:
        """From the least-squares plane.  (..., m) -> (..., m)"""
        A = np.stack([np.ones(self.places.sizes["place"]), self.places["x"], self.places["y"]], axis=1)
        return np.asarray(height - (height @ np.linalg.pinv(A).T) @ A.T)

    def flatness(self, height: Floats) -> Floats:
        """Peak-to-valley of the deviation.  (..., m) -> (...)"""
        return np.asarray(np.ptp(self.deviation(height), axis=-1))

    def nearest(self, wanted: Floats) -> Integers:
        """The different places nearest to points (k, 2) of the unit square."""
        here = np.stack([self.places["x"], self.places["y"]], axis=1)
        points = wanted * here.max(axis=0)
        return np.unique(((here[:, None] - points) ** 2).sum(axis=-1).argmin(axis=0)).astype(np.int64)


def blocks(seed: int) -> Blocks:
    """The faces of one campaign."""
    height = engine_surfaces(seed=seed, grid=RASTER).truth["height"].stack(place=("x", "y")).dropna("place")
    places = xr.Dataset({name: ("place", height[name].to_numpy(), {"units": "mm"}) for name in ("x", "y")})
    names = [str(name) for name in height["part"].to_numpy()]
    return Blocks(names, places, height.transpose("part", "place").to_numpy())


class Estimate(NamedTuple):
    """What is known of the flatness, and the places it hangs on."""

    value: Floats  # (P,) [um]
    deviation: Floats  # (P,)
    extremes: xr.Dataset  # x, y, part of the highest and lowest place in every draw


def estimate(fitted: FittedHierarchicalGP, faces: Blocks, seed: int) -> Estimate:
    """Flatness of joint draws of the faces: the flatness of their mean would be too small."""
    values, extreme = [], []
    for name in faces.names:
        draws = fitted.sample(faces.places.assign(part=name), DRAWS, seed=seed).to_numpy()
        bent = faces.deviation(draws)
        values.append(np.ptp(bent, axis=1))
        at = np.concatenate([bent.argmax(axis=1), bent.argmin(axis=1)])
        extreme.append(faces.places.isel(place=at).assign(part=("place", np.full(len(at), name))))
    flatness = np.stack(values)
    return Estimate(np.median(flatness, axis=1), flatness.std(axis=1), xr.concat(extreme, "place"))


def fit(readings: xr.Dataset) -> FittedHierarchicalGP:
    """One set of hyper-parameters is enough for a loop that fits again after every batch."""
    return HierarchicalGP(SCHEMA, integrate=False).fit(readings)


class Outcome(NamedTuple):
    """One estimate of one campaign."""

    seed: int
    strategy: str
    places: int  # per block; of "adaptive" readings of all blocks
    cost: float
    error: float  # root mean square over the blocks [um]
    believed: float  # the model's own idea of it [um]


def outcome(seed: int, strategy: str, places: int, faces: Blocks, readings: xr.Dataset, found: Estimate) -> Outcome:
    """What the readings cost, and how far off the flatness is."""
    cost = sum(COSTS[name] for name in readings["gauge"].to_numpy())
    error = np.sqrt(np.mean((found.value - faces.flatness(faces.height)) ** 2))
    return Outcome(seed, strategy, places, cost, float(error), float(np.sqrt(np.mean(found.deviation**2))))


def design(faces: Blocks, how: str, places: int, generator: np.random.Generator) -> Integers:
    """Places of one block."""
    m = faces.places.sizes["place"]
    if how == "random":
        return generator.choice(m, places, replace=False)
    if how == "spread":
        u = qmc.Sobol(2, seed=generator).random_base2(int(np.ceil(np.log2(places))))[:places]
        return faces.nearest(u)
    across = max(2, round(np.sqrt(places / 2)))
    along = max(2, round(places / across))
    grid = np.meshgrid(np.linspace(0, 1, along), np.linspace(0, 1, across))
    return faces.nearest(np.stack(grid, axis=-1).reshape(-1, 2))


def planned(seed: int, faces: Blocks) -> Iterator[Outcome]:
    """Every fixed and random plan: all readings at once, the precise ones evenly among them."""
    for (how, share), sizes in PLANS.items():
        for places in sizes:
            generator = np.random.default_rng([seed, places])
            block, place, gauge = [], [], []
            for k in range(len(faces.names)):
                at = design(faces, how, places, generator)
                is_precise = np.diff(np.floor(share * np.arange(len(at) + 1))) > 0
                block += [k] * len(at)
                place += at.tolist()
                gauge += np.where(is_precise, "precise", "cheap").tolist()
            readings = faces.read(np.array(block), np.array(place), gauge, generator)
            name = f"{how}, {100 * share:.0f} % precise"
            yield outcome(seed, name, places, faces, readings, estimate(fit(readings), faces, seed))


def adaptive(seed: int, faces: Blocks) -> Iterator[tuple[Outcome, xr.Dataset]]:
    """A coarse grid, then always the readings that tell most, for their cost, of the places that may be extreme."""
    generator = np.random.default_rng([seed, 0])
    at = design(faces, "grid", START, generator)
    gauge = ["precise" if k in (1, len(at) - 2) else "cheap" for k in range(len(at))] * len(faces.names)
    block = np.repeat(np.arange(len(faces.names)), len(at))
    readings = faces.read(block, np.tile(at, len(faces.names)), gauge, generator)
    while True:
        fitted = fit(readings)
        found = estimate(fitted, faces, readings.sizes["sample"])
        state = outcome(seed, "adaptive", readings.sizes["sample"], faces, readings, found)
        yield state, readings
        if state.cost >= MOST:
            return
        goal = Map(reference=found.extremes)
        advice = advise(fitted, costs=COSTS, goal=goal, candidates=faces.places, count=BATCH, seed=seed)
        block = np.array([faces.names.index(name) for name in advice["part"].to_numpy()])
        x, y = (faces.places[name].to_numpy()[:, None] == advice[name].to_numpy() for name in ("x", "y"))
        place = (x & y).argmax(axis=0)
        more = faces.read(block, place, advice["gauge"].to_numpy().tolist(), generator)
        readings = xr.concat([readings, more], "sample")


def reached(campaign: pd.DataFrame) -> float:
    """Cost from which the error of one campaign stays below the target; infinite if it doesn't."""
    ordered = campaign.sort_values("cost")
    above = np.flatnonzero(ordered["error"].to_numpy() > TARGET)
    first = 0 if not len(above) else int(above[-1]) + 1
    return float(ordered["cost"].iloc[first]) if first < len(ordered) else float("inf")


def summary(table: pd.DataFrame) -> dict[str, float]:
    """The best fixed or random plan in hindsight, and what adaptive campaigns cost beside it: medians."""
    plans = table[table["strategy"] != "adaptive"].groupby(["strategy", "places"])[["cost", "error"]].median()
    good = plans[plans["error"] <= TOLERANCE * TARGET]  # sizes are few: one that nearly does it will do
    best = float(good["cost"].min()) if len(good) else float(plans["cost"].max())  # at least that much
    costs = table[table["strategy"] == "adaptive"].groupby("seed")[["cost", "error"]].apply(reached)
    return {"best plan": best, "adaptive": float(costs.median()), "share": float((costs / best).median())}


def campaigns(seeds: Sequence[int]) -> tuple[pd.DataFrame, xr.Dataset]:
    """Every strategy on every campaign, and the readings of the first adaptive one at the target."""
    found: list[Outcome] = []
    shown = xr.Dataset()
    for seed in seeds:
        faces = blocks(seed)
        for state, readings in adaptive(seed, faces):
            found.append(state)
            if seed == seeds[0] and state.cost <= 0.75 * MOST:
                shown = readings
        found += planned(seed, faces)
        print(f"campaign {seed} done")
    return pd.DataFrame(found), shown


def curve(table: pd.DataFrame) -> pd.DataFrame:
    """Median error of adaptive campaigns, and quartiles, on a common axis of costs."""
    costs = np.arange(table.groupby("seed")["cost"].min().max(), MOST + 1, 3.0)
    paths = [np.interp(costs, one["cost"], one["error"]) for _, one in table.sort_values("cost").groupby("seed")]
    quartiles = np.quantile(np.stack(paths), (0.25, 0.5, 0.75), axis=0)
    return pd.DataFrame(dict(zip(("low", "median", "high"), quartiles, strict=True)), index=costs)


def draw_costs(ax: Axes, table: pd.DataFrame) -> None:
    """Error against cost: adaptive campaigns with their quartiles, plans with the range of their campaigns."""
    asked = curve(table[table["strategy"] == "adaptive"])
    ax.fill_between(asked.index, asked["low"], asked["high"], color="black", alpha=0.2, lw=0)
    ax.plot(asked.index, asked["median"], color="black", lw=2, label="adaptive")
    for name, plans in table[table["strategy"] != "adaptive"].groupby("strategy"):
        each = plans.groupby("places")[["cost", "error"]]
        cost, error = each.median()["cost"], each.median()["error"]
        reach = [error - each.min()["error"], each.max()["error"] - error]
        kind, share = str(name).split(", ")
        marker, colour = {"grid": ("s", COLOURS[0]), "spread": ("o", COLOURS[1]), "random": ("x", COLOURS[2])}[kind]
        line = {"0 %": "-", "25 %": "-.", "50 %": "--", "100 %": ":"}[share.removesuffix(" precise")]
        look: dict[str, Any] = {"elinewidth": 0.3, "capsize": 0, "lw": 0.8, "ms": 3, "color": colour}
        ax.errorbar(cost, error, reach, fmt=marker + line, label=str(name), **look)
    ax.axhline(TARGET, color="0.4", lw=0.6)
    ax.set(xscale="log", yscale="log", xlabel="cost of all readings (cheap readings)", ylabel="error of flatness (µm)")
    ax.set(ylim=(None, 60), title="median, quartiles or range of campaigns")
    ax.legend(ncols=2, loc="upper right")


def draw(table: pd.DataFrame, readings: xr.Dataset, faces: Blocks, path: Path) -> None:
    """Error against cost, and where one campaign read its blocks, with what it found."""
    heights = faces.deviation(faces.height)
    reach, true, found = float(np.abs(heights).max()), faces.flatness(faces.height), estimate(fit(readings), faces, 0)
    with style():
        panels: Any = [["error", name] for name in faces.names]
        figure, axes = plt.subplot_mosaic(panels, figsize=(PAGE, 4.4), width_ratios=(1.35, 1))
        draw_costs(axes["error"], table)
        for k, name in enumerate(faces.names):
            ax = axes[name]
            shown = {"c": heights[k], "marker": "s", "s": 18, "lw": 0, "cmap": "RdBu_r", "vmin": -reach, "vmax": reach}
            shades = ax.scatter(faces.places["x"], faces.places["y"], rasterized=True, **shown)
            mine = readings.isel(sample=np.flatnonzero(readings["part"].to_numpy() == name))
            for gauge, marker, s in (("cheap", "x", 14), ("precise", "o", 10)):
                at = mine.isel(sample=np.flatnonzero(mine["gauge"].to_numpy() == gauge))
                ax.scatter(at["x"], at["y"], marker=marker, s=s, color="black", lw=0.8, label=gauge)
            told = f"flatness {found.value[k]:.1f} ± {found.deviation[k]:.1f} µm, in truth {true[k]:.1f} µm"
            ax.set_title(f"{name}: {told}", fontsize=7)
            ax.set(ylabel="y (mm)", aspect="equal")
            last = k == len(faces.names) - 1
            ax.set_xlabel("x (mm)" if last else "")
            ax.tick_params(labelbottom=last)
        maps = [axes[name] for name in faces.names]
        figure.colorbar(shades, ax=maps, label="true deviation from plane (µm)", shrink=0.8)
        maps[-1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.45), ncols=2, title="readings of one campaign")
        save(figure, path)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Run the campaigns, print, draw, and hold the claim."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="campaigns")
    seeds = range(parser.parse_args(arguments).seeds)
    OUTPUT.mkdir(exist_ok=True)
    table, readings = campaigns(seeds)
    table.to_csv(OUTPUT / "design_metrology.csv", index=False)
    draw(table, readings, blocks(seeds[0]), OUTPUT / "design_metrology")
    plans = table[table["strategy"] != "adaptive"].groupby(["strategy", "places"])[["cost", "error"]].median()
    print("\nplans whose median error isn't beaten by a cheaper one [um]:\n")
    ordered = plans.sort_values("cost")
    print(ordered[ordered["error"] <= ordered["error"].cummin()].round(2).to_string())
    print("\nadaptive campaigns [um]:\n")
    print(curve(table[table["strategy"] == "adaptive"]).iloc[::10].round(2).to_string())
    found = summary(table)
    promised = SHARE if len(seeds) >= 10 else 0.9
    print(
        f"\nerror of the flatness of {TARGET:g} um: the best plan costs {found['best plan']:.0f}, adaptive "
        f"campaigns {found['adaptive']:.0f} (medians of {len(seeds)} campaigns), {100 * found['share']:.0f} % of it"
    )
    assert found["share"] <= promised, "asking where to measure next should save much of the best plan's cost"
    return found


if __name__ == "__main__":
    main()
