"""Piecewise polynomials, end conditions, and the collocation equations: exactness, derivatives, order."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from torch import Tensor

from surrogates.physics.optimal_control import (
    Cases,
    Collocation,
    EulerLagrange,
    Extremals,
    Mesh,
    Problem,
    named_problem,
    polish,
    realise,
    solve,
)
from surrogates.physics.optimal_control.boundary import Given, end_conditions, end_cost
from surrogates.physics.optimal_control.mesh import derivative, gauss, interpolation, lobatto, node_derivative
from surrogates.physics.optimal_control.newton import solve_cases
from surrogates.physics.optimal_control.solver import nominal_cases, transfer

DEGREES = [1, 2, 3, 5, 8, 12, 20]
UNEVEN = (0.0, 0.1, 0.45, 0.5, 1.0)


def polynomial(degree: int) -> Polynomial:
    return Polynomial(np.random.default_rng(degree).normal(size=degree + 1))


# --- meshes ---


@pytest.mark.parametrize("degree", DEGREES)
def test_polynomials_and_their_slopes_are_exact(degree: int) -> None:
    s, f = np.linspace(0, 1, 37), polynomial(degree)
    size = abs(f(s)).max()
    np.testing.assert_allclose(interpolation(degree, s) @ f(lobatto(degree)), f(s), rtol=0, atol=1e-13 * size)
    slopes = derivative(degree, s) @ f(lobatto(degree))
    np.testing.assert_allclose(slopes, f.deriv()(s), rtol=0, atol=1e-13 * degree**2 * size)
    at_nodes = node_derivative(degree) @ f(lobatto(degree))
    np.testing.assert_allclose(at_nodes, f.deriv()(lobatto(degree)), rtol=0, atol=1e-13 * degree**2 * size)


@pytest.mark.parametrize("degree", DEGREES)
def test_one_degree_more_is_not_exact(degree: int) -> None:
    s, f = np.linspace(0, 1, 37), Polynomial([0] * (degree + 1) + [1])
    error = interpolation(degree, s) @ f(lobatto(degree)) - f(s)
    # the product of (s - node), whose largest value on Lobatto nodes is near 2 * 4^-(d+1) or a little above
    assert 0.5 * 4.0 ** -(degree + 1) < abs(error).max() < 6 * 4.0 ** -(degree + 1)


@pytest.mark.parametrize("degree", DEGREES)
def test_the_nodes_lagrange_polynomials_are_one_at_their_own(degree: int) -> None:
    nodes = lobatto(degree)
    assert (nodes[0], nodes[-1]) == (0.0, 1.0)
    np.testing.assert_array_equal(interpolation(degree, nodes), np.eye(degree + 1))
    np.testing.assert_allclose(node_derivative(degree).sum(1), 0, atol=1e-12 * degree**2)


@pytest.mark.parametrize("degree", DEGREES)
def test_gauss_integrates_twice_the_degree(degree: int) -> None:
    mesh = Mesh(UNEVEN, degree)
    for k in (2 * degree - 1, 2 * degree):
        error = float((mesh.gauss_weights * mesh.gauss**k).sum()) - 1 / (k + 1)
        exact = abs(error) < 1e-14
        assert exact or k == 2 * degree
    coarse = Mesh.uniform(1, degree)
    if degree < 8:  # beyond, the error is below rounding
        assert abs(float((coarse.gauss_weights * coarse.gauss ** (2 * degree)).sum()) - 1 / (2 * degree + 1)) > 1e-13
    assert float(mesh.gauss_weights.sum()) == pytest.approx(1.0, rel=1e-14)
    assert gauss(degree)[0].shape == (degree,)


def test_elements_of_places_also_at_breaks() -> None:
    mesh = Mesh(UNEVEN, 3)
    k, inside = mesh.locate(np.array([0.0, 0.05, 0.1, 0.3, 0.45, 0.5, 0.75, 1.0]))
    assert k.tolist() == [0, 0, 1, 1, 2, 3, 3, 3]
    np.testing.assert_allclose(inside, [0, 0.5, 0, 0.2 / 0.35, 0, 0, 0.5, 1], atol=1e-15)


def test_piecewise_values_come_from_their_own_element() -> None:
    """A function with a kink at a break is exact; batches and components keep their places."""
    mesh = Mesh(UNEVEN, 4)
    nodes = mesh.nodes
    first = torch.stack([(nodes - 0.45).abs() ** 3, nodes**4 - nodes], -1)
    s = np.append(np.linspace(0, 1, 41), UNEVEN)
    got = mesh.interpolate(torch.stack([first, torch.stack([nodes, -nodes], -1)]), s)
    assert got.shape == (2, 46, 2)
    np.testing.assert_allclose(got[0], np.stack([abs(s - 0.45) ** 3, s**4 - s], 1), atol=1e-14)
    np.testing.assert_allclose(got[1], np.stack([s, -s], 1), atol=1e-14)


def test_transfer_to_a_finer_mesh_keeps_the_function() -> None:
    old, new = Mesh(UNEVEN, 5), Mesh((0.0, 0.1, 0.2, 0.45, 0.5, 0.7, 1.0), 5)
    Z = (old.nodes**5 - 3 * (old.nodes - 0.5).clamp(min=0) ** 2)[None, ..., None]
    wanted = new.nodes**5 - 3 * (new.nodes - 0.5).clamp(min=0) ** 2
    torch.testing.assert_close(transfer(old, Z, new)[0, ..., 0], wanted, rtol=0, atol=1e-13)


# --- conditions at the ends ---


def mixed(initial: list[float | None], final: list[float | None], *, free_final_time: bool = False) -> Problem:
    """Two states, nonlinear end costs with time and a parameter in them."""
    return Problem(
        dynamics=lambda t, x, u, θ: torch.stack([x[..., 1] - 0.1 * x[..., 0] ** 3, u[..., 0] - θ["k"] * x[..., 0]], -1),
        running_cost=lambda t, x, u, θ: x[..., 0] ** 2 + (1 + 0.1 * t) * u[..., 0] ** 2 + 0.5,
        terminal_cost=lambda t, x, θ: (
            θ["k"] * torch.exp(x[..., 0] - 0.3 * x[..., 1]) + (t - 1.0) ** 2 * (1 + x[..., 1] ** 2)
        ),
        initial_cost=lambda t, x, θ: θ["k"] * torch.cosh(x[..., 0] - 1) + x[..., 0] * x[..., 1] + x[..., 1] ** 2,
        horizon=(0.0, 1.3),
        initial_state=initial,
        final_state=final,
        control_size=1,
        parameters={"k": 0.7},
        free_final_time=free_final_time,
    )


@pytest.mark.parametrize("is_final", [False, True])
def test_end_conditions_and_their_derivatives(is_final: bool) -> None:
    problem = mixed([None, 0.4], [0.2, None])
    system = EulerLagrange(problem)
    rng = np.random.default_rng(0)
    t, z, q = (torch.from_numpy(rng.normal(size=shape)) for shape in ((5,), (5, 4), (5, 1)))
    is_given = torch.tensor([is_final, not is_final])
    values = torch.tensor([[0.2, 0.4]] * 5, dtype=torch.float64)

    def at(t: Tensor, z: Tensor, q: Tensor) -> Tensor:
        return end_conditions(system, t, z, q, Given(values, is_given), is_final=is_final).r

    ends = end_conditions(system, t, z, q, Given(values, is_given), is_final=is_final)
    x1, x2, k = z[:, 0], z[:, 1], q[:, 0]
    if is_final:
        by_hand = [x1 - 0.2, z[:, 3] - (-0.3 * k * torch.exp(x1 - 0.3 * x2) + 2 * (t - 1) ** 2 * x2)]
        cost_t = 2 * (t - 1) * (1 + x2**2)
        cost = k * torch.exp(x1 - 0.3 * x2) + (t - 1) ** 2 * (1 + x2**2)
    else:
        by_hand = [z[:, 2] + k * torch.sinh(x1 - 1) + x2, x2 - 0.4]
        cost_t, cost = torch.zeros(5).double(), k * torch.cosh(x1 - 1) + x1 * x2 + x2**2
    torch.testing.assert_close(ends.r, torch.stack(by_hand, -1), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ends.cost_t, cost_t, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ends.cost, cost, rtol=1e-13, atol=1e-13)
    ε = 1e-5
    for got, step in ((ends.r_z, (0, 1, 0)), (ends.r_q, (0, 0, 1)), (ends.r_t[..., None], (1, 0, 0))):
        for i in range(got.shape[-1]):
            e = torch.zeros(got.shape[-1], dtype=torch.float64)
            e[i] = ε
            shift = [e[0] * step[0], e * step[1] if step[1] else 0.0, e * step[2] if step[2] else 0.0]
            above = at(t + shift[0], z + shift[1], q + shift[2])
            below = at(t - shift[0], z - shift[1], q - shift[2])
            torch.testing.assert_close(got[..., i], (above - below) / (2 * ε), rtol=1e-7, atol=1e-8)
    for got, s in ((ends.cost_tz[:, :2], 0), (ends.cost_tt[:, None], 1)):
        value = end_cost(problem, t, z[:, :2], q, is_final=is_final)
        torch.testing.assert_close(got, value.hessian[:, -1, :2] if s == 0 else value.hessian[:, -1, -1:])
    tt = 2 * (1 + x2**2) if is_final else torch.zeros(5).double()
    torch.testing.assert_close(ends.cost_tt, tt, rtol=1e-12, atol=1e-13)


#: states given at t0 and T: every row of the table of conditions, once for each component
TABLE: list[tuple[list[float | None], list[float | None]]] = [
    ([1.0, -0.5], [None, None]),
    ([1.0, -0.5], [0.2, 0.1]),
    ([None, None], [0.2, 0.1]),
    ([None, None], [None, None]),
    ([1.0, None], [None, 0.1]),
    ([None, -0.5], [0.2, None]),
    ([1.0, None], [0.2, None]),
]


def wavy(collocation: Collocation, cases: Cases, n: int) -> Extremals:
    """Smooth continuous curves, far from any extremal."""
    s, rng = collocation.mesh.nodes, np.random.default_rng(1)
    parts = [torch.sin(3 * float(a) * s + float(b)) for a, b in rng.normal(size=(2 * n, 2))]
    return Extremals(torch.stack(parts, -1)[None], cases.T.clone())


@pytest.mark.parametrize("free_time", [False, True])
@pytest.mark.parametrize(("initial", "final"), TABLE)
def test_the_step_solves_the_linearised_equations(
    initial: list[float | None], final: list[float | None], free_time: bool
) -> None:
    """Along Newton's step δ all residuals shrink like 1 - ε, up to ε²; and the step keeps the curves continuous."""
    system = EulerLagrange(mixed(initial, final, free_final_time=free_time))
    collocation, cases = Collocation(system, Mesh((0.0, 0.3, 0.45, 1.0), 6)), nominal_cases(system)
    here = wavy(collocation, cases, 2)
    at = collocation.linearise(cases, here)
    δ = collocation.step(at, at.r, at.b)
    assert at.b.shape == (1, 4 + free_time)
    assert (float(δ.T) != 0) == free_time
    torch.testing.assert_close(δ.Z[:, 1:, 0], δ.Z[:, :-1, -1], rtol=0, atol=1e-11 * float(δ.Z.abs().max()))
    size, left = float(at.r.abs().max()), []
    for ε in (1e-3, 1e-4):
        there = collocation.linearise(cases, Extremals(here.Z + ε * δ.Z, here.T + ε * δ.T))
        wrong = [(b - (1 - ε) * a).abs().max() for a, b in ((at.r, there.r), (at.b, there.b))]
        left.append(float(max(wrong)) / size)
    assert left[0] < 1e-3  # not 2e-3 or so, as without one of the terms
    assert left[1] < 0.0125 * left[0] + 1e-13


