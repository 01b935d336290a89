"""Asking and telling: what is asked is kept, what is told counts, and what can't be used is refused in words."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from surrogates import HierarchicalGP, MultiFidelityGP, Schema, as_dataset
from surrogates.design import Loop, Outcome, advise, run
from surrogates.errors import DataError, FileFormatError, ProblemError, UnitsError

MODEL = HierarchicalGP(Schema(inputs="x", target="y"), noise="none", integrate=False)
FIRST = as_dataset([0.0, 0.25, 0.6, 1.0], [0.3, 0.1, 0.5, 0.9], inputs=["x"])
LABELLED = Schema(inputs="x", target="y", task="part", fidelity="gauge")


def on_grid(fitted: Any, *, count: int, seed: int, pending: xr.Dataset | None, places: int = 41) -> xr.Dataset:
    """The least lower bounds on a grid, whatever is pending."""
    at = as_dataset(np.linspace(0, 1, places), inputs=["x"]).rename(sample="suggestion")
    answer = fitted.predict(at)
    bound = (answer["mean"] - 2 * answer["std"]).to_numpy()
    order = np.argsort(bound, kind="stable")[:count]
    return at.assign(gain=("suggestion", -bound)).isel(suggestion=order)


def at_random(fitted: Any, *, count: int, seed: int, pending: xr.Dataset | None) -> xr.Dataset:
    """Anywhere, by torch's global generator."""
    return xr.Dataset({"x": ("suggestion", torch.rand(count, dtype=torch.float64).numpy())})


def in_turn(places: list[float], **columns: Any) -> Any:
    """Suggests given places, one after the other, whatever the model says."""
    left = list(places)

    def suggest(fitted: Any, *, count: int, seed: int, pending: xr.Dataset | None) -> xr.Dataset:
        now = [left.pop(0) for _ in range(min(count, len(left)))]
        return xr.Dataset({"x": ("suggestion", np.array(now, dtype=float))} | columns)

    return suggest


def test_what_is_asked_is_pending_until_it_is_told() -> None:
    loop = Loop(MODEL, FIRST, at_random)
    asked = loop.ask(3)
    assert asked["id"].to_numpy().tolist() == [0, 1, 2]
    assert dict(asked.sizes) == {"suggestion": 3}
    xr.testing.assert_identical(loop.pending, asked)
    loop.tell(1, 0.7)
    assert loop.pending["id"].to_numpy().tolist() == [0, 2]
    assert loop.ask()["id"].to_numpy().tolist() == [3]
    loop.tell([0, 3], [0.1, 0.2])
    loop.tell(asked["id"][2], np.array([0.4]))
    assert loop.pending.sizes["suggestion"] == 0
    wanted = np.concatenate([FIRST["x"], asked["x"][[1, 0]]])
    np.testing.assert_array_equal(loop.data["x"][:6], wanted)
    np.testing.assert_array_equal(loop.data["y"], [0.3, 0.1, 0.5, 0.9, 0.7, 0.1, 0.2, 0.4])
    assert (loop.spent, loop.evaluations) == (4.0, 4)


def test_fitted_is_the_model_given_all_readings() -> None:
    loop = Loop(MODEL, FIRST, at_random, seed=3)
    run(loop, lambda at: float(at["x"]) ** 2, evaluations=3)
    at = as_dataset([0.3, 0.7], inputs=["x"])
    xr.testing.assert_identical(loop.fitted.predict(at), MODEL.fit(loop.data, seed=3).predict(at))
    few = Loop(MODEL, FIRST, at_random, seed=3, refit=4)
    run(few, lambda at: float(at["x"]) ** 2, evaluations=6)
    first, later = (few.data.isel(observation=part) for part in (slice(8), slice(8, None)))
    xr.testing.assert_identical(few.fitted.predict(at), MODEL.fit(first, seed=3).update(later).predict(at))


