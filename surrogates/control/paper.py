"""The paper's method as a named baseline: three networks, soft conditions, five weighted losses, Adam.

After AW-EL-PINNs (Li & Zeng, arXiv 2509.25262). Its weight formula, optimiser, rates, widths and examples aren't public
to us: what stands here is a documented substitute, and its figures are ours, not the paper's.

    L_x = mean |x' - f|²,  L_p = mean |p' + H_x|²,  L_u = mean |H_u|²,  L_x0 = |x(t0) - x0|²,  L_pT = |p(T) - Φ_x(x(T))|²
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from surrogates.errors import ProblemError
from surrogates.networks import MLP, Flat, flatten
from surrogates.physics.optimal_control import EulerLagrange, Problem, Scales, natural_scales, scaled, unscaled
from surrogates.progress import Progress
from surrogates.random import streams
from surrogates.training import Adam, Checkpoint, Optimiser, Stopping, Uncertainty, Weighting, minimize

from .fitted_single import FittedControl
from .report import ControlReport, whole

#: x, u and p, or their derivatives
_Outputs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class PaperRoad:
    """Hyper-parameters of the baseline; ours, since the paper's aren't public to us.

    hidden : widths of each network's tanh layers
    points : collocation times, equally spaced
    steps : of the optimiser; optimiser : of all weights
    weighting : of the five losses, or its name; see `surrogates.training.WEIGHTINGS`. Adaptive ones whose weights may run
        away lose the problem: the report warns where their ratio passes 1e3
    is_scaled : whether the problem is scaled first; the paper's isn't
    """

    hidden: tuple[int, ...] = (32, 32)
    points: int = 101
    steps: int = 20_000
    optimiser: Optimiser = field(default_factory=lambda: Adam(rate=1e-3))
    weighting: Weighting | str = field(default_factory=Uncertainty)
    is_scaled: bool = False

    def __post_init__(self) -> None:
        whole(self.points, "points", 2)
        whole(self.steps, "steps", 0)


def by_paper(
    problem: Problem, road: PaperRoad, *, seed: int, progress: Progress, checkpoint: Checkpoint | None
) -> FittedControl:
    """Fit the baseline; see `OptimalControlNet`."""
    if problem.free_final_time or problem.is_bounded:
        raise ProblemError(
            "paper mode takes problems with a fixed final time and controls without bounds, as the paper does; "
            "use method='features' or solve()"
        )
    began = time.perf_counter()
    n, m = problem.state_size, problem.control_size
    scales = natural_scales(problem) if road.is_scaled else _units(problem)
    posed = scaled(problem, scales)
    generators = streams(seed, 3)
    nets = [
        MLP((1, *road.hidden, size), generator=generator) for size, generator in zip((n, m, n), generators, strict=True)
    ]
    span = problem.horizon[1] - problem.horizon[0]
    losses = _Losses(EulerLagrange(posed), [Flat(net) for net in nets], road.points, span)
    found = minimize(
        losses,
        torch.cat([flatten(net) for net in nets]).detach(),
        optimiser=road.optimiser,
        weighting=road.weighting,
        stopping=Stopping(max_steps=road.steps),
        checkpoint=checkpoint,
        progress=progress,
        seed=seed,
    )
    final = found.θ

    def trajectory(s: Tensor) -> Tensor:
        with torch.no_grad():
            x, _, p = losses.outputs(final, s)
        return unscaled(torch.cat([x, p], -1), scales)

    def controls(s: Tensor) -> Tensor:
        with torch.no_grad():
            return losses.outputs(final, s)[1] * torch.tensor(scales.control, dtype=torch.float64)

    report = ControlReport(
        method="paper mode: three networks, soft conditions",
        outcome=f"{found.ending.value}; a small loss says nothing of the error: read the certificate",
        is_success=False,  # losses have no scale at which the answer is known to be good
        seconds=time.perf_counter() - began,
        figures={"steps": found.steps, "total loss": found.total, **{f"loss {k}": v for k, v in found.losses.items()}},
        trace=tuple(found.trace[:: max(1, len(found.trace) // 2000)]),
        weights={name: tuple(found.weights_trace[:, i].tolist()) for i, name in enumerate(found.names)},
        warnings=tuple(found.warnings),
    )
    return FittedControl(problem, report, trajectory, controls)


def _units(problem: Problem) -> Scales:
    """No scaling but that of time to [0, 1]; residuals are divided by the horizon again."""
    return Scales((1.0,) * problem.state_size, (1.0,) * problem.control_size, 1.0)


@dataclass(frozen=True)
class _Losses:
    """The five losses of θ, the parameters of the three networks one after the other."""

    system: EulerLagrange
    nets: list[Flat]
    points: int
    span: float

    def outputs(self, θ: Tensor, s: Tensor) -> _Outputs:
        """x (k, n), u (k, m), p (k, n) at places s (k,)."""
        (x, u, p), _ = self.with_slopes(θ, s)
        return x, u, p

    def with_slopes(self, θ: Tensor, s: Tensor) -> tuple[_Outputs, _Outputs]:
        """The outputs and their derivatives in s. By hand: a nested jvp and its reverse take four times as long."""
        parts = torch.split(θ, [net.size for net in self.nets])
        pairs = [_with_slope(net.split(part), 2 * s[:, None] - 1) for net, part in zip(self.nets, parts, strict=True)]
        (x, dx), (u, du), (p, dp) = pairs
        return (x, u, p), (dx, du, dp)

    def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
        """Residual vectors by name."""
        problem, system = self.system.problem, self.system
        s = torch.linspace(0.0, 1.0, self.points, dtype=torch.float64)
        (x, u, p), (dx, _, dp) = self.with_slopes(θ, s)
        q = system.parameters((self.points,))
        f = system.dynamics(s, x, u, q)
        with torch.enable_grad():
            if not x.requires_grad:  # values alone are wanted, but H_x and H_u need a graph
                x, u = x.requires_grad_(), u.requires_grad_()
                f = system.dynamics(s, x, u, q)
            H = system.running_cost(s, x, u, q) + (p * f).sum(-1)
            H_x, H_u = torch.autograd.grad(H.sum(), (x, u), create_graph=True)
        # per unit of the user's time, as the paper has them: over [0, 1] long horizons would drown the end conditions
        named = {
            "state": (dx - f).flatten() / self.span,
            "costate": (dp + H_x).flatten() / self.span,
            "stationarity": H_u.flatten() / self.span,
        }
        ends = {"start": [], "end": []}  # type: dict[str, list[Tensor]]
        for i, (first, last) in enumerate(zip(*problem.given_at_ends, strict=True)):
            ends["start"].append(x[0, i] - first if first is not None else p[0, i] + self._slope(x[0], False)[i])
            ends["end"].append(x[-1, i] - last if last is not None else p[-1, i] - self._slope(x[-1], True)[i])
        return named | {name: torch.stack(values) for name, values in ends.items()}

    def _slope(self, x: Tensor, is_final: bool) -> Tensor:
        """Φ_x or Φ0_x at x (n,), on the graph."""
        problem = self.system.problem
        cost = problem.terminal_cost if is_final else problem.initial_cost
        if cost is None:
            return torch.zeros_like(x)
        t = torch.tensor(problem.horizon[1 if is_final else 0], dtype=torch.float64)
        θ = {name: torch.tensor(value, dtype=torch.float64) for name, value in problem.parameters.items()}
        slope: Tensor = torch.func.grad(lambda x: cost(t, x, θ))(x)
        return slope


def _with_slope(weights: Mapping[str, Tensor], τ: Tensor) -> tuple[Tensor, Tensor]:
    """A tanh network at τ = 2s - 1 (k, 1), and its derivative in s: (k, outputs) each."""
    h, dh = τ, 2 * torch.ones_like(τ)
    layer = 0
    while f"hidden.{layer}.weight" in weights:
        W, b = weights[f"hidden.{layer}.weight"], weights[f"hidden.{layer}.bias"]
        h = torch.tanh(h @ W.T + b)
        dh = (1 - h * h) * (dh @ W.T)
        layer += 1
    W = weights["last.weight"]
    return h @ W.T + weights["last.bias"], dh @ W.T