def test_each_end_condition_holds_in_the_solution() -> None:
    for initial, final in TABLE:
        problem = mixed(initial, final)
        answer = solve(problem)
        x, p = answer.x.values, answer.p.values
        k = 0.7
        slope0 = [k * math.sinh(x[0, 0] - 1) + x[0, 1], x[0, 0] + 2 * x[0, 1]]
        e, T = k * math.exp(x[-1, 0] - 0.3 * x[-1, 1]), 1.3
        slopeT = [e, -0.3 * e + 2 * (T - 1) ** 2 * x[-1, 1]]
        for i in range(2):
            assert (x[0, i] if initial[i] is not None else -p[0, i]) == pytest.approx(
                initial[i] if initial[i] is not None else slope0[i], abs=1e-11
            )
            assert (x[-1, i] if final[i] is not None else p[-1, i]) == pytest.approx(
                final[i] if final[i] is not None else slopeT[i], abs=1e-11
            )


# --- order ---


def errors(degree: int, elements: int) -> tuple[float, float]:
    """Largest errors of (x, p) of a nonlinear problem in closed form, at elements' ends and anywhere."""
    it = named_problem("scalar_mayer")
    assert it.exact is not None
    system = EulerLagrange(it.problem)
    mesh, cases = Mesh.uniform(elements, degree), nominal_cases(system)
    collocation = Collocation(system, mesh)
    x, _, p = it.exact(2 * mesh.nodes)
    solved = solve_cases(collocation, cases, Extremals(torch.cat([x, p], -1)[None], cases.T))
    assert bool(solved.converged)
    s = np.linspace(0, 1, 40 * elements + 1)
    x, _, p = it.exact(2 * torch.from_numpy(s))
    wrong = (mesh.interpolate(solved.at.Z, s)[0] - torch.cat([x, p], -1)).abs() / torch.tensor([1.0, 0.13])
    return float(wrong[::40].max()), float(wrong.max())


