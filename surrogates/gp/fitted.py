"""The fitted hierarchical Gaussian process: labelled questions in, labelled answers out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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

from .collapse import Readings
from .core import Core
from .diagnostics import at_bounds, outlying_tasks
from .labelling import CHUNK, Labelling, in_blocks
from .lazily import predict_lazily
from .outputs import Output, with_noise
from .preparing import make_readings, own_noise, rescale
from .quantiles import Asked, quantiles
from .reading_noise import label_levels, noise_at, noise_std
from .robust import Robust
from .sharing import Coregional
from .storage import KIND, pack, unpack

if TYPE_CHECKING:
    from surrogates.explore import Server

Floats = NDArray[np.float64]
#: the same where places are vectors, of which a few hundred have to be compared at once
CHUNK_OF_VECTORS = 4_000_000


@dataclass(frozen=True, eq=False, repr=False)
class FittedHierarchicalGP:
    """A fitted `HierarchicalGP`; immutable and always ready.

    Attributes
    ----------
    schema : names of the variables
    vocabulary : tasks, fidelities and units that the model knows
    report : what happened in the fit
    """

    schema: Schema
    vocabulary: Vocabulary
    report: FitReport
    core: Core

    def __repr__(self) -> str:
        return (
            f"<FittedHierarchicalGP of {self.schema.target!r}: {self.report.readings} readings, {self.report.outcome}>"
        )

    def predict(self, at: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Mean and standard deviation of the target's underlying function.

        Parameters
        ----------
        at : places, with the schema's inputs and task over any dims. If it has dask arrays, the answer is lazy, block by
            block.

        Returns
        -------
        xr.Dataset over the dims of `at`, in the target's units:
            mean : of f, trend and common process integrated, averaged over the draws of the hyper-parameters; of a warped
                target, of the function whose readings are as often above as below it
            std : of f. With known noise, f includes what the kernel doesn't resolve (the nugget), which a reading tells of
                at its own place only
            noise_std : of a reading given f. Known noise that `at` holds is given back (also NaN); else it is the mean over
                each fidelity's readings. If `at` names fidelities it is over the dims of `at`, else over the fidelities (and
                tasks, where noise is learnt for each; and places, where it varies or the target is warped). With a warp,
                std² + noise_std² is the variance of a reading

        Raises
        ------
        DataError, UnitsError
            Missing variables, NaN or inf in inputs, unknown tasks or fidelities, units that can't be converted.
        """
        dataset = as_labelled(at)
        if any(variable.chunks is not None for variable in dataset.variables.values()):
            return predict_lazily(self.predict, dataset, self.vocabulary)
        points = self.schema.encode_points(dataset, self.vocabulary)
        moments, noise = self._moments(points)
        deviation = np.sqrt(moments.variance)
        return self._labelling.prediction(points, moments.mean, deviation, self._noise_std(points, noise))

    def quantile(
        self, at: xr.Dataset | pd.DataFrame, q: float | Sequence[float], *, noise: bool = False
    ) -> xr.DataArray:
        """Quantiles of the target's underlying function, or of a reading of it.

        They are those of the whole mixture over hyper-parameter draws, found by bisection, and carried through the warp.

        Parameters
        ----------
        at : places, as in `predict`
        q : between zero and one; a sequence puts the dim ``quantile`` first
        noise : of a reading instead of f: at the fidelity that `at` names, else of every fidelity, along a dim of its own.
            Known noise counts as `predict` gives it, NaN where it's unknown

        Raises
        ------
        DataError
            As in `predict`; and if q isn't between zero and one.
        """
        points = self.schema.encode_points(at, self.vocabulary)
        text = self._labelling.attrs("quantile of a reading" if noise else "quantile")
        question = Asked(self.core, self.vocabulary, self.schema.fidelity, points, list(self._chunks(len(points.x))))
        return quantiles(question, q, text, noise=noise)

    def covariance(self, at: xr.Dataset | pd.DataFrame) -> xr.DataArray:
        """Joint posterior covariance of f at all places, (place, place_2) in the target's squared units.

        The places are the rows of `at`, its dims stacked in their order.

        Raises
        ------
        DataError
            As in `predict`; and if there are more places than the square matrix has room for.
        """
        points = self._labelling.joint_points(at)
        x, task, processes = self.core.asked(points)
        parts = [process.covariance(x, task) for process in processes]
        moments = [process.moments(x, task) for process in processes]
        output, weights = self.core.output, self.core.weights
        each = [output.covariance(part, own) for part, own in zip(parts, moments, strict=True)]
        covariance = mix_covariances(each, [output.moments(own).mean for own in moments], weights)
        return xr.DataArray(covariance, dims=("place", "place_2"), attrs=self._labelling.squared_attrs())

    def sample(self, at: xr.Dataset | pd.DataFrame, n: int, *, seed: int) -> xr.DataArray:
        """Joint draws of f, dim ``draw`` first, then the dims of `at`, by Matheron's rule.

        Every draw has hyper-parameters of its own, chosen by weight.

        Raises
        ------
        DataError
            As in `predict`; if n isn't a whole number >= 1; and if there are too many places.
        """
        whole(n, "n")
        whole(seed, "seed", least=0)
        points = self._labelling.joint_points(at)
        generator = np.random.default_rng(seed)
        chosen = generator.choice(len(self.core.weights), n, p=self.core.weights)
        x, task, processes = self.core.asked(points)
        draws = np.empty((n, len(x)))
        for k in np.unique(chosen):
            mine = chosen == k
            draws[mine] = processes[k].sample(x, task, int(mine.sum()), generator)
        return points.label(self.core.output.value(draws), self._labelling.attrs("draw"), leading=("draw",))

    def gradient(self, at: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Derivatives of mean and std of f by every input but those with labels, in closed form.

        Returns
        -------
        xr.Dataset over ("input", dims of `at`): d_mean, d_std, in the units that the coordinate ``units`` gives for each
        input: the fit's, target by input. Where std is zero, d_std is NaN.

        Raises
        ------
        DataError
            As in `predict`; and of a Tanimoto kernel, whose counts have no derivative.
        """
        points = self.schema.encode_points(at, self.vocabulary)
        if self.core.scaled.library is not None:
            raise DataError(
                "counts have no derivative: gradient isn't offered with a Tanimoto kernel; compare predictions instead"
            )
        x = self.core.scaled.inputs(points.x)
        output, width, weights = self.core.output, self.core.scaled.inputs.width, self.core.weights
        d_mean, d_std = np.empty(x.shape), np.empty(x.shape)
        for rows in self._chunks(len(x)):
            moments = [process.moments(x[rows], points.task[rows], beside=True) for process in self.core.processes]
            slopes = [process.slopes(x[rows], points.task[rows]) for process in self.core.processes]
            slopes = [output.slopes(slope, own) for slope, own in zip(slopes, moments, strict=True)]
            moments = [output.moments(own) for own in moments]
            mixed = mix_slopes(slopes, moments, weights)
            d_mean[rows] = mixed.mean
            d_std[rows] = deviation_slopes(mixed.variance, mix(moments, weights).variance)
        names = [name for name in self.schema.inputs if name not in self.vocabulary.categories]
        numbers = [self.schema.inputs.index(name) for name in names]
        return self._labelling.slopes(points, (d_mean / width)[:, numbers], (d_std / width)[:, numbers], names)

    def loo(self) -> xr.Dataset:
        """Leave-one-out predictions of every reading, in closed form; hyper-parameters are kept.

        Returns
        -------
        xr.Dataset over ``reading`` (observed ones, in the order of the data): observed, mean, std (noise included),
        residual = observed - mean; the task and fidelity labels and the inputs, but for vectors, as coordinates.
        """
        observed = self.core.output.value(self.core.scaled.readings.y)
        return self._labelling.left_out(observed, self.core.left_out_outputs(), self._reading_coords())

    def readings(self) -> xr.Dataset:
        """The readings that the model has, without those that were missing.

        Returns
        -------
        xr.Dataset over ``reading``, in the order of the data: the target, in the fit's units; the task and fidelity labels
        and the inputs, but for vectors, as coordinates.
        """
        return self._labelling.readings(self.core.output.value(self.core.scaled.readings.y), self._reading_coords())

    def _reading_coords(self) -> dict[str, Any]:
        scaled = self.core.scaled
        x = scaled.readings.x * scaled.inputs.width + scaled.inputs.centre
        if scaled.library is not None:
            x = x[:, :0]
        levels = np.array(self.vocabulary.fidelities)
        return self._labelling.reading_coords(x, scaled.readings.task, levels[scaled.readings.group % len(levels)])

    def health(self) -> HealthReport:
        """How far this fit can be trusted: left-out scores, influence of single readings, what the algebra says.

        Made on call, from the closed form that `loo` uses: for each draw of the hyper-parameters about three times as long
        as one evaluation of the likelihood with its gradient; `fit` does none of it. Hyper-parameters are kept when
        readings are left out. After `update` it is that of all readings, at the first fit's hyper-parameters.

        Returns
        -------
        HealthReport
            ``str(health)`` is text, ``health.to_dataset()`` a labelled table, ``health.plot()`` one figure

        Examples
        --------
        >>> import numpy as np
        >>> from surrogates import HierarchicalGP, Schema, as_dataset
        >>> x = np.linspace(0, 1, 12)
        >>> data = as_dataset(x, np.sin(6 * x) + 0.1 * np.cos(50 * x), inputs=["x"])
        >>> health = HierarchicalGP(Schema(inputs="x", target="y")).fit(data).health()
        >>> health.warnings
        ()
        >>> bool(health.to_dataset()["effective_parameters"] < 12)
        True
        """
        core = self.core
        # of a constant target, amplitude and noise rest on priors
        bounds = [] if core.scaled.target.constant else at_bounds(core.layout, core.mode, self.vocabulary)
        notes, moved = outlying_tasks(core, self.vocabulary.tasks), core.smoothing()
        warp, vocabulary, loo = core.scaled.warp, self.vocabulary, self.loo()
        if warp is not None:
            # shapes of distributions, which scores need, are Gaussian there
            scale = Output(core.scaled.target)
            observed, moments = scale.value(core.scaled.readings.y), scale.moments(core.leave_one_out())
            loo = self._labelling.left_out(observed, moments, self._reading_coords())
            words = warp.describe(self.schema.target)
            vocabulary = replace(vocabulary, units={**vocabulary.units, self.schema.target: words})
            notes = [*notes, f"the target is warped: scores and shifts are {words}"]
        if core.scaled.degrees is not None:
            notes = [*notes, "noise is Student's t, but scores take left-out readings as Gaussian: outliers fail them"]
        return review(loo, self.schema, vocabulary, smoothing=moved, bounds=bounds, notes=notes)

    def explore(self, *, port: int = 0, browser: bool = True) -> Server:
        """Look into the model in a browser; see `surrogates.explore.explore`."""
        from surrogates.explore import explore  # what it draws with takes a second to import

        return explore(self, port=port, browser=browser)

    def task_correlation(self) -> xr.DataArray:
        """Correlation of the tasks' functions (task, task_2), averaged over the hyper-parameter draws."""
        layout = self.core.layout
        total = np.zeros((len(self.vocabulary.tasks),) * 2)
        for w, θ in zip(self.core.draws.weights, self.core.draws.parameters, strict=True):
            B = layout.sharing.mixing(layout.split(θ).sharing).matrix.sum(axis=0)
            total += w * B / np.sqrt(np.outer(np.diag(B), np.diag(B)))
        name = self.schema.task or "task"
        labels = [label if label is not None else "all" for label in self.vocabulary.tasks]
        return xr.DataArray(total, dims=(name, f"{name}_2"), coords={name: labels, f"{name}_2": labels})

    def update(self, data: xr.Dataset | pd.DataFrame) -> FittedHierarchicalGP:
        """Condition on more observations, of known or of new tasks; hyper-parameters and scaling stay.

        Returns a new object; equal to conditioning on the union of old and new observations.

        Raises
        ------
        DataError
            Bad data as in `fit`; a new fidelity; a new task where the tasks' correlations are learnt one by one
            (sharing="icm" or "robust"), where there was a single task so far, or where noise is learnt for each task; paper
            mode.
        """
        core = self.core
        if core.niw is not None:
            raise DataError("sharing='niw' learns its covariance at the observed places only; fit again on all data")
        table = self.schema.encode(data, vocabulary=self.vocabulary)
        if self.core.scaled.warp is not None:
            table = self.core.scaled.warp.table(table, self.schema.target)
        new = [str(label) for label in table.vocabulary.tasks[len(self.vocabulary.tasks) :]]
        if new:
            self._check_new_tasks(new)
        scaled, old = core.scaled, core.scaled.readings
        x, library = rescale(table, scaled, core.settings)
        more = make_readings(table, x, scaled.target, core.settings.noise)
        more = own_noise(more, core.settings, table.vocabulary.tasks)
        variance = None
        if old.variance is not None and more.variance is not None:
            variance = np.concatenate([old.variance, more.variance])
        readings = Readings(
            np.concatenate([old.x, more.x]),
            np.concatenate([old.y, more.y]),
            np.concatenate([old.task, more.task]),
            more.tasks,
            np.concatenate([old.group, more.group]),
            more.groups,
            variance,
            basis=old.basis,
        )
        updated = core.with_readings(readings, library)
        rows = len(updated.problem.collapsed.design.x)
        report = replace(
            self.report,
            readings=len(readings.y),
            rows=rows,
            tasks=more.tasks,
            solver=updated.problem.objective.solver.name,
            warnings=(
                *self.report.warnings,
                f"updated with {len(more.y)} readings{_of_new(new)}; hyper-parameters and scores are the first fit's",
            ),
        )
        return FittedHierarchicalGP(self.schema, table.vocabulary, report, updated)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file: arrays and JSON, no pickle. Read it back with `surrogates.load`.

        Raises
        ------
        DataError
            If the kernel or the trend is the user's own code, which such a file can't hold.
        """
        archive = self.to_archive()
        persistence.write(path, archive.kind, archive.header, archive.arrays)

    def to_archive(self) -> persistence.Archive:
        """What `save` writes, for models that have this one as a part."""
        header, arrays = pack(self.schema, self.vocabulary, self.report, self.core)
        return persistence.Archive(KIND, persistence.VERSION, header, arrays)

    @staticmethod
    def from_archive(archive: persistence.Archive) -> FittedHierarchicalGP:
        """The model that `save` wrote or `to_archive` gave; `surrogates.load` calls this."""
        return FittedHierarchicalGP(*unpack(archive.header, archive.arrays))

    @property
    def _labelling(self) -> Labelling:
        return Labelling(self.schema, self.vocabulary)

    def _check_new_tasks(self, new: list[str]) -> None:
        names = ", ".join(map(repr, new))
        if isinstance(self.core.layout.sharing, Coregional | Robust):
            how = f"sharing={self.core.settings.sharing!r}"
            raise DataError(f"new task {names}: {how} learns each task's correlations; fit again on all data")
        self._labelling.require_several_tasks(new)
        if self.core.settings.noise == "task-fidelity":
            raise DataError(f"new task {names}: noise is learnt for each task; fit again on all data")

    def _chunks(self, m: int) -> Iterator[slice]:
        numbers = CHUNK if self.core.scaled.library is None else CHUNK_OF_VECTORS
        return in_blocks(m, self.core.width, numbers)

    def _moments(self, points: Points) -> tuple[Moments, Floats]:
        """The one road of every predicted mean and variance of f, in the target's units.

        And with a warp, the variance (L, m) by which readings exceed it; see `noise_at` for L.
        """
        m, output, weights = len(points.x), self.core.output, self.core.weights
        mean, variance = np.empty(m), np.empty(m)
        noise = np.zeros((0, m)) if output.warp is None else noise_at(self.core, self.vocabulary, points)
        order = np.argsort(points.task, kind="stable") if self.core.is_by_task else np.arange(m)
        question = self.core.asked(points)
        question = question._replace(x=question.x[order], task=question.task[order])
        for rows in self._chunks(m):
            parts, here = question.parts(rows), order[rows]
            mean[here], variance[here] = output.mixed(parts, weights)
            for level in noise:
                of_readings = output.mixed(with_noise(parts, level[here]), weights).variance
                level[here] = np.maximum(of_readings - variance[here], 0.0)
        return Moments(mean, variance), noise

    def _noise_std(self, points: Points, noise: Floats) -> xr.DataArray:
        """Standard deviation of a reading given f, or what a warp's readings exceed f by."""
        attrs, fidelity = self._labelling.attrs("standard deviation of a reading's noise"), self.schema.fidelity
        if self.core.scaled.warp is None or points.noise_variance is not None:
            return noise_std(self.core, self.vocabulary, fidelity, points, attrs)
        return label_levels(self.vocabulary, fidelity, points, np.sqrt(noise), attrs)


def _of_new(tasks: list[str]) -> str:
    return f", with the new task{'s' * (len(tasks) > 1)} {', '.join(tasks)}" if tasks else ""