@pytest.mark.filterwarnings("ignore:too few places:surrogates.errors.FitWarning")
def test_a_new_task_leads_to_a_new_fit_even_where_it_cannot_be_added() -> None:
    model = HierarchicalGP(
        Schema(inputs="x", target="y", task="part"), sharing="icm", trend="constant", integrate=False
    )
    first = as_dataset(np.linspace(0, 1, 8), np.arange(8.0) % 3, inputs=["x"], task=["a", "b"] * 4).rename(task="part")
    loop = Loop(model, first, at_random, refit=100)
    loop.add(first.isel(sample=[0, 1]).assign(part=("sample", ["a", "c"])))
    loop.add(first.isel(sample=[2]))
    assert loop.fitted.vocabulary.tasks == ("a", "b", "c")
    assert loop.fitted.report.readings == 11


def test_fidelities_and_tasks_are_labels_of_suggestions(tmp_path: Path) -> None:
    model = MultiFidelityGP(LABELLED, fidelities=("low", "high"), structure="offset", kernel="rbf", trend="constant")
    x = np.linspace(0, 1, 12)
    first = xr.Dataset(
        {"x": ("n", x, {"units": "mm"}), "y": ("n", np.sin(x), {"units": "um"})},
        coords={"part": ("n", [1, 2] * 6), "gauge": ("n", ["low", "low", "high"] * 4)},
    )
    offered = xr.Dataset(
        {"x": ("suggestion", [300.0, 700.0], {"units": "um"}), "cost": ("suggestion", [1.0, 10.0])},
        coords={"part": ("suggestion", [1, 2]), "gauge": ("suggestion", ["low", "high"])},
    )
    pytest.importorskip("pint")
    with Loop(model, first, lambda fitted, **_: offered, path=tmp_path / "j") as loop:
        asked = loop.ask(2)
        np.testing.assert_allclose(asked["x"], [0.3, 0.7], rtol=1e-12)
        assert asked["x"].attrs == {"units": "mm"}
        loop.tell(1, 0.6)
        loop.tell(0, 0.2, cost=1.5)
    with Loop(model, first, lambda fitted, **_: offered, path=tmp_path / "j") as again:
        last = again.data.isel(observation=slice(-2, None))
        assert last["part"].to_numpy().tolist() == [2, 1]
        assert last["gauge"].to_numpy().tolist() == ["high", "low"]
        assert last["y"].attrs == {"units": "um"}
        assert again.spent == 11.5
        assert again.fitted.report.readings == 14


def test_an_experiment_that_fails_is_recorded_and_not_asked_for_again(tmp_path: Path) -> None:
    """Although `on_grid` would: it heeds nothing that is pending, and a failure changes no reading."""

    def experiment(at: xr.Dataset) -> float:
        x = float(at["x"])
        if 0.3 < x < 0.5:
            raise RuntimeError(f"the solver diverged at {x:g}")
        return float("nan") if x > 0.8 else (x - 0.45) ** 2

    model = HierarchicalGP(MODEL.schema, integrate=False)
    with Loop(model, FIRST, functools.partial(offering, at=41), path=tmp_path / "j", repeat=True) as loop:
        history = run(loop, experiment, evaluations=14, failures=14)
    failed = history.isel(observation=(history["failed"] != "").to_numpy())
    assert failed.sizes["observation"] >= 3
    assert len(set(failed["x"].to_numpy())) == failed.sizes["observation"]
    assert bool(np.isnan(failed["y"]).all())
    words = set(failed["failed"].to_numpy())
    assert any("RuntimeError: the solver diverged at 0.3" in text or "diverged at 0.4" in text for text in words)
    assert loop.data.sizes["observation"] == 4 + 14 - failed.sizes["observation"]
    assert float(history["spent"][-1]) == 14
    with Loop(model, FIRST, on_grid, path=tmp_path / "j", repeat=True) as again:
        xr.testing.assert_identical(again.to_dataset(), history)


def offering(fitted: Any, *, count: int, seed: int, pending: xr.Dataset | None, at: int) -> xr.Dataset:
    """`on_grid`, but with a random choice among all places where it is asked again."""
    best = on_grid(fitted, count=1, seed=seed, pending=None, places=at)
    if pending is None or not np.isclose(pending["x"], float(best["x"][0])).any():
        return best
    return xr.Dataset({"x": ("suggestion", np.random.default_rng(seed).uniform(0, 1, count))})


