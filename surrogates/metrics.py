"""How good predictions are, and how honest their error bars: scores of Gaussian predictive distributions.

A reading y is compared with N(μ, σ²).  NaN in `truth`, or its mask, means "not observed" and is left out; anything else
that isn't a usable number is an error.  Arrays must have equal shapes; DataArrays are matched by the names of their dims
and by their labels.  `relative_change` and `mean_rank` compare methods by their errors over tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from surrogates.errors import DataError, UnitsError
from surrogates.variables import unmasked

Floats = NDArray[np.float64]
#: What the metrics take: anything NumPy makes an array of, or labelled arrays.
Values: TypeAlias = ArrayLike | xr.DataArray


def rmse(truth: Values, mean: Values) -> float:
    """Root mean square error √(mean (y - μ)²), in the truth's units.

    >>> round(rmse([1.0, 2.0, float("nan")], [1.0, 4.0, 0.0]), 4)
    1.4142
    """
    y, μ = _columns({"truth": truth, "mean": mean})
    return math.sqrt(np.mean((y - μ) ** 2))


def nlpd(truth: Values, mean: Values, std: Values) -> float:
    """Mean negative log predictive density ½ log 2πσ² + (y - μ)² / 2σ², in nats; smaller is better.

    It depends on the units: in units c times smaller it is log c larger.

    >>> round(nlpd([0.0], [0.0], [1.0]), 4)
    0.9189
    """
    return float(_nlpd(*_gaussian(truth, mean, std)).mean())


def crps(truth: Values, mean: Values, std: Values) -> float:
    """Mean continuous ranked probability score ∫ (F(t) - 1[t ≥ y])² dt, in the truth's units; smaller is better.

    For a Gaussian it is σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π) with z = (y - μ)/σ (Gneiting & Raftery 2007, section 4.2). For
    σ → 0 it is the absolute error.

    >>> round(crps([0.0], [0.0], [1.0]), 4)
    0.2337
    """
    return float(_crps(*_gaussian(truth, mean, std)).mean())


def coverage(truth: Values, mean: Values, std: Values, *, level: float = 0.95) -> float:
    """Share of the readings inside the central interval μ ± Φ⁻¹((1 + level)/2) σ, bounds included.

    >>> coverage([0.0, 1.9, 2.1, -3.0], [0.0] * 4, [1.0] * 4)
    0.5
    """
    return float(_covered(*_gaussian(truth, mean, std), level=level).mean())


def interval_score(truth: Values, mean: Values, std: Values, *, level: float = 0.95) -> float:
    """Mean width of the central interval plus 2/(1 - level) times the distance of the readings outside from it.

    Gneiting & Raftery (2007), eq. 43; in the truth's units, smaller is better. A narrow interval is rewarded, a miss is
    punished, so that neither alone gives a good score.

    >>> round(interval_score([0.0], [0.0], [1.0], level=0.95), 4)
    3.9199
    """
    return float(_interval_score(*_gaussian(truth, mean, std), level=level).mean())


def pit(truth: Values, mean: Values, std: Values) -> Floats:
    """Probability integral transform Φ((y - μ)/σ) of the observed readings, in their order: (n,).

    Uniform on [0, 1] if the predictions are calibrated and the readings independent.

    >>> pit([0.0, float("nan")], [0.0, 0.0], [1.0, 1.0])
    array([0.5])
    """
    y, μ, σ = _gaussian(truth, mean, std)
    return np.asarray(ndtr((y - μ) / σ), dtype=np.float64)


def relative_change(errors: ArrayLike, reference: ArrayLike) -> Floats:
    """Mean over tasks of a method's error relative to a reference's, δ_m = mean_i (e_i / r_i - 1), as a share.

    The literature of multi-task learning calls it Δ_m and compares with models of one task each (Maninis, Radosavovic &
    Kokkinos 2019, eq. 4, here for errors: smaller is better).

    Parameters
    ----------
    errors, reference : (..., m), of which the last axis is tasks; shapes that broadcast

    Returns
    -------
    (...): negative where the method is better

    Raises
    ------
    DataError
        If an error is NaN, infinite or negative, or a reference is zero.

    Examples
    --------
    >>> float(relative_change([1.0, 3.0], [2.0, 2.0]))
    0.0
    """
    e, r = _errors(errors, "errors"), _errors(reference, "reference")
    if (r == 0).any():
        raise DataError("reference has an error of 0; nothing can be compared with it: leave this task out")
    try:
        ratio = e / r
    except ValueError:
        raise DataError(f"errors have shape {e.shape}, reference {r.shape}; they must broadcast") from None
    return np.asarray((ratio - 1).mean(-1))


def mean_rank(errors: ArrayLike) -> Floats:
    """Mean over tasks of each method's rank by its error: 1 is the best; ties share their mean rank.

    Parameters
    ----------
    errors : (methods, m)

    Returns
    -------
    (methods,)

    Raises
    ------
    DataError
        If an error is NaN, infinite or negative, or the shape is another.

    Examples
    --------
    >>> mean_rank([[1.0, 5.0], [2.0, 4.0], [2.0, 6.0]])
    array([1.5 , 1.75, 2.75])
    """
    e = _errors(errors, "errors")
    if e.ndim != 2:
        raise DataError(f"errors have shape {e.shape}; (methods, tasks) is expected")
    return np.asarray(rankdata(e, axis=0).mean(1))


def _errors(values: ArrayLike, name: str) -> Floats:
    array = unmasked(values).astype(np.float64)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name} has shape {array.shape}; errors of one task or more are expected")
    if bad := int((~np.isfinite(array) | (array < 0)).sum()):
        raise DataError(f"{name} has {bad} entries that are NaN, infinite or negative; errors are numbers >= 0")
    return array


def score(
    truth: xr.DataArray, prediction: xr.Dataset, *, per: str | None = None, level: float = 0.95, noise: bool = True
) -> xr.Dataset:
    """All metrics of a prediction.

    Parameters
    ----------
    truth : the readings, or the true function, over the prediction's dims in any order; NaN where there is none
    prediction : as `predict` returns it, with `mean`, `std` and, if the noise is known, `noise_std`
    per : a dim or coordinate of `truth`, the task for example: one score for each of its labels
    level : of the central intervals in `coverage` and `interval_score`
    noise : whether `truth` holds noisy readings, whose predicted spread is √(std² + noise_std²); False for the true
        function, whose spread is `std`

    Returns
    -------
    xr.Dataset
        `count` and `missing` (readings used and left out), `rmse`, `nlpd`, `crps`, `coverage`, `interval_score`;
        without dims, or over `per`. Scores of a label without any reading are NaN.

    Raises
    ------
    DataError
        If a variable is missing, dims or labels don't match, nothing is observed, `mean` or `std` is NaN or infinite,
        or `std` isn't positive, where there is a reading.
    UnitsError
        If `truth` and the prediction are in different units.

    Examples
    --------
    >>> truth = xr.DataArray([1.0, 2.0, np.nan], dims="part", coords={"part": ["a", "b", "c"]})
    >>> prediction = xr.Dataset({"mean": truth.fillna(0.0) + 0.5, "std": xr.full_like(truth, 0.5)})
    >>> int(score(truth, prediction)["missing"])
    1
    >>> score(truth, prediction, per="part")["count"].values
    array([1, 1, 0])
    """
    pairs = readings(truth, prediction, noise=noise)
    units = truth.attrs.get("units", prediction["mean"].attrs.get("units"))
    if per is None:
        total = xr.Dataset({name: ((), value[0]) for name, value in _table([pairs], level).items()})
        return _described(total, units, level)
    codes, labels = _groups(truth, per)
    table = _table([Readings(*(column[codes == k] for column in pairs)) for k in range(len(labels))], level)
    coordinate = xr.Variable(per, labels, truth[per].attrs)
    return _described(xr.Dataset({name: (per, v) for name, v in table.items()}, {per: coordinate}), units, level)


class Readings(NamedTuple):
    """Readings and what was predicted for them, raveled in the truth's order of dims; y is NaN where there is none."""

    y: Floats  # (n,)
    mean: Floats  # (n,)
    std: Floats  # (n,) of the reading

    def observed(self) -> Readings:
        """Those that are there."""
        there = ~np.isnan(self.y)
        return Readings(*(column[there] for column in self))


