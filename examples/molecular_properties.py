"""Measured properties of molecules, each known for a different few of them.

The claim: learnt together, properties with few labels are predicted better than each alone, with intervals that hold; where
sharing hurts, held-out errors say so, and the property keeps its own model.

    python examples/molecular_properties.py            # about four minutes
    python examples/molecular_properties.py --quick    # two sizes, two seeds, no AIM: under a minute
    python examples/molecular_properties.py --full     # to 2,000 labels, five seeds: hours
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr

from surrogates import MolecularNet, load
from surrogates.datasets import molecules
from surrogates.molecules import FittedMolecularNet
from surrogates.plots import COLOURS, MARKERS, PAGE, letters, save, style

matplotlib.use("Agg")  # no window: figures go to files
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "output"
MAPPED = 100  # labels of each property behind the map of correlations


def errors(fitted: FittedMolecularNet, test: xr.Dataset) -> pd.DataFrame:
    """By property: mean absolute error over the labels' standard deviation, and share of labels within 90 % intervals."""
    answer = fitted.predict(test)
    found = {}
    for name in fitted.properties:
        y, p = test[name].to_numpy(), answer.sel(property=name)
        there = np.isfinite(y)
        inside = (p["lower"].to_numpy() <= y) & (y <= p["upper"].to_numpy())
        error = np.abs(p["mean"].to_numpy() - y)[there].mean() / y[there].std()
        found[name] = {"error": error, "coverage": inside[there].mean()}
    return pd.DataFrame(found).T


def study(sizes: tuple[int, ...], seeds: int) -> tuple[pd.DataFrame, xr.DataArray]:
    """Errors with and without sharing, on the same labels; correlations of properties, for each draw of labels."""
    records, correlations = [], []
    for seed in range(seeds):
        data = molecules.physical_properties(split="random", seed=seed)
        test = data.test
        for size in sizes:
            train = data.scarce(size, seed=seed, fewer="drop")
            for sharing in ("auto", "single"):
                fitted = MolecularNet(sharing=sharing).fit(train, seed=seed)
                table = errors(fitted, test)
                if (size, sharing) == (MAPPED, "auto"):
                    correlations.append(fitted.affinity()["process_correlation"])
                records += [
                    {"seed": seed, "labels": size, "sharing": sharing, "property": name, **row.to_dict()}
                    for name, row in table.iterrows()
                ]
            print(f"seed {seed}: {size} labels for each of {len(train.data_vars)} properties done", flush=True)
    return pd.DataFrame(records), xr.concat(correlations, "draw", join="outer")


def policy(molecule_count: int) -> xr.DataArray:
    """AIM on QM9's targets: how much of its conflict with another (columns) is taken off a target's gradient (rows).

    Two ensembles of two networks, from other starts, on the dim ``draw``.
    """
    data = molecules.qm9(n=molecule_count, seed=0).select(
        ["dipole_moment", "polarizability", "homo", "lumo", "spatial_extent", "zero_point_energy", "internal_energy_0K",
         "internal_energy", "enthalpy", "gibbs_energy", "heat_capacity"]
    )  # fmt: skip
    net = MolecularNet(model="net", sharing="shared", conflicts="aim", members=2, epochs=30, fingerprint=False)
    return xr.concat([net.fit(data.train, seed=seed).affinity()["policy"] for seed in range(2)], "draw")


def draw_study(table: pd.DataFrame, path: Path) -> None:
    """Change of the error by sharing, and coverage, of every property: means over draws of labels, and their ranges."""
    error = table.pivot_table(index=["property", "labels", "seed"], columns="sharing", values="error")
    change = 100 * (error["auto"] / error["single"] - 1)
    held = 100 * table[table.sharing == "auto"].set_index(["property", "labels", "seed"])["coverage"]
    order = change.groupby("property").mean().sort_values(ascending=False).index
    rows = {name: len(order) - k for k, name in enumerate(order)} | {"mean": 0}
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(PAGE, 3.8), sharey=True)
        for ax, values in zip(axes, (change, held), strict=True):
            everyone = values.groupby(["labels", "seed"]).mean().to_frame().assign(property="mean").reset_index()
            both = pd.concat([values, everyone.set_index(["property", "labels", "seed"]).iloc[:, 0]])
            for k, (size, of_size) in enumerate(both.groupby("labels")):
                each = of_size.groupby("property")
                places = np.array([rows[name] for name in each.groups]) + 0.22 * (1 - k)
                middle, low, high = each.mean(), each.min(), each.max()
                look = {"fmt": MARKERS[k], "color": COLOURS[k], "elinewidth": 0.8, "capsize": 0}
                ax.errorbar(middle, places, xerr=[middle - low, high - middle], label=f"{size} labels", **look)
            ax.axhline(0.5, color="0.5", lw=0.6)
        axes[0].axvline(0, color="black", lw=0.8)
        axes[0].set(xlabel="change of the error by sharing (%)", title="what sharing is worth; mean, range of draws")
        axes[0].set_yticks(list(rows.values()), [name.replace("_", " ") for name in rows])
        axes[1].axvline(90, color="black", lw=0.8)
        axes[1].set(xlabel="labels within 90 % intervals (%)", title="coverage of the shared models")
        letters(axes)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
        save(figure, path)


