"""How good an approximate extremal is: what one Newton step says, the equations' residual, the Hamiltonian, the cost."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surrogates.errors import ProblemError

from .collocation import Cases, Collocation, Extremals
from .mesh import derivative, gauss, interpolation
from .newton import Solved, solve_cases
from .realise import realise
from .scaling import natural_scales

#: relative size of a Newton step up to which it is the error to a few per cent
TRUSTED_STEP = 1e-2
#: share of a problem's natural scales below which a case has no size of its own: at rest, all that is left is rounding
AT_REST = 1e-9
#: how far controls may be from minimisers of H, relative to the largest control
STATIONARY = 1e-5


class Certificate(NamedTuple):
    """What is known of approximate extremals, case by case, (B,).

    error : estimated relative L2 distance of the controls from those of the extremal nearby: what Newton's method changes
        in them, over their size. One step where that is small; to its end where it isn't. Infinite where Newton's method
        finds no extremal nearby, or no minimiser of H. That extremal may be one of several local minima. A case at rest
        has no size of its own: this is relative to 1e-9 of the problem's `natural_scales` at least, and so is what follows
    residual : largest |z' - F| in the equations, relative to the components' largest values over the horizon
    hamiltonian_drift : (max H - min H) / max |L|; NaN where t enters the problem, for then H isn't constant
    cost_gap : (J(u) - J*) / |J*|, with J(u) the cost of the motion under the controls, integrated, and J* that of the
        polished extremal; where a given end is missed, J* is that of the end reached, to first order
    polished : the extremals after Newton's method; J : (B,) their costs
    """

    error: Tensor
    residual: Tensor
    hamiltonian_drift: Tensor
    cost_gap: Tensor
    polished: Extremals
    J: Tensor


def polish(collocation: Collocation, cases: Cases, at: Extremals, *, steps: int = 1) -> Extremals:
    """So many plain Newton steps of the collocated Euler-Lagrange system: each about squares the relative error."""
    for _ in range(steps):
        here = collocation.linearise(cases, at)
        δ = collocation.step(here, here.r, here.b)
        at = Extremals(at.Z + δ.Z, at.T + δ.T)
    return at


def certify(collocation: Collocation, cases: Cases, at: Extremals, *, controls: Tensor | None = None) -> Certificate:
    """Judge approximate extremals on a mesh.

    controls : (B, K, d + 1, m) at the nodes, where they are something else than argmin H

    Sources: one Newton step as an error estimate, Deuflhard (2004), section 2.1; dH/dt = H_t along extremals, Bryson & Ho
    (1975), section 2.3.
    """
    one = polish(collocation, cases, at)
    least = _least_sizes(collocation)
    scale = torch.maximum(at.Z.abs().amax((1, 2)), least.z)
    size = ((one.Z - at.Z).abs().amax((1, 2)) / scale).amax(-1)
    doubtful = ((size > TRUSTED_STEP) | ~size.isfinite()).nonzero()[:, 0]
    J = collocation.cost(cases, one)
    if len(doubtful):
        again: Solved = solve_cases(collocation, cases.take(doubtful), at.take(doubtful))
        lost = ~again.converged
        one.Z[doubtful], one.T[doubtful], J[doubtful] = again.at.Z, again.at.T, again.J
        one.Z[doubtful[lost]] = torch.nan
        J[doubtful[lost]] = torch.nan
    before = controls_at_nodes(collocation, cases, at) if controls is None else controls
    after = controls_at_nodes(collocation, cases, one)
    error = relative_distance(collocation, before, after)
    n = at.Z.shape[-1] // 2
    real = realise(collocation.system, collocation.mesh, cases, before, at.Z[..., :n])
    # a motion that misses a given end is compared with the optimum that ends there too: dJ*/dx(T) = -p(T)
    given = torch.tensor([v is not None for v in collocation.system.problem.given_at_ends[1]])
    miss = torch.where(given, real.x[:, -1, -1] - cases.final, 0.0)
    gap = real.J - J + (one.Z[:, -1, -1, n:] * miss).sum(-1)
    gap = gap / J.abs().clamp(min=least.J)
    t, q = _node_times(collocation, cases, one)
    u = controls_at_nodes(collocation, cases, one)
    lost = collocation.system.stationarity(t, one.Z, u, q).amax((1, 2)) > STATIONARY
    error = torch.where(lost, torch.inf, error)
    return Certificate(
        error=error.nan_to_num(nan=torch.inf),
        residual=equation_residual(collocation, cases, at),
        hamiltonian_drift=hamiltonian_drift(collocation, cases, at),
        cost_gap=torch.where(real.converged, gap, torch.nan),
        polished=one,
        J=J,
    )


def controls_at_nodes(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    """argmin H at the nodes, (B, K, d + 1, m)."""
    t, q = _node_times(collocation, cases, at)
    n = at.Z.shape[-1] // 2
    return collocation.system.control(t, at.Z[..., :n], at.Z[..., n:], q)


def control_distance(collocation: Collocation, cases: Cases, at: Extremals, truth: Extremals) -> Tensor:
    """Relative L2 distance of the controls of two sets of extremals over the horizon, (B,)."""
    before, after = (controls_at_nodes(collocation, cases, z) for z in (at, truth))
    return relative_distance(collocation, before, after)


def relative_distance(collocation: Collocation, u: Tensor, truth: Tensor) -> Tensor:
    """|u - truth| / |truth| in L2 over the horizon, of nodal values (B, K, d + 1, m), (B,)."""
    return _norm(collocation, u - truth) / _norm(collocation, truth).clamp(min=_least_sizes(collocation).u)


def equation_residual(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    """Largest |dz/ds - (T - t0) F| on four places between any two nodes, relative to max |z_i|, (B,)."""
    d = collocation.mesh.degree
    inside = (np.arange(4 * d) + 0.5) / (4 * d)
    P, D = torch.from_numpy(interpolation(d, inside)), torch.from_numpy(derivative(d, inside))
    span = (at.T - cases.t0)[:, None, None]
    t = cases.t0[:, None, None] + span * collocation.mesh.at(torch.from_numpy(inside))
    z, dz = (torch.einsum("ij,bkjc->bkic", rows, at.Z) for rows in (P, D))
    F = collocation.system.field(t, z, cases.q[:, None, None].expand(*t.shape, -1)).F
    r = dz / collocation.mesh.lengths[:, None, None] - span[..., None] * F
    return (r.abs().amax((1, 2)) / torch.maximum(at.Z.abs().amax((1, 2)), _least_sizes(collocation).z)).amax(-1)


def hamiltonian_drift(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    """(max H - min H) / max |L| over the nodes, (B,); NaN where H depends on t explicitly."""
    t, q = _node_times(collocation, cases, at)
    field = collocation.system.field(t, at.Z, q)
    if bool((field.H_t != 0).any()):
        return torch.full((len(cases.t0),), torch.nan, dtype=torch.float64)
    drift = field.H.amax((1, 2)) - field.H.amin((1, 2))
    size = field.L.abs().amax((1, 2))
    p, f = at.Z.chunk(2, -1)[1], field.F.chunk(2, -1)[0]
    # without running cost, H = p'f; its parts give the size
    size = torch.where(size > 0, size, (p * f).abs().sum(-1).amax((1, 2)))
    return drift / torch.maximum(size, _least_sizes(collocation).J / (at.T - cases.t0))


class _Sizes(NamedTuple):
    z: Tensor  # (2n,)
    u: float  # of the norm of all controls
    J: float


def _least_sizes(collocation: Collocation) -> _Sizes:
    """What errors are measured by at least: a share of the problem's own scales, whatever other cases there are."""
    problem = collocation.system.problem
    try:
        scales = natural_scales(problem)
    except ProblemError:  # they aren't finite: then only rounding itself is kept out
        return _Sizes(torch.full((2 * problem.state_size,), 1e-150, dtype=torch.float64), 1e-150, 1e-150)
    D_x = torch.tensor(scales.state, dtype=torch.float64)
    z = AT_REST * torch.cat([D_x, scales.cost / D_x])
    # near rest costs are of second order
    return _Sizes(z, AT_REST * math.hypot(*scales.control), AT_REST**2 * scales.cost)


def _node_times(collocation: Collocation, cases: Cases, at: Extremals) -> tuple[Tensor, Tensor]:
    t = cases.t0[:, None, None] + (at.T - cases.t0)[:, None, None] * collocation.mesh.nodes
    return t, cases.q[:, None, None].expand(*t.shape, -1)


def _norm(collocation: Collocation, u: Tensor) -> Tensor:
    """L2 norm over the horizon of nodal values (B, K, d + 1, m), by the Gauss formula, (B,)."""
    mesh = collocation.mesh
    P = torch.from_numpy(interpolation(mesh.degree, gauss(mesh.degree)[0]))
    values = torch.einsum("ij,bkjc->bkic", P, u)
    return (mesh.gauss_weights[..., None] * values**2).sum((1, 2, 3)).sqrt()
