"""Sets of families as tasks: one network with a shared trunk and a low-rank part of each task's own.

All tasks share a mesh, the modes of their trajectories, and a trunk; a task's own part is a low-rank adapter of every hidden
layer and its output layer (`AdaptedMLP`). A new task starts from the shared trunk and trains its own part only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, Self

import torch
from torch import Tensor

from surrogates.errors import DataError, NumericalError, ProblemError
from surrogates.networks import AdaptedMLP, Flat, flatten, unflatten
from surrogates.physics.optimal_control import Collocation, EulerLagrange, Extremals, Family, Mesh, cases_of
from surrogates.physics.optimal_control.batch import Batch, solve_points
from surrogates.physics.optimal_control.certificate import control_distance
from surrogates.progress import Progress
from surrogates.random import streams
from surrogates.training import LBFGS, Checkpoint, Minimised, Optimiser, Stopping, minimize

from .family import family_points
from .fitted_family import FittedFamily
from .operator import Basis, Operator, principal_modes
from .report import ControlReport, whole

#: cases that judge a task
HELD_OUT = 128


@dataclass(frozen=True, kw_only=True)
class TasksRoad:
    """How sets of families are fitted.

    hidden : widths of the shared trunk; rank : of every task's adapter in each layer
    cases : solved per task
    accuracy : relative L2 error of the training trajectories at which the optimiser stops
    max_steps : of the optimiser; optimiser : of the weights
    """

    hidden: tuple[int, ...] = (32, 32)
    rank: int = 4
    cases: int = 192
    accuracy: float = 1e-3
    max_steps: int = 4000
    optimiser: Optimiser = field(default_factory=lambda: LBFGS(history=50))

    def __post_init__(self) -> None:
        for name, least in (("rank", 0), ("cases", 2), ("max_steps", 0)):
            whole(getattr(self, name), name, least)
        if not self.accuracy > 0:
            raise ProblemError(f"accuracy is {self.accuracy}; it must be a number > 0")


class Shared(NamedTuple):
    """What all tasks' trajectories are expressed in; `size` is the rms norm of the coefficients, the network's unit."""

    mesh: Mesh
    basis: Basis
    size: float


@dataclass(frozen=True, eq=False)
class FittedTasks:
    """One network for several families; made by `OptimalControlNet.fit` from a mapping of names to families.

    families : by task; report : how the fit, or the last adaptation, went
    """

    families: Mapping[str, Family]
    report: ControlReport
    road: TasksRoad
    net: AdaptedMLP
    shared: Shared

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(self.families)

    def task(self, name: str) -> FittedFamily:
        """The fitted family of one task, which answers questions.

        Raises
        ------
        DataError
            If there is no such task.
        """
        if name not in self.families:
            raise DataError(f"task {name!r} is unknown; there are {self.tasks}")
        return FittedFamily(_operator(self.families[name], self.net, self.tasks.index(name), self.shared), self.report)

    def adapt(
        self, name: str, family: Family, *, cases: int | None = None, seed: int = 0, progress: Progress = None
    ) -> Self:
        """Add a task from few cases; the shared trunk and the other tasks stay as they are.

        The new task starts from the mean of the others' adapters, its output layer by least squares on the trunk's features.
        Where that isn't as accurate as the road asks, the task's own part is trained.

        Parameters
        ----------
        name : of the new task
        family : with the inputs and ranges of the others; its problem may have other dynamics, costs or parameters
        cases : to solve, 2 or more; those of the road by default
        seed : of the cases

        Returns
        -------
        FittedTasks : with one task more; answers for the others are the same bit for bit

        Raises
        ------
        DataError
            If there is a task of that name.
        ProblemError
            If the family's inputs, ranges or states aren't the others'.
        NumericalError
            If half of the cases have no extremal that was found.
        """
        if name in self.families:
            raise DataError(f"task {name!r} is there already; choose another name")
        began = time.perf_counter()
        families = {**self.families, name: family}
        _check_alike(families)
        (generator,) = streams(seed, 1)
        net = self.net.add_task(start="mean", generator=generator)
        solved = _solve(family, self.road.cases if cases is None else whole(cases, "cases", 2), seed, self.shared.mesh)
        target = _targets(solved, self.shared)
        own = net.private_parameters(len(self.families))
        net.fit_head(len(self.families), solved.unit, target)
        flat, θ = Flat(net), flatten(net).detach()
        task = torch.full((len(target),), len(self.families))

        def losses(φ: Tensor) -> Mapping[str, Tensor]:
            return {name: _misfit(flat(θ.index_copy(0, own, φ), solved.unit, task), target)}

        found = minimize(
            losses, θ[own], optimiser=self.road.optimiser, stopping=_stopping(self.road), progress=progress, seed=seed
        )
        unflatten(net, θ.index_copy(0, own, found.θ))
        net.fit_head(len(self.families), solved.unit, target)
        fitted = replace(self, families=MappingProxyType(families), net=net)
        return replace(fitted, report=_report(fitted, found, (name,), seed, len(target), time.perf_counter() - began))


def fit_tasks(
    families: Mapping[str, Family], road: TasksRoad, *, seed: int, progress: Progress, checkpoint: Checkpoint | None
) -> FittedTasks:
    """Fit one network to several families; see `OptimalControlNet.fit`."""
    began = time.perf_counter()
    _check_alike(families)
    first = next(iter(families.values()))
    mesh = solve_points(first, family_points(first, 32, seed)).collocation.mesh
    solved = [_solve(family, road.cases, seed + i, mesh) for i, family in enumerate(families.values())]
    values = torch.cat([s.Z.flatten(1) for s in solved])
    basis = principal_modes(values, mesh, 2 * first.problem.state_size, smallest=0.03 * road.accuracy)
    shared = Shared(mesh, basis, float(basis.coefficients(values).square().sum(1).mean().sqrt()))
    generator = streams(seed, 1)[0]
    sizes = (len(first.inputs), *road.hidden, len(basis.directions))
    net = AdaptedMLP(sizes, tasks=len(families), rank=road.rank, head="linear", generator=generator)
    flat = Flat(net)
    parts = [(s.unit, torch.full((len(s.unit),), i), _targets(s, shared)) for i, s in enumerate(solved)]

    def losses(θ: Tensor) -> Mapping[str, Tensor]:
        return {
            name: _misfit(flat(θ, unit, task), target)
            for name, (unit, task, target) in zip(families, parts, strict=True)
        }

    found = minimize(
        losses,
        flatten(net).detach(),
        optimiser=road.optimiser,
        stopping=_stopping(road, len(families)),
        checkpoint=checkpoint,
        progress=progress,
        seed=seed,
    )
    unflatten(net, found.θ)
    for unit, task, target in parts:  # outputs are linear in the heads: a closed form ends what the optimiser began
        net.fit_head(int(task[0]), unit, target)
    empty = ControlReport("", "", False, 0.0, {})
    fitted = FittedTasks(MappingProxyType(dict(families)), empty, road, net, shared)
    cases = len(solved[0].unit)
    return replace(fitted, report=_report(fitted, found, tuple(families), seed, cases, time.perf_counter() - began))


class _Solved(NamedTuple):
    unit: Tensor  # (B, d) inputs in [-1, 1]
    Z: Tensor  # (B, K, d + 1, 2n)


def _solve(family: Family, cases: int, seed: int, mesh: Mesh) -> _Solved:
    points = family_points(family, cases, seed)
    batch: Batch = solve_points(family, points, mesh=mesh)
    good = batch.solved.converged
    if int(good.sum()) < len(points) // 2:
        raise NumericalError(
            f"{int((~good).sum())} of {len(points)} cases have no extremal that was found; narrow the ranges"
        )
    low, high = family.ranges
    return _Solved((2 * (points - low) / (high - low) - 1)[good], batch.solved.at.Z[good])


def _targets(solved: _Solved, shared: Shared) -> Tensor:
    """Coefficients (B, r) in the unit of the network's outputs."""
    return shared.basis.coefficients(solved.Z.flatten(1)) / shared.size


