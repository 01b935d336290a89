"""`run`: ask, make the experiment, tell, until it is enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from surrogates.counts import whole
from surrogates.errors import DataError, ProblemError

from .history import observed_row
from .loop import Loop


@dataclass(frozen=True)
class Outcome:
    """What an experiment may return instead of a number.

    value : the target
    cost : what it really cost; None: what was expected
    noise : known noise of the value, where the schema names it
    """

    value: float
    cost: float | None = None
    noise: float | None = None


def run(
    loop: Loop,
    experiment: Callable[[xr.Dataset], float | Outcome],
    *,
    budget: float | None = None,
    evaluations: int | None = None,
    stop: Callable[[Loop], bool] | None = None,
    batch: int = 1,
    failures: int = 5,
) -> xr.Dataset:
    """Ask, make the experiment, tell, until budget, evaluations or `stop` end it, or `suggest` has no more to offer.

    Experiments that a crash or an earlier call left pending are made first. One that raises an `Exception`, or gives NaN,
    inf or no number, is recorded as failed with its words, costs what was expected, and the loop goes on.

    Parameters
    ----------
    loop : what is asked and told
    experiment : the target at a place, a Dataset of single values (inputs, task, fidelity, cost, gain, id); as
        `Loop.tell` takes it
    budget : the loop's whole cost, earlier runs included; an experiment that would exceed it isn't made, and stays pending
    evaluations : the loop's whole number of experiments, earlier runs and failed ones included
    stop : asked before every experiment whether the loop has done enough
    batch : suggestions that are made together
    failures : so many failed experiments in a row end the run with an error, since then something else is wrong

    Returns
    -------
    xr.Dataset : ``loop.to_dataset()``

    Raises
    ------
    DataError
        If nothing would end the run, or a limit is no limit.
    ProblemError
        After too many failures in a row.

    Examples
    --------
    >>> import numpy as np
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> def lowest(fitted, *, count, seed, pending):
    ...     at = as_dataset(np.linspace(0, 1, 101), inputs=["x"]).rename(sample="suggestion")
    ...     answer = fitted.predict(at)
    ...     return at.isel(suggestion=np.argsort((answer["mean"] - 2 * answer["std"]).values)[:count])
    >>> model = HierarchicalGP(Schema(inputs="x", target="y"), noise="none")
    >>> first = as_dataset([0.0, 0.3, 0.5, 1.0], [0.49, 0.16, 0.04, 0.09], inputs=["x"])
    >>> history = run(Loop(model, first, lowest), lambda at: float(at["x"] - 0.7) ** 2, evaluations=4)
    >>> bool(history["best"][-1] < 1e-3)
    True
    """
    if budget is None and evaluations is None and stop is None:
        raise DataError("nothing would end the run; give budget=, evaluations= or stop=")
    if budget is not None and not budget >= 0:
        raise DataError(f"budget is {budget!r}; a number >= 0 is wanted")
    most = None if evaluations is None else whole(evaluations, "evaluations", least=0)
    size, patience = whole(batch, "batch", least=1), whole(failures, "failures", least=1)
    if not callable(experiment):
        raise DataError(f"experiment is {experiment!r}; a function of a place is wanted")

    failed_in_a_row = 0
    while not ((most is not None and loop.evaluations >= most) or (stop is not None and stop(loop))):
        if budget is not None and loop.spent >= budget:
            break
        pending = loop.pending
        if not pending.sizes["suggestion"]:
            left = size if most is None else min(size, most - loop.evaluations)
            pending = loop.ask(left)
            if not pending.sizes["suggestion"]:
                break
        place = pending.isel(suggestion=0)
        # a budget that is met but for rounding is met
        if budget is not None and loop.spent + float(place["cost"]) > budget * (1 + 1e-12):
            break
        words = _make(loop, experiment, place)
        failed_in_a_row = failed_in_a_row + 1 if words else 0
        if failed_in_a_row >= patience:
            raise ProblemError(
                f"the experiment failed {patience} times in a row, the last time with {words!r}; all is recorded: repair "
                f"it and call run again, or raise failures="
            )
    return loop.to_dataset()


def _make(loop: Loop, experiment: Callable[[xr.Dataset], float | Outcome], place: xr.Dataset) -> str:
    """Make one experiment and tell the loop; why it failed, or nothing."""
    number = int(place["id"])
    try:
        got = experiment(place)
        outcome = got if isinstance(got, Outcome) else Outcome(_single(loop.plain(got)))
        outcome = replace(outcome, value=loop.plain(outcome.value))
        cost = float(place["cost"]) if outcome.cost is None else outcome.cost
        row = observed_row(outcome.value, None, cost, outcome.noise, loop.schema)
    except Exception as error:  # whatever the user's experiment raises is an outcome
        words = f"{type(error).__name__}: {error}"
        loop.tell(number, failed=words)
        return words
    loop.tell(number, outcome.value, cost=outcome.cost, noise=outcome.noise)
    return str(row["failed"])


def _single(value: Any) -> float:
    """The one number in a scalar or an array of one."""
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise TypeError(f"{value!r} is complex; a real number is wanted")
    return float(array.reshape(-1)[0]) if array.size == 1 else float(value)
