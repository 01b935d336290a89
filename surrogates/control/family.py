"""Fitting one network to a whole family of problems.

Cases are solved by Newton's method on the Euler-Lagrange system, from the network's own answers as soon as there is a
network; the features of its trunk are chosen by them, and its last layer is fitted by least squares. Cases are doubled
until those held out are met as accurately as asked.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surrogates.errors import NumericalError, ProblemError
from surrogates.networks import ChebyshevFeatures, RandomFeatures, choose_degrees, fit_last_layer
from surrogates.physics.optimal_control import Extremals, Family
from surrogates.physics.optimal_control.batch import Batch, continue_points, solve_points
from surrogates.physics.optimal_control.certificate import control_distance
from surrogates.physics.optimal_control.second_order import conjugate_points
from surrogates.progress import Progress, progress_bar

from .operator import Operator, principal_modes
from .report import ControlReport

#: cases that every fit starts with, and those that judge it
FIRST_CASES, HELD_OUT = 256, 256
#: rows per term of the trunk
ROWS_PER_TERM = 3.0
#: inputs up to which cases are drawn from the arcsine distribution; see `choose_degrees`
FEW_INPUTS = 3
TRUNKS = ("chebyshev", "random")


@dataclass(frozen=True, kw_only=True)
class FamilyRoad:
    """How families are fitted.

    accuracy : median relative L2 error of the controls of cases held out at which the fit ends
    max_cases : cases to solve at most
    trunk : "chebyshev": products of Chebyshev polynomials, as many and of such degrees as the cases ask for;
        "random": frozen tanh features, for comparison
    tolerance : of the collocation equations' defect
    """

    accuracy: float = 1e-5
    max_cases: int = 8192
    trunk: str = "chebyshev"
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        if self.trunk not in TRUNKS:
            raise ProblemError(f"trunk is {self.trunk!r}; it must be one of {TRUNKS}")
        if self.max_cases < FIRST_CASES:
            raise ProblemError(f"max_cases is {self.max_cases}; every fit starts with {FIRST_CASES}: allow as many")
        if not self.accuracy >= 0:
            raise ProblemError(f"accuracy is {self.accuracy}; it must be a number >= 0")
        if not self.tolerance > 0:
            raise ProblemError(f"tolerance is {self.tolerance}; it must be above 0")


def fit_family(family: Family, road: FamilyRoad, *, seed: int, progress: Progress) -> tuple[Operator, ControlReport]:
    """Fit an operator to a family; see `OptimalControlNet`."""
    began = time.perf_counter()
    inputs = len(family.inputs)
    judges = family_points(family, HELD_OUT, seed + 1, arcsine=False)
    batch = solve_points(
        family, torch.cat([family_points(family, FIRST_CASES, seed), judges]), tolerance=road.tolerance
    )
    train, held = _split(batch, FIRST_CASES)
    points = family_points(family, FIRST_CASES, seed)
    trace: list[float] = []
    rounds = max(1, math.ceil(math.log2(road.max_cases / FIRST_CASES)))
    with progress_bar(progress, "cases", total=rounds + 1) as step:
        operator = _fit(family, train, points, road, seed)
        errors = _errors(operator, held, judges)
        trace.append(float(errors.median()))
        step(trace[-1])
        while trace[-1] > road.accuracy and len(points) < road.max_cases:
            more = family_points(family, min(len(points), road.max_cases - len(points)), seed, skip=len(points))
            solved = continue_points(family, more, batch.collocation, operator.extremals(more))
            train, points = train.joined(solved), torch.cat([points, more])
            operator = _fit(family, train, points, road, seed)
            errors = _errors(operator, held, judges)
            trace.append(float(errors.median()))
            step(trace[-1])
    return operator, _report(operator, train, held, errors, trace, road, inputs, time.perf_counter() - began)


def family_points(family: Family, n: int, seed: int, *, skip: int = 0, arcsine: bool = True) -> Tensor:
    """Quasi-random inputs (n, d) of a family: of the arcsine distribution where inputs are few, else uniform."""
    d = len(family.inputs)
    engine = torch.quasirandom.SobolEngine(d, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    unit = engine.draw(skip + n, dtype=torch.float64)[skip:]
    if arcsine and d <= FEW_INPUTS:
        unit = 0.5 * (1 - torch.cos(math.pi * unit))
    low, high = family.ranges
    points: Tensor = low + unit * (high - low)
    return points


def _split(batch: Batch, first: int) -> tuple[Batch, Batch]:
    index = torch.arange(len(batch.defect))
    return batch.take(index[:first]), batch.take(index[first:])


def _fit(family: Family, batch: Batch, points: Tensor, road: FamilyRoad, seed: int) -> Operator:
    good = batch.solved.converged
    if int(good.sum()) < 16:
        raise NumericalError(
            f"only {int(good.sum())} of {len(good)} cases have an extremal that was found; narrow the ranges of the family"
        )
    Z, T = batch.solved.at.Z[good], batch.solved.at.T[good]
    values = Z.reshape(len(Z), -1)
    if family.problem.free_final_time:
        values = torch.cat([values, (T - batch.cases.t0[good])[:, None]], 1)
    mesh = batch.collocation.mesh
    basis = principal_modes(values, mesh, Z.shape[-1])
    c = basis.coefficients(values)
    low, high = family.ranges
    X = 2 * (points[good] - low) / (high - low) - 1
    terms = int(len(X) / ROWS_PER_TERM)
    features: nn.Module
    if road.trunk == "chebyshev":
        features = ChebyshevFeatures(choose_degrees(X, c, terms))
        weights = torch.linalg.lstsq(features(X), c, driver="gels").solution
    else:
        features = RandomFeatures(
            X.shape[1],
            min(terms, 1000),
            scale=2.0,
            distribution="normal",
            generator=torch.Generator().manual_seed(seed),
        )
        weights = fit_last_layer(features(X), c).weights
    # in C order, as a file gives them back: products then round alike
    return Operator(family, mesh, features, weights.contiguous(), basis.modes.contiguous(), basis.offset)


def _errors(operator: Operator, held: Batch, points: Tensor) -> Tensor:
    """Relative L2 errors of the controls of the cases held out, (cases,)."""
    good = held.solved.converged
    answer = operator.extremals(points[good])
    cases = held.cases.take(good)
    return control_distance(held.collocation, cases, answer, Extremals(held.solved.at.Z[good], held.solved.at.T[good]))


def _no_minima(held: Batch) -> list[str]:
    """What the second-order conditions say of the cases held out."""
    good = held.solved.converged
    if not bool(good.any()):
        return []
    at, cases = held.solved.at.take(good), held.cases.take(good)
    t, z, _ = held.collocation.fields(cases, at)
    curvature = held.collocation.system.least_curvature(t, z, cases.q[:, None, None].expand(*t.shape, -1))
    conjugate = int((conjugate_points(held.collocation, cases, at) > 0).sum())
    if conjugate or curvature < 0:
        return [
            f"extremals of this family are no minima: {conjugate} of {int(good.sum())} have conjugate points, the least "
            f"curvature of H in the controls is {curvature:.2g}"
        ]
    return []


def _report(
    operator: Operator,
    train: Batch,
    held: Batch,
    errors: Tensor,
    trace: list[float],
    road: FamilyRoad,
    inputs: int,
    seconds: float,
) -> ControlReport:
    reached = trace[-1] <= road.accuracy
    lost = int((~train.solved.converged).sum() + (~held.solved.converged).sum())
    warnings = []
    if lost:
        warnings.append(f"{lost} cases of the family have no extremal that was found; answers near them are guesses")
    warnings += _no_minima(held)
    rough = float(torch.cat([train.defect, held.defect]).max())
    if rough > 10 * road.tolerance:
        warnings.append(
            f"the mesh of {operator.mesh.elements} elements leaves defects up to {rough:.1e}, above {road.tolerance:.1e}: "
            f"controls with kinks, or ranges too wide for one mesh"
        )
    return ControlReport(
        method=f"family of {inputs} inputs",
        outcome=(
            "the accuracy asked for was reached"
            if reached
            else f"{len(train.defect)} cases, the most allowed, were used"
        ),
        is_success=reached and not any("minima" in warning for warning in warnings),
        seconds=seconds,
        figures={
            "cases": len(train.defect),
            "features": operator.weights.shape[0],
            "modes": operator.weights.shape[1],
            "elements": operator.mesh.elements,
            "held-out error of u, median": float(errors.median()),
            "held-out error of u, 99 %": float(errors.quantile(0.99)),
        },
        trace=tuple(trace),
        warnings=tuple(warnings),
    )
