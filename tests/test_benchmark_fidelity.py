"""The benchmark of several fidelities: its designs, its scores, its file of results, and its tables."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import multi_fidelity as benchmark
from multi_fidelity_cases import COUNTS, MISLEADING, Case, case, nested_designs
from multi_fidelity_methods import Answer, methods
from multi_fidelity_tables import AUTO, IGNORE, medians, regrets, scores, tables
from results import records

from surrogates import HierarchicalGP, Schema
from surrogates.datasets import FUNCTIONS


def precise_alone(problem: Case, seconds: float) -> Answer:
    """A Gaussian process of the precise readings."""
    precise = problem.data.isel(sample=np.flatnonzero(problem.data["fidelity"].to_numpy() == problem.levels[-1]))
    answer = (
        HierarchicalGP(Schema(inputs=problem.inputs, target="y"), integrate=False).fit(precise).predict(problem.places)
    )
    return Answer(answer["mean"].to_numpy(), answer["std"].to_numpy())


def test_designs_are_nested_and_the_costliest_is_a_latin_hypercube() -> None:
    low, medium, high = nested_designs((30, 12, 5), 3, np.random.default_rng(0))
    assert [part.shape for part in (low, medium, high)] == [(30, 3), (12, 3), (5, 3)]
    sets = [set(map(tuple, part)) for part in (high, medium, low)]
    assert sets[0] < sets[1] < sets[2]
    assert len(sets[2]) == 30
    for column in high.T:
        assert sorted(np.floor(5 * column)) == [0, 1, 2, 3, 4]
    # a point for each of the 30 intervals, but for those in which a costlier point took the place of its neighbour
    assert min(len(set(np.floor(30 * column))) for column in low.T) >= 30 - 12


def test_cases_hold_the_functions_values_and_are_the_same_each_time() -> None:
    for name in ("forrester", "branin", "trid_unlike"):
        function, problem = FUNCTIONS[name], case(name, 3, places=50)
        assert tuple(map(len, problem.y)) == COUNTS[name] == tuple(map(len, problem.x))
        x = np.stack([problem.data[i].to_numpy() for i in function.inputs], axis=1)
        low, high = np.array(function.bounds).T
        np.testing.assert_allclose((x - low) / (high - low), np.concatenate(problem.x), atol=1e-12)
        for level, y in zip(function.levels, problem.y, strict=True):
            mine = problem.data["fidelity"].to_numpy() == level
            np.testing.assert_array_equal(function(x[mine], level), y)
        at = np.stack([problem.places[i].to_numpy() for i in function.inputs], axis=1)
        np.testing.assert_array_equal(function(at, function.levels[-1]), problem.truth)
        again, other = case(name, 3, places=50), case(name, 4, places=50)
        np.testing.assert_array_equal(problem.truth, again.truth)
        assert not np.array_equal(problem.x[0], other.x[0])


def test_there_are_enough_functions_and_some_mislead() -> None:
    assert set(COUNTS) == set(FUNCTIONS)
    assert len(COUNTS) >= 14
    assert len(MISLEADING) >= 4
    for name in COUNTS:
        problem = case(name, 0, places=4000)
        low, high = np.array(FUNCTIONS[name].bounds).T
        cheap = FUNCTIONS[name](np.clip(low + (high - low) * problem.at, low, high), problem.levels[0])
        correlation = np.corrcoef(cheap, problem.truth)[0, 1]
        assert (abs(correlation) < 0.3) == (name in MISLEADING), name


def test_scores_of_known_answers() -> None:
    problem = case("forrester", 0, places=200)
    spread = problem.truth.std()
    exact = benchmark.judged(problem, lambda p, s: Answer(p.truth, np.full(200, spread)), 10.0)
    assert exact["nrmse"] == 0
    assert exact["coverage"] == 1
    assert exact["nlpd"] == pytest.approx(0.5 * math.log(2 * math.pi))
    mean = benchmark.judged(problem, lambda p, s: Answer(np.full(200, p.truth.mean()), np.zeros(200), 7.0), 10.0)
    assert mean["nrmse"] == pytest.approx(1)
    assert mean["coverage"] == 0
    assert mean["seconds"] == 7


def test_failures_and_slow_fits_are_results() -> None:
    def slow(problem: Case, seconds: float) -> Answer:
        while True:
            time.sleep(0.01)

    def failing(problem: Case, seconds: float) -> Answer:
        raise ValueError("singular")

    problem = case("forrester", 0, places=10)
    assert benchmark.judged(problem, failing, 10.0)["error"] == "ValueError: singular"
    assert (
        benchmark.judged(problem, lambda p, s: Answer(np.full(10, np.nan), np.ones(10)), 1.0)["error"] == "not finite"
    )
    if hasattr(__import__("signal"), "SIGALRM"):
        began = time.perf_counter()
        assert benchmark.judged(problem, slow, 0.2)["error"] == "more than 0.2 s"
        assert time.perf_counter() - began < 5


def test_a_study_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    out, seen = tmp_path / "results.jsonl", []

    def spy(problem: Case, seconds: float) -> Answer:
        seen.append((problem.name, problem.seed, len(problem.truth)))
        return precise_alone(problem, seconds)

    benchmark.study(out, {"alone": spy}, ["forrester"], [0], 60.0)
    assert seen == [("forrester", 0, 2), ("forrester", 0, 1000)]  # the first call isn't timed
    benchmark.study(out, {"alone": spy}, ["forrester", "currin"], [0, 1], 60.0)
    assert seen[3:] == [("currin", 0, 1000), ("forrester", 1, 1000), ("currin", 1, 1000)]
    found = records(out)
    assert [(entry["function"], entry["seed"]) for entry in found] == [
        ("forrester", 0), ("currin", 0), ("forrester", 1), ("currin", 1),
    ]  # fmt: skip
    assert all(0.1 < entry["nrmse"] < 2 for entry in found)
    seen.clear()
    benchmark.study(out, {"alone": spy}, ["forrester", "currin"], [0, 1], 60.0)
    assert seen == []


def results() -> list[dict[str, Any]]:
    """Two functions, three seeds; errors chosen by hand."""
    errors: dict[tuple[str, str], list[float | None]] = {
        ("forrester", AUTO): [0.1, 0.2, 0.6],
        ("forrester", IGNORE): [0.5, 0.5, 0.5],
        ("forrester", "ours:offset"): [0.1, 0.1, 0.9],
        ("forrester", "peer"): [0.1, 0.1, None],
        ("nonlinear_sine", AUTO): [1.05, 1.1, 1.05],
        ("nonlinear_sine", IGNORE): [1.0, 1.0, 1.0],
        ("nonlinear_sine", "ours:offset"): [2.0, 2.0, 2.0],
        ("nonlinear_sine", "peer"): [0.5, None, None],
    }
    return [
        {"function": function, "seed": seed, "method": method}
        | ({"error": "failed"} if e is None else {"nrmse": e, "nlpd": 0.0, "coverage": 0.9, "seconds": 1.0})
        for (function, method), row in errors.items()
        for seed, e in enumerate(row)
    ]


def test_medians_count_failures_as_the_worst() -> None:
    middle = medians(scores(results(), list(COUNTS)), "nrmse")
    assert middle.loc["forrester", "peer"] == 0.1
    assert middle["peer"].isna()["nonlinear_sine"]
    assert middle.loc["forrester", AUTO] == 0.2


def test_regrets() -> None:
    found = regrets(scores(results(), list(COUNTS)))
    forrester, sine = found.loc["forrester"], found.loc["nonlinear_sine"]
    assert (forrester["best"], sine["best"]) == ("ours:offset", IGNORE)
    assert forrester["auto/best"] == pytest.approx(2.0)
    assert forrester["auto/ignore"] == pytest.approx(0.4)
    assert forrester["regret 95 %"] == pytest.approx(np.percentile([1.0, 2.0, 1.2], 95))
    assert sine["auto/best"] == sine["auto/ignore"] == pytest.approx(1.05)
    assert not forrester["misleads"]
    assert sine["misleads"]


def test_tables_tell_all_methods_and_failures() -> None:
    text = tables(results(), ["forrester", "nonlinear_sine"])
    assert "seeds: ours:auto 3, ours:ignore 3, ours:offset 3, peer 3" in text
    assert "peer           3" in text
    for title in ("median nRMSE", "median NLPD", "median coverage", "median seconds", "choosing"):
        assert title in text
    assert tables(results() + results(), ["forrester", "nonlinear_sine"]) == text  # two runs at once may do the same
    assert tables([], ["forrester"]) == "no results"


def test_all_methods_have_names() -> None:
    known = methods()
    assert [name for name in known if name.startswith("ours:")][:2] == [AUTO, IGNORE]
    assert {"SMT MFK", "SMT MFCK", "BoTorch MultiTaskGP", "BoTorch SingleTaskMultiFidelityGP"} < set(known)
    assert {"emukit linear", "emukit nonlinear"} == set(methods("python")) - set(known)
