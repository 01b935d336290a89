"""A fitted network of one problem: its trajectory at any time, with certificates, polished if asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError, NumericalError
from surrogates.physics.optimal_control import (
    Cases,
    Certificate,
    Collocation,
    EulerLagrange,
    Extremals,
    Mesh,
    Problem,
    certify,
    polish,
)
from surrogates.physics.optimal_control.solver import nominal_cases

from .judging import SCORES, judge, newton_steps, trusted
from .report import ControlReport

Floats = NDArray[np.float64]
#: the mesh that answers are judged on, before it is refined where the extremal asks for it
JUDGES_ELEMENTS, JUDGES_DEGREE = 24, 12


@dataclass(frozen=True, eq=False)
class FittedControl:
    """The extremal of one problem as a network of time; made by `OptimalControlNet.fit`.

    problem : as given, its parameters at their estimates where they were estimated; report : how the fit went
    trajectory : s (k,) in [0, 1] -> z = (x, p) (k, 2n), in the problem's units
    controls : s (k,) -> u (k, m) where the network has one of its own (paper mode); None where u = argmin H
    """

    problem: Problem
    report: ControlReport
    trajectory: Callable[[Tensor], Tensor]
    controls: Callable[[Tensor], Tensor] | None = None

    def predict(
        self, times: Sequence[float] | Floats | None = None, *, certify: bool = True, polish: bool | int = False
    ) -> xr.Dataset:
        """The trajectory.

        Parameters
        ----------
        times : (k,) increasing, within the horizon; 201 equal steps by default
        certify : whether the answer comes with what is known of its error
        polish : Newton steps of the Euler-Lagrange system from the network's answer; True is 1

        Returns
        -------
        xr.Dataset : x (time, state), u (time, control), p (time, state); certified: `error` the estimated relative L2
            error of u, `residual`, `hamiltonian_drift`, `cost_gap`, and `J`; see
            `surrogates.physics.optimal_control.Certificate`

        Raises
        ------
        DataError
            If times lie outside the horizon or don't increase, or `polish` is no number of steps.
        NumericalError
            If the network's trajectory isn't finite.
        """
        steps = newton_steps(polish)
        s, t = self._places(times)
        n, system = self.problem.state_size, EulerLagrange(self.problem)
        q = system.parameters((len(s),))
        if steps:
            z = self._polished(steps).interpolated(s)
            u = system.control(t, z[:, :n], z[:, n:], q)
        else:
            z = self.trajectory(torch.from_numpy(s))
            u = (
                system.control(t, z[:, :n], z[:, n:], q)
                if self.controls is None
                else self.controls(torch.from_numpy(s))
            )
        answer = xr.Dataset(
            {
                "x": (("time", "state"), z[:, :n].numpy()),
                "u": (("time", "control"), u.numpy()),
                "p": (("time", "state"), z[:, n:].numpy()),
            },
            coords={"time": t.numpy(), "state": list(self.problem.states), "control": list(self.problem.controls)},
            attrs={"method": self.report.method, "outcome": self.report.outcome},
        )
        if certify:
            score = self.certificate(steps)
            for name in SCORES:
                answer[name] = float(getattr(score, name))
        return answer

    def certificate(self, polished: int = 0) -> Certificate:
        """What is known of the answer's error, after so many Newton steps of polish."""
        nodes = self._polished(polished)
        if self.controls is None or polished:
            return judge(nodes.collocation, nodes.cases, nodes.at)
        own = self._nodal(self.controls, nodes.collocation.mesh)
        return certify(nodes.collocation, nodes.cases, nodes.at, controls=own)

    def _polished(self, steps: int) -> _Nodes:
        collocation, cases = self._judges
        at = Extremals(self._nodal(self.trajectory, collocation.mesh), cases.T)
        return _Nodes(collocation, cases, polish(collocation, cases, at, steps=steps) if steps else at)

    @cached_property
    def _judges(self) -> tuple[Collocation, Cases]:
        """Where answers are judged and polished."""
        collocation = Collocation(EulerLagrange(self.problem), Mesh.uniform(JUDGES_ELEMENTS, JUDGES_DEGREE))
        cases = nominal_cases(collocation.system)
        at = Extremals(self._nodal(self.trajectory, collocation.mesh), cases.T)
        if not bool(at.Z.isfinite().all()):
            raise NumericalError("the network's trajectory isn't finite; fit it anew with another seed or fewer steps")
        return trusted(collocation, cases, at), cases

    def _nodal(self, of: Callable[[Tensor], Tensor], mesh: Mesh) -> Tensor:
        nodes = mesh.nodes
        return of(nodes.reshape(-1)).reshape(1, *nodes.shape, -1)

    def _places(self, times: Sequence[float] | Floats | None) -> tuple[Floats, Tensor]:
        start, end = self.problem.horizon
        if times is None:
            s = np.linspace(0.0, 1.0, 201)
            return s, torch.from_numpy(start + (end - start) * s)
        t = np.asarray(times, dtype=float)
        if (
            t.ndim != 1
            or not len(t)
            or not np.isfinite(t).all()
            or (np.diff(t) <= 0).any()
            or t[0] < start
            or t[-1] > end
        ):
            raise DataError(f"times must be one-dimensional and increasing, within the horizon [{start}, {end}]")
        return np.asarray((t - start) / (end - start)), torch.from_numpy(t.copy())


@dataclass(frozen=True, eq=False)
class _Nodes:
    collocation: Collocation
    cases: Cases
    at: Extremals

    def interpolated(self, s: Floats) -> Tensor:
        return self.collocation.mesh.interpolate(self.at.Z, s)[0]
