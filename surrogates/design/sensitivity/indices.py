"""`sobol_indices`: which inputs a fitted function's variance comes from, and how sure that is."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from surrogates.counts import whole
from surrogates.errors import DataError, JitterWarning
from surrogates.gp.fitted import FittedHierarchicalGP
from surrogates.labels import require_label

from ..labelled import Fitted, places, ranges, refuse_vectors
from ..laws import Input, make_inputs
from ..numbers import power_of_two
from .closed import Subset, closed_variances, is_lost_in_rounding, make_posteriors, shared_out
from .inside import Inside, look_inside
from .paths import Paths, draw_paths
from .sampled import Estimated, Sampled, SetOfDraws, sampled_variances

Floats = NDArray[np.float64]
METHODS = ("auto", "closed form", "sampling")
#: base points of designs for draws that are functions, and for joint draws, whose cost grows with the cube of places
PATHS, JOINT = 1024, 128
#: places of a joint draw, at the most
MOST_PLACES = 1600


class _Answer(NamedTuple):
    """Variances V_S in the target's squared units, of the mean function, expected, and of draws; errors of the indices."""

    mean: Estimated
    expected: Estimated
    draws: Estimated
    first_error: Floats
    total_error: Floats
    method: str


def sobol_indices(
    fitted: Fitted,
    *,
    task: Any = None,
    fidelity: Any = None,
    distributions: Mapping[str, Any] | None = None,
    second_order: bool = False,
    quantiles: Sequence[float] = (0.05, 0.95),
    draws: int = 128,
    samples: int = 4096,
    method: str = "auto",
    seed: int = 0,
) -> xr.Dataset:
    """First-order and total Sobol indices of one task's function, for independent random inputs.

        S_i = Var E(f | x_i) / Var f        T_i = E Var(f | all but x_i) / Var f

    Parameters
    ----------
    fitted : a fitted process; or any surrogate with `predict`, then with draws=0
    task, fidelity : labels of the function asked for; the fidelity may be left out, as in `predict`
    distributions : for each input (low, high) of a uniform law, or a frozen continuous distribution of scipy.stats; for
        labels {label: probability}. In the units of the fit. Left out: uniform over the range of the data, or all labels
    second_order : also V_ij - V_i - V_j, what two inputs do together, as a share of Var f
    quantiles : of the indices over draws of the function
    draws : of the function from its posterior, hyper-parameters included: they tell how sure the indices are
    samples : base points of the sampling method, a power of two; that takes (d + 2) times as many predictions
    method : "closed form", where the kernel is a sum of products of functions of single inputs: "rbf", any kernel of one
        input, sums and products of `Smooth` terms (of kind "rbf", or of one input each), `Periodic` and `Categorical`; with
        a named trend, no warp, up to 3000 rows. "sampling" works for all, by SALib. "auto": in closed form where it exists
    seed : of draws and designs

    Returns
    -------
    xr.Dataset over ``input`` (and ``input_2``):
        first_order, total, second_order : E V_S / E Var f, expectations over the posterior of f
        first_order_std, ... : standard deviation of the index over draws: what the data leave open
        first_order_quantile, ... : over ``quantile``
        first_order_error, total_error : standard error of Monte Carlo; zero in closed form
        first_order_of_mean, total_of_mean, second_order_of_mean : indices of the posterior mean, taken as a function
        variance, variance_std, variance_of_mean : Var f, in the target's squared units
        distribution : of each input, as a text

    Raises
    ------
    DataError
        Unknown task, fidelity or input; bounds out of order; inputs that are vectors or counts; a constant function, which
        has no variance to share; a method that this surrogate doesn't offer.

    Notes
    -----
    In closed form (Oakley & O'Hagan 2004) integrals over one uniform or normal input are exact to rounding. The nugget of
    known noise, detail that the kernel doesn't resolve, is no part of f there, but of draws in the sampling method. With
    exact readings the largest terms nearly cancel; where more than about 1e-5 of the variance could be left as an error, as
    of smooth functions of few inputs, "auto" takes the sampling method.

    Sources: Sobol' (1993); Homma & Saltelli (1996) for total indices; Oakley & O'Hagan (2004, JRSS B 66), section 3, for
    expectations; Le Gratiet, Cannamela & Iooss (2014) for indices of posterior draws.

    Examples
    --------
    >>> import numpy as np
    >>> from surrogates import HierarchicalGP, Schema, as_dataset
    >>> generator = np.random.default_rng(0)
    >>> x = generator.random((40, 2))
    >>> y = x[:, 0] + 0.5 * x[:, 1] + 0.01 * generator.standard_normal(40)
    >>> data = as_dataset(x, y, inputs=["a", "b"])
    >>> fitted = HierarchicalGP(Schema(inputs=("a", "b"), target="y"), kernel="rbf").fit(data)
    >>> found = sobol_indices(fitted, distributions={"a": (0, 1), "b": (0, 1)})
    >>> found["first_order"].values.round(1).tolist()  # 1 : 1/4
    [0.8, 0.2]
    """
    _check(fitted, method=method, quantiles=quantiles, draws=draws, samples=samples, seed=seed)
    schema, vocabulary = fitted.schema, fitted.vocabulary
    task = require_label("task", schema.task, vocabulary.tasks, task, optional=False)
    fidelity = require_label("fidelity", schema.fidelity, vocabulary.fidelities, fidelity, optional=True)
    inputs = make_inputs(schema.inputs, distributions, ranges(fitted), vocabulary.categories)
    answer = (
        None if method == "sampling" else _closed(fitted, task, fidelity, inputs, second_order, draws, seed, method)
    )
    if answer is None and method == "closed form":
        raise DataError(
            "method='closed form', but this surrogate isn't a sum of products of functions of single inputs: that takes "
            "kernel='rbf' or terms of one input each, a named trend, no warp and up to 3000 rows; use method='auto'"
        )
    if answer is None:
        answer = _sampled(fitted, task, fidelity, inputs, second_order, draws, samples, seed)
    return _labelled(fitted, inputs, answer, quantiles, task, fidelity)


