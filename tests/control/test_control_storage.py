"""Families to a file and back: bit for bit with their own problem, refused with another."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import surrogates
from surrogates import OptimalControlNet, persistence
from surrogates.control import FamilyRoad, FittedFamily
from surrogates.errors import DataError, FileFormatError, ProblemError
from surrogates.physics.optimal_control import Problem, named_problem

POINTS: dict[str, NDArray[np.float64]] = {
    "chebyshev": np.array([[0.5, 1.0, 0.3], [-1.2, 0.6, 0.0]]),
    "random": np.array([[0.5], [-1.7]]),
    "terminal": np.array([[0.3, -0.2]]),
}


@cache
def fitted(name: str) -> FittedFamily:
    lq = named_problem("scalar_lq").problem
    if name == "terminal":
        family = named_problem("double_integrator").problem.over(initial_state=[(-1.0, 1.0)] * 2)
        return OptimalControlNet(family=FamilyRoad(max_cases=256)).fit(family)
    if name == "random":
        road = FamilyRoad(trunk="random", max_cases=256)
        return OptimalControlNet(family=road).fit(lq.over(initial_state=[(-2.0, 2.0)]))
    # inputs are states, initial_time, parameters, in this order
    family = lq.over(initial_state=[(-2.0, 2.0)], initial_time=(0.0, 0.9), parameters={"decay": (0.5, 2.0)})
    return OptimalControlNet(family=FamilyRoad(max_cases=256)).fit(family)


def points(name: str) -> NDArray[np.float64]:
    return POINTS[name][:, [0, 2, 1]] if name == "chebyshev" else POINTS[name]


def changed(**what: Any) -> Problem:
    """S2 with something else about it."""
    return replace(named_problem("double_integrator").problem, **what)


@pytest.mark.parametrize("name", POINTS)
def test_what_is_read_is_what_was_written(name: str, tmp_path: Path) -> None:
    first = fitted(name)
    first.save(tmp_path / "family")
    second = surrogates.load(tmp_path / "family").attach(first.family.problem)
    assert isinstance(second, FittedFamily)
    for more in ({}, {"certify": True}, {"certify": True, "polish": 2}, {"times": [0.0, 0.3, 1.0]}):
        assert second.predict(points(name), **more).identical(first.predict(points(name), **more))
    at = torch.from_numpy(points(name))
    assert torch.equal(second.policy()(at), first.policy()(at))
    assert second.report == first.report
    assert second.inputs == first.inputs
    assert torch.equal(second.family.ranges, first.family.ranges)
    with pytest.raises(DataError, match="this family was fitted for"):
        second.predict(100 * points(name))


def test_it_can_be_written_again(tmp_path: Path) -> None:
    fitted("terminal").save(tmp_path / "a")
    again = surrogates.load(tmp_path / "a").attach(named_problem("double_integrator").problem)
    again.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def slower(t: torch.Tensor, x: torch.Tensor, u: torch.Tensor, θ: Any) -> torch.Tensor:
    return torch.stack([x[..., 1], 0.999999 * u[..., 0]], -1)


@pytest.mark.parametrize(
    "what",
    [
        {"dynamics": slower},
        {"running_cost": lambda t, x, u, θ: 0.5 * u[..., 0] ** 2 + 1e-6 * x[..., 0] ** 4},
        {"terminal_cost": lambda t, x, θ: 0.5 * θ["end_weight"] * x[..., 0] ** 2},
        {"terminal_cost": None, "initial_cost": named_problem("double_integrator").problem.terminal_cost},
        {"free_final_time": True},
        {"initial_cost": lambda t, x, θ: x[..., 0] ** 2},
        {"horizon": (0.0, 2.1)},
        {"final_state": (None, 0.0)},
        {"control_bounds": [(-5.0, 5.0)]},
        {"parameters": {"end_weight": 11.0}},
    ],
    ids=lambda what: next(iter(what)),
)
def test_another_problem_is_refused(what: dict[str, Any], tmp_path: Path) -> None:
    fitted("terminal").save(tmp_path / "family")
    with pytest.raises(ProblemError, match="this is another problem than the one the network was fitted to"):
        surrogates.load(tmp_path / "family").attach(changed(**what))


def test_another_problem_altogether_is_refused(tmp_path: Path) -> None:
    fitted("terminal").save(tmp_path / "family")
    for name in ("scalar_lq", "van_der_pol", "quadrotor"):
        with pytest.raises(ProblemError, match="another problem"):
            surrogates.load(tmp_path / "family").attach(named_problem(name).problem)


def test_the_same_functions_written_anew_are_accepted(tmp_path: Path) -> None:
    fitted("terminal").save(tmp_path / "family")
    anew = changed(dynamics=lambda t, x, u, θ: torch.cat([x[..., 1:], u], -1))
    answer = surrogates.load(tmp_path / "family").attach(anew).predict(points("terminal"))
    assert answer.identical(fitted("terminal").predict(points("terminal")))


def test_states_may_be_renamed_after_reading_but_not_before(tmp_path: Path) -> None:
    """Inputs are named after states: a network that doesn't find its own would take the nominal values for them."""
    first = fitted("terminal")
    first.save(tmp_path / "family")
    other = changed(state_names=("place", "speed"))
    with pytest.raises(ProblemError, match=r"input 'x1' is no state of this problem, which has \('place', 'speed'\)"):
        surrogates.load(tmp_path / "family").attach(other)
    renamed = surrogates.load(tmp_path / "family").attach(first.family.problem).with_problem(other)
    assert renamed.inputs == ("place", "speed")
    answer = renamed.predict(points("terminal"), certify=True)
    np.testing.assert_array_equal(answer.u, first.predict(points("terminal"), certify=True).u)
    assert answer.place.values.tolist() == [0.3]
    assert float(answer.error[0]) < 1e-12


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    fitted("terminal").save(tmp_path / "family")
    data = (tmp_path / "family").read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        broken = bytearray(data)
        broken[place] ^= 0x10
        (tmp_path / "family").write_bytes(bytes(broken))
        with pytest.raises(FileFormatError):
            surrogates.load(tmp_path / "family")
    for length in (0, 5, len(data) // 2, len(data) - 1):
        (tmp_path / "family").write_bytes(data[:length])
        with pytest.raises(FileFormatError):
            surrogates.load(tmp_path / "family")


def test_a_file_that_lacks_something_is_refused_in_words(tmp_path: Path) -> None:
    fitted("terminal").save(tmp_path / "family")
    archive = persistence.read(tmp_path / "family")
    problem = named_problem("double_integrator").problem
    for lack in ("modes", "offset", "breaks", "fingerprint", "features.degrees"):
        arrays = {name: value for name, value in archive.arrays.items() if name != lack}
        persistence.write(tmp_path / "lacking", archive.kind, archive.header, arrays)
        with pytest.raises(FileFormatError, match=lack.removeprefix("features.")):
            surrogates.load(tmp_path / "lacking").attach(problem)
    persistence.write(tmp_path / "future", archive.kind, archive.header | {"trunk": "Kan"}, archive.arrays)
    with pytest.raises(FileFormatError, match="trunk is 'Kan'"):
        surrogates.load(tmp_path / "future").attach(problem)
