"""A run's whole state in one file, from which it goes on as if it had never stopped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates import persistence
from surrogates.counts import whole
from surrogates.errors import DataError, FileFormatError

from .stopping import Best
from .trace import Trace
from .weighting._base import Balance, State

_KIND = "training.checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a run is kept, and how often it is written.

    If the file exists, `minimize` goes on from it and ends bit for bit where an uninterrupted run would have ended (on
    the same machine, with losses that depend on θ alone). It stays when the run is over: calling again with a higher
    `max_steps` continues, unless a rate's schedule ends at `max_steps`. Remove the file to start anew.

    Parameters
    ----------
    path : of the file; its folder must exist
    every : steps between two writings; each writes the whole state, anew and atomically
    """

    path: str | os.PathLike[str]
    every: int = 100

    def __post_init__(self) -> None:
        whole(self.every, "every")


@dataclass
class Run:
    """The state of a run once its point has been weighed and before it moves: all that its future depends on."""

    θ: Tensor
    optimiser: State
    weighting: State
    balance: Balance
    generator: torch.Generator
    best: Best | None = None
    step: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    trace: Trace = field(default_factory=Trace)
    warnings: list[str] = field(default_factory=list)


def identity(start: Tensor, names: tuple[str, ...], config: dict[str, object]) -> dict[str, Any]:
    """What a run must agree in to go on from a checkpoint."""
    digest = hashlib.sha256(start.detach().numpy().tobytes()).hexdigest()
    return {"names": list(names), "parameters": len(start), "start": digest} | {k: repr(v) for k, v in config.items()}


def save(checkpoint: Checkpoint, run: Run, losses: Tensor, who: dict[str, Any]) -> None:
    """Write the state; `losses` (k,) are those at the run's θ."""
    tensors = {"θ": run.θ, "losses": losses, "generator": run.generator.get_state(), "weights": run.balance.weights}
    if run.balance.direction is not None:
        tensors["direction"] = run.balance.direction
    if run.balance.points is not None:
        tensors |= {f"points.{name}": tensor for name, tensor in run.balance.points.items()}
    tensors |= {f"optimiser.{name}": tensor for name, tensor in run.optimiser.items()}
    tensors |= {f"weighting.{name}": tensor for name, tensor in run.weighting.items()}
    arrays: dict[str, NDArray[Any]] = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    arrays |= {f"trace.{name}": array for name, array in run.trace.arrays().items()}
    if run.best is not None:
        numbers = np.array([run.best.value, run.best.step, run.best.waited])
        arrays |= {"best.θ": run.best.θ.numpy(), "best.numbers": numbers}
    header = {
        "identity": who,
        "step": run.step,
        "evaluations": run.evaluations,
        "seconds": run.seconds,
        "warnings": run.warnings,
    }
    persistence.write(checkpoint.path, _KIND, header, arrays)


def resume(checkpoint: Checkpoint, who: dict[str, Any]) -> tuple[Run, Tensor] | None:
    """The state in the file with the losses (k,) at its θ, or None if there is no file."""
    if not Path(checkpoint.path).exists():
        return None
    archive = persistence.read(checkpoint.path)
    if archive.kind != _KIND:
        raise FileFormatError(
            f"{checkpoint.path} holds a {archive.kind!r}, not a checkpoint of minimize; give another path"
        )
    header, arrays = archive.header, archive.arrays
    for name, wanted in who.items():
        if (found := header["identity"].get(name)) != wanted:
            raise DataError(
                f"the checkpoint {checkpoint.path} belongs to another run: its {name} is {found}, this run's is "
                f"{wanted}; give another path, or remove the file to start anew"
            )
    generator = torch.Generator()
    generator.set_state(torch.from_numpy(arrays["generator"].copy()))
    best = None
    if "best.θ" in arrays:
        value, step, waited = arrays["best.numbers"].tolist()
        best = Best(_tensor(arrays["best.θ"]), value, int(step), int(waited))
    run = Run(
        _tensor(arrays["θ"]),
        _part(arrays, "optimiser."),
        _part(arrays, "weighting."),
        Balance(
            _tensor(arrays["weights"]),
            _part(arrays, "points.") or None,
            _tensor(arrays["direction"]) if "direction" in arrays else None,
        ),
        generator,
        best,
        header["step"],
        header["evaluations"],
        header["seconds"],
        Trace.of({name.removeprefix("trace."): array for name, array in arrays.items() if name.startswith("trace.")}),
        list(header["warnings"]),
    )
    return run, _tensor(arrays["losses"])


def _part(arrays: dict[str, NDArray[Any]], prefix: str) -> State:
    return {name.removeprefix(prefix): _tensor(a) for name, a in arrays.items() if name.startswith(prefix)}


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.copy())
