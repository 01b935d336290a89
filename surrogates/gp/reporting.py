"""The fit report of a hierarchical Gaussian process."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from surrogates import metrics
from surrogates.posterior import Moments
from surrogates.report import Estimate, FitReport
from surrogates.schema import Table

from .composite import Composite
from .core import Core
from .custom import CustomKernel
from .diagnostics import fit_warnings
from .fitting import Posterior
from .inducing.approximation import Approximation
from .kernels import Kernel
from .niw import JITTER
from .noise import EXACT, KnownNoise
from .robust import Robust
from .sharing import Coregional
from .student_t import OUTLIER
from .tanimoto import Tanimoto, weight

Floats = NDArray[np.float64]


def make_report(
    table: Table, core: Core, posterior: Posterior, began: float, error: Approximation | None = None
) -> FitReport:
    """Everything that a user should know of a fit that began at that `time.perf_counter`."""
    minimum, design = posterior.minimum, core.problem.objective.design
    sections = {
        "noise (standard deviation, unresolved detail included)": _noise(table, core),
        "correlation of tasks": _correlation(table, core),
        "length-scales": _lengthscales(table, core),
        "kernel": _mixture(table, core),
        "noise across an input's range (factor of its standard deviation)": _noise_slopes(table, core),
        "amplitude of the processes": _amplitude(table, core),
        "outliers (weight; an ordinary reading has about one)": _outliers(table, core),
        "output": _output(core),
        "approximation": {} if error is None else _approximation(error),
    }
    scores = _scores(core)
    warnings = [*table.notes, *fit_warnings(table, core, posterior)]
    if error is not None and error.warning:
        warnings.append(error.warning)
    return FitReport(
        model=f"HierarchicalGP ({core.settings.kernel.name}, {core.settings.sharing})",
        outcome=_outcome(core, posterior),
        is_success=minimum.outcome.is_success and (core.niw is None or core.niw.converged),
        readings=len(table.y),
        rows=len(design.x),
        tasks=design.tasks,
        solver=core.problem.objective.solver.name,
        evaluations=posterior.evaluations,
        seconds=time.perf_counter() - began,
        log_evidence=posterior.log_likelihood,
        trace=minimum.trace if core.niw is None else core.niw.trace,
        jitter=_jitter(core),
        draws=len(core.weights),
        effective_draws=posterior.draws.effective if core.niw is None else 1.0,
        sections={title: group for title, group in sections.items() if group},
        loo=scores,
        warnings=tuple(warnings),
    )


def _approximation(error: Approximation) -> dict[str, Estimate]:
    """Of solver "inducing"; changes of left-out means are root mean squares."""
    return {
        "places of the common process": Estimate(error.places, 0.0, ""),
        "common variance that tasks can't share": Estimate(error.unexplained, 0.0, "of it"),
        "left-out means, had it half of the places": Estimate(error.halved, 0.0, "standard deviations off"),
        f"left-out means, exact on {error.readings} readings": Estimate(error.exact, 0.0, "standard deviations off"),
        "log evidence, exact less this": Estimate(error.evidence, 0.0, "nats per reading, there"),
        "jitter on the places' correlations": Estimate(error.jitter, 0.0, ""),
    }


def _jitter(core: Core) -> float:
    """What was added to the variances of exact readings, or to paper mode's base covariance, in squared units."""
    noise = core.problem.objective.design.noise
    exact = EXACT if isinstance(noise, KnownNoise) and noise.is_exact else 0.0
    base = JITTER * core.niw_base()[1] if core.niw is not None else 0.0
    return core.scaled.target.spread**2 * max(exact, base)


def _outcome(core: Core, posterior: Posterior) -> str:
    text = posterior.minimum.outcome.value
    if core.niw is None:
        return text
    ended = "converged" if core.niw.converged else "stopped at the step limit"
    return f"{text}; expectation-maximisation {ended} after {core.niw.steps} steps"