def test_the_last_words_of_a_value_that_is_none() -> None:
    loop = Loop(MODEL, FIRST, at_random)
    loop.ask(4)
    loop.tell([0, 1], [np.nan, -np.inf])
    loop.tell(2, failed="the part fell off the table", cost=3.0)
    history = loop.to_dataset()
    assert history["failed"].to_numpy()[4:].tolist() == [
        "the value is nan",
        "the value is -inf",
        "the part fell off the table",
    ]
    assert (loop.spent, loop.evaluations, loop.data.sizes["observation"]) == (5.0, 3, 4)


@pytest.mark.parametrize(
    ("returned", "words"),
    [("much", "ValueError: could not convert"), (None, "TypeError"), ([1.0, 2.0], "TypeError"), ({}, "TypeError")],
)
def test_what_is_no_number_is_a_failed_experiment(returned: Any, words: str) -> None:
    loop = Loop(MODEL, FIRST, at_random)
    with pytest.raises(ProblemError, match=f"failed 2 times in a row, the last time with .{words}"):
        run(loop, lambda at: returned, evaluations=9, failures=2)
    assert loop.evaluations == 2
    run(loop, lambda at: float(at["x"]), evaluations=3)
    assert loop.evaluations == 3


def test_an_interrupt_is_no_outcome() -> None:
    def interrupted(at: xr.Dataset) -> float:
        raise KeyboardInterrupt

    loop = Loop(MODEL, FIRST, at_random)
    with pytest.raises(KeyboardInterrupt):
        run(loop, interrupted, evaluations=2)
    assert (loop.evaluations, loop.pending.sizes["suggestion"]) == (0, 1)
    asked = loop.pending["x"].to_numpy()
    run(loop, lambda at: float(at["x"]), evaluations=1)
    np.testing.assert_array_equal(loop.data["x"][4:], asked)


def test_the_same_place_is_not_asked_twice_unless_that_is_wanted() -> None:
    loop = Loop(MODEL, FIRST, in_turn([0.25, 0.25 + 1e-12, 0.4, 0.4, 0.5]))
    assert loop.ask(2)["x"].to_numpy().tolist() == [0.4, 0.5]  # 0.25 was read, 0.4 is under way
    noisy = Loop(MODEL, FIRST, in_turn([0.25, 0.4, 0.4, 0.5]), repeat=True)
    assert noisy.ask(3)["x"].to_numpy().tolist() == [0.25, 0.4, 0.5]
    noisy.tell([0, 1, 2], [0.1, 0.2, 0.3])
    loop = Loop(MODEL, FIRST, in_turn([0.25] * 10))
    with pytest.warns(
        UserWarning, match="only places that failed, are under way, or have been read, the last {'x': 0.25}"
    ):
        assert loop.ask().sizes["suggestion"] == 0
    with pytest.warns(UserWarning, match="nothing is asked"):
        history = run(loop, lambda at: 1.0, evaluations=5)
    assert history.sizes["observation"] == 4


def test_a_loop_ends_when_nothing_is_suggested() -> None:
    history = run(Loop(MODEL, FIRST, in_turn([0.1, 0.2])), lambda at: float(at["x"]), evaluations=9)
    assert history["x"].to_numpy()[4:].tolist() == [0.1, 0.2]


def test_costs_and_budget(tmp_path: Path) -> None:
    suggest = functools.partial(in_turn, cost=2.0)
    places = [0.1, 0.2, 0.3, 0.4]
    with Loop(MODEL, FIRST, suggest(places), path=tmp_path / "j") as loop:
        history = run(loop, lambda at: float(at["x"]), budget=5.0)
        assert history["spent"].to_numpy()[4:].tolist() == [2.0, 4.0]
        assert loop.pending["x"].to_numpy().tolist() == [0.3]  # it would cost too much
    with Loop(MODEL, FIRST, suggest(places[3:]), path=tmp_path / "j") as loop:
        history = run(loop, lambda at: Outcome(float(at["x"]), cost=0.5), budget=6.5)
    assert history["x"].to_numpy()[4:].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert history["spent"].to_numpy()[4:].tolist() == [2.0, 4.0, 4.5, 5.0]


