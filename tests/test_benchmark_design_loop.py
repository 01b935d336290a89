"""The benchmark of design loops: its families are what it says, and its table tells what the loops did."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import design_loop as benchmark
from design_loop_fidelities import CHEAP, DEAR, FIDELITY_STUDIES, first_readings
from design_loop_problems import NEW, STUDIES, make_case, member, sobol


@pytest.mark.parametrize("name", STUDIES)
def test_old_tasks_are_alike_or_not(name: str) -> None:
    """By the correlation of the new task's function with the old ones' readings, over eight draws."""
    study, alike = STUDIES[name], []
    for seed in range(8):
        case = make_case(study, seed)
        assert set(case.old["task"].to_numpy().tolist()) == {f"old {t}" for t in range(study.old)}
        for t in range(study.old):
            rows = case.old.isel(sample=np.flatnonzero(case.old["task"] == f"old {t}"))
            x = np.stack([rows[input].to_numpy() for input in case.inputs], axis=-1)
            assert len(x) == study.readings
            alike.append(np.corrcoef(rows["y"], case.function(x))[0, 1])
    assert (np.median(alike) > 0.75) if study.related else (abs(np.mean(alike)) < 0.25)


@pytest.mark.parametrize("name", ["forrester", "branin", "hartmann3"])
def test_the_least_value_is_the_least(name: str) -> None:
    study = STUDIES[name]
    for seed in range(3):
        case = make_case(study, seed)
        values = case.function(sobol(4096, len(case.inputs), np.random.default_rng(seed)))
        assert -1e-6 <= values.min() - case.minimum < 0.3
        assert 0.6 < values.std() < 1.5


def test_a_family_of_no_translation_differs_by_scale_and_offset_and_a_little() -> None:
    x = sobol(1024, 2, np.random.default_rng(0))
    one, other = (member(STUDIES["branin"].base, np.random.default_rng(k), 0.0)(x) for k in range(2))
    assert np.corrcoef(one, other)[0, 1] > 0.98


def test_cheap_levels_are_cheap_and_the_minimum_is_that_of_the_dear_one() -> None:
    for study in FIDELITY_STUDIES.values():
        x = sobol(2048, study.inputs, np.random.default_rng(1))
        assert -1e-4 <= study(x, DEAR).min() - study.minimum < 0.3
        assert study(x, DEAR).std() == pytest.approx(1, rel=0.1)
        data = first_readings(study, 0, cheap=True)
        assert (data["fidelity"] == CHEAP).sum() == 5 * study.inputs
        assert (data["fidelity"] == DEAR).sum() == study.inputs + 1


def test_a_curve_knows_what_was_spent_when() -> None:
    curve = benchmark.curve(np.array([1.0, 1.0, 0.5, 2.0]), np.array([0.4, 0.6, 0.1, 0.2]))
    assert curve.regret.tolist() == [0.4, 0.4, 0.1, 0.1]
    assert (curve.at(0.5), curve.at(2.0), curve.at(2.5), curve.at(9.0)) == (np.inf, 0.4, 0.1, 0.1)
    assert (curve.cost_to_meet(0.4), curve.cost_to_meet(0.3), curve.cost_to_meet(0.05)) == (1.0, 2.5, np.inf)
    slow = benchmark.curve(np.ones(5), np.array([0.9, 0.5, 0.3, 0.3, 0.1]))
    never = benchmark.curve(np.ones(5), np.full(5, 0.7))
    assert benchmark.ratios([curve, never, slow], [slow] * 3, 5.0).tolist() == [0.5, 2.0, 1.0]


@pytest.mark.slow
def test_the_quick_run_tells_what_its_loops_did(capsys: pytest.CaptureFixture[str]) -> None:
    results = benchmark.main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("|")[1].strip() for line in lines if line.startswith("| ")}
    assert {benchmark.REFERENCE, "ours, common", "ours, two fidelities", "random search"} <= rows
    assert set(results) == {"forrester", "forrester, fidelities"}
    for curves in results.values():
        assert all(
            (np.diff(curve.regret) <= 0).all() and (np.diff(curve.cost) > 0).all() for [curve] in curves.values()
        )
    [ours], [alone] = results["forrester"]["ours, common"], results["forrester"][benchmark.REFERENCE]
    assert ours.regret[-1] <= benchmark.FOUND  # which one reading of the new task doesn't
    assert ours.cost_to_meet(benchmark.FOUND) < alone.cost_to_meet(benchmark.FOUND)
    assert NEW not in set(make_case(STUDIES["forrester"], 0).old["task"].to_numpy().tolist())