def _check(fitted: Fitted, *, method: str, quantiles: Sequence[float], draws: int, samples: int, seed: int) -> None:
    refuse_vectors(fitted, "a Sobol index")
    if method not in METHODS:
        raise DataError(f"method is {method!r}; choose one of {METHODS}")
    if not all(0 < q < 1 for q in quantiles):
        raise DataError(f"quantiles are {tuple(quantiles)}; they must be between zero and one")
    if whole(draws, "draws", least=0) == 1:
        raise DataError("draws is 1; give a whole number, at least two, or zero for no uncertainty")
    power_of_two(samples, "samples")
    whole(seed, "seed", least=0)
    if draws and not hasattr(fitted, "sample"):
        raise DataError(
            f"{type(fitted).__name__} has no joint draws, which tell how sure indices are; give draws=0 for its mean"
        )
    if isinstance(fitted, FittedHierarchicalGP) and fitted.core.scaled.target.constant:
        raise DataError(
            f"{fitted.schema.target!r} is constant in all data: there is no variance to share, and Sobol indices are "
            f"undefined"
        )


def _closed(
    fitted: Fitted,
    task: Any,
    fidelity: Any,
    inputs: Sequence[Input],
    second_order: bool,
    draws: int,
    seed: int,
    method: str,
) -> _Answer | None:
    """In closed form, or None where there is none, or (with "auto") rounding would spoil it."""
    inside = look_inside(fitted, task, fidelity)
    posteriors = None if inside is None else make_posteriors(inside, inputs)
    if inside is None or inside.spread is None or posteriors is None:
        return None
    d = len(inputs)
    everything = tuple(range(d))
    if is_lost_in_rounding(posteriors, inside.weights, everything):
        if method == "auto":
            return None
        raise DataError(
            "method='closed form', but readings are so exact and the function so smooth that rounding would be a part of "
            "the indices; use method='sampling' or 'auto'"
        )
    pairs = list(itertools.combinations(everything, 2)) if second_order else []
    sets: list[Subset] = [(k,) for k in everything]
    sets += [tuple(np.delete(everything, k).tolist()) for k in everything]
    sets += [everything, *pairs]
    found = closed_variances(posteriors, inside.weights, sets, draws=draws, seed=seed)
    mean, expected, drawn = (_taken_apart(v * inside.spread**2, d, pairs) for v in found)
    return _Answer(mean, expected, drawn, np.zeros(d), np.zeros(d), "closed form")


def _taken_apart(v: Floats, d: int, pairs: Sequence[tuple[int, int]]) -> Estimated:
    """V_S (..., sets) as first-order, total and second-order variances."""
    first, variance = v[..., :d], v[..., 2 * d]
    second = np.zeros((*v.shape[:-1], d, d)) if pairs else None
    for column, (i, j) in enumerate(pairs, start=2 * d + 1):
        assert second is not None
        second[..., i, j] = second[..., j, i] = v[..., column] - first[..., i] - first[..., j]
    return Estimated(first, np.maximum(variance[..., None] - v[..., d : 2 * d], 0.0), second, variance)