def _misfit(outputs: Tensor, target: Tensor) -> Tensor:
    """Residuals whose mean square is the squared relative error of the trajectories."""
    residuals: Tensor = ((outputs - target) * target.shape[1] ** 0.5).flatten()
    return residuals


def _stopping(road: TasksRoad, tasks: int = 1) -> Stopping:
    return Stopping(max_steps=road.max_steps, loss=tasks * road.accuracy**2)


def _operator(family: Family, net: AdaptedMLP, task: int, shared: Shared) -> Operator:
    basis = shared.basis
    unit = shared.size * torch.eye(len(basis.directions), dtype=torch.float64)
    return Operator(family, shared.mesh, net.merged(task), unit, basis.modes, basis.offset)


def _check_alike(families: Mapping[str, Family]) -> None:
    """Tasks share a network, so they share its inputs, ranges and outputs."""
    if not families:
        raise ProblemError("there are no families; give a mapping from names to families")
    first_name, first = next(iter(families.items()))
    for name, family in families.items():
        if not isinstance(family, Family):
            raise ProblemError(
                f"task {name!r} is a {type(family).__name__}; a family is expected, as Problem.over() gives it"
            )
        if family.problem.free_final_time:
            raise ProblemError(f"task {name!r} has a free final time, which sets of families don't take; fit it alone")
        if family.inputs != first.inputs or not torch.equal(family.ranges, first.ranges):
            raise ProblemError(
                f"task {name!r} varies {family.inputs} over {family.ranges.T.tolist()}, task {first_name!r} "
                f"{first.inputs} over {first.ranges.T.tolist()}; tasks must have the same inputs and ranges"
            )
        if family.problem.state_size != first.problem.state_size:
            raise ProblemError(
                f"task {name!r} has {family.problem.state_size} states, task {first_name!r} {first.problem.state_size}"
            )


def _report(
    fitted: FittedTasks, found: Minimised, judged: tuple[str, ...], seed: int, cases: int, seconds: float
) -> ControlReport:
    """Errors of the tasks that were just trained, on cases of their own."""
    figures: dict[str, float] = {"cases per task": cases, "optimiser steps": found.steps, "loss": found.total}
    for name in judged:
        family = fitted.families[name]
        points = family_points(family, HELD_OUT, seed + 1000, arcsine=False)
        truth = solve_points(family, points, mesh=fitted.shared.mesh)
        good = truth.solved.converged
        answer: Extremals = fitted.task(name).operator.extremals(points[good])
        collocation = Collocation(EulerLagrange(family.problem), fitted.shared.mesh)
        errors = control_distance(collocation, cases_of(family, points[good]), answer, truth.solved.at.take(good))
        figures[f"{name}: held-out error of u, median"] = float(errors.median())
    return ControlReport(
        method=f"{len(fitted.families)} families, a shared trunk with adapters of rank {fitted.road.rank}",
        outcome=found.ending.value,
        is_success=found.is_success,
        seconds=seconds,
        figures=figures,
        trace=tuple(found.trace),
        warnings=tuple(found.warnings),
    )
