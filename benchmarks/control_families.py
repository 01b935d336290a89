"""Families of problems: a network's answers against a Chebyshev table, classical solvers, and their own certificates."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import torch
from control_peers import Direct, Floats, Table, batch_controls, six_parameter_formulas
from direct import FORMULAS, Formulas
from torch import Tensor

from surrogates import OptimalControlNet
from surrogates.control import FamilyRoad, FittedFamily
from surrogates.errors import MissingExtraError
from surrogates.physics.optimal_control import Family, Problem, named_problem, realise, solve, solve_points
from surrogates.physics.optimal_control.batch import Batch
from surrogates.physics.optimal_control.problem import Parameters

SHARES = np.linspace(0.0, 1.0, 201)
CURVE, FIRST = np.linspace(0.0, 1.0, 33), np.array([0.0])
#: IPOPT's mesh for families: about as accurate as the networks
DEGREE, INTERVALS = 5, 20


class Study(NamedTuple):
    """A family, the road to its network, its formulas in CasADi, and tables' points an input (none where hopeless)."""

    name: str
    family: Family
    road: FamilyRoad
    formulas: Formulas
    tables: tuple[int, ...]


class Sizes(NamedTuple):
    """How many cases: judged; timed together by quick methods, by solvers in batches, and by solvers one by one.

    repeats : of every timing of a single case; of those in batches a quarter
    """

    judged: int = 500
    quick: int = 10_000
    batch: int = 500
    single: int = 50
    repeats: int = 20


class Method(NamedTuple):
    """One way to answer queries.

    curve : cases (B, d), shares of the horizon (k,) -> u (B, k, m); None where only first controls are given
    first : cases (B, d) -> u (B, m); None: the curve at its first place
    batch : cases to time together; 1 where cases are solved one by one
    judged : cases to judge
    """

    name: str
    offline: float
    curve: Callable[[Floats, Floats], Floats] | None
    first: Callable[[Floats], Floats] | None
    batch: int
    judged: int


