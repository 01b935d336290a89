"""Many cases at once against one by one; certificates against the true errors of spoilt extremals."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates.errors import NumericalError, ProblemError
from surrogates.physics.optimal_control import (
    Batch,
    Cases,
    Collocation,
    EulerLagrange,
    Extremals,
    Family,
    Mesh,
    Problem,
    cases_of,
    certify,
    named_problem,
    polish,
    solve,
    solve_points,
)
from surrogates.physics.optimal_control.certificate import control_distance, hamiltonian_drift
from surrogates.physics.optimal_control.solver import extremal, nominal_cases

# --- families ---


def family(name: str) -> Family:
    problem = named_problem(name).problem
    if name == "van_der_pol":
        return problem.over(
            initial_state=[(-1, 1), (-1, 1)],
            initial_time=(0, 3),
            parameters={"control_weight": (0.5, 2), "damping": (0.5, 1.2)},
        )
    if name == "bounded_van_der_pol":
        return problem.over(initial_state=[(-0.5, 0.5), 1.0])
    return problem.over(initial_state=[1.0, 0.0, 1.0], initial_time=(0, 1), parameters={"attraction": (0.9, 1.1)})


def inside(some: Family, size: int, seed: int = 0) -> Tensor:
    low, high = some.ranges
    points: Tensor = low + (high - low) * torch.from_numpy(np.random.default_rng(seed).random((size, len(some.inputs))))
    return points


def member(some: Family, point: Tensor) -> Problem:
    """The problem of one point, by its names."""
    values = dict(zip(some.inputs, point.tolist(), strict=True))
    problem = some.problem
    start = [values.pop(name, nominal) for name, nominal in zip(problem.states, problem.initial_state, strict=True)]
    horizon = (values.pop("initial_time", problem.horizon[0]), problem.horizon[1])
    return problem.with_values(initial_state=start, horizon=horizon, parameters=values)


@cache
def batch(name: str) -> tuple[Tensor, Batch]:
    points = inside(family(name), 12)
    return points, solve_points(family(name), points)


def test_points_may_be_of_any_type_of_number_and_must_be_some() -> None:
    some = named_problem("scalar_lq").problem.over(initial_state=[(-1, 2)], initial_time=(0, 0.5))
    points = torch.tensor([[1.0, 0.25], [2.0, 0.0]], dtype=torch.float64)
    wanted = solve_points(some, points)
    for given in (points.float(), points.numpy(), points.tolist()):
        found = solve_points(some, given)  # type: ignore[arg-type]
        assert found.cases.t0.dtype == torch.float64
        assert torch.equal(found.solved.J, wanted.solved.J)
    with pytest.raises(ProblemError, match="there are no points; give at least one"):
        solve_points(some, points[:0])


def test_the_inputs_of_a_family() -> None:
    some = family("van_der_pol")
    assert some.inputs == ("x1", "x2", "initial_time", "control_weight", "damping")
    assert some.ranges.tolist() == [[-1, -1, 0, 0.5, 0.5], [1, 1, 3, 2, 1.2]]
    cases = cases_of(some, torch.tensor([[0.1, 0.2, 0.3, 0.7, 0.8]], dtype=torch.float64))
    assert cases.initial.tolist() == [[0.1, 0.2]]
    assert (cases.t0.tolist(), cases.T.tolist()) == ([0.3], [5.0])
    assert cases.q.tolist() == [[0.8, 0.7]]  # in the problem's order
    assert bool(cases.final.isnan().all())
    assert family("bounded_van_der_pol").inputs == ("x1",)


@pytest.mark.parametrize("name", ["van_der_pol", "orbit_transfer"])
def test_many_cases_are_those_solved_one_by_one(name: str) -> None:
    points, many = batch(name)
    assert bool(many.solved.converged.all())
    assert float(many.defect.max()) < 1e-8
    s = np.linspace(0, 1, 21)
    Z = many.collocation.mesh.interpolate(many.solved.at.Z, s)
    for i in range(6):
        problem = member(family(name), points[i])
        one = solve(problem, times=np.linspace(*problem.horizon, 21))
        assert float(many.solved.J[i]) == pytest.approx(float(one.J), rel=1e-9)
        wanted = np.concatenate([one.x.values, one.p.values], 1)
        np.testing.assert_allclose(Z[i], wanted, atol=1e-8 * abs(wanted).max())


def test_bounded_cases_keep_their_defect() -> None:
    """Kinks lie elsewhere in every case, so a common mesh can't have them; what that costs is in `defect`."""
    points, many = batch("bounded_van_der_pol")
    assert bool(many.solved.converged.all())
    for i in range(4):
        one = solve(member(family("bounded_van_der_pol"), points[i]))
        assert float(many.solved.J[i]) == pytest.approx(float(one.J), abs=10 * float(many.defect[i]))
    assert float(many.defect.max()) > 1e-8


