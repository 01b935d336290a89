"""The minimiser of the Hamiltonian against brute force, and the Euler-Lagrange field against formulas and differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from surrogates.errors import ProblemError
from surrogates.physics.optimal_control import EulerLagrange, Problem, named_problem, problem_names
from surrogates.physics.optimal_control.hamiltonian import Field

Array = NDArray[np.float64]
Bounds = list[tuple[float | None, float | None]] | None


def tangled(bounds: Bounds = None) -> Problem:
    """Two states, two controls, time in the law; H is neither quadratic in u nor separable."""
    return Problem(
        dynamics=lambda t, x, u, θ: torch.stack(
            [
                torch.sin(t) * x[..., 1] + θ["a"] * u[..., 0] * x[..., 0],
                u[..., 1] - x[..., 0] + θ["b"] * x[..., 1] ** 2 + 0.1 * u[..., 0] * u[..., 1],
            ],
            -1,
        ),
        running_cost=lambda t, x, u, θ: (
            torch.cosh(u[..., 0])
            + (1 + x[..., 0] ** 2) * u[..., 1] ** 2
            + 0.25 * u[..., 0] * u[..., 1]
            + 0.1 * u[..., 1] ** 4
            + t * θ["a"] * x[..., 0] ** 2
        ),
        horizon=(0.2, 1.5),
        initial_state=(0.7, -0.4),
        control_size=2,
        control_bounds=bounds,
        parameters={"a": 0.8, "b": 0.3},
    )


def tangled_hamiltonian(t: float, x: Array, u: Array, p: Array, q: Array) -> float:
    """The same by hand."""
    (x1, x2), (u1, u2), (a, b) = x, u, q
    f1 = np.sin(t) * x2 + a * u1 * x1
    f2 = u2 - x1 + b * x2**2 + 0.1 * u1 * u2
    L = np.cosh(u1) + (1 + x1**2) * u2**2 + 0.25 * u1 * u2 + 0.1 * u2**4 + t * a * x1**2
    return float(L + p[0] * f1 + p[1] * f2)


def tangled_field(t: float, x: Array, u: Array, p: Array, q: Array) -> Array:
    """(f, -H_x) by hand."""
    (x1, x2), (u1, u2), (a, b) = x, u, q
    H_x1 = 2 * x1 * u2**2 + 2 * t * a * x1 + p[0] * a * u1 - p[1]
    H_x2 = p[0] * np.sin(t) + 2 * p[1] * b * x2
    f1 = np.sin(t) * x2 + a * u1 * x1
    f2 = u2 - x1 + b * x2**2 + 0.1 * u1 * u2
    return np.array([f1, f2, -H_x1, -H_x2])


#: the second: each control is at a bound at some of the points, both, or none
BOXES: list[Bounds] = [None, [(-0.25, 0.3), (None, 0.2)]]


def points(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """t, z, q"""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(size, 4))
    q = np.array([0.8, 0.3]) * rng.uniform(0.7, 1.4, (size, 2))
    return torch.from_numpy(rng.uniform(0.2, 1.5, size)), torch.from_numpy(z), torch.from_numpy(q)


def by_scipy(H: Callable[[Array], float], bounds: Bounds, size: int) -> Array:
    done = minimize(H, np.zeros(size), bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-10})
    return np.asarray(done.x)


@pytest.mark.parametrize("bounds", BOXES, ids=["free", "boxed"])
def test_controls_that_no_formula_gives_are_scipys(bounds: Bounds) -> None:
    system = EulerLagrange(tangled(bounds))
    assert not system.is_quadratic
    t, z, q = points(30)
    u = system.control(t, z[:, :2], z[:, 2:], q)
    wanted = []
    for i in range(30):
        x, p, k = z[i, :2].numpy(), z[i, 2:].numpy(), q[i].numpy()
        at = partial(tangled_hamiltonian, float(t[i]), x, p=p, q=k)
        wanted.append(by_scipy(at, bounds, 2))
    np.testing.assert_allclose(u, wanted, atol=3e-6)  # SciPy's differences of H
    if bounds is not None:
        low, high = system.problem.bounds
        acts = (u == low) | (u == high)
        assert {tuple(row) for row in acts.tolist()} == set(itertools.product([False, True], repeat=2))


@pytest.mark.parametrize("bounds", BOXES, ids=["free", "boxed"])
def test_the_field_is_that_of_the_formulas(bounds: Bounds) -> None:
    system = EulerLagrange(tangled(bounds))
    t, z, q = points(30)
    field = system.field(t, z, q)
    for i in range(30):
        at = (float(t[i]), z[i, :2].numpy(), field.u[i].numpy(), z[i, 2:].numpy(), q[i].numpy())
        np.testing.assert_allclose(field.F[i], tangled_field(*at), rtol=1e-12, atol=1e-13)
        assert float(field.H[i]) == pytest.approx(tangled_hamiltonian(*at), rel=1e-13)
        no_costate = (at[0], at[1], at[2], np.zeros(2), at[4])
        assert float(field.L[i]) == pytest.approx(tangled_hamiltonian(*no_costate), rel=1e-13)


def differences(at: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """Derivatives of `at` (N, ...) in every column of w (N, c), to the fourth order: (N, ..., c)."""
    columns = []
    for i in range(w.shape[-1]):
        e = torch.zeros(w.shape[-1], dtype=w.dtype)
        e[i] = step = 2e-4 * (float(w[:, i].abs().max()) or 1.0)
        columns.append((8 * (at(w + e) - at(w - e)) - (at(w + 2 * e) - at(w - 2 * e))) / (12 * step))
    return torch.stack(columns, -1)


def assert_derivatives(system: EulerLagrange, t: Tensor, z: Tensor, q: Tensor, *, rtol: float = 1e-8) -> None:
    """F_z, F_q, F_t and H_t, H_q against differences of F and H themselves, with the controls minimised again."""

    def near(got: Tensor, wanted: Tensor) -> None:
        torch.testing.assert_close(got, wanted, rtol=rtol, atol=rtol * float(1 + wanted.abs().max()))

    def along(part: Callable[[Field], Tensor], *, of: str) -> Tensor:
        if of == "z":
            return differences(lambda w: part(system.field(t, w, q)), z)
        if of == "q":
            return differences(lambda w: part(system.field(t, z, w)), q)
        return differences(lambda w: part(system.field(w[:, 0], z, q)), t[:, None])[..., 0]

    field = system.field(t, z, q)
    n = z.shape[-1] // 2
    near(field.F_z, along(lambda f: f.F, of="z"))
    near(field.F_t, along(lambda f: f.F, of="t"))
    near(field.H_t, along(lambda f: f.H, of="t"))
    near(torch.cat([-field.F[:, n:], field.F[:, :n]], -1), along(lambda f: f.H, of="z"))
    if q.shape[-1]:
        near(field.F_q, along(lambda f: f.F, of="q"))
        near(field.H_q, along(lambda f: f.H, of="q"))


@pytest.mark.parametrize("bounds", BOXES, ids=["free", "boxed"])
def test_derivatives_of_the_field(bounds: Bounds) -> None:
    system = EulerLagrange(tangled(bounds))
    t, z, q = points(40, seed=1)
    low, high = system.problem.bounds
    # not where a control leaves its bound: there F has a kink
    u = torch.stack([system.control(t, (z + s)[:, :2], (z + s)[:, 2:], q) for s in (-3e-3, 0.0, 3e-3)])
    at = (u == low) | (u == high)
    smooth = (at == at[0]).all(-1).all(0)
    assert int(smooth.sum()) > 25
    assert_derivatives(system, t[smooth], z[smooth], q[smooth])


@pytest.mark.parametrize("name", problem_names())
def test_derivatives_of_the_named_problems_fields(name: str) -> None:
    problem = named_problem(name).problem
    system, reference = EulerLagrange(problem), named_problem(name)
    rng = np.random.default_rng(2)
    start = np.array([a if a is not None else 1.0 for a in problem.initial_state])
    x = start + 0.1 * np.maximum(abs(start), abs(np.array(reference.x_T)).max() / 3) * rng.uniform(
        0.5, 1, (6, len(start))
    )
    p = np.array(reference.p0) * (1 + 0.05 * rng.normal(size=x.shape))
    t = torch.linspace(*problem.horizon, 8, dtype=torch.float64)[1:-1]
    z = torch.from_numpy(np.concatenate([x, p], 1))
    assert_derivatives(system, t, z, system.parameters((6,)), rtol=2e-6)


# --- minimisers ---


def quadratic(C: Array, g: Array, bounds: Bounds) -> EulerLagrange:
    """H = g'u + u'Cu/2 + p (rest)"""
    m = len(g)
    C_, g_ = torch.from_numpy(C), torch.from_numpy(g)
    return EulerLagrange(
        Problem(
            dynamics=lambda t, x, u, θ: x * u.sum(-1, keepdim=True),
            running_cost=lambda t, x, u, θ: u @ g_ + 0.5 * ((u @ C_) * u).sum(-1),
            horizon=(0.0, 1.0),
            initial_state=(1.0,),
            control_size=m,
            control_bounds=bounds,
        )
    )


def box_minimum(C: Array, g: Array, low: Array, high: Array) -> Array:
    """Minimiser of a convex quadratic in a box: the best point over all choices of what lies at which bound."""
    best, where = math.inf, low
    for choice in itertools.product((-1, 0, 1), repeat=len(g)):
        at = np.array(choice)
        u = np.where(at < 0, low, high).astype(float)
        free = at == 0
        if free.any():
            u[free] = np.linalg.solve(C[np.ix_(free, free)], -g[free] - C[np.ix_(free, ~free)] @ u[~free])
        if (u < low - 1e-12).any() or (u > high + 1e-12).any():
            continue
        value = float(g @ u + 0.5 * u @ C @ u)
        if value < best:
            best, where = value, u
    return where


@pytest.mark.parametrize("m", [2, 3])
def test_coupled_controls_between_bounds(m: int) -> None:
    """Clipping the free minimiser is wrong here; the truth is that of all active sets."""
    rng = np.random.default_rng(m)
    at_bounds = wrong = 0
    for _ in range(25):
        A = rng.normal(size=(m, m))
        C, g = A @ A.T + 0.05 * np.eye(m), 2 * rng.normal(size=m)
        low, high = -rng.uniform(0.1, 1, m), rng.uniform(0.1, 1, m)
        system = quadratic(C, g, list(zip(low.tolist(), high.tolist(), strict=True)))
        u = system.control(
            torch.zeros(1).double(), torch.ones(1, 1).double(), torch.zeros(1, 1).double(), torch.zeros(1, 0)
        )
        wanted = box_minimum(C, g, low, high)
        np.testing.assert_allclose(u[0], wanted, rtol=1e-9, atol=1e-10)
        at_bounds += bool(((wanted == low) | (wanted == high)).any())
        wrong += bool(abs(np.clip(np.linalg.solve(C, -g), low, high) - wanted).max() > 0.05)
    assert at_bounds > 15
    assert wrong > 3


def test_one_control_of_many_signs_of_curvature() -> None:
    """H = p1 u² + p2 u between bounds: where it is concave, its minimum lies at the better bound."""
    system = EulerLagrange(
        Problem(
            dynamics=lambda t, x, u, θ: torch.stack([u[..., 0] ** 2, u[..., 0]], -1),
            terminal_cost=lambda t, x, θ: x[..., 0] + x[..., 1] ** 2,
            horizon=(0.0, 1.0),
            initial_state=(0.0, 1.0),
            control_size=1,
            control_bounds=[(-1.0, 2.0)],
        )
    )
    p = torch.from_numpy(np.random.default_rng(3).normal(size=(200, 2)))
    u = system.control(torch.zeros(200).double(), torch.zeros(200, 2).double(), p, torch.zeros(200, 0))[:, 0]
    grid = torch.linspace(-1, 2, 3001, dtype=torch.float64)
    H = p[:, :1] * grid**2 + p[:, 1:] * grid
    assert float((p[:, 0] * u**2 + p[:, 1] * u - H.amin(1)).max()) < 1e-12
    assert int((p[:, 0] < 0).sum()) > 60


def test_the_best_of_several_minima_between_bounds() -> None:
    """H = (u² - 1)² + p u has two minima, and three stationary points."""
    system = EulerLagrange(
        Problem(
            dynamics=lambda t, x, u, θ: u,
            running_cost=lambda t, x, u, θ: (u[..., 0] ** 2 - 1) ** 2 + x[..., 0] ** 2,
            horizon=(0.0, 1.0),
            initial_state=(1.0,),
            control_size=1,
            control_bounds=[(-2.0, 2.0)],
        )
    )
    p = torch.linspace(-1.5, 1.5, 30, dtype=torch.float64)[:, None]
    u = system.control(torch.zeros(30).double(), torch.ones(30, 1).double(), p, torch.zeros(30, 0))
    for value, slope in zip(u[:, 0].tolist(), p[:, 0].tolist(), strict=True):
        roots = np.roots([4, 0, -4, slope])
        real = roots[abs(roots.imag) < 1e-9].real
        wanted = real[np.argmin((real**2 - 1) ** 2 + slope * real)]
        assert value == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("name", problem_names())
def test_no_other_control_has_a_lower_hamiltonian(name: str) -> None:
    """At costates near the reference's, over a grid of all controls."""
    problem, reference = named_problem(name).problem, named_problem(name)
    system = EulerLagrange(problem)
    rng = np.random.default_rng(4)
    p = torch.from_numpy(np.array(reference.p0) * (1 + 0.02 * rng.normal(size=(5, len(reference.p0)))))
    x = torch.tensor([problem.initial_state] * 5, dtype=torch.float64)
    t, q = torch.zeros(5, dtype=torch.float64), system.parameters((5,))
    u = system.control(t, x, p, q)
    low, high = problem.bounds.clamp(-30, 30)
    axes = [torch.linspace(float(a), float(b), 61, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
    many = [part.expand(len(grid), *part.shape) for part in (t, x, p, q)]
    H = system.hamiltonian(many[0], many[1], grid[:, None].expand(-1, 5, -1), many[2], many[3])
    best = system.hamiltonian(t, x, u, p, q)
    assert bool((best <= H.amin(0) + 1e-12 * H.abs().amax(0)).all())


def test_a_rounded_hamiltonian_doesnt_stop_the_minimiser() -> None:
    """H = 1 + A cos u + B sin u is 0 at its minimum, so that its rounding is large beside it."""
    problem = named_problem("brachistochrone").problem
    system, exact = EulerLagrange(problem), named_problem("brachistochrone").exact
    assert exact is not None
    x, u, p = exact(torch.linspace(0.05, 1.8, 200, dtype=torch.float64))
    got = system.control(torch.zeros(200).double(), x, p, system.parameters((200,)))
    torch.testing.assert_close(got, u, rtol=1e-13, atol=1e-13)


def test_a_guess_near_a_minimum_leads_there() -> None:
    system = EulerLagrange(tangled(BOXES[1]))
    t, z, q = points(20, seed=5)
    u = system.control(t, z[:, :2], z[:, 2:], q)
    again = system.control(t, z[:, :2], z[:, 2:], q, guess=(u + 0.05).clamp(*system.problem.bounds))
    torch.testing.assert_close(again, u, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bounds", BOXES, ids=["free", "boxed"])
def test_a_fixed_number_of_operations_gives_the_same_control(bounds: Bounds) -> None:
    for system, (t, z, q) in [
        (EulerLagrange(tangled(bounds)), points(20, seed=6)),
        (EulerLagrange(named_problem("bounded_van_der_pol").problem), points(20, seed=7)),
    ]:
        u = system.control(t, z[:, :2], z[:, 2:], q)
        explicit = system.explicit_control(t, z[:, :2], z[:, 2:], q, steps=40)
        inside = ((u > system.problem.bounds[0]) & (u < system.problem.bounds[1])).all(-1)
        assert int(inside.sum()) > 1
        torch.testing.assert_close(explicit[inside], u[inside], rtol=1e-11, atol=1e-11)


def test_any_leading_shape() -> None:
    system = EulerLagrange(tangled())
    t, z, q = points(12)
    flat, shaped = system.field(t, z, q), system.field(t.reshape(3, 4), z.reshape(3, 4, 4), q.reshape(3, 4, 2))
    for one, many in zip(flat, shaped, strict=True):
        torch.testing.assert_close(many.reshape(one.shape), one, rtol=0, atol=0)


# --- curvature, and Hamiltonians without any ---


def test_the_least_curvature_is_that_of_free_directions() -> None:
    C = np.array([[2.0, 0.9], [0.9, 1.0]])
    here = (torch.zeros(1).double(), torch.tensor([[1.0, 0.0]]).double(), torch.zeros(1, 0))
    free = quadratic(C, np.zeros(2), None)
    assert free.least_curvature(*here) == pytest.approx(np.linalg.eigvalsh(C)[0], rel=1e-12)
    second_at_bound = quadratic(C, np.array([0.0, -50.0]), [(None, None), (-1.0, 1.0)])
    assert second_at_bound.least_curvature(*here) == pytest.approx(2.0, rel=1e-12)
    both = quadratic(C, np.array([50.0, -50.0]), [(-1.0, 1.0), (-1.0, 1.0)])
    assert math.isnan(both.least_curvature(*here))
    saddle = quadratic(np.diag([1.0, -3.0]), np.zeros(2), None)
    assert saddle.least_curvature(*here) == pytest.approx(-3.0, rel=1e-12)


@pytest.mark.parametrize(
    ("cost", "named"),
    [
        (lambda u: u[..., 0] + u[..., 1] ** 2, "control 'u1'"),
        (lambda u: u[..., 0] ** 2 + 3 * u[..., 1], "control 'u2'"),
        (lambda u: (u[..., 0] + 2 * u[..., 1]) ** 2, "a combination of the controls 'u1', 'u2'"),
        (lambda u: u[..., 0] * 0.0 + u[..., 1].abs(), "control 'u1'"),
    ],
)
def test_controls_without_curvature_are_refused(cost: Callable[[Tensor], Tensor], named: str) -> None:
    problem = Problem(
        dynamics=lambda t, x, u, θ: -x + u[..., :1] - u[..., 1:],
        running_cost=lambda t, x, u, θ: cost(u) + x[..., 0] ** 2,
        horizon=(0.0, 1.0),
        initial_state=(1.0,),
        control_size=2,
    )
    with pytest.raises(ProblemError, match=f"linear in {named}, .*add a small multiple of .* square to running_cost"):
        EulerLagrange(problem)


def test_curvature_of_the_dynamics_alone_will_do() -> None:
    assert EulerLagrange(named_problem("scalar_mayer").problem).is_quadratic
    assert not EulerLagrange(named_problem("brachistochrone").problem).is_quadratic


def test_without_running_cost_the_lagrangian_is_zero() -> None:
    system = EulerLagrange(named_problem("scalar_mayer").problem)
    t, z = torch.zeros(3).double(), torch.tensor([[1.0, -0.5]] * 3).double()
    field = system.field(t, z, system.parameters((3,)))
    assert field.L.tolist() == [0.0] * 3
    assert field.H.tolist() == pytest.approx((z[:, 1] * field.F[:, 0]).tolist(), rel=1e-14)
