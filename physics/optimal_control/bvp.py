"""The second classical road: SciPy's `solve_bvp` on the same Euler-Lagrange system."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.integrate
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import NumericalError

from .boundary import Given, end_conditions
from .collocation import Cases, Extremals
from .hamiltonian import EulerLagrange
from .mesh import Mesh

Floats = NDArray[np.float64]


def by_solve_bvp(
    system: EulerLagrange, cases: Cases, mesh: Mesh, guess: Extremals, tolerance: float, *, max_nodes: int = 20_000
) -> tuple[Mesh, Extremals]:
    """Fourth-order collocation with residual control (Kierzenka & Shampine 2001), from a guess on a mesh.

    Returns a mesh whose elements are SciPy's intervals, with cubic polynomials, and the extremal on it.

    Raises
    ------
    NumericalError
        If `solve_bvp` doesn't converge; the message is SciPy's.
    """
    t0, q = float(cases.t0), cases.q
    free = system.problem.free_final_time
    given = [torch.tensor([v is not None for v in values]) for values in system.problem.given_at_ends]

    def span(T: Floats | None) -> float:
        return (float(T[0]) if T is not None else float(cases.T)) - t0

    def rate(s: Floats, z: Floats, T: Floats | None = None) -> Floats:
        return np.asarray(span(T) * field(s, z, T).F.numpy().T)

    def field(s: Floats, z: Floats, T: Floats | None) -> Any:
        t = t0 + span(T) * torch.from_numpy(s)
        return system.field(t, torch.from_numpy(z.T.copy()), q.expand(len(s), -1))

    def conditions(first: Floats, last: Floats, T: Floats | None = None) -> Floats:
        r = [_end(system, cases, z, T, given[i], is_final=bool(i)) for i, z in enumerate((first, last))]
        extra = [] if T is None else [_hamiltonian_at_end(system, last, T, q)]
        return np.concatenate([*r, *extra])

    def slopes(s: Floats, z: Floats) -> Floats:
        return np.asarray(span(None) * field(s, z, None).F_z.numpy().transpose(1, 2, 0))

    places = np.unique(mesh.nodes.numpy())
    result = scipy.integrate.solve_bvp(
        rate,
        conditions,
        places,
        mesh.interpolate(guess.Z, places)[0].numpy().T,
        p=guess.T.numpy() if free else None,
        fun_jac=None if free else slopes,
        tol=tolerance,
        max_nodes=max_nodes,
    )
    if not result.success:
        raise NumericalError(f"solve_bvp: {result.message}")
    cubic = Mesh(tuple(np.clip(result.x, 0, 1).tolist()), 3)
    nodes = cubic.nodes.numpy()
    Z = torch.from_numpy(result.sol(nodes.ravel()).T.reshape(1, *nodes.shape, -1).copy())
    return cubic, Extremals(Z, torch.from_numpy(result.p.copy()) if free else cases.T)


def _end(
    system: EulerLagrange, cases: Cases, z: Floats, T: Floats | None, is_given: Tensor, *, is_final: bool
) -> Floats:
    t = cases.t0 if not is_final else (cases.T if T is None else torch.from_numpy(T.copy()))
    values = cases.final if is_final else cases.initial
    row = torch.from_numpy(z.copy())[None]
    return np.asarray(end_conditions(system, t, row, cases.q, Given(values, is_given), is_final=is_final).r[0].numpy())


def _hamiltonian_at_end(system: EulerLagrange, z: Floats, T: Floats, q: Tensor) -> Floats:
    t, row = torch.from_numpy(T.copy()), torch.from_numpy(z.copy())[None]
    given = Given(torch.zeros(1, len(z) // 2).double(), torch.ones(len(z) // 2, dtype=torch.bool))
    cost_t = end_conditions(system, t, row, q, given, is_final=True).cost_t
    return np.asarray((system.field(t, row, q).H + cost_t).numpy())
