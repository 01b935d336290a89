"""solve() against references, formulas, solve_bvp on hand-written equations, and the sensitivities of the optimal cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from direct import FORMULAS, Transcription, transcribe
from numpy.typing import NDArray
from scipy.integrate import quad
from torch import Tensor

from surrogates.errors import NumericalError, ProblemError
from surrogates.physics.optimal_control import (
    EulerLagrange,
    Mesh,
    Problem,
    named_problem,
    problem_names,
    realise,
    solve,
)
from surrogates.physics.optimal_control.boundary import end_cost
from surrogates.physics.optimal_control.solver import nominal_cases

Array = NDArray[np.float64]
#: relative errors allowed where the problem itself is ill-conditioned, or has fewer known digits
ROUGH = {"cart_pole": 1e-9, "epidemic": 1e-9, "hyper_sensitive": 3e-12, "bounded_van_der_pol": 3e-12}
SWITCHES = {
    "bounded_van_der_pol": [0.0486083064, 1.0471124285, 1.4326310993],
    "batch_reactor": [0.0068198122],
    "epidemic": [1.0423131149],
}


@cache
def solved(name: str) -> xr.Dataset:
    return solve(named_problem(name).problem)


# --- the named problems ---


@pytest.mark.parametrize("name", problem_names())
def test_named_problems_are_solved_to_their_references(name: str) -> None:
    it, got = named_problem(name), solved(name)
    assert abs(float(got.J) - it.J) <= 2 * it.tolerance
    rtol = ROUGH.get(name, 1e-12)
    for value, wanted in ((got.x[-1], it.x_T), (got.p[0], it.p0), (got.u[0], it.u0)):
        np.testing.assert_allclose(value, wanted, rtol=rtol, atol=rtol * max(map(abs, wanted)))
    if it.H is not None:
        L = [float(v) for v in got.H]
        np.testing.assert_allclose(L, it.H, rtol=0, atol=1e-10 * max(1.0, abs(it.J), abs(it.H)))
    assert float(got.residual) <= 1e-10
    assert 0 <= float(got.error) < 1e-10
    assert float(got.curvature) > 0
    assert int(got.conjugate_points) == 0
    assert got.attrs["outcome"].startswith("converged from")
    assert float(got.final_time) == pytest.approx(it.final_time or it.problem.horizon[1], rel=1e-12)


@pytest.mark.parametrize("name", ["scalar_lq", "double_integrator", "scalar_mayer", "brachistochrone"])
def test_closed_forms_hold_at_every_time(name: str) -> None:
    it, got = named_problem(name), solved(name)
    assert it.exact is not None
    for value, wanted in zip((got.x, got.u, got.p), it.exact(torch.tensor(got.time.values)), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", SWITCHES)
def test_switching_times(name: str) -> None:
    inside = solved(name).switches.values
    inside = inside[inside < 0.999 * named_problem(name).problem.horizon[1]]  # epidemic's control ends in 0
    np.testing.assert_allclose(inside, SWITCHES[name], atol=1e-10)


@pytest.mark.parametrize("name", ["van_der_pol", "stirred_tank", "orbit_transfer", "orbit_raising"])
def test_the_direct_method_has_the_same_curves(name: str) -> None:
    direct = transcribe(name, intervals=60, degree=5).solve()
    got = solve(named_problem(name).problem, times=direct.t.clip(0, named_problem(name).problem.horizon[1]))
    for value, wanted, rough in ((got.x, direct.x, 3e-6), (got.p, direct.p, 1e-5)):
        np.testing.assert_allclose(value, wanted, atol=rough * abs(wanted).max())
    u, wanted = got.u.values[1:], direct.u[1:]
    if name == "orbit_raising":  # an angle
        assert abs(u).max() < 2 * math.pi
        u, wanted = (np.concatenate([np.sin(angle), np.cos(angle)], 1) for angle in (u, wanted))
    np.testing.assert_allclose(u, wanted, atol=2e-3 * abs(wanted).max())


@pytest.mark.parametrize("name", ["scalar_lq", "van_der_pol", "bounded_van_der_pol", "stirred_tank"])
def test_perturbed_controls_cost_more(name: str) -> None:
    """By the true motion under them. Where the final state is given, missing it has the price p(T)."""
    it = named_problem(name)
    system, problem = EulerLagrange(it.problem), it.problem
    span = problem.horizon[1]
    found = solved(name).switches.values / span
    mesh = Mesh(tuple(np.unique([*np.linspace(0, 1, 9), *found]).tolist()), 10)
    places = span * np.unique(mesh.nodes)
    got = solve(problem, times=places)
    back = torch.from_numpy(np.searchsorted(places, span * mesh.nodes.numpy()))
    u, x = (torch.from_numpy(got[v].values)[back] for v in ("u", "x"))
    rng, s = np.random.default_rng(0), mesh.nodes[..., None]
    bumps = [sum(c * torch.sin(a * s + b) for a, b, c in rng.normal(size=(3, 3)) * [4, 2, 1]) for _ in range(12)]
    size = 3e-2 * float(u.abs().max())
    U = torch.stack([u, *(u + size * bump for bump in bumps)])
    many = nominal_cases(system).take(torch.zeros(13, dtype=torch.long))
    real = realise(system, mesh, many, U, x.expand(13, *x.shape))
    assert bool(real.converged.all())
    given = torch.tensor([v is not None for v in problem.final_state or ()])
    missed = (real.x[:, -1, -1] - torch.tensor(it.x_T, dtype=torch.float64)) * torch.tensor(got.p.values[-1])
    J = real.J + torch.where(given, missed, 0.0).sum(-1)
    assert float(J[0]) == pytest.approx(it.J, rel=1e-9)
    assert bool((J[1:] > J[0] + 1e-7 * abs(it.J)).all())


# --- sensitivities of the optimal cost ---


@pytest.mark.parametrize("name", ["van_der_pol", "stirred_tank", "orbit_transfer"])
def test_the_costate_is_the_slope_of_the_cost(name: str) -> None:
    it = named_problem(name)
    start = np.array(it.problem.initial_state, dtype=float)
    ε = 1e-3 * max(abs(start).max(), 0.05)
    for i, wanted in enumerate(it.p0):
        J = [
            float(solve(it.problem.with_values(initial_state=start + k * ε * np.eye(len(start))[i])).J)
            for k in (-2, -1, 1, 2)
        ]
        slope = (8 * (J[2] - J[1]) - (J[3] - J[0])) / (12 * ε)
        assert slope == pytest.approx(wanted, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", ["van_der_pol", "stirred_tank", "hyper_sensitive", "orbit_raising"])
def test_the_hamiltonian_is_the_slope_of_the_cost_in_both_times(name: str) -> None:
    """dJ/dT = H(T) + ∂Φ/∂T, dJ/dt0 = -H(t0)."""
    it = named_problem(name)
    (t0, T), got = it.problem.horizon, solved(name)
    ε = 1e-3 * (T - t0)

    def slope(at: tuple[tuple[float, float], ...]) -> float:
        J = [float(solve(it.problem.with_values(horizon=h), guess=got).J) for h in at]
        return (8 * (J[2] - J[1]) - (J[3] - J[0])) / (12 * ε)

    steps = [k * ε for k in (-2, -1, 1, 2)]
    scale = abs(got.H.values).max() + abs(it.J)
    assert slope(tuple((t0, T + s) for s in steps)) == pytest.approx(float(got.H[-1]), abs=1e-7 * scale)
    assert slope(tuple((t0 + s, T) for s in steps)) == pytest.approx(-float(got.H[0]), abs=1e-7 * scale)


@pytest.mark.parametrize(
    "name",
    [
        "scalar_lq",
        "double_integrator",
        "stirred_tank",
        "brachistochrone",
        "bounded_van_der_pol",
        pytest.param("batch_reactor", marks=pytest.mark.slow),
    ],
)
def test_slopes_of_the_cost_in_parameters(name: str) -> None:
    """dJ/dq = ∫ H_q dt + Φ_q along the extremal, also with bounds and with a free final time."""
    it = named_problem(name)
    problem, system, got = it.problem, EulerLagrange(it.problem), solved(name)
    T = float(got.final_time)
    breaks = np.unique([0.0, *np.linspace(0, T, 30), *got.switches.values])
    nodes, weights = np.polynomial.legendre.leggauss(12)
    t = (breaks[:-1, None] + np.diff(breaks)[:, None] * (nodes + 1) / 2).ravel()
    w = (np.diff(breaks)[:, None] * weights / 2).ravel()
    fine = solve(problem, times=t / T if problem.free_final_time else t, guess=got)
    z = torch.from_numpy(np.concatenate([fine.x.values, fine.p.values], 1))
    q = system.parameters((len(t),))
    field = system.field(torch.from_numpy(t), z, q)
    slopes = torch.from_numpy(w) @ field.H_q
    n, k = problem.state_size, len(problem.parameters)
    end = end_cost(problem, torch.tensor(T).double(), torch.tensor(it.x_T).double(), q[0], is_final=True)
    slopes = slopes + end.gradient[n : n + k]
    for i, (key, value) in enumerate(problem.parameters.items()):
        ε = 1e-3 * value
        J = [float(solve(problem.with_values(parameters={key: value + m * ε}), guess=got).J) for m in (-2, -1, 1, 2)]
        assert (8 * (J[2] - J[1]) - (J[3] - J[0])) / (12 * ε) == pytest.approx(
            float(slopes[i]), rel=1e-6, abs=1e-8 * abs(it.J)
        )


# --- roads, guesses, tolerances, times ---


@pytest.mark.parametrize(
    "name", ["van_der_pol", "stirred_tank", "hyper_sensitive", "orbit_transfer", "bounded_van_der_pol"]
)
def test_solve_bvp_agrees_with_collocation(name: str) -> None:
    problem = named_problem(name).problem
    tol = 1e-5 if problem.is_bounded else 1e-8  # SciPy can't put nodes on kinks
    other, got = solve(problem, method="bvp", tolerance=tol), solved(name)
    assert "solve_bvp" in other.attrs["outcome"]
    assert float(other.J) == pytest.approx(float(got.J), rel=1e-8)
    for v in ("x", "u", "p"):
        np.testing.assert_allclose(other[v], got[v], atol=100 * tol * abs(got[v].values).max())


def test_solve_bvp_finds_a_free_final_time() -> None:
    got = solve(named_problem("brachistochrone").problem, method="bvp", tolerance=1e-6, guess=solved("brachistochrone"))
    assert float(got.final_time) == pytest.approx(named_problem("brachistochrone").J, rel=1e-7)


def test_a_guess_from_a_neighbour_is_used() -> None:
    problem = named_problem("orbit_raising").problem
    near = solve(problem.with_values(parameters={"thrust": 0.145}), guess=solved("orbit_raising"))
    assert near.attrs["outcome"] == "converged from the guess"
    other = solve(problem.with_values(parameters={"thrust": 0.145}))
    assert float(near.J) == pytest.approx(float(other.J), rel=1e-11)
    np.testing.assert_allclose(near.p, other.p, atol=1e-8)


def test_a_guess_from_a_shorter_horizon_is_used() -> None:
    problem = named_problem("van_der_pol").problem
    short = solve(problem.with_values(horizon=(0.0, 4.0)))
    long = solve(problem, guess=short)
    assert long.attrs["outcome"] == "converged from the guess"
    assert float(long.J) == pytest.approx(named_problem("van_der_pol").J, rel=1e-12)


def test_a_useless_guess_does_no_harm() -> None:
    bad = solved("van_der_pol") * 1e3
    got = solve(named_problem("van_der_pol").problem, guess=bad)
    assert float(got.J) == pytest.approx(named_problem("van_der_pol").J, rel=1e-12)


def two_ends() -> Problem:
    """min ½∫u² + 2(x(1)² - 1)² - x(1)/5, x' = u, x(0) = 0: J as a function of x(1) has two minima, near 1 and -1."""
    return Problem(
        dynamics=lambda t, x, u, θ: u,
        running_cost=lambda t, x, u, θ: 0.5 * u[..., 0] ** 2,
        terminal_cost=lambda t, x, θ: 2 * (x[..., 0] ** 2 - 1) ** 2 - 0.2 * x[..., 0],
        horizon=(0.0, 1.0),
        initial_state=(0.0,),
        control_size=1,
    )