@pytest.mark.parametrize(
    ("degree", "meshes"), [(1, (40, 80, 160)), (2, (20, 40, 80)), (3, (16, 32, 64)), (4, (8, 16, 32))]
)
def test_the_order_is_twice_the_degree_at_elements_ends(degree: int, meshes: tuple[int, ...]) -> None:
    at_ends, anywhere = zip(*(errors(degree, K) for K in meshes), strict=True)
    slope, inside = (-np.polyfit(np.log(meshes), np.log(e), 1)[0] for e in (at_ends, anywhere))
    assert slope == pytest.approx(2 * degree, abs=0.35)
    assert inside == pytest.approx(min(2 * degree, degree + 1), abs=0.35)


def test_the_cost_errs_by_the_square() -> None:
    """The collocation's cost is stationary at an extremal."""
    it = named_problem("van_der_pol")
    system = EulerLagrange(it.problem)
    collocation, cases = Collocation(system, Mesh.uniform(10, 12)), nominal_cases(system)
    answer = solve(it.problem, times=5 * np.unique(collocation.mesh.nodes))
    _, back = np.unique(collocation.mesh.nodes, return_inverse=True)
    z = torch.from_numpy(np.concatenate([answer.x.values, answer.p.values], 1)[back.reshape(10, 13)])[None]
    s = collocation.mesh.nodes
    bump = torch.stack([s**2 * (1 + s), s * (2 - s), torch.cos(s), torch.sin(3 * s)], -1)
    bump[..., 2:] *= (1 - s)[..., None]  # keeps the end conditions
    gaps = [float(collocation.cost(cases, Extremals(z + ε * bump, cases.T))) - it.J for ε in (0.0, 1e-2, 1e-3)]
    assert abs(gaps[0]) < 1e-12
    assert gaps[1] / gaps[2] == pytest.approx(100, rel=0.1)


