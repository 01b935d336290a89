"""Whether an extremal can be a minimum: conjugate points of the second variation."""

from __future__ import annotations

import torch
from torch import Tensor

from .boundary import end_cost
from .collocation import Cases, Collocation, Extremals

#: singular value of X, relative to the largest entry of Y, below which the sign of det X isn't to be trusted
SINGULAR = 1e-9


def conjugate_points(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    """Signs, one by one, that extremals are no minima, (B,); 0 for a minimum.

    Neighbouring extremals that meet the conditions at T, linearised, are spanned by Y = (X, P)(t), (2n, n). Jacobi's
    condition: where H_uu > 0, the second variation is positive only if det X ≠ 0 for t0 ≤ t < T (Bryson & Ho 1975,
    section 6.3). Counted are the changes of its sign over the mesh's nodes. Where components of x(t0) are free, the
    negative eigenvalues of P X⁻¹ + Φ0_xx in them are added. A free final time counts as fixed: the condition is necessary.
    """
    here = collocation.linearise(cases, at)
    n = at.Z.shape[-1] // 2
    B, K, d = *at.Z.shape[:2], collocation.mesh.degree
    size = at.Z[..., :n].abs().amax((1, 2))
    size = torch.maximum(size, 1e-6 * size.amax(-1, keepdim=True)).clamp(min=1e-150)
    unit = torch.cat([size, 1 / size], -1)  # (B, 2n)
    maps = -here.inner[..., : 2 * n].reshape(B, K, d, 2 * n, 2 * n)  # from an element's first node to the others
    maps = maps * unit[:, None, None, None] / unit[:, None, None, :, None]
    Y = _at_end(collocation, cases, at) / unit[..., None]
    signs = []
    for k in reversed(range(K)):
        Y, R = torch.linalg.qr(torch.linalg.solve_ex(maps[:, k, -1], Y)[0])
        Y = Y * torch.where(R.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)[:, None]  # the orientation stays
        signs.append(_signs(torch.cat([Y[:, None], maps[:, k] @ Y[:, None]], 1)))
    count = torch.tensor([_changes(row) for row in torch.cat(signs[::-1], 1)])
    return count + _free_start(collocation, cases, at, Y * unit[..., None])


def _at_end(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    """A basis of what the conditions at T allow, (B, 2n, n): δx_i = 0 where given, δp_i = (Φ_xx δx)_i where free."""
    problem = collocation.system.problem
    n = problem.state_size
    free = torch.tensor([v is None for v in problem.given_at_ends[1]])
    Φ_xx = end_cost(problem, at.T, at.Z[:, -1, -1, :n], cases.q, is_final=True).hessian[:, :n, :n]
    X = torch.diag(free.to(Φ_xx.dtype)).expand_as(Φ_xx)
    P = torch.diag((~free).to(Φ_xx.dtype)) + torch.where(free[:, None] & free, Φ_xx, 0.0)
    return torch.cat([X, P], -2)


def _signs(Y: Tensor) -> Tensor:
    """Signs of det X, (...), of Y (..., 2n, n); 0 where rounding in Y may have made them."""
    Y = Y.nan_to_num(posinf=0.0, neginf=0.0)
    Y = Y / Y.abs().amax((-2, -1), keepdim=True).clamp(min=1e-150)
    X = Y[..., : Y.shape[-1], :]
    least = torch.linalg.svdvals(X)[..., -1]
    return torch.where(least > SINGULAR, torch.linalg.slogdet(X)[0], 0.0)


def _changes(signs: Tensor) -> int:
    told = signs[signs != 0]
    return int((told[1:] != told[:-1]).sum())


def _free_start(collocation: Collocation, cases: Cases, at: Extremals, Y: Tensor) -> Tensor:
    """Negative eigenvalues of the second variation in free initial states, (B,)."""
    problem, n = collocation.system.problem, Y.shape[-1]
    free = torch.tensor([v is None for v in problem.given_at_ends[0]])
    if not bool(free.any()):
        return torch.zeros(len(Y), dtype=torch.long)
    W = torch.linalg.solve_ex(Y[:, :n].mT, Y[:, n:].mT)[0].mT  # P X⁻¹
    W = W + end_cost(problem, cases.t0, at.Z[:, 0, 0, :n], cases.q, is_final=False).hessian[:, :n, :n]
    inside = (0.5 * (W + W.mT))[:, free][:, :, free].nan_to_num(posinf=0.0, neginf=0.0)
    values = torch.linalg.eigvalsh(inside)
    count: Tensor = (values < -1e-9 * values.abs().amax(-1, keepdim=True)).sum(-1)
    return count
