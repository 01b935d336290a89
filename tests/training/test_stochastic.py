"""The loop for batches: what it learns, how it ends, its schedules, and sharpness-aware steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from task_models import StackedHeads, flat, perceptron, sparse_batch, task_gradients, task_losses
from torch import Tensor, nn

from surrogates.errors import DataError, NumericalError
from surrogates.training import AdamW, Batches, Ending, train
from surrogates.training.conflicts import AIM, CONFLICTS, Batch, Engine, GCond, Sharpness, SquaredError

NAMES = ("a", "b", "c", "d")


def engine_of(seed: int = 0, dtype: torch.dtype = torch.float64, **parts: nn.Module) -> Engine:
    generator = torch.Generator().manual_seed(seed)
    trunk = parts.get("trunk", perceptron((5, 16, 8), generator, dtype))
    return Engine(trunk, StackedHeads(4, (8, 1), generator, dtype), SquaredError(), NAMES)


def table(n: int, share: float = 0.6, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """Labels that are smooth functions of two common features, and many missing."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, 5, generator=generator, dtype=dtype)
    u, v = torch.tanh(X[:, 0] + X[:, 1]), torch.sin(X[:, 2] - X[:, 3])
    Y = torch.stack([u + v, u - v, 2 * u, -v], 1)
    Y[torch.rand(n, 4, generator=generator) >= share] = torch.nan
    return Batch.of(X, Y)


def labelled(data: Batch) -> Batch:
    return data.take(data.mask.any(1).nonzero()[:, 0])


def error(engine: Engine, data: Batch) -> float:
    with torch.no_grad():
        return float(task_losses(engine, data).mean())


FAST = Batches(size=64, epochs=30)


@pytest.mark.parametrize("name", CONFLICTS)
def test_every_method_learns_sparse_labels(name: str) -> None:
    engine, test = engine_of(), table(300, 1.0, seed=9)
    before = error(engine, test)
    run = train(
        engine, table(256), conflicts=name, guidance=table(64, seed=5), optimiser=AdamW(rate=1e-2), batches=FAST
    )
    assert run.ending is Ending.STEP_LIMIT
    assert (run.steps, run.epochs) == (120, 30)
    assert error(engine, test) < 0.25 * before
    assert run.losses_trace.shape == run.weights_trace.shape == (120, 4)
    assert (run.updates <= 120).all()
    assert (run.updates > 0).all()
    assert all(p.grad is None for p in engine.parameters)


def test_the_plain_sum_is_torchs_adamw_by_hand() -> None:
    """Same order of rows, same parameters to rounding, in single precision too."""
    for dtype in (torch.float64, torch.float32):
        data, plan = labelled(table(100, dtype=dtype)), AdamW(rate=3e-3, weight_decay=0.1, warm_up=0.2)
        ours, theirs = engine_of(dtype=dtype), engine_of(dtype=dtype)
        orders: list[Tensor] = []
        inner = Batch.take

        def recording(self: Batch, index: Tensor) -> Batch:
            orders.append(index)  # noqa: B023
            return inner(self, index)  # noqa: B023

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Batch, "take", recording)
            train(ours, data, optimiser=plan, batches=Batches(size=32, epochs=3), seed=4)
        adam = torch.optim.AdamW(theirs.parameters, lr=1.0, weight_decay=0.1)
        for step, index in enumerate(orders):
            adam.param_groups[0]["lr"] = plan.rate_at(step, len(orders))
            adam.zero_grad()
            task_losses(theirs, data.take(index)).sum().backward()
            adam.step()
        assert len(orders) == 12
        torch.testing.assert_close(flat(ours.parameters), flat(theirs.parameters))


def test_every_row_is_met_once_an_epoch_in_batches_of_nearly_one_size() -> None:
    data, seen = table(103, 1.0), []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = perceptron((5, 8), torch.Generator().manual_seed(0), torch.float64)

        def forward(self, X: Tensor) -> Tensor:
            seen.append(X)
            z: Tensor = self.inner(X)
            return z

    train(engine_of(trunk=Counting()), data, batches=Batches(size=25, epochs=2))
    batches = [X for X in seen if len(X) > 3]  # besides the three rows that the trunk is looked at with
    assert sorted(len(X) for X in batches[:5]) == [20, 20, 21, 21, 21]
    first, second = torch.cat(batches[:5]), torch.cat(batches[5:])
    assert not torch.equal(first, second)
    for epoch in (first, second):
        torch.testing.assert_close(epoch[epoch[:, 0].argsort()], data.X[data.X[:, 0].argsort()])


