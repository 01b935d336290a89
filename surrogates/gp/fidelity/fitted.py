"""The fitted multi-fidelity process: labelled questions in, labelled answers out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates import persistence
from surrogates.counts import whole
from surrogates.errors import DataError
from surrogates.health import HealthReport, review
from surrogates.posterior import Moments, deviation_slopes, mix, mix_covariances, mix_slopes
from surrogates.report import FitReport
from surrogates.schema import Points, Schema, Vocabulary, as_labelled

from ..labelling import Labelling, in_blocks
from ..lazily import predict_lazily
from ..process import Process
from .choice import Tried
from .levels import Levels, more_levels
from .parts import Part
from .storage import pack, unpack

if TYPE_CHECKING:
    from surrogates.explore import Server

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
KIND = "multi-fidelity-gp"


class Question(NamedTuple):
    """Scaled places (m, d), groups (m,), and the scale of each place's fidelity."""

    x: Floats
    group: Integers
    level: Integers
    centre: Floats  # (m,)
    spread: Floats  # (m,)


@dataclass(frozen=True, eq=False, repr=False)
class FittedMultiFidelityGP:
    """A fitted `MultiFidelityGP`; immutable and always ready.

    Attributes
    ----------
    schema : names of the variables
    vocabulary : tasks, fidelities and units that the model knows
    report : what happened in the fit
    tried : structures with their log evidence and probability, most probable first
    """

    schema: Schema
    vocabulary: Vocabulary
    report: FitReport
    tried: tuple[Tried, ...]
    levels: Levels
    parts: tuple[Part, ...]
    noise: str

    def __repr__(self) -> str:
        best = max(self.parts, key=lambda part: part.weight).fit.structure
        return f"<FittedMultiFidelityGP of {self.schema.target!r}: {self.report.readings} readings, {best}>"

    def predict(self, at: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Mean and standard deviation of a fidelity's underlying function.

        Parameters
        ----------
        at : places, with the schema's inputs and task over any dims, and the fidelity asked for; without it, the last of
            the fidelities is meant. If it has dask arrays, the answer is lazy, block by block.

        Returns
        -------
        xr.Dataset over the dims of `at`, in the target's units:
            mean, std : of the function f of task and fidelity, averaged over structures and hyper-parameters
            noise_std : of a reading of that fidelity given f. Known noise that `at` holds is given back

        Raises
        ------
        DataError, UnitsError
            Missing variables, NaN or inf in inputs, unknown tasks or fidelities, units that can't be converted.
        """
        dataset = as_labelled(at)
        if any(variable.chunks is not None for variable in dataset.variables.values()):
            return predict_lazily(self.predict, dataset, self.vocabulary)
        points = self.schema.encode_points(dataset, self.vocabulary)
        question = self.asked(points)
        mean, std = np.empty(len(question.x)), np.empty(len(question.x))
        for rows in self._chunks(len(question.x)):
            moments = self._moments(question, rows)
            mean[rows], std[rows] = moments.mean, np.sqrt(moments.variance)
        noise = np.sqrt(self.noise_variances()[question.level]) * question.spread
        if points.noise_variance is not None:
            noise = np.sqrt(points.noise_variance)
        noise_std = points.label(noise, self._labelling.attrs("standard deviation of a reading's noise"))
        mean = question.centre + question.spread * mean
        return self._labelling.prediction(points, mean, question.spread * std, noise_std)

    def covariance(self, at: xr.Dataset | pd.DataFrame) -> xr.DataArray:
        """Joint posterior covariance of f at all places, (place, place_2) in the target's squared units.

        The places are the rows of `at`, its dims stacked in their order; they may be of several fidelities.

        Raises
        ------
        DataError
            As in `predict`; and if there are more places than the square matrix has room for.
        """
        question = self.asked(self._labelling.joint_points(at))
        covariances = [process.covariance(question.x, question.group) for process in self.processes]
        means = [process.moments(question.x, question.group).mean for process in self.processes]
        mixed = mix_covariances(covariances, means, self.weights)
        scaled = mixed * np.outer(question.spread, question.spread)
        return xr.DataArray(scaled, dims=("place", "place_2"), attrs=self._labelling.squared_attrs())

    def sample(self, at: xr.Dataset | pd.DataFrame, n: int, *, seed: int) -> xr.DataArray:
        """Joint draws of f, dim ``draw`` first, then the dims of `at`.

        Every draw has a structure and hyper-parameters of its own, chosen by weight.

        Raises
        ------
        DataError
            As in `predict`; if n isn't a whole number >= 1; and if there are too many places.
        """
        whole(n, "n")
        whole(seed, "seed", least=0)
        points = self._labelling.joint_points(at)
        question = self.asked(points)
        generator = np.random.default_rng(seed)
        chosen = generator.choice(len(self.weights), n, p=self.weights)
        draws = np.empty((n, len(question.x)))
        for k in np.unique(chosen):
            mine = chosen == k
            draws[mine] = self.processes[k].sample(question.x, question.group, int(mine.sum()), generator)
        return points.label(question.centre + question.spread * draws, self._labelling.attrs("draw"), leading=("draw",))

    def gradient(self, at: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Derivatives of mean and std of f by every input.

        Returns
        -------
        xr.Dataset over ("input", dims of `at`): d_mean, d_std, in the units that the coordinate ``units`` gives for each
        input: the fit's, target by input. Where std is zero, d_std is NaN.
        """
        points = self.schema.encode_points(at, self.vocabulary)
        question = self.asked(points)
        d_mean, d_std = np.empty(question.x.shape), np.empty(question.x.shape)
        for rows in self._chunks(len(question.x)):
            x, group = question.x[rows], question.group[rows]
            moments = [process.moments(x, group, beside=True) for process in self.processes]
            mixed = mix_slopes([process.slopes(x, group) for process in self.processes], moments, self.weights)
            d_mean[rows] = mixed.mean
            d_std[rows] = deviation_slopes(mixed.variance, mix(moments, self.weights).variance)
        scale = question.spread[:, None] / self.levels.inputs.width
        return self._labelling.slopes(points, scale * d_mean, scale * d_std, self.schema.inputs)

    def loo(self) -> xr.Dataset:
        """Leave-one-out predictions of every reading, in closed form, averaged over structures; hyper-parameters are kept.

        Structures that are fitted to all fidelities at once count at their modes, others with their draws.

        A place left out of one fidelity is still there in the others: these scores say how well fidelities agree, not how
        well a structure foretells new places.

        Returns
        -------
        xr.Dataset over ``reading`` (observed ones, in the order of the data): observed, mean, std (noise included),
        residual = observed - mean; the task and fidelity labels and the inputs as coordinates.
        """
        levels = self.levels
        moments = self._left_out()
        centre, spread = self._scales(levels.level)
        moments = Moments(centre + spread * moments.mean, spread**2 * moments.variance)
        return self._labelling.left_out(centre + spread * levels.y, moments, self._reading_coords())

    def readings(self) -> xr.Dataset:
        """The readings that the model has, without those that were missing.

        Returns
        -------
        xr.Dataset over ``reading``, in the order of the data: the target, in the fit's units; the task and fidelity labels
        and the inputs as coordinates.
        """
        centre, spread = self._scales(self.levels.level)
        return self._labelling.readings(centre + spread * self.levels.y, self._reading_coords())

    def _reading_coords(self) -> dict[str, Any]:
        levels = self.levels
        x = levels.x * levels.inputs.width + levels.inputs.centre
        return self._labelling.reading_coords(x, levels.task, np.array(levels.graph.labels)[levels.level])

    def health(self) -> HealthReport:
        """How far this fit can be trusted: left-out scores by task and fidelity, calibration, what the fit found.

        Left out is one reading at a time, of one fidelity: the same place may still be there in the others. Influence of
        single readings isn't given, since an average over structures is no linear smoother.
        """
        return review(self.loo(), self.schema, self.vocabulary, notes=self.report.findings)

    def explore(self, *, port: int = 0, browser: bool = True) -> Server:
        """Look into the model in a browser; see `surrogates.explore.explore`."""
        from surrogates.explore import explore  # what it draws with takes a second to import

        return explore(self, port=port, browser=browser)

    def structures(self) -> xr.Dataset:
        """What was tried: log_evidence and probability over ``structure``, with kind, kernel and trend as coordinates."""
        names = [str(one.structure) for one in self.tried]
        return xr.Dataset(
            {
                "log_evidence": ("structure", [one.log_evidence for one in self.tried]),
                "probability": ("structure", [one.probability for one in self.tried]),
            },
            coords={
                "structure": names,
                **{
                    field: ("structure", [getattr(one.structure, field) for one in self.tried])
                    for field in ("kind", "kernel", "trend")
                },
            },
        )

    def update(self, data: xr.Dataset | pd.DataFrame) -> FittedMultiFidelityGP:
        """Condition on more observations, of known or of new tasks; structures, hyper-parameters and scaling stay.

        Raises
        ------
        DataError
            Bad data as in `fit`; a new fidelity; a new task where there was a single one so far, or where every task has
            ρ of its own.
        """
        table = self.schema.encode(data, vocabulary=self.vocabulary)
        new = [str(label) for label in table.vocabulary.tasks[len(self.vocabulary.tasks) :]]
        self._labelling.require_several_tasks(new)
        if new and any(part.fit.per_task for part in self.parts):
            raise DataError(f"new task {', '.join(map(repr, new))}: every task has ρ of its own; fit again on all")
        levels = more_levels(table, self.levels, self.noise)
        parts = tuple(Part(part.fit.on(levels), part.weight) for part in self.parts)
        report = replace(
            self.report,
            readings=len(levels.y),
            rows=levels.places,
            tasks=levels.tasks,
            warnings=(
                *self.report.warnings,
                f"updated with {len(table.y)} readings; structures, hyper-parameters and scores are the first fit's",
            ),
        )
        return replace(self, vocabulary=table.vocabulary, report=report, levels=levels, parts=parts)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file: arrays and JSON, no pickle. Read it back with `surrogates.load`."""
        archive = self.to_archive()
        persistence.write(path, archive.kind, archive.header, archive.arrays)

    def to_archive(self) -> persistence.Archive:
        """What `save` writes, for models that have this one as a part."""
        header, arrays = pack(
            self.schema, self.vocabulary, self.report, self.tried, self.levels, self.parts, self.noise
        )
        return persistence.Archive(KIND, persistence.VERSION, header, arrays)

    @staticmethod
    def from_archive(archive: persistence.Archive) -> FittedMultiFidelityGP:
        """The model that `save` wrote or `to_archive` gave; `surrogates.load` calls this."""
        return FittedMultiFidelityGP(*unpack(archive.header, archive.arrays))

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """Posteriors of all structures."""
        return tuple(process for part in self.parts for process in part.fit.processes)

    @cached_property
    def weights(self) -> Floats:
        """(k,) of the processes."""
        return np.concatenate([part.weight * part.fit.weights for part in self.parts])

    def _left_out(self) -> Moments:
        shares = np.array([part.weight for part in self.parts])
        return mix([part.fit.leave_one_out() for part in self.parts], shares)

    def noise_variances(self) -> Floats:
        """(L,) scaled."""
        return np.asarray(sum(part.weight * part.fit.noise_variances() for part in self.parts))

    def noise_by_draw(self) -> Floats:
        """(k, L) scaled, of each posterior where it is learnt with the function, else the mean over the draws."""
        return np.concatenate([part.fit.noise_by_draw() for part in self.parts])

    def jitter_by_draw(self) -> Floats:
        """(k,) scaled: what stands for zero on the diagonal of exact readings."""
        return np.concatenate([np.full(len(part.fit.weights), part.fit.jitter) for part in self.parts])

    def asked(self, points: Points) -> Question:
        """The points in scaled units; without a fidelity, the last is meant."""
        graph = self.levels.graph
        level = np.full(len(points.x), len(graph.labels) - 1)
        if points.fidelity is not None:
            known: Mapping[Any, int] = {label: k for k, label in enumerate(graph.labels)}
            level = np.array([known[label] for label in self.vocabulary.fidelities])[points.fidelity]
        centre, spread = self._scales(level)
        group = points.task * len(graph.labels) + level
        return Question(self.levels.inputs(points.x), group, level, centre, spread)

    def _scales(self, level: Integers) -> tuple[Floats, Floats]:
        targets = self.levels.targets
        return np.array([t.centre for t in targets])[level], np.array([t.spread for t in targets])[level]

    def _moments(self, question: Question, rows: slice) -> Moments:
        x, group = question.x[rows], question.group[rows]
        return mix([process.moments(x, group) for process in self.processes], self.weights)

    def _chunks(self, m: int) -> Iterator[slice]:
        return in_blocks(m, len(self.levels.y))

    @property
    def _labelling(self) -> Labelling:
        return Labelling(self.schema, self.vocabulary)
