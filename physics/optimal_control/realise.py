"""What a control really costs: the motion under it, integrated, and the cost of that motion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .boundary import end_cost
from .collocation import Cases
from .hamiltonian import EulerLagrange, jacobian
from .mesh import Mesh, derivative, gauss, interpolation


class Realised(NamedTuple):
    """The motion under given controls.

    x : (B, K, d + 1, n) at the mesh's nodes; J : (B,) its cost; converged : (B,) whether it could be integrated
    """

    x: Tensor
    J: Tensor
    converged: Tensor


def realise(
    system: EulerLagrange, mesh: Mesh, cases: Cases, controls: Tensor, guess: Tensor, *, steps: int = 12
) -> Realised:
    """Integrate x' = f(t, x, u(t)) from x(t0), with u the piecewise polynomial through `controls`, and its cost.

    Gauss collocation, implicit, of order 2d at the elements' ends; element after element, all cases at once. The
    controls are kept within their bounds at the collocation points.

    controls : (B, K, d + 1, m) at the nodes; guess : (B, K, d + 1, n) of the motion; x(t0) is guess[:, 0, 0] where the
        initial state is free
    steps : Newton steps per element, at most
    """
    B, K = guess.shape[:2]
    problem, d = system.problem, mesh.degree
    P = torch.from_numpy(interpolation(d, gauss(d)[0]))
    low, high = problem.bounds
    u = torch.einsum("ij,bkjc->bkic", P, controls).clamp(low, high)
    span = cases.T - cases.t0
    t = cases.t0[:, None, None] + span[:, None, None] * mesh.gauss
    h = span[:, None] * mesh.lengths
    given = torch.tensor([v is not None for v in problem.initial_state])
    start = torch.where(given, cases.initial, guess[:, 0, 0])
    q = cases.q[:, None, :].expand(B, d, -1)
    parts, fine = [], torch.ones(B, dtype=torch.bool)
    for k in range(K):
        X, good = _element(system, t[:, k], guess[:, k], u[:, k], q, h[:, k], start, steps)
        fine &= good
        parts.append(X)
        start = X[:, -1]
    x = torch.stack(parts, 1)
    x_gauss = torch.einsum("ij,bkjc->bkic", P, x)
    L = system.running_cost(t, x_gauss, u, cases.q[:, None, None, :].expand(B, K, d, -1))
    J = (span[:, None, None] * mesh.gauss_weights * L.detach()).sum((1, 2))
    J = J + end_cost(problem, cases.t0, x[:, 0, 0], cases.q, is_final=False).value
    return Realised(x, J + end_cost(problem, cases.T, x[:, -1, -1], cases.q, is_final=True).value, fine)


def _element(
    system: EulerLagrange,
    t: Tensor,
    guess: Tensor,
    u: Tensor,
    q: Tensor,
    h: Tensor,
    start: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """The motion (B, d + 1, n) through one element from `start` (B, n), and whether Newton's method converged."""
    B, d, n = len(t), t.shape[1], start.shape[-1]
    P = torch.from_numpy(interpolation(d, gauss(d)[0]))
    D = torch.from_numpy(derivative(d, gauss(d)[0]))
    X = torch.cat([start[:, None], guess[:, 1:] + (start - guess[:, 0])[:, None]], 1)
    base = D[:, None, 1:, None] * torch.eye(n, dtype=X.dtype)[None, :, None, :]  # (d, n, d, n)
    size = torch.full((B,), torch.inf, dtype=X.dtype)
    for _ in range(steps):
        with torch.enable_grad():
            x = torch.einsum("ij,bjc->bic", P, X).detach().requires_grad_()
            f = system.dynamics(t, x, u, q)
            f_x = jacobian(f, x)
        r = torch.einsum("ij,bjc->bic", D, X) - h[:, None, None] * f.detach()
        M = base - (h[:, None, None, None] * f_x)[..., :, None, :] * P[:, None, 1:, None]
        δ = torch.linalg.solve_ex(M.reshape(B, d * n, d * n), -r.reshape(B, d * n))[0]
        X[:, 1:] += δ.reshape(B, d, n)
        size = δ.abs().amax(1) / X.abs().amax((1, 2)).clamp(min=1e-150)
        if bool((size <= 1e-13).all()):
            break
    return X, size <= 1e-9
