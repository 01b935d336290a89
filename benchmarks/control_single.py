"""One problem at a time: the library's roads against CasADi/IPOPT, and against DeepXDE."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from control_peers import BY_HAND, Direct, Floats, deepxde
from direct import FORMULAS

from surrogates import OptimalControlNet
from surrogates.control import PaperRoad
from surrogates.errors import NumericalError, ProblemError
from surrogates.physics.optimal_control import EulerLagrange, Mesh, Problem, named_problem, realise, solve
from surrogates.physics.optimal_control.solver import nominal_cases

SHARES = np.linspace(0.0, 1.0, 201)
#: the reference problems of the notes, by their labels there
SMOOTH = {
    "scalar_lq": "S1",
    "double_integrator": "S2",
    "scalar_mayer": "S3",
    "van_der_pol": "S4",
    "rayleigh": "S5",
    "stirred_tank": "S6",
    "hyper_sensitive": "X1",
    "bounded_van_der_pol": "X2",
}
#: problems whose controls are angles, known up to turns
ANGLES = ("brachistochrone", "orbit_raising")
#: Radau degree and intervals
MESHES = ((3, 40), (5, 20), (5, 80))


class Question(NamedTuple):
    """A named problem, and its control u (201, m) and cost to 1e-12."""

    name: str
    problem: Problem
    u: Floats
    J: float

    @staticmethod
    def named(name: str) -> Question:
        problem = named_problem(name).problem
        truth = solve(problem, tolerance=1e-12)
        return Question(name, problem, truth["u"].values, float(truth["J"]))

    def error(self, u: Floats) -> float:
        """Relative L2 error of a control (201, m)."""
        difference = u - self.u
        if self.name in ANGLES:
            difference = (difference + np.pi) % (2 * np.pi) - np.pi
        return float(np.linalg.norm(difference) / np.linalg.norm(self.u))


class Answer(NamedTuple):
    """A control (201, m), its cost, and the processor seconds that it took, without those of building anything."""

    u: Floats
    J: float
    seconds: float
    build: float = 0.0


#: of a problem and a seed
Road = Callable[[Question, int], Answer]


class Score(NamedTuple):
    """Relative errors and milliseconds, NaN where there is no answer."""

    problem: str
    method: str
    u_error: float
    J_error: float
    ms: float
    build_ms: float
    failure: str = ""


def classical(tolerance: float, method: str = "collocation") -> Road:
    """`solve`."""

    def run(question: Question, seed: int) -> Answer:
        began = time.process_time()
        answer = solve(question.problem, tolerance=tolerance, method="bvp" if method == "bvp" else "collocation")
        return Answer(answer["u"].values, float(answer["J"]), time.process_time() - began)

    return run


def network(net: OptimalControlNet) -> Road:
    """`OptimalControlNet`; the cost is that which its control really has."""

    def run(question: Question, seed: int) -> Answer:
        began = time.process_time()
        fitted = net.fit(question.problem, seed=seed)
        seconds = time.process_time() - began
        answer = fitted.predict()
        J = float(answer["J"]) + float(answer["cost_gap"]) * abs(float(answer["J"]))
        return Answer(answer["u"].values, J, seconds)

    return run


class ByIpopt:
    """CasADi/IPOPT; programs are kept, so that a second call doesn't build."""

    def __init__(self, degree: int, intervals: int) -> None:
        self.degree, self.intervals = degree, intervals
        self._built: dict[str, Direct] = {}

    def __call__(self, question: Question, seed: int) -> Answer:
        if question.name not in self._built:
            self._built[question.name] = Direct(FORMULAS[question.name], intervals=self.intervals, degree=self.degree)
        program = self._built[question.name]
        began = time.process_time()
        found = program.solve()
        seconds = time.process_time() - began
        return Answer(program.controls(found, SHARES), found.J, seconds, program.build_seconds)


def by_deepxde(is_hard: bool, steps: int, second_steps: int) -> Road:
    """DeepXDE; the cost is that which its control really has."""

    def run(question: Question, seed: int) -> Answer:
        trained = deepxde(question.name, is_hard=is_hard, steps=steps, second_steps=second_steps, seed=seed)
        J = realised_cost(question.problem, trained.trajectory)
        return Answer(trained.trajectory(SHARES)[1], J, trained.seconds)

    return run


def realised_cost(problem: Problem, trajectory: Callable[[Floats], tuple[Floats, Floats]]) -> float:
    """J of the motion under the control of a trajectory s (k,) -> x (k, n), u (k, m)."""
    system, mesh = EulerLagrange(problem), Mesh.uniform(24, 12)
    shape = (1, *mesh.nodes.shape, -1)
    x, u = (torch.from_numpy(part).reshape(shape) for part in trajectory(mesh.nodes.numpy().ravel()))
    return float(realise(system, mesh, nominal_cases(system), u, x).J)


