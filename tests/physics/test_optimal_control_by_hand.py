"""solve() on problems with solutions by hand: formulas, SciPy's Riccati equation, solve_bvp on hand-written equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_bvp, solve_ivp

from surrogates.physics.optimal_control import Problem, solve

Array = NDArray[np.float64]


def test_a_free_initial_state_pays_its_price() -> None:
    """min ½a (x0 - 1)² + ½∫(x² + u²), x' = u: the cost to go is ½ tanh(T) x0², so that x0 = a / (a + tanh T)."""
    a, T = 0.7, 1.4
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: u,
            running_cost=lambda t, x, u, θ: 0.5 * (x[..., 0] ** 2 + u[..., 0] ** 2),
            initial_cost=lambda t, x, θ: 0.5 * θ["a"] * (x[..., 0] - 1) ** 2,
            horizon=(0.0, T),
            initial_state=(None,),
            control_size=1,
            parameters={"a": a},
        )
    )
    x0, t = a / (a + math.tanh(T)), got.time.values
    np.testing.assert_allclose(got.x[:, 0], x0 * np.cosh(T - t) / math.cosh(T), rtol=1e-12)
    np.testing.assert_allclose(got.p[:, 0], x0 * np.sinh(T - t) / math.cosh(T), atol=1e-13)
    assert float(got.J) == pytest.approx(0.5 * a * (x0 - 1) ** 2 + 0.5 * math.tanh(T) * x0**2, rel=1e-13)
    assert float(got.p[0, 0]) == pytest.approx(-a * (x0 - 1), rel=1e-12)


def test_only_the_end_is_given() -> None:
    """min ½∫u² + ½ x1(0)², x1' = x2, x2' = u, x(1) = (1, 0): x2(0) is free, too."""
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: torch.stack([x[..., 1], u[..., 0]], -1),
            running_cost=lambda t, x, u, θ: 0.5 * u[..., 0] ** 2,
            initial_cost=lambda t, x, θ: 0.5 * x[..., 0] ** 2,
            horizon=(0.0, 1.0),
            initial_state=(None, None),
            final_state=(1.0, 0.0),
            control_size=1,
        )
    )
    # p1 = -x1(0) throughout, p2 = -p1 t from p2(0) = 0, u = -p2 = p1 t; x2 = p1 (t² - 1)/2, x1(0) = 1 - ∫x2 = 1 + p1/3
    p1 = -3 / 4
    t = got.time.values
    np.testing.assert_allclose(got.u[:, 0], p1 * t, atol=1e-12)
    np.testing.assert_allclose(got.x[:, 1], p1 * (t**2 - 1) / 2, atol=1e-12)
    np.testing.assert_allclose(got.p[0], [p1, 0.0], atol=1e-12)
    assert float(got.J) == pytest.approx(0.5 * (9 / 16) / 3 + 0.5 * 9 / 16, rel=1e-12)


def test_a_free_final_time_by_hand() -> None:
    """min ∫(1 + ½u²), x' = u from 0 to 3: u = √2, T = 3/√2, J = 3√2."""
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: u,
            running_cost=lambda t, x, u, θ: 1 + 0.5 * u[..., 0] ** 2,
            horizon=(0.0, 1.0),
            initial_state=(0.0,),
            final_state=(3.0,),
            control_size=1,
            free_final_time=True,
        ),
        times=[0.0, 0.25, 1.0],
    )
    assert float(got.final_time) == pytest.approx(3 / math.sqrt(2), rel=1e-12)
    assert float(got.J) == pytest.approx(3 * math.sqrt(2), rel=1e-12)
    np.testing.assert_allclose(got.x[:, 0], [0.0, 0.75, 3.0], atol=1e-12)  # times are shares of the horizon found
    np.testing.assert_allclose(got.time, [0.0, 0.25 * 3 / math.sqrt(2), 3 / math.sqrt(2)], rtol=1e-12)
    np.testing.assert_allclose(got.H, 0.0, atol=1e-12)


def test_a_free_final_time_with_a_price_on_lateness() -> None:
    """min ½∫u² + ½T², x' = u over 1 from t0 = 0.5: with d = T - t0, J = 1/(2d) + ½(t0 + d)², so that 1/(2d²) = t0 + d."""
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: u,
            running_cost=lambda t, x, u, θ: 0.5 * u[..., 0] ** 2,
            terminal_cost=lambda t, x, θ: 0.5 * t**2,
            horizon=(0.5, 1.5),
            initial_state=(1.0,),
            final_state=(2.0,),
            control_size=1,
            free_final_time=True,
        )
    )
    d = float(np.roots([1, 0.5, 0, -0.5])[-1].real)
    assert float(got.final_time) == pytest.approx(0.5 + d, rel=1e-12)
    assert float(got.J) == pytest.approx(1 / (2 * d) + 0.5 * (0.5 + d) ** 2, rel=1e-12)


def test_a_free_final_time_in_dynamics_that_depend_on_time() -> None:
    """x' = (1 + t) u costs ½∫(1 + u²): x grows by p ∫(1+t)², u = -p(1 + t), H(T) = ½ - ½p²(1+T)² = 0."""
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: (1 + t)[..., None] * u,
            running_cost=lambda t, x, u, θ: 0.5 * (1 + u[..., 0] ** 2),
            horizon=(0.0, 1.0),
            initial_state=(0.0,),
            final_state=(2.0,),
            control_size=1,
            free_final_time=True,
        )
    )
    T = float(got.final_time)
    # p = -1/(1+T), x(T) = ((1+T)³ - 1) / (3(1+T)) = 2
    assert pytest.approx(2.0, rel=1e-12) == ((1 + T) ** 3 - 1) / (3 * (1 + T))
    np.testing.assert_allclose(got.p[:, 0], -1 / (1 + T), rtol=1e-12)


