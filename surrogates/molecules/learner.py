"""What a learner of many properties is, in scaled units: labels of mean 0 and spread 1 for each property."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .features import Features

Floats = NDArray[np.float64]


class Answer(NamedTuple):
    """Predictions for n molecules and m properties, scaled.

    mean : (n, m)
    std : (n, m) of the mean: what more labels would tell
    noise : (n, m) standard deviation of a label around the true mean
    """

    mean: Floats
    std: Floats
    noise: Floats

    @property
    def total(self) -> Floats:
        """(n, m) standard deviation of a label to come."""
        return np.hypot(self.std, self.noise)


class Training(NamedTuple):
    """Scaled labels of n molecules.

    z : (n, m), NaN where nothing is known
    signs : (n, m) of -1, 0, +1, as `Labels.signs`
    groups : (n,) rows of one molecule have one number; they are held out together
    """

    names: tuple[str, ...]
    features: Features
    z: Floats
    signs: NDArray[np.int8]
    groups: NDArray[np.int64]

    def only(self, k: int) -> Training:
        """One property, and the molecules that have it."""
        rows = np.flatnonzero(np.isfinite(self.z[:, k]))
        return Training(
            (self.names[k],),
            self.features.take(rows),
            self.z[rows, k : k + 1],
            self.signs[rows, k : k + 1],
            self.groups[rows],
        )


def molecule_groups(keys: Sequence[tuple[str, ...]]) -> NDArray[np.int64]:
    """(n,) number of each row's molecule, in the order in which they are met."""
    number = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], dtype=np.int64)


def folds(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """(n,) fold of each row: groups whole, `count` folds of nearly equal numbers of groups, the first ones never smaller."""
    unique, group = np.unique(groups, return_inverse=True)
    fold = np.empty(len(unique), dtype=np.int64)
    fold[np.random.default_rng([seed, 1]).permutation(len(unique))] = np.arange(len(unique)) % count
    return fold[group]


class Learnt(Protocol):
    """A fitted learner of some properties."""

    @property
    def held_out(self) -> Answer:
        """For the training molecules (n, m), each by what was learnt without any label of that molecule."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its user should know of."""

    def predict(self, features: Features) -> Answer:
        """For other molecules."""


class Learner(Protocol):
    """A way to learn properties; frozen, without data."""

    @property
    def is_quick(self) -> bool:
        """Whether fits cost so little that shared and single models may answer together; else one of them is chosen."""

    def fit(self, training: Training, *, seed: int) -> Learnt:
        """Learn all properties of `training`, with one model that shares."""

    def trial(self, training: Training, *, seed: int) -> Learnt:
        """What is enough to compare by; held-out predictions may be there for a part of the molecules only."""
