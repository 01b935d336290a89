"""The minimum of a new function, when relatives of it have been read before: transfer against starting from nothing.

Four members of one family (Branin's function, moved by up to a tenth of the square, scaled, offset, each with a wave of its
own) stand for four variants of one product. Three were studied before, 20 readings each; the fourth is to be minimised. The
claim: a loop that knows the old ones needs about half of the evaluations that a loop without them needs to come as close to
the minimum (`benchmarks/design_loop.py` asks it of more seeds, and what unrelated old tasks cost). Loops are
`surrogates.design.Loop`, with a journal from which they go on if they are interrupted; all but random search maximise
BoTorch's LogEI, on our `HierarchicalGP`, or on BoTorch's SingleTaskGP and MultiTaskGP.

    python examples/design_transfer.py              # about a minute, three seeds
    python examples/design_transfer.py --seeds 1
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import xarray as xr
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import MultiTaskGP, SingleTaskGP
from botorch.optim import optimize_acqf
from gpytorch.mlls import ExactMarginalLogLikelihood
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import qmc

from surrogates import HierarchicalGP, Schema, as_dataset
from surrogates.datasets.functions import branin
from surrogates.design import Loop, botorch_model, run
from surrogates.plots import COLOURS, PAGE, field, letters, save, style

matplotlib.use("Agg")  # no window: the figure goes to a file
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "output"
Floats = NDArray[np.float64]
OLD, READINGS, NEW = 3, 20, "new"
EVALUATIONS, ALONE = 24, 4  # of the new function; first readings of a loop that knows nothing else
NEAR = 0.02  # regret that counts as found, in standard deviations of the family
ALL_TASKS, ONE_TASK = (Schema(inputs=("u", "v"), target="y", task=task) for task in ("variant", None))
TOGETHER = HierarchicalGP(ALL_TASKS, sharing="robust", trend="constant", integrate=False)
BOX = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
LOOKS = {
    "HierarchicalGP": (COLOURS[1], "-"),
    "MultiTaskGP": (COLOURS[2], "-."),
    "SingleTaskGP": (COLOURS[0], "--"),
    "random search": ("0.5", ":"),
}


@dataclass(frozen=True)
class Variant:
    """A member of the family on the unit square, in the family's standard deviations."""

    move: Floats
    scale: float
    offset: float
    wave: Floats

    def __call__(self, x: Floats) -> Floats:
        low, high = np.array(branin.bounds).T
        far = branin.functions[-1](low + (high - low) * (x + self.move)) / 51.0
        return np.asarray(self.scale * far + self.offset + 0.1 * np.sin(x @ self.wave))

    def minimum(self) -> float:
        """By descents from the best of many points."""
        x = qmc.Sobol(2, rng=0).random_base2(12)
        starts = x[np.argsort(self(x))[:10]]
        return float(min(minimize(lambda u: self(u[None])[0], s, bounds=[(0, 1)] * 2).fun for s in starts))


def variant(generator: np.random.Generator) -> Variant:
    """A random member."""
    move, wave = generator.uniform(-0.1, 0.1, 2), generator.uniform(3, 9, 2)
    return Variant(move, generator.uniform(0.9, 1.1), generator.uniform(-1, 1), wave)


@dataclass(frozen=True)
class Believed:
    """A BoTorch model of the new function, and the least value that it was given."""

    model: Any
    best: float