def _noise(table: Table, core: Core) -> dict[str, Estimate]:
    spread, units = core.scaled.target.spread, _target_units(table, core)
    values = spread * np.sqrt(core.tails) * np.exp(0.5 * core.log_noise())
    readings = core.scaled.readings
    if core.settings.noise in ("known", "none"):
        names: tuple[str, ...] = ("nugget (detail that the kernel doesn't resolve)",)[: values.shape[1]]
        return {name: Estimate.of_draws(values[:, f], core.weights, units) for f, name in enumerate(names)}
    # task and fidelity may have no reading together, and then nothing is learnt
    seen = np.bincount(readings.group, minlength=len(readings.groups)) > 0
    return {n: Estimate.of_draws(values[:, f], core.weights, units) for f, n in enumerate(readings.groups) if seen[f]}


def _correlation(table: Table, core: Core) -> dict[str, Estimate]:
    if len(table.vocabulary.tasks) < 2:
        return {}
    layout, draws = core.layout, core.draws
    if isinstance(layout.sharing, Robust):
        ρ = np.stack([layout.sharing.correlations(layout.split(θ).sharing) for θ in draws.parameters])
        names = [f"share of {label} that is common to all" for label in table.vocabulary.tasks]
        return {name: Estimate.of_draws(ρ[:, t], draws.weights, None) for t, name in enumerate(names[:50])}
    mixings = [layout.sharing.mixing(layout.split(θ).sharing) for θ in draws.parameters]
    if not isinstance(layout.sharing, Coregional):
        pairs = np.stack([mixing.pair for mixing in mixings if mixing.pair is not None]).sum(axis=1)  # (k, 2)
        return {"between any two": Estimate.of_draws(pairs[:, 0] / pairs.sum(axis=1), draws.weights, None)}
    B = np.stack([mixing.matrix.sum(axis=0) for mixing in mixings])
    scale = np.sqrt(np.einsum("ktt->kt", B))
    R = B / (scale[:, :, None] * scale[:, None, :])
    labels = table.vocabulary.tasks
    first = [(a, b) for a in range(len(labels)) for b in range(a)][:15]
    return {f"{labels[b]} and {labels[a]}": Estimate.of_draws(R[:, a, b], draws.weights, None) for a, b in first}


def _kinds(table: Table, core: Core) -> list[str]:
    """Whose kernel each component is, as an addition to its parameters' names."""
    if core.settings.apart:
        return ["", *(f" ({table.vocabulary.tasks[t]} alone)" for t in core.settings.apart)]
    return [""] if core.layout.sharing.components == 1 else [" (common process)", " (own processes)"]


def _lengthscales(table: Table, core: Core) -> dict[str, Estimate]:
    if not isinstance(core.settings.kernel, Kernel):
        return {}
    l = np.stack([np.exp(core.layout.split(θ).log_shapes) for θ in core.draws.parameters])  # (k, C, d)
    width, units = core.scaled.inputs.width, table.vocabulary.units
    names = [name for name in units if name != list(units)[-1]]
    return {
        f"{name}{kind}": Estimate.of_draws(l[:, c, k] * width[k], core.draws.weights, units[name])
        for c, kind in enumerate(_kinds(table, core))
        for k, name in enumerate(names)
    }


def _mixture(table: Table, core: Core) -> dict[str, Estimate]:
    """Share of the counts and length-scale of the smooth features, in standard deviations, of each component."""
    kernel, draws = core.settings.kernel, core.draws
    if isinstance(kernel, Composite):
        return _terms(table, core, kernel)
    if not isinstance(kernel, Tanimoto) or not kernel.smooth:
        return {}
    shapes = np.stack([core.layout.split(θ).log_shapes for θ in draws.parameters])  # (k, C, 2)
    found = {}
    for c, kind in enumerate(_kinds(table, core)):
        share = np.array([weight(shape) for shape in shapes[:, c]])
        found[f"share of {', '.join(kernel.counts)}{kind}"] = Estimate.of_draws(share, draws.weights, None)
        name = f"length-scale of {', '.join(kernel.smooth)}{kind}"
        found[name] = Estimate.of_draws(np.exp(shapes[:, c, 1]), draws.weights, "standard deviations")
    return found


def _terms(table: Table, core: Core, kernel: Composite) -> dict[str, Estimate]:
    """Parameters of a kernel's terms, in the units of their inputs."""
    shapes = np.stack([core.layout.split(θ).log_shapes for θ in core.draws.parameters])  # (k, C, r)
    units, weights = table.vocabulary.units, core.draws.weights
    return {
        f"{name}{kind}": Estimate.of_draws(told.values, weights, units[told.units_of] if told.units_of else None)
        for c, kind in enumerate(_kinds(table, core))
        for name, told in kernel.told(shapes[:, c]).items()
    }


