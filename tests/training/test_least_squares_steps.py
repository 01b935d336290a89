"""Levenberg-Marquardt against dense solutions, and on problems whose solution is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.training import Balance, Ending, LevenbergMarquardt, Stopping, minimize
from surrogates.training.objective import Problem
from surrogates.training.optimiser import Turn


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "far", "damping"), [(3, 3.0, 0.05), (9, 0.5, 0.01)])
@pytest.mark.parametrize("points", [None, {"a": torch.tensor([0.5, 2.0]).double()}])
def test_the_step_is_the_dense_damped_solution(
    rows: int, far: float, damping: float, points: Mapping[str, Tensor] | None
) -> None:
    A = matrix(rows, 5, 11)

    def losses(θ: Tensor) -> dict[str, Tensor]:
        return {"a": torch.sin(A[:2] @ θ) + 1, "b": A[2:] @ θ - θ[0] ** 2}

    start, w = far * matrix(5, 1, 12)[:, 0], vector(3.0, 0.5)
    problem = Problem(losses, start, by_jacobian="auto")
    move = LevenbergMarquardt(damping=damping, acceleration=0.0).step(
        problem.take_first(), Balance(w, points), LevenbergMarquardt().init(start), Turn(problem.at, 0, 1)
    )
    scales = []
    for name, weight, m in (("a", 3.0, 2), ("b", 0.5, rows - 2)):
        λ = (points or {}).get(name, torch.ones(m).double())
        scales += [math.sqrt(weight * float(x) / m) for x in λ]
    D = torch.diag(vector(*scales))
    F = D @ torch.cat(list(losses(start).values()))
    J = D @ torch.autograd.functional.jacobian(lambda θ: torch.cat(list(losses(θ).values())), start)  # type: ignore[no-untyped-call]
    A_small = J @ J.T if rows < 5 else J.T @ J
    μ = damping * float(A_small.diagonal().max())
    step = -torch.linalg.solve(J.T @ J + μ * torch.eye(5).double(), J.T @ F)
    torch.testing.assert_close(move.θ - start, step, rtol=1e-9, atol=1e-11)
    # and the damping follows Nielsen's rule for the gain ratio from its definition
    F_new = D @ torch.cat(list(losses(start + step).values()))
    ρ = float((F @ F - F_new @ F_new) / (F @ F - (F + J @ step) @ (F + J @ step)))
    assert ρ < 0.95 or points is not None  # or the rule would be cut off at 1/3
    assert float(move.state["damping"]) == pytest.approx(μ * max(1 / 3, 1 - (2 * ρ - 1) ** 3), rel=1e-8)


@pytest.mark.parametrize("rows", [3, 9])
def test_the_acceleration_follows_the_second_derivative(rows: int) -> None:
    # residuals that are quadratic in θ, whose bend along d is d'Qd exactly
    A, c, Q = matrix(rows, 5, 20), matrix(rows, 1, 21)[:, 0], 0.05 * matrix(rows * 5, 5, 22).view(rows, 5, 5)

    def losses(θ: Tensor) -> dict[str, Tensor]:
        return {"r": c + A @ θ + 0.5 * torch.einsum("i,mij,j->m", θ, Q + Q.mT, θ)}

    start = torch.zeros(5).double()
    F, J = c / math.sqrt(rows), A / math.sqrt(rows)
    μ = 0.01 * float((J @ J.T if rows < 5 else J.T @ J).diagonal().max())
    damped = J.T @ J + μ * torch.eye(5).double()
    d = -torch.linalg.solve(damped, J.T @ F)
    bend = torch.einsum("i,mij,j->m", d, Q + Q.mT, d) / math.sqrt(rows)
    a = -0.5 * torch.linalg.solve(damped, J.T @ bend)
    size = 2 * float(a.norm() / d.norm())
    for largest, wanted in ((1.01 * size, d + a), (0.99 * size, d)):
        problem = Problem(losses, start, by_jacobian="auto")
        optimiser = LevenbergMarquardt(damping=0.01, acceleration=largest)
        move = optimiser.step(problem.take_first(), Balance(vector(1.0)), optimiser.init(start), Turn(problem.at, 0, 1))
        torch.testing.assert_close(move.θ, wanted, rtol=1e-8, atol=1e-10)


def test_the_acceleration_follows_a_narrow_valley() -> None:
    def valley(θ: Tensor) -> dict[str, Tensor]:
        return {"r": torch.stack([1e3 * (θ[1] - θ[0] ** 3), θ[0] - 1])}

    start = vector(-2.0, -8.0)
    runs = [
        minimize(
            valley,
            start,
            optimiser=LevenbergMarquardt(acceleration=share),
            stopping=Stopping(max_steps=2000, loss=1e-20),
        )
        for share in (0.0, 0.75)
    ]
    assert all(run.is_success for run in runs)
    assert 2 * runs[1].steps < runs[0].steps


def test_refused_steps_raise_the_damping_twice_as_fast_each_time() -> None:
    def losses(θ: Tensor) -> dict[str, Tensor]:
        return {"r": torch.atan(5 * θ)}

    start = vector(2.0)
    problem = Problem(losses, start, by_jacobian="auto")
    optimiser = LevenbergMarquardt(damping=1e-6, acceleration=0.0)
    move = optimiser.step(problem.take_first(), Balance(vector(1.0)), optimiser.init(start), Turn(problem.at, 0, 1))
    J = 5 / (1 + 100.0)
    F = math.atan(10.0)
    μ, ν, refused = 1e-6 * J**2, 2.0, 0
    while math.atan(5 * (2 - J * F / (J**2 + μ))) ** 2 >= F**2:
        μ, ν, refused = μ * ν, 2 * ν, refused + 1
    assert refused >= 3
    assert float(move.θ) == pytest.approx(2 - J * F / (J**2 + μ), rel=1e-9)
    assert float(move.state["growth"]) == 2.0


@pytest.mark.parametrize("own", [True, False])
def test_convergence_is_quadratic_where_all_residuals_vanish(own: bool) -> None:
    target = vector(0.5, -0.3)

    class Objective:
        def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
            return {"a": torch.exp(θ) - torch.exp(target), "b": (θ[:1] - target[:1]) * (1 + θ[1:])}

        def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
            b = torch.stack([1 + θ[1], θ[0] - target[0]])
            return {"a": torch.diag(torch.exp(θ)), "b": b[None]}

    errors: list[float] = []
    objective = Objective()
    run = objective if own else objective.__call__
    for steps in range(1, 12):
        found = minimize(run, vector(1.5, 1.0), optimiser=LevenbergMarquardt(damping=1e-6), stopping=Stopping(steps))
        errors.append(float((found.θ - target).norm()))
    near = [e for e in errors if 1e-13 < e < 0.3]
    orders = [math.log(b) / math.log(a) for a, b in itertools.pairwise(near) if a < 0.05]
    assert min(errors) < 1e-13
    assert orders
    assert min(orders) > 1.7


@pytest.mark.parametrize("rows", [4, 8])
def test_linear_least_squares_in_the_limit_of_no_damping(rows: int) -> None:
    A, b = matrix(rows, 6, 13), matrix(rows, 1, 14)[:, 0]
    found = minimize(
        lambda θ: {"r": A @ θ - b}, torch.zeros(6).double(), optimiser=LevenbergMarquardt(), stopping=Stopping(30)
    )
    assert found.total == pytest.approx(
        float((A @ torch.linalg.lstsq(A, b).solution - b).square().mean()), rel=1e-12, abs=1e-20
    )
    torch.testing.assert_close(found.θ, torch.linalg.pinv(A) @ b, rtol=1e-7, atol=1e-8)  # from 0, the shortest


def test_levenberg_marquardt_ends_at_a_minimum_with_residuals_left() -> None:
    found = minimize(
        lambda θ: {"r": torch.stack([θ[0] - 1, θ[0] + 1])},
        vector(5.0),
        optimiser=LevenbergMarquardt(),
        stopping=Stopping(max_steps=200, gradient=1e-10),
    )
    assert found.ending is Ending.STATIONARY
    assert found.total == pytest.approx(1.0)
    exact = minimize(lambda θ: {"r": θ * 0 + 1 + 0 * θ.sum()}, vector(5.0), optimiser=LevenbergMarquardt())
    assert exact.ending is Ending.STATIONARY


def test_residuals_of_exactly_zero_are_a_success() -> None:
    for rows in (1, 3):
        A = matrix(rows, 2, 15)
        found = minimize(lambda θ, A=A: {"r": A @ θ}, torch.zeros(2).double(), optimiser=LevenbergMarquardt())  # type: ignore[misc]
        assert (found.ending, found.steps) == (Ending.STATIONARY, 0)


def test_what_torch_func_can_not_differentiate_is_told() -> None:
    with pytest.raises(DataError, match=r"torch.func can't differentiate the objective .*method jacobian"):
        minimize(lambda θ: {"r": θ * θ.detach().numpy()[0]}, vector(1.0), optimiser=LevenbergMarquardt())


def test_levenberg_marquardt_needs_residuals_and_weights_that_are_not_negative() -> None:
    with pytest.raises(DataError, match="loss 'f' is a number, but Levenberg-Marquardt needs residuals"):
        minimize(lambda θ: {"f": θ.sum()}, vector(1.0), optimiser=LevenbergMarquardt())

    class Negative:
        def init(self, seen: object) -> dict[str, Tensor]:
            return {}

        def step(self, state: dict[str, Tensor], seen: object) -> tuple[Tensor, dict[str, Tensor]]:
            return vector(-1.0), state

    with pytest.raises(DataError, match="weight of loss 'f' is negative"):
        minimize(lambda θ: {"f": θ}, vector(1.0), optimiser=LevenbergMarquardt(), weighting=Negative())