def readings(truth: xr.DataArray, prediction: xr.Dataset, *, noise: bool = True) -> Readings:
    """Readings beside their predicted mean and spread; parameters and errors as in `score`."""
    for name in ("mean", "std"):
        if name not in prediction:
            raise DataError(f"the prediction has no variable {name!r}; it has {sorted(map(str, prediction.data_vars))}")
    names = ["mean", "std", *(["noise_std"] if noise and "noise_std" in prediction else [])]
    for name in names:
        found, wanted = prediction[name].attrs.get("units"), truth.attrs.get("units")
        if None not in (found, wanted) and found != wanted:
            raise UnitsError(f"{name!r} is in {found!r}, truth in {wanted!r}; convert one of them before the call")
    given = {"truth": truth, **{name: prediction[name] for name in names}}
    y, μ, *parts = _matched(given)
    _check_finite(dict(zip(given, (y, μ, *parts), strict=True)))
    for name, part in zip(names[1:], parts, strict=True):
        _check_at_least_zero(name, part[~np.isnan(y)], zero_is_fine=len(parts) == 2)
    σ = np.hypot(*parts) if len(parts) == 2 else parts[0]
    _check_at_least_zero("std", σ[~np.isnan(y)], zero_is_fine=False)
    return Readings(y, μ, σ)