def _sampled(
    fitted: Any,
    task: Any,
    fidelity: Any,
    inputs: Sequence[Input],
    second_order: bool,
    draws: int,
    samples: int,
    seed: int,
) -> _Answer:
    inside = look_inside(fitted, task, fidelity)

    def mean(x: Floats) -> Floats:
        if inside is not None and inside.spread is not None:
            return inside.mean(x)  # predict makes variances too
        return np.asarray(fitted.predict(places(fitted, x, task, fidelity))["mean"].values)

    found: Sampled = sampled_variances(
        inputs,
        mean,
        _sets_of_draws(fitted, inside, task, fidelity, len(inputs) * (1 + second_order), draws, seed),
        samples=samples,
        second_order=second_order,
        seed=seed,
    )
    if not draws:
        return _Answer(found.mean, found.mean, found.draws, found.first_error, found.total_error, "sampling")
    expected = Estimated(*(None if v is None else v.mean(axis=0) for v in found.draws))  # type: ignore[arg-type]
    first, total = (
        np.hypot(error, (v / found.draws.variance[:, None]).std(axis=0, ddof=1) / np.sqrt(draws))
        for error, v in ((found.first_error, found.draws.first), (found.total_error, found.draws.total))
    )
    return _Answer(found.mean, expected, found.draws, first, total, "sampling")


def _sets_of_draws(
    fitted: Any, inside: Inside | None, task: Any, fidelity: Any, width: int, draws: int, seed: int
) -> Iterator[SetOfDraws]:
    """Draws, some at a time: as functions where that is possible, else joint ones at a small design."""
    generator = np.random.default_rng(seed)
    if inside is not None:
        for k, size in shared_out(inside.weights, draws, generator):
            paths = draw_paths(inside.processes[k], inside.task, inside.parts[k], size, generator)
            yield SetOfDraws(PATHS, partial(_asked_path, paths, inside))
        return
    points = JOINT
    while points > 16 and points * (width + 2) > MOST_PLACES:
        points //= 2
    for _, size in shared_out(np.ones(1), draws, generator):
        own = int(generator.integers(2**31))

        def joint(x: Floats, size: int = size, own: int = own) -> Floats:
            with warnings.catch_warnings():  # places are many and near: 1e-10 of the variance may be added to their own
                warnings.simplefilter("ignore", JitterWarning)
                drawn = fitted.sample(places(fitted, x, task, fidelity), size, seed=own)
            return np.asarray(drawn.transpose("place", "draw").values)

        yield SetOfDraws(points, joint)


def _asked_path(paths: Paths, inside: Inside, x: Floats) -> Floats:
    return inside.value(paths(inside.scaling(x)))


def _labelled(
    fitted: Fitted, inputs: Sequence[Input], answer: _Answer, quantiles: Sequence[float], task: Any, fidelity: Any
) -> xr.Dataset:
    expected, mean, draws = answer.expected, answer.mean, answer.draws
    if not (expected.variance > 0 and mean.variance > 1e-20 * expected.variance):
        raise DataError(
            "the function is constant over these inputs: there is no variance to share, and Sobol indices are undefined; "
            "widen the distributions, or give more data"
        )
    target = fitted.vocabulary.units[fitted.schema.target]
    squared = {"units": f"({target})**2"} if target else {}
    data: dict[str, Any] = {}
    for name, text, field in (
        ("first_order", "share of the variance by the input alone", "first"),
        ("total", "share of the variance with all interactions", "total"),
        ("second_order", "share of the variance by two inputs together alone", "pairs"),
    ):
        if getattr(expected, field) is None:
            continue
        dims: tuple[str, ...] = ("input", "input_2") if field == "pairs" else ("input",)
        attrs = {"long_name": text, "units": "1"}
        data[name] = (dims, getattr(expected, field) / expected.variance, attrs)
        data[f"{name}_of_mean"] = (dims, getattr(mean, field) / mean.variance, attrs)
        if len(draws.variance):
            each = getattr(draws, field) / draws.variance.reshape(-1, *[1] * len(dims))
            data[f"{name}_std"] = (dims, each.std(axis=0, ddof=1), attrs)
            data[f"{name}_quantile"] = (("quantile", *dims), np.quantile(each, list(quantiles), axis=0), attrs)
    data["first_order_error"] = ("input", answer.first_error, {"units": "1"})
    data["total_error"] = ("input", answer.total_error, {"units": "1"})
    data["variance"] = ((), float(expected.variance), squared)
    data["variance_of_mean"] = ((), float(mean.variance), squared)
    if len(draws.variance):
        data["variance_std"] = ((), float(draws.variance.std(ddof=1)), squared)
    data["distribution"] = ("input", [one.text for one in inputs])
    names = [one.name for one in inputs]
    coords: dict[str, Any] = {"input": names, **({"input_2": names} if expected.pairs is not None else {})}
    if len(draws.variance):
        coords["quantile"] = list(quantiles)
    chosen = {k: v for k, v in (("task", task), ("fidelity", fidelity)) if v is not None}
    attrs_of_all = {"method": answer.method, "draws": len(draws.variance), "target": fitted.schema.target, **chosen}
    return xr.Dataset(data, coords=coords, attrs=attrs_of_all)
