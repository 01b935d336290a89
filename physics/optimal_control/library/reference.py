"""A problem together with what is known of its solution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..problem import Problem

#: t (...) -> x (..., n), u (..., m), p (..., n)
Solution = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A named problem, its optimal cost, and the ends of its optimal trajectory.

    All values are those at the problem's own initial state, horizon and parameters. Costates are in the convention of
    `Problem`: H = L + pᵀf is minimised, and p(t0) = dJ/dx(t0).

    name : as in `named_problem`
    problem : the problem
    J : the lowest cost known
    tolerance : how far, at most, the true cost is from J, in the cost's unit
    evidence : how J and the other values were found, and what else agrees with them
    source : where the problem comes from, and where its cost was published if it was
    x_T : state at T, n numbers; also the components that the problem prescribes
    u0 : control at t0, m numbers
    p0 : costate at t0, n numbers
    H : the Hamiltonian, constant along the solution; None where it varies, since the problem depends on time
    final_time : T where the problem leaves it free, else None
    other_minima : costs, above J, of other local minima that a local method may end in
    exact : t (...) -> x (..., n), u (..., m), p (..., n), in closed form; None where there is none
    """

    name: str
    problem: Problem
    J: float
    tolerance: float
    evidence: str
    source: str
    x_T: tuple[float, ...]
    u0: tuple[float, ...]
    p0: tuple[float, ...]
    H: float | None = None
    final_time: float | None = None
    other_minima: tuple[float, ...] = ()
    exact: Solution | None = None


#: how the values of problems without closed form were found
COLLOCATION = (
    "Our own computation: Gauss collocation of the Euler-Lagrange system (8 stages, 100 and 140 steps, switching times as "
    "unknowns) gives J, x(T), u(t0), p(t0) to {digits} on both meshes; Radau collocation of the cost by CasADi and IPOPT "
    "(degree 5, 60 steps) agrees in J to {direct}."
)
#: how the values of section 4 of the notes on Euler-Lagrange networks were found
CHEBYSHEV = (
    "Our own computation: multi-domain Chebyshev collocation of the Euler-Lagrange system, two resolutions equal to 1e-13; "
    "Gauss collocation, solve_bvp and direct collocation agree."
)