class Truth(NamedTuple):
    """Cases (B, d), solved to 1e-11, and their controls (B, 201, m)."""

    points: Floats
    batch: Batch
    u: Floats

    @staticmethod
    def drawn(family: Family, n: int, *, seed: int) -> Truth:
        points = draw(family, n, seed=seed)
        batch = solve_points(family, torch.from_numpy(points), tolerance=1e-11)
        if not bool(batch.solved.converged.all()):
            raise RuntimeError(f"{int((~batch.solved.converged).sum())} of {n} cases have no extremal to judge by")
        return Truth(points, batch, batch_controls(batch, SHARES))

    def errors(self, u: Floats) -> Floats:
        """Relative L2 errors (B,) of the first controls-over-time u (B, 201, m)."""
        truth = self.u[: len(u)]
        return np.asarray(np.linalg.norm(u - truth, axis=(1, 2)) / np.linalg.norm(truth, axis=(1, 2)))

    def first_errors(self, u: Floats) -> Floats:
        """Errors (B,) of first controls (B, m), relative to the root mean square of the control over the horizon."""
        truth = self.u[: len(u)]
        size = np.sqrt((truth**2).sum(2).mean(1))
        return np.asarray(np.linalg.norm(u - truth[:, 0], axis=1) / size)

    def cost_gaps(self, curve: Callable[[Floats, Floats], Floats], n: int) -> Floats:
        """(J(u) - J*)/|J*| of the first n cases, the motion under u integrated."""
        some = self.batch.take(torch.arange(n))
        mesh = some.collocation.mesh
        places, where = np.unique(mesh.nodes.numpy(), return_inverse=True)
        u = curve(self.points[:n], places)[:, where.reshape(mesh.nodes.shape)]
        Z = some.solved.at.Z
        real = realise(some.collocation.system, mesh, some.cases, torch.from_numpy(u), Z[..., : Z.shape[-1] // 2])
        return np.asarray(((real.J - some.solved.J) / some.solved.J.abs()).numpy())


def draw(family: Family, n: int, *, seed: int) -> Floats:
    """Uniform inputs (n, d)."""
    low, high = family.ranges.numpy()
    return np.asarray(np.random.default_rng(seed).uniform(low, high, (n, len(low))))


def initial_states() -> Study:
    """Van der Pol's oscillator from any state in [-1.5, 1.5]²."""
    family = named_problem("van_der_pol").problem.over(initial_state=[(-1.5, 1.5), (-1.5, 1.5)])
    return Study("S4, 2 inputs", family, FamilyRoad(), FORMULAS["van_der_pol"], (9, 15))


def six_inputs(*, max_cases: int = 8192) -> Study:
    """Van der Pol's oscillator from any state in [-1, 1]², at any damping and any weights of its cost."""

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        x1, x2 = x[..., 0], x[..., 1]
        return torch.stack([θ["damping"] * (1 - x2**2) * x1 - x2 + u[..., 0], x1], -1)

    def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return θ["q1"] * x[..., 0] ** 2 + θ["q2"] * x[..., 1] ** 2 + θ["r"] * u[..., 0] ** 2

    problem = Problem(
        dynamics=rate,
        running_cost=cost,
        horizon=(0.0, 5.0),
        initial_state=(0.0, 1.0),
        control_size=1,
        parameters={"damping": 1.0, "q1": 1.0, "q2": 1.0, "r": 1.0},
    )
    weight = (0.7, 1.4)
    family = problem.over(
        initial_state=[(-1.0, 1.0), (-1.0, 1.0)],
        parameters={"damping": (0.75, 1.25), "q1": weight, "q2": weight, "r": weight},
    )
    road = FamilyRoad(accuracy=1e-5, max_cases=max_cases)
    return Study("van der Pol, 6 inputs", family, road, six_parameter_formulas(), ())


def networks(fitted: FittedFamily, seconds: float, sizes: Sizes) -> list[Method]:
    """All ways to ask a fitted family."""

    def predicted(**options: Any) -> Callable[[Floats, Floats], Floats]:
        return lambda cases, s: np.asarray(fitted.predict(cases, times=s, **options)["u"].values)

    policy = fitted.policy()
    n = sizes.judged
    methods = [
        Method("predict", seconds, predicted(), None, sizes.quick, n),
        Method("predict, certify", seconds, predicted(certify=True), None, sizes.batch, n),
        Method("predict, polish=1", seconds, predicted(polish=1), None, sizes.batch, n),
        Method(
            "Policy.controls",
            seconds,
            None,
            lambda cases: np.asarray(policy.controls(torch.from_numpy(cases)).numpy()),
            sizes.quick,
            n,
        ),
    ]
    session = _onnx_session(fitted)
    if session is not None:
        run: Callable[[Floats], Floats] = lambda cases: np.asarray(session.run(None, {"inputs": cases})[0])  # noqa: E731
        methods.append(Method("ONNX runtime", seconds, None, run, sizes.quick, n))
    return methods


def _onnx_session(fitted: FittedFamily) -> Any:
    """The policy in ONNX runtime on one thread; None where that isn't installed."""
    try:
        import onnxruntime
    except ImportError:
        return None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # torchvision, which nothing here needs
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.onnx"
        try:
            fitted.policy().to_onnx(path)
        except MissingExtraError:
            return None
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def peers(study: Study, sizes: Sizes) -> list[Method]:
    """Tables, and solvers that need no network."""
    methods = []
    for points in study.tables:
        table = Table(study.family, points)
        label = "table " + " x ".join([str(points)] * len(study.family.inputs))
        methods.append(Method(label, table.seconds, table.controls, None, sizes.quick, sizes.judged))
    program = Direct(study.formulas, intervals=INTERVALS, degree=DEGREE, tol=1e-8)  # IPOPT's default

    def together(cases: Floats, s: Floats) -> Floats:
        return batch_controls(solve_points(study.family, torch.from_numpy(cases)), s)

    def one_by_one(cases: Floats, s: Floats) -> Floats:
        start, end = study.family.problem.horizon
        times = start + (end - start) * s
        return np.stack([solve(_at(study.family, case), times=times, tolerance=1e-6)["u"].values for case in cases])

    def ipopt(cases: Floats, s: Floats) -> Floats:
        return np.stack([program.controls(program.solve(case), s) for case in cases])

    return [
        *methods,
        Method("solve_points", 0.0, together, None, sizes.batch, sizes.judged),
        Method("solve() 1e-6", 0.0, one_by_one, None, 1, sizes.single),
        Method(f"IPOPT R{DEGREE} {INTERVALS}", program.build_seconds, ipopt, None, 1, sizes.judged),
    ]


def _at(family: Family, case: Floats) -> Problem:
    """The problem of one case, whose inputs are all states and then parameters."""
    n = family.problem.state_size
    parameters = dict(zip(family.parameters, case[n:].tolist(), strict=True))
    return family.problem.with_values(initial_state=case[:n].tolist(), parameters=parameters)


def row(method: Method, truth: Truth, family: Family, sizes: Sizes) -> dict[str, Any]:
    """Errors, cost gaps and microseconds (of the processor) a query of one method."""
    n = method.judged
    nan = np.array([np.nan])
    errors = nan if method.curve is None else truth.errors(method.curve(truth.points[:n], SHARES))
    gaps = nan if method.curve is None else truth.cost_gaps(method.curve, n)
    first = _first(method)
    many, one = draw(family, method.batch, seed=5), draw(family, 1, seed=6)
    some = draw(family, sizes.single, seed=7)
    curve_µs = [np.nan] * 2
    if method.curve is not None:
        curve = method.curve
        curve_µs = _microseconds(lambda cases: curve(cases, CURVE), many, one, some, sizes.repeats)
    first_µs = _microseconds(first, many, one, some, sizes.repeats)
    return {
        "method": method.name,
        "offline s": f"{method.offline:.2f}",
        "u error": f"{np.median(errors):.0e}",
        "99 %": f"{np.quantile(errors, 0.99):.0e}",
        "u(0) error": f"{np.median(truth.first_errors(first(truth.points[:n]))):.0e}",
        "cost gap": f"{np.median(np.abs(gaps)):.0e}",
        "worst gap": f"{np.abs(gaps).max():.0e}",
        "curve µs": curve_µs[0],
        "curve µs, single": curve_µs[1],
        "first µs": first_µs[0],
        "first µs, single": first_µs[1],
    }


def _first(method: Method) -> Callable[[Floats], Floats]:
    if method.first is not None:
        return method.first
    curve = method.curve
    assert curve is not None
    return lambda cases: curve(cases, FIRST)[:, 0]


def _microseconds(
    run: Callable[[Floats], object], many: Floats, one: Floats, some: Floats, repeats: int
) -> list[float]:
    """A query, of a batch and alone; where the batch is of one case, the mean of some that come one by one."""
    if len(many) == 1:
        return [1e6 * float(np.mean([_seconds(run, case[None]) for case in some]))] * 2
    run(many)  # warms up
    alone = [_seconds(run, one) for _ in range(repeats)]
    together = [_seconds(run, many) for _ in range(max(1, repeats // 4))]
    return [1e6 * float(np.median(together)) / len(many), 1e6 * float(np.median(alone))]


def _seconds(run: Callable[[Floats], object], cases: Floats) -> float:
    began = time.process_time()
    run(cases)
    return time.process_time() - began


def fit(study: Study, road: FamilyRoad, *, seed: int = 0) -> tuple[FittedFamily, float]:
    """A network of the study's family, and the seconds that it took."""
    began = time.process_time()
    fitted = OptimalControlNet(family=road).fit(study.family, seed=seed)
    assert isinstance(fitted, FittedFamily)
    return fitted, time.process_time() - began


def study_family(study: Study, sizes: Sizes, seeds: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tables of methods, of fits over seeds, and of certificates."""
    truth = Truth.drawn(study.family, sizes.judged, seed=11)
    fits, scores = [], []
    fitted, seconds = fit(study, study.road)
    for seed in range(seeds):
        if seed:
            fitted, seconds = fit(study, study.road, seed=seed)
        errors = truth.errors(np.asarray(fitted.predict(truth.points, times=SHARES)["u"].values))
        figures = fitted.report.figures
        fits.append(
            {
                "seed": seed,
                "seconds": seconds,
                **{name: int(figures[name]) for name in ("cases", "features", "modes", "elements")},
                "u error": f"{np.median(errors):.1e}",
                "99 %": f"{np.quantile(errors, 0.99):.1e}",
            }
        )
    rows = [row(m, truth, study.family, sizes) for m in [*networks(fitted, seconds, sizes), *peers(study, sizes)]]
    scores.append(certificates("network", fitted, truth))
    rough, _ = fit(study, FamilyRoad(accuracy=1e-9, max_cases=256, trunk="random"))
    scores.append(certificates("a rough one: random trunk, 256 cases", rough, truth))
    tables = [pd.DataFrame(part) for part in (rows, fits, scores)]
    return tables[0].set_index("method"), tables[1].set_index("seed"), tables[2].set_index("network of")


def certificates(name: str, fitted: FittedFamily, truth: Truth) -> dict[str, Any]:
    """How the certificates of a network's answers go with their true errors and cost gaps."""
    answer = fitted.predict(truth.points, times=SHARES, certify=True)
    errors, told = truth.errors(answer["u"].values), answer["error"].values
    rank = {
        of: float(scipy.stats.spearmanr(answer[of].values, errors).statistic)
        for of in ("error", "residual", "hamiltonian_drift")
    }
    return {
        "network of": name,
        "median error": f"{np.median(errors):.0e}",
        "worst error": f"{errors.max():.0e}",
        **{f"rank, {of.replace('_', ' ')}": f"{value:.4f}" for of, value in rank.items()},
        "worst true/told": f"{(errors / told).max():.3f}",
        "worst told/true": f"{(told / errors).max():.3f}",
    }


def break_even(table: pd.DataFrame, reference: str = "predict") -> pd.DataFrame:
    """Queries (curves in batches) from which on the network, its fit included, is quicker than each solver."""
    offline, own = table["offline s"].astype(float)[reference], table["curve µs"].astype(float)[reference]
    costs = table["curve µs"].astype(float)[table.index.str.startswith(("solve", "IPOPT"))]
    return pd.DataFrame({"time / network's": costs / own, "break-even": 1e6 * offline / (costs - own)})