def test_starts_find_the_better_minimum() -> None:
    ends = np.sort(np.roots([8, 0, -7, -0.2]).real)
    J = 0.5 * ends**2 + 2 * (ends**2 - 1) ** 2 - 0.2 * ends
    t = np.linspace(0, 1, 11)
    x, p = ends[0] * t, np.full(11, -ends[0])
    guess = xr.Dataset({"x": (("time", "state"), x[:, None]), "p": (("time", "state"), p[:, None])}, {"time": t})
    worse = solve(two_ends(), guess=guess)
    assert float(worse.J) == pytest.approx(J[0], rel=1e-12)
    assert worse.attrs["outcome"] == "converged from the guess"
    better = solve(two_ends(), guess=guess, starts=16, seed=1)
    assert float(better.J) == pytest.approx(J[2], rel=1e-12)
    assert better.attrs["outcome"] == "converged from the best of 16 random costates"


@pytest.mark.slow
def test_starts_find_the_quadrotors_best_flight() -> None:
    it = named_problem("quadrotor")
    for seed in range(3):
        assert float(solve(it.problem, starts=32, seed=seed).J) == pytest.approx(it.J, rel=1e-10)


def test_the_second_best_swing_is_a_local_minimum() -> None:
    """IPOPT's, given as the guess, is an extremal of ours."""
    it = named_problem("cart_pole")
    found = Transcription(replace(FORMULAS["cart_pole"], guess=None), intervals=60, degree=5).solve()
    guess = xr.Dataset({"x": (("time", "state"), found.x), "p": (("time", "state"), found.p)}, {"time": found.t})
    got = solve(it.problem, guess=guess)
    assert float(got.J) == pytest.approx(it.other_minima[0], rel=1e-10)
    assert got.attrs["outcome"] == "converged from the guess"