def _groups(truth: xr.DataArray, per: str) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Position of each entry's label, and the labels in order of appearance."""
    if per not in truth.dims and per not in truth.coords:
        known = sorted({str(name) for name in (*truth.dims, *truth.coords)})
        raise DataError(f"truth has no dim or coordinate {per!r}; it has {known}")
    everywhere = truth[per].broadcast_like(truth).transpose(*truth.dims).values.ravel()
    missing = int(pd.isna(everywhere).sum())
    if missing:
        raise DataError(f"the coordinate {per!r} has {missing} missing labels; every reading needs one")
    codes, labels = pd.factorize(everywhere)
    return codes, np.asarray(labels)


def _nlpd(y: Floats, μ: Floats, σ: Floats) -> Floats:
    return np.asarray(0.5 * np.log(2 * np.pi) + np.log(σ) + 0.5 * ((y - μ) / σ) ** 2)


def _crps(y: Floats, μ: Floats, σ: Floats) -> Floats:
    z = (y - μ) / σ
    φ = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return np.asarray(σ * (z * (2 * ndtr(z) - 1) + 2 * φ - 1 / math.sqrt(math.pi)))


def _covered(y: Floats, μ: Floats, σ: Floats, *, level: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(y - μ) <= _quantile(level) * σ)


def _interval_score(y: Floats, μ: Floats, σ: Floats, *, level: float) -> Floats:
    half = _quantile(level) * σ
    return 2 * half + 2 / (1 - level) * np.maximum(np.abs(y - μ) - half, 0.0)


def _quantile(level: float) -> float:
    """Half-width of the central interval of N(0, 1) that holds `level`."""
    if not 0 < level < 1:
        raise DataError(f"level is {level}; it must be between 0 and 1, such as 0.95")
    return float(ndtri((1 + level) / 2))


def _table(groups: Sequence[Readings], level: float) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
    """Each metric over the groups."""
    used = [group.observed() for group in groups]

    def over(values: Sequence[Floats]) -> Floats:
        return np.array([v.mean() if v.size else np.nan for v in values])

    return {
        "count": np.array([u.y.size for u in used]),
        "missing": np.array([g.y.size - u.y.size for g, u in zip(groups, used, strict=True)]),
        "rmse": np.sqrt(over([(u.y - u.mean) ** 2 for u in used])),
        "nlpd": over([_nlpd(*u) for u in used]),
        "crps": over([_crps(*u) for u in used]),
        "coverage": over([_covered(*u, level=level).astype(np.float64) for u in used]),
        "interval_score": over([_interval_score(*u, level=level) for u in used]),
    }


