"""One adapter for all that torchjd combines losses or gradients with."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from surrogates.errors import DataError, missing_extra

from ._base import Balance, Seen, State, adam_change, adam_moments, positive

#: Their memory isn't in buffers or parameters, or they need more than one Jacobian.
_REFUSED = {
    "FAMO": "use FAMO() of surrogates.training, which can be resumed",
    "DWA": "use DynamicWeightAverage() of surrogates.training, which can be resumed",
    "NashMTL": "its state lives in cvxpy's parameters, which no checkpoint could hold",
    "MoDoWeighting": "it needs Jacobians of several batches",
    "SDMGradWeighting": "it needs Jacobians of several batches",
    "CRMOGMWeighting": "it wraps another weighting, which plain options can't name",
}


@dataclass(frozen=True)
class TorchJD:
    """A scalarizer or an aggregator of torchjd, by name (of torchjd 0.18).

    ====================================  ===================================================================
    torchjd's class                       what the loop gets
    ====================================  ===================================================================
    scalarizer S, e.g. ``STCH``           weights ∂S/∂L_i
    scalarizer with parameters (``UW``,   the same; the parameters are moved by an Adam
    ``IMTLL``)
    aggregator with weights, e.g.         weights w with A(J) = w'J, J (k, P) the losses' Jacobian
    ``UPGrad``, ``MGDA``, ``CAGrad``
    other aggregator, e.g. ``GradDrop``,  A(J) as a direction in the gradient's place; only optimisers that
    ``ConFIG``, ``TrimmedMean``           need no line search take it
    ====================================  ===================================================================

    A name that both have (``Mean``, ``Sum``, ``Constant``, ``Random``) means the scalarizer. Its randomness comes from
    the run's own generator; torch's global one is left as it was. Buffers and parameters go into checkpoints.

    Some aggregators need packages of their own (UPGrad and DualProj: ``pip install "torchjd[quadprog_projector]"``);
    torchjd says which.

    Parameters
    ----------
    method : name of a class in torchjd.scalarization or torchjd.aggregation
    options : its arguments: numbers, texts, or sequences of numbers, which become float64 tensors. `shape` is filled in
    rate : of the Adam of a scalarizer's parameters

    Examples
    --------
    >>> TorchJD("MGDA")
    TorchJD('MGDA', {})
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    rate: float = 1e-3

    def __post_init__(self) -> None:
        positive(self.rate, "rate")
        if self.method in _REFUSED:
            raise DataError(f"torchjd's {self.method} can't be adapted: {_REFUSED[self.method]}")
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __repr__(self) -> str:
        more = "" if self.rate == 1e-3 else f", rate={self.rate}"
        return f"TorchJD({self.method!r}, {dict(self.options)!r}{more})"

    def init(self, seen: Seen) -> State:
        module, _ = self._make(len(seen.losses))
        state: State = {}
        for name, parameter in module.named_parameters():
            state[f"parameter.{name}"] = parameter.detach().clone()
            state |= {f"{moment}.{name}": value for moment, value in adam_moments(parameter.detach()).items()}
        return state

    def step(self, state: State, seen: Seen) -> tuple[Tensor | Balance, State]:
        module, scalarizes = self._make(len(seen.losses))
        seed = int(torch.randint(2**31, (), generator=seen.generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._scalarize(module, state, seen) if scalarizes else _aggregate(module, state, seen)

    def _scalarize(self, module: Any, state: State, seen: Seen) -> tuple[Tensor, State]:
        names = [name for name, _ in module.named_parameters()]
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(state[f"parameter.{name}"])
        L = seen.losses.clone().requires_grad_(True)
        with torch.enable_grad():
            value = module(L)
        weights, *slopes = torch.autograd.grad(value, [L, *module.parameters()])
        following: State = {}
        for name, slope in zip(names, slopes, strict=True):
            moments = {moment: state[f"{moment}.{name}"] for moment in ("mean", "square", "count")}
            change, moments = adam_change(moments, slope)
            following[f"parameter.{name}"] = state[f"parameter.{name}"] - self.rate * change
            following |= {f"{moment}.{name}": tensor for moment, tensor in moments.items()}
        return weights, following

    def _make(self, k: int) -> tuple[Any, bool]:
        """The object, and whether it is a scalarizer."""
        known = _classes()
        name = self.method if self.method in known else self.method.removesuffix("Weighting")
        if name not in known:
            names = ", ".join(sorted(known.keys() - _REFUSED.keys()))
            raise DataError(f"torchjd has no scalarizer or aggregator {self.method!r}; it has {names}")
        found, scalarizes = known[name]
        options = {key: _tensor(value) for key, value in self.options.items()}
        if "shape" in inspect.signature(found).parameters:
            options["shape"] = k
        try:
            return found(**options).double(), scalarizes
        except (TypeError, ValueError) as error:
            raise DataError(f"torchjd's {name} doesn't take these options: {error}") from error


def _classes() -> dict[str, tuple[Any, bool]]:
    """By name: the classes that can be made, and whether each is a scalarizer."""
    scalarization, aggregation = _torchjd("scalarization"), _torchjd("aggregation")
    found: dict[str, tuple[Any, bool]] = {}
    for home, kind in ((aggregation, aggregation.Aggregator), (scalarization, scalarization.Scalarizer)):
        abstract = {"WeightedAggregator", "GramianWeightedAggregator", kind.__name__}
        for name in home.__all__:
            candidate = getattr(home, name)
            if inspect.isclass(candidate) and issubclass(candidate, kind) and name not in abstract:
                found[name] = (candidate, home is scalarization)
    return found


def _aggregate(module: Any, state: State, seen: Seen) -> tuple[Tensor | Balance, State]:
    J = seen.gradients()
    weighted = isinstance(module, _torchjd("aggregation").WeightedAggregator)
    combine = module.weighting if weighted else module
    if state:  # a call with the same shapes makes the buffers, which then get their values
        with torch.random.fork_rng(devices=[]):
            combine(J)
        _put(module, state)
    found = combine(J)
    following = _memory(module) if isinstance(module, _torchjd("").Stateful) else {}
    if weighted:
        return found.detach(), following
    return Balance(torch.full_like(seen.losses, torch.nan), direction=found.detach()), following


def _memory(module: Any) -> State:
    """Buffers and counters of a stateful aggregator."""
    found: State = {}
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if name.startswith("_n_") and isinstance(value, int):
                found[f"counter.{path}.{name}"] = torch.tensor(value)
    return found | {f"buffer.{name}": value.detach().clone() for name, value in module.named_buffers()}


def _put(module: Any, state: State) -> None:
    for path, part in module.named_modules():
        dot = f"{path}." if path else ""
        for name in list(part._buffers):
            kept = state.get(f"buffer.{dot}{name}")
            setattr(part, name, None if kept is None else kept.clone())
        for name in list(vars(part)):
            if f"counter.{path}.{name}" in state:
                setattr(part, name, int(state[f"counter.{path}.{name}"]))


def _tensor(value: Any) -> Any:
    return torch.tensor(value, dtype=torch.float64) if isinstance(value, list | tuple) else value


def _torchjd(part: str) -> Any:
    try:
        return importlib.import_module(f"torchjd.{part}" if part else "torchjd")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] != "torchjd":
            raise
        raise missing_extra("torchjd", "molecules") from error
