"""Many cases of one family at once: a common mesh, warm starts from neighbours, one batched Newton iteration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from surrogates.errors import NumericalError, ProblemError

from .collocation import Cases, Collocation, Extremals
from .hamiltonian import EulerLagrange
from .homotopy import by_homotopy
from .mesh import Mesh
from .newton import Solved, solve_cases
from .problem import Family
from .refine import Plan, defects
from .solver import extremal, transfer

#: cases that are linearised together; larger blocks leave the cache
BLOCK = 128
#: how often cases that failed are tried again from their nearest solved neighbours
RETRIES = 4


class Batch(NamedTuple):
    """Extremals of many cases on one mesh.

    collocation, cases, solved : as in `newton`; defect : (B,) largest relative defect of every case
    """

    collocation: Collocation
    cases: Cases
    solved: Solved
    defect: Tensor

    def take(self, index: Tensor) -> Batch:
        """Some of the cases."""
        s = self.solved
        solved = Solved(s.at.take(index), s.J[index], s.converged[index], s.error[index], s.steps[index])
        return Batch(self.collocation, self.cases.take(index), solved, self.defect[index])

    def joined(self, other: Batch) -> Batch:
        """These cases and others on the same mesh."""
        cases = Cases(*(torch.cat(pair) for pair in zip(self.cases, other.cases, strict=True)))
        a, b = self.solved, other.solved
        at = Extremals(torch.cat([a.at.Z, b.at.Z]), torch.cat([a.at.T, b.at.T]))
        rest = [torch.cat(pair) for pair in zip(a[1:], b[1:], strict=True)]
        return Batch(self.collocation, cases, Solved(at, *rest), torch.cat([self.defect, other.defect]))


def cases_of(family: Family, points: Tensor) -> Cases:
    """The cases at inputs `points` (B, d), in the order of `family.inputs`."""
    problem = family.problem
    points = torch.as_tensor(points, dtype=torch.float64)
    B = len(points)
    if points.ndim != 2 or points.shape[1] != len(family.inputs):
        raise ProblemError(
            f"points have shape {tuple(points.shape)}; (cases, {len(family.inputs)}) is expected, for {family.inputs}"
        )
    column = {name: points[:, i] for i, name in enumerate(family.inputs)}
    ends = [
        torch.tensor([torch.nan if v is None else v for v in values], dtype=torch.float64).repeat(B, 1)
        for values in problem.given_at_ends
    ]
    for i, name in enumerate(problem.states):
        if name in family.initial_state:
            ends[0][:, i] = column[name]
    t0, T = (torch.full((B,), t, dtype=torch.float64) for t in problem.horizon)
    q = torch.tensor(list(problem.parameters.values()), dtype=torch.float64).repeat(B, 1)
    for i, name in enumerate(problem.parameters):
        if name in family.parameters:
            q[:, i] = column[name]
    return Cases(ends[0], ends[1], column["initial_time"].clone() if family.initial_time else t0, T, q)


def in_blocks(B: int, work: Callable[[Tensor], Solved]) -> Solved:
    """One batched computation, block by block."""
    parts = [work(index) for index in torch.split(torch.arange(B), BLOCK)]
    at = Extremals(torch.cat([p.at.Z for p in parts]), torch.cat([p.at.T for p in parts]))
    rest = [torch.cat([getattr(p, name) for p in parts]) for name in ("J", "converged", "error", "steps")]
    return Solved(at, *rest)


def solve_points(
    family: Family, points: Tensor, *, tolerance: float = 1e-9, mesh: Mesh | None = None, most_elements: int = 32
) -> Batch:
    """The extremals at inputs `points` (B, d), in the order of `family.inputs`.

    The middle of the ranges is solved first. All cases start from it, those that fail from their nearest solved
    neighbours, those that fail again by the homotopy. The mesh is refined where any case asks for it.

    tolerance : largest defect, relative to the components' largest values; cases above it keep theirs in `defect`
    mesh : a mesh to keep; None: found from the cases

    Raises
    ------
    NumericalError
        If the middle of the ranges has no extremal that can be found. Other cases that fail aren't `converged`.
    ProblemError
        If there are no points, or they have another number of columns.
    """
    points = torch.as_tensor(points, dtype=torch.float64)
    if not len(points):
        raise ProblemError("there are no points; give at least one")
    system = EulerLagrange(family.problem)
    cases = cases_of(family, points)
    scaled = _to_unit(family, points)
    keep = mesh is not None
    middle_mesh, middle, middle_case = _middle(family)
    mesh = mesh or Mesh(middle_mesh.breaks, middle_mesh.degree)
    collocation = Collocation(system, mesh)
    solved = _solve_all(collocation, cases, scaled, _shifted(middle_mesh, middle, middle_case, mesh, cases))
    for _ in range(4):
        defect = _defects(collocation, cases, solved.at)
        worst = torch.where(solved.converged[:, None], defect, 0.0).amax(0).numpy()
        if keep or worst.max() <= tolerance:
            break
        finer = (
            Plan(collocation.mesh.breaks, (), mesh.degree).finer(collocation.mesh, worst, tolerance, np.empty(0)).mesh()
        )
        if finer.elements > most_elements:
            break
        start = Extremals(transfer(collocation.mesh, solved.at.Z, finer), solved.at.T)
        collocation = Collocation(system, finer)
        solved = _solve_all(collocation, cases, scaled, start)
    return Batch(collocation, cases, solved, _defects(collocation, cases, solved.at).amax(1))


def continue_points(family: Family, points: Tensor, collocation: Collocation, guess: Extremals) -> Batch:
    """The extremals at inputs `points` (B, d) on a mesh that is kept, from good guesses."""
    cases = cases_of(family, points)
    solved = _solve_all(collocation, cases, _to_unit(family, points), guess)
    return Batch(collocation, cases, solved, _defects(collocation, cases, solved.at).amax(1))


def _middle(family: Family) -> tuple[Mesh, Tensor, Cases]:
    """Mesh, nodal values and case at the middle of the ranges."""
    low, high = family.ranges
    cases = cases_of(family, (0.5 * (low + high))[None])
    problem = family.problem.with_values(
        initial_state=[None if bool(v.isnan()) else float(v) for v in cases.initial[0]],
        horizon=(float(cases.t0), float(cases.T)),
        parameters=dict(zip(family.problem.parameters, cases.q[0].tolist(), strict=True)),
    )
    found = extremal(EulerLagrange(problem), tolerance=1e-9)
    return found.collocation.mesh, found.solved.at.Z, cases


def _shifted(old: Mesh, Z: Tensor, middle: Cases, mesh: Mesh, cases: Cases) -> Extremals:
    """The middle's extremal for every case, its given states moved to their own values along a straight line."""
    Z = transfer(old, Z, mesh).expand(len(cases.t0), -1, -1, -1).clone()
    n, s = Z.shape[-1] // 2, mesh.nodes[..., None]
    start = (cases.initial - middle.initial).nan_to_num()[:, None, None]
    end = (cases.final - middle.final).nan_to_num()[:, None, None]
    Z[..., :n] += (1 - s) * start + s * end
    return Extremals(Z, cases.T.clone())