def test_the_same_seed_gives_the_same_answer() -> None:
    a, b = (solve(two_ends(), starts=8, seed=3) for _ in range(2))
    xr.testing.assert_identical(a.drop_attrs(), b.drop_attrs())


@pytest.mark.parametrize(
    "name",
    [
        "rayleigh",
        "hyper_sensitive",
        "bounded_van_der_pol",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("orbit_raising", "batch_reactor")),
    ],
)
def test_the_tolerance_controls_the_error(name: str) -> None:
    truth, elements = solved(name), []
    for tol in (1e-3, 1e-5, 1e-7, 1e-9):
        got = solve(named_problem(name).problem, tolerance=tol)
        assert float(got.residual) <= 10 * tol
        for v in ("x", "p"):
            size = abs(truth[v].values).max(0)
            assert (abs(got[v].values - truth[v].values) / size.clip(1e-6 * size.max())).max() < 20 * tol
        elements.append(got.attrs["elements"])
    assert elements == sorted(elements)
    assert elements[-1] > elements[0]


def test_any_times() -> None:
    it = named_problem("scalar_lq")
    assert it.exact is not None
    for times in ([0.0], [1.0], [0.3], [0.0, 1.0], [0.1, 0.11, 0.9], np.linspace(0, 1, 1001)):
        got = solve(it.problem, times=times)
        np.testing.assert_array_equal(got.time, times)
        for v, wanted in zip((got.x, got.u, got.p), it.exact(torch.tensor(times, dtype=torch.float64)), strict=True):
            np.testing.assert_allclose(v, wanted, atol=1e-13)
        assert float(got.J) == pytest.approx(it.J, rel=1e-14)
    assert len(solve(it.problem).time) == 201


