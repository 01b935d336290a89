"""Measured properties of molecules, each known for a different few of them.

The claim: learnt together, properties with few labels are predicted better than each alone, with intervals that hold; where
sharing hurts, held-out errors say so, and the property keeps its own model.

    python examples/molecular_properties.py            # about five minutes
    python examples/molecular_properties.py --quick    # two sizes, one seed, no AIM: under a minute
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

matplotlib.use("Agg")  # no window: figures go to files
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

OUTPUT = Path(__file__).parent / "output"


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


def study(sizes: tuple[int, ...], seeds: int) -> pd.DataFrame:
    """Errors with and without sharing, on the same labels."""
    records = []
    for seed in range(seeds):
        data = molecules.physical_properties(split="random", seed=seed)
        test = data.test
        for size in sizes:
            train = data.scarce(size, seed=seed, fewer="drop")
            for sharing in ("auto", "single"):
                table = errors(MolecularNet(sharing=sharing).fit(train, seed=seed), test)
                records += [
                    {"seed": seed, "labels": size, "sharing": sharing, "property": name, **row.to_dict()}
                    for name, row in table.iterrows()
                ]
            print(f"seed {seed}: {size} labels for each of {len(train.data_vars)} properties done", flush=True)
    return pd.DataFrame(records)


def policy(molecule_count: int) -> xr.DataArray:
    """AIM on QM9's targets: how much of its conflict with another (columns) is taken off a target's gradient (rows)."""
    data = molecules.qm9(n=molecule_count, seed=0).select(
        ["dipole_moment", "polarizability", "homo", "lumo", "spatial_extent", "zero_point_energy", "internal_energy_0K",
         "internal_energy", "enthalpy", "gibbs_energy", "heat_capacity"]
    )  # fmt: skip
    net = MolecularNet(model="net", sharing="shared", conflicts="aim", members=2, epochs=30, fingerprint=False)
    return net.fit(data.train).affinity()["policy"]


def draw_study(table: pd.DataFrame) -> Path:
    """Change by sharing against the number of labels, property by property, and coverage."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 4.2), layout="constrained")
    for ax in (left, right):
        ax.set_prop_cycle(color=plt.get_cmap("tab20")(np.r_[0:20:2, 1:20:2]))
    error = table.pivot_table(index=["property", "labels", "seed"], columns="sharing", values="error")
    change = (100 * (error["auto"] / error["single"] - 1)).groupby(["property", "labels"]).mean().unstack("property")
    for name in change.columns:
        left.plot(change.index, change[name], "o-", ms=4, lw=1, label=name.replace("_", " "))
    left.plot(change.index, change.mean(axis=1), "ko-", lw=2.5, label="mean")
    left.axhline(0, color="gray", lw=0.8)
    left.set(xscale="log", xlabel="labels per property", ylabel="change of the error by sharing [%]")
    held = table[table.sharing == "auto"].groupby(["property", "labels"])["coverage"].mean().unstack("property")
    for name in held.columns:
        right.plot(held.index, 100 * held[name], "o-", ms=4, lw=1)
    right.axhspan(85, 95, color="tab:green", alpha=0.15)
    right.set(xscale="log", xlabel="labels per property", ylabel="labels within 90 % intervals [%]", ylim=(60, 100))
    figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside right center")
    for ax in (left, right):
        ax.set_xticks(change.index, [str(size) for size in change.index])
        ax.minorticks_off()
    return save(figure, "molecular_properties.png")


def draw_pairs(pairs: dict[str, xr.DataArray]) -> Path:
    """Relations of properties as heat maps."""
    figure, axes = plt.subplots(1, len(pairs), figsize=(6.4 * len(pairs), 5.4), squeeze=False)
    for ax, (title, values) in zip(axes[0], pairs.items(), strict=True):
        names = [str(name).replace("_", " ") for name in values["property"].values]
        low = -1 if float(values.min()) < 0 else 0
        image = ax.imshow(values, cmap="RdBu_r" if low else "viridis", vmin=low, vmax=1)
        ax.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
        ax.set_yticks(range(len(names)), names, fontsize=8)
        ax.set_title(title, fontsize=10)
        figure.colorbar(image, ax=ax, shrink=0.8)
    return save(figure, "molecular_affinity.png")


def save(figure: Figure, name: str) -> Path:
    if figure.get_layout_engine() is None:
        figure.tight_layout()
    figure.savefig(OUTPUT / name, dpi=150)
    plt.close(figure)
    return OUTPUT / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, one seed, no AIM")
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
    table = study(sizes, 5 if options.full else 1 if options.quick else 3)
    table.to_csv(OUTPUT / "molecular_properties.csv", index=False)
    error = table.pivot_table(index=["labels", "property"], columns="sharing", values="error")
    print(f"\nmean absolute error / standard deviation\n{error.unstack('labels').round(3).to_string()}")
    change = 100 * (error["auto"] / error["single"] - 1).groupby("labels").mean()
    print(f"\nchange by sharing, mean over properties [%]\n{change.round(1).to_string()}")

    pairs = {"100 labels each: correlation of measured properties": fitted.affinity()["process_correlation"]}
    if not options.quick:
        pairs["QM9: AIM's policy, conflict taken off row's gradient"] = policy(10_000 if options.full else 4_000)
    print(f"\nfigures: {draw_study(table)}, {draw_pairs(pairs)}")
    # where sharing hurts, properties keep their own models
    assert (change < 2).all()


if __name__ == "__main__":
    main()