def _amplitude(table: Table, core: Core) -> dict[str, Estimate]:
    layout, draws = core.layout, core.draws
    diagonal = [layout.sharing.mixing(layout.split(θ).sharing).variances for θ in draws.parameters]
    if isinstance(layout.sharing, Robust):
        sizes, units = core.scaled.target.spread * np.sqrt(np.stack(diagonal)), _target_units(table, core)
        return {
            f"of {t}": Estimate.of_draws(sizes[:, k], draws.weights, units)
            for k, t in enumerate(table.vocabulary.tasks[:50])
        }
    variance = np.stack(diagonal).mean(axis=1)
    if isinstance(core.settings.kernel, CustomKernel):
        # a kernel with a scale of its own: the mean over the observed places
        kernel, x = core.settings.kernel, core.problem.objective.design.x
        variance *= [kernel.correlations(layout.split(θ).log_shapes).diagonal(x)[0].mean() for θ in draws.parameters]
    values = core.scaled.target.spread * np.sqrt(variance)
    return {"standard deviation": Estimate.of_draws(values, draws.weights, _target_units(table, core))}


def _target_units(table: Table, core: Core) -> str | None:
    name, units = list(table.vocabulary.units.items())[-1]
    return units if core.scaled.warp is None else core.scaled.warp.describe(name)


def _output(core: Core) -> dict[str, Estimate]:
    warp, degrees, found = core.scaled.warp, core.scaled.degrees, {}
    if warp is not None and warp.name == "box-cox":
        found["Box-Cox power"] = Estimate(warp.power, warp.power_spread, "")
    if degrees is not None:
        found["degrees of freedom of the noise"] = Estimate(degrees, 0.0, "")
    return found


def _noise_slopes(table: Table, core: Core) -> dict[str, Estimate]:
    """e^{b/2}: how much the noise grows from the lowest to the highest value of an input."""
    readings = core.scaled.readings
    if readings.basis is None:
        return {}
    factor = np.exp(0.5 * core.log_noise()[:, len(readings.groups) :])
    names = readings.basis.names(list(table.vocabulary.units)[:-1])
    return {name: Estimate.of_draws(factor[:, k], core.weights, None) for k, name in enumerate(names)}


def _outliers(table: Table, core: Core) -> dict[str, Estimate]:
    """Readings that Student's t gives little weight, the least first; at most 20."""
    weight = core.scaled.readings.weight
    if weight is None:
        return {}
    names = list(table.vocabulary.units)
    found = {}
    for r in [int(r) for r in np.argsort(weight, kind="stable")[:20] if weight[r] < OUTLIER]:
        task = table.vocabulary.tasks[table.task[r]]
        categories = table.vocabulary.categories
        place = ", ".join(
            f"{name}={categories[name][round(value)] if name in categories else f'{value:.4g}'}"
            for name, value in zip(names, [*table.x[r], table.y[r]], strict=True)
        )
        found[f"reading {r}: {f'{task}, ' if task is not None else ''}{place}"] = Estimate(float(weight[r]), 0.0, "")
    return found


def _scores(core: Core) -> Mapping[str, float]:
    # at the mode: averaging over the draws would double the time of a small fit, and `loo()` gives it when asked
    moments, target = core.leave_one_out_at_mode(), core.scaled.target
    y, mean = target.mean(core.scaled.readings.y), target.mean(moments.mean)
    std = target.deviation(np.sqrt(moments.variance))
    known = std > 0  # a repeat of a noise-free reading has no spread to score
    if not known.any():
        return {}
    y, mean, std = y[known], mean[known], std[known]
    rmse, change = metrics.rmse(y, mean), 0.0
    if core.scaled.warp is not None:  # a density gets the slope of the warp, a rank doesn't change
        outputs = core.output.value(core.scaled.readings.y[known])
        rmse = metrics.rmse(outputs, core.output.moments(Moments(*(part[known] for part in moments))).mean)
        change = float(core.scaled.warp.log_slope(outputs).mean())
    return {
        "RMSE": rmse,
        "NLPD": metrics.nlpd(y, mean, std) - change,
        "coverage of 95 % intervals": metrics.coverage(y, mean, std),
    }
