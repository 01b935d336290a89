"""The benchmark of optimal control runs, and its peers agree with the library: each is the other's truth."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))
import control_families as families
import control_single as single
import optimal_control as benchmark
from control_peers import Table

from surrogates.control import FamilyRoad
from surrogates.errors import NumericalError
from surrogates.physics.optimal_control import solve

SIZES = families.Sizes(judged=12, quick=64, batch=12, single=2, repeats=2)


def test_methods_agree_on_a_single_problem(capsys: pytest.CaptureFixture[str]) -> None:
    question = single.Question.named("double_integrator")
    roads = {name: road for name, (road, _) in single.roads().items() if name != "net LM"}
    scores = [single.score(question, name, road, 0) for name, road in roads.items()]
    assert not [score.failure for score in scores if score.failure]
    assert max(score.u_error for score in scores) < 1e-8
    assert max(score.J_error for score in scores) < 1e-8
    single.print_scores([*scores, single.published(question)], baseline="solve 1e-10")
    assert "IPOPT R5 20" in capsys.readouterr().out


def test_what_fails_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    question = single.Question.named("orbit_transfer")

    def broken(question: single.Question, seed: int) -> single.Answer:
        raise NumericalError("no extremal")

    failed = single.score(question._replace(name="nothing"), "mine", broken, 1)
    single.print_scores([failed, single.published(question)], baseline="reference")
    assert "mine on nothing: no extremal" in capsys.readouterr().out


def test_ipopt_controls_are_the_polynomials_of_its_intervals() -> None:
    question = single.Question.named("van_der_pol")
    errors = []
    for N in (10, 20, 40):
        program = single.ByIpopt(5, N)
        errors.append(question.error(program(question, 0).u))
    assert min(np.log2(np.array(errors[:-1]) / errors[1:])) > 4  # five points of degree 4, order 5


def test_the_table_is_exact_at_its_nodes() -> None:
    study = families.initial_states()
    table = Table(study.family, 3)
    node = 1.5 * np.cos(np.pi * np.array([[0.5, 1.5]]) / 3)
    alone = solve(families._at(study.family, node[0]), times=5 * families.CURVE)["u"].values
    np.testing.assert_allclose(table.controls(node, families.CURVE)[0], alone, atol=1e-7)


@pytest.mark.slow
def test_a_family_is_judged_by_every_method(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(families, "_onnx_session", lambda fitted: None)  # as if not installed: exporting takes 6 s
    study = families.initial_states()._replace(road=FamilyRoad(max_cases=256), tables=(5,))
    table, fits, scores = families.study_family(study, SIZES, 1)
    errors = table["u error"].astype(float)
    assert errors["predict"] < 1e-4
    assert errors[["solve_points", "solve() 1e-6"]].max() < 1e-8
    assert errors[f"IPOPT R{families.DEGREE} {families.INTERVALS}"] < 1e-5
    assert errors["predict, polish=1"] < errors["predict"] < errors["table 5 x 5"]
    assert table["u(0) error"].astype(float)["Policy.controls"] < 1e-3
    assert "ONNX runtime" not in table.index
    assert (families.break_even(table) > 0).all(axis=None)
    assert len(fits) == 1
    assert scores["worst true/told"].astype(float).max() < 2
    benchmark.print_table_size(6, 1000.0)
    assert "5.314e+05" in capsys.readouterr().out


def test_six_inputs_mean_the_same_to_both_libraries() -> None:
    study = families.six_inputs()
    cases = families.draw(study.family, 2, seed=0)
    truth = families.Truth.drawn(study.family, 4, seed=1)
    ours, _, ipopt = (method.curve for method in families.peers(study, SIZES))
    assert ours is not None
    assert ipopt is not None
    assert truth.errors(ipopt(truth.points, families.SHARES)).max() < 1e-5
    np.testing.assert_allclose(ours(cases, families.CURVE), ipopt(cases, families.CURVE), atol=1e-4)


def test_deepxde_learns_a_scalar_problem() -> None:
    pytest.importorskip("deepxde")
    scores = single.against_deepxde(1, steps=300, second_steps=0, names=["scalar_lq"])
    errors = {score.method: score.u_error for score in scores}
    assert not [score.failure for score in scores if score.failure]
    assert errors["DeepXDE soft"] < 0.1
    assert errors["DeepXDE hard"] < 0.3
    assert errors["net"] < 1e-10
