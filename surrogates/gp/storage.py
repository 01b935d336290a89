"""A fitted hierarchical Gaussian process as JSON and arrays, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
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
from .composite import Composite, from_fields, to_fields
from .core import Core
from .custom import CustomKernel
from .kernels import kernel_named
from .laplace import Draws
from .library import Library
from .niw import Hyper
from .preparing import AnyKernel, Scaled, Settings
from .shaped_noise import NoiseBasis
from .tanimoto import Tanimoto
from .trends import Trend
from .warping import Warp

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
    header = {
        "schema": {**asdict(schema), "inputs": list(schema.inputs)},
        "tasks": list(vocabulary.tasks),
        "fidelities": list(vocabulary.fidelities),
        "units": dict(vocabulary.units),
        "own_dims": {name: list(own) for name, own in vocabulary.own_dims.items()},
        "categories": {name: list(labels) for name, labels in vocabulary.categories.items()},
        "settings": {
            **{field.name: getattr(settings, field.name) for field in fields(settings)},
            "kernel": _pack_kernel(settings.kernel),
        },
        "trend": {"name": scaled.trend.name, "active": list(scaled.trend.active)},
        "target": asdict(scaled.target),
        "groups": list(scaled.readings.groups),
        "report": report.to_dict(),
        "effective": core.draws.effective,
        "warp": _pack_warp(scaled.warp),
        "degrees": scaled.degrees,
        "noise_basis": None if scaled.readings.basis is None else asdict(scaled.readings.basis),
        "log_integral": core.draws.log_integral if math.isfinite(core.draws.log_integral) else None,
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
    arrays |= {n: v for n in ("variance", "weight") for v in [getattr(readings, n)] if v is not None}
    if scaled.common_places is not None:
        arrays["common_places"] = scaled.common_places
    if core.niw is not None:
        arrays |= {"niw_C": core.niw.C, "niw_noise": core.niw.log_noise, "niw_trace": np.array(core.niw.trace)}
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[Schema, Vocabulary, FitReport, Core]:
    """The inverse of `pack`."""
    schema = Schema(**header["schema"])
    own_dims = {name: OwnDim(*own) for name, own in header.get("own_dims", {}).items()}
    categories = {name: tuple(labels) for name, labels in header.get("categories", {}).items()}
    vocabulary = Vocabulary(tuple(header["tasks"]), tuple(header["fidelities"]), header["units"], own_dims, categories)
    kernel = _unpack_kernel(header["settings"]["kernel"])
    apart = tuple(header["settings"].get("apart", ()))
    settings = Settings(**{**header["settings"], "kernel": kernel, "apart": apart, "lengthscales": None})
    trend = Trend(header["trend"]["name"], tuple(header["trend"]["active"]))
    readings = Readings(
        arrays["x"],
        arrays["y"],
        arrays["task"],
        len(vocabulary.tasks),
        arrays["group"],
        tuple(header["groups"]),
        arrays.get("variance"),
        basis=_unpack_basis(header.get("noise_basis")),
        weight=arrays.get("weight"),
    )
    inputs, library = InputScaling(arrays["centre"], arrays["width"]), _unpack_library(arrays)
    warp = _unpack_warp(header.get("warp"))
    target = TargetScaling(**header["target"])
    prior = trend_prior(readings, trend)
    scaled = Scaled(
        inputs, target, trend, prior, readings, library, warp, header.get("degrees"), arrays.get("common_places")
    )
    niw = None
    if header["niw"] is not None:
        trace = tuple(arrays["niw_trace"].tolist())
        niw = Hyper(arrays["niw_C"], arrays["niw_noise"], header["niw"]["steps"], header["niw"]["converged"], trace)
    integral = header.get("log_integral")
    draws = Draws(
        arrays["parameters"], arrays["weights"], header["effective"], math.nan if integral is None else integral
    )
    return schema, vocabulary, FitReport.from_dict(header["report"]), Core(scaled, settings, draws, arrays["mode"], niw)


def _pack_kernel(kernel: AnyKernel) -> str | dict[str, Any]:
    if isinstance(kernel, Composite):
        return to_fields(kernel)
    return asdict(kernel) if isinstance(kernel, Tanimoto) else kernel.name


def _unpack_kernel(stored: str | Mapping[str, Any]) -> AnyKernel:
    if isinstance(stored, str):
        return kernel_named(stored)
    return from_fields(stored) if "term" in stored else Tanimoto(**stored)


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


def _unpack_basis(stored: Mapping[str, Any] | None) -> NoiseBasis | None:
    return None if stored is None else NoiseBasis(tuple(stored["columns"]), stored["quadratic"])


def _pack_warp(warp: Warp | None) -> dict[str, Any] | None:
    """JSON has no infinity: bounds that aren't there are None."""
    if warp is None:
        return None
    return {name: v if isinstance(v, str) or math.isfinite(v) else None for name, v in asdict(warp).items()}


def _unpack_warp(stored: Mapping[str, Any] | None) -> Warp | None:
    if stored is None:
        return None
    low, high = stored["low"], stored["high"]
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return Warp(stored["name"], *bounds, stored["power"], stored["power_spread"])


def _unpack_library(arrays: Mapping[str, NDArray[Any]]) -> Library | None:
    if "counts" not in arrays:
        return None
    parts = (arrays["counts"], arrays["counts_indices"], arrays["counts_indptr"])
    counts = sp.csr_array(parts, shape=tuple(arrays["counts_shape"].tolist()))
    return Library(counts, arrays["smooth"], arrays["smooth_centre"], arrays["smooth_width"])
