"""One task and fidelity of a fitted process as functions of plain tensors, without labels: what optimisers call often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError
from surrogates.gp.core import Core
from surrogates.gp.differentiable import FittedProcess, JointPosterior, joint_posterior
from surrogates.gp.differentiable.conditioned import Stack
from surrogates.gp.differentiable.once import require_first_derivative
from surrogates.gp.fidelity.fitted import FittedMultiFidelityGP
from surrogates.gp.fitted import FittedHierarchicalGP
from surrogates.gp.process import Process
from surrogates.gp.reading_noise import noise_table
from surrogates.gp.warping import Warp
from surrogates.labels import require_label
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Label

from .labelled import ranges

Floats = NDArray[np.float64]
#: places x (m, d) in the user's units -> means and variances (m, k), which autograd sees
Gaussians = Callable[[Tensor], tuple[Tensor, Tensor]]
#: for derivatives of polynomials and exponentials that are exact to rounding
COMPLEX_STEP = 1e-30


@dataclass(frozen=True, eq=False)
class Asked:
    """A mixture of k Gaussians at every place, in the target's units before its warp, if it has one.

    f : of the function, beside the places that were read, where it may jump
    noise : variance (m,) of a reading's noise
    weights : (k,)
    spread : size of the target
    degrees : ν of Student's t, if readings have such noise
    low, high : (d,) the box of all readings
    width : numbers that a prediction holds per place
    """

    f: Gaussians
    noise: Callable[[Tensor], Tensor]
    weights: Tensor
    spread: float
    warp: Warp | None
    degrees: float | None
    low: Floats
    high: Floats
    width: int


def ask(fitted: FittedProcess, task: Label | None, fidelity: Label | None, *, noise: bool) -> Asked:
    """The fitted model's side of a `Response`.

    Raises
    ------
    DataError
        If the model is of another family or has vectors as inputs, a label isn't known, or several are and none is named.
    """
    if not isinstance(fitted, FittedHierarchicalGP | FittedMultiFidelityGP):
        raise DataError(
            f"a {type(fitted).__name__} has no gradient to optimise with; give a fitted HierarchicalGP or MultiFidelityGP"
        )
    if fitted.vocabulary.own_dims:
        names = ", ".join(map(repr, fitted.vocabulary.own_dims))
        raise DataError(f"input {names} is a vector of counts, which has no derivative; optimise over plain numbers")
    t = _position(task, fitted.vocabulary.tasks, "task", fitted.schema.task)
    if isinstance(fitted, FittedHierarchicalGP):
        return _of_hierarchy(fitted, t, fidelity, noise=noise)
    return _of_fidelities(fitted, t, fidelity)


def _of_hierarchy(fitted: FittedHierarchicalGP, task: int, fidelity: Label | None, *, noise: bool) -> Asked:
    """The fidelity says which gauge reads; f is the same for all."""
    core, known, level = fitted.core, fitted.vocabulary.fidelities, 0
    if fidelity is not None or noise:
        level = _position(fidelity, known, "fidelity", fitted.schema.fidelity)
    scaled = core.scaled
    one_by_one = _OneByOne(scaled.inputs, scaled.target, core.processes, task)
    f, weights = _gaussians(fitted, fitted.vocabulary.tasks[task], known[level], one_by_one, core.weights)
    if scaled.readings.basis is None:
        reading = _same(float(scaled.target.variance(noise_table(core, fitted.vocabulary)[task, level])))
    else:
        reading = _ShapedNoise.of(core, level)
    low, high = np.array(list(ranges(fitted).values())).T
    spread, width = scaled.target.spread, core.width * len(weights)
    return Asked(f, reading, weights, spread, scaled.warp, scaled.degrees, low, high, width)


def _of_fidelities(fitted: FittedMultiFidelityGP, task: int, fidelity: Label | None) -> Asked:
    """Every fidelity has a function of its own; without a name, the last is meant, as in `predict`."""
    levels = fitted.levels
    labels = levels.graph.labels
    level = len(labels) - 1
    if fidelity is not None:
        level = _position(fidelity, labels, "fidelity", fitted.schema.fidelity)
    target = levels.targets[level]
    one_by_one = _OneByOne(levels.inputs, target, fitted.processes, task * len(labels) + level)
    f, weights = _gaussians(fitted, fitted.vocabulary.tasks[task], labels[level], one_by_one, fitted.weights)
    noise = _same(float(target.variance(fitted.noise_variances()[level])))
    low, high = np.array(list(ranges(fitted).values())).T
    width = len(levels.y) * len(weights)
    return Asked(f, noise, weights, target.spread, None, None, low, high, width)


def _gaussians(
    fitted: FittedProcess, task: Label | None, fidelity: Label | None, one_by_one: _OneByOne, weights: Floats
) -> tuple[Gaussians, Tensor]:
    """All draws at once in torch; where there is no joint posterior (many rows, paper mode), one by one in closed form."""
    try:
        posterior = joint_posterior(fitted)
    except DataError:
        return one_by_one, torch.from_numpy(weights.copy())
    return _AllAtOnce.of(posterior, posterior.code(task=task, fidelity=fidelity)), posterior.weights


@dataclass(frozen=True, eq=False)
class _AllAtOnce:
    """posterior : without what a kernel doesn't resolve (the nugget), whose variances (k,) are added everywhere."""

    posterior: JointPosterior
    code: Tensor
    nugget: Tensor

    @staticmethod
    def of(posterior: JointPosterior, code: int) -> _AllAtOnce:
        nugget, stacks = torch.zeros_like(posterior.weights), []
        for draws, part in posterior.stacks:
            if isinstance(part, Stack):
                nugget[list(draws)] = part.nugget * posterior.spread[code] ** 2
                part = replace(part, nugget=torch.zeros_like(part.nugget))
            stacks.append((draws, part))
        return _AllAtOnce(replace(posterior, stacks=tuple(stacks)), torch.tensor([code]), nugget)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.posterior(x[:, None], self.code)
        return found.mean[..., 0].T, (found.covariance[..., 0, 0] + self.nugget[:, None]).T


