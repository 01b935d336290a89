"""The one progress bar of the library: silent unless asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from tqdm import tqdm

#: What `fit` takes: nothing (None, False), a bar on stderr (True), or a function of (steps done, value) to be called.
Progress = bool | Callable[[int, float], None] | None
#: What a loop calls after each step, with the value it follows (usually the loss).
Step = Callable[[float], None]


@contextmanager
def progress_bar(progress: Progress, description: str, *, total: int | None = None) -> Iterator[Step]:
    """Show how a loop gets on.

    Parameters
    ----------
    progress : None or False for silence, True for a bar on stderr, or a function that is called after each step with
        the number of steps done (from 1) and the value
    description : what stands in front of the bar
    total : number of steps, if known

    Yields
    ------
    Step : to be called once after each step with the current value

    Examples
    --------
    >>> with progress_bar(lambda done, loss: print(done, loss), "fit", total=2) as step:
    ...     for loss in (0.5, 0.25):
    ...         step(loss)
    1 0.5
    2 0.25
    """
    if progress is None or progress is False:
        yield _silent
    elif progress is True:
        with tqdm(desc=description, total=total) as bar:
            yield lambda value: _advance(bar, value)
    elif callable(progress):
        yield _Counter(progress)
    else:
        raise TypeError(f"progress is {progress!r}; it must be True, False, None or a function of (steps done, value)")


def _silent(value: float) -> None:
    """Do nothing."""


def _advance(bar: tqdm[NoReturn], value: float) -> None:
    bar.set_postfix_str(f"{value:.6g}", refresh=False)
    bar.update()


class _Counter:
    """Calls a function of (steps done, value)."""

    def __init__(self, report: Callable[[int, float], None]) -> None:
        self.report, self.done = report, 0

    def __call__(self, value: float) -> None:
        self.done += 1
        self.report(self.done, float(value))
