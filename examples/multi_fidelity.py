"""Few precise values and many cheap ones: two functions, and normal boiling points with a group-contribution estimate.

The claim: a model that chooses how its fidelities hang together gains much where cheap values are good, and loses nothing
where they mislead. Forrester's function has a good cheap level, the sine of Perdikaris et al. one that is uncorrelated with
the precise one. Boiling points of open-chain molecules of carbon, hydrogen and oxygen are estimated by Joback & Reid's
groups for all molecules, and measured for a few (tables of the package `chemicals`, extra `molecule-data`); a model sees
eight counts of a molecule's parts.

    python examples/multi_fidelity.py            # a minute and a half on an idle core
    python examples/multi_fidelity.py --quick    # two sizes, two draws
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates import MultiFidelityGP, Schema
from surrogates.datasets import MultiFidelityFunction, forrester, molecules, nonlinear_sine
from surrogates.metrics import rmse
from surrogates.plots import COLOURS, PAGE, letters, save, style

matplotlib.use("Agg")  # no window: the figure goes to a file
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

OUTPUT = Path(__file__).parent / "output"
ESTIMATED, MEASURED = "Joback", "measured"
MOLECULES, TEST = 150, 200  # with an estimate and maybe a measurement; with an estimate, measurements kept for the test
LEAST = 10  # measurements of the figure's third panel
#: what a model sees of a molecule, as SMARTS
PARTS = {
    "carbon": "[#6]",
    "methyl": "[CX4H3]",
    "hydroxyl": "[OX2H][#6;!$(C=O)]",
    "acid": "[CX3](=O)[OX2H1]",
    "carbonyl": "[CX3]=O",
    "ether": "[OX2;H0]",
    "double": "C=C",
    "triple": "C#C",
}
BLUE, ORANGE, GREEN, GREY = *COLOURS[:3], "0.45"
Floats = NDArray[np.float64]


def by_function(function: MultiFidelityFunction, counts: tuple[int, int], structure: str) -> tuple[xr.Dataset, ...]:
    """Readings, and answers on a grid with the truth in `y`."""
    data = function.dataset(counts, seed=3, nested=True)
    places = np.linspace(0, 1, 401)
    grid = xr.Dataset({"x": ("x", places), "y": ("x", function(places[:, None], "high"))}).set_coords("x")
    schema = Schema(inputs="x", target="y", fidelity="fidelity")
    fitted = MultiFidelityGP(schema, fidelities=("low", "high"), structure=structure, noise="none").fit(data)
    print(f"\n{function.name}, structure={structure!r}\n{fitted.report}")
    return data, grid.merge(fitted.predict(grid[["x"]]))


def boiling_points() -> pd.DataFrame:
    """Parts, measured and estimated boiling points [K] of open-chain molecules of C, H and O with up to 20 carbons."""
    from rdkit import Chem

    columns = {}
    for label, provenance in ((MEASURED, "experimental"), (ESTIMATED, "estimated")):
        data = molecules.physical_properties(properties=["boiling_point"], provenance=provenance).data
        columns[label] = pd.Series(data["boiling_point"].to_numpy(), index=data["smiles"].to_numpy())
    table = pd.DataFrame(columns).dropna()
    patterns = {name: Chem.MolFromSmarts(smarts) for name, smarts in PARTS.items()}
    rows = {}
    for smiles in table.index:
        molecule = Chem.MolFromSmiles(smiles)
        if {atom.GetSymbol() for atom in molecule.GetAtoms()} <= {"C", "O"} and not molecule.GetRingInfo().NumRings():
            rows[smiles] = {name: len(molecule.GetSubstructMatches(part)) for name, part in patterns.items()}
    parts = pd.DataFrame.from_dict(rows, orient="index").astype(float)
    return parts[parts["carbon"] <= 20].join(table)


def learnt(known: pd.DataFrame, asked: pd.DataFrame, measured: int, structure: str) -> xr.Dataset:
    """Boiling points [K] of `asked`, from `measured` measurements of `known` and the estimates of all molecules."""
    cheap = pd.concat([known, asked]).assign(level=ESTIMATED, value=lambda rows: rows[ESTIMATED])
    precise = known.iloc[:measured].assign(level=MEASURED, value=lambda rows: rows[MEASURED])
    data = xr.Dataset.from_dataframe(pd.concat([cheap, precise], ignore_index=True)[[*PARTS, "level", "value"]])
    data["value"].attrs["units"] = "K"
    schema = Schema(inputs=tuple(PARTS), target="value", fidelity="level")
    # with so few measurements a line along eight inputs is better taken from the estimates than learnt once more
    model = MultiFidelityGP(schema, fidelities=(ESTIMATED, MEASURED), structure=structure, trend="constant")
    return model.fit(data).predict(asked[list(PARTS)].reset_index(drop=True))


def study(sizes: tuple[int, ...], draws: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean absolute errors [K] by method, size and draw; measured and predicted values of the first draw's test."""
    everything = boiling_points()
    records: list[dict[str, Any]] = []
    shown = pd.DataFrame()
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(everything))[: MOLECULES + TEST]
        known, asked = everything.iloc[order[:MOLECULES]], everything.iloc[order[MOLECULES:]]
        truth = asked[MEASURED].to_numpy()
        for size in sizes:
            first = known.iloc[:size]
            slope, offset = np.polyfit(first[ESTIMATED], first[MEASURED], 1)
            both = learnt(known, asked, size, "auto")
            alone = learnt(known, asked, size, "ignore")
            answers = {
                "measured alone": alone["mean"].to_numpy(),
                "Joback's estimate": asked[ESTIMATED].to_numpy(),
                "line through the estimate": slope * asked[ESTIMATED].to_numpy() + offset,
                "both": both["mean"].to_numpy(),
            }
            for method, answer in answers.items():
                error = float(np.abs(answer - truth).mean())
                records.append({"measured": size, "draw": draw, "method": method, "error": error})
            if draw == 0 and size == LEAST:
                spread = np.hypot(both["std"].to_numpy(), both["noise_std"].to_numpy())
                shown = pd.DataFrame({"truth": truth, "alone": alone["mean"], "both": both["mean"], "std": spread})
        print(f"draw {draw} of boiling points done", flush=True)
    return pd.DataFrame(records), shown