def test_labels() -> None:
    got = solved("batch_reactor")
    assert got.state.values.tolist() == ["A", "B"]
    assert got.control.values.tolist() == ["k"]
    assert dict(got.sizes) == {"time": 201, "state": 2, "control": 1, "switch": 1}
    assert float(got.u.sel(control="k")[0]) == pytest.approx(named_problem("batch_reactor").u0[0])


# --- problems without a minimum ---


def test_a_maximum_is_not_taken_for_a_minimum() -> None:
    """x' = u, cost ½∫(x² - u²): H_uu < 0, the cost has no lower bound."""
    problem = Problem(
        dynamics=lambda t, x, u, θ: u,
        running_cost=lambda t, x, u, θ: 0.5 * (x[..., 0] ** 2 - u[..., 0] ** 2),
        horizon=(0.0, 1.0),
        initial_state=(1.0,),
        control_size=1,
    )
    try:
        got = solve(problem)
    except NumericalError:
        return
    assert float(got.curvature) == pytest.approx(-1.0)


def concave(horizon: float) -> Problem:
    """min ∫(u² - x²), x' = u: H_uu = 2, but from T - t0 = π/2 on the cost has no lower bound."""
    return Problem(
        dynamics=lambda t, x, u, θ: u,
        running_cost=lambda t, x, u, θ: u[..., 0] ** 2 - x[..., 0] ** 2,
        horizon=(0.0, horizon),
        initial_state=(1.0,),
        control_size=1,
    )


