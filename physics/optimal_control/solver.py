"""The classical solver: collocation of the Euler-Lagrange system, Newton's method, mesh refinement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import NumericalError, ProblemError

from .bvp import by_solve_bvp
from .collocation import Cases, Collocation, Extremals
from .hamiltonian import EulerLagrange
from .homotopy import by_homotopy, random_guesses, straight_guess
from .mesh import Mesh
from .newton import Solved, solve_cases
from .problem import Problem
from .refine import Plan, defects, switches
from .second_order import conjugate_points

Floats = NDArray[np.float64]
#: an extremal on a first mesh, and the road to it in words
_First = tuple[Collocation, Solved, str]
METHODS = ("collocation", "bvp")
#: the first mesh, and how far it may be refined
ELEMENTS, DEGREE, MOST_ELEMENTS, ROUNDS = 4, 12, 240, 25
#: costates tried where nothing else leads to an extremal
RANDOM_STARTS = 32


def solve(
    problem: Problem,
    *,
    times: Sequence[float] | Floats | None = None,
    guess: xr.Dataset | None = None,
    tolerance: float = 1e-10,
    method: Literal["collocation", "bvp"] = "collocation",
    starts: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    """Solve an optimal-control problem through its Euler-Lagrange system.

    Gauss collocation on elements of degree 12, damped Newton steps, elements split where the equations' defect between
    the collocation points is above the tolerance, and cut where a control meets a bound. Where Newton's method fails
    from a straight line, the extremal is followed from the uncontrolled motion; where that fails, too, 32 random costates
    are tried.

    Parameters
    ----------
    problem : with n states and m controls
    times : (k,) increasing, where the answer is wanted; 201 equal steps over the horizon by default. With a free final
        time they are the share of the horizon that was found, in [0, 1]
    guess : an earlier answer to start from (`x` and `p` over `time`), of this or a similar problem
    tolerance : largest defect, relative to the largest value of every component
    method : "collocation", or "bvp" for SciPy's `solve_bvp` on the same equations, from the first extremal that Newton's
        method finds on a coarse mesh; its tolerance is that of its relative residuals
    starts : random costates that are tried in any case, to find other local minima; the cheapest extremal is refined
    seed : of the random costates

    Returns
    -------
    xr.Dataset : x (time, state), u (time, control), p (time, state), H (time,) the Hamiltonian; scalars J the cost,
        `residual` the largest relative defect, `error` the estimated relative error of x and p, `final_time`,
        `curvature` the least eigenvalue of H_uu in free directions (a minimum has none below 0); `conjugate_points`
        their number (a minimum has none; NumericalError isn't raised for either); `switches` (switch,) times where
        controls meet or leave bounds; attrs say how it was found

    Raises
    ------
    NumericalError
        If no extremal was found, or none of the accuracy asked for. An extremal satisfies the first-order conditions of
        a minimum, and may be a local one.
    ProblemError
        If the Hamiltonian is linear in a control, or `times` or `guess` don't fit the problem.

    Examples
    --------
    >>> decay = Problem(
    ...     dynamics=lambda t, x, u, θ: -x + u,
    ...     running_cost=lambda t, x, u, θ: 0.5 * (x[..., 0] ** 2 + u[..., 0] ** 2),
    ...     horizon=(0.0, 1.0), initial_state=(1.0,), control_size=1)
    >>> round(float(solve(decay).J), 12)  # p(0)/2 in closed form
    0.192909298093
    """
    began = time.perf_counter()
    system = EulerLagrange(problem)
    if method not in METHODS:
        raise ProblemError(f"method is {method!r}; it must be one of {METHODS}")
    found = extremal(system, guess=guess, tolerance=tolerance, method=method, starts=starts, seed=seed)
    answer = as_dataset(found, _times(problem, found, times))
    answer.attrs["seconds"] = time.perf_counter() - began
    return answer


class Found(NamedTuple):
    """An extremal of one problem with the mesh that it lives on."""

    collocation: Collocation
    cases: Cases
    solved: Solved
    defect: float
    switches: Floats
    road: str
    newton_steps: int
    conjugate_points: int


def extremal(
    system: EulerLagrange,
    *,
    guess: xr.Dataset | None = None,
    tolerance: float = 1e-10,
    method: str = "collocation",
    starts: int = 0,
    seed: int = 0,
) -> Found:
    """Find the extremal of a problem's nominal case; see `solve`."""
    if not 1e-12 <= tolerance <= 1e-2:
        raise ProblemError(f"tolerance is {tolerance}; it must be between 1e-12 and 1e-2")
    if isinstance(starts, bool) or not isinstance(starts, int) or starts < 0:
        raise ProblemError(f"starts is {starts!r}; it must be an integer >= 0")
    cases = nominal_cases(system)
    plan = Plan(Mesh.uniform(ELEMENTS, DEGREE).breaks, (), DEGREE)
    collocation, solved, road = _first(system, cases, plan.mesh(), guess, starts, seed)
    if method == "bvp":
        return _by_bvp(collocation, cases, solved, road, tolerance)
    steps, moved = int(solved.steps), np.inf
    for _ in range(ROUNDS):
        defect = defects(collocation, cases, solved.at)[0].numpy()
        kinks = switches(collocation, cases, solved.at)
        moved = _movement(np.asarray(plan.switches), kinks)
        if defect.max() <= tolerance and moved <= 1e-9:
            break
        plan = plan.finer(collocation.mesh, defect, tolerance, kinks)
        mesh = plan.mesh()
        if mesh.elements > MOST_ELEMENTS:
            break
        start = Extremals(transfer(collocation.mesh, solved.at.Z, mesh), solved.at.T)
        collocation = Collocation(system, mesh)
        solved = solve_cases(collocation, cases, start)
        steps += int(solved.steps)
        if not bool(solved.converged):
            raise NumericalError(
                f"Newton's method lost the extremal on a mesh of {mesh.elements} elements; give a better guess=, "
                f"or a looser tolerance than {tolerance:g}"
            )
    largest = float(defects(collocation, cases, solved.at).max())
    if largest > 10 * tolerance:
        raise NumericalError(
            f"{collocation.mesh.elements} elements leave a defect of {largest:.1e}, above {tolerance:.1e}; the extremal "
            f"may have a jump or a singular arc: smooth the problem, or ask for a looser tolerance"
        )
    _check_controls(collocation, cases, solved)
    kinks, conjugate = switches(collocation, cases, solved.at), int(conjugate_points(collocation, cases, solved.at))
    return Found(collocation, cases, solved, largest, kinks, road, steps, conjugate)


def _check_controls(collocation: Collocation, cases: Cases, solved: Solved) -> None:
    t, z, _ = collocation.fields(cases, solved.at)
    n = collocation.system.problem.state_size
    q = cases.q[:, None, None].expand(*t.shape, -1)
    u = collocation.system.control(t, z[..., :n], z[..., n:], q)
    worst = float(collocation.system.stationarity(t, z, u, q).max())
    if not worst <= 1e-6:
        raise NumericalError(
            f"no minimiser of the Hamiltonian in the controls was found at some times (a Newton step is left of {worst:.1e} "
            f"of the largest control); laws with kinks in the controls, such as |u|, must be smoothed"
        )


def _by_bvp(collocation: Collocation, cases: Cases, solved: Solved, road: str, tolerance: float) -> Found:
    """Go on from an extremal on a coarse mesh by `solve_bvp`."""
    system = collocation.system
    mesh, at = by_solve_bvp(system, cases, collocation.mesh, solved.at, tolerance)
    cubic = Collocation(system, mesh)
    fine = solved._replace(at=at, J=cubic.cost(cases, at), error=torch.tensor([torch.nan], dtype=torch.float64))
    defect = float(defects(cubic, cases, at).max())
    kinks, conjugate = switches(cubic, cases, at), int(conjugate_points(collocation, cases, solved.at))
    return Found(cubic, cases, fine, defect, kinks, f"{road}, then solve_bvp", int(solved.steps), conjugate)


def nominal_cases(system: EulerLagrange) -> Cases:
    """The one case that the problem itself states; free components are NaN."""
    problem = system.problem
    ends = [
        torch.tensor([[torch.nan if v is None else v for v in values]], dtype=torch.float64)
        for values in problem.given_at_ends
    ]
    t0, T = (torch.tensor([t], dtype=torch.float64) for t in problem.horizon)
    return Cases(ends[0], ends[1], t0, T, system.parameters((1,)))


def _first(system: EulerLagrange, cases: Cases, mesh: Mesh, guess: xr.Dataset | None, starts: int, seed: int) -> _First:
    """An extremal on a first mesh, by the first road that leads to one, or the cheapest one of random starts."""
    best: _First | None = None
    for attempt in _roads(system, cases, mesh, guess, starts, seed):
        try:
            found = attempt()
        except NumericalError:
            continue
        if found is None:
            continue
        if not int(conjugate_points(found[0], cases, found[1].at)):
            best = found
            break
        best = best or found  # no minimum: taken only if no other road leads to one
    if starts:
        tried = _from_random(system, cases, mesh, starts, seed)
        if tried is not None and (best is None or float(tried[1].J) < float(best[1].J) - 1e-3 * abs(float(best[1].J))):
            best = tried
    if best is None:
        raise NumericalError(
            "no extremal was found: Newton's method converged neither from a straight line, nor along a way from the "
            "uncontrolled motion, nor from random costates; check that the end state can be reached and that the problem "
            "has a minimum, or give guess=, such as the answer to a shorter horizon or a milder cost, or more starts="
        )
    return best


def _roads(
    system: EulerLagrange, cases: Cases, mesh: Mesh, guess: xr.Dataset | None, starts: int, seed: int
) -> Iterator[Callable[[], _First | None]]:
    """What to try, the quickest first."""
    if guess is not None:
        given = _from_dataset(system.problem, mesh, guess)
        yield lambda: _newton(system, cases, mesh, given, "from the guess")
    fine = Mesh.uniform(4 * mesh.elements, mesh.degree)
    straight = straight_guess(system, mesh, cases)
    yield lambda: _newton(system, cases, mesh, straight, "from a straight line")
    yield lambda: _followed(system, cases, mesh)
    if not starts:
        yield lambda: _from_random(system, cases, mesh, RANDOM_STARTS, seed)
    straighter = straight_guess(system, fine, cases)
    yield lambda: _newton(system, cases, fine, straighter, "from a straight line")
    yield lambda: _followed(system, cases, fine)


def _followed(system: EulerLagrange, cases: Cases, mesh: Mesh) -> _First | None:
    solved = by_homotopy(system.problem, mesh, cases)
    return (Collocation(system, mesh), solved, "from the uncontrolled motion") if bool(solved.converged) else None


def _newton(system: EulerLagrange, cases: Cases, mesh: Mesh, guess: Extremals, road: str) -> _First | None:
    collocation = Collocation(system, mesh)
    solved = solve_cases(collocation, cases, guess)
    return (collocation, solved, road) if bool(solved.converged) else None


def _from_random(system: EulerLagrange, cases: Cases, mesh: Mesh, starts: int, seed: int) -> _First | None:
    """The cheapest extremal that random costates lead to on a coarse mesh, on the finer one."""
    coarse = Mesh.uniform(4, 6)
    many = cases.take(torch.zeros(starts, dtype=torch.long))
    guesses = random_guesses(system, coarse, cases, starts=starts, seed=seed)
    solved = solve_cases(Collocation(system, coarse), many, guesses, tolerance=1e-6)
    order = torch.where(solved.converged, solved.J, torch.inf).argsort(stable=True)
    for i in order[: int(solved.converged.sum())][:8]:
        at = solved.at.take(i[None])
        guess = Extremals(transfer(coarse, at.Z, mesh), at.T)
        found = _newton(system, cases, mesh, guess, f"from the best of {starts} random costates")
        if found is not None:
            return found
    return None


def as_dataset(found: Found, s: Floats) -> xr.Dataset:
    """Labelled answer at places s (k,) in [0, 1] of the horizon."""
    system, cases, at = found.collocation.system, found.cases, found.solved.at
    problem, n = system.problem, system.problem.state_size
    t = cases.t0 + (at.T - cases.t0) * torch.from_numpy(s)
    z = found.collocation.mesh.interpolate(at.Z, s)[0]
    q = cases.q.expand(len(s), -1)
    field = system.field(t, z, q)
    curvature = system.least_curvature(t, z, q)
    is_none = found.conjugate_points > 0 or curvature < 0
    return xr.Dataset(
        {
            "x": (("time", "state"), z[:, :n].numpy()),
            "u": (("time", "control"), field.u.numpy()),
            "p": (("time", "state"), z[:, n:].numpy()),
            "H": ("time", field.H.numpy()),
            "J": float(found.solved.J),
            "residual": found.defect,
            "error": float(found.solved.error),
            "final_time": float(at.T),
            "curvature": curvature,
            "conjugate_points": found.conjugate_points,
            "switches": ("switch", float(cases.t0) + float(at.T - cases.t0) * found.switches),
        },
        coords={"time": t.numpy(), "state": list(problem.states), "control": list(problem.controls)},
        attrs={
            "outcome": f"converged {found.road}" + (", but to no minimum" if is_none else ""),
            "elements": found.collocation.mesh.elements,
            "degree": found.collocation.mesh.degree,
            "newton_steps": found.newton_steps,
        },
    )


def _times(problem: Problem, found: Found, times: Sequence[float] | Floats | None) -> Floats:
    """Places in [0, 1] where the answer is wanted."""
    if times is None:
        return np.linspace(0.0, 1.0, 201)
    wanted = np.asarray(times, dtype=float)
    t0, T = (0.0, 1.0) if problem.free_final_time else problem.horizon
    if wanted.ndim != 1 or not len(wanted) or not np.isfinite(wanted).all() or (np.diff(wanted) <= 0).any():
        raise ProblemError("times must be one-dimensional, finite and increasing")
    if wanted[0] < t0 or wanted[-1] > T:
        raise ProblemError(f"times reach from {wanted[0]} to {wanted[-1]}; they must lie in [{t0}, {T}]")
    return np.asarray((wanted - t0) / (T - t0))


def _from_dataset(problem: Problem, mesh: Mesh, guess: xr.Dataset) -> Extremals:
    lacking = [name for name in ("x", "p", "time") if name not in guess.variables]
    if lacking:
        raise ProblemError(f"guess lacks {lacking[0]!r}; give what solve() returned, with x and p over time and state")
    if guess.sizes.get("state") != problem.state_size:
        raise ProblemError(
            f"guess has {guess.sizes.get('state')} state components; the problem has {problem.state_size}"
        )
    for name in ("x", "p"):
        if set(guess[name].dims) != {"time", "state"}:
            raise ProblemError(f"guess has {name!r} over {guess[name].dims}; ('time', 'state') is expected")
    z = np.concatenate([guess[name].transpose("time", "state").values for name in ("x", "p")], axis=1)
    if not np.isfinite(z).all():
        raise ProblemError("guess holds values that aren't finite; leave it out, or fill them")
    t = guess["time"].values.astype(float)
    if len(t) < 2 or not np.isfinite(t).all() or (np.diff(t) <= 0).any():
        raise ProblemError(f"guess has {len(t)} times; at least 2, finite and increasing, are expected")
    from scipy.interpolate import make_interp_spline

    spline = make_interp_spline((t - t[0]) / (t[-1] - t[0]), z, k=min(5, len(t) - 1))
    nodes = mesh.nodes
    Z = torch.from_numpy(spline(nodes.numpy().ravel()).reshape(1, *nodes.shape, -1))
    T = float(guess["final_time"]) if problem.free_final_time and "final_time" in guess else problem.horizon[1]
    return Extremals(Z, torch.tensor([T], dtype=torch.float64))


def transfer(old: Mesh, Z: Tensor, new: Mesh) -> Tensor:
    """Nodal values on another mesh."""
    nodes = new.nodes
    return old.interpolate(Z, nodes.numpy().ravel()).reshape(len(Z), *nodes.shape, -1)


def _movement(before: Floats, after: Floats) -> float:
    """How far the switches moved since the mesh was made; infinite if their number changed."""
    if len(before) != len(after):
        return np.inf
    return float(np.abs(before - after).max()) if len(after) else 0.0
