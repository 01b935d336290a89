"""The paper's method as a named baseline: three networks, soft conditions, five weighted losses, Adam.

After AW-EL-PINNs (Li & Zeng, arXiv 2509.25262). Its weight formula, optimiser, rates, widths and examples aren't public
to us: what stands here is a documented substitute, and its figures are ours, not the paper's.

    L_x = mean |x' - f|²,  L_p = mean |p' + H_x|²,  L_u = mean |H_u|²,  L_x0 = |x(t0) - x0|²,  L_pT = |p(T) - Φ_x(x(T))|²
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from surrogates.errors import ProblemError
from surrogates.networks import MLP, Flat, flatten
from surrogates.physics.optimal_control import EulerLagrange, Problem, Scales, natural_scales, scaled, unscaled
from surrogates.progress import Progress
from surrogates.random import streams
from surrogates.training import Adam, Checkpoint, Optimiser, Stopping, Uncertainty, Weighting, minimize

from .fitted_single import FittedControl
from .report import ControlReport

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
    losses = _Losses(EulerLagrange(posed), [Flat(net) for net in nets], road.points)
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

    def outputs(self, θ: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (k, n), u (k, m), p (k, n) at places s (k,)."""
        parts = torch.split(θ, [net.size for net in self.nets])
        x, u, p = (net(part, 2 * s[:, None] - 1) for net, part in zip(self.nets, parts, strict=True))
        return x, u, p

    def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
        """Residual vectors by name."""
        problem, system = self.system.problem, self.system
        n = problem.state_size
        s = torch.linspace(0.0, 1.0, self.points, dtype=torch.float64)
        one = torch.ones_like(s)
        pair = torch.func.jvp(lambda at: self.outputs(θ, at), (s,), (one,))
        (x, u, p), (dx, _, dp) = cast(tuple[_Outputs, _Outputs], pair)
        q = system.parameters((self.points,))
        H_x, H_u = torch.func.grad(lambda x, u: system.hamiltonian(s, x, u, p, q).sum(), argnums=(0, 1))(x, u)
        named = {
            "state": (dx - system.dynamics(s, x, u, q)).flatten(),
            "costate": (dp + H_x).flatten(),
            "stationarity": H_u.flatten(),
        }
        ends = {"start": [], "end": []}  # type: dict[str, list[Tensor]]
        for i, (first, last) in enumerate(zip(*problem.given_at_ends, strict=True)):
            ends["start"].append(x[0, i] - first if first is not None else p[0, i] + self._slope(x[0], False)[i])
            ends["end"].append(x[-1, i] - last if last is not None else p[-1, i] - self._slope(x[-1], True)[i])
        assert n == len(ends["start"])
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
