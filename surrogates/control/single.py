"""One problem: a shallow network under hard end conditions, controls eliminated, fitted by Gauss-Newton steps.

Where the hidden layer is frozen, the residuals are nearly linear in the outer weights, and a few Gauss-Newton steps, each a
truncated least-squares problem, reach what the features can express (X-TFC; Schiassi et al. 2021). Wider and steeper layers
are tried until the Euler-Lagrange residual between the collocation points is as small as asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from surrogates.errors import NumericalError, ProblemError
from surrogates.physics.optimal_control import EulerLagrange, Problem, Scales, natural_scales, scaled, unscaled
from surrogates.physics.optimal_control.checks import known_state
from surrogates.physics.optimal_control.solver import solve
from surrogates.progress import Progress, progress_bar
from surrogates.random import streams
from surrogates.training import Checkpoint, LevenbergMarquardt, Stopping, minimize

from .ansatz import Ansatz
from .report import ControlReport, whole
from .shallow import Residuals, Shallow, random_shallow

#: singular values below this share of the largest are cut off
RCOND = 1e-14
#: Gauss-Newton steps for one hidden layer at most, and halvings of one step
MOST_STEPS, HALVINGS = 25, 12


@dataclass(frozen=True, kw_only=True)
class FeatureRoad:
    """Hidden layers of random tanh features, tried one after the other.

    layers : (width, scale) of each; hidden weights are drawn from U(-scale, scale)
    tolerance : rms of the Euler-Lagrange residual of the scaled problem, between the collocation points, to stop at
    """

    layers: tuple[tuple[int, float], ...] = ((60, 6.0), (100, 10.0), (200, 30.0), (300, 45.0))
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        if not self.layers or not all(width >= 2 and scale > 0 for width, scale in self.layers):
            raise ProblemError(
                f"layers are {self.layers}; pairs of a width >= 2 and a scale > 0 are expected, at least one"
            )
        if not self.tolerance > 0:
            raise ProblemError(f"tolerance is {self.tolerance}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardtRoad:
    """All weights of one hidden layer by Levenberg-Marquardt, and the outer ones by Gauss-Newton at the end.

    width, scale : of the hidden layer; points : Chebyshev points per unit of the layer
    max_steps : of Levenberg-Marquardt
    """

    width: int = 40
    scale: float = 4.0
    points: int = 3
    max_steps: int = 300

    def __post_init__(self) -> None:
        for name, least in (("width", 2), ("points", 1), ("max_steps", 0)):
            whole(getattr(self, name), name, least)
        if not self.scale > 0:
            raise ProblemError(f"scale is {self.scale}; it must be above 0")


@dataclass(frozen=True, eq=False)
class ShallowSolution:
    """A fitted shallow network of a problem, in scaled variables.

    problem : the user's; scales : its units; net : the network of the scaled problem
    """

    problem: Problem
    scales: Scales
    net: Shallow

    def trajectory(self, s: Tensor) -> Tensor:
        """z = (x, p) in the user's units at places s (k,) of the horizon, (k, 2n)."""
        system = EulerLagrange(scaled(self.problem, self.scales))
        n = self.problem.state_size
        residuals = Residuals(system, s, torch.ones(2 * n, dtype=torch.float64))
        return unscaled(residuals.trajectory(self.net, s), self.scales)


def by_features(
    problem: Problem, road: FeatureRoad, *, seed: int, progress: Progress
) -> tuple[ShallowSolution, ControlReport]:
    """Fit random features; see `OptimalControlNet`."""
    began = time.perf_counter()
    scales, system = _scaled_system(problem)
    generators = streams(seed, len(road.layers))
    best: tuple[float, Shallow] | None = None
    trace: list[float] = []
    starts = _Starts(problem, scales, system)
    with progress_bar(progress, "layers", total=len(road.layers)) as step:
        for (width, scale), generator in zip(road.layers, generators, strict=True):
            layer = random_shallow(2 * problem.state_size, width, scale, generator)
            fitted = _from_any(system, layer, starts, trace)
            if fitted is None:
                continue
            rms = residual_between(system, fitted)
            starts.known = fitted
            if best is None or rms < best[0]:
                best = rms, fitted
            step(rms)
            if rms <= road.tolerance:
                break
    if best is None:
        raise NumericalError(
            "Gauss-Newton steps converged from no start, the classical solution included; try wider layers, or solve()"
        )
    reached = best[0] <= road.tolerance
    if best[0] != best[0]:
        raise NumericalError("the residual of the fitted network isn't finite; the controls may have no minimiser")
    report = ControlReport(
        method="random features, Gauss-Newton",
        outcome="the residual asked for was reached" if reached else "the widest layer leaves a larger residual",
        is_success=reached,
        seconds=time.perf_counter() - began,
        figures={"width": len(best[1].w), "steps": len(trace), "rms residual": best[0]},
        trace=tuple(trace),
        warnings=_warnings(starts),
    )
    return ShallowSolution(problem, scales, best[1]), report