def test_run_stops_when_told_to() -> None:
    loop = Loop(MODEL, FIRST, at_random)
    run(loop, lambda at: float(at["x"]), stop=lambda loop: loop.data.sizes["observation"] == 6)
    assert loop.evaluations == 2


def test_history_says_what_was_best() -> None:
    schema = Schema(inputs="x", target="y", task="part")
    first = as_dataset([0.0, 0.5, 1.0, 0.2], [3.0, 5.0, 4.0, 2.0], inputs=["x"], task=["a", "b", "a", "b"])
    loop = Loop(HierarchicalGP(schema), first.rename(task="part"), at_random)
    loop.add(pd.DataFrame({"x": [0.1, 0.7, 0.8], "part": ["a", "a", "b"], "y": [2.5, np.nan, 1.0], "cost": 2.0}))
    down, up = loop.to_dataset(), loop.to_dataset(maximise=True)
    assert down["best"].to_numpy().tolist() == [3.0, 5.0, 3.0, 2.0, 2.5, 2.5, 1.0]
    assert up["best"].to_numpy().tolist() == [3.0, 5.0, 4.0, 5.0, 4.0, 4.0, 5.0]
    assert down["id"].to_numpy().tolist() == [-1, -1, -1, -1, 0, 1, 2]
    assert down["spent"].to_numpy().tolist() == [0, 0, 0, 0, 2, 4, 6]
    assert np.isnan(down["y"].to_numpy()[5])


def test_known_noise_comes_with_the_value() -> None:
    model = HierarchicalGP(Schema(inputs="x", target="y", noise="σ"))
    loop = Loop(model, FIRST.assign(σ=("sample", [0.1] * 4)), at_random)
    loop.ask(2)
    with pytest.raises(DataError, match="names the known noise 'σ'; give it with the value, noise="):
        loop.tell(0, 0.4)
    loop.tell(0, 0.4, noise=0.02)
    assert loop.data["σ"].to_numpy().tolist() == [0.1] * 4 + [0.02]
    run(loop, lambda at: Outcome(0.5, noise=0.03), evaluations=2)
    assert float(loop.data["σ"][-1]) == 0.03


def test_torchs_generator_is_seeded_for_suggestions_and_left_as_it_was() -> None:
    asked = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        torch.rand(noise)
        state = torch.get_rng_state()
        asked.append(Loop(MODEL, FIRST, at_random, seed=4).ask(2)["x"].to_numpy())
        assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(asked[0], asked[1])
    assert not np.array_equal(asked[0], Loop(MODEL, FIRST, at_random, seed=5).ask(2)["x"].to_numpy())


@dataclass(frozen=True)
class Mean:
    """The least that a loop takes for a model."""

    schema: Schema
    value: float = 0.0

    def fit(self, data: xr.Dataset, *, seed: int = 0) -> Mean:
        return Mean(self.schema, float(data["y"].mean()))

    def update(self, data: xr.Dataset) -> Mean:
        raise AssertionError("refit=1 never updates")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=4, max_size=20), st.integers(0, 3))
def test_a_loop_in_memory_and_one_from_its_journal_agree(steps: list[tuple[int, int]], seed: int) -> None:
    """Whatever is asked, told and added in whatever order, and wherever it is interrupted."""
    model = Mean(MODEL.schema)
    with tempfile.TemporaryDirectory() as folder:
        kept, path = Loop(model, FIRST, at_random, seed=seed), Path(folder) / "j"
        for step, number in steps:
            with Loop(model, FIRST, at_random, path=path, seed=seed) as again:
                xr.testing.assert_identical(kept.to_dataset(), again.to_dataset())
                xr.testing.assert_identical(kept.pending, again.pending)
                assert kept.fitted == again.fitted
                for loop in (kept, again):
                    known = loop.pending["id"].to_numpy().tolist()
                    if step == 0:
                        loop.add(as_dataset([number / 10 + 0.01], [float(number)], inputs=["x"]))
                    elif step == 1 and known:
                        loop.tell(known[number % len(known)], number / 7)
                    elif step == 2 and known:
                        loop.tell(known[number % len(known)], failed="no")
                    elif step == 3:
                        loop.ask(1 + number % 3)