@pytest.mark.parametrize(("horizon", "points"), [(1.5, 0), (1.65, 1), (4.6, 1), (4.8, 2)])
def test_conjugate_points_are_counted(horizon: float, points: int) -> None:
    """Extremals are multiples of cos(T - t), which vanishes π/2, 3π/2, ... before T."""
    got = solve(concave(horizon))
    assert float(got.curvature) == 2.0
    assert int(got.conjugate_points) == points
    assert got.attrs["outcome"].endswith("but to no minimum") == (points > 0)


@pytest.mark.parametrize(("horizon", "points"), [(3.1, 0), (3.2, 1), (6.2, 1), (6.4, 2)])
def test_conjugate_points_between_given_ends(horizon: float, points: int) -> None:
    """Now multiples of sin(T - t): π, 2π, ... before T."""
    assert int(solve(replace(concave(horizon), final_state=(0.5,))).conjugate_points) == points


@pytest.mark.parametrize(("weight", "points"), [(1.1, 0), (0.9, 1)])
def test_a_free_initial_state_at_a_maximum(weight: float, points: int) -> None:
    """min ½w(x0 - 1)² - ¼x(1)² + ½∫u², x' = u: over u, min ½u² - ¼(x0 + u)² = -½x0²; so J is convex in x0 if w > 1."""
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: u,
            running_cost=lambda t, x, u, θ: 0.5 * u[..., 0] ** 2,
            terminal_cost=lambda t, x, θ: -0.25 * x[..., 0] ** 2,
            initial_cost=lambda t, x, θ: 0.5 * weight * (x[..., 0] - 1) ** 2,
            horizon=(0.0, 1.0),
            initial_state=(None,),
            control_size=1,
        )
    )
    assert float(got.x[0, 0]) == pytest.approx(weight / (weight - 1), rel=1e-11)
    assert int(got.conjugate_points) == points


def test_another_road_is_taken_from_a_maximum() -> None:
    """Newton's method from a straight line at 0.1 ends between two minima, at a maximum in x(1)."""
    problem = two_ends().with_values(initial_state=[0.1])
    ends = np.sort(np.roots([8, 0, -7, -0.3]).real)
    J = 0.5 * (ends - 0.1) ** 2 + 2 * (ends**2 - 1) ** 2 - 0.2 * ends
    got = solve(problem)
    assert min(abs(float(got.J) / J[[0, 2]] - 1)) < 1e-12
    assert int(got.conjugate_points) == 0
    assert "straight line" not in got.attrs["outcome"]


@pytest.mark.parametrize("law", [torch.exp, torch.square])
def test_a_finite_blow_up_is_refused(law: Callable[[Tensor], Tensor]) -> None:
    """x' = law(x) + u ends long before T = 50 unless u holds it, which costs 1e12."""
    problem = Problem(
        dynamics=lambda t, x, u, θ: law(x) + u,
        running_cost=lambda t, x, u, θ: 1e12 * u[..., 0] ** 2,
        horizon=(0.0, 50.0),
        initial_state=(3.0,),
        control_size=1,
    )
    with pytest.raises(
        NumericalError, match=r"no extremal was found: .* that the problem has a minimum, or give guess="
    ):
        solve(problem)


def test_controls_linear_in_the_hamiltonian_are_refused() -> None:
    problem = Problem(
        dynamics=lambda t, x, u, θ: u,
        terminal_cost=lambda t, x, θ: -x[..., 0],
        horizon=(0.0, 1.0),
        initial_state=(0.0,),
        control_size=1,
    )
    with pytest.raises(ProblemError, match="linear in control 'u'"):
        solve(problem)


def test_the_cost_is_that_of_quadrature() -> None:
    """J is the integral of L along the answer, by SciPy's adaptive rule on an interpolant of x and u."""
    from scipy.interpolate import make_interp_spline

    got = solve(named_problem("rayleigh").problem, times=np.linspace(0, 2.5, 2001))
    x, u = (make_interp_spline(got.time, got[v][:, 0], k=5) for v in ("x", "u"))
    J, _ = quad(lambda t: float(x(t) ** 2 + u(t) ** 2), 0, 2.5, epsabs=1e-12, epsrel=1e-12, limit=500)
    assert pytest.approx(float(got.J), rel=1e-11) == J