def test_time_in_the_law() -> None:
    """min ½∫(u - sin t)² + ½ x(T)², x' = u: u = sin t - p, p = x(T) constant."""
    T = 2.0
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: u,
            running_cost=lambda t, x, u, θ: 0.5 * (u[..., 0] - torch.sin(t)) ** 2,
            terminal_cost=lambda t, x, θ: 0.5 * x[..., 0] ** 2,
            horizon=(0.0, T),
            initial_state=(1.0,),
            control_size=1,
        )
    )
    x_T = (1 + 1 - math.cos(T)) / (1 + T)
    t = got.time.values
    np.testing.assert_allclose(got.u[:, 0], np.sin(t) - x_T, atol=1e-12)
    np.testing.assert_allclose(got.H, 0.5 * x_T**2 + x_T * (np.sin(t) - x_T), atol=1e-12)
    assert float(got.J) == pytest.approx(0.5 * T * x_T**2 + 0.5 * x_T**2, rel=1e-12)


def test_two_coupled_bounded_controls_by_solve_bvp() -> None:
    """x1' = x2, x2' = -x1 + u1, x1' += u2 with a full H_uu; equations written by hand."""
    C, low, high = np.array([[1.0, 0.6], [0.6, 0.5]]), np.array([-0.5, -0.4]), np.array([0.6, 0.5])
    C_ = torch.from_numpy(C)
    problem = Problem(
        dynamics=lambda t, x, u, θ: torch.stack([x[..., 1] + u[..., 1], u[..., 0] - x[..., 0]], -1),
        running_cost=lambda t, x, u, θ: (x**2).sum(-1) + 0.5 * ((u @ C_) * u).sum(-1),
        horizon=(0.0, 3.0),
        initial_state=(1.0, 0.5),
        control_size=2,
        control_bounds=list(zip(low.tolist(), high.tolist(), strict=True)),
    )

    def control(p: Array) -> Array:
        """Best of the free minimiser, the four edges and the four corners; p: (2, k), H = u'Cu/2 + (p2, p1)'u."""
        g = p[::-1]
        trials = [np.linalg.solve(C, -g)]
        for i, j in ((0, 1), (1, 0)):
            for value in (low[i], high[i]):
                u = np.empty_like(g)
                u[i], u[j] = value, np.clip(-(g[j] + C[i, j] * value) / C[j, j], low[j], high[j])
                trials.append(u)
        H = [
            np.where(
                (u >= low[:, None]).all(0) & (u <= high[:, None]).all(0),
                0.5 * (u * (C @ u)).sum(0) + (g * u).sum(0),
                np.inf,
            )
            for u in trials
        ]
        return np.asarray(np.take_along_axis(np.array(trials), np.argmin(H, 0)[None, None], 0)[0])

    def rate(t: Array, z: Array) -> Array:
        u = control(z[2:])
        return np.array([z[1] + u[1], u[0] - z[0], -2 * z[0] + z[3], -2 * z[1] - z[2]])

    t = np.linspace(0, 3, 31)
    start = np.zeros((4, 31))
    start[:2] = [[1.0], [0.5]]
    done = solve_bvp(
        rate, lambda a, b: np.array([a[0] - 1, a[1] - 0.5, b[2], b[3]]), t, start, tol=1e-8, max_nodes=50_000
    )
    assert done.success
    got = solve(problem)
    z = done.sol(got.time.values)
    np.testing.assert_allclose(got.x, z[:2].T, atol=2e-7)
    np.testing.assert_allclose(got.p, z[2:].T, atol=1e-6)
    np.testing.assert_allclose(got.u, control(z[2:]).T, atol=3e-6)
    u = got.u.values
    assert ((u == low) | (u == high)).any(0).all()
    assert len(got.switches) > 1


def test_riccati() -> None:
    """A linear-quadratic problem of three states and two controls, with a full weight of the end."""
    rng = np.random.default_rng(5)
    A, B, S = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), np.eye(3) + 0.2
    R = np.array([[1.0, 0.3], [0.3, 0.5]])
    A_, B_, S_, R_ = (torch.from_numpy(M) for M in (A, B, S, R))
    got = solve(
        Problem(
            dynamics=lambda t, x, u, θ: x @ A_.T + u @ B_.T,
            running_cost=lambda t, x, u, θ: 0.5 * ((x**2).sum(-1) + ((u @ R_) * u).sum(-1)),
            terminal_cost=lambda t, x, θ: 0.5 * ((x @ S_) * x).sum(-1),
            horizon=(0.0, 1.5),
            initial_state=(1.0, -1.0, 0.5),
            control_size=2,
        )
    )

    def backward(t: float, P: Array) -> Array:
        P = P.reshape(3, 3)
        rate: Array = A.T @ P + P @ A - P @ B @ np.linalg.solve(R, B.T @ P) + np.eye(3)
        return rate.ravel()

    P = solve_ivp(backward, (0, 1.5), S.ravel(), rtol=1e-11, atol=1e-12, method="DOP853", dense_output=True)
    x = got.x.values
    gains = P.sol(1.5 - got.time.values).T.reshape(-1, 3, 3)
    np.testing.assert_allclose(got.p, (gains @ x[..., None])[..., 0], rtol=1e-9, atol=1e-9)
    assert float(got.J) == pytest.approx(0.5 * x[0] @ gains[0] @ x[0], rel=1e-10)
