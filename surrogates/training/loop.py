"""The one loop: losses, a weighting and an optimiser in, parameters and an honest account out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError, NumericalError
from surrogates.progress import Progress, progress_bar
from surrogates.random import streams

from .checkpoint import Checkpoint, Run, identity, resume, save
from .objective import Losses, Point, Problem, View
from .optimiser import Ending, Optimiser, Turn
from .stopping import Best, Stopping, Validation
from .weighting import Fixed, weighting_by_name
from .weighting._base import Balance, Weighting

_EQUAL, _DEFAULT = Fixed(), Stopping()
#: Largest ratio of two weights that passes without a warning.
_RATIO = 1e3


@dataclass(frozen=True, eq=False)
class Minimised:
    """Where a run ended, and how it got there.

    θ : (P,) the last parameters; with a validation, the best ones
    losses : by name, at θ; unweighted
    total : Σ w_i L_i at θ with the weights of `Fixed`, and Σ L_i with any other weighting (see `minimize`)
    ending, is_success : why it ended, and whether that was a goal
    steps, evaluations, seconds : steps done; calls of the objective (Jacobians not counted); time, earlier parts included
    names : of the k losses, in the order of the traces' columns
    trace : (n + 1,) total at the start and after each step; n may exceed the step of θ, where a validation chose θ
    trace_steps, losses_trace, weights_trace : (rows,), (rows, k), (rows, k): losses and weights at these steps; all of
        them up to 2,000, then every second, fourth, ... step, and the last one always
    validation : value at θ, or None
    warnings : what its user should know of, in words
    """

    θ: Tensor
    losses: dict[str, float]
    total: float
    ending: Ending
    steps: int
    evaluations: int
    seconds: float
    names: tuple[str, ...]
    trace: NDArray[np.float64]
    trace_steps: NDArray[np.int64]
    losses_trace: NDArray[np.float64]
    weights_trace: NDArray[np.float64]
    validation: float | None
    warnings: tuple[str, ...]

    @property
    def outcome(self) -> Ending:
        """The ending, under the name that `Minimum` has for it."""
        return self.ending

    @property
    def is_success(self) -> bool:
        return self.ending.is_success

    @property
    def weights(self) -> dict[str, float]:
        """The last weights, by name."""
        return dict(zip(self.names, self.weights_trace[-1].tolist(), strict=True))


def minimize(
    losses: Losses,
    start: Tensor,
    *,
    optimiser: Optimiser,
    weighting: Weighting | str = _EQUAL,
    stopping: Stopping = _DEFAULT,
    validation: Validation | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress = None,
    seed: int = 0,
) -> Minimised:
    """Minimise named losses of a flat parameter vector.

    This is for functions of a vector that are evaluated as a whole; `train` is for rows of a table that come in batches,
    with tasks that lack labels and parameters in modules.

    In each step the losses are evaluated at θ, the weighting looks at them and gives weights w, and the optimiser moves
    θ to lower Σ w_i L_i. What is followed by `Stopping` and in the trace is Σ w_i L_i for `Fixed` weights, but the plain
    sum Σ L_i for all others: sums under weights that change can't be compared between steps.

    Where a loss, a weight or a gradient becomes NaN or infinite on the way, the run ends with ``Ending.NOT_FINITE`` at
    the last finite θ and a warning that names the loss and the step; at the start it is an error. Line searches and
    Levenberg-Marquardt refuse such trials by themselves.

    Parameters
    ----------
    losses : θ (P,) -> named losses; a 0-d entry is a loss, a 1-d entry a vector r of residuals whose loss is mean(r²).
        It may have a method ``jacobian(θ)`` that returns (M_i, P) for each residual vector
    start : (P,) float64
    optimiser : `Adam`, `LBFGS`, `LevenbergMarquardt`, ...
    weighting : of the losses, or the name of one with its defaults, such as "relobralo"
    stopping : goals and limits
    validation : θ -> number; the run ends when it stops improving, and the best θ is returned
    checkpoint : file that the state is kept in; if it exists, the run goes on from there
    progress : True for a bar, or a function of (steps done, total)
    seed : of the weighting's randomness

    Raises
    ------
    DataError
        If the objective doesn't keep to the contract, or the checkpoint belongs to another run.
    NumericalError
        If a loss isn't finite at the start.
    FileFormatError
        If the checkpoint's file is damaged.

    Examples
    --------
    >>> from surrogates.training import LevenbergMarquardt, Stopping, minimize
    >>> t = torch.linspace(0, 1, 20, dtype=torch.float64)
    >>> def losses(θ):
    ...     return {"data": θ[0] * torch.exp(-θ[1] * t) - 2 * torch.exp(-3 * t)}
    >>> found = minimize(
    ...     losses, torch.ones(2).double(), optimiser=LevenbergMarquardt(), stopping=Stopping(loss=1e-24)
    ... )
    >>> found.ending.value
    'the total fell to the value asked for'
    >>> [round(value, 9) for value in found.θ.tolist()]
    [2.0, 3.0]
    """
    chosen = weighting_by_name(weighting) if isinstance(weighting, str) else weighting
    problem = Problem(losses, start, by_jacobian=optimiser.by_jacobian)
    loop = _Loop(problem, optimiser, chosen, stopping, validation)
    who = identity(start, problem.names, loop.config() | {"seed": seed})
    run, point = loop.begin(seed) if (kept := _resume(checkpoint, who, problem)) is None else kept
    before, clock = run.step, time.perf_counter() - run.seconds
    shown: Progress = (lambda done, value: progress(done + before, value)) if callable(progress) else progress
    with progress_bar(shown, "minimise", total=max(stopping.max_steps - before, 0)) as advance:
        while True:
            run.seconds = time.perf_counter() - clock
            ending = loop.reached(run, point)
            if checkpoint is not None and (ending is not None or run.step % checkpoint.every == 0):
                save(checkpoint, run, point.losses, who)
            if ending is not None:
                break
            ending, following = loop.move(run, point)
            if ending is not None:
                if checkpoint is not None:
                    save(checkpoint, run, point.losses, who)
                break
            point = following
            advance(run.trace.totals[-1])
    run.seconds = time.perf_counter() - clock
    return loop.result(run, point, ending)


class _Loop:
    """The parts of a run that don't change, and its steps."""

    def __init__(
        self,
        problem: Problem,
        optimiser: Optimiser,
        weighting: Weighting,
        stopping: Stopping,
        validation: Validation | None,
    ) -> None:
        self.problem, self.optimiser, self.weighting = problem, optimiser, weighting
        self.stopping, self.validation = stopping, validation
        alike = Fixed() if not isinstance(weighting, Fixed) else weighting
        self.followed = alike.vector(problem.names)
        self.broken = ""  # what became NaN, if something did

    def config(self) -> dict[str, object]:
        """What the steps depend on, besides the objective. Limits don't belong to it, unless a schedule ends there.

        A schedule is what has a `final_rate`; a weighting of a user's own that looks at `max_steps` must call it so, too.
        """
        scheduled = any(getattr(part, "final_rate", None) is not None for part in (self.optimiser, self.weighting))
        validated = None if self.validation is None else self.stopping.validate_every
        steps = {"max_steps": self.stopping.max_steps} if scheduled else {}
        return {"optimiser": self.optimiser, "weighting": self.weighting, "validation": validated} | steps

    def begin(self, seed: int) -> tuple[Run, Point]:
        """The state at the start, where everything must be finite."""
        point, (generator,) = self.problem.take_first(), streams(seed, 1)
        if not point.is_finite:
            raise NumericalError(f"{_not_finite(point)} at the start; choose another start, or check the objective")
        view = View(point, 0, self.stopping.max_steps, generator)
        balance = Balance(torch.full_like(point.losses, torch.nan))
        run = Run(point.θ, self.optimiser.init(point.θ), self.weighting.init(view), balance, generator)
        if self.validation is not None:
            run.best = Best(point.θ)
        if not self._weigh(run, point):
            raise NumericalError(f"{self.broken} at the start; choose another weighting, or another start")
        return run, point

    def _weigh(self, run: Run, point: Point) -> bool:
        """Look at a new point of the run: weights, traces, validation. False if the weights aren't finite."""
        view = View(point, run.step, self.stopping.max_steps, run.generator)
        answer, state = self.weighting.step(run.weighting, view)
        balance = answer if isinstance(answer, Balance) else Balance(answer)
        if (fault := _fault(balance, point)) is not None:
            self.broken = f"{type(self.weighting).__name__} gave {fault}"
            return False
        if balance.direction is not None and not self.optimiser.takes_directions:
            raise DataError(
                f"{type(self.weighting).__name__} gives a direction instead of weights, which "
                f"{type(self.optimiser).__name__} can't follow; use Adam with it"
            )
        run.weighting, run.balance, run.evaluations = state, balance, self.problem.evaluations
        run.trace.add(float(self.followed @ point.losses), point.losses, balance.weights)
        _warn_of_ratio(run, point.names)
        if self.validation is not None and run.best is not None and run.step % self.stopping.validate_every == 0:
            run.best.look(self.validation, point.θ, run.step)
        return True

    def _counts_all(self, run: Run, point: Point) -> bool:
        """Whether no loss was dropped by an adaptive weighting: a gradient of 0 means little where a weight is 0."""
        return isinstance(self.weighting, Fixed) or not bool(((run.balance.weights == 0) & (point.losses != 0)).any())

    def reached(self, run: Run, point: Point) -> Ending | None:
        """The goal or limit that the run has come to."""
        stop = self.stopping
        if stop.loss is not None and run.trace.totals[-1] <= stop.loss:
            return Ending.LOSS_REACHED
        if stop.gradient is not None and float(point.gradient(run.balance).abs().max()) <= stop.gradient:
            return Ending.STATIONARY if self._counts_all(run, point) else Ending.NO_DESCENT
        if run.best is not None and run.best.waited >= stop.patience:
            return Ending.VALIDATED
        if stop.window is not None and run.trace.stalled(stop.window, stop.improvement):
            return Ending.STALLED
        if run.step >= stop.max_steps:
            return Ending.STEP_LIMIT
        if stop.max_seconds is not None and run.seconds >= stop.max_seconds:
            return Ending.TIME_LIMIT
        return None

    def move(self, run: Run, point: Point) -> tuple[Ending | None, Point]:
        """One step of the optimiser. Nothing of the run changes if it can't be taken."""
        turn = Turn(self.problem.at, run.step, self.stopping.max_steps)
        made = self.optimiser.step(point, run.balance, run.optimiser, turn)
        if made.ending is Ending.NOT_FINITE:
            self.broken = "the gradient became NaN or infinite"
        if made.ending is Ending.STATIONARY and not self._counts_all(run, point):
            return Ending.NO_DESCENT, point
        if made.ending is not None:
            return made.ending, point
        there = self.problem.at(made.θ) if made.point is None else made.point
        if not there.is_finite:
            self.broken = _not_finite(there)
            return Ending.NOT_FINITE, point
        old = (run.θ, run.optimiser, run.step)
        run.θ, run.optimiser, run.step = there.θ, made.state, run.step + 1
        if not self._weigh(run, there):
            run.θ, run.optimiser, run.step = old
            return Ending.NOT_FINITE, point
        return None, there

    def result(self, run: Run, point: Point, ending: Ending) -> Minimised:
        """The account of a run that is over."""
        warnings, trace, best = list(run.warnings), run.trace, run.best
        if ending is Ending.NOT_FINITE:
            warnings.append(f"{self.broken} after step {run.step}; the parameters of that step are kept")
        if trace.steps[-1] != run.step:
            trace.put(run.step, point.losses, run.balance.weights)
        evaluations = run.evaluations
        if best is not None and self.validation is not None:
            if run.step % self.stopping.validate_every:
                best.look(self.validation, point.θ, run.step)
            if best.step != run.step:
                point = self.problem.at(best.θ)
        return Minimised(
            θ=point.θ.clone(),
            losses=dict(zip(point.names, point.losses.tolist(), strict=True)),
            total=float(self.followed @ point.losses),
            ending=ending,
            steps=run.step,
            evaluations=evaluations,
            seconds=run.seconds,
            names=point.names,
            trace=np.array(trace.totals),
            trace_steps=np.array(trace.steps, dtype=np.int64),
            losses_trace=np.array(trace.losses),
            weights_trace=np.array(trace.weights),
            validation=None if best is None else best.value,
            warnings=tuple(warnings),
        )