def by_levenberg_marquardt(
    problem: Problem, road: LevenbergMarquardtRoad, *, seed: int, progress: Progress, checkpoint: Checkpoint | None
) -> tuple[ShallowSolution, ControlReport]:
    """Fit all weights of a shallow network; see `OptimalControlNet`."""
    began = time.perf_counter()
    scales, system = _scaled_system(problem)
    (generator,) = streams(seed, 1)
    layer = random_shallow(2 * problem.state_size, road.width, road.scale, generator)
    starts = _Starts(problem, scales, system)
    residuals = Residuals(
        system, chebyshev_points(road.points * road.width), torch.ones(2 * problem.state_size).double()
    )
    # weights that cancel each other leave no room to move the hidden layer: start from small ones
    start = starts.decay(layer, rcond=1e-3)
    found = minimize(
        residuals,
        start.flat(),
        optimiser=LevenbergMarquardt(),
        stopping=Stopping(max_steps=road.max_steps, loss=1e-24),
        checkpoint=checkpoint,
        progress=progress,
    )
    net = Shallow.of(found.θ, 2 * problem.state_size)
    before = residual_between(system, net)
    polished = _gauss_newton(residuals, net, [])
    if polished is not None and residual_between(system, polished) < before:
        net = polished
    rms = residual_between(system, net)
    report = ControlReport(
        method="shallow network, Levenberg-Marquardt",
        outcome=found.ending.value,
        is_success=rms < 1e-6,
        seconds=time.perf_counter() - began,
        figures={
            "width": road.width,
            "steps": found.steps,
            "rms residual before Gauss-Newton": before,
            "rms residual": rms,
        },
        trace=tuple(found.trace),
        warnings=tuple(found.warnings),
    )
    return ShallowSolution(problem, scales, net), report


def chebyshev_points(n: int) -> Tensor:
    """(1 - cos(πk/(n - 1)))/2, k = 0 ... n - 1."""
    return 0.5 * (1 - torch.cos(torch.pi * torch.arange(n, dtype=torch.float64) / (n - 1)))


def residual_between(system: EulerLagrange, net: Shallow) -> float:
    """Rms of z' - T F relative to each component's largest value, on a grid four times finer than the fit's."""
    n = system.problem.state_size
    points = chebyshev_points(8 * len(net.w) + 1)
    middle = 0.5 * (points[1:] + points[:-1])
    residuals = Residuals(system, middle, torch.ones(2 * n, dtype=torch.float64))
    r = residuals(net.flat())["euler_lagrange"].reshape(-1, 2 * n)
    size = residuals.trajectory(net, middle).abs().amax(0).clamp(min=1e-150)
    return float(((r / size) ** 2).mean().sqrt())


def _scaled_system(problem: Problem) -> tuple[Scales, EulerLagrange]:
    if problem.free_final_time:
        raise ProblemError(
            "a network of one problem needs a fixed final time; use solve(), or a family, for a free one"
        )
    scales = natural_scales(problem)
    return scales, EulerLagrange(scaled(problem, scales))


