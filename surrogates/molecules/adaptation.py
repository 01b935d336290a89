"""One more property from a few labels, on what others have taught the networks."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from surrogates.counts import whole
from surrogates.errors import DataError, FitWarning
from surrogates.networks import LowRankAdapter
from surrogates.posterior import Moments, decompose
from surrogates.random import streams

from .ensemble import FittedEnsemble
from .features import Features
from .learner import Answer, Training, folds, molecule_groups
from .parts import Calibration, Parts, TaskScaling
from .property_network import Member
from .report import PropertyReport
from .table import Columns, Labels, block_diagonal, oddities, refuse, require_labels, stacked

if TYPE_CHECKING:
    from .fitted import FittedMolecularNet

Floats = NDArray[np.float64]
#: of the adapter, and of its training by Adam with decay
RANK, STEPS, RATE, DECAY = 2, 150, 3e-3, 1e-1
FOLDS = 5
#: of the head's weights, for features of spread 1 and labels of spread 1
PENALTIES = 10.0 ** np.arange(-2.0, 4.25, 0.5)


@dataclass(frozen=True, eq=False)
class AddedHead:
    """A head on a frozen trunk: μ = φ(z + A B z)·w, φ(z) = ((z - centre)/scale, 1).

    A : (h, r), B : (r, h); A = 0 where no adapter was worth its while
    """

    centre: Floats
    scale: Floats
    A: Floats
    B: Floats
    weights: Floats

    def columns(self, z: Floats) -> Floats:
        """φ (n, h + 1) of representations z (n, h)."""
        adapted = z + (z @ self.B.T) @ self.A.T
        return np.column_stack([(adapted - self.centre) / self.scale, np.ones(len(z))])

    def __call__(self, z: Floats) -> Floats:
        """μ (n,)."""
        return np.asarray(self.columns(z) @ self.weights)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """For a file."""
        return {"centre": self.centre, "scale": self.scale, "A": self.A, "B": self.B, "weights": self.weights}

    @staticmethod
    def of(arrays: Mapping[str, NDArray[Any]], prefix: str) -> AddedHead:
        """The inverse of `arrays`."""
        return AddedHead(*(arrays[prefix + name] for name in ("centre", "scale", "A", "B", "weights")))


@dataclass(frozen=True, eq=False)
class FewShot:
    """A property whose heads stand on the members of an ensemble.  noise: of its labels, scaled, from held-out residuals."""

    names: tuple[str, ...]
    ensemble: FittedEnsemble
    heads: tuple[AddedHead, ...]
    noise: float
    held_out: Answer

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    def predict(self, features: Features) -> Answer:
        """Mean over the members; their disagreement is its standard deviation."""
        means = [head(_represent(m, features)) for m, head in zip(self.ensemble.members, self.heads, strict=True)]
        parts = [Moments(mean[:, None], np.full((len(mean), 1), self.noise**2)) for mean in means]
        mixed = decompose(parts, np.full(len(parts), 1 / len(parts)))
        return Answer(mixed.mean, np.sqrt(mixed.between), np.sqrt(mixed.within))


def fit_heads(ensemble: FittedEnsemble, training: Training, *, seed: int) -> FewShot:
    """Heads of one more property on all members, with or without adapters, whichever errs less on held-out labels.

    The head alone is a ridge regression in closed form, its penalty by cross-validation over folds of molecules.
    (Generalised cross-validation fails here: with fewer labels than features it often takes the interpolation.) The adapter
    (Hu et al. 2021, arXiv:2106.09685, rank 2, of the last shared layer) is moved together with a head by Adam; then the
    head is fitted anew, with the penalty of the head alone, since the moved features have seen all labels.
    """
    y = training.z[:, 0]
    fold = folds(training.groups, FOLDS, seed)
    z = [_represent(member, training.features) for member in ensemble.members]
    candidates = {}
    for adapted in (False, True):
        means = np.empty((len(z), len(y)))
        for k in range(fold.max() + 1):
            inside = fold != k
            for i, rows in enumerate(z):
                head = _head(rows[inside], y[inside], training.groups[inside], adapted=adapted, seed=seed + i)
                means[i, ~inside] = head(rows[~inside])
        candidates[adapted] = means
    errors = {adapted: np.abs(means.mean(0) - y).mean() for adapted, means in candidates.items()}
    adapted = bool(errors[True] < errors[False])
    heads = tuple(_head(rows, y, training.groups, adapted=adapted, seed=seed + i) for i, rows in enumerate(z))
    means = candidates[adapted]
    noise = float(np.sqrt(np.mean((means.mean(0) - y) ** 2)))
    noise = max(noise, 1e-6)
    held_out = Answer(means.mean(0)[:, None], means.std(0)[:, None], np.full((len(y), 1), noise))
    return FewShot(training.names, ensemble, heads, noise, held_out)


def with_task(
    fitted: FittedMolecularNet, data: xr.Dataset | pd.DataFrame, from_few: int | None, seed: int
) -> FittedMolecularNet:
    """See `FittedMolecularNet.add_task`."""
    streams(seed, 0)  # which checks the seed
    began = time.perf_counter()
    parts = fitted.parts
    columns, name = _new_property(fitted, data)
    table = columns.dataset(data)
    entries, labels = columns.entries(table), columns.labels(table)
    refuse(entries, "correct or leave out these rows")
    rows = np.flatnonzero(np.isfinite(labels.values[:, 0]))
    if from_few is not None:
        whole(from_few, "from_few", least=2)
        rows = np.sort(np.random.default_rng([seed, 2]).permutation(rows)[:from_few])
    labels = labels.take(rows)
    keys = [key for row in rows.tolist() if (key := entries.keys[row]) is not None]
    require_labels(keys, labels)
    embedding = None if entries.embedding is None else entries.embedding[rows]
    if not isinstance(parts.shared, FittedEnsemble):
        return fitted.model.refit(fitted, keys, embedding, labels, seed)
    tasks = TaskScaling.fit(labels)
    features = parts.features(keys, embedding)
    training = Training((name,), features, tasks.scaled(labels.values), labels.signs, molecule_groups(keys))
    learnt = fit_heads(parts.shared, training, seed=seed)
    wider = _widened(parts, learnt, tasks, labels, keys, embedding)
    entry = PropertyReport(
        labels.units[0], len(rows), 0, 0.0, float(wider.errors[-1]), None, None, float(wider.coverage[-1])
    )
    notes = oddities(keys, labels)
    for note in notes:
        warnings.warn(note, FitWarning, stacklevel=3)
    report = replace(
        fitted.report,
        warnings=(*fitted.report.warnings, *notes),
        properties={**fitted.report.properties, name: entry},
        seconds=fitted.report.seconds + time.perf_counter() - began,
    )
    return fitted.with_parts(wider, report)


def _new_property(fitted: FittedMolecularNet, data: xr.Dataset | pd.DataFrame) -> tuple[Columns, str]:
    """The name of the one property that the fit doesn't know, and the columns of the table for it."""
    open_columns = replace(fitted.columns, properties=None, bounds={})
    names = open_columns.labels(open_columns.dataset(data)).properties
    new = [name for name in names if name not in fitted.properties]
    if len(new) != 1:
        raise DataError(
            f"add_task takes one new property, but the table has {', '.join(map(repr, new)) or 'none'}; the fit knows "
            f"{', '.join(map(repr, fitted.properties))}"
        )
    return replace(open_columns, properties=(new[0],)), new[0]


