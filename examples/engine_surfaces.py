"""Deck faces of sister engine blocks, mapped from 25 precise and 25 cheap readings of each.

The claim: a model that shares the common form of the blocks and knows that the gauges differ beats models that ignore
either, with error bars that hold. Run it as it is (seconds), or with --full for nine pairs of noise levels with ten
campaigns each (about ten minutes on two cores).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import xarray as xr

from surrogates import HierarchicalGP, Schema
from surrogates.datasets import Study, engine_surfaces
from surrogates.metrics import score
from surrogates.plots import PAGE, field, save, style

matplotlib.use("Agg")  # no window: the figure goes to a file
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "output"
SCHEMA = Schema(inputs=("x", "y"), target="height", task="part", fidelity="gauge")
WITHOUT_GAUGES = Schema(inputs=("x", "y"), target="height", task="part")
BARS = {0: "height", 2: "error", 3: "standard deviation"}  # by column of the figure
ONE_PART = Schema(inputs=("x", "y"), target="height", noise="repeatability")


def hierarchical(study: Study) -> xr.Dataset:
    """Ours: common form shared, one noise level per gauge, hyper-parameters integrated."""
    return HierarchicalGP(SCHEMA).fit(study.observed).predict(study.truth)


def stochastic_kriging(study: Study) -> xr.Dataset:
    """Each part on its own, with the gauges' noise known (Ankenman, Nelson & Staum 2010)."""
    fields = []
    for part in study.truth["part"].values:
        mine = study.observed.where(study.observed["part"] == part, drop=True)
        fields.append(HierarchicalGP(ONE_PART).fit(mine).predict(study.truth.sel(part=[part])))
    return xr.concat(fields, "part")


def homoscedastic(study: Study) -> xr.Dataset:
    """The common form shared, but one noise level for both gauges."""
    return HierarchicalGP(WITHOUT_GAUGES).fit(study.observed).predict(study.truth)


def paper_mode(study: Study) -> xr.Dataset:
    """The normal-inverse-Wishart hierarchy with plug-in mean, trend and noise (after H-MT-MF)."""
    return HierarchicalGP(SCHEMA, sharing="niw").fit(study.observed).predict(study.truth)


MODELS: dict[str, Callable[[Study], xr.Dataset]] = {
    "hierarchical (ours)": hierarchical,
    "kriging, part by part": stochastic_kriging,
    "one noise level": homoscedastic,
    "paper mode (NIW-EM)": paper_mode,
}


def compare(noise_percent: tuple[float, float] | None, seeds: range) -> pd.DataFrame:
    """Scores of the true surface, one row per model: mean over the campaigns, and the gain of ours with its error."""
    scores = []
    for seed in seeds:
        study = engine_surfaces(seed=seed, noise_percent=noise_percent)
        for model, predict in MODELS.items():
            found = score(study.truth["height"], predict(study), noise=False)
            scores.append((model, seed, float(found["rmse"]), float(found["nlpd"]), float(found["coverage"])))
    table = pd.DataFrame(scores, columns=["model", "seed", "RMSE [um]", "NLPD", "coverage of 95 %"])
    rmse = table.pivot(index="seed", columns="model", values="RMSE [um]")
    gain = 100 * rmse.sub(rmse["hierarchical (ours)"], axis=0).div(rmse)
    summary = table.drop(columns="seed").groupby("model").mean().loc[list(MODELS)]
    return summary.assign(**{"gain of ours [%]": gain.mean(), "s.e.": gain.sem()})


def draw(study: Study, prediction: xr.Dataset, path: Path) -> None:
    """True surface, prediction, error and standard deviation of every part, with the places of the readings."""
    truth = study.truth["height"]
    prediction = prediction.where(truth.notnull())  # bores have no surface
    mean, std, error = prediction["mean"], prediction["std"], prediction["mean"] - truth
    heights = (min(float(truth.min()), float(mean.min())), max(float(truth.max()), float(mean.max())))
    reach = float(abs(error).max())
    columns = {
        "true height": (truth, heights, None),
        "predicted mean": (mean, heights, None),
        "predicted mean - true height": (error, (-reach, reach), "RdBu_r"),
        "predicted standard deviation": (std, (0.0, float(std.max())), "viridis"),
    }
    parts = truth["part"].values
    with style():
        size = (PAGE, 0.7 + 0.85 * len(parts))
        figure, axes = plt.subplots(len(parts), 4, figsize=size, sharex=True, sharey=True, squeeze=False)
        for k, (title, (values, limits, colours)) in enumerate(columns.items()):
            for ax, part in zip(axes[:, k], parts, strict=True):
                mine = study.observed.where(study.observed["part"] == part, drop=True) if k == 3 else None
                look: dict[str, Any] = {"limits": limits, "colours": colours, "observed": mine, "bar": False}
                field(values.sel(part=part), x="x", y="y", ax=ax, **look)
                ax.set(aspect="equal", xlabel="", ylabel="" if k else f"{part}\ny (mm)")
                ax.set(xticks=(0, 150, 300), yticks=(0, 75, 150))
            axes[0, k].set_title(title, fontsize=7)
            axes[-1, k].set_xlabel("x (mm)")
            if k != 1:  # the first two share theirs
                below = axes[:, :2] if k == 0 else axes[:, k]
                bar: dict[str, Any] = {"location": "bottom", "aspect": 45 if k == 0 else 22, "pad": 0.02}
                figure.colorbar(axes[0, k].collections[0], ax=below, label=f"{BARS[k]} (µm)", **bar)
        save(figure, path)


def main() -> None:
    """Fit, report, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="nine pairs of noise levels, ten campaigns each")
    full = parser.parse_args().full
    OUTPUT.mkdir(exist_ok=True)

    study = engine_surfaces(seed=0)
    fitted = HierarchicalGP(SCHEMA).fit(study.observed)
    print(fitted.report)
    draw(study, fitted.predict(study.truth), OUTPUT / "engine_surfaces")
    fitted.save(OUTPUT / "engine_surfaces.surrogate")

    if full:
        pairs = [(high, low) for high in (0.1, 0.5, 2.5) for low in (0.5, 2.5, 12.5)]
        tables = {f"{high} / {low} %": compare((high, low), range(10)) for high, low in pairs}
        table = pd.concat(tables, names=["noise precise / cheap"])
    else:
        table = compare(None, range(2))
    print("\nthe true surface, noise", "as % of the height variance" if full else "0.3 um and 2 um", end=":\n\n")
    print(table.round(3).to_string())
    table.to_csv(OUTPUT / "engine_surfaces.csv")
    print(
        "\nfigure, table and fitted model:",
        *sorted(path.name for path in OUTPUT.glob("engine_surfaces.*")),
        "in",
        OUTPUT,
    )
    ours, others = table["RMSE [um]"].iloc[0::4].to_numpy(), table["RMSE [um]"].iloc[1::4].to_numpy()
    assert (ours < others).all(), "sharing the common form should beat kriging part by part"


if __name__ == "__main__":
    main()