class _Starts:
    """Outer weights to start from: a decaying motion, then what is known, then the classical solution."""

    def __init__(self, problem: Problem, scales: Scales, system: EulerLagrange) -> None:
        self.problem, self.scales, self.system = problem, scales, system
        self.known: Shallow | None = None
        self.used_classical = False

    def __iter__(self) -> Iterator[Callable[[Shallow], Shallow]]:
        if self.known is not None:
            yield self.same
        yield self.decay
        yield self.classical

    def same(self, layer: Shallow) -> Shallow:
        """The trajectory of the narrower network before."""
        assert self.known is not None
        s = chebyshev_points(3 * len(layer.w))
        φ, _ = self.known.features(s)
        return _fitted_outputs(layer, s, φ @ self.known.C.T)

    def decay(self, layer: Shallow, rcond: float = RCOND) -> Shallow:
        """x = x0 e^(-2s) where only the start is given, a straight line where both ends are, p at its end value."""
        n = self.problem.state_size
        s = chebyshev_points(3 * len(layer.w))
        x0 = known_state(self.system.problem)
        pairs = zip(*self.problem.given_at_ends, strict=True)
        decays = torch.tensor([a is not None and b is None for a, b in pairs])
        shape = torch.where(s > 0, torch.expm1(-2 * s) / s.clamp(min=1e-9), -2.0)
        Y = torch.where(decays, shape[:, None] * x0, 0.0)
        return _fitted_outputs(layer, s, torch.cat([Y, torch.zeros(len(s), n, dtype=torch.float64)], -1), rcond)

    def classical(self, layer: Shallow) -> Shallow:
        """The collocation solution, of low accuracy; used where nothing else leads to a solution."""
        self.used_classical = True
        answer = solve(self.problem, tolerance=1e-6)
        s = torch.linspace(0, 1, 201, dtype=torch.float64)[1:-1]
        z = torch.cat([torch.from_numpy(answer[name].values[1:-1]) for name in ("x", "p")], -1)
        D_x = torch.tensor(self.scales.state, dtype=torch.float64)
        return _fitted_outputs(
            layer, s, Ansatz(self.system.problem).outputs(s, z / torch.cat([D_x, self.scales.cost / D_x]))
        )


def _from_any(system: EulerLagrange, layer: Shallow, starts: _Starts, trace: list[float]) -> Shallow | None:
    n = system.problem.state_size
    residuals = Residuals(system, chebyshev_points(2 * len(layer.w)), torch.ones(2 * n, dtype=torch.float64))
    for start in starts:
        try:
            fitted = _gauss_newton(residuals, start(layer), trace)
        except (NumericalError, RuntimeError):  # lstsq raises the latter where LAPACK gives up
            continue
        if fitted is not None:
            return fitted
    return None


def _gauss_newton(residuals: Residuals, net: Shallow, trace: list[float]) -> Shallow | None:
    """Outer weights by Gauss-Newton steps with halving; None where they end with residuals of order one."""
    r, J = residuals.linearise(net, outer_only=True)
    cost = float(r @ r)
    for _ in range(MOST_STEPS):
        if not torch.isfinite(J).all():
            return None
        d = torch.linalg.lstsq(J, -r[:, None], driver="gelsd", rcond=RCOND).solution.reshape(net.C.shape)
        size, before = 1.0, cost
        for _ in range(HALVINGS):
            trial = net._replace(C=net.C + size * d)
            r_new, J_new = residuals.linearise(trial, outer_only=True)
            new = float(r_new @ r_new)
            if new < cost:
                net, r, J, cost = trial, r_new, J_new, new
                trace.append((cost / len(r)) ** 0.5)
                break
            size /= 2
        else:
            break
        # near the features' floor full steps hardly gain; further up they may, before they turn quadratic
        if size == 1.0 and cost > (0.25 if cost < 1e-4 * len(r) else 0.98) * before:
            break
    z = residuals.trajectory(net, residuals.s)
    size_of = z.abs().amax(0).clamp(min=1e-150)
    relative = ((r.reshape(len(z), -1) / size_of) ** 2).mean().sqrt()
    return net if float(relative) < 0.1 else None


def _fitted_outputs(layer: Shallow, s: Tensor, outputs: Tensor, rcond: float = RCOND) -> Shallow:
    φ, _ = layer.features(s)
    C = torch.linalg.lstsq(φ, outputs, driver="gelsd", rcond=rcond).solution.T.contiguous()
    return layer._replace(C=C)


def _warnings(starts: _Starts) -> tuple[str, ...]:
    if starts.used_classical:
        return ("no start of the network's own led to a solution; it was started from the classical one",)
    return ()