def _widened(
    parts: Parts,
    learnt: FewShot,
    tasks: TaskScaling,
    labels: Labels,
    keys: list[tuple[str, ...]],
    embedding: Floats | None,
) -> Parts:
    """The parts with one more property, learnt on its own molecules."""
    own = learnt.held_out if tasks.varies[0] else Answer(*(np.zeros((len(keys), 1)) for _ in range(3)))
    held_out = Answer(*(block_diagonal(old, new, np.nan) for old, new in zip(parts.held_out, own, strict=True)))
    wide = parts.labels.joined(labels)
    scale = TaskScaling(np.append(parts.tasks.mean, tasks.mean), np.append(parts.tasks.std, tasks.std))
    calibration = Calibration.fit(scale.scaled(wide.values), wide.signs, held_out)
    factors = np.append(parts.calibration.variance.factors, calibration.variance.factors[-1])  # the old ones stay
    calibration = replace(calibration, variance=replace(calibration.variance, factors=factors))
    comparison = parts.comparison
    if comparison is not None:
        comparison = comparison._replace(
            change=np.append(comparison.change, np.nan),
            deviation=np.append(comparison.deviation, np.nan),
            expected=np.append(comparison.expected, np.nan),
            weights=np.append(comparison.weights, 0.0),
        )
    return replace(
        parts,
        tasks=scale,
        keys=[*parts.keys, *keys],
        embedding=stacked(parts.embedding, embedding),
        labels=wide,
        singles={**parts.singles, len(parts.labels.properties): learnt},
        weights=np.append(parts.weights, 0.0),
        comparison=comparison,
        held_out=held_out,
        calibration=calibration,
    )