def score(question: Question, method: str, road: Road, seeds: int) -> Score:
    """Medians over so many seeds; with none, the second of two calls."""
    rows = []
    try:
        if seeds == 0:
            road(question, 0)  # warms up, builds what is kept
        for seed in range(max(1, seeds)):
            answer = road(question, seed)
            J_error = abs(answer.J - question.J) / abs(question.J)
            rows.append((question.error(answer.u), J_error, 1e3 * answer.seconds, 1e3 * answer.build))
    except (NumericalError, ProblemError, RuntimeError) as error:
        return Score(question.name, method, np.nan, np.nan, np.nan, np.nan, str(error))
    u_error, J_error, ms, build = np.median(rows, axis=0).tolist()
    return Score(question.name, method, u_error, J_error, ms, build)


def published(question: Question) -> Score:
    """The reference's own control, where it is known in closed form, and cost: a check of the truth."""
    reference = named_problem(question.name)
    start, end = question.problem.horizon
    error = np.nan
    if reference.exact is not None and not question.problem.free_final_time:
        error = question.error(reference.exact(torch.from_numpy(start + (end - start) * SHARES))[1].numpy())
    return Score(question.name, "reference", error, abs(reference.J - question.J) / abs(question.J), np.nan, np.nan)


def roads() -> dict[str, tuple[Road, bool]]:
    """All methods by name, and whether they draw random numbers."""
    return {
        "solve 1e-6": (classical(1e-6), False),
        "solve 1e-10": (classical(1e-10), False),
        "bvp 1e-6": (classical(1e-6, "bvp"), False),
        "net": (network(OptimalControlNet()), True),
        "net LM": (network(OptimalControlNet(method="levenberg-marquardt")), True),
        **{f"IPOPT R{degree} {N}": (ByIpopt(degree, N), False) for degree, N in MESHES},
    }


def single_problems(names: list[str], seeds: int) -> list[Score]:
    """Every method on every problem; networks over seeds on the reference problems, once on the harder ones."""
    road = roads()
    first = Question.named("scalar_lq")
    for method, _ in road.values():  # what is imported on first use
        method(first, 0)
    scores = []
    for name in names:
        print(name, file=sys.stderr, flush=True)
        question = Question.named(name)
        scores.append(published(question))
        for label, (method, is_random) in road.items():
            runs = (seeds if name in SMOOTH else 1) if is_random else 0
            scores.append(score(question, label, method, runs))
    return scores


def against_deepxde(seeds: int, steps: int, second_steps: int, names: list[str] | None = None) -> list[Score]:
    """DeepXDE and the library's paper mode, both with so many steps of Adam, beside the library's own roads."""
    road = {
        "DeepXDE soft": by_deepxde(False, steps, second_steps),
        "DeepXDE hard": by_deepxde(True, steps, second_steps),
        "paper mode": network(OptimalControlNet(method="paper", paper=PaperRoad(steps=steps))),
        "net": network(OptimalControlNet()),
    }
    scores = []
    for name in names or list(BY_HAND):
        question = Question.named(name)
        scores += [score(question, label, method, seeds) for label, method in road.items()]
        scores.append(score(question, "solve 1e-10", classical(1e-10), 0))
    return scores


def print_scores(scores: list[Score], *, baseline: str) -> None:
    """One table a quantity, ratios of times to those of `baseline`, and what failed."""
    table = pd.DataFrame([s._asdict() for s in scores])
    table["problem"] = [f"{SMOOTH.get(name, '')} {name}".strip() for name in table["problem"]]
    problems, methods = table["problem"].unique(), table["method"].unique()
    wide = {
        name: table.pivot(index="problem", columns="method", values=name).loc[problems, methods]
        for name in ("u_error", "J_error", "ms")
    }
    errors, costs, ms = wide["u_error"], wide["J_error"], wide["ms"]
    print("relative L2 error of u at 201 times", errors.map("{:.0e}".format).to_string(), sep="\n", end="\n\n")
    print("relative error of J (of networks: of the cost that their control has)")
    print(costs.map("{:.0e}".format).to_string(), end="\n\n")
    print("milliseconds of a second call, of networks: of a fit")
    print(ms.map("{:,.0f}".format).to_string(), end="\n\n")
    builds = table[table["build_ms"] > 0].groupby("method", sort=False)["build_ms"].agg(["min", "median", "max"])
    if len(builds):
        print("milliseconds to build the program, before", builds.round(0).to_string(), sep="\n", end="\n\n")
    ratio = ms.div(ms[baseline], axis=0).agg(["min", "median", "max"]).T
    print(f"time / time of {baseline}, over problems", ratio.map("{:.3g}".format).to_string(), sep="\n", end="\n\n")
    for failed in (s for s in scores if s.failure):
        print(f"{failed.method} on {failed.problem}: {failed.failure}")
    print()