@dataclass(frozen=True, eq=False)
class _OneByOne:
    inputs: InputScaling
    target: TargetScaling
    processes: tuple[Process, ...]
    group: int

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = _ClosedForm.apply(x, self)
        return mean, variance


class _ClosedForm(torch.autograd.Function):
    """Moments of each process, and their slopes where autograd asks for them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, of: _OneByOne) -> tuple[Tensor, Tensor]:
        ctx.of = of
        ctx.save_for_backward(x)
        z, group = of.inputs(x.detach().numpy()), np.full(len(x), of.group)
        each = [process.moments(z, group, beside=True) for process in of.processes]
        mean = np.stack([of.target.mean(one.mean) for one in each], axis=1)
        return torch.from_numpy(mean), torch.from_numpy(
            np.stack([of.target.variance(one.variance) for one in each], axis=1)
        )

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor, None]:
        require_first_derivative("fits in paper mode or with more than 3,000 rows")
        of, (x,) = ctx.of, ctx.saved_tensors
        z, group = of.inputs(x.numpy()), np.full(len(x), of.group)
        total = np.zeros(z.shape)
        for k, process in enumerate(of.processes):
            slopes = process.slopes(z, group)
            total += by_mean[:, k, None].numpy() * of.target.deviation(slopes.mean)
            total += by_variance[:, k, None].numpy() * of.target.variance(slopes.variance)
        return torch.from_numpy(total / of.inputs.width), None


def _same(variance: float) -> Callable[[Tensor], Tensor]:
    return lambda x: x.new_full((len(x),), float(variance))


class _ShapedNoise(torch.autograd.Function):
    """Noise that was learnt as a function of the place."""

    @staticmethod
    def of(core: Core, level: int) -> Callable[[Tensor], Tensor]:
        def variance(x: Tensor) -> Tensor:
            found: Tensor = _ShapedNoise.apply(x, core, level)
            return found

        return variance

    @staticmethod
    def forward(ctx: Any, x: Tensor, core: Core, level: int) -> Tensor:
        ctx.core, ctx.level = core, level
        ctx.save_for_backward(x)
        scaled = core.noise_variances_at(core.scaled.inputs(x.detach().numpy()))[level]
        return torch.from_numpy(core.scaled.target.variance(scaled))

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        require_first_derivative("noises that vary with the place")
        (x,), scaled = ctx.saved_tensors, ctx.core.scaled
        z = scaled.inputs(x.numpy())
        slopes = np.empty(z.shape)
        for k in range(z.shape[1]):
            shifted = z.astype(np.complex128)
            shifted[:, k] += 1j * COMPLEX_STEP  # what is done with it, sums and exponentials, is analytic
            slopes[:, k] = np.imag(ctx.core.noise_variances_at(shifted)[ctx.level]) / COMPLEX_STEP
        return upstream[:, None] * torch.from_numpy(scaled.target.variance(slopes) / scaled.inputs.width), None, None


def _position(label: Label | None, known: Sequence[Label | None], what: str, name: str | None) -> int:
    """Where a label stands among those known; a single one needs no name."""
    return list(known).index(require_label(what, name, known, label, optional=False))