def _resume(checkpoint: Checkpoint | None, who: dict[str, Any], problem: Problem) -> tuple[Run, Point] | None:
    """The run in the checkpoint, and its point evaluated anew, which must agree with what the file says of it."""
    if checkpoint is None or (kept := resume(checkpoint, who)) is None:
        return None
    run, losses = kept
    point = problem.at(run.θ)
    if not torch.allclose(point.losses, losses, rtol=1e-6, atol=1e-300):
        raise DataError(
            f"the checkpoint {checkpoint.path} belongs to another run: at its parameters the losses were "
            f"{losses.tolist()}, now they are {point.losses.tolist()}; give another path, or remove the file"
        )
    problem.evaluations = run.evaluations
    return run, point


def _not_finite(point: Point) -> str:
    name, value = next((n, v) for n, v in zip(point.names, point.losses.tolist(), strict=True) if not np.isfinite(v))
    return f"loss {name!r} is {value}"


def _fault(balance: Balance, point: Point) -> str | None:
    """What is wrong with the weights, if something is."""
    if balance.direction is not None:
        return None if torch.isfinite(balance.direction).all() else "a direction with NaN or infinite entries"
    for name, weight, loss in zip(point.names, balance.weights.tolist(), point.losses.tolist(), strict=True):
        if not np.isfinite(weight):
            return f"loss {name!r}, which is {loss}, the weight {weight}"
    for name, λ in (balance.points or {}).items():
        if not torch.isfinite(λ).all():
            return f"residuals {name!r} weights that are NaN or infinite"
    return None


def _warn_of_ratio(run: Run, names: tuple[str, ...]) -> None:
    """Note once that some losses hardly count any more."""
    if run.balance.direction is not None or any("times the weight" in text for text in run.warnings):
        return
    sizes = run.balance.weights.abs()
    low, high = int(sizes.argmin()), int(sizes.argmax())
    if float(sizes[high]) > _RATIO * float(sizes[low]):
        run.warnings.append(
            f"at step {run.step} loss {names[high]!r} had more than {_RATIO:.0f} times the weight of {names[low]!r}; "
            f"a loss that hardly counts may be given up"
        )