# --- the realised motion ---


def test_the_realised_motion_is_that_of_an_ode_solver() -> None:
    from scipy.integrate import solve_ivp

    problem = replace(mixed([1.0, -0.5], [None, None]))
    system = EulerLagrange(problem)
    mesh, cases = Mesh.uniform(5, 8), nominal_cases(system)
    t = 1.3 * mesh.nodes
    real = realise(system, mesh, cases, torch.cos(4 * t)[None, ..., None], torch.zeros(1, 5, 9, 2).double())

    def motion(t: float, y: NDArray[np.float64]) -> list[float]:
        u = math.cos(4 * t)
        return [y[1] - 0.1 * y[0] ** 3, u - 0.7 * y[0], y[0] ** 2 + (1 + 0.1 * t) * u**2 + 0.5]

    y = solve_ivp(motion, (0, 1.3), [1.0, -0.5, 0.0], rtol=1e-12, atol=1e-13, method="DOP853").y[:, -1]
    assert bool(real.converged)
    np.testing.assert_allclose(real.x[0, -1, -1], y[:2], rtol=1e-9)
    end = 0.7 * math.exp(y[0] - 0.3 * y[1]) + 0.09 * (1 + y[1] ** 2)
    start = 0.7 * math.cosh(0.0) - 0.5 + 0.25
    assert float(real.J) == pytest.approx(start + y[2] + end, rel=1e-9)


