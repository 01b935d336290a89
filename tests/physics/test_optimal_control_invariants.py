"""What mustn't matter: units, names' order, the clock, constants of the cost; and what a part of a solution solves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from surrogates.physics.optimal_control import (
    EulerLagrange,
    Problem,
    Scales,
    named_problem,
    natural_scales,
    problem_names,
    scaled,
    solve,
    unscaled,
)
from surrogates.physics.optimal_control.problem import Law, Parameters

few = settings(max_examples=3, deadline=None, derandomize=True)
some = settings(few, max_examples=15)
factors = st.floats(-4, 4).map(lambda e: 10.0**e)
TIMES = np.linspace(0, 1, 21)


def swing(*, bounded: bool = False) -> Problem:
    """A pendulum on a weak motor and a second, coupled push; one end component is given."""

    def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
        return torch.stack([x[..., 1] + 0.3 * u[..., 1], torch.sin(x[..., 0]) - 0.1 * x[..., 1] + u[..., 0]], -1)

    return Problem(
        dynamics=rate,
        running_cost=lambda t, x, u, θ: (x**2).sum(-1) + u[..., 0] ** 2 + u[..., 1] ** 2 + 0.5 * u[..., 0] * u[..., 1],
        terminal_cost=lambda t, x, θ: 2 * (x**2).sum(-1) + 0.1 * x[..., 0] ** 4,
        horizon=(0.0, 1.7),
        initial_state=(1.0, -0.5),
        final_state=(0.3, None),
        control_size=2,
        control_bounds=[(-1.1, 0.1), (-0.3, 0.3)] if bounded else None,
    )


@cache
def base(bounded: bool = False) -> xr.Dataset:
    return solve(swing(bounded=bounded), times=1.7 * TIMES)


def near(got: xr.Dataset, **wanted: object) -> None:
    """To 1e-9 of the largest value of every component."""
    for name, value in wanted.items():
        array = np.asarray(value)
        size = abs(array).max(0) if array.ndim > 1 else abs(array).max()
        np.testing.assert_allclose(got[name].values / size, array / size, rtol=0, atol=1e-9, err_msg=name)


def values(name: str, bounded: bool = False) -> NDArray[np.float64]:
    return np.asarray(base(bounded)[name].values)


# --- units ---


@pytest.mark.parametrize("bounded", [False, True])
@few
@given(state=st.tuples(factors, factors), control=st.tuples(factors, factors), cost=factors)
def test_scaling_commutes_with_solving(
    bounded: bool, state: tuple[float, float], control: tuple[float, float], cost: float
) -> None:
    """ξ = x / D_x, v = u / D_u, π = D_x p / J_s; time from 0 to 1."""
    scales = Scales(state, control, cost)
    got = solve(scaled(swing(bounded=bounded), scales), times=TIMES)
    D, U = np.array(state), np.array(control)
    near(
        got,
        x=values("x", bounded) / D,
        u=values("u", bounded) / U,
        p=values("p", bounded) * D / cost,
        J=values("J", bounded) / cost,
        H=1.7 * values("H", bounded) / cost,
    )
    np.testing.assert_allclose(1.7 * got.switches, values("switches", bounded), atol=1e-8)
    z = torch.from_numpy(np.concatenate([got.x.values, got.p.values], 1))
    wanted = np.concatenate([values("x", bounded), values("p", bounded)], 1)
    np.testing.assert_allclose(unscaled(z, scales), wanted, atol=1e-8)


@pytest.mark.parametrize(
    "name", [n for n in problem_names() if n not in ("brachistochrone", "orbit_raising", "quadrotor")]
)
def test_named_problems_in_natural_units(name: str) -> None:
    it = named_problem(name)
    scales = natural_scales(it.problem)
    got = solve(scaled(it.problem, scales))
    if name == "cart_pole":  # another unit may lead to the other swing
        assert min(abs(float(got.J) * scales.cost / J - 1) for J in (it.J, *it.other_minima)) < 1e-9
        return
    assert float(got.J) * scales.cost == pytest.approx(it.J, rel=1e-11)
    p = got.p.values[0] * scales.cost / np.array(scales.state)
    np.testing.assert_allclose(p, it.p0, rtol=1e-8, atol=1e-9 * max(map(abs, it.p0)))
    np.testing.assert_allclose(got.x.values[-1] * scales.state, it.x_T, rtol=1e-8, atol=1e-9 * max(map(abs, it.x_T)))


def test_natural_scales_are_those_described() -> None:
    """D_x from the ends, D_u from bounds or from reach, J_s from resting."""
    given_ends = natural_scales(swing(bounded=True))
    assert given_ends.state == (1.0, 0.5)
    assert given_ends.control == pytest.approx((0.6, 0.3))
    free = natural_scales(swing())
    # 1/(T |f_u| / D_x): the second control moves x1 by 0.3, the first x2 by 1
    assert free.control == pytest.approx((0.5 / 1.7, 1 / (0.3 * 1.7)))
    tank = natural_scales(named_problem("stirred_tank").problem)
    assert 0.01 < tank.state[0] < 0.3
    assert 0.1 < tank.control[0] < 10
    assert 1e-4 < tank.cost < 1


@few
@given(c=st.floats(-5, 5).map(lambda e: 10.0**e))
def test_a_multiple_of_the_cost_scales_costates_and_nothing_else(c: float) -> None:
    problem = swing(bounded=True)
    L, Φ = problem.running_cost, problem.terminal_cost
    assert L is not None
    assert Φ is not None
    dear = replace(problem, running_cost=lambda *at: c * L(*at), terminal_cost=lambda *at: c * Φ(*at))
    got = solve(dear, times=1.7 * TIMES)
    near(got, x=values("x", True), u=values("u", True), p=c * values("p", True), J=c * values("J", True))
    np.testing.assert_allclose(got.H, c * values("H", True), rtol=1e-7)


@some
@given(c=st.floats(-100, 100), d=st.floats(-100, 100))
def test_constants_of_the_cost_change_its_value_alone(c: float, d: float) -> None:
    problem = swing()
    L, Φ = problem.running_cost, problem.terminal_cost
    assert L is not None
    assert Φ is not None
    other = replace(problem, running_cost=lambda *at: L(*at) + c, terminal_cost=lambda *at: Φ(*at) + d)
    got = solve(other, times=1.7 * TIMES)
    near(got, x=values("x"), u=values("u"), p=values("p"))
    assert float(got.J) == pytest.approx(float(values("J")) + 1.7 * c + d, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(got.H, values("H") + c, atol=1e-8)


# --- order, clock, direction of time ---


def permuted(problem: Problem, order: Sequence[int], controls: Sequence[int]) -> Problem:
    back, back_u = np.argsort(order), np.argsort(controls)
    assert problem.running_cost is not None
    assert problem.terminal_cost is not None
    f, L, Φ = problem.dynamics, problem.running_cost, problem.terminal_cost
    start, end = problem.given_at_ends
    return replace(
        problem,
        dynamics=lambda t, x, u, θ: f(t, x[..., back], u[..., back_u], θ)[..., list(order)],
        running_cost=lambda t, x, u, θ: L(t, x[..., back], u[..., back_u], θ),
        terminal_cost=lambda t, x, θ: Φ(t, x[..., back], θ),
        initial_state=[start[i] for i in order],
        final_state=[end[i] for i in order],
        control_bounds=[(problem.control_bounds or [])[i] for i in controls],
    )


@pytest.mark.parametrize("bounded", [False, True])
def test_the_order_of_components_is_irrelevant(bounded: bool) -> None:
    for order, controls in (([1, 0], [0, 1]), ([0, 1], [1, 0]), ([1, 0], [1, 0])):
        got = solve(permuted(swing(bounded=bounded), order, controls), times=1.7 * TIMES)
        near(
            got,
            x=values("x", bounded)[:, order],
            p=values("p", bounded)[:, order],
            u=values("u", bounded)[:, controls],
            J=values("J", bounded),
        )


@some
@given(start=st.floats(-1e3, 1e3))
def test_the_clock_of_an_autonomous_problem_is_irrelevant(start: float) -> None:
    got = solve(swing().with_values(horizon=(start, start + 1.7)))
    fine = solve(swing())
    near(got, x=fine.x, u=fine.u, p=fine.p, J=fine.J)
    np.testing.assert_allclose(got.time, start + fine.time, atol=1e-12 * abs(start) + 1e-14)


def test_time_as_a_state_is_the_same_as_time() -> None:
    """x3' = 1, x3(0) = 0: its costate is -(H - H(T)), and H becomes constant."""

    def law(clock: Callable[[Tensor, Tensor], Tensor], n: int) -> tuple[Law, Law]:
        def rate(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
            s = clock(t, x)
            parts = [x[..., 1], torch.cos(3 * s) * x[..., 0] + (1 + s) * u[..., 0], torch.ones_like(t)]
            return torch.stack(parts[:n], -1)

        def cost(t: Tensor, x: Tensor, u: Tensor, θ: Parameters) -> Tensor:
            return torch.exp(-clock(t, x)) * x[..., 0] ** 2 + u[..., 0] ** 2

        return rate, cost

    of_time, of_state = law(lambda t, x: t, 2), law(lambda t, x: x[..., 2], 3)
    common = {"horizon": (0.0, 2.0), "control_size": 1}
    a = solve(Problem(dynamics=of_time[0], running_cost=of_time[1], initial_state=(1.0, 0.5), **common))  # type: ignore[arg-type]
    b = solve(Problem(dynamics=of_state[0], running_cost=of_state[1], initial_state=(1.0, 0.5, 0.0), **common))  # type: ignore[arg-type]
    near(b, u=a.u, J=a.J)
    np.testing.assert_allclose(b.x[:, :2], a.x, atol=1e-9)
    np.testing.assert_allclose(b.p[:, :2], a.p, atol=1e-9)
    np.testing.assert_allclose(b.H, float(a.H[-1]), atol=1e-9)
    np.testing.assert_allclose(b.p[:, 2], a.H[-1] - a.H, atol=1e-9)


def test_backwards_in_time_start_and_end_change_places() -> None:
    """y(t) = x(T - t): the terminal cost becomes the initial one, and costates change their sign."""
    problem = swing()
    f, L, Φ = problem.dynamics, problem.running_cost, problem.terminal_cost
    assert L is not None
    assert Φ is not None
    start, end = problem.given_at_ends
    mirrored = replace(
        problem,
        dynamics=lambda t, x, u, θ: -f(1.7 - t, x, u, θ),
        running_cost=lambda t, x, u, θ: L(1.7 - t, x, u, θ),
        terminal_cost=None,
        initial_cost=lambda t, x, θ: Φ(1.7 - t, x, θ),
        initial_state=end,
        final_state=start,
    )
    got = solve(mirrored, times=1.7 * TIMES)
    near(got, x=values("x")[::-1], u=values("u")[::-1], p=-values("p")[::-1], J=values("J"))


@pytest.mark.parametrize(("share", "bounded"), [(0.1, False), (0.77, False), (0.2, True)])
def test_the_rest_of_an_optimal_motion_is_optimal(share: float, bounded: bool) -> None:
    """Bellman's principle."""
    t = 1.7 * share
    times = np.linspace(t, 1.7, 15)
    problem = swing(bounded=bounded)
    whole = solve(problem, times=times)
    rest = solve(problem.with_values(initial_state=whole.x.values[0].tolist(), horizon=(t, 1.7)), times=times)
    near(rest, x=whole.x, p=whole.p, u=whole.u)


def test_a_free_state_at_its_optimum_is_as_good_as_given() -> None:
    problem = swing()
    assert problem.terminal_cost is not None
    free = replace(problem, initial_state=(None, -0.5), initial_cost=lambda t, x, θ: 3 * (x[..., 0] - 1.5) ** 2)
    a = solve(free)
    b = solve(replace(free, initial_state=(float(a.x[0, 0]), -0.5)))
    near(b, x=a.x, p=a.p, J=a.J)
    others = [float(solve(replace(free, initial_state=(float(a.x[0, 0]) + d, -0.5))).J) for d in (-0.05, 0.05)]
    assert min(others) > float(a.J) + 1e-4


@some
@given(loose=st.floats(1.0, 100.0))
def test_bounds_that_dont_act_change_nothing(loose: float) -> None:
    reach = abs(values("u")).max(0)
    wide = [(-float(r) - loose, float(r) + loose) for r in reach]
    got = solve(replace(swing(), control_bounds=wide), times=1.7 * TIMES)
    near(got, x=values("x"), u=values("u"), p=values("p"), J=values("J"))
    assert got.sizes["switch"] == 0


def test_tighter_bounds_cost_more() -> None:
    J = [float(solve(replace(swing(), control_bounds=[(-1.2, b), (-0.4, 0.4)])).J) for b in (-0.1, 0.0, 0.1, 0.2)]
    assert sorted(J, reverse=True) == J
    assert J[3] == pytest.approx(float(base().J), rel=1e-12)  # the last one doesn't act
    assert float(base(True).J) > float(base().J) + 1e-4
    assert base(True).u.values.min(0)[1] == -0.3
    assert base(True).u.values.max(0)[0] == 0.1
    assert base(True).sizes["switch"] == 2


def test_the_scaled_hamiltonian_is_the_original() -> None:
    """T H / J_s at ξ, v, π, point by point, of a problem whose controls have no formula."""
    problem = named_problem("batch_reactor").problem
    scales = Scales((0.5, 3.0), (7.0,), 0.2)
    small = EulerLagrange(scaled(problem, scales))
    big = EulerLagrange(problem)
    rng = np.random.default_rng(0)
    ξ, π = (torch.from_numpy(rng.uniform(0.1, 1, (9, 2))) for _ in range(2))
    z = torch.cat([ξ, -π], -1)
    t, q = torch.zeros(9, dtype=torch.float64), big.parameters((9,))
    a, b = small.field(t, z, q), big.field(t, unscaled(z, scales), q)
    torch.testing.assert_close(a.H, b.H / 0.2, rtol=1e-12, atol=0)
    torch.testing.assert_close(7.0 * a.u, b.u, rtol=1e-12, atol=0)
    assert math.isfinite(float(a.H.sum()))
