"""Damped Newton's method for a batch of collocation systems."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .collocation import Cases, Collocation, Extremals, Linearised

#: at most so many halvings of a step
HALVINGS = 10


class Solved(NamedTuple):
    """Where Newton's method ended.

    at : the extremals; J : (B,) costs; converged : (B,)
    error : (B,) size of the last (simplified) Newton step relative to the largest value of each component, an estimate
        of the error of the collocation equations' solution
    steps : (B,) Newton steps taken
    """

    at: Extremals
    J: Tensor
    converged: Tensor
    error: Tensor
    steps: Tensor


def solve_cases(
    collocation: Collocation, cases: Cases, guess: Extremals, *, tolerance: float = 1e-11, max_steps: int = 40
) -> Solved:
    """Solve a batch of cases from their guesses.

    A step δ of Newton's method is shortened to λδ until the simplified step from there, with the old Jacobian, is
    smaller: |δ̄| <= (1 - λ/4) |δ| (the natural monotonicity test of Deuflhard 2004, section 3.3, which doesn't depend on the
    equations' units). Steps are measured relative to the largest value of each component of z.

    tolerance : size of a full step at which a case has converged
    max_steps : of a case, before it counts as not converged
    """
    B = len(cases.t0)
    Z, T = guess.Z.clone(), guess.T.clone()
    J, error = torch.full((B,), torch.nan, dtype=Z.dtype), torch.full((B,), torch.inf, dtype=Z.dtype)
    converged, steps = torch.zeros(B, dtype=torch.bool), torch.zeros(B, dtype=torch.long)
    open_ = torch.arange(B)
    here = collocation.linearise(cases, guess)
    for _ in range(max_steps):
        mine, now = cases.take(open_), Extremals(Z[open_], T[open_])
        moved = _damped_step(collocation, mine, now, here, tolerance)
        Z[open_], T[open_] = moved.at.Z, moved.at.T
        J[open_], error[open_] = moved.there.J, moved.error
        steps[open_] += 1
        converged[open_[moved.done]] = True
        stay = (~moved.done & ~moved.stuck).nonzero()[:, 0]
        open_, here = open_[stay], moved.there.take(stay)
        if not len(open_):
            break
    return Solved(Extremals(Z, T), J, converged, error, steps)


class _Moved(NamedTuple):
    at: Extremals
    there: Linearised
    error: Tensor
    done: Tensor
    stuck: Tensor


def _damped_step(collocation: Collocation, cases: Cases, now: Extremals, here: Linearised, tolerance: float) -> _Moved:
    δ = collocation.step(here, here.r, here.b)
    scale = _scale(now.Z, δ.Z)
    size = _size(δ, now, cases, scale)
    B = len(size)
    λ = torch.ones(B, dtype=size.dtype)
    Z, T, error = now.Z.clone(), now.T.clone(), torch.full_like(size, torch.inf)
    there: Linearised | None = None
    pending = torch.arange(B)
    accepted = torch.zeros(B, dtype=torch.bool)
    for _ in range(HALVINGS):
        trial = Extremals(
            now.Z[pending] + λ[pending, None, None, None] * δ.Z[pending], now.T[pending] + λ[pending] * δ.T[pending]
        )
        new = collocation.linearise(cases.take(pending), trial)
        old = here.take(pending)
        left = _size(collocation.step(old, new.r, new.b), now.take(pending), cases.take(pending), scale[pending])
        fine = (left <= (1 - λ[pending] / 4) * size[pending]) | (size[pending] <= tolerance)
        fine &= left.isfinite() & ((trial.T - cases.t0[pending]) > 0)
        take = pending[fine]
        Z[take], T[take], error[take], accepted[take] = trial.Z[fine], trial.T[fine], left[fine], True
        there = new if there is None else _put(there, pending, new)
        pending = pending[~fine]
        if not len(pending):
            break
        λ[pending] *= 0.5
    assert there is not None
    full = λ == 1.0
    # a full step below the tolerance, or one whose successor can't be told from rounding
    done = accepted & full & ((size <= tolerance) | (error <= 1e-2 * tolerance))
    return _Moved(Extremals(Z, T), there, error, done, ~accepted)


def _put(whole: Linearised, index: Tensor, part: Linearised) -> Linearised:
    return Linearised(*(a.index_copy(0, index, b) for a, b in zip(whole, part, strict=True)))


def _scale(Z: Tensor, δ: Tensor) -> Tensor:
    """Largest absolute value of every component before or after the step, (B, 2n); no less than 1e-6 of its kind's."""
    largest = torch.maximum(Z.abs(), (Z + δ).abs()).amax((1, 2))
    x, p = largest.chunk(2, -1)
    floor = torch.cat([part.amax(-1, keepdim=True).expand_as(part) for part in (x, p)], -1)
    return torch.maximum(largest, 1e-6 * floor).clamp(min=1e-150)


def _size(δ: Extremals, now: Extremals, cases: Cases, scale: Tensor) -> Tensor:
    """Largest relative change, (B,)."""
    of_z = (δ.Z.abs().amax((1, 2)) / scale).amax(-1)
    return torch.maximum(of_z, δ.T.abs() / (now.T - cases.t0))
