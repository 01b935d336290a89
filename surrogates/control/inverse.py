"""Unknown parameters and initial states from noisy measurements of an optimally controlled system.

The Euler-Lagrange system ties states and controls to the quantities η that vary in a family, so that the measurements y are
functions of η alone. Gauss-Newton on the misfit, with derivatives of the extremal in η from the same collocation system:

    min_η Σ ((y_i - y_i(η)) / σ_i)²,      cov η = (Jᵀ J)⁻¹  in units of the noise
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from surrogates.errors import DataError, NumericalError
from surrogates.physics.optimal_control import Family, Problem
from surrogates.physics.optimal_control.batch import Batch, solve_points

from .fitted_single import FittedControl
from .report import ControlReport

MOST_STEPS = 40
#: rounds in which unknown noise is taken from the misfit, and the degrees of freedom that a variable's own level takes
REWEIGHTINGS, FEW_READINGS = 2, 4.0
#: eigenvalue of the information, relative to the largest, that rounding and differences may leave of a zero
UNDETERMINED = 1e-9
#: relative step of the central differences by which an extremal's derivative in η is taken
DIFFERENCE = 1e-4


def fit_measurements(family: Problem | Family, measurements: xr.Dataset) -> FittedControl:
    """Estimate what varies in a family from measurements; see `OptimalControlNet.fit`.

    Returns
    -------
    FittedControl : of the problem at the estimates, which its report lists with standard errors. Where the noise is not
        given, each variable's is taken from its own misfit
    """
    if isinstance(family, Problem):
        raise DataError(
            "measurements need something to estimate: give a family, such as problem.over(parameters={'mu': (0.5, 2.0)})"
        )
    began = time.perf_counter()
    data = _read(family, measurements)
    low, high = family.ranges
    η, cost, J, r, is_converged = _descend(family, data, low, high, None)
    for _ in range(0 if data.noise_is_known else REWEIGHTINGS):
        data = _reweighted(data, J, r)
        η, more, J, r, is_converged = _descend(family, data, low, high, η)
        cost = cost + more
    freedom = len(r) - len(η)
    level = float(r @ r) / max(freedom, 1)
    spread, unknown = _spread(J, family)
    spread = spread * (1.0 if data.noise_is_known else level**0.5)
    problem = _at(family, η)
    at_edge = [
        name
        for i, name in enumerate(family.inputs)
        if min(float(η[i] - low[i]), float(high[i] - η[i])) < 1e-6 * float(high[i] - low[i])
    ]
    warnings = [f"the estimate of {name!r} lies at the end of its range; widen it" for name in at_edge]
    if unknown:
        warnings.append(
            f"the measurements don't tell {', '.join(map(repr, unknown))} apart: only a combination of them is known"
        )
    if freedom < 1:
        warnings.append(f"{len(r)} readings for {len(η)} unknowns leave nothing to judge the noise by")
    if data.noise_is_known and freedom > 0 and not 0.3 < level < 3.0:
        warnings.append(f"the misfit is {level:.2g} times what the noise given explains")
    batch = _solved(family, η[None])
    mesh, Z = batch.collocation.mesh, batch.solved.at.Z
    report = ControlReport(
        method="measurements of states and controls",
        outcome="the estimates converged" if is_converged else "stopped at the step limit",
        is_success=is_converged,
        seconds=time.perf_counter() - began,
        figures={"readings": len(r), "steps": len(cost), "misfit per reading": float(r @ r) / len(r)},
        estimates={name: (float(η[i]), float(spread[i])) for i, name in enumerate(family.inputs)},
        trace=tuple(cost),
        warnings=tuple(warnings),
    )
    return FittedControl(problem, report, lambda s: mesh.interpolate(Z, s.numpy())[0])


def _spread(J: Tensor, family: Family) -> tuple[Tensor, list[str]]:
    """Standard errors (d,) for noise of size 1, infinite for inputs that the measurements don't determine; their names."""
    low, high = family.ranges
    A = (J * (high - low)).T @ (J * (high - low))
    values, vectors = torch.linalg.eigh(A)
    blind = values <= UNDETERMINED * values.max()
    variances = ((vectors**2)[:, ~blind] / values[~blind]).sum(1)
    lost = (vectors[:, blind].abs() > 1e-3).any(1)
    spread = torch.where(lost, torch.inf, variances.sqrt() * (high - low))
    return spread, [name for name, is_lost in zip(family.inputs, lost.tolist(), strict=True) if is_lost]


