"""The report of a multi-fidelity fit, and what it says in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from surrogates import metrics
from surrogates.posterior import mix
from surrogates.report import Estimate, FitReport
from surrogates.schema import Table

from ..diagnostics import readable
from ..preparing import log_units
from .choice import Tried
from .joint import LinearFit
from .levels import Levels
from .linear import RHO
from .parts import Part, Structure
from .single import SingleFit

#: spread of ρ, as a share of its prior's, from which on data are said not to tell it
UNKNOWN = 0.6
#: probability from which on a choice is said to be sure
SURE = 0.9


def make_report(
    table: Table,
    levels: Levels,
    parts: tuple[Part, ...],
    tried: tuple[Tried, ...],
    seconds: float,
    failed: tuple[Structure, ...] = (),
) -> FitReport:
    """Everything that a user should know of a fit."""
    best = max(parts, key=lambda part: part.weight)
    sections: dict[str, Mapping[str, Estimate]] = {
        "structures tried, by probability": {
            f"{one.structure}": Estimate(one.probability, 0.0, "") for one in tried if one.probability >= 1e-3
        },
        **best.fit.sections(levels, table.vocabulary),
        "noise (standard deviation)": _noise(table, levels, parts),
    }
    spread = levels.targets[-1].spread
    return FitReport(
        model=f"MultiFidelityGP, most of all {best.fit.structure}",
        outcome="converged" if best.fit.is_success else "ended early",
        is_success=best.fit.is_success,
        readings=len(levels.y),
        rows=levels.places,
        tasks=levels.tasks,
        solver="dense",
        evaluations=sum(part.fit.evaluations for part in parts),
        seconds=seconds,
        log_evidence=best.fit.log_evidence + _log_units(levels, best),
        trace=(),
        jitter=max(part.fit.jitter for part in parts) * spread**2,
        draws=sum(len(part.fit.weights) for part in parts),
        effective_draws=1.0 / float(sum(((part.weight * part.fit.weights) ** 2).sum() for part in parts)),
        sections={title: group for title, group in sections.items() if group},
        loo=_scores(levels, parts),
        warnings=(*table.notes, *_warnings(table, levels, parts, failed)),
        findings=tuple(_findings(table, levels, best, tried)),
    )


def _log_units(levels: Levels, part: Part) -> float:
    """What brings the log evidence to the target's own units: each contrast that the flat trend leaves has one factor."""
    if isinstance(part.fit, SingleFit):
        return log_units(part.fit.core.scaled, part.fit.core.problem.objective.design)
    total = 0.0
    for l, target in enumerate(levels.targets):
        task = levels.task[levels.level == l]
        total -= (len(task) - len(np.unique(task))) * math.log(target.spread)  # a flat constant for each task
    return total


def _noise(table: Table, levels: Levels, parts: tuple[Part, ...]) -> dict[str, Estimate]:
    if levels.variance is not None:
        return {}
    units = list(table.vocabulary.units.values())[-1] or ""
    variances = sum(part.weight * part.fit.noise_variances() for part in parts)
    values = np.sqrt(np.asarray(variances))
    return {
        str(label): Estimate(float(value * target.spread), 0.0, units)
        for label, value, target in zip(levels.graph.labels, values, levels.targets, strict=True)
    }


def _scores(levels: Levels, parts: tuple[Part, ...]) -> dict[str, float]:
    """Leave-one-out scores of the last fidelity's readings, in the target's units."""
    moments = mix([part.fit.leave_one_out() for part in parts], np.array([part.weight for part in parts]))
    target = levels.targets[-1]
    known = (levels.level == len(levels.targets) - 1) & (moments.variance > 0)
    if not known.any():
        return {}
    y, mean = target.mean(levels.y[known]), target.mean(moments.mean[known])
    std = target.deviation(np.sqrt(moments.variance[known]))
    return {
        "RMSE": metrics.rmse(y, mean),
        "NLPD": metrics.nlpd(y, mean, std),
        "coverage of 95 % intervals": metrics.coverage(y, mean, std),
    }


def _warnings(table: Table, levels: Levels, parts: tuple[Part, ...], failed: tuple[Structure, ...]) -> list[str]:
    found = []
    early = [str(part.fit.structure) for part in parts if not part.fit.is_success]
    if early:
        found.append(f"the fit of {', '.join(early)} ended early; treat its uncertainty with care")
    if failed:
        found.append(
            f"could not be fitted and don't count: {', '.join(map(str, failed))}; probabilities are among the others"
        )
    labels = levels.graph.labels
    for own, other in enumerate(levels.borrowed):
        if own != other:
            found.append(
                f"fidelity {labels[own]!r} has too few readings that differ to tell its spread: it is taken to vary as "
                f"much as {labels[other]!r}"
            )
    return found + _unread(table, levels)


def _unread(table: Table, levels: Levels) -> list[str]:
    """Tasks that lack a fidelity, of which only the other tasks tell."""
    labels, found = levels.graph.labels, []
    for l, label in enumerate(labels if levels.tasks > 1 else ()):
        seen = np.bincount(levels.task[levels.level == l], minlength=levels.tasks) > 0
        names = [repr(task) for task, read in zip(table.vocabulary.tasks, seen, strict=True) if not read]
        if names:
            found.append(
                f"without a reading of {label!r}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}; its level "
                f"there is only known as far as tasks are alike"
            )
    return found


def _findings(table: Table, levels: Levels, part: Part, tried: tuple[Tried, ...]) -> list[str]:
    """What the choice says about the data."""
    if len(levels.targets) == 1:
        return []
    kinds: dict[str, float] = defaultdict(float)
    for one in tried:
        kinds[one.structure.kind] += one.probability
    best, share = max(kinds.items(), key=lambda pair: pair[1])
    found = []
    if len(kinds) > 1:
        sure = "surely" if share >= SURE else "but not surely"
        others = ", ".join(f"{kind} {p:.2f}" for kind, p in sorted(kinds.items(), key=lambda q: -q[1])[1:] if p >= 0.01)
        found.append(f"structure: {best}, {sure} (probability {share:.2f}{'; ' + others if others else ''})")
    if best == "ignore" and len(kinds) > 1:
        found.append(
            f"cheap data do not help here: fidelities that share nothing explain the data best (probability {share:.2f})"
        )
    if isinstance(part.fit, LinearFit):
        found += [readable(finding, table.vocabulary) for finding in _unknown_scales(part.fit)]
    return found


def _unknown_scales(fit: LinearFit) -> list[str]:
    """ρ that the data don't tell."""
    draws, layout = fit.core.draws, fit.core.layout
    sharing = np.stack([layout.split(θ).sharing for θ in draws.parameters])
    found = []
    for name, values in zip(fit.sharing.names, sharing.T, strict=True):
        if not name.startswith("ρ"):
            continue
        deviation = math.sqrt(max(float(draws.weights @ (values - draws.weights @ values) ** 2), 0.0))
        if len(values) > 1 and deviation > UNKNOWN * RHO[1]:
            found.append(f"{name} is not identified: its posterior is nearly as wide as its prior")
    return found
