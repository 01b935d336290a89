"""Policies: equal to predict's first control, optimal in a simulated loop, and the same as ONNX."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from torch import Tensor

from surrogates import OptimalControlNet
from surrogates.control import FamilyRoad, FittedFamily, Policy
from surrogates.errors import DataError, MissingExtraError
from surrogates.physics.optimal_control import Family, Problem, named_problem, solve

Floats = NDArray[np.float64]


def problem(name: str) -> Problem:
    return named_problem(name).problem


@cache
def fitted(name: str) -> FittedFamily:
    family: Family
    family, cases = FAMILIES[name]()
    return OptimalControlNet(family=FamilyRoad(max_cases=cases)).fit(family)


def bounded() -> Problem:
    """The double integrator with |u| <= 0.6, and smooth cost."""
    base = problem("double_integrator")
    return Problem(
        dynamics=base.dynamics,
        running_cost=base.running_cost,
        terminal_cost=base.terminal_cost,
        horizon=base.horizon,
        initial_state=(0.3, 0.0),
        control_size=1,
        control_bounds=[(-0.6, 0.6)],
        parameters=base.parameters,
    )


def quartic() -> Problem:
    """H = u⁴ + u² + p(u - x) isn't quadratic in u."""
    return Problem(
        dynamics=lambda t, x, u, θ: u - x**3,
        running_cost=lambda t, x, u, θ: x[..., 0] ** 2 + θ["weight"] * u[..., 0] ** 2 + u[..., 0] ** 4,
        horizon=(0.0, 2.0),
        initial_state=(0.5,),
        control_size=1,
        parameters={"weight": 1.0},
    )


def two_controls() -> Problem:
    """Controls that are coupled in the cost, so that H_uu isn't diagonal, and numbers that float32 can't hold."""
    return Problem(
        dynamics=lambda t, x, u, θ: torch.stack(
            [x[..., 1] / 1.1 + u[..., 0], 0.3 - x[..., 0] - u[..., 1] * (0.7 + x[..., 0] ** 2)], -1
        ),
        running_cost=lambda t, x, u, θ: (x**2).sum(-1) + (u**2).sum(-1) + (0.8 - θ["k"]) * u[..., 0] * u[..., 1],
        horizon=(0.1, 1.0),
        initial_state=(0.3, 0.2),
        control_size=2,
        parameters={"k": 0.1},
    )


FAMILIES: dict[str, Any] = {
    "feedback": lambda: (
        problem("scalar_lq").over(initial_state=[(-2.0, 2.0)], initial_time=(0.0, 0.98)),
        1024,
    ),
    "van der Pol feedback": lambda: (
        problem("van_der_pol").over(initial_state=[(-0.7, 0.6), (-0.3, 1.2)], initial_time=(0.0, 4.0)),
        2048,
    ),
    "parameters": lambda: (problem("scalar_mayer").over(parameters={"rate": (1.5, 3.0)}), 256),
    "bounded": lambda: (bounded().over(initial_state=[(-0.8, 0.8), 0.0]), 256),
    "quartic": lambda: (quartic().over(initial_state=[(-1.0, 1.0)], parameters={"weight": (0.5, 2.0)}), 256),
    "two controls": lambda: (two_controls().over(initial_state=[0.3, (-1.0, 1.0)]), 256),
    "random": lambda: (problem("scalar_lq").over(initial_state=[(-2.0, 2.0)]), 256),
}
QUICK = ("feedback", "parameters", "bounded", "quartic", "two controls")


