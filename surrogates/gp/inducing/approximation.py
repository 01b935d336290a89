"""How far the approximation of the covariance between tasks is from the exact model, at the fitted hyper-parameters."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..collapse import trend_prior
from ..core import Core
from ..fitting import make_problem
from ..objective import Objective
from ..solvers.inducing import Inducing
from .preparing import few_tasks
from .statistics import correlations
from .workers import Workers

Floats = NDArray[np.float64]
#: readings of the tasks on which the exact model is asked too
EXACT = 800
#: rows at which the common process's unexplained share is taken
ROWS = 20_000
#: change of left-out predictions, in their standard deviations, from which on a user is warned
NOTABLE = 0.1


class Approximation(NamedTuple):
    """What is known of the error.

    places : of the common process; jitter : on the diagonal of their correlations
    unexplained : mean share of the common process's variance at the readings that the places don't tell, which tasks
        then can't share
    halved : root mean square change of the left-out means, in their standard deviations, if half of the places are
        taken: with all of them the error is smaller
    exact : the same change to the exact model, on `readings` readings of a few tasks
    evidence : exact less approximate restricted log-likelihood per reading there, in nats
    """

    places: int
    jitter: float
    unexplained: float
    halved: float
    exact: float
    evidence: float
    readings: int

    @property
    def warning(self) -> str | None:
        """What a user should know, if the error is notable."""
        if max(0.5 * self.halved, self.exact) <= NOTABLE:  # twice the places less than half the error, where measured
            return None
        return (
            f"the common process at {self.places} places is coarse: left-out predictions are {self.exact:.2g} of their "
            f"standard deviations off the exact model's, and {self.halved:.2g} with half of the places; raise inducing="
        )


def approximation(core: Core, seed: int, workers: Workers) -> Approximation | None:
    """Measured error of a fit by "inducing"; None for exact solvers."""
    problem, θ = core.problem, core.mode
    objective = problem.objective
    solver = objective.solver
    if not isinstance(solver, Inducing):
        return None
    few = few_tasks(core.scaled.readings, seed + 1, EXACT)
    scaled = replace(core.scaled, readings=few, prior=trend_prior(few, core.scaled.trend))
    near = make_problem(scaled, replace(core.settings, solver=Inducing.name)).objective
    true = make_problem(scaled, replace(core.settings, solver="dense")).objective
    half = Inducing(objective.design, solver.kernels, solver.Z[: max(1, len(solver.Z) // 2)], workers)
    halved = Objective(objective.design, objective.layout, half)
    return Approximation(
        len(solver.Z),
        solver.jitter,
        unexplained(objective, solver, θ, seed),
        left_out_change(halved, objective, θ),
        left_out_change(near, true, θ),
        (near(θ, 0).value - true(θ, 0).value) / len(few.y),
        len(few.y),
    )


def left_out_change(first: Objective, second: Objective, θ: Floats) -> float:
    """Root mean square difference of the rows' left-out means α/P_ii, in the second's standard deviations P_ii^-½."""
    a, b = first.gradient(θ), second.gradient(θ)
    # the same rows, but blocks of one task may have sorted them
    i, j = (np.lexsort(objective.design.x.T) for objective in (first, second))
    P, Q = a.p_diagonal[i], b.p_diagonal[j]
    found = (1e-9 / second.state(θ)[0].D[j] < Q) & (P > 0)
    if not found.any():
        return 0.0
    difference = a.alpha[i][found] / P[found] - b.alpha[j][found] / Q[found]
    return math.sqrt(float(np.mean(difference**2 * Q[found])))


def unexplained(objective: Objective, solver: Inducing, θ: Floats, seed: int) -> float:
    """Mean share of the common process's variance at the rows that its places don't tell."""
    point, x = solver.point(objective.state(θ)[0]), objective.design.x
    if len(x) > ROWS:
        x = x[np.random.default_rng(seed).choice(len(x), ROWS, replace=False)]
    told = [
        (correlations(point.kernels[0], block, point.Z, point.lengthscales[0])[0] @ point.root.T) ** 2
        for block in np.array_split(x, max(1, len(x) // 2000))
    ]
    return max(0.0, 1.0 - float(sum(part.sum() for part in told)) / len(x))
