"""Optimal control by networks: what each road reaches on one problem, and what a network of a whole family is good for.

The claims: for one problem, random features under exact end conditions reach 1e-8 and better where the paper's soft losses
stay near 1e-2; for a family of problems one network answers in microseconds what a solver needs milliseconds for, says how
good each answer is, and one Newton step makes it exact to nine digits. Run it as it is (a minute or two), or with --full
for all named problems, five seeds and every weighting (hours on two cores; --weightings for that study alone).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from surrogates import OptimalControlNet
from surrogates.control import FamilyRoad, FeatureRoad, FittedControl, PaperRoad, TasksRoad
from surrogates.physics.optimal_control import Family, Problem, named_problem, problem_names, solve
from surrogates.plots import COLOURS, COLUMN, PAGE, letters, save, style
from surrogates.training import WEIGHTINGS, Adam

matplotlib.use("Agg")  # no window: the figures go to files
import matplotlib.pyplot as plt

OUTPUT = Path(__file__).parent / "output"
SIX = ("scalar_lq", "double_integrator", "scalar_mayer", "van_der_pol", "rayleigh", "stirred_tank")
STUDIED = ("scalar_lq", "double_integrator", "van_der_pol", "rayleigh")
Floats = NDArray[np.float64]


def relative(a: xr.DataArray | Floats, b: xr.DataArray | Floats) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(np.asarray(a) - np.asarray(b)) / np.linalg.norm(np.asarray(b)))


def errors(answer: xr.Dataset, truth: xr.Dataset) -> dict[str, float]:
    """Relative errors of x, u, p and J."""
    found = {f"error of {name}": relative(answer[name], truth[name]) for name in ("x", "u", "p")}
    # a network's J is that of the polished extremal; what its controls really cost is the gap above it
    gap = float(answer["cost_gap"]) if "cost_gap" in answer else float(answer["J"] / truth["J"]) - 1
    return found | {"gap of J": gap}


def paper_road(steps: int, weighting: str = "uncertainty") -> PaperRoad:
    """The paper's method with a rate that falls from 1e-2 to 1e-4, which gets further in few steps than its 1e-3."""
    return PaperRoad(steps=steps, weighting=weighting, optimiser=Adam(rate=1e-2, final_rate=1e-4))


def roads(steps: int) -> dict[str, Callable[[Problem], xr.Dataset]]:
    """What leads from a problem to an answer."""
    narrow = FeatureRoad(layers=((100, 6.0),))
    paper = paper_road(steps)
    return {
        "solve()": lambda problem: solve(problem, tolerance=1e-8),
        "solve_bvp": lambda problem: solve(problem, method="bvp", tolerance=1e-6),
        "default": lambda problem: OptimalControlNet().fit(problem).predict(),
        "one layer of 100 (X-TFC)": lambda problem: OptimalControlNet(features=narrow).fit(problem).predict(),
        "Levenberg-Marquardt": lambda problem: OptimalControlNet(method="levenberg-marquardt").fit(problem).predict(),
        f"paper mode, {steps} steps": lambda problem: (
            OptimalControlNet(method="paper", paper=paper).fit(problem).predict()
        ),
    }


def compare(names: Sequence[str], steps: int) -> pd.DataFrame:
    """One row per problem and road."""
    rows = []
    for name in names:
        problem = named_problem(name).problem
        truth = solve(problem, tolerance=1e-11)
        for road, answer_of in roads(steps).items():
            if road.startswith("paper") and problem.is_bounded:
                continue
            began = time.perf_counter()
            try:
                answer = answer_of(problem)
            except (ValueError, ArithmeticError) as error:
                print(f"{name}, {road}: {error}")
                continue
            seconds = time.perf_counter() - began
            rows.append({"problem": name, "road": road, **errors(answer, truth), "seconds": seconds})
            certified = float(answer["error"]) if "residual" in answer and "cost_gap" in answer else np.nan
            rows[-1]["certified error of u"] = certified
    return pd.DataFrame(rows).set_index(["problem", "road"])


def weighting_study(names: Sequence[str], weightings: Sequence[str], seeds: range, steps: int) -> pd.DataFrame:
    """Errors of u in paper mode: median, least and largest over the seeds."""
    rows = []
    for name in names:
        problem = named_problem(name).problem
        truth = solve(problem, tolerance=1e-11)
        for weighting in weightings:
            found = []
            for seed in seeds:
                net = OptimalControlNet(method="paper", paper=paper_road(steps, weighting)).fit(problem, seed=seed)
                found.append(relative(net.predict(certify=False)["u"], truth["u"]))
            rows.append((name, weighting, np.median(found), min(found), max(found)))
            print(f"  {name}, {weighting}: " + " ".join(f"{e:.1e}" for e in found), flush=True)
    table = pd.DataFrame(rows, columns=["problem", "weighting", "median", "least", "largest"])
    return table.set_index(["problem", "weighting"])


