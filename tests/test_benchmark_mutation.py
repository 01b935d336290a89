"""The changes that `benchmarks/mutation_score.py` makes are real ones, and the tests it chooses are those that run them."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import coverage
import pytest

ROOT = Path(__file__).parent.parent

SOURCE = '''
"""A small module."""


def area(width, height):
    if width < 0:
        raise ValueError(f"width is {width}")
    return (
        width
        * height
    )


class Square:
    def side(self, area):
        return area**0.5
'''


@pytest.fixture(scope="module")
def mutants() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import mutants

        yield mutants
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "surrogates" / "health").mkdir(parents=True)
    (tmp_path / "surrogates" / "small.py").write_text(SOURCE)
    return tmp_path


def test_changes_are_drawn_with_a_seed_and_each_is_one(mutants: ModuleType, checkout: Path) -> None:
    drawn = mutants.draw(checkout, "base", 5, seed=1)
    assert drawn == mutants.draw(checkout, "base", 5, seed=1)
    assert drawn != mutants.draw(checkout, "base", 5, seed=2)
    assert len({mutant.source for mutant in drawn}) == 5
    for mutant in drawn:
        assert mutant.before in SOURCE
        assert mutant.source == SOURCE.replace(mutant.before, mutant.after)
        assert mutant.function in ("area", "side")
    with pytest.raises(ValueError, match=r"the room 'base' has \d+ mutants, 1000 were asked for"):
        mutants.draw(checkout, "base", 1000, seed=0)


def test_a_change_takes_the_place_of_the_function_and_of_the_method(mutants: ModuleType, checkout: Path) -> None:
    path = checkout / "surrogates" / "small.py"
    spec = importlib.util.spec_from_file_location("small", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    area, square = module.area, module.Square()  # held by others already, as by a test that imported them
    for old, new in (("* height", "/ height"), ("area**0.5", "area*0.5")):
        changed = mutants.Mutant("surrogates/small.py", 1, "", old, new, SOURCE.replace(old, new), False)
        assert mutants.put_in(checkout, changed)
    assert area(6.0, 2.0) == 3.0
    assert square.side(9.0) == 4.5


def test_no_function_with_the_change_is_said(mutants: ModuleType, checkout: Path) -> None:
    source = SOURCE.replace("* height", "/ height")
    changed = mutants.Mutant("surrogates/small.py", 1, "area", "* height", "/ height", source, False)
    assert not mutants.put_in(checkout, changed)  # nobody has loaded this file


def test_the_tests_of_a_statement_are_those_that_ran_any_of_its_lines(mutants: ModuleType, checkout: Path) -> None:
    data = coverage.CoverageData(str(checkout / "covered"))
    for context, lines in {"tests/test_a.py::slow|run": [6, 8], "tests/test_a.py::quick|run": [8], "": [5]}.items():
        data.set_context(context)
        data.add_lines({"surrogates/small.py": lines})
    data.write()
    covered = mutants.Coverage(checkout / "covered", {"tests/test_a.py::slow": 2.0})
    assert covered.files == {"tests/test_a.py"}
    known = ["tests/test_a.py::slow", "tests/test_a.py::quick", "tests/test_a.py::other"]
    by_line = {
        mutant.line: covered.tests(checkout, mutant, known) for mutant in mutants.draw(checkout, "base", 6, seed=0)
    }
    assert by_line[SOURCE.splitlines().index("        width") + 1] == [
        "tests/test_a.py::quick",
        "tests/test_a.py::slow",
    ]
    assert by_line[SOURCE.splitlines().index("        return area**0.5") + 1] == []


def test_what_a_fixture_runs_is_run_for_all_tests_of_its_file(mutants: ModuleType, checkout: Path) -> None:
    data = coverage.CoverageData(str(checkout / "covered"))
    runs = {"tests/test_a.py::one|setup": [16], "tests/test_a.py::two|run": [6], "tests/test_b.py::three|run": [6]}
    for context, lines in runs.items():
        data.set_context(context)
        data.add_lines({"surrogates/small.py": lines})
    data.write()
    covered = mutants.Coverage(checkout / "covered", {})
    (mutant, *_) = [m for m in mutants.draw(checkout, "base", 6, seed=0) if m.function == "side"]
    known = ["tests/test_a.py::one", "tests/test_a.py::no_line", "tests/test_b.py::three"]
    assert covered.tests(checkout, mutant, known) == ["tests/test_a.py::no_line", "tests/test_a.py::one"]


def test_what_pytest_prints_is_read_and_tests_are_chosen_within_the_budget(mutants: ModuleType) -> None:
    import mutation_score

    printed = textwrap.dedent("""
        1.50s call     tests/test_a.py::test_b[two words]
        0.25s setup    tests/test_a.py::test_b[two words]
        0.50s call     tests/test_a.py::test_c
        12 passed in 3.00s
    """)
    seconds = mutation_score.durations(printed)
    assert seconds == {"tests/test_a.py::test_b[two words]": 1.75, "tests/test_a.py::test_c": 0.5}
    names = ["tests/test_a.py::test_c", "tests/test_a.py::test_b[two words]", "unknown"]
    assert mutation_score.within(names, seconds, 1.0) == names[:1]
    assert mutation_score.within(names, seconds, 2.25) == names
    assert mutation_score.within(names[1:], seconds, 1.0) == names[1:2]
    fates = [{"room": "base", "of_text": text, "noticed": text} for text in (True, False, False)]
    assert "base      all                 3        1  0.333 ± 0.272" in mutation_score.table(fates)
