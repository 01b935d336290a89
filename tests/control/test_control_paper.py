"""The paper's method: its five losses against autograd by hand, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from surrogates import OptimalControlNet
from surrogates.control import FittedControl, PaperRoad
from surrogates.control.paper import _Losses
from surrogates.errors import ProblemError
from surrogates.networks import MLP, Flat, flatten
from surrogates.physics.optimal_control import (
    EulerLagrange,
    Problem,
    Scales,
    named_problem,
    scaled,
    solve,
)
from surrogates.training import LBFGS, Adam, Checkpoint, SSBroyden, SumOfLogs, Uncertainty

NAMES = ("state", "costate", "stationarity", "start", "end")


def fit(name: str, steps: int, **road: object) -> FittedControl:
    more = {key: road.pop(key) for key in ("seed", "progress", "checkpoint") if key in road}
    paper = PaperRoad(steps=steps, **{"hidden": (12,), "points": 31, **road})  # type: ignore[arg-type]
    problem = named_problem(name).problem
    return OptimalControlNet(method="paper", paper=paper).fit(problem, **more)  # type: ignore[call-overload, no-any-return]


def error_of(fitted: FittedControl, name: str) -> float:
    wanted = solve(named_problem(name).problem).u.values
    return float(np.linalg.norm(fitted.predict(certify=False).u.values - wanted) / np.linalg.norm(wanted))


# --- the losses ---


class ByHand:
    """S2-like and tank-like residuals from three networks, every derivative by its own call of autograd at one time."""

    def __init__(self, problem: Problem, nets: list[MLP], points: int) -> None:
        self.problem, self.nets = problem, nets
        start, end = problem.horizon
        self.times = [start + (end - start) * k / (points - 1) for k in range(points)]

    def at(self, t: Tensor) -> list[Tensor]:
        start, end = self.problem.horizon
        return [net((2 * (t - start) / (end - start) - 1).reshape(1, 1))[0] for net in self.nets]

    def slopes(self, k: int, t: Tensor) -> Tensor:
        value = self.at(t)[k]
        return torch.stack([torch.autograd.grad(entry, t, retain_graph=True)[0] for entry in value])

    def losses(self) -> dict[str, float]:
        problem = self.problem
        sums = dict.fromkeys(NAMES, 0.0)
        for time in self.times:
            t = torch.tensor(time, dtype=torch.float64, requires_grad=True)
            x, u, p = (value.detach().requires_grad_() for value in self.at(t))
            θ = {name: torch.tensor(v, dtype=torch.float64) for name, v in problem.parameters.items()}
            f = problem.dynamics(t.detach(), x, u, θ)
            L = problem.running_cost(t.detach(), x, u, θ) if problem.running_cost else 0.0
            H = L + (p * f).sum()
            H_x, H_u = torch.autograd.grad(H, (x, u))
            sums["state"] += float(((self.slopes(0, t) - f) ** 2).mean().detach())
            sums["costate"] += float(((self.slopes(2, t) + H_x) ** 2).mean().detach())
            sums["stationarity"] += float((H_u**2).mean())
        found = {name: value / len(self.times) for name, value in sums.items()}
        for name, time, conditions, sign, cost in (
            ("start", self.times[0], problem.given_at_ends[0], 1.0, problem.initial_cost),
            ("end", self.times[-1], problem.given_at_ends[1], -1.0, problem.terminal_cost),
        ):
            t = torch.tensor(time, dtype=torch.float64)
            x, _, p = (value.detach() for value in self.at(t))
            x.requires_grad_()
            slope = torch.zeros_like(p)
            if cost is not None:
                θ = {name: torch.tensor(v, dtype=torch.float64) for name, v in problem.parameters.items()}
                (slope,) = torch.autograd.grad(cost(t, x, θ), x)
            x = x.detach()
            wrong = [
                float(x[i]) - given if given is not None else float(p[i] + sign * slope[i])
                for i, given in enumerate(conditions)
            ]
            found[name] = float(np.mean(np.square(wrong)))
        return found


def free_start() -> Problem:
    """All kinds of ends but one, an initial cost, and time in the dynamics."""
    return Problem(
        dynamics=lambda t, x, u, θ: torch.stack([x[..., 1] * torch.cos(t), u[..., 0] - θ["k"] * x[..., 0] ** 2], -1),
        running_cost=lambda t, x, u, θ: (x**2).sum(-1) + (1 + t) * u[..., 0] ** 2,
        initial_cost=lambda t, x, θ: (x[..., 1] - θ["k"]) ** 2 * x[..., 0],
        terminal_cost=lambda t, x, θ: t * torch.sin(x[..., 0] * x[..., 1]),
        horizon=(1.0, 4.0),
        initial_state=(0.5, None),
        final_state=(None, 0.3),
        control_size=1,
        parameters={"k": 0.7},
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "double_integrator": lambda: named_problem("double_integrator").problem,
    "van_der_pol": lambda: named_problem("van_der_pol").problem,
    "stirred_tank": lambda: named_problem("stirred_tank").problem,
    "hyper_sensitive": lambda: named_problem("hyper_sensitive").problem,
    "scalar_mayer": lambda: named_problem("scalar_mayer").problem,
    "free start": free_start,
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_losses_are_those_of_autograd_by_hand(name: str, seed: int) -> None:
    problem, points = PROBLEMS[name](), 7
    n, m = problem.state_size, problem.control_size
    generator = torch.Generator().manual_seed(seed)
    nets = [MLP((1, 6, 5, size), generator=generator) for size in (n, m, n)]
    start, end = problem.horizon
    over_unit_time = scaled(problem, Scales((1.0,) * n, (1.0,) * m, 1.0))
    losses = _Losses(EulerLagrange(over_unit_time), [Flat(net) for net in nets], points, end - start)
    found = losses(torch.cat([flatten(net) for net in nets]).detach())
    assert set(found) == set(NAMES)
    by_hand = ByHand(problem, nets, points).losses()
    for key, residual in found.items():
        assert float((residual.detach() ** 2).mean()) == pytest.approx(by_hand[key], rel=1e-10, abs=1e-20), key


def test_gradients_of_the_losses_are_those_of_differences() -> None:
    problem = free_start()
    generator = torch.Generator().manual_seed(0)
    nets = [MLP((1, 4, size), generator=generator) for size in (2, 1, 2)]
    posed = scaled(problem, Scales((1.0, 1.0), (1.0,), 1.0))
    losses = _Losses(EulerLagrange(posed), [Flat(net) for net in nets], 5, 3.0)
    θ = torch.cat([flatten(net) for net in nets]).detach().requires_grad_()

    def total(θ: Tensor) -> Tensor:
        return torch.stack([(r**2).mean() for r in losses(θ).values()]).sum()

    (slope,) = torch.autograd.grad(total(θ), θ)
    for k in range(0, len(θ), 5):
        step = torch.zeros_like(θ)
        step[k] = 1e-3
        f = [float(total(θ.detach() + c * step).detach()) for c in (-2, -1, 1, 2)]
        assert float(slope[k]) == pytest.approx((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / 12e-3, rel=1e-6, abs=1e-8)


def test_losses_of_the_report_are_those_of_the_answer() -> None:
    """S1 from the returned functions: x' + x - u = 0, p' + x - p = 0, u + p = 0, x(0) = 1, p(1) = 0."""
    fitted = fit("scalar_lq", 300)
    s = torch.linspace(0, 1, 31, dtype=torch.float64)
    h = 1e-3
    assert fitted.controls is not None
    z, u = fitted.trajectory(s), fitted.controls(s)[:, 0]
    around = [fitted.trajectory(s + k * h) for k in (-2, -1, 1, 2)]
    dx, dp = ((around[0] - 8 * around[1] + 8 * around[2] - around[3]) / (12 * h)).unbind(-1)
    x, p = z.unbind(-1)
    by_hand = {
        "state": float(((dx + x - u) ** 2).mean()),
        "costate": float(((dp + x - p) ** 2).mean()),
        "stationarity": float(((u + p) ** 2).mean()),
        "start": float((x[0] - 1) ** 2),
        "end": float(p[-1] ** 2),
    }
    for name, value in by_hand.items():
        assert fitted.report.figures[f"loss {name}"] == pytest.approx(value, rel=1e-6), name


# --- fits ---


def test_an_easy_problem_is_solved_roughly() -> None:
    fitted = fit("scalar_lq", 150, weighting="fixed", optimiser=LBFGS())
    assert error_of(fitted, "scalar_lq") < 0.03
    answer = fitted.predict()
    assert float(answer.error) == pytest.approx(error_of(fitted, "scalar_lq"), rel=0.05)
    assert 0 < float(answer.cost_gap) < 1e-2
    assert not fitted.report.is_success
    assert "read the certificate" in fitted.report.outcome
    assert float(fitted.predict(polish=2).error) < 1e-9


def test_the_certificate_judges_the_network_of_the_controls() -> None:
    """Its u isn't argmin H of its x and p; the answer is what is judged."""
    fitted = fit("scalar_lq", 200)
    answer = fitted.predict()
    assert np.abs(answer.u.values + answer.p.values).max() > 1e-3
    assert float(answer.error) == pytest.approx(error_of(fitted, "scalar_lq"), rel=0.1)


