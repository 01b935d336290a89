"""What was made for complete losses or for Gram matrices, with tasks that may be absent."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from surrogates.counts import whole
from surrogates.errors import DataError, missing_extra

from ..weighting import Weighting, weighting_by_name
from ..weighting._base import Balance
from ._base import Prepared, SeenTasks, State, select, spread


@dataclass(frozen=True)
class LossWeights:
    """A weighting of `surrogates.training.weighting` that looks at losses only, as a method for tasks.

    The weighting is shown the tasks that are present, with their entries of its state; the others keep theirs. So for it
    nothing has happened to a task since it was last there. A task's entries begin when it is first seen; in a history of
    all losses, its rows before that are NaN.

    Methods that need gradients or residuals (GradNorm, NTK, ...) are refused when they ask for them.

    Parameters
    ----------
    weighting : such as `Uncertainty()`, or its name
    """

    weighting: Weighting | str

    def __post_init__(self) -> None:
        if isinstance(self.weighting, str):
            object.__setattr__(self, "weighting", weighting_by_name(self.weighting))

    def init(self, m: int) -> State:
        return {"begun": torch.zeros(m, dtype=torch.bool)}

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        assert not isinstance(self.weighting, str)
        if not seen.present.any():
            return torch.zeros(len(seen.present), dtype=torch.float64), state
        m, index = len(seen.present), seen.present.nonzero()[:, 0]
        inner = {name.removeprefix("inner."): value for name, value in state.items() if name.startswith("inner.")}
        new = seen.present & ~state["begun"]
        if new.any():  # entries as of a start with the losses as they are now
            filled = torch.where(seen.present, seen.losses, 1.0)
            fresh = self.weighting.init(_Losses(seen, seen.names, filled, 0))
            inner = {name: _begun(inner.get(name, value), value, new) for name, value in fresh.items()}
        names = tuple(seen.names[i] for i in index.tolist())
        shown = {name: value[..., index] if _is_by_task(value, m) else value for name, value in inner.items()}
        step = seen.step if bool(state["begun"].any()) else 0
        answer, following = self.weighting.step(shown, _Losses(seen, names, seen.losses[index], step))
        for name, value in following.items():
            by_task = name in inner and _is_by_task(inner[name], m)
            inner[name] = _put_back(inner[name], index, value) if by_task else value
        weights = answer.weights if isinstance(answer, Balance) else answer
        kept = {"begun": state["begun"] | seen.present} | {f"inner.{name}": value for name, value in inner.items()}
        return spread(weights, index, m), kept


def _is_by_task(value: Tensor, m: int) -> bool:
    """Whether a part of a weighting's state is (m,), or a history (n, m) of them, oldest first."""
    return value.ndim in (1, 2) and value.shape[-1] == m


def _begun(old: Tensor, fresh: Tensor, new: Tensor) -> Tensor:
    """The state `old`, in which the tasks that are `new` (m,) start afresh: a history knows nothing of them."""
    if not _is_by_task(fresh, len(new)):
        return old
    return torch.where(new, fresh if fresh.ndim == 1 else torch.nan, old)


def _put_back(old: Tensor, index: Tensor, part: Tensor) -> Tensor:
    """`old` (..., m) with `part` (..., p) for the tasks `index` (p,); where a history grew, the others stay its newest."""
    if old.ndim == 2:
        unknown = old.new_full((max(len(part) - len(old), 0), old.shape[1]), torch.nan)
        old = torch.cat([unknown, old])
        old = old[len(old) - len(part) :]
    return old.index_copy(-1, index, part)


class _Losses:
    """What a weighting for complete losses sees."""

    def __init__(self, seen: SeenTasks, names: tuple[str, ...], losses: Tensor, step: int) -> None:
        self.names, self.losses, self.step = names, losses, step
        self.max_steps, self.generator = seen.max_steps, seen.generator

    def gradients(self) -> Tensor:
        raise DataError(
            "this weighting asks for the losses' gradients, which aren't copied out here; use a method on the Gram "
            "matrix, such as 'pcgrad' or Aggregated('IMTLG')"
        )

    def residuals(self) -> Mapping[str, Tensor]:
        raise DataError("this weighting asks for vectors of residuals, which tasks with labels don't have; use another")

    def residual_traces(self, probes: int | None = None) -> Tensor:
        raise DataError("this weighting asks for traces of residuals' Jacobians, which tasks don't have; use another")


@dataclass(frozen=True)
class Aggregated:
    """An aggregator of torchjd that works on the Gram matrix, by name: UPGrad, MGDA, IMTLG, AlignedMTL, ... (0.18).

    Its weighting is called with the Gram matrix of those tasks that are present. Aggregators with a memory of their own
    (GradVac, PCD) are refused: it has no place for tasks that come and go. CAGrad and Nash-MTL are here without cvxpy:
    `CAGrad()`, `NashMTL()`. Some need packages of their own (UPGrad and DualProj:
    ``pip install "torchjd[quadprog_projector]"``); torchjd says which.

    Parameters
    ----------
    method : name of a class in torchjd.aggregation
    options : its arguments: numbers or texts
    every : steps between two Gram matrices, see `Prepared`; the weights follow from the last one. With tasks that come
        and go, a matrix put together from several batches needn't be positive semidefinite

    Examples
    --------
    >>> Aggregated("MGDA").every
    1
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    every: int = 1

    def __post_init__(self) -> None:
        whole(self.every, "every")
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __repr__(self) -> str:
        return f"Aggregated({self.method!r}, {dict(self.options)!r}, every={self.every})"

    def init(self, m: int) -> State:
        self._make()
        return Prepared.init(m)

    def step(self, state: State, seen: SeenTasks) -> tuple[Tensor, State]:
        prepared, state = Prepared.of(state, seen, self.every)
        M, index = select(prepared.gram, seen.present)
        if len(index) == 0:
            return spread(M.new_zeros(0), index, len(seen.present)), state
        seed = int(torch.randint(2**31, (), generator=seen.generator))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            weights = self._make()(M)
        return spread(weights.detach().double(), index, len(seen.present)), state

    def _make(self) -> Any:
        """The weighting of Gram matrices that the aggregator is made of."""
        aggregation = _aggregation()
        known: dict[str, Any] = {
            name: found
            for name in aggregation.__all__
            if inspect.isclass(found := getattr(aggregation, name))
            and issubclass(found, aggregation.GramianWeightedAggregator)
            and not issubclass(found, importlib.import_module("torchjd").Stateful)
            and found is not aggregation.GramianWeightedAggregator
        }
        if self.method not in known:
            raise DataError(
                f"torchjd has no aggregator {self.method!r} that works on the Gram matrix alone and has no memory; "
                f"there are {', '.join(sorted(known))}"
            )
        try:
            return known[self.method](**self.options).gramian_weighting
        except (TypeError, ValueError) as error:
            raise DataError(f"torchjd's {self.method} doesn't take these options: {error}") from error


def _aggregation() -> Any:
    try:
        return importlib.import_module("torchjd.aggregation")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != "torchjd":
            raise
        raise missing_extra("torchjd", "molecules") from error
