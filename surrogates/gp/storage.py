"""A fitted hierarchical Gaussian process as JSON and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogates.errors import DataError
from surrogates.report import FitReport
from surrogates.scaling import InputScaling, TargetScaling
from surrogates.schema import Schema, Vocabulary

from .collapse import Readings, trend_prior
from .core import Core
from .custom import CustomKernel
from .fitting import Scaled, Settings
from .kernels import kernel_named
from .laplace import Draws
from .niw import Hyper
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
    header = {
        "schema": {**asdict(schema), "inputs": list(schema.inputs)},
        "tasks": list(vocabulary.tasks),
        "fidelities": list(vocabulary.fidelities),
        "units": dict(vocabulary.units),
        "settings": {**asdict(settings), "kernel": settings.kernel.name},
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
        "x": readings.x,
        "y": readings.y,
        "task": readings.task,
        "group": readings.group,
        "parameters": core.draws.parameters,
        "weights": core.draws.weights,
        "mode": core.mode,
    }
    if readings.variance is not None:
        arrays["variance"] = readings.variance
    if core.niw is not None:
        arrays |= {"niw_C": core.niw.C, "niw_noise": core.niw.log_noise, "niw_trace": np.array(core.niw.trace)}
    return header, arrays


def unpack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[Schema, Vocabulary, FitReport, Core]:
    """The inverse of `pack`."""
    schema = Schema(**header["schema"])
    vocabulary = Vocabulary(tuple(header["tasks"]), tuple(header["fidelities"]), header["units"])
    settings = Settings(**{**header["settings"], "kernel": kernel_named(header["settings"]["kernel"])})
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
    inputs = InputScaling(arrays["centre"], arrays["width"])
    scaled = Scaled(inputs, TargetScaling(**header["target"]), trend, trend_prior(readings, trend), readings)
    niw = None
    if header["niw"] is not None:
        trace = tuple(arrays["niw_trace"].tolist())
        niw = Hyper(arrays["niw_C"], arrays["niw_noise"], header["niw"]["steps"], header["niw"]["converged"], trace)
    draws = Draws(arrays["parameters"], arrays["weights"], header["effective"])
    return schema, vocabulary, FitReport.from_dict(header["report"]), Core(scaled, settings, draws, arrays["mode"], niw)