def test_scaling_the_problem_gives_answers_in_the_users_units() -> None:
    """The scaled tank is solved to a few per cent where the raw one isn't at all."""
    fitted = fit("stirred_tank", 180, is_scaled=True, weighting="fixed", optimiser=SSBroyden())
    assert error_of(fitted, "stirred_tank") < 0.05
    assert float(fitted.predict().error) == pytest.approx(error_of(fitted, "stirred_tank"), rel=0.1)
    assert fitted.predict().x.values[0] == pytest.approx([0.05, 0.0], abs=3e-3)


@pytest.mark.parametrize(
    ("steps", "hidden"),
    [(500, (12,)), pytest.param(4000, (32, 32), marks=pytest.mark.slow)],
)
def test_a_small_loss_on_the_raw_tank_does_not_fool_the_certificate(steps: int, hidden: tuple[int, ...]) -> None:
    """x = u = p = 0 leaves only |x0|²: the loss "converges", the answer is lost, and the certificate says so."""
    fitted = fit("stirred_tank", steps, hidden=hidden)
    loss = sum(value for name, value in fitted.report.figures.items() if name.startswith("loss "))
    assert loss < 0.01
    assert error_of(fitted, "stirred_tank") > 0.3
    answer = fitted.predict()
    assert float(answer.error) > 0.3
    assert float(answer.error) == np.inf or float(answer.error) == pytest.approx(
        error_of(fitted, "stirred_tank"), rel=0.1
    )
    assert not fitted.report.is_success


