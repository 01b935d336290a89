"""What a user of a fit should be warned of: data that determine little, and data that the model doesn't describe."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtr, fdtrc

from surrogates.schema import Label, Table, Vocabulary

from .core import Core
from .fitting import Posterior
from .objective import Layout
from .robust import Robust

Floats = NDArray[np.float64]
#: means of left-out residuals over their standard deviations, in standard errors, that speak of a bias
BIAS, LEAST_BIAS = 3.5, 0.4
#: probability below which a task's left-out residuals can't be of the size of the others'
MISFIT = 1e-5
#: and sizes, as multiples of what was promised, that matter
TOO_LARGE, TOO_SMALL = 1.5, 0.4
#: share of a task's variance, common to all, below which it takes nothing from the others
HARDLY = 0.2
#: fewer readings of a fidelity or a task say nothing about their residuals
ENOUGH = 5


def fit_warnings(table: Table, core: Core, posterior: Posterior) -> list[str]:
    """All warnings, most important first."""
    found = []
    if not posterior.minimum.outcome.is_success:
        found.append(f"the fit ended early: {posterior.minimum.outcome.value}; treat its uncertainty with care")
    if core.niw is not None and not core.niw.converged:
        found.append(f"expectation-maximisation had not converged after {core.niw.steps} steps")
    found += _little_data(table, core)
    if core.niw is None and not core.scaled.target.constant:
        z = _left_out(core)
        found += _biased_fidelities(table, z) + _misfit_tasks(table, z)
    return found + outlying_tasks(core, table.vocabulary.tasks) + _bounds(table, core, posterior)


def _little_data(table: Table, core: Core) -> list[str]:
    scaled, names = core.scaled, list(table.vocabulary.units)[:-1]
    if len(table.y) == 1:
        return ["there is a single observation: all but the value there rests on priors"]
    found = []
    if scaled.target.constant:
        found.append("the target never varies: amplitude and noise rest on priors alone")
    elif len(table.y) <= int((core.problem.objective.design.prior_precision == 0).sum()):
        found.append("the trend takes up every observation: amplitude and noise rest on priors alone")
    columns = dict(zip(names, table.x.T, strict=True)) if table.vectors is None else table.vectors.values
    idle = [name for name, column in columns.items() if not np.ptp(column, axis=0).any()]
    if idle:
        found.append(f"input {', '.join(map(repr, idle))} never varies: its influence can't be learnt")
    poor, labels = scaled.prior.poor, table.vocabulary.tasks
    if poor:
        named = ", ".join(str(labels[t]) for t in poor[:5])
        whose = "" if labels == (None,) else f" of {len(poor)} task{'s' * (len(poor) > 1)} ({named})"
        source = (
            "it gets a prior from the other tasks" if len(poor) < len(labels) else "its coefficients get a wide prior"
        )
        found.append(f"too few places to determine the trend{whose}: {source}")
    return found


def _left_out(core: Core) -> Floats:
    """Left-out residuals of the readings over their standard deviations (N,); NaN where there is none."""
    moments = core.leave_one_out_at_mode()
    spread = np.sqrt(np.where(moments.variance > 0, moments.variance, np.nan))
    z = (core.scaled.readings.y - moments.mean) / spread
    weight = core.scaled.readings.weight  # outliers are expected of Student's t, and have little
    return np.asarray(z if weight is None else z * np.sqrt(weight))


def _biased_fidelities(table: Table, z: Floats) -> list[str]:
    """A fidelity stands for noise, not for bias; a biased one makes confident nonsense of all."""
    levels, found = table.vocabulary.fidelities, []
    for f, level in enumerate(levels if len(levels) > 1 else ()):
        mine = z[(table.fidelity == f) & np.isfinite(z)]
        centre = float(mine.mean()) if len(mine) >= ENOUGH else 0.0
        if abs(centre) > max(BIAS / math.sqrt(max(len(mine), 1)), LEAST_BIAS):
            found.append(
                f"fidelity {level!r} looks biased: left out, its readings lie {centre:+.2g} standard deviations from what "
                f"the others say, on average; fidelities may differ in noise only: give a biased one as a task"
            )
    return found


def _misfit_tasks(table: Table, z: Floats) -> list[str]:
    """One amplitude, length-scale and noise for all: a task that differs suffers, and so do the others."""
    seen = np.isfinite(z)
    T, task, square = len(table.vocabulary.tasks), table.task[seen], z[seen] ** 2
    count, sums = np.bincount(task, minlength=T), np.bincount(task, square, minlength=T)
    found = []
    for t, label in enumerate(table.vocabulary.tasks if T > 1 else ()):
        here, others = int(count[t]), len(task) - int(count[t])
        if min(here, others) < ENOUGH:
            continue
        size, rest = math.sqrt(sums[t] / here), math.sqrt(max(sums.sum() - sums[t], 0.0) / others)
        ratio = (size / rest) ** 2 if rest > 0 else 1.0
        is_larger = size > TOO_LARGE and fdtrc(here, others, ratio) < MISFIT
        is_smaller = size < TOO_SMALL and rest > 2 * TOO_SMALL and fdtr(here, others, ratio) < MISFIT
        if is_larger or is_smaller:
            found.append(f"{label!r} ({size:.2g})")
    if not found:
        return []
    return [
        f"tasks differ in scale, roughness or noise: {', '.join(found[:5])}{' ...' if len(found) > 5 else ''} (size of "
        f"left-out residuals as a multiple of what was promised); scale their targets, or fit them apart"
    ]


def outlying_tasks(core: Core, labels: Sequence[Label | None]) -> list[str]:
    """Of robust sharing: tasks that stand apart, and those that have hardly anything in common with the others."""
    sharing = core.layout.sharing
    if not isinstance(sharing, Robust):
        return []
    own = "length-scales and noise" if core.settings.has_noise_by_task else "length-scales"
    found = [
        f"task {labels[t]!r} is an outlier: shared structure hurts it; it stands apart, with {own} of its own"
        for t in sharing.apart
    ]
    ρ = np.stack([sharing.correlations(core.layout.split(θ).sharing) for θ in core.draws.parameters])
    share, together = core.draws.weights @ ρ, list(sharing.sharing)
    typical = float(np.median(share[together]))
    found += [
        f"task {labels[t]!r} is an outlier: it has hardly anything in common with the others, and takes nothing from them"
        for t in together
        if share[t] < HARDLY and typical > 0.5
    ]
    return found


def _bounds(table: Table, core: Core, posterior: Posterior) -> list[str]:
    if core.scaled.target.constant:
        return []
    at_bound = at_bounds(core.layout, posterior.mode, table.vocabulary)
    return [f"at their bounds: {', '.join(at_bound)}; the best values may lie beyond"] if at_bound else []


def at_bounds(layout: Layout, mode: Floats, vocabulary: Vocabulary) -> list[str]:
    """Names of the hyper-parameters (p,) that ended at a bound."""
    return [
        readable(name, vocabulary)
        for name, θ, (low, high) in zip(layout.names, mode, layout.bounds, strict=True)
        if θ <= low + 1e-9 or θ >= high - 1e-9
    ]


def readable(name: str, vocabulary: Vocabulary) -> str:
    """Names of length-scales by input, those of tasks by label: log l[0] -> log l[speed], task 2 -> task steel."""
    labels = ["all" if label is None else str(label) for label in vocabulary.tasks]
    name = re.sub(r"(?<=task )\d+", lambda found: labels[int(found.group())], name)
    for k, label in enumerate(list(vocabulary.units)[:-1]):
        for end in ("]", ","):
            name = name.replace(f"log l[{k}{end}", f"log l[{label}{end}")
    return name
