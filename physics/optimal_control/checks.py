"""Whether a problem's functions are what they should be: shape, dtype, finiteness, derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from surrogates.errors import ProblemError

if TYPE_CHECKING:
    from .problem import Problem

#: leading shape that the functions are tried with; no component count is likely to equal both
BATCH = (3, 5)


def check_functions(problem: Problem) -> None:
    """Call every function of the problem once on a batch around the initial state, and differentiate it.

    Raises
    ------
    ProblemError
        What came and what was expected, with the function's name.
    """
    t, x, u, θ = _batch(problem)
    n = problem.state_size
    _check("dynamics", lambda: problem.dynamics(t, x, u, θ), (*BATCH, n), "(..., n)", (x, u))
    if problem.running_cost is not None:
        running = problem.running_cost
        _check("running_cost", lambda: running(t, x, u, θ), BATCH, "(...)", ())
    for name in ("terminal_cost", "initial_cost"):
        cost = getattr(problem, name)
        if cost is not None:
            _check(name, lambda cost=cost: cost(t, x, θ), BATCH, "(...)", ())
    _check_conditions(problem)


def _batch(problem: Problem) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Times over the horizon, states and controls near those given, all of batch shape BATCH."""
    size = BATCH[0] * BATCH[1]
    t = torch.linspace(*problem.horizon, size, dtype=torch.float64).reshape(BATCH)
    x = known_state(problem).expand(*BATCH, -1).clone()
    u = middle_control(problem).expand(*BATCH, -1).clone()
    θ = {name: torch.full(BATCH, value, dtype=torch.float64) for name, value in problem.parameters.items()}
    return t, x.requires_grad_(), u.requires_grad_(), θ


def known_state(problem: Problem) -> Tensor:
    """The state at t0, (n,); where that is free the one at T, where both are free 0."""
    pairs = zip(*problem.given_at_ends, strict=True)
    return torch.tensor([a if a is not None else (b if b is not None else 0.0) for a, b in pairs], dtype=torch.float64)


def middle_control(problem: Problem) -> Tensor:
    """Controls in the middle of their bounds, (m,): 0 where there are none, the bound where there is one only."""
    low, high = problem.bounds
    middle = torch.where(low.isfinite() & high.isfinite(), (low + high) / 2, torch.zeros_like(low))
    return middle.clamp(low, high)


def _check(name: str, call: object, shape: tuple[int, ...], words: str, depends_on: tuple[Tensor, ...]) -> None:
    try:
        value = call()  # type: ignore[operator]
    except ProblemError:
        raise
    except Exception as error:
        raise ProblemError(
            f"{name} fails on a batch of shape {BATCH}: {type(error).__name__}: {error}; "
            f"index components on the last axis, as in x[..., 0], and read parameters as θ['name'], which has no such axis: "
            f"θ['name'][..., None] * x"
        ) from error
    if not isinstance(value, Tensor):
        raise ProblemError(f"{name} gives a {type(value).__name__}; a tensor of shape {words} is expected")
    if tuple(value.shape) != shape:
        raise ProblemError(
            f"{name} gives shape {tuple(value.shape)} for a batch of shape {BATCH}; {shape} is expected, that is {words}"
        )
    if value.dtype != torch.float64:
        raise ProblemError(f"{name} gives {value.dtype}; torch.float64 is expected: make its constants float64")
    if not value.isfinite().all():
        raise ProblemError(
            f"{name} gives {value[~value.isfinite()][0].item()} near the initial state; it must be finite there"
        )
    if depends_on and not value.requires_grad:
        raise ProblemError(
            f"{name} can't be differentiated: its value doesn't depend on x and u through torch operations; "
            f"write it without NumPy, .item() and .detach()"
        )
    if value.requires_grad:
        slopes = torch.autograd.grad(value.sum(), depends_on, allow_unused=True) if depends_on else ()
        for slope in slopes:
            if slope is not None and not slope.isfinite().all():
                raise ProblemError(
                    f"the derivative of {name} is {slope[~slope.isfinite()][0].item()} near the initial state; "
                    f"it must be finite there"
                )


def _check_conditions(problem: Problem) -> None:
    """A component that no law moves can't be given two different values."""
    t, x, u, θ = _batch(problem)
    g = torch.Generator().manual_seed(0)  # a rate may vanish with its slopes at the initial state itself
    x = (x + torch.randn(x.shape, generator=g, dtype=x.dtype)).detach().requires_grad_()
    u = (u + torch.randn(u.shape, generator=g, dtype=u.dtype)).detach().requires_grad_()
    for i, (name, start, end) in enumerate(zip(problem.states, *problem.given_at_ends, strict=True)):
        if start is None or end is None or start == end:
            continue
        rate = problem.dynamics(t, x, u, θ)[..., i]
        slopes = torch.autograd.grad(rate.sum(), (x, u), allow_unused=True) if rate.requires_grad else ()
        moved = bool((rate != 0).any()) or any(slope is not None and bool((slope != 0).any()) for slope in slopes)
        if not moved:
            raise ProblemError(
                f"{name!r} is {start} at the start and {end} at the end, but dynamics never changes it; "
                f"leave one of the two conditions free (None)"
            )
