"""The joint posterior of a fitted process, hyper-parameter draw by draw, as a function of torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError
from surrogates.labels import Label, require_label
from surrogates.schema import Schema, Vocabulary

from ..core import SMOOTHED, Core
from ..fidelity.chain import Chain
from ..fidelity.fitted import FittedMultiFidelityGP
from ..fitted import FittedHierarchicalGP
from ..noise import EXACT
from ..process import Conditioned, Process
from ..reading_noise import noise_table
from ..tanimoto import TanimotoCorrelations
from ..warping import Warp
from .chain import kind_of_chain, stack_chains
from .conditioned import Gaussian, kind_of, stack

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FittedProcess = FittedHierarchicalGP | FittedMultiFidelityGP


class Stacked(Protocol):
    """Posteriors of several draws at once."""

    def joint(self, z: Tensor, task: Tensor, /) -> Gaussian: ...


@dataclass(frozen=True, eq=False)
class JointPosterior:
    """Mean and joint covariance of f at batches of places, for each draw of the hyper-parameters; made by
    `joint_posterior`.

    Tasks and fidelities are numbered by codes, task · F + fidelity; `code` gives them.

    Attributes
    ----------
    schema, vocabulary : names, tasks, fidelities and units of the model
    weights : (k,) of the draws; they sum to one
    warp : under which f is Gaussian; means and covariances are of the warped target
    """

    schema: Schema
    vocabulary: Vocabulary
    weights: Tensor
    warp: Warp | None
    stacks: tuple[tuple[tuple[int, ...], Stacked], ...]
    groups: Tensor  # (T · F,) what the processes call each code
    centre: Tensor  # (T · F,)
    spread: Tensor  # (T · F,)
    input_centre: Tensor  # (d,)
    input_width: Tensor  # (d,)
    noise: Callable[[Floats], Floats]  # scaled places (m, d) -> scaled variances (k or 1, T · F, m or 1)
    jitter: Tensor  # (k,) scaled: what stands for zero on the diagonal of exact readings

    def code(self, *, task: Label | None = None, fidelity: Label | None = None) -> int:
        """Number of a task and fidelity; the last fidelity, where none is named.

        Raises
        ------
        DataError
            If there are several tasks and none is named; if the model doesn't know the task or fidelity, or has no such
            variable.
        """
        tasks, fidelities = self.vocabulary.tasks, self.vocabulary.fidelities
        task = require_label("task", self.schema.task, tasks, task, optional=False)
        level = require_label("fidelity", self.schema.fidelity, fidelities, fidelity, optional=True)
        l = len(fidelities) - 1 if level is None else fidelities.index(level)
        return tasks.index(task) * len(fidelities) + l

    def __call__(self, x: Tensor, codes: Tensor) -> Gaussian:
        """Mean (k, *b, q) and covariance (k, *b, q, q) at places x (*b, q, d), in units of the fit.

        codes : whole numbers that can be broadcast to (*b, q). Derivatives by x are those infinitely close to it: with
            known noise, f jumps where it was read. With stationary kernels they can be taken twice.
        """
        *batch, q, d = x.shape
        k, B = len(self.weights), int(np.prod(batch))
        z = ((x - self.input_centre) / self.input_width).reshape(1, B, q, d)
        codes = codes.expand(*batch, q).reshape(B, q)
        group, spread = self.groups[codes], self.spread[codes]
        mean, covariance = x.new_empty(k, B, q), x.new_empty(k, B, q, q)
        if len(self.stacks) == 1:
            mean, covariance = self.stacks[0][1].joint(z, group)
        else:
            for draws, posterior in self.stacks:
                own, at = posterior.joint(z, group), torch.tensor(draws)
                mean, covariance = mean.index_copy(0, at, own.mean), covariance.index_copy(0, at, own.covariance)
        mean = self.centre[codes] + spread * mean
        covariance = covariance * spread.unsqueeze(-1) * spread.unsqueeze(-2)
        return Gaussian(mean.reshape(k, *batch, q), covariance.reshape(k, *batch, q, q))

    def noise_variance(self, x: Tensor, codes: Tensor) -> Tensor:
        """Variance (*b, q) of a reading at places x (*b, q, d) given f, averaged over the draws.

        No derivative is taken through it. Of known noise, it is the mean over the fidelity's readings.
        """
        each = self.noise_by_draw(x, codes)
        return each[0] if len(each) == 1 else torch.tensordot(self.weights, each, dims=1)

    def noise_by_draw(self, x: Tensor, codes: Tensor) -> Tensor:
        """The same of each draw, (k, *b, q); or (1, *b, q) where they don't differ, or only their mean is known."""
        codes = codes.expand(x.shape[:-1])
        z = ((x.detach() - self.input_centre) / self.input_width).reshape(-1, x.shape[-1])
        table = torch.from_numpy(np.ascontiguousarray(self.noise(z.numpy())))
        places = torch.arange(len(z)) if table.shape[2] > 1 else torch.zeros(len(z), dtype=torch.long)
        found = table[:, codes.reshape(-1), places].reshape(len(table), *codes.shape)
        return found * self.spread[codes] ** 2

    def least_noise(self, codes: Tensor) -> Tensor:
        """Variance (k, *codes.shape) that a reading has in the model at the least: exact ones need some to be factored."""
        return self.jitter.reshape(-1, *[1] * codes.ndim) * self.spread[codes] ** 2