def test_realised_controls_stay_within_their_bounds() -> None:
    system = EulerLagrange(replace(mixed([1.0, -0.5], [None, None]), control_bounds=[(-0.2, 0.3)]))
    mesh, cases = Mesh.uniform(3, 6), nominal_cases(system).take(torch.zeros(4, dtype=torch.long))
    u = torch.tensor([-7.0, -0.2, 0.3, 7.0], dtype=torch.float64)[:, None, None, None].expand(4, 3, 7, 1)
    J = realise(system, mesh, cases, u, torch.zeros(4, 3, 7, 2, dtype=torch.float64)).J
    # rows of a batch needn't round alike
    torch.testing.assert_close(J[0], J[1], rtol=1e-13, atol=0)
    torch.testing.assert_close(J[3], J[2], rtol=1e-13, atol=0)
    assert J[1] != J[2]


def test_a_motion_that_blows_up_is_not_converged() -> None:
    problem = Problem(
        dynamics=lambda t, x, u, θ: x**2 + u,
        running_cost=lambda t, x, u, θ: u[..., 0] ** 2,
        horizon=(0.0, 3.0),
        initial_state=(1.0,),
        control_size=1,
    )
    system = EulerLagrange(problem)
    mesh, cases = Mesh.uniform(6, 6), nominal_cases(system)
    nothing = torch.zeros(1, 6, 7, 1).double()
    assert not bool(realise(system, mesh, cases, nothing, torch.ones_like(nothing)).converged)


def test_polishing_squares_the_error() -> None:
    it = named_problem("stirred_tank")
    system = EulerLagrange(it.problem)
    collocation, cases = Collocation(system, Mesh.uniform(6, 12)), nominal_cases(system)
    exact = solve_cases(collocation, cases, Extremals(torch.zeros(1, 6, 13, 4).double() + 0.01, cases.T)).at
    s = collocation.mesh.nodes
    bump = torch.stack([0.05 * torch.sin(2 * s), 0.05 * s, 0.5 * torch.cos(3 * s), 0.1 * torch.cos(s)], -1)
    sizes = []
    for ε in (1e-1, 1e-2):
        at = Extremals(exact.Z + ε * bump, exact.T)
        sizes.append([float((polish(collocation, cases, at, steps=k).Z - exact.Z).abs().max()) for k in (1, 2)])
    assert math.log10(sizes[0][0] / sizes[1][0]) == pytest.approx(2, abs=0.2)
    assert sizes[1][1] < 20 * sizes[1][0] ** 2