def draw_pairs(pairs: dict[str, xr.DataArray], path: Path) -> None:
    """Relations of properties as heat maps: mean over draws of labels or networks, beside the standard deviation."""
    with style():
        size = (PAGE, 3.2 * len(pairs))
        figure, axes = plt.subplots(len(pairs), 2, figsize=size, squeeze=False, sharey="row")
        for row, (title, values) in zip(axes, pairs.items(), strict=True):
            names = [str(name).replace("_", " ") for name in values["property"].values]
            mean, std = values.mean("draw"), values.std("draw", ddof=1)
            low = -1 if float(mean.min()) < 0 else 0
            left = row[0].imshow(mean, cmap="RdBu_r" if low else "cividis", vmin=low, vmax=1)
            right = row[1].imshow(std, cmap="viridis", vmin=0)
            count = values.sizes["draw"]
            row[0].set_title(f"{title}, mean of {count}")
            row[1].set_title(f"standard deviation of the {count}")
            for ax, image, label in zip(row, (left, right), ("mean (1)", "standard deviation (1)"), strict=True):
                ax.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
                ax.set_yticks(range(len(names)), names)
                figure.colorbar(image, ax=ax, shrink=0.8, label=label)
        letters(axes.ravel())
        save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, two seeds, no AIM")
    parser.add_argument("--full", action="store_true", help="up to 2,000 labels, five seeds")
    options = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")

    data = molecules.physical_properties(split="random")
    fitted = MolecularNet().fit(data.scarce(100, seed=0))
    print(fitted.report)
    print(fitted.predict(["CCO", "c1ccccc1O"])[["mean", "std", "noise_std"]].to_dataframe().round(4).to_string())
    fitted.save(OUTPUT / "molecular_properties.surrogate")
    again = load(OUTPUT / "molecular_properties.surrogate")
    assert again.predict(["CCO"]).identical(fitted.predict(["CCO"]))

    few = data.select(["melting_point"]).scarce(32, seed=1)
    wide = MolecularNet().fit(data.select(["boiling_point", "critical_temperature", "flash_point"]).scarce(100, seed=0))
    print(f"\none more property from 32 labels\n{wide.add_task(few, from_few=32).report}\n")

    sizes = (50, 100) if options.quick else (50, 100, 200, 500, 2000) if options.full else (50, 100, 200)
    table, correlations = study(sizes, 5 if options.full else 2 if options.quick else 3)
    table.to_csv(OUTPUT / "molecular_properties.csv", index=False)
    error = table.pivot_table(index=["labels", "property"], columns="sharing", values="error")
    print(f"\nmean absolute error / standard deviation\n{error.unstack('labels').round(3).to_string()}")
    change = 100 * (error["auto"] / error["single"] - 1).groupby("labels").mean()
    print(f"\nchange by sharing, mean over properties [%]\n{change.round(1).to_string()}")

    pairs = {"correlation of properties": correlations}
    if not options.quick:
        pairs["QM9: conflict taken off row's gradient"] = policy(10_000 if options.full else 2_000)
    draw_study(table, OUTPUT / "molecular_properties")
    draw_pairs(pairs, OUTPUT / "molecular_properties_affinity")
    print(f"\nfigures: molecular_properties.png, molecular_properties_affinity.png in {OUTPUT}")
    # where sharing hurts, properties keep their own models
    assert (change < 2).all()


if __name__ == "__main__":
    main()