def _represent(member: Member, features: Features) -> Floats:
    z = member.represent(features.counts, features.descriptors)
    return np.asarray(z.double().numpy())


def _head(z: Floats, y: Floats, groups: NDArray[np.int64], *, adapted: bool, seed: int) -> AddedHead:
    """A head for representations z (n, h) and labels y (n,) of molecules (n,)."""
    h = z.shape[1]
    centre, scale = z.mean(0), np.maximum(z.std(0), 1e-6)
    none = AddedHead(centre, scale, np.zeros((h, RANK)), np.zeros((RANK, h)), np.zeros(h + 1))
    columns = none.columns(z)
    λ = best_penalty(columns, y, folds(groups, FOLDS, seed))
    plain = replace(none, weights=_ridge(columns, y, λ))
    if not adapted:
        return plain
    (generator,) = streams(seed, 1)
    adapter = LowRankAdapter(h, h, tasks=1, rank=RANK, generator=generator)
    inputs, target = torch.from_numpy(z), torch.from_numpy(y)
    w = torch.from_numpy(plain.weights.copy()).requires_grad_()
    task = torch.zeros(len(z), dtype=torch.long)
    adam = torch.optim.AdamW([*adapter.parameters(), w], lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        columns = (inputs + adapter(inputs, task) - torch.from_numpy(centre)) / torch.from_numpy(scale)
        loss = ((columns @ w[:-1] + w[-1] - target) ** 2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    moved = replace(none, A=adapter.A[0].detach().numpy(), B=adapter.B[0].detach().numpy())
    return replace(moved, weights=_ridge(moved.columns(z), y, λ))


def best_penalty(columns: Floats, y: Floats, fold: NDArray[np.int64]) -> float:
    """λ of `PENALTIES` with the least squared error of folds (n,) that the ridge regression doesn't know."""
    errors = np.zeros(len(PENALTIES))
    if fold.max() == 0:
        return float(PENALTIES[-1])  # labels of one molecule tell nothing but their level
    for k in range(fold.max() + 1):
        inside = fold != k
        U, s, Vt = np.linalg.svd(columns[inside], full_matrices=False)
        shrunk = s[:, None] * (U.T @ y[inside])[:, None] / (s[:, None] ** 2 + PENALTIES)
        errors += ((columns[~inside] @ Vt.T @ shrunk - y[~inside, None]) ** 2).sum(0)
    return float(PENALTIES[errors.argmin()])


def _ridge(columns: Floats, y: Floats, λ: float) -> Floats:
    U, s, Vt = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(Vt.T @ (s * (U.T @ y) / (s**2 + λ)))