def _solve_all(collocation: Collocation, cases: Cases, scaled: Tensor, guess: Extremals) -> Solved:
    B = len(scaled)
    solved = in_blocks(B, lambda i: solve_cases(collocation, cases.take(i), guess.take(i), max_steps=25))
    for _ in range(RETRIES):
        failed = (~solved.converged).nonzero()[:, 0]
        good = solved.converged.nonzero()[:, 0]
        if not len(failed) or not len(good):
            break
        nearest = good[torch.cdist(scaled[failed], scaled[good]).argmin(1)]
        start = _moved(solved.at.take(nearest), cases.take(nearest), cases.take(failed), collocation.mesh)
        again = in_blocks(
            len(failed),
            lambda i, failed=failed, start=start: solve_cases(  # type: ignore[misc]
                collocation, cases.take(failed[i]), start.take(i), max_steps=25
            ),
        )
        solved = _replaced(solved, failed, again)
        if not bool(again.converged.any()):
            break
    for i in (~solved.converged).nonzero()[:, 0]:
        one = i[None]
        try:
            again = by_homotopy(collocation.system.problem, collocation.mesh, cases.take(one))
        except NumericalError:
            continue
        solved = _replaced(solved, one, again)
    return solved


def _moved(at: Extremals, old: Cases, new: Cases, mesh: Mesh) -> Extremals:
    Z, n, s = at.Z.clone(), at.Z.shape[-1] // 2, mesh.nodes[..., None]
    Z[..., :n] += (1 - s) * (new.initial - old.initial).nan_to_num()[:, None, None]
    return Extremals(Z, at.T)


def _replaced(solved: Solved, index: Tensor, part: Solved) -> Solved:
    Z, T = solved.at.Z.index_copy(0, index, part.at.Z), solved.at.T.index_copy(0, index, part.at.T)
    rest = [
        getattr(solved, name).index_copy(0, index, getattr(part, name)) for name in ("J", "converged", "error", "steps")
    ]
    return Solved(Extremals(Z, T), *rest)


def _defects(collocation: Collocation, cases: Cases, at: Extremals) -> Tensor:
    return torch.cat(
        [defects(collocation, cases.take(i), at.take(i)) for i in torch.split(torch.arange(len(at.T)), BLOCK)]
    )


def _to_unit(family: Family, points: Tensor) -> Tensor:
    low, high = family.ranges
    unit: Tensor = (points - low) / (high - low)
    return unit