@dataclass(frozen=True)
class Believer:
    """What a loop takes for a model: it is fitted to all readings, anew at every step."""

    schema: Schema
    make: Callable[[xr.Dataset], Any]

    def fit(self, data: xr.Dataset, *, seed: int = 0) -> Believed:
        """Fitted to all readings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one reading doesn't determine a level, says the first fit
            model = self.make(data)
        mine = slice(None) if self.schema.task is None else (data["variant"] == NEW).to_numpy()
        return Believed(model, float(data["y"].to_numpy()[mine].min()))


def ours(data: xr.Dataset) -> Any:
    """All variants together; one that is unlike the others would be told apart."""
    return botorch_model(TOGETHER.fit(data), task=NEW)


def promising(old: xr.Dataset) -> Floats:
    """Where the old variants are low, on the average of their means: (1, 2), a first reading of the new one."""
    x = qmc.Sobol(2, rng=0).random_base2(10)
    fitted = HierarchicalGP(ALL_TASKS, trend="constant").fit(old)
    at = as_dataset(x, inputs=["u", "v"])
    means = [fitted.predict(at.assign(variant=label))["mean"].to_numpy() for label in fitted.vocabulary.tasks]
    return np.asarray(x[[int(np.argmin(np.sum(means, axis=0)))]])


def single(data: xr.Dataset) -> Any:
    """BoTorch's model of the new variant alone."""
    model = SingleTaskGP(
        torch.from_numpy(np.stack([data["u"], data["v"]], -1)), torch.from_numpy(data["y"].values)[:, None]
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def multi(data: xr.Dataset) -> Any:
    """BoTorch's model of all variants; a fit takes its time, and gets a second."""
    labels, task = np.unique(data["variant"], return_inverse=True)
    x = torch.from_numpy(np.stack([data["u"], data["v"], task], -1))
    new = labels.tolist().index(NEW)
    model = MultiTaskGP(x, torch.from_numpy(data["y"].values)[:, None], task_feature=-1, output_tasks=[new])
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(likelihood, optimizer_kwargs={"timeout_sec": 1.0}, max_attempts=1)
    return model


def log_ei(believed: Believed, *, count: int, seed: int, pending: xr.Dataset | None) -> xr.Dataset:
    """Where the greatest improvement is expected."""
    function = LogExpectedImprovement(believed.model, believed.best, maximize=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches that end early
        place, _ = optimize_acqf(function, BOX, q=1, num_restarts=3, raw_samples=64, options={"maxiter": 40})
    return as_dataset(place.numpy(), inputs=["u", "v"]).rename(sample="suggestion").assign(variant=NEW)


METHODS = {"HierarchicalGP": (ours, True), "MultiTaskGP": (multi, True), "SingleTaskGP": (single, False)}


def regrets(name: str, new: Variant, old: xr.Dataset, seed: int, folder: Path) -> tuple[Floats, xr.Dataset]:
    """Least regret after each evaluation (n,), and what the loop was told."""
    make, transfers = METHODS[name]
    design = qmc.Sobol(2, rng=np.random.default_rng([seed, 1])).random(ALONE)
    x = promising(old) if transfers else design
    first = as_dataset(x, new(x), inputs=["u", "v"], task=[NEW] * len(x)).rename(task="variant")
    data = xr.concat([old, first], "sample") if transfers else first
    model = Believer(ALL_TASKS if transfers else ONE_TASK, make)

    def experiment(at: xr.Dataset) -> float:
        return float(new(np.array([[float(at["u"]), float(at["v"])]]))[0])

    def own(data: xr.Dataset) -> Floats:
        return data["y"].to_numpy()[old.sizes["sample"] if transfers else 0 :]

    def near(loop: Loop) -> bool:
        return bool(own(loop.data).min() - new.minimum() < NEAR)

    with Loop(model, data, log_ei, path=folder / f"{name} {seed}.jsonl", seed=seed) as loop:
        history = run(loop, experiment, evaluations=EVALUATIONS - len(x), stop=near)
        return np.minimum.accumulate(own(history)) - new.minimum(), loop.data


def needed(curve: Floats, regret: float) -> int:
    """Evaluations after which the regret is met; twice as many as were allowed if it never is."""
    met = curve <= regret
    return int(np.argmax(met)) + 1 if met.any() else 2 * EVALUATIONS


def draw(curves: dict[str, list[Floats]], new: Variant, data: xr.Dataset, path: Path) -> None:
    """Regret of all loops; what our loop read of the last new function, and what it doesn't know of it."""
    with style():
        size: dict[str, Any] = {"figsize": (PAGE, 2.4), "width_ratios": (1.6, 1, 1)}
        figure, (left, middle, right) = plt.subplots(1, 3, **size)
        for name, each in curves.items():
            colour, line = LOOKS[name]
            full = [np.concatenate([curve, np.full(EVALUATIONS - len(curve), curve[-1])]) for curve in each]
            n = np.arange(1, EVALUATIONS + 1)
            for curve in full:
                left.step(n, np.maximum(curve, NEAR / 2), line, where="post", color=colour, alpha=0.35, lw=0.6)
            left.step(n, np.maximum(np.median(full, 0), NEAR / 2), line, where="post", color=colour, lw=1.6, label=name)
        left.axhline(NEAR, color="0.3", lw=0.6)
        left.set(xlabel="evaluations (number)", ylabel="regret (σ of the family)")
        left.set(yscale="log", ylim=(None, 30), title="median of the seeds, and each")
        left.legend(loc="upper right")
        axis = np.linspace(0, 1, 60)
        grid = xr.Dataset(coords={"u": axis, "v": axis})
        u, v = np.meshgrid(axis, axis, indexing="ij")
        heights = new(np.stack([u.ravel(), v.ravel()], -1)).reshape(u.shape)
        truth = xr.DataArray(heights, dims=("u", "v"), coords=grid.coords)
        std = TOGETHER.fit(data).predict(grid.assign(variant=NEW))["std"]
        mine = data.isel(observation=np.flatnonzero(data["variant"] == NEW))
        for ax, values, told in ((middle, truth, "the new function"), (right, std, "its std, at the end")):
            field(values, x="u", y="v", ax=ax, bar=False, colours="cividis" if ax is middle else "viridis")
            figure.colorbar(ax.collections[0], ax=ax, label="value (σ)" if ax is middle else "std (σ)", shrink=0.8)
            look = {"textcoords": "offset points", "fontsize": 7, "color": "white"}
            ax.plot(mine["u"], mine["v"], "o", color="white", mec="black", mew=0.6)
            places = np.stack([mine["u"], mine["v"]], -1)
            for k, (a, b) in enumerate(places):
                if k and np.abs(places[:k] - (a, b)).max(axis=1).min() < 0.15:
                    continue  # beside one that has its number
                ends = {"ha": "right" if a > 0.8 else "left", "va": "top" if b > 0.8 else "bottom"}
                ax.annotate(str(k + 1), (a, b), xytext=(-3 if a > 0.8 else 3, -2 if b > 0.8 else 2), **ends, **look)
            ax.tick_params(labelleft=ax is middle)
            ax.set(title=told, xlabel="u (1)", ylabel="v (1)" if ax is middle else "")
            ax.set(aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        letters((left, middle, right))
        save(figure, path)


def main(seeds: int = 3) -> dict[str, list[int]]:
    """Run all loops; how many evaluations each needed, seed by seed."""
    torch.set_num_threads(1)
    curves: dict[str, list[Floats]] = {name: [] for name in (*METHODS, "random search")}
    told: dict[str, xr.Dataset] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            generator = np.random.default_rng(seed)
            new, tables = variant(generator), []
            for t in range(OLD):
                x = qmc.Sobol(2, rng=generator).random_base2(5)[:READINGS]
                labels = [f"old {t}"] * READINGS
                tables.append(as_dataset(x, variant(generator)(x), inputs=["u", "v"], task=labels))
            old = xr.concat(tables, "sample").rename(task="variant")
            for name in METHODS:
                curve, data = regrets(name, new, old, seed, Path(folder))
                curves[name].append(curve)
                told[name] = data
            x = np.random.default_rng([seed, 2]).uniform(0, 1, (EVALUATIONS, 2))
            curves["random search"].append(np.minimum.accumulate(new(x)) - new.minimum())
    OUTPUT.mkdir(exist_ok=True)
    draw(curves, new, told["HierarchicalGP"], OUTPUT / "design_transfer")

    targets = [max(float(curve[-1]), NEAR) for curve in curves["SingleTaskGP"]]
    counts = {name: list(map(needed, each, targets)) for name, each in curves.items()}
    print(f"evaluations until the last regret of SingleTaskGP is met ({2 * EVALUATIONS}: never):")
    for name, each in counts.items():
        print(f"  {name:15} {each}, median {np.median(each):g}")
    ratio = sum(counts["HierarchicalGP"]) / sum(counts["SingleTaskGP"])
    print(f"all of HierarchicalGP over all of SingleTaskGP: {ratio:.2f}\nfigure: {OUTPUT / 'design_transfer.png'}")
    assert ratio <= 0.6, "old tasks should save about half of the evaluations"
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    main(parser.parse_args().seeds)
