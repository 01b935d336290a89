"""What a user should be warned of, in words."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
#: probability below which chance no longer explains what was found
UNLIKELY = 0.01
#: condition number above which less than four digits of the answers are sure
SINGULAR = 1e12
#: share of the readings that the fit may spend on parameters before it says so
SPENT = 0.9


def findings(data: xr.Dataset) -> list[str]:
    """All warnings about a health dataset, most important first."""
    return [*_spread(data), *_tasks(data), *_single_readings(data), *_algebra(data)]


def _spread(data: xr.Dataset) -> list[str]:
    """Intervals that don't hold what they promise, or more than that."""
    found = []
    unpredicted, n = int(data["unpredicted"]), int(data["count"])
    if unpredicted:
        found.append(
            f"{unpredicted} of {data.sizes['reading']} readings can't be predicted from the others: no score counts them"
        )
    if n == 0:
        return found
    size, square = float(data["effective_readings"]), float(data["mean_square"])
    worth = f"{n} left-out readings, which count as {size:.3g} independent ones"
    p = min(float(data["coverage_p"].sel(level=0.95)), float(data["too_large_p"]))
    if p < 0.5 * UNLIKELY:  # the smaller of two
        inside = 100 * float(data["coverage"].sel(level=0.95))
        found.append(
            f"over-confident: 95 % intervals hold {inside:.3g} % of {worth} (p = {2 * p:.1g}); standard deviations should "
            f"be about {math.sqrt(square):.2g} times as large"
        )
    elif float(data["too_small_p"]) < UNLIKELY:
        found.append(
            f"intervals are wider than need be: left-out residuals of {worth} are {math.sqrt(square):.2g} times as large "
            f"as promised (p = {float(data['too_small_p']):.1g})"
        )
    elif float(data["pit_p"]) < UNLIKELY:
        found.append(
            f"left-out residuals aren't normal: their probability values aren't uniform (p = {float(data['pit_p']):.1g}, "
            f"mean standardised residual {float(data['mean_z']):+.2g}); quantiles are less sure than standard deviations"
        )
    return found


def _tasks(data: xr.Dataset) -> list[str]:
    """Tasks whose intervals are too narrow, where there are several."""
    if data.sizes["task"] < 2 or "task_too_large_p" not in data:
        return []
    p = data["task_too_large_p"].to_numpy()
    bad = np.flatnonzero(p < UNLIKELY / len(p))
    if not len(bad):
        return []
    bad = bad[np.argsort(p[bad], kind="stable")]
    size = np.sqrt(data["task_mean_square"].to_numpy())
    named = ", ".join(f"{data['task'].to_numpy()[t]!s} ({size[t]:.2g})" for t in bad[:5])
    return [
        f"over-confident for the task{'s' * (len(bad) > 1)} {named}{' ...' if len(bad) > 5 else ''} (size of left-out "
        f"residuals as a multiple of what was promised)"
    ]


def _single_readings(data: xr.Dataset) -> list[str]:
    """Readings that the others contradict, or that move everything."""
    n = int(data["count"])
    if n < 2:
        return []
    z = np.nan_to_num(data["z"].to_numpy())
    limit = float(-ndtri(0.5 * UNLIKELY / n))
    found = []
    far = np.flatnonzero(np.abs(z) > limit)
    if len(far):
        far = far[np.argsort(-np.abs(z[far]), kind="stable")]
        named = "; ".join(f"{name_of(data, int(r))}: {z[r]:+.1f}" for r in far[:3]) + " ..." * (len(far) > 3)
        found.append(
            f"{_number(len(far), 'lies', 'lie')} far from what the others say, in standard deviations: {named}"
        )
    if "influence" in data:
        moved = np.nan_to_num(data["influence"].to_numpy())
        strong = np.flatnonzero(moved > limit)
        if len(strong):
            strong = strong[np.argsort(-moved[strong], kind="stable")]
            named = "; ".join(f"{name_of(data, int(r))}: {moved[r]:.1f}" for r in strong[:3]) + " ..." * (
                len(strong) > 3
            )
            found.append(
                f"{_number(len(strong), 'is', 'are')} too influential: leaving one out moves predictions by more than "
                f"{limit:.1f} standard deviations: {named}"
            )
    return found


def _algebra(data: xr.Dataset) -> list[str]:
    found = []
    if data.attrs["bounds"]:
        found.append(f"at their bounds: {', '.join(data.attrs['bounds'].splitlines())}; the best values may lie beyond")
    if "condition" in data and float(data["condition"]) > SINGULAR:
        digits = math.log10(float(data["condition"]))
        found.append(f"the covariance is nearly singular: about {digits:.0f} of 16 digits are lost to rounding")
    if "effective_parameters" in data and int(data["count"]):
        spent, n = float(data["effective_parameters"]), data.sizes["reading"]
        if spent > SPENT * n:
            found.append(
                f"the fit spends {spent:.3g} effective parameters on {n} readings: it interpolates; between them all rests "
                f"on the kernel"
            )
    return found


def _number(n: int, one: str, many: str) -> str:
    return f"one reading {one}" if n == 1 else f"{n} readings {many}"


def name_of(data: xr.Dataset, reading: int) -> str:
    """A reading in words: its number, task, fidelity and place."""
    parts = []
    for kind in ("task", "fidelity"):
        if data.attrs[f"{kind}_name"]:
            label = data[kind].to_numpy()[int(data[f"reading_{kind}"][reading])]
            parts.append(f"{data.attrs[f'{kind}_name']} {label}")
    if "place" in data:
        values = data["place"].to_numpy()[reading]
        names, units = data["input"].to_numpy(), data["input_units"].to_numpy()
        parts += [
            f"{k} = {v if isinstance(v, str) else f'{v:.4g}'}{' ' + u if u else ''}"
            for k, v, u in list(zip(names, values, units, strict=True))[:4]
        ]
    return f"reading {reading}{' (' + ', '.join(parts) + ')' if parts else ''}"
