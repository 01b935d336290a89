"""What models see of a molecule: counts of circular fragments, and physico-chemical descriptors.

    counts        Morgan fragments of radius 2, folded to 2,048 counts (Rogers & Hahn 2010, J. Chem. Inf. Model. 50:742)
    descriptors   RDKit's two-dimensional descriptors, or the user's own embedding in their place

Both are functions of the molecular graph, so neither the order of atoms nor the spelling of the SMILES matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError, missing_extra

Floats = NDArray[np.float64]
RADIUS, BITS = 2, 2048


class Features(NamedTuple):
    """Of n molecules.

    counts : (n, b) how often each fragment is there; b = 2,048 for each component of a molecule's entry
    descriptors : (n, D) NaN or inf where RDKit can't tell one
    """

    counts: Floats
    descriptors: Floats

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Some of the molecules."""
        return Features(self.counts[rows], self.descriptors[rows])


def molecule_features(keys: Sequence[tuple[str, ...]], embedding: Floats | None = None) -> Features:
    """Features of molecules, or of tuples of them (a dye and its solvent), side by side.

    Parameters
    ----------
    keys : canonical SMILES, as many for each entry
    embedding : (n, D) numbers of the user's own in place of the descriptors

    Raises
    ------
    MissingExtraError
        If RDKit isn't installed.
    """
    unique = {smiles: k for k, smiles in enumerate(dict.fromkeys(part for key in keys for part in key))}
    counts = np.zeros((len(unique), BITS))
    for smiles, k in unique.items():
        bits, values = _fragments(smiles)
        counts[k, bits] = values
    at = np.array([[unique[part] for part in key] for key in keys], dtype=np.int64)  # (n, components)
    if embedding is not None:
        return Features(counts[at].reshape(len(keys), -1), embedding)
    descriptors = np.stack([_descriptors(smiles) for smiles in unique])
    return Features(counts[at].reshape(len(keys), -1), descriptors[at].reshape(len(keys), -1))


@dataclass(frozen=True, eq=False)
class DescriptorScaling:
    """Descriptors as networks and kernels take them, by statistics of the training molecules.

        x -> sign(x) log(1 + |x|), missing: the median;   then (x - mean)/std, at most 4 from zero

    Descriptors that are constant among the training molecules are left out: nothing can be learnt from them.

    median, mean, std : (D,) of the training molecules, after the logarithm
    kept : (D,) bool
    """

    median: Floats
    mean: Floats
    std: Floats
    kept: NDArray[np.bool_]

    @staticmethod
    def fit(descriptors: Floats) -> DescriptorScaling:
        """Statistics of the training molecules' descriptors (n, D)."""
        x = _logarithmic(descriptors)
        known = np.isfinite(x)
        some = known.any(0)
        median = np.zeros(x.shape[1])
        median[some] = np.nanmedian(np.where(known, x, np.nan)[:, some], axis=0)
        x = np.where(known, x, median)
        std = x.std(0)
        return DescriptorScaling(median, x.mean(0), std, std > 1e-9 * (1 + np.abs(median)))

    def __call__(self, descriptors: Floats) -> Floats:
        """(n, D) -> (n, number kept)."""
        if descriptors.shape[1] != len(self.kept):
            raise DataError(
                f"the molecules have {descriptors.shape[1]} descriptors, the fitted model's {len(self.kept)}; give the same "
                f"embedding, or use the RDKit version that the model was fitted with"
            )
        x = _logarithmic(descriptors)
        x = np.where(np.isfinite(x), x, self.median)[:, self.kept]
        return np.clip((x - self.mean[self.kept]) / self.std[self.kept], -4.0, 4.0)


def _logarithmic(x: Floats) -> Floats:
    return np.sign(x) * np.log1p(np.abs(x))


@lru_cache(maxsize=50_000)
def _fragments(smiles: str) -> tuple[NDArray[np.int64], Floats]:
    """Indices and counts of the fragments of one molecule."""
    molecule = _molecule(smiles)
    from rdkit.Chem import rdFingerprintGenerator

    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    found = generator.GetCountFingerprint(molecule).GetNonzeroElements()
    return np.fromiter(found, dtype=np.int64), np.fromiter(found.values(), dtype=np.float64)


@lru_cache(maxsize=50_000)
def _descriptors(smiles: str) -> Floats:
    """RDKit's descriptors of one molecule."""
    molecule = _molecule(smiles)
    from rdkit.Chem import Descriptors

    values = Descriptors.CalcMolDescriptors(molecule, missingVal=np.nan, silent=True)
    found = np.array([float(values[name]) for name, _ in Descriptors.descList])
    found.setflags(write=False)
    return found


def _molecule(smiles: str) -> Any:
    """RDKit's molecule; what RDKit has to say of odd ones isn't told on stderr."""
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise missing_extra("rdkit", "molecules") from error
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles)
