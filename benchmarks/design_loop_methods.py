"""Loops that are compared: what is fitted to which readings, and where it says to read next.

All but random search maximise the same acquisition function, LogEI (Ament et al. 2023), by the same optimiser and budget; what
differs is the model.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from design_loop_problems import NEW

from surrogates import HierarchicalGP, Schema

RESTARTS, RAW = 4, 128


@dataclass
class Clock:
    """Seconds spent, by purpose."""

    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "acquisition": 0.0})


@dataclass(frozen=True)
class Believed:
    """A BoTorch model of the new task, and the least value it was given."""

    model: Any
    best: float


@dataclass(frozen=True)
class Fitter:
    """A model in the terms of `surrogates.design.Loop`.

    make : a BoTorch model out of a table of readings
    """

    schema: Schema
    make: Callable[[Schema, xr.Dataset], Any]
    clock: Clock

    def fit(self, data: xr.Dataset, *, seed: int = 0) -> Believed:
        """Fitted to all readings."""
        began = time.perf_counter()
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # advice on scaling, jitter, and fits that end early
            torch.manual_seed(seed)
            model = self.make(self.schema, data)
        self.clock.seconds["fit"] += time.perf_counter() - began
        return Believed(model, float(data["y"].to_numpy()[(data["task"] == NEW).to_numpy()].min()))


def columns(schema: Schema, data: xr.Dataset) -> torch.Tensor:
    """The inputs (n, d)."""
    return torch.from_numpy(np.stack([data[name].to_numpy() for name in schema.inputs], axis=-1))


def single_task(schema: Schema, data: xr.Dataset) -> Any:
    """BoTorch's SingleTaskGP with its defaults."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    model = SingleTaskGP(columns(schema, data), torch.from_numpy(data["y"].to_numpy())[:, None])
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def multi_task(schema: Schema, data: xr.Dataset) -> Any:
    """BoTorch's MultiTaskGP with its defaults; its fit may take `PATIENCE` seconds."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import MultiTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    labels = sorted(set(data["task"].to_numpy().tolist()))
    task = torch.tensor([labels.index(label) for label in data["task"].to_numpy().tolist()], dtype=torch.float64)
    x = torch.cat([columns(schema, data), task[:, None]], dim=-1)
    y = torch.from_numpy(data["y"].to_numpy())[:, None]
    model = MultiTaskGP(x, y, task_feature=-1, output_tasks=[labels.index(NEW)])
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(likelihood, optimizer_kwargs={"timeout_sec": PATIENCE})
    return model


PATIENCE = 1.0


def hierarchical(schema: Schema, data: xr.Dataset, **options: Any) -> Any:
    """Our `HierarchicalGP`, as a BoTorch model."""
    from surrogates.design import botorch_model

    fitted = HierarchicalGP(schema, **options).fit(data)
    return botorch_model(fitted, task=None if schema.task is None else NEW)


def log_ei(
    believed: Believed, *, count: int, seed: int, pending: xr.Dataset | None, inputs: tuple[str, ...]
) -> xr.Dataset:
    """The place of greatest expected improvement."""
    from botorch.acquisition import LogExpectedImprovement
    from botorch.optim import optimize_acqf

    function = LogExpectedImprovement(believed.model, believed.best, maximize=False)
    bounds = torch.stack([torch.zeros(len(inputs)), torch.ones(len(inputs))]).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches that end early
        place, _ = optimize_acqf(function, bounds, q=1, num_restarts=RESTARTS, raw_samples=RAW, options={"maxiter": 60})
    return xr.Dataset({name: ("suggestion", place[:, k].numpy()) for k, name in enumerate(inputs)}).assign(task=NEW)