class _Data(NamedTuple):
    s: np.ndarray[tuple[int], np.dtype[np.float64]]
    columns: tuple[tuple[str, int], ...]  # ("x" or "u", component)
    values: Tensor  # (k, columns), NaN where nothing was read
    noise: Tensor  # (columns,)
    noise_is_known: bool


def _read(family: Family, measurements: xr.Dataset) -> _Data:
    problem = family.problem
    if "initial_time" in family.inputs or problem.free_final_time:
        raise DataError("measurements need a fixed horizon; leave out initial_time, and fix the final time")
    if not isinstance(measurements, xr.Dataset):
        raise DataError(
            f"measurements are a {type(measurements).__name__}; an xarray Dataset over 'time' is expected, such as "
            f"xr.Dataset.from_dataframe(table.set_index('time'))"
        )
    if "time" not in measurements.variables:
        raise DataError("measurements lack the coordinate 'time'")
    start, end = problem.horizon
    t = measurements["time"].values.astype(float)
    if not t.size:
        raise DataError("measurements hold no times; give at least one")
    if t.ndim != 1 or not np.isfinite(t).all() or t.min() < start - 1e-12 or t.max() > end + 1e-12:
        raise DataError(
            f"measurements reach from {t.min()} to {t.max()}; they must lie in the horizon [{start}, {end}]"
        )
    places = {name: ("x", i) for i, name in enumerate(problem.states)}
    places |= {name: ("u", i) for i, name in enumerate(problem.controls)}
    named = [str(name) for name in measurements.data_vars]
    strange = [name for name in named if name not in places]
    if strange or not named:
        raise DataError(
            f"measurements hold {strange[0] if strange else 'nothing'!r}; they may hold the states {problem.states} and the "
            f"controls {problem.controls}"
        )
    for name in named:
        if measurements[name].dims != ("time",):
            raise DataError(
                f"measurements of {name!r} have the dimensions {measurements[name].dims}; ('time',) is expected"
            )
    values = torch.from_numpy(np.stack([measurements[name].values.astype(float) for name in named], -1))
    if bool(values.isinf().any()) or not bool(values.isfinite().any()):
        raise DataError(
            "measurements hold infinite values, or nothing but NaN; NaN stands for a time without a reading"
        )
    stated = [measurements[name].attrs["noise"] for name in named if "noise" in measurements[name].attrs]
    if len(stated) not in (0, len(named)):
        raise DataError("attrs['noise'] is given for some variables only; give it for all, or for none")
    if not all(float(value) > 0 for value in stated):
        raise DataError(f"attrs['noise'] is {stated}; standard deviations above 0 are expected")
    known = bool(stated)
    sizes = [float(value) for value in stated] if known else _spreads(values)
    return _Data(
        (t - start) / (end - start),
        tuple(places[name] for name in named),
        values,
        torch.tensor(sizes, dtype=torch.float64),
        known,
    )


def _spreads(values: Tensor) -> list[float]:
    """Standard deviations of the columns: units in which their misfits are added where the noise isn't known."""
    read = [c[c.isfinite()] for c in values.unbind(-1)]
    return [(float(c.std()) if len(c) > 1 else 0.0) or 1.0 for c in read]


def _solved(family: Family, points: Tensor) -> Batch:
    batch = solve_points(family, points)
    if not bool(batch.solved.converged.all()):
        where = points[~batch.solved.converged][0].tolist()
        raise NumericalError(
            f"no extremal was found at {dict(zip(family.inputs, where, strict=True))}; narrow the ranges"
        )
    return batch


