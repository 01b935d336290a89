"""Electronic properties of molecules from few expensive calculations and many cheap ones.

The claim: where B3LYP is known for 25 to 200 molecules, tight-binding values of all molecules and Hartree-Fock values of
some make predictions for other molecules far better, by one Gaussian process over the levels (`HierarchicalGP`) or by a
network with a head for each level (`MolecularNet`). Levels differ by scale and offset, so each is a task of its own. The
process and the line know xTB of the molecules that are asked for, which takes milliseconds to compute; the network knows
only their structures.

    python examples/molecular_fidelities.py            # two properties, some minutes
    python examples/molecular_fidelities.py --quick    # one property, two sizes: under a minute
    python examples/molecular_fidelities.py --full     # four properties, four sizes
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates import HierarchicalGP, MolecularNet, Schema
from surrogates.datasets import molecules
from surrogates.gp import Tanimoto
from surrogates.molecules import DescriptorScaling, molecule_features
from surrogates.plots import COLOURS, LINES, MARKERS, PAGE, letters, save, style

matplotlib.use("Agg")  # no window: figures go to files
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "output"
EXPENSIVE, CHEAP, MIDDLE = "B3LYP/6-31G(2df,p)", "GFN2-xTB", "HF/STO-3G"
TRAIN, TEST = 300, 300
Floats = NDArray[np.float64]


def featured(data: xr.Dataset) -> xr.Dataset:
    """Fragments' counts and scaled descriptors, as the kernel reads them."""
    raw = molecule_features([(smiles,) for smiles in data["smiles"].values.tolist()])
    scaled = DescriptorScaling.fit(raw.descriptors)(raw.descriptors)
    return data.assign(fingerprint=(("molecule", "bit"), raw.counts), descriptors=(("molecule", "feature"), scaled))


def observed(data: xr.Dataset, name: str, expensive: int, *, cheap: bool) -> xr.DataArray:
    """What is known: B3LYP of the first molecules, and, if `cheap`, xTB of all of them and Hartree-Fock of the others'."""
    values = data[name].sel(level=[CHEAP, MIDDLE, EXPENSIVE]).copy(deep=True)
    known = values.to_numpy()
    known[expensive:, 2] = np.nan
    known[TRAIN:, 1] = np.nan
    if not cheap:
        known[:, :2] = np.nan
    return values.copy(data=known)


def by_process(data: xr.Dataset, name: str, expensive: int, *, cheap: bool) -> Floats:
    """`HierarchicalGP` with levels as tasks -> B3LYP of the test molecules."""
    y = observed(data, name, expensive, cheap=cheap)
    centre, scale = y.mean("molecule"), y.std("molecule")
    table = data[["fingerprint", "descriptors"]].assign(value=(y - centre) / scale)
    table = table.sel(level=y.level) if cheap else table.sel(level=[EXPENSIVE])
    gp = HierarchicalGP(
        Schema(inputs=("fingerprint", "descriptors"), target="value", task="level"),
        kernel=Tanimoto(counts="fingerprint", smooth="descriptors"),
        trend="constant",
        sharing="icm" if cheap else "common",
        rank=2,
        noise="task-fidelity",
        integrate=False,
    )
    answer = gp.fit(table).predict(table.isel(molecule=slice(TRAIN, None)).sel(level=[EXPENSIVE]))
    mean = answer["mean"].squeeze("level") * scale.sel(level=EXPENSIVE) + centre.sel(level=EXPENSIVE)
    return np.asarray(mean.to_numpy())


def by_network(data: xr.Dataset, name: str, expensive: int) -> Floats:
    """`MolecularNet` with a head for each level -> B3LYP of the test molecules."""
    y = observed(data, name, expensive, cheap=True)
    table = xr.Dataset({str(level): y.sel(level=level, drop=True) for level in y.level.values}).assign(
        smiles=data.smiles
    )
    fitted = MolecularNet(model="net", sharing="shared", epochs=40).fit(table)
    asked = data["smiles"].values[TRAIN:].tolist()
    return np.asarray(fitted.predict(asked).sel(property=EXPENSIVE)["mean"].to_numpy())


def by_line(data: xr.Dataset, name: str, expensive: int) -> Floats:
    """A straight line from xTB to B3LYP."""
    x, y = (data[name].sel(level=level).to_numpy() for level in (CHEAP, EXPENSIVE))
    slope, offset = np.polyfit(x[:expensive], y[:expensive], 1)
    return np.asarray(slope * x[TRAIN:] + offset)


def study(sizes: tuple[int, ...], properties: tuple[str, ...], seeds: range) -> pd.DataFrame:
    """Mean absolute errors of B3LYP values that weren't known, relative to their standard deviation."""
    everything = featured(molecules.fidelities())
    records = []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(everything.sizes["molecule"])[: TRAIN + TEST]
        data = everything.isel(molecule=order)
        for name in properties:
            truth = data[name].sel(level=EXPENSIVE).to_numpy()[TRAIN:]
            for size in sizes:
                answers = {
                    "B3LYP alone": by_process(data, name, size, cheap=False),
                    "line from xTB": by_line(data, name, size),
                    "network, three levels": by_network(data, name, size),
                    "process, three levels": by_process(data, name, size, cheap=True),
                }
                for method, answer in answers.items():
                    error = float(np.abs(answer - truth).mean() / truth.std())
                    records.append({"property": name, "labels": size, "seed": seed, "method": method, "error": error})
            print(f"seed {seed}: {name} done", flush=True)
    return pd.DataFrame(records)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Error against the number of expensive labels: mean over draws of molecules, and their range."""
    names = list(dict.fromkeys(table["property"]))
    with style():
        figure, axes = plt.subplots(1, len(names), figsize=(PAGE, 2.7), sharey=True, squeeze=False)
        for ax, name in zip(axes[0], names, strict=True):
            grouped = table[table.property == name].groupby(["labels", "method"])["error"]
            mean, least, most = (part.unstack() for part in (grouped.mean(), grouped.min(), grouped.max()))
            for k, method in enumerate(mean.columns):
                reach = [mean[method] - least[method], most[method] - mean[method]]
                look = {"color": COLOURS[k], "fmt": MARKERS[k] + LINES[k], "elinewidth": 0.8, "label": method}
                ax.errorbar(mean.index * 1.04 ** (k - 1.5), mean[method], reach, **look)
            ax.set(xscale="log", title=name, xlabel="B3LYP (molecules)")
            ax.set_xticks(mean.index, [str(size) for size in mean.index])
            ax.minorticks_off()
        axes[0, 0].set(ylabel="mean absolute error / std (1)", ylim=(0, 1.05 * table["error"].max()))
        letters(axes[0])
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one property, two sizes")
    parser.add_argument("--full", action="store_true", help="four properties, four sizes")
    options = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    sizes = (25, 100) if options.quick else (25, 50, 100, 200) if options.full else (25, 70, 200)
    properties = ("gap",) if options.quick else ("gap", "homo", "lumo", "dipole") if options.full else ("gap", "dipole")
    table = study(sizes, properties, range(1 if options.quick else 2))
    mean = table.groupby(["property", "labels", "method"])["error"].mean().unstack()
    print(f"\nmean absolute error of B3LYP / its standard deviation, {TEST} molecules\n{mean.round(3).to_string()}")
    draw(table, OUTPUT / "molecular_fidelities")
    print(f"\nfigure: {OUTPUT / 'molecular_fidelities.png'}")
    assert (mean["process, three levels"] < mean["B3LYP alone"]).all()


if __name__ == "__main__":
    main()