def draw_function(ax: Axes, title: str, data: xr.Dataset, alone: xr.Dataset, both: xr.Dataset) -> None:
    """Truth, readings, and two answers with their 95 % intervals."""
    answers = ((alone, ORANGE, "--", "precise values alone"), (both, BLUE, "-", "cheap and precise"))
    for answer, colour, line, label in answers:
        low, high = (answer["mean"] + sign * 1.96 * answer["std"] for sign in (-1, 1))
        ax.fill_between(answer["x"], low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(answer["x"], answer["mean"], line, color=colour, label=f"{label}, 95 %")
    ax.plot(both["x"], both["y"], "k:", label="truth")
    for level, label, marker, colour in (("low", "cheap", "x", GREY), ("high", "precise", "o", "black")):
        mine = data.isel(sample=data["fidelity"].to_numpy() == level)
        ax.scatter(mine["x"], mine["y"], s=10, zorder=3, label=label, marker=marker, color=colour, linewidths=0.8)
    heights = np.concatenate([both["y"].to_numpy(), data["y"].to_numpy()])
    span = float(np.ptp(heights))
    ax.set(title=title, xlabel="x (1)", ylabel="y (1)")
    ax.set_ylim(heights.min() - 0.1 * span, heights.max() + 0.85 * span)  # the legend hides nothing
    ax.legend(loc="upper left", ncols=2)


def draw_boiling_points(parity: Axes, errors: Axes, table: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Predicted over measured values of one draw, and mean errors over the number of measurements."""
    parity.plot([150, 700], [150, 700], color="black", linewidth=0.8)
    parity.scatter(shown["truth"], shown["alone"], s=7, color=ORANGE, marker="x", lw=0.6, label="measured alone")
    look: dict[str, Any] = {"fmt": "o", "markersize": 2, "elinewidth": 0.4, "capsize": 0, "color": BLUE}
    parity.errorbar(shown["truth"], shown["both"], 1.96 * shown["std"], label="both, 95 % of a measurement", **look)
    parity.set(title=f"{LEAST} measured boiling points", xlabel="measured (K)", ylabel="predicted (K)")
    parity.set(xlim=(150, 700), ylim=(100, 850))
    parity.legend(loc="upper left")
    looks = {
        "measured alone": (ORANGE, "s--"),
        "Joback's estimate": (GREY, "x:"),
        "line through the estimate": (GREEN, "^-."),
        "both": (BLUE, "o-"),
    }
    grouped = table.groupby(["measured", "method"])["error"]
    mean, least, most = (part.unstack() for part in (grouped.mean(), grouped.min(), grouped.max()))
    for k, (method, (colour, line)) in enumerate(looks.items()):
        places = mean.index.to_numpy() * 1.03 ** (k - 1.5)
        reach = [mean[method] - least[method], most[method] - mean[method]]
        errors.errorbar(places, mean[method], reach, fmt=line, color=colour, label=method, elinewidth=0.8)
    errors.set(title=f"mean and range of {table['draw'].nunique()} draws", xscale="log", ylim=(0, None))
    errors.set(xlabel="boiling points measured (number)", ylabel="mean absolute error (K)")
    errors.set_xticks(mean.index, [str(size) for size in mean.index])
    errors.minorticks_off()
    errors.legend()


def draw(answers: list[tuple[str, Any, Any, Any]], table: pd.DataFrame, shown: pd.DataFrame, path: Path) -> None:
    """Both functions above the boiling points."""
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(PAGE, 5.4))
        for ax, answer in zip(axes[0], answers, strict=True):
            draw_function(ax, *answer)
        draw_boiling_points(axes[1, 0], axes[1, 1], table, shown)
        letters(axes.ravel())
        save(figure, path)


def main() -> None:
    """Fit, report, draw, and hold the claim to account."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, two draws")
    quick = parser.parse_args().quick
    OUTPUT.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")  # the reports below have them

    ratios, answers = {}, []
    for function, counts in ((forrester, (12, 5)), (nonlinear_sine, (40, 12))):
        data, alone = by_function(function, counts, "ignore")
        _, both = by_function(function, counts, "auto")
        ratios[function.name] = rmse(both["y"], both["mean"]) / rmse(alone["y"], alone["mean"])
        answers.append((f"{function.name}: {counts[0]} cheap, {counts[1]} precise values", data, alone, both))
    table, shown = study((LEAST, 40) if quick else (LEAST, 20, 40, 80), 2 if quick else 5)
    draw(answers, table, shown, OUTPUT / "multi_fidelity")
    table.to_csv(OUTPUT / "multi_fidelity.csv", index=False)

    mean = table.groupby(["measured", "method"])["error"].mean().unstack()
    print(f"\nmean absolute error of {TEST} other boiling points [K]\n{mean.round(1).to_string()}")
    for name, ratio in ratios.items():
        print(f"{name}: error with cheap values / error without {ratio:.3g}")
    print(f"figure and table: multi_fidelity.png, multi_fidelity.csv in {OUTPUT}")
    assert ratios[forrester.name] < 0.1, "good cheap values should help much"
    assert ratios[nonlinear_sine.name] < 1.1, "misleading cheap values should do no harm"
    assert mean["both"][LEAST] < 0.8 * mean["measured alone"][LEAST], "estimates should help few measurements"


if __name__ == "__main__":
    main()