def test_advise_is_a_suggest(tmp_path: Path) -> None:
    """With two gauges of different cost, one of which can't reach a part of the range."""
    x = np.linspace(0, 1, 10)
    first = as_dataset(x, np.sin(5 * x), inputs=["x"], task=["a", "b"] * 5, fidelity=["cheap", "precise"] * 5)
    model = HierarchicalGP(LABELLED, integrate=False)
    suggest = functools.partial(advise, costs={"cheap": 1.0, "precise": 4.0}, goal="map", candidates=8)

    def experiment(at: xr.Dataset) -> float:
        if str(at["gauge"].values) == "cheap" and float(at["x"]) > 0.5:
            raise RuntimeError("out of reach")
        return float(np.sin(5 * at["x"]))

    first = first.rename(task="part", fidelity="gauge")
    with Loop(model, first, suggest, path=tmp_path / "j") as loop:
        history = run(loop, experiment, evaluations=5, batch=2)
    costs = np.where(history["gauge"] == "cheap", 1.0, 4.0)[10:]
    np.testing.assert_allclose(history["spent"][10:], np.cumsum(costs))
    asked = history.isel(observation=slice(10, None))
    places = {
        tuple(map(str, row)) for row in zip(asked["x"].values, asked["part"].values, asked["gauge"].values, strict=True)
    }
    assert len(places) == 5
    with Loop(model, first, suggest, path=tmp_path / "j") as resumed:
        next_one = resumed.ask()
    with Loop(model, first, suggest) as other:
        xr.testing.assert_identical(run(other, experiment, evaluations=5, batch=2), history)
        xr.testing.assert_identical(other.ask(), next_one)


