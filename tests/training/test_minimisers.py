"""Each optimiser against truth: closed forms, other implementations, known minima."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from surrogates.errors import DataError, NumericalError
from surrogates.training import (
    LBFGS,
    Adam,
    Balance,
    Ending,
    Fixed,
    LevenbergMarquardt,
    SSBroyden,
    Stopping,
    minimize,
)
from surrogates.training.broyden import scale_and_share, updated
from surrogates.training.lbfgs import two_loops
from surrogates.training.objective import Problem
from surrogates.training.optimiser import Turn
from surrogates.training.wolfe import Line, Trial, between, strong_wolfe

QUASI_NEWTON = [LBFGS(), LBFGS(history=3), SSBroyden()]


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def matrix(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rosenbrock(θ: Tensor) -> dict[str, Tensor]:
    """Residuals whose weighted sum Σ 100 (x2 - x1²)² + (1 - x1)² has its minimum 0 at 1."""
    return {"valley": 10 * (θ[1:] - θ[:-1] ** 2), "floor": 1 - θ[:-1]}


# --- Adam ---


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_steps_as_torch_does(decay: float) -> None:
    A = matrix(5, 3, 0)
    start, steps = vector(1.0, -2.0, 0.5), 50
    found = minimize(
        lambda θ: {"a": A @ θ - 1},
        start,
        optimiser=Adam(0.05, weight_decay=decay, betas=(0.8, 0.95)),
        stopping=Stopping(max_steps=steps),
    )
    θ = start.clone().requires_grad_(True)
    theirs = torch.optim.AdamW([θ], lr=0.05, betas=(0.8, 0.95), weight_decay=decay)
    for _ in range(steps):
        theirs.zero_grad()
        (A @ θ - 1).square().mean().backward()  # type: ignore[no-untyped-call]
        theirs.step()
    torch.testing.assert_close(found.θ, θ.detach(), rtol=1e-12, atol=1e-13)


def test_adam_by_hand_with_weights_schedule_and_clipping() -> None:
    def gradient(x: list[float]) -> list[float]:
        return [5.0 * 2 * (x[0] - 1), 0.5 * 4 * x[1] ** 3]

    x, m, v = [3.0, 2.0], [0.0, 0.0], [0.0, 0.0]
    for t in range(1, 21):
        rate = 0.1 * (0.001 / 0.1) ** ((t - 1) / 19)
        g = gradient(x)
        g = [a * min(1.0, 2.0 / math.hypot(*g)) for a in g]
        for i in range(2):
            m[i] = 0.9 * m[i] + 0.1 * g[i]
            v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2
            x[i] -= rate * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    found = minimize(
        lambda θ: {"a": (θ[0] - 1) ** 2, "b": θ[1] ** 4},
        vector(3.0, 2.0),
        optimiser=Adam(0.1, 0.001, clip=2.0),
        weighting=Fixed({"a": 5.0, "b": 0.5}),
        stopping=Stopping(max_steps=20),
    )
    torch.testing.assert_close(found.θ, vector(*x), rtol=1e-12, atol=1e-14)


# --- quasi-Newton ---


@pytest.mark.parametrize("optimiser", QUASI_NEWTON)
def test_quadratics_are_solved(optimiser: LBFGS | SSBroyden) -> None:
    A = matrix(8, 8, 1)
    Q, b = A @ A.T + torch.eye(8).double(), matrix(8, 1, 2)[:, 0]
    found = minimize(
        lambda θ: {"q": 0.5 * θ @ Q @ θ - b @ θ},
        torch.zeros(8).double(),
        optimiser=optimiser,
        stopping=Stopping(max_steps=300, gradient=1e-9),
    )
    assert found.ending is Ending.STATIONARY
    torch.testing.assert_close(found.θ, torch.linalg.solve(Q, b), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("optimiser", QUASI_NEWTON)
def test_rosenbrock_in_ten_dimensions(optimiser: LBFGS | SSBroyden) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.tensor([-1.2, 1.0] * 5, dtype=torch.float64)
    weights = Fixed((9.0, 9.0))  # from means to sums
    ours = theirs = 0
    # from several starts: this function has two minima, and rounding decides which of them a single run ends in
    for _ in range(6):
        found = minimize(
            rosenbrock, start, optimiser=optimiser, weighting=weights, stopping=Stopping(max_steps=400, gradient=1e-8)
        )
        assert found.ending is Ending.STATIONARY
        local, own = (
            scipy.optimize.minimize(
                scipy.optimize.rosen,
                x.numpy(),
                jac=scipy.optimize.rosen_der,
                method="BFGS",
                options={"gtol": tolerance},
            )
            for x, tolerance in ((found.θ, 1e-10), (start, 1e-8))
        )
        assert found.total == pytest.approx(scipy.optimize.rosen(found.θ.numpy()), rel=1e-9, abs=1e-18)
        assert float(abs(found.θ.numpy() - local.x).max()) < 1e-6
        assert all(b <= a for a, b in itertools.pairwise(found.trace))
        ours, theirs = ours + found.evaluations, theirs + own.nfev
        start = 2 * torch.rand(10, generator=generator, dtype=torch.float64)
    assert ours < 2 * theirs


def test_two_loops_give_the_dense_bfgs_inverse() -> None:
    S, g = matrix(4, 6, 3), matrix(6, 1, 4)[:, 0]
    B = matrix(6, 6, 5)
    Y = S @ (B @ B.T + torch.eye(6).double())
    H = torch.eye(6, dtype=torch.float64) * float(S[-1] @ Y[-1] / (Y[-1] @ Y[-1]))
    for s, y in zip(S, Y, strict=True):
        V = torch.eye(6, dtype=torch.float64) - torch.outer(y, s) / (y @ s)
        H = V.T @ H @ V + torch.outer(s, s) / (y @ s)  # Nocedal & Wright (2006), eq. 7.16
    torch.testing.assert_close(two_loops(g, S, Y), H @ g, rtol=1e-11, atol=1e-12)


def test_lbfgs_uses_pairs_of_one_and_the_same_weights() -> None:
    # whatever the weights do between steps, y = Q_w s must hold for the weights of that step
    A, C = matrix(4, 4, 6), matrix(4, 4, 7)

    class Alternating:
        def init(self, seen: object) -> dict[str, Tensor]:
            return {}

        def step(self, state: dict[str, Tensor], seen: object) -> tuple[Tensor, dict[str, Tensor]]:
            return (vector(1.0, 9.0) if seen.step % 2 else vector(9.0, 1.0)), state  # type: ignore[attr-defined]

    problem = Problem(lambda θ: {"a": A @ θ - 1, "b": C @ θ + 1}, torch.zeros(4).double())
    optimiser, turn = LBFGS(), Turn(problem.at, 0, 10)
    state, point = optimiser.init(torch.zeros(4).double()), problem.take_first()
    for weights in (vector(9.0, 1.0), vector(1.0, 9.0), vector(9.0, 1.0)):
        move = optimiser.step(point, Balance(weights), state, turn)
        assert move.point is not None
        point, state = move.point, move.state
        Q = (weights[0] * A.T @ A + weights[1] * C.T @ C) / 2
        torch.testing.assert_close(state["y"][-1], Q @ state["s"][-1], rtol=1e-9, atol=1e-10)


@given(st.floats(0.05, 20.0), st.floats(1.0, 20.0))
@settings(max_examples=50, deadline=None)
def test_the_broyden_update_is_the_inverse_of_the_direct_family(b: float, excess: float) -> None:
    """H₊ is the inverse of B₊ = τ (B - Bss'B/s'Bs + θ s'Bs ww') + yy'/y's, w = y/y's - Bs/s'Bs, from the other side."""
    s, y0, M = matrix(5, 1, 8)[:, 0], matrix(5, 1, 9)[:, 0], matrix(5, 5, 10)
    B = M @ M.T + torch.eye(5).double()
    y = y0 if float(s @ y0) > 0 else -y0
    y = y * (float(s @ B @ s) / (b * float(s @ y)))  # now s'Bs / y's = b
    H = torch.linalg.inv(B)
    τ, _, θ = scale_and_share(b, float(y @ H @ y / (s @ y)), 5)
    Bs, sBs, sy = B @ s, float(s @ B @ s), float(s @ y)
    w = y / sy - Bs / sBs
    direct = τ * (B - torch.outer(Bs, Bs) / sBs + θ * sBs * torch.outer(w, w)) + torch.outer(y, y) / sy
    got = updated(H, s, y, sBs)
    torch.testing.assert_close(got @ direct, torch.eye(5).double(), rtol=0, atol=1e-7)
    torch.testing.assert_close(got @ y, s, rtol=1e-7, atol=1e-8)  # the secant equation
    assert float(torch.linalg.eigvalsh(0.5 * (got + got.T))[0]) > 0
    assert 0 < τ <= 1


def test_broyden_knows_the_curvature_along_its_step() -> None:
    start = vector(-1.2, 1.0, 0.3)
    problem, balance, optimiser = Problem(rosenbrock, start), Balance(vector(2.0, 2.0)), SSBroyden()
    point, state, lengths = problem.take_first(), optimiser.init(start), []
    for step in range(6):
        move = optimiser.step(point, balance, state, Turn(problem.at, step, 6))
        assert move.point is not None
        s, y = move.θ - point.θ, move.point.gradient(balance) - point.gradient(balance)
        H = state["H"] if step else torch.eye(3).double() * float(s @ y / (y @ y))
        d = -H @ point.gradient(balance)
        lengths.append(float(s @ d / (d @ d)))
        wanted = updated(H, s, y, float(s @ torch.linalg.inv(H) @ s))
        torch.testing.assert_close(move.state["H"], wanted, rtol=1e-8, atol=1e-10)
        point, state = move.point, move.state
    assert any(abs(α - 1) > 0.1 for α in lengths[1:])


@pytest.mark.parametrize(
    ("b", "h", "wanted"),
    [
        # b = ½, h = 4: a = 1, c = √½, ρ = min(1, 4(1-c)) = 1, (1-b)/b = 1, θ = max(0, min(1, 1)) = 1, σ = 2, τ1 = 1
        (0.5, 4.0, (2.0**-0.25, 0.0, 1.0)),
        # b = 2, h = 1: a = 1, ρ = 1-√½, θ- = ρ-1 = -√½, (1-b)/b = -½, θ = -½, σ = ½, τ1 = ½, τ = min(½·2^¼, ½)
        (2.0, 1.0, (0.5, 3.0, -0.5)),
    ],
)
def test_al_baalis_parameters_by_hand(b: float, h: float, wanted: tuple[float, float, float]) -> None:
    assert scale_and_share(b, h, 5) == pytest.approx(wanted, rel=1e-12)


@given(st.floats(-3.0, 3.0), st.floats(1e-4, 1e3))
@settings(max_examples=60, deadline=None)
def test_the_line_search_meets_both_wolfe_conditions(x: float, first: float) -> None:
    def f(θ: Tensor) -> dict[str, Tensor]:
        return {"f": torch.cos(3 * θ[0]) + θ[0] ** 2 / 4 + θ[0].abs() ** 1.5}

    problem, balance = Problem(f, vector(x)), Balance(vector(1.0))
    point = problem.take_first()
    g = point.gradient(balance)
    if float(g.abs()) < 1e-3:
        return
    trial = strong_wolfe(Line(point, balance, -g, Turn(problem.at, 0, 1)), first)
    assert trial is not None
    assert trial.value <= point.total(balance) - 1e-4 * trial.α * float(g @ g) + 1e-12
    assert abs(float(trial.gradient @ g)) <= 0.9 * float(g @ g)


def test_the_zoom_finds_the_minimum_of_a_cubic_at_once() -> None:
    point, g = Problem(lambda θ: {"f": θ.sum()}, vector(0.0)).take_first(), vector(1.0)
    for a, b in ((0.0, 2.0), (2.0, 0.0), (0.5, 3.0)):  # of x³ - 3x
        low, high = (Trial(x, x**3 - 3 * x, 3 * x**2 - 3, g, point) for x in (a, b))
        assert between(low, high) == pytest.approx(1.0, rel=1e-12)


def test_line_searches_are_short() -> None:
    counts = []
    for x in torch.linspace(-3, 3, 21).tolist():
        for first in (1e-3, 0.1, 1.0, 30.0):
            problem = Problem(lambda θ: {"f": torch.cos(3 * θ[0]) + θ[0] ** 2 / 4}, vector(x))
            point, balance = problem.take_first(), Balance(vector(1.0))
            if float(point.gradient(balance).abs()) > 1e-3:
                strong_wolfe(Line(point, balance, -point.gradient(balance), Turn(problem.at, 0, 1)), first)
                counts.append(problem.evaluations - 1)
    assert sum(counts) / len(counts) < 5.0
    assert max(counts) < 15


@pytest.mark.parametrize("optimiser", [LBFGS(), SSBroyden(), LevenbergMarquardt()])
@pytest.mark.parametrize("how", ["nan", "inf", "raise"])
def test_trials_where_the_losses_are_not_defined_are_refused(optimiser: LBFGS, how: str) -> None:
    def losses(θ: Tensor) -> Mapping[str, Tensor]:
        if float(θ.detach()[0]) <= 0 and how == "raise":
            raise NumericalError("log of a negative number")
        return {"r": torch.log(θ) * (1 if how == "nan" else torch.where(θ > 0, 1.0, torch.inf)) + 3}

    class Own:  # float() in the losses keeps torch.func out
        def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
            return losses(θ)

        def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
            return {"r": (1 / θ)[:, None]}

    found = minimize(Own(), vector(1.0), optimiser=optimiser, stopping=Stopping(max_steps=100, loss=1e-16))
    assert found.ending is Ending.LOSS_REACHED
    assert float(found.θ) == pytest.approx(math.exp(-3), rel=1e-6)


@pytest.mark.parametrize("optimiser", [LBFGS(), SSBroyden(), LevenbergMarquardt()])
def test_no_descent_is_told_apart_from_success(optimiser: LBFGS) -> None:
    class Wrong:
        """Its gradient points uphill."""

        def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
            return {"r": 1 + (θ.detach() - 3).abs()}

        def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
            return {"r": -torch.sign(θ - 3)[:, None]}

    found = minimize(Wrong(), vector(1.0), optimiser=optimiser)
    assert found.ending is Ending.NO_DESCENT
    assert not found.is_success
    assert torch.equal(found.θ, vector(1.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adam(rate=0.0),
        lambda: Adam(final_rate=-1.0),
        lambda: Adam(betas=(0.9, 1.0)),
        lambda: Adam(clip=0.0),
        lambda: LBFGS(history=0),
        lambda: SSBroyden(attempts=0),
        lambda: LevenbergMarquardt(damping=-1.0),
        lambda: LevenbergMarquardt(mode="x"),  # type: ignore[arg-type]
        lambda: LevenbergMarquardt(attempts=0),
    ],
)
def test_bad_configurations_of_optimisers_are_refused(make: object) -> None:
    with pytest.raises(DataError):
        make()  # type: ignore[operator]