def test_the_best_parameters_are_kept_and_patience_ends_the_run() -> None:
    engine, values = engine_of(), iter([5.0, 4.0, 1.0, 2.0, math.nan, 3.0, 9.0])
    at: list[Tensor] = []

    def validation() -> float:
        assert not engine.trunk.training
        at.append(flat(engine.parameters))
        return next(values)

    run = train(engine, table(64), batches=Batches(size=32, epochs=100, patience=4), validation=validation)
    assert run.ending is Ending.VALIDATED
    assert run.is_success
    assert (run.best_step, run.validation) == (4, 1.0)
    assert run.validations[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert torch.equal(flat(engine.parameters), at[2])
    assert engine.trunk.training  # as it came in


def test_the_same_seed_gives_the_same_run_and_the_global_generator_is_left_alone() -> None:
    def parameters(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        trunk = nn.Sequential(perceptron((5, 8), generator, torch.float64), nn.Dropout(0.3))
        engine = engine_of(trunk=trunk)
        train(engine, table(64), conflicts="pcgrad", batches=Batches(size=32, epochs=3), seed=seed)
        return flat(engine.parameters)

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = parameters(0)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(first, parameters(0))
    assert not torch.equal(first, parameters(1))


class Breaking:
    """Weights, or losses by an outsized step, that aren't finite after some steps."""

    def __init__(self, weight: float, after: int) -> None:
        self.weight, self.after = weight, after

    def init(self, m: int) -> dict[str, Tensor]:
        return {}

    def step(self, state: dict[str, Tensor], seen: object) -> tuple[Tensor, dict[str, Tensor]]:
        step, present = seen.step, seen.present  # type: ignore[attr-defined]
        weight = torch.tensor(self.weight if step >= self.after else 1.0, dtype=torch.float64)
        return torch.where(present, weight, 0.0), state


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (math.nan, "Breaking gave a weight of 'a' is nan after step 3; the parameters of that step are kept"),
        (1e308, "the gradient became NaN or infinite after step 3; the parameters of that step are kept"),
    ],
)
def test_what_is_not_finite_ends_the_run_with_finite_parameters(weight: float, words: str) -> None:
    engine = engine_of()
    run = train(engine, table(64, 1.0), conflicts=Breaking(weight, 3), batches=Batches(size=32, epochs=9))
    assert run.ending is Ending.NOT_FINITE
    assert not run.is_success
    assert run.steps == 3
    assert run.warnings == (words,)
    assert torch.isfinite(flat(engine.parameters)).all()


def test_bad_data_and_bad_starts_are_named() -> None:
    data = table(20, 1.0)
    broken = Batch(data.X, torch.where(torch.arange(4) == 2, math.inf, data.Y), data.mask)
    with pytest.raises(NumericalError, match="loss of 'c' is inf at the start; check labels"):
        train(engine_of(), broken)
    with pytest.raises(DataError, match=r"inputs are torch.float64, labels torch.float64, but the trunk's parameters"):
        train(engine_of(dtype=torch.float32), data)
    with pytest.raises(DataError, match="no row has a label"):
        train(engine_of(), Batch.of(data.X, torch.full_like(data.Y, torch.nan)))
    with pytest.raises(NumericalError, match="validation value is NaN at the start"):
        train(engine_of(), data, validation=lambda: math.nan)
    with pytest.raises(DataError, match="asks for a guidance batch, but there is none"):
        train(engine_of(), data, conflicts=AIM())


def test_a_task_without_labels_is_told_and_its_head_stays() -> None:
    data, engine = table(64), engine_of()
    mask = data.mask & (torch.arange(4) != 1)
    head = engine.heads.W[0][1].detach().clone()  # type: ignore[index]
    X = torch.cat([data.X, torch.full((9, 5), torch.nan).double()])  # rows without any label are passed over
    empty = Batch(
        X, torch.cat([data.Y, torch.zeros(9, 4).double()]), torch.cat([mask, torch.zeros(9, 4, dtype=torch.bool)])
    )
    run = train(engine, empty, conflicts="mgda", optimiser=AdamW(weight_decay=0.0), batches=FAST)
    assert run.warnings == ("no labels for 'b': their heads learn nothing",)
    assert torch.equal(head, engine.heads.W[0][1])  # type: ignore[index]
    assert run.updates[1] == 0
    assert np.isnan(run.losses_trace[:, 1]).all()
    assert np.isfinite(run.losses_trace[:, [0, 2, 3]]).all()


