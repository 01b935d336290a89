"""Loops that are compared: what is fitted to which readings, and where it says to read next.

All but random search maximise the same acquisition function, LogEI (Ament et al. 2023), by the same optimiser and budget;
what differs is the model.
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

RESTARTS, RAW, ITERATIONS = 3, 96, 50
#: noise variance that BoTorch takes for none
EXACT = 1e-6


@dataclass
class Clock:
    """Seconds of the processor, by purpose, and how many steps took them."""

    steps: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"fit": 0.0, "acquisition": 0.0})


@dataclass(frozen=True)
class Believed:
    """A BoTorch model, and the least value that it was given of what counts."""

    model: Any
    best: float


@dataclass(frozen=True)
class Fitter:
    """A model in the terms of `surrogates.design.Loop`.

    make : a BoTorch model out of a table of readings
    counts : a column and its label of the readings that the best is among; None for all
    """

    schema: Schema
    make: Callable[[Schema, xr.Dataset], Any]
    clock: Clock
    counts: tuple[str, str] | None = None

    def fit(self, data: xr.Dataset, *, seed: int = 0) -> Believed:
        """Fitted to all readings."""
        began = time.process_time()
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # advice on scaling, jitter, and fits that end early
            torch.manual_seed(seed)
            model = self.make(self.schema, data)
        self.clock.seconds["fit"] += time.process_time() - began
        mine: Any = slice(None) if self.counts is None else (data[self.counts[0]] == self.counts[1]).to_numpy()
        return Believed(model, float(data["y"].to_numpy()[mine].min()))


def columns(schema: Schema, data: xr.Dataset) -> torch.Tensor:
    """The inputs (n, d)."""
    return torch.from_numpy(np.stack([data[name].to_numpy() for name in schema.inputs], axis=-1))


def single_task(schema: Schema, data: xr.Dataset) -> Any:
    """BoTorch's SingleTaskGP with its defaults, told that the functions have no noise."""
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    y = torch.from_numpy(data["y"].to_numpy())[:, None]
    model = SingleTaskGP(columns(schema, data), y, torch.full_like(y, EXACT))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


class MultiTask:
    """BoTorch's MultiTaskGP with its defaults, told that there is no noise.

    A fit begins where the one before ended, and has a limited time. Its
    descents take thousands of steps: without the limit one takes 10 to 60 seconds for a hundred readings.
    """

    def __init__(self, first: float = 3.0, later: float = 0.2) -> None:
        """Seconds of the first fit and of those after it."""
        self.first, self.later = first, later
        self.state: dict[str, Any] | None = None

    def __call__(self, schema: Schema, data: xr.Dataset) -> Any:
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import MultiTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        labels = sorted(set(data["task"].to_numpy().tolist()))
        task = torch.tensor([labels.index(label) for label in data["task"].to_numpy().tolist()], dtype=torch.float64)
        x = torch.cat([columns(schema, data), task[:, None]], dim=-1)
        y = torch.from_numpy(data["y"].to_numpy())[:, None]
        known = torch.full_like(y, EXACT)
        model = MultiTaskGP(x, y, task_feature=-1, train_Yvar=known, output_tasks=[labels.index(NEW)])
        if self.state is not None:
            own = {name: value for name, value in model.state_dict().items() if name.startswith("outcome_transform")}
            model.load_state_dict(self.state | own)
        seconds = self.first if self.state is None else self.later
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"timeout_sec": seconds}, max_attempts=1)
        self.state = model.state_dict()
        return model


def hierarchical(schema: Schema, data: xr.Dataset, **options: Any) -> Any:
    """Our `HierarchicalGP` for exact readings, as a BoTorch model."""
    from surrogates.design import botorch_model

    fitted = HierarchicalGP(schema, trend="constant", noise="none", **options).fit(data)
    return botorch_model(fitted, task=None if schema.task is None else NEW)


def log_ei(
    believed: Believed,
    *,
    count: int,
    seed: int,
    pending: xr.Dataset | None,
    inputs: tuple[str, ...],
    clock: Clock,
    fidelity: str = "only",
) -> xr.Dataset:
    """The place of greatest expected improvement of the new task."""
    from botorch.acquisition import LogExpectedImprovement
    from botorch.optim import optimize_acqf

    began = time.process_time()
    function = LogExpectedImprovement(believed.model, believed.best, maximize=False)
    bounds = torch.stack([torch.zeros(len(inputs)), torch.ones(len(inputs))]).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches that end early
        place, _ = optimize_acqf(
            function, bounds, q=1, num_restarts=RESTARTS, raw_samples=RAW, options={"maxiter": ITERATIONS}
        )
    clock.seconds["acquisition"] += time.process_time() - began
    clock.steps += 1
    answer = xr.Dataset({name: ("suggestion", place[:, k].numpy()) for k, name in enumerate(inputs)})
    return answer.assign(task=NEW, fidelity=fidelity)