def inside(family: Family, n: int, seed: int = 3) -> Tensor:
    low, high = family.ranges
    unit = torch.rand(n, len(low), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    points: Tensor = low + unit * (high - low)
    return points


@pytest.mark.parametrize("name", QUICK)
def test_a_policy_is_the_first_control(name: str) -> None:
    family = fitted(name)
    points, policy = inside(family.family, 300), family.policy()
    u = policy(points)
    wanted = family.predict(points, times=[0.0, 1.0]).u.values[:, 0]
    assert u.shape == wanted.shape == (300, family.family.problem.control_size)
    np.testing.assert_allclose(u.detach().numpy(), wanted, rtol=0, atol=1e-12)
    low, high = family.family.problem.bounds
    assert bool((u >= low).all())
    assert bool((u <= high).all())
    if name == "bounded":
        assert bool((u == low).any())
        assert bool((u == high).any())


def test_coupled_controls_at_their_bounds() -> None:
    free = two_controls()
    boxed = replace(free, control_bounds=[(-0.2, 0.2)] * 2, initial_state=(0.3, 0.2))
    family = OptimalControlNet(family=FamilyRoad(max_cases=256)).fit(boxed.over(initial_state=[(-1.0, 1.0)] * 2))
    points = inside(family.family, 50)
    wanted = family.predict(points, times=[0.0, 1.0]).u.values[:, 0]
    np.testing.assert_allclose(family.policy().controls(points).numpy(), wanted, rtol=0, atol=1e-9)


def test_a_policy_against_the_riccati_equation() -> None:
    """S1 at time t in state x: u = -K(t) x with K' = 2K + K² - 1, K(1) = 0, so K = tanh r(1-t) / (r + tanh r(1-t))."""
    points = inside(fitted("feedback").family, 200)
    x, t = points.unbind(-1)
    r = 2**0.5
    K = torch.tanh(r * (1 - t)) / (r + torch.tanh(r * (1 - t)))
    np.testing.assert_allclose(fitted("feedback").policy()(points)[:, 0].detach(), -K * x, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", QUICK)
def test_controls_are_forward_in_blocks(name: str) -> None:
    policy, points = fitted(name).policy(), inside(fitted(name).family, 601)
    assert torch.equal(policy.controls(points).isnan(), torch.zeros(601, policy(points).shape[-1]).bool())
    torch.testing.assert_close(policy.controls(points), policy(points).detach(), rtol=0, atol=1e-13)
    assert not policy.controls(points).requires_grad
    shaped = policy.controls(points[:600].reshape(5, 4, 30, -1))
    torch.testing.assert_close(shaped.reshape(600, -1), policy.controls(points[:600]), rtol=0, atol=1e-13)
    torch.testing.assert_close(policy(points[7]), policy(points)[7], rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", QUICK)
def test_gradients_flow_to_the_inputs(name: str) -> None:
    """∂u/∂inputs by autograd and by differences; none where a bound holds u."""
    policy, points = fitted(name).policy(), inside(fitted(name).family, 12)
    points = points.requires_grad_()
    (slope,) = torch.autograd.grad(policy(points).sum(), points)
    h = 1e-5
    for k in range(points.shape[1]):
        step = h * torch.eye(points.shape[1], dtype=torch.float64)[k]
        with torch.no_grad():
            by_differences = (policy(points + step) - policy(points - step)).sum(-1) / (2 * h)
        torch.testing.assert_close(slope[:, k], by_differences, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(policy(points).detach(), policy(points.detach()), rtol=0, atol=1e-14)


def closed_loop(family: FittedFamily, x0: Floats, until: float) -> tuple[float, Floats]:
    """Cost and motion of S4 or S1 under the policy, by DOP853; up to `until`, then the cost of the best rest."""
    base, policy = family.family.problem, family.policy()
    n = base.state_size

    def rate(t: float, y: Floats) -> Floats:
        place = torch.from_numpy(np.append(y[:n], t))
        u = policy.controls(place[None])[0]
        x = place[:n]
        θ = {name: torch.tensor(value, dtype=torch.float64) for name, value in base.parameters.items()}
        f = base.dynamics(place[n], x, u, θ)
        assert base.running_cost is not None
        return np.append(f.numpy(), float(base.running_cost(place[n], x, u, θ)))

    motion = solve_ivp(
        rate, (base.horizon[0], until), np.append(x0, 0.0), method="DOP853", rtol=1e-9, atol=1e-11, max_step=0.5
    )
    x = motion.y[:n, -1]
    rest = solve(base.with_values(initial_state=x.tolist(), horizon=(until, base.horizon[1])))
    return float(motion.y[n, -1] + rest.J), motion.y[:n]


@pytest.mark.parametrize(
    ("name", "x0", "until"),
    [
        ("feedback", [1.5], 0.98),
        ("feedback", [-0.7], 0.98),
        pytest.param("van der Pol feedback", [0.0, 1.0], 4.0, marks=pytest.mark.slow),
        pytest.param("van der Pol feedback", [0.4, 0.5], 4.0, marks=pytest.mark.slow),
    ],
)
def test_a_simulated_loop_costs_hardly_more_than_the_least(name: str, x0: list[float], until: float) -> None:
    family = fitted(name)
    cost, _ = closed_loop(family, np.array(x0), until)
    least = float(solve(family.family.problem.with_values(initial_state=x0)).J)
    assert -1e-9 <= (cost - least) / least <= 1e-8  # of second order in errors of 1e-5


def test_feedback_corrects_a_disturbance() -> None:
    """Pushed off its way at t = 0.5, the loop goes on optimally from where it is (Bellman)."""
    family = fitted("feedback")
    base = family.family.problem
    start = base.with_values(initial_state=[0.9], horizon=(0.5, 1.0))
    u = family.policy()(torch.tensor([[0.9, 0.5]], dtype=torch.float64))
    assert float(u) == pytest.approx(float(solve(start).u[0, 0]), abs=2e-5)


def test_the_input_is_not_changed_and_units_are_the_familys() -> None:
    points = inside(fitted("feedback").family, 4)
    before = points.clone()
    fitted("feedback").policy().controls(points)
    assert torch.equal(points, before)


def test_a_free_start_has_no_policy() -> None:
    free = Problem(
        dynamics=lambda t, x, u, θ: -θ["rate"][..., None] * x + u,
        running_cost=lambda t, x, u, θ: (x[..., 0] - 1) ** 2 + u[..., 0] ** 2,
        horizon=(0.0, 1.0),
        initial_state=(None,),
        final_state=(0.5,),
        control_size=1,
        parameters={"rate": 1.0},
        state_names=("level",),
    )
    family = OptimalControlNet().fit(free.over(parameters={"rate": (0.5, 1.5)}))
    with pytest.raises(DataError, match="the initial value of 'level' is free"):
        family.policy()
    answer = family.predict([[1.0]], times=[0.0, 1.0])
    assert float(answer.p[0, 0, 0]) == pytest.approx(0.0, abs=1e-14)
    assert float(answer.x[0, -1, 0]) == pytest.approx(0.5, rel=1e-14)


# --- ONNX ---


def run_onnx(path: Path, points: Tensor) -> Floats:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (entry,), (out,) = session.get_inputs(), session.get_outputs()
    assert (entry.name, entry.type, out.name, out.type) == ("inputs", "tensor(double)", "control", "tensor(double)")
    return np.asarray(session.run(None, {"inputs": points.numpy()})[0])


@pytest.mark.parametrize(
    "name", ["two controls", *[pytest.param(name, marks=pytest.mark.slow) for name in QUICK if name != "two controls"]]
)
def test_onnx_gives_the_same_controls(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    policy, path = fitted(name).policy(), tmp_path / "policy.onnx"
    policy.to_onnx(path)
    for size in (1, 2, 7, 300):
        points = inside(fitted(name).family, size, seed=size)
        np.testing.assert_allclose(run_onnx(path, points), policy(points).detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_onnx_of_random_features(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    family = problem("scalar_lq").over(initial_state=[(-2.0, 2.0)])
    policy = OptimalControlNet(family=FamilyRoad(max_cases=256, trunk="random")).fit(family).policy()
    policy.to_onnx(str(tmp_path / "policy.onnx"))
    points = inside(family, 9)
    np.testing.assert_allclose(
        run_onnx(tmp_path / "policy.onnx", points), policy(points).detach().numpy(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"multitask-surrogates\[onnx\]"):
        fitted("parameters").policy().to_onnx(tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_a_policy_is_a_plain_module() -> None:
    policy = fitted("feedback").policy()
    assert isinstance(policy, Policy)
    assert isinstance(policy, torch.nn.Module)
    assert not [p for p in policy.parameters() if p.requires_grad]
    assert {"weights", "offset", "low", "high"} <= set(policy.state_dict())
