"""From left-out predictions, and what the algebra says of each reading, to a `HealthReport`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from surrogates import metrics
from surrogates.schema import Schema, Vocabulary

from .findings import findings
from .linear import Smoothing
from .report import LEVELS, HealthReport
from .tests_of_fit import cramer_von_mises, not_uniform, too_few_inside, too_large, too_small

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class LeftOut(NamedTuple):
    """Left-out predictions of N readings, with codes of their tasks and fidelities; `scored` have a proper spread."""

    y: Floats
    mean: Floats
    std: Floats
    task: Integers
    fidelity: Integers
    scored: Flags

    @property
    def z(self) -> Floats:
        """(N,) left-out residuals over their standard deviations; NaN where there is none."""
        return np.asarray((self.y - self.mean) / np.where(self.scored, self.std, np.nan))


def review(
    loo: xr.Dataset,
    schema: Schema,
    vocabulary: Vocabulary,
    *,
    smoothing: Smoothing | None = None,
    bounds: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> HealthReport:
    """The health of a fit.

    Parameters
    ----------
    loo : `observed`, `mean`, `std` (noise included) over ``reading``, as ``fitted.loo()`` gives them: NaN where a reading
        can't be predicted from the others, a std of zero where it repeats an exact one; labels and inputs as coordinates
    schema, vocabulary : names and labels, in whose order tasks and fidelities stand in the report
    smoothing : leverages and influences of the readings; None where the model isn't a linear smoother
    bounds : hyper-parameters that ended at a bound, in words
    notes : what else the model has to say, for instance of outlying tasks; put behind the warnings found here

    Returns
    -------
    HealthReport

    Notes
    -----
    Scores are over readings with a proper spread. Tests take the dependence of left-out residuals into account, see
    `surrogates.health.tests_of_fit`; without `smoothing` they take residuals as independent.
    """
    labels = (vocabulary.tasks, vocabulary.fidelities)
    codes = _codes(loo, schema.task, labels[0]), _codes(loo, schema.fidelity, labels[1])
    y, mean, std = (loo[name].to_numpy().astype(np.float64) for name in ("observed", "mean", "std"))
    # a repeat of an exact reading has no spread, but for the rounding of an average over draws
    known = np.isfinite(mean)
    proper = std > 1e-12 * max(float(np.ptp(y)), std[known].max(initial=0.0))
    left_out = LeftOut(y, mean, std, *codes, known & proper)
    shape = (len(labels[0]), len(labels[1]))
    data: dict[str, Any] = {**_readings(left_out, smoothing), **_scores(left_out, shape, smoothing)}
    data |= _tests(left_out, shape[0], smoothing)
    coords: dict[str, Any] = {
        "level": list(LEVELS),
        "task": _printable(labels[0]),
        "fidelity": _printable(labels[1]),
        "reading_task": ("reading", codes[0]),
        "reading_fidelity": ("reading", codes[1]),
    }
    inputs = [name for name in schema.inputs if name in loo.coords]
    if inputs:
        coords["input"] = inputs
        data["place"] = (("reading", "input"), _places([loo[name].to_numpy() for name in inputs]))
        coords["input_units"] = ("input", [str(loo[name].attrs.get("units", "")) for name in inputs])
    units = vocabulary.units[schema.target]
    attrs = {
        "target": schema.target,
        "units": units or "",
        "task_name": schema.task or "",
        "fidelity_name": schema.fidelity or "",
        "bounds": "\n".join(bounds),
    }
    dataset = _with_units(xr.Dataset(data, coords, attrs), units)
    return HealthReport(dataset.assign_attrs(warnings="\n".join([*findings(dataset), *notes])))


def _codes(loo: xr.Dataset, name: str | None, labels: Sequence[Any]) -> Integers:
    """(N,) positions of the readings' labels."""
    if name is None:
        return np.zeros(loo.sizes["reading"], dtype=np.int64)
    position = {label: k for k, label in enumerate(labels)}
    return np.array([position[label] for label in loo[name].to_numpy().tolist()], dtype=np.int64)


def _printable(labels: Sequence[Any]) -> NDArray[Any]:
    return np.array(["all" if label is None else str(label) for label in labels])


def _readings(left_out: LeftOut, smoothing: Smoothing | None) -> dict[str, Any]:
    """What is said of every reading."""
    z = left_out.z
    columns = {
        "observed": left_out.y,
        "mean": left_out.mean,
        "std": left_out.std,
        "residual": left_out.y - left_out.mean,
    }
    columns |= {"z": z, "pit": ndtr(z)}
    if smoothing is not None:
        columns |= {name: getattr(smoothing, name) for name in ("leverage", "influence", "shift", "largest")}
    return {name: ("reading", np.asarray(column)) for name, column in columns.items()}


