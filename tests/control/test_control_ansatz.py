"""Hard end conditions at every parameter value, and the residuals' Jacobian against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surrogates.control.ansatz import Ansatz
from surrogates.control.shallow import Residuals, Shallow, random_shallow
from surrogates.physics.optimal_control import EulerLagrange, Problem
from surrogates.physics.optimal_control.problem import Parameters

#: of initial state, of final state: the four rows of the table, component by component
STARTS = (0.7, -0.4, None, None)
ENDS = (None, 1.3, 0.2, None)
START, END = 0.5, 2.1


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
    a, b, c, d = x.unbind(-1)
    return torch.stack(
        [torch.sin(b) - a + u[..., 0], θ["gain"] * u[..., 1] - a * c, torch.cos(t) * d + u[..., 0], a * b - 0.3 * d], -1
    )


def running(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
    return (x**2).sum(-1) + u[..., 0] ** 2 + 2 * u[..., 1] ** 2 + 0.5 * u[..., 0] * u[..., 1] * torch.sin(x[..., 2])


def terminal(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
    """Couples all components, with curvatures that depend on x."""
    return θ["gain"] * torch.sin(x[..., 0] * x[..., 3]) + x[..., 1] * x[..., 3] ** 2 + x[..., 2] * x[..., 0] ** 2 * t


def initial(t: Tensor, x: Tensor, θ: Parameters) -> Tensor:
    return torch.exp(0.3 * x[..., 2] * x[..., 3]) + x[..., 0] * x[..., 2] ** 2 + t * x[..., 3] ** 2


def mixed(
    starts: tuple[float | None, ...] = STARTS,
    ends: tuple[float | None, ...] = ENDS,
    *,
    terminal_cost: bool = True,
    initial_cost: bool = True,
) -> Problem:
    return Problem(
        dynamics=rate,
        running_cost=running,
        terminal_cost=terminal if terminal_cost else None,
        initial_cost=initial if initial_cost else None,
        horizon=(START, END),
        initial_state=starts,
        final_state=ends,
        control_size=2,
        parameters={"gain": 1.7},
    )


def slope(cost: Callable[[Tensor, Tensor, Parameters], Tensor], t: float, x: Tensor) -> Tensor:
    x = x.detach().clone().requires_grad_()
    θ = {"gain": torch.tensor(1.7, dtype=torch.float64)}
    (gradient,) = torch.autograd.grad(cost(torch.tensor(t, dtype=torch.float64), x, θ), x)
    return gradient


def at_ends(problem: Problem, net: Shallow) -> tuple[Tensor, Tensor]:
    """x and p at both ends, (2, n) each."""
    system = EulerLagrange(problem)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    residuals = Residuals(system, ends, torch.ones(8, dtype=torch.float64))
    x, p = residuals.trajectory(net, ends).chunk(2, -1)
    return x, p


def random_net(width: int = 6, seed: int = 0) -> Shallow:
    net = random_shallow(8, width, 3.0, torch.Generator().manual_seed(seed))
    return net._replace(C=normal(8, width + 2, seed=seed + 1))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    kinds=st.lists(st.sampled_from(["gf", "gg", "fg", "ff"]), min_size=4, max_size=4),
    terminal_cost=st.booleans(),
    initial_cost=st.booleans(),
)
def test_end_conditions_hold_to_rounding_for_random_outputs(
    seed: int, kinds: list[str], terminal_cost: bool, initial_cost: bool
) -> None:
    starts = tuple(0.3 * i - 0.5 if kind[0] == "g" else None for i, kind in enumerate(kinds))
    ends = tuple(0.4 - 0.2 * i if kind[1] == "g" else None for i, kind in enumerate(kinds))
    x, p = at_ends(mixed(starts, ends, terminal_cost=terminal_cost, initial_cost=initial_cost), random_net(seed=seed))
    first = slope(initial, START, x[0]) if initial_cost else torch.zeros(4, dtype=torch.float64)
    last = slope(terminal, END, x[1]) if terminal_cost else torch.zeros(4, dtype=torch.float64)
    for i in range(4):
        start, end = starts[i], ends[i]
        if start is not None:
            assert float(x[0, i]) == start
        else:
            assert float(p[0, i]) == pytest.approx(-float(first[i]), rel=1e-13, abs=1e-13)
        if end is not None:
            assert float(x[1, i]) == pytest.approx(end, rel=0, abs=2e-16)  # start + (end - start)
        else:
            assert float(p[1, i]) == pytest.approx(float(last[i]), rel=1e-13, abs=1e-13)


def test_free_ends_are_free() -> None:
    """What no condition fixes differs between random networks."""
    (x, p), (y, q) = at_ends(mixed(), random_net(seed=0)), at_ends(mixed(), random_net(seed=1))
    for i in range(4):
        for k, given_values in ((0, STARTS), (1, ENDS)):
            free = (p, q) if given_values[i] is not None else (x, y)
            assert abs(float(free[0][k, i] - free[1][k, i])) > 1e-2


def test_derivatives_of_the_trajectory_are_those_of_its_values() -> None:
    residuals = Residuals(EulerLagrange(mixed()), torch.linspace(0.1, 0.9, 7).double(), torch.ones(8).double())
    net, h = random_net(), 1e-3
    _, dz, _ = residuals._trajectory(net)
    z = [residuals.trajectory(net, residuals.s + k * h) for k in (-2, -1, 1, 2)]
    torch.testing.assert_close((z[0] - 8 * z[1] + 8 * z[2] - z[3]) / (12 * h), dz, rtol=1e-7, atol=1e-7)


def test_outputs_are_the_inverse_of_the_trajectory() -> None:
    """With values at both ends, where `outputs` takes the natural conditions, and the trajectory's own elsewhere."""
    problem, net = mixed(), random_net()
    s = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    residuals = Residuals(EulerLagrange(problem), s, torch.ones(8, dtype=torch.float64))
    z = residuals.trajectory(net, s)
    φ, _ = net.features(s)
    inside = Ansatz(problem).outputs(s, z)[1:-1]
    torch.testing.assert_close(inside, (φ @ net.C.T)[1:-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "problem",
    [
        mixed(),
        mixed((0.7, -0.4, 0.1, 0.9), (None,) * 4, initial_cost=False),
        mixed((None,) * 4, (0.7, -0.4, 0.1, 0.9), terminal_cost=False),
        mixed((None,) * 4, (None,) * 4),
    ],
    ids=["all rows", "end free", "start free", "both free"],
)
def test_the_jacobian_equals_finite_differences_in_all_parameters(problem: Problem) -> None:
    """Outer weights, hidden weights and biases; the end costs' curvatures enter every row of the costates."""
    s = torch.tensor([0.0, 0.2, 0.55, 0.9, 1.0], dtype=torch.float64)
    scale = torch.linspace(0.5, 2.0, 8, dtype=torch.float64)
    residuals = Residuals(EulerLagrange(problem), s, scale)
    net = random_net(4)
    θ, h = net.flat(), 2e-3
    J = residuals.jacobian(θ)["euler_lagrange"]
    assert J.shape == (5 * 8, len(θ))
    for k in range(len(θ)):
        step = torch.zeros_like(θ)
        step[k] = h
        f = [residuals(θ + c * step)["euler_lagrange"] for c in (-3, -2, -1, 1, 2, 3)]
        by_differences = (-f[0] + 9 * f[1] - 45 * f[2] + 45 * f[3] - 9 * f[4] + f[5]) / (60 * h)
        torch.testing.assert_close(J[:, k], by_differences, rtol=1e-7, atol=1e-7 * float(J.abs().max()))
    r, outer = residuals.linearise(net, outer_only=True)
    assert torch.equal(outer, J[:, : net.C.numel()])
    assert torch.equal(r, residuals(θ)["euler_lagrange"])


def test_residuals_equal_the_equations_written_by_hand() -> None:
    """z' - T F for the double integrator with an end cost, whose F is linear: x1' = x2, x2' = -p2, p1' = 0, p2' = -p1."""
    problem = Problem(
        dynamics=lambda t, x, u, θ: torch.stack([x[..., 1], u[..., 0]], -1),
        running_cost=lambda t, x, u, θ: 0.5 * u[..., 0] ** 2,
        terminal_cost=lambda t, x, θ: 5 * (x**2).sum(-1),
        horizon=(1.0, 4.0),
        initial_state=(1.0, 0.0),
        control_size=1,
    )
    s = torch.linspace(0.0, 1.0, 6, dtype=torch.float64)
    scale = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    net = random_shallow(4, 5, 2.0, torch.Generator().manual_seed(0))._replace(C=normal(4, 7, seed=3))
    residuals = Residuals(EulerLagrange(problem), s, scale)
    z, dz, _ = residuals._trajectory(net)
    _, x2, p1, p2 = z.unbind(-1)
    F = torch.stack([x2, -p2, torch.zeros_like(p1), -p1], -1)
    torch.testing.assert_close(
        residuals(net.flat())["euler_lagrange"], ((dz - 3.0 * F) / scale).flatten(), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("width", [1, 7])
def test_flat_and_of_are_inverses(width: int) -> None:
    net = random_net(width)
    for part, back in zip(net, Shallow.of(net.flat(), 8), strict=True):
        assert torch.equal(part, back)


def test_random_layers_are_those_promised() -> None:
    """w in [-scale, scale]; every tanh has its centre -b/w within [-1, 1]; features by hand."""
    net = random_shallow(2, 500, 6.0, torch.Generator().manual_seed(0))
    assert 5.9 < float(net.w.abs().max()) <= 6.0
    centres = -net.b / net.w
    assert 0.98 < float(centres.abs().max()) <= 1.0
    assert abs(float(centres.mean())) < 5 / math.sqrt(3 * 500)
    assert not bool(net.C.any())
    φ, dφ = net.features(torch.tensor([0.3], dtype=torch.float64))
    l = 17
    by_hand = math.tanh(-0.4 * float(net.w[l]) + float(net.b[l]))
    assert float(φ[0, l]) == pytest.approx(by_hand, rel=1e-14)
    assert float(dφ[0, l]) == pytest.approx(2 * float(net.w[l]) * (1 - by_hand**2), rel=1e-12)
    assert φ[0, -2:].tolist() == pytest.approx([-0.4, 1.0])
    assert dφ[0, -2:].tolist() == [2.0, 0.0]
