"""From a problem whose extremal is known to the one that is asked for, in steps as long as Newton's method allows."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, replace

import numpy as np
import scipy.integrate
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import NumericalError

from .boundary import end_cost
from .checks import middle_control
from .collocation import Cases, Collocation, Extremals
from .hamiltonian import EulerLagrange
from .mesh import Mesh
from .newton import Solved, solve_cases
from .problem import EndCost, Law, Parameters, Problem

Floats = NDArray[np.float64]
#: the parameter that leads from one problem to the other; no name that a user's own may have
λ = "λ of the homotopy"
#: rates of the uncontrolled motion that are computed at most
MOST_RATES = 50_000


def straight_guess(system: EulerLagrange, mesh: Mesh, cases: Cases) -> Extremals:
    """States on a straight line between those given, or at rest; costates at the end cost's gradient there."""
    problem, s = system.problem, mesh.nodes[..., None]
    first, last = problem.given_at_ends
    ends = []
    for mine, other, values, others in (
        (first, last, cases.initial, cases.final),
        (last, first, cases.final, cases.initial),
    ):
        picks = [
            values[:, i] if a is not None else (others[:, i] if b is not None else torch.zeros_like(values[:, i]))
            for i, (a, b) in enumerate(zip(mine, other, strict=True))
        ]
        ends.append(torch.stack(picks, -1)[:, None, None])
    x = ends[0] + s * (ends[1] - ends[0])
    p = end_cost(problem, cases.T, x[:, -1, -1], cases.q, is_final=True).gradient[:, : problem.state_size]
    return Extremals(torch.cat([x, p[:, None, None].expand_as(x)], -1), cases.T.clone())


def random_guesses(system: EulerLagrange, mesh: Mesh, cases: Cases, *, starts: int, seed: int) -> Extremals:
    """Straight guesses with random constant costates of sizes 0.01 to 10, and random ramps of the free states.

    Sizes are relative: of costates to the running cost over the rates, of ramps to the states given, 1 where those vanish.
    """
    many = cases.take(torch.zeros(starts, dtype=torch.long))
    guess = straight_guess(system, mesh, many)
    generator = torch.Generator().manual_seed(seed)
    n, s = system.problem.state_size, mesh.nodes[..., None]

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    Z = guess.Z.clone()
    largest = Z[..., :n].abs().amax((0, 1, 2))
    size = torch.where(largest > 0, largest, largest.max().clamp(min=1e-150) if bool(largest.any()) else 1.0)
    free = torch.tensor([v is None for v in system.problem.given_at_ends[1]])
    Z[..., :n] += torch.where(free, s * draw(starts, 1, 1, n) * size, 0.0)
    scale = 10 ** (3 * torch.rand(starts, 1, 1, 1, generator=generator, dtype=torch.float64) - 2)
    Z[..., n:] += scale * draw(starts, 1, 1, n)
    return Extremals(Z, guess.T)