def _described(scores: xr.Dataset, units: str | None, level: float) -> xr.Dataset:
    """The scores with names and units."""
    of_truth = {} if units is None else {"units": units}
    number = {"units": "1"}
    attrs: dict[str, dict[str, str]] = {
        "count": {"long_name": "readings used", **number},
        "missing": {"long_name": "readings left out", **number},
        "rmse": {"long_name": "root mean square error", **of_truth},
        "nlpd": {"long_name": "mean negative log predictive density (nats)", **number},
        "crps": {"long_name": "continuous ranked probability score", **of_truth},
        "coverage": {"long_name": f"share inside the central {100 * level:g} % interval", **number},
        "interval_score": {"long_name": f"score of the central {100 * level:g} % interval", **of_truth},
    }
    for name, entries in attrs.items():
        scores[name].attrs = entries
    return scores.assign_attrs(level=level)


def _gaussian(truth: Values, mean: Values, std: Values) -> tuple[Floats, Floats, Floats]:
    y, μ, σ = _columns({"truth": truth, "mean": mean, "std": std})
    _check_at_least_zero("std", σ, zero_is_fine=False)
    return y, μ, σ


def _columns(named: Mapping[str, Values]) -> list[Floats]:
    """Checked arrays (n,) of the observed readings."""
    columns = _matched(named)
    _check_finite(dict(zip(named, columns, strict=True)))
    there = ~np.isnan(columns[0])
    return [column[there] for column in columns]


def _matched(named: Mapping[str, Values]) -> list[Floats]:
    """Raveled arrays of equal shape; labelled ones are brought to the order of dims and labels of the first."""
    labelled = {name: values for name, values in named.items() if isinstance(values, xr.DataArray)}
    if labelled and len(labelled) < len(named):
        bare = [name for name in named if name not in labelled]
        raise DataError(f"{list(labelled)} are DataArrays, {bare} not; give all of them with labels, or none")
    arrays = _aligned(labelled) if labelled else {name: unmasked(values) for name, values in named.items()}
    first, wanted = next((name, array.shape) for name, array in arrays.items())
    for name, array in arrays.items():
        if array.shape != wanted:
            raise DataError(f"{name} has shape {array.shape}, {first} has {wanted}; they must be equal")
        if array.dtype.kind not in "fiub":
            raise DataError(f"{name} has dtype {array.dtype}; numbers are wanted")
    return [array.astype(np.float64).ravel() for array in arrays.values()]


def _aligned(labelled: Mapping[str, xr.DataArray]) -> dict[str, NDArray[Any]]:
    first, truth = next(iter(labelled.items()))
    aligned = {}
    for name, array in labelled.items():
        if set(array.dims) != set(truth.dims):
            raise DataError(f"{name} has the dims {array.dims}, {first} has {truth.dims}; any order, but the same ones")
        for dim in truth.dims:
            ours, wanted = array.indexes.get(dim), truth.indexes.get(dim)
            if ours is None or wanted is None or ours.equals(wanted):
                continue
            if len(ours) != len(wanted) or not ours.is_unique or not wanted.isin(ours).all():
                raise DataError(
                    f"{name} and {first} have different labels along {dim!r} ({ours[:3].tolist()}... and "
                    f"{wanted[:3].tolist()}...); predict where {first} is"
                )
            array = array.sel({dim: wanted})
        aligned[name] = array.transpose(*truth.dims).values
    return aligned


def _check_finite(named: Mapping[str, Floats]) -> None:
    """Something is observed, and where it is, every value is finite."""
    there = ~np.isnan(named["truth"])
    if not there.any():
        raise DataError(f"truth has {there.size} entries and none is a number; there is nothing to score")
    for name, values in named.items():
        bad = int((~np.isfinite(values[there])).sum())
        if bad:
            raise DataError(f"{name} has {bad} entries that are NaN or infinite where truth is observed; repair them")


def _check_at_least_zero(name: str, std: Floats, *, zero_is_fine: bool) -> None:
    low = std.min()
    if low < 0 or (low == 0 and not zero_is_fine):
        raise DataError(
            f"{name} has entries {'<' if zero_is_fine else '<='} 0 (smallest {low:g}); it is a standard deviation"
        )