def test_the_order_of_cases_is_irrelevant() -> None:
    points, many = batch("van_der_pol")
    shuffle = torch.from_numpy(np.random.default_rng(1).permutation(12))
    other = solve_points(family("van_der_pol"), points[shuffle])
    assert other.collocation.mesh == many.collocation.mesh
    torch.testing.assert_close(other.solved.J, many.solved.J[shuffle], rtol=1e-12, atol=0)
    torch.testing.assert_close(other.solved.at.Z, many.solved.at.Z[shuffle], rtol=1e-9, atol=1e-10)


def test_take_and_joined_undo_each_other() -> None:
    _, many = batch("van_der_pol")
    first, rest = many.take(torch.arange(5)), many.take(torch.arange(5, 12))
    again = first.joined(rest)
    for a, b in ((again.solved.J, many.solved.J), (again.defect, many.defect), (again.cases.q, many.cases.q)):
        assert torch.equal(a, b)
    assert torch.equal(again.solved.at.Z, many.solved.at.Z)


def test_a_mesh_can_be_kept() -> None:
    points, many = batch("van_der_pol")
    mesh = Mesh.uniform(6, 10)
    kept = solve_points(family("van_der_pol"), points, mesh=mesh)
    assert kept.collocation.mesh == mesh
    torch.testing.assert_close(kept.solved.J, many.solved.J, rtol=1e-7, atol=0)


def explosive(low: float, high: float) -> Family:
    """min ∫u², x' = x² + u, x(1) free: p = 0 and u = 0, so that x = x0 / (1 - x0 t), which ends before 1 if x0 ≥ 1."""
    return Problem(
        dynamics=lambda t, x, u, θ: x**2 + u,
        running_cost=lambda t, x, u, θ: u[..., 0] ** 2,
        horizon=(0.0, 1.0),
        initial_state=(0.1,),
        control_size=1,
    ).over(initial_state=[(low, high)])


def test_cases_without_an_extremal_are_flagged() -> None:
    points = torch.tensor([[-2.0], [-0.5], [0.3], [0.5], [1.5], [3.0]], dtype=torch.float64)
    many = solve_points(explosive(-4.0, 3.0), points)
    assert many.solved.converged.tolist() == [True] * 4 + [False] * 2
    x0 = points[:4, 0]
    torch.testing.assert_close(many.solved.at.Z[:4, -1, -1, 0], x0 / (1 - x0), rtol=1e-7, atol=0)
    assert float(many.solved.J[:4].abs().max()) < 1e-10


def test_a_family_whose_middle_has_no_extremal() -> None:
    with pytest.raises(NumericalError, match=r"no extremal was found|leave a defect of .* ask for a looser tolerance"):
        solve_points(explosive(1.0, 5.0), torch.tensor([[2.0]], dtype=torch.float64))


def test_points_of_another_width_are_refused() -> None:
    with pytest.raises(
        ProblemError, match=r"points have shape \(3, 2\); \(cases, 5\) is expected, for \('x1', .*'damping'\)"
    ):
        solve_points(family("van_der_pol"), torch.zeros(3, 2).double())


# --- certificates ---

SMOOTH = ["scalar_lq", "double_integrator", "scalar_mayer", "van_der_pol", "rayleigh", "stirred_tank"]


@cache
def exact(name: str) -> tuple[Collocation, Cases, Extremals]:
    found = extremal(EulerLagrange(named_problem(name).problem), tolerance=1e-10)
    return found.collocation, found.cases, found.solved.at


