"""`calibrate`: inputs that explain what was observed, as draws from their posterior."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from surrogates.counts import whole
from surrogates.errors import DataError, FitWarning
from surrogates.gp.differentiable import FittedProcess

from ..labelled import ranges, refuse_vectors
from ..laws import Input, make_inputs
from .chain import DISAGREE, TIMES, Chain, run_chain
from .evidence import Evidence, Given, make_evidence, unknown_inputs

Floats = NDArray[np.float64]
#: below this probability of readings as far off as those observed, their misfit is warned of
UNLIKELY = 1e-3
#: walkers, and more for every unknown input
WALKERS, WALKERS_EACH = 48, 8


def calibrate(
    fitted: FittedProcess | Sequence[FittedProcess],
    observed: Any,
    *,
    std: ArrayLike | None = None,
    prior: Mapping[str, Any] | None = None,
    task: Any = None,
    fidelity: Any = None,
    discrepancy: Any = 0.0,
    draws: int = 2000,
    walkers: int | None = None,
    steps: int = 4000,
    seed: int = 0,
) -> xr.Dataset:
    """Draws from the posterior of unknown inputs x, given readings y of what a surrogate describes.

        p(x | y) ∝ p(x) Σ_k w_k N(y; m_k(x), C_k(x) + diag(std² + discrepancy²))

    The surrogate's own uncertainty is part of the likelihood: its hyper-parameter draws k are mixed exactly, and several
    readings of one surrogate have their joint covariance C_k.

    Parameters
    ----------
    fitted : a fitted `HierarchicalGP` or `MultiFidelityGP`; or several, which were fitted on their own and share inputs by
        name. With several, `observed` is a sequence as long, and so may `std`, `task`, `fidelity` and `discrepancy` be
    observed : of the target: a number or an array of repeated readings, in the units of the fit; or a Dataset or
        DataFrame of readings, with the inputs that are known beside it, and task, fidelity and known noise, where each has
        its own. Inputs that aren't there are the unknown ones, the same for all readings
    std : of each reading's noise, in the target's units; a number, or one for each reading. None: known noise in
        `observed`, else what the surrogate has learnt of readings
    prior : of unknown inputs: (low, high) of a uniform law or a frozen continuous distribution of scipy.stats, independent
        of each other. Left out: uniform over the range of the data
    task, fidelity : labels, where `observed` names none; a `MultiFidelityGP` means its last fidelity where none is given
    discrepancy : standard deviation of what the surrogate's function and the world differ by, own to each reading
    draws : how many to give back, evenly spaced along the chain
    walkers, steps : of the ensemble, and its steps at the most; it stops once the chain has 30 autocorrelation times
        and walkers agree
    seed : of everything random

    Returns
    -------
    xr.Dataset
        - over ``draw``: each unknown input, log_likelihood and log_posterior (up to a constant)
        - over ``input``: autocorrelation_time (in steps) and r_hat (1 where walkers agree)
        - over ``observation``: observed; predicted_mean, predicted_std of readings like it, given all of them; the
          target's name and units as coordinates
        - attrs: acceptance, effective_draws, walkers, steps, evaluations, tail_probability (of readings that lie as far
          from what is predicted as those observed; small where the inputs can't explain them)

    Raises
    ------
    DataError
        No unknown input, NaN, labels that aren't known, deviations below zero, a prior outside of the data's range.
    MissingExtraError
        If emcee isn't installed.

    Warns
    -----
    FitWarning
        If the chain is too short, if walkers disagree, or if no inputs explain what was observed.

    Notes
    -----
    Sources: Kennedy & O'Hagan (2001, JRSS B 63:425) for calibration, of which the surrogate's hyper-parameters stay as they
    were fitted (their "modular" form) and the discrepancy has a constant variance; Goodman & Weare (2010) and Foreman-Mackey
    et al. (2013) for the ensemble. A target under a warp is compared there, with `std` carried by the slope at its reading.
    Noise of Student's t counts as normal of the same variance.

    Examples
    --------
    >>> import numpy as np
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> x = np.linspace(0, 2, 15)
    >>> fitted = HierarchicalGP(Schema(inputs="x", target="y")).fit(as_dataset(x, x**2, inputs=["x"]))
    >>> found = calibrate(fitted, 2.25, std=0.05)
    >>> float(found["x"].mean().round(1))
    1.5
    """
    models, given = _sources(fitted, observed, std, task, fidelity, discrepancy)
    for one in models:
        refuse_vectors(one, "calibration")
    names = unknown_inputs(models, [own.observed for own in given])
    laws = _laws(models, names, prior)
    numbers = {name: k for k, name in enumerate(names)}
    evidence = [make_evidence(one, own, numbers) for one, own in zip(models, given, strict=True)]
    size = WALKERS + WALKERS_EACH * len(names) if walkers is None else walkers
    _check(size, steps, draws, seed, len(names))

    def values(u: Floats) -> Floats:
        return np.stack([law.at_normal(u[:, k]) for k, law in enumerate(laws)], axis=1)

    def log_likelihood(u: Floats) -> Floats:
        x = values(u)
        return np.asarray(sum(one.log_likelihood(x) for one in evidence))

    chain = run_chain(log_likelihood, len(names), walkers=size, most_steps=steps, seed=seed)
    total = chain.log_density.size
    chosen = np.linspace(0, total - 1, draws).round().astype(np.int64)
    u = chain.u.reshape(total, -1)[chosen]
    x, normal = values(u), 0.5 * (u**2).sum(axis=1)
    likelihood = chain.log_density.reshape(total)[chosen] + normal
    density = likelihood + sum(law.law.logpdf(x[:, k]) for k, law in enumerate(laws))
    answer = _labelled(models, names, x, likelihood, density, chain)
    answer = _with_predictions(answer, evidence, models, x, seed)
    for words in _warnings(answer, names, chain, steps):
        warnings.warn(words, FitWarning, stacklevel=2)
    return answer


def _sources(
    fitted: FittedProcess | Sequence[FittedProcess], observed: Any, std: Any, task: Any, fidelity: Any, discrepancy: Any
) -> tuple[list[FittedProcess], list[Given]]:
    """Surrogates and what was observed of each."""
    if not isinstance(fitted, list | tuple):
        return [fitted], [Given(observed, std, task, fidelity, discrepancy)]  # type: ignore[list-item]
    count = len(fitted)
    if not isinstance(observed, list | tuple) or len(observed) != count or count == 0:
        found = len(observed) if isinstance(observed, list | tuple) else type(observed).__name__
        raise DataError(
            f"there are {count} surrogates and observed is {found}; give a list with one entry for each surrogate"
        )

    def each(value: Any, what: str) -> Sequence[Any]:
        if not isinstance(value, list | tuple):
            return [value] * count
        if len(value) != count:
            raise DataError(f"{what} has {len(value)} entries for {count} surrogates; give one, or one for each")
        return value

    columns = (each(std, "std"), each(task, "task"), each(fidelity, "fidelity"), each(discrepancy, "discrepancy"))
    return list(fitted), [Given(*row) for row in zip(observed, *columns, strict=True)]


def _laws(models: Sequence[FittedProcess], names: Sequence[str], prior: Mapping[str, Any] | None) -> tuple[Input, ...]:
    """The priors of the unknown inputs."""
    if not names:
        raise DataError("the observations name all inputs: nothing is left to be found; leave the unknown ones out")
    labels = sorted({name for one in models for name in one.vocabulary.categories} & set(names))
    if labels:
        raise DataError(
            f"{labels} hold labels, which walkers can't move along; calibrate with each label given in turn"
        )
    known: dict[str, tuple[float, float]] = {}
    for name in names:
        having = [one for one in models if name in one.schema.inputs]
        units = {one.vocabulary.units[name] for one in having}
        if len(units) > 1:
            raise DataError(
                f"{name!r} is in {sorted(map(str, units))} in different surrogates; fit them in the same units"
            )
        low, high = (np.array([ranges(one)[name][end] for one in having]) for end in (0, 1))
        if not low.max() < high.min():
            raise DataError(
                f"{name!r} ranges over {list(zip(low.tolist(), high.tolist(), strict=True))} in the data: no surrogate "
                f"tells it apart there; give its value, or surrogates whose data overlap"
            )
        known[name] = float(low.max()), float(high.min())
    laws = make_inputs(names, prior, known, {}, what="prior")
    for name, law in zip(names, laws, strict=True):
        (first, last), start, end = known[name], law.law.ppf(1e-3), law.law.isf(1e-3)
        if start > last or end < first:
            raise DataError(
                f"the prior of {name!r} reaches from {start:g} to {end:g}, and the data from {first:g} to {last:g}: the "
                f"surrogate knows nothing there; give a prior that overlaps with the data"
            )
    return laws


def _check(walkers: int, steps: int, draws: int, seed: int, p: int) -> None:
    for name, value, least in (
        ("steps", steps, 20),
        ("draws", draws, 2),
        ("walkers", walkers, 2 * p + 2),
        ("seed", seed, 0),
    ):
        whole(value, name, least=least)
    if walkers % 2:
        raise DataError(f"walkers is {walkers}; an even number is wanted, since one half moves along the other")


def _labelled(
    models: Sequence[FittedProcess], names: Sequence[str], x: Floats, likelihood: Floats, density: Floats, chain: Chain
) -> xr.Dataset:
    units = {name: one.vocabulary.units[name] for one in reversed(models) for name in one.schema.inputs}
    data: dict[str, Any] = {
        name: ("draw", x[:, k], {"units": units[name]} if units[name] else {}) for k, name in enumerate(names)
    }
    data["log_likelihood"] = ("draw", likelihood)
    data["log_posterior"] = ("draw", density, {"long_name": "log density of inputs, up to a constant"})
    data["autocorrelation_time"] = ("input", chain.time, {"units": "1", "long_name": "autocorrelation time in steps"})
    data["r_hat"] = ("input", chain.r_hat, {"units": "1", "long_name": "potential scale reduction of walkers"})
    steps, walkers = chain.log_density.shape
    attrs = {
        "acceptance": chain.acceptance,
        "effective_draws": float(steps * walkers / chain.time.max()),
        "walkers": walkers,
        "steps": steps,
        "evaluations": chain.evaluations,
    }
    return xr.Dataset(data, coords={"input": list(names)}, attrs=attrs)


def _with_predictions(
    answer: xr.Dataset, evidence: Sequence[Evidence], models: Sequence[FittedProcess], x: Floats, seed: int
) -> xr.Dataset:
    """The posterior predictive check: what readings like those observed would be."""
    generator, mean, std = np.random.default_rng(seed), [], []
    for one in evidence:
        found = one.predict(x)
        drawn = found.mean + np.sqrt(found.variance) * generator.standard_normal(found.mean.shape)
        drawn = drawn if one.joint.warp is None else one.joint.warp.inverse(drawn)
        mean.append(drawn.mean(axis=0) if one.joint.warp is not None else found.mean.mean(axis=0))
        std.append(drawn.std(axis=0))
    targets = [one.name for one in evidence for _ in one.y]
    units = [model.vocabulary.units[one.name] or "" for one, model in zip(evidence, models, strict=True) for _ in one.y]
    answer = answer.assign(
        observed=("observation", np.concatenate([one.y for one in evidence])),
        predicted_mean=("observation", np.concatenate(mean)),
        predicted_std=("observation", np.concatenate(std)),
    ).assign_coords(target=("observation", targets), units=("observation", units))
    return answer.assign_attrs(tail_probability=float(min(one.tail(x).mean() for one in evidence)))


def _warnings(answer: xr.Dataset, names: Sequence[str], chain: Chain, steps: int) -> list[str]:
    found = []
    if not chain.is_long:
        times = ", ".join(f"{name}: {time:.0f}" for name, time in zip(names, chain.time, strict=True))
        found.append(
            f"the chain has {len(chain.u)} steps after warm-up, fewer than {TIMES} autocorrelation times ({times}); give "
            f"more than steps={steps}, or more walkers"
        )
    elif (chain.r_hat > DISAGREE).any():
        worst = names[int(np.argmax(chain.r_hat))]
        found.append(
            f"walkers disagree about {worst!r} (r_hat {chain.r_hat.max():.2f}): they seldom move between modes, whose "
            f"shares are those of the start; give more walkers"
        )
    if answer.attrs["tail_probability"] < UNLIKELY:
        off = abs(answer["observed"] - answer["predicted_mean"]) / answer["predicted_std"]
        k = int(np.argmax(off.values))
        found.append(
            f"no inputs within the prior explain what was observed: {answer['target'].values[k]} of "
            f"{float(answer['observed'][k]):g} lies {float(off[k]):.1f} standard deviations from "
            f"{float(answer['predicted_mean'][k]):g}, which is as near as they get; check units and std, widen the prior, "
            f"or give a discrepancy"
        )
    return found
