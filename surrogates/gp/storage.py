"""A fitted hierarchical Gaussian process as JSON and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.report import FitReport
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Schema, Vocabulary
from surrogates.vectors import OwnDim

from .collapse import Readings, trend_prior
from .core import Core
from .custom import CustomKernel
from .fitting import Scaled, Settings
from .kernels import kernel_named
from .laplace import Draws
from .library import Library
from .niw import Hyper
from .tanimoto import Tanimoto
from .trends import Trend

KIND = "hierarchical-gp"


def pack(
    schema: Schema, vocabulary: Vocabulary, report: FitReport, core: Core
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays from which `unpack` makes the same model, bit for bit.

    Raises
    ------
    DataError
        If the model holds code of the user's.
    """
    settings, scaled = core.settings, core.scaled
    for what, own in (("kernel", isinstance(settings.kernel, CustomKernel)), ("trend", callable(settings.trend))):
        if own:
            raise DataError(
                f"the model has a {what} of your own, which a data file can't hold; keep the script and the data"
            )
    assert not isinstance(settings.kernel, CustomKernel)
    is_tanimoto = isinstance(settings.kernel, Tanimoto)
    header = {
        "schema": {**asdict(schema), "inputs": list(schema.inputs)},
        "tasks": list(vocabulary.tasks),
        "fidelities": list(vocabulary.fidelities),
        "units": dict(vocabulary.units),
        "own_dims": {name: list(own) for name, own in vocabulary.own_dims.items()},
        "settings": {**asdict(settings), "kernel": asdict(settings.kernel) if is_tanimoto else settings.kernel.name},
        "trend": {"name": scaled.trend.name, "active": list(scaled.trend.active)},
        "target": asdict(scaled.target),
        "groups": list(scaled.readings.groups),
        "report": report.to_dict(),
        "effective": core.draws.effective,
        "niw": None if core.niw is None else {"steps": core.niw.steps, "converged": core.niw.converged},
    }
    readings = scaled.readings
    arrays: dict[str, NDArray[Any]] = {
        "centre": scaled.inputs.centre,
        "width": scaled.inputs.width,
        **_pack_library(scaled.library),
        "x": readings.x,
        "y": readings.y,
        "task": readings.task,
        "group": readings.group,
        "parameters": core.draws.parameters,
        "weights": core.draws.weights,
        "mode": core.mode,
    }
    if scaled.common_places is not None:
        arrays["common_places"] = scaled.common_places
    if readings.variance is not None:
        arrays["variance"] = readings.variance
    if core.niw is not None:
        arrays |= {"niw_C": core.niw.C, "niw_noise": core.niw.log_noise, "niw_trace": np.array(core.niw.trace)}
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[Schema, Vocabulary, FitReport, Core]:
    """The inverse of `pack`."""
    schema = Schema(**header["schema"])
    own_dims = {name: OwnDim(*own) for name, own in header.get("own_dims", {}).items()}
    vocabulary = Vocabulary(tuple(header["tasks"]), tuple(header["fidelities"]), header["units"], own_dims)
    kernel = header["settings"]["kernel"]
    kernel = kernel_named(kernel) if isinstance(kernel, str) else Tanimoto(**kernel)
    settings = Settings(**{**header["settings"], "kernel": kernel})
    trend = Trend(header["trend"]["name"], tuple(header["trend"]["active"]))
    readings = Readings(
        arrays["x"],
        arrays["y"],
        arrays["task"],
        len(vocabulary.tasks),
        arrays["group"],
        tuple(header["groups"]),
        arrays.get("variance"),
    )
    inputs, library = InputScaling(arrays["centre"], arrays["width"]), _unpack_library(arrays)
    target, prior = TargetScaling(**header["target"]), trend_prior(readings, trend)
    scaled = Scaled(inputs, target, trend, prior, readings, library, arrays.get("common_places"))
    niw = None
    if header["niw"] is not None:
        trace = tuple(arrays["niw_trace"].tolist())
        niw = Hyper(arrays["niw_C"], arrays["niw_noise"], header["niw"]["steps"], header["niw"]["converged"], trace)
    draws = Draws(arrays["parameters"], arrays["weights"], header["effective"])
    return schema, vocabulary, FitReport.from_dict(header["report"]), Core(scaled, settings, draws, arrays["mode"], niw)


def _pack_library(library: Library | None) -> dict[str, NDArray[Any]]:
    if library is None:
        return {}
    return {
        "counts": library.counts.data,
        "counts_indices": library.counts.indices,
        "counts_indptr": library.counts.indptr,
        "counts_shape": np.array(library.counts.shape),
        "smooth": library.smooth,
        "smooth_centre": library.centre,
        "smooth_width": library.width,
    }


def _unpack_library(arrays: Mapping[str, NDArray[Any]]) -> Library | None:
    if "counts" not in arrays:
        return None
    parts = (arrays["counts"], arrays["counts_indices"], arrays["counts_indptr"])
    counts = sp.csr_array(parts, shape=tuple(arrays["counts_shape"].tolist()))
    return Library(counts, arrays["smooth"], arrays["smooth_centre"], arrays["smooth_width"])