def test_weights_are_traced_loss_by_loss() -> None:
    report = fit("scalar_lq", 50, weighting="uncertainty").report
    assert tuple(report.weights) == NAMES
    assert {len(values) for values in report.weights.values()} == {len(report.trace)}
    assert len({values[-1] for values in report.weights.values()}) == 5
    assert {f"loss {name}" for name in NAMES} | {"steps", "total loss"} == set(report.figures)


def test_weightings_by_name_give_other_traces() -> None:
    reports = {name: fit("scalar_lq", 40, weighting=name).report for name in ("fixed", "uncertainty", "relobralo")}
    ends = {name: [values[-1] for values in report.weights.values()] for name, report in reports.items()}
    assert len(set(ends["fixed"])) == 1
    assert np.ptp(ends["uncertainty"]) > 1e-4
    assert np.ptp(ends["relobralo"]) > 1e-4
    assert len({tuple(report.trace) for report in reports.values()}) == 3
    assert fit("scalar_lq", 40, weighting=Uncertainty()).report.trace == reports["uncertainty"].trace


def test_weights_that_run_away_are_warned_of() -> None:
    """Weights 1/L grow without bound where an easy loss vanishes."""
    report = fit("van_der_pol", 100, weighting=SumOfLogs(), optimiser=Adam(rate=1e-2)).report
    assert max(max(row) / min(row) for row in zip(*report.weights.values(), strict=True)) > 1e3
    assert any("had more than 1000 times the weight of" in warning for warning in report.warnings)
    assert fit("van_der_pol", 20, weighting="fixed").report.warnings == ()


def test_the_same_seed_gives_the_same_network() -> None:
    first, second, other = (fit("scalar_lq", 30, seed=seed) for seed in (1, 1, 2))
    assert first.predict(certify=False).identical(second.predict(certify=False))
    assert first.report.trace == second.report.trace != other.report.trace


@pytest.mark.parametrize("name", ["bounded_van_der_pol", "brachistochrone"])
def test_bounds_and_free_times_are_refused(name: str) -> None:
    with pytest.raises(ProblemError, match="paper mode takes problems with a fixed final time"):
        fit(name, 10)


@pytest.mark.parametrize("weighting", ["uncertainty", "relobralo"])
def test_an_interrupted_run_ends_bit_for_bit_like_one_that_was_not(weighting: str, tmp_path: Path) -> None:
    whole = fit("scalar_lq", 60, weighting=weighting)
    checkpoint = Checkpoint(tmp_path / "run", every=10)

    def interrupt(done: int, value: float | None) -> None:
        if done >= 34:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("scalar_lq", 60, weighting=weighting, checkpoint=checkpoint, progress=interrupt)
    steps: list[int] = []
    resumed = fit(
        "scalar_lq",
        60,
        weighting=weighting,
        checkpoint=checkpoint,
        progress=lambda done, value: steps.append(done),
    )
    assert min(steps) > 10
    assert resumed.predict().identical(whole.predict())
    for name in ("trace", "weights", "figures"):
        assert getattr(resumed.report, name) == getattr(whole.report, name)
