"""Several families with a shared trunk: answers of each task, new tasks, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import surrogates
from surrogates import OptimalControlNet
from surrogates.control import FamilyRoad, FittedTasks, LevenbergMarquardtRoad, PaperRoad, TasksRoad
from surrogates.errors import DataError, ProblemError
from surrogates.networks import AdaptedMLP
from surrogates.physics.optimal_control import Family, named_problem, solve
from surrogates.training import Checkpoint

ROAD = TasksRoad(cases=96, accuracy=1e-2, max_steps=600)


def oscillator(damping: float) -> Family:
    problem = named_problem("van_der_pol").problem.with_values(parameters={"damping": damping})
    return problem.over(initial_state=[(-1, 1), (-1, 1)])


@pytest.fixture(scope="module")
def known() -> FittedTasks:
    return OptimalControlNet(tasks=ROAD).fit({"weak": oscillator(0.7), "strong": oscillator(1.2)})


def error(fitted: FittedTasks, name: str, state: tuple[float, float]) -> float:
    """Relative error of the control from one state, against the solver."""
    truth = solve(fitted.families[name].problem.with_values(initial_state=state), times=np.linspace(0, 5, 33))
    answer = fitted.task(name).predict([state])["u"][0]
    return float(np.linalg.norm(answer - truth["u"].values) / np.linalg.norm(truth["u"]))


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_every_task_has_its_own_answers(known: FittedTasks, name: str) -> None:
    assert known.tasks == ("weak", "strong")
    assert error(known, name, (0.4, -0.7)) < 1e-2
    assert known.report.figures[f"{name}: held-out error of u, median"] < 1e-2


def test_a_new_task_needs_few_steps_and_leaves_the_others_alone(known: FittedTasks) -> None:
    """The damping lies outside the range of the known tasks; from scratch the optimiser takes far longer."""
    adapted = known.adapt("new", oscillator(1.5), cases=48)
    scratch = OptimalControlNet(tasks=ROAD).fit({"new": oscillator(1.5)})
    assert adapted.report.figures["optimiser steps"] * 5 <= scratch.report.figures["optimiser steps"]
    assert error(adapted, "new", (0.4, -0.7)) < 3e-2
    before, after = (fitted.task("weak").predict([(0.3, 0.3)])["u"] for fitted in (known, adapted))
    np.testing.assert_array_equal(before, after)
    assert known.tasks == ("weak", "strong")


def test_one_task_is_saved_and_read(known: FittedTasks, tmp_path: Path) -> None:
    task = known.task("strong")
    task.save(tmp_path / "task")
    again = surrogates.load(tmp_path / "task").attach(known.families["strong"].problem)
    np.testing.assert_array_equal(again.predict([(0.1, 0.2)])["u"], task.predict([(0.1, 0.2)])["u"])


def test_an_interrupted_fit_goes_on_to_the_same_end(tmp_path: Path) -> None:
    families = {"weak": oscillator(0.7), "strong": oscillator(1.2)}
    net = OptimalControlNet(tasks=TasksRoad(cases=32, hidden=(8,), accuracy=1e-6, max_steps=40))
    whole = net.fit(families)

    def interrupt(step: int, value: float) -> None:
        if step == 25:
            raise KeyboardInterrupt

    file = Checkpoint(tmp_path / "state", every=10)
    with pytest.raises(KeyboardInterrupt):
        net.fit(families, checkpoint=file, progress=interrupt)
    resumed = net.fit(families, checkpoint=file)
    for name in families:
        a, b = (fitted.task(name).predict([(0.5, 0.5)])["p"] for fitted in (whole, resumed))
        np.testing.assert_array_equal(a, b)


def test_a_merged_task_is_its_plain_network() -> None:
    generator = torch.Generator().manual_seed(0)
    net = AdaptedMLP((2, 7, 5, 3), tasks=3, rank=2, head="linear", generator=generator)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    X = torch.randn(11, 2, generator=generator, dtype=torch.float64)
    for task in range(3):
        torch.testing.assert_close(net.merged(task)(X), net(X, torch.full((11,), task)), rtol=1e-12, atol=1e-14)
    with pytest.raises(DataError, match="the module has 3 tasks"):
        net.merged(3)


def test_a_fitted_head_is_the_least_squares_one() -> None:
    generator = torch.Generator().manual_seed(0)
    net = AdaptedMLP((2, 6, 2), tasks=2, rank=1, head="linear", generator=generator)
    X = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    Y = torch.sin(X) + 0.1 * torch.randn(200, 2, generator=generator, dtype=torch.float64)
    other = net(X, torch.zeros(200, dtype=torch.long)).detach()
    net.fit_head(1, X, Y)
    task = torch.ones(200, dtype=torch.long)
    h = torch.cat([net.features(X, task), torch.ones(200, 1).double()], 1).detach()
    best = h @ torch.linalg.lstsq(h, Y).solution
    # the ridge that cross-validation asks for moves it by less than the noise
    assert float((net(X, task).detach() - best).square().mean().sqrt()) < 0.03
    torch.testing.assert_close(net(X, torch.zeros(200, dtype=torch.long)), other)
    with pytest.raises(DataError, match="head='linear'"):
        AdaptedMLP((2, 6, 2), tasks=2, rank=1, generator=generator).fit_head(0, X, Y)


def test_what_does_not_fit_together_is_refused(known: FittedTasks) -> None:
    net = OptimalControlNet(tasks=ROAD)
    wide = named_problem("van_der_pol").problem.over(initial_state=[(-2, 2), (-1, 1)])
    with pytest.raises(ProblemError, match="same inputs and ranges"):
        net.fit({"a": oscillator(1.0), "b": wide})
    with pytest.raises(ProblemError, match="there are no families"):
        net.fit({})
    with pytest.raises(ProblemError, match="a family is expected"):
        net.fit({"a": named_problem("van_der_pol").problem})  # type: ignore[dict-item]
    with pytest.raises(DataError, match="is there already"):
        known.adapt("weak", oscillator(1.0))
    with pytest.raises(DataError, match="task 'other' is unknown"):
        known.task("other")


@pytest.mark.parametrize(
    ("road", "message"),
    [
        (lambda: TasksRoad(cases=1), "cases is 1; it must be an integer >= 2"),
        (lambda: TasksRoad(rank=-1), "rank is -1; it must be an integer >= 0"),
        (lambda: TasksRoad(accuracy=float("nan")), "accuracy is nan; it must be a number > 0"),
        (lambda: PaperRoad(points=1), "points is 1; it must be an integer >= 2"),
        (lambda: PaperRoad(steps=1e4), "steps is 10000.0; it must be an integer >= 0"),  # type: ignore[arg-type]
        (lambda: LevenbergMarquardtRoad(width=1), "width is 1; it must be an integer >= 2"),
        (lambda: LevenbergMarquardtRoad(points=0), "points is 0; it must be an integer >= 1"),
        (lambda: LevenbergMarquardtRoad(scale=0.0), "scale is 0.0; it must be above 0"),
        (lambda: FamilyRoad(tolerance=-1.0), "tolerance is -1.0; it must be above 0"),
    ],
)
def test_roads_that_lead_nowhere_are_refused(road: Callable[[], object], message: str) -> None:
    """A fit on one collocation point or of one case ended in NaN, or, worse, in an answer."""
    with pytest.raises(ProblemError, match=re.escape(message)):
        road()
