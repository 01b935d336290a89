"""Bad input is refused in words that name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from advised import COSTS, candidates, fitted, reference, table

from surrogates import FittedHierarchicalGP, HierarchicalGP, InducingGP, Schema, as_dataset
from surrogates.design import LevelSet, Map, Optimum, advise
from surrogates.errors import DataError, UnitsError
from surrogates.gp import Categorical, Smooth

NAN, INF = float("nan"), float("inf")


def ask(**settings: Any) -> xr.Dataset:
    return advise(fitted("one draw"), **{"costs": COSTS, **settings})


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ({"fine": 0.0}, "the cost of 'fine' is 0.0; it must be a finite number above zero"),
        ({"fine": -1}, "the cost of 'fine' is -1;"),
        ({"fine": NAN}, "the cost of 'fine' is nan;"),
        ({"fine": INF}, "the cost of 'fine' is inf;"),
        ({"fine": "much"}, "the cost of 'fine' is 'much';"),
        ({"fine": True}, "the cost of 'fine' is True;"),
        ({("a", "rough"): -2.0}, r"the cost of \('a', 'rough'\) is -2.0;"),
        (
            {"laser": 1.0},
            "costs name 'laser'; the task 'part' may be 'a', 'b' and the fidelity 'gauge' may be 'fine', 'rough'",
        ),
        ({("c", "fine"): 1.0}, r"costs name \('c', 'fine'\); .*, as \(task, fidelity\)"),
        ({("fine", "a"): 1.0}, r"costs name \('fine', 'a'\)"),
        ({("a", "fine", 1): 1.0}, r"costs name \('a', 'fine', 1\)"),
        ({"a": 1.0}, "costs name 'a'"),
        ({}, "costs are empty; give the cost"),
        (0.0, "costs is 0.0; it must be"),
        (-3, "costs is -3;"),
        (NAN, "costs is nan;"),
        ("fine", "costs is 'fine';"),
        (None, "costs is None;"),
        (lambda rows: np.ones(3), r"costs gave numbers of shape \(3,\) for \d+ candidates"),
        (lambda rows: "much", "costs gave a str; one number for each candidate is wanted"),
        (lambda rows: 0.0 * rows["x"], "costs gave 0 for 'a' and 'fine'"),
        (
            lambda rows: xr.where(rows["gauge"] == "rough", NAN, 1.0),
            r"costs gave nan for 'a' and 'rough' \(\d+ of \d+ cand",
        ),
    ],
)
def test_costs(costs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ask(costs=costs)


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ("explore", "goal is 'explore'; give one of 'map', 'minimise', 'maximise', or a Map, LevelSet"),
        (3, "goal is 3"),
        (Map, "goal is <class"),
        (Map(tasks=["a", "z"]), "unknown task 'z'; the model knows 'a', 'b'"),
        (Map(tasks="a"), "the goal's tasks are 'a'; give a list"),
        (Map(tasks=[]), r"the goal's tasks are \[\]; give a list"),
        (Map(tasks={"a": 0.0}), "the goal's weight of 'a' is 0.0"),
        (Map(tasks={"a": NAN}), "the goal's weight of 'a' is nan"),
        (
            Map(tasks={"a": "much"}),  # type: ignore[dict-item]
            "the goal's weight of 'a' is 'much'",
        ),
        (Map(tasks={"a": [1.0, 2.0]}), r"the goal's weight of 'a' is \[1.0, 2.0\]"),  # type: ignore[dict-item]
        (Map(fidelity="laser"), "unknown fidelity 'laser'; the model knows 'fine', 'rough'"),
        (Map(reference=reference().drop_vars("v")), "the data have no variable 'v'"),
        (Map(reference=reference().assign(x=("place", np.full(7, NAN)))), "'x'"),
        (Map(reference=reference(0)), "the goal's reference has no place"),
        (
            Map(tasks=["a"], reference=reference().assign(part="b")),
            "the goal's reference has no place of a task that counts",
        ),
        (Map(reference=reference().assign(part="z")), "unknown part 'z'"),
        (Map(reference=[1.0, 2.0]), "expected an xarray.Dataset"),  # type: ignore[arg-type]
        ("minimise", "task isn't given, and the model knows 'a', 'b'; give task= one of them"),
        (Optimum(task="z"), "unknown task 'z'"),
    ],
)
def test_goals(goal: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ask(goal=goal)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LevelSet(NAN), "limit is nan; a finite number in the target's units is wanted"),
        (lambda: LevelSet("high"), "limit is 'high'"),  # type: ignore[arg-type]
        (lambda: Optimum("minimum"), "sense is 'minimum'; it must be 'minimise' or 'maximise'"),  # type: ignore[arg-type]
    ],
)
def test_goals_that_cant_be_made(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"z": (0, 1)}, r"bounds name 'z'; the inputs are \['x', 'v'\]"),
        (
            {"x": (2.0, 1.0)},
            r"bounds of 'x' are \(2.0, 1.0\); two finite numbers \(low, high\), low <= high, are wanted",
        ),
        ({"x": (0.0, NAN)}, "bounds of 'x' are"),
        ({"x": (0.0, INF)}, "bounds of 'x' are"),
        ({"x": 3.0}, "bounds of 'x' are 3.0"),
        ({"x": (0, 1, 2)}, "bounds of 'x' are"),
        ({"x": ("low", "high")}, "bounds of 'x' are"),
        ({"x": None}, "bounds of 'x' are None"),
    ],
)
def test_bounds(bounds: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ask(bounds=bounds)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 0}, "count is 0; it must be an integer >= 1"),
        ({"count": 1.5}, "count is 1.5"),
        ({"count": True}, "count is True"),
        ({"candidates": 0}, "candidates is 0; it must be an integer"),
        ({"candidates": 2.5}, "candidates is 2.5"),
        ({"candidates": "all"}, "candidates is 'all'"),
        ({"seed": -1}, "seed is -1; it must be an integer >= 0"),
        ({"seed": None}, "seed is None"),
        ({"candidates": candidates(0)}, "candidates hold no place"),
        ({"candidates": candidates().drop_vars("x")}, "the data have no variable 'x'"),
        ({"candidates": candidates().assign(x=("candidate", np.full(6, NAN)))}, "'x'"),
        ({"candidates": candidates().assign(part="z")}, "unknown part 'z'"),
        ({"candidates": candidates().assign(gauge=("candidate", ["fine"] * 5 + ["laser"]))}, "unknown gauge 'laser'"),
        (
            {"candidates": candidates().isel(candidate=[0]), "costs": {"rough": 1.0}},
            r"none of 1 candidates has a price \(0 have",
        ),
        ({"constraints": lambda rows: rows["x"] > 99.0}, r"constraints leave none of \d+ places within the bounds"),
        (
            {"constraints": lambda rows: rows["x"] > 99.0, "candidates": candidates()},
            r"none of 6 .* \(6 have\) and meets the con",
        ),
        (
            {"constraints": lambda rows: rows["x"]},
            r"constraints gave float64 of shape \(\d+,\) .* True or False for each",
        ),
        ({"constraints": lambda rows: True}, r"constraints gave bool of shape \(\)"),
        ({"pending": candidates().drop_vars("gauge")}, "pending lacks 'gauge'; every experiment under way has one"),
        ({"pending": candidates().assign(gauge="laser")}, "unknown gauge 'laser'"),
        ({"pending": candidates().drop_vars("v")}, "the data have no variable 'v'"),
        (
            {"goal": Map(reference=reference(30_000)), "candidates": 4096},
            r"60000 reference places, 8192 .* give fewer reference places",
        ),
    ],
)
def test_everything_else(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        ask(**settings)


def test_numbers_may_be_numpys() -> None:
    weights: Any = {"a": np.int64(2), "b": np.float32(1)}
    limit: Any = np.int64(1)
    xr.testing.assert_identical(ask(goal=Map(tasks={"a": 2.0, "b": 1.0})), ask(goal=Map(tasks=weights)))
    xr.testing.assert_identical(ask(goal=LevelSet(1)), ask(goal=LevelSet(limit)))


def test_units_must_be_those_of_the_fit() -> None:
    rows = candidates()
    with pytest.raises(UnitsError, match="'x' is in 'mm', but the model was fitted on data without units"):
        ask(candidates=rows.assign(x=rows["x"].assign_attrs(units="mm")))


def test_names_that_advice_needs_itself() -> None:
    data = table()[["x", "y"]].rename(x="cost")
    with pytest.raises(DataError, match="'cost' are names of what advice holds"):
        advise(HierarchicalGP(Schema(inputs="cost", target="y"), integrate=False).fit(data), costs=1.0)


def test_labels_that_an_input_doesnt_have() -> None:
    data = table()[["x", "part", "y"]]
    schema = Schema(inputs=("x", "part"), target="y")
    model = HierarchicalGP(schema, kernel=Smooth("x") * Categorical("part")).fit(data)
    with pytest.raises(DataError, match=r"bounds of 'part' are \['c'\]; labels among 'a', 'b' are wanted"):
        advise(model, costs=1.0, bounds={"part": ["c"]})
    with pytest.raises(DataError, match=r"bounds of 'part' are \[\]"):
        advise(model, costs=1.0, bounds={"part": []})


def test_costs_of_models_without_fidelities_or_tasks() -> None:
    data = table()[["x", "y", "part"]]
    tasks: FittedHierarchicalGP = HierarchicalGP(Schema(inputs="x", target="y", task="part")).fit(data)
    with pytest.raises(DataError, match=r"costs name 'fine'; the task 'part' may be 'a', 'b'$"):
        advise(tasks, costs={"fine": 1.0})
    alone: FittedHierarchicalGP = HierarchicalGP(Schema(inputs="x", target="y")).fit(data)
    with pytest.raises(
        DataError, match="costs name 'fine'; the model has neither tasks nor fidelities: give one number"
    ):
        advise(alone, costs={"fine": 1.0})
    with pytest.raises(DataError, match=r"the goal names tasks .* the model's schema names no task"):
        advise(alone, costs=1.0, goal=Map(tasks=["a"]))
    with pytest.raises(DataError, match=r"fidelity is 'fine', but the model's schema names no fidelity; leave it out"):
        advise(alone, costs=1.0, goal=Map(fidelity="fine"))


def test_models_whose_knowledge_has_no_closed_form() -> None:
    data = table()[["x", "y"]]
    schema = Schema(inputs="x", target="y")
    with pytest.raises(DataError, match="the target 'y' is warped"):
        advise(HierarchicalGP(schema, warp="log").fit(data), costs=1.0)
    large = InducingGP(schema, inducing=8).fit(data)
    with pytest.raises(DataError, match="a fitted HierarchicalGP or MultiFidelityGP is wanted, not a FittedInducingGP"):
        advise(large, costs=1.0)  # type: ignore[arg-type]
    counts = as_dataset(np.arange(8) % 3 + 1.0, np.arange(8.0), inputs=["n"])
    with pytest.raises(DataError, match="inputs are vectors"):
        advise(
            HierarchicalGP(Schema(inputs="n", target="y"), kernel="tanimoto", trend="constant").fit(counts), costs=1.0
        )
