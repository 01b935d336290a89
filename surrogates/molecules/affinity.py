"""Which property helps which, and how far that can be known from these labels."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.training.conflicts import AIM, label_overlap, overlap_warnings

from .ensemble import FittedEnsemble
from .gaussian import FittedProcesses
from .learner import molecule_groups
from .parts import Parts

Floats = NDArray[np.float64]


def affinity(parts: Parts) -> xr.Dataset:
    """Relations of properties i (dim ``property``) and j (dim ``other``).

    Returns
    -------
    xr.Dataset with

    * ``both``: number of molecules that have both labels; ``overlap``: their share of those of the rarer property
    * ``label_correlation``: of the labels of these molecules, bounds left out, NaN for fewer than three; replicates count as
      their mean
    * ``change``, ``deviation`` (property): relative change of the held-out error by sharing, negative where it helps, with
      its standard error; ``weight`` (property): of the shared model in predictions
    * ``process_correlation``: of the properties as functions of the molecule, as the Gaussian processes learnt it
    * ``gradient_cosine``: of the networks' gradients by the shared parameters, on held-out molecules
    * ``policy``: w_ij of AIM, how much of its conflict with j is taken off property i, mean over the members
    * attrs ``warnings``: of each pair whose overlap is too small for its gradients to say much, see `overlap_warnings`
    """
    names = list(parts.labels.properties)
    known, exact = _by_molecule(parts)
    m = len(names)
    both = known.T.astype(np.int64) @ known.astype(np.int64)
    mask = torch.from_numpy(known)
    pairs = {
        "both": (both.astype(np.float64), "molecules with both labels"),
        "overlap": (label_overlap(mask).numpy(), "their share of the molecules of the property with fewer"),
        "label_correlation": (_label_correlation(exact), "correlation of labels"),
    }
    if isinstance(parts.shared, FittedProcesses):
        found = parts.shared.process.task_correlation().sel(property=names, property_2=names)
        pairs["process_correlation"] = (found.to_numpy(), "correlation of properties as functions of the molecule")
    if isinstance(parts.shared, FittedEnsemble):
        cosines = _mean_cosines([member.cosines for member in parts.shared.members])
        pairs["gradient_cosine"] = (_widened(cosines, m), "cosine of gradients by the shared parameters")
        method = parts.shared.ensemble.conflicts
        if isinstance(method, AIM):
            maps = [method.map(dict(member.state)).numpy() for member in parts.shared.members]
            policy = np.mean(maps, axis=0)
            pairs["policy"] = (_widened(policy, m), "share of its conflict with the other that is taken off")
    data = {name: (("property", "other"), values, {"long_name": text}) for name, (values, text) in pairs.items()}
    answer = xr.Dataset(data, coords={"property": names, "other": names})
    if parts.comparison is not None:
        answer["change"] = (
            "property",
            parts.comparison.change,
            {"long_name": "relative change of the error by sharing"},
        )
        answer["deviation"] = ("property", parts.comparison.deviation, {"long_name": "its standard error"})
    answer["weight"] = ("property", parts.weights, {"long_name": "weight of the shared model in predictions"})
    answer.attrs["warnings"] = list(overlap_warnings(mask, tuple(names)))
    return answer


def _by_molecule(parts: Parts) -> tuple[NDArray[np.bool_], Floats]:
    """Which molecules have which labels (g, m), and the mean of those that aren't bounds (g, m), NaN without one."""
    groups, m = molecule_groups(parts.keys), parts.labels.values.shape[1]
    there = np.isfinite(parts.labels.values)
    exact = there & (parts.labels.signs == 0)
    known, count, total = (np.zeros((int(groups.max()) + 1, m)) for _ in range(3))
    np.add.at(known, groups, there)
    np.add.at(count, groups, exact)
    np.add.at(total, groups, np.where(exact, parts.labels.values, 0.0))
    return known > 0, np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_cosines(members: list[Floats]) -> Floats:
    """Mean over the members of whose fold both properties have labels; NaN if there is none."""
    cosines = np.stack(members)
    present = np.diagonal(cosines, axis1=1, axis2=2) > 0  # a property without a label has gradient 0
    pairs = present[:, :, None] & present[:, None, :]
    counts = pairs.sum(0)
    return np.where(counts > 0, np.where(pairs, cosines, 0.0).sum(0) / np.maximum(counts, 1), np.nan)


def _widened(pairs: Floats, m: int) -> Floats:
    """(k, k) -> (m, m), NaN for properties that were added after the fit."""
    found = np.full((m, m), np.nan)
    found[: len(pairs), : len(pairs)] = pairs
    return found


def _label_correlation(values: Floats) -> Floats:
    """Pearson correlation over the molecules that have both labels."""
    m = values.shape[1]
    found = np.full((m, m), np.nan)
    for i in range(m):
        for j in range(m):
            rows = np.isfinite(values[:, i]) & np.isfinite(values[:, j])
            a, b = values[rows, i], values[rows, j]
            if rows.sum() > 2 and np.ptp(a) > 0 and np.ptp(b) > 0:
                found[i, j] = np.corrcoef(a, b)[0, 1]
    return found
