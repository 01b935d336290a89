"""Gaussian processes with a Tanimoto kernel, all properties together by intrinsic coregionalisation: for few labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from surrogates.errors import FitWarning
from surrogates.gp import FittedHierarchicalGP, HierarchicalGP, Tanimoto
from surrogates.schema import Schema

from .features import Features
from .learner import Answer, Training

Floats = NDArray[np.float64]
_SCHEMA = Schema(inputs=("fingerprint", "descriptors"), target="value", task="property")


@dataclass(frozen=True)
class GaussianProcesses:
    """`HierarchicalGP` with `Tanimoto`, a constant mean and a noise level of each property's own.

    rank : of the properties' coregionalisation
    """

    rank: int = 2

    @property
    def is_quick(self) -> bool:
        return True

    def fit(self, training: Training, *, seed: int) -> FittedProcesses:
        """The processes of all properties; warnings become those of the answer."""
        m = len(training.names)
        gp = HierarchicalGP(
            _SCHEMA,
            kernel=Tanimoto(counts="fingerprint", smooth="descriptors"),
            trend="constant",
            sharing="icm" if m > 1 else "common",
            rank=min(self.rank, m),
            noise="task-fidelity",
            integrate=False,  # leaving molecules out in closed form needs one set of hyper-parameters
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitWarning)  # they are in the report, and told once by the caller
            fitted = gp.fit(_table(training.features, training.names, training.z), seed=seed)
        return FittedProcesses(training.names, fitted, leave_molecules_out(fitted, training))

    def trial(self, training: Training, *, seed: int) -> FittedProcesses:
        """The same as `fit`, which costs little."""
        return self.fit(training, seed=seed)


@dataclass(frozen=True, eq=False)
class FittedProcesses:
    """Fitted processes, and what they say of molecules left out."""

    names: tuple[str, ...]
    process: FittedHierarchicalGP
    held_out: Answer

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of the fit, where it didn't reach its end."""
        return () if self.process.report.is_success else (self.process.report.outcome,)

    def predict(self, features: Features) -> Answer:
        """Mean and standard deviation of the processes, and the noise."""
        answer = self.process.predict(_table(features, self.names, np.zeros((len(features.counts), len(self.names)))))
        columns = (answer[name].transpose("molecule", "property").to_numpy() for name in ("mean", "std", "noise_std"))
        return Answer(*columns)


def leave_molecules_out(process: FittedHierarchicalGP, training: Training) -> Answer:
    """Predictions of each label without all labels of its molecule, hyper-parameters kept; in closed form.

    With the posterior covariance C of the functions at all readings, and the noise D,  P = D⁻¹ - D⁻¹CD⁻¹ is the
    precision of the readings (trends integrated) and α = D⁻¹(y - ŷ) = Py. For the readings b of a molecule

        y_b - ŷ_-b = P_bb⁻¹ α_b,     Cov = P_bb⁻¹

    (Rasmussen & Williams 2006, sec. 5.4.2, for several readings at once). Leaving out single readings would let a molecule's
    other properties tell of it, which they can't for a molecule to come.
    """
    n, m = training.z.shape
    row, task = np.nonzero(np.isfinite(training.z))
    points = xr.Dataset(
        {
            "fingerprint": (("reading", "bit"), training.features.counts[row]),
            "descriptors": (("reading", "feature"), training.features.descriptors[row]),
            "property": ("reading", np.array(training.names)[task]),
            "value": ("reading", training.z[row, task]),
        }
    )
    answer = process.predict(points)
    C = process.covariance(points).to_numpy()
    D = answer["noise_std"].to_numpy() ** 2
    α = (points["value"] - answer["mean"]).to_numpy() / D
    P = -C / D[:, None] / D[None, :]
    P[np.diag_indices_from(P)] += 1 / D
    columns = [np.full((n, m), np.nan) for _ in range(3)]
    groups = training.groups[row]
    order = np.argsort(groups, kind="stable")
    for b in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        factor = cho_factor(P[np.ix_(b, b)])
        variance = np.diagonal(cho_solve(factor, np.eye(len(b))))
        at = row[b], task[b]
        columns[0][at] = training.z[at] - cho_solve(factor, α[b])
        columns[1][at] = np.sqrt(np.maximum(variance - D[b], 0.0))
        columns[2][at] = np.sqrt(D[b])
    return Answer(*columns)


def _table(features: Features, names: tuple[str, ...], values: Floats) -> xr.Dataset:
    """Labels (n, m) as the processes take them."""
    return xr.Dataset(
        {
            "fingerprint": (("molecule", "bit"), features.counts),
            "descriptors": (("molecule", "feature"), features.descriptors),
            "value": (("molecule", "property"), values),
        },
        coords={"property": list(names)},
    )
