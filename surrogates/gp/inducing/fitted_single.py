"""The fitted `InducingGP`: labelled places in, labelled predictions out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from surrogates import persistence
from surrogates.report import FitReport
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Schema, Vocabulary, as_labelled

from ..design import Design
from ..kernels import Kernel, kernel_named
from ..labelling import Labelling
from ..lazily import predict_lazily
from ..noise import LearntNoise
from ..sharing import Mixing
from ..solvers._base import State
from ..trends import Trend
from .blocks import Blocks
from .process import StreamedProcess
from .statistics import Point

Floats = NDArray[np.float64]
KIND = "inducing-gp"
#: numbers in the largest temporary array of a prediction
CHUNK = 1_000_000


class Large(NamedTuple):
    """The model in scaled units."""

    inputs: InputScaling
    target: TargetScaling
    trend: Trend
    beta: Floats  # (p,)
    blocks: Blocks
    kernel: Kernel
    parameters: Floats  # (d + 1 + F,) log length-scales, log s, log noise variances
    process: StreamedProcess


@dataclass(frozen=True, eq=False, repr=False)
class FittedInducingGP:
    """A fitted `InducingGP`; immutable and always ready.

    Attributes
    ----------
    schema : names of the variables
    vocabulary : fidelities and units that the model knows
    report : what happened in the fit, and how far its approximation is from the exact model
    """

    schema: Schema
    vocabulary: Vocabulary
    report: FitReport
    large: Large

    def __repr__(self) -> str:
        return f"<FittedInducingGP of {self.schema.target!r}: {self.report.readings} readings, {self.report.outcome}>"

    def predict(self, at: xr.Dataset | pd.DataFrame) -> xr.Dataset:
        """Mean and standard deviation of the target's underlying function.

        Parameters
        ----------
        at : places, with the schema's inputs over any dims. If it has dask arrays, the answer is lazy, block by block.

        Returns
        -------
        xr.Dataset over the dims of `at`, in the target's units: mean and std of f; noise_std of a reading given f, over the
        dims of `at` if it names fidelities, else over the fidelities

        Raises
        ------
        DataError, UnitsError
            Missing variables, NaN or inf in inputs, unknown fidelities, units that can't be converted.
        """
        dataset = as_labelled(at)
        if any(variable.chunks is not None for variable in dataset.variables.values()):
            return predict_lazily(self.predict, dataset, self.vocabulary)
        points, large = self.schema.encode_points(dataset, self.vocabulary), self.large
        x = large.inputs(points.x)
        mean, variance = np.empty(len(x)), np.empty(len(x))
        block = large.blocks.of(x)
        order = np.argsort(block, kind="stable")
        size = max(64, CHUNK // len(large.process.m))
        for start in range(0, len(x), size):
            rows = order[start : start + size]
            mean[rows], variance[rows] = large.process.moments(x[rows], block[rows])
        mean += large.trend.columns(x) @ large.beta
        noise = large.target.deviation(np.exp(0.5 * large.parameters[x.shape[1] + 1 :]))
        labelling = Labelling(self.schema, self.vocabulary)
        attrs = labelling.attrs("standard deviation of a reading's noise")
        levels = list(self.vocabulary.fidelities)
        if points.fidelity is not None or len(levels) == 1:
            which = np.zeros(len(x), dtype=np.int64) if points.fidelity is None else points.fidelity
            noise_std = points.label(noise[which], attrs)
        else:
            name = str(self.schema.fidelity)
            noise_std = xr.DataArray(noise, dims=name, coords={name: levels}, attrs=attrs)
        std = large.target.deviation(np.sqrt(variance))
        return labelling.prediction(points, large.target.mean(mean), std, noise_std)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file: arrays and JSON, no pickle. Read it back with `surrogates.load`."""
        large, process = self.large, self.large.process
        point = process.point
        header = {
            "schema": {**asdict(self.schema), "inputs": list(self.schema.inputs)},
            "fidelities": list(self.vocabulary.fidelities),
            "units": dict(self.vocabulary.units),
            "kernel": large.kernel.name,
            "trend": {"name": large.trend.name, "active": list(large.trend.active)},
            "target": asdict(large.target),
            "amplitude": point.common,
            "report": self.report.to_dict(),
        }
        arrays: dict[str, NDArray[Any]] = {
            "centre": large.inputs.centre,
            "width": large.inputs.width,
            "beta": large.beta,
            "block_dim": large.blocks.dim,
            "block_threshold": large.blocks.threshold,
            "parameters": large.parameters,
            "x": process.design.x,
            "task": process.design.task,
            "y": process.state.y,
            "D": process.state.D,
            "Z": point.Z,
            "root": point.root,
            "m": process.m,
            "J_root": process.J_root,
        }
        persistence.write(path, KIND, header, {name: np.ascontiguousarray(array) for name, array in arrays.items()})

    @staticmethod
    def from_archive(archive: persistence.Archive) -> FittedInducingGP:
        """The model that `save` wrote; `surrogates.load` calls this."""
        header, arrays = archive.header, archive.arrays
        vocabulary = Vocabulary((None,), tuple(header["fidelities"]), header["units"])
        kernel = kernel_named(header["kernel"])
        trend = Trend(header["trend"]["name"], tuple(header["trend"]["active"]))
        blocks = Blocks(arrays["block_dim"], arrays["block_threshold"])
        large = Large(
            InputScaling(arrays["centre"], arrays["width"]),
            TargetScaling(**header["target"]),
            trend,
            arrays["beta"],
            blocks,
            kernel,
            arrays["parameters"],
            _process(header, arrays, kernel, blocks),
        )
        return FittedInducingGP(Schema(**header["schema"]), vocabulary, FitReport.from_dict(header["report"]), large)


def _process(
    header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], kernel: Kernel, blocks: Blocks
) -> StreamedProcess:
    """The posterior as it was saved; what only a fit needs is left empty."""
    x, T = arrays["x"], blocks.count
    lengthscales = np.exp(arrays["parameters"][None, : x.shape[1]])
    amplitude = float(header["amplitude"])
    nothing = np.zeros((0, len(x)))
    noise = LearntNoise(nothing, nothing, np.zeros(0), np.zeros(0, dtype=np.int64), ())
    design = Design(x, arrays["task"], T, np.zeros((len(x), 0)), np.zeros((T, 0)), np.zeros((T, 0)), noise)
    mixing = Mixing(1, None, np.array([[amplitude, 0.0]]), np.array([[[amplitude, 0.0]]]))
    state = State(lengthscales, mixing, arrays["D"], arrays["y"])
    point = Point((kernel,), lengthscales, amplitude, 0.0, arrays["Z"], np.zeros((0, 0)), arrays["root"])
    return StreamedProcess(design, Trend("none", ()), state, point, arrays["m"], arrays["J_root"], 0.0)