def spoilt(name: str, sizes: list[float], *, seed: int) -> tuple[Collocation, Cases, Extremals]:
    """Smooth perturbations of (x, p), by so much of the components' largest values; x(t0) stays."""
    collocation, case, at = exact(name)
    rng, s = np.random.default_rng(seed), collocation.mesh.nodes[..., None]
    n = at.Z.shape[-1] // 2
    bump = torch.zeros_like(at.Z[0])
    for _ in range(3):
        a, b = (torch.from_numpy(rng.normal(size=2 * n)) for _ in range(2))
        bump += a * torch.sin(3 * b * s + 2 * a)
    bump[..., :n] *= s
    bump /= bump.abs().amax((0, 1))
    Z = at.Z + torch.tensor(sizes, dtype=torch.float64)[:, None, None, None] * bump * at.Z.abs().amax((0, 1, 2))
    many = case.take(torch.zeros(len(sizes), dtype=torch.long))
    return collocation, many, Extremals(Z, at.T.expand(len(sizes)).clone())


def true_errors(name: str, many: Cases, at: Extremals) -> Tensor:
    """Relative L2 error of u = argmin H, by the trapezoidal rule on a fine grid."""
    collocation, _, truth = exact(name)
    s = np.linspace(0, 1, 2001)
    t = many.t0[:, None] + (many.T - many.t0)[:, None] * torch.from_numpy(s)
    q = many.q[:, None].expand(*t.shape, -1)
    u = []
    for Z in (at.Z, truth.Z.expand(at.Z.shape)):
        x, p = collocation.mesh.interpolate(Z, s).chunk(2, -1)
        u.append(collocation.system.control(t, x, p, q).square().sum(-1))
        u.append(collocation.system.control(t, x, p, q))
    gap = (u[1] - u[3]).square().sum(-1)
    return (torch.trapezoid(gap, dim=1) / torch.trapezoid(u[2], dim=1)).sqrt()


@pytest.mark.parametrize("name", SMOOTH)
def test_the_error_of_a_good_answer_is_estimated_to_ten_per_cent(name: str) -> None:
    for seed in range(3):
        collocation, many, at = spoilt(name, [1e-6, 1e-5, 1e-4, 1e-3], seed=seed)
        ratio = certify(collocation, many, at).error / true_errors(name, many, at)
        assert bool(((ratio > 0.9) & (ratio < 1.1)).all()), ratio


@pytest.mark.parametrize("name", SMOOTH)
def test_a_bad_answer_is_never_praised(name: str) -> None:
    """Perturbations of any size up to that of the extremal: no error is ten times that estimated."""
    for seed in range(5):
        collocation, many, at = spoilt(name, [1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0], seed=seed)
        error, true = certify(collocation, many, at).error, true_errors(name, many, at)
        assert bool((error > 0.1 * true).all()), (error, true)
        assert not bool(error.isnan().any())


@pytest.mark.parametrize("name", SMOOTH)
def test_the_cost_gap_is_of_the_second_order(name: str) -> None:
    collocation, many, at = spoilt(name, [0.0, 1e-4, 1e-3, 1e-2], seed=7)
    gap = certify(collocation, many, at).cost_gap
    assert float(gap[0].abs()) < 1e-10
    assert bool((gap > -1e-10).all())
    assert float(gap[3] / gap[2]) == pytest.approx(100, rel=0.3)
    assert float(gap[2]) > 1e-8


def test_the_cost_gap_is_what_the_controls_cost_more() -> None:
    """J(u) of S1 with u off by a constant c: ½∫(x + c·y)² + (u + c)², y' = -y + 1, so that J grows by ½c²∫(1 + y²)."""
    collocation, case, at = exact("scalar_lq")
    c = 1e-2
    spoilt_at = Extremals(at.Z - c * torch.tensor([0.0, 1.0], dtype=torch.float64), at.T)  # u = -p
    gap = float(certify(collocation, case, spoilt_at).cost_gap)
    square = 1 - 2 * (1 - math.exp(-1)) + (1 - math.exp(-2)) / 2  # ∫(1 - e^-t)²
    assert gap == pytest.approx(0.5 * c**2 * (1 + square) / named_problem("scalar_lq").J, rel=1e-6)


def test_the_zero_solution_of_the_stirred_tank_gets_a_bad_certificate() -> None:
    """Training by soft losses ends near x = u = p = 0, with small losses, 57-98 % wrong."""
    collocation, case, at = exact("stirred_tank")
    s = collocation.mesh.nodes
    for speed in (20.0, 200.0):
        Z = torch.zeros_like(at.Z)
        Z[0, ..., 0] = 0.05 * torch.exp(-speed * s)
        error = float(certify(collocation, case, Extremals(Z, at.T)).error)
        assert error == pytest.approx(1.0, rel=1e-6)  # u = 0