def by_homotopy(problem: Problem, mesh: Mesh, cases: Cases, *, smallest_step: float = 1 / 256) -> Solved:
    """Follow one case from the uncontrolled motion, which is the extremal of a problem that only penalises control.

        L_λ = λ L + (1 - λ) c/2 Σ ((u - ū)/D)²,   Φ_λ = λ Φ,   x_T(λ) = (1 - λ) x̄(T) + λ x_T

    with ū the middle of the bounds, x̄ the motion under it, D the half-widths of the bounds (or 1). At λ = 0 its extremal
    is x = x̄, u = ū, p = 0.

    Raises
    ------
    NumericalError
        If the uncontrolled motion or one of the steps can't be computed; the message says how far it came.
    """
    blended = _blend(replace(problem, free_final_time=False))
    path = _uncontrolled(EulerLagrange(problem), mesh, cases)
    guess = Extremals(torch.cat([path, torch.zeros_like(path)], -1), cases.T.clone())
    collocation = Collocation(EulerLagrange(blended), mesh)
    target, here, reached, size = cases.final, guess, 0.0, 0.25
    previous: tuple[float, Tensor] | None = None
    while reached < 1.0:
        trial = min(1.0, reached + size)
        final = (1 - trial) * path[:, -1, -1] + trial * target
        q = torch.cat([cases.q, torch.full((1, 1), trial, dtype=torch.float64)], -1)
        start = here
        if previous is not None:  # along the secant
            slope = (here.Z - previous[1]) / (reached - previous[0])
            start = Extremals(here.Z + (trial - reached) * slope, here.T)
        solved = solve_cases(collocation, cases._replace(final=final, q=q), start, tolerance=1e-6, max_steps=12)
        if bool(solved.converged):
            previous, reached, here = (reached, here.Z), trial, solved.at
            size *= 2 if int(solved.steps) <= 4 else 1
        else:
            size *= 0.5
            if size < smallest_step:
                raise NumericalError(
                    f"the continuation from the uncontrolled motion stopped at {reached:.3g} of its way"
                )
    return solve_cases(Collocation(EulerLagrange(problem), mesh), cases, here)


@dataclass(frozen=True)
class _Blended:
    """The functions of the problem in between; λ is its last parameter."""

    problem: Problem
    weight: float
    middle: Tensor
    half_width: Tensor

    def running(self, t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        penalty = 0.5 * self.weight * (((u - self.middle) / self.half_width) ** 2).sum(-1)
        whole = 0.0 if self.problem.running_cost is None else self.problem.running_cost(t, x, u, θ)
        return θ[λ] * whole + (1 - θ[λ]) * penalty

    def end(self, cost: EndCost | None) -> EndCost | None:
        return None if cost is None else (lambda t, x, θ: θ[λ] * cost(t, x, θ))


def _blend(problem: Problem) -> Problem:
    low, high = problem.bounds
    finite = low.isfinite() & high.isfinite()
    middle = middle_control(problem)
    half = torch.where(finite, (high - low) / 2, torch.ones_like(low))
    parts = _Blended(problem, 1.0, middle, half)
    running: Law = parts.running
    return replace(
        problem,
        running_cost=running,
        terminal_cost=parts.end(problem.terminal_cost),
        initial_cost=parts.end(problem.initial_cost),
        parameters={**problem.parameters, λ: 0.5},
    )


def _uncontrolled(system: EulerLagrange, mesh: Mesh, cases: Cases) -> Tensor:
    """Motion under the middle control at the mesh's nodes, (1, K, d + 1, n)."""
    u = middle_control(system.problem)
    start = torch.where(cases.initial.isfinite(), cases.initial, torch.zeros_like(cases.initial))
    calls = itertools.count(1)

    def motion(t: float, x: Floats) -> Floats:
        rate = system.dynamics(torch.tensor(t, dtype=torch.float64), torch.from_numpy(x.copy()), u, cases.q[0])
        if next(calls) > MOST_RATES or not bool(rate.isfinite().all()):  # LSODA would try for ever
            raise NumericalError(f"the uncontrolled motion can't be computed beyond t = {t}")
        return np.asarray(rate.numpy())

    t0, T = float(cases.t0), float(cases.T)
    nodes = mesh.nodes.numpy()
    times, inverse = np.unique(nodes, return_inverse=True)
    with warnings.catch_warnings():  # LSODA warns of what is raised below
        warnings.simplefilter("ignore", UserWarning)
        result = scipy.integrate.solve_ivp(
            motion, (t0, T), start[0].numpy(), t_eval=t0 + (T - t0) * times, method="LSODA", rtol=1e-8, atol=1e-10
        )
    if not result.success or not np.isfinite(result.y).all() or result.y.shape[1] < len(times):
        raise NumericalError(f"the uncontrolled motion can't be computed up to t = {T}: {result.message}")
    return torch.from_numpy(result.y.T[inverse.reshape(nodes.shape)][None].copy())