def draw_single(net: FittedControl, paper: FittedControl, truth: xr.Dataset, table: pd.DataFrame, path: Path) -> None:
    """Trajectories of both networks on the truth, their errors, and the errors of all roads with their certificates."""
    answers = {"default road": net.predict(certify=True), "paper mode": paper.predict(certify=True)}
    looks = {"default road": {"color": COLOURS[0], "ls": "-"}, "paper mode": {"color": COLOURS[1], "ls": "--"}}
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(PAGE, 4.6))
        for ax, name, quantity in zip(axes[0], "xu", ("state x", "control u"), strict=True):
            ax.plot(truth["time"], truth[name], color="0.7", linewidth=3.5, label="solver")
            for road, answer in answers.items():
                ax.plot(answer["time"], answer[name], label=road, **looks[road])
            handles = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))  # one entry for all components
            ax.legend(handles.values(), handles.keys())
            ax.set(xlabel="time (1)", ylabel=f"{quantity} (1)", title=f"van der Pol: {quantity}")
        ax = axes[1, 0]
        size = float(np.sqrt((truth["u"] ** 2).mean()))
        for road, answer in answers.items():
            ax.semilogy(answer["time"], np.abs(answer["u"] - truth["u"]) + 1e-17, label=road, **looks[road])
            certified = float(answer["error"])
            if np.isfinite(certified):
                look = {"color": looks[road]["color"], "ls": ":"}
                ax.axhline(certified * size, label=f"certified, {certified * size:.0e}", **look)
        ax.set(xlabel="time (1)", ylabel="|error of u| (1)", title="error of the control", ylim=(1e-15, 1e5))
        ax.set_yticks([1e-15, 1e-10, 1e-5, 1e0])
        ax.legend(loc="upper left", ncols=2)
        ax = axes[1, 1]
        places = np.arange(len(table))[::-1]
        ax.plot(table["error of u"], places, "o", color=COLOURS[0], label="error of u")
        ax.plot(table["certified error of u"], places, "x", color="black", ms=5, label="certified, without the truth")
        ax.set(xscale="log", xlabel="relative error of u (1)", title="all roads", ylim=(-0.5, len(table) + 0.9))
        ax.set_yticks(places, table.index)
        ax.legend(loc="upper left")
        letters(axes.ravel())
        save(figure, path)


def family_curve(problem: Problem, box: Sequence[tuple[float, float]], budgets: Sequence[int]) -> pd.DataFrame:
    """Error against offline cost, for networks of more and more cases; online microseconds; break-even with the solver."""
    rng = np.random.default_rng(0)
    low, high = np.transpose(box)
    states = low + (high - low) * rng.random((200, len(box)))
    began = time.perf_counter()
    truths = [solve(problem.with_values(initial_state=state), tolerance=1e-9, times=None) for state in states[:25]]
    per_solve = (time.perf_counter() - began) / len(truths)
    rows = []
    for budget in budgets:
        road = FamilyRoad(accuracy=0.0, max_cases=budget)
        family = OptimalControlNet(family=road).fit(problem.over(initial_state=list(box)))
        answer = family.predict(states[:25], times=np.linspace(0, 1, 201))
        true = [relative(answer["u"][i], truth["u"]) for i, truth in enumerate(truths)]
        certified = family.predict(states, certify=True)
        polished = family.predict(states, certify=True, polish=True)
        many = torch.from_numpy(states).repeat(100, 1)
        policy = family.policy()
        policy.controls(many)
        began = time.perf_counter()
        policy.controls(many)
        online = (time.perf_counter() - began) / len(many)
        rows.append(
            {
                "cases": budget,
                "offline [s]": family.report.seconds,
                "error of u, median": np.median(true),
                "error of u, largest": max(true),
                "certified, median": float(certified["error"].median()),
                "cost gap, median": float(abs(certified["cost_gap"]).median()),
                "polished, largest": float(polished["error"].max()),
                "online [us]": 1e6 * online,
                "solver [ms]": 1e3 * per_solve,
                "break-even queries": family.report.seconds / (per_solve - online),
            }
        )
    return pd.DataFrame(rows).set_index("cases")


