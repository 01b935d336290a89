"""Networks fitted without one fold of the molecules each: one fit gives predictions, their spread, and held-out errors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from surrogates.counts import whole
from surrogates.errors import DataError
from surrogates.networks import Likelihood
from surrogates.posterior import Moments, decompose
from surrogates.random import streams
from surrogates.training import AdamW, Batches, train
from surrogates.training.conflicts import AIM, Batch, Conflicts, Engine, conflicts_by_name, gradient_cosines

from .features import Features
from .learner import Answer, Training, folds
from .property_network import Inputs, Member, PropertyLoss, build

Floats = NDArray[np.float64]
#: share of a member's training molecules that AIM's policy is judged by
GUIDANCE = 0.1


@dataclass(frozen=True)
class Ensemble:
    """Configuration of an ensemble; see `MolecularNet` for the parameters."""

    conflicts: Conflicts | str
    likelihood: Likelihood
    ranking: float
    hidden: tuple[int, ...]
    fingerprint: bool | None
    members: int
    epochs: int
    rate: float
    decay: float
    batch: int

    def __post_init__(self) -> None:
        if isinstance(self.conflicts, str):
            object.__setattr__(self, "conflicts", conflicts_by_name(self.conflicts))
        elif not callable(getattr(self.conflicts, "step", None)):
            raise DataError(
                f"conflicts is {self.conflicts!r}; give a method of surrogates.training.conflicts or its name"
            )
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise DataError(f"hidden is {self.hidden!r}; give the width of one layer or more, such as (512, 256)")
        for k, width in enumerate(self.hidden):
            whole(width, f"hidden[{k}]")
        whole(self.members, "members", least=2)  # each leaves out one fold
        if self.fingerprint not in (None, True, False):
            raise DataError(
                f"fingerprint is {self.fingerprint!r}; it must be True, False, or None for what the data say"
            )
        if not 0 <= self.ranking < 1:
            raise DataError(f"ranking is {self.ranking!r}; it must be a share in [0, 1)")
        for name, count in (("epochs", self.epochs), ("batch", self.batch)):
            whole(count, name)
        for name, number in (("rate", self.rate), ("decay", self.decay)):
            if not (0 <= number < float("inf")) or (number == 0 and name == "rate"):
                raise DataError(
                    f"{name} is {number!r}; it must be a finite number {'> 0' if name == 'rate' else '>= 0'}"
                )

    @property
    def is_quick(self) -> bool:
        return False

    def fit(self, training: Training, *, seed: int) -> FittedEnsemble:
        """All members; `fingerprint=None` is decided by the first fold."""
        return self._fit(training, seed, self.members)

    def trial(self, training: Training, *, seed: int) -> FittedEnsemble:
        """The first member alone, whose fold is held out: enough to compare by."""
        return self._fit(training, seed, 1)

    def _fit(self, training: Training, seed: int, count: int) -> FittedEnsemble:
        fold_of = folds(training.groups, self.members, seed)
        if self.fingerprint is None:
            either = [self._member(training, fold_of, 0, seed, fingerprint=value) for value in (False, True)]
            chosen = replace(self, fingerprint=either[1].validation < either[0].validation)
            first = either[int(bool(chosen.fingerprint))]
        else:
            chosen = self
            first = self._member(training, fold_of, 0, seed, fingerprint=self.fingerprint)
        rest = [
            self._member(training, fold_of, fold, seed, fingerprint=bool(chosen.fingerprint))
            for fold in range(1, count)
        ]
        members = (first, *rest)
        return FittedEnsemble(chosen, training.names, members, _held_out(training, fold_of, members, self.likelihood))

    def _member(
        self, training: Training, fold_of: NDArray[np.int64], fold: int, seed: int, *, fingerprint: bool
    ) -> Member:
        initial, order = streams(seed, 2 * self.members + 2)[2 * fold : 2 * fold + 2]
        inside = np.flatnonzero(fold_of != fold)
        inputs = Inputs.of(training.features.counts[inside], fingerprint=fingerprint)
        m = len(training.names)
        d_in = training.features.descriptors.shape[1] + int(inputs.fragments.sum())
        trunk, heads = build(d_in, self.hidden, tasks=m, outputs=self.likelihood.size, generator=initial)
        engine = Engine(trunk, heads, PropertyLoss(self.likelihood, self.ranking), training.names)
        held = _batch(training, inputs, np.flatnonzero(fold_of == fold))
        rows, guidance = inside, None
        if isinstance(self.conflicts, AIM) and self.conflicts.guide > 0:
            rows, guides = _guidance(inside, training.groups, order)
            guidance = _batch(training, inputs, guides)
        run = train(
            engine,
            _batch(training, inputs, rows),
            conflicts=self.conflicts,
            optimiser=AdamW(rate=self.rate, weight_decay=self.decay, warm_up=0.1, clip=None),
            # all epochs, the rate falls to next to nothing by their end: with the best one by the fold's labels, errors
            # of these labels, which calibrate and compare, would be too small
            batches=Batches(size=self.batch, epochs=self.epochs),
            guidance=guidance,
            seed=int(torch.randint(2**31, (), generator=order)),
        )
        value = float("inf")
        if bool(held.mask.any()):
            with torch.no_grad():
                value = float(engine.outputs_of(trunk(held.X), held)[held.mask.any(0)].mean())
        cosines = gradient_cosines(engine.look(held).gram()).numpy()
        return Member(trunk, heads, inputs, fold, run.state, cosines, value, run.warnings)


@dataclass(frozen=True, eq=False)
class FittedEnsemble:
    """Members, and what they say of molecules they were not trained on."""

    ensemble: Ensemble
    names: tuple[str, ...]
    members: tuple[Member, ...]
    held_out: Answer

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of all members, each once."""
        return tuple(dict.fromkeys(text for member in self.members for text in member.warnings))

    def predict(self, features: Features) -> Answer:
        """Mean of the members; their disagreement is the mean's standard deviation.

        A member's spread of a label is calibrated by its errors on molecules that it doesn't know, so that the error of its
        mean is in it. The disagreement is a part of that spread, and noise is the rest. Of the members' spreads the
        geometric mean is taken, which is as large as a typical one; their mean square follows the largest.
        """
        parts = []
        for member in self.members:
            mean, std = member.predict(features.counts, features.descriptors, self.ensemble.likelihood)
            parts.append(Moments(mean, std**2))
        mixed = decompose(parts, np.full(len(parts), 1 / len(parts)))
        within = np.exp(np.mean([np.log(part.variance) for part in parts], axis=0))
        between = np.minimum(mixed.between, within)
        return Answer(mixed.mean, np.sqrt(between), np.sqrt(within - between))