def joint_posterior(fitted: FittedProcess) -> JointPosterior:
    """The posterior of a fitted process, from the factors that its own answers come from.

    Raises
    ------
    DataError
        If the model's places aren't vectors of numbers (Tanimoto kernels), if it was fitted by the paper's
        expectation-maximisation, or if it has more than 3,000 rows and no dense factor.
    """
    if isinstance(fitted, FittedMultiFidelityGP):
        return _of_fidelities(fitted)
    if isinstance(fitted, FittedHierarchicalGP):
        return _of_tasks(fitted)
    raise DataError(
        f"a fitted HierarchicalGP or MultiFidelityGP is wanted, found {type(fitted).__name__}; other models offer no "
        f"joint posterior: fit one of these, or use predict"
    )


def read_places(fitted: FittedProcess, joint: JointPosterior) -> tuple[Floats, Integers]:
    """Places (n, d) of all readings in units of the fit, and the codes (n,) of their tasks and fidelities."""
    F = len(joint.vocabulary.fidelities)
    if isinstance(fitted, FittedMultiFidelityGP):
        levels = fitted.levels
        position = np.array([joint.vocabulary.fidelities.index(label) for label in levels.graph.labels])
        return levels.x * levels.inputs.width + levels.inputs.centre, levels.task * F + position[levels.level]
    readings, inputs = fitted.core.scaled.readings, fitted.core.scaled.inputs
    return readings.x * inputs.width + inputs.centre, readings.task * F + readings.group % F


def _of_tasks(fitted: FittedHierarchicalGP) -> JointPosterior:
    core, vocabulary = _dense(fitted.core), fitted.vocabulary
    T, F = len(vocabulary.tasks), len(vocabulary.fidelities)
    target = core.scaled.target
    draws = range(len(core.weights))

    def noise(z: Floats) -> Floats:
        if core.scaled.readings.basis is None:
            return np.stack([noise_table(core, vocabulary, k).reshape(T * F, 1) for k in draws])
        return np.tile(core.noise_by_draw_at(z), (1, T, 1))

    return JointPosterior(
        fitted.schema,
        vocabulary,
        torch.from_numpy(core.weights.copy()),
        core.scaled.warp,
        _stacks(core.processes),
        torch.arange(T).repeat_interleave(F),
        torch.full((T * F,), target.centre, dtype=torch.float64),
        torch.full((T * F,), target.spread, dtype=torch.float64),
        torch.from_numpy(core.scaled.inputs.centre.copy()),
        torch.from_numpy(core.scaled.inputs.width.copy()),
        noise,
        torch.full((len(core.weights),), core.scaled.readings.exact, dtype=torch.float64),
    )


def _of_fidelities(fitted: FittedMultiFidelityGP) -> JointPosterior:
    levels, vocabulary = fitted.levels, fitted.vocabulary
    labels = levels.graph.labels
    T, L = len(vocabulary.tasks), len(labels)
    variances = fitted.noise_by_draw()
    centre = torch.tensor([target.centre for target in levels.targets], dtype=torch.float64)
    spread = torch.tensor([target.spread for target in levels.targets], dtype=torch.float64)
    return JointPosterior(
        fitted.schema,
        replace(vocabulary, fidelities=tuple(labels)),  # the coarsest first, where the vocabulary sorts them
        torch.from_numpy(fitted.weights.copy()),
        None,
        _stacks(fitted.processes),
        torch.arange(T * L),
        centre.repeat(T),
        spread.repeat(T),
        torch.from_numpy(levels.inputs.centre.copy()),
        torch.from_numpy(levels.inputs.width.copy()),
        lambda z: np.tile(variances, (1, T))[:, :, None],
        torch.from_numpy(fitted.jitter_by_draw()).clamp_min(EXACT),
    )


def _dense(core: Core) -> Core:
    """The core with posteriors that have a factor of all rows."""
    if core.niw is not None:
        raise DataError("a fit by expectation-maximisation (the paper's) has no joint posterior here; fit by default")
    if all(isinstance(process, Conditioned) for process in core.processes):
        return core
    rows = len(core.problem.objective.design.x)
    if rows > SMOOTHED:
        raise DataError(
            f"{rows} rows have no dense factor, which a joint posterior needs; up to {SMOOTHED} are taken: fit the "
            f"tasks in question on fewer readings, or use predict and gradient"
        )
    return replace(core, settings=replace(core.settings, solver="dense"))


def _stacks(processes: Sequence[Process]) -> tuple[tuple[tuple[int, ...], Stacked], ...]:
    """Posteriors side by side, each kind by itself, with their numbers."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for k, process in enumerate(processes):
        if isinstance(process, Conditioned) and isinstance(process.correlations, TanimotoCorrelations):
            raise DataError("counts have no derivative: a Tanimoto kernel's places aren't points of a continuous space")
        kind = kind_of_chain(process) if isinstance(process, Chain) else kind_of(_conditioned(process))
        kinds.setdefault(kind, []).append(k)
    found: list[tuple[tuple[int, ...], Stacked]] = []
    for members in kinds.values():
        chains = [p for p in (processes[k] for k in members) if isinstance(p, Chain)]
        stacked = stack_chains(chains) if chains else stack([_conditioned(processes[k]) for k in members])
        found.append((tuple(members), stacked))
    return tuple(found)


def _conditioned(process: Process) -> Conditioned:
    assert isinstance(process, Conditioned)
    return process
