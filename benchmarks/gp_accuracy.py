"""How good the predictions are: engine surfaces against peers, and coverage on data drawn from the model.

    python benchmarks/gp_accuracy.py [--seeds 10] [--draws 200]

One BLAS thread; all models see the same data.  Needs the extra `benchmarks`.  The whole takes about twenty minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

sys.path.append(str(Path(__file__).parent.parent / "examples"))  # the case study has the library's own models

from engine_surfaces import MODELS  # type: ignore[import-not-found] # examples are no package, and mypy looks elsewhere
from peers import Predictor, botorch_multitask, scikit_learn_by_task, smt_by_task

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.datasets import Study, engine_surfaces
from surrogates.metrics import score

Floats = NDArray[np.float64]
#: noise variances of the (precise, cheap) gauge, in per cent of the height variance
CELLS = ((0.1, 0.5), (0.1, 12.5), (2.5, 12.5))


def peer(fit: Callable[..., Predictor], *, known: bool, cap: float | None = None) -> Callable[[Study], xr.Dataset]:
    """A peer as a function from study to labelled prediction, like those of the example."""

    def predict(study: Study) -> xr.Dataset:
        observed, truth = study.observed, study.truth["height"].transpose("part", "x", "y")
        labels, task = np.unique(observed["part"], return_inverse=True)
        x = np.column_stack([observed["x"], observed["y"]])
        low, width = x.min(axis=0), np.ptp(x, axis=0)  # the peers want the unit cube
        options = {"variance": observed["repeatability"].values ** 2} if known else {}
        model = fit((x - low) / width, observed["height"].values, task, **options, **({"seconds": cap} if cap else {}))
        grid = np.meshgrid(np.searchsorted(labels, truth["part"]), truth["x"], truth["y"], indexing="ij")
        part, *places = (axis.ravel() for axis in grid)
        answer = model((np.column_stack(places) - low) / width, part.astype(np.int64))
        fields = {"mean": answer.mean, "std": answer.std}
        return xr.Dataset({name: truth.copy(data=values.reshape(truth.shape)) for name, values in fields.items()})

    return predict


PEERS: dict[str, Callable[[Study], xr.Dataset]] = {
    "BoTorch MultiTaskGP": peer(botorch_multitask, known=False, cap=60.0),
    "BoTorch, noise known": peer(botorch_multitask, known=True, cap=60.0),
    "SMT Kriging, noise known": peer(smt_by_task, known=True),
    "scikit-learn, noise known": peer(scikit_learn_by_task, known=True),
}


def engine(seeds: int) -> pd.DataFrame:
    """Scores of the true surface in units of its standard deviation within parts; gain of ours with standard error."""
    rows = []
    for cell in CELLS:
        for seed in range(seeds):
            study = engine_surfaces(seed=seed, noise_percent=cell, grid=(70, 30))
            height = study.truth["height"]
            spread = float(np.sqrt(height.var(["x", "y"]).mean()))
            for model, predict in {**MODELS, **PEERS}.items():
                began = time.perf_counter()
                found = score(height, predict(study), noise=False)
                seconds = time.perf_counter() - began
                nlpd = float(found["nlpd"]) - np.log(spread)
                scores = (float(found["rmse"]) / spread, nlpd, float(found["coverage"]))
                rows.append((f"{cell[0]} / {cell[1]} %", model, seed, seconds, *scores))
    table = pd.DataFrame(rows, columns=["noise", "model", "seed", "seconds", "RMSE", "NLPD", "coverage"])
    rmse = table.pivot(index=["noise", "seed"], columns="model", values="RMSE")
    gain = 100 * rmse.sub(rmse["hierarchical (ours)"], axis=0).div(rmse)
    table["gain of ours [%]"] = gain.stack().loc[pd.MultiIndex.from_frame(table[["noise", "seed", "model"]])].to_numpy()
    groups = table.drop(columns="seed").groupby(["noise", "model"], sort=False)
    return groups.mean().assign(**{"s.e.": groups["gain of ours [%]"].sem()})


def matern52(x: Floats, z: Floats, lengthscale: float) -> Floats:
    """(1 + a + a²/3) e^-a at a = √5 |x - z|/l.  x: (n, 1), z: (m, 1)  ->  (n, m)."""
    a = np.sqrt(5) * np.abs(x - z.T) / lengthscale
    return np.asarray((1 + a + a**2 / 3) * np.exp(-a))


def drawn(draws: int, *, fixed: bool) -> pd.DataFrame:
    """95 % intervals of f on data drawn from the model, three tasks x ten places; with the mode alone, for comparison.

    fixed : whether length-scale, correlation and noise are .3, .7, (.05, .2); or drawn, each from a wide distribution
    """
    rows = []
    schema = Schema(inputs="x", target="y", task="task", fidelity="fidelity")
    for seed in range(draws):
        generator = np.random.default_rng(seed)
        l, ρ, σ = 0.3, 0.7, np.array([0.05, 0.2])
        if not fixed:
            l, ρ = 0.4 * np.exp(0.7 * generator.standard_normal()), generator.uniform(0.2, 0.98)
            σ = 0.1 * np.exp(1.2 * generator.standard_normal(2))
        task, places = np.repeat(np.arange(3), 110), np.tile(np.r_[:110] >= 10, 3)
        x = np.where(places, np.tile(np.r_[np.zeros(10), np.linspace(0, 1, 100)], 3), generator.uniform(size=330))
        K = matern52(x[:, None], x[:, None], l) * np.where(task[:, None] == task, 1.0, ρ)
        f = np.linalg.cholesky(K + 1e-10 * np.eye(330)) @ generator.standard_normal(330)
        trend = generator.standard_normal((3, 2))
        f += trend[task, 0] + trend[task, 1] * x
        fidelity = generator.integers(0, 2, 330)
        y = f + σ[fidelity] * generator.standard_normal(330)
        data = as_dataset(x, y, inputs=["x"], task=task, fidelity=fidelity).isel(sample=~places)
        truth = as_dataset(x, f, inputs=["x"], task=task).isel(sample=places)
        for integrate in (True, False):
            fitted = HierarchicalGP(schema, integrate=integrate).fit(data)
            found = score(truth["y"], fitted.predict(truth), noise=False)
            rows.append((integrate, float(found["coverage"]), float(found["nlpd"]), float(found["rmse"])))
    table = pd.DataFrame(rows, columns=["hyper-parameters integrated", "coverage", "NLPD", "RMSE"])
    return table.groupby("hyper-parameters integrated").agg(["mean", "sem"])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="campaigns per pair of noise levels")
    parser.add_argument("--draws", type=int, default=200, help="data sets drawn from the model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for fixed, title in ((True, "fixed"), (False, "drawn")):
            print(f"coverage of f on {arguments.draws} data sets drawn from the model, hyper-parameters {title}")
            print(drawn(arguments.draws, fixed=fixed).round(3).to_string(), end="\n\n")
        print(f"engine surfaces, 25 + 25 readings per part, {arguments.seeds} campaigns")
        print(engine(arguments.seeds).round(3).to_string())


if __name__ == "__main__":
    main()
