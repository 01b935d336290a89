"""Meshes that answers are judged on: fine enough that the error of the mesh itself doesn't hide theirs.

A certificate compares an answer with what Newton's method makes of it on a mesh. Where the mesh is too coarse for the
extremal, as at a control's kinks and in steep layers, both share the mesh's error, and an answer that was polished on it
would get a perfect score. So the mesh is split where the extremal leaves a defect.
"""

from __future__ import annotations

import numpy as np
import torch

from surrogates.errors import DataError
from surrogates.physics.optimal_control import Cases, Certificate, Collocation, Extremals, Mesh, certify
from surrogates.physics.optimal_control.newton import solve_cases
from surrogates.physics.optimal_control.refine import Plan, defects
from surrogates.physics.optimal_control.solver import transfer

#: largest relative defect of an extremal up to which a mesh is trusted; errors of u are far smaller (1e-10 or so)
TRUSTED_DEFECT = 1e-8
#: what answers tell of a certificate
SCORES = ("error", "residual", "hamiltonian_drift", "cost_gap", "J")
#: refinements of one case's mesh, and elements at most
ROUNDS, MOST_ELEMENTS = 4, 200


def trusted(collocation: Collocation, cases: Cases, at: Extremals) -> Collocation:
    """The collocation, its elements split until the extremals near `at` leave no defect worth the name."""
    for _ in range(ROUNDS):
        solved = solve_cases(collocation, cases, at)
        good = solved.converged.nonzero()[:, 0]
        if not len(good):
            break
        finer = _split(collocation, defects(collocation, cases.take(good), solved.at.take(good)).amax(0))
        if finer is None:
            break
        at = Extremals(transfer(collocation.mesh, at.Z, finer), at.T)
        collocation = Collocation(collocation.system, finer)
    return collocation


def judge(collocation: Collocation, cases: Cases, at: Extremals) -> Certificate:
    """`certify`, where a case's extremal asks for it on a mesh split once; `polished` stays on the mesh given."""
    score = certify(collocation, cases, at)
    defect = defects(collocation, cases, score.polished)
    doubtful = (defect.amax(1) > TRUSTED_DEFECT).nonzero()[:, 0]
    finer = _split(collocation, defect[doubtful].amax(0)) if len(doubtful) else None
    if finer is None:
        return score
    again = certify(
        Collocation(collocation.system, finer),
        cases.take(doubtful),
        Extremals(transfer(collocation.mesh, at.Z[doubtful], finer), at.T[doubtful]),
    )
    for name in SCORES:
        getattr(score, name)[doubtful] = getattr(again, name)
    return score


def newton_steps(polish: bool | int) -> int:
    """How many Newton steps an answer is polished by; True is 1.

    Raises
    ------
    DataError
        If it is no such number.
    """
    if not isinstance(polish, int) or polish < 0:
        raise DataError(f"polish is {polish!r}; it must be True, False or a number of Newton steps >= 0")
    return int(polish)


def _split(collocation: Collocation, defect: torch.Tensor) -> Mesh | None:
    """The mesh split where its defect (K,) isn't trusted; None where it is, or where elements would be too many."""
    mesh, sizes = collocation.mesh, defect.numpy()
    if sizes.max() <= TRUSTED_DEFECT:
        return None
    finer = Plan(mesh.breaks, (), mesh.degree).finer(mesh, sizes, 0.01 * TRUSTED_DEFECT, np.empty(0)).mesh()
    return finer if finer.elements <= MOST_ELEMENTS else None