def _residuals(family: Family, data: _Data, points: Tensor) -> Tensor:
    """(B, readings) misfits over the noise."""
    batch = _solved(family, points)
    system, n = batch.collocation.system, family.problem.state_size
    s = np.clip(data.s, 0.0, 1.0)
    z = batch.collocation.mesh.interpolate(batch.solved.at.Z, s)
    cases = batch.cases
    t = cases.t0[:, None] + (batch.solved.at.T - cases.t0)[:, None] * torch.from_numpy(s)
    u = system.control(t, z[..., :n], z[..., n:], cases.q[:, None].expand(*t.shape, -1))
    model = torch.stack([z[..., i] if kind == "x" else u[..., i] for kind, i in data.columns], -1)
    read = data.values.isfinite()
    return ((model - data.values) / data.noise)[:, read]


def _reweighted(data: _Data, J: Tensor, r: Tensor) -> _Data:
    """The noise of every variable by its own misfit: units that were taken for it would let the worst decide."""
    column = data.values.isfinite().nonzero()[:, 1]
    leverage = ((J @ torch.linalg.pinv(J.T @ J)) * J).sum(1)  # share of a reading that the estimates follow
    everywhere = float(r @ r) / max(len(r) - J.shape[1], 1)
    levels = []
    for k in range(len(data.noise)):
        mine = column == k
        freedom = float((1 - leverage[mine]).sum())
        own = float(r[mine] @ r[mine]) / freedom if freedom >= FEW_READINGS else everywhere
        levels.append(max(own, 1e-24) ** 0.5)
    return data._replace(noise=data.noise * torch.tensor(levels, dtype=torch.float64))


def _descend(
    family: Family, data: _Data, low: Tensor, high: Tensor, start: Tensor | None
) -> tuple[Tensor, list[float], Tensor, Tensor, bool]:
    """Levenberg-Marquardt on the misfit within the ranges, from `start`, or else from the best of a few points.

    Returns η, the misfit before each step, the Jacobian and the residuals, and whether it came to rest.
    """
    d = len(low)
    if start is None:
        engine = torch.quasirandom.SobolEngine(d, scramble=True, seed=0)  # type: ignore[no-untyped-call]
        unit = engine.draw(8 * d, dtype=torch.float64)
        tried = torch.cat([0.5 * (low + high)[None], low + unit * (high - low)])
        start = tried[_residuals(family, data, tried).square().sum(1).argmin()]
    η = start
    step = DIFFERENCE * (high - low)
    λ, trace = 1e-3, []  # type: tuple[float, list[float]]
    for _ in range(MOST_STEPS):
        inside = η.clamp(low + step, high - step)
        shifts = torch.cat([torch.diag(step), -torch.diag(step)])
        around = _residuals(family, data, torch.cat([η[None], inside + shifts]))
        r, J = around[0], ((around[1 : d + 1] - around[d + 1 :]) / (2 * step[:, None])).T
        cost = float(r @ r)
        trace.append(cost)
        for _ in range(12):
            A = J.T @ J
            move = -torch.linalg.solve(A + λ * torch.diag(A.diagonal().clamp(min=1e-12)), J.T @ r)
            there = (η + move).clamp(low, high)
            new = _residuals(family, data, there[None])[0]
            if float(new @ new) <= cost:
                break
            λ *= 10
        else:
            return η, trace, J, r, True
        moved = float(((there - η) / (high - low)).abs().max())
        η, λ = there, λ / 10
        if moved < 1e-7:
            return η, trace, J, new, True
    return η, trace, J, new, False


def _at(family: Family, η: Tensor) -> Problem:
    values = dict(zip(family.inputs, η.tolist(), strict=True))
    problem = family.problem
    start = [values.get(name, value) for name, value in zip(problem.states, problem.initial_state, strict=True)]
    return problem.with_values(initial_state=start, parameters={name: values[name] for name in family.parameters})