def _held_out(
    training: Training, fold_of: NDArray[np.int64], members: tuple[Member, ...], likelihood: Likelihood
) -> Answer:
    """Each molecule by the member that doesn't know it, NaN where there is none.

    The spread of the mean isn't known here and is 0: the other members know the molecule's labels, so that their distance
    from this one follows its error. Deviations that were divided by it made intervals of overfitted networks far too short.
    """
    answer = Answer(*(np.full(training.z.shape, np.nan) for _ in range(3)))
    for member in members:
        rows = np.flatnonzero(fold_of == member.fold)
        features = training.features.take(rows)
        answer.mean[rows], answer.noise[rows] = member.predict(features.counts, features.descriptors, likelihood)
        answer.std[rows] = 0.0
    return answer


def _guidance(
    rows: NDArray[np.int64], groups: NDArray[np.int64], generator: torch.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to train on, and rows of other molecules to judge the policy by."""
    unique = np.unique(groups[rows])
    chosen = unique[torch.randperm(len(unique), generator=generator).numpy()[: max(1, round(GUIDANCE * len(unique)))]]
    guides = np.isin(groups[rows], chosen)
    return rows[~guides], rows[guides]


def _batch(training: Training, inputs: Inputs, rows: NDArray[np.int64]) -> Batch:
    features = training.features.take(rows)
    z = torch.from_numpy(training.z[rows].astype(np.float32))
    signs = torch.from_numpy(training.signs[rows].astype(np.float32)) if training.signs.any() else None
    return Batch.of(inputs(features.counts, features.descriptors), z, signs=signs)
