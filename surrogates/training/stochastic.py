"""The loop for data in batches: rows of a table with missing labels, a shared trunk, a head for each task."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.counts import whole
from surrogates.errors import DataError, NumericalError
from surrogates.progress import Progress, progress_bar
from surrogates.random import streams

from .adamw import AdamW
from .conflicts._base import Conflicts, State
from .conflicts.engine import Batch, Engine, Look
from .conflicts.gcond import own_rows
from .conflicts.registry import conflicts_by_name
from .conflicts.sharpness import Sharpness
from .optimiser import Ending
from .trace import Trace
from .weighting._base import positive


@dataclass(frozen=True)
class Batches:
    """How the rows are gone through.

    Every epoch all rows are met once, in a new order, in the fewest batches of at most `size` rows, whose sizes differ by
    at most one: there is no small last batch, whose gradient would be noise.

    Parameters
    ----------
    size : most rows of a batch
    epochs : times that all rows are met; schedules of rates end there
    validate_every : epochs between two values of the validation
    patience : values in a row that are no better than the best, after which the run ends
    max_seconds : limit of time, looked at after each epoch
    own_rows : groups of tasks that see rows of their own in each batch (GCond's stochastic mode, see `own_rows`); 1: none
    """

    size: int = 256
    epochs: int = 100
    validate_every: int = 1
    patience: int = 20
    max_seconds: float | None = None
    own_rows: int = 1

    def __post_init__(self) -> None:
        for name in ("size", "validate_every", "patience", "own_rows"):
            whole(getattr(self, name), name)
        whole(self.epochs, "epochs", least=0)
        if self.max_seconds is not None:
            positive(self.max_seconds, "max_seconds", zero=True)

    def count(self, n: int) -> int:
        """Batches of an epoch over n rows."""
        return -(-n // self.size)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run of `train` did. The parameters are in the engine's modules.

    ending : why it ended; `Ending.VALIDATED` is the only goal that there is
    steps, epochs, seconds : steps and whole epochs done, time
    names : of the m tasks, in the order of the traces' columns
    trace_steps, losses_trace, weights_trace : (rows,), (rows, m), (rows, m): each task's loss on its batch before the
        step, NaN where it was absent, and its weight; all steps up to 2,000, then every second, fourth, ...
    updates : (m,) steps in which a task had a weight other than 0. Compare methods at equal updates
    validations : (k, 2) of (steps done, value), the start included; empty without a validation
    best_step, validation : of the parameters that were kept; None without a validation
    state : what the method for conflicting tasks remembers, e.g. for `AIM.map`
    warnings : what its user should know of, in words
    """

    ending: Ending
    steps: int
    epochs: int
    seconds: float
    names: tuple[str, ...]
    trace_steps: NDArray[np.int64]
    losses_trace: NDArray[np.float64]
    weights_trace: NDArray[np.float64]
    updates: NDArray[np.int64]
    validations: NDArray[np.float64]
    best_step: int | None
    validation: float | None
    state: State
    warnings: tuple[str, ...]

    @property
    def is_success(self) -> bool:
        return self.ending.is_success


def train(
    engine: Engine,
    data: Batch,
    *,
    conflicts: Conflicts | str = "sum",
    optimiser: AdamW | None = None,
    batches: Batches | None = None,
    guidance: Batch | None = None,
    validation: Callable[[], float] | None = None,
    sharpness: Sharpness | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> Trained:
    """Train the engine's trunk and heads on a table with missing labels, in place.

    This loop is for data in batches, parameters in modules, float32 or float64; `minimize` is for functions of a vector
    that are evaluated as a whole, with line searches, goals and checkpoints. Each step: batch -> `Engine.look` -> weights
    from the method for conflicting tasks -> one backward pass -> AdamW.

    Where a loss, a weight or a gradient becomes NaN or infinite, the run ends with ``Ending.NOT_FINITE``, a warning that
    says what and when, and the parameters of that step (all finite), or the best ones if there is a validation.

    Parameters
    ----------
    engine : trunk, heads and loss; the modules are trained in training mode and left in the modes they came in
    data : all rows; those without any label are passed over
    conflicts : method, or the name of one with its defaults, such as "aim"
    optimiser, batches : None: the defaults
    guidance : held-out rows for methods that want them (AIM); a batch of them is drawn whenever it is asked for
    validation : value to be lowered, of the modules as they are (in evaluation mode); the best parameters are kept
    sharpness : take gradients at the worst place nearby
    seed : of the order of rows, the method's randomness and dropout; torch's global generator is left as it was
    progress : True for a bar, or a function of (steps done, sum of losses)

    Raises
    ------
    DataError
        If there are no labels, or the data's type isn't the parameters'.
    NumericalError
        If a loss isn't finite at the start.

    Examples
    --------
    >>> from surrogates.training.conflicts import Batch, Engine, SquaredError
    >>> class Heads(torch.nn.Linear):  # z (..., n, 2) -> (n, m = 2, 1): each of two tasks reads its own combination
    ...     def forward(self, z):
    ...         return torch.einsum("mnh,mh->nm", z.expand(2, *z.shape[-2:]), self.weight)[..., None]
    >>> X = torch.linspace(-1, 1, 64)[:, None]
    >>> data = Batch.of(X, torch.cat([2 * X, -X], 1))
    >>> _ = torch.manual_seed(0)
    >>> engine = Engine(torch.nn.Linear(1, 2), Heads(2, 2, bias=False), SquaredError(), ("rise", "fall"))
    >>> run = train(engine, data, conflicts="pcgrad", optimiser=AdamW(rate=0.05), batches=Batches(size=16, epochs=60))
    >>> run.ending.name, bool((run.losses_trace[-1] < 1e-3).all())
    ('STEP_LIMIT', True)
    """
    loop = _Loop(
        engine,
        _with_labels(data, engine),
        guidance,
        conflicts_by_name(conflicts) if isinstance(conflicts, str) else conflicts,
        optimiser or AdamW(),
        batches or Batches(),
        sharpness,
        validation,
        streams(seed, 4),
    )
    with torch.random.fork_rng(devices=[]), _training(engine):
        torch.manual_seed(int(torch.randint(2**31, (), generator=loop.generators[3])))
        with progress_bar(progress, "train", total=loop.max_steps) as advance:
            ending = loop.run(advance)
    return loop.result(ending)


def _with_labels(data: Batch, engine: Engine) -> Batch:
    """The rows that have labels."""
    p = engine.shared[0][1]
    if data.X.dtype != p.dtype or data.Y.dtype != p.dtype:
        raise DataError(
            f"inputs are {data.X.dtype}, labels {data.Y.dtype}, but the trunk's parameters {p.dtype}; convert the data or "
            f"the modules"
        )
    some = data.mask.any(1)
    if not some.any():
        raise DataError("no row has a label; give data with at least one")
    return data if bool(some.all()) else data.take(some.nonzero()[:, 0])


@contextmanager
def _training(engine: Engine) -> Iterator[None]:
    """Modules in training mode, afterwards in the modes they came in."""
    modes = [(module, module.training) for part in (engine.trunk, engine.heads) for module in part.modules()]
    engine.trunk.train()
    engine.heads.train()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p in engine.parameters:
            p.grad = None


@dataclass
class _Loop:
    """A run: what doesn't change, and its state."""

    engine: Engine
    data: Batch
    guidance: Batch | None
    conflicts: Conflicts
    optimiser: AdamW
    batches: Batches
    sharpness: Sharpness | None
    validation: Callable[[], float] | None
    generators: list[torch.Generator]
    step: int = 0
    epoch: int = 0
    waited: int = 0
    best: tuple[float, int, tuple[dict[str, Tensor], dict[str, Tensor]]] | None = None
    trace: Trace = field(default_factory=Trace)
    validations: list[tuple[int, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        m = len(self.engine.names)
        self.per_epoch = self.batches.count(len(self.data.X))
        self.max_steps = self.per_epoch * self.batches.epochs
        self.state, self.updates = self.conflicts.init(m), torch.zeros(m, dtype=torch.int64)
        self.start = time.perf_counter()
        self.adam = torch.optim.AdamW(
            self.engine.parameters,
            lr=self.optimiser.rate,
            betas=self.optimiser.betas,
            eps=self.optimiser.epsilon,
            weight_decay=self.optimiser.weight_decay,
            fused=True,
        )
        if missing := [
            n for n, some in zip(self.engine.names, self.data.mask.any(0).tolist(), strict=True) if not some
        ]:
            self.warnings.append(f"no labels for {', '.join(map(repr, missing))}: their heads learn nothing")

    def run(self, advance: Callable[[float], None]) -> Ending:
        """Epoch after epoch."""
        self._validate()
        while True:
            if self.validation is not None and self.waited >= self.batches.patience:
                return Ending.VALIDATED
            if self.epoch >= self.batches.epochs:
                return Ending.STEP_LIMIT
            if self.batches.max_seconds is not None and time.perf_counter() - self.start >= self.batches.max_seconds:
                return Ending.TIME_LIMIT
            order = torch.randperm(len(self.data.X), generator=self.generators[0])
            for index in torch.tensor_split(order, self.per_epoch):
                if (total := self._step(self._batch(index))) is None:
                    return Ending.NOT_FINITE
                advance(total)
            self.epoch += 1
            if self.epoch % self.batches.validate_every == 0 or self.epoch == self.batches.epochs:
                self._validate()

    def _batch(self, index: Tensor) -> Batch:
        batch = self.data.take(index)
        if self.batches.own_rows == 1:
            return batch
        mask = own_rows(batch.mask, self.batches.own_rows, self.generators[0])
        return replace(batch, mask=mask)

    def _step(self, batch: Batch) -> float | None:
        """One step; the sum of the losses before it, or None if it couldn't be taken."""
        self.adam.zero_grad()  # first, so that the old gradients' memory is free
        look = self.engine.look(
            batch,
            guidance=None if self.guidance is None else self._guidance,
            step=self.step,
            max_steps=self.max_steps,
            generator=self.generators[1],
        )
        if (fault := _not_finite("loss", look.losses, look)) is not None:
            if self.step == 0:
                raise NumericalError(f"{fault} at the start; check labels, features and the modules' parameters")
            return self._fail(fault)
        weights, state = self.conflicts.step(self.state, look)
        if (fault := _not_finite("weight", weights, look)) is not None:
            return self._fail(f"{type(self.conflicts).__name__} gave a {fault}")
        if self.sharpness is None:
            look.backward(weights)
        else:
            self.sharpness.backward(look, weights)
        slopes = [p.grad for p in self.engine.parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(slopes))
        length = float(norms.norm())
        if not math.isfinite(length):
            return self._fail("the gradient became NaN or infinite")
        if self.optimiser.clip is not None and length > self.optimiser.clip:
            torch._foreach_mul_(slopes, self.optimiser.clip / length)
        for group in self.adam.param_groups:
            group["lr"] = self.optimiser.rate_at(self.step, self.max_steps)
        self.adam.step()
        total = float(look.losses.nansum())
        self.trace.add(total, look.losses, weights)
        self.state, self.step = state, self.step + 1
        self.updates += look.present & (weights != 0)
        return total

    def _guidance(self) -> Batch:
        assert self.guidance is not None
        n = len(self.guidance.X)
        if n <= self.batches.size:
            return self.guidance
        return self.guidance.take(torch.randint(n, (self.batches.size,), generator=self.generators[2]))

    def _fail(self, fault: str) -> float | None:
        """None, and a warning."""
        kept = "the best parameters are" if self.best is not None else "the parameters of that step are"
        self.warnings.append(f"{fault} after step {self.step}; {kept} kept")
        return None

    def _validate(self) -> None:
        if self.validation is None:
            return
        modules = (self.engine.trunk, self.engine.heads)
        for module in modules:
            module.eval()
        with torch.no_grad():
            value = float(self.validation())
        for module in modules:
            module.train()
        if self.best is None and math.isnan(value):
            raise NumericalError("the validation value is NaN at the start; check the function and its data")
        self.validations.append((self.step, value))
        if self.best is None or value < self.best[0]:
            states = copy.deepcopy(modules[0].state_dict()), copy.deepcopy(modules[1].state_dict())
            self.best, self.waited = (value, self.step, states), 0
        else:  # NaN, too
            self.waited += 1

    def result(self, ending: Ending) -> Trained:
        """The account of a run that is over; puts the best parameters back."""
        if self.best is not None:
            self.engine.trunk.load_state_dict(self.best[2][0])
            self.engine.heads.load_state_dict(self.best[2][1])
        m = len(self.engine.names)
        return Trained(
            ending=ending,
            steps=self.step,
            epochs=self.epoch,
            seconds=time.perf_counter() - self.start,
            names=self.engine.names,
            trace_steps=np.array(self.trace.steps, dtype=np.int64),
            losses_trace=np.array(self.trace.losses).reshape(-1, m),
            weights_trace=np.array(self.trace.weights).reshape(-1, m),
            updates=self.updates.numpy(),
            validations=np.array(self.validations).reshape(-1, 2),
            best_step=None if self.best is None else self.best[1],
            validation=None if self.best is None else self.best[0],
            state=self.state,
            warnings=tuple(self.warnings),
        )


def _not_finite(what: str, values: Tensor, look: Look) -> str | None:
    """Which of the present tasks' values isn't finite, if one isn't."""
    bad = look.present & ~torch.isfinite(values)
    if not bad.any():
        return None
    i = int(bad.nonzero()[0])
    return f"{what} of {look.names[i]!r} is {float(values[i])}"