def test_limits_of_time_and_epochs_and_progress() -> None:
    seen: list[tuple[int, float]] = []
    run = train(
        engine_of(),
        table(64),
        batches=Batches(size=32, epochs=5, max_seconds=0.0),
        progress=lambda done, value: seen.append((done, value)),
    )
    assert (run.ending, run.steps) == (Ending.TIME_LIMIT, 0)
    run = train(engine_of(), table(64), batches=Batches(size=32, epochs=2), progress=lambda *at: seen.append(at))
    assert [done for done, _ in seen] == [1, 2, 3, 4]
    assert seen[-1][1] == pytest.approx(np.nansum(run.losses_trace[-1]))


def test_tasks_with_rows_of_their_own_use_fewer_labels() -> None:
    run = train(
        engine_of(),
        table(64, 1.0),
        conflicts=GCond(),
        optimiser=AdamW(rate=1e-2),
        batches=Batches(size=32, epochs=30, own_rows=2),
    )
    assert run.losses_trace[-1].sum() < 0.5 * run.losses_trace[0].sum()


def test_the_longest_step_is_clipped() -> None:
    moved = []
    for clip in (None, 1e-12):
        engine = engine_of()
        before = flat(engine.parameters)
        train(engine, table(32), optimiser=AdamW(clip=clip, warm_up=0.0), batches=Batches(epochs=1))
        moved.append(float((flat(engine.parameters) - before).norm()))
    assert moved[1] < 0.01 * moved[0]  # below epsilon, Adam no longer normalises


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [0.5, 1.0, 1.0, 1.0]), ("cosine", [0.5, 1.0, 0.505, 0.01]), ("geometric", [0.5, 1.0, 0.1, 0.01])],
)
def test_rates_rise_then_fall(schedule: str, expected: list[float]) -> None:
    plan = AdamW(rate=1.0, final_rate=0.01, warm_up=2 / 11, schedule=schedule)  # type: ignore[arg-type]
    assert [plan.rate_at(step, 11) for step in (0, 2, 6, 10)] == pytest.approx(expected)


@pytest.mark.parametrize("ρ", [(0.05, 0.02), (0.05, 0.0), (0.0, 0.02)])
def test_sharpness_aware_gradients_are_those_at_the_perturbed_parameters(ρ: tuple[float, float]) -> None:
    engine, batch = engine_of(), sparse_batch(30, 5, 4, 0.7, torch.Generator().manual_seed(0), torch.float64)
    c = torch.tensor([1.0, 0.3, 0.0, 2.0]).double()
    Sharpness(shared=ρ[0], private=ρ[1]).backward(engine.look(batch), c)
    found = [p.grad.clone() for p in engine.parameters if p.grad is not None]
    before = flat(engine.parameters)

    shared = [p for _, p in engine.shared]
    g_s = c @ task_gradients(engine, batch)
    g_p = flat(torch.autograd.grad(task_losses(engine, batch).sum(), engine.private))
    shift = torch.cat([ρ[0] * g_s / g_s.norm(), ρ[1] * g_p / g_p.norm()])
    with torch.no_grad():
        for p, part in zip(engine.parameters, shift.split([p.numel() for p in engine.parameters]), strict=True):
            p.add_(part.view_as(p))
    torch.testing.assert_close(flat(found[: len(shared)]), c @ task_gradients(engine, batch))
    own = torch.autograd.grad(task_losses(engine, batch).sum(), engine.private)
    torch.testing.assert_close(flat(found[len(shared) :]), flat(own))
    again = engine_of()
    Sharpness(shared=ρ[0], private=ρ[1]).backward(again.look(batch), c)
    assert torch.equal(flat(again.parameters), before)  # put back bit for bit


def test_sharpness_is_an_option_of_the_loop() -> None:
    engine, test = engine_of(), table(200, 1.0, seed=9)
    before = error(engine, test)
    train(engine, table(200), sharpness=Sharpness(), optimiser=AdamW(rate=1e-2), batches=FAST)
    assert error(engine, test) < 0.25 * before
    with pytest.raises(DataError, match="shared is -1"):
        Sharpness(shared=-1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdamW(rate=0.0), r"rate is 0\.0"),
        (lambda: AdamW(warm_up=1.0), r"warm_up is 1\.0; it must be a share in \[0, 1\)"),
        (lambda: AdamW(betas=(0.9, 1.0)), r"betas are \(0\.9, 1\.0\)"),
        (lambda: AdamW(schedule="step"), "schedule is 'step'"),  # type: ignore[arg-type]
        (lambda: Batches(size=0), "size is 0; it must be an integer >= 1"),
        (lambda: Batches(max_seconds=-1.0), r"max_seconds is -1\.0"),
    ],
)
def test_bad_settings_are_named(make: Callable[[], object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()
