"""`MolecularNet`: the configuration, and its fit."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates.errors import DataError, FitWarning
from surrogates.networks import Gaussian, Likelihood, Quantiles, SquaredError
from surrogates.random import streams
from surrogates.training.conflicts import Conflicts

from .choice import Comparison, compare
from .ensemble import Ensemble
from .features import DescriptorScaling, Features, molecule_features
from .fitted import FittedMolecularNet
from .gaussian import FittedProcesses, GaussianProcesses
from .learner import Learner, Learnt, Training, molecule_groups
from .parts import Parts, TaskScaling
from .report import MolecularReport, PropertyReport
from .table import Columns, Labels, oddities, refuse, require_labels, stacked

MODELS = ("auto", "gp", "net")
SHARINGS = ("auto", "shared", "single")
LIKELIHOODS: Mapping[str, Likelihood] = MappingProxyType(
    {"quantile": Quantiles(), "gaussian": Gaussian(beta=0.5), "squared": SquaredError()}
)
#: labels of one fit, shared or alone, up to which model="auto" takes Gaussian processes
MOST_FOR_GP = 2500


@dataclass(frozen=True)
class MolecularNet:
    """Properties of molecules, each measured on a different few of them, learnt together where that helps.

    Two models behind one interface:

    * ``"net"``: a network that all properties share, with a head for each; an ensemble of which each member is fitted
      without one fold of the molecules. `conflicts` says how the properties' gradients are combined.
    * ``"gp"``: Gaussian processes with a Tanimoto kernel of fragments and a smooth kernel of descriptors, which share by
      intrinsic coregionalisation: the better one for few labels.

    If `sharing` is "auto", all properties are fitted together and each alone. Errors of molecules that were left out weigh
    the shared and the own processes of each property, or choose between networks (`choice.compare`); they are told in the
    report, and calibrate standard deviations and intervals.

    Parameters
    ----------
    smiles : variable of SMILES, or several, whose molecules make one entry together (a dye and its solvent)
    properties : variable to learn, or several; None: all variables of numbers over the molecules
    embedding : variable over (molecule, feature): the user's own numbers in place of RDKit's descriptors
    bounds : property -> variable that marks bounds by "<" and ">" (censored labels); only networks take them
    model : "auto": for fits of up to 2,500 labels, of all properties together or of one, Gaussian processes, else networks;
        always networks where labels are bounds
    sharing : "auto", "shared" or "single"
    conflicts : a method of `surrogates.training.conflicts` or its name, for networks. None: "si", the sum of the logarithms
        of the losses, since on QM9 scales matter more than conflicts (benchmarks/molecules_methods.py); "sum" with the
        Gaussian likelihood, whose losses may be negative
    likelihood : of networks: "quantile" (median and 5 to 95 % quantiles), "gaussian" (mean and variance), "squared"
    ranking : share of the ApproxNDCG rank loss in networks' losses, for screening: from 0 to less than 1
    hidden : widths of the networks' hidden layers, all shared
    fingerprint : whether networks see the fragments' counts besides the descriptors; None: as the first fold decides
    members : networks of an ensemble, and folds
    epochs, rate, decay, batch : of AdamW
    invalid : what `fit` does with rows whose SMILES can't be read: "raise" or "drop"

    Notes
    -----
    Sources: Minot & Schneider (arXiv:2509.25955) for conflict-aware training of molecular properties; Ralaivola et al.
    (2005) for the Tanimoto kernel; Álvarez, Rosasco & Lawrence (2012) for coregionalisation.

    Examples
    --------
    >>> table = pd.DataFrame({"smiles": ["C", "CC", "CCC", "CCCC", "CCCCC", "CCO", "CCCO", "CCCCO"],
    ...                       "boiling_point": [111.7, 184.6, 231.1, 272.7, 309.2, 351.4, 370.3, 390.9]})
    >>> fitted = MolecularNet(model="gp").fit(table)
    >>> 300 < fitted.predict(["CCCCCC"])["mean"].item() < 400  # hexane boils at 341.9 K
    True
    """

    smiles: str | tuple[str, ...] = "smiles"
    properties: str | tuple[str, ...] | None = None
    embedding: str | None = None
    bounds: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    model: str = "auto"
    sharing: str = "auto"
    conflicts: Conflicts | str | None = None
    likelihood: str = "quantile"
    ranking: float = 0.0
    hidden: tuple[int, ...] = (512, 256)
    fingerprint: bool | None = None
    members: int = 5
    epochs: int = 60
    rate: float = 1e-3
    decay: float = 1e-2
    batch: int = 128
    invalid: str = "raise"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("model", self.model, MODELS),
            ("sharing", self.sharing, SHARINGS),
            ("likelihood", self.likelihood, tuple(LIKELIHOODS)),
            ("invalid", self.invalid, ("raise", "drop")),
        ):
            if value not in choices:
                raise DataError(f"{name} is {value!r}; choose one of {choices}")
        object.__setattr__(self, "bounds", MappingProxyType(dict(self.bounds)))
        if self.bounds and self.model == "gp":
            raise DataError("bounds are taken by networks only; use model='net' or 'auto'")
        if not self.columns().smiles:
            raise DataError("smiles is (); give the name of the variable of SMILES")
        self.ensemble()  # which checks its numbers

    def fit(self, data: xr.Dataset | pd.DataFrame, *, seed: int = 0) -> FittedMolecularNet:
        """Learn the properties of `data`.

        Parameters
        ----------
        data : over one dim of molecules, or a table with a row for each: SMILES, and properties with NaN where unknown;
            units are taken from ``attrs["units"]``
        seed : of folds, weights and batches

        Raises
        ------
        DataError
            A variable that isn't there, SMILES that can't be read (named, with their row), infinite labels, a property
            with fewer than two labels that aren't bounds, or of one molecule only.
        ValueError
            If `seed` isn't an integer >= 0.
        MissingExtraError
            If RDKit isn't installed.

        Warns
        -----
        FitWarning
            What its user should know of; also in ``report.warnings``.
        """
        streams(seed, 0)  # which checks the seed
        columns = self.columns()
        table = columns.dataset(data)
        entries, labels = columns.entries(table), columns.labels(table)
        if self.invalid == "raise":
            refuse(entries, "correct or leave out these rows, or fit with MolecularNet(invalid='drop')")
        rows = entries.readable
        rows = rows[np.isfinite(labels.values[rows]).any(1)]
        labels = labels.take(rows)
        keys = [key for row in rows.tolist() if (key := entries.keys[row]) is not None]
        require_labels(keys, labels)
        embedding = None if entries.embedding is None else entries.embedding[rows]
        left_out = (f"{len(entries.problems)} rows were left out: {entries.problems[0]}",) if entries.problems else ()
        return self._fit(keys, embedding, labels, seed, left_out)

    def refit(
        self,
        fitted: FittedMolecularNet,
        keys: list[tuple[str, ...]],
        embedding: NDArray[np.float64] | None,
        labels: Labels,
        seed: int,
    ) -> FittedMolecularNet:
        """With further molecules and the labels of one more property, which the fit doesn't have yet."""
        old = fitted.parts
        return self._fit([*old.keys, *keys], stacked(old.embedding, embedding), old.labels.joined(labels), seed, ())

    def _fit(
        self,
        keys: list[tuple[str, ...]],
        embedding: NDArray[np.float64] | None,
        labels: Labels,
        seed: int,
        left_out: tuple[str, ...],
    ) -> FittedMolecularNet:
        began = time.perf_counter()
        parts = self._learn(keys, embedding, labels, seed)
        notes = (*left_out, *oddities(keys, labels), *parts.warnings)
        report = self._report(parts, labels, len(set(keys)), time.perf_counter() - began, notes)
        for note in notes:
            warnings.warn(note, FitWarning, stacklevel=3)
        return FittedMolecularNet(self, self.columns(), parts, report)

    def columns(self) -> Columns:
        """Which variables of a table are what."""
        smiles = (self.smiles,) if isinstance(self.smiles, str) else tuple(self.smiles)
        properties = (self.properties,) if isinstance(self.properties, str) else self.properties
        return Columns(smiles, properties, self.embedding, self.bounds)

    def ensemble(self, *, fingerprint: bool | None = None) -> Ensemble:
        """The configuration of its networks; `fingerprint` as it was decided, if it was."""
        return Ensemble(
            conflicts=self.conflicts or ("sum" if self.likelihood == "gaussian" else "si"),
            likelihood=LIKELIHOODS[self.likelihood],
            ranking=self.ranking,
            hidden=self.hidden,
            fingerprint=self.fingerprint if fingerprint is None else fingerprint,
            members=self.members,
            epochs=self.epochs,
            rate=self.rate,
            decay=self.decay,
            batch=self.batch,
        )

    def _learner(self, count: int, labels: Labels) -> Learner:
        """For so many of the labels."""
        if self.model == "gp" or (self.model == "auto" and count <= MOST_FOR_GP and not labels.signs.any()):
            return GaussianProcesses()
        return self.ensemble()

    def _learn(
        self, keys: list[tuple[str, ...]], embedding: NDArray[np.float64] | None, labels: Labels, seed: int
    ) -> Parts:
        raw = molecule_features(keys, embedding)
        # a molecule counts once, in however many rows it stands
        once = {(key, row.tobytes()): k for k, (key, row) in enumerate(zip(keys, raw.descriptors, strict=True))}
        scaling, tasks = DescriptorScaling.fit(raw.descriptors[list(once.values())]), TaskScaling.fit(labels)
        if not scaling.kept.any():
            raise DataError(
                f"no {'descriptor' if embedding is None else 'feature of the embedding'} differs among the "
                f"{len(set(keys))} molecules with labels; nothing can be learnt from them: give others"
            )
        groups = molecule_groups(keys)
        features = Features(raw.counts, scaling(raw.descriptors))
        training = Training(labels.properties, features, tasks.scaled(labels.values), labels.signs, groups)
        counts = np.isfinite(labels.values).sum(0)
        learner = self._learner(int(counts.sum()), labels)
        # a property alone has fewer labels than all together, and so is often a matter for processes still
        alone = [self._learner(int(count), labels) for count in counts]
        m = len(labels.properties)
        shared, comparison = None, None
        trials: dict[int, Learnt] = {}
        if m > 1 and self.sharing != "single":
            shared = learner.fit(training, seed=seed)
        weights = np.full(m, float(shared is not None))
        if shared is not None and self.sharing == "auto":
            trials = {k: alone[k].trial(training.only(k), seed=seed) for k in range(m)}
            comparison = _compare(training, shared, trials, tasks.varies)
            # what takes long is either taken or not
            quick = np.array([way.is_quick for way in alone])
            weights = np.where(quick, comparison.weights, comparison.shares)
        own = [k for k in range(m) if weights[k] < 1]
        singles = {
            k: trials[k] if k in trials and alone[k].is_quick else alone[k].fit(training.only(k), seed=seed)
            for k in own
        }
        return Parts.of(training, scaling, tasks, keys, embedding, labels, shared, singles, weights, comparison)

    def _report(
        self, parts: Parts, labels: Labels, molecules: int, seconds: float, notes: tuple[str, ...]
    ) -> MolecularReport:
        learners = [*([] if parts.shared is None else [parts.shared]), *parts.singles.values()]
        kinds = {"Gaussian processes" if isinstance(way, FittedProcesses) else "network ensemble" for way in learners}
        name = " and ".join(sorted(kinds))
        properties = {}
        for k, title in enumerate(labels.properties):
            c = parts.comparison
            properties[title] = PropertyReport(
                units=labels.units[k],
                labels=int(np.isfinite(labels.values[:, k]).sum()),
                bounds=int((labels.signs[:, k] != 0).sum()),
                weight=float(parts.weights[k]),
                error=float(parts.errors[k]),
                change=None if c is None or np.isnan(c.change[k]) else float(c.change[k]),
                deviation=None if c is None or np.isnan(c.change[k]) else float(c.deviation[k]),
                coverage=float(parts.coverage[k]),
            )
        return MolecularReport(f"MolecularNet ({name})", self.sharing, molecules, seconds, properties, notes)


def _compare(
    training: Training, shared: Learnt, singles: Mapping[int, Learnt], varies: NDArray[np.bool_]
) -> Comparison:
    """Held-out residuals of the shared model against those of the properties' own; constants say nothing of either."""
    exact = np.where((training.signs == 0) & varies, training.z, np.nan)
    alone = np.full_like(exact, np.nan)
    for k, learnt in singles.items():
        alone[np.isfinite(training.z[:, k]), k] = learnt.held_out.mean[:, 0]
    together = np.where(np.isfinite(alone), shared.held_out.mean, np.nan)
    return compare(exact - together, exact - alone)
