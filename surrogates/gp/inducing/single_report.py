"""The fit report of an `InducingGP`, with the error of its approximation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from surrogates import metrics
from surrogates.report import Estimate, FitReport
from surrogates.schema import Table
from surrogates.training import Minimum

from ..objective import Objective
from ..solvers.inducing import Inducing
from .approximation import NOTABLE, left_out_change, unexplained

if TYPE_CHECKING:
    from .single import Data

Floats = NDArray[np.float64]


def make_report(
    table: Table, data: Data, objectives: tuple[Objective, Objective, Objective, Objective], minimum: Minimum
) -> FitReport:
    """Everything that a user should know; `seconds` is left zero.

    objectives : of all rows, of those whose likelihood was maximised, and of some neighbouring blocks, there also exact
    """
    every, some, near, exact = objectives
    θ, solver = minimum.x, every.solver
    assert isinstance(solver, Inducing)
    rows, value = len(every.design.x), every(θ, 1).value  # its gradient is kept for the scores
    half = Objective(
        some.design, some.layout, Inducing(some.design, solver.kernels, solver.Z[: len(solver.Z) // 2 + 1])
    )
    halved, off = left_out_change(half, some, θ), left_out_change(near, exact, θ)
    parts, units = every.layout.split(θ), list(table.vocabulary.units.items())
    spread, target_units = data.target.spread, units[-1][1] or ""
    lengthscales = np.exp(parts.log_shapes[0]) * data.inputs.width
    sections = {
        "noise (standard deviation)": {
            name: Estimate(spread * float(np.exp(0.5 * φ)), 0.0, target_units)
            for name, φ in zip(data.readings.groups, parts.log_noise, strict=True)
        },
        "length-scales": {
            name: Estimate(float(l), 0.0, unit or "") for (name, unit), l in zip(units, lengthscales, strict=False)
        },
        "amplitude of the process": {
            "standard deviation": Estimate(spread * float(np.exp(0.5 * parts.sharing[0])), 0.0, target_units)
        },
        "approximation": {
            "inducing places": Estimate(len(solver.Z), 0.0, ""),
            "blocks": Estimate(data.blocks.count, 0.0, ""),
            "rows whose likelihood was maximised": Estimate(len(some.design.x), 0.0, ""),
            "variance that blocks can't share": Estimate(unexplained(every, solver, θ, 0), 0.0, "of it"),
            "left-out means, had it half of the places": Estimate(halved, 0.0, "standard deviations off"),
            f"left-out means, exact on {len(exact.design.x)} rows": Estimate(off, 0.0, "standard deviations off"),
        },
    }
    return FitReport(
        model=f"InducingGP ({solver.kernels[0].name})",
        outcome=minimum.outcome.value,
        is_success=minimum.outcome.is_success,
        readings=len(table.y),
        rows=rows,
        tasks=1,
        solver=solver.name,
        evaluations=some.evaluations,
        seconds=0.0,
        log_evidence=-value - every.log_prior(θ) - len(table.y) * float(np.log(spread)),
        trace=minimum.trace,
        jitter=0.0,
        draws=1,
        effective_draws=1.0,
        sections=sections,
        loo=_scores(data, every, θ),
        warnings=(*table.notes, *_warnings(minimum, len(solver.Z), halved, off)),
    )


def _warnings(minimum: Minimum, places: int, halved: float, off: float) -> list[str]:
    found = []
    if not minimum.outcome.is_success:
        found.append(f"the fit ended early: {minimum.outcome.value}; treat its uncertainty with care")
    if max(0.5 * halved, off) > NOTABLE:
        found.append(
            f"{places} inducing places are few: left-out predictions are {off:.2g} of their standard deviations off the "
            f"exact model's in neighbouring blocks, and {halved:.2g} with half of the places; raise inducing="
        )
    return found


def _scores(data: Data, every: Objective, θ: Floats) -> dict[str, float]:
    """Of left-out rows: readings of one place and their mean are left out together."""
    gradient, (_, rows) = every.gradient(θ), every.state(θ)
    if not (gradient.p_diagonal > 0).all():
        return {}
    mean = data.target.deviation(rows.y - gradient.alpha / gradient.p_diagonal)
    std, y = data.target.deviation(gradient.p_diagonal**-0.5), data.target.deviation(rows.y)
    return {
        "RMSE": metrics.rmse(y, mean),
        "NLPD": metrics.nlpd(y, mean, std),
        "coverage of 95 % intervals": metrics.coverage(y, mean, std),
    }
