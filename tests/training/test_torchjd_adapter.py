"""TorchJD's scalarizers and aggregators inside the loop, against TorchJD called directly."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from surrogates.errors import DataError, MissingExtraError
from surrogates.training import Adam, Stopping, SumOfLogs, TorchJD, Uncertainty, minimize

START = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
STEPS = 12


def losses(θ: Tensor) -> dict[str, Tensor]:
    return {"a": (θ - 1).square().sum(), "b": (θ[:2] + 1).exp().sum(), "c": (θ[0] * θ[2] - 3) ** 2}


def run(weighting: TorchJD, **more: Any) -> Any:
    return minimize(losses, START, optimiser=Adam(0.1), weighting=weighting, stopping=Stopping(STEPS), **more)


def by_torchjd(combined: Any) -> Tensor:
    """The same Adam driven by a gradient that TorchJD's own object made, one object for the whole run."""
    θ = START.clone().requires_grad_(True)
    adam = torch.optim.Adam([θ], lr=0.1)
    for _ in range(STEPS):
        θ.grad = combined(θ)
        adam.step()
    return θ.detach()


@pytest.fixture(autouse=True)
def needs_torchjd() -> None:
    pytest.importorskip("torchjd")


def jacobian(θ: Tensor) -> Tensor:
    return torch.stack([torch.autograd.grad(loss, θ, retain_graph=True)[0] for loss in losses(θ).values()])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Mean", {}),
        ("Constant", {"weights": (1.0, 2.0, 3.0)}),
        ("GeometricMean", {}),
        ("STCH", {"mu": 0.5}),
    ],
)
def test_scalarizers(name: str, options: dict[str, Any]) -> None:
    from torchjd import scalarization

    arguments = {k: torch.tensor(v).double() if isinstance(v, tuple) else v for k, v in options.items()}
    scalarizer = getattr(scalarization, name)(**arguments)

    def combined(θ: Tensor) -> Tensor:
        return torch.autograd.grad(scalarizer(torch.stack(list(losses(θ).values()))), θ)[0]

    torch.testing.assert_close(run(TorchJD(name, options)).θ, by_torchjd(combined), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MGDA", {}),
        ("AlignedMTL", {}),
        ("IMTLG", {}),
        ("FairGrad", {"alpha": 1.0}),
        ("PCD", {}),
        ("ExcessMTL", {"n_warmup_steps": 4}),
        ("ConFIG", {}),
        ("TrimmedMean", {"trim_number": 1}),
    ],
)
def test_aggregators(name: str, options: dict[str, Any]) -> None:
    from torchjd import aggregation

    aggregator = getattr(aggregation, name)(**options)
    wanted = by_torchjd(lambda θ: aggregator(jacobian(θ)))
    torch.testing.assert_close(run(TorchJD(name, options)).θ, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["PCGrad", "GradVac", "GradDrop"])
def test_aggregators_with_chance(name: str) -> None:
    from torchjd import aggregation

    from surrogates.random import streams

    aggregator, (generator,) = getattr(aggregation, name)(), streams(7, 1)

    def combined(θ: Tensor) -> Tensor:
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        with torch.no_grad():
            return aggregator(J) if (J := jacobian_with_grad(θ)) is not None else J  # type: ignore[no-any-return]

    def jacobian_with_grad(θ: Tensor) -> Tensor:
        with torch.enable_grad():
            return jacobian(θ)

    with torch.random.fork_rng(devices=[]):
        wanted = by_torchjd(combined)
    torch.testing.assert_close(run(TorchJD(name), seed=7).θ, wanted, rtol=1e-8, atol=1e-10)


def test_uncertainty_weighting_of_torchjd_is_ours() -> None:
    theirs = run(TorchJD("UW", rate=0.05))
    ours = minimize(losses, START, optimiser=Adam(0.1), weighting=Uncertainty(rate=0.05), stopping=Stopping(STEPS))
    torch.testing.assert_close(theirs.θ, ours.θ, rtol=1e-12, atol=1e-13)


def test_the_geometric_mean_descends_as_the_sum_of_logs() -> None:
    ours = minimize(losses, START, optimiser=Adam(0.1), weighting=SumOfLogs(), stopping=Stopping(1))
    theirs = minimize(losses, START, optimiser=Adam(0.1), weighting=TorchJD("GeometricMean"), stopping=Stopping(1))
    torch.testing.assert_close(ours.θ, theirs.θ, rtol=1e-7, atol=0)  # Adam's ε sees the common factor


def test_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    runs = [run(TorchJD("Random"), seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(runs[0].θ, runs[1].θ)
    assert not torch.equal(runs[0].θ, runs[2].θ)


def test_names_with_and_without_weighting_mean_the_same() -> None:
    assert torch.equal(run(TorchJD("MGDAWeighting")).θ, run(TorchJD("MGDA")).θ)


@pytest.mark.parametrize(
    ("weighting", "words"),
    [
        (lambda: TorchJD("FAMO"), r"FAMO can't be adapted: use FAMO\(\) of surrogates.training"),
        (lambda: TorchJD("NashMTL"), "cvxpy"),
        (lambda: TorchJD("Aggregator"), "torchjd has no scalarizer or aggregator 'Aggregator'; it has AlignedMTL"),
        (lambda: TorchJD("Nonsense"), "no scalarizer or aggregator 'Nonsense'"),
        (lambda: TorchJD("STCH"), "torchjd's STCH doesn't take these options: .*mu"),
        (lambda: TorchJD("MGDA", {"depth": 3}), "torchjd's MGDA doesn't take these options: .*depth"),
        (lambda: TorchJD("MGDA", rate=-1.0), "rate is -1.0"),
    ],
)
def test_what_can_not_be_adapted_is_refused(weighting: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        run(weighting())


def test_a_missing_torchjd_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchjd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(MissingExtraError, match=r"torchjd is not installed; .*multitask-surrogates\[molecules\]"):
        run(TorchJD("MGDA"))
