"""What observations say of unknown inputs: the likelihood of a fitted process, its own uncertainty included.

For J observations y of one surrogate, at places x_j(θ) whose unknown inputs are θ, and draws k of its hyper-parameters,

    p(y | θ) = Σ_k w_k N(y; m_k(x(θ)), C_k(x(θ)) + diag(σ² + δ²))

with the joint covariance C_k of the function, σ the readings' noise and δ a discrepancy between model and world (Kennedy &
O'Hagan 2001, with a constant variance for their process). Surrogates fitted on their own are independent: their likelihoods
are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2
from torch import Tensor

from surrogates.errors import DataError
from surrogates.gp.differentiable import FittedProcess, JointPosterior, joint_posterior
from surrogates.gp.fidelity.fitted import FittedMultiFidelityGP
from surrogates.labels import require_label
from surrogates.schema import Table, as_labelled
from surrogates.units import Units

from ..labelled import ranges

Floats = NDArray[np.float64]
#: what is added to every variance, as a share of the target's squared spread: rounding of exact readings
TINY = 1e-12
#: numbers in the largest temporary array
CHUNK = 3_000_000


class Given(NamedTuple):
    """What was observed, and what is known of it."""

    observed: Any
    std: ArrayLike | None
    task: Any
    fidelity: Any
    discrepancy: float


class Prediction(NamedTuple):
    """Of J readings like those observed, at each of m values of the unknown inputs: mean and variance (m, J)."""

    mean: Floats
    variance: Floats


@dataclass(frozen=True, eq=False)
class Evidence:
    """Observations of one surrogate.  J of them, d inputs, p unknown numbers of which this one reads some.

    x : (J, d) known inputs, and any number for the unknown ones
    unknown : columns of x, and which of the p numbers stands there
    z : (J,) observed, in the units in which f is Gaussian (those of the warped target, where there is a warp)
    extra : (J,) variance of readings and discrepancy in these units; where has_model_noise, the model adds its own
    """

    name: str
    joint: JointPosterior
    codes: Tensor
    x: Floats
    unknown: tuple[tuple[int, int], ...]
    y: Floats
    z: Floats
    extra: Floats
    has_model_noise: bool

    def log_likelihood(self, θ: Floats) -> Floats:
        """(m,) at values θ (m, p) of the unknown inputs."""
        return np.concatenate([self._log_likelihood(part) for part in self._blocks(θ)])

    def _log_likelihood(self, θ: Floats) -> Floats:
        return np.asarray(torch.logsumexp(self._by_draw(θ)[0], dim=0).numpy())

    def _by_draw(self, θ: Floats) -> tuple[Tensor, Tensor]:
        """Weighted log densities and χ² of every draw: (k, m) each."""
        mean, covariance, weights = self._predicted(θ)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        residual = (torch.from_numpy(self.z) - mean).unsqueeze(-1)
        squares = torch.linalg.solve_triangular(factor, residual, upper=False).squeeze(-1).square().sum(dim=-1)
        log_det = 2 * torch.log(torch.diagonal(factor, dim1=-2, dim2=-1)).sum(dim=-1)
        each = -0.5 * (squares + log_det + len(self.z) * math.log(2 * math.pi)) + torch.log(weights)[:, None]
        return torch.where(failed > 0, -torch.inf, each), squares

    def predict(self, θ: Floats) -> Prediction:
        """Of readings like those observed, in the units of `z`."""
        parts = []
        for part in self._blocks(θ):
            mean, covariance, weights = self._predicted(part)
            centre = torch.tensordot(weights, mean, dims=1)
            within = torch.diagonal(covariance, dim1=-2, dim2=-1)
            variance = torch.tensordot(weights, within + (mean - centre) ** 2, dims=1)
            parts.append(Prediction(centre.numpy(), variance.numpy()))
        return Prediction(*(np.concatenate(both) for both in zip(*parts, strict=True)))

    def tail(self, θ: Floats) -> Floats:
        """Probability (m,) that readings drawn at θ (m, p) lie as far from what is predicted as those observed, by χ².

        Of each draw of hyper-parameters, which count as likely as the observed makes them.
        """
        found = []
        for part in self._blocks(θ):
            each, squares = self._by_draw(part)
            found.append((torch.softmax(each, dim=0).numpy() * chi2.sf(squares.numpy(), len(self.z))).sum(axis=0))
        return np.concatenate(found)

    def _predicted(self, θ: Floats) -> tuple[Tensor, Tensor, Tensor]:
        """Means (k, m, J), covariances of readings (k, m, J, J), weights (k,)."""
        x = np.tile(self.x, (len(θ), 1, 1))
        for column, number in self.unknown:
            x[:, :, column] = θ[:, None, number]
        places = torch.from_numpy(x)
        with torch.no_grad():
            found = self.joint(places, self.codes)
            diagonal = torch.from_numpy(self.extra) + TINY * self.joint.spread[self.codes] ** 2
            if self.has_model_noise:
                diagonal = diagonal + self.joint.noise_by_draw(places, self.codes)
            covariance = found.covariance + torch.diag_embed(diagonal.expand(found.mean.shape))
        return found.mean, covariance, self.joint.weights

    def _blocks(self, θ: Floats) -> list[Floats]:
        rows = max(posterior_rows(self.joint), 1)
        size = max(8, CHUNK // (rows * len(self.joint.weights) * len(self.z)))
        return [θ[start : start + size] for start in range(0, len(θ), size)]


def posterior_rows(joint: JointPosterior) -> int:
    """How many numbers a prediction holds per place and draw."""
    first = joint.stacks[0][1]
    rows = getattr(first, "rows", None)
    return 200 if rows is None else int(rows.shape[1])


def make_evidence(fitted: FittedProcess, given: Given, unknown: Mapping[str, int]) -> Evidence:
    """The likelihood of what was observed of a surrogate; `unknown` numbers the inputs that are to be found.

    Raises
    ------
    DataError
        NaN, no observation, unknown labels, deviations below zero, a surrogate without joint covariances.
    UnitsError
        Units that can't be converted to those of the fit.
    """
    name = fitted.schema.target
    joint = joint_posterior(fitted)
    dataset, table = _read(fitted, given)
    F = len(joint.vocabulary.fidelities)
    fidelity = table.fidelity
    if fitted.schema.fidelity is not None:  # codes have an order of their own
        order = [joint.vocabulary.fidelities.index(label) for label in table.vocabulary.fidelities]
        fidelity = np.array(order)[fidelity]
    variance, has_model_noise = _variance(given.std, table, name)
    δ = _deviation(given.discrepancy, "discrepancy", name, 1)
    extra = variance + δ**2
    z = table.y
    if joint.warp is not None:
        warped = joint.warp.table(table, name)
        z, extra = warped.y, extra * np.exp(2 * joint.warp.log_slope(table.y))
    columns = tuple((k, unknown[n]) for k, n in enumerate(fitted.schema.inputs) if n not in dataset.variables)
    codes = torch.from_numpy(table.task * F + fidelity)
    return Evidence(name, joint, codes, table.x, columns, table.y, z, extra, has_model_noise)


def _read(fitted: FittedProcess, given: Given) -> tuple[xr.Dataset, Table]:
    """What was observed as the user gave it, and as arrays; the unknown inputs have some number there."""
    schema, vocabulary, name = fitted.schema, fitted.vocabulary, fitted.schema.target
    dataset = as_observed(given.observed, name, vocabulary.units[name])
    if name not in dataset.variables:
        raise DataError(
            f"the observations have no {name!r}, the target of the surrogate; they have {list(dataset.variables)}"
        )
    values = np.asarray(dataset[name].values, dtype=np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise DataError(
            f"observed {name!r} has {values.size} values, {int((~np.isfinite(values)).sum())} of them NaN or infinite; "
            f"give at least one, and leave out what wasn't observed"
        )
    filled = dataset if dataset[name].dims else dataset.expand_dims("observation")
    dims, shape = filled[name].dims, filled[name].shape
    fitted_range = ranges(fitted)
    for input_ in schema.inputs:
        if input_ not in dataset.variables:
            units = vocabulary.units[input_]
            filled = filled.assign(
                {input_: (dims, np.full(shape, fitted_range[input_][0]), {"units": units} if units else {})}
            )
    for kind, variable, known, label in (
        ("task", schema.task, vocabulary.tasks, given.task),
        ("fidelity", schema.fidelity, vocabulary.fidelities, given.fidelity),
    ):
        if variable is None or variable not in dataset.variables:
            if kind == "fidelity" and label is None and isinstance(fitted, FittedMultiFidelityGP):
                label = fitted.levels.graph.labels[-1] if variable is not None else None
            label = require_label(kind, variable, known, label, optional=False)
            if variable is not None:
                filled = filled.assign({variable: (dims, np.full(shape, label))})
    own = replace(schema, noise=schema.noise if schema.noise in dataset.variables else None)
    table = own.encode(filled, vocabulary=vocabulary)
    new = table.vocabulary.tasks[len(vocabulary.tasks) :]
    if new:
        raise DataError(
            f"unknown task {', '.join(map(repr, new))}; the model knows {', '.join(map(repr, vocabulary.tasks))}"
        )
    return dataset, table


def as_observed(observed: Any, name: str, units: Units) -> xr.Dataset:
    """A number, an array of repeated readings, or a table, as a table; plain numbers are in the target's units."""
    if isinstance(observed, xr.Dataset | pd.DataFrame):
        return as_labelled(observed)
    if isinstance(observed, xr.DataArray):
        return observed.to_dataset(name=name)
    try:
        values = np.asarray(observed, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"observed {name!r} is {observed!r}; give a number, or a table with known inputs beside it"
        ) from None
    if values.ndim > 1:
        raise DataError(
            f"observed {name!r} has shape {values.shape}; give a number, or a table with known inputs beside it"
        )
    return xr.Dataset({name: (("observation",)[: values.ndim], values, {"units": units} if units else {})})


def _variance(std: ArrayLike | None, table: Table, name: str) -> tuple[Floats, bool]:
    """Variance of the readings (J,) in the target's units, and whether the model's own noise has to be added to it."""
    if std is not None:
        return _deviation(std, "std", name, len(table.y)) ** 2, False
    if table.noise_variance is not None:
        return table.noise_variance, False
    return np.zeros(len(table.y)), True


def _deviation(value: ArrayLike, what: str, name: str, count: int) -> Floats:
    try:
        found = np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))
    except ValueError:
        raise DataError(
            f"{what} of {name!r} is {value!r}; give one number, or one for each of {count} observations"
        ) from None
    if not (np.isfinite(found) & (found >= 0)).all():
        raise DataError(f"{what} of {name!r} is {value!r}; a standard deviation is a finite number, at least zero")
    return found


def unknown_inputs(fitted: Sequence[FittedProcess], observed: Sequence[Any]) -> list[str]:
    """Inputs that an observation doesn't tell, in the order of the schemas."""
    found: dict[str, None] = {}
    for one, own in zip(fitted, observed, strict=True):
        table = as_observed(own, one.schema.target, one.vocabulary.units[one.schema.target])
        found |= {name: None for name in one.schema.inputs if name not in table.variables}
    return list(found)