def test_an_exact_answer_gets_the_best_certificate() -> None:
    for name in SMOOTH:
        collocation, case, at = exact(name)
        got = certify(collocation, case, at)
        assert float(got.error) < 1e-11
        assert float(got.hamiltonian_drift) < 1e-8
        assert float(got.residual) < 1e-7
        assert abs(float(got.cost_gap)) < 1e-9
        assert float(got.J) == pytest.approx(named_problem(name).J, rel=1e-12)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_residual_is_of_the_first_order(name: str) -> None:
    collocation, many, at = spoilt(name, [1e-4, 1e-3], seed=3)
    got = certify(collocation, many, at)
    assert float(got.residual[1] / got.residual[0]) == pytest.approx(10, rel=0.1)
    assert float(got.hamiltonian_drift[1] / got.hamiltonian_drift[0]) == pytest.approx(10, rel=0.3)


def test_the_residual_is_that_of_the_equations() -> None:
    """S1 with x off by a·s: x' + x - u = a(1 + s), p' = p - x off by a·s; relative to the largest values."""
    collocation, case, at = exact("scalar_lq")
    a, Z = 1e-3, at.Z.clone()
    Z[0, ..., 0] += a * collocation.mesh.nodes
    got = float(certify(collocation, case, Extremals(Z, at.T)).residual)
    of_x, of_p = 2 * a / 1.0, a / named_problem("scalar_lq").p0[0]
    assert got == pytest.approx(max(of_x, of_p), rel=0.02)  # its last place is a little before T


def test_the_hamiltonian_may_drift_where_time_enters() -> None:
    problem = Problem(
        dynamics=lambda t, x, u, θ: u * torch.cos(t)[..., None],
        running_cost=lambda t, x, u, θ: x[..., 0] ** 2 + u[..., 0] ** 2,
        horizon=(0.0, 1.0),
        initial_state=(1.0,),
        control_size=1,
    )
    found = extremal(EulerLagrange(problem))
    assert bool(certify(found.collocation, found.cases, found.solved.at).hamiltonian_drift.isnan().all())


def test_drift_of_two_levels_by_hand() -> None:
    """S1 with p off by c·s: H = ½x² - ½p² - px changes by -(p + x) c s - ½c²s²."""
    collocation, case, at = exact("scalar_lq")
    c, s = 1e-3, collocation.mesh.nodes
    x, p = at.Z[0, ..., 0], at.Z[0, ..., 1]
    Z = at.Z.clone()
    Z[0, ..., 1] += c * s
    H = -(p + x) * c * s - 0.5 * (c * s) ** 2
    L = 0.5 * (x**2 + (p + c * s) ** 2)
    got = hamiltonian_drift(collocation, case, Extremals(Z, at.T))
    assert float(got) == pytest.approx(float((H.max() - H.min()) / L.abs().max()), rel=1e-9)


def test_polished_answers_are_the_extremals() -> None:
    for name in SMOOTH:
        collocation, many, at = spoilt(name, [1e-3, 1e-2, 1e-1], seed=2)
        got = certify(collocation, many, at)
        before = control_distance(collocation, many, at, Extremals(exact(name)[2].Z.expand(at.Z.shape), at.T))
        after = control_distance(collocation, many, got.polished, Extremals(exact(name)[2].Z.expand(at.Z.shape), at.T))
        assert bool((after[:2] < 1e3 * before[:2] ** 2 + 1e-11).all())
        assert bool((got.J[:2] - named_problem(name).J).abs().max() < 1e-5 * abs(named_problem(name).J))
        twice = polish(collocation, many, at, steps=2)
        best = control_distance(collocation, many, twice, Extremals(exact(name)[2].Z.expand(at.Z.shape), at.T))
        assert bool((best[:1] < 1e4 * after[:1] ** 2 + 1e-11).all())


def test_where_newtons_method_ends_nowhere_good_it_says_so() -> None:
    """x' = x² from 2 has no solution up to 1, only spurious ones of a coarse mesh: no small error, no small residual."""
    system = EulerLagrange(explosive(0.1, 0.5).problem.with_values(initial_state=[2.0]))
    collocation, case = Collocation(system, Mesh.uniform(4, 8)), nominal_cases(system)
    for size in (0.1, 2.0, 50.0):
        got = certify(collocation, case, Extremals(torch.full((1, 4, 9, 2), size, dtype=torch.float64), case.T))
        assert float(got.error) > 0.3
        assert float(got.residual) > 0.1
        assert math.isnan(float(got.J)) == (float(got.error) == math.inf)