def _scores(left_out: LeftOut, shape: tuple[int, int], smoothing: Smoothing | None) -> dict[str, Any]:
    """Scores of all readings, of each task, of each fidelity and of both: name, prefix by prefix."""
    T, F = shape
    groups: list[tuple[str, tuple[str, ...], tuple[int, ...], Integers]] = [
        ("", (), (), np.zeros(len(left_out.y), dtype=np.int64)),
        ("task_", ("task",), (T,), left_out.task),
        ("fidelity_", ("fidelity",), (F,), left_out.fidelity),
        ("cell_", ("task", "fidelity"), (T, F), left_out.task * F + left_out.fidelity),
    ]
    found: dict[str, Any] = {}
    for prefix, dims, sizes, codes in groups:
        size = math.prod(sizes)
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(size + 1))
        members = [order[a:b] for a, b in itertools.pairwise(edges)]
        table = [_score(left_out, rows[left_out.scored[rows]]) for rows in members]
        for name in table[0]:
            more = ("level",) if name == "coverage" else ()
            values = np.array([entry[name] for entry in table]).reshape((*sizes, *([len(LEVELS)] if more else [])))
            found[prefix + name] = ((*dims, *more), values)
        if smoothing is not None:
            sums = np.array([smoothing.leverage[rows].sum() for rows in members])
            found[prefix + "effective_parameters"] = (dims, sums.reshape(sizes))
    return found


def _score(left_out: LeftOut, rows: Integers) -> dict[str, Any]:
    y, μ, σ, z = left_out.y[rows], left_out.mean[rows], left_out.std[rows], left_out.z[rows]
    if not len(rows):
        nan = dict.fromkeys(("rmse", "nlpd", "crps", "mean_z", "mean_square"), np.nan)
        return {"count": 0, **nan, "coverage": np.full(len(LEVELS), np.nan)}
    return {
        "count": len(rows),
        "rmse": metrics.rmse(y, μ),
        "nlpd": metrics.nlpd(y, μ, σ),
        "crps": metrics.crps(y, μ, σ),
        "mean_z": float(z.mean()),
        "mean_square": float((z * z).mean()),
        "coverage": np.array([metrics.coverage(y, μ, σ, level=level) for level in LEVELS]),
    }


def _tests(left_out: LeftOut, tasks: int, smoothing: Smoothing | None) -> dict[str, Any]:
    """Probabilities of what was found, if the model is right."""
    z, scored = left_out.z, left_out.scored
    n = int(scored.sum())
    counts = np.bincount(left_out.task[scored], minlength=tasks).astype(np.float64)
    size, sizes, spread = float(n), counts, 1 / 6
    if smoothing is not None and n:
        squares, own, covered = smoothing.dependence
        size, spread = n**2 / float(squares[scored].sum()), float(covered[scored].sum()) / n
        sums = np.bincount(left_out.task[scored], own[scored], minlength=tasks)
        sizes = np.divide(counts**2, sums, out=np.zeros(tasks), where=counts > 0)
    found: dict[str, Any] = {"effective_readings": size, "task_effective_readings": ("task", sizes)}
    found["unpredicted"] = int((~np.isfinite(left_out.mean)).sum())
    if n:
        square = float((z[scored] ** 2).mean())
        inside = [float(np.mean(np.abs(z[scored]) <= ndtri(0.5 * (1 + level)))) for level in LEVELS]
        found["coverage_p"] = ("level", [too_few_inside(s, p, size) for s, p in zip(inside, LEVELS, strict=True)])
        found |= {"too_large_p": too_large(square, size), "too_small_p": too_small(square, size)}
        statistic = cramer_von_mises(ndtr(z[scored]))
        found |= {"pit_statistic": statistic, "pit_p": not_uniform(statistic, spread)}
        mean_squares = [
            float((z[scored & (left_out.task == t)] ** 2).mean()) if counts[t] else 1.0 for t in range(tasks)
        ]
        found["task_too_large_p"] = (
            "task",
            [too_large(s, m) if m > 0 else 1.0 for s, m in zip(mean_squares, sizes, strict=True)],
        )
    if smoothing is not None:
        found["condition"] = smoothing.condition
    return found


def _places(columns: list[NDArray[Any]]) -> NDArray[Any]:
    """Columns side by side; all as text, where one of them holds labels."""
    if all(column.dtype.kind in "fiub" for column in columns):
        return np.stack(columns, axis=1)
    numbers = [column.dtype.kind in "fiub" for column in columns]
    told = [[f"{v:.4g}" if n else str(v) for v in c] for c, n in zip(columns, numbers, strict=True)]
    return np.array(told).T


def _with_units(dataset: xr.Dataset, units: str | None) -> xr.Dataset:
    """Names and units of the variables."""
    words = {
        "rmse": "root mean square of left-out residuals",
        "nlpd": "mean negative log predictive density (nats)",
        "crps": "continuous ranked probability score",
        "mean_z": "mean standardised left-out residual",
        "mean_square": "mean square of standardised left-out residuals",
        "coverage": "share inside the central intervals",
        "count": "readings scored",
        "effective_parameters": "effective number of parameters",
        "z": "standardised left-out residual",
        "pit": "probability integral transform",
        "leverage": "derivative of the fitted value by its reading",
        "influence": "largest change of a prediction, in standard deviations, by leaving the reading out",
        "shift": "root mean square change of the fitted values by leaving the reading out",
        "largest": "largest change of a fitted value by leaving the reading out",
        "condition": "condition number of the covariance matrix (1-norm)",
    }
    in_target_units = {"observed", "mean", "std", "residual", "rmse", "crps", "shift", "largest"}
    for name, variable in dataset.data_vars.items():
        plain = str(name).removeprefix("task_").removeprefix("fidelity_").removeprefix("cell_")
        variable.attrs = {"long_name": words[plain]} if plain in words else {}
        if plain in in_target_units:
            variable.attrs |= {"units": units} if units else {}
        elif name != "place":
            variable.attrs["units"] = "1"
    return dataset
