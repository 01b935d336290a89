"""Loops over two fidelities, one of which is ten times cheaper: what is compared, and by which acquisition function.

All but the loops of one fidelity and random search maximise augmented expected improvement (Huang, Allen, Notz & Miller
2006, Struct. Multidisc. Optim. 32, 369-382): at place x and fidelity l, the expected improvement of the precise function at
x times the correlation of a reading at (x, l) with the precise value there, per cost.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from design_loop_methods import EXACT, ITERATIONS, RAW, RESTARTS, Believed, Clock, Fitter, columns
from design_loop_problems import sobol
from numpy.typing import NDArray

from surrogates import MultiFidelityGP, Schema
from surrogates.datasets import MultiFidelityFunction
from surrogates.datasets.functions import forrester, hartmann3
from surrogates.datasets.toal import branin_alike, hartmann3_unlike

Floats = NDArray[np.float64]
#: labels in the order of the alphabet, which is that of the fidelities' numbers
CHEAP, DEAR = "cheap", "dear"
COSTS: Mapping[str, float] = {CHEAP: 0.1, DEAR: 1.0}


@dataclass(frozen=True)
class TwoFidelities:
    """A function of the catalogue on the unit cube: its cheapest and its dearest level, and what a loop may spend."""

    function: MultiFidelityFunction
    budget: float

    def __call__(self, u: Floats, label: str) -> Floats:
        """Values (n,) at u (n, d), as multiples of the dear level's deviation."""
        function = self.function
        low, high = np.array(function.bounds).T
        name = function.levels[-1 if label == DEAR else 0]
        return np.asarray(function(low + (high - low) * u, name) / self._spread)

    def value(self, at: xr.Dataset) -> float:
        """The value at a place, as an experiment of a loop."""
        return float(self(np.array([[float(at[name]) for name in self.names]]), str(at["fidelity"].values))[0])

    @property
    def inputs(self) -> int:
        """How many there are."""
        return len(self.function.inputs)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the inputs."""
        return tuple(f"x{k + 1}" for k in range(self.inputs))

    @property
    def minimum(self) -> float:
        """Of the dear level."""
        assert self.function.minimum is not None
        return self.function.minimum / self._spread

    @cached_property
    def _spread(self) -> float:
        low, high = np.array(self.function.bounds).T
        grid = low + (high - low) * np.random.default_rng(0).uniform(0, 1, (4096, len(low)))
        return float(self.function(grid, self.function.levels[-1]).std())


FIDELITY_STUDIES = {
    "forrester, fidelities": TwoFidelities(forrester, 12.0),
    "branin, fidelities": TwoFidelities(branin_alike, 20.0),
    "hartmann3, fidelities": TwoFidelities(hartmann3, 20.0),
    "hartmann3, misleading": TwoFidelities(hartmann3_unlike, 20.0),
}


@dataclass(frozen=True)
class LevelsFitter:
    """A model of both fidelities in the terms of `surrogates.design.Loop`.

    ours : `MultiFidelityGP`, else BoTorch's SingleTaskMultiFidelityGP with its defaults, told that there is no noise
    """

    schema: Schema
    ours: bool
    clock: Clock

    def fit(self, data: xr.Dataset, *, seed: int = 0) -> Believed:
        """Fitted to all readings; the fidelity is the model's last column, 0 or 1."""
        make = partial(_ours, seed=seed) if self.ours else _botorch
        return Fitter(self.schema, make, self.clock, ("fidelity", DEAR)).fit(data, seed=seed)


def _ours(schema: Schema, data: xr.Dataset, *, seed: int) -> Any:
    from surrogates.design import botorch_model

    structures = ("ignore", "autoregressive")
    model = MultiFidelityGP(schema, (CHEAP, DEAR), structures, kernel="matern52", trend="linear", noise="none")
    return botorch_model(model.fit(data, seed=seed), fidelity_column=True)


def _botorch(schema: Schema, data: xr.Dataset) -> Any:
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskMultiFidelityGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    level = torch.from_numpy((data["fidelity"] == DEAR).to_numpy().astype(np.float64))
    x = torch.cat([columns(schema, data), level[:, None]], dim=-1)
    y = torch.from_numpy(data["y"].to_numpy())[:, None]
    model = SingleTaskMultiFidelityGP(x, y, torch.full_like(y, EXACT), data_fidelities=[x.shape[1] - 1])
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def augmented_ei(
    believed: Believed, *, count: int, seed: int, pending: xr.Dataset | None, inputs: tuple[str, ...], clock: Clock
) -> xr.Dataset:
    """The place and fidelity of greatest augmented expected improvement per cost."""
    from botorch.acquisition import AcquisitionFunction
    from botorch.acquisition.analytic import _log_ei_helper
    from botorch.optim import optimize_acqf

    class AugmentedEI(AcquisitionFunction):  # type: ignore[misc]
        """log EI + log |correlation| of one fidelity."""

        def __init__(self, model: Any, level: float) -> None:
            super().__init__(model)
            self.level = level

        def forward(self, X: torch.Tensor) -> torch.Tensor:
            dear = torch.cat([X, torch.ones_like(X[..., :1])], dim=-1)  # (b, 1, d + 1)
            asked = torch.cat([X, torch.full_like(X[..., :1], self.level)], dim=-1)
            pair = self.model.posterior(torch.cat([dear, asked], dim=-2))
            covariance = pair.distribution.covariance_matrix  # (b, 2, 2)
            variance = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-16)
            std = variance[..., 0].sqrt()
            gain: torch.Tensor = _log_ei_helper((believed.best - pair.mean[..., 0, 0]) / std) + std.log()
            if self.level == 1.0:
                return gain
            reading = variance[..., 1] + 1e-6 * variance[..., 0]  # where nothing is left to learn, nothing correlates
            correlation = covariance[..., 0, 1].abs() / (std * reading.sqrt())
            gain += correlation.clamp(1e-12, 1.0).log()
            return gain

    began, d = time.process_time(), len(inputs)
    bounds = torch.stack([torch.zeros(d), torch.ones(d)]).double()
    offers = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # line searches that end early
        for label, level in ((CHEAP, 0.0), (DEAR, 1.0)):
            function = AugmentedEI(believed.model, level)
            place, value = optimize_acqf(
                function, bounds, q=1, num_restarts=RESTARTS, raw_samples=RAW, options={"maxiter": ITERATIONS}
            )
            offers.append((float(value) - np.log(COSTS[label]), label, place))
    gain, label, place = max(offers, key=lambda offer: offer[0])
    clock.steps += 1
    clock.seconds["acquisition"] += time.process_time() - began
    answer = xr.Dataset({name: ("suggestion", place[:, k].numpy()) for k, name in enumerate(inputs)})
    return answer.assign(fidelity=label, cost=("suggestion", [COSTS[label]]), gain=("suggestion", [gain]))


def first_readings(study: TwoFidelities, seed: int, *, cheap: bool) -> xr.Dataset:
    """An even design: d + 2 precise readings, or, with cheap ones, five of these for each input and d + 1 precise ones."""
    generator, d = np.random.default_rng([seed, 11]), study.inputs
    counts = {CHEAP: 5 * d, DEAR: d + 1} if cheap else {DEAR: d + 2}
    parts = []
    for label, n in counts.items():
        x = sobol(n, d, generator)
        places = {name: ("sample", x[:, k]) for k, name in enumerate(study.names)}
        parts.append(xr.Dataset(places | {"y": ("sample", study(x, label)), "fidelity": ("sample", [label] * n)}))
    return xr.concat(parts, "sample")
