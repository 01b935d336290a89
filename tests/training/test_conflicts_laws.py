"""What every method for conflicting tasks keeps to: order of tasks, absent tasks, one task, zeros, and its memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quadratic_tasks import Quadratics, QuadraticTasks, gradients_seen, random_quadratics
from torch import Tensor

from surrogates.errors import DataError, MissingExtraError
from surrogates.training import DynamicWeightAverage, GradNorm, SoftAdapt, Weighting
from surrogates.training.conflicts import (
    AIM,
    CONFLICTS,
    Aggregated,
    Colouring,
    Conflicts,
    GCond,
    LossWeights,
    PCGrad,
    conflicts_by_name,
    gradient_cosines,
    label_overlap,
    overlap_warnings,
)

METHODS: dict[str, Conflicts] = {name: conflicts_by_name(name) for name in CONFLICTS} | {
    "aim, one τ": AIM(policy="scalar", every=1),
    "pcgrad, old matrix": PCGrad(every=3),
    "colouring at once": Colouring(every=1, refresh=2, warm_up=0.0, schedule="constant", target=0.05, sketch=64),
    "gcond without sketches": GCond(stability=0.0, norm_cap=1.5),
    "dwa": LossWeights(DynamicWeightAverage(every=2)),
    "softadapt": LossWeights(SoftAdapt(window=3)),
    "famo of losses": LossWeights("famo"),
    "IMTLG": Aggregated("IMTLG"),
    "AlignedMTL": Aggregated("AlignedMTL"),
}
#: Their weights are 1 where there is one task.
PLAIN = set(METHODS) - {"si", "uncertainty"}
#: Draw the order of the tasks, or, where two could be coloured alike, take the first.
ORDERED = {"pcgrad", "pcgrad, old matrix", "colouring at once"}


def problem(seed: int, m: int = 4) -> Quadratics:
    return random_quadratics(m, 6, torch.Generator().manual_seed(seed))


def run(
    method: Conflicts, tasks: Quadratics, present: list[list[bool]], seed: int = 0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights (steps, m) along a plain descent, and the last state."""
    θ, state, generator = (
        torch.ones(tasks.a.shape[1]).double(),
        method.init(len(tasks.a)),
        torch.Generator().manual_seed(seed),
    )
    found = []
    for step, there in enumerate(present):
        seen = QuadraticTasks(tasks, θ, torch.tensor(there), step, len(present), generator)
        c, state = method.step(state, seen)
        found.append(c)
        θ = θ - 0.02 * seen.G.sum(0)
    return torch.stack(found), state


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_finite_and_of_double_precision(name: str) -> None:
    c, state = run(METHODS[name], problem(0), [[True] * 4] * 6)
    assert c.shape == (6, 4)
    assert c.dtype == torch.float64
    assert torch.isfinite(c).all()
    assert all(isinstance(value, Tensor) for value in state.values())


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(4)))
@pytest.mark.parametrize("name", sorted(set(METHODS) - ORDERED))
def test_the_order_of_the_tasks_makes_no_difference(name: str, seed: int, order: list[int]) -> None:
    tasks = problem(seed)
    permuted = Quadratics(tasks.a[order], tasks.H[order], None if tasks.held_out is None else tasks.held_out[order])
    c, _ = run(METHODS[name], tasks, [[True] * 4] * 4)
    d, _ = run(METHODS[name], permuted, [[True] * 4] * 4)
    torch.testing.assert_close(d, c[:, order], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_a_task_that_is_never_there_changes_nothing(name: str) -> None:
    tasks = problem(3)
    assert tasks.held_out is not None
    # without it also in the guidance, which sums over what the guidance batch has
    alone = Quadratics(tasks.a[:3], tasks.H[:3], tasks.held_out[:3])
    zeroed = Quadratics(tasks.a, torch.cat([tasks.H[:3], 0 * tasks.H[3:]]), tasks.held_out)
    c, _ = run(METHODS[name], zeroed, [[True, True, True, False]] * 6)
    d, _ = run(METHODS[name], alone, [[True] * 3] * 6)
    torch.testing.assert_close(c[:, :3], d, rtol=1e-9, atol=1e-12)
    assert (c[:, 3] == 0).all()


@pytest.mark.parametrize("name", METHODS)
def test_an_absent_task_keeps_its_part_of_the_state(name: str) -> None:
    method, tasks = METHODS[name], problem(5)
    _, before = run(method, tasks, [[True] * 4] * 3)
    # at a step in which every method looks, and not where the classes are coloured anew
    seen = QuadraticTasks(tasks, torch.ones(6).double(), torch.tensor([True, False, True, True]), 40, 100)
    c, after = method.step(before, seen)
    assert c[1] == 0
    for key, old in before.items():
        if key in ("colours", "winners"):
            continue  # of the graph, not of a task
        if old.ndim and len(old) == 4:
            assert torch.equal(after[key][1], old[1]), key
        if old.shape == (4, 4):
            assert torch.equal(after[key][:, 1], old[:, 1]), key


@pytest.mark.parametrize("name", METHODS)
def test_where_no_task_is_there_all_weights_are_zero(name: str) -> None:
    c, _ = run(METHODS[name], problem(5), [[True] * 4, [False] * 4, [True] * 4])
    assert (c[1] == 0).all()
    assert torch.isfinite(c).all()


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_one_task_alone_is_plain_descent(name: str) -> None:
    c, _ = run(METHODS[name], problem(1, m=1), [[True]] * 4)
    torch.testing.assert_close(c, torch.ones(4, 1).double())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("rows", [[0], [0, 1], [0, 1, 2]])
def test_gradients_of_zero_are_guarded(name: str, rows: list[int]) -> None:
    G = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    G[rows] = 0.0
    method = METHODS[name]
    state = method.init(3)
    for step in range(3):
        seen = gradients_seen(G, step=step)
        seen.losses = torch.where(seen.losses == 0, 1.0, seen.losses)
        c, state = method.step(state, seen)
        assert torch.isfinite(c).all()
        assert all(torch.isfinite(v).all() for key, v in state.items() if v.is_floating_point() and key != "norms")


@pytest.mark.parametrize("name", METHODS)
def test_a_state_that_was_saved_goes_on_as_if_nothing_had_been(name: str) -> None:
    method, tasks = METHODS[name], problem(7)
    generator, state = torch.Generator().manual_seed(0), method.init(4)
    for step in range(4):
        _, state = method.step(state, QuadraticTasks(tasks, torch.ones(6).double(), step=step, generator=generator))
    saved = {key: value.numpy().tobytes() for key, value in state.items()}, generator.get_state().clone()
    on, _ = method.step(state, QuadraticTasks(tasks, torch.zeros(6).double(), step=4, generator=generator))
    loaded = {
        key: torch.from_numpy(np.frombuffer(saved[0][key], value.numpy().dtype).copy()).reshape(value.shape)
        if value.numel()
        else value
        for key, value in state.items()
    }
    resumed = torch.Generator()
    resumed.set_state(saved[1])
    again, _ = METHODS[name].step(loaded, QuadraticTasks(tasks, torch.zeros(6).double(), step=4, generator=resumed))
    assert torch.equal(on, again)


COMING_AND_GOING = [[True, False, True], [True, True, False], [False, False, True], [True, True, True]]


@pytest.mark.parametrize(
    "weighting", [DynamicWeightAverage(every=3), SoftAdapt(5.0, window=3), SoftAdapt(5.0, "original")]
)
def test_losses_that_stay_have_equal_weights_though_their_tasks_come_and_go(weighting: Weighting) -> None:
    method = LossWeights(weighting)
    state = method.init(3)
    for step in range(24):
        seen = gradients_seen(torch.eye(3).double(), present=torch.tensor(COMING_AND_GOING[step % 4]), step=step)
        seen.losses = torch.where(seen.present, torch.tensor([1.0, 20.0, 0.3]).double(), torch.nan)
        c, state = method.step(state, seen)
        torch.testing.assert_close(c, seen.present.double())


def test_a_task_that_was_away_has_the_slope_of_its_own_losses() -> None:
    method = LossWeights(SoftAdapt(1.0, "original", window=3))
    state = method.init(2)
    both, first = [True, True], [True, False]
    for step, (there, losses) in enumerate(
        [(first, [8.0, 0.0]), (first, [7.0, 0.0]), (both, [6.0, 4.0]), (first, [5.0, 0.0]), (both, [4.0, 1.0])]
    ):
        seen = gradients_seen(torch.eye(2).double(), present=torch.tensor(there), step=step)
        seen.losses = torch.where(seen.present, torch.tensor(losses).double(), torch.nan)
        c, state = method.step(state, seen)
    # it fell by 3 between the two batches that it was in, the other by 1 in each
    torch.testing.assert_close(c, 2 * torch.softmax(torch.tensor([-1.0, -3.0]).double(), 0))


def test_methods_are_found_by_name_and_unknown_ones_named() -> None:
    assert set(CONFLICTS) >= {"sum", "si", "uncertainty", "famo", "pcgrad", "cagrad", "nashmtl", "fairgrad", "mgda"}
    assert set(CONFLICTS) >= {"aim", "gcond", "colouring", "lookahead"}
    with pytest.raises(DataError, match="'adam' for conflicting tasks is unknown; known are 'sum', 'si'"):
        conflicts_by_name("adam")


def test_what_an_adapter_cannot_use_is_refused_in_words() -> None:
    seen = gradients_seen(torch.eye(3).double())
    method = LossWeights(GradNorm())
    with pytest.raises(
        DataError, match="asks for the losses' gradients, which aren't copied out here; use a method on"
    ):
        method.step(method.init(3), seen)
    with pytest.raises(DataError, match="asks for vectors of residuals"):
        LossWeights("residual_attention").step(method.init(3), seen)
    with pytest.raises(
        DataError, match="no aggregator 'GradVac' that works on the Gram matrix alone and has no memory"
    ):
        Aggregated("GradVac").init(3)
    with pytest.raises(DataError, match="MGDA doesn't take these options"):
        Aggregated("MGDA", {"speed": 1}).init(3)


def test_without_torchjd_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(MissingExtraError, match=r"torchjd is not installed.*\[molecules\]"):
        Aggregated("MGDA").init(2)
    assert PCGrad().init(2)["gram"].shape == (2, 2)  # the library's own methods do without


def test_overlap_of_labels_is_counted_and_told() -> None:
    mask = torch.zeros(20, 3, dtype=torch.bool)
    mask[:10, 0] = mask[8:, 1] = mask[6:16, 2] = True  # 10, 12 and 10 labels
    overlap = label_overlap(mask)
    assert overlap[0].tolist() == [1.0, 0.2, 0.4]
    assert torch.equal(overlap, overlap.T)
    assert overlap_warnings(mask, ("a", "b", "c")) == (
        "gradient angles of 'a' and 'b' mean nothing: 20 % of the smaller task's rows have both labels",
    )
    mask[:, 2] = False
    assert float(label_overlap(mask)[0, 2]) == 0.0
    M = torch.tensor([[4.0, -3.0], [-3.0, 9.0]]).double()
    torch.testing.assert_close(gradient_cosines(M)[0, 1], torch.tensor(-0.5).double())