# --- what can't be used ---


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda loop: loop.tell(9, 1.0), r"id 9 is unknown; pending are \[1\]"),
        (lambda loop: loop.tell(0, 1.0), r"id 0 was told before: its 'y' is 0.5; one outcome for each"),
        (lambda loop: loop.tell([1, 1], [1.0, 2.0]), "name a suggestion twice"),
        (lambda loop: loop.tell([1], [1.0, 2.0]), r"2 values for the 1 ids \[1\]"),
        (lambda loop: loop.tell(1), "need either a value or, in failed="),
        (lambda loop: loop.tell(1, 2.0, failed="no"), "need either a value or, in failed="),
        (lambda loop: loop.tell(1, "high"), "value of 'y' is 'high', a str; one number is wanted"),
        (lambda loop: loop.tell(1, 1.0, cost=-1), "cost is -1.0; a finite number >= 0 is wanted"),
        (lambda loop: loop.tell(1, 1.0, cost=np.nan), "cost is nan; a finite number >= 0"),
        (lambda loop: loop.tell(True, 1.0), "id is True; it must be an integer >= 0"),
        (lambda loop: loop.ask(0), "count is 0; it must be an integer >= 1"),
        (lambda loop: loop.ask(1.5), "count is 1.5; it must be an integer"),
        (lambda loop: loop.add(xr.Dataset({"x": ("n", [0.5])})), "add gave no 'y'; each row needs 'x', 'y'"),
        (lambda loop: loop.add(as_dataset([np.nan], [1.0], inputs=["x"])), "add gave 'x' = nan; a finite number"),
        (lambda loop: loop.add([0.5, 1.0]), r"add gave list; an xarray.Dataset with \('x',\) is wanted"),
        (lambda loop: loop.add(as_dataset([0.5], [1.0], inputs=["x"]).assign(cost=-2.0)), "cost is -2.0; a finite"),
    ],
)
def test_bad_calls_are_refused_and_leave_no_trace(call: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Loop(MODEL, FIRST, at_random, path=path) as loop:
        loop.ask(2)
        loop.tell(0, 0.5)
        before = path.read_bytes()
        with pytest.raises(DataError, match=words):
            call(loop)
        assert path.read_bytes() == before
        loop.tell(1, 0.7)


@pytest.mark.parametrize(
    ("offered", "words"),
    [
        (None, r"suggest gave NoneType; an xarray.Dataset with \('x', 'part', 'gauge'\) is wanted"),
        (xr.Dataset({"x": ("s", [0.5])}), "suggest gave no 'part', 'gauge'; each row needs"),
        ({"x": [0.5, 0.6], "part": "a", "gauge": "low"}, "gave 2 places where 1 were wanted"),
        ({"x": [np.inf], "part": "a", "gauge": "low"}, "suggest gave 'x' = inf; a finite number"),
        ({"x": [0.5], "part": "a", "gauge": [None]}, "suggest gave 'gauge' with missing labels"),
        ({"x": [0.5], "part": "a", "gauge": "low", "cost": -1.0}, "suggest gave the cost -1.0; costs are numbers >= 0"),
        ({"x": [0.5], "part": "a", "gauge": "low", "cost": np.nan}, "suggest gave 'cost' = nan; a finite number"),
    ],
)
def test_bad_suggestions_are_refused(offered: Any, words: str) -> None:
    first = FIRST.assign(part=("sample", ["a", "b", "a", "b"]), gauge=("sample", ["low", "low", "low", "low"]))
    table: Any = pd.DataFrame(offered) if isinstance(offered, dict) else offered
    loop = Loop(HierarchicalGP(LABELLED, trend="constant"), first, lambda fitted, **_: table)
    with pytest.raises(DataError, match=words):
        loop.ask()
    assert loop.pending.sizes["suggestion"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": MODEL.schema}, "model is a Schema; an unfitted configuration with a schema is wanted"),
        ({"suggest": "best"}, "suggest is 'best'; a function"),
        (
            {"data": FIRST.assign(y=FIRST["y"] * np.nan)},
            "first data hold no observed 'y'; a loop starts from at least one",
        ),
        ({"data": FIRST.assign(y=FIRST["y"] * np.inf)}, "first data hold 'y' = inf"),
        ({"data": FIRST.drop_vars("x")}, "the first data gave no 'x'"),
        ({"data": FIRST.assign(x=("n", [1.0]))}, "along 'n', along which 'y' doesn't run"),
        ({"seed": -1}, "seed is -1; it must be an integer >= 0"),
        ({"refit": 0}, "refit is 0; it must be an integer >= 1"),
    ],
)
def test_a_loop_needs_what_it_needs(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"model": MODEL, "data": FIRST, "suggest": at_random} | change
    with pytest.raises(DataError, match=words):
        Loop(**arguments, path=tmp_path / "j")
    assert not (tmp_path / "j").exists()


def test_units_are_those_of_the_first_data() -> None:
    first = FIRST.assign(x=FIRST["x"].assign_attrs(units="mm"))
    loop = Loop(MODEL, first, at_random)
    with pytest.raises(UnitsError, match="'x' has no units, but the model knows it in 'mm'"):
        loop.ask()


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "nothing would end the run; give budget=, evaluations= or stop="),
        ({"budget": -1.0}, "budget is -1.0; a number >= 0"),
        ({"budget": np.nan}, "budget is nan"),
        ({"evaluations": 2.5}, "evaluations is 2.5; it must be an integer"),
        ({"evaluations": 3, "batch": 0}, "batch is 0"),
        ({"evaluations": 3, "failures": 0}, "failures is 0"),
    ],
)
def test_a_run_needs_an_end(limits: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        run(Loop(MODEL, FIRST, at_random), lambda at: 1.0, **limits)


def test_a_closed_loop_tells_that_it_is_closed(tmp_path: Path) -> None:
    loop = Loop(MODEL, FIRST, at_random, path=tmp_path / "j")
    loop.close()
    with pytest.raises(FileFormatError, match="is closed; open it again"):
        loop.ask()
    assert repr(loop).endswith("j: 0 evaluations, 0 pending>")
    assert repr(Loop(MODEL, FIRST, at_random)) == "<Loop in memory: 0 evaluations, 0 pending>"
