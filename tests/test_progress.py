from __future__ import annotations

from typing import Any

import pytest

from surrogates.progress import Progress, progress_bar


def run(progress: Progress, *, total: int | None = 3) -> None:
    with progress_bar(progress, "training", total=total) as step:
        for value in (3.0, 2.5, 0.125):
            step(value)


@pytest.mark.parametrize("progress", [None, False])
def test_silent_by_default(progress: Progress, capfd: pytest.CaptureFixture[str]) -> None:
    run(progress)
    assert capfd.readouterr() == ("", "")


def test_a_bar_goes_to_stderr_with_description_count_and_last_value(capfd: pytest.CaptureFixture[str]) -> None:
    run(True)
    out, err = capfd.readouterr()
    assert out == ""
    last = err.split("\r")[-1]
    assert last.startswith("training: 100%")
    assert "3/3" in last
    assert "0.125" in last
    assert err.endswith("\n")


def test_a_bar_without_a_total_counts(capfd: pytest.CaptureFixture[str]) -> None:
    run(True, total=None)
    last = capfd.readouterr().err.split("\r")[-1]
    assert "3it" in last
    assert "%" not in last


def test_a_function_is_called_with_steps_done_and_value() -> None:
    seen: list[tuple[int, float]] = []
    run(lambda done, value: seen.append((done, value)))
    assert seen == [(1, 3.0), (2, 2.5), (3, 0.125)]


def test_the_bar_is_closed_when_the_loop_fails(capfd: pytest.CaptureFixture[str]) -> None:
    def one_step_then_failure() -> None:
        with progress_bar(True, "training", total=3) as step:
            step(1.0)
            raise ArithmeticError("diverged")

    with pytest.raises(ArithmeticError, match="diverged"):
        one_step_then_failure()
    err = capfd.readouterr().err
    assert "1/3" in err
    assert err.endswith("\n")


@pytest.mark.parametrize("progress", [1, "yes"])
def test_anything_else_is_refused(progress: Any) -> None:
    with pytest.raises(TypeError, match="must be True, False, None or a function"):
        run(progress)
