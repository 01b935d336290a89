"""The exact step of a linear system whose inputs are held constant over the step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from surrogates.errors import DataError

from .recurrence import linear_recurrence


def zero_order_hold(A: Tensor, B: Tensor, step_hours: float) -> tuple[Tensor, Tensor]:
    """(Φ, Γ) with x[k+1] = Φ x[k] + Γ u[k], exact for dx/dt = A x + B u and u constant over the step.

        exp( [A B; 0 0] Δt ) = [Φ Γ; 0 I]            (Van Loan 1978), which needs no inverse of A

    Differentiable by A and B. Rounding leaves errors of some 1e-16 times the size of [A B] Δt. Explicit Euler, I + A Δt, is
    wrong for air at hourly steps: its rates are some 3 /h.

    Parameters
    ----------
    A : (..., n, n) [1/h]
    B : (..., n, m), of batch dimensions that broadcast with A's
    step_hours : Δt [h]

    Returns
    -------
    Φ : (..., n, n); Γ : (..., n, m)

    Raises
    ------
    DataError
        If the shapes don't agree, the types differ, or the step isn't a number >= 0.

    Examples
    --------
    >>> Φ, Γ = zero_order_hold(torch.zeros(1, 1), torch.ones(1, 1), 0.25)
    >>> Φ.item(), Γ.item()
    (1.0, 0.25)
    """
    if not (math.isfinite(step_hours) and step_hours >= 0):
        raise DataError(f"step_hours is {step_hours}; it must be a number of hours >= 0")
    if A.ndim < 2 or B.ndim < 2 or A.shape[-1] != A.shape[-2] or B.shape[-2] != A.shape[-1]:
        raise DataError(
            f"A and B have shapes {tuple(A.shape)} and {tuple(B.shape)}; they must be (..., n, n), (..., n, m)"
        )
    if A.dtype != B.dtype:
        raise DataError(f"A and B have dtypes {A.dtype} and {B.dtype}; give both the same, best float64")
    n, m = B.shape[-2:]
    batch = common_shape(A.shape[:-2], B.shape[:-2])
    upper = torch.cat([A.expand(*batch, n, n), B.expand(*batch, n, m)], dim=-1)
    block = torch.cat([upper, upper.new_zeros(*batch, m, n + m)], dim=-2) * step_hours
    whole = torch.linalg.matrix_exp(block)
    return whole[..., :n, :n], whole[..., :n, n:]


def rollout(Φ: Tensor, Γ: Tensor, initial: Tensor, inputs: Tensor) -> Tensor:
    """States at the ends of the steps, x[k+1] = Φ x[k] + Γ u[k].

    Parameters
    ----------
    Φ, Γ : (..., n, n) and (..., n, m)
    initial : (..., n) at the start of the first step
    inputs : (..., T, m), held over each step

    Returns
    -------
    (..., T, n)

    Raises
    ------
    DataError
        If the shapes don't agree.
    """
    n, m = Γ.shape[-2:]
    if Φ.shape[-2:] != (n, n) or initial.shape[-1:] != (n,) or inputs.ndim < 2 or inputs.shape[-1] != m:
        raise DataError(
            f"Φ, Γ, initial and inputs have shapes {tuple(Φ.shape)}, {tuple(Γ.shape)}, {tuple(initial.shape)} and "
            f"{tuple(inputs.shape)}; they must be (..., n, n), (..., n, m), (..., n) and (..., T, m)"
        )
    T = inputs.shape[-2]
    forcing = inputs @ Γ.mT  # (..., T, n)
    batch = common_shape(Φ.shape[:-2], initial.shape[:-1], forcing.shape[:-2])
    x, f = initial.expand(*batch, n), forcing.expand(*batch, T, n)
    if Φ.ndim == 2:  # one room: its runs are columns of one product a step
        columns = f.reshape(-1, T, n).permute(1, 2, 0)[:, None]  # (T, 1, n, W)
        states = linear_recurrence(Φ[None], x.reshape(1, -1, n).mT, columns)
        return states[:, 0].permute(2, 0, 1).reshape(*batch, T, n)
    rooms = Φ.expand(*batch, n, n).reshape(-1, n, n)
    columns = f.reshape(-1, T, n).permute(1, 0, 2)[..., None]  # (T, U, n, 1)
    states = linear_recurrence(rooms, x.reshape(-1, n, 1), columns)
    return states[..., 0].permute(1, 0, 2).reshape(*batch, T, n)


def common_shape(*shapes: torch.Size) -> torch.Size:
    """The shape to which all broadcast; a RuntimeError if there is none."""
    return torch.Size(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