def draw_family(table: pd.DataFrame, path: Path) -> None:
    """Error against offline seconds."""
    looks = {
        "error of u, median": ("median and largest of 25 cases", COLOURS[0], "o-"),
        "certified, median": ("certified, median of 200 cases", COLOURS[1], "s--"),
        "polished, largest": ("polished by one Newton step, largest of 200", COLOURS[2], "^:"),
    }
    with style():
        figure, ax = plt.subplots(figsize=(COLUMN, 2.8))
        for name, (told, colour, line) in looks.items():
            reach = None
            if name == "error of u, median":
                reach = [0 * table[name], table["error of u, largest"] - table[name]]
            ax.errorbar(table["offline [s]"], table[name], reach, fmt=line, color=colour, label=told)
        for cases, row in table.iterrows():
            at: dict[str, Any] = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center", "fontsize": 7}
            ax.annotate(f"{cases} cases", (row["offline [s]"], row["error of u, median"]), **at)
        ax.set(yscale="log", xlabel="offline cost (s)", ylabel="relative error of u (1)", ylim=(1e-17, 1e3))
        ax.set(title="van der Pol from any initial state")
        ax.margins(x=0.2)
        ax.legend(loc="upper left")
        save(figure, path)


def oscillator(damping: float) -> Family:
    """Van der Pol's oscillator of a given damping from any initial state, with any weights in its cost."""

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([damping * (1 - x[..., 1] ** 2) * x[..., 0] - x[..., 1] + u[..., 0], x[..., 0]], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Mapping[str, Tensor]) -> Tensor:
        return θ["q1"] * x[..., 0] ** 2 + θ["q2"] * x[..., 1] ** 2 + θ["r"] * u[..., 0] ** 2

    weights = ("q1", "q2", "r")
    problem = Problem(
        dynamics=rate,
        running_cost=cost,
        horizon=(0.0, 5.0),
        initial_state=(0.0, 1.0),
        control_size=1,
        parameters=dict.fromkeys(weights, 1.0),
    )
    return problem.over(initial_state=[(-1, 1), (-1, 1)], parameters=dict.fromkeys(weights, (0.5, 2.0)))


def transfer(seeds: range) -> pd.DataFrame:
    """Optimiser steps to the same loss on a task outside the range of four others: from scratch, and adapted."""
    net = OptimalControlNet(tasks=TasksRoad(hidden=(40, 40), cases=600, accuracy=2e-2))
    rows = []
    for seed in seeds:
        known = net.fit({f"damping {value}": oscillator(value) for value in (0.6, 0.8, 1.0, 1.2)}, seed=seed)
        scratch = net.fit({"new": oscillator(1.5)}, seed=seed).report
        for cases in (100, 600):
            adapted = known.adapt("new", oscillator(1.5), cases=cases, seed=seed).report
            rows.append({"seed": seed, "road": f"adapted, {cases} cases", **adapted.figures})
        rows.append({"seed": seed, "road": "from scratch, 600 cases", **scratch.figures})
    table = pd.DataFrame(rows).drop(columns=["cases per task"])
    return table.groupby("road").median().drop(columns="seed")


def main() -> None:
    """Compare, draw, assert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all named problems, and 20,000 steps in paper mode")
    parser.add_argument("--weightings", action="store_true", help="the study of weightings alone")
    parser.add_argument("--steps", type=int, default=4000, help="of paper mode")
    parser.add_argument("--seeds", type=int, default=5, help="of the study of weightings")
    options = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    if options.weightings:
        study = weighting_study(STUDIED, tuple(WEIGHTINGS), range(options.seeds), options.steps)
        print(study.map("{:.1e}".format).to_string())
        study.to_csv(OUTPUT / "optimal_control_weightings.csv")
        return

    names = [n for n in problem_names() if not named_problem(n).problem.free_final_time] if options.full else SIX[3:4]
    table = compare(names, 20_000 if options.full else options.steps)
    print(table.map("{:.1e}".format).to_string())
    table.to_csv(OUTPUT / "optimal_control.csv")

    problem = named_problem("van_der_pol").problem
    ours = OptimalControlNet().fit(problem)
    paper = OptimalControlNet(method="paper", paper=paper_road(options.steps)).fit(problem)
    truth = solve(problem, tolerance=1e-11)
    draw_single(ours, paper, truth, table.loc[["van_der_pol"]].droplevel("problem"), OUTPUT / "optimal_control")

    curve = family_curve(problem, [(-1.5, 1.5), (-1.5, 1.5)], (256, 512, 1024))
    print("\nvan der Pol from any initial state in [-1.5, 1.5]²:\n")
    print(curve.T.map("{:.3g}".format).to_string())
    curve.to_csv(OUTPUT / "optimal_control_family.csv")
    draw_family(curve, OUTPUT / "optimal_control_family")
    if options.full:
        print("\na new task outside the range of four known ones:\n")
        print(transfer(range(3)).to_string())
    print("\nfigures and tables:", *sorted(path.name for path in OUTPUT.glob("optimal_control*")), "in", OUTPUT)
    assert relative(ours.predict()["u"], truth["u"]) < 1e-8 < relative(paper.predict()["u"], truth["u"])
    assert curve["error of u, median"].iloc[-1] < 1e-5
    assert curve["polished, largest"].iloc[-1] < 1e-9


if __name__ == "__main__":
    main()
