"""A linear recurrence over many units and windows at once, with a hand-written adjoint.

    x[k + 1] = Φ x[k] + f[k]                         forward
    q[k] = ∂L/∂x[k + 1] + Φ' q[k + 1]                backward;  ∂L/∂f[k] = q[k],  ∂L/∂x[0] = Φ' q[0],  ∂L/∂Φ = Σ_k q[k] x[k]'

One product per step each way, written into place; the sum for Φ is one product at the end. Automatic differentiation of
the same loop keeps a node and a buffer for every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from surrogates.errors import DataError


def linear_recurrence(transition: Tensor, initial: Tensor, forcing: Tensor) -> Tensor:
    """States of U linear rooms from W starts each over H steps.

    Parameters
    ----------
    transition : (U, n, n), Φ
    initial : (U, n, W) states at the starts
    forcing : (H, U, n, W), f = G z of every step

    Returns
    -------
    (H, U, n, W) states at the ends of the steps; differentiable by all three, once and in reverse mode

    Raises
    ------
    DataError
        If the shapes don't agree, or the types differ.

    Examples
    --------
    >>> room = torch.tensor([[[0.5]]])
    >>> linear_recurrence(room, torch.ones(1, 1, 1), torch.zeros(3, 1, 1, 1)).flatten().tolist()
    [0.5, 0.25, 0.125]
    """
    U, n, W = initial.shape if initial.ndim == 3 else (-1, -1, -1)
    if transition.shape != (U, n, n) or forcing.ndim != 4 or forcing.shape[1:] != (U, n, W):
        raise DataError(
            f"shapes don't agree: transition {tuple(transition.shape)}, initial {tuple(initial.shape)}, forcing "
            f"{tuple(forcing.shape)}; they must be (U, n, n), (U, n, W) and (H, U, n, W)"
        )
    if not transition.dtype == initial.dtype == forcing.dtype:
        raise DataError(
            f"transition, initial and forcing have dtypes {transition.dtype}, {initial.dtype}, {forcing.dtype}; "
            f"give all three the same"
        )
    return _Scan.apply(transition, initial, forcing)  # type: ignore[no-any-return, no-untyped-call]


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, transition: Tensor, initial: Tensor, forcing: Tensor) -> Tensor:
        states = torch.empty_like(forcing, memory_format=torch.contiguous_format)
        x = initial
        for k in range(len(forcing)):
            x = torch.baddbmm(forcing[k], transition, x, out=states[k])
        ctx.save_for_backward(transition, initial, states)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        transition, initial, states = ctx.saved_tensors
        (g,) = gradients
        q = torch.empty_like(states)
        back = transition.mT.contiguous()
        H = len(states)
        if H:
            q[H - 1].copy_(g[H - 1])
        for k in range(H - 2, -1, -1):
            torch.baddbmm(g[k], back, q[k + 1], out=q[k])
        for_initial = back @ q[0] if ctx.needs_input_grad[1] and H else None
        for_transition = None
        if ctx.needs_input_grad[0] and H:
            for_transition = q[0] @ initial.mT
            U, n, _ = initial.shape
            later = q[1:].permute(1, 2, 0, 3).reshape(U, n, -1)
            earlier = states[:-1].permute(1, 2, 0, 3).reshape(U, n, -1)
            for_transition = torch.baddbmm(for_transition, later, earlier.mT)
        return for_transition, for_initial, q if ctx.needs_input_grad[2] else None
