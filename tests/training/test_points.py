"""What is derived from the losses at one point, against finite differences and brute force."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError
from surrogates.training import Balance
from surrogates.training.objective import Problem

A = torch.tensor([[1.0, -0.5, 0.3], [0.2, 2.0, -1.0]], dtype=torch.float64)
START = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)


def losses(θ: Tensor) -> dict[str, Tensor]:
    return {
        "wave": torch.sin(A @ θ),
        "size": θ.square().sum().exp(),
        "curve": torch.stack([θ[0] * θ[1], θ[2] ** 3, θ[0]]),
    }


def residuals(θ: Tensor) -> dict[str, Tensor]:
    return {name: value for name, value in losses(θ).items() if value.ndim}


class WithJacobian:
    """Residuals computed without a graph, so that only their own Jacobian can tell of them."""

    def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
        return residuals(θ.detach())

    def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
        return {"wave": torch.cos(A @ θ)[:, None] * A, "curve": curve_jacobian(θ)}


def curve_jacobian(θ: Tensor) -> Tensor:
    rows = [[float(θ[1]), float(θ[0]), 0.0], [0.0, 0.0, 3 * float(θ[2]) ** 2], [1.0, 0.0, 0.0]]
    return torch.tensor(rows, dtype=torch.float64)


def by_hand(values: Mapping[str, Tensor], balance: Balance) -> float:
    total = 0.0
    for w, (name, v) in zip(balance.weights.tolist(), values.items(), strict=True):
        λ = (balance.points or {}).get(name, torch.ones_like(v))
        total += w * (
            float(v) if v.ndim == 0 else sum(float(a) * float(b) ** 2 for a, b in zip(λ, v, strict=True)) / len(v)
        )
    return total


def differences(f: Callable[[Tensor], float], θ: Tensor, h: float = 1e-6) -> Tensor:
    eye = torch.eye(len(θ), dtype=torch.float64)
    return torch.tensor([(f(θ + h * e) - f(θ - h * e)) / (2 * h) for e in eye], dtype=torch.float64)


BALANCES = [
    Balance(torch.tensor([0.5, 2.0, 3.0]).double()),
    Balance(torch.tensor([0.5, 2.0, 3.0]).double(), {"curve": torch.tensor([0.1, 5.0, 2.0]).double()}),
]


@pytest.mark.parametrize("balance", BALANCES)
def test_total_and_gradient_by_differences(balance: Balance) -> None:
    point = Problem(losses, START).at(START)
    assert point.total(balance) == pytest.approx(by_hand(losses(START), balance), rel=1e-12)
    wanted = differences(lambda θ: by_hand(losses(θ), balance), START)
    torch.testing.assert_close(point.gradient(balance), wanted, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("points", [None, {"curve": torch.tensor([0.1, 5.0, 2.0]).double()}])
@pytest.mark.parametrize("kind", ["graph", "own", "reverse", "forward"])
def test_gradients_from_jacobians_agree_with_differences(kind: str, points: Mapping[str, Tensor] | None) -> None:
    balance = Balance(torch.tensor([0.5, 3.0]).double(), points)
    if kind == "graph":
        problem = Problem(residuals, START)
    elif kind == "own":
        problem = Problem(WithJacobian(), START)
    else:
        problem = Problem(residuals, START, by_jacobian=kind)  # type: ignore[arg-type]
    point = problem.at(START)
    torch.testing.assert_close(point.jacobians()["curve"], curve_jacobian(START), rtol=1e-12, atol=1e-14)
    wanted = differences(lambda θ: by_hand(residuals(θ), balance), START)
    torch.testing.assert_close(point.gradient(balance), wanted, rtol=1e-7, atol=1e-7)
    rows = [differences(lambda θ, n=n: float(residuals(θ)[n].square().mean()), START) for n in ("wave", "curve")]  # type: ignore[misc]
    torch.testing.assert_close(point.gradients(), torch.stack(rows), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("rows", "wanted"), [(2, "jacrev"), (3, "jacrev"), (4, "jacfwd")])
def test_jacobians_are_taken_along_their_shorter_side(rows: int, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    for name in ("jacrev", "jacfwd"):
        original = getattr(torch.func, name)

        def noting(function: object, name: str = name, original: Callable[[object], object] = original) -> object:
            used.append(name)
            return original(function)

        monkeypatch.setattr(torch.func, name, noting)
    Problem(lambda θ: {"r": θ[0] * torch.ones(rows).double()}, START, by_jacobian="auto").at(START).jacobians()
    assert used == [wanted]


def test_traces_of_tangent_kernels_by_brute_force() -> None:
    eye = torch.eye(3, dtype=torch.float64)
    wanted = []
    for name in ("wave", "curve"):
        J = torch.stack(
            [(residuals(START + 1e-6 * e)[name] - residuals(START - 1e-6 * e)[name]) / 2e-6 for e in eye], 1
        )
        wanted.append(float(torch.trace(J @ J.T)))
    generator = torch.Generator().manual_seed(0)
    for mode in (None, "auto"):
        point = Problem(residuals, START, by_jacobian=mode).at(START)
        torch.testing.assert_close(
            point.residual_traces(None, generator), torch.tensor(wanted).double(), rtol=1e-6, atol=0
        )
    sampled = Problem(residuals, START).at(START).residual_traces(2000, generator)
    torch.testing.assert_close(sampled, torch.tensor(wanted).double(), rtol=0.05, atol=0)
    with pytest.raises(DataError, match="loss 'size' is a number, which has no residual Jacobian"):
        Problem(losses, START).at(START).residual_traces(None, generator)


def test_the_direction_replaces_the_gradient() -> None:
    point, d = Problem(losses, START).at(START), torch.tensor([1.0, 2.0, 3.0]).double()
    balance = Balance(torch.full((3,), torch.nan).double(), direction=d)
    assert torch.equal(point.gradient(balance), d)
    assert point.total(balance) == pytest.approx(float(point.losses.sum()))


def test_a_gradient_of_other_weights_is_not_reused() -> None:
    point = Problem(losses, START).at(START)
    one = point.gradient(Balance(torch.tensor([1.0, 0.0, 0.0]).double()))
    two = point.gradient(Balance(torch.tensor([2.0, 0.0, 0.0]).double()))
    torch.testing.assert_close(two, 2 * one)


def test_gradients_seen_by_a_weighting_leave_no_trace() -> None:
    # a resumed run doesn't call them again, and must round the same
    balance = Balance(torch.rand(3, generator=torch.Generator().manual_seed(0)).double())
    one, two = Problem(losses, START).at(START), Problem(losses, START).at(START)
    rows = two.gradients()
    torch.testing.assert_close(balance.weights @ rows, one.gradient(balance), rtol=1e-12, atol=1e-12)
    assert torch.equal(one.gradient(balance), two.gradient(balance))


def test_losses_work_inside_no_grad() -> None:
    with torch.no_grad():
        g = Problem(losses, START).at(START).gradient(BALANCES[0])
    torch.testing.assert_close(g, Problem(losses, START).at(START).gradient(BALANCES[0]))


def test_the_order_of_the_first_call_is_kept() -> None:
    flip = [False]

    def objective(θ: Tensor) -> dict[str, Tensor]:
        names = ["b", "a"] if flip[0] else ["a", "b"]
        return {name: θ * (1.0 if name == "a" else 2.0) for name in names}

    problem = Problem(objective, START)
    flip[0] = True
    assert problem.at(START).names == ("a", "b")


BAD_JACOBIANS: list[tuple[object, str]] = [
    ({"wave": torch.zeros(2, 3).double()}, "'curve' is NoneType"),
    ({"wave": torch.zeros(2, 3).double(), "curve": torch.zeros(3, 2).double()}, r"of shape \(3, 2\); it must be"),
    ({"wave": torch.zeros(2, 3), "curve": torch.zeros(3, 3).double()}, r"'wave' is torch.float32"),
    (None, "'wave' is NoneType"),
]


@pytest.mark.parametrize(("jacobian", "words"), BAD_JACOBIANS)
def test_bad_jacobians_are_refused(jacobian: Mapping[str, Tensor], words: str) -> None:
    class Objective:
        def __call__(self, θ: Tensor) -> Mapping[str, Tensor]:
            return residuals(θ)

        def jacobian(self, θ: Tensor) -> Mapping[str, Tensor]:
            return jacobian

    with pytest.raises(DataError, match=words):
        Problem(Objective(), START, by_jacobian="auto").at(START).jacobians()
