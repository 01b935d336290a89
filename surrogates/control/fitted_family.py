"""A fitted family of problems: labelled questions, answers with certificates, and the policy as a plain module."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from surrogates.errors import DataError
from surrogates.persistence import Archive, write
from surrogates.physics.optimal_control import Collocation, Extremals, Family, Problem, polish

from .judging import SCORES, judge, newton_steps
from .operator import Operator
from .policy import Policy
from .report import ControlReport

Floats = NDArray[np.float64]
#: inputs of a family, as a table by name or as an array in the order of `inputs`
Points = xr.Dataset | pd.DataFrame | Mapping[str, Any] | Floats | Sequence[Sequence[float]] | Tensor
#: parts of an answer that no input's coordinate may be called like
RESERVED = {"x", "u", "p", "t", "time", "state", "control", "case", *SCORES}
#: cases that are certified together
BLOCK = 128
#: how far an input may lie outside its range, relative to the range, before it is refused
OUTSIDE = 1e-9


@dataclass(frozen=True, eq=False)
class FittedFamily:
    """One network for all problems of a family; made by `OptimalControlNet.fit`.

    operator : the network; report : how the fit went
    """

    operator: Operator
    report: ControlReport

    @property
    def family(self) -> Family:
        """What may vary, and the problem behind it."""
        return self.operator.family

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what varies, in the order of the columns of an array of cases."""
        return self.family.inputs

    def predict(
        self,
        at: Points,
        *,
        times: Sequence[float] | Floats | None = None,
        certify: bool = False,
        polish: bool | int = False,
    ) -> xr.Dataset:
        """The extremals of many cases.

        Parameters
        ----------
        at : cases: a table with a column per input, or an array (cases, inputs) in the order of `inputs`
        times : (k,) shares of the horizon in [0, 1], increasing; 33 equal steps by default
        certify : whether each answer comes with what is known of its error, about 1 ms a case
        polish : Newton steps of the Euler-Lagrange system from the network's answer; each about squares the relative error.
            True is 1. Certificates are of the answer that is given, polished or not

        Returns
        -------
        xr.Dataset : x (case, time, state), u (case, time, control), p (case, time, state) over `time` in [0, 1], the
            share of each case's horizon; t (case, time); the inputs as coordinates of `case`, one that is called as
            another part of the answer, such as a state x, as `input_x`. Certified: `error` the estimated relative L2
            error of u, `residual`, `hamiltonian_drift`, `cost_gap`, `J`; see
            `surrogates.physics.optimal_control.Certificate`

        Raises
        ------
        DataError
            If an input is missing, not finite or outside the range that was fitted, or shapes don't match.
        """
        steps = newton_steps(polish)
        points = self._points(at)
        s = _places(times)
        if certify or steps:
            return self._judged(points, s, certify, steps)
        z, T = self.operator.at(points, s)
        return self._labelled(points, s, z, T)

    def policy(self) -> Policy:
        """The first control of every case as a plain module: inputs (..., d) -> u (..., m).

        For a family over initial states and `initial_time` it is a feedback law u(t, x): see `Policy`.
        """
        return Policy.of(self.operator)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to one file; `surrogates.load` reads it, and `attach` gives it its problem again.

        The problem's functions are Python code and are not stored, only what they give at a few places, so that another
        problem is refused.
        """
        from .storage import family_archive

        header, arrays = family_archive(self)
        write(path, "control-family", header, arrays)

    @staticmethod
    def from_archive(archive: Archive) -> Any:
        """What `save` wrote, without its problem."""
        from .storage import DetachedFamily

        return DetachedFamily(archive)

    def with_problem(self, problem: Problem) -> Self:
        """The same network for a problem with the same functions, such as one with other names of its states."""
        names = dict(zip(self.family.problem.states, problem.states, strict=True))
        states = {names[name]: ends for name, ends in self.family.initial_state.items()}
        family = replace(self.family, problem=problem, initial_state=states)
        return replace(self, operator=replace(self.operator, family=family))

    def _judged(self, points: Tensor, s: Floats, certified: bool, steps: int) -> xr.Dataset:
        operator = self.operator
        collocation, cases = Collocation(operator.system, operator.mesh), operator.cases(points)
        parts, scores = [], []
        for index in torch.split(torch.arange(len(points)), BLOCK):
            mine, at = cases.take(index), operator.extremals(points[index])
            at = polish(collocation, mine, at, steps=steps) if steps else at
            if certified:
                scores.append(judge(collocation, mine, at))
            parts.append(at)
        at = Extremals(torch.cat([part.Z for part in parts]), torch.cat([part.T for part in parts]))
        answer = self._labelled(points, s, operator.mesh.interpolate(at.Z, s), at.T)
        if certified:
            for name in SCORES:
                answer[name] = ("case", torch.cat([getattr(score, name) for score in scores]).numpy())
        return answer

    def _labelled(self, points: Tensor, s: Floats, z: Tensor, T: Tensor) -> xr.Dataset:
        operator, problem = self.operator, self.family.problem
        n, cases = problem.state_size, operator.cases(points)
        t = cases.t0[:, None] + (T - cases.t0)[:, None] * torch.from_numpy(s)
        q = cases.q[:, None].expand(*t.shape, -1)
        u = operator.system.control(t, z[..., :n], z[..., n:], q)
        columns = {
            f"input_{name}" if name in RESERVED else name: ("case", points[:, i].numpy())
            for i, name in enumerate(self.inputs)
        }
        return xr.Dataset(
            {
                "x": (("case", "time", "state"), z[..., :n].numpy()),
                "u": (("case", "time", "control"), u.numpy()),
                "p": (("case", "time", "state"), z[..., n:].numpy()),
                "t": (("case", "time"), t.numpy()),
            },
            coords={"time": s, "state": list(problem.states), "control": list(problem.controls), **columns},
        )

    def _points(self, at: Points) -> Tensor:
        if isinstance(at, xr.Dataset | pd.DataFrame | Mapping):
            lacking = [name for name in self.inputs if name not in at]
            if lacking:
                raise DataError(f"input {lacking[0]!r} is missing; this family varies {self.inputs}")
            columns: tuple[Any, ...] = tuple(at[name] for name in self.inputs)
            if isinstance(at, xr.Dataset):  # variables over different dims are crossed, as xarray does
                columns = xr.broadcast(*columns)
            try:
                flat = np.broadcast_arrays(*(np.asarray(column, dtype=float) for column in columns))
            except (TypeError, ValueError) as error:
                raise DataError(f"the inputs can't be read as numbers of equal lengths: {error}") from error
            points = torch.from_numpy(np.stack([np.ravel(column) for column in flat], -1))
        else:
            try:
                array = at.detach().numpy() if isinstance(at, Tensor) else np.asarray(at)
                points = torch.from_numpy(np.array(array, dtype=float))
            except (TypeError, ValueError) as error:
                raise DataError(f"the cases can't be read as an array of numbers: {error}") from error
            points = points[None] if points.ndim == 1 and len(points) == len(self.inputs) else points
        if points.ndim != 2 or points.shape[1] != len(self.inputs):
            raise DataError(
                f"cases have shape {tuple(points.shape)}; (cases, {len(self.inputs)}) is expected, for {self.inputs}"
            )
        if not len(points):
            raise DataError("there are no cases; give at least one")
        low, high = self.family.ranges
        for i, name in enumerate(self.inputs):
            column = points[:, i]
            wrong = ~column.isfinite() | (column < low[i] - OUTSIDE * (high[i] - low[i]))
            wrong |= column > high[i] + OUTSIDE * (high[i] - low[i])
            if bool(wrong.any()):
                case = int(wrong.nonzero()[0, 0])
                raise DataError(
                    f"input {name!r} is {float(column[case])} in case {case}; this family was fitted for "
                    f"[{float(low[i])}, {float(high[i])}]: fit a wider one, or solve() that case"
                )
        return points


def _places(times: Sequence[float] | Floats | None) -> Floats:
    if times is None:
        return np.linspace(0.0, 1.0, 33)
    s = np.asarray(times, dtype=float)
    if s.ndim != 1 or not len(s) or not np.isfinite(s).all() or (np.diff(s) <= 0).any() or s[0] < 0 or s[-1] > 1:
        raise DataError("times must be one-dimensional and increasing, shares of the horizon between 0 and 1")
    return s
