"""What a fitted `MolecularNet` answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates import persistence
from surrogates.errors import DataError

from .affinity import affinity
from .parts import Parts
from .report import MolecularReport
from .table import Columns, Entries, read_entries, refuse, text_of

if TYPE_CHECKING:
    from .model import MolecularNet

Floats = NDArray[np.float64]
Asked = Sequence[str] | Sequence[tuple[str, ...]] | xr.Dataset | pd.DataFrame
KIND = "molecular-net"


@dataclass(frozen=True, eq=False, repr=False)
class FittedMolecularNet:
    """Answers of a fitted `MolecularNet`; immutable.

    model : the configuration; columns : which variable of a table is what; report : how the fit went
    """

    model: MolecularNet
    columns: Columns
    parts: Parts
    report: MolecularReport

    def __repr__(self) -> str:
        return f"FittedMolecularNet({', '.join(self.properties)})\n{self.report}"

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the properties."""
        return self.parts.labels.properties

    def predict(self, at: Asked, *, level: float = 0.9, invalid: str = "raise") -> xr.Dataset:
        """Properties of molecules.

        Parameters
        ----------
        at : SMILES; tuples of them, where entries have several components; or a table with the variables of the fit
        level : of the intervals
        invalid : what to do with SMILES that can't be read: "raise", or "nan": their rows are NaN, all others are answered

        Returns
        -------
        xr.Dataset over (molecule, property): mean; std, of the mean; noise_std, of a reading around it; lower and upper
        ends of the interval that holds a reading with probability `level`; in each property's units, which are a coordinate.
        So are the SMILES, by the name of their variable; where the answer has a part of that name, such as mean, by
        `input_mean`.

        Raises
        ------
        DataError
            SMILES that can't be read, named with their row; a table without the fit's variables.
        """
        if invalid not in ("raise", "nan"):
            raise DataError(f"invalid is {invalid!r}; it must be 'raise' or 'nan'")
        entries = self._entries(at)
        if invalid == "raise":
            refuse(entries, "correct or leave out these, or predict with invalid='nan'")
        rows = entries.readable
        keys = [key for row in rows.tolist() if (key := entries.keys[row]) is not None]
        n, m = len(entries.written), len(self.properties)
        answers = {name: np.full((n, m), np.nan) for name in ("mean", "std", "noise_std", "lower", "upper")}
        if keys:
            embedding = None if entries.embedding is None else entries.embedding[rows]
            for name, values in self._answers(keys, embedding, level).items():
                answers[name][rows] = values
        texts = {
            "mean": "predicted mean",
            "std": "standard deviation of the mean",
            "noise_std": "standard deviation of a reading around the mean",
            "lower": f"lower end of the {level:g} interval of a reading",
            "upper": f"upper end of the {level:g} interval of a reading",
        }
        data = {name: (("molecule", "property"), v, {"long_name": texts[name]}) for name, v in answers.items()}
        coords = {
            f"input_{name}" if name in (*data, "property", "units") else name: (
                "molecule",
                np.array([entry[c] for entry in entries.written], dtype=np.str_),
            )
            for c, name in enumerate(self.columns.smiles)
        }
        units = ("property", list(self.parts.labels.units))
        return xr.Dataset(data, coords={**coords, "property": list(self.properties), "units": units})

    def affinity(self) -> xr.Dataset:
        """Which property helps which, and how far that can be known; see `molecules.affinity.affinity`."""
        return affinity(self.parts)

    def add_task(
        self, data: xr.Dataset | pd.DataFrame, *, from_few: int | None = None, seed: int = 0
    ) -> FittedMolecularNet:
        """With one more property, of which a few labels are known.

        Networks that share a trunk keep all that they know: the new head stands on the trunk, which is frozen, and gets a
        low-rank adapter if that lowers the held-out error. Means and standard deviations of the other properties stay bit
        for bit, and so do their intervals, but for properties with too few labels for intervals of their own, which lean on
        all properties. Gaussian processes, and networks that share nothing, are fitted again with the new labels.

        Parameters
        ----------
        data : a table with the fit's variables of SMILES and one new property
        from_few : use at most that many of its labels, drawn at random; None: all
        seed : of the draw

        Raises
        ------
        DataError
            If there is no new property, more than one, or fewer than two labels.
        ValueError
            If `seed` isn't an integer >= 0.

        Warns
        -----
        FitWarning
            What is odd about the new labels; also in ``report.warnings``.
        """
        from .adaptation import with_task

        return with_task(self, data, from_few, seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, which `surrogates.load` reads: arrays and JSON, no pickle."""
        from .storage import pack

        header, arrays = pack(self)
        persistence.write(path, KIND, header, arrays)

    @staticmethod
    def from_archive(archive: persistence.Archive) -> FittedMolecularNet:
        """The model in a file that was read."""
        from .storage import unpack

        return unpack(archive.header, archive.arrays)

    def with_parts(self, parts: Parts, report: MolecularReport) -> FittedMolecularNet:
        """The same model with other parts."""
        return replace(self, parts=parts, report=report)

    def _entries(self, at: Asked) -> Entries:
        if isinstance(at, xr.Dataset | pd.DataFrame):
            return self.columns.entries(self.columns.dataset(at))
        if isinstance(at, str):
            raise DataError(f"{at!r} is one text; give a list of SMILES, such as [{at!r}]")
        if self.columns.embedding is not None:
            raise DataError(
                f"the model was fitted with the embedding {self.columns.embedding!r}; give a table that has it, too"
            )
        count = len(self.columns.smiles)
        written = []
        for row, entry in enumerate(at):
            parts = entry if isinstance(entry, tuple | list) else (entry,)
            texts = tuple(text_of(part) for part in parts)
            if len(parts) != count or not all(isinstance(p, str) or not t for p, t in zip(parts, texts, strict=True)):
                raise DataError(
                    f"entry {row} is {entry!r}; {count} SMILES are expected: {', '.join(self.columns.smiles)}"
                )
            written.append(texts)
        return read_entries(written)

    def _answers(self, keys: list[tuple[str, ...]], embedding: Floats | None, level: float) -> dict[str, Floats]:
        parts, scale = self.parts, self.parts.tasks
        answer = parts.predict(parts.features(keys, embedding))
        factors = parts.calibration.variance.factors
        half = parts.calibration.half_widths(answer.total, level)
        half = np.multiply(half, scale.std, where=np.isfinite(half), out=half)
        mean = answer.mean * scale.std + scale.mean
        return {
            "mean": mean,
            "std": answer.std * factors * scale.std,
            "noise_std": answer.noise * factors * scale.std,
            "lower": mean - half,
            "upper": mean + half,
        }
